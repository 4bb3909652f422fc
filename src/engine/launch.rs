//! A thread that the operating system may refuse: then it is tried again.

use std::{
    fmt, io, thread,
    time::{Duration, Instant},
};

use crate::sync::{Arc, Mutex};

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// One thread, started or not yet. A clone is the same.
#[derive(Clone)]
pub(super) struct Launch {
    pub(super) name: &'static str,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Where the thread finds what to do, once there is one.
    work: Arc<Mutex<Option<Work>>>,
    started: bool,
    refused: Option<(String, Instant)>,
}

impl Launch {
    /// Starts nothing yet: see [`retry`](Self::retry).
    pub(super) fn new(name: &'static str, work: impl FnOnce() + Send + 'static) -> Self {
        let work: Arc<Mutex<Option<Work>>> = Arc::new(Mutex::new(Some(Box::new(work))));
        let state = State { work, started: false, refused: None };
        Self { name, state: Arc::new(Mutex::new(state)) }
    }

    /// Tries to start it, unless it runs or was refused just now; a refusal is in the log. Costs a
    /// free lock where it runs.
    pub(super) fn retry(&self) {
        let mut state = self.state.lock();
        let pauses = state.refused.as_ref().is_some_and(|(_, at)| at.elapsed() < PAUSE);
        if state.started || pauses {
            return;
        }
        let work = state.work.clone();
        let run = move || {
            let work = work.lock().take();
            if let Some(work) = work {
                work();
            }
        };
        let spawned: io::Result<_> = thread::Builder::new().name(self.name.to_owned()).spawn(run);
        match spawned {
            Ok(_) => {
                state.started = true;
                if state.refused.take().is_some() {
                    log::info!("highwater: the thread {:?} runs now", self.name);
                }
            }
            Err(why) => {
                if state.refused.is_none() {
                    log::error!(
                        "highwater: the thread {:?} cannot be started: {why}; it is tried again after {PAUSE:?} by the \
                         next round, or, without rounds, when the instance is asked for its health or an alert",
                        self.name
                    );
                }
                state.refused = Some((why.to_string(), Instant::now()));
            }
        }
    }

    /// Why it does not run.
    pub(super) fn refusal(&self) -> Option<String> {
        let state = self.state.lock();
        let (why, _) = state.refused.as_ref()?;
        Some(format!("the thread {:?} cannot be started: {why}", self.name))
    }

    /// Whether it runs or did; if not, it never will, and what it was to work on is dropped.
    pub(super) fn settle(&self) -> bool {
        let mut state = self.state.lock();
        if !state.started {
            state.started = true;
            let work = state.work.lock().take();
            drop(state);
            drop(work);
            return false;
        }
        true
    }
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("name", &self.name).finish_non_exhaustive()
    }
}
