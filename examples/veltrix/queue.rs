//! The mended server's way: a request is a few bytes in a bounded queue, and one writer takes as
//! many as wait into a transaction, with one scan for all of them. Settings are read from disk by
//! key, when it is their turn.

use std::{path::Path, thread};

use highwater::Query;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::{
    config,
    database::{self, Error, REGIONS},
};

const WAITING: usize = 10_000;
const BATCH: usize = 256;

pub(crate) struct Job {
    user: u32,
    answer: oneshot::Sender<i64>,
}

#[derive(Clone)]
pub(crate) struct Queue(mpsc::Sender<Job>);

impl Queue {
    pub(crate) fn start(path: &Path, batch: Query) -> Result<Self, Error> {
        let mut connection = database::open(path)?;
        let (send, mut jobs) = mpsc::channel::<Job>(WAITING);
        let writer = thread::Builder::new().name("writer".to_owned());
        writer.spawn(move || {
            let mut taken = Vec::with_capacity(BATCH);
            while jobs.blocking_recv_many(&mut taken, BATCH) > 0 {
                match batch.try_time(|| write(&mut connection, &taken)) {
                    Ok(totals) => {
                        for job in taken.drain(..) {
                            // Who no longer waits needs no answer.
                            let _ = job.answer.send(totals[(job.user % REGIONS) as usize]);
                        }
                    }
                    // Those who wait see their sender go.
                    Err(error) => {
                        eprintln!("{} orders failed: {error}", taken.len());
                        taken.clear();
                    }
                }
            }
        })?;
        Ok(Self(send))
    }

    /// What the user's region has ordered so far; `None` if the queue is full or the order failed.
    pub(crate) async fn order(&self, user: u32) -> Option<i64> {
        let (answer, wait) = oneshot::channel();
        self.0.try_send(Job { user, answer }).ok()?;
        wait.await.ok()
    }
}

fn write(
    connection: &mut Connection,
    jobs: &[Job],
) -> Result<[i64; REGIONS as usize], rusqlite::Error> {
    let all = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in jobs {
        let tenant = database::tenant_of(job.user);
        let mut settings = [None, None, None];
        for (setting, at) in settings.iter_mut().zip(config::USED) {
            *setting = Some(database::setting(&all, tenant, &config::key(at))?);
        }
        database::insert(&all, job.user, config::price(settings))?;
    }
    let mut totals = [0; REGIONS as usize];
    let mut scan = all.prepare_cached("SELECT region, sum(cents) FROM orders GROUP BY region")?;
    let mut rows = scan.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(total) = totals.get_mut(row.get::<_, u32>(0)? as usize) {
            *total = row.get(1)?;
        }
    }
    drop(rows);
    drop(scan);
    all.commit()?;
    Ok(totals)
}
