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
        let port = free_port();
        let server = Server::start("victoria", |directory| {
            let mut command = Command::new(binary);
            command
                .arg(format!("-storageDataPath={}", directory.join("data").display()))
                .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                .args(["-search.latencyOffset=0s", "-opentelemetry.usePrometheusNaming"])
                .args(["-retentionPeriod=1d", "-memory.allowedBytes=256MB"]);
            command
        });
        let victoria = Self { server, port };
        eventually("a healthy VictoriaMetrics", || victoria.get("/health", &[]));
        Some(victoria)
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
        let (http, grpc) = (free_port(), free_port());
        let server = Server::start("rotel", |_| {
            let mut command = Command::new(binary);
            command
                .arg("start")
                .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
                .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
                .args(["--debug-log", "metrics", "--debug-log", "logs"])
                .args(["--debug-log-verbosity", "detailed", "--exporter", "blackhole"]);
            command
        });
        let rotel = Self { server, http, grpc };
        eventually("a listening rotel", || std::net::TcpStream::connect(("127.0.0.1", http)).ok());
        Some(rotel)
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
