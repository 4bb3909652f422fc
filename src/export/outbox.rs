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
    sync::{Arc, Condvar, Mutex},
};

/// How many transitions wait to be taken in.
const CAPACITY: usize = 16_384;
/// Of the time a shutdown leaves, what is kept for counting what was not delivered.
const MARGIN: Duration = Duration::from_millis(100);
/// The longest end there is.
const LONGEST: Duration = Duration::from_secs(300);

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
    state: Mutex<State>,
    changed: Condvar,
    work: Mutex<W>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Transition>>,
    running: bool,
    /// By when all must be over, once a stop is asked for.
    closing: Option<Option<Instant>>,
}

impl<W: Work> Outbox<W> {
    /// `name` is the thread's.
    pub(super) fn new(name: &'static str, work: W) -> Self {
        Self {
            shared: Arc::new(Shared {
                name,
                state: Mutex::default(),
                changed: Condvar::new(),
                work: Mutex::new(work),
            }),
        }
    }

    /// `false` if there is no room, or no thread to be had.
    pub(super) fn push(&self, transition: &Arc<Transition>) -> bool {
        let mut state = self.shared.state.lock();
        if state.waiting.len() >= CAPACITY || state.closing.is_some() {
            return false;
        }
        state.waiting.push_back(transition.clone());
        self.shared.wake(&mut state)
    }

    pub(super) fn close(&self, deadline: Option<Instant>) {
        // Without a deadline, a receiver that is down must not keep it for ever.
        let deadline = deadline.or_else(|| Instant::now().checked_add(LONGEST));
        let mut state = self.shared.state.lock();
        state.closing = Some(deadline.and_then(|at| at.checked_sub(MARGIN)).or(deadline));
        self.shared.changed.notify_all();
    }

    /// After [`close`](Self::close): waits for the end of the thread, not past the deadline.
    pub(super) fn finish(&self) -> Option<Left> {
        let mut state = self.shared.state.lock();
        while state.running {
            match state.closing.flatten() {
                None => self.shared.changed.wait(&mut state),
                Some(deadline) => {
                    if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        if state.running {
            let reason = format!("{} had no answer in time", self.shared.name);
            return Some(Left { alerts: state.waiting.len() as u64 + 1, reason });
        }
        drop(state);
        self.shared.work.lock().left()
    }
}

impl<W: Work> Shared<W> {
    fn wake(self: &Arc<Self>, state: &mut State) -> bool {
        self.changed.notify_all();
        if state.running {
            return true;
        }
        let shared = self.clone();
        let thread = thread::Builder::new().name(self.name.to_owned());
        state.running = thread
            .spawn(move || {
                let _guard = Panicked(&shared);
                shared.run();
            })
            .map_err(|why| log::warn!("highwater: no thread for {}: {why}", self.name))
            .is_ok();
        state.running
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
                    self.changed.wait_until(&mut state, at);
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
        self.changed.notify_all();
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
