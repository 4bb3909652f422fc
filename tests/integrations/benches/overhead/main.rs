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
//! Each side is a process of its own; they are loaded in turn, in pairs whose order alternates, so
//! that what the machine does meanwhile falls on both: servers in turns of a tenth of a second, and
//! each pair of them has processes of its own, as two runs of one program differ too. `--same` has
//! both sides without highwater: what is printed then is what the bench itself sees in nothing.
//! Processor time is what each process says of all its threads. Of each pair the ratios of throughput,
//! 99th percentile and processor time for each request are taken; printed are their medians with 95%
//! intervals (by order statistics: nothing is assumed of how they scatter), and at the end what is
//! claimed of them and whether it held. `--check` makes that the exit status.
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
        let url = collector.url();
        [start(None), start((!is("--same")).then_some(&url))]
    };
    let mut held = true;
    if wanted("server") || wanted("sqlx") {
        let Some(database) = Postgres::start("overhead") else { return };
        database.ask(transactions::TABLES).expect("tables");
        let url = database.url();
        if wanted("server") {
            let pairs = match wrk::find() {
                Some(wrk) => Pairs::run("server", pairs, |first| {
                    let mut servers = both("server", Some(&url));
                    wrk.load(&mut servers, first, span)
                }),
                None => {
                    println!("SKIPPED: the server: there is no wrk; Debian's package `wrk` has it");
                    None
                }
            };
            held &= pairs.is_none_or(|pairs| {
                pairs.claim("median ratio of throughput", |run| run.throughput, 0.98, f64::ge)
                    & pairs.claim("median ratio of CPU per request", |run| run.cpu, 1.02, f64::le)
            });
        }
        if wanted("sqlx") {
            in_turn("sqlx", pairs, span, both("sqlx", Some(&url)));
        }
    }
    if wanted("rusqlite") {
        in_turn("rusqlite", pairs, span, both("rusqlite", None));
    }
    println!("\n{} pushes arrived", collector.received().len());
    if is("--check") && !held {
        std::process::exit(1);
    }
}

/// Both sides run all the time, and do something in turn.
fn in_turn(what: &str, pairs: usize, span: Duration, mut children: [Child; 2]) {
    // Caches, the allocator, the processor's clock.
    children.iter_mut().for_each(|child| {
        child.run(span);
    });
    Pairs::run(what, pairs, |first| {
        let one = children[first].run(span);
        let other = children[1 - first].run(span);
        if first == 0 { [one, other] } else { [other, one] }
    });
}
