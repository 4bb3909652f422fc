//! What highwater costs a service: the same with and without it, in turn.
//!
//! - **server**: axum, sqlx and a real PostgreSQL under `wrk`; all of it on (the HTTP layer, the
//!   measured pool, the runtime's watchdog, samplers with pressure, preset rules, a push over OTLP
//!   every second).
//! - **sqlx**: a loop of pgbench's transactions over a pool, without and with `integrate::sqlx`.
//! - **rusqlite**: reads and writes of one row in memory, without and with `integrate::rusqlite`.
//!
//! ```sh
//! cargo bench -p highwater-integrations --bench overhead               # 21 pairs each, ten minutes
//! cargo bench -p highwater-integrations --bench overhead -- --only server
//! cargo bench -p highwater-integrations --bench overhead -- --quick    # three short pairs: no figures
//! ```
//!
//! Both sides run all the time, each in a process of its own; they are loaded in turn, in pairs
//! whose order alternates, so that what the machine does meanwhile falls on both. Of each pair the
//! ratios of throughput, 99th percentile and processor time for each request are taken; printed are
//! their medians with 95% intervals (by order statistics: nothing is assumed of how they scatter),
//! and at the end what is claimed of them and whether it held. `--check` makes that the exit
//! status.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../support/postgres.rs"]
mod postgres;
#[path = "../../../support/receiver.rs"]
mod receiver;

mod child;
mod pairs;
mod server;
mod transactions;
mod wrk;

use std::time::Duration;

use child::Child;
use pairs::Pairs;
use postgres::Postgres;
use receiver::{Reaction, Receiver};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let after = |flag: &str| {
        arguments.iter().position(|a| a == flag).and_then(|at| arguments.get(at + 1)).cloned()
    };
    if let Some(what) = after("--child") {
        return child::be(&what, after("--database").as_deref(), after("--push").as_deref());
    }
    // `cargo test` runs benches too; that is no place for this.
    if is("--test") {
        return;
    }
    let quick = is("--quick");
    let pairs = after("--pairs").and_then(|n| n.parse().ok()).unwrap_or(if quick { 3 } else { 21 });
    let span = Duration::from_secs(if quick { 1 } else { 3 });
    let only = after("--only");
    let wanted = |what: &str| only.as_deref().is_none_or(|only| only == what);

    let collector = Receiver::always(Reaction::ok());
    let both = |what: &str, database: Option<&str>| {
        let start = |push: Option<&str>| Child::start(what, database, push);
        [start(None), start(Some(&collector.url()))]
    };
    let mut held = true;
    if wanted("server") || wanted("sqlx") {
        let Some(database) = Postgres::start("overhead") else { return };
        database.ask(transactions::TABLES).expect("tables");
        let url = database.url();
        if wanted("server") {
            let mut children = both("server", Some(&url));
            let pairs = match wrk::find() {
                Some(wrk) => Pairs::run("server", pairs, |at| wrk.load(&children[at], span)),
                None => {
                    println!("SKIPPED: the server: there is no wrk; Debian's package `wrk` has it");
                    None
                }
            };
            held &= pairs.is_none_or(|pairs| {
                pairs.claim("median ratio of throughput", |run| run.throughput, 0.98, f64::ge)
                    & pairs.claim("median ratio of CPU per request", |run| run.cpu, 1.02, f64::le)
            });
            children.iter_mut().for_each(Child::end);
        }
        if wanted("sqlx") {
            let mut children = both("sqlx", Some(&url));
            Pairs::run("sqlx", pairs, |at| children[at].run(span));
        }
    }
    if wanted("rusqlite") {
        let mut children = both("rusqlite", None);
        Pairs::run("rusqlite", pairs, |at| children[at].run(span));
    }
    println!("\n{} pushes arrived", collector.received().len());
    if is("--check") && !held {
        std::process::exit(1);
    }
}
