//! What a tick of sampling costs: `cargo bench -p highwater-bench --bench tick`.
//!
//! All built-in samplers, in a control group with a limit and two ancestors, one with a limit too
//! (v1, as root; elsewhere in whatever group it runs, which it says), with 10,000 open descriptors.
//! What may be older is read in five turns, one a tick: a *full* tick is the dearest of the five,
//! and is judged beside bare `pread`s of the very files that it reads (how many those are is checked
//! against the kernel's count of reads), and beside `sysinfo` for the facts it has; also the mean of
//! the five, and the dearest where three quarters of the limits are charged, where no group's figures
//! may be old. Then a glance of the fast lane. Each by itself, 60 ms after the last, spent spinning:
//! what the work costs, with an awake core and whatever caches 60 ms leave; and beside it 60 ms spent
//! asleep, which is what a process that does nothing else pays. Linux only. Writes
//! `target/highwater/tick.json`; with `--check` it exits 1 where a figure is over its bar.

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
    const TURNS: usize = 5;

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
        let samplers = sample::harness::samplers(PAUSE * TURNS as u32);
        let mut pace = Pace { start: Instant::now(), ticks: 0 };
        let mut all = Sampling::new(samplers);
        all.tick();
        let mut files = kept_open();
        files.retain(|path| !before.contains(path));
        let own = files.iter().filter(|path| path.ends_with("memory.stat"));
        let own = own.filter_map(|path| path.parent()).max_by_key(|path| path.components().count());
        let own = own.map(Path::to_owned).unwrap_or_default();
        let armed = all.value(r#"highwater.memory.wakeups{source="psi"}"#).is_some();
        let read_in: Vec<_> = files.iter().map(|path| turn(path, &own, armed)).collect();
        let mut bare = Bare::open(&files)?;
        let mut peer = Peer::new();

        let mut reads = [0; TURNS];
        let before = reads_so_far();
        let asking = reads_so_far().saturating_sub(before);
        pace.each(1, spin, |_| _ = all.tick());
        pace.each(TURNS, spin, |turn| {
            let before = reads_so_far();
            all.tick();
            reads[turn] = reads_so_far().saturating_sub(before + asking);
        });
        let of = |turn: usize| {
            let read = |read: &&Read| **read == Read::Always || **read == Read::In(turn);
            read_in.iter().filter(read).count()
        };
        for (turn, reads) in reads.into_iter().enumerate() {
            if reads != 0 && reads != of(turn) {
                println!("turn {turn}: {reads} reads, of which {} are known", of(turn));
            }
        }
        let mut costs = vec![Vec::new(); files.len()];
        let ticks = pace.measure(rounds / 2, spin, |_| _ = black_box(all.tick()));
        let bares = pace.measure(rounds / 2, spin, |turn| {
            let of =
                |at: usize| matches!(read_in[at], Read::Always) || read_in[at] == Read::In(turn);
            bare.read(of, &mut costs);
        });
        let (worst, tick) = dearest(&ticks);
        let bare_reads = bares[worst];
        let mean = |of: &[f64; TURNS]| of.iter().sum::<f64>() / TURNS as f64;
        let glance = measure(rounds, spin, PAUSE, || _ = black_box(all.glance()));
        let glanced: Vec<_> = files.iter().map(|path| is_glanced(path)).collect();
        let mut unused = vec![Vec::new(); files.len()];
        let bare_glance = measure(rounds, spin, PAUSE, || bare.read(|at| glanced[at], &mut unused));
        let hurried = measure(rounds * 20, |_| {}, PAUSE, || _ = black_box(all.glance()));
        let peer_part = measure(rounds, spin, PAUSE, || peer.refresh());
        let peer_all = measure(rounds.min(50), spin, PAUSE, || peer.refresh_with_descriptors());
        let asleep = pace.measure(rounds / 5, sleep, |_| _ = black_box(all.tick()));
        let glance_asleep = measure(rounds, sleep, PAUSE, || _ = black_box(all.glance()));
        let (mut near, mut near_mean) = (f64::NAN, f64::NAN);
        if let Some(nest) = &nest {
            nest.tighten()?;
            let ticks = pace.measure(rounds / 5, spin, |_| _ = black_box(all.tick()));
            (near, near_mean) = (dearest(&ticks).1, mean(&ticks));
        }
        assert!(all.all_active(), "{all:?}");
        let (mean, mean_bare, mean_asleep) = (mean(&ticks), mean(&bares), mean(&asleep));
        println!("\nmedians of {rounds}, µs:");
        for (what, figure) in [
            ("a full tick: the dearest of five", tick),
            ("bare reads of its files", bare_reads),
            ("mean of the five", mean),
            ("mean of their bare reads", mean_bare),
            ("a full tick near the limits", near),
            ("mean of the five near the limits", near_mean),
            ("a glance of the fast lane", glance),
            ("bare reads of its files", bare_glance),
            ("glances one upon the other", hurried),
            ("sysinfo: memory, process, load", peer_part),
            ("sysinfo: and open descriptors", peer_all),
            ("mean of the five, after a sleep", mean_asleep),
            ("a glance, after a sleep", glance_asleep),
        ] {
            println!("  {what:34} {figure:8.1}");
        }
        println!("\nthe five, and their bare reads:");
        for ((tick, bare), reads) in ticks.iter().zip(bares).zip(reads) {
            println!("  {tick:8.1} {bare:8.1}   {reads} reads");
        }
        println!("\nof the files, µs each, and in which turn:");
        for ((path, cost), read_in) in files.iter().zip(costs).zip(read_in) {
            let path = path.display();
            match read_in {
                Read::Always => println!("  {:8.1}  -  {path}", median(cost)),
                Read::In(turn) => println!("  {:8.1}  {turn}  {path}", median(cost)),
                Read::Rarely => {}
            }
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
        // Not measured is no number in JSON.
        let near = if near.is_nan() { "null".to_owned() } else { near.to_string() };
        fs::write(
            root.join("tick.json"),
            format!(
                "{{\n  \"rounds\": {rounds},\n  \"nested_groups\": {},\n  \"descriptors\": {DESCRIPTORS},\n  \
                 \"tick_us\": {tick},\n  \"bare_reads_us\": {bare_reads},\n  \"mean_tick_us\": {mean},\n  \"mean_bare_reads_us\": {mean_bare},\n  \"tick_near_limits_us\": {near},\n  \"glance_us\": {glance},\n  \"bare_reads_of_a_glance_us\": {bare_glance},\n  \"mean_tick_asleep_us\": {mean_asleep},\n  \"glance_asleep_us\": {glance_asleep},\n  \
                 \"sysinfo_us\": {peer_part},\n  \"sysinfo_with_descriptors_us\": {peer_all}\n}}\n",
                nest.is_some()
            ),
        )?;
        let check = std::env::args().any(|arg| arg == "--check");
        Ok(if check && over { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Ticks at whole pauses since the samplers began, so that each falls into the middle of a turn.
    struct Pace {
        start: Instant,
        ticks: u32,
    }

    impl Pace {
        /// So many, each told its turn.
        fn each(&mut self, ticks: usize, pause: fn(Duration), mut work: impl FnMut(usize)) {
            let elapsed = self.start.elapsed().as_nanos() / PAUSE.as_nanos();
            self.ticks = u32::try_from(elapsed).unwrap_or(u32::MAX);
            for _ in 0..ticks {
                self.ticks += 1;
                pause((PAUSE * self.ticks).saturating_sub(self.start.elapsed()));
                // The first tick read everything.
                work((self.ticks as usize + TURNS - 1) % TURNS);
            }
        }

        /// The median of each turn in microseconds.
        fn measure(
            &mut self,
            rounds: usize,
            pause: fn(Duration),
            mut work: impl FnMut(usize),
        ) -> [f64; TURNS] {
            let mut times = [const { Vec::new() }; TURNS];
            // After a while without, the first of them are each turn's at once.
            self.each(1, pause, &mut work);
            self.each(rounds.max(1) * TURNS, pause, |turn| {
                let start = Instant::now();
                work(turn);
                times[turn].push(start.elapsed().as_secs_f64() * 1e6);
            });
            times.map(median)
        }
    }

    fn dearest(ticks: &[f64; TURNS]) -> (usize, f64) {
        let dearest = ticks.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        dearest.unwrap_or_default()
    }

    /// How often this process has asked for a file's text.
    fn reads_so_far() -> usize {
        let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("syscr: "));
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
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
        let read_only = links.filter(|link| {
            // What is written to is a trigger.
            let info = Path::new("/proc/self/fdinfo").join(link.file_name());
            let info = fs::read_to_string(info).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            flags.is_some_and(|flags| flags.ends_with('0'))
        });
        let paths = read_only.filter_map(|link| fs::read_link(link.path()).ok());
        paths
            .filter(|path| {
                (path.starts_with("/proc") || path.starts_with("/sys")) && !path.ends_with("fd")
            })
            .collect()
    }

    /// In which tick a file is read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Read {
        Always,
        In(usize),
        Rarely,
    }

    fn turn(path: &Path, own: &Path, armed: bool) -> Read {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_own = path.parent() == Some(own);
        let depth = path
            .parent()
            .map_or(0, |group| own.components().count().saturating_sub(group.components().count()));
        let is_limited = |limit: &str| {
            let text = fs::read_to_string(path.with_file_name(limit)).unwrap_or_default();
            text.trim().parse::<u64>().is_ok_and(|limit| limit < 1 << 62)
        };
        let if_limited = |limits: &[&str], otherwise| {
            let is_limited = limits.iter().any(|limit| is_limited(limit));
            if is_limited { Read::Always } else { otherwise }
        };
        let memory = ["memory.limit_in_bytes", "memory.max"];
        let swap = ["memory.memsw.limit_in_bytes", "memory.swap.max"];
        match name {
            "vmstat" => Read::In(0),
            "status" | "loadavg" | "limits" => Read::In(1),
            // The kernel wakes us of it.
            "memory" if path.starts_with("/proc/pressure") && armed => Read::In(2),
            "memory.stat" if depth < 2 => Read::In(2),
            "memory.stat" if depth == 2 => Read::In(3),
            "meminfo" if is_half_free() => Read::In(3),
            "memory.oom_control" | "memory.events" if !is_own => Read::In(4),
            "memory.events.local" => Read::In(4),
            "io" | "cpu" | "io.pressure" | "cpu.pressure" | "cpu.stat" | "schedstat" => Read::In(4),
            "cgroup" => Read::Rarely,
            _ if memory.contains(&name) || swap.contains(&name) => if_limited(&[name], Read::In(4)),
            "memory.usage_in_bytes" | "memory.current" => if_limited(&memory, Read::Rarely),
            "memory.memsw.usage_in_bytes" | "memory.swap.current" => {
                if_limited(&swap, Read::Rarely)
            }
            _ if name.starts_with("pids.") => Read::In(4),
            _ => Read::Always,
        }
    }

    /// The machine.
    fn is_half_free() -> bool {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        };
        of("MemAvailable").zip(of("MemTotal")).is_some_and(|(left, all)| left > all / 2)
    }

    /// What is charged to a group with a limit.
    fn is_glanced(path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let limit = match name {
            "memory.usage_in_bytes" => "memory.limit_in_bytes",
            "memory.current" => "memory.max",
            _ => return false,
        };
        let text = fs::read_to_string(path.with_file_name(limit)).unwrap_or_default();
        text.trim().parse::<u64>().is_ok_and(|limit| limit < 1 << 62)
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

        /// One answer each: what is ours in vmstat is in its first.
        fn read(&mut self, of: impl Fn(usize) -> bool, costs: &mut [Vec<f64>]) {
            for (at, (file, costs)) in self.files.iter().zip(costs).enumerate() {
                if of(at) {
                    let start = Instant::now();
                    let _ = black_box(file.read_at(&mut self.buffer, 0));
                    costs.push(start.elapsed().as_secs_f64() * 1e6);
                }
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
