//! An hour without a receiver, in told time: a service with 500 series at an interval of ten
//! seconds is killed twice in it. The round, the courier, the exporter and the spool are the
//! engine's own; only the clock is not, so the hour takes seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::atomic::AtomicBool,
    time::{Duration, Instant, SystemTime},
};

use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};

use self::receiver::{Reaction, Receiver};
use super::{Shared, io::Courier, stop::Stop, telemetry::Losses, tick};
use crate::{
    clock::Moment,
    export::{
        otlp::{self, Exporter, Health, Resource},
        prometheus::Exposition,
    },
    name::Labels,
    registry::Registry,
    rule::Evaluator,
    sync::{Arc, Ordering},
    transport::spool::tests::Directory,
};

// The exporter's tests have it too, on a lower floor.
#[allow(clippy::duplicate_mod)]
#[path = "../../tests/support/receiver.rs"]
mod receiver;

const SERIES: u64 = 500;
const INTERVAL: u64 = 10;
/// `URL DIRECTORY FROM TO GRACE` for the child: seconds of told time since 1970, and how many real
/// ones it may take to end.
const CHILD: &str = "HIGHWATER_TEST_OUTAGE_CHILD";

/// What series `number` is at a time.
fn value(number: u64, seconds: u64) -> f64 {
    (seconds * 1_000 + number) as f64
}

/// An engine without its clock, from one second to another.
struct Service {
    ticker: tick::Ticker,
    registry: Arc<Registry>,
    stop: Arc<Stop>,
    losses: Arc<Losses>,
    health: Arc<Health>,
    origin: u64,
    first_push: Duration,
}

impl Service {
    fn start(url: &str, directory: &str, origin: u64, timeout: Duration) -> Self {
        let config = otlp::to(url)
            .spool(otlp::spool(directory))
            .interval(Duration::from_secs(INTERVAL))
            .timeout(timeout);
        let nothing = |_: &str| None;
        let (settings, _) = config.resolve(&nothing);
        let (resource, _) = Resource::new("shop", [], &nothing);
        let exporter = Exporter::new(settings.unwrap(), &resource).unwrap();
        let health = exporter.health().clone();
        let first_push = exporter.phase();
        let registry = Arc::new(Registry::new(2_000));
        let shared = Arc::new(Shared::new(registry.clone(), Exposition::default()));
        let stop = shared.stop.clone();
        let losses = shared.losses.clone();
        let now = moment(origin, origin);
        let (ours, theirs) = (losses.clone(), health.clone());
        let courier = Courier::start(exporter, now, losses.clone(), stop.clone());
        let ticker = tick::Ticker::new(
            shared,
            tick::Parts {
                #[cfg(feature = "rule-files")]
                reload: None,
                samplers: Vec::new(),
                disabled_samplers: Vec::new(),
                rules: Evaluator::new(Vec::new(), Duration::from_secs(INTERVAL)).unwrap(),
                actors: None,
                courier: Some(courier),
                health: Some(theirs),
                silence_file: None,
                history: crate::history::History::shared(Duration::from_secs(INTERVAL), now),
                tick: Duration::from_secs(INTERVAL),
                mistakes: 0,
                losses,
                now,
            },
        );
        Self { ticker, registry, stop, losses: ours, health, origin, first_push }
    }

    /// One round; returns when its interval is in the spool, if there was one.
    fn tick(&mut self, seconds: u64) {
        for number in 0..SERIES {
            let labels = Labels::new([("queue", &*number.to_string())]);
            self.registry.gauge("queue.depth", &labels).set(value(number, seconds));
        }
        self.ticker.tick(moment(self.origin, seconds));
        let patience = Instant::now() + Duration::from_secs(60);
        while !self.ticker.courier_is_idle() {
            assert!(Instant::now() < patience, "the io thread never came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn moment(origin: u64, seconds: u64) -> Moment {
    Moment {
        mono: Duration::from_secs(seconds - origin),
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
    }
}

/// Not a test: what the killed process runs.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let arguments: Vec<_> = arguments.split(' ').collect();
    let second = |at: usize| arguments[at].parse::<u64>().unwrap();
    let (from, to) = (second(2), second(3));
    let mut service = Service::start(arguments[0], arguments[1], from, Duration::from_secs(5));
    let mut out = std::io::stdout();
    for seconds in (from..=to).step_by(INTERVAL as usize) {
        service.tick(seconds);
        // No snapshot is on its way any more: what was due is in the spool.
        if Duration::from_secs(seconds - from) >= service.first_push {
            out.write_all(format!("spooled {seconds}\n").as_bytes()).unwrap();
        }
    }
    // What is left is for the receiver, if there is one by now.
    service.stop.request(Instant::now().checked_add(Duration::from_secs(second(4))));
    drop(service.ticker);
    assert!(service.stop.wait_for_end(super::io::NAME, None));
    out.write_all(b"ended\n").unwrap();
}

/// Runs a child, kills it after so many intervals; the seconds it said were spooled.
fn life(place: &str, (from, to, grace): (u64, u64, u64), kill_after: usize) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine::outage::child", "--nocapture"])
        .env(CHILD, format!("{place} {from} {to} {grace}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut spooled = Vec::new();
    let mut ended = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        ended |= line == "ended";
        if let Some(seconds) = line.strip_prefix("spooled ") {
            spooled.push(seconds.parse().unwrap());
            if spooled.len() == kill_after {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(ended || spooled.len() >= kill_after, "the child died by itself: {spooled:?}");
    spooled
}

#[test]
fn an_hour_without_a_receiver_and_two_kills_lose_nothing_that_was_spooled() {
    let directory = Directory::new();
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let receiver = Receiver::start(move |_, _| {
        if is_well.load(Ordering::Relaxed) { Reaction::ok() } else { Reaction::HalfCloses }
    });
    let place = format!("{} {}", receiver.url(), directory.0.display());
    // Ends now, so that nothing is too old to be kept or too new to be true.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let begin = now / INTERVAL * INTERVAL - 3_600;
    let end = begin + 3_600;
    let mut lives = Vec::new();
    let mut from = begin;
    for kill_after in [97, 141] {
        let spooled = life(&place, (from, end, 1), kill_after);
        // Half a minute until somebody started it again.
        from = spooled.last().unwrap() + 4 * INTERVAL;
        lives.push(spooled);
    }
    lives.push(life(&place, (from, end, 1), usize::MAX));
    let during = receiver.received().len();
    assert!(during > 3, "the outage was tried: {during}");

    well.store(true, Ordering::Relaxed);
    lives.push(life(&place, (end + INTERVAL, end + 4 * INTERVAL, 120), usize::MAX));

    let mut arrived: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for request in &receiver.received()[during..] {
        let metrics = request.metrics();
        let metrics = &metrics.resource_metrics[0].scope_metrics[0].metrics;
        let depth = metrics.iter().find(|metric| metric.name == "queue.depth").unwrap();
        let Some(Data::Gauge(gauge)) = &depth.data else { panic!("{depth:?}") };
        assert_eq!(gauge.data_points.len() as u64, SERIES);
        for point in &gauge.data_points {
            let seconds = point.time_unix_nano / 1_000_000_000;
            let Some(Value::AsDouble(depth)) = point.value else { panic!("{point:?}") };
            let number = depth as u64 - seconds * 1_000;
            assert!(number < SERIES, "{depth} at {seconds}");
            arrived.entry(seconds).or_default().insert(number);
        }
    }
    for life in &lives {
        for seconds in life {
            let series = arrived.get(seconds).map_or(0, BTreeSet::len) as u64;
            assert_eq!(series, SERIES, "at {seconds}, {} s into the outage", seconds - begin);
        }
        // Within a life there is no gap at all.
        let gap = life.windows(2).find(|pair| pair[1] != pair[0] + INTERVAL);
        assert_eq!(gap, None);
    }
    let spooled: usize = lives.iter().map(Vec::len).sum();
    // An hour, less two half minutes and what came before a first push.
    assert!(spooled > 350, "{spooled} intervals were spooled");
    // What arrived beside it was spooled and not yet said when the kill came.
    assert!(arrived.len() <= spooled + 2, "{} arrived of {spooled}", arrived.len());
}

#[test]
fn a_receiver_that_never_answers_keeps_no_interval_from_the_spool() {
    let directory = Directory::new();
    let receiver = Receiver::always(Reaction::NeverAnswers);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let begin = now / INTERVAL * INTERVAL - 600;
    // The first attempt lasts longer than this test.
    let timeout = Duration::from_secs(600);
    let place = directory.0.display().to_string();
    let mut service = Service::start(&receiver.url(), &place, begin, timeout);
    for round in 0..30 {
        service.tick(begin + round * INTERVAL);
        if round == 5 {
            receiver.wait_for(1);
        }
    }
    let lost = service.losses.export_interval.load(Ordering::Relaxed);
    let load = service.health.report().load;
    assert_eq!(receiver.received().len(), 1, "one attempt, which goes on");
    assert_eq!(lost, 0);
    // But for what came before the first push.
    assert!((28..=30).contains(&load.requests), "{load:?}");
    assert_eq!(service.health.disk_error(), None);
    service.stop.request(Some(Instant::now()));
}
