//! SQLite behind a pool. An order is a row, and the answer says what its region has ordered so far:
//! a scan, within the transaction, since the answer must be true.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior, params};

use crate::config;

pub(crate) const REGIONS: u32 = 8;
const ROWS_BEFORE: u32 = 20_000;
const TENANTS: u32 = 50;
const CONNECTIONS: u32 = 4;

pub(crate) type Pool = r2d2::Pool<Sqlite>;
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Opens connections for the pool.
pub(crate) struct Sqlite(PathBuf);

impl r2d2::ManageConnection for Sqlite {
    type Connection = Connection;
    type Error = rusqlite::Error;

    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        open(&self.0)
    }

    fn is_valid(&self, connection: &mut Connection) -> Result<(), rusqlite::Error> {
        connection.execute_batch("")
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

pub(crate) fn pool(path: &Path) -> Result<Pool, r2d2::Error> {
    let waits = Duration::from_secs(30);
    r2d2::Pool::builder()
        .max_size(CONNECTIONS)
        .connection_timeout(waits)
        .build(Sqlite(path.to_owned()))
}

pub(crate) fn open(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

/// The tables: a day's orders, and every tenant's settings that differ from the defaults.
pub(crate) fn create(path: &Path) -> Result<(), rusqlite::Error> {
    let mut connection = open(path)?;
    connection.execute_batch(
        "CREATE TABLE orders (user INTEGER, region INTEGER, cents INTEGER);
         CREATE TABLE settings (tenant INTEGER, key TEXT, value TEXT,
                                PRIMARY KEY (tenant, key)) WITHOUT ROWID;",
    )?;
    let all = connection.transaction()?;
    for user in 0..ROWS_BEFORE {
        insert(&all, user, 100)?;
    }
    for tenant in 0..TENANTS {
        for at in config::USED {
            all.execute(
                "INSERT INTO settings VALUES (?1, ?2, ?3)",
                params![tenant, config::key(at), config::value(tenant, at)],
            )?;
        }
    }
    all.commit()
}

pub(crate) fn tenant_of(user: u32) -> u32 {
    user % TENANTS
}

pub(crate) fn insert(
    connection: &Connection,
    user: u32,
    cents: i64,
) -> Result<(), rusqlite::Error> {
    let mut insert = connection.prepare_cached("INSERT INTO orders VALUES (?1, ?2, ?3)")?;
    insert.execute(params![user, user % REGIONS, cents])?;
    Ok(())
}

/// One order in a transaction of its own; what its region has ordered so far.
pub(crate) fn order(
    connection: &mut Connection,
    user: u32,
    cents: i64,
) -> Result<i64, rusqlite::Error> {
    let own = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    insert(&own, user, cents)?;
    let total = own
        .prepare_cached("SELECT sum(cents) FROM orders WHERE region = ?1")?
        .query_row([user % REGIONS], |row| row.get(0))?;
    own.commit()?;
    Ok(total)
}

/// A tenant's setting, from disk.
pub(crate) fn setting(
    connection: &Connection,
    tenant: u32,
    key: &str,
) -> Result<String, rusqlite::Error> {
    connection
        .prepare_cached("SELECT value FROM settings WHERE tenant = ?1 AND key = ?2")?
        .query_row(params![tenant, key], |row| row.get(0))
}
