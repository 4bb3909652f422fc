//! Veltrix: an HTTP server over a SQLite connection pool, whose configuration layer keeps the state
//! of every request in flight in memory. A load ramps up until requests come faster than the
//! database can take them; they wait, and each that waits holds its state.
//!
//! ```sh
//! cargo run --release --example veltrix             # all of it, about a minute
//! cargo run --release --example veltrix -- --fixed  # one run: --alone, --watched, --fixed
//! cargo run --release --example veltrix -- --pooling
//! cargo run --release --example veltrix -- --serve --fixed --port 8080   # for Locust or wrk
//! ```
//!
//! - **alone**: nobody looks; the kernel ends it.
//! - **watched**: highwater warns, calls the autoscaler's hook, lets what can wait wait, and its
//!   budget refuses a state before the memory is taken.
//! - **fixed**: configuration is read from disk by key, and orders go through a queue to one writer.
//! - **pooling** (another story): a connection for each request against a pool of four, recorded
//!   as two deployments are and compared (`highwater::compare`).
//!
//! The server is a child process in a memory cgroup of its own where this machine lets us make one,
//! under `RLIMIT_AS` where not. Every figure printed was measured in the run it stands beside. Exits
//! 1 if a run went otherwise than told here.

#[cfg(unix)]
mod cage;
#[cfg(unix)]
mod config;
#[cfg(unix)]
mod database;
#[cfg(unix)]
mod load;
#[cfg(unix)]
mod pooling;
#[cfg(unix)]
mod queue;
#[cfg(unix)]
mod report;
#[cfg(unix)]
mod run;
#[cfg(unix)]
mod server;
#[cfg(unix)]
mod watched;

/// How the server is built.
#[cfg(unix)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Alone,
    Watched,
    Fixed,
}

#[cfg(unix)]
impl Mode {
    const ALL: [Self; 3] = [Self::Alone, Self::Watched, Self::Fixed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Watched => "watched",
            Self::Fixed => "fixed",
        }
    }
}

pub(crate) const MIB: u64 = 1 << 20;

/// What the server may use.
#[cfg(unix)]
pub(crate) const BUDGET: u64 = 256 * MIB;

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let mut modes: Vec<_> =
        Mode::ALL.into_iter().filter(|mode| is(&format!("--{}", mode.name()))).collect();
    cage::raise_descriptor_limit();
    if is("--serve") {
        let mode = modes.first().copied().unwrap_or(Mode::Watched);
        let port = value("--port").and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let address_space = value("--address-space");
        let cage = cage::Inside { address_space, is_child: is("--child") };
        return server::run(mode, port, &cage);
    }
    let pooling = is("--pooling") || modes.is_empty();
    if modes.is_empty() && !is("--pooling") {
        modes.extend(Mode::ALL);
    }
    let mut otherwise = Vec::new();
    if !modes.is_empty() {
        let outcomes = run::all(&modes)?;
        report::print(&outcomes);
        report::print_page(&outcomes);
        if modes.len() == Mode::ALL.len() {
            otherwise = report::otherwise(&outcomes);
        }
    }
    if pooling {
        otherwise.extend(report::pooled_otherwise(&pooling::compare()?));
    }
    for what in &otherwise {
        eprintln!("otherwise than told: {what}");
    }
    if otherwise.is_empty() { Ok(()) } else { std::process::exit(1) }
}

#[cfg(not(unix))]
fn main() {
    println!("SKIPPED: the server's memory is limited by means of Unix");
}
