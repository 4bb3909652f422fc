//! Which bucket a value falls in: OpenTelemetry's base-2 exponential layout, upper-inclusive.

/// 2⁵ buckets an octave: each is 2.19% wide, its midpoint at most 1.1% from any value in it.
pub(crate) const SCALE: i32 = 5;

/// The index of a positive, finite value: `lower_bound(i) < value <= upper_bound(i)`.
#[inline]
pub(crate) fn index(value: f64) -> i32 {
    (value.log2() * 32.0).ceil() as i32 - 1
}

/// The exclusive lower bound of a bucket.
pub(crate) fn lower_bound(index: i32) -> f64 {
    (f64::from(index) / 32.0).exp2()
}

/// The inclusive upper bound of a bucket.
pub(crate) fn upper_bound(index: i32) -> f64 {
    lower_bound(index + 1)
}
