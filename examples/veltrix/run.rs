//! One run after the other: a server in its cage, the load, and a line that says how it goes.

use std::{
    collections::VecDeque,
    error::Error,
    io::{BufRead, BufReader, IsTerminal, Write},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ChildStdin, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    BUDGET, MIB, Mode,
    cage::{Cage, memory_of},
    load::{Counts, Load},
    report::{bytes, seconds},
    server::DIRECTORY,
    watched::PAGES,
};

/// The load's length, and within it that of the ramp.
const RAMP: Duration = Duration::from_secs(9);
const LOAD: Duration = Duration::from_secs(11);
/// For what is still in flight then.
const DRAIN: Duration = Duration::from_secs(5);
/// The load, in multiples of what the server can do.
const RATES: (f64, f64) = (0.5, 4.0);

/// An alert that began to fire.
#[derive(Debug, Clone)]
pub(crate) struct Alert {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) at: Duration,
    /// What was left of the budget then.
    pub(crate) headroom: u64,
    /// How long that lasts at the growth of the second before; nothing if it did not grow.
    pub(crate) runway: Option<Duration>,
}

pub(crate) struct Outcome {
    pub(crate) mode: Mode,
    pub(crate) rates: (f64, f64),
    pub(crate) counts: Counts,
    /// p50, p95, p99 of what was served.
    pub(crate) latency: [f32; 3],
    pub(crate) peak: u64,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) scaled: Vec<String>,
    /// Where its pages are.
    pub(crate) pages: PathBuf,
    /// When, and how, if it did not last.
    pub(crate) died: Option<(Duration, ExitStatus)>,
}

/// What the child says, with when and how much memory it had then.
#[derive(Default)]
struct Heard {
    alerts: Vec<Alert>,
    firing: Vec<String>,
    scaled: Vec<String>,
    /// Memory in use, and when, lately.
    used: VecDeque<(Instant, u64)>,
}

impl Heard {
    fn note(&mut self, used: u64) {
        let now = Instant::now();
        self.used.push_back((now, used));
        while self.used.front().is_some_and(|(at, _)| now - *at > Duration::from_secs(1)) {
            self.used.pop_front();
        }
    }

    /// How long `headroom` lasts if memory goes on growing as it did lately.
    fn runway(&self, headroom: u64) -> Option<Duration> {
        let ((from, before), (to, now)) = (self.used.front()?, self.used.back()?);
        let growth = now.saturating_sub(*before) as f64 / (*to - *from).as_secs_f64();
        // Less than a MiB a second is none, on this scale.
        (growth > MIB as f64).then(|| Duration::from_secs_f64(headroom as f64 / growth))
    }
}

pub(crate) fn all(modes: &[Mode]) -> Result<Vec<Outcome>, Box<dyn Error>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut rates = None;
    let mut outcomes = Vec::new();
    for mode in modes {
        let outcome = runtime.block_on(one(*mode, rates))?;
        // The same load for all.
        rates = Some(outcome.rates);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// A child that does not outlive us, and its directory.
struct Server {
    child: Child,
    /// Closed to end it.
    input: Option<ChildStdin>,
    directory: PathBuf,
    pages: PathBuf,
    // Last: a group can be removed once nobody is in it.
    cage: Cage,
}

impl Server {
    fn start(mode: Mode) -> Result<Self, Box<dyn Error>> {
        let cage = Cage::build(BUDGET);
        let name = format!("veltrix-{}-{}", std::process::id(), mode.name());
        let directory = std::env::temp_dir().join(name);
        // Outlives the run.
        let pages = std::env::temp_dir().join(format!("veltrix-pages-{}", std::process::id()));
        let pages = pages.join(mode.name());
        if pages.exists() {
            std::fs::remove_dir_all(&pages)?;
        }
        let mut command = cage.command(&std::env::current_exe()?, BUDGET);
        command.args(["--serve", "--child", &format!("--{}", mode.name())]);
        command
            .env(DIRECTORY, &directory)
            .env(PAGES, &pages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        Ok(Self { child, input, directory, pages, cage })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn one(mode: Mode, rates: Option<(f64, f64)>) -> Result<Outcome, Box<dyn Error>> {
    let mut server = Server::start(mode)?;
    let pid = server.child.id();
    let wall = server.cage.describe();
    println!("\n{}: {} of memory, by {wall}", mode.name().to_uppercase(), bytes(BUDGET));
    let mut lines =
        BufReader::new(server.child.stdout.take().ok_or("the child has no output")?).lines();
    let port = loop {
        let line = lines.next().ok_or("the server ended before it listened")??;
        if let Some(port) = line.strip_prefix("PORT ") {
            break port.parse()?;
        }
    };

    let rates = match rates {
        Some(rates) => rates,
        None => {
            let capacity = Load::on(port).capacity(16, Duration::from_secs(2)).await;
            let rates = (capacity * RATES.0, (capacity * RATES.1).min(3_000.0));
            println!("  {capacity:.0} requests a second are served when 16 users wait in turn");
            rates
        }
    };
    println!(
        "  load: {:.0} requests a second, growing to {:.0} within {}",
        rates.0,
        rates.1,
        seconds(RAMP)
    );

    let begun = Instant::now();
    let spent = Spent::of(pid, &server.cage);
    let heard = Arc::<Mutex<Heard>>::default();
    let hears = heard.clone();
    let listener = thread::spawn(move || listen(lines, &hears, begun, spent));
    let load = Load::on(port);
    let gone = Arc::<AtomicBool>::default();
    let peak = Arc::<AtomicU64>::default();
    let show = Show { begun, load: load.clone(), heard: heard.clone(), spent, peak: peak.clone() };
    let ended = gone.clone();
    let shown = thread::spawn(move || show.until(&ended));
    let (child_gone, load_on) = (gone.clone(), load.clone());
    let sent = tokio::spawn(async move {
        load_on.ramp(rates, (RAMP, LOAD), || !child_gone.load(Ordering::Relaxed)).await;
    });

    let mut died = None;
    while begun.elapsed() < LOAD + DRAIN {
        if let Some(status) = server.child.try_wait()? {
            died = Some((begun.elapsed(), status));
            break;
        }
        if sent.is_finished() && load.counts().in_flight == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gone.store(true, Ordering::Relaxed);
    sent.await?;
    // Closes its input, so it ends by itself.
    server.input = None;
    if died.is_none() {
        let patience = Instant::now();
        while server.child.try_wait()?.is_none() && patience.elapsed() < Duration::from_secs(3) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let _ = shown.join();
    let pages = server.pages.clone();
    drop(server);
    let _ = listener.join();
    let (latency, _) = load.quantiles(0, [0.5, 0.95, 0.99]);
    let mut heard = heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((at, status)) = died {
        let how = status.signal().map_or_else(|| status.to_string(), |it| format!("signal {it}"));
        println!("  {:>6}  the server died: {how}", seconds(at));
    }
    Ok(Outcome {
        mode,
        rates,
        counts: load.counts(),
        latency,
        peak: peak.load(Ordering::Relaxed),
        alerts: std::mem::take(&mut heard.alerts),
        scaled: std::mem::take(&mut heard.scaled),
        pages,
        died,
    })
}

/// What the budget is spent on: lines of the child's status.
#[derive(Clone, Copy)]
struct Spent {
    pid: u32,
    line: &'static str,
    /// What was there before the wall was put up.
    before: u64,
}

impl Spent {
    fn of(pid: u32, cage: &Cage) -> Self {
        match cage {
            Cage::Group { .. } => Self { pid, line: "RssAnon", before: 0 },
            Cage::AddressSpace => {
                let before = memory_of(pid, "VmSize").unwrap_or(0);
                Self { pid, line: "VmSize", before }
            }
        }
    }

    fn now(&self) -> u64 {
        memory_of(self.pid, self.line).unwrap_or(0).saturating_sub(self.before)
    }
}

fn listen(
    lines: impl Iterator<Item = std::io::Result<String>>,
    heard: &Mutex<Heard>,
    begun: Instant,
    spent: Spent,
) {
    for line in lines.map_while(Result::ok) {
        let mut heard = heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(why) = line.strip_prefix("SCALE ") {
            heard.scaled.push(why.to_owned());
        }
        let Some(rest) = line.strip_prefix("ALERT ") else { continue };
        let mut words = rest.splitn(3, ' ');
        let (Some(name), Some(to), Some(text)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let at = begun.elapsed();
        if to == "firing" {
            let used = spent.now();
            heard.note(used);
            let headroom = BUDGET.saturating_sub(used);
            let runway = heard.runway(headroom);
            let (name, text) = (name.to_owned(), text.to_owned());
            heard.firing.push(name.clone());
            heard.alerts.push(Alert { name, text, at, headroom, runway });
        } else {
            heard.firing.retain(|firing| firing != name);
        }
    }
}

/// The live line.
struct Show {
    begun: Instant,
    load: Arc<Load>,
    heard: Arc<Mutex<Heard>>,
    spent: Spent,
    peak: Arc<AtomicU64>,
}

impl Show {
    /// Once a second a line of its own, or on a terminal ten times a second the same one.
    fn until(&self, gone: &AtomicBool) {
        let terminal = std::io::stdout().is_terminal();
        let (mut told, mut seen, mut latency) = (0, 0, f32::NAN);
        let mut round = 0u32;
        while !gone.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
            let used = self.spent.now();
            self.peak.fetch_max(used, Ordering::Relaxed);
            self.heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).note(used);
            round += 1;
            if !round.is_multiple_of(5) {
                continue;
            }
            if round.is_multiple_of(50) {
                let ([p95], now) = self.load.quantiles(seen, [0.95]);
                (latency, seen) = (p95, now);
            }
            let heard = self.heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let news = heard.alerts.get(told..).unwrap_or_default();
            for alert in news {
                let clear = if terminal { "\r\x1b[2K" } else { "" };
                println!("{clear}  {:>6}  {} fires: {}", seconds(alert.at), alert.name, alert.text);
            }
            told = heard.alerts.len();
            if !terminal && !round.is_multiple_of(50) {
                continue;
            }
            let counts = self.load.counts();
            let bar = (used * 20 / BUDGET).min(20) as usize;
            let line = format!(
                "  {:>6}  {}{} {:>9} used, {:>9} left | {:>4} in flight {:>5} served {:>5} refused | p95 {:>7} | {}",
                seconds(self.begun.elapsed()),
                "#".repeat(bar),
                ".".repeat(20 - bar),
                bytes(used),
                bytes(BUDGET.saturating_sub(used)),
                counts.in_flight,
                counts.served,
                counts.refused,
                seconds(Duration::try_from_secs_f32(latency).unwrap_or_default()),
                if heard.firing.is_empty() {
                    "no alerts".to_owned()
                } else {
                    heard.firing.join(", ")
                },
            );
            if terminal {
                print!("\r\x1b[2K{line}");
                let _ = std::io::stdout().flush();
            } else {
                println!("{line}");
            }
        }
        if terminal {
            println!();
        }
    }
}
