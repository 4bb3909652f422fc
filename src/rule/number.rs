//! Arithmetic on what a slot may hold: numbers, and histograms of fractional counts.

use super::{
    expr::{BinaryOp, Function},
    plan::Value,
};
use crate::{
    instrument::{SCALE, lower_bound, upper_bound},
    window::{Counts, Dense, HistogramWindowId},
};

#[inline]
pub(crate) fn arithmetic(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        _ => f64::NAN,
    }
}

#[inline]
pub(crate) fn compare(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Greater => left > right,
        BinaryOp::GreaterEqual => left >= right,
        BinaryOp::Less => left < right,
        BinaryOp::LessEqual => left <= right,
        _ => false,
    }
}

/// A function of one value; `None` where PromQL yields nothing.
pub(crate) fn map(function: Function, value: f64, a: f64, b: f64) -> Option<f64> {
    Some(match function {
        Function::Abs => value.abs(),
        Function::Ceil => value.ceil(),
        Function::Floor => value.floor(),
        Function::Round => {
            // As Prometheus does it: multiplied by the inverse, halves rounded up.
            let inverse = 1.0 / if a.is_nan() { 1.0 } else { a };
            (value * inverse + 0.5).floor() / inverse
        }
        Function::Clamp if a > b => return None,
        Function::Clamp => minimum(maximum(value, a), b),
        Function::ClampMin => maximum(value, a),
        Function::ClampMax => minimum(value, a),
        Function::Sgn if value < 0.0 => -1.0,
        Function::Sgn if value > 0.0 => 1.0,
        Function::Sgn => value,
        Function::Sqrt => value.sqrt(),
        Function::Exp => value.exp(),
        Function::Ln => value.ln(),
        Function::Log2 => value.log2(),
        Function::Log10 => value.log10(),
        _ => return None,
    })
}

/// Go's `math.Max`: NaN if either is.
fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// A sum that keeps what rounding loses (Kahan, Neumaier), as Prometheus sums.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kahan {
    sum: f64,
    lost: f64,
}

impl Kahan {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - sum) + value;
        } else {
            self.lost += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    #[inline]
    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// The φ-quantile of sorted values, interpolated between neighbours.
pub(crate) fn quantile(q: f64, sorted: &[f64]) -> f64 {
    if sorted.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (sorted.len() - 1) as f64;
    let low = rank.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    let weight = rank - rank.floor();
    sorted[low] * (1.0 - weight) + sorted[high] * weight
}

/// Fractional bucket counts from `offset` on.
#[derive(Debug, Default, Clone)]
struct Buckets {
    offset: i32,
    counts: Vec<f64>,
}

impl Buckets {
    fn copy(&mut self, from: &Dense) {
        self.offset = from.offset;
        self.counts.clear();
        self.counts.extend(from.counts.iter().map(|count| *count as f64));
    }

    fn add(&mut self, other: &Self, factor: f64) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            self.offset = other.offset;
        }
        if other.offset < self.offset {
            let more = (self.offset - other.offset) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0.0, more));
            self.offset = other.offset;
        }
        let start = (other.offset - self.offset) as usize;
        if self.counts.len() < start + other.counts.len() {
            self.counts.resize(start + other.counts.len(), 0.0);
        }
        for (own, other) in self.counts[start..].iter_mut().zip(&other.counts) {
            *own += other * factor;
        }
    }
}

/// A histogram as expressions handle it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Hist {
    positive: Buckets,
    negative: Buckets,
    zero: f64,
    pub(crate) count: f64,
    sum: f64,
}

/// Which bucket; its bounds are computed only for the one that is wanted.
#[derive(Clone, Copy)]
enum Place {
    Negative(i32),
    Zero,
    Positive(i32),
}

impl Place {
    fn lower(self) -> f64 {
        match self {
            Self::Negative(index) => -upper_bound(index),
            Self::Zero => 0.0,
            Self::Positive(index) => lower_bound(index),
        }
    }

    fn upper(self) -> f64 {
        match self {
            Self::Negative(index) => -lower_bound(index),
            Self::Zero => 0.0,
            Self::Positive(index) => upper_bound(index),
        }
    }

    /// The value at this fraction of the bucket, on a logarithmic scale.
    fn at(self, fraction: f64) -> f64 {
        let exponent = |at: f64| (at / f64::from(1 << SCALE)).exp2();
        match self {
            Self::Zero => 0.0,
            Self::Positive(index) => exponent(f64::from(index) + fraction),
            Self::Negative(index) => -exponent(f64::from(index) + 1.0 - fraction),
        }
    }

    /// Which fraction of the bucket lies below a bound that is within it.
    fn fraction(self, bound: f64) -> f64 {
        let exponent = bound.abs().log2() * f64::from(1 << SCALE);
        match self {
            Self::Zero => 0.0,
            Self::Positive(index) => exponent - f64::from(index),
            Self::Negative(index) => f64::from(index) + 1.0 - exponent,
        }
    }
}

impl Hist {
    pub(crate) fn copy(&mut self, from: &Counts) {
        self.positive.copy(&from.positive);
        self.negative.copy(&from.negative);
        self.zero = from.zero as f64;
        self.count = from.count as f64;
        self.sum = from.sum;
    }

    pub(crate) fn copy_hist(&mut self, from: &Self) {
        for (own, other) in
            [(&mut self.positive, &from.positive), (&mut self.negative, &from.negative)]
        {
            own.offset = other.offset;
            own.counts.clear();
            own.counts.extend_from_slice(&other.counts);
        }
        (self.zero, self.count, self.sum) = (from.zero, from.count, from.sum);
    }

    pub(crate) fn scale(&mut self, factor: f64) {
        for count in self.positive.counts.iter_mut().chain(&mut self.negative.counts) {
            *count *= factor;
        }
        self.zero *= factor;
        self.count *= factor;
        self.sum *= factor;
    }

    /// Adds `factor` times the other.
    pub(crate) fn add(&mut self, other: &Self, factor: f64) {
        self.positive.add(&other.positive, factor);
        self.negative.add(&other.negative, factor);
        self.zero += other.zero * factor;
        self.count += other.count * factor;
        self.sum += other.sum * factor;
    }

    fn view(&self) -> View<'_, f64> {
        let Self { positive, negative, zero, count, sum } = self;
        View {
            positive: Side { offset: positive.offset, counts: &positive.counts },
            negative: Side { offset: negative.offset, counts: &negative.counts },
            factor: 1.0,
            zero: *zero,
            count: *count,
            sum: *sum,
        }
    }

    pub(crate) fn ask(&self, function: Function, a: f64, b: f64) -> f64 {
        self.view().ask(function, a, b)
    }
}

/// Asks `factor` times these: the same as of a scaled copy, without the copy.
pub(crate) fn ask(of: &Counts, factor: f64, function: Function, a: f64, b: f64) -> f64 {
    let Counts { positive, negative, .. } = of;
    let view = View {
        positive: Side { offset: positive.offset, counts: &positive.counts },
        negative: Side { offset: negative.offset, counts: &negative.counts },
        factor,
        zero: of.zero as f64 * factor,
        count: of.count as f64 * factor,
        sum: of.sum * factor,
    };
    view.ask(function, a, b)
}

trait Count: Copy {
    fn number(self) -> f64;
}

impl Count for f64 {
    #[inline]
    fn number(self) -> f64 {
        self
    }
}

impl Count for u64 {
    #[inline]
    fn number(self) -> f64 {
        self as f64
    }
}

/// Bucket counts from `offset` on.
struct Side<'a, N> {
    offset: i32,
    counts: &'a [N],
}

impl<N: Count> Side<'_, N> {
    fn iter(&self, factor: f64) -> impl DoubleEndedIterator<Item = (i32, f64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .map(move |(at, count)| (self.offset + at as i32, count.number() * factor))
            .filter(|(_, count)| *count != 0.0)
    }
}

/// A histogram to be asked; of its buckets only, `factor` times what there is.
struct View<'a, N> {
    positive: Side<'a, N>,
    negative: Side<'a, N>,
    factor: f64,
    zero: f64,
    count: f64,
    sum: f64,
}

impl<N: Count> View<'_, N> {
    fn ask(&self, function: Function, a: f64, b: f64) -> f64 {
        match function {
            Function::HistogramCount => self.count,
            Function::HistogramSum => self.sum,
            Function::HistogramAvg => self.sum / self.count,
            Function::HistogramQuantile => self.quantile(a),
            Function::HistogramFraction => self.fraction(a, b),
            _ => f64::NAN,
        }
    }

    /// All populated buckets, from the lowest value on.
    fn buckets(&self) -> impl DoubleEndedIterator<Item = (Place, f64)> + '_ {
        let negative =
            self.negative.iter(self.factor).rev().map(|(at, count)| (Place::Negative(at), count));
        let zero = (self.zero != 0.0).then_some((Place::Zero, self.zero));
        let positive =
            self.positive.iter(self.factor).map(|(at, count)| (Place::Positive(at), count));
        negative.chain(zero).chain(positive)
    }

    /// As Prometheus 3 does it: within an exponential bucket interpolated on a logarithmic scale.
    fn quantile(&self, q: f64) -> f64 {
        if q < 0.0 {
            return f64::NEG_INFINITY;
        }
        if q > 1.0 {
            return f64::INFINITY;
        }
        if self.count == 0.0 || q.is_nan() {
            return f64::NAN;
        }
        // From the nearer end, as Prometheus does: fewer buckets, and the same rounding.
        let upwards = q < 0.5;
        let wanted = if upwards { q } else { 1.0 - q } * self.count;
        let mut seen = 0.0;
        let mut found = None;
        let mut look = |(place, count): (Place, f64)| {
            seen += count;
            found = Some((place, count));
            seen >= wanted
        };
        if upwards {
            self.buckets().any(&mut look);
        } else {
            self.buckets().rev().any(&mut look);
        }
        let Some((place, count)) = found else { return f64::NAN };
        let seen = seen.min(self.count);
        let rank = if upwards { wanted - (seen - count) } else { seen - wanted };
        place.at(rank / count)
    }

    /// The share of values between two bounds, as Prometheus estimates it.
    fn fraction(&self, lower: f64, upper: f64) -> f64 {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        (self.below(upper) - self.below(lower)) / self.count
    }

    /// The estimated number of values up to a bound.
    fn below(&self, bound: f64) -> f64 {
        let mut sum = 0.0;
        for (place, count) in self.buckets() {
            if matches!(place, Place::Zero) && bound == 0.0 {
                return sum + count * self.zeros_below_zero();
            } else if place.upper() <= bound {
                sum += count;
            } else if place.lower() < bound {
                return sum + count * place.fraction(bound);
            } else {
                break;
            }
        }
        sum
    }

    /// Which share of the zeros Prometheus takes to be below zero: to it, their bucket has a width,
    /// and extends to where there are other values.
    fn zeros_below_zero(&self) -> f64 {
        let some = |side: &Side<'_, N>| side.iter(self.factor).next().is_some();
        match (some(&self.negative), some(&self.positive)) {
            (false, true) => 0.0,
            (true, false) => 1.0,
            _ => 0.5,
        }
    }
}

/// The histograms of one evaluation; buffers are kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    hists: Vec<Hist>,
    used: usize,
    /// What is only asked something: which window, and how many times what it has.
    gains: Vec<(HistogramWindowId, f64)>,
}

impl Scratch {
    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.gains.clear();
    }

    pub(crate) fn gain(&self, at: u32) -> (HistogramWindowId, f64) {
        self.gains[at as usize]
    }

    pub(crate) fn put_gain(&mut self, window: HistogramWindowId, factor: f64) -> Value {
        self.gains.push((window, factor));
        Value::Gained(self.gains.len() as u32 - 1)
    }

    pub(crate) fn get(&self, at: u32) -> &Hist {
        &self.hists[at as usize]
    }

    /// A new one, filled by `fill`; it holds whatever it held before.
    pub(crate) fn put(&mut self, fill: impl FnOnce(&mut Hist)) -> Value {
        if self.used == self.hists.len() {
            self.hists.push(Hist::default());
        }
        fill(&mut self.hists[self.used]);
        self.used += 1;
        Value::Histogram(self.used as u32 - 1)
    }

    /// A changed copy of another.
    pub(crate) fn map(&mut self, from: u32, change: impl FnOnce(&mut Hist)) -> Value {
        let value = self.put(|_| ());
        let (below, own) = self.hists.split_at_mut(self.used - 1);
        own[0].copy_hist(&below[from as usize]);
        change(&mut own[0]);
        value
    }

    /// Adds `factor` times one to another.
    pub(crate) fn add(&mut self, to: u32, from: u32, factor: f64) {
        let (to, from) = (to as usize, from as usize);
        if from < to {
            let (below, own) = self.hists.split_at_mut(to);
            own[0].add(&below[from], factor);
        } else if to < from {
            let (own, above) = self.hists.split_at_mut(from);
            own[to].add(&above[0], factor);
        } else {
            self.hists[to].scale(1.0 + factor);
        }
    }

    pub(crate) fn scale(&mut self, at: u32, factor: f64) {
        self.hists[at as usize].scale(factor);
    }

    pub(crate) fn bytes(&self) -> usize {
        let buckets = |b: &Buckets| b.counts.capacity() * size_of::<f64>();
        let hist = |hist: &Hist| buckets(&hist.positive) + buckets(&hist.negative);
        self.hists.iter().map(|one| size_of::<Hist>() + hist(one)).sum::<usize>()
            + self.gains.capacity() * size_of::<(HistogramWindowId, f64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hist(positive: &[(i32, f64)], zero: f64) -> Hist {
        let mut hist = Hist { zero, ..Hist::default() };
        for &(offset, count) in positive {
            hist.positive.add(&Buckets { offset, counts: vec![count] }, 1.0);
        }
        hist.count = zero + positive.iter().map(|(_, count)| count).sum::<f64>();
        hist
    }

    #[test]
    fn quantiles_interpolate_on_a_logarithmic_scale() {
        // One bucket, (1, 2^(1/32)]: the median is at half of the exponent.
        let one = hist(&[(0, 10.0)], 0.0);
        assert!((one.view().quantile(0.5) - 2_f64.powf(0.5 / 32.0)).abs() < 1e-12);
        assert!((one.view().quantile(1.0) - 2_f64.powf(1.0 / 32.0)).abs() < 1e-12);
        assert!((one.view().quantile(0.0) - 1.0).abs() < 1e-12);
        assert_eq!(one.view().quantile(-0.1), f64::NEG_INFINITY);
        assert_eq!(one.view().quantile(1.1), f64::INFINITY);
        assert!(hist(&[], 0.0).view().quantile(0.5).is_nan());
        // A quarter of the values is zero.
        let mixed = hist(&[(0, 1.0), (32, 2.0)], 1.0);
        assert_eq!(mixed.view().quantile(0.2), 0.0);
        assert!((mixed.view().quantile(0.75) - 2_f64.powf(32.5 / 32.0)).abs() < 1e-12);
        assert_eq!(mixed.view().fraction(0.0, 9.0), 1.0);
    }

    #[test]
    fn buckets_merge_at_either_end() {
        let mut hist = hist(&[(0, 1.0)], 0.0);
        let other = Hist {
            positive: Buckets { offset: -2, counts: vec![1.0, 0.0, 3.0, 4.0] },
            count: 8.0,
            ..Hist::default()
        };
        hist.add(&other, 2.0);
        assert_eq!(hist.positive.offset, -2);
        assert_eq!(hist.positive.counts, [2.0, 0.0, 7.0, 8.0]);
        assert_eq!(hist.count, 17.0);
    }

    #[test]
    fn sums_keep_what_rounding_loses() {
        let mut sum = Kahan::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 2.0);
    }
}
