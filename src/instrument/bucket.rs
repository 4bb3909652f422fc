//! Which bucket a value falls in: OpenTelemetry's base-2 exponential layout at scale 5,
//! upper-inclusive: bucket `i` holds `2^(i/32) < value <= 2^((i+1)/32)`.
//!
//! No logarithm: the exponent gives the octave, and the top six bits of the mantissa choose one of
//! 64 cells of a 512-byte table. Within a cell lies at most one of the octave's 32 boundaries
//! (they are at least 0.0218 apart, a cell is 0.0156 wide), so one comparison decides. The
//! boundaries are irrational but for the powers of two, so comparing with the boundary rounded
//! *down* to a double is exact.

/// 2⁵ buckets an octave: each is 2.19% wide, its midpoint at most 1.1% from any value in it.
pub(crate) const SCALE: i32 = 5;

/// Buckets in an octave.
pub(crate) const PER_OCTAVE: usize = 1 << SCALE;

const MANTISSA_BITS: u32 = 52;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
const CELL_SHIFT: u32 = MANTISSA_BITS - 6;

/// ⌊(2^(j/32) − 1)·2⁵²⌋: the mantissa of the greatest double at or below each boundary.
#[rustfmt::skip]
const BOUNDARIES: [u64; PER_OCTAVE] = [
    0x0, 0x59b0d3158574, 0xb5586cf9890f, 0x11301d0125b50,
    0x172b83c7d517a, 0x1d4873168b9aa, 0x2387a6e756238, 0x29e9df51fdee1,
    0x306fe0a31b715, 0x371a7373aa9ca, 0x3dea64c123422, 0x44e086061892d,
    0x4bfdad5362a27, 0x5342b569d4f81, 0x5ab07dd485429, 0x6247eb03a5584,
    0x6a09e667f3bcc, 0x71f75e8ec5f73, 0x7a11473eb0186, 0x82589994cce12,
    0x8ace5422aa0db, 0x93737b0cdc5e4, 0x9c49182a3f090, 0xa5503b23e255c,
    0xae89f995ad3ad, 0xb7f76f2fb5e46, 0xc199bdd85529c, 0xcb720dcef9069,
    0xd5818dcfba487, 0xdfc97337b9b5e, 0xea4afa2a490d9, 0xf50765b6e4540,
];

/// By cell: how many boundaries lie below it, in the top twelve bits; and the mantissa of the one
/// inside it, or of none (all ones: no mantissa is greater).
static CELLS: [u64; 64] = {
    let mut cells = [0; 64];
    let mut cell = 0;
    while cell < 64 {
        let (start, end) = ((cell as u64) << CELL_SHIFT, (cell as u64 + 1) << CELL_SHIFT);
        let (mut below, mut inside, mut within) = (0, MANTISSA, 0);
        let mut j = 0;
        while j < PER_OCTAVE {
            if BOUNDARIES[j] < start {
                below += 1;
            } else if BOUNDARIES[j] < end {
                inside = BOUNDARIES[j];
                within += 1;
            }
            j += 1;
        }
        assert!(within <= 1, "two boundaries in one cell");
        cells[cell] = (below << MANTISSA_BITS) | inside;
        cell += 1;
    }
    cells
};

/// The index of a positive, finite value.
#[cfg(test)]
pub(crate) fn index(value: f64) -> i32 {
    let (octave, bucket) = place(value);
    octave * PER_OCTAVE as i32 + bucket as i32
}

/// The octave of a positive, finite value's bucket, and which of the octave's it is.
#[inline]
pub(super) fn place(value: f64) -> (i32, usize) {
    if value < f64::MIN_POSITIVE { subnormal_place(value) } else { normal_place(value) }
}

/// The place of the absolute value of a normal number.
#[inline]
pub(super) fn normal_place(value: f64) -> (i32, usize) {
    // A power of two is the last of the octave below it.
    let octave = binade(value) - i32::from(value.to_bits() & MANTISSA == 0);
    (octave, in_octave(value))
}

/// Which of its octave's a normal number's bucket is.
#[inline]
pub(super) fn in_octave(value: f64) -> usize {
    boundaries_below(value).wrapping_sub(1) % PER_OCTAVE
}

/// ⌊log2⌋ of a normal number.
#[inline]
fn binade(value: f64) -> i32 {
    debug_assert!(value.is_normal());
    (value.to_bits() >> MANTISSA_BITS) as i32 % 2048 - 1023
}

/// How many of its binade's boundaries, 2^(0/32) to 2^(31/32), a number is above.
#[inline]
fn boundaries_below(value: f64) -> usize {
    let mantissa = value.to_bits() & MANTISSA;
    let cell = CELLS[(mantissa >> CELL_SHIFT) as usize];
    (cell >> MANTISSA_BITS) as usize + usize::from(mantissa > (cell & MANTISSA))
}

#[cold]
fn subnormal_place(value: f64) -> (i32, usize) {
    // Scaled by 2⁵⁴ it is normal, and exact.
    let (octave, bucket) = normal_place(value * 18_014_398_509_481_984.0);
    (octave - 54, bucket)
}

/// The last bucket below a bound, if the bound does not cut one: `i32::MIN` is what is not above
/// zero, `i32::MAX` all.
pub(crate) fn bucket_up_to(bound: f64) -> Option<i32> {
    if bound == f64::INFINITY {
        return Some(i32::MAX);
    }
    if bound == 0.0 {
        return Some(i32::MIN);
    }
    let index = (bound.log2() * PER_OCTAVE as f64).round() as i32 - 1;
    (bound > 0.0 && (upper_bound(index) / bound - 1.0).abs() < 1e-12).then_some(index)
}

/// The inclusive upper bound of a bucket, as the greatest double in it.
pub(crate) fn upper_bound(index: i32) -> f64 {
    lower_bound(index.saturating_add(1))
}

/// The exclusive lower bound of a bucket, as the greatest double not in it: zero below the
/// smallest double, the greatest finite one above it.
pub(crate) fn lower_bound(index: i32) -> f64 {
    let octave = index.div_euclid(PER_OCTAVE as i32);
    let mantissa = BOUNDARIES[index.rem_euclid(PER_OCTAVE as i32) as usize];
    if octave > 1023 {
        return f64::MAX;
    }
    if octave >= -1022 {
        return f64::from_bits((((octave + 1023) as u64) << MANTISSA_BITS) | mantissa);
    }
    // Below the smallest normal double the mantissa loses its low bits, rounded down like the
    // boundaries themselves.
    let lost = -1022 - octave;
    if lost > MANTISSA_BITS as i32 {
        return 0.0;
    }
    f64::from_bits(((1 << MANTISSA_BITS) | mantissa) >> lost)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The greatest `i` with `2^(i/32) < value`, by exact integers: within an octave
    /// `m > 2^(j/32)` is `m³² > 2^j`.
    fn defined_index(value: f64) -> i32 {
        let (mut exponent, mut scaled) = (0, value);
        while scaled < 1.0 {
            scaled *= 2.0;
            exponent -= 1;
        }
        while scaled >= 2.0 {
            scaled /= 2.0;
            exponent += 1;
        }
        // Boundaries ascend: find the first that is not exceeded.
        let (mut below, mut above) = (0, 32);
        while below < above {
            let middle = (below + above) / 2;
            if pow32_exceeds(scaled, middle) {
                below = middle + 1;
            } else {
                above = middle;
            }
        }
        exponent * 32 - 1 + below as i32
    }

    /// `m³² > 2^j` for `1 <= m < 2`, in integers of as many bits as it takes.
    fn pow32_exceeds(m: f64, j: u32) -> bool {
        let mantissa = (m.to_bits() & MANTISSA) | (1 << MANTISSA_BITS);
        let mut power = vec![mantissa];
        for _ in 0..5 {
            power = square(&power);
        }
        // m³² = power / 2^(52·32)
        let bit = 52 * 32 + j as usize;
        let mut bound = vec![0u64; bit / 64 + 1];
        bound[bit / 64] = 1 << (bit % 64);
        let len = power.len().max(bound.len());
        power.resize(len, 0);
        bound.resize(len, 0);
        power.iter().rev().gt(bound.iter().rev())
    }

    fn square(of: &[u64]) -> Vec<u64> {
        let mut product = vec![0u64; of.len() * 2];
        for (i, &a) in of.iter().enumerate() {
            let mut carry = 0u128;
            for (j, &b) in of.iter().enumerate() {
                let sum = u128::from(product[i + j]) + u128::from(a) * u128::from(b) + carry;
                product[i + j] = sum as u64;
                carry = sum >> 64;
            }
            product[i + of.len()] = carry as u64;
        }
        product
    }

    #[test]
    fn worked_numbers() {
        assert_eq!(index(1.0), -1); // 2^(-1/32) < 1 <= 2^0
        assert_eq!(index(1.0 + f64::EPSILON), 0);
        assert_eq!(index(2.0), 31);
        assert_eq!(index(1.5), 18); // log2(1.5)·32 = 18.7
        assert_eq!(index(0.001), -319); // log2(0.001)·32 = -318.9
    }

    #[test]
    fn equal_to_the_definition_around_every_boundary_of_eighty_octaves() {
        for i in -40 * 32..=40 * 32 {
            let bound = lower_bound(i);
            for ulp in -3..=3i64 {
                let value = f64::from_bits((bound.to_bits() as i64 + ulp) as u64);
                assert_eq!(index(value), defined_index(value), "{value:e}, {ulp} ulp off {i}");
            }
        }
    }

    #[test]
    fn every_octave_of_the_doubles_has_its_powers_of_two_right() {
        for octave in -1074..=1023 {
            let power = if octave < -1022 {
                f64::from_bits(1 << (octave + 1074))
            } else {
                f64::from_bits(((octave + 1023) as u64) << 52)
            };
            assert_eq!(index(power), octave * 32 - 1, "2^{octave}");
            let next = power.next_up();
            if octave >= -1022 {
                assert_eq!(index(next), octave * 32, "above 2^{octave}");
            }
        }
    }

    #[test]
    fn bounds_are_the_greatest_doubles_of_their_buckets() {
        for i in -1022 * 32..1023 * 32 + 31 {
            let upper = upper_bound(i);
            assert_eq!(index(upper), i, "{i}");
            assert_eq!(index(upper.next_up()), i + 1, "{i}");
        }
        assert_eq!(index(f64::MAX), 1023 * 32 + 31);
        assert_eq!(upper_bound(1023 * 32 + 31), f64::MAX);
        let least = f64::from_bits(1);
        assert_eq!(index(least), -1074 * 32 - 1);
        assert_eq!(lower_bound(index(least)), 0.0);
        assert_eq!(upper_bound(index(least)), least);
    }

    proptest::proptest! {
        #[test]
        fn any_double_is_within_its_bucket(bits in 1..0x7ff0_0000_0000_0000u64) {
            let value = f64::from_bits(bits);
            let i = index(value);
            proptest::prop_assert!(lower_bound(i) < value && value <= upper_bound(i));
            if value.is_normal() {
                let (_, bucket) = place(value);
                proptest::prop_assert_eq!([in_octave(value), in_octave(-value)], [bucket; 2]);
            }
        }
    }
}
