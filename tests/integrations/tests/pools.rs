//! deadpool, bb8 and r2d2 as services use them, over a real PostgreSQL: an exhausted pool with a
//! waiting caller, one that gives up and one that is timed out, connections that break, and a server
//! that is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/postgres.rs"]
mod postgres;
#[path = "../../support/receiver.rs"]
mod receiver;

use std::time::Duration;

use diesel::{PgConnection, r2d2::ConnectionManager};
use highwater::{
    Highwater,
    integrate::{self, pool::Opening},
};
use points::Points;
use postgres::Postgres;
use receiver::{Reaction, Receiver};
use tokio_postgres::NoTls;

const NAME: &str = "db.client.connection.pool.name";
/// Nobody waits so long.
const LONG: Duration = Duration::from_secs(600);
/// Long enough to open a connection.
const SHORT: Duration = Duration::from_secs(2);

fn of(points: &Points, metric: &str, pool: &str) -> Option<f64> {
    points.labelled(metric, NAME, pool)
}

fn count(points: &Points, metric: &str, pool: &str) -> Option<u64> {
    points.count_of(metric, &[(NAME, pool)])
}

fn state(points: &Points, pool: &str, state: &str) -> Option<f64> {
    let mut all = points.all("db.client.connection.count");
    all.find(|p| p.get(NAME) == Some(pool) && p.get("db.client.connection.state") == Some(state))
        .map(|point| point.value)
}

/// With both of the patient pool's connections held and so many waiting.
fn exhausted(receiver: &Receiver, waiting: f64) {
    let points = Points::until(receiver, |points| {
        of(points, "db.client.connection.pending_requests", "patient") == Some(waiting)
    });
    assert_eq!(state(&points, "patient", "used"), Some(2.0));
    assert_eq!(state(&points, "patient", "idle"), Some(0.0));
    assert_eq!(of(&points, "db.client.connection.max", "patient"), Some(2.0));
    assert_eq!(of(&points, "highwater.pool.waited_for", "patient"), Some(1.0));
    assert_eq!(of(&points, "highwater.pool.acquire_timeout", "hasty"), Some(2.0));
}

/// After those who waited got theirs and all were given back.
fn given_back(receiver: &Receiver, got: u64) -> Points {
    let points = Points::until(receiver, |points| {
        of(points, "db.client.connection.timeouts", "hasty") == Some(1.0)
            && state(points, "patient", "idle") == Some(2.0)
            && state(points, "hasty", "idle") == Some(2.0)
            && count(points, "db.client.connection.use_time", "patient") == Some(got)
    });
    assert_eq!(of(&points, "db.client.connection.pending_requests", "patient"), Some(0.0));
    assert_eq!(of(&points, "highwater.pool.waited_for", "patient"), Some(0.0));
    assert_eq!(count(&points, "db.client.connection.wait_time", "patient"), Some(got));
    assert_eq!(of(&points, "db.client.connection.timeouts", "patient"), Some(0.0));
    assert_eq!(count(&points, "db.client.connection.wait_time", "hasty"), Some(2));
    assert_eq!(count(&points, "db.client.connection.create_time", "patient"), Some(2));
    assert_eq!(count(&points, "db.client.connection.create_time", "hasty"), Some(2));
    points
}

fn gone(receiver: &Receiver) {
    Points::until(receiver, |points| points.value("db.client.connection.max").is_none());
}

/// What breaks all connections of the service.
const BREAK: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadpool() {
    use deadpool::{
        Runtime,
        managed::{Pool, PoolError},
    };
    let Some(server) = Postgres::start("deadpool") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let make = |hw: &Highwater, name: &str, patience| {
        let manager = deadpool_postgres::Manager::new(server.url().parse().unwrap(), NoTls);
        let pool =
            Pool::<Opening<deadpool_postgres::Manager>>::builder(Opening::of(hw, name, manager))
                .max_size(2)
                .wait_timeout(Some(patience))
                .runtime(Runtime::Tokio1)
                .build();
        integrate::deadpool::Pool::new(hw, name, pool.unwrap())
    };
    let (patient, hasty) = (make(&hw, "patient", LONG), make(&hw, "hasty", SHORT));
    let held = [patient.get().await.unwrap(), patient.get().await.unwrap()];
    let get = || {
        let pool = patient.clone();
        async move { pool.get().await.unwrap().query_one("SELECT 1", &[]).await.is_ok() }
    };
    let (waits, gives_up) = (tokio::spawn(get()), tokio::spawn(get()));
    exhausted(&receiver, 2.0);
    gives_up.abort();
    assert!(gives_up.await.unwrap_err().is_cancelled());
    drop(held);
    assert!(waits.await.unwrap());
    let held = [hasty.get().await.unwrap(), hasty.get().await.unwrap()];
    assert!(matches!(hasty.get().await, Err(PoolError::Timeout(_))));
    drop(held);
    let points = given_back(&receiver, 3);
    assert_eq!(of(&points, "highwater.pool.abandoned", "patient"), Some(1.0));

    // Broken ones are found out when they are to be used, and others opened.
    assert_eq!(server.ask(BREAK).as_deref(), Some("4"));
    loop {
        let object = patient.get().await.unwrap();
        if object.query_one("SELECT 1", &[]).await.is_ok() {
            break;
        }
    }
    Points::until(&receiver, |points| {
        count(points, "db.client.connection.create_time", "patient") == Some(3)
    });
    drop(server);
    let refused = loop {
        match patient.get().await {
            // It has not noticed yet.
            Ok(object) => drop(object.query_one("SELECT 1", &[]).await.unwrap_err()),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, PoolError::Backend(_)));
    Points::until(&receiver, |points| {
        points.labelled("highwater.pool.failures", "error.type", "backend") == Some(1.0)
    });
    patient.raw().close();
    assert!(matches!(patient.get().await, Err(PoolError::Closed)));
    hasty.raw().close();
    gone(&receiver);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bb8() {
    use bb8_postgres::PostgresConnectionManager as Manager;
    let Some(server) = Postgres::start("bb8") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let make = async |hw: &Highwater, name: &str, patience| {
        let manager = Manager::new_from_stringlike(server.url(), NoTls).unwrap();
        let pool = bb8::Pool::builder()
            .max_size(2)
            .min_idle(1)
            .connection_timeout(patience)
            .build(Opening::of(hw, name, manager));
        integrate::bb8::Pool::new(hw, name, pool.await.unwrap())
    };
    let (patient, hasty) = (make(&hw, "patient", LONG).await, make(&hw, "hasty", SHORT).await);
    let held = [patient.get().await.unwrap(), patient.get().await.unwrap()];
    let get = || {
        let pool = patient.clone();
        async move { pool.get().await.unwrap().query_one("SELECT 1", &[]).await.is_ok() }
    };
    let (waits, gives_up) = (tokio::spawn(get()), tokio::spawn(get()));
    exhausted(&receiver, 2.0);
    gives_up.abort();
    assert!(gives_up.await.unwrap_err().is_cancelled());
    drop(held);
    assert!(waits.await.unwrap());
    let held = [hasty.get().await.unwrap(), hasty.get().await.unwrap()];
    assert!(matches!(hasty.get().await, Err(bb8::RunError::TimedOut)));
    // bb8's own statistics agree.
    assert_eq!(hasty.raw().state().statistics.get_timed_out, 1);
    drop(held);
    let points = given_back(&receiver, 3);
    assert_eq!(of(&points, "highwater.pool.abandoned", "patient"), Some(1.0));
    assert_eq!(of(&points, "db.client.connection.idle.min", "patient"), Some(1.0));

    assert_eq!(server.ask(BREAK).as_deref(), Some("4"));
    loop {
        let connection = patient.get().await.unwrap();
        if connection.query_one("SELECT 1", &[]).await.is_ok() {
            break;
        }
    }
    Points::until(&receiver, |points| {
        count(points, "db.client.connection.create_time", "patient").is_some_and(|made| made > 2)
    });
    // It tries to connect until the time is over.
    drop(server);
    while !matches!(hasty.get().await.map(drop), Err(bb8::RunError::TimedOut)) {}
    Points::until(&receiver, |points| {
        of(points, "db.client.connection.timeouts", "hasty") == Some(2.0)
    });
    drop((patient, hasty));
    gone(&receiver);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn r2d2() {
    use diesel::{RunQueryDsl, sql_query};
    let Some(server) = Postgres::start("r2d2") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let make = |hw: &Highwater, name: &str, patience| {
        let manager = ConnectionManager::<PgConnection>::new(server.url());
        let pool = r2d2::Pool::builder()
            .max_size(2)
            .min_idle(Some(1))
            .connection_timeout(patience)
            .build(Opening::of(hw, name, manager));
        integrate::r2d2::Pool::new(hw, name, pool.unwrap())
    };
    let (patient, hasty) = (make(&hw, "patient", LONG), make(&hw, "hasty", SHORT));
    let held = [patient.get().unwrap(), patient.get().unwrap()];
    let waits = std::thread::spawn({
        let pool = patient.clone();
        move || sql_query("SELECT 1").execute(&mut *pool.get().unwrap()).is_ok()
    });
    exhausted(&receiver, 1.0);
    drop(held);
    assert!(waits.join().unwrap());
    let held = [hasty.get().unwrap(), hasty.get().unwrap()];
    hasty.get().map(drop).unwrap_err();
    drop(held);
    let points = given_back(&receiver, 3);
    assert_eq!(of(&points, "db.client.connection.idle.min", "patient"), Some(1.0));

    // It asks a connection before it hands it out, and opens another for one that does not answer.
    assert_eq!(server.ask(BREAK).as_deref(), Some("4"));
    sql_query("SELECT 1").execute(&mut *patient.get().unwrap()).unwrap();
    Points::until(&receiver, |points| {
        count(points, "db.client.connection.create_time", "patient").is_some_and(|made| made > 2)
    });
    drop(server);
    hasty.get().map(drop).unwrap_err();
    Points::until(&receiver, |points| {
        of(points, "db.client.connection.timeouts", "hasty") == Some(2.0)
    });
    drop((patient, hasty));
    gone(&receiver);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
