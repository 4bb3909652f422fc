//! The fast lane stays in memory where that is allowed, and says so where it is not.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    env, fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use highwater::Highwater;

const FORBIDDEN: &str = "HIGHWATER_TEST_FORBIDDEN";
const PARTS: [&str; 3] = ["stack", "state", "code"];

fn locked_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Bytes by part, as soon as they are told.
fn told(hw: &Highwater) -> Option<[f64; 3]> {
    let page = hw.render_prometheus();
    let of = |part: &str| {
        let label = format!("part=\"{part}\"");
        let lines = page.lines().filter(|line| line.starts_with("highwater_memory_locked_bytes{"));
        lines
            .filter(|line| line.contains(&label))
            .find_map(|line| line.rsplit_once("} ")?.1.split(' ').next()?.parse().ok())
    };
    let [stack, state, code] = PARTS.map(of);
    Some([stack?, state?, code?])
}

fn wait<T>(what: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(Instant::now() < end, "nothing came of it");
        sleep(Duration::from_millis(20));
    }
}

struct Said;

impl log::Log for Said {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        println!("LOG {}", record.args());
    }
    fn flush(&self) {}
}

#[test]
fn what_the_fast_lane_touches_is_locked_and_let_go() {
    let before = locked_kib();
    let hw = Highwater::builder("resident").start().unwrap();
    let parts = wait(|| told(&hw));
    if env::var_os(FORBIDDEN).is_some() {
        assert_eq!((parts, locked_kib()), ([0.0; 3], 0));
        return;
    }
    if parts == [0.0; 3] {
        println!("SKIPPED: no memory may be locked here");
        return;
    }
    let all: f64 = parts.iter().sum();
    // Parts may share a page or two.
    let kib = (locked_kib() - before) as f64;
    assert!(kib > 0.0 && kib <= all / 1024.0, "{parts:?}, {kib} KiB");
    drop(hw);
    wait(|| (locked_kib() == before).then_some(()));
}

/// The same, as one who may lock nothing.
#[test]
fn where_nothing_may_be_locked_it_says_so() {
    if env::var_os(FORBIDDEN).is_some() {
        // In the child: only the other test runs, and its log is on standard output.
        return;
    }
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -l 0 && exec \"$@\"", "sh"]);
    command.arg(env::current_exe().unwrap());
    command.args(["--exact", "with_a_log", "--nocapture", "--include-ignored"]);
    let outcome = command.env(FORBIDDEN, "yes").output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout).into_owned()
        + &String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{said}");
    for part in PARTS {
        assert!(said.contains(&format!("LOG highwater: its {part} may be paged out")), "{said}");
    }
}

#[test]
#[ignore = "a part of the other test"]
fn with_a_log() {
    log::set_logger(&Said).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    what_the_fast_lane_touches_is_locked_and_let_go();
}
