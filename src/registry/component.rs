//! The components there are, by name; beside the series, since one component is several of them.

use std::collections::HashMap;

use super::Registry;
use crate::{
    instrument::{Component, DropReason},
    name::Labels,
    semconv,
    sync::{Arc, AtomicUsize, Ordering, RwLock},
};

/// A component and the labels its series carry.
pub(crate) type Named = (Component, Labels);

#[derive(Debug, Default)]
pub(super) struct Components {
    /// How many there are, to be asked for without the lock.
    known: AtomicUsize,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    by_name: HashMap<Arc<str>, Component>,
    overflow: Option<Component>,
    all: Vec<Named>,
    retired: bool,
}

impl Components {
    /// The component of this name, whether it is the overflow, and whether it is new.
    fn add(&self, name: &str, limit: usize) -> (Component, bool, bool) {
        let mut state = self.state.write();
        if let Some(known) = state.by_name.get(name) {
            return (known.clone(), false, false);
        }
        let is_overflow = state.by_name.len() >= limit;
        if is_overflow && let Some(overflow) = &state.overflow {
            return (overflow.clone(), true, false);
        }
        let made = if is_overflow {
            let labels = Labels::new([(semconv::OTEL_METRIC_OVERFLOW, "true")]);
            let made = state.add(Arc::from("overflow"), labels);
            state.overflow = Some(made.clone());
            made
        } else {
            let name = Arc::<str>::from(name);
            let made = state.add(name.clone(), Labels::new([(semconv::COMPONENT_NAME, &*name)]));
            state.by_name.insert(name, made.clone());
            made
        };
        self.known.store(state.all.len(), Ordering::Release);
        (made, is_overflow, true)
    }

    pub(super) fn retire(&self) {
        let mut state = self.state.write();
        state.retired = true;
        state.all.iter().for_each(|(component, _)| component.retire());
    }
}

impl State {
    fn add(&mut self, name: Arc<str>, labels: Labels) -> Component {
        let component = Component::new(name);
        if self.retired {
            component.retire();
        }
        self.all.push((component.clone(), labels));
        component
    }
}

impl Registry {
    /// The component of this name. Those over the cardinality limit are one together, and counted.
    pub(crate) fn component(&self, name: &str) -> Component {
        if let Some(known) = self.components.state.read().by_name.get(name) {
            return known.clone();
        }
        let (found, is_overflow, is_new) = self.components.add(name, self.limit);
        if is_overflow {
            self.drops.count(DropReason::Cardinality);
        }
        // Not while anything is locked: a logger may have a component of its own.
        if is_overflow && is_new {
            log::warn!(
                "highwater: there are {} components, the limit: further ones are one together, with {}=\"true\"",
                self.limit,
                semconv::OTEL_METRIC_OVERFLOW
            );
        }
        found
    }

    /// Calls `with` on the components from the `known`th on.
    pub(crate) fn components_from(&self, known: usize, with: impl FnMut(&Named)) {
        if known < self.components.known.load(Ordering::Acquire) {
            self.components.state.read().all[known..].iter().for_each(with);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component_and_a_flood_of_names_one_more() {
        let registry = Registry::new(100);
        registry.component("store").add(1);
        registry.component("store").add(2);
        assert_eq!(registry.component("store").usage(), 3);
        for at in 0..100_000 {
            registry.component(&format!("tenant{at}")).add(1);
        }
        let mut all = Vec::new();
        registry.components_from(0, |(component, labels)| {
            all.push((component.usage(), labels.to_string()));
        });
        assert_eq!(all.len(), 101);
        assert_eq!(all[100], (99_901, r#"{otel.metric.overflow="true"}"#.to_owned()));
        assert_eq!(registry.drops().total(DropReason::Cardinality), 99_901);
        registry.components_from(101, |_| panic!("there are no more"));
    }

    #[test]
    fn one_that_is_found_after_the_end_is_inert() {
        let registry = Registry::new(100);
        let before = registry.component("before");
        registry.retire();
        before.add(1);
        registry.component("after").add(1);
        assert_eq!(before.usage() + registry.component("after").usage(), 0);
    }
}
