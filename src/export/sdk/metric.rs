//! Our metrics as the SDK's instruments.

use std::collections::HashMap;

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Histogram, Meter},
};

use super::replay::Replay;
use crate::{
    export::otlp::{advised_bounds, with_declared},
    instrument::Distribution,
    name::Labels,
    registry::{Data, Kind, Metric, Point, SeriesId, Snapshot},
    sync::{Arc, Mutex},
};

/// All instruments, made as metrics appear.
pub(super) struct Metrics {
    meter: Meter,
    /// By the metric's address, which its series keep alive.
    known: HashMap<*const Metric, Instrument>,
    round: u64,
    /// Declared bounds of histograms, by name.
    bounds: Arc<HashMap<String, Vec<f64>>>,
}

// The addresses are keys and never followed.
enum Instrument {
    /// Asked by the SDK.
    Observed(Arc<Mutex<Values>>),
    Recorded(Histogram<f64>, HashMap<SeriesId, Recorded>),
}

struct Recorded {
    attributes: Vec<KeyValue>,
    replay: Replay,
}

/// What an observable's callback says.
#[derive(Default)]
struct Values {
    /// The last one that is whole; what is being set is ahead of it.
    round: u64,
    series: HashMap<SeriesId, Value>,
}

struct Value {
    attributes: Vec<KeyValue>,
    data: Data,
    round: u64,
}

impl Metrics {
    pub(super) fn new(meter: Meter, bounds: Arc<HashMap<String, Vec<f64>>>) -> Self {
        Self { meter, known: HashMap::new(), round: 0, bounds }
    }

    /// Brings all instruments up to date.
    pub(super) fn update(&mut self, snapshot: &Snapshot) {
        self.round += 1;
        for point in &snapshot.points {
            let metric = &point.series.metric;
            let all = match point.data {
                Data::Histogram(at) => Some(snapshot.distribution(at)),
                _ => None,
            };
            let instrument = self
                .known
                .entry(std::ptr::from_ref(&**metric))
                .or_insert_with(|| create(&self.meter, metric, &self.bounds, all));
            match (instrument, point.data) {
                (Instrument::Observed(values), data) => values.lock().set(point, data, self.round),
                (Instrument::Recorded(histogram, series), Data::Histogram(at)) => {
                    let known = series.entry(point.series.id).or_insert_with(|| Recorded {
                        attributes: attributes(&point.series.labels),
                        replay: Replay::default(),
                    });
                    let Recorded { attributes, replay } = known;
                    replay.say(snapshot.distribution(at), |value| {
                        histogram.record(value, attributes);
                    });
                }
                _ => {}
            }
        }
        // Series that are absent now are not said any more.
        for instrument in self.known.values() {
            if let Instrument::Observed(values) = instrument {
                values.lock().round = self.round;
            }
        }
    }
}

impl Values {
    fn set(&mut self, point: &Point, data: Data, round: u64) {
        let value = self.series.entry(point.series.id).or_insert_with(|| Value {
            attributes: attributes(&point.series.labels),
            data,
            round,
        });
        (value.data, value.round) = (data, round);
    }

    fn tell<T>(&self, observer: &dyn AsyncInstrument<T>, as_number: impl Fn(Data) -> Option<T>) {
        // Whoever asks in the midst of a round hears of every series all the same: one that is
        // left out once has, for the SDK, begun anew, and its whole sum would count as gained.
        for value in self.series.values().filter(|value| value.round >= self.round) {
            if let Some(number) = as_number(value.data) {
                observer.observe(number, &value.attributes);
            }
        }
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).collect()
}

fn whole(data: Data) -> Option<u64> {
    if let Data::Integer(total) = data { Some(total) } else { None }
}

fn fraction(data: Data) -> Option<f64> {
    match data {
        Data::Integer(total) => Some(total as f64),
        Data::Value(value) => Some(value),
        Data::Histogram(_) => None,
    }
}

fn create(
    meter: &Meter,
    metric: &Metric,
    bounds: &HashMap<String, Vec<f64>>,
    all: Option<&Distribution>,
) -> Instrument {
    let name = metric.name.to_string();
    let (unit, help) = (metric.unit().as_str().to_owned(), metric.help().to_string());
    let values = Arc::<Mutex<Values>>::default();
    let theirs = values.clone();
    macro_rules! observe {
        ($method:ident, $as_number:expr) => {{
            meter
                .$method(name)
                .with_unit(unit)
                .with_description(help)
                .with_callback(move |observer| theirs.lock().tell(observer, $as_number))
                .build();
            Instrument::Observed(values)
        }};
    }
    match metric.kind {
        Kind::Counter => observe!(u64_observable_counter, whole),
        Kind::ObservedCounter => observe!(f64_observable_counter, fraction),
        Kind::UpDownCounter | Kind::ObservedUpDown => {
            observe!(f64_observable_up_down_counter, fraction)
        }
        Kind::Gauge => observe!(f64_observable_gauge, fraction),
        Kind::Histogram(_) => {
            // Without advice the SDK takes bounds that suit milliseconds.
            let declared = bounds.get(&name).map(Vec::as_slice);
            let bounds = declared.unwrap_or_else(|| advised_bounds(&name, &unit));
            let bounds = all.map_or(bounds.into(), |all| with_declared(all, bounds)).into_owned();
            let histogram = meter.f64_histogram(name).with_unit(unit).with_description(help);
            Instrument::Recorded(histogram.with_boundaries(bounds).build(), HashMap::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        registry::{DEFAULT_CARDINALITY_LIMIT, Registry},
    };

    #[derive(Default)]
    struct Heard(Mutex<Vec<u64>>);

    impl AsyncInstrument<u64> for Heard {
        fn observe(&self, measurement: u64, _: &[KeyValue]) {
            self.0.lock().push(measurement);
        }
    }

    #[test]
    fn a_collection_in_the_midst_of_a_round_hears_of_every_series() {
        let registry = Registry::new(DEFAULT_CARDINALITY_LIMIT);
        for queue in ["a", "b"] {
            registry.counter("jobs", &Labels::new([("queue", queue)])).increment(1);
        }
        let mut series = Vec::new();
        registry.catch_up(&mut series);
        let (since, data) = (Clock::system().now(), Data::Integer(0));
        let points: Vec<_> =
            series.into_iter().map(|series| Point { series, since, data }).collect();
        let mut values = Values::default();
        let heard = |values: &Values| {
            let heard = Heard::default();
            values.tell(&heard, whole);
            let mut heard = heard.0.into_inner();
            heard.sort_unstable();
            heard
        };
        points.iter().for_each(|point| values.set(point, Data::Integer(1), 1));
        values.round = 1;
        values.set(&points[0], Data::Integer(5), 2);
        assert_eq!(heard(&values), [1, 5], "one is of this round, one of the last");
        values.round = 2;
        assert_eq!(heard(&values), [5], "the other one is gone");
    }
}
