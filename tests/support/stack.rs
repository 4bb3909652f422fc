//! Real servers for the tests: found in `HIGHWATER_STACK` or `.tools/bin` (tests/stack/fetch.sh
//! puts them there), started on free loopback ports, killed when dropped.

// Part of several test crates, each of which uses some of it.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    fs::File,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a server may take to start, or data to show up, before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where what was fetched is: of this package, or of the one it belongs to.
pub fn tools() -> Option<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().map(|at| at.join(".tools")).find(|tools| tools.is_dir())
}

/// The server's binary. Without it the test is skipped, loudly; where `HIGHWATER_STACK_REQUIRED` is
/// set, as in `.ci/run`, it fails instead.
pub fn find(test: &str, server: &str) -> Option<PathBuf> {
    let named = std::env::var_os("HIGHWATER_STACK").map(PathBuf::from);
    let roots = match named {
        Some(root) => vec![root.clone(), root.join("bin")],
        None => tools().into_iter().map(|tools| tools.join("bin")).collect(),
    };
    if let Some(found) = roots.iter().map(|root| root.join(server)).find(|path| path.is_file()) {
        return Some(found);
    }
    let required = std::env::var_os("HIGHWATER_STACK_REQUIRED").is_some();
    assert!(!required, "{test} needs {server}: run tests/stack/fetch.sh");
    // Not `eprintln!`, which the test harness swallows when a test passes.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {test}: there is no {server}; tests/stack/fetch.sh fetches it"
    );
    None
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port()
}

/// Asks until there is an answer; what is asked decides the result, not the time.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < give_up, "never came: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A directory of its own, removed at the end.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir()
            .join(format!("highwater-test-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child process that does not outlive its test.
pub struct Server {
    child: Child,
    pub directory: Directory,
}

impl Server {
    pub fn start(name: &str, command: impl FnOnce(&Path) -> Command) -> Self {
        let directory = Directory::new(name);
        let log = File::create(directory.0.join("log")).expect("a log");
        let child = command(&directory.0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log again"))
            .stderr(log)
            .spawn()
            .expect("the server to start");
        Self { child, directory }
    }

    /// On loopback ports of its own, once `ready` says so. A port that somebody else took in the
    /// meantime ends the server, and others are tried.
    pub fn on_ports<const N: usize>(
        name: &str,
        command: impl Fn(&Path, [u16; N]) -> Command,
        ready: impl Fn([u16; N]) -> bool,
    ) -> (Self, [u16; N]) {
        for _ in 0..5 {
            let ports = [(); N].map(|()| free_port());
            let mut server = Self::start(name, |directory| command(directory, ports));
            let running = eventually(&format!("{name} to be ready"), || {
                let ready = ready(ports);
                // Whose answer it was, if it is not there.
                let ended = server.child.try_wait().expect("its status").is_some();
                (ready || ended).then_some(!ended)
            });
            if running {
                return (server, ports);
            }
            eprintln!("{name} ended, trying other ports: {}", server.log());
        }
        panic!("{name} does not stay");
    }

    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.0.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            eprintln!("the server's last words, newest first: {tail:#?}");
        }
    }
}

/// Whether a server of ours says yes.
pub fn answers(port: u16, path: &str) -> bool {
    agent().get(format!("http://127.0.0.1:{port}{path}")).call().is_ok()
}

pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(PATIENCE)).build();
    config.new_agent()
}

/// VictoriaMetrics, which takes OTLP metrics and answers queries.
pub struct Victoria {
    pub server: Server,
    port: u16,
}

impl Victoria {
    pub fn start(test: &str) -> Option<Self> {
        let binary = find(test, "victoria-metrics")?;
        let start = |directory: &Path, [port]: [u16; 1]| {
            let mut command = Command::new(&binary);
            command
                .arg(format!("-storageDataPath={}", directory.join("data").display()))
                .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                .args(["-search.latencyOffset=0s", "-opentelemetry.usePrometheusNaming"])
                .args(["-retentionPeriod=1d", "-memory.allowedBytes=256MB"]);
            command
        };
        let healthy = |[port]: [u16; 1]| answers(port, "/health");
        let (server, [port]) = Server::on_ports("victoria", start, healthy);
        Some(Self { server, port })
    }

    pub fn otlp_base(&self) -> String {
        format!("http://127.0.0.1:{}/opentelemetry", self.port)
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let request = agent().get(url).query_pairs(query.iter().copied());
        request.call().ok()?.body_mut().read_to_string().ok()
    }

    /// An instant query at `at` (Unix seconds): labels and value of each series, after all that
    /// was received has been written.
    pub fn query(&self, promql: &str, at: f64) -> Vec<(serde_json::Value, f64)> {
        self.get("/internal/force_flush", &[]).expect("a flush");
        let at = at.to_string();
        let query = [("query", promql), ("time", &at), ("nocache", "1")];
        let answer = self.get("/api/v1/query", &query).expect("an answer");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["status"], "success", "{answer}");
        let result = answer["data"]["result"].as_array().expect("a vector").clone();
        let sample = |series: serde_json::Value| {
            let value = series["value"][1].as_str().expect("a value").parse().expect("a number");
            (series["metric"].clone(), value)
        };
        result.into_iter().map(sample).collect()
    }

    /// For how many series an expression has data between two times (Unix seconds).
    pub fn range(&self, promql: &str, from: f64, to: f64) -> usize {
        self.get("/internal/force_flush", &[]).expect("a flush");
        let (from, to) = (from.to_string(), to.to_string());
        let query =
            [("query", promql), ("start", &from), ("end", &to), ("step", "1s"), ("nocache", "1")];
        let answer = self.get("/api/v1/query_range", &query);
        series_of(&answer.unwrap_or_else(|| panic!("no answer to {promql}")))
    }

    /// The labels of the series that match between two times (Unix seconds).
    pub fn series(&self, selector: &str, from: f64, to: f64) -> Vec<serde_json::Value> {
        self.get("/internal/force_flush", &[]).expect("a flush");
        let (from, to) = (from.to_string(), to.to_string());
        let query = [("match[]", selector), ("start", &from), ("end", &to)];
        listed(&self.get("/api/v1/series", &query).expect("an answer"))
    }

    /// The raw samples of all series that match, as (Unix milliseconds, value).
    pub fn samples(&self, selector: &str) -> Vec<(i64, f64)> {
        self.get("/internal/force_flush", &[]).expect("a flush");
        let lines = self.get("/api/v1/export", &[("match[]", selector)]).expect("an answer");
        let mut samples = Vec::new();
        for line in lines.lines() {
            let series: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let (times, values) = (&series["timestamps"], &series["values"]);
            for (at, value) in times.as_array().unwrap().iter().zip(values.as_array().unwrap()) {
                samples.push((at.as_i64().unwrap(), value.as_f64().unwrap()));
            }
        }
        samples.sort_by_key(|(at, _)| *at);
        samples
    }
}

/// rotel, an OpenTelemetry collector, which writes all it gets to its log.
pub struct Rotel {
    pub server: Server,
    http: u16,
    grpc: u16,
}

impl Rotel {
    pub fn start(test: &str) -> Option<Self> {
        let binary = find(test, "rotel-agent")?;
        let start = |_: &Path, [http, grpc]: [u16; 2]| {
            let mut command = Command::new(&binary);
            command
                .arg("start")
                .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
                .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
                .args(["--debug-log", "metrics", "--debug-log", "logs"])
                .args(["--debug-log-verbosity", "detailed", "--exporter", "blackhole"]);
            command
        };
        let listens = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        let (server, [http, grpc]) =
            Server::on_ports("rotel", start, |[http, grpc]| listens(http) && listens(grpc));
        Some(Self { server, http, grpc })
    }

    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    pub fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    /// Its log, once `words` are all in it.
    pub fn log_with(&self, words: &[&str]) -> String {
        eventually(&format!("{words:?} in rotel's log"), || {
            let log = self.server.log();
            words.iter().all(|word| log.contains(word)).then_some(log)
        })
    }
}

/// What `/api/v1/series` lists.
fn listed(answer: &str) -> Vec<serde_json::Value> {
    let answer: serde_json::Value = serde_json::from_str(answer).expect("JSON");
    assert_eq!(answer["status"], "success", "{answer}");
    answer["data"].as_array().expect("a list").clone()
}

/// How many series a query has data for, by the answer's text.
fn series_of(answer: &str) -> usize {
    let answer: serde_json::Value = serde_json::from_str(answer).expect("JSON");
    assert_eq!(answer["status"], "success", "{answer}");
    answer["data"]["result"].as_array().expect("a matrix").len()
}

/// Prometheus with native histograms, behind a bridge from OTLP to remote write, as Debian's has no
/// OTLP receiver of its own.
pub struct Prometheus {
    pub server: Server,
    bridge: Server,
    port: u16,
    otlp: u16,
}

impl Prometheus {
    /// Needs `prometheus`, and a Python with the bridge's packages: `.tools/bridge`, or what
    /// `HIGHWATER_PYTHON` names.
    pub fn start(test: &str) -> Option<Self> {
        let binary = find(test, "prometheus")?;
        let python = match std::env::var_os("HIGHWATER_PYTHON") {
            Some(named) => PathBuf::from(named),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bridge/bin/python"),
        };
        if !python.is_file() {
            let required = std::env::var_os("HIGHWATER_STACK_REQUIRED").is_some();
            assert!(!required, "{test} needs {}: run tests/stack/fetch.sh", python.display());
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {test}: there is no {}; tests/stack/fetch.sh makes it",
                python.display()
            );
            return None;
        }
        let start = |directory: &Path, [port]: [u16; 1]| {
            let config = directory.join("prometheus.yml");
            std::fs::write(&config, "storage: {tsdb: {out_of_order_time_window: 30m}}\n")
                .expect("a configuration");
            let mut command = Command::new(&binary);
            command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .args(["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"]);
            command
        };
        let ready = |[port]: [u16; 1]| answers(port, "/-/ready");
        let (server, [port]) = Server::on_ports("prometheus", start, ready);
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stack");
        let start = |directory: &Path, [otlp]: [u16; 1]| {
            let made = Command::new(&python)
                .args(["-m", "grpc_tools.protoc", "rw.proto"])
                .arg(format!("-I{}", here.display()))
                .arg(format!("--python_out={}", directory.display()))
                .status()
                .expect("protoc");
            assert!(made.success(), "rw_pb2.py");
            let mut command = Command::new(&python);
            command
                .env("PYTHONPATH", directory)
                .arg(here.join("otlp2prom.py"))
                .arg(otlp.to_string())
                .arg(format!("http://127.0.0.1:{port}/api/v1/write"));
            command
        };
        let listens = |[port]: [u16; 1]| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        let (bridge, [otlp]) = Server::on_ports("otlp2prom", start, listens);
        Some(Self { server, bridge, port, otlp })
    }

    /// Where metrics go.
    pub fn otlp(&self) -> String {
        format!("http://127.0.0.1:{}/v1/metrics", self.otlp)
    }

    /// Where it is asked.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// For how many series an expression has data between two times (Unix seconds).
    pub fn range(&self, promql: &str, from: f64, to: f64) -> usize {
        let (from, to) = (from.to_string(), to.to_string());
        let query = [("query", promql), ("start", &from), ("end", &to), ("step", "1s")];
        let answer = get(self.port, "/api/v1/query_range", &query);
        series_of(&answer.unwrap_or_else(|| panic!("no answer to {promql}")))
    }

    /// For how many series an expression has data at a time (Unix seconds).
    pub fn instant(&self, promql: &str, at: f64) -> usize {
        let answer =
            get(self.port, "/api/v1/query", &[("query", promql), ("time", &at.to_string())]);
        series_of(&answer.unwrap_or_else(|| panic!("no answer to {promql}")))
    }

    /// The labels of the series that match between two times (Unix seconds).
    pub fn series(&self, selector: &str, from: f64, to: f64) -> Vec<serde_json::Value> {
        let (from, to) = (from.to_string(), to.to_string());
        let query = [("match[]", selector), ("start", &from), ("end", &to)];
        listed(&get(self.port, "/api/v1/series", &query).expect("an answer"))
    }
}

fn get(port: u16, path: &str, query: &[(&str, &str)]) -> Option<String> {
    let url = format!("http://127.0.0.1:{port}{path}");
    let request = agent().get(url).query_pairs(query.iter().copied());
    request.call().ok()?.body_mut().read_to_string().ok()
}
