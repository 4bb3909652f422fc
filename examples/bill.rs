//! What highwater adds to a process that does nothing: `cargo run --release --example bill`.
//!
//! Runs itself twice as a child, bare and with highwater at its defaults (every preset, the OTLP
//! export on, towards a receiver that answers), for 60 s each, or as many as the first argument
//! says; prints resident memory, CPU time, wake-ups and threads of both. Linux only. With
//! `--check` it exits 1 when a figure is over its bar, which is printed beside it.

mod support;

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, ExitCode, Stdio},
    thread::sleep,
    time::Duration,
};

use highwater::Highwater;

/// Time for the start to be over before anything is measured.
const SETTLE: Duration = Duration::from_secs(5);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    match env::args().nth(1).as_deref() {
        Some("bare") => wait(),
        Some("watched") => {
            Highwater::builder("bill").install()?;
            wait();
        }
        seconds => {
            let seconds = seconds.and_then(|s| s.parse().ok()).unwrap_or(60);
            return compare(Duration::from_secs(seconds), env::args().any(|arg| arg == "--check"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Does nothing until its standard input closes.
fn wait() {
    println!("ready");
    _ = std::io::stdin().lock().read_line(&mut String::new());
}

fn compare(time: Duration, check: bool) -> Result<ExitCode, Box<dyn Error>> {
    let receiver = support::Receiver::unless_configured()?;
    let endpoint = receiver.as_ref().map(support::Receiver::endpoint);
    let spawn = |kind| -> Result<Child, Box<dyn Error>> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(kind).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(endpoint) = &endpoint {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        }
        let mut child = command.spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        stdout.read_line(&mut String::new())?;
        Ok(child)
    };
    let (mut bare, mut watched) = (spawn("bare")?, spawn("watched")?);
    sleep(SETTLE);
    let before = (Usage::of(bare.id())?, Usage::of(watched.id())?);
    sleep(time);
    let after = (Usage::of(bare.id())?, Usage::of(watched.id())?);
    for child in [&mut bare, &mut watched] {
        child.stdin.take().ok_or("no stdin")?.flush()?;
        child.wait()?;
    }

    let seconds = time.as_secs_f64();
    let added = |field: fn(&Usage) -> f64| field(&after.1) - field(&after.0);
    let rate = |field: fn(&Usage) -> f64| {
        let watched = field(&after.1) - field(&before.1);
        (watched - (field(&after.0) - field(&before.0))) / seconds
    };
    let rows = [
        ("resident memory, MiB", added(|u| u.resident / 1024.0), 3.0),
        ("CPU, % of one core", rate(|u| u.cpu_seconds) * 100.0, 0.05),
        ("wake-ups a second", rate(|u| u.wakeups), 2.0),
        ("threads", added(|u| u.threads), 3.0),
    ];
    println!("what highwater adds to an idle process, over {seconds} s:");
    let mut over = false;
    for (what, figure, limit) in rows {
        println!("  {what:22} {figure:7.3}   (at most {limit})");
        over |= figure > limit;
    }
    Ok(if check && over { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the kernel says of a process.
struct Usage {
    /// KiB.
    resident: f64,
    cpu_seconds: f64,
    wakeups: f64,
    threads: f64,
}

impl Usage {
    fn of(pid: u32) -> Result<Self, Box<dyn Error>> {
        let field = |text: &str, name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let (mut cpu, mut wakeups) = (0.0, 0.0);
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            // Nanoseconds on a core: `stat` counts in hundredths of a second.
            let schedstat = fs::read_to_string(task.join("schedstat"))?;
            let on_core = schedstat.split_whitespace().next().ok_or("empty schedstat")?;
            cpu += on_core.parse::<f64>()? / 1e9;
            let status = fs::read_to_string(task.join("status"))?;
            wakeups += field(&status, "voluntary_ctxt_switches:");
        }
        Ok(Self {
            resident: field(&status, "VmRSS:"),
            cpu_seconds: cpu,
            wakeups,
            threads: field(&status, "Threads:"),
        })
    }
}
