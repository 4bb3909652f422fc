//! What highwater adds to the server: rules, two watches, a budget, and the autoscaler's hook.

use std::time::Duration;

use highwater::{
    Component, Exceeded, Held, Highwater, Query,
    alert::{self, Severity, State, Transition, Watch},
    export::scale::{self, Replicas},
    rule, sample,
};

use crate::{BUDGET, config::State as Settings, server::say};

/// The share of the budget that the states of requests may take.
const STATES: u64 = BUDGET * 6 / 10;

/// The variable that says where a page is written when an alert fires: new for each run, so that
/// no earlier one is taken for it.
pub(crate) const PAGES: &str = "VELTRIX_PAGES";

fn pages() -> std::path::PathBuf {
    let own = || std::env::temp_dir().join(format!("veltrix-pages-{}", std::process::id()));
    std::env::var_os(PAGES).map_or_else(own, Into::into)
}

pub(crate) struct Watched {
    pub(crate) hw: Highwater,
    pub(crate) order: Query,
    pub(crate) batch: Query,
    store: Component,
    near: Watch,
    critical: Watch,
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
        let walls = sample::memory();
        let walls = if level == "budget" { walls.budget(BUDGET) } else { walls };
        // One of it runs; as many are wanted as keep each at 45% of its memory.
        let desired = scale::desired(Replicas::towards(0.45).between(1, 10), || 1);
        let wanted = desired.clone();
        let hw = Highwater::builder("veltrix")
            .tick(Duration::from_millis(100))
            .sample(walls)
            .sample(desired)
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
                    )
                    .description("It refuses what goes beyond: add an instance, or wait."),
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
                    .summary("the p95 of an order in the database is {{ value }}")
                    .description("Admit fewer at a time: all of them finish sooner."),
            )
            .sink(alert::to_fn(move |transition| {
                if transition.to != State::Firing && transition.from != State::Firing {
                    return;
                }
                let (name, to) = (&transition.rule.name, transition.to);
                let text = transition.summary.clone() + &eater(transition);
                say(format_args!("ALERT {name} {to} {text}"));
                if &**name == "MemoryNearLimit" && to == State::Firing {
                    // Where a service would call its orchestrator.
                    let to = wanted.get().map_or("one more".to_owned(), |n| n.to_string());
                    say(format_args!("SCALE instances to {to}, because {text}"));
                }
            }))
            .report(highwater::report::to(pages()))
            .start()?;

        let store = hw.component("config-store");
        store.set_limit(STATES);
        let defaults = hw.component("config-defaults");
        defaults.set(typical);
        Ok(Self {
            order: hw.query("order").system("sqlite").build(),
            batch: hw.query("order_batch").system("sqlite").build(),
            near: hw.alert_with("MemoryNearLimit", [])?,
            critical: hw.alert("MemoryCritical")?,
            store,
            typical,
            hw,
        })
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

/// Who holds most of the memory, and the likeliest cause, by the alert's evidence.
fn eater(of: &Transition) -> String {
    let is_memory = of.to == State::Firing && of.rule.name.starts_with("Memory");
    let Some(evidence) = of.evidence.as_ref().filter(|_| is_memory) else { return String::new() };
    let largest = evidence.facts.iter().find(|fact| fact.key == "memory.component");
    let cause = evidence.likeliest().map(|cause| &cause.text);
    let texts = largest.map(|fact| &fact.text).into_iter().chain(cause);
    texts.map(|text| format!("; {text}")).collect()
}
