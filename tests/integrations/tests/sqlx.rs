//! sqlx against a real PostgreSQL: what is counted is what the server counted, or what sqlx
//! returned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/postgres.rs"]
mod postgres;
#[path = "../../support/receiver.rs"]
mod receiver;

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use highwater::{Highwater, integrate::sqlx::Pool};
use points::Points;
use postgres::Postgres;
use receiver::{Reaction, Receiver};
use sqlx::{Executor, PgPool, Postgres as Pg, Row, postgres::PgPoolOptions};

const DURATION: &str = "db.client.operation.duration";
const ROWS: &str = "db.client.response.returned_rows";

fn options(size: u32, patience: Duration) -> PgPoolOptions {
    // Its test of an idle connection is a statement nobody asked for.
    PgPoolOptions::new().max_connections(size).acquire_timeout(patience).test_before_acquire(false)
}

/// Nobody waits so long.
const LONG: Duration = Duration::from_secs(600);

async fn connect(
    hw: &Highwater,
    server: &Postgres,
    name: &str,
    size: u32,
    patience: Duration,
) -> Pool<Pg> {
    let pool: PgPool = options(size, patience).connect(&server.url()).await.unwrap();
    Pool::new(hw, name, pool)
}

fn calls(points: &Points, name: &str) -> Option<u64> {
    points.count_of(DURATION, &[("db.query.summary", name), ("db.system.name", "postgresql")])
}

fn failures(points: &Points, name: &str, error: &str) -> Option<u64> {
    points.count_of(DURATION, &[("db.query.summary", name), ("error.type", error)])
}

/// As a service is written: generic over whoever executes.
async fn orders_of<'e, E: Executor<'e, Database = Pg>>(by: E) -> Vec<i32> {
    let rows = sqlx::query("SELECT id FROM orders WHERE total > $1 ORDER BY id").bind(10);
    rows.fetch_all(by).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_is_counted_as_the_server_counts_it() {
    let Some(server) = Postgres::start("sqlx") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let pool = connect(&hw, &server, "main", 4, LONG).await;

    sqlx::raw_sql("CREATE TABLE orders (id int PRIMARY KEY, total int)")
        .execute(&pool)
        .await
        .unwrap();
    let mut inserted = 0;
    for id in 0..30 {
        let query = sqlx::query("INSERT INTO orders VALUES ($1, $2)").bind(id).bind(id);
        inserted += query.execute(&pool).await.unwrap().rows_affected();
    }
    assert_eq!(inserted, 30);

    // All ways a query can be asked, on the pool, on a connection, in a transaction.
    let mut rows = 0;
    rows += orders_of(&pool).await.len();
    let mut connection = pool.acquire().await.unwrap();
    rows += orders_of(&mut *connection).await.len();
    drop(connection);
    let mut transaction = pool.begin().await.unwrap();
    rows += orders_of(&mut *transaction).await.len();
    transaction.commit().await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    rows += orders_of(&mut *transaction).await.len();
    transaction.rollback().await.unwrap();
    assert_eq!(rows, 4 * 19);
    let max: (i32,) =
        sqlx::query_as("SELECT max(total) FROM orders").fetch_one(&pool).await.unwrap();
    let none =
        sqlx::query("SELECT id FROM orders WHERE id = -1").fetch_optional(&pool).await.unwrap();
    let missing = sqlx::query("SELECT id FROM orders WHERE id = -1").fetch_one(&pool).await;
    assert!(max.0 == 29 && none.is_none() && matches!(missing, Err(sqlx::Error::RowNotFound)));
    let streamed = sqlx::query("SELECT total FROM orders").fetch(&pool);
    assert_eq!(streamed.try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap(), 30);
    let by_literal: i32 =
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT {} FROM orders LIMIT 1", 4711)))
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(by_literal, 4711);

    let select = server.calls("SELECT%FROM orders%");
    let insert = server.calls("INSERT INTO orders%");
    assert_eq!((select, insert), (9, 30));
    let points = Points::until(&receiver, |points| calls(points, "SELECT orders") == Some(select));
    assert_eq!(calls(&points, "INSERT orders"), Some(insert));
    assert_eq!(calls(&points, "CREATE TABLE orders"), Some(1));
    assert_eq!(calls(&points, "BEGIN"), Some(server.calls("BEGIN")));
    assert_eq!((calls(&points, "COMMIT"), calls(&points, "ROLLBACK")), (Some(1), Some(1)));
    let returned: f64 = points.labelled(ROWS, "db.query.summary", "SELECT orders").unwrap();
    let server_rows = server
        .ask("SELECT sum(rows) FROM pg_stat_statements WHERE query LIKE 'SELECT%FROM orders%'");
    assert_eq!(server_rows.unwrap().parse::<f64>().unwrap(), returned);
    assert_eq!(returned, (rows + 1 + 30 + 1) as f64);
    let held: Vec<_> =
        points.0.iter().flat_map(|p| &p.labels).filter(|l| l.1.contains("4711")).collect();
    assert!(held.is_empty(), "a literal: {held:?}");
    assert!(points.all(DURATION).all(|p| p.get("error.type").is_none()), "{points:#?}");
    let in_flight: f64 = points.all("highwater.query.in_flight").map(|p| p.value).sum();
    assert_eq!(in_flight, 0.0);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_failing_cancelled_and_cut_off() {
    let Some(server) = Postgres::start("sqlx") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let pool = connect(&hw, &server, "main", 4, LONG).await;

    sqlx::query("SELECT pg_sleep(0.25)").execute(&pool).await.unwrap();
    // In the text's syntax, in its execution, in the middle of its rows.
    for sql in ["SELEC", "SELECT * FROM nowhere"] {
        sqlx::query(sql).execute(&pool).await.unwrap_err();
    }
    let mut connection = pool.acquire().await.unwrap();
    let torn = sqlx::query("SELECT 1 / (1000 - n) FROM generate_series(1, 2000) g(n)");
    assert!(torn.fetch_all(&mut *connection).await.is_err());
    sqlx::query("SELECT 1 / 0 FROM pg_class").fetch_optional(&mut *connection).await.unwrap_err();
    drop(connection);
    // Dropped by its caller, before and after the first row.
    let gives_up = tokio::spawn({
        let pool = pool.clone();
        async move { sqlx::query("SELECT pg_sleep(60) FROM pg_am").execute(&pool).await }
    });
    server.until_runs("%60%pg_am%");
    gives_up.abort();
    assert!(gives_up.await.unwrap_err().is_cancelled());
    let mut some = sqlx::query("SELECT n FROM generate_series(1, 100000) g(n)").fetch(&pool);
    some.next().await.unwrap().unwrap();
    drop(some);
    // The server closes the connection under the query.
    let mut connection = pool.acquire().await.unwrap();
    let backend: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *connection).await.unwrap();
    let cut = tokio::spawn(async move {
        sqlx::query("SELECT pg_sleep(60) FROM pg_database").execute(&mut *connection).await
    });
    server.until_runs("%60%pg_database%");
    server.terminate(backend);
    cut.await.unwrap().unwrap_err();

    Points::until(&receiver, |points| failures(points, "SELECT pg_database", "57P01") == Some(1));
    // A constraint that is looked at only at the end: COMMIT fails, by its SQLSTATE.
    server
        .ask("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
        .unwrap();
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO b VALUES (7)").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap_err();
    let points = Points::until(&receiver, |points| failures(points, "COMMIT", "23503") == Some(1));

    let slow = points.labelled(DURATION, "db.query.summary", "SELECT").unwrap();
    assert!((0.25..10.0).contains(&slow), "{slow}");
    assert_eq!(failures(&points, "_OTHER", "42601"), Some(1));
    assert_eq!(failures(&points, "SELECT nowhere", "42P01"), Some(1));
    assert_eq!(failures(&points, "SELECT generate_series", "22012"), Some(1));
    assert_eq!(failures(&points, "SELECT pg_class", "22012"), Some(1));
    assert_eq!(failures(&points, "SELECT pg_am", "cancelled"), Some(1));
    assert_eq!(failures(&points, "SELECT generate_series", "cancelled"), Some(1));
    let in_flight: f64 = points.all("highwater.query.in_flight").map(|p| p.value).sum();
    assert_eq!(in_flight, 0.0);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_pool_and_a_server_that_is_gone() {
    let Some(server) = Postgres::start("sqlx") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let patient = connect(&hw, &server, "patient", 2, LONG).await;
    let pool = connect(&hw, &server, "hasty", 2, Duration::from_secs(2)).await;
    let held = [patient.acquire().await.unwrap(), patient.acquire().await.unwrap()];
    let of = |points: &Points, metric: &str, pool: &str| {
        points.labelled(metric, "db.client.connection.pool.name", pool)
    };
    let state = |points: &Points, pool: &str, state: &str| {
        let mut all = points.all("db.client.connection.count");
        all.find(|point| {
            point.get("db.client.connection.pool.name") == Some(pool)
                && point.get("db.client.connection.state") == Some(state)
        })
        .map(|point| point.value)
    };

    // Who waits is seen, and gets a connection when one is given back; who gives up is counted.
    let query = || {
        let pool = patient.clone();
        async move { sqlx::query("SELECT 1 FROM pg_am").execute(&pool).await }
    };
    let (waits, gives_up) = (tokio::spawn(query()), tokio::spawn(query()));
    let points = Points::until(&receiver, |points| {
        of(points, "db.client.connection.pending_requests", "patient") == Some(2.0)
    });
    assert_eq!(state(&points, "patient", "used"), Some(2.0));
    assert_eq!(state(&points, "patient", "idle"), Some(0.0));
    assert_eq!(of(&points, "db.client.connection.max", "patient"), Some(2.0));
    assert_eq!(of(&points, "highwater.pool.acquire_timeout", "hasty"), Some(2.0));
    gives_up.abort();
    assert!(gives_up.await.unwrap_err().is_cancelled());
    drop(held);
    waits.await.unwrap().unwrap();
    let points = Points::until(&receiver, |points| {
        of(points, "db.client.connection.pending_requests", "patient") == Some(0.0)
            && state(points, "patient", "idle") == Some(2.0)
            && of(points, "highwater.pool.abandoned", "patient") == Some(1.0)
    });
    let uses = [("db.client.connection.pool.name", "patient")];
    assert_eq!(points.count_of("db.client.connection.use_time", &uses), Some(3));
    assert_eq!(points.count_of("db.client.connection.wait_time", &uses), Some(3));

    // The other pool ends their wait.
    let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let ended = sqlx::query("SELECT 1 FROM pg_database").execute(&pool).await;
    assert!(matches!(ended, Err(sqlx::Error::PoolTimedOut)));
    assert!(matches!(pool.begin().await, Err(sqlx::Error::PoolTimedOut)));
    drop(held);
    let points = Points::until(&receiver, |points| {
        of(points, "db.client.connection.timeouts", "hasty") == Some(2.0)
    });
    assert_eq!(of(&points, "db.client.connection.timeouts", "patient"), Some(0.0));
    // No query was made, so none is counted.
    assert_eq!(calls(&points, "SELECT pg_database").unwrap_or(0), 0);
    drop(patient);

    // The server is gone: connections break, new ones are refused.
    drop(server);
    let broken = sqlx::query("SELECT 1 FROM pg_am").execute(&pool).await.unwrap_err();
    println!("{broken}");
    Points::until(&receiver, |points| {
        points.all(DURATION).any(|p| {
            p.get("db.query.summary") == Some("SELECT pg_am") && p.get("error.type").is_some()
        })
    });
    for _ in 0..3 {
        sqlx::query("SELECT 1 FROM pg_am").execute(&pool).await.unwrap_err();
    }
    pool.raw().close().await;
    assert!(matches!(pool.acquire().await, Err(sqlx::Error::PoolClosed)));
    let points = Points::until(&receiver, |points| {
        points.value("db.client.connection.max").is_none()
            && points.labelled("highwater.pool.failures", "error.type", "pool_closed") == Some(1.0)
    });
    println!("{:#?}", points.all("highwater.pool.failures").collect::<Vec<_>>());
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_whose_last_handle_is_gone_is_let_go() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let pool =
        options(3, Duration::from_secs(1)).connect_lazy("postgres://nobody@127.0.0.1:1/x").unwrap();
    let raw = pool.clone();
    let pool = Pool::new(&hw, "main", pool);
    Points::until(&receiver, |points| points.value("db.client.connection.max") == Some(3.0));
    drop(pool);
    Points::until(&receiver, |points| points.value("db.client.connection.max").is_none());
    assert!(!raw.is_closed());
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
