//! A bounded queue from the tick thread to a slower one. Pushing never waits: what does not fit
//! comes back, to be counted.

use std::{collections::VecDeque, time::Instant};

use crate::sync::Monitor;

#[derive(Debug)]
pub(super) struct Mailbox<T> {
    capacity: usize,
    state: Monitor<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
}

/// What [`Mailbox::wait`] found.
#[derive(Debug, PartialEq)]
pub(super) enum Mail<T> {
    Message(T),
    TimedOut,
    /// Closed, and all that was in it has been taken.
    Closed,
}

impl<T> Mailbox<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let state = State { waiting: VecDeque::with_capacity(capacity), closed: false };
        Self { capacity, state: Monitor::new(state) }
    }

    /// Queues it, or gives it back when the box is full or closed.
    pub(super) fn push(&self, message: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed || state.waiting.len() == self.capacity {
            return Err(message);
        }
        state.waiting.push_back(message);
        drop(state);
        self.state.notify_one();
        Ok(())
    }

    pub(super) fn take(&self) -> Option<T> {
        self.state.lock().waiting.pop_front()
    }

    /// Waits for a message, until `deadline` if there is one.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Mail<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(message) = state.waiting.pop_front() {
                return Mail::Message(message);
            }
            if state.closed {
                return Mail::Closed;
            }
            match deadline {
                None => state = self.state.wait(state),
                Some(at) => {
                    let timed_out;
                    (state, timed_out) = self.state.wait_until(state, at);
                    if timed_out {
                        return state.waiting.pop_front().map_or(Mail::TimedOut, Mail::Message);
                    }
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.state.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_comes_back() {
        let mailbox = Mailbox::new(1);
        assert_eq!(mailbox.push(1), Ok(()));
        assert_eq!(mailbox.push(2), Err(2));
        assert_eq!(mailbox.take(), Some(1));
        assert_eq!(mailbox.wait(Some(Instant::now())), Mail::TimedOut);
    }

    #[test]
    fn a_closed_box_is_emptied_first() {
        let mailbox = Mailbox::new(2);
        mailbox.push(1).unwrap();
        mailbox.close();
        assert_eq!(mailbox.push(2), Err(2));
        assert_eq!(mailbox.wait(None), Mail::Message(1));
        assert_eq!(mailbox.wait(None), Mail::Closed);
    }
}
