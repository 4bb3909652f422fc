//! Transitions as a bounded queue that can be waited on by a thread or by a future, under any
//! runtime or none.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use super::sink::Sink;
use crate::{
    event::Transition,
    sync::{Arc, Monitor},
};

/// A sink and the receiving end of it. At most `capacity` transitions (at least one) wait; what
/// comes while it is full is dropped and counted.
///
/// ```
/// use highwater::{alert, Highwater};
/// let (sink, mut alerts) = alert::channel(64);
/// let hw = Highwater::builder("doc").sink(sink).start()?;
/// std::thread::spawn(move || while let Some(alert) = alerts.recv() { println!("{alert}") });
/// # Ok::<(), highwater::Error>(())
/// ```
pub fn channel(capacity: usize) -> (Sink, Alerts) {
    let shared = Arc::new(Shared::default());
    let sender = Sender(shared.clone());
    let capacity = capacity.max(1);
    let sink = Sink::new("channel", move |transition| sender.0.push(transition, capacity));
    (sink, Alerts(shared))
}

/// The receiving end of [`channel`].
#[derive(Debug)]
pub struct Alerts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Monitor<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Arc<Transition>>,
    closed: bool,
    abandoned: bool,
    waker: Option<Waker>,
}

/// Closes the queue when the instance lets go of its sink.
struct Sender(Arc<Shared>);

impl Shared {
    fn push(&self, transition: &Arc<Transition>, capacity: usize) -> bool {
        let mut queue = self.queue.lock();
        if queue.abandoned || queue.waiting.len() >= capacity {
            return false;
        }
        queue.waiting.push_back(transition.clone());
        let waker = queue.waker.take();
        drop(queue);
        self.wake(waker);
        true
    }

    /// To be called outside the lock: a waker may poll right away.
    fn wake(&self, waker: Option<Waker>) {
        self.queue.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.closed = true;
        let waker = queue.waker.take();
        drop(queue);
        self.0.wake(waker);
    }
}

impl Alerts {
    /// Waits for the next transition; `None` once the instance has stopped and all were taken.
    pub fn recv(&mut self) -> Option<Arc<Transition>> {
        let mut queue = self.0.queue.lock();
        loop {
            match queue.waiting.pop_front() {
                None if !queue.closed => queue = self.0.queue.wait(queue),
                next => return next,
            }
        }
    }

    /// Like [`recv`](Self::recv), but gives up after `timeout`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Arc<Transition>> {
        let Some(deadline) = Instant::now().checked_add(timeout) else {
            return self.recv();
        };
        let mut queue = self.0.queue.lock();
        loop {
            match queue.waiting.pop_front() {
                None if !queue.closed => {
                    let timed_out;
                    (queue, timed_out) = self.0.queue.wait_until(queue, deadline);
                    if timed_out {
                        return queue.waiting.pop_front();
                    }
                }
                next => return next,
            }
        }
    }

    /// The next transition if one waits.
    pub fn try_recv(&mut self) -> Option<Arc<Transition>> {
        self.0.queue.lock().waiting.pop_front()
    }

    /// The next transition, awaited; `None` once the instance has stopped and all were taken.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<Transition>> {
        poll_fn(|context| {
            let mut queue = self.0.queue.lock();
            match queue.waiting.pop_front() {
                None if !queue.closed => {
                    queue.waker = Some(context.waker().clone());
                    Poll::Pending
                }
                next => Poll::Ready(next),
            }
        })
        .await
    }
}

impl Drop for Alerts {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.abandoned = true;
        queue.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Wake},
    };

    use super::*;
    use crate::{event::testing::transition, sync::AtomicUsize, sync::Ordering};

    #[test]
    fn what_does_not_fit_is_refused_and_what_waits_outlives_the_sender() {
        let (mut sink, mut alerts) = channel(1);
        assert!(sink.deliver(&[transition("A")]));
        assert!(!sink.deliver(&[transition("B")]), "full");
        drop(sink);
        assert_eq!(&*alerts.recv().unwrap().rule.name, "A");
        assert!(alerts.recv().is_none(), "closed and empty");
    }

    #[test]
    fn an_abandoned_receiver_is_told_apart_from_delivery() {
        let (mut sink, alerts) = channel(8);
        drop(alerts);
        assert!(!sink.deliver(&[transition("A")]));
    }

    #[test]
    fn a_future_is_woken() {
        #[derive(Default)]
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let wakes = Arc::new(Count::default());
        let waker = wakes.clone().into();
        let mut context = Context::from_waker(&waker);
        let (mut sink, mut alerts) = channel(8);
        let mut next = pin!(alerts.next());
        assert!(next.as_mut().poll(&mut context).is_pending());
        sink.deliver(&[transition("A")]);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(next.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn a_timeout_of_any_length_is_no_panic() {
        let (sink, mut alerts) = channel(8);
        assert!(alerts.recv_timeout(Duration::ZERO).is_none());
        drop(sink);
        assert!(alerts.recv_timeout(Duration::MAX).is_none());
    }
}
