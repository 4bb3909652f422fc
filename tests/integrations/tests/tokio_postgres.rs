//! tokio-postgres against a real PostgreSQL, alone and from the pools it is used with: what is
//! counted is what the server counted, or what the driver returned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/postgres.rs"]
mod postgres;
#[path = "../../support/receiver.rs"]
mod receiver;

use deadpool_postgres::{Manager, Runtime};
use futures_util::{StreamExt, TryStreamExt};
use highwater::{
    Highwater, Queries,
    integrate::{
        self,
        pool::Opening,
        tokio_postgres::{Client, GenericClient},
    },
};
use points::Points;
use postgres::Postgres;
use receiver::{Reaction, Receiver};
use std::time::Duration;
use tokio_postgres::{NoTls, types::Type};

const DURATION: &str = "db.client.operation.duration";
const ROWS: &str = "db.client.response.returned_rows";

async fn connect(server: &Postgres, queries: &Queries) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    Client::new(client, queries)
}

fn calls(points: &Points, name: &str) -> Option<u64> {
    points.count_of(DURATION, &[("db.query.summary", name), ("db.system.name", "postgresql")])
}

fn failures(points: &Points, name: &str, error: &str) -> Option<u64> {
    points.count_of(DURATION, &[("db.query.summary", name), ("error.type", error)])
}

fn in_flight(points: &Points) -> f64 {
    points.all("highwater.query.in_flight").map(|point| point.value).sum()
}

/// As a service is written: over clients and transactions.
async fn orders_of(by: &impl GenericClient) -> usize {
    by.query("SELECT id FROM orders WHERE total > $1", &[&10]).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_is_counted_as_the_server_counts_it() {
    let Some(server) = Postgres::start("tokio-postgres") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let queries = hw.queries().system("postgresql").build();
    let mut client = connect(&server, &queries).await;

    client.batch_execute("CREATE TABLE orders (id int PRIMARY KEY, total int)").await.unwrap();
    let insert = client.prepare("INSERT INTO orders VALUES ($1, $2)").await.unwrap();
    assert_eq!((insert.params().len(), insert.columns().len()), (2, 0));
    let mut inserted = 0;
    for id in 0..30i32 {
        inserted += client.execute(&insert, &[&id, &id]).await.unwrap();
    }
    assert_eq!(inserted, 30);

    let mut rows = orders_of(&client).await;
    let transaction = client.transaction().await.unwrap();
    rows += orders_of(&transaction).await;
    transaction.commit().await.unwrap();
    let mut transaction = client.transaction_with(|t| t.read_only(true)).await.unwrap();
    let nested = transaction.transaction().await.unwrap();
    rows += orders_of(&nested).await;
    nested.commit().await.unwrap();
    let nested = transaction.transaction().await.unwrap();
    nested.rollback().await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(rows, 3 * 19);
    let one = client.query_one("SELECT max(total) FROM orders", &[]).await.unwrap();
    let none = client.query_opt("SELECT id FROM orders WHERE id = -1", &[]).await.unwrap();
    let missing = client.query_one("SELECT id FROM orders WHERE id = -1", &[]).await;
    assert!(one.get::<_, i32>(0) == 29 && none.is_none() && missing.is_err());
    let text = "SELECT total FROM orders".to_owned();
    let streamed = client.query_raw(&text, Vec::<i32>::new()).await.unwrap();
    assert_eq!(streamed.try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap(), 30);
    let typed = client.query_typed("SELECT $1 FROM orders LIMIT 2", &[(&"x", Type::TEXT)]);
    assert_eq!(typed.await.unwrap().len(), 2);
    let simple = client.simple_query("SELECT id FROM orders WHERE id = 4711 OR id = 7");
    assert_eq!(simple.await.unwrap().len(), 3, "a description, a row, an end");
    let changed = client.execute_typed("UPDATE orders SET total = $1", &[(&7i32, Type::INT4)]);
    assert_eq!(changed.await.unwrap(), 30);
    assert_eq!(client.execute_raw("DELETE FROM orders WHERE id < $1", [2]).await.unwrap(), 2);

    let points = Points::until(&receiver, |points| calls(points, "DELETE orders") == Some(1));
    let select = server.calls("SELECT%FROM orders%");
    assert_eq!(select, 9);
    assert_eq!(calls(&points, "SELECT orders"), Some(select), "{points:#?}");
    assert_eq!(calls(&points, "INSERT orders"), Some(server.calls("INSERT INTO orders%")));
    assert_eq!(calls(&points, "UPDATE orders"), Some(1));
    assert_eq!(calls(&points, "CREATE TABLE orders"), Some(1));
    assert_eq!(calls(&points, "BEGIN"), Some(server.calls("START TRANSACTION%")));
    assert_eq!((calls(&points, "COMMIT"), calls(&points, "ROLLBACK")), (Some(1), Some(2)));
    assert_eq!((calls(&points, "SAVEPOINT"), calls(&points, "RELEASE")), (Some(2), Some(1)));
    let returned = points.labelled(ROWS, "db.query.summary", "SELECT orders").unwrap();
    let server_rows = server
        .ask("SELECT sum(rows) FROM pg_stat_statements WHERE query LIKE 'SELECT%FROM orders%'");
    assert_eq!(server_rows.unwrap().parse::<f64>().unwrap(), returned);
    assert!(points.all(DURATION).all(|point| point.get("error.type").is_none()), "{points:#?}");
    assert!(points.0.iter().flat_map(|p| &p.labels).all(|label| !label.1.contains("4711")));
    assert_eq!(in_flight(&points), 0.0);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_failing_cancelled_and_cut_off() {
    let Some(server) = Postgres::start("tokio-postgres") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let queries = hw.queries().system("postgresql").build();
    let mut client = connect(&server, &queries).await;

    client.batch_execute("SELECT pg_sleep(0.25)").await.unwrap();
    client.execute("SELECT * FROM nowhere", &[]).await.unwrap_err();
    client.prepare("SELECT * FROM nowhere").await.unwrap_err();
    client
        .query("SELECT 1 / (1000 - n) FROM generate_series(1, 2000) g(n)", &[])
        .await
        .unwrap_err();
    let mut torn = std::pin::pin!(
        client
            .query_raw(
                "SELECT 1 / (2 - n) FROM generate_series(1, 3) g(n), pg_am",
                Vec::<i32>::new()
            )
            .await
            .unwrap()
    );
    while let Some(row) = torn.next().await {
        if row.is_err() {
            break;
        }
    }
    // Not the number of parameters the text has: the driver refuses, and no server is asked.
    client.execute("SELECT 1 FROM pg_class", &[&1]).await.unwrap_err();
    // A constraint that is looked at only at the end.
    client
        .batch_execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
        .await
        .unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.execute("INSERT INTO b VALUES (7)", &[]).await.unwrap();
    transaction.commit().await.unwrap_err();

    // Dropped by its caller, before and after the first row.
    let other = connect(&server, &queries).await;
    let gives_up =
        tokio::spawn(async move { other.execute("SELECT pg_sleep(60) FROM pg_am", &[]).await });
    server.until_runs("%60%pg_am%");
    gives_up.abort();
    assert!(gives_up.await.unwrap_err().is_cancelled());
    let some = client.query_raw("SELECT n FROM generate_series(1, 1000) g(n)", Vec::<i32>::new());
    let mut some = Box::pin(some.await.unwrap());
    some.next().await.unwrap().unwrap();
    drop(some);
    // The server closes the connection under the query.
    let backend: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let cut = tokio::spawn(async move {
        let end = client.execute("SELECT pg_sleep(60) FROM pg_database", &[]).await;
        let after = client.execute("SELECT 1 FROM pg_index", &[]).await;
        (end.is_err(), after.is_err())
    });
    server.until_runs("%60%pg_database%");
    server.terminate(backend);
    assert_eq!(cut.await.unwrap(), (true, true));

    let points = Points::until(&receiver, |points| {
        failures(points, "SELECT pg_index", "connection_closed") == Some(1)
    });
    let slow = points.labelled(DURATION, "db.query.summary", "SELECT").unwrap();
    assert!((0.25..10.0).contains(&slow), "{slow}");
    assert_eq!(failures(&points, "SELECT nowhere", "42P01"), Some(2));
    assert_eq!(failures(&points, "SELECT generate_series", "22012"), Some(1));
    assert_eq!(failures(&points, "SELECT generate_series pg_am", "22012"), Some(1), "{points:#?}");
    assert_eq!(failures(&points, "SELECT pg_class", "client"), Some(1));
    assert_eq!(failures(&points, "COMMIT", "23503"), Some(1));
    assert_eq!(failures(&points, "SELECT pg_am", "cancelled"), Some(1));
    assert_eq!(failures(&points, "SELECT generate_series", "cancelled"), Some(1));
    let cut = points.all(DURATION).find(|point| {
        point.get("db.query.summary") == Some("SELECT pg_database")
            && point.get("error.type").is_some()
    });
    println!("cut off: {cut:?}");
    assert_eq!(cut.and_then(|point| point.count), Some(1));
    assert_eq!(in_flight(&points), 0.0);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

/// One function of a service: what it gives is measured, and knows its pool.
async fn client_of(
    pool: &integrate::deadpool::Pool<Opening<Manager>>,
    queries: &Queries,
) -> Client<integrate::deadpool::Object<Opening<Manager>>> {
    Client::new(pool.get().await.unwrap(), queries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_came_from_pools() {
    let Some(server) = Postgres::start("tokio-postgres") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let queries = hw.queries().system("postgresql").build();
    deadpool(&hw, &server, &queries).await;
    bb8(&hw, &server, &queries).await;
    let points = Points::until(&receiver, |points| calls(points, "SELECT pg_am") == Some(61));
    assert_eq!(server.calls("SELECT%pg_am%"), 61);
    let of = |metric: &str, pool: &str| {
        points.count_of(metric, &[("db.client.connection.pool.name", pool)])
    };
    assert_eq!(of("db.client.connection.use_time", "deadpool"), Some(31));
    assert_eq!(of("db.client.connection.use_time", "bb8"), Some(30));
    assert!(of("db.client.connection.create_time", "deadpool").is_some_and(|made| made <= 2));
    assert!(of("db.client.connection.create_time", "bb8").is_some_and(|made| made <= 2));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

async fn deadpool(hw: &Highwater, server: &Postgres, queries: &Queries) {
    let manager = Manager::new(server.url().parse().unwrap(), NoTls);
    let pool = deadpool::managed::Pool::builder(Opening::of(hw, "deadpool", manager))
        .max_size(2)
        .runtime(Runtime::Tokio1)
        .build()
        .unwrap();
    let pool = integrate::deadpool::Pool::new(hw, "deadpool", pool);
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (pool, queries) = (pool.clone(), queries.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                let mut client = client_of(&pool, &queries).await;
                let transaction = client.transaction().await.unwrap();
                transaction.query_one("SELECT 1 FROM pg_am LIMIT 1", &[]).await.unwrap();
                transaction.commit().await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // The pool's own cache of statements, whose statements do not know their text.
    let object = pool.get().await.unwrap();
    let sql = "SELECT 1 FROM pg_am LIMIT 1";
    let cached = object.prepare_cached(sql).await.unwrap();
    let client = Client::new(object, queries);
    client.query(&client.named(cached, sql), &[]).await.unwrap();
}

async fn bb8(hw: &Highwater, server: &Postgres, queries: &Queries) {
    let manager = bb8_postgres::PostgresConnectionManager::new_from_stringlike(server.url(), NoTls);
    let manager = Opening::of(hw, "bb8", manager.unwrap());
    let pool = bb8::Pool::builder().max_size(2).build(manager).await.unwrap();
    let pool = integrate::bb8::Pool::new(hw, "bb8", pool);
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (pool, queries) = (pool.clone(), queries.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                let client = Client::new(pool.get().await.unwrap(), &queries);
                client.query_one("SELECT 1 FROM pg_am LIMIT 1", &[]).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}
