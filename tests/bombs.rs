//! Memory bombs in a real control group (v1): does the watch flip before the kernel kills, and how
//! long before? Each run is this test again, as a child in a group with a limit, which fills its
//! memory at a steady rate until it is killed: on a calm machine, and in a group that thrashes, as
//! it reads a file twice as large as its limit all the while.
//!
//! One run of each by default, `HIGHWATER_BOMBS=100` for a hundred; with at least a hundred the
//! watch must have flipped in 99% of those with more than 300 ms of runway. `HIGHWATER_BOMBS_SWAP=1`
//! switches on a swap file *of the whole machine* for a third kind, whose memory goes to swap
//! first. `HIGHWATER_BOMBS_KIND=thrashing` (`calm`, `swapping`) runs that kind alone. Needs root and a mounted v1 memory controller; says so where it skips.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use highwater::Highwater;

const MIB: usize = 1 << 20;
const LIMIT: usize = 256 * MIB;
const RATE: &str = "HIGHWATER_TEST_BOMB_RATE";
/// Names the file to be read all the while.
const FILE: &str = "HIGHWATER_TEST_BOMB_FILE";
/// Who goes to swap may hold so much more.
const SWAP: usize = 128 * MIB;
/// In MiB a second: from two seconds to a third of one.
const RATES: [usize; 3] = [100, 300, 600];
/// Who dies sooner cannot be helped.
const RUNWAY: Duration = Duration::from_millis(300);

struct Group(PathBuf);

impl Group {
    fn create() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.split_once(":memory:"))?.1;
        let root = Path::new("/sys/fs/cgroup/memory").join(own.trim_start_matches('/'));
        let path = root.join(format!("highwater-{}-bomb", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        fs::write(group.0.join("memory.limit_in_bytes"), LIMIT.to_string()).ok()?;
        Some(group)
    }

    /// Of memory and swap together.
    fn limit_both(&self, bytes: usize) {
        fs::write(self.0.join("memory.memsw.limit_in_bytes"), bytes.to_string()).unwrap();
    }
}

/// A file; removed in the end, and swapped to no more.
struct Scratch(PathBuf);

impl Scratch {
    /// Whose pages are in nobody's cache.
    fn create(name: &str, bytes: usize) -> Self {
        let name = format!("highwater-{}-{name}", std::process::id());
        let scratch = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        let mut file = fs::File::create(&scratch.0).unwrap();
        for _ in 0..bytes / MIB {
            file.write_all(&[7; MIB]).unwrap();
        }
        file.sync_all().unwrap();
        forget(&file);
        scratch
    }

    /// Whether the machine now swaps to it.
    fn swap_on(&self) -> bool {
        let run = |command: &str| {
            Command::new(command)
                .arg(&self.0)
                .output()
                .is_ok_and(|outcome| outcome.status.success())
        };
        fs::set_permissions(&self.0, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        run("mkswap") && run("swapon")
    }
}

/// What of the file is cached is given up.
#[allow(unsafe_code)]
fn forget(file: &fs::File) {
    use std::os::fd::AsRawFd;

    // SAFETY: advice on a descriptor that is open, all of it; no memory is involved.
    let outcome = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(outcome, 0);
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = Command::new("swapoff").arg(&self.0).output();
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(word.as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The child: watched, and filling up.
fn explode(mib_a_second: usize) {
    let hw = Highwater::builder("bomb").start().unwrap();
    let watch = hw.alert("MemoryCritical").unwrap();
    // The first ticks.
    sleep(Duration::from_millis(1_300));
    if let Some(file) = env::var_os(FILE) {
        for seed in 0..3 {
            let file = fs::File::open(&file).unwrap();
            thread::spawn(move || thrash(&file, seed));
        }
        // Until the cache is full, and each page read is one given up.
        sleep(Duration::from_millis(2_000));
    }
    thread::spawn(move || {
        while !watch.is_firing() {
            sleep(Duration::from_millis(1));
        }
        say("\nflipped\n");
        sleep(Duration::from_secs(600));
    });
    say("\nbegins\n");
    let start = Instant::now();
    let mut held: Vec<Vec<u8>> = Vec::with_capacity(100_000);
    loop {
        let due = mib_a_second as f64 * start.elapsed().as_secs_f64();
        while (held.len() as f64) < due {
            held.push(std::hint::black_box(vec![1; MIB]));
        }
        sleep(Duration::from_millis(1));
    }
}

/// Reads here and there for ever.
fn thrash(file: &fs::File, mut seed: u64) {
    use std::os::unix::fs::FileExt;

    const BLOCK: usize = 64 << 10;
    let blocks = file.metadata().unwrap().len() / BLOCK as u64;
    let mut buffer = vec![0; BLOCK];
    loop {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let _ = file.read_at(&mut buffer, (seed >> 33) % blocks * BLOCK as u64);
    }
}

/// From the beginning to the end, and from the flip to the end.
fn run(group: &Group, rate: usize, file: Option<&Scratch>) -> (Duration, Option<Duration>) {
    let this = env::current_exe().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&group.0).arg(this);
    shell.args(["--exact", "the_watch_flips_before_the_kill", "--nocapture"]);
    if let Some(file) = file {
        shell.env(FILE, &file.0);
    }
    shell.env(RATE, rate.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = shell.spawn().unwrap();
    let (mut begun, mut flipped) = (None, None);
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        match line.as_str() {
            "begins" => begun = Some(Instant::now()),
            "flipped" => flipped = Some(Instant::now()),
            _ => {}
        }
    }
    // The pipe closed with the process.
    let end = Instant::now();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "it was not killed: {status}");
    (end - begun.unwrap(), flipped.map(|at| end - at))
}

#[test]
fn the_watch_flips_before_the_kill() {
    if let Ok(rate) = env::var(RATE) {
        return explode(rate.parse().unwrap());
    }
    let Some(group) = Group::create() else {
        println!("SKIPPED: needs root and a mounted v1 memory controller");
        return;
    };
    let runs = env::var("HIGHWATER_BOMBS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1);
    let judge = |kind: &str, file: Option<&Scratch>| {
        let (mut timely, mut missed) = (0, 0);
        for rate in RATES {
            let mut leads = Vec::new();
            let mut runways = Vec::new();
            for _ in 0..runs {
                let (runway, lead) = run(&group, rate, file);
                runways.push(runway);
                if runway > RUNWAY {
                    timely += usize::from(lead.is_some());
                    missed += usize::from(lead.is_none());
                }
                leads.extend(lead);
            }
            runways.sort();
            leads.sort();
            println!(
                "{kind}, {rate} MiB/s: {} of {runs} flipped; runway {:?}; before the kill: least {:?}, median {:?}",
                leads.len(),
                runways[runways.len() / 2],
                leads.first(),
                leads.get(leads.len() / 2),
            );
        }
        let all = timely + missed;
        println!("{kind}: {timely} of {all} with more than {RUNWAY:?} flipped in time");
        assert!(timely > 0, "{kind}: none of {all}");
        // What a few say of a busy machine is no share.
        assert!(all < 100 || missed * 100 <= all, "{kind}: {missed} of {all}");
    };
    let only = env::var("HIGHWATER_BOMBS_KIND").ok();
    let wanted = |kind: &str| only.as_deref().is_none_or(|only| only == kind);
    if wanted("calm") {
        judge("calm", None);
    }
    if wanted("thrashing") {
        let file = Scratch::create("thrash", 2 * LIMIT);
        judge("thrashing", Some(&file));
    }
    if !wanted("swapping") {
        return;
    }
    if env::var_os("HIGHWATER_BOMBS_SWAP").is_none() {
        println!("SKIPPED swapping: HIGHWATER_BOMBS_SWAP=1 lets the machine swap for it");
        return;
    }
    let file = Scratch::create("swap", 4 * SWAP);
    if !file.swap_on() {
        println!("SKIPPED swapping: this machine lets nobody swap to a file");
        return;
    }
    group.limit_both(LIMIT + SWAP);
    judge("swapping", None);
}
