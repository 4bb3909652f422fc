//! The load on two servers: Debian's wrk, one for each, in turns.
//!
//! What a machine does besides changes from one second to the next by more than what is to be
//! measured, so the servers take turns of a tenth of a second: whose turn it is not has its wrk stopped.
//! What was under way when it was stopped is served in the few milliseconds that its turn has
//! longer. Latencies are of a second before, each server's alone: wrk takes a pause for requests it
//! ought to have sent, and adds them as slow ones.

use std::{
    io::Write,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use super::{child, pairs::Run};

const CONNECTIONS: &str = "16";
const TURN: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_millis(4);

pub(crate) struct Wrk(PathBuf);

pub(crate) fn find() -> Option<Wrk> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|at| at.join("wrk")).find(|at| at.is_file()).map(Wrk)
}

/// One server, and who loads it.
struct Side<'a> {
    server: &'a mut child::Child,
    wrk: Child,
    ran: Duration,
    spent: f64,
    p99: f64,
}

/// Sends signals: a shell does so without another process.
struct Signals(ChildStdin);

impl Signals {
    fn send(&mut self, signal: &str, to: &Child) {
        writeln!(self.0, "kill -{signal} {}", to.id()).unwrap();
    }
}

impl Wrk {
    /// Loads both for `span` each; the order of the turns alternates, `first` begins.
    pub(crate) fn load(
        &self,
        servers: &mut [child::Child; 2],
        first: usize,
        span: Duration,
    ) -> [Run; 2] {
        let turns = (span.as_secs_f64() / TURN.as_secs_f64()).round() as u32;
        // wrk counts in whole seconds, and is to end while both are stopped.
        let length = ((TURN + 2 * REST) * 2 * turns).as_secs() + 1;
        // And it warms caches, the allocator and the pools.
        let steady = [first, 1 - first].map(|at| figures(self.start(&servers[at].greeting, 1)));
        let begun = Instant::now();
        let mut shell = Command::new("sh").stdin(Stdio::piped()).spawn().unwrap();
        let mut signals = Signals(shell.stdin.take().unwrap());
        let mut at = 0;
        let mut sides = servers.each_mut().map(|server| {
            let wrk = self.start(&server.greeting, length);
            signals.send("STOP", &wrk);
            let (_, p99) = steady[(first + at) % 2];
            at += 1;
            Side { server, wrk, ran: Duration::ZERO, spent: 0.0, p99 }
        });
        for turn in 0..2 * turns as usize {
            // First, second, second, first.
            let side = &mut sides[(first + turn.div_ceil(2)) % 2];
            let before = side.server.processor_time();
            let continued = Instant::now();
            signals.send("CONT", &side.wrk);
            std::thread::sleep(TURN);
            signals.send("STOP", &side.wrk);
            side.ran += continued.elapsed();
            std::thread::sleep(REST);
            side.spent += side.server.processor_time() - before;
        }
        let end = begun + Duration::from_secs(length) + Duration::from_millis(200);
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        sides.iter().for_each(|side| signals.send("CONT", &side.wrk));
        let runs = sides.map(|side| {
            let (count, _) = figures(side.wrk);
            let throughput = count / side.ran.as_secs_f64();
            Run { throughput, p99: side.p99, cpu: side.spent / count }
        });
        drop(signals);
        shell.wait().unwrap();
        runs
    }

    fn start(&self, address: &str, length: u64) -> Child {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/overhead/orders.lua");
        Command::new(&self.0)
            .args(["-t1", "-c", CONNECTIONS, "-d", &format!("{length}s")])
            .args(["--timeout", "30s", "-s", script])
            .arg(format!("http://{address}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// How many requests it made, and the 99th percentile in seconds.
fn figures(wrk: Child) -> (f64, f64) {
    let ran = wrk.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("FIGURES "));
    let figures = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&ran.stderr)));
    let figures: Vec<f64> = figures.split(' ').map(|figure| figure.parse().unwrap()).collect();
    let [count, p99, errors] = figures[..] else { panic!("{text}") };
    assert_eq!(errors, 0.0, "{text}");
    (count, p99 * 1e-6)
}
