#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Instant, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::{
    clock::Moment,
    event::ResolveReason,
    instrument::Measure,
    name::Labels,
    registry::{Collector, Registry},
    rule::{
        Catalog, Evaluator, ExportStyle, Names,
        differential::{Numbers, generate},
        export,
    },
};

const TICK: Duration = Duration::from_secs(1);

fn load(text: &str) -> Loaded {
    yaml(text).load(TICK).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The only refusal, as it reads.
#[track_caller]
fn refused(text: &str) -> String {
    let loaded = load(text);
    let all: Vec<_> = loaded.refused.iter().map(ToString::to_string).collect();
    assert_eq!(all.len(), 1, "{text}: {all:?}");
    all.into_iter().next().unwrap()
}

fn group(rules: &str) -> String {
    format!("groups:\n- name: g\n  rules:\n{rules}\n")
}

#[test]
fn everything_a_rule_has_is_read() {
    let loaded = load(
        r#"
groups:
- name: g
  interval: 30s
  labels: {team: a, tier: one}
  rules:
  - alert: A
    expr: x > 1
    for: 1h30m
    keep_firing_for: 5m
    labels: {severity: page, tier: two}
    annotations: {summary: s, description: d, runbook_url: r, other: "{{ $value }}"}
"#,
    );
    assert_eq!(loaded.refused, []);
    let rule = &loaded.rules[0];
    assert_eq!((rule.group.as_str(), rule.name.as_str()), ("g", "A"));
    assert_eq!(rule.hold, Duration::from_secs(5400));
    assert_eq!(rule.keep, Duration::from_secs(300));
    assert_eq!(rule.severity, crate::event::Severity::Critical);
    let labels: Vec<_> = rule.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["team=a", "severity=page", "tier=two"]);
    assert_eq!(
        (rule.summary.as_str(), rule.description.as_str(), rule.runbook.as_deref()),
        ("s", "d", Some("r"))
    );
    assert_eq!(rule.annotations, [("other".to_owned(), "{{ $value }}".to_owned())]);
    assert!(rule.strict);
}

#[test]
fn repeating_a_text_is_paid_for_by_its_length() {
    let long = "x".repeat(100_000);
    let text = format!("groups: [&a \"{long}\", {}]", vec!["*a"; 50_000].join(", "));
    let error = yaml(&text).load(TICK).unwrap_err().to_string();
    assert!(error.contains("too many values"), "{error}");
    let labels = format!("groups: [{{name: g, labels: {{a: \"{long}\"}}, rules: []}}]");
    assert!(refused(&labels).contains("labels of more than"));
}

#[test]
fn as_many_rules_as_fit_load() {
    let rules: String =
        (0..15_000).map(|at| format!("  - {{alert: A{at}, expr: x > 1}}\n")).collect();
    assert_eq!(load(&group(&rules)).rules.len(), 15_000);
    let labels: String = (0..40_000).map(|at| format!("a{at}: b, ")).collect();
    assert_eq!(
        load(&group(&format!("  - {{alert: A, expr: x, labels: {{{labels}}}}}"))).rules.len(),
        1
    );
}

#[test]
fn patterns_are_few_and_small() {
    let bomb = "  - {alert: A, expr: 'x{a=~\"((a{100}){100}){100}\"} > 1'}";
    assert!(refused(&group(bomb)).contains("pattern"));
    let rules: String =
        (0..2_001).map(|at| format!("  - {{alert: A{at}, expr: 'x{{a=~\"b\"}} > 1'}}\n")).collect();
    assert!(refused(&group(&rules)).contains("more than 2000 regular expressions"));
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let error = file(std::env::temp_dir()).load(TICK).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn nothing_is_a_file_too() {
    for text in ["", "# only words\n", "---\n", "groups:\n", "groups: []\n", "~\n"] {
        assert!(load(text).rules.is_empty(), "{text:?}");
    }
}

#[test]
fn a_refusal_names_group_rule_construct_and_place() {
    let one = |rule: &str| refused(&group(rule));
    assert_eq!(
        one("  - alert: A\n    expr: label_replace(x, \"a\", \"b\", \"c\", \"d\") > 1"),
        "text:5:11: group \"g\", rule \"A\": expr: label_replace is not supported (at 1:1 of it)"
    );
    // In a block the line is found.
    let said = one("  - alert: A\n    expr: |\n      x >\n      y @ 5");
    assert!(said.starts_with("text:7:9: "), "{said}");
    assert!(one("  - alert: A\n    expr: 'x @ 5 > 1'").starts_with("text:5:14: "));
    for (rule, wanted) in [
        ("  - alert: A", "without expr"),
        ("  - expr: x", "neither alert nor record"),
        ("  - {alert: A, record: b, expr: x}", "both alert and record"),
        ("  - {alert: A, expr: x, fro: 5m}", "unknown key \"fro\""),
        ("  - {alert: A, expr: x, expr: y}", "given twice"),
        ("  - {alert: A, expr: x, for: 5 minutes}", "\"5 minutes\" is no duration"),
        ("  - {alert: A, expr: [x]}", "expected a text, found a list"),
        ("  - {alert: A, expr: 1}", "needs an instant vector"),
        ("  - {alert: A, expr: x, labels: [a]}", "expected a mapping"),
        ("  - {alert: A, expr: x, labels: {a: '{{ $value }}'}}", "the value in a label"),
        ("  - {alert: A, expr: x, labels: {__a: b}}", "it is reserved"),
        ("  - {alert: A, expr: x, annotations: {summary: '{{ query \"up\" }}'}}", "`query`"),
        ("  - {alert: A, expr: x, annotations: {other: '{{ $vlue }}'}}", "$vlue"),
        ("  - {record: a, expr: x, for: 5m}", "go with alert"),
        ("  - {alert: A, expr: 'rate(x[1s])'}", "must be from 2s"),
        ("  - {alert: A, expr: 'x_bucket{le=\"0.3\"} > 1'}", "cuts a bucket"),
        ("  - nonsense", "expected a mapping"),
    ] {
        let said = one(rule);
        assert!(said.contains(wanted), "{rule}: {said}");
    }
    let two = "  - {alert: A, expr: x}\n  - {alert: A, expr: y}";
    assert!(refused(&group(two)).contains("has this name and these labels"));
    assert_eq!(load(&group(two)).rules.len(), 1);
}

#[test]
fn a_group_that_is_wrong_takes_only_its_rules() {
    let fine = "- name: fine\n  rules: [{alert: A, expr: x}]\n";
    for (group, wanted) in [
        ("- rules: [{alert: B, expr: x}]\n", "without a name"),
        ("- {name: g, intervall: 1m}\n", "unknown key"),
        ("- {name: g, interval: often}\n", "no duration"),
        ("- {name: g, query_offset: 1m}\n", "query_offset is not supported"),
        ("- {name: g, limit: many}\n", "no whole number"),
        ("- {name: fine}\n", "has this name"),
        ("- text\n", "expected a mapping"),
    ] {
        let text = format!("groups:\n{fine}{group}");
        assert!(refused(&text).contains(wanted), "{group}: {}", refused(&text));
        assert_eq!(load(&text).rules.len(), 1);
    }
}

#[test]
fn what_is_no_rule_file_is_refused_whole() {
    for (text, wanted) in [
        ("groups: [", "at"),
        ("- a\n", "expected a mapping"),
        ("grups: []\n", "unknown key \"grups\""),
        ("groups: 5\n", "expected a list"),
        ("groups: []\n---\ngroups: []\n", "a second document"),
        ("groups: !custom x\n", "tag"),
    ] {
        let error = yaml(text).load(TICK).expect_err(text).to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    assert!(file("/nowhere").load(TICK).unwrap_err().to_string().contains("/nowhere"));
}

#[test]
fn recording_rules_within_bounds() {
    let said = refused(&group("  - {record: r, expr: x}\n  - {alert: A, expr: 'rate(r[5m]) > 1'}"));
    assert!(said.contains("a window is not supported of the recorded series \"r\""), "{said}");
    let said = refused(&group("  - {alert: A, expr: r > 1}\n  - {record: r, expr: x}"));
    assert!(said.contains("recorded further down"), "{said}");
    let said = refused(&group("  - {record: r, expr: x}\n  - {alert: A, expr: r offset 5m > 1}"));
    assert!(said.contains("an offset is not supported"), "{said}");
    // Each twice the one before: 2^40 parts.
    let mut rules = "  - {record: r0, expr: x}\n".to_owned();
    for at in 1..40 {
        rules += &format!("  - {{record: r{at}, expr: r{} + r{}}}\n", at - 1, at - 1);
    }
    let begun = Instant::now();
    let loaded = load(&group(&rules));
    assert!(loaded.refused[0].reason.contains("once recording rules are put in"));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let mut rules = "  - {record: r0, expr: x}\n".to_owned();
    for at in 1..400 {
        rules += &format!("  - {{record: r{at}, expr: abs(r{})}}\n", at - 1);
    }
    assert!(load(&group(&rules)).refused[0].reason.contains("nested deeper"));
}

/// Texts that have brought parsers down.
fn hostile() -> Vec<String> {
    let deep = |open: &str, times| open.repeat(times);
    vec![
        deep("[", 100_000),
        deep("{", 100_000),
        deep("- ", 100_000),
        deep("a: {", 50_000),
        deep("? ", 100_000),
        "&a [".repeat(10_000),
        "\u{feff}groups: []".to_owned(),
        "\0".to_owned(),
        "%YAML 9.9\n---\n".to_owned(),
        "!!binary x".to_owned(),
        "a: &a [*a]".to_owned(),
        "a: *b".to_owned(),
        "\t- a".to_owned(),
        "groups:\n- name: |2\n".to_owned(),
        format!("groups: {}", "x".repeat(1 << 20)),
        "'".repeat(1 << 19),
        "\"\\u".repeat(1 << 18),
        "#".repeat(1 << 20),
        "a:\n".repeat(1 << 18),
        "- |\n".repeat(1 << 17),
        group(&"  - {alert: A, expr: x}\n".repeat(2_000)),
        group(&format!("  - {{alert: A, expr: '{}'}}", "(".repeat(8_000))),
        group(&format!(
            "  - {{alert: A, expr: x, annotations: {{a: '{}'}}}}",
            "{{ if ".repeat(2_000)
        )),
        {
            // A billion laughs.
            let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
            for at in 1..12 {
                let before = format!("*a{}, ", at - 1).repeat(9);
                text += &format!("a{at}: &a{at} [{}]\n", before.trim_end_matches(", "));
            }
            text
        },
    ]
}

#[test]
fn hostile_texts_end_soon() {
    for text in hostile() {
        let begun = Instant::now();
        // A small stack: nothing may recurse by what the text says.
        std::thread::scope(|scope| {
            let done = std::thread::Builder::new()
                .stack_size(1 << 20)
                .spawn_scoped(scope, || drop(yaml(&text).load(TICK)))
                .unwrap()
                .join();
            assert!(done.is_ok(), "{text:.40}");
        });
        // A hang, not a speed, is what this tells.
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?} for {text:.40}");
    }
}

/// Pieces that rule files are made of, in any order.
fn soup() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => prop::sample::select(vec![
            "groups:", "\n- name: g", "\n  rules:", "\n  - alert: A", "\n    expr: ", "x > 1",
            "\n    for: ", "5m", "\n    labels:", " {a: b}", "\n    annotations:", "\n  - record: r",
            "{", "}", "[", "]", ",", ":", "- ", "\n", "  ", "|", ">", "&a ", "*a", "!!str ", "? ",
            "'", "\"", "{{ $value }}", "{{ if ", "{{ end }}", "rate(x[5m])", "sum by (", "# ", "---",
            "limit: 3", "~", "\t", "%",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => "[ -~]{0,8}",
    ];
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_loads_or_is_refused(text in soup()) {
        drop(yaml(&text).load(TICK));
    }

    /// A file that is fine but for a stretch of it: two groups of it, as all five take their time.
    #[test]
    fn a_damaged_file_loads_or_is_refused(at in 0..7_300_usize, cut in 0..40_usize, with in "\\PC{0,6}") {
        let whole = include_str!("../../../tests/rules/thirty.yml");
        let groups: Vec<_> = whole.match_indices("\n  - name:").map(|(at, _)| at).collect();
        let first = groups.partition_point(|start| *start <= at).saturating_sub(1);
        let (start, end) = (groups[first], groups.get(first + 2).copied().unwrap_or(whole.len()));
        let text = format!("groups:{}", &whole[start..end]);
        let at = at.saturating_sub(start);
        let edge = |at: usize| (at.min(text.len())..=text.len()).find(|at| text.is_char_boundary(*at));
        let (from, to) = (edge(at).unwrap(), edge(at + cut).unwrap());
        let text = format!("{}{with}{}", &text[..from], &text[to..]);
        if let Ok(loaded) = yaml(&text).load(TICK) {
            for refused in &loaded.refused {
                prop_assert!(!refused.reason.is_empty() && refused.position.0 > 0);
            }
            // Binding takes its time without optimisation.
            if at % 16 == 0 {
                run(loaded.rules);
            }
        }
    }

    /// Expressions and texts that are made up, some bytes of which are others then.
    #[test]
    fn whatever_loads_is_bound_and_filled(
        seed in any::<u64>(),
        broken in prop::collection::vec((any::<prop::sample::Index>(), 32..127_u8), 0..4),
    ) {
        let mut numbers = Numbers(seed);
        let mut text = "groups:\n- name: g\n  rules:\n".to_owned();
        for at in 0..4 {
            let expr = generate::vector(&mut numbers, 3);
            let words: String = (0..4).map(|_| numbers.one_of(WORDS)).collect();
            text += &format!("  - alert: A{at}\n    expr: '{expr}'\n    annotations: {{summary: '{words}'}}\n");
        }
        let mut bytes = text.into_bytes();
        for (at, byte) in broken {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(loaded) = yaml(&String::from_utf8_lossy(&bytes)).load(TICK) {
            run(loaded.rules);
        }
    }
}

/// What texts are made of.
const WORDS: &[&str] = &[
    "{{ $value }}",
    "{{ $labels.k | toUpper }}",
    "{{ printf \"%5.2f %s\" $value $labels.k }}",
    "{{ if gt $value 1.0 }}much{{ else }}little{{ end }}",
    "{{ $a := print $value }}{{ print $a $a }}",
    "{{ reReplaceAll \"(.)\" \"$1$1\" $labels.k }}",
    "{{ $value | humanizeDuration }}",
    " and ",
];

/// Three ticks of rules over the series they may be about.
fn run(rules: Vec<Rule>) {
    let Ok(mut rules) = Evaluator::new(rules, TICK) else { return };
    let moment = |mono| Moment { mono, wall: SystemTime::UNIX_EPOCH + mono };
    let registry = Arc::new(Registry::new(100));
    let mut collector = Collector::new(registry.clone(), moment(Duration::ZERO));
    for tick in 0..3_u32 {
        for (at, name) in ["g", "o", "w", "process_memory_usage_bytes"].into_iter().enumerate() {
            for key in ["a", "b"] {
                let labels = Labels::new([("k", key), ("z", "y")]);
                registry.gauge(name, &labels).set(1e10 * f64::from(tick) + at as f64);
            }
        }
        let labels = Labels::new([("k", "a")]);
        registry.counter("c", &labels).increment(3);
        registry.histogram("h", Measure::Value, &labels).record(0.5);
        let at = moment(TICK * tick);
        collector.collect(at);
        rules.observe(&collector);
        let mut steps = Vec::new();
        rules.evaluate(at, &mut steps);
        assert!(steps.iter().all(|step| step.summary.len() <= 64 << 10));
    }
    rules.resolve_all(moment(TICK * 3), ResolveReason::Shutdown, &mut Vec::new());
}

#[test]
fn what_is_exported_and_read_again_is_the_same() {
    for name in ["documented.yml", "thirty.yml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules").join(name);
        let rules = file(path).rules().unwrap();
        for names in [Names::Own, Names::Translated] {
            let style = ExportStyle::new().names(names);
            let exported = export(&rules, &Catalog::new(), &style).yaml;
            let again = yaml(&exported).rules().unwrap();
            assert_eq!(rules.len(), again.len());
            for (one, other) in rules.iter().zip(&again) {
                let parts = |rule: &Rule| {
                    let condition = rule.condition.as_ref().unwrap();
                    (condition.raise(), rule.hold, rule.keep, rule.limit, rule.labels.clone())
                };
                assert_eq!(parts(one), parts(other));
                let words = |rule: &Rule| {
                    let texts = (rule.summary.clone(), rule.description.clone());
                    (texts, rule.runbook.clone(), rule.annotations.clone())
                };
                assert_eq!(words(one), words(other));
            }
        }
    }
}
