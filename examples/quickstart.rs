//! The smallest honest program: real SQLite queries, real memory held and released, an alert's
//! whole life, and everything pushed over OTLP. `cargo run --example quickstart`, about 20 s.
//!
//! It pushes where `OTEL_EXPORTER_OTLP_ENDPOINT` points. With nothing set it starts a small OTLP
//! receiver of its own and prints what arrived.

mod support;

use std::{
    error::Error,
    thread::sleep,
    time::{Duration, Instant},
};

use highwater::{Highwater, export::otlp, rule};
use rusqlite::Connection;

const MIB: u64 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    support::print_logs();
    let receiver = support::Receiver::unless_configured()?;
    let hw = Highwater::builder("quickstart")
        .rule(
            rule::alert("MemoryHeld")
                .when(
                    rule::gauge("process.memory.usage")
                        .above(rule::bytes(128 * MIB))
                        .clear_below(rule::bytes(96 * MIB)),
                )
                .hold_for(Duration::from_secs(3))
                .summary("{{ humanize1024 $value }}B resident"),
        )
        .export(
            receiver
                .as_ref()
                .map_or_else(otlp::from_env, |r| otlp::to(r.endpoint()))
                .interval(Duration::from_secs(5)),
        )
        .install()?;

    let db = Connection::open_in_memory()?;
    db.execute_batch(
        "CREATE TABLE orders (user INTEGER, total REAL); CREATE INDEX by_user ON orders (user);",
    )?;
    let insert = hw.query("insert_order").system("sqlite").build();
    let by_user = hw.query("orders_by_user").system("sqlite").build();
    let memory = hw.alert("MemoryHeld")?;

    let (start, mut held) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(18) {
        for user in 0..50 {
            insert.try_time(|| db.execute("INSERT INTO orders VALUES (?1, 9.5)", [user]))?;
            by_user.try_time(|| {
                db.query_row("SELECT sum(total) FROM orders WHERE user = ?1", [user], |row| {
                    row.get::<_, f64>(0)
                })
            })?;
        }
        // A query that fails is recorded with its `error.type`.
        _ = by_user.try_time(|| db.execute("SELECT * FROM no_such_table", []));
        match start.elapsed().as_secs() {
            4..12 if held.is_empty() && !memory.is_firing() => {
                held = vec![1_u8; 200 * MIB as usize]
            }
            12.. => held = Vec::new(),
            _ => {}
        }
        sleep(Duration::from_millis(100));
    }
    hw.shutdown(Duration::from_secs(5))?;
    if let Some(receiver) = receiver {
        receiver.print_what_arrived();
    }
    Ok(())
}
