//! A pool's meter from outside: waiting, timed-out and abandoned callers, and what a receiver gets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/points.rs"]
mod points;
#[path = "support/receiver.rs"]
mod receiver;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::channel,
    },
    time::Duration,
};

use highwater::{
    Highwater,
    integrate::pool::{Pool, Refusal, State},
};
use points::Points;
use receiver::{Reaction, Receiver};
use tokio::{sync::Semaphore, time::timeout};

/// A pool of permits, with a time-out of its own.
async fn acquire(permits: &Arc<Semaphore>, patience: Duration) -> Result<(), &'static str> {
    match timeout(patience, permits.acquire()).await {
        Err(_) => Err("timeout"),
        Ok(Err(_)) => Err("closed"),
        Ok(Ok(permit)) => {
            permit.forget();
            Ok(())
        }
    }
}

fn refusal(error: &&'static str) -> Refusal {
    if *error == "timeout" { Refusal::Timeout } else { Refusal::Error(error) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_wait_give_up_or_are_refused_are_told_apart() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let permits = Arc::new(Semaphore::new(1));
    let seen = Arc::downgrade(&permits);
    let pool = Pool::new(&hw, "main", move || {
        let idle = seen.upgrade()?.available_permits() as u64;
        Some(State::new(1 - idle, idle, 1).acquire_timeout(Duration::from_secs(30)))
    });

    let long = Duration::from_secs(600);
    pool.acquire(acquire(&permits, long), refusal).await.unwrap();
    let used = pool.used();
    // One waits on, one is timed out by the pool, one gives up by itself.
    let waiting = tokio::spawn({
        let (pool, permits) = (pool.clone(), permits.clone());
        async move { pool.acquire(acquire(&permits, long), refusal).await }
    });
    let refused = pool.acquire(acquire(&permits, Duration::from_millis(5)), refusal).await;
    assert_eq!(refused, Err("timeout"));
    let gave_up =
        timeout(Duration::from_millis(5), pool.acquire(acquire(&permits, long), refusal)).await;
    assert!(gave_up.is_err());

    let points = Points::until(&receiver, |points| {
        points.value("db.client.connection.pending_requests") == Some(1.0)
            && points.value("db.client.connection.timeouts") == Some(1.0)
            && points.value("highwater.pool.abandoned") == Some(1.0)
    });
    let count = |points: &Points, state| {
        points.labelled("db.client.connection.count", "db.client.connection.state", state)
    };
    assert_eq!((count(&points, "used"), count(&points, "idle")), (Some(1.0), Some(0.0)));
    assert_eq!(points.value("db.client.connection.max"), Some(1.0));
    assert_eq!(points.value("highwater.pool.waited_for"), Some(1.0));
    assert_eq!(points.value("highwater.pool.acquire_timeout"), Some(30.0));
    assert_eq!(points.count("db.client.connection.wait_time"), Some(1));
    assert_eq!(points.count("db.client.connection.create_time"), None);
    let labels = points.labels("db.client.connection.wait_time");
    assert_eq!(labels, [("db.client.connection.pool.name".to_owned(), "main".to_owned())]);

    drop(used);
    permits.add_permits(1);
    waiting.await.unwrap().unwrap();
    permits.close();
    assert_eq!(pool.acquire(acquire(&permits, long), refusal).await, Err("closed"));
    assert_eq!(pool.acquire_blocking(|| Err::<(), _>("closed"), refusal), Err("closed"));
    pool.acquire_blocking(|| Ok::<_, &str>(()), refusal).unwrap();
    pool.created(Duration::from_millis(3));
    let points = Points::until(&receiver, |points| {
        points.value("db.client.connection.pending_requests") == Some(0.0)
            && points.labelled("highwater.pool.failures", "error.type", "closed") == Some(2.0)
            && points.count("db.client.connection.wait_time") == Some(3)
            && points.count("db.client.connection.use_time") == Some(1)
            && points.count("db.client.connection.create_time") == Some(1)
    });
    assert_eq!(points.value("db.client.connection.timeouts"), Some(1.0));

    // The pool is gone: so are its values, and nobody asks it again.
    drop(permits);
    Points::until(&receiver, |points| points.value("db.client.connection.max").is_none());
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

/// A pool that asks a connection whether it is alive before it hands it out takes a moment for it:
/// nobody waits because of that. With none idle somebody does, even if none is used either, as when
/// the server cannot be reached.
#[test]
fn who_gets_a_connection_waits_only_if_none_is_idle() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let idle = Arc::new(AtomicU64::new(1));
    let seen = idle.clone();
    let pool = Pool::new(&hw, "main", move || {
        let idle = seen.load(Ordering::Relaxed);
        Some(State::new(0, idle, 2).idle_min(1).idle_max(2))
    });
    let (give, given) = channel();
    std::thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(move || {
            let waits = || given.recv().map_err(|_| "closed");
            pool.acquire_blocking(waits, refusal).unwrap();
        });
        // Whatever is pushed after the other has begun.
        let before = receiver.received().len();
        receiver.wait_for(before + 5);
        let points = Points::last(&receiver);
        assert_eq!(points.value("db.client.connection.pending_requests"), Some(0.0));
        assert_eq!(points.value("highwater.pool.waited_for"), Some(0.0));
        assert_eq!(points.value("db.client.connection.idle.min"), Some(1.0));
        assert_eq!(points.value("db.client.connection.idle.max"), Some(2.0));
        idle.store(0, Ordering::Relaxed);
        Points::until(&receiver, |points| {
            points.value("db.client.connection.pending_requests") == Some(1.0)
                && points.value("highwater.pool.waited_for") == Some(1.0)
        });
        give.send(()).unwrap();
    });
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_switched_off_sampler_is_off_whenever_it_comes() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).without("pool main").start().unwrap();
    let _pool = Pool::new(&hw, "main", || Some(State::new(1, 2, 3)));
    let _other = Pool::new(&hw, "other", || Some(State::new(4, 5, 6)));
    let points = Points::until(&receiver, |p| p.value("db.client.connection.max").is_some());
    assert_eq!(points.value("db.client.connection.max"), Some(6.0));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

/// The one-line start holds for a stopped instance, too.
#[test]
fn a_pool_of_a_stopped_instance_measures_nothing() {
    let hw = Highwater::builder("pools").start().unwrap();
    hw.shutdown(Duration::from_secs(5)).unwrap();
    let pool = Pool::new(&hw, "main", || Some(State::new(1, 2, 3)));
    pool.acquire_blocking(|| Ok::<_, ()>(()), |()| Refusal::Timeout).unwrap();
    drop(pool.used());
}
