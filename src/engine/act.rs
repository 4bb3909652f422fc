//! The `highwater-act` thread: it tells the sinks, so that a slow or panicking one delays no
//! evaluation.
//!
//! A call cannot be killed. One that takes longer than [`BUDGET`] is left behind: its sink is
//! passed over until the call comes back, and another thread goes on with the rest. At most
//! [`MAX_REPLACEMENTS`] calls are left behind at a time, then sinks wait and what does not fit the
//! mailbox is dropped and counted.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use super::{
    errand::Errand,
    launch::Launch,
    mailbox::{Mail, Mailbox},
    stop::{Ended, Stop},
    telemetry::{Losses, count},
};
use crate::{
    alert::{Habits, Retrier, Sink},
    clock::Moment,
    event::Transition,
    export::otlp::Intake,
    sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering},
};

/// How long a sink may take before another thread goes on without it.
const BUDGET: Duration = Duration::from_secs(30);
/// How many calls may be left behind at a time.
const MAX_REPLACEMENTS: usize = 3;
/// How many transitions wait.
const CAPACITY: usize = 1_024;

pub(super) const NAME: &str = "highwater-act";

/// The sinks and their thread.
pub(super) struct Actors {
    shared: Arc<Shared>,
    launch: Launch,
    /// Sinks' own threads: apart from the sinks, which a call may hold.
    retriers: Vec<Retrier>,
    /// The call the worker was seen in, and since when.
    seen: (u64, Moment),
}

impl fmt::Debug for Actors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actors").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Alerts of a rule that take the same step in the same tick.
#[derive(Debug)]
pub(super) struct Notification {
    pub(super) errands: Vec<Arc<Errand>>,
    pub(super) to: Audience,
}

/// Who hears of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Audience {
    /// It has just happened: ways out hear of it, and of nothing else.
    pub(super) is_new: bool,
    pub(super) sinks: Sinks,
}

/// Which sinks do, ways out aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sinks {
    All,
    /// Those that want to hear it again.
    Again,
    /// Those that keep books of their own.
    Books,
    None,
}

impl Audience {
    fn holds(self, habits: Habits) -> bool {
        if habits.exports {
            return self.is_new;
        }
        match self.sinks {
            Sinks::All => true,
            Sinks::Again => habits.again,
            Sinks::Books => habits.books,
            Sinks::None => false,
        }
    }
}

#[derive(Debug)]
struct Cursor {
    notification: Arc<Notification>,
    sink: usize,
    /// How many of them that sink has heard.
    heard: usize,
}

impl Cursor {
    /// The next call: which sink hears which of them.
    fn step(&mut self, sinks: &[(Habits, Mutex<Sink>)]) -> Option<(usize, Vec<Arc<Transition>>)> {
        let Notification { errands, to } = &*self.notification;
        while let Some((habits, _)) = sinks.get(self.sink) {
            let left = errands.len() - self.heard;
            if !to.holds(*habits) || left == 0 {
                (self.sink, self.heard) = (self.sink + 1, 0);
                continue;
            }
            let some = if habits.groups { left } else { 1 };
            let heard = &errands[self.heard..self.heard + some];
            self.heard += some;
            let heard = heard.iter().map(|errand| errand.transition.clone());
            return Some((self.sink, heard.collect()));
        }
        None
    }
}

#[derive(Debug)]
struct Shared {
    mailbox: Mailbox<Arc<Notification>>,
    /// Where a transition is kept before anyone is told.
    intake: Option<Intake>,
    sinks: Vec<(Habits, Mutex<Sink>)>,
    /// What is being told, and who hears it next: a replacement goes on there.
    cursor: Mutex<Option<Cursor>>,
    /// The number of the call under way, zero between calls.
    call: AtomicU64,
    /// The worker in charge; one that finds another number here has been replaced.
    in_charge: AtomicU64,
    left_behind: AtomicUsize,
    losses: Arc<Losses>,
    stop: Arc<Stop>,
}

impl Actors {
    pub(super) fn start(
        sinks: Vec<Sink>,
        intake: Option<Intake>,
        losses: Arc<Losses>,
        stop: Arc<Stop>,
        now: Moment,
    ) -> Self {
        let retriers = sinks.iter().filter_map(Sink::retrier).collect();
        let shared = Arc::new(Shared {
            mailbox: Mailbox::new(CAPACITY),
            intake,
            sinks: sinks.into_iter().map(|sink| (sink.habits(), Mutex::new(sink))).collect(),
            cursor: Mutex::new(None),
            call: AtomicU64::new(0),
            in_charge: AtomicU64::new(0),
            left_behind: AtomicUsize::new(0),
            losses,
            stop,
        });
        let worker = shared.clone();
        let launch = Launch::new(NAME, move || worker.work(0));
        Self { shared, launch, retriers, seen: (0, now) }
    }

    /// The thread behind it.
    pub(super) fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Queues it for whom it is for; never waits.
    pub(super) fn tell(&self, notification: Notification) {
        if !self.shared.sinks.iter().any(|(habits, _)| notification.to.holds(*habits)) {
            return;
        }
        if let Err(lost) = self.shared.mailbox.push(Arc::new(notification)) {
            let losses = &self.shared.losses.sink_queue_full;
            losses.fetch_add(lost.errands.len() as u64, Ordering::Relaxed);
        }
    }

    /// Called once a tick: leaves a call behind that is over its budget.
    pub(super) fn watch(&mut self, now: Moment) {
        self.launch.retry();
        self.retriers.iter().for_each(|retry| retry());
        let call = self.shared.call.load(Ordering::Relaxed);
        if call == 0 || call != self.seen.0 {
            self.seen = (call, now);
            return;
        }
        let overdue = now.mono.saturating_sub(self.seen.1.mono) > BUDGET;
        if !overdue || self.shared.left_behind.load(Ordering::Relaxed) >= MAX_REPLACEMENTS {
            return;
        }
        let number = self.shared.in_charge.load(Ordering::Relaxed) + 1;
        self.shared.left_behind.fetch_add(1, Ordering::Relaxed);
        self.shared.in_charge.store(number, Ordering::Release);
        let replacement = self.shared.clone();
        let spawned =
            thread::Builder::new().name(NAME.to_owned()).spawn(move || replacement.work(number));
        if let Err(why) = spawned {
            // The old one takes up its charge again when its call comes back.
            self.shared.in_charge.store(number - 1, Ordering::Release);
            self.shared.left_behind.fetch_sub(1, Ordering::Relaxed);
            log::warn!("highwater: a sink hangs and no thread can be started beside it: {why}");
        }
        self.seen = (0, now);
    }
}

impl Drop for Actors {
    /// Nothing more will come: the thread ends when all is told.
    fn drop(&mut self) {
        self.shared.mailbox.close();
    }
}

impl Shared {
    fn work(&self, number: u64) {
        let mut calls = number << 32;
        loop {
            // Nothing in there should panic. If it does all the same, the next is still told.
            let next = match catch_unwind(AssertUnwindSafe(|| self.next())) {
                Ok(next) => next,
                Err(_) => {
                    count(&self.losses.sink_panicked);
                    log::error!("highwater: keeping a transition panicked: no sink is told of it");
                    continue;
                }
            };
            let Some((sink, transitions)) = next else { break };
            calls += 1;
            self.call.store(calls, Ordering::Relaxed);
            self.deliver(&self.sinks[sink].1, &transitions);
            if self.in_charge.load(Ordering::Acquire) != number {
                // Left behind, and back: the one in charge has gone on with the rest.
                self.left_behind.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            self.call.store(0, Ordering::Relaxed);
        }
        let _ended = Ended(&self.stop, NAME);
        self.finish();
    }

    /// What remote sinks have not delivered yet: all of them at once, within the deadline.
    fn finish(&self) {
        let deadline = self.stop.deadline();
        let mut sinks: Vec<_> = self.sinks.iter().filter_map(|(_, sink)| sink.try_lock()).collect();
        sinks.iter_mut().for_each(|sink| sink.close(deadline));
        for left in sinks.iter_mut().filter_map(|sink| sink.finish()) {
            self.stop.left_undelivered(left.alerts, left.reason);
        }
    }

    /// Which sink hears what next; `None` when nothing more will come.
    fn next(&self) -> Option<(usize, Vec<Arc<Transition>>)> {
        let mut cursor = self.cursor.lock();
        loop {
            if let Some(call) = cursor.as_mut().and_then(|cursor| cursor.step(&self.sinks)) {
                return Some(call);
            }
            *cursor = match self.mailbox.wait(None) {
                Mail::Message(notification) => {
                    if let Some(intake) = &self.intake {
                        Errand::keep(&notification.errands, intake);
                    }
                    Some(Cursor { notification, sink: 0, heard: 0 })
                }
                Mail::Closed | Mail::TimedOut => return None,
            };
        }
    }

    fn deliver(&self, sink: &Mutex<Sink>, transitions: &[Arc<Transition>]) {
        // Only a call that was left behind can hold it.
        let Some(mut sink) = sink.try_lock() else {
            count(&self.losses.sink_hung);
            return;
        };
        match catch_unwind(AssertUnwindSafe(|| sink.deliver(transitions))) {
            Ok(true) => {}
            Ok(false) => count(&self.losses.sink_refused),
            Err(_) => {
                if self.losses.sink_panicked.fetch_add(1, Ordering::Relaxed) == 0 {
                    let first = transitions.first().map(ToString::to_string).unwrap_or_default();
                    log::error!("highwater: a {} sink panicked on {first}", sink.name());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{
        alert::{channel, testing::transition, to_fn, to_group_fn},
        clock::Clock,
    };

    const ALL: Audience = Audience { is_new: true, sinks: Sinks::All };

    #[test]
    fn ways_out_hear_of_what_happens_once_and_books_are_kept() {
        let plain = Habits::default();
        let exports = Habits { exports: true, ..plain };
        let books = Habits { books: true, again: true, ..plain };
        for (is_new, sinks, heard) in [
            (true, Sinks::All, [true, true, true]),
            (false, Sinks::All, [true, false, true]),
            (false, Sinks::Again, [false, false, true]),
            (true, Sinks::Books, [false, true, true]),
            (true, Sinks::None, [false, true, false]),
        ] {
            let to = Audience { is_new, sinks };
            assert_eq!([plain, exports, books].map(|habits| to.holds(habits)), heard, "{to:?}");
        }
    }

    fn start(sinks: Vec<Sink>) -> (Actors, Arc<Losses>, Arc<Stop>, Moment) {
        let (losses, stop) = (Arc::<Losses>::default(), Arc::<Stop>::default());
        let now = Clock::system().now();
        let actors = Actors::start(sinks, None, losses.clone(), stop.clone(), now);
        actors.launch().retry();
        (actors, losses, stop, now)
    }

    fn one(name: &str) -> Notification {
        Notification { errands: vec![Errand::new(transition(name))], to: ALL }
    }

    fn finish(actors: Actors, stop: &Stop) {
        drop(actors);
        assert!(stop.wait_for_end(NAME, None));
    }

    #[test]
    fn a_panicking_sink_keeps_nothing_from_the_others() {
        let (sink, mut alerts) = channel(8);
        let (actors, losses, stop, _) = start(vec![to_fn(|_| panic!("on purpose")), sink]);
        actors.tell(one("A"));
        actors.tell(one("B"));
        finish(actors, &stop);
        assert_eq!(losses.sink_panicked.load(Ordering::Relaxed), 2);
        assert_eq!(&*alerts.recv().unwrap().rule.name, "A");
        assert_eq!(&*alerts.recv().unwrap().rule.name, "B");
    }

    #[test]
    fn a_hanging_sink_is_left_behind_and_the_rest_still_hear() {
        let (release, hang) = mpsc::channel::<()>();
        let (sink, mut alerts) = channel(8);
        let hanging = to_fn(move |_| _ = hang.recv());
        let (mut actors, losses, stop, start) = start(vec![hanging, sink]);
        let later = |seconds| Moment { mono: start.mono + Duration::from_secs(seconds), ..start };
        actors.tell(one("A"));
        while actors.shared.call.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        actors.watch(later(1));
        actors.watch(later(31));
        assert_eq!(actors.shared.left_behind.load(Ordering::Relaxed), 0, "within its budget");
        actors.watch(later(32));
        assert_eq!(actors.shared.left_behind.load(Ordering::Relaxed), 1);
        actors.tell(one("B"));
        assert_eq!(&*alerts.recv().unwrap().rule.name, "A", "the transition it hung on too");
        assert_eq!(&*alerts.recv().unwrap().rule.name, "B");
        assert_eq!(losses.sink_hung.load(Ordering::Relaxed), 1);
        drop(release);
        while actors.shared.left_behind.load(Ordering::Relaxed) != 0 {
            thread::yield_now();
        }
        finish(actors, &stop);
    }

    #[test]
    fn a_group_is_one_call_to_who_wants_groups_and_again_only_for_who_asked() {
        let (told, calls) = mpsc::channel();
        let names = |all: &[Arc<Transition>]| {
            all.iter().map(|one| one.rule.name.to_string()).collect::<String>()
        };
        let (groups, each) = (told.clone(), told.clone());
        let sinks = vec![
            to_group_fn(move |all| groups.send(format!("group {}", names(all))).unwrap()),
            to_fn(move |one| each.send(format!("each {}", one.rule.name)).unwrap()),
            to_fn(move |one| told.send(format!("again {}", one.rule.name)).unwrap()).resent(),
        ];
        let (actors, _, stop, _) = start(sinks);
        let errands = || ["A", "B"].map(|name| Errand::new(transition(name))).into();
        actors.tell(Notification { errands: errands(), to: ALL });
        actors.tell(Notification {
            errands: errands(),
            to: Audience { is_new: false, sinks: Sinks::Again },
        });
        finish(actors, &stop);
        assert_eq!(
            calls.iter().collect::<Vec<_>>(),
            ["group AB", "each A", "each B", "again A", "again B", "again A", "again B"]
        );
    }

    #[test]
    fn a_full_mailbox_is_counted() {
        let (release, hang) = mpsc::channel::<()>();
        let (actors, losses, stop, _) = start(vec![to_fn(move |_| _ = hang.recv())]);
        for _ in 0..CAPACITY + 2 {
            actors.tell(one("A"));
        }
        assert!(losses.sink_queue_full.load(Ordering::Relaxed) >= 1);
        drop(release);
        finish(actors, &stop);
    }
}
