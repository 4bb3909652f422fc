use std::time::Duration;

use super::*;
use crate::{
    alert::testing::transition,
    clock::Moment,
    event::{Evidence, Severity, Transition},
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
    scribe.with(|history| {
        history.note(&Arc::new(fires));
        history.note(&Arc::new(worse));
    });
    let rules = rule::preset::all(Duration::from_secs(1)).into();
    let source = Source { service: Arc::from(name), rules, history };
    Report { at: at(90).wall, ..source.report() }
}

#[test]
fn the_first_screen_says_what_why_how_long_and_what_to_do() {
    let page = report("config-store").html();
    let lead = &page[page.find("id=\"lead\"").unwrap()..page.find("id=\"memory\"").unwrap()];
    for said in [
        "<h1 id=\"rule\"><bdi>MemoryCritical</bdi></h1>",
        "critical · firing for 30s",
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
    let source = Source { service: Arc::from("new"), rules: Arc::from([]), history };
    let page = source.report().html();
    assert!(page.contains("No alert has fired."));
}

#[test]
fn pages_are_kept_to_the_last_few_and_not_too_often() {
    let directory = std::env::temp_dir().join(format!("highwater-keeper-{}", std::process::id()));
    let history = History::shared(Duration::from_secs(1), at(0));
    let source = Source { service: Arc::from("a/b"), rules: Arc::from([]), history };
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
