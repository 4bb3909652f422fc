//! Aggregation over groups of slots, with Prometheus' arithmetic.

use super::{
    expr::AggregateOp,
    number::{Kahan, Scratch, quantile},
    plan::Value,
    range,
};

/// What one group gathers in one evaluation.
#[derive(Debug, Default)]
pub(crate) struct Accumulator {
    count: u64,
    sum: Kahan,
    least: f64,
    greatest: f64,
    /// A sum of histograms, in the scratch.
    histogram: Option<u32>,
    /// Both numbers and histograms came: there is no sum of that.
    mixed: bool,
    /// For what needs all values at once.
    values: Vec<f64>,
}

impl Accumulator {
    fn clear(&mut self) {
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        *self = Self { values, least: f64::NAN, greatest: f64::NAN, ..Self::default() };
    }
}

pub(crate) fn evaluate(
    op: AggregateOp,
    parameter: f64,
    of: &[Value],
    group: &[u32],
    groups: &mut [Accumulator],
    out: &mut [Value],
    scratch: &mut Scratch,
) {
    groups.iter_mut().for_each(Accumulator::clear);
    for (value, group) in of.iter().zip(group) {
        gather(op, *value, &mut groups[*group as usize], scratch);
    }
    if matches!(op, AggregateOp::Topk | AggregateOp::Bottomk) {
        select(op, parameter, of, group, groups, out);
        return;
    }
    for (out, group) in out.iter_mut().zip(groups) {
        *out = conclude(op, parameter, group, scratch);
    }
}

fn gather(op: AggregateOp, value: Value, group: &mut Accumulator, scratch: &mut Scratch) {
    match value {
        Value::Absent | Value::Gained(_) => {}
        Value::Float(value) => {
            group.count += 1;
            match op {
                AggregateOp::Sum | AggregateOp::Avg => {
                    group.mixed |= group.histogram.is_some();
                    group.sum.add(value);
                    if op == AggregateOp::Avg {
                        group.values.push(value);
                    }
                }
                AggregateOp::Min => {
                    if value < group.least || group.least.is_nan() {
                        group.least = value;
                    }
                }
                AggregateOp::Max => {
                    if value > group.greatest || group.greatest.is_nan() {
                        group.greatest = value;
                    }
                }
                AggregateOp::Count | AggregateOp::Group => {}
                _ => group.values.push(value),
            }
        }
        Value::Histogram(at) => match op {
            AggregateOp::Sum | AggregateOp::Avg => {
                group.mixed |= group.count > 0 && group.histogram.is_none();
                group.count += 1;
                match group.histogram {
                    Some(sum) => scratch.add(sum, at, 1.0),
                    None => {
                        if let Value::Histogram(sum) = scratch.map(at, |_| ()) {
                            group.histogram = Some(sum);
                        }
                    }
                }
            }
            AggregateOp::Count | AggregateOp::Group => group.count += 1,
            // As Prometheus: histograms have no order.
            _ => {}
        },
    }
}

fn conclude(
    op: AggregateOp,
    parameter: f64,
    group: &mut Accumulator,
    scratch: &mut Scratch,
) -> Value {
    if group.count == 0 || group.mixed {
        return Value::Absent;
    }
    let count = group.count as f64;
    let number = match op {
        AggregateOp::Sum | AggregateOp::Avg => {
            if let Some(at) = group.histogram {
                if op == AggregateOp::Avg {
                    scratch.scale(at, 1.0 / count);
                }
                return Value::Histogram(at);
            }
            let sum = group.sum.total();
            if op == AggregateOp::Sum {
                sum
            } else if sum.is_infinite() && group.values.iter().all(|value| value.is_finite()) {
                let mut mean = Kahan::default();
                group.values.iter().for_each(|value| mean.add(value / count));
                mean.total()
            } else {
                sum / count
            }
        }
        AggregateOp::Min => group.least,
        AggregateOp::Max => group.greatest,
        AggregateOp::Count => count,
        AggregateOp::Group => 1.0,
        AggregateOp::Stdvar | AggregateOp::Stddev => {
            let Some(variance) = range::variance(group.values.iter().copied()) else {
                return Value::Absent;
            };
            if op == AggregateOp::Stdvar { variance } else { variance.sqrt() }
        }
        AggregateOp::Quantile => {
            range::sort(&mut group.values);
            quantile(parameter, &group.values)
        }
        AggregateOp::Topk | AggregateOp::Bottomk => return Value::Absent,
    };
    Value::Float(number)
}

/// The k greatest or least of each group keep their labels; NaN comes last.
fn select(
    op: AggregateOp,
    parameter: f64,
    of: &[Value],
    group: &[u32],
    groups: &mut [Accumulator],
    out: &mut [Value],
) {
    let k = if parameter >= 1.0 { parameter as usize } else { 0 };
    let farther = |a: f64, b: f64| if op == AggregateOp::Topk { a > b } else { a < b };
    for group in groups.iter_mut() {
        group.values.sort_by(|a, b| {
            a.is_nan().cmp(&b.is_nan()).then_with(|| {
                let order = a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
                if op == AggregateOp::Topk { order.reverse() } else { order }
            })
        });
        // How many equal to the last chosen one may be taken, counted down below.
        let last = group.values.get(k.wrapping_sub(1)).or(group.values.last()).copied();
        let Some(last) = last.filter(|_| k > 0) else {
            group.count = 0;
            continue;
        };
        let better = group
            .values
            .iter()
            .filter(|value| !ties(**value, last) && (last.is_nan() || farther(**value, last)));
        group.count = (k.min(group.values.len()) - better.count()) as u64;
        group.least = last;
    }
    for ((out, value), group) in out.iter_mut().zip(of).zip(group) {
        let group = &mut groups[*group as usize];
        let Some(number) = value.float().filter(|_| k > 0) else {
            *out = Value::Absent;
            continue;
        };
        let last = group.least;
        let taken = if ties(number, last) {
            let left = group.count > 0;
            group.count = group.count.saturating_sub(1);
            left
        } else {
            !number.is_nan() && (last.is_nan() || farther(number, last))
        };
        *out = if taken { *value } else { Value::Absent };
    }
}

fn ties(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: AggregateOp, parameter: f64, of: &[f64]) -> Vec<Option<f64>> {
        let of: Vec<_> = of.iter().map(|value| Value::Float(*value)).collect();
        let per_slot = matches!(op, AggregateOp::Topk | AggregateOp::Bottomk);
        let mut out = vec![Value::Absent; if per_slot { of.len() } else { 1 }];
        let group = vec![0; of.len()];
        let mut groups = [Accumulator::default()];
        evaluate(op, parameter, &of, &group, &mut groups, &mut out, &mut Scratch::default());
        out.into_iter().map(Value::float).collect()
    }

    #[test]
    fn topk_takes_the_first_of_equals_and_nan_last() {
        let all = [3.0, 1.0, 3.0, f64::NAN, 2.0];
        assert_eq!(run(AggregateOp::Topk, 1.0, &all), [Some(3.0), None, None, None, None]);
        assert_eq!(
            run(AggregateOp::Topk, 3.0, &all),
            [Some(3.0), None, Some(3.0), None, Some(2.0)]
        );
        assert_eq!(run(AggregateOp::Bottomk, 2.0, &all), [None, Some(1.0), None, None, Some(2.0)]);
        assert_eq!(run(AggregateOp::Topk, 5.0, &all).iter().flatten().count(), 5);
        assert_eq!(run(AggregateOp::Topk, 0.0, &all).iter().flatten().count(), 0);
    }

    #[test]
    fn the_rest_by_worked_numbers() {
        let all = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(run(AggregateOp::Sum, 0.0, &all), [Some(10.0)]);
        assert_eq!(run(AggregateOp::Avg, 0.0, &all), [Some(2.5)]);
        assert_eq!(run(AggregateOp::Min, 0.0, &all), [Some(1.0)]);
        assert_eq!(run(AggregateOp::Max, 0.0, &all), [Some(4.0)]);
        assert_eq!(run(AggregateOp::Count, 0.0, &all), [Some(4.0)]);
        assert_eq!(run(AggregateOp::Stdvar, 0.0, &all), [Some(1.25)]);
        assert_eq!(run(AggregateOp::Quantile, 0.5, &all), [Some(2.5)]);
        assert_eq!(run(AggregateOp::Avg, 0.0, &[f64::MAX, f64::MAX]), [Some(f64::MAX)]);
        assert_eq!(run(AggregateOp::Sum, 0.0, &[]), [None]);
    }
}
