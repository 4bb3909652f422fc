//! The memory that counts, against a real kernel: each test runs itself again inside a v1 memory
//! group with a limit. Needs root and a mounted v1 memory controller; says so where it skips.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env, fs,
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use highwater::{
    Highwater,
    sample::{self, harness::Sampling},
};

const MIB: usize = 1 << 20;
const INSIDE: &str = "HIGHWATER_TEST_GROUP";

/// A group of ours; removed in the end.
struct Group(PathBuf);

impl Group {
    /// Below the group we are in, if this machine allows it.
    fn create(name: &str) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.split_once(":memory:"))?.1;
        let root = Path::new("/sys/fs/cgroup/memory").join(own.trim_start_matches('/'));
        Self::below(&root, &format!("highwater-{}-{name}", std::process::id()))
    }

    fn below(parent: &Path, name: &str) -> Option<Self> {
        let path = parent.join(name);
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        group.0.join("memory.limit_in_bytes").exists().then_some(group)
    }

    fn limit(&self, bytes: usize) {
        fs::write(self.0.join("memory.limit_in_bytes"), bytes.to_string()).unwrap();
    }

    /// `command` in this group from its first instruction.
    fn run(&self, command: &str, arguments: &[&str]) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]);
        shell.arg(&self.0).arg(command).args(arguments);
        shell
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What was killed leaves a moment later.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// Runs `story` in a group of its own with this limit.
fn in_group(test: &str, limit: usize, story: impl FnOnce(&Group)) {
    if let Ok(path) = env::var(INSIDE) {
        let group = Group(path.into());
        story(&group);
        // It is the outer one's to remove.
        std::mem::forget(group);
        return;
    }
    let Some(group) = Group::create(test) else {
        println!("SKIPPED {test}: needs root and a mounted v1 memory controller");
        return;
    };
    group.limit(limit);
    let this = env::current_exe().unwrap();
    let mut again = group.run(this.to_str().unwrap(), &["--exact", test, "--nocapture"]);
    let outcome = again.env(INSIDE, &group.0).output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout).into_owned()
        + &String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// The samplers at work in the group.
struct Eyes(Sampling);

impl Eyes {
    fn open() -> Self {
        Self(Sampling::new(vec![Box::new(sample::memory()), Box::new(sample::pressure())]))
    }

    /// A value of `highwater.memory.`, or `container.memory.`, after a tick.
    fn see(&mut self, series: &str) -> f64 {
        // Until no reading is handed out again.
        sleep(Duration::from_millis(60));
        self.0.tick();
        let prefix = if series.starts_with("container") { "" } else { "highwater.memory." };
        let braces = if series.ends_with('}') { "" } else { "{}" };
        let series = format!("{prefix}{series}{braces}");
        self.0.value(&series).unwrap_or_else(|| panic!("{series} is absent: {:?}", self.0))
    }

    fn ratio(&mut self, level: &str) -> f64 {
        self.see(&format!("utilization{{level={level:?}}}"))
    }
}

/// So much memory, touched.
fn hold(bytes: usize) -> Vec<u8> {
    std::hint::black_box(vec![1; bytes])
}

#[test]
fn anonymous_growth_raises_the_ratio() {
    in_group("anonymous_growth_raises_the_ratio", 200 * MIB, |_| {
        let mut eyes = Eyes::open();
        let before = eyes.ratio("cgroup");
        assert!(before < 0.25, "{before}");
        let held = hold(100 * MIB);
        let after = eyes.ratio("cgroup");
        assert!((after - before - 0.5).abs() < 0.05, "{before} {after}");
        assert!((eyes.see("binding.utilization") - after).abs() < 0.05);
        assert_eq!(eyes.see(r#"binding{level="cgroup"}"#), 1.0);
        drop(held);
        assert!(eyes.ratio("cgroup") < before + 0.05);
    });
}

/// A file that is read back after it was written.
fn fill_cache(path: &Path, bytes: usize) {
    let mut file = fs::File::create(path).unwrap();
    for _ in 0..bytes / MIB {
        file.write_all(&[7; MIB]).unwrap();
    }
    file.sync_all().unwrap();
    let mut buffer = vec![0; MIB];
    let mut file = fs::File::open(path).unwrap();
    while file.read(&mut buffer).unwrap() > 0 {}
}

#[test]
fn page_cache_raises_nothing() {
    in_group("page_cache_raises_nothing", 200 * MIB, |_| {
        let mut eyes = Eyes::open();
        let (before, charged) = (eyes.ratio("cgroup"), eyes.see("container.memory.usage"));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page_cache_raises_nothing");
        fill_cache(&path, 150 * MIB);
        let (after, full) = (eyes.ratio("cgroup"), eyes.see("container.memory.usage"));
        fs::remove_file(&path).unwrap();
        assert!(full - charged > (120 * MIB) as f64, "the cache was charged: {charged} {full}");
        assert!((after - before).abs() < 0.05, "{before} {after}");
    });
}

#[test]
fn tmpfs_counts() {
    in_group("tmpfs_counts", 200 * MIB, |_| {
        let mut eyes = Eyes::open();
        let before = eyes.ratio("cgroup");
        let path = PathBuf::from(format!("/dev/shm/highwater-{}", std::process::id()));
        fill_cache(&path, 80 * MIB);
        let after = eyes.ratio("cgroup");
        fs::remove_file(&path).unwrap();
        assert!((after - before - 0.4).abs() < 0.05, "{before} {after}");
    });
}

#[test]
fn what_was_freed_with_madv_free_is_left_out() {
    in_group("what_was_freed_with_madv_free_is_left_out", 200 * MIB, |_| {
        let mut eyes = Eyes::open();
        let before = eyes.ratio("cgroup");
        const LENGTH: usize = 100 * MIB;
        // SAFETY: an anonymous mapping of our own, written within its length, that outlives the
        // look at it; nobody else knows its address.
        unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                LENGTH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            at.cast::<u8>().write_bytes(1, LENGTH);
            let held = eyes.ratio("cgroup");
            assert!(held > before + 0.45, "{before} {held}");
            assert_eq!(libc::madvise(at, LENGTH, libc::MADV_FREE), 0);
            let freed = eyes.ratio("cgroup");
            assert!(freed < before + 0.05, "{before} {freed}");
            let still = eyes.see("container.memory.rss");
            assert!(still > (90 * MIB) as f64, "the kernel calls it anonymous all the same");
            assert_eq!(libc::munmap(at, LENGTH), 0);
        }
    });
}

#[test]
fn a_limit_is_lowered_while_running() {
    in_group("a_limit_is_lowered_while_running", 400 * MIB, |group| {
        let mut eyes = Eyes::open();
        let _held = hold(100 * MIB);
        let before = eyes.ratio("cgroup");
        group.limit(200 * MIB);
        assert_eq!(eyes.see(r#"limit{level="cgroup"}"#), (200 * MIB) as f64);
        let after = eyes.ratio("cgroup");
        assert!((after - 2.0 * before).abs() < 0.05, "{before} {after}");
    });
}

/// Somebody who holds so much memory until it is killed.
fn neighbour(group: &Group, mib: usize) -> Child {
    let script = format!("x=$(head -c {}M /dev/zero | tr '\\0' x); echo ready; read _", mib);
    let mut shell = group.run("sh", &["-c", &script]);
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    child
}

#[test]
fn a_sibling_fills_the_parent() {
    in_group("a_sibling_fills_the_parent", 400 * MIB, |parent| {
        let own = Group::below(&parent.0, "own").unwrap();
        let sibling = Group::below(&parent.0, "sibling").unwrap();
        own.limit(300 * MIB);
        fs::write(own.0.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        let mut eyes = Eyes::open();
        let before = (eyes.ratio("cgroup"), eyes.ratio("cgroup.ancestor1"));
        let mut child = neighbour(&sibling, 100);
        let after = (eyes.ratio("cgroup"), eyes.ratio("cgroup.ancestor1"));
        let binding = eyes.see(r#"binding{level="cgroup.ancestor1"}"#);
        child.kill().unwrap();
        child.wait().unwrap();
        fs::write(parent.0.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        assert!((after.0 - before.0).abs() < 0.05, "{before:?} {after:?}");
        assert!(after.1 - before.1 > 0.2, "{before:?} {after:?}");
        assert_eq!(binding, 1.0);
    });
}

#[test]
fn an_oom_kill_is_seen() {
    in_group("an_oom_kill_is_seen", 100 * MIB, |group| {
        let mut eyes = Eyes::open();
        let kills = r#"events{event="oom_kill", level="cgroup"}"#;
        let (own, host) = (eyes.see(kills), eyes.see(r#"events{event="oom_kill", level="host"}"#));
        assert_eq!(own, 0.0);
        let mut bomb = group.run("tail", &["/dev/zero"]);
        let outcome = bomb.status().unwrap();
        assert!(!outcome.success());
        assert_eq!(eyes.see(kills), 1.0);
        // The host's are read every five seconds.
        sleep(Duration::from_secs(5));
        assert!(eyes.see(r#"events{event="oom_kill", level="host"}"#) > host);
    });
}

/// The value of a series on the page of an instance, if it is there.
fn on_page(hw: &Highwater, series: &str) -> Option<f64> {
    let page = hw.render_prometheus();
    let (name, label) = series.split_once('{')?;
    let label = label.trim_end_matches('}');
    page.lines()
        .filter(|line| line.starts_with(name) && line[name.len()..].starts_with('{'))
        .find(|line| line.contains(label))
        .and_then(|line| line.rsplit_once("} ")?.1.split(' ').next()?.parse().ok())
}

/// Until it is so, `doing` it in between.
fn until(what: &str, mut is_so: impl FnMut() -> bool, mut doing: impl FnMut()) {
    let end = Instant::now() + Duration::from_secs(50);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        doing();
    }
}

fn nap() {
    sleep(Duration::from_millis(20));
}

/// It ticks once a minute, and has no reason to look in between: a page is of the last tick, and
/// there is a second one only because it was woken and saw how full it is.
#[test]
fn the_kernel_wakes_an_instance_that_sleeps() {
    in_group("the_kernel_wakes_an_instance_that_sleeps", 300 * MIB, |_| {
        let hw = Highwater::builder("woken").tick(Duration::from_secs(60)).start().unwrap();
        const WOKEN: &str = r#"highwater_memory_wakeups_total{source="threshold"}"#;
        const RATIO: &str = r#"highwater_memory_utilization_ratio{level="cgroup"}"#;
        until("the first tick", || on_page(&hw, WOKEN).is_some(), nap);
        assert_eq!(on_page(&hw, WOKEN), Some(0.0));
        assert!(on_page(&hw, RATIO).unwrap() < 0.5);
        let _held = hold(255 * MIB);
        until("it was not woken", || on_page(&hw, WOKEN).unwrap() >= 1.0, nap);
        assert!(on_page(&hw, RATIO).unwrap() > 0.8);
    });
}

/// The group reads more than it can keep, so its threads wait for memory.
#[test]
fn waiting_for_memory_wakes_it_too() {
    in_group("waiting_for_memory_wakes_it_too", 48 * MIB, |_| {
        let hw = Highwater::builder("pressed").start().unwrap();
        const WOKEN: &str = r#"highwater_memory_wakeups_total{source="psi"}"#;
        const ANY: &str = r#"highwater_memory_limit_bytes{level="cgroup"}"#;
        until("the first tick", || on_page(&hw, ANY).is_some(), nap);
        if on_page(&hw, WOKEN).is_none() {
            println!("SKIPPED: this kernel grants no PSI trigger");
            return;
        }
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("waiting_for_memory");
        fill_cache(&path, 200 * MIB);
        let file = fs::File::open(&path).unwrap();
        let mut buffer = vec![0; MIB];
        let mut at = 0;
        let read = || {
            for _ in 0..200 {
                file.read_at(&mut buffer, at % (200 * MIB as u64)).unwrap();
                at += MIB as u64;
            }
        };
        until("it was not woken", || on_page(&hw, WOKEN).unwrap() >= 1.0, read);
        fs::remove_file(&path).unwrap();
    });
}

/// A limit of the address space, which is no group's.
#[test]
fn the_address_space_is_a_wall_where_it_is_limited() {
    const CHILD: &str = "HIGHWATER_TEST_ADDRESS_SPACE";
    const TEST: &str = "the_address_space_is_a_wall_where_it_is_limited";
    if env::var_os(CHILD).is_some() {
        let mut eyes = Eyes::open();
        let level = r#"limit{level="address_space"}"#;
        let limit = eyes.see(level);
        assert_eq!(limit, (4u64 << 30) as f64);
        let before = eyes.ratio("address_space");
        assert!(before > 0.0 && before < 0.7, "{before}");
        // Asked for and not touched: it counts here, and nowhere else.
        let held: Vec<u8> = Vec::with_capacity(1 << 30);
        let after = eyes.ratio("address_space");
        assert!((after - before - 0.25).abs() < 0.02, "{before} {after}");
        drop(std::hint::black_box(held));
        return;
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v 4194304 && exec \"$@\"", "sh"]);
    shell.arg(env::current_exe().unwrap()).args(["--exact", TEST, "--nocapture"]);
    let outcome = shell.env(CHILD, "yes").output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout).into_owned()
        + &String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{said}");
}

/// A file that the machine swaps to; no longer, in the end.
struct SwapFile(PathBuf);

impl SwapFile {
    /// If this machine grants it.
    fn switch_on(bytes: usize) -> Result<Self, String> {
        let name = format!("highwater-{}-swap", std::process::id());
        let file = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        let mut writer = fs::File::create(&file.0).map_err(|why| why.to_string())?;
        // With holes in it it would be refused.
        for _ in 0..bytes / MIB {
            writer.write_all(&[0; MIB]).map_err(|why| why.to_string())?;
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&file.0, mode).map_err(|why| why.to_string())?;
        for command in ["mkswap", "swapon"] {
            let outcome = Command::new(command).arg(&file.0).output();
            let outcome = outcome.map_err(|why| format!("{command}: {why}"))?;
            if !outcome.status.success() {
                return Err(format!("{command}: {}", String::from_utf8_lossy(&outcome.stderr)));
            }
        }
        Ok(file)
    }
}

impl Drop for SwapFile {
    fn drop(&mut self) {
        // The whole machine swaps to it: what is another group's cannot come back while that is full.
        for _ in 0..300 {
            let outcome = Command::new("swapoff").arg(&self.0).output();
            if outcome.is_ok_and(|outcome| outcome.status.success()) {
                break;
            }
            sleep(Duration::from_millis(100));
        }
        let _ = fs::remove_file(&self.0);
    }
}

/// The built-in samplers, nothing of which is older than this.
fn all_eyes() -> Eyes {
    Eyes(Sampling::new(sample::harness::samplers(Duration::from_millis(50))))
}

impl Eyes {
    /// A value by its whole name, after a tick that reads everything.
    fn read(&mut self, series: &str) -> f64 {
        sleep(Duration::from_millis(60));
        self.0.tick();
        self.0.value(series).unwrap_or_else(|| panic!("{series} is absent: {:?}", self.0))
    }
}

/// Bytes, from a line such as `VmSwap: 12 kB`.
fn kernel_says(file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t']).split(' ').next().unwrap().parse::<f64>().unwrap() * 1024.0
}

#[test]
fn swap_is_what_the_kernel_says() {
    const TEST: &str = "swap_is_what_the_kernel_says";
    let _file = match env::var(INSIDE).is_err().then(|| SwapFile::switch_on(256 * MIB)) {
        Some(Err(why)) => {
            println!("SKIPPED {TEST}: this machine lets nobody swap to a file: {why}");
            return;
        }
        Some(Ok(file)) => Some(file),
        None => None,
    };
    in_group(TEST, 64 * MIB, |_| {
        const OUT: &str = r#"system.paging.operations{system.paging.direction="out"}"#;
        const OWN: &str = "highwater.process.memory.swap{}";
        const USED: &str = r#"system.paging.usage{system.paging.state="used"}"#;
        let mut eyes = all_eyes();
        let (before, out) = (eyes.read(OWN), eyes.read(OUT));
        // Twice the limit: half of it cannot stay.
        let held = hold(128 * MIB);
        let own = eyes.read(OWN);
        let truth = kernel_says("/proc/self/status", "VmSwap");
        assert!(own > before + (56 * MIB) as f64, "{before} {own}");
        assert!((own - truth).abs() < (4 * MIB) as f64, "{own} {truth}");
        assert!(eyes.read(OUT) - out >= 56.0 * MIB as f64 / 4096.0);
        let used = eyes.read(USED);
        let [all, free] = ["SwapTotal", "SwapFree"].map(|name| kernel_says("/proc/meminfo", name));
        assert!((used - (all - free)).abs() < (16 * MIB) as f64, "{used} {all} {free}");
        assert!(used >= own);
        drop(held);
        assert!(eyes.read(OWN) < own / 2.0);
    });
}

/// The figures of waiting lie between what the kernel says before and after.
#[test]
fn waiting_is_what_the_kernel_says() {
    const TEST: &str = "waiting_is_what_the_kernel_says";
    const FILE: &str = "/proc/pressure/memory";
    if !Path::new(FILE).exists() {
        println!("SKIPPED {TEST}: a kernel without PSI");
        return;
    }
    in_group(TEST, 48 * MIB, |_| {
        let total = |line: &str| -> f64 {
            let text = fs::read_to_string(FILE).unwrap();
            let line = text.lines().find(|of| of.starts_with(line)).unwrap().to_owned();
            let (_, total) = line.split_once("total=").unwrap();
            total.trim().parse::<f64>().unwrap() / 1e6
        };
        let mut eyes = all_eyes();
        let series = |stall: &str| {
            format!(
                r#"highwater.pressure.time{{level="host", resource="memory", stall="{stall}"}}"#
            )
        };
        let check = |eyes: &mut Eyes| {
            for stall in ["some", "full"] {
                let before = total(stall);
                let seen = eyes.read(&series(stall));
                let after = total(stall);
                assert!(before <= seen && seen <= after, "{stall}: {before} {seen} {after}");
            }
            eyes.read(&series("some"))
        };
        let calm = check(&mut eyes);
        // It reads more than the group can keep: pages are given up and read back.
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("waiting_is");
        fill_cache(&path, 200 * MIB);
        let file = fs::File::open(&path).unwrap();
        let mut buffer = vec![0; MIB];
        let start = Instant::now();
        let mut pressed = calm;
        while pressed <= calm && start.elapsed() < Duration::from_secs(60) {
            for at in 0..200 {
                file.read_at(&mut buffer, at * MIB as u64).unwrap();
            }
            pressed = check(&mut eyes);
        }
        fs::remove_file(&path).unwrap();
        assert!(pressed > calm, "nobody waited for memory in a minute");
    });
}
