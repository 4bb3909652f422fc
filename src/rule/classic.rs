//! `histogram_quantile` of series with an `le` label, as Prometheus 3 computes it
//! (`promql/quantile.go`).

use super::plan::{Below, NodeId, Value};

/// One group is one histogram: its slots with their upper bounds, ascending.
#[derive(Debug)]
pub(crate) struct Classic {
    pub(crate) quantile: NodeId,
    pub(crate) of: NodeId,
    pub(crate) groups: Vec<Vec<(f64, u32)>>,
    /// Upper bound and cumulative count of those present; kept for its buffer.
    pub(crate) buckets: Vec<(f64, f64)>,
}

impl Classic {
    pub(crate) fn evaluate(&mut self, below: Below<'_>, out: &mut [Value]) {
        let q = below.scalar(self.quantile);
        let of = below.values(self.of);
        for (out, group) in out.iter_mut().zip(&self.groups) {
            self.buckets.clear();
            self.buckets.extend(
                group.iter().filter_map(|&(le, slot)| Some((le, of[slot as usize].float()?))),
            );
            *out = if self.buckets.is_empty() {
                Value::Absent
            } else {
                Value::Float(quantile(q, &mut self.buckets))
            };
        }
    }
}

/// How far a cumulative count may fall, relatively, to be taken for rounding.
const TOLERANCE: f64 = 1e-12;

fn quantile(q: f64, buckets: &mut Vec<(f64, f64)>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // Two spellings of one bound (`1`, `1.0`) are one bucket.
    buckets.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 += later.1;
        }
        same
    });
    let mut before = buckets.first().map_or(0.0, |bucket| bucket.1);
    for bucket in buckets.iter_mut().skip(1) {
        let close = (bucket.1 - before).abs() <= TOLERANCE * (bucket.1.abs() + before.abs());
        if bucket.1 < before || close {
            bucket.1 = before;
        }
        before = bucket.1;
    }
    let [.., (below_top, _), (top, observations)] = buckets[..] else { return f64::NAN };
    if top != f64::INFINITY || observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    let rank = q * observations;
    let last = buckets.len() - 1;
    let at = buckets[..last].partition_point(|bucket| bucket.1 < rank);
    if at == last {
        return below_top;
    }
    let (end, count) = buckets[at];
    if at == 0 {
        return if end <= 0.0 { end } else { end * (rank / count) };
    }
    let (start, seen) = buckets[at - 1];
    start + (end - start) * ((rank - seen) / (count - seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_numbers() {
        let ask = |q: f64, buckets: &[(f64, f64)]| quantile(q, &mut buckets.to_vec());
        let buckets = [(0.1, 10.0), (0.5, 30.0), (f64::INFINITY, 40.0)];
        assert!((ask(0.125, &buckets) - 0.05).abs() < 1e-12);
        assert!((ask(0.5, &buckets) - 0.3).abs() < 1e-12);
        assert_eq!(ask(0.9, &buckets), 0.5);
        assert!(ask(0.5, &buckets[..2]).is_nan());
        assert!(ask(0.5, &[(f64::INFINITY, 1.0)]).is_nan());
        assert_eq!(ask(2.0, &buckets), f64::INFINITY);
    }

    #[test]
    fn counts_are_made_to_rise() {
        let mut buckets = vec![(1.0, 10.0), (2.0, 8.0), (f64::INFINITY, 20.0)];
        assert_eq!(quantile(0.5, &mut buckets), 1.0);
        assert_eq!(buckets[1].1, 10.0);
    }
}
