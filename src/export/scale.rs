//! The door to an autoscaler: a level that does not flap, and how many replicas to want.
//!
//! With Kubernetes' own autoscaler or KEDA there is nothing to compute here: let them read the
//! exported series (`docs/autoscaling/hpa.yaml` and `keda.yaml` in the repository do it with
//! `highwater_memory_binding_utilization_ratio`). Who drives something else lets [`desired`] say it
//! once a tick: as the series `highwater.scale.desired_replicas`, as `{{ desired_replicas }}` in a
//! webhook's body, and to the service itself.
//!
//! ```
//! use highwater::{Highwater, export::scale::{self, Replicas}};
//!
//! let desired = scale::desired(Replicas::towards(0.70).between(2, 20), || 4);
//! let hw = Highwater::builder("shop").sample(desired.clone()).start()?;
//! // Wherever the orchestrator is called:
//! if let Some(replicas) = desired.get() { assert!((2..=20).contains(&replicas)) }
//! # Ok::<(), highwater::Error>(())
//! ```
//!
//! [`Replicas`] is the arithmetic of it alone. It reads no clock and no series: time and values are
//! arguments.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use highwater::export::scale::Replicas;
//!
//! let mut replicas = Replicas::towards(0.70).between(2, 20);
//! let now = Instant::now();
//! // Four at 90%: ceil(4 · 0.9 ∕ 0.7) are six.
//! assert_eq!(replicas.desired(now, 4, 0.90), 6);
//! // Six at 30% would be three, but not within five minutes of wanting six.
//! let later = now + Duration::from_secs(60);
//! assert_eq!(replicas.desired(later, 6, 0.30), 6);
//! assert_eq!(replicas.desired(later + Duration::from_secs(300), 6, 0.30), 3);
//! ```

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use crate::{
    instrument::Gauge,
    name::Unit,
    sample::{Failure, Meter, Sampler, Time},
    semconv,
    sync::{Arc, AtomicU64, Mutex, Ordering},
};

/// Rises at once and falls only when it has been lower for a while: the greatest value of a moving
/// window. What swings faster than the window comes out still.
///
/// Costs some nanoseconds a value; holds one entry for each value that may yet be the greatest.
#[derive(Debug, Clone)]
pub struct Level {
    hold: Duration,
    /// Falling: the first is the greatest.
    recent: VecDeque<(Instant, f64)>,
}

impl Level {
    /// Values count for as long as `hold`.
    pub fn new(hold: Duration) -> Self {
        Self { hold, recent: VecDeque::new() }
    }

    /// The level at `at`, which must not step back, after this value. NaN is no value.
    pub fn observe(&mut self, at: Instant, value: f64) -> Option<f64> {
        if !value.is_nan() {
            while self.recent.back().is_some_and(|(_, last)| *last <= value) {
                self.recent.pop_back();
            }
            self.recent.push_back((at, value));
        }
        while let Some((since, _)) = self.recent.front()
            && at.saturating_duration_since(*since) >= self.hold
            && self.recent.len() > usize::from(!value.is_nan())
        {
            self.recent.pop_front();
        }
        self.recent.front().map(|(_, greatest)| *greatest)
    }
}

/// How many replicas to want: `ceil(n · u ∕ target)`, as the
/// [horizontal pod autoscaler](https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#algorithm-details)
/// has it, within bounds, without flapping.
#[derive(Debug, Clone)]
pub struct Replicas {
    target: f64,
    least: u32,
    most: u32,
    tolerance: f64,
    rise: Duration,
    wanted: Level,
    /// The last time more were wanted than ran, and how many.
    rose: Option<(Instant, u32)>,
}

impl Replicas {
    /// Towards a utilisation of `target`, such as 0.7 of the memory limit. Anything but a finite
    /// number above zero is taken for 1.
    pub fn towards(target: f64) -> Self {
        let target = if target.is_finite() && target > 0.0 { target } else { 1.0 };
        Self {
            target,
            least: 1,
            most: u32::MAX,
            tolerance: 0.1,
            rise: Duration::from_secs(15),
            wanted: Level::new(Duration::from_secs(300)),
            rose: None,
        }
    }

    /// At least so many (by default 1) and at most so many (by default any number; not below the
    /// least).
    pub fn between(mut self, least: u32, most: u32) -> Self {
        (self.least, self.most) = (least, most.max(least));
        self
    }

    /// As long as the utilisation is within this share of the target, nothing changes; 0.1 by
    /// default, as Kubernetes has it. At least 0.
    pub fn tolerance(mut self, share: f64) -> Self {
        self.tolerance = if share.is_finite() { share.max(0.0) } else { self.tolerance };
        self
    }

    /// After a rise, how long until the next one, for new replicas to take their part of the load
    /// (15 s by default); and for how long fewer must be wanted until there are fewer (5 min).
    pub fn cool_down(mut self, rise: Duration, fall: Duration) -> Self {
        (self.rise, self.wanted) = (rise, Level::new(fall));
        self
    }

    /// How many to want at `at`, which must not step back, while so many run and each uses so much
    /// of what it may, on average. Without a number (NaN, infinite, negative) as many as run:
    /// nobody is sent home for want of data.
    pub fn desired(&mut self, at: Instant, running: u32, utilization: f64) -> u32 {
        let running = running.clamp(self.least, self.most);
        if !utilization.is_finite() || utilization < 0.0 {
            return running;
        }
        let ratio = utilization / self.target;
        // A hair above a whole number is the number: 0.7 has no exact binary form.
        let exact = f64::from(running) * ratio;
        let needed = if (ratio - 1.0).abs() <= self.tolerance {
            running
        } else {
            (exact - exact * 1e-9).ceil() as u32
        };
        let needed = needed.clamp(self.least, self.most);
        let held = self.wanted.observe(at, f64::from(needed)).unwrap_or_default() as u32;
        if needed > running {
            if let Some((since, before)) = self.rose
                && at.saturating_duration_since(since) < self.rise
            {
                return needed.min(before.max(running));
            }
            self.rose = Some((at, needed));
            return needed;
        }
        // Down to what was wanted at most of late, and never up by that.
        held.max(needed).min(running)
    }
}

/// Says once a tick how many replicas to want: `running` says how many there are, and the binding
/// share of memory (`highwater.memory.binding.utilization`) how much each uses, unless
/// [`of`](Desired::of) names another gauge. Pass it to [`Builder::sample`](crate::Builder::sample);
/// clones read what it says.
///
/// It is this process' own view, taken for that of all: right for a single one and where load is
/// spread evenly. Of a fleet the greatest counts, `max(highwater_scale_desired_replicas)`.
///
/// `running` is called on the tick's thread and must not block; give it a number that somebody else
/// keeps up to date. Without a value to go by (such as without a limit of memory) nothing is said.
pub fn desired(replicas: Replicas, running: impl FnMut() -> u32 + Send + 'static) -> Desired {
    let state = State { replicas, running: Box::new(running), handles: None };
    Desired {
        of: semconv::MEMORY_BINDING_UTILIZATION.to_owned(),
        said: Arc::new(AtomicU64::new(NOTHING)),
        state: Arc::new(Mutex::new(state)),
    }
}

/// See [`desired`]. A clone is the same.
#[derive(Clone)]
pub struct Desired {
    of: String,
    said: Arc<AtomicU64>,
    state: Arc<Mutex<State>>,
}

struct State {
    replicas: Replicas,
    running: Box<dyn FnMut() -> u32 + Send>,
    handles: Option<Handles>,
}

struct Handles {
    origin: Instant,
    time: Time,
    utilization: Gauge,
    desired: Gauge,
}

/// More than there can be replicas.
const NOTHING: u64 = u64::MAX;

impl Desired {
    /// By another gauge without labels, a share such as 0.7 of what each may use.
    #[must_use]
    pub fn of(mut self, gauge: &str) -> Self {
        self.of = gauge.to_owned();
        self
    }

    /// What it said last; `None` while there is nothing to go by. One relaxed load.
    pub fn get(&self) -> Option<u32> {
        u32::try_from(self.said.load(Ordering::Relaxed)).ok()
    }
}

impl Sampler for Desired {
    fn name(&self) -> &str {
        "scale"
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        let (name, help) = (semconv::SCALE_DESIRED_REPLICAS, "Replicas an autoscaler should want.");
        self.state.lock().handles = Some(Handles {
            origin: Instant::now(),
            time: meter.time(),
            utilization: meter.reading(&self.of),
            desired: meter.gauge(name, Unit::known("{replica}"), help, []),
        });
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        // Also should `running` panic.
        self.said.store(NOTHING, Ordering::Relaxed);
        let State { replicas, running, handles } = &mut *self.state.lock();
        let Some(Handles { origin, time, utilization, desired }) = handles else { return Ok(()) };
        let Some(utilization) = utilization.0.value() else {
            desired.clear();
            return Ok(());
        };
        let at = origin.checked_add(time.now()).unwrap_or(*origin);
        let wanted = replicas.desired(at, running(), utilization);
        desired.set(f64::from(wanted));
        self.said.store(wanted.into(), Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desired").field("of", &self.of).field("said", &self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        name::Labels,
        registry::{DEFAULT_CARDINALITY_LIMIT, Registry},
    };

    #[test]
    fn what_is_desired_is_a_series_and_a_number() {
        let registry = Arc::new(Registry::new(DEFAULT_CARDINALITY_LIMIT));
        let mut meter = Meter::new(registry.clone());
        let replicas = Replicas::towards(0.7).between(2, 20);
        let mut desired = desired(replicas, || 4).of("busy");
        let reader = desired.clone();
        let series = registry.gauge(semconv::SCALE_DESIRED_REPLICAS, &Labels::empty());
        let busy = registry.gauge("busy", &Labels::empty());
        desired.start(&mut meter).unwrap();
        let mut after = |seconds, value: Option<f64>| {
            value.map_or_else(|| busy.clear(), |value| busy.set(value));
            meter.time().set(Duration::from_secs(seconds));
            desired.sample().unwrap();
            (reader.get(), series.0.value())
        };
        assert_eq!(after(0, None), (None, None), "nothing to go by");
        assert_eq!(after(1, Some(0.9)), (Some(6), Some(6.0)));
        // Five minutes from then on it may fall.
        assert_eq!(after(60, Some(0.1)), (Some(4), Some(4.0)));
        assert_eq!(after(301, Some(0.1)), (Some(2), Some(2.0)));
        assert_eq!(after(302, None), (None, None));
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn worked_numbers() {
        let now = Instant::now();
        let desired = |running, utilization| {
            Replicas::towards(0.7).between(2, 20).desired(now, running, utilization)
        };
        // 10 · 0.7 ∕ 0.7 is ten, not eleven for a rounding error.
        assert_eq!(desired(10, 0.7), 10);
        assert_eq!(desired(10, 0.769), 10, "within the tolerance");
        assert_eq!(desired(10, 0.78), 12);
        assert_eq!(desired(10, 1.4), 20);
        assert_eq!(desired(10, 7.0), 20, "the most");
        assert_eq!(desired(0, 0.0), 2, "the least");
        assert_eq!(desired(100, 0.7), 20);
        for nothing in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(desired(7, nothing), 7);
        }
        assert_eq!(Replicas::towards(f64::NAN).desired(now, 3, 2.0), 6);
    }

    #[test]
    fn a_rise_is_given_time_to_help() {
        let start = Instant::now();
        let mut replicas =
            Replicas::towards(0.5).between(1, 100).cool_down(seconds(60), seconds(300));
        assert_eq!(replicas.desired(start, 4, 1.0), 8);
        // Still starting: the four are as busy as before, and eight are enough.
        assert_eq!(replicas.desired(start + seconds(30), 4, 1.0), 8);
        assert_eq!(replicas.desired(start + seconds(30), 8, 1.0), 8);
        assert_eq!(replicas.desired(start + seconds(60), 8, 1.0), 16);
    }

    #[test]
    fn a_fall_waits_for_the_whole_window() {
        let start = Instant::now();
        let mut replicas = Replicas::towards(0.5).between(1, 100);
        assert_eq!(replicas.desired(start, 10, 0.5), 10);
        assert_eq!(replicas.desired(start + seconds(100), 10, 0.2), 10);
        assert_eq!(replicas.desired(start + seconds(299), 10, 0.1), 10);
        // Ten are out of the window, four are not.
        assert_eq!(replicas.desired(start + seconds(300), 10, 0.1), 4);
        assert_eq!(replicas.desired(start + seconds(400), 4, 0.25), 2);
    }

    #[test]
    fn a_level_rises_at_once_and_falls_late() {
        let start = Instant::now();
        let mut level = Level::new(seconds(10));
        assert_eq!(level.observe(start, f64::NAN), None);
        assert_eq!(level.observe(start, 1.0), Some(1.0));
        assert_eq!(level.observe(start + seconds(1), 3.0), Some(3.0));
        assert_eq!(level.observe(start + seconds(5), 2.0), Some(3.0));
        assert_eq!(level.observe(start + seconds(11), 1.0), Some(2.0));
        assert_eq!(level.observe(start + seconds(60), 0.0), Some(0.0));
        assert_eq!(level.observe(start + seconds(99), f64::NAN), None);
    }

    proptest! {
        /// Against the definition, value by value.
        #[test]
        fn a_level_is_the_greatest_of_its_window(
            values in prop::collection::vec((0_u64..5, -3_i32..3), 1..200),
            hold in 1_u64..20,
        ) {
            let (start, mut at) = (Instant::now(), 0);
            let (mut level, mut all) = (Level::new(seconds(hold)), Vec::new());
            for (pause, value) in values {
                at += pause;
                all.push((at, f64::from(value)));
                let window = all.iter().filter(|(then, _)| at - then < hold);
                let greatest = window.map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
                prop_assert_eq!(level.observe(start + seconds(at), f64::from(value)), Some(greatest));
            }
        }

        #[test]
        fn never_out_of_bounds_and_swings_are_stilled(
            loads in prop::collection::vec(0.0_f64..3.0, 1..100),
            running in 0_u32..50,
        ) {
            let start = Instant::now();
            let mut replicas = Replicas::towards(0.7).between(2, 30);
            let mut now = running;
            let mut falls = 0;
            for (n, load) in loads.iter().enumerate() {
                let wanted = replicas.desired(start + seconds(n as u64), now, *load);
                prop_assert!((2..=30).contains(&wanted));
                falls += u32::from(n > 0 && wanted < now);
                now = wanted;
            }
            // All within five minutes of the first.
            prop_assert_eq!(falls, 0);
        }
    }
}
