//! A real SQLite: every statement, as SQLite's own hook tells of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/receiver.rs"]
mod receiver;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use highwater::integrate;
use points::Points;
use receiver::{Reaction, Receiver};
use rusqlite::Connection;

const DURATION: &str = "db.client.operation.duration";

#[test]
fn every_statement_of_a_connection() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let queries = hw.queries().system("sqlite").named("SELECT 1", "ping").build();
    let mut connection = Connection::open_in_memory().unwrap();
    integrate::rusqlite::measure(&mut connection, &queries).unwrap();
    connection.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT)").unwrap();
    for id in 0..25 {
        connection
            .execute(&format!("INSERT INTO orders VALUES ({id}, 'hunter2 FROM x')"), [])
            .unwrap();
    }
    let mut select = connection.prepare("SELECT id FROM orders WHERE id > ?1").unwrap();
    let mut rows = 0;
    for least in 0..10 {
        rows += select.query_map([least], |row| row.get::<_, i64>(0)).unwrap().count();
    }
    assert_eq!(rows, (15..25).sum::<usize>());
    // Given up after its first row: reset is its end.
    select.query([0]).unwrap().next().unwrap().unwrap();
    connection.query_row("SELECT 1", [], |_| Ok(())).unwrap();
    // One inside another, and the outer one ends first.
    let mut outer = connection.prepare("SELECT name FROM orders").unwrap();
    let mut inner = connection.prepare("SELECT name FROM orders").unwrap();
    let mut outer = outer.query([]).unwrap();
    outer.next().unwrap().unwrap();
    let mut inner = inner.query([]).unwrap();
    inner.next().unwrap().unwrap();
    drop(outer);
    drop(inner);
    // It fails while it runs: counted as it took its time, but not as a failure.
    connection.execute("INSERT INTO orders VALUES (1, 'twice')", []).unwrap_err();
    // A trigger belongs to what set it off.
    connection
        .execute_batch(
            "CREATE TABLE log (id INTEGER);
             CREATE TRIGGER logged AFTER DELETE ON orders BEGIN INSERT INTO log VALUES (old.id); END;",
        )
        .unwrap();
    assert_eq!(connection.execute("DELETE FROM orders WHERE id < 3", []).unwrap(), 3);
    // Short: far below the millisecond that SQLite's own clock has.
    let mut short = connection.prepare("SELECT 7 FROM log LIMIT 1").unwrap();
    let begun = Instant::now();
    for _ in 0..2000 {
        short.query_row([], |_| Ok(())).unwrap();
    }
    let took_short = begun.elapsed().as_secs_f64();
    drop(short);
    // Interrupted while it runs.
    let handle = connection.get_interrupt_handle();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n, log";
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // It may ask before the statement runs, when nobody listens.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                handle.interrupt();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let interrupted = connection.query_row(endless, [], |row| row.get::<_, i64>(0));
        stop.store(true, Ordering::Relaxed);
        let code = interrupted.unwrap_err().sqlite_error_code();
        assert_eq!(code, Some(rusqlite::ErrorCode::OperationInterrupted));
    });
    // Slow: a count of two million.
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT count(*) FROM n";
    let begun = Instant::now();
    connection.query_row(slow, [], |row| row.get::<_, i64>(0)).unwrap();
    let took = begun.elapsed().as_secs_f64();

    let count = |points: &Points, name: &str| {
        points.count_of(DURATION, &[("db.query.summary", name), ("db.system.name", "sqlite")])
    };
    let points = Points::until(&receiver, |points| {
        count(points, "SELECT SELECT SELECT") == Some(1)
            && count(points, "INSERT orders") == Some(26)
    });
    assert_eq!(count(&points, "CREATE TABLE orders"), Some(1));
    assert_eq!(count(&points, "SELECT orders"), Some(13));
    assert_eq!(count(&points, "DELETE orders"), Some(1));
    assert_eq!(count(&points, "INSERT log"), None, "the trigger's");
    assert_eq!(count(&points, "SELECT SELECT SELECT log"), Some(1), "{points:#?}");
    assert_eq!(count(&points, "SELECT log"), Some(2000));
    let short = points.labelled(DURATION, "db.query.summary", "SELECT log").unwrap();
    assert!(short > 0.0 && short <= took_short, "{short} of {took_short}");
    let in_flight: f64 = points.all("highwater.query.in_flight").map(|p| p.value).sum();
    assert_eq!(in_flight, 0.0);
    assert_eq!(count(&points, "ping"), Some(1));
    let slow = points.labelled(DURATION, "db.query.summary", "SELECT SELECT SELECT").unwrap();
    assert!(slow > 0.5 * took && slow <= took, "{slow} of {took}");
    assert!(points.0.iter().flat_map(|p| &p.labels).all(|label| !label.1.contains("hunter2")));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
