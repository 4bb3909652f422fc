//! What a tick of sampling costs: `cargo bench -p highwater-bench --bench tick`.
//!
//! All built-in samplers, in a control group with a limit and two ancestors, one with a limit too
//! (v1, as root; elsewhere in whatever group it runs, which it says), with 10,000 open descriptors: a full tick,
//! as every fifth is, a usual one, which hands out again what changes slowly, and a glance of the
//! fast lane, beside bare `pread`s of the very files the samplers keep open, and beside `sysinfo`
//! for the facts it has. Each by itself, 60 ms after the last, spent spinning: what the work costs,
//! with warm caches and an awake core; and beside it, for the tick and the glance, 60 ms spent
//! asleep, which is what a process that does nothing else pays. Linux only. Writes `target/highwater/tick.json`; with
//! `--check` it exits 1 where a figure is over its bar.

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("SKIPPED: needs Linux");
}

#[cfg(target_os = "linux")]
mod group;

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<std::process::ExitCode> {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        fs::{self, File},
        hint::black_box,
        io,
        os::unix::fs::FileExt,
        path::{Path, PathBuf},
        process::ExitCode,
        thread::sleep,
        time::{Duration, Instant},
    };

    use highwater::sample::{self, harness::Sampling};
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

    use crate::group::Nest;

    const DESCRIPTORS: usize = 10_000;
    const PAUSE: Duration = Duration::from_millis(60);
    /// So that everything is read again.
    const SLOW: Duration = Duration::from_millis(50);

    pub fn main() -> io::Result<ExitCode> {
        let rounds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(200);
        let nest = Nest::enter();
        println!(
            "{}",
            nest.as_ref().map_or(
                "in no group of its own",
                |_| "in a group with a limit and two ancestors (v1)"
            )
        );
        let descriptors = open(DESCRIPTORS)?;
        println!("{} descriptors open", descriptors.len());
        let before = kept_open();
        let mut sampling = Sampling::new(vec![
            Box::new(sample::process()),
            Box::new(sample::system()),
            Box::new(sample::memory()),
            Box::new(sample::pressure()),
        ]);
        sampling.tick();
        sleep(PAUSE);
        sampling.tick();
        let files = kept_open().into_iter().filter(|path| !before.contains(path) && is_read(path));
        let files: Vec<_> = files.collect();
        let mut bare = Bare::open(&files)?;
        let mut peer = Peer::new();

        let mut read = vec![Vec::new(); bare.files.len()];
        let usual = measure(rounds, spin, PAUSE, || _ = black_box(sampling.tick()));
        let glance = measure(rounds, spin, PAUSE, || _ = black_box(sampling.glance()));
        let mut all = Sampling::new(sample::harness::samplers(SLOW));
        all.tick();
        let tick = measure(rounds, spin, PAUSE, || _ = black_box(all.tick()));
        let hurried = measure(rounds * 20, |_| {}, PAUSE, || _ = black_box(all.glance()));
        let bare_reads = measure(rounds, spin, PAUSE, || bare.read_all(&mut read));
        let peer_part = measure(rounds, spin, PAUSE, || peer.refresh());
        let peer_all = measure(rounds.min(50), spin, PAUSE, || peer.refresh_with_descriptors());
        let usual_asleep = measure(rounds, sleep, PAUSE, || _ = black_box(sampling.tick()));
        let glance_asleep = measure(rounds, sleep, PAUSE, || _ = black_box(sampling.glance()));
        assert!(sampling.all_active(), "{sampling:?}");
        println!("\nmedian of {rounds}, µs:");
        for (what, figure) in [
            ("a full tick of all samplers", tick),
            ("a usual tick", usual),
            ("bare reads of its files", bare_reads),
            ("a glance of the fast lane", glance),
            ("glances one upon the other", hurried),
            ("sysinfo: memory, process, load", peer_part),
            ("sysinfo: and open descriptors", peer_all),
            ("a usual tick, after a sleep", usual_asleep),
            ("a glance, after a sleep", glance_asleep),
        ] {
            println!("  {what:34} {figure:8.1}");
        }
        println!("\nof these files, µs each:");
        for (path, read) in files.iter().zip(read) {
            println!("  {:8.1}  {}", median(read), path.display());
        }
        let rows = [
            ("full tick, µs", tick, 150.0),
            ("full tick ÷ bare reads", tick / bare_reads, 1.6),
            // It reads the descriptors one by one, which nobody has to: with and without.
            ("full tick ÷ sysinfo, with descriptors", tick / peer_all, 0.25),
            ("fast lane, µs", glance, 20.0),
        ];
        println!();
        let mut over = false;
        for (what, figure, bar) in rows {
            let holds = figure <= bar;
            let word = if holds { "holds" } else { "FAILS" };
            println!("  {word} {what:38} {figure:8.2}   (at most {bar})");
            over |= !holds;
        }
        let without = tick / peer_part;
        println!("        full tick ÷ sysinfo, no descriptors    {without:8.2}   (no claim)");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/highwater");
        fs::create_dir_all(&root)?;
        fs::write(
            root.join("tick.json"),
            format!(
                "{{\n  \"rounds\": {rounds},\n  \"nested_groups\": {},\n  \"descriptors\": {DESCRIPTORS},\n  \
                 \"tick_us\": {tick},\n  \"usual_tick_us\": {usual},\n  \"bare_reads_us\": {bare_reads},\n  \"glance_us\": {glance},\n  \"usual_tick_asleep_us\": {usual_asleep},\n  \"glance_asleep_us\": {glance_asleep},\n  \
                 \"sysinfo_us\": {peer_part},\n  \"sysinfo_with_descriptors_us\": {peer_all}\n}}\n",
                nest.is_some()
            ),
        )?;
        let check = std::env::args().any(|arg| arg == "--check");
        Ok(if check && over { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn spin(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    /// Its median in microseconds.
    fn measure(rounds: usize, pause: fn(Duration), time: Duration, mut work: impl FnMut()) -> f64 {
        let once = |_| {
            pause(time);
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e6
        };
        median((0..rounds).map(once).collect())
    }

    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn open(count: usize) -> io::Result<Vec<File>> {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limit = getrlimit(Resource::Nofile);
        let wanted = Some(count as u64 + 1_000);
        let maximum = limit.maximum.max(wanted);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum });
        let file = File::open("/dev/null")?;
        (0..count).map(|_| file.try_clone()).collect()
    }

    /// The kernel's files that this process has open.
    fn kept_open() -> Vec<PathBuf> {
        let links = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let paths = links.filter_map(|link| fs::read_link(link.path()).ok());
        paths
            .filter(|path| {
                (path.starts_with("/proc") || path.starts_with("/sys")) && !path.ends_with("fd")
            })
            .collect()
    }

    /// Of a group without a limit only that is asked, and what was killed in it.
    fn is_read(path: &Path) -> bool {
        let group = path.parent().filter(|_| path.starts_with("/sys/fs/cgroup"));
        let limit = group.map(|group| fs::read_to_string(group.join("memory.limit_in_bytes")));
        let unlimited = limit.is_some_and(|limit| limit.is_ok_and(|limit| limit.trim().len() > 18));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        !unlimited || name.contains("limit") || name.contains("oom")
    }

    struct Bare {
        files: Vec<File>,
        buffer: Vec<u8>,
    }

    impl Bare {
        fn open(paths: &[PathBuf]) -> io::Result<Self> {
            let files = paths.iter().map(File::open).collect::<io::Result<_>>()?;
            Ok(Self { files, buffer: vec![0; 64 << 10] })
        }

        fn read_all(&mut self, each: &mut [Vec<f64>]) {
            for (file, times) in self.files.iter().zip(each) {
                let start = Instant::now();
                let mut at = 0;
                // Until the end, as vmstat comes in several answers.
                loop {
                    match file.read_at(&mut self.buffer, at) {
                        Ok(read) if read >= 2_048 => at += read as u64,
                        _ => break,
                    }
                }
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
    }

    struct Peer {
        system: System,
        own: Pid,
    }

    impl Peer {
        fn new() -> Self {
            Self { system: System::new(), own: Pid::from_u32(std::process::id()) }
        }

        fn refresh(&mut self) {
            self.system.refresh_memory();
            let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
            self.system.refresh_processes_specifics(
                ProcessesToUpdate::Some(&[self.own]),
                false,
                what,
            );
            black_box(System::load_average());
            black_box(self.system.cgroup_limits());
        }

        fn refresh_with_descriptors(&mut self) {
            self.refresh();
            let process = self.system.process(self.own);
            black_box(process.and_then(sysinfo::Process::open_files));
            black_box(process.and_then(sysinfo::Process::open_files_limit));
        }
    }
}
