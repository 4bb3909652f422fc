//! A thread that lives while there is something to deliver: a receiver that hangs delays neither
//! the sinks nor the other receivers, and a service without alerts has no thread for them.

use std::{
    collections::VecDeque,
    fmt, thread,
    time::{Duration, Instant},
};

use crate::{
    alert::Left,
    event::Transition,
    sync::{Arc, Monitor, Mutex},
};

/// How many transitions wait to be taken in.
const CAPACITY: usize = 16_384;
/// Of the time a shutdown leaves, what is kept for counting what was not delivered.
const MARGIN: Duration = Duration::from_millis(100);
/// The longest end there is.
const LONGEST: Duration = Duration::from_secs(300);
/// Between two attempts to start a thread that was refused.
const PAUSE: Duration = Duration::from_secs(10);

/// When to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Now,
    At(Instant),
    /// When there is something new.
    Idle,
}

/// What the thread does, one step at a time.
pub(super) trait Work: Send + 'static {
    /// Takes in what is new.
    fn take(&mut self, transition: &Arc<Transition>, now: Instant);

    /// Makes at most one request, done by `deadline`.
    fn step(&mut self, now: Instant, deadline: Option<Instant>) -> Next;

    /// Nothing more will come: each thing that waits gets one more attempt, at once.
    fn hurry(&mut self);

    /// What still waits.
    fn left(&self) -> Option<Left>;
}

pub(super) struct Outbox<W> {
    shared: Arc<Shared<W>>,
}

struct Shared<W> {
    name: &'static str,
    state: Monitor<State>,
    work: Mutex<W>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Transition>>,
    running: bool,
    /// When the thread was refused, until there is one.
    refused: Option<Instant>,
    /// By when all must be over, once a stop is asked for.
    closing: Option<Option<Instant>>,
}

/// A clone is the same.
impl<W> Clone for Outbox<W> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<W: Work> Outbox<W> {
    /// `name` is the thread's.
    pub(super) fn new(name: &'static str, work: W) -> Self {
        Self {
            shared: Arc::new(Shared { name, state: Monitor::default(), work: Mutex::new(work) }),
        }
    }

    /// `false` if there is no room. Without a thread it waits until there is one.
    pub(super) fn push(&self, transition: &Arc<Transition>) -> bool {
        let mut state = self.shared.state.lock();
        if state.waiting.len() >= CAPACITY || state.closing.is_some() {
            return false;
        }
        state.waiting.push_back(transition.clone());
        self.shared.wake(&mut state, PAUSE);
        true
    }

    /// Tries again to start a thread that was refused a while ago.
    pub(super) fn retry(&self) {
        self.retry_after(PAUSE);
    }

    fn retry_after(&self, pause: Duration) {
        let mut state = self.shared.state.lock();
        if state.refused.is_some() {
            self.shared.wake(&mut state, pause);
        }
    }

    pub(super) fn close(&self, deadline: Option<Instant>) {
        // Without a deadline, a receiver that is down must not keep it for ever.
        let deadline = deadline.or_else(|| Instant::now().checked_add(LONGEST));
        let mut state = self.shared.state.lock();
        state.closing = Some(deadline.and_then(|at| at.checked_sub(MARGIN)).or(deadline));
        if state.refused.is_some() {
            self.shared.wake(&mut state, Duration::ZERO);
        }
        self.shared.state.notify_all();
    }

    /// After [`close`](Self::close): waits for the end of the thread, not past the deadline.
    pub(super) fn finish(&self) -> Option<Left> {
        let mut state = self.shared.state.lock();
        while state.running {
            let Some(deadline) = state.closing.flatten() else {
                state = self.shared.state.wait(state);
                continue;
            };
            let late;
            (state, late) = self.shared.state.wait_until(state, deadline);
            if late {
                break;
            }
        }
        let waiting = state.waiting.len() as u64;
        if state.running {
            let reason = format!("{} had no answer in time", self.shared.name);
            return Some(Left { alerts: waiting + 1, reason });
        }
        drop(state);
        let left = self.shared.work.lock().left();
        if waiting == 0 {
            return left;
        }
        let alerts = waiting + left.map_or(0, |left| left.alerts);
        let reason = format!("the thread {:?} could not be started", self.shared.name);
        Some(Left { alerts, reason })
    }
}

impl<W: Work> Shared<W> {
    /// Sees to it that there is a thread, unless one was refused less than `pause` ago.
    fn wake(self: &Arc<Self>, state: &mut State, pause: Duration) {
        self.state.notify_all();
        if state.running || state.refused.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        let shared = self.clone();
        let spawned = thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            let _guard = Panicked(&shared);
            shared.run();
        });
        state.running = spawned.is_ok();
        match spawned {
            Ok(_) => state.refused = None,
            Err(why) => {
                let name = self.name;
                log::warn!("highwater: no thread for {name}, trying again in {PAUSE:?}: {why}");
                state.refused = Some(Instant::now());
            }
        }
    }

    fn run(&self) {
        let mut work = self.work.lock();
        let (mut news, mut hurried) = (VecDeque::new(), false);
        loop {
            let closing = {
                let mut state = self.state.lock();
                std::mem::swap(&mut state.waiting, &mut news);
                state.closing
            };
            let now = Instant::now();
            news.drain(..).for_each(|transition| work.take(&transition, now));
            if closing.is_some() && !hurried {
                hurried = true;
                work.hurry();
            }
            let deadline = closing.flatten();
            if deadline.is_some_and(|at| now >= at) {
                return self.ended(&mut self.state.lock());
            }
            let next = work.step(now, deadline);
            let mut state = self.state.lock();
            let nothing_new = state.waiting.is_empty() && state.closing.is_some() == hurried;
            match next {
                Next::At(_) | Next::Idle if !nothing_new => {}
                Next::Now => {}
                Next::At(at) => {
                    let at = deadline.map_or(at, |deadline| deadline.min(at));
                    drop(self.state.wait_until(state, at));
                }
                Next::Idle => {
                    // Under the lock, so that nobody takes it for still running.
                    return self.ended(&mut state);
                }
            }
        }
    }
}

impl<W> Shared<W> {
    fn ended(&self, state: &mut State) {
        state.running = false;
        self.state.notify_all();
    }
}

/// Nothing in there should panic. If it does all the same, the next alert still finds a thread.
struct Panicked<'a, W>(&'a Shared<W>);

impl<W> Drop for Panicked<'_, W> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.ended(&mut self.0.state.lock());
        }
    }
}

impl<W> fmt::Debug for Outbox<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::testing::transition;

    /// Takes everything at once.
    #[derive(Default)]
    struct Easy(u64);

    impl Work for Easy {
        fn take(&mut self, _: &Arc<Transition>, _: Instant) {
            self.0 += 1;
        }

        fn step(&mut self, _: Instant, _: Option<Instant>) -> Next {
            Next::Idle
        }

        fn hurry(&mut self) {}

        fn left(&self) -> Option<Left> {
            None
        }
    }

    /// As if the system had just refused a thread.
    fn refused() -> Outbox<Easy> {
        let outbox = Outbox::new("test", Easy::default());
        outbox.shared.state.lock().refused = Some(Instant::now());
        assert!(outbox.push(&transition("A")), "it waits");
        assert!(!outbox.shared.state.lock().running, "not tried at once");
        outbox
    }

    #[test]
    fn a_thread_that_was_refused_is_tried_again_without_a_push() {
        let outbox = refused();
        outbox.retry();
        assert_eq!(outbox.shared.state.lock().waiting.len(), 1, "not yet");
        outbox.retry_after(Duration::ZERO);
        assert!(outbox.shared.state.lock().refused.is_none());
        outbox.close(None);
        assert!(outbox.finish().is_none());
        assert_eq!(outbox.shared.work.lock().0, 1);
    }

    #[test]
    fn a_shutdown_tries_once_more() {
        let outbox = refused();
        outbox.close(None);
        assert!(outbox.finish().is_none());
        assert_eq!(outbox.shared.work.lock().0, 1);
    }

    #[test]
    fn what_no_thread_took_is_said_to_be_left() {
        let outbox = refused();
        let left = outbox.finish().unwrap();
        assert_eq!(left.alerts, 1);
        assert!(left.reason.contains("could not be started"), "{}", left.reason);
    }
}
