//! Memory bombs in a real control group (v1): does the watch flip before the kernel kills, and how
//! long before? Each run is this test again, as a child in a group with a limit, which fills its
//! memory at a steady rate until it is killed.
//!
//! Two runs a rate by default, `HIGHWATER_BOMBS=100` for a hundred. Needs root and a mounted v1
//! memory controller; says so where it skips.
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

/// From the beginning to the end, and from the flip to the end.
fn run(group: &Group, rate: usize) -> (Duration, Option<Duration>) {
    let this = env::current_exe().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&group.0).arg(this);
    shell.args(["--exact", "the_watch_flips_before_the_kill", "--nocapture"]);
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
    let runs = env::var("HIGHWATER_BOMBS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(2);
    let (mut timely, mut missed) = (0, 0);
    for rate in RATES {
        let mut leads = Vec::new();
        let mut runways = Vec::new();
        for _ in 0..runs {
            let (runway, lead) = run(&group, rate);
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
            "{rate} MiB/s: {} of {runs} flipped; runway {:?}; before the kill: least {:?}, median {:?}",
            leads.len(),
            runways[runways.len() / 2],
            leads.first(),
            leads.get(leads.len() / 2),
        );
    }
    println!("{timely} of {} with more than {RUNWAY:?} flipped in time", timely + missed);
    assert!(timely + missed > 0, "none had so much runway");
    // One of a few may be the hundredth.
    assert!(missed <= 1 + (timely + missed) / 100, "{missed} of {}", timely + missed);
}
