//! Functions of the samples of a window, with Prometheus 3's arithmetic (`promql/functions.go`).

use super::{
    expr::Function,
    number::{Kahan, quantile},
    plan::{Context, Scale, Value, Window},
};
use crate::window::{FloatId, Gain, SpanId, Store};

pub(crate) fn evaluate(
    function: Function,
    window: Window,
    span: SpanId,
    scale: Scale,
    parameter: f64,
    whole: bool,
    cx: &mut Context<'_>,
) -> Value {
    match window {
        Window::Samples(float) => {
            samples(function, cx.store, float, span, parameter).map_or(Value::Absent, Value::Float)
        }
        Window::Counter(counter) => {
            let Some(gain) = cx.store.gain(counter) else { return Value::Absent };
            let factor = match scale {
                Scale::Window => {
                    let factor = extrapolation(&gain, gain.gain, span, cx.store);
                    per_second(function, factor, span, cx.store)
                }
                Scale::Seen => gain.seconds().recip(),
                Scale::Gain => 1.0,
            };
            Value::Float(gain.gain * factor)
        }
        Window::Histogram(window) => {
            let Some(gain) = cx.store.histogram_gain(window) else { return Value::Absent };
            let factor = match scale {
                Scale::Window => {
                    let factor = extrapolation(&gain, gain.gain.count as f64, span, cx.store);
                    per_second(function, factor, span, cx.store)
                }
                Scale::Seen => gain.seconds().recip(),
                Scale::Gain => 1.0,
            };
            if !whole {
                return cx.scratch.put_gain(window, factor);
            }
            cx.scratch.put(|hist| {
                hist.copy(gain.gain);
                hist.scale(factor);
            })
        }
    }
}

fn per_second(function: Function, factor: f64, span: SpanId, store: &Store) -> f64 {
    if function == Function::Rate { factor / store.range_seconds(span) } else { factor }
}

/// What the gain between the first and the last sample is multiplied with to stand for the whole
/// window: samples near a border are taken to go on to it, and a counter to have begun at zero (a
/// histogram not, as in Prometheus).
fn extrapolation<V>(gain: &Gain<V>, gained: f64, span: SpanId, store: &Store) -> f64 {
    let (begin, end) = store.bounds(span);
    let seconds = |from: i128, to: i128| (to - from) as f64 / 1e9;
    let (first, last) = (i128::from(gain.first_time), i128::from(gain.last_time));
    let sampled = gain.seconds();
    let between = sampled / (gain.samples - 1) as f64;
    let threshold = between * 1.1;
    let mut to_start = seconds(begin, first);
    let mut to_end = seconds(last, end);
    if to_start >= threshold {
        to_start = between / 2.0;
    }
    if let Some(first) = gain.first_value.filter(|first| gained > 0.0 && *first >= 0.0) {
        to_start = to_start.min(sampled * (first / gained));
    }
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    (sampled + to_start + to_end) / sampled
}

fn samples(
    function: Function,
    store: &Store,
    float: FloatId,
    span: SpanId,
    parameter: f64,
) -> Option<f64> {
    let all = || store.samples(float, span);
    let values = || all().map(|(_, value)| value);
    let count = || values().count() as f64;
    match function {
        Function::Delta => {
            let (first_time, first) = all().next()?;
            let (last_time, last) = all().next_back()?;
            let samples = all().count() as u64;
            if samples < 2 {
                return None;
            }
            // A gauge may have been below zero before: nothing bounds the extrapolation.
            let gain = Gain { first_time, last_time, first_value: None, samples, gain: () };
            Some((last - first) * extrapolation(&gain, 0.0, span, store))
        }
        Function::Irate | Function::Idelta => {
            let mut back = all().rev();
            let ((last_time, last), (time, before)) = (back.next()?, back.next()?);
            let seconds = (last_time - time) as f64 / 1e9;
            if function == Function::Idelta {
                Some(last - before)
            } else {
                Some(if last < before { last } else { last - before } / seconds)
            }
        }
        Function::Deriv => {
            let (first_time, _) = all().next()?;
            regression(all(), first_time).map(|(slope, _)| slope)
        }
        Function::PredictLinear => {
            let (_, end) = store.bounds(span);
            let now = u64::try_from(end).ok()?.saturating_add(store.offset_nanos(span));
            regression(all(), now).map(|(slope, intercept)| slope * parameter + intercept)
        }
        Function::Changes | Function::Resets => {
            let mut values = values();
            let mut before = values.next()?;
            let mut found = 0_u32;
            for value in values {
                let hit = if function == Function::Resets {
                    value < before
                } else {
                    value != before && !(value.is_nan() && before.is_nan())
                };
                found += u32::from(hit);
                before = value;
            }
            Some(f64::from(found))
        }
        // Each sample of a long window says how many it stands for.
        Function::CountOverTime if store.is_coarse(span) => {
            values().next()?;
            Some(sum(values()))
        }
        Function::CountOverTime => Some(count()).filter(|count| *count > 0.0),
        Function::PresentOverTime | Function::AbsentOverTime => all().next().map(|_| 1.0),
        Function::LastOverTime => values().next_back(),
        Function::SumOverTime => {
            values().next()?;
            Some(sum(values()))
        }
        Function::AvgOverTime => {
            values().next()?;
            Some(average(values))
        }
        // NaN only if all are.
        Function::MinOverTime => values()
            .reduce(|least, value| if value < least || least.is_nan() { value } else { least }),
        Function::MaxOverTime => {
            values().reduce(
                |greatest, value| {
                    if value > greatest || greatest.is_nan() { value } else { greatest }
                },
            )
        }
        Function::StddevOverTime => variance(values()).map(f64::sqrt),
        Function::StdvarOverTime => variance(values()),
        Function::QuantileOverTime => {
            let mut sorted: Vec<f64> = values().collect();
            if sorted.is_empty() {
                return None;
            }
            sort(&mut sorted);
            Some(quantile(parameter, &sorted))
        }
        _ => None,
    }
}

/// Ascending, NaN first, as Prometheus orders them.
pub(crate) fn sort(values: &mut [f64]) {
    values.sort_by(|a, b| {
        b.is_nan()
            .cmp(&a.is_nan())
            .then_with(|| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    });
}

fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut sum = Kahan::default();
    values.for_each(|value| sum.add(value));
    sum.total()
}

/// The sum over the count, or a running mean where the sum would overflow.
fn average<I: Iterator<Item = f64>>(values: impl Fn() -> I) -> f64 {
    let total = sum(values());
    let count = values().count() as f64;
    if total.is_infinite() && values().all(f64::is_finite) {
        return sum(values().map(|value| value / count));
    }
    total / count
}

/// Welford's, with the rounding kept.
pub(crate) fn variance(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut count, mut mean, mut squares) = (0.0, Kahan::default(), Kahan::default());
    for value in values {
        count += 1.0;
        let off = value - mean.total();
        mean.add(off / count);
        squares.add(off * (value - mean.total()));
    }
    (count > 0.0).then(|| squares.total() / count)
}

/// Least squares through at least two samples: slope a second, and the value at `origin`.
fn regression(samples: impl Iterator<Item = (u64, f64)>, origin: u64) -> Option<(f64, f64)> {
    let (mut n, mut constant, mut first) = (0.0, true, None);
    let [mut sum_x, mut sum_y, mut sum_xy, mut sum_x2] = [Kahan::default(); 4];
    for (time, y) in samples {
        let x = (i128::from(time) - i128::from(origin)) as f64 / 1e9;
        constant &= *first.get_or_insert(y) == y;
        n += 1.0;
        sum_x.add(x);
        sum_y.add(y);
        sum_xy.add(x * y);
        sum_x2.add(x * x);
    }
    let first = first.filter(|_| n >= 2.0)?;
    if constant {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let (sum_x, sum_y) = (sum_x.total(), sum_y.total());
    let covariance = sum_xy.total() - sum_x * sum_y / n;
    let variance = sum_x2.total() - sum_x * sum_x / n;
    let slope = covariance / variance;
    Some((slope, sum_y / n - slope * sum_x / n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found() {
        let samples = (0..10).map(|s| (s * 1_000_000_000, 3.0 + 2.0 * s as f64));
        let (slope, at) = regression(samples, 20_000_000_000).unwrap_or_default();
        assert!((slope - 2.0).abs() < 1e-12 && (at - 43.0).abs() < 1e-9, "{slope} {at}");
        assert_eq!(regression([(0, 1.0)].into_iter(), 0), None);
    }

    #[test]
    fn variance_of_large_numbers() {
        let values = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0];
        assert_eq!(variance(values.into_iter()), Some(22.5));
        assert_eq!(variance([].into_iter()), None);
    }
}
