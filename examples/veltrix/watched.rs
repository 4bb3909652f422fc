//! What highwater adds to the server: rules, two watches, a budget, and the autoscaler's hook.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use highwater::{
    Component, Exceeded, Held, Highwater, Query,
    alert::{self, Severity, State, Watch},
    rule, sample,
};

use crate::{BUDGET, config::State as Settings, report::bytes, server::say};

/// The share of the budget that the states of requests may take.
const STATES: u64 = BUDGET * 6 / 10;

pub(crate) struct Watched {
    pub(crate) hw: Highwater,
    pub(crate) order: Query,
    pub(crate) batch: Query,
    store: Component,
    near: Watch,
    critical: Watch,
    fired: Arc<Mutex<Vec<String>>>,
    /// What a state takes, measured when the server starts.
    typical: u64,
}

/// Why a request was turned away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("memory is short: this can wait")]
    CanWait,
    #[error("memory is short: try another instance")]
    Critical,
    #[error(transparent)]
    Budget(#[from] Exceeded),
}

impl Watched {
    pub(crate) fn start(level: &str, typical: u64) -> Result<Self, Box<dyn std::error::Error>> {
        let memory = |above: f64, below: f64| {
            let used = rule::gauge("highwater.memory.utilization").label("level", level);
            used.above(above).clear_below(below)
        };
        let components = Arc::<OnceLock<[Component; 2]>>::default();
        let known = components.clone();
        let fired = Arc::<Mutex<Vec<String>>>::default();
        let fires = fired.clone();
        let walls = sample::memory();
        let walls = if level == "budget" { walls.budget(BUDGET) } else { walls };
        let hw = Highwater::builder("veltrix")
            .tick(Duration::from_millis(100))
            .sample(walls)
            // Of these names, in the presets' place: this service has seconds, not minutes.
            .rule(
                rule::alert("MemoryNearLimit")
                    .group("highwater")
                    .when(memory(0.45, 0.35))
                    .hold_for(Duration::from_millis(200))
                    .severity(Severity::Warning)
                    .summary("{{ value }} of the memory limit is in use"),
            )
            .rule(
                rule::alert("MemoryCritical")
                    .group("highwater")
                    .when(memory(0.85, 0.70))
                    .severity(Severity::Critical)
                    .summary("{{ value }} of the memory limit is in use"),
            )
            .rule(
                rule::alert("BudgetSpent")
                    .when(rule::gauge("highwater.component.memory.utilization").above(0.9))
                    .severity(Severity::Warning)
                    .summary(
                        "{{ labels.highwater.component.name }} holds {{ value }} of its budget",
                    ),
            )
            .rule(
                rule::alert("OrdersSlow")
                    .when(
                        rule::query("order")
                            .quantile(0.95)
                            .over(Duration::from_secs(2))
                            .above(Duration::from_millis(250)),
                    )
                    .severity(Severity::Info)
                    .summary("the p95 of an order in the database is {{ value }}"),
            )
            .sink(alert::to_fn(move |transition| {
                if transition.to != State::Firing && transition.from != State::Firing {
                    return;
                }
                let (name, to) = (&transition.rule.name, transition.to);
                let mut text = transition.summary.clone();
                if name.starts_with("Memory") && to == State::Firing {
                    text.push_str(&eater(known.get().map_or(&[], |all| all)));
                }
                say(format_args!("ALERT {name} {to} {text}"));
                if to == State::Firing {
                    let mut fires = fires.lock().unwrap_or_else(PoisonError::into_inner);
                    fires.push(name.to_string());
                }
                if &**name == "MemoryNearLimit" && to == State::Firing {
                    // Where a service would call its orchestrator.
                    say(format_args!("SCALE one instance more, because {text}"));
                }
            }))
            .start()?;

        let store = hw.component("config-store");
        store.set_limit(STATES);
        let defaults = hw.component("config-defaults");
        defaults.set(typical);
        let _ = components.set([store.clone(), defaults]);
        Ok(Self {
            order: hw.query("order").system("sqlite").build(),
            batch: hw.query("order_batch").system("sqlite").build(),
            near: hw.alert_with("MemoryNearLimit", [])?,
            critical: hw.alert("MemoryCritical")?,
            store,
            fired,
            typical,
            hw,
        })
    }

    /// The rules that fired since the start.
    pub(crate) fn fired(&self) -> Vec<String> {
        let mut fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner).clone();
        fired.sort();
        fired.dedup();
        fired
    }

    /// Whether a request may have a state: asked before the memory is taken.
    pub(crate) fn admit(&self, can_wait: bool) -> Result<Held, Refusal> {
        if self.critical.is_firing() {
            return Err(Refusal::Critical);
        }
        if can_wait && self.near.is_firing() {
            return Err(Refusal::CanWait);
        }
        Ok(self.store.request(self.typical)?)
    }

    /// Corrects what was reserved by what was taken.
    pub(crate) fn account(held: &mut Held, state: &Settings) {
        let (taken, reserved) = (state.bytes(), held.bytes());
        held.add(taken.saturating_sub(reserved));
        held.sub(reserved.saturating_sub(taken));
    }
}

/// The component that holds most.
fn eater(of: &[Component]) -> String {
    let Some(most) = of.iter().max_by_key(|component| component.usage()) else {
        return String::new();
    };
    let (name, usage, requests) = (most.name(), bytes(most.usage()), most.requests());
    match most.request_memory().checked_div(requests) {
        Some(each) => {
            format!("; {name} holds {usage} for {requests} requests, {} each", bytes(each))
        }
        None => format!("; {name} holds {usage}"),
    }
}
