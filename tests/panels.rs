//! Every panel's every expression, asked of real servers that a real highwater process has filled,
//! returns data; those that must be empty are listed with the reason. And `grafatui`, which nobody
//! here wrote, draws the dashboard from one of them in a terminal (tmux); its picture is left in
//! `target/grafatui`.
#![cfg(feature = "generate")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/promql.rs"]
mod promql;
#[path = "support/stack.rs"]
mod stack;

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

use highwater::{
    Builder, Highwater,
    export::otlp,
    generate::{self, Flavor},
    integrate::pool::{Pool, Refusal, State},
    rule, sample,
};
use promql::Asked;
use serde_json::Value;
use stack::{Prometheus, Victoria};

/// A query that has nothing to show here, and why.
struct Empty {
    title: &'static str,
    reference: &'static str,
    always: bool,
    why: &'static str,
}

/// Nothing anywhere: if it shows something, the excuse is stale.
const fn empty(title: &'static str, reference: &'static str, why: &'static str) -> Empty {
    Empty { title, reference, always: true, why }
}

/// It depends on the machine.
const fn may_be_empty(title: &'static str, reference: &'static str, why: &'static str) -> Empty {
    Empty { title, reference, always: false, why }
}

const EMPTY: &[Empty] = &[
    may_be_empty("At the limit", "A", "needs a control group of version 2"),
    may_be_empty("CPU", "B", "needs a CPU quota"),
    may_be_empty("Time to the limit, by level", "B", "between two allocations nothing grows"),
    may_be_empty("Rule: ThreadExplosion", "A", "needs a limit of threads"),
    may_be_empty("Rule: MemoryExhaustionImminent", "A", "on a slow machine there is no trend"),
    empty("Rule: QuerySlowerThanBaseline", "A", "there is no hour to compare with"),
    empty("Rule: RuntimeStalled", "A", "no runtime is watched"),
    empty("Rule: RuntimeStalled", "B", "no runtime is watched"),
    may_be_empty("annotation \"Start\"", "", "on a slow machine the process is older by then"),
];

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn builder() -> Builder {
    Highwater::builder("panels")
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)))
        .rule(
            rule::alert("OrdersSlow").when(
                rule::query("orders")
                    .quantile(0.99)
                    .over(Duration::from_secs(60))
                    .above(Duration::from_millis(1)),
            ),
        )
}

/// So long must memory rise to be a trend and no burst.
const LIVE: Duration = Duration::from_secs(75);

/// Memory that grows towards the budget, in pages that are really touched: 4 MiB a second.
fn grow() -> Vec<Vec<u8>> {
    let (start, mut held) = (Instant::now(), Vec::new());
    while start.elapsed() < LIVE {
        if held.len() < start.elapsed().as_millis() as usize * 4 / 1_000 {
            held.push(vec![1_u8; 1 << 20]);
        }
        thread::sleep(Duration::from_millis(20));
    }
    held
}

/// A service's life: queries that succeed, fail and overlap, a pool that is waited for, an alert.
fn live(to: otlp::Config) {
    let hw = builder()
        .tick(Duration::from_millis(250))
        .sample(sample::memory().budget(480 << 20))
        .sample(sample::pressure())
        .export(to.interval(Duration::from_secs(1)))
        .start()
        .unwrap();
    let depth = hw.gauge("depth").build();
    depth.set(7.0);
    let orders = hw.query("orders").system("sqlite").build();
    let thinned = hw.query("lookups").system("sqlite").timed_one_in(4).build();
    let timer = hw.timer("render").build();
    let store = hw.component("config-store");
    store.set_limit(1 << 40);
    let pool = Pool::new(&hw, "main", || Some(State::new(3, 1, 4).pending(2)));
    let start = Instant::now();
    let mut number = 0_u64;
    while start.elapsed() < LIVE {
        number += 1;
        if start.elapsed() > LIVE / 2 {
            // An alert ends.
            depth.set(0.0);
        }
        let _flying = orders.start();
        orders.time(|| std::thread::sleep(Duration::from_millis(number % 5)));
        thinned.time(|| ());
        timer.time(|| std::thread::sleep(Duration::from_millis(1)));
        _ = orders.try_time(|| "x".parse::<u8>());
        pool.waited(Duration::from_millis(2));
        pool.held(Duration::from_millis(9));
        if number.is_multiple_of(3) {
            pool.refused(Refusal::Timeout);
        }
        store.add(1 << 10);
        let _state = store.request(1 << 10).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    hw.shutdown(Duration::from_secs(20)).unwrap();
}

/// A server that can be asked.
trait Server {
    fn instant(&self, expr: &str, at: f64) -> usize;
    fn range(&self, expr: &str, from: f64, to: f64) -> usize;
    fn series(&self, selector: &str, from: f64, to: f64) -> Vec<Value>;
}

impl Server for Victoria {
    fn instant(&self, expr: &str, at: f64) -> usize {
        self.query(expr, at).len()
    }

    fn range(&self, expr: &str, from: f64, to: f64) -> usize {
        self.range(expr, from, to)
    }

    fn series(&self, selector: &str, from: f64, to: f64) -> Vec<Value> {
        self.series(selector, from, to)
    }
}

impl Server for Prometheus {
    fn instant(&self, expr: &str, at: f64) -> usize {
        self.instant(expr, at)
    }

    fn range(&self, expr: &str, from: f64, to: f64) -> usize {
        self.range(expr, from, to)
    }

    fn series(&self, selector: &str, from: f64, to: f64) -> Vec<Value> {
        self.series(selector, from, to)
    }
}

/// Asks all of it, of presets too; what is empty and not listed, or listed and not empty, is told
/// together.
fn check(name: &str, server: &impl Server, flavor: Flavor, (from, to): (f64, f64)) {
    let all = generate::grafana(&builder()).unwrap().flavor(flavor);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for text in [all.instance(), all.fleet()] {
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for asked in promql::asked(&dashboard) {
            seen += 1;
            let expr = promql::filled(&asked.expr, 10);
            let found = match asked.instant {
                true => server.instant(&expr, to),
                false => server.range(&expr, from, to),
            };
            let Asked { title, reference, .. } = asked;
            let excuse = EMPTY.iter().find(|e| e.title == title && e.reference == reference);
            match excuse {
                None if found == 0 => wrong.push(format!("empty: {title} {reference}: {expr}")),
                Some(excuse) if found > 0 && excuse.always => {
                    wrong.push(format!("not empty, though {}: {title} {reference}", excuse.why));
                }
                _ => {}
            }
        }
        for (variable, series, label) in promql::variables(&dashboard) {
            let series = server.series(&promql::filled(&series, 10), from, to);
            if !series.iter().any(|labels| labels[&label].is_string()) {
                wrong.push(format!("the variable {variable} has no {label} to choose from"));
            }
        }
    }
    assert!(wrong.is_empty(), "{name}, of {seen}:\n{}", wrong.join("\n"));
    assert!(seen > 100, "only {seen} expressions");
}

/// A terminal of our own, gone when dropped.
struct Terminal(String);

impl Terminal {
    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-f", "/dev/null", "-L", &self.0]);
        command
    }

    fn screen(&self) -> String {
        let shown = self.tmux().args(["capture-pane", "-p"]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // What runs in it outlives it: grafatui does not mind a terminal that is gone.
        let inside = self.tmux().args(["display-message", "-p", "#{pane_pid}"]).output();
        let told = inside.ok().and_then(|told| String::from_utf8(told.stdout).ok());
        if let Some(pid) = told.and_then(|pid| pid.trim().parse::<u32>().ok()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).output();
        }
        let _ = self.tmux().arg("kill-server").output();
    }
}

/// The first screen as grafatui draws it: titles, figures, lines; and its own picture of it.
fn draw(test: &str, server: &Prometheus) {
    let Some(grafatui) = stack::find(test, "grafatui") else { return };
    if Command::new("tmux").arg("-V").output().is_err() {
        assert!(std::env::var_os("HIGHWATER_STACK_REQUIRED").is_none(), "{test} needs tmux");
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: there is no tmux to draw in");
        return;
    }
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/grafatui");
    let _ = fs::remove_dir_all(&pictures);
    fs::create_dir_all(&pictures).unwrap();
    let dashboard = pictures.join("dashboard.json");
    fs::write(&dashboard, generate::grafana(&builder()).unwrap().instance()).unwrap();
    // All of it is understood, but for timelines of states, which it does not draw.
    let said = Command::new(&grafatui)
        .args(["--validate", "--format", "json", "--grafana-json"])
        .arg(&dashboard)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    let codes = said.to_string();
    assert_eq!(codes.matches("\"severity\":\"error\"").count(), 0, "{codes}");

    let terminal = Terminal(format!("highwater-{}", std::process::id()));
    let started = terminal
        .tmux()
        .args(["new-session", "-d", "-x", "150", "-y", "62", "--"])
        .arg(&grafatui)
        .args(["--range", "2m", "--step", "2s", "--scrape-interval", "10s"])
        .args(["--export-format", "svg", "--export-dir"])
        .arg(&pictures)
        .arg("--grafana-json")
        .arg(&dashboard)
        .args(["--prometheus-url", &server.base()])
        .current_dir(&pictures)
        .env("TERM", "xterm-256color")
        .env("LC_ALL", "C.UTF-8")
        .status()
        .unwrap();
    assert!(started.success());
    let shows = |wanted: &dyn Fn(&str) -> bool| {
        stack::eventually("the dashboard in grafatui", || {
            Some(terminal.screen()).filter(|screen| wanted(screen))
        })
    };
    shows(&|screen| {
        let titles = ["Memory in use", "Headroom", "Time to the limit", "Firing alerts"];
        titles.iter().all(|title| screen.contains(title)) && screen.contains("MB")
    });
    // Timelines are left out and leave a hole: down to their row, which is shut.
    let keys = ["Down"; 7].into_iter().chain(["Left"]);
    terminal.tmux().arg("send-keys").args(keys).status().unwrap();
    let screen = shows(&|screen| {
        // Lines are braille.
        let drawn = screen.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
        screen.contains("▶ Alerts") && screen.contains("Share of the limit in use") && drawn > 100
    });
    fs::write(pictures.join("screen.txt"), screen).unwrap();
    terminal.tmux().args(["send-keys", "e"]).status().unwrap();
    let picture = stack::eventually("grafatui's picture", || {
        let mut files = fs::read_dir(&pictures).ok()?.flatten().map(|file| file.path());
        let picture = files.find(|path| path.extension().is_some_and(|end| end == "svg"))?;
        Some(fs::read_to_string(picture).ok()?).filter(|text| text.contains("</svg>"))
    });
    assert!(picture.contains("Share of the limit in use"));
    fs::write(pictures.join("dashboard.svg"), picture).unwrap();
}

/// Three services of one process, side by side: one rise of memory serves them all.
#[test]
fn every_panel_of_every_flavor_has_data() {
    let test = "every_panel_of_every_flavor_has_data";
    let (Some(victoria), Some(native), Some(classic)) =
        (Victoria::start(test), Prometheus::start(test), Prometheus::start(test))
    else {
        return;
    };
    let from = now();
    let metrics = |to: String| otlp::from_env().metrics_endpoint(to);
    let (_held, to) = thread::scope(|scope| {
        scope.spawn(|| live(metrics(format!("{}/v1/metrics", victoria.otlp_base()))));
        scope.spawn(|| live(metrics(native.otlp())));
        scope.spawn(|| live(metrics(classic.otlp()).explicit_histograms()));
        (grow(), now())
    });
    draw(test, &native);
    let time = (from, to);
    check("VictoriaMetrics", &victoria, Flavor::VictoriaMetrics, time);
    check("Prometheus", &native, Flavor::PrometheusNative, time);
    check("Prometheus, classic", &classic, Flavor::PrometheusClassic, time);
}
