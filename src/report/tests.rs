#[path = "../../tests/support/golden.rs"]
mod golden;

use std::time::Duration;

use super::*;
use crate::{
    alert::testing::transition,
    clock::Moment,
    event::{Evidence, Severity, State, Transition},
    history::Scribe,
    name::Labels,
    registry::{Collector, Registry},
    rule, semconv as s,
};

fn at(second: u64) -> Moment {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000 + second);
    Moment { mono: Duration::from_secs(second), wall }
}

const HOSTILE: &str = "</script><script>alert(1)</script>\" onload='x' \u{202e}evil";

/// Ninety seconds in which a component of this name grows, and an alert about it.
fn report(name: &str) -> Report {
    let registry = Arc::new(Registry::new(100));
    let mut collector = Collector::new(registry.clone(), at(0));
    let history = History::shared(Duration::from_secs(1), at(0));
    let mut scribe = Scribe::new(history.clone());
    let level = Labels::new([(s::LEVEL, "cgroup")]);
    registry.gauge(s::MEMORY_LIMIT, &level).set(1e9);
    registry.gauge(s::MEMORY_TIME_TO_LIMIT, &level).set(42.0);
    let usage = registry.gauge(s::MEMORY_USAGE, &level);
    let component = Labels::new([(s::COMPONENT_NAME, name)]);
    let held = registry.gauge(s::COMPONENT_MEMORY_USAGE, &component);
    for second in 0..90 {
        usage.set(1e7 * second as f64);
        held.set(1e7 * second as f64);
        collector.collect(at(second));
        scribe.observe(at(second), collector.series(), collector.frame());
    }
    let mut fires = Transition::clone(&transition("MemoryNearLimit"));
    fires.at = at(80).wall;
    fires.active_since = Some(at(60).wall);
    fires.labels = Labels::new([("alertname", "MemoryNearLimit"), ("tenant", name)]);
    fires.summary = format!("{name} is full");
    let mut evidence = Evidence::default();
    evidence.cause(0.9, format!("{name} grew"));
    evidence.fact("memory.component", name, 1.0, crate::name::Unit::BYTES, format!("{name} holds"));
    fires.evidence = Some(Arc::new(evidence));
    let mut worse = fires.clone();
    let mut rule = (*worse.rule).clone();
    (rule.name, rule.severity) = ("MemoryCritical".into(), Severity::Critical);
    worse.rule = Arc::new(rule);
    scribe.note(&[Arc::new(fires), Arc::new(worse)]);
    let source = Source::new(name, &rule::preset::all(Duration::from_secs(1)), history);
    Report { at: at(90).wall, ..source.report() }
}

#[test]
fn the_first_screen_says_what_why_how_long_and_what_to_do() {
    let page = report("config-store").html();
    let lead = &page[page.find("id=\"lead\"").unwrap()..page.find("id=\"memory\"").unwrap()];
    for said in [
        "<h1 id=\"rule\"><bdi>MemoryCritical</bdi></h1>",
        "critical · firing for 10s",
        "<b>Likely:</b> config-store grew",
        "most memory: <bdi>config-store</bdi></span><b>848.8MiB</b>",
        "memory limit reached in </span><b>42s</b>",
        "<b>Do this first:</b> Shed load now",
        "Also firing",
        "MemoryNearLimit",
    ] {
        assert!(lead.contains(said), "{said:?} is not in {lead}");
    }
}

/// Of a rule of its own, so that a changed preset is no changed golden file.
#[test]
fn the_whole_page_is_as_it_was() {
    let mut report = report("config-store");
    let near = rule::alert("MemoryNearLimit")
        .group("highwater")
        .when(rule::gauge(s::MEMORY_UTILIZATION).above(0.9));
    report.rules = Arc::from([near]);
    golden::check("page.html", &report.html().replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn lines_are_where_the_figures_are() {
    let page = report("config-store").html();
    let path = page.split("data-name=\"in use\"").next().unwrap();
    let path = &path[path.rfind("d=\"M").unwrap() + 3..];
    let points: Vec<(f64, f64)> = path
        .trim_end_matches("\" ")
        .split(['M', 'L'])
        .filter(|point| !point.is_empty())
        .map(|point| {
            let (x, y) = point.split_once(' ').unwrap();
            (x.parse().unwrap(), y.trim_end_matches('"').parse().unwrap())
        })
        .collect();
    assert_eq!(points.len(), 90, "a point a second");
    // 890 MB of 1050 at the right edge; nothing at the left one.
    assert_eq!(points[0], (0.0, 160.0));
    assert_eq!(points[89].0, 600.0);
    assert!((points[89].1 - (160.0 - 160.0 * 0.89 / 1.05)).abs() < 0.1, "{:?}", points[89]);
    assert!(page.contains("class=\"mark critical\"") && page.contains("class=\"mark warning\""));
}

#[test]
fn hostile_names_stay_text() {
    let long = format!("{HOSTILE}{}", "x".repeat(10_000));
    for name in [HOSTILE, &long, "\u{5d0}\u{5d1}", "'\"<&>"] {
        let page = report(name).html();
        assert!(!page.contains("<script") && !page.contains("onload='"), "{name}");
        assert!(!page.contains('\u{202e}'), "no direction is overridden");
        assert!(page.len() < 200_000, "{} bytes", page.len());
    }
}

#[test]
fn nothing_is_fetched() {
    let page = report("config-store").html();
    for word in ["src=", "href=", "url(", "@import", "http-equiv=\"refresh\""] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn a_page_of_nothing_is_a_page() {
    let history = History::shared(Duration::from_secs(1), at(0));
    let source = Source::new("new", &[], history);
    let page = source.report().html();
    assert!(page.contains("No alert has fired."));
}

/// A second-long life of a service whose limit has this much runway and trend, as its page says it.
fn left(runway: f64, trend: Option<f64>) -> String {
    let registry = Arc::new(Registry::new(100));
    let mut collector = Collector::new(registry.clone(), at(0));
    let history = History::shared(Duration::from_secs(1), at(0));
    let mut scribe = Scribe::new(history.clone());
    let level = Labels::new([(s::LEVEL, "cgroup")]);
    registry.gauge(s::MEMORY_LIMIT, &level).set(1e9);
    registry.gauge(s::MEMORY_RUNWAY, &Labels::empty()).set(runway);
    if let Some(trend) = trend {
        registry.gauge(s::MEMORY_TIME_TO_LIMIT, &level).set(trend);
    }
    for second in 0..2 {
        collector.collect(at(second));
        scribe.observe(at(second), collector.series(), collector.frame());
    }
    let page = Source::new("left", &[], history).report().html();
    let left = &page[page.find("id=\"left\">").unwrap() + 10..];
    left[..left.find("</div>").unwrap()].replace("<span>", "").replace("</span>", "")
}

#[test]
fn memory_that_runs_out_before_there_is_a_trend_is_in_sight() {
    assert_eq!(left(7.25, None), "at this moment's growth, memory limit reached in <b>7.3s</b>");
    assert_eq!(left(7.25, Some(42.0)), "memory limit reached in <b>42s</b>");
    assert_eq!(left(4_000.0, None), "memory limit <b>not in sight</b>", "a moment says nothing");
    assert_eq!(left(f64::NAN, None), "memory limit <b>not in sight</b>");
}

#[test]
fn what_is_over_says_since_when_and_how_long_it_lasted() {
    let mut report = report("config-store");
    for firing in report.history.firing.clone() {
        let mut over = Transition::clone(&firing);
        (over.from, over.to, over.at) = (State::Firing, State::Inactive, at(85).wall);
        report.history.note(&Arc::new(over));
    }
    let page = report.html();
    assert!(page.contains("critical · over since 5s ago, fired for 5s</p>"), "{page}");
    assert!(!page.contains("Also firing"));
}

#[test]
fn what_has_fired_for_longer_than_is_remembered_has_a_lane() {
    let mut report = report("config-store");
    let mut other = Transition::clone(&transition("Flapping"));
    other.at = at(89).wall;
    for _ in 0..100 {
        report.history.note(&Arc::new(other.clone()));
    }
    assert!(report.history.transitions.iter().all(|t| &*t.rule.name == "Flapping"));
    let page = report.html();
    let timeline = &page[page.find("id=\"timeline\"").unwrap()..];
    assert!(timeline.contains("aria-label=\"MemoryCritical critical"), "{timeline}");
}

#[test]
fn an_alert_the_tick_has_not_written_down_is_on_its_own_page() {
    let directory = std::env::temp_dir().join(format!("highwater-late-{}", std::process::id()));
    let source = Source::new("late", &[], History::shared(Duration::from_secs(1), at(0)));
    assert!(to(&directory).sink(source).deliver(&[transition("JustNow")]));
    let page = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let page = std::fs::read_to_string(page).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(page.contains("<h1 id=\"rule\"><bdi>JustNow</bdi></h1>"), "{page}");
}

#[test]
fn pages_are_kept_to_the_last_few_and_not_too_often() {
    let directory = std::env::temp_dir().join(format!("highwater-keeper-{}", std::process::id()));
    let history = History::shared(Duration::from_secs(1), at(0));
    let source = Source::new("a/b", &[], history);
    let firing = |second, severity| {
        let mut fires = Transition::clone(&transition("../../Full"));
        let mut rule = (*fires.rule).clone();
        rule.severity = severity;
        (fires.rule, fires.at) = (Arc::new(rule), at(second).wall);
        Arc::new(fires)
    };
    let pages = || {
        let entries = std::fs::read_dir(&directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let mut sink = to(&directory).sink(source.clone());
    assert!(sink.deliver(&[firing(1, Severity::Warning)]));
    assert!(sink.deliver(&[firing(2, Severity::Warning)]), "too soon is no failure");
    assert_eq!(pages().len(), 1);
    assert!(sink.deliver(&[firing(3, Severity::Critical)]), "what is worse does not wait");
    assert_eq!(pages().len(), 2);
    std::fs::write(directory.join("notes.html"), "mine").unwrap();
    for second in 10..15 {
        let mut sink = to(&directory).keep(3).sink(source.clone());
        assert!(sink.deliver(&[firing(second, Severity::Info)]));
    }
    let kept = pages();
    assert_eq!(kept.len(), 4, "{kept:?}");
    assert!(kept[0].starts_with("highwater-a_b-1764000012000-") && kept[3] == "notes.html");
    assert!(kept[0].ends_with("_Full.html"), "{kept:?}");
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::write(&directory, "in the way").unwrap();
    let mut sink = to(&directory).sink(source);
    assert!(!sink.deliver(&[firing(20, Severity::Info)]), "counted by the engine");
    std::fs::remove_file(&directory).unwrap();
}
