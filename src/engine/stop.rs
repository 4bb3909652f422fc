//! How a shutdown is asked for, and how its end is known.

use std::time::{Duration, Instant};

use crate::sync::Monitor;

/// What a shutdown could not finish in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// A thread was still at work when the deadline came; what it had not delivered is lost.
    #[error("{thread:?} did not finish within {timeout:?}")]
    Deadline {
        /// Which.
        thread: &'static str,
        /// The deadline that was given.
        timeout: Duration,
    },
    /// The receiver did not take everything, and what it did not take is lost; what is in a
    /// [spool](crate::export::otlp::spool) is not.
    #[error("{requests} requests were not delivered: {reason}")]
    Undelivered {
        /// How many.
        requests: u64,
        /// The last error.
        reason: String,
    },
    /// The operating system refused a thread from the start to the end; what it should have
    /// handled is lost.
    #[error("the thread {thread:?} could never be started")]
    NotStarted {
        /// Which.
        thread: &'static str,
    },
    /// This process was forked from the one that started the instance: its threads are there, not
    /// here.
    #[error("nothing runs in a forked process: start an instance there")]
    Forked,
}

/// Why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Due,
    Asked,
    /// The kernel says that memory is tight.
    Alarm,
    Stop,
}

/// Asked for once, waited for by the tick thread between ticks, and by whoever shuts down.
#[derive(Debug)]
pub(super) struct Stop {
    state: Monitor<State>,
    /// Readable once anything is wanted; none where the kernel has no such thing to give.
    #[cfg(target_os = "linux")]
    bell: Option<std::os::fd::OwnedFd>,
}

impl Default for Stop {
    fn default() -> Self {
        #[cfg(target_os = "linux")]
        use rustix::event::{EventfdFlags, eventfd};

        Self {
            state: Monitor::default(),
            #[cfg(target_os = "linux")]
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    requested: bool,
    /// Somebody wants to read what the tick thread has.
    asked: bool,
    /// By when all must be over; none: whenever it is.
    deadline: Option<Instant>,
    ended: Vec<&'static str>,
    undelivered: Option<(u64, String)>,
}

/// Tells that a thread has ended, however it does.
pub(super) struct Ended<'a>(pub(super) &'a Stop, pub(super) &'static str);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended(self.1);
    }
}

impl State {
    fn wanted(&mut self) -> Option<Wake> {
        if self.requested {
            return Some(Wake::Stop);
        }
        std::mem::take(&mut self.asked).then_some(Wake::Asked)
    }
}

impl Stop {
    /// The first request's deadline stands.
    pub(super) fn request(&self, deadline: Option<Instant>) {
        let mut state = self.state.lock();
        if !state.requested {
            state.requested = true;
            state.deadline = deadline;
            self.state.notify_all();
            drop(state);
            self.ring();
        }
    }

    /// After the state was set: who hears it looks there.
    fn ring(&self) {
        #[cfg(target_os = "linux")]
        if let Some(bell) = &self.bell {
            // Fails only when it has been rung 2⁶⁴ times.
            let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        }
    }

    /// What to sleep on beside other descriptors; see [`wanted`](Self::wanted).
    #[cfg(target_os = "linux")]
    pub(super) fn bell(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.bell.as_ref().map(std::os::fd::AsFd::as_fd)
    }

    /// Silences the bell, then says what it rang for.
    #[cfg(target_os = "linux")]
    pub(super) fn wanted(&self) -> Option<Wake> {
        if let Some(bell) = &self.bell {
            let _ = rustix::io::read(bell, &mut [0; 8]);
        }
        self.state.lock().wanted()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.state.lock().deadline
    }

    /// Wakes the tick thread for [`Readers`](super::readers::Readers).
    pub(super) fn ask(&self) {
        self.state.lock().asked = true;
        self.state.notify_all();
        self.ring();
    }

    /// Sleeps until `at`, or until something else is wanted.
    pub(super) fn sleep_until(&self, at: Instant) -> Wake {
        let mut state = self.state.lock();
        loop {
            if let Some(wanted) = state.wanted() {
                return wanted;
            }
            if Instant::now() >= at {
                return Wake::Due;
            }
            (state, _) = self.state.wait_until(state, at);
        }
    }

    /// Told by a thread as the last thing it does.
    pub(super) fn ended(&self, thread: &'static str) {
        self.state.lock().ended.push(thread);
        self.state.notify_all();
    }

    /// Whether the thread has ended by `deadline`.
    pub(super) fn wait_for_end(&self, thread: &str, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while !state.ended.contains(&thread) {
            match deadline {
                None => state = self.state.wait(state),
                Some(at) => {
                    let timed_out;
                    (state, timed_out) = self.state.wait_until(state, at);
                    if timed_out {
                        return state.ended.contains(&thread);
                    }
                }
            }
        }
        true
    }

    /// Told by a thread that gives up on something.
    pub(super) fn left_undelivered(&self, requests: u64, reason: String) {
        let mut state = self.state.lock();
        let before = state.undelivered.take().map_or(0, |(before, _)| before);
        state.undelivered = Some((before + requests, reason));
    }

    pub(super) fn outcome(&self) -> Result<(), ShutdownError> {
        match self.state.lock().undelivered.clone() {
            None => Ok(()),
            Some((requests, reason)) => Err(ShutdownError::Undelivered { requests, reason }),
        }
    }
}
