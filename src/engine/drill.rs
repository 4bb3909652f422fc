//! Test alerts: they take the whole way of a real one, from the tick thread through silences, the
//! spool and the push to every sink, and change no state on it.

use crate::{
    clock::Moment,
    event::Transition,
    rule::Evaluator,
    sync::{Arc, Mutex},
};

/// The test alerts asked for, and those to be resolved.
#[derive(Debug, Default)]
pub(crate) struct Drills(Mutex<Asked>);

#[derive(Debug, Default)]
struct Asked {
    to_fire: Vec<String>,
    to_resolve: Vec<Arc<Transition>>,
}

impl Drills {
    /// Fires the alert of this rule at the next tick, and resolves it a tick later.
    pub(crate) fn ask(&self, rule: &str) {
        let asked = &mut self.0.lock().to_fire;
        if !asked.iter().any(|known| known == rule) {
            asked.push(rule.to_owned());
        }
    }
}

/// What has been asked for since the last tick.
pub(super) fn run(drills: &Drills, rules: &Evaluator, at: Moment, out: &mut Vec<Arc<Transition>>) {
    let mut asked = drills.0.lock();
    out.extend(asked.to_resolve.drain(..).map(|fired| Arc::new(fired.resolved_drill(at.wall))));
    for rule in std::mem::take(&mut asked.to_fire) {
        let fired: Vec<_> = rules.drill(&rule, at.wall).map(Arc::new).collect();
        asked.to_resolve.extend(fired.iter().cloned());
        out.extend(fired);
    }
}
