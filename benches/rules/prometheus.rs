//! The same rules in a real Prometheus, where there is one (`HIGHWATER_STACK`, or `.tools/bin` as
//! `tests/stack/fetch.sh` leaves it): how long its own metrics say an evaluation took.
//!
//! It scrapes classic histograms with as many buckets, every five seconds, and has seen less than a
//! minute of them: its windows hold a dozen samples where ours hold three hundred, which is to its
//! advantage.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::case::{BUCKETS, FAN, QUANTILES, SIZE, THRESHOLDS};

/// Between two scrapes, and two evaluations.
const INTERVAL: Duration = Duration::from_secs(5);
/// Evaluations that are waited for; the first see too little.
const EVALUATIONS: usize = 10;
const SKIPPED: usize = 4;

/// Stops with the value.
struct Server {
    child: Child,
    directory: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Seconds of one evaluation of each case's rules, the median of several.
pub(crate) fn measure() -> Result<Vec<(&'static str, f64)>, String> {
    let root = std::env::var_os("HIGHWATER_STACK").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin"));
    let found = [root.join("prometheus"), root.join("bin/prometheus")];
    let binary = found.into_iter().find(|path| path.is_file());
    let binary = binary.ok_or_else(|| format!("none in {}", root.display()))?;
    let exporter = export().map_err(|why| format!("no exporter: {why}"))?;
    let port = free_port().map_err(|why| format!("no port: {why}"))?;
    let server = start(&binary, port, exporter).map_err(|why| format!("cannot start it: {why}"))?;
    eprintln!("a minute of Prometheus…");
    let mut seen: Vec<Vec<f64>> = vec![Vec::new(); 3];
    let deadline = Instant::now() + Duration::from_secs(120);
    while seen[0].len() < EVALUATIONS {
        if Instant::now() > deadline {
            let log = fs::read_to_string(server.directory.join("log")).unwrap_or_default();
            return Err(format!("no answer: {}", log.lines().last().unwrap_or_default()));
        }
        thread::sleep(INTERVAL);
        let Ok(metrics) = get(port, "/metrics") else { continue };
        for (of, group) in seen.iter_mut().zip(["thresholds", "fan", "quantiles"]) {
            let duration = metrics.lines().find_map(|line| {
                let rest = line.strip_prefix("prometheus_rule_group_last_duration_seconds{")?;
                let (labels, value) = rest.split_once("} ")?;
                labels.contains(&format!(";{group}\"")).then(|| value.parse::<f64>().ok())?
            });
            of.extend(duration);
        }
    }
    let median = |mut of: Vec<f64>| {
        of.drain(..SKIPPED.min(of.len()));
        of.sort_by(f64::total_cmp);
        of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Ok([THRESHOLDS, FAN, QUANTILES].into_iter().zip(seen.into_iter().map(median)).collect())
}

fn start(binary: &Path, port: u16, exporter: u16) -> io::Result<Server> {
    let directory = std::env::temp_dir().join(format!("highwater-bench-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let seconds = INTERVAL.as_secs();
    let config = format!(
        "global: {{scrape_interval: {seconds}s, scrape_timeout: {seconds}s, evaluation_interval: {seconds}s}}\n\
         rule_files: [rules.yml]\n\
         scrape_configs: [{{job_name: bench, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}]\n"
    );
    fs::write(directory.join("prometheus.yml"), config)?;
    fs::write(directory.join("rules.yml"), rules())?;
    let log = fs::File::create(directory.join("log"))?;
    let child = Command::new(binary)
        .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(Server { child, directory })
}

/// The cases' rules as a file.
fn rules() -> String {
    let mut text = String::from("groups:\n");
    let mut group = |name: &str, size: usize, expr: &dyn Fn(usize) -> String| {
        let _ = writeln!(text, "- name: {name}\n  rules:");
        for at in 0..size {
            let expr = expr(at);
            let _ = writeln!(text, "  - {{alert: A{at}, for: 1m, expr: '{expr}'}}");
        }
    };
    group("thresholds", SIZE, &|at| format!("queue_{at} > 99"));
    group("fan", 1, &|_| "queue > 99".to_owned());
    group("quantiles", SIZE, &|at| {
        format!("histogram_quantile(0.95, rate(latency_{at}_bucket[5m])) > 10")
    });
    text
}

/// Serves all series on a port, from a thread that lives as long as the process.
fn export() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let scrapes = AtomicU64::new(0);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let body = metrics(scrapes.fetch_add(1, Ordering::Relaxed) + 1);
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    Ok(port)
}

fn metrics(scrapes: u64) -> String {
    let mut text = String::new();
    for at in 0..SIZE {
        let value = (at as u64 + scrapes) % 100;
        let _ = writeln!(text, "queue_{at}{{a=\"b\"}} {value}\nqueue{{number=\"{at}\"}} {value}");
        for bucket in 0..BUCKETS {
            let bound = 1e-3 * ((bucket + 1) as f64 / 32.0).exp2();
            let count = scrapes * 5 * (bucket as u64 + 1);
            let _ = writeln!(text, "latency_{at}_bucket{{a=\"b\",le=\"{bound}\"}} {count}");
        }
        let count = scrapes * 5 * BUCKETS as u64;
        let _ = writeln!(text, "latency_{at}_bucket{{a=\"b\",le=\"+Inf\"}} {count}");
    }
    text
}

fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
