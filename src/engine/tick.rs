//! The `highwater` thread. [`Ticker::tick`] is one round, with the time as its argument; [`run`]
//! calls it on schedule. A round that comes late is not made up for: the ones it swallowed are
//! counted.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Shared,
    act::{Actors, Audience, Notification, Sinks},
    doze::Doze,
    drill,
    errand::Errand,
    files::{Files, Watched},
    io::Courier,
    publish::AlertSeries,
    silence_file::SilenceFile,
    stop::{Stop, Wake},
    telemetry::{Losses, Telemetry, count},
};
use crate::{
    alert::{self, Notice, Notifier, Told},
    clock::{self, Clock, Moment},
    event::{ResolveReason, State, Transition},
    export::otlp::Health,
    history::{self, Scribe},
    registry::Collector,
    rule::{Evaluator, Status},
    sample::{Glanced, Sampler, Samplers},
    sync::Arc,
    window::Foresight,
};

pub(super) const NAME: &str = "highwater";

/// How often histograms are looked at, however slow the tick.
const FOLD_WITHIN: Duration = Duration::from_secs(5);

/// How far the two clocks may part between two ticks before it counts as a jump or a suspend.
const JUMP: Duration = Duration::from_secs(10);

/// What a [`Ticker`] is made of.
pub(super) struct Parts {
    pub(super) samplers: Vec<Box<dyn Sampler>>,
    pub(super) disabled_samplers: Vec<String>,
    pub(super) rules: Evaluator,
    pub(super) actors: Option<Actors>,
    pub(super) courier: Option<Courier>,
    pub(super) health: Option<Arc<Health>>,
    pub(super) silence_file: Option<PathBuf>,
    #[cfg(feature = "rule-files")]
    pub(super) reload: Option<Arc<super::Reload>>,
    pub(super) tick: Duration,
    pub(super) mistakes: u64,
    pub(super) losses: Arc<Losses>,
    pub(super) now: Moment,
    pub(super) history: history::Shared,
}

/// Everything the tick thread owns.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    interval: Duration,
    samplers: Samplers,
    doze: Doze,
    /// In how long the samplers want to be looked at again, if before the next tick.
    next_glance: Option<Duration>,
    collector: Collector,
    foresight: Foresight,
    scribe: Scribe,
    rules: Evaluator,
    alerts: AlertSeries,
    telemetry: Telemetry,
    actors: Option<Actors>,
    courier: Option<Courier>,
    files: Option<Files>,
    #[cfg(feature = "rule-files")]
    reloader: Option<super::reload::Reloader>,
    losses: Arc<Losses>,
    /// Filled by an evaluation, emptied by the notifier.
    transitions: Vec<Arc<Transition>>,
    notifier: Notifier,
    /// Filled by the notifier, emptied by the sinks.
    notices: Vec<Notice>,
    last: Moment,
}

/// Ticks until a stop is asked for, then once more.
pub(super) fn run(mut ticker: Ticker, clock: &Clock) {
    let stop = ticker.shared.stop.clone();
    let interval = ticker.interval;
    let mut due = Instant::now();
    loop {
        let stopping = ticker.watch_until(due, &stop, clock);
        let now = Instant::now();
        // One that a glance asked for comes between two that are due.
        if now >= due || stopping {
            let (next, missed) = schedule(due, now, interval);
            due = next;
            ticker.telemetry.tick_missed.increment(missed);
        }
        let begun = clock::ticks();
        // Nothing in a round should panic. If it does all the same, the next one still comes.
        let round = catch_unwind(AssertUnwindSafe(|| {
            ticker.tick(clock.now());
            if stopping {
                ticker.last_words(clock.now());
            }
        }));
        if round.is_err() {
            count(&ticker.losses.tick_panicked);
        }
        ticker.telemetry.tick_duration.0.record_elapsed(clock::elapsed_since(begun));
        if stopping {
            break;
        }
    }
    ticker.shared.newcomers.close();
    ticker.shared.readers.close(&ticker.collector);
    // Closes the other threads' mailboxes.
    drop(ticker);
    stop.ended(NAME);
}

/// When the tick after one that was `due`, and came `now`, is due, and how many are missed till then:
/// those are not made up for.
fn schedule(due: Instant, now: Instant, interval: Duration) -> (Instant, u64) {
    let late = now.saturating_duration_since(due).as_nanos();
    let into = Duration::from_nanos((late % interval.as_nanos()) as u64);
    (now.max(due) + interval - into, (late / interval.as_nanos()) as u64)
}

impl Ticker {
    pub(super) fn new(shared: Arc<Shared>, parts: Parts) -> Self {
        let registry = shared.registry.clone();
        let mut samplers = Samplers::new(parts.samplers, &registry);
        for name in &parts.disabled_samplers {
            samplers.disable(name);
        }
        let watched = Watched {
            silences: parts.silence_file.map(SilenceFile::new),
            #[cfg(feature = "rule-files")]
            rules: parts.reload.clone().map(super::reload::Watcher::new),
        };
        Self {
            interval: parts.tick,
            doze: Doze::new(samplers.alarms()),
            samplers,
            next_glance: None,
            collector: Collector::new(registry.clone(), parts.now),
            foresight: Foresight::new(registry.clone()),
            scribe: Scribe::new(parts.history),
            rules: parts.rules,
            alerts: AlertSeries::new(registry.clone()),
            telemetry: Telemetry::new(
                &registry,
                parts.losses.clone(),
                parts.health,
                parts.mistakes,
                parts.now,
            ),
            actors: parts.actors,
            courier: parts.courier,
            files: Files::start(watched, shared.clone()),
            #[cfg(feature = "rule-files")]
            reloader: parts.reload.map(|of| super::reload::Reloader::new(of, &registry)),
            losses: parts.losses,
            transitions: Vec::new(),
            notifier: Notifier::default(),
            notices: Vec::new(),
            last: parts.now,
            shared,
        }
    }

    /// Sleeps until the next tick is due, or wanted by a sampler; `true` as soon as a stop is
    /// asked for. In between lies the fast lane: glances at what can kill within milliseconds.
    fn watch_until(&mut self, due: Instant, stop: &Stop, clock: &Clock) -> bool {
        let mut fold = Instant::now() + FOLD_WITHIN;
        let in_a = |pause: Duration| Instant::now().checked_add(pause);
        let mut glance = self.next_glance.and_then(in_a);
        loop {
            let at = glance.map_or(fold, |glance| glance.min(fold)).min(due);
            let woken = self.doze.sleep_until(at, stop);
            match woken {
                Wake::Stop => return true,
                Wake::Asked => {
                    self.shared.readers.answer(&self.collector);
                    continue;
                }
                Wake::Due if at == due => return false,
                Wake::Due if at == fold => {
                    self.collector.fold_ahead();
                    fold = Instant::now() + FOLD_WITHIN;
                    continue;
                }
                Wake::Due | Wake::Alarm => {}
            }
            let Glanced { urgent, next } = self.samplers.glance(clock.now());
            self.next_glance = next;
            glance = next.and_then(in_a);
            if woken == Wake::Alarm {
                self.doze.learn(urgent);
            }
            if urgent {
                return false;
            }
        }
    }

    /// One round.
    pub(super) fn tick(&mut self, at: Moment) {
        clock::recalibrate();
        if jumped(self.last, at) {
            log::warn!("highwater: the clock jumped or the machine slept: windows start anew");
            self.foresight.discontinuity();
            self.scribe.discontinuity();
            self.rules.discontinuity(at);
        }
        self.last = at;
        if let Some(files) = &mut self.files {
            files.look(at);
        }
        #[cfg(feature = "rule-files")]
        self.reload(at);

        for newcomer in self.shared.newcomers.take() {
            self.samplers.add(newcomer);
        }
        self.next_glance = self.samplers.run(at);
        self.telemetry.publish(&self.shared.silences, self.notifier.hushed(), at);
        let recorded = self.shared.recordings.any();
        self.collector.collect_for(at, |series| {
            recorded || self.rules.wants(series) || self.scribe.wants(series)
        });
        self.shared.recordings.observe(at, self.collector.series(), self.collector.frame());
        self.foresight.observe(at, self.collector.series(), self.collector.frame());
        self.scribe.observe(at, self.collector.series(), self.collector.frame());
        self.rules.observe(&self.collector);
        self.rules.evaluate(at, &mut self.transitions);
        self.telemetry.judge(&self.rules, at);
        self.write_down();
        drill::run(&self.shared.drills, &self.rules, at, &mut self.transitions);
        self.publish();
        self.tell(at);

        if let Some(actors) = &mut self.actors {
            actors.watch(at);
        }
        if let Some(courier) = &mut self.courier {
            courier.launch().retry();
            courier.snapshot_if_due(&self.collector, at);
        }
        self.shared.pulse.beat(at, self.samplers.statuses());
    }

    /// Rules that were read anew take the old ones' place.
    #[cfg(feature = "rule-files")]
    fn reload(&mut self, at: Moment) {
        if let Some(rules) = self.reloader.as_mut().and_then(super::reload::Reloader::refresh) {
            self.rules.replace(*rules, at, &mut self.transitions);
        }
    }

    /// For the verdict.
    fn write_down(&self) {
        let ledger = &self.shared.ledger;
        ledger.evaluated(self.rules.stats().evaluations);
        ledger.note(&self.transitions);
        self.rules.errors().for_each(|(rule, _)| ledger.unjudged(&rule.name));
        ledger.unseen(self.rules.unseen().map(|rule| &rule.name));
    }

    /// Where every alert stands.
    pub(super) fn status(&self) -> impl Iterator<Item = Status<'_>> {
        self.rules.status()
    }

    #[cfg(all(test, unix))]
    pub(super) fn courier_is_idle(&self) -> bool {
        self.courier.as_ref().is_none_or(Courier::is_idle)
    }

    /// After the last tick: every alert ends, everything leaves.
    fn last_words(&mut self, at: Moment) {
        self.rules.resolve_all(at, ResolveReason::Shutdown, &mut self.transitions);
        drill::run(&self.shared.drills, &self.rules, at, &mut self.transitions);
        self.publish();
        self.tell(at);
        self.shared.registry.retire();
        self.collector.collect(at);
        if let Some(courier) = &mut self.courier {
            courier.last_snapshot(&self.collector, at);
        }
    }

    fn publish(&mut self) {
        self.alerts.publish(self.rules.status());
        self.shared.watches.publish(self.rules.status().map(|status| alert::Reading {
            rule: status.rule.clone(),
            labels: status.labels.clone(),
            state: status.state,
            raised: status.raised,
            level: status.level,
        }));
    }

    /// Gives what begins its evidence, and remembers what happened.
    fn explain(&mut self) {
        if self.transitions.is_empty() {
            return;
        }
        let transitions = &mut self.transitions;
        self.scribe.read(|history| {
            for transition in transitions {
                if let Some(evidence) = alert::gather_evidence(transition, history) {
                    let evidence = Some(Arc::new(evidence));
                    *transition =
                        Arc::new(Transition { evidence, ..Transition::clone(transition) });
                }
            }
        });
        self.scribe.note(&self.transitions);
    }

    /// Exports what happened, and tells the sinks what is news to them.
    fn tell(&mut self, at: Moment) {
        self.explain();
        self.shared.raised.note(&self.transitions);
        let rules = &self.rules;
        self.notifier.decide(
            self.transitions.drain(..),
            |name| rules.fires(name),
            &self.shared.silences,
            at,
            &mut self.notices,
        );
        let mut told_now: Vec<Notification> = Vec::new();
        for Notice { transition, is_new, told } in self.notices.drain(..) {
            let errand = if is_new { Errand::new(transition) } else { Errand::late(transition) };
            if let Some(courier) = self.courier.as_ref().filter(|_| is_new) {
                courier.alert(&errand);
            }
            // Some keep their own books, and must not go on sending what has ended.
            let step = &errand.transition;
            let is_step = step.to == State::Firing || step.resolved.is_some();
            let sinks = match told {
                Told::Nobody if is_new && is_step && step.hushed.is_some() => Sinks::Books,
                Told::Nobody => Sinks::None,
                Told::Everybody => Sinks::All,
                Told::Again => Sinks::Again,
            };
            let to = Audience { is_new, sinks };
            let group = |one: &&mut Notification| {
                let known = one.errands.first().map(|known| &known.transition);
                one.to == to && known.is_some_and(|known| goes_with(known, &errand.transition))
            };
            match told_now.iter_mut().find(group) {
                Some(group) => group.errands.push(errand),
                None => told_now.push(Notification { errands: vec![errand], to }),
            }
        }
        if let Some(actors) = &self.actors {
            told_now.into_iter().for_each(|notification| actors.tell(notification));
        }
    }
}

/// Whether both are the same step of alerts of one rule.
fn goes_with(a: &Transition, b: &Transition) -> bool {
    let rule = |of: &Transition| (of.rule.group.clone(), of.rule.name.clone(), of.rule.severity);
    (a.from, a.to, a.resolved, a.hushed) == (b.from, b.to, b.resolved, b.hushed)
        && rule(a) == rule(b)
}

/// The wall clock was set, or stood still beside the monotonic one during a suspend.
fn jumped(last: Moment, now: Moment) -> bool {
    let mono = now.mono.saturating_sub(last.mono);
    match now.wall.duration_since(last.wall) {
        Ok(wall) => wall.abs_diff(mono) > JUMP,
        Err(back) => back.duration() > JUMP,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        alert::{Alerts, channel},
        event::State,
        export::prometheus::Exposition,
        name::Labels,
        registry::{DEFAULT_CARDINALITY_LIMIT, Registry},
        rule::{Rule, alert, counter, gauge},
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// The engine's own rounds on a clock that is told, and what a sink hears.
    struct World {
        ticker: Ticker,
        mono: Duration,
        wall: SystemTime,
        alerts: Alerts,
    }

    impl World {
        fn new(rules: Vec<Rule>) -> Self {
            let registry = Arc::new(Registry::new(DEFAULT_CARDINALITY_LIMIT));
            let shared = Arc::new(Shared::new(registry, Exposition::default()));
            let (sink, alerts) = channel(1_000);
            let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let now = Moment { mono: Duration::ZERO, wall };
            let losses = shared.losses.clone();
            let actors = Actors::start(vec![sink], None, losses.clone(), shared.stop.clone(), now);
            let parts = Parts {
                samplers: Vec::new(),
                disabled_samplers: Vec::new(),
                rules: Evaluator::new(rules, SECOND).unwrap(),
                actors: Some(actors),
                courier: None,
                health: None,
                silence_file: None,
                #[cfg(feature = "rule-files")]
                reload: None,
                tick: SECOND,
                mistakes: 0,
                losses,
                now,
                history: crate::history::History::shared(SECOND, now),
            };
            Self { ticker: Ticker::new(shared, parts), mono: Duration::ZERO, wall, alerts }
        }

        fn set(&self, name: &str, value: f64) {
            self.ticker.shared.registry.gauge(name, &Labels::empty()).set(value);
        }

        /// A second passes.
        fn step(&mut self) {
            (self.mono, self.wall) = (self.mono + SECOND, self.wall + SECOND);
            self.ticker.tick(Moment { mono: self.mono, wall: self.wall });
        }

        fn state(&self, name: &str) -> State {
            self.ticker.shared.watches.get(name, &Labels::empty()).state()
        }

        /// All the sink was told, once nothing more will come.
        fn told(mut self) -> Vec<String> {
            drop(self.ticker);
            let word = |t: Arc<Transition>| {
                let word = if t.resolved.is_some() { "resolved" } else { t.to.as_str() };
                format!("{} {word}", t.rule.name)
            };
            std::iter::from_fn(|| self.alerts.recv()).map(word).collect()
        }
    }

    #[test]
    fn late_ticks_are_counted_and_not_made_up_for() {
        let due = Instant::now();
        let at = |millis| due + Duration::from_millis(millis);
        assert_eq!(schedule(due, due, SECOND), (at(1_000), 0));
        assert_eq!(schedule(due, at(300), SECOND), (at(1_000), 0));
        assert_eq!(schedule(due, at(5_300), SECOND), (at(6_000), 5));
        assert_eq!(schedule(at(700), due, SECOND), (at(1_700), 0), "a stop comes early");
    }

    #[test]
    fn a_clock_that_is_set_neither_ends_a_hold_early_nor_makes_a_rate() {
        for jump in [3_600_i64, -3_600] {
            let hold = Duration::from_secs(5);
            let mut world = World::new(vec![
                alert("Held").when(gauge("t").above(10.0)).hold_for(hold),
                alert("Busy").when(counter("n").increase(60 * SECOND).above(500.0)),
            ]);
            let n = world.ticker.shared.registry.counter("n", &Labels::empty());
            world.set("t", 11.0);
            for second in 0..5 {
                world.step();
                if second == 2 {
                    n.increment(1_000);
                    let by = Duration::from_secs(jump.unsigned_abs());
                    world.wall = if jump > 0 { world.wall + by } else { world.wall - by };
                }
                assert_eq!(world.state("Held"), State::Pending, "{second} {jump}");
            }
            world.step();
            assert_eq!(world.state("Held"), State::Firing);
            // What came while nobody can say how long it took is in no window.
            assert_eq!(world.state("Busy"), State::Inactive);
        }
    }

    #[test]
    fn a_missing_sample_lets_no_load_in_and_wakes_nobody() {
        let mut world = World::new(vec![
            alert("Memory").when(gauge("memory").above(0.9)),
            alert("Slow").when(gauge("latency").above(1.0)).inhibited_by("Memory"),
        ]);
        world.set("memory", 0.95);
        world.set("latency", 2.0);
        world.step();
        world.ticker.shared.registry.gauge("memory", &Labels::empty()).clear();
        world.step();
        let memory = world.ticker.shared.watches.get("Memory", &Labels::empty());
        assert_eq!(memory.state(), State::NoData);
        assert!(memory.is_firing() && memory.level() == 1.0);
        world.set("memory", 0.1);
        world.set("latency", 0.0);
        world.step();
        assert!(!memory.is_firing());
        assert_eq!(world.told(), ["Memory firing", "Memory resolved"]);
    }

    #[test]
    fn an_inhibited_alert_has_its_state_and_is_told_when_it_is_alone() {
        let mut world = World::new(vec![
            alert("Memory").when(gauge("memory").above(0.9)),
            alert("Slow").when(gauge("latency").above(1.0)).inhibited_by("Memory"),
        ]);
        world.set("memory", 0.95);
        world.set("latency", 2.0);
        world.step();
        assert_eq!(world.state("Slow"), State::Firing);
        world.set("memory", 0.1);
        world.step();
        world.set("latency", 0.0);
        world.step();
        world.step();
        let hushed = world.ticker.notifier.hushed();
        assert_eq!(hushed.iter().sum::<u64>(), 1);
        assert_eq!(
            world.told(),
            ["Memory firing", "Memory resolved", "Slow firing", "Slow resolved"]
        );
    }
}
