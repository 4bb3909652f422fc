//! All samplers of an instance: started, called once a tick, and kept from harming each other.
//!
//! A sampler that fails or panics has its values made absent and is started again after a pause
//! that doubles; one that is unsupported here is not asked again. How each fares is
//! `highwater.sampler.status`, and a line in the log when it changes. Belongs to the tick thread;
//! allocates only when something changes.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{Alarms, Failure, Glance, Meter, Sampler, Status};
use crate::{
    clock::Moment,
    instrument::Gauge,
    name::{Labels, Unit},
    registry::Registry,
    semconv,
    sync::Arc,
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A sampler that comes and goes may write a line this often.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// The samplers of one instance.
#[derive(Debug)]
pub(crate) struct Samplers {
    entries: Vec<Entry>,
    registry: Arc<Registry>,
    /// The names of those that are switched off, whenever they come.
    off: Vec<String>,
    alarms: Alarms,
}

/// What all glances together saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glanced {
    /// A tick is wanted now.
    pub(crate) urgent: bool,
    /// In how long another glance is, if before the next tick.
    pub(crate) next: Option<Duration>,
}

struct Entry {
    name: String,
    sampler: Box<dyn Sampler>,
    meter: Meter,
    registry: Arc<Registry>,
    stage: Stage,
    /// How long to wait after the next failure.
    pause: Duration,
    status: Option<Status>,
    /// One for each status it ever had.
    flags: Vec<(Status, Gauge)>,
    log: Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Started,
    /// Not started, or no longer.
    Waiting {
        until: Duration,
    },
    Off,
    /// Nothing is left to read, for good.
    Ended,
}

impl Samplers {
    pub(crate) fn new(samplers: Vec<Box<dyn Sampler>>, registry: &Arc<Registry>) -> Self {
        let unit = Unit::ONE;
        let help = "1 for the status a sampler has, 0 for those it had.";
        registry.describe(semconv::SAMPLER_STATUS, unit, help);
        let mut all = Self {
            entries: Vec::new(),
            registry: registry.clone(),
            off: Vec::new(),
            alarms: Alarms::default(),
        };
        samplers.into_iter().for_each(|sampler| all.add(sampler));
        all
    }

    /// One more, from the next [`run`](Self::run) on; switched off if its name is.
    pub(crate) fn add(&mut self, sampler: Box<dyn Sampler>) {
        let mut entry = Entry {
            name: guarded(|| Ok(sampler.name().to_owned())).unwrap_or_else(|_| "unnamed".into()),
            sampler,
            meter: Meter {
                #[cfg(target_os = "linux")]
                alarms: self.alarms.clone(),
                ..Meter::new(self.registry.clone())
            },
            registry: self.registry.clone(),
            stage: Stage::Waiting { until: Duration::ZERO },
            pause: FIRST_PAUSE,
            status: None,
            flags: Vec::new(),
            log: Log::default(),
        };
        if self.off.contains(&entry.name) {
            entry.stage = Stage::Off;
            entry.set_status(Status::Disabled);
        }
        self.entries.push(entry);
    }

    /// What they arm.
    pub(crate) fn alarms(&self) -> Alarms {
        self.alarms.clone()
    }

    /// Switches the samplers of this name off; whether there was one. To be called before the
    /// first [`run`](Self::run).
    pub(crate) fn disable(&mut self, name: &str) -> bool {
        let mut found = false;
        self.off.push(name.to_owned());
        for entry in self.entries.iter_mut().filter(|entry| entry.name == name) {
            entry.stage = Stage::Off;
            entry.set_status(Status::Disabled);
            found = true;
        }
        found
    }

    /// Calls each, once a tick. In how long any of them wants a [`glance`](Self::glance), if
    /// that is before the next tick.
    pub(crate) fn run(&mut self, at: Moment) -> Option<Duration> {
        for entry in &mut self.entries {
            entry.run(at.mono);
        }
        // What it held is let go, such as a pool's last handle.
        self.entries.retain(|entry| entry.stage != Stage::Ended);
        self.next_glance()
    }

    /// Lets those that work read what can change within milliseconds.
    pub(crate) fn glance(&mut self, at: Moment) -> Glanced {
        let mut urgent = false;
        for entry in self.entries.iter_mut().filter(|entry| entry.stage == Stage::Started) {
            entry.meter.time.set(at.mono);
            let outcome = guarded(|| entry.sampler.glance());
            // That its values are gone is for the rules to know, too.
            urgent |= !matches!(outcome, Ok(Glance::Calm));
            entry.conclude(at.mono, outcome.map(drop));
        }
        Glanced { urgent, next: self.next_glance() }
    }

    fn next_glance(&self) -> Option<Duration> {
        let started = self.entries.iter().filter(|entry| entry.stage == Stage::Started);
        started
            .filter_map(|entry| guarded(|| Ok(entry.sampler.next_glance())).unwrap_or(None))
            .min()
    }

    /// How each fares; `None` before its first call.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&str, Option<Status>)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), entry.status))
    }
}

impl Entry {
    fn run(&mut self, now: Duration) {
        self.meter.time.set(now);
        let outcome = match self.stage {
            Stage::Off | Stage::Ended => return,
            Stage::Waiting { until } if now < until => return,
            Stage::Waiting { .. } => {
                self.meter.forget();
                let (sampler, meter) = (&mut self.sampler, &mut self.meter);
                guarded(|| sampler.start(meter).and_then(|()| sampler.sample()))
            }
            Stage::Started => guarded(|| self.sampler.sample()),
        };
        self.conclude(now, outcome);
    }

    fn conclude(&mut self, now: Duration, outcome: Result<(), Failure>) {
        match outcome {
            Ok(()) => {
                self.stage = Stage::Started;
                // A single success does not make it reliable.
                self.pause = (self.pause / 2).max(FIRST_PAUSE);
                self.change(now, Status::Active, None);
            }
            Err(failure) => {
                self.meter.clear();
                let status = match failure {
                    Failure::Ended => {
                        self.stage = Stage::Ended;
                        return self.flags.iter().for_each(|(_, flag)| flag.clear());
                    }
                    Failure::Unsupported(_) => {
                        self.stage = Stage::Off;
                        Status::Unsupported
                    }
                    Failure::Failed(_) | Failure::Io(_) => {
                        self.stage = Stage::Waiting { until: now + self.pause };
                        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                        Status::Failed
                    }
                };
                self.change(now, status, Some(&failure));
            }
        }
    }

    fn change(&mut self, now: Duration, status: Status, why: Option<&Failure>) {
        let before = self.status;
        if before == Some(status) {
            return;
        }
        self.set_status(status);
        // That it works from the start is no news.
        if before.is_none() && status == Status::Active {
            return;
        }
        let Some(unsaid) = self.log.may_write(now) else { return };
        let name = &self.name;
        let unsaid = match unsaid {
            0 => String::new(),
            more => format!(" (and {more} changes before that were not logged)"),
        };
        match (status, why) {
            (Status::Failed, Some(why)) => {
                log::warn!(
                    "highwater: sampler {name:?} failed, its values are absent: {why}{unsaid}"
                );
            }
            (_, Some(why)) => log::info!("highwater: sampler {name:?} is {status}: {why}{unsaid}"),
            (_, None) => log::info!("highwater: sampler {name:?} is {status} again{unsaid}"),
        }
    }

    fn set_status(&mut self, status: Status) {
        self.status = Some(status);
        if !self.flags.iter().any(|(of, _)| *of == status) {
            let labels = Labels::new([
                (semconv::SAMPLER, self.name.as_str()),
                (semconv::STATUS, status.as_str()),
            ]);
            self.flags.push((status, self.registry.gauge(semconv::SAMPLER_STATUS, &labels)));
        }
        for (of, flag) in &self.flags {
            flag.set(f64::from(*of == status));
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("stage", &self.stage)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// At most one line per [`LOG_PAUSE`].
#[derive(Debug, Default)]
struct Log {
    next: Duration,
    unsaid: u64,
}

impl Log {
    /// If a line may be written: how many were not, before it.
    fn may_write(&mut self, now: Duration) -> Option<u64> {
        if now < self.next {
            self.unsaid += 1;
            return None;
        }
        self.next = now + LOG_PAUSE;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// A panic is a failure. What the sampler was in the middle of is started anew, so a state it
/// left broken is not looked at again.
fn guarded<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        Err(Failure::Failed(format!("panicked: {}", panic_message(panic.as_ref())).into()))
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use std::{collections::VecDeque, time::SystemTime};

    use super::{super::tests::value, *};
    use crate::sync::{AtomicUsize, Ordering};

    fn at(seconds: u64) -> Moment {
        Moment { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH }
    }

    /// Does what its script says, tick by tick, then works.
    struct Scripted {
        name: &'static str,
        script: VecDeque<fn() -> Result<(), Failure>>,
        starts: Arc<AtomicUsize>,
        gauge: Option<Gauge>,
    }

    impl Scripted {
        fn boxed<const N: usize>(
            name: &'static str,
            script: [fn() -> Result<(), Failure>; N],
        ) -> (Box<dyn Sampler>, Arc<AtomicUsize>) {
            let starts = Arc::new(AtomicUsize::new(0));
            let sampler = Self { name, script: script.into(), starts: starts.clone(), gauge: None };
            (Box::new(sampler), starts)
        }
    }

    impl Sampler for Scripted {
        fn name(&self) -> &str {
            self.name
        }

        fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
            self.starts.fetch_add(1, Ordering::Relaxed);
            self.gauge = Some(meter.gauge(self.name, Unit::ONE, "", []));
            Ok(())
        }

        fn sample(&mut self) -> Result<(), Failure> {
            if let Some(step) = self.script.pop_front() {
                step()?;
            }
            if let Some(gauge) = &self.gauge {
                gauge.set(1.0);
            }
            Ok(())
        }
    }

    fn works() -> Result<(), Failure> {
        Ok(())
    }
    fn fails() -> Result<(), Failure> {
        Err(Failure::Failed("out of order".into()))
    }
    fn panics() -> Result<(), Failure> {
        panic!("on purpose")
    }
    fn unsupported() -> Result<(), Failure> {
        Err(Failure::Unsupported("no such thing".into()))
    }

    fn statuses(samplers: &Samplers) -> Vec<Status> {
        samplers.statuses().filter_map(|(_, status)| status).collect()
    }

    #[test]
    fn one_that_fails_panics_or_is_unsupported_stops_no_other() {
        let registry = Arc::new(Registry::new(100));
        let (samplers, starts): (Vec<_>, Vec<_>) = [
            Scripted::boxed("fails", [fails]),
            Scripted::boxed("panics", [panics]),
            Scripted::boxed("unsupported", [unsupported]),
            Scripted::boxed("works", []),
        ]
        .into_iter()
        .unzip();
        let mut samplers = Samplers::new(samplers, &registry);
        samplers.run(at(0));
        let expected = [Status::Failed, Status::Failed, Status::Unsupported, Status::Active];
        assert_eq!(statuses(&samplers), expected);
        assert_eq!(value(&registry, "works{}"), Some(1.0));
        for absent in ["fails{}", "panics{}", "unsupported{}"] {
            assert_eq!(value(&registry, absent), None, "{absent}");
        }
        assert_eq!(
            value(&registry, r#"highwater.sampler.status{sampler="panics", status="failed"}"#),
            Some(1.0)
        );
        // A second later the failed ones are started again; the unsupported one never is.
        samplers.run(at(1));
        samplers.run(at(1_000));
        let expected = [Status::Active, Status::Active, Status::Unsupported, Status::Active];
        assert_eq!(statuses(&samplers), expected);
        assert_eq!(value(&registry, "fails{}"), Some(1.0));
        assert_eq!(
            value(&registry, r#"highwater.sampler.status{sampler="panics", status="failed"}"#),
            Some(0.0)
        );
        let starts: Vec<_> = starts.iter().map(|starts| starts.load(Ordering::Relaxed)).collect();
        assert_eq!(starts, [2, 2, 1, 1]);
    }

    #[test]
    fn values_of_one_that_stops_working_become_absent() {
        let registry = Arc::new(Registry::new(100));
        let (sampler, _) = Scripted::boxed("queue", [works, fails, works]);
        let mut samplers = Samplers::new(vec![sampler], &registry);
        samplers.run(at(0));
        assert_eq!(value(&registry, "queue{}"), Some(1.0));
        samplers.run(at(1));
        assert_eq!(value(&registry, "queue{}"), None);
        samplers.run(at(2));
        assert_eq!(value(&registry, "queue{}"), Some(1.0));
    }

    #[test]
    fn glances_are_for_those_that_work_and_fail_like_samples() {
        struct Watchful {
            starts: u32,
            depth: Option<Gauge>,
        }
        impl Sampler for Watchful {
            fn name(&self) -> &str {
                "watchful"
            }
            fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
                self.starts += 1;
                self.depth = Some(meter.gauge("depth", Unit::ONE, "", []));
                if self.starts == 1 { fails() } else { Ok(()) }
            }
            fn sample(&mut self) -> Result<(), Failure> {
                self.depth.as_ref().map_or_else(unsupported, |depth| {
                    depth.set(1.0);
                    Ok(())
                })
            }
            fn next_glance(&self) -> Option<Duration> {
                Some(Duration::from_millis(100))
            }
            fn glance(&mut self) -> Result<Glance, Failure> {
                panic!("on purpose")
            }
        }
        let registry = Arc::new(Registry::new(100));
        let (works, _) = Scripted::boxed("works", []);
        let watchful = Box::new(Watchful { starts: 0, depth: None });
        let mut samplers = Samplers::new(vec![works, watchful], &registry);
        assert_eq!(samplers.run(at(0)), None);
        let calm = Glanced { urgent: false, next: None };
        assert_eq!(samplers.glance(at(0)), calm, "it failed: nothing to look at");
        assert_eq!(samplers.run(at(1)), Some(Duration::from_millis(100)));
        assert_eq!(value(&registry, "depth{}"), Some(1.0));
        assert_eq!(samplers.glance(at(1)), Glanced { urgent: true, next: None });
        assert_eq!(statuses(&samplers), [Status::Active, Status::Failed]);
        assert_eq!(value(&registry, "depth{}"), None);
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        let registry = Arc::new(Registry::new(100));
        let (sampler, starts) = Scripted::boxed("queue", [fails; 20]);
        let mut samplers = Samplers::new(vec![sampler], &registry);
        let mut tried = Vec::new();
        for second in 0..200 {
            let before = starts.load(Ordering::Relaxed);
            samplers.run(at(second));
            if starts.load(Ordering::Relaxed) > before {
                tried.push(second);
            }
        }
        assert_eq!(tried, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    }

    #[test]
    fn starting_again_does_not_pile_up_handles() {
        let registry = Arc::new(Registry::new(100));
        let (sampler, _) = Scripted::boxed("queue", [fails; 5]);
        let mut samplers = Samplers::new(vec![sampler], &registry);
        for second in 0..100 {
            samplers.run(at(second));
        }
        assert_eq!(samplers.entries[0].meter.gauges.len(), 1);
    }

    #[test]
    fn a_disabled_one_is_never_called() {
        let registry = Arc::new(Registry::new(100));
        let (sampler, starts) = Scripted::boxed("queue", []);
        let mut samplers = Samplers::new(vec![sampler], &registry);
        assert!(samplers.disable("queue") && !samplers.disable("no such"));
        samplers.run(at(0));
        assert_eq!(statuses(&samplers), [Status::Disabled]);
        assert_eq!(starts.load(Ordering::Relaxed), 0);
        let flag = r#"highwater.sampler.status{sampler="queue", status="disabled"}"#;
        assert_eq!(value(&registry, flag), Some(1.0));
    }

    #[test]
    fn one_that_has_ended_leaves_nothing_behind_and_can_come_again() {
        fn ends() -> Result<(), Failure> {
            Err(Failure::Ended)
        }
        let registry = Arc::new(Registry::new(100));
        let (sampler, starts) = Scripted::boxed("pool", [works, ends]);
        let mut samplers = Samplers::new(vec![sampler], &registry);
        assert!(!samplers.disable("later"));
        samplers.run(at(0));
        assert_eq!(value(&registry, "pool{}"), Some(1.0));
        samplers.run(at(1));
        let flag = r#"highwater.sampler.status{sampler="pool", status="active"}"#;
        assert_eq!((value(&registry, "pool{}"), value(&registry, flag)), (None, None));
        assert_eq!((samplers.entries.len(), Arc::strong_count(&starts)), (0, 1));
        samplers.add(Scripted::boxed("pool", []).0);
        samplers.add(Scripted::boxed("later", []).0);
        samplers.run(at(2));
        assert_eq!((value(&registry, "pool{}"), value(&registry, "later{}")), (Some(1.0), None));
        assert_eq!(statuses(&samplers), [Status::Active, Status::Disabled]);
    }

    #[test]
    fn one_that_comes_and_goes_does_not_flood_the_log() {
        let mut log = Log::default();
        let written: Vec<_> =
            (0..130).filter_map(|second| log.may_write(Duration::from_secs(second))).collect();
        assert_eq!(written, [0, 59, 59]);
    }
}
