//! A tokio runtime: how busy it is, and whether it stands still, told *while* it does.
//!
//! A small task on the runtime beats four times a second. highwater's own thread looks once a tick
//! how long ago the last beat was, so a runtime that is blocked cannot keep it quiet. On a
//! multi-thread runtime one blocked worker does not stop the beat, as others carry on; that one is
//! found by what it last reported: a worker that neither parks nor gets to its bookkeeping (every
//! 61 polls by default) is held up by what it polls.
//!
//! | metric, all with `runtime` | instrument, unit |
//! |---|---|
//! | `highwater.tokio.stall` | gauge, s: by how much the heartbeat is overdue |
//! | `highwater.tokio.worker.stall` | gauge, s: the longest that a worker is held up; multi-thread only |
//! | `highwater.tokio.heartbeat.delay` | histogram, s: how late beats came, as any timer would |
//! | `highwater.tokio.busy.time` | counter, s: all workers together |
//! | `highwater.tokio.busy.utilization` | gauge, 1: share of the last tick in which workers were busy |
//! | `highwater.tokio.workers` | up-down counter, `{worker}` |
//! | `highwater.tokio.tasks` | up-down counter, `{task}`: alive |
//! | `highwater.tokio.queue` | up-down counter, `{task}`: waiting in the global queue |
//! | `highwater.tokio.parks` | counter, `{park}`: all workers together |
//!
//! The preset rule `RuntimeStalled` fires when a beat is more than a second overdue (warning) or
//! more than ten (critical), and when one worker of several is held up for more than ten (warning).
//! What highwater's own thread is late by is not counted: a process that was stopped as a whole, or
//! a machine that stood still, blocks nothing. No unstable feature of tokio is needed.

use std::time::{Duration, Instant};

use ::tokio::{
    runtime::{Handle, RuntimeFlavor, RuntimeMetrics},
    task::JoinHandle,
};

use crate::{
    handle::Highwater,
    instrument::{Gauge, Histogram},
    name::Unit,
    sample::{Failure, Meter, Sampler},
    semconv,
    sync::{Arc, AtomicU64, Ordering},
};

const BEAT: Duration = Duration::from_millis(250);

/// Watches a runtime from the next tick on, under a name that is unique in the service.
///
/// It must have its time driver enabled, as `#[tokio::main]` has. When it is shut down its values
/// become absent. A current-thread runtime is looked at whether or not somebody is in its
/// `block_on`: one that nobody drives is stalled.
///
/// Cost: one short task that wakes up four times a second, and a dozen loads a tick.
///
/// ```
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// let hw = highwater::Highwater::builder("doc").start()?;
/// highwater::integrate::tokio::runtime(&hw, "main", runtime.handle());
/// let stalled = hw.alert("RuntimeStalled")?;
/// assert!(!stalled.is_firing());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn runtime(hw: &Highwater, name: &str, runtime: &Handle) {
    let delay = hw
        .histogram(semconv::TOKIO_HEARTBEAT_DELAY)
        .unit(Unit::SECONDS)
        .help("How late the heartbeat's timer was served.")
        .label(semconv::RUNTIME, name)
        .build();
    let heart = Arc::new(Heart { origin: Instant::now(), last: AtomicU64::new(0) });
    let task = runtime.spawn(beat(Arc::downgrade(&heart), delay));
    hw.sample(Reader {
        name: format!("tokio {name}"),
        runtime: name.to_owned(),
        heart,
        task,
        metrics: runtime.metrics(),
        workers: match runtime.runtime_flavor() {
            RuntimeFlavor::CurrentThread => Vec::new(),
            _ => vec![Worker::default(); runtime.metrics().num_workers()],
        },
        watchman: Watchman { tick: hw.tick(), ..Watchman::default() },
        before: None,
        gauges: None,
    });
}

/// When it last beat.
struct Heart {
    origin: Instant,
    /// Nanoseconds after the origin.
    last: AtomicU64,
}

impl Heart {
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When it last beat, and now; after the origin both.
    fn look(&self) -> (Duration, Duration) {
        let last = self.last.load(Ordering::Relaxed);
        (Duration::from_nanos(last), Duration::from_nanos(self.now()))
    }
}

/// Who looks once a tick, and knows when it did not get to look itself.
#[derive(Default)]
struct Watchman {
    tick: Duration,
    /// When it last looked.
    looked: Option<Duration>,
    /// The beat it saw then, and what of the time since is not the runtime's doing.
    beat: Duration,
    excused: Duration,
    /// What of the time since the last look is not.
    late: Late,
}

#[derive(Clone, Copy)]
enum Late {
    By(Duration),
    /// By so much that whatever was before it says nothing any more.
    Absent,
}

impl Default for Late {
    fn default() -> Self {
        Self::By(Duration::ZERO)
    }
}

impl Watchman {
    /// By how much the beat after this one is overdue.
    fn overdue(&mut self, (beat, now): (Duration, Duration)) -> Duration {
        let late = self
            .looked
            .replace(now)
            .map_or(Duration::ZERO, |looked| now.saturating_sub(looked).saturating_sub(self.tick));
        self.late = if late < self.tick || late.is_zero() { Late::By(late) } else { Late::Absent };
        if beat != self.beat {
            (self.beat, self.excused) = (beat, Duration::ZERO);
        }
        let silent = now.saturating_sub(beat);
        self.excused = match self.late {
            Late::By(late) => self.excused + late.min(silent),
            Late::Absent => silent,
        };
        silent.saturating_sub(self.excused).saturating_sub(BEAT)
    }
}

/// Beats until nobody looks any more.
async fn beat(heart: std::sync::Weak<Heart>, delay: Histogram) {
    loop {
        let asleep = Instant::now();
        ::tokio::time::sleep(BEAT).await;
        let Some(heart) = heart.upgrade() else { return };
        heart.last.store(heart.now(), Ordering::Relaxed);
        delay.record_duration(asleep.elapsed().saturating_sub(BEAT));
    }
}

/// What a worker last said.
#[derive(Clone, Copy, Default)]
struct Worker {
    parks: u64,
    busy: Duration,
    since: Option<Instant>,
}

impl Worker {
    /// For how long it has been awake without a word, but for what the one who looks was late.
    fn held_up(&mut self, parks: u64, busy: Duration, now: Instant, late: Late) -> Duration {
        let is_parked = parks % 2 == 1;
        let since = match (self.since, late) {
            (Some(since), Late::By(late)) => since.checked_add(late),
            _ => None,
        };
        self.since = since.or(Some(now));
        if is_parked || (parks, busy) != (self.parks, self.busy) {
            *self = Self { parks, busy, since: Some(now) };
        }
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

struct Reader {
    name: String,
    runtime: String,
    heart: Arc<Heart>,
    watchman: Watchman,
    task: JoinHandle<()>,
    metrics: RuntimeMetrics,
    /// Empty where the heartbeat says it all.
    workers: Vec<Worker>,
    /// Busy time of all workers at the last tick.
    before: Option<(Instant, Duration)>,
    gauges: Option<Gauges>,
}

struct Gauges {
    stall: Gauge,
    worker_stall: Option<Gauge>,
    busy_time: Gauge,
    busy_utilization: Gauge,
    workers: Gauge,
    tasks: Gauge,
    queue: Gauge,
    parks: Gauge,
}

impl Sampler for Reader {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        let labels = [(semconv::RUNTIME, self.runtime.as_str())];
        let one = Unit::ONE;
        let tasks = Unit::known("{task}");
        let worker_stall = (!self.workers.is_empty()).then(|| {
            let help = "The longest that a worker is held up by what it polls.";
            meter.gauge(semconv::TOKIO_WORKER_STALL, Unit::SECONDS, help, labels)
        });
        self.gauges = Some(Gauges {
            stall: meter.gauge(
                semconv::TOKIO_STALL,
                Unit::SECONDS,
                "By how much the runtime's heartbeat is overdue.",
                labels,
            ),
            worker_stall,
            busy_time: meter.counter(
                semconv::TOKIO_BUSY_TIME,
                Unit::SECONDS,
                "How long workers were busy, all together.",
                labels,
            ),
            busy_utilization: meter.gauge(
                semconv::TOKIO_BUSY_UTILIZATION,
                one,
                "Share of the last tick in which workers were busy.",
                labels,
            ),
            workers: meter.up_down_counter(
                semconv::TOKIO_WORKERS,
                Unit::known("{worker}"),
                "Worker threads.",
                labels,
            ),
            tasks: meter.up_down_counter(
                semconv::TOKIO_TASKS,
                tasks.clone(),
                "Tasks alive.",
                labels,
            ),
            queue: meter.up_down_counter(
                semconv::TOKIO_QUEUE,
                tasks,
                "Tasks waiting in the global queue.",
                labels,
            ),
            parks: meter.counter(
                semconv::TOKIO_PARKS,
                Unit::known("{park}"),
                "How often workers had nothing to do, all together.",
                labels,
            ),
        });
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        let Some(gauges) = &self.gauges else { return Ok(()) };
        // The runtime was shut down, or has no timers.
        if self.task.is_finished() {
            return Err(Failure::Ended);
        }
        gauges.stall.set(self.watchman.overdue(self.heart.look()).as_secs_f64());
        let late = self.watchman.late;
        let now = Instant::now();
        let metrics = &self.metrics;
        let count = metrics.num_workers();
        if let Some(gauge) = &gauges.worker_stall {
            let held_up = self.workers.iter_mut().enumerate().map(|(at, worker)| {
                let busy = metrics.worker_total_busy_duration(at);
                worker.held_up(metrics.worker_park_unpark_count(at), busy, now, late)
            });
            gauge.set(held_up.max().unwrap_or_default().as_secs_f64());
        }
        let busy: Duration = (0..count).map(|at| metrics.worker_total_busy_duration(at)).sum();
        let parks: u64 = (0..count).map(|at| metrics.worker_park_count(at)).sum();
        gauges.busy_time.set(busy.as_secs_f64());
        if let Some((then, before)) = self.before.replace((now, busy)) {
            let possible = now.saturating_duration_since(then).as_secs_f64() * count as f64;
            if possible > 0.0 {
                // Told in batches, so more than there was time for may come at once.
                let share = busy.saturating_sub(before).as_secs_f64() / possible;
                gauges.busy_utilization.set(share.min(1.0));
            }
        }
        gauges.workers.set(count as f64);
        gauges.tasks.set(metrics.num_alive_tasks() as f64);
        gauges.queue.set(metrics.global_queue_depth() as f64);
        gauges.parks.set(parks as f64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_held_up_while_it_is_awake_and_says_nothing() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut worker = Worker::default();
        let mut at = |seconds: u32, parks, busy| {
            worker.held_up(parks, second * busy, start + second * seconds, Late::default())
        };
        assert_eq!(at(0, 2, 1), Duration::ZERO);
        assert_eq!(at(1, 2, 1), second);
        assert_eq!(at(2, 2, 1), second * 2);
        assert_eq!(at(3, 2, 2), Duration::ZERO, "it got to its bookkeeping");
        assert_eq!(at(4, 2, 2), second);
        assert_eq!(at(5, 3, 3), Duration::ZERO, "it sleeps");
        assert_eq!(at(9, 3, 3), Duration::ZERO, "it still sleeps");
        assert_eq!(at(10, 4, 3), Duration::ZERO);
        assert_eq!(at(12, 4, 3), second * 2);
    }

    #[test]
    fn time_in_which_nobody_looked_is_nobodys_stall() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut worker = Worker::default();
        let mut at = |seconds: u32, late| worker.held_up(2, second, start + second * seconds, late);
        assert_eq!(at(0, Late::default()), Duration::ZERO);
        assert_eq!(at(3, Late::By(second)), second * 2);
        assert_eq!(at(60, Late::Absent), Duration::ZERO, "the process was stopped");
        assert_eq!(at(61, Late::default()), second, "and it is still held up");
    }

    /// Looks at these seconds, each with the beat it sees.
    fn overdue(tick: u64, looks: &[(f64, f64)]) -> Vec<f64> {
        let mut watchman = Watchman { tick: Duration::from_secs(tick), ..Watchman::default() };
        let seconds = Duration::from_secs_f64;
        let look = |(now, beat): &(f64, f64)| {
            watchman.overdue((seconds(*beat), seconds(*now))).as_secs_f64()
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn a_blocked_runtime_is_overdue_from_its_last_beat_on() {
        assert_eq!(
            overdue(1, &[(10.0, 9.9), (11.0, 10.75), (12.0, 10.75), (13.0, 10.75)]),
            [0.0, 0.0, 1.0, 2.0],
            "more than a second within a tick of when it was"
        );
        // Looked at late, it is no more blocked for that, and no less.
        assert_eq!(
            overdue(1, &[(10.0, 9.75), (11.5, 9.75), (12.0, 9.75), (13.0, 9.75)]),
            [0.0, 1.0, 1.5, 2.5]
        );
    }

    #[test]
    fn a_process_that_was_stopped_as_a_whole_has_no_blocked_runtime() {
        for (tick, length) in [(1, 1.5), (1, 60.0), (10, 60.0)] {
            let gap = f64::from(tick as u32) + length;
            let looks = [(10.0, 9.9), (10.0 + gap, 10.3), (11.0 + gap, 10.9 + gap)];
            let overdue = overdue(tick, &looks);
            assert!(overdue.iter().all(|overdue| *overdue < 1.0), "{tick} {length}: {overdue:?}");
        }
        // And one that is blocked is so again from then on.
        assert_eq!(
            overdue(1, &[(10.0, 9.9), (71.0, 9.9), (72.0, 9.9), (73.0, 9.9)]),
            [0.0, 0.0, 0.75, 1.75]
        );
    }
}
