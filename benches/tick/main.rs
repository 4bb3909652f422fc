//! What a tick of sampling costs: `cargo bench -p highwater-bench --bench tick`.
//!
//! All built-in samplers, in a control group with a limit below two with limits (v1, as root;
//! elsewhere in whatever group it runs, which it says), with 10,000 open descriptors: a full tick
//! and a glance of the fast lane, beside bare `pread`s of the very files the samplers keep open,
//! and beside `sysinfo` for the facts it has. Every look comes 60 ms after the last, as nothing in
//! a sleeping process stays in the caches. Linux only. Writes `target/highwater/tick.json`; with
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

    pub fn main() -> io::Result<ExitCode> {
        let rounds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(200);
        let nest = Nest::enter();
        println!(
            "{}",
            nest.as_ref()
                .map_or("in no group of its own", |_| "in three nested groups with limits (v1)")
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
        let files: Vec<_> = kept_open().into_iter().filter(|path| !before.contains(path)).collect();
        let mut bare = Bare::open(&files)?;
        let mut peer = Peer::new();

        let mut times: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::with_capacity(rounds));
        let mut read = vec![Vec::new(); bare.files.len()];
        for _ in 0..rounds {
            let mut look = |at: usize, work: &mut dyn FnMut()| {
                sleep(PAUSE);
                let start = Instant::now();
                work();
                times[at].push(start.elapsed().as_secs_f64() * 1e6);
            };
            look(0, &mut || drop(black_box(sampling.tick())));
            look(1, &mut || drop(black_box(bare.read_all(&mut read))));
            look(2, &mut || drop(black_box(sampling.glance())));
            look(3, &mut || peer.refresh());
            look(4, &mut || peer.refresh_with_descriptors());
        }
        assert!(sampling.all_active(), "{sampling:?}");
        let [tick, bare_reads, glance, peer, peer_all] = times.map(median);
        println!("\nmedian of {rounds}, µs:");
        for (what, figure) in [
            ("a full tick of all samplers", tick),
            ("bare reads of its files", bare_reads),
            ("a glance of the fast lane", glance),
            ("sysinfo: memory, process, load", peer),
            ("sysinfo: and open descriptors", peer_all),
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
            ("full tick ÷ sysinfo", tick / peer_all, 0.25),
            ("fast lane, µs", glance, 20.0),
        ];
        println!();
        let mut over = false;
        for (what, figure, bar) in rows {
            println!("  {what:34} {figure:8.2}   (at most {bar})");
            over |= figure > bar;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/highwater");
        fs::create_dir_all(&root)?;
        fs::write(
            root.join("tick.json"),
            format!(
                "{{\n  \"rounds\": {rounds},\n  \"nested_groups\": {},\n  \"descriptors\": {DESCRIPTORS},\n  \
                 \"tick_us\": {tick},\n  \"bare_reads_us\": {bare_reads},\n  \"glance_us\": {glance},\n  \
                 \"sysinfo_us\": {peer},\n  \"sysinfo_with_descriptors_us\": {peer_all}\n}}\n",
                nest.is_some()
            ),
        )?;
        let check = std::env::args().any(|arg| arg == "--check");
        Ok(if check && over { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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
