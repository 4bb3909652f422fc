//! deadpool, bb8 and r2d2 as services use them: an exhausted pool with a waiting and a timed-out
//! caller, and connections that cannot be opened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/receiver.rs"]
mod receiver;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use highwater::integrate;
use points::Points;
use receiver::{Reaction, Receiver};

/// Makes connections that are numbers, unless it is broken.
#[derive(Clone, Default)]
struct Maker(Arc<AtomicBool>);

impl Maker {
    fn make(&self) -> io::Result<u32> {
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other("refused")) } else { Ok(7) }
    }
}

impl deadpool::managed::Manager for Maker {
    type Type = u32;
    type Error = io::Error;
    async fn create(&self) -> io::Result<u32> {
        self.make()
    }
    async fn recycle(
        &self,
        _: &mut u32,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<io::Error> {
        Ok(())
    }
}

impl bb8::ManageConnection for Maker {
    type Connection = u32;
    type Error = io::Error;
    async fn connect(&self) -> io::Result<u32> {
        self.make()
    }
    async fn is_valid(&self, _: &mut u32) -> io::Result<()> {
        Ok(())
    }
    fn has_broken(&self, _: &mut u32) -> bool {
        false
    }
}

impl r2d2::ManageConnection for Maker {
    type Connection = u32;
    type Error = io::Error;
    fn connect(&self) -> io::Result<u32> {
        self.make()
    }
    fn is_valid(&self, _: &mut u32) -> io::Result<()> {
        Ok(())
    }
    fn has_broken(&self, _: &mut u32) -> bool {
        false
    }
}

const PATIENCE: Duration = Duration::from_millis(800);

fn state(points: &Points, state: &str) -> Option<f64> {
    points.labelled("db.client.connection.count", "db.client.connection.state", state)
}

/// With two of two held and one waiting: what is pushed.
fn exhausted(receiver: &Receiver) {
    let points = Points::until(receiver, |points| {
        points.value("db.client.connection.pending_requests") == Some(1.0)
    });
    assert_eq!((state(&points, "used"), state(&points, "idle")), (Some(2.0), Some(0.0)));
    assert_eq!(points.value("db.client.connection.max"), Some(2.0));
    assert_eq!(points.value("highwater.pool.acquire_timeout"), Some(PATIENCE.as_secs_f64()));
}

/// After the waiting one was timed out and the two were given back.
fn given_back(receiver: &Receiver) {
    let points = Points::until(receiver, |points| {
        points.value("db.client.connection.timeouts") == Some(1.0)
            && state(points, "idle") == Some(2.0)
            && points.count("db.client.connection.use_time") == Some(2)
    });
    assert_eq!(points.value("db.client.connection.pending_requests"), Some(0.0));
    assert_eq!(points.count("db.client.connection.wait_time"), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadpool() {
    use deadpool::{Runtime, managed};
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let maker = Maker::default();
    let pool = managed::Pool::<Maker>::builder(maker.clone())
        .max_size(2)
        .wait_timeout(Some(PATIENCE))
        .runtime(Runtime::Tokio1)
        .build()
        .unwrap();
    let pool = integrate::deadpool::Pool::new(&hw, "main", pool);
    let held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(|object| *object) }
    });
    exhausted(&receiver);
    assert!(matches!(waiting.await.unwrap(), Err(managed::PoolError::Timeout(_))));
    drop(held);
    given_back(&receiver);
    maker.0.store(true, Ordering::Relaxed);
    pool.raw().resize(3);
    let held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    pool.get().await.unwrap_err();
    drop(held);
    Points::until(&receiver, |points| {
        points.labelled("highwater.pool.failures", "error.type", "backend") == Some(1.0)
    });
    pool.raw().close();
    Points::until(&receiver, |points| points.value("db.client.connection.max").is_none());
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bb8() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let builder = bb8::Pool::builder().max_size(2).connection_timeout(PATIENCE);
    let pool = builder.build(Maker::default()).await.unwrap();
    let pool = integrate::bb8::Pool::new(&hw, "main", pool);
    let held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(|connection| *connection) }
    });
    exhausted(&receiver);
    assert!(matches!(waiting.await.unwrap(), Err(bb8::RunError::TimedOut)));
    // bb8's own statistics agree.
    assert_eq!(pool.raw().state().statistics.get_timed_out, 1);
    drop(held);
    given_back(&receiver);
    drop(pool);
    Points::until(&receiver, |points| points.value("db.client.connection.max").is_none());
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn r2d2() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let builder = r2d2::Pool::builder().max_size(2).connection_timeout(PATIENCE);
    let pool = builder.build(Maker::default()).unwrap();
    let pool = integrate::r2d2::Pool::new(&hw, "main", pool);
    let held = [pool.get().unwrap(), pool.get().unwrap()];
    let waiting = std::thread::spawn({
        let pool = pool.clone();
        move || pool.get().map(|connection| *connection)
    });
    exhausted(&receiver);
    waiting.join().unwrap().unwrap_err();
    drop(held);
    given_back(&receiver);
    drop(pool);
    Points::until(&receiver, |points| points.value("db.client.connection.max").is_none());
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
