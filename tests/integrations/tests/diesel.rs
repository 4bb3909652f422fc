//! diesel against a real PostgreSQL: what is counted is what the server counted, or what diesel
//! returned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/postgres.rs"]
mod postgres;
#[path = "../../support/receiver.rs"]
mod receiver;

use std::{thread, time::Duration};

use diesel::{
    PgConnection,
    connection::SimpleConnection,
    prelude::*,
    r2d2::ConnectionManager,
    result::{DatabaseErrorKind, Error},
    sql_query,
    sql_types::Integer,
};
use highwater::integrate;
use points::Points;
use postgres::Postgres;
use receiver::{Reaction, Receiver};

const DURATION: &str = "db.client.operation.duration";

diesel::table! {
    orders (id) {
        id -> Integer,
        name -> Text,
    }
}

/// Of all texts of this name.
fn calls(points: &Points, name: &str) -> Option<u64> {
    let of_name = points.all(DURATION).filter(|point| {
        point.get("db.query.summary") == Some(name)
            && point.get("db.system.name") == Some("postgresql")
            && point.get("error.type").is_none()
    });
    of_name.filter_map(|point| point.count).reduce(|sum, count| sum + count)
}

fn failures(points: &Points, name: &str, error: &str) -> Option<u64> {
    points.count_of(DURATION, &[("db.query.summary", name), ("error.type", error)])
}

#[test]
fn every_query_is_counted_as_the_server_counts_it() {
    let Some(server) = Postgres::start("diesel") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let queries = hw.queries().system("postgresql").with_text().build();
    let mut connection = PgConnection::establish(&server.url()).unwrap();
    connection.set_instrumentation(integrate::diesel::measure(&queries));

    connection.batch_execute("CREATE TABLE orders (id int PRIMARY KEY, name text)").unwrap();
    let mut inserted = 0;
    for id in 0..30 {
        let row = (orders::id.eq(id), orders::name.eq("hunter2 -- binds: \n' OR"));
        inserted +=
            diesel::insert_into(orders::table).values(row).execute(&mut connection).unwrap();
    }
    assert_eq!(inserted, 30);
    let mut found = 0;
    for least in 0..10 {
        let query = orders::table.filter(orders::id.ge(least)).select(orders::id);
        found += query.load::<i32>(&mut connection).unwrap().len();
    }
    assert_eq!(found, (21..=30).sum::<usize>());
    let missing = orders::table.find(-1).select(orders::id).first::<i32>(&mut connection);
    assert_eq!(missing, Err(Error::NotFound));
    // One transaction kept, one rolled back, one within another.
    connection.transaction(|_| Ok::<_, Error>(())).unwrap();
    connection
        .transaction(|connection| {
            connection.transaction(|_| Err::<(), _>(Error::RollbackTransaction))
        })
        .unwrap_err();

    // Slow, and failing in each way.
    sql_query("SELECT pg_sleep(0.25) FROM pg_am LIMIT 1").execute(&mut connection).unwrap();
    for sql in ["SELEC", "SELECT * FROM nowhere", "SELECT 1 / 0 FROM pg_class"] {
        sql_query(sql).execute(&mut connection).unwrap_err();
    }
    let twice = diesel::insert_into(orders::table)
        .values((orders::id.eq(1), orders::name.eq("hunter2")))
        .execute(&mut connection)
        .unwrap_err();
    assert!(matches!(twice, Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)));

    let points = Points::until(&receiver, |points| {
        failures(points, r#"INSERT "orders""#, "unique_violation") == Some(1)
    });
    // The server counts what it completes.
    assert_eq!(calls(&points, r#"INSERT "orders""#), Some(server.calls("INSERT INTO%orders%")));
    assert_eq!(server.calls("INSERT INTO%orders%"), 30);
    let select = calls(&points, r#"SELECT "orders""#).unwrap();
    assert_eq!((select, select), (11, server.calls("SELECT%FROM%orders%")));
    assert_eq!(calls(&points, "BEGIN"), Some(server.calls("BEGIN")));
    assert_eq!(
        (calls(&points, "COMMIT"), calls(&points, "ROLLBACK")),
        (Some(1), Some(2)),
        "{points:#?}"
    );
    let slow = points.labelled(DURATION, "db.query.summary", "SELECT pg_am").unwrap();
    assert!((0.25..10.0).contains(&slow), "{slow}");
    assert_eq!(failures(&points, "_OTHER", "database"), Some(1));
    assert_eq!(failures(&points, "SELECT nowhere", "database"), Some(1));
    assert_eq!(failures(&points, "SELECT pg_class", "database"), Some(1));
    let told: Vec<_> = points.0.iter().flat_map(|point| &point.labels).collect();
    assert!(told.iter().all(|label| !label.1.contains("hunter") && !label.1.contains("binds")));
    assert!(told.iter().any(|label| label.0 == "db.query.text" && label.1.contains("orders")));
    let in_flight: f64 = points.all("highwater.query.in_flight").map(|p| p.value).sum();
    assert_eq!(in_flight, 0.0);

    // The server ends the connection under the query.
    let backend: i32 = diesel::select(diesel::dsl::sql::<Integer>("pg_backend_pid()"))
        .get_result(&mut connection)
        .unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            server.until_runs("%60%pg_database%");
            server.terminate(backend);
        });
        sql_query("SELECT pg_sleep(60) FROM pg_database").execute(&mut connection).unwrap_err();
    });
    let points = Points::until(&receiver, |points| {
        points.all(DURATION).any(|point| {
            point.get("db.query.summary") == Some("SELECT pg_database")
                && point.get("error.type").is_some()
        })
    });
    drop(points);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

/// diesel's pools are r2d2's: every connection is measured, those opened later too.
#[test]
fn a_pool_of_connections() {
    let Some(server) = Postgres::start("diesel") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let queries = hw.queries().system("postgresql").build();
    let manager = ConnectionManager::<PgConnection>::new(server.url());
    let pool = r2d2::Pool::builder()
        .max_size(3)
        .test_on_check_out(false)
        .connection_customizer(Box::new(integrate::diesel::measure(&queries)))
        .build(integrate::pool::Opening::of(&hw, "main", manager))
        .unwrap();
    let pool = integrate::r2d2::Pool::new(&hw, "main", pool);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut connection = pool.get().unwrap();
                    sql_query("SELECT 1 FROM pg_am LIMIT 1").execute(&mut *connection).unwrap();
                }
            });
        }
    });
    let points = Points::until(&receiver, |points| {
        calls(points, "SELECT pg_am") == Some(60)
            && points.count("db.client.connection.use_time") == Some(60)
            && points.count("db.client.connection.create_time") == Some(3)
    });
    assert_eq!(server.calls("SELECT%pg_am%"), 60);
    assert_eq!(points.count("db.client.connection.wait_time"), Some(60));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
