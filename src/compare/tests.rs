use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::{
    instrument::Measure,
    name::Labels,
    registry::{Collector, Registry},
};

/// Numbers as random as a test needs, the same each time.
struct Random(u64);

impl Random {
    /// Exponentially distributed, of mean 1.
    fn exponential(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        -(((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64).ln()
    }
}

fn moment(seconds: u64) -> Moment {
    Moment { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH }
}

/// What an instance would have recorded in so many ticks of a second.
struct World {
    registry: Arc<Registry>,
    collector: Collector,
    all: Arc<Recordings>,
    at: u64,
}

impl World {
    fn new() -> Self {
        let registry = Arc::new(Registry::new(1000));
        let collector = Collector::new(registry.clone(), moment(0));
        Self { registry, collector, all: Arc::default(), at: 0 }
    }

    fn call(&self, name: &str, error: &str, took: f64) {
        let labels = Labels::new([(semconv::DB_QUERY_SUMMARY, name), (semconv::ERROR_TYPE, error)]);
        let metric = semconv::DB_CLIENT_OPERATION_DURATION;
        self.registry.histogram(metric, Measure::Time, &labels).record(took);
    }

    fn hold(&self, held: f64) {
        let labels = Labels::new([(semconv::DB_CLIENT_CONNECTION_POOL_NAME, "main")]);
        let metric = semconv::DB_CLIENT_CONNECTION_USE_TIME;
        self.registry.histogram(metric, Measure::Value, &labels).record(held);
    }

    fn tick(&mut self) {
        self.at += 1;
        self.collector.collect(moment(self.at));
        self.all.observe(moment(self.at), self.collector.series(), self.collector.frame());
    }

    /// `each` is called before each of so many ticks.
    fn record(&mut self, name: &str, ticks: u64, mut each: impl FnMut(&Self, u64)) -> Figures {
        let recording = self.all.begin(name);
        self.tick();
        for tick in 0..ticks {
            each(self, tick);
            self.tick();
        }
        recording.finish()
    }
}

/// Calls that take `mean` seconds on average, ten a tick.
fn steady(world: &mut World, name: &str, ticks: u64, mean: f64, random: &mut Random) -> Figures {
    world.record(name, ticks, |world, _| {
        for _ in 0..10 {
            world.call("q", "", mean * random.exponential());
        }
    })
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= b.abs() * 1e-6
}

#[test]
fn pooling_cut_load_by_30_percent_and_query_time_by_20() {
    let mut world = World::new();
    // Load is what connections were held for; the mix shifts to the cheap query, and that is no gain.
    let before = world.record("unpooled", 20, |world, _| {
        (0..10).for_each(|_| world.call("dear", "", 0.1));
        (0..10).for_each(|_| world.call("cheap", "", 0.01));
        world.hold(2.0);
    });
    let after = world.record("pooled", 30, |world, _| {
        (0..10).for_each(|_| world.call("dear", "", 0.08));
        (0..90).for_each(|_| world.call("cheap", "", 0.008));
        (0..5).for_each(|_| world.call("new", "timeout", 0.5));
        world.hold(1.4);
    });
    let report = before.compare(&after);
    println!("{report}");
    assert!(close(report.load.ratio, 0.7) && close(report.query_time.ratio, 0.8), "{report}");
    assert!(close(report.load.percent(), -30.0) && report.load.is_clear());
    assert!(close(report.rate.before, 20.0) && close(report.rate.after, 105.0));
    assert!(close(report.error_share.after, 5.0 / 105.0) && report.error_share.before == 0.0);
    assert_eq!(report.only_after, ["new"]);
    let names: Vec<_> = report.queries.iter().map(|query| query.name.as_str()).collect();
    assert_eq!(names, ["dear", "cheap"]);
    // Nothing swings, so nothing is uncertain; a bucket is 2.2% wide.
    let (low, high) = report.query_time.interval.unwrap();
    assert!(close(low, 0.8) && close(high, 0.8));
    assert!((report.queries[0].p95.ratio - 0.8).abs() < 0.03);
    let text = report.to_string();
    assert!(
        text.contains("-30.0% (-30.0% to -30.0%)") && text.contains("only pooled: new"),
        "{text}"
    );
}

#[test]
fn what_lies_outside_its_whole_ticks_is_not_in_a_recording() {
    let mut world = World::new();
    world.call("q", "", 9.0);
    let recording = world.all.begin("r");
    world.call("q", "", 9.0);
    world.tick();
    world.call("q", "cancelled", 1.0);
    world.call("q", "io", 1.0);
    world.tick();
    world.call("q", "", 9.0);
    let figures = recording.finish();
    assert_eq!(figures.duration(), Duration::from_secs(1));
    let slice = &figures.queries["q"][0];
    assert_eq!((slice.calls, slice.errors), (2, 1));
    assert!(close(slice.seconds, 2.0));
    assert_eq!(world.all.count.load(Ordering::Relaxed), 0, "it is told no more");
}

#[test]
fn the_interval_holds_the_truth_about_as_often_as_it_says() {
    let mut random = Random(7);
    let held = (0..40)
        .filter(|_| {
            let mut world = World::new();
            let before = steady(&mut world, "a", 40, 0.010, &mut random);
            let after = steady(&mut world, "b", 40, 0.008, &mut random);
            let (low, high) = before.compare(&after).queries[0].mean.interval.unwrap();
            low <= 0.8 && 0.8 <= high
        })
        .count();
    // 38 are expected.
    assert!(held >= 34, "{held} of 40");
}

#[test]
fn no_change_is_called_clear_only_now_and_then() {
    let mut random = Random(11);
    let clear = (0..24)
        .filter(|_| {
            let mut world = World::new();
            let before = steady(&mut world, "a", 30, 0.01, &mut random);
            let after = steady(&mut world, "b", 30, 0.01, &mut random);
            before.compare(&after).query_time.is_clear()
        })
        .count();
    // One or two are expected.
    assert!(clear <= 5, "{clear} of 24");
}

#[test]
fn too_little_has_no_interval_and_nothing_has_no_ratio() {
    let mut world = World::new();
    let mut random = Random(3);
    let before = steady(&mut world, "a", 3, 0.01, &mut random);
    let nothing = Figures::default();
    let report = before.compare(&before);
    assert_eq!((report.rate.ratio, report.rate.interval), (1.0, None));
    assert!(report.to_string().contains("no intervals"));
    for (one, two) in [(&nothing, &before), (&before, &nothing), (&nothing, &nothing)] {
        let report = one.compare(two);
        assert!(!report.query_time.is_clear() && !report.to_string().contains("NaN"), "{report}");
    }
}

#[test]
fn a_long_recording_keeps_its_sums_in_bounded_memory() {
    let mut world = World::new();
    let figures = world.record("long", 5_000, |world, tick| {
        if tick < 4_000 {
            world.call("q", "", 0.5);
        }
    });
    assert!(figures.seconds.len() <= 600, "{}", figures.seconds.len());
    assert_eq!(figures.duration(), Duration::from_secs(5_000));
    let calls: u64 = figures.queries["q"].iter().map(|slice| slice.calls).sum();
    assert_eq!(calls, 4_000);
    assert!(close(figures.queries["q"].iter().map(|slice| slice.seconds).sum(), 2_000.0));
}

/// Calls, by tick: what one query did in each stretch of the whole, however coarsely it is kept.
#[test]
fn many_queries_are_kept_more_coarsely_and_joined_by_and_by() {
    let mut world = World::new();
    let names: Vec<_> = (0..900).map(|at| format!("q{at}")).collect();
    // A bucket of its own for each call.
    let figures = world.record("many", 1_300, |world, tick| {
        for (at, name) in
            names.iter().enumerate().filter(|(at, _)| (at + tick as usize).is_multiple_of(9))
        {
            world.call(name, "", 1e-3 * 1.05_f64.powi((tick % 60) as i32 + (at % 7) as i32));
        }
    });
    let cells = |slice: &figures::Slice| 4 + slice.buckets.len();
    let all: usize = figures.queries.values().flatten().map(cells).sum();
    assert!(all < 1 << 21, "{all}");
    assert_eq!(figures.duration(), Duration::from_secs(1_300));
    let slices = figures.seconds.len();
    assert!((16..=600).contains(&slices), "{slices}");
    for (at, name) in names.iter().enumerate() {
        let query = &figures.queries[name];
        assert!(query.len() <= slices, "{name}: {} of {slices}", query.len());
        let calls: u64 = query.iter().map(|slice| slice.calls).sum();
        let expected = (0..1_300).filter(|tick| (at + tick).is_multiple_of(9)).count() as u64;
        assert_eq!(calls, expected, "{name}");
        // And none of them at another time than it was.
        let length = figures.seconds[0] as u64;
        let whole = query.iter().take(1_300 / length as usize);
        for (slice, got) in whole.enumerate() {
            let ticks = slice as u64 * length..(slice as u64 + 1) * length;
            let made = ticks.filter(|tick| (at as u64 + tick).is_multiple_of(9)).count() as u64;
            assert_eq!(got.calls, made, "{name}, slice {slice} of {length} s");
        }
    }
}

#[test]
fn failures_that_rise_from_none_have_an_interval() {
    let mut world = World::new();
    let mut record = |name: &str, failures: u64| {
        world.record(name, 10, |world, tick| {
            (0..100).for_each(|_| world.call("q", "", 0.01));
            (0..u64::from(tick < failures)).for_each(|_| world.call("q", "io", 0.01));
        })
    };
    let (none, one, many) = (record("none", 0), record("one", 1), record("many", 10));
    let rises = none.compare(&many);
    assert!(rises.error_share.is_clear() && rises.queries[0].error_share.is_clear(), "{rises}");
    let (low, high) = rises.error_share.interval.unwrap();
    assert!(low > 2.0 && high == f64::INFINITY, "{low}");
    assert!(rises.to_string().contains("new (at least 2."), "{rises}");
    let hardly = none.compare(&one).error_share;
    assert!(!hardly.is_clear() && hardly.to_string().ends_with("not clear"), "{hardly}");
    // To none they may have fallen by chance, too.
    let falls = many.compare(&none).error_share;
    assert!(falls.is_clear() && falls.ratio == 0.0, "{falls}");
    assert!(falls.interval.is_some_and(|(low, high)| low == 0.0 && (0.1..0.5).contains(&high)));
    assert_eq!(none.compare(&none).error_share.interval, None);
}

#[test]
fn a_file_gives_back_what_was_saved_and_says_what_is_wrong_with_it() {
    let mut world = World::new();
    let mut random = Random(5);
    let mut figures = steady(&mut world, "a \\ b\nc", 8, 0.01, &mut random);
    figures.query("odd\nname", 3).calls = 5;
    figures.has_pools = true;
    let path = std::env::temp_dir().join(format!("highwater-figures-{}", std::process::id()));
    figures.save(&path).unwrap();
    let loaded = Figures::load(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(loaded.to_text(), figures.to_text());
    assert_eq!(loaded.compare(&figures).rate.ratio, 1.0);
    let gone = Figures::load(&path).unwrap_err();
    assert!(matches!(gone, Error::Io { .. }) && gone.to_string().contains("highwater-figures"));
    for (text, line, what) in [
        ("x", 1, "not figures of this version"),
        ("highwater figures 1\nend\nx", 3, "after the end"),
        ("highwater figures 1\nslice 1", 2, "no slice"),
        ("highwater figures 1\nslice NaN 1", 2, "no slice"),
        ("highwater figures 1\nin 0 1 1 1 1", 2, "no query before"),
        ("highwater figures 1\nquery q\nin 0 1 1 1 1", 3, "a slice there is not"),
        ("highwater figures 1\nslice 1 1\nquery q\nin 0 1 1 1 1 5:1 4:1", 4, "no slice of a query"),
        (
            "highwater figures 1\nslice 1 1\nquery q\nin 0 1 1 1 1 2000000000:1",
            4,
            "no slice of a query",
        ),
        ("highwater figures 1\nslice 1 1", 2, "cut off"),
    ] {
        let (at, said) = Figures::from_text(text).unwrap_err();
        assert!(at == line && said.contains(what), "{text:?}: line {at}: {said}");
    }
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "highwater figures 1\n([a-z]{2,5} [-0-9. :eNa]{0,30}\n){0,9}") {
        if let Ok(figures) = Figures::from_text(&text) {
            let _ = figures.compare(&figures).to_string();
        }
    }

    #[test]
    fn a_saved_file_cut_anywhere_is_refused(cut in 0..2_000_usize) {
        let mut world = World::new();
        let text = steady(&mut world, "a", 6, 0.01, &mut Random(5)).to_text();
        // Without its last line's end it still says all.
        if let Some(part) = text.get(..cut).filter(|part| part.len() < text.len() - 1) {
            prop_assert!(Figures::from_text(part).is_err());
        }
    }
}
