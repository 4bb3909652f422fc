//! A transition on its two ways out: to the sinks, and to the receivers.
//!
//! It has to be kept (spooled, where there is a spool) before any sink is told, so that nobody acts
//! on an alert that a crash then makes unknown. Whichever of `highwater-io` and `highwater-act`
//! comes first keeps it, and the other waits for that: so neither a receiver that never answers
//! nor a sink that hangs holds up the other way.

use std::time::SystemTime;

use crate::{
    event::Transition,
    export::otlp::Intake,
    sync::{Arc, Mutex},
};

#[derive(Debug)]
pub(super) struct Errand {
    pub(super) transition: Arc<Transition>,
    kept: Mutex<bool>,
}

impl Errand {
    pub(super) fn new(transition: Arc<Transition>) -> Arc<Self> {
        Arc::new(Self { transition, kept: Mutex::new(false) })
    }

    /// Of one that was kept when it happened, and is told only now.
    pub(super) fn late(transition: Arc<Transition>) -> Arc<Self> {
        Arc::new(Self { transition, kept: Mutex::new(true) })
    }

    /// Returns when all of them are kept, by whomever.
    pub(super) fn keep(errands: &[Arc<Self>], intake: &Intake) {
        let mut ours: Vec<_> = errands
            .iter()
            .map(|errand| (errand.kept.lock(), errand))
            .filter(|(kept, _)| !**kept)
            .collect();
        let transitions: Vec<_> =
            ours.iter().map(|(_, errand)| errand.transition.clone()).collect();
        intake.alerts(&transitions, SystemTime::now());
        ours.iter_mut().for_each(|(kept, _)| **kept = true);
    }
}
