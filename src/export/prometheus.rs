//! All series as text for a Prometheus server to scrape:
//! [OpenMetrics 1.0](https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md).
//! Nothing here listens: the text is for a route of the service's own; see
//! [`Highwater::render_prometheus`](crate::Highwater::render_prometheus).
//!
//! Names are those that a Prometheus server makes of OTLP, so rules and dashboards fit whichever
//! way the data come. Two of our metrics may get one name there: the first one keeps it, and what
//! cannot stand beside it is left out and counted (`highwater.dropped{reason="name_clash"}`).

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
};

use super::otlp::{self, advised_bounds, counts, with_declared};
use crate::{
    clock::unix_nanos,
    instrument::{Distribution, Exemplar, Hex},
    name::Labels,
    registry::{Data, Kind, Metric, Point, Snapshot},
    rule::naming,
    sync::Arc,
};

/// The `Content-Type` of [`render_prometheus`](crate::Highwater::render_prometheus)'s text.
///
/// Prometheus servers since 2.5 ask for it by default, so nothing has to be negotiated; any other
/// scraper that reads OpenMetrics 1.0 takes it too.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is the same on every page.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    /// The resource, written out.
    target: String,
    /// Of histograms' buckets, by metric.
    bounds: Arc<HashMap<String, Vec<f64>>>,
}

/// A page, and how many series could not be on it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) text: String,
    pub(crate) left_out: u64,
}

/// One metric as the server knows it, made of one or more of ours.
struct Family<'a> {
    name: String,
    metric: &'a Metric,
    points: Vec<&'a Point>,
}

impl Exposition {
    pub(crate) fn new(resource: &otlp::Resource, bounds: &HashMap<String, Vec<f64>>) -> Self {
        let mut target = "# TYPE target info\n# HELP target Who is speaking.\n".to_owned();
        let attributes = resource.iter().map(|(key, value)| (key, value.to_string()));
        sample(&mut target, "target", "_info", &block(&Labels::new(attributes), false), "", "1");
        Self { target, bounds: Arc::new(bounds.clone()) }
    }

    /// Declared bounds, by metric.
    pub(crate) fn bounds(&self) -> Arc<HashMap<String, Vec<f64>>> {
        self.bounds.clone()
    }

    /// A page without data.
    pub(crate) fn nothing(&self) -> String {
        "# EOF\n".to_owned()
    }

    pub(crate) fn render(&self, snapshot: &Snapshot) -> Page {
        let (families, mut left_out) = families(snapshot);
        let mut text = String::with_capacity(self.target.len() + 96 * snapshot.points.len());
        text.push_str(&self.target);
        for family in &families {
            left_out += self.write(&mut text, family, snapshot);
        }
        text.push_str("# EOF\n");
        Page { text, left_out }
    }

    /// Gives how many of its series are another's twin.
    fn write(&self, text: &mut String, family: &Family<'_>, snapshot: &Snapshot) -> u64 {
        let Family { name, metric, points } = family;
        let (unit, help) = (metric.unit(), metric.help());
        let kind = match metric.kind {
            kind if kind.is_monotonic() => "counter",
            Kind::Histogram(_) => "histogram",
            _ => "gauge",
        };
        line(text, format_args!("# TYPE {name} {kind}"));
        if let Some(word) = naming::unit_word(unit.as_str())
            && name.strip_suffix(word).is_some_and(|stem| stem.ends_with('_'))
        {
            line(text, format_args!("# UNIT {name} {word}"));
        }
        if !help.is_empty() {
            line(text, format_args!("# HELP {name} {}", Escaped(&help)));
        }
        let declared = self.bounds.get(&*metric.name).map(Vec::as_slice);
        let bounds = declared.unwrap_or_else(|| advised_bounds(&metric.name, unit.as_str()));
        let (mut written, mut twins) = (HashSet::with_capacity(points.len()), 0);
        for point in points {
            let labels = block(&point.series.labels, kind == "histogram");
            if !written.insert(labels.clone()) {
                twins += 1;
                continue;
            }
            match point.data {
                Data::Integer(total) => {
                    sample(text, name, "_total", &labels, "", &total.to_string());
                }
                Data::Value(value) if kind == "counter" => {
                    sample(text, name, "_total", &labels, "", &number(value));
                }
                Data::Value(value) => sample(text, name, "", &labels, "", &number(value)),
                Data::Histogram(at) => {
                    let exemplars = snapshot.exemplars(at);
                    histogram(text, name, &labels, snapshot.distribution(at), bounds, exemplars);
                }
            }
        }
        twins
    }
}

fn histogram(
    text: &mut String,
    name: &str,
    labels: &str,
    all: &Distribution,
    bounds: &[f64],
    exemplars: &[Exemplar],
) {
    let bounds = &*with_declared(all, bounds);
    let ends = bounds.iter().copied().chain([f64::INFINITY]);
    let (mut count, mut above) = (0, f64::NEG_INFINITY);
    for (end, more) in ends.zip(counts(all, bounds)) {
        count += more;
        let le = format!("le=\"{}\"", number(end));
        let value = match newest(exemplars, above, end) {
            Some(exemplar) => format!("{count} # {}", Exemplary(exemplar)),
            None => count.to_string(),
        };
        sample(text, name, "_bucket", labels, &le, &value);
        above = end;
    }
    // A sum that can fall is no counter: the specification wants neither then.
    let is_counter = all.negative.counts.is_empty() && all.sum >= 0.0;
    if is_counter && !bounds.iter().any(|bound| *bound < 0.0) {
        sample(text, name, "_count", labels, "", &count.to_string());
        sample(text, name, "_sum", labels, "", &number(all.sum));
    }
}

/// The newest of those in a bucket.
fn newest(exemplars: &[Exemplar], above: f64, end: f64) -> Option<&Exemplar> {
    let within = |exemplar: &&Exemplar| above < exemplar.value && exemplar.value <= end;
    exemplars.iter().filter(within).max_by_key(|exemplar| exemplar.at)
}

/// What stands behind a bucket's count and `#`.
struct Exemplary<'a>(&'a Exemplar);

impl std::fmt::Display for Exemplary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Exemplar { value, at, trace } = self.0;
        let (trace_id, span_id) = (trace.trace_id(), trace.span_id());
        write!(f, "{{trace_id=\"{}\",span_id=\"{}\"}}", Hex(&trace_id), Hex(&span_id))?;
        write!(f, " {} {:.3}", number(*value), unix_nanos(*at) as f64 / 1e9)
    }
}

/// Points by the name they get, in the order of their first series; and how many could get none.
fn families(snapshot: &Snapshot) -> (Vec<Family<'_>>, u64) {
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut by_metric: HashMap<*const Metric, Option<usize>> = HashMap::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut claimed: HashSet<String> = ["target", "target_info"].map(str::to_owned).into();
    let mut left_out = 0;
    for point in &snapshot.points {
        if matches!(point.data, Data::Value(value) if is_unfit(point.series.metric.kind, value)) {
            left_out += 1;
            continue;
        }
        let metric = &*point.series.metric;
        let family = *by_metric.entry(std::ptr::from_ref(metric)).or_insert_with(|| {
            let name = family_name(metric);
            if let Some(&known) = by_name.get(&name)
                && same_type(families[known].metric.kind, metric.kind)
            {
                return Some(known);
            }
            let names: Vec<String> =
                suffixes(metric.kind).iter().map(|suffix| format!("{name}{suffix}")).collect();
            if names.iter().any(|name| claimed.contains(name)) {
                return None;
            }
            claimed.extend(names);
            by_name.insert(name.clone(), families.len());
            families.push(Family { name, metric, points: Vec::new() });
            Some(families.len() - 1)
        });
        match family {
            Some(at) => families[at].points.push(point),
            None => left_out += 1,
        }
    }
    (families, left_out)
}

/// A sum that was read from elsewhere may be anything; a counter may not.
fn is_unfit(kind: Kind, value: f64) -> bool {
    kind.is_monotonic() && !(value >= 0.0 && value.is_finite())
}

/// A family's name has no `_total`, which is its sample's.
fn family_name(metric: &Metric) -> String {
    let mut name = naming::metric(&metric.name, &metric.unit(), metric.kind);
    if metric.kind.is_monotonic()
        && let Some(stem) = name.strip_suffix("_total")
    {
        name.truncate(stem.len());
    }
    if name.is_empty() { "_".to_owned() } else { name }
}

fn same_type(one: Kind, other: Kind) -> bool {
    suffixes(one) == suffixes(other)
}

/// What a family's name may be followed by: names nobody else may have.
fn suffixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        kind if kind.is_monotonic() => &["", "_total", "_created"],
        Kind::Histogram(_) => &["", "_bucket", "_count", "_sum", "_created"],
        _ => &[""],
    }
}

/// `a="b",c="d"`, without braces. A histogram's own `le` is not for others.
fn block(labels: &Labels, is_histogram: bool) -> String {
    let key = |key| match naming::label(key) {
        key if key.starts_with("__") => format!("key{key}"),
        key if is_histogram && key == "le" => "exported_le".to_owned(),
        key => key.into_owned(),
    };
    let labels = Labels::new(labels.iter().map(|(name, value)| (key(name), value)));
    let mut out = String::new();
    for (name, value) in labels.iter() {
        let comma = if out.is_empty() { "" } else { "," };
        _ = write!(out, "{comma}{name}=\"{}\"", Escaped(value));
    }
    out
}

fn sample(text: &mut String, name: &str, suffix: &str, labels: &str, more: &str, value: &str) {
    let comma = if labels.is_empty() || more.is_empty() { "" } else { "," };
    let (open, close) = if labels.is_empty() && more.is_empty() { ("", "") } else { ("{", "}") };
    line(text, format_args!("{name}{suffix}{open}{labels}{comma}{more}{close} {value}"));
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    _ = writeln!(text, "{arguments}");
}

/// As short as is exact; a whole number keeps its `.0`, which is how `le` is spelled everywhere.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value if value.is_nan() => "NaN".to_owned(),
        value => format!("{value:?}"),
    }
}

struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        clock::Moment,
        instrument::Measure,
        name::Unit,
        registry::{Collector, Registry},
        sync::Arc,
    };

    fn page(fill: impl FnOnce(&Registry)) -> Page {
        let registry = Arc::new(Registry::new(2_000));
        let start = Moment { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
        let mut collector = Collector::new(registry.clone(), start);
        fill(&registry);
        collector.collect(start);
        let mut snapshot = Snapshot::new(start);
        collector.snapshot(&mut snapshot);
        let (resource, _) = otlp::Resource::new("shop", [("a.b", "c\"d")], &|_| None);
        Exposition::new(&resource, &HashMap::from([("size".to_owned(), vec![1.0, 2.5])]))
            .render(&snapshot)
    }

    #[test]
    fn a_page() {
        let none = Labels::empty();
        let Page { text, left_out } = page(|registry| {
            registry.describe("jobs.done", Unit::known("{job}"), "Jobs \"done\"\nby now.");
            registry.counter("jobs.done", &Labels::new([("q.name", "a\\b\"c\nd")])).increment(42);
            registry.describe("process.cpu.time", Unit::SECONDS, "");
            registry.observed_counter("process.cpu.time", &none).set(1.5);
            registry.gauge("depth", &none).set(-7.0);
            let size = registry.histogram("size", Measure::Value, &Labels::new([("le", "x")]));
            [1.0, 2.0, 3.0].iter().for_each(|value| size.record(*value));
        });
        let (target, rest) = text.split_once("# TYPE jobs_done").unwrap();
        assert!(target.starts_with("# TYPE target info\n") && target.contains("a_b=\"c\\\"d\""));
        assert!(target.contains("service_name=\"shop\""), "{target}");
        assert_eq!(
            format!("# TYPE jobs_done{rest}"),
            r#"# TYPE jobs_done counter
# HELP jobs_done Jobs \"done\"\nby now.
jobs_done_total{q_name="a\\b\"c\nd"} 42
# TYPE process_cpu_time_seconds counter
# UNIT process_cpu_time_seconds seconds
process_cpu_time_seconds_total 1.5
# TYPE depth gauge
depth -7.0
# TYPE size histogram
size_bucket{exported_le="x",le="1.0"} 1
size_bucket{exported_le="x",le="2.5"} 2
size_bucket{exported_le="x",le="+Inf"} 3
size_count{exported_le="x"} 3
size_sum{exported_le="x"} 6.0
# EOF
"#
        );
        assert_eq!(left_out, 0);
    }

    #[test]
    fn what_gets_anothers_name_is_left_out_and_counted() {
        let none = Labels::empty();
        let Page { text, left_out } = page(|registry| {
            registry.counter("a.b", &none).increment(1);
            // The same name and type: one family; a twin's labels are there already.
            registry.counter("a_b", &Labels::new([("x", "y")])).increment(2);
            registry.counter("a-b", &none).increment(3);
            // Its name is the counter's sample's.
            registry.gauge("a.b.total", &none).set(4.0);
            registry.histogram("a.b", Measure::Value, &none).record(5.0);
            registry.gauge("target.info", &none).set(6.0);
            registry.observed_counter("falling", &none).set(-1.0);
        });
        // The histogram was refused by the registry; the others' series are four.
        assert_eq!(left_out, 4, "{text}");
        assert_eq!(text.matches("# TYPE a_b ").count(), 1);
        assert!(text.contains("a_b_total 1\na_b_total{x=\"y\"} 2\n"), "{text}");
    }

    #[test]
    fn a_histogram_with_negative_values_has_no_sum() {
        let Page { text, .. } = page(|registry| {
            registry.histogram("size", Measure::Value, &Labels::empty()).record(-5.0);
        });
        assert!(text.contains("size_bucket{le=\"1.0\"} 1\n"), "{text}");
        assert!(!text.contains("size_sum") && !text.contains("size_count"));
    }

    /// The grammar of a sample's line, by hand.
    fn check_sample(line: &str) -> Result<(), String> {
        let name_end = line
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
            .ok_or("no value")?;
        if name_end == 0 || line.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("name".into());
        }
        let mut rest = &line[name_end..];
        if let Some(labels) = rest.strip_prefix('{') {
            rest = labels;
            loop {
                let (key, value) = rest.split_once("=\"").ok_or("label")?;
                let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                if key.is_empty() || !plain || key.starts_with(|c: char| c.is_ascii_digit()) {
                    return Err(format!("label {key:?}"));
                }
                let mut escaped = false;
                let end = value
                    .char_indices()
                    .find(|(_, c)| {
                        let ends = *c == '"' && !escaped;
                        escaped = *c == '\\' && !escaped;
                        ends
                    })
                    .ok_or("open label")?
                    .0;
                rest = &value[end + 1..];
                match rest.strip_prefix(',') {
                    Some(next) => rest = next,
                    None => break rest = rest.strip_prefix('}').ok_or("no brace")?,
                }
            }
        }
        let value = rest.strip_prefix(' ').ok_or("no blank")?;
        value.parse::<f64>().map(drop).map_err(|error| error.to_string())
    }

    proptest! {
        #[test]
        fn every_name_and_label_gives_lines_that_parse(
            series in prop::collection::vec(
                (0..4, any::<String>(), prop::collection::vec((any::<String>(), any::<String>()), 0..4)),
                1..12,
            ),
        ) {
            let Page { text, .. } = page(|registry| {
                for (kind, name, labels) in &series {
                    let labels = Labels::new(labels.iter().map(|(k, v)| (k, v)));
                    registry.describe(name, Unit::NONE, name);
                    match kind {
                        0 => registry.counter(name, &labels).increment(1),
                        1 => registry.gauge(name, &labels).set(1.0),
                        2 => registry.up_down_counter(name, &labels).add(-1),
                        _ => registry.histogram(name, Measure::Value, &labels).record(1.0),
                    }
                }
            });
            let mut seen = HashSet::new();
            for line in text.split('\n').filter(|line| !line.is_empty() && !line.starts_with("# ")) {
                prop_assert!(check_sample(line).is_ok(), "{line:?}: {:?}", check_sample(line));
                let series = line.rsplit_once(' ').unwrap().0;
                prop_assert!(seen.insert(series.to_owned()), "twice: {series:?}");
            }
            prop_assert!(text.ends_with("# EOF\n"));
        }
    }
}
