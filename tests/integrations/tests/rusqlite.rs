//! A real SQLite: every statement, as SQLite's own hook tells of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/receiver.rs"]
mod receiver;

use std::time::Duration;

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
    // It fails while it runs: counted as it took its time, but not as a failure.
    connection.execute("INSERT INTO orders VALUES (1, 'twice')", []).unwrap_err();
    // Slow: a count of ten million.
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT count(*) FROM n";
    let begun = std::time::Instant::now();
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
    assert_eq!(count(&points, "SELECT orders"), Some(11));
    assert_eq!(count(&points, "ping"), Some(1));
    let slow = points.labelled(DURATION, "db.query.summary", "SELECT SELECT SELECT").unwrap();
    // SQLite's clock has whole milliseconds.
    assert!(slow > 0.5 * took && slow <= took + 0.002, "{slow} of {took}");
    assert!(points.0.iter().flat_map(|p| &p.labels).all(|label| !label.1.contains("hunter2")));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
