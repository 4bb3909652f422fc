//! What components hold, as series. Read like everything else that is read once a tick; a series
//! exists from the moment it is above zero.

use super::{
    Failure, Meter, Sampler,
    field::{put, ratio},
};
use crate::{
    instrument::{Component, Gauge},
    name::{Labels, Unit},
    registry::{Kind, Registry},
    semconv,
    sync::Arc,
};

const FIGURES: usize = if cfg!(feature = "allocator") { 11 } else { 8 };

struct Figure {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    help: &'static str,
    read: fn(&Component) -> Option<f64>,
}

static ALL: [Figure; FIGURES] = [
    Figure {
        name: semconv::COMPONENT_MEMORY_USAGE,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Memory a part of the service says it holds.",
        read: |component| Some(usage(component) as f64),
    },
    Figure {
        name: semconv::COMPONENT_MEMORY_LIMIT,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Memory a part of the service may hold.",
        read: |component| component.limit().map(|limit| limit as f64),
    },
    Figure {
        name: semconv::COMPONENT_MEMORY_UTILIZATION,
        kind: Kind::Gauge,
        unit: "1",
        help: "Memory a part of the service holds, as a share of what it may hold.",
        read: |component| ratio(usage(component), component.limit()?),
    },
    Figure {
        name: semconv::COMPONENT_ITEMS,
        kind: Kind::ObservedUpDown,
        unit: "{item}",
        help: "Items a part of the service says it holds.",
        read: |component| Some(component.items() as f64),
    },
    Figure {
        name: semconv::COMPONENT_REQUESTS,
        kind: Kind::ObservedUpDown,
        unit: "{request}",
        help: "Requests in flight whose state a part of the service holds.",
        read: |component| Some(component.requests() as f64),
    },
    Figure {
        name: semconv::COMPONENT_REQUEST_MEMORY,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Memory of the state of requests in flight.",
        read: |component| Some(component.request_memory() as f64),
    },
    Figure {
        name: semconv::COMPONENT_MEMORY_PER_REQUEST,
        kind: Kind::Gauge,
        unit: "By",
        help: "Memory of the state of requests in flight, divided by their number.",
        read: |component| ratio(component.request_memory(), component.requests()),
    },
    Figure {
        name: semconv::COMPONENT_REFUSED,
        kind: Kind::ObservedCounter,
        unit: "{request}",
        help: "Reservations that a part of the service refused.",
        read: |component| Some(component.refused() as f64),
    },
    #[cfg(feature = "allocator")]
    Figure {
        name: semconv::COMPONENT_HEAP_USAGE,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Memory of the live blocks that were allocated in a component's scopes.",
        read: |component| Some(component.heap().usage as f64),
    },
    #[cfg(feature = "allocator")]
    Figure {
        name: semconv::COMPONENT_HEAP_ALLOCATED,
        kind: Kind::ObservedCounter,
        unit: "By",
        help: "Memory of all blocks that were allocated in a component's scopes.",
        read: |component| Some(component.heap().allocated as f64),
    },
    #[cfg(feature = "allocator")]
    Figure {
        name: semconv::COMPONENT_HEAP_ALLOCATIONS,
        kind: Kind::ObservedCounter,
        unit: "{allocation}",
        help: "Blocks that were allocated in a component's scopes.",
        read: |component| Some(component.heap().allocations as f64),
    },
];

/// What it says, or what the allocator knows of it if that is more.
pub(super) fn usage(component: &Component) -> u64 {
    #[cfg(feature = "allocator")]
    let heap = component.heap().usage;
    #[cfg(not(feature = "allocator"))]
    let heap = 0;
    component.usage().max(heap)
}

/// The sampler named `component`.
pub(crate) struct Components {
    registry: Arc<Registry>,
    known: Vec<Published>,
}

struct Published {
    component: Component,
    labels: Labels,
    gauges: [Option<Gauge>; FIGURES],
}

impl Components {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, known: Vec::new() }
    }
}

impl Sampler for Components {
    fn name(&self) -> &str {
        "component"
    }

    fn start(&mut self, _: &mut Meter) -> Result<(), Failure> {
        for figure in &ALL {
            self.registry.describe(figure.name, Unit::known(figure.unit), figure.help);
        }
        #[cfg(feature = "allocator")]
        self.registry.component("unattributed").own_what_nobody_does();
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        let known = &mut self.known;
        self.registry.components_from(known.len(), |(component, labels)| {
            let (component, labels) = (component.clone(), labels.clone());
            known.push(Published { component, labels, gauges: Default::default() });
        });
        for Published { component, labels, gauges } in &mut self.known {
            for (figure, gauge) in ALL.iter().zip(gauges) {
                let value = (figure.read)(component);
                if gauge.is_none() && value.is_some_and(|value| value > 0.0) {
                    *gauge = Some(resolve(&self.registry, figure, labels));
                }
                if let Some(gauge) = gauge {
                    put(gauge, value);
                }
            }
        }
        Ok(())
    }
}

fn resolve(registry: &Registry, figure: &Figure, labels: &Labels) -> Gauge {
    match figure.kind {
        Kind::ObservedCounter => registry.observed_counter(figure.name, labels),
        Kind::ObservedUpDown => registry.observed_up_down(figure.name, labels),
        _ => registry.gauge(figure.name, labels),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::value, *};

    #[test]
    fn a_component_is_the_series_it_has_something_to_say_in() {
        let registry = Arc::new(Registry::new(100));
        let mut sampler = Components::new(registry.clone());
        sampler.start(&mut Meter::new(registry.clone())).unwrap();
        let mut see = |series: &str| {
            sampler.sample().unwrap();
            let at = "{highwater.component.name=\"store\"}";
            value(&registry, &format!("highwater.component.{series}{at}"))
        };
        assert_eq!(see("memory.usage"), None);
        let store = registry.component("store");
        let states: Vec<_> = (1..=3).map(|at| store.request(at * 10).unwrap()).collect();
        store.add(40);
        assert_eq!(see("memory.usage"), Some(100.0));
        assert_eq!(see("requests"), Some(3.0));
        assert_eq!(see("request.memory"), Some(60.0));
        assert_eq!(see("memory.per_request"), Some(20.0));
        assert_eq!((see("memory.limit"), see("memory.utilization")), (None, None));
        assert_eq!((see("items"), see("refused")), (None, None));
        store.set_limit(200);
        store.set_items(5);
        assert!(store.reserve(101).is_err());
        assert_eq!((see("memory.limit"), see("memory.utilization")), (Some(200.0), Some(0.5)));
        assert_eq!((see("items"), see("refused")), (Some(5.0), Some(1.0)));
        drop(states);
        store.set_limit(None);
        store.set_items(0);
        assert_eq!((see("requests"), see("request.memory")), (Some(0.0), Some(0.0)));
        assert_eq!((see("memory.per_request"), see("memory.limit")), (None, None));
        assert_eq!((see("items"), see("memory.usage")), (Some(0.0), Some(40.0)));
    }
}
