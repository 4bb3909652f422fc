//! Loops of small transactions, as pgbench has them.

use std::{
    io::BufRead,
    time::{Duration, Instant},
};

use highwater::{Highwater, integrate};
use sqlx::{Row, postgres::PgPoolOptions};

use super::child::{say, spent};

pub(crate) const TABLES: &str = "\
    CREATE TABLE orders AS SELECT n AS id, n % 97 AS total FROM generate_series(1, 10000) g(n);
    CREATE INDEX ON orders (id);
    CREATE TABLE accounts AS SELECT n AS id, 0 AS balance FROM generate_series(1, 10000) g(n);
    ALTER TABLE accounts ADD PRIMARY KEY (id);
    CREATE TABLE history (account int, delta int, at timestamptz);
    ANALYZE";

const CLIENTS: i32 = 4;

/// Does what `work` does, as often as it is told to, and says how many, how long, the 99th percentile,
/// and what it spent.
fn as_told(mut work: impl FnMut(Instant) -> Vec<f64>) {
    say(format_args!("ready"));
    for line in std::io::stdin().lock().lines() {
        let span = Duration::from_millis(line.unwrap().parse().unwrap());
        let (begun, before) = (Instant::now(), spent());
        let mut latencies = work(begun + span);
        let (elapsed, spent) = (begun.elapsed().as_secs_f64(), spent() - before);
        latencies.sort_by(f64::total_cmp);
        let count = latencies.len();
        say(format_args!("{count} {elapsed} {} {spent}", latencies[count * 99 / 100]));
    }
}

/// pgbench's own transaction, but for the tables that are there to be fought over.
macro_rules! transaction {
    ($pool:expr, $id:expr) => {{
        let mut all = $pool.begin().await.unwrap();
        sqlx::query("UPDATE accounts SET balance = balance + $1 WHERE id = $2")
            .bind(1)
            .bind($id)
            .execute(&mut *all)
            .await
            .unwrap();
        let row = sqlx::query("SELECT balance FROM accounts WHERE id = $1")
            .bind($id)
            .fetch_one(&mut *all)
            .await
            .unwrap();
        assert!(row.get::<i32, _>(0) > 0);
        sqlx::query("INSERT INTO history VALUES ($1, $2, now())")
            .bind($id)
            .bind(1)
            .execute(&mut *all)
            .await
            .unwrap();
        all.commit().await.unwrap();
    }};
}

pub(crate) fn sqlx(database: &str, hw: Option<&Highwater>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = PgPoolOptions::new().max_connections(4).test_before_acquire(false);
    let pool = runtime.block_on(options.connect(database)).unwrap();
    let measured = hw.map(|hw| integrate::sqlx::Pool::new(hw, "main", pool.clone()));
    as_told(|until| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (pool, measured) = (pool.clone(), measured.clone());
                runtime.spawn(async move {
                    let (mut latencies, mut at) = (Vec::new(), client * 2_500);
                    while Instant::now() < until {
                        at = (at + 7_919) % 10_000;
                        let begun = Instant::now();
                        match &measured {
                            None => transaction!(pool, at + 1),
                            Some(pool) => transaction!(pool, at + 1),
                        }
                        latencies.push(begun.elapsed().as_secs_f64());
                    }
                    latencies
                })
            })
            .collect();
        let of_all = runtime.block_on(futures_util::future::join_all(clients));
        of_all.into_iter().flat_map(Result::unwrap).collect()
    });
}

pub(crate) fn rusqlite(hw: Option<&Highwater>) {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    connection
        .execute_batch(
            "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER);
             WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10000)
             INSERT INTO accounts SELECT n, 0 FROM n;",
        )
        .unwrap();
    if let Some(hw) = hw {
        let queries = hw.queries().system("sqlite").build();
        integrate::rusqlite::measure(&mut connection, &queries).unwrap();
    }
    let mut at = 0;
    as_told(|until| {
        let mut latencies = Vec::new();
        while Instant::now() < until {
            at = (at + 7_919) % 10_000;
            let begun = Instant::now();
            let mut update = connection
                .prepare_cached("UPDATE accounts SET balance = balance + ?1 WHERE id = ?2")
                .unwrap();
            update.execute([1, at + 1]).unwrap();
            let mut select =
                connection.prepare_cached("SELECT balance FROM accounts WHERE id = ?1").unwrap();
            let balance: i64 = select.query_row([at + 1], |row| row.get(0)).unwrap();
            assert!(balance > 0);
            latencies.push(begun.elapsed().as_secs_f64());
        }
        latencies
    });
}
