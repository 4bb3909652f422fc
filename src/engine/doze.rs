//! Where the tick thread sleeps: until a time, a stop, or one of the kernel's
//! [alarms](crate::sample).

use std::time::{Duration, Instant};

use super::stop::{Stop, Wake};
use crate::{sample::Alarms, sync::Arc};

/// Alarms that come to nothing are heard ever more rarely…
const LEAST_DEAFNESS: Duration = Duration::from_millis(5);
/// …down to this…
const MOST_DEAFNESS: Duration = Duration::from_secs(1);
/// …until there was none for so long.
const FORGIVEN: Duration = Duration::from_secs(10);

/// The sleeper's side of the alarms.
#[derive(Debug)]
pub(super) struct Doze {
    alarms: Alarms,
    #[cfg(target_os = "linux")]
    known: Vec<Arc<crate::sample::Alarm>>,
    #[cfg(target_os = "linux")]
    seen: u64,
    deaf_until: Option<Instant>,
    deafness: Duration,
    rang: Option<Instant>,
}

/// What a wait on the alarms came to.
#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Alarm,
    /// The time is over, the bell rang, or a signal came.
    Nothing,
    /// The kernel lets nobody wait like that: asked again at once it would say so again.
    Refused,
}

impl Doze {
    pub(super) fn new(alarms: Alarms) -> Self {
        Self {
            alarms,
            #[cfg(target_os = "linux")]
            known: Vec::new(),
            #[cfg(target_os = "linux")]
            seen: 0,
            deaf_until: None,
            deafness: LEAST_DEAFNESS,
            rang: None,
        }
    }

    /// An alarm, now.
    #[cfg(target_os = "linux")]
    fn ring(&mut self, now: Instant) {
        let before = self.rang.replace(now);
        if before.is_some_and(|at| now.saturating_duration_since(at) >= FORGIVEN) {
            self.deafness = LEAST_DEAFNESS;
        }
        self.deaf_until = now.checked_add(self.deafness);
    }

    /// What came of the last alarm.
    pub(super) fn learn(&mut self, urgent: bool) {
        let next = if urgent { LEAST_DEAFNESS } else { self.deafness * 2 };
        self.deafness = next.min(MOST_DEAFNESS);
    }

    /// What is wanted wins.
    #[cfg(target_os = "linux")]
    pub(super) fn sleep_until(&mut self, at: Instant, stop: &Stop) -> Wake {
        self.alarms.refresh(&mut self.known, &mut self.seen);
        let Some(bell) = stop.bell() else { return stop.sleep_until(at) };
        loop {
            if let Some(wanted) = stop.wanted() {
                return wanted;
            }
            let now = Instant::now();
            if now >= at {
                return Wake::Due;
            }
            let deaf_until = self.deaf_until.filter(|until| *until > now);
            let (until, hears) = match deaf_until {
                Some(until) => (until.min(at), false),
                None => (at, true),
            };
            match self.wait(bell, until - now, hears) {
                Heard::Alarm => {
                    self.ring(Instant::now());
                    return stop.wanted().unwrap_or(Wake::Alarm);
                }
                Heard::Nothing => {}
                Heard::Refused => return stop.sleep_until(at),
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn wait(&self, bell: std::os::fd::BorrowedFd<'_>, time: Duration, hears: bool) -> Heard {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        /// More than there are groups to watch; the outermost are left out.
        const MOST: usize = 32;
        let mut fds: [PollFd<'_>; MOST] =
            std::array::from_fn(|_| PollFd::from_borrowed_fd(bell, PollFlags::IN));
        let mut of = [None; MOST];
        let mut count = 1;
        for alarm in self.known.iter().filter(|_| hears).take(MOST - 1) {
            if let Some(fd) = alarm.poll() {
                (fds[count], of[count]) = (fd, Some(alarm));
                count += 1;
            }
        }
        let time = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        match poll(&mut fds[..count], Some(&time)) {
            Ok(_) => {}
            // A signal is nothing: the caller looks at the time.
            Err(rustix::io::Errno::INTR) => return Heard::Nothing,
            Err(_) => return Heard::Refused,
        }
        // All are heard, so that none rings again for the same.
        let rang = fds[..count].iter().zip(of).fold(false, |any, (fd, alarm)| {
            alarm.is_some_and(|alarm| alarm.hear(fd.revents())) || any
        });
        if rang { Heard::Alarm } else { Heard::Nothing }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn sleep_until(&mut self, at: Instant, stop: &Stop) -> Wake {
        stop.sleep_until(at)
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn it_sleeps_until_due_and_a_stop_ends_it() {
        let stop = Arc::new(Stop::default());
        let mut doze = Doze::new(Alarms::default());
        let due = Instant::now() + Duration::from_millis(20);
        assert_eq!(doze.sleep_until(due, &stop), Wake::Due);
        assert!(Instant::now() >= due);
        let other = stop.clone();
        let asked = thread::spawn(move || other.request(None));
        assert_eq!(doze.sleep_until(Instant::now() + Duration::from_secs(600), &stop), Wake::Stop);
        asked.join().unwrap();
        assert_eq!(doze.sleep_until(Instant::now(), &stop), Wake::Stop);
    }

    /// A sleep that ends at once, time and again, is a core that burns.
    #[test]
    fn what_stays_ready_does_not_make_it_spin() {
        use crate::{name::Labels, registry::Registry, sample::Alarm};
        use rustix::time::{ClockId, clock_gettime};
        use std::{io::Write, net::Shutdown, os::unix::net::UnixStream};

        let burnt = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        };
        let gone: fn(UnixStream) -> Option<UnixStream> = |_| None;
        let mute: fn(UnixStream) -> Option<UnixStream> = |other| {
            other.shutdown(Shutdown::Write).unwrap();
            Some(other)
        };
        let last_words: fn(UnixStream) -> Option<UnixStream> = |mut other| {
            other.write_all(b"now").unwrap();
            other.shutdown(Shutdown::Write).unwrap();
            Some(other)
        };
        for (what, end) in [("gone", gone), ("mute", mute), ("last words", last_words)] {
            let (ours, other) = UnixStream::pair().unwrap();
            let told = Arc::new(Registry::new(10)).gauge("told", &Labels::empty());
            let alarms = Alarms::default();
            let alarm = alarms.arm(Alarm::socket(ours, &told).unwrap());
            let (mut doze, stop) = (Doze::new(alarms), Stop::default());
            let _other = end(other);
            let due = Instant::now() + Duration::from_millis(400);
            let (before, mut woken) = (burnt(), 0);
            while doze.sleep_until(due, &stop) == Wake::Alarm {
                woken += 1;
                doze.learn(false);
            }
            assert!(woken <= 1, "{what}: {woken} times");
            assert!(burnt() - before < Duration::from_millis(40), "{what}");
            assert!(alarm.poll().is_none(), "{what}: nothing will come of it any more");
        }
    }

    #[test]
    fn false_alarms_are_heard_more_rarely() {
        let mut doze = Doze::new(Alarms::default());
        for _ in 0..20 {
            doze.learn(false);
        }
        assert_eq!(doze.deafness, MOST_DEAFNESS);
        doze.learn(true);
        assert_eq!(doze.deafness, LEAST_DEAFNESS);
    }

    #[test]
    fn false_alarms_of_long_ago_are_forgiven() {
        let mut doze = Doze::new(Alarms::default());
        let start = Instant::now();
        doze.ring(start);
        (0..20).for_each(|_| doze.learn(false));
        doze.ring(start + FORGIVEN / 2);
        assert_eq!(doze.deafness, MOST_DEAFNESS);
        doze.ring(start + FORGIVEN * 2);
        assert_eq!(doze.deafness, LEAST_DEAFNESS);
        assert_eq!(doze.deaf_until, Some(start + FORGIVEN * 2 + LEAST_DEAFNESS));
    }
}
