//! What highwater costs a service: axum, sqlx and a real PostgreSQL under load, without it and with
//! all of it on (the HTTP layer, the measured pool, the runtime's watchdog, samplers with pressure,
//! preset rules, a push over OTLP every second).
//!
//! ```sh
//! cargo bench -p highwater-integrations --bench overhead              # 21 pairs, about three minutes
//! cargo bench -p highwater-integrations --bench overhead -- --pairs 3
//! ```
//!
//! Both servers run all the time, each in a process of its own; they are loaded in turn, in pairs
//! whose order alternates, so that what the machine does meanwhile falls on both. Of each pair the
//! ratios of throughput, 99th percentile and the server's processor time for each request are taken;
//! printed are their medians with 95% intervals (by order statistics: nothing is assumed of how
//! they scatter).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/postgres.rs"]
mod postgres;
#[path = "../../support/receiver.rs"]
mod receiver;

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Path, State},
    http::StatusCode,
    routing::get,
};
use highwater::{Highwater, alert, export::otlp, integrate, sample};
use postgres::Postgres;
use receiver::{Reaction, Receiver};
use sqlx::{Executor, Postgres as Pg, Row, postgres::PgPoolOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const CLIENTS: usize = 16;
const WARM_UP: Duration = Duration::from_millis(500);
const SPAN: Duration = Duration::from_millis(3_000);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| {
        arguments.iter().position(|a| a == flag).and_then(|at| arguments.get(at + 1)).cloned()
    };
    if let Some(database) = after("--serve") {
        return serve(&database, after("--push").as_deref());
    }
    // `cargo test` runs benches too; that is no place for this.
    if arguments.iter().any(|a| a == "--test") {
        return;
    }
    let pairs = after("--pairs").and_then(|n| n.parse().ok()).unwrap_or(21);
    let Some(database) = Postgres::start("overhead") else { return };
    database
        .ask("CREATE TABLE orders AS SELECT n AS id, n % 97 AS total FROM generate_series(1, 10000) g(n); CREATE INDEX ON orders (id); ANALYZE orders")
        .expect("a table");
    let collector = Receiver::always(Reaction::ok());
    let plain = Server::start(&["--serve", &database.url()]);
    let measured = Server::start(&["--serve", &database.url(), "--push", &collector.url()]);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for server in [&plain, &measured] {
        runtime.block_on(load(server, WARM_UP * 4));
    }
    let mut ratios: [Vec<f64>; 3] = Default::default();
    let mut sums = [(0.0, 0.0, 0.0); 2];
    for pair in 0..pairs {
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut runs = [Run::default(); 2];
        for at in order {
            let server = [&plain, &measured][at];
            runtime.block_on(load(server, WARM_UP));
            runs[at] = runtime.block_on(load(server, SPAN));
            sums[at].0 += runs[at].throughput / f64::from(pairs);
            sums[at].1 += runs[at].p99 / f64::from(pairs);
            sums[at].2 += runs[at].cpu / f64::from(pairs);
        }
        ratios[0].push(runs[1].throughput / runs[0].throughput);
        ratios[1].push(runs[1].p99 / runs[0].p99);
        ratios[2].push(runs[1].cpu / runs[0].cpu);
        eprint!("\rpair {} of {pairs}", pair + 1);
    }
    eprintln!();
    println!(
        "{CLIENTS} clients, {pairs} pairs of {SPAN:?}; {} pushes arrived",
        collector.received().len()
    );
    println!("{:28} {:>12} {:>12} {:>8}  95% interval", "", "without", "with", "ratio");
    for (what, ratios, (without, with), unit, factor) in [
        ("throughput", &ratios[0], (sums[0].0, sums[1].0), "/s", 1.0),
        ("99th percentile", &ratios[1], (sums[0].1, sums[1].1), "ms", 1e3),
        ("processor time per request", &ratios[2], (sums[0].2, sums[1].2), "us", 1e6),
    ] {
        let (median, low, high) = median(ratios.clone());
        println!(
            "{what:28} {:>9.1} {unit:2} {:>9.1} {unit:2} {median:>8.4}  {low:.4} to {high:.4}",
            without * factor,
            with * factor
        );
    }
}

/// The median, and the order statistics between which it lies with at least 95% confidence.
fn median(mut of: Vec<f64>) -> (f64, f64, f64) {
    of.sort_by(f64::total_cmp);
    let n = of.len();
    // How many of n fair coins show heads: at most `skip` with less than 2.5%.
    let (mut skip, mut below, mut chance) = (0, 0.0, 0.5_f64.powi(n as i32));
    while below + chance <= 0.025 {
        below += chance;
        chance *= (n - skip) as f64 / (skip + 1) as f64;
        skip += 1;
    }
    let low = skip.saturating_sub(1);
    (of[n / 2], of[low], of[n - 1 - low])
}

/// A server in a process of its own.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { address: line.trim().parse().expect("an address"), child }
    }

    /// Processor time of all its threads, as the scheduler counts it.
    fn processor_time(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let ran = |task: std::fs::DirEntry| -> Option<u64> {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        tasks.flatten().filter_map(ran).sum::<u64>() as f64 * 1e-9
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy, Default)]
struct Run {
    throughput: f64,
    /// Seconds.
    p99: f64,
    /// The server's processor seconds for each request.
    cpu: f64,
}

/// Keeps every client busy for a while.
async fn load(server: &Server, span: Duration) -> Run {
    let (begun, before) = (Instant::now(), server.processor_time());
    let clients: Vec<_> = (0..CLIENTS).map(|n| client(server.address, n, begun + span)).collect();
    let mut latencies = Vec::new();
    for of_one in futures_util::future::join_all(clients).await {
        latencies.extend(of_one);
    }
    let (elapsed, spent) = (begun.elapsed().as_secs_f64(), server.processor_time() - before);
    latencies.sort_by(f64::total_cmp);
    let count = latencies.len() as f64;
    Run { throughput: count / elapsed, p99: latencies[(count * 0.99) as usize], cpu: spent / count }
}

async fn client(to: SocketAddr, number: usize, until: Instant) -> Vec<f64> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut latencies, mut answer, mut id) = (Vec::new(), [0; 4096], number * 577);
    while Instant::now() < until {
        id = (id + 7_919) % 10_000 + 1;
        let asked = Instant::now();
        let request = format!("GET /orders/{id} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = 0;
        // A body of one line.
        while !answer[..read].ends_with(b"\n") || answer[..read].ends_with(b"\r\n") {
            let more = stream.read(&mut answer[read..]).await.unwrap();
            assert!(more > 0, "the server closed");
            read += more;
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer[..read])
        );
        latencies.push(asked.elapsed().as_secs_f64());
    }
    latencies
}

/// The server: ends with its parent.
fn serve(database: &str, push: Option<&str>) {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let options = PgPoolOptions::new().max_connections(8).test_before_acquire(false);
        let pool = options.connect(database).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        let Some(endpoint) = push else {
            let app = Router::new().route("/orders/{id}", get(plain)).with_state(pool);
            return axum::serve(listener, app).await.unwrap();
        };
        let hw = Highwater::builder("overhead")
            .sample(sample::pressure())
            .sink(alert::to_log())
            .export(otlp::to(endpoint).interval(Duration::from_secs(1)))
            .install()
            .unwrap();
        integrate::tokio::runtime(&hw, "main", &tokio::runtime::Handle::current());
        let pool = integrate::sqlx::Pool::new(&hw, "main", pool);
        let layer = integrate::tower::http(&hw)
            .route(|_, request| request.get::<MatchedPath>().map(MatchedPath::as_str));
        let app = Router::new().route("/orders/{id}", get(measured)).with_state(pool).layer(layer);
        axum::serve(listener, app).await.unwrap();
    });
}

async fn plain(
    State(pool): State<sqlx::PgPool>,
    Path(id): Path<i32>,
) -> Result<String, StatusCode> {
    order(&pool, id).await
}

async fn measured(
    State(pool): State<integrate::sqlx::Pool<Pg>>,
    Path(id): Path<i32>,
) -> Result<String, StatusCode> {
    order(&pool, id).await
}

async fn order<'e, E: Executor<'e, Database = Pg>>(by: E, id: i32) -> Result<String, StatusCode> {
    let query = sqlx::query("SELECT total FROM orders WHERE id = $1").bind(id);
    match query.fetch_optional(by).await {
        Ok(Some(row)) => Ok(format!("order {id}: {}\n", row.get::<i32, _>(0))),
        Ok(None) => Err(StatusCode::NOT_FOUND),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
