//! One histogram delta as bytes: about one byte a populated bucket, where a vector of pairs takes
//! sixteen. This is what makes five minutes of a thousand histograms fit 32 MiB.
//!
//! A record is `zero positive negative`; a side is its blocks, then a zero. A block is what is
//! populated of [`WIDTH`] adjacent buckets, from a populated one on: a head, which of them, and their
//! counts. A head is `(zigzag(gap) << 1 | adjacent) + 1`, the gap counted from the end of the block
//! before; which of them is a bit for each, or how many where they are adjacent. Numbers are LEB128.
//! Only bytes written by [`encode`] are ever decoded.

/// Bucket indices with their counts, ascending.
/// Indices and counts: `u32` as they come, `u64` where ticks were added up.
pub(super) type Buckets<'a, N> = &'a [(i32, N)];

/// How many adjacent buckets share a head; decoded together, for the sake of speed.
const WIDTH: usize = 16;

/// The buckets above zero, or those below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Positive,
    Negative,
}

/// What takes a decoded record.
pub(super) trait Visit {
    fn zero(&mut self, count: u64);
    /// Counts of adjacent buckets, the first of which is `first`. Some within may be zero.
    fn run(&mut self, side: Side, first: i32, counts: &[u64]);
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i32) -> u64 {
    let value = i64::from(value);
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i32 {
    ((value >> 1) as i64 ^ -((value & 1) as i64)) as i32
}

/// Appends a record.
pub(super) fn encode<N: Copy + Into<u64>>(
    zero: u64,
    positive: Buckets<'_, N>,
    negative: Buckets<'_, N>,
    out: &mut Vec<u8>,
) {
    put(out, zero);
    side(positive, out);
    side(negative, out);
}

fn side<N: Copy + Into<u64>>(mut buckets: Buckets<'_, N>, out: &mut Vec<u8>) {
    let mut end = 0_i32;
    while let Some(&(first, _)) = buckets.first() {
        let (mut which, mut length) = (0_u16, 0);
        let (mut bytes, mut bits) = ([0; WIDTH], 0_u64);
        for (&(index, count), byte) in buckets.iter().zip(&mut bytes) {
            let at = index.wrapping_sub(first) as u32;
            // Beyond the block, or not beyond the bucket before: that one came twice.
            if at >= WIDTH as u32 || which >> at != 0 {
                break;
            }
            which |= 1 << at;
            length += 1;
            let count = count.into();
            bits |= count;
            *byte = count as u8;
        }
        let (block, more) = buckets.split_at(length);
        let adjacent = which & which.wrapping_add(1) == 0;
        put(out, (zigzag(first.wrapping_sub(end)) << 1 | u64::from(adjacent)) + 1);
        if adjacent {
            out.push(length as u8);
        } else {
            out.extend_from_slice(&which.to_le_bytes());
        }
        // Nearly always each count is one byte: all are copied at once, at a length that is known.
        if bits < 0x80 {
            out.extend_from_slice(&bytes);
            out.truncate(out.len() - (WIDTH - length));
        } else {
            block.iter().for_each(|&(_, count)| put(out, count.into()));
        }
        end = first.wrapping_add(WIDTH as i32);
        buckets = more;
    }
    out.push(0);
}

/// Hands all of a record to `to`; more may follow it.
pub(super) fn decode(record: &[u8], to: &mut impl Visit) {
    let mut rest = record;
    to.zero(next(&mut rest));
    for side in [Side::Positive, Side::Negative] {
        let mut end = 0_i32;
        while let Some(head) = next(&mut rest).checked_sub(1) {
            let first = end.wrapping_add(unzigzag(head >> 1));
            end = first.wrapping_add(WIDTH as i32);
            let adjacent = head & 1 != 0;
            let mut which = if adjacent {
                let length = take(&mut rest, |[length]| u32::from(length));
                (1_u32 << length.min(WIDTH as u32)).wrapping_sub(1) as u16
            } else {
                take(&mut rest, u16::from_le_bytes)
            };
            let width = WIDTH - which.leading_zeros() as usize;
            let length = which.count_ones() as usize;
            let mut counts = [0; WIDTH];
            let plain = rest.first_chunk::<WIDTH>().filter(|bytes| is_plain(bytes, length));
            match plain {
                Some(bytes) if adjacent => counts = bytes.map(u64::from),
                Some(bytes) => {
                    for byte in &bytes[..length] {
                        counts[which.trailing_zeros() as usize % WIDTH] = u64::from(*byte);
                        which &= which.wrapping_sub(1);
                    }
                }
                None => {
                    while which != 0 {
                        counts[which.trailing_zeros() as usize % WIDTH] = next(&mut rest);
                        which &= which - 1;
                    }
                }
            }
            if plain.is_some() {
                rest = &rest[length..];
            }
            to.run(side, first, &counts[..width]);
        }
    }
}

/// Whether none of the first bytes goes on in the next.
#[inline]
fn is_plain(bytes: &[u8; WIDTH], length: usize) -> bool {
    let more = u128::from_le_bytes(*bytes) & 0x8080_8080_8080_8080_8080_8080_8080_8080;
    more == 0 || more.trailing_zeros() as usize >= 8 * length
}

/// Past the end all is zero.
#[inline]
fn take<const N: usize, T>(rest: &mut &[u8], from: impl FnOnce([u8; N]) -> T) -> T {
    let (bytes, more) = rest.split_first_chunk().unwrap_or((&[0; N], &[]));
    *rest = more;
    from(*bytes)
}

/// Past the end all is zero.
#[inline]
fn next(rest: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0_u64, 0);
    while let Some((byte, more)) = rest.split_first() {
        *rest = more;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 63 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Decoded {
        zero: u64,
        sides: [Vec<(i32, u64)>; 2],
    }

    impl Visit for Decoded {
        fn zero(&mut self, count: u64) {
            self.zero = count;
        }

        fn run(&mut self, side: Side, first: i32, counts: &[u64]) {
            let populated = (first..).zip(counts.iter().copied()).filter(|(_, count)| *count > 0);
            self.sides[side as usize].extend(populated);
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            sides in proptest::collection::vec(
                proptest::collection::btree_map(-2000..2000_i32, prop_oneof![1..200_u64, 1..u64::MAX], 0..40), 2),
            dense in proptest::collection::vec(1..130_u64, 0..40),
            zero: u64,
        ) {
            let mut positive = sides[0].clone();
            positive.extend((7..).zip(dense));
            let positive: Vec<_> = positive.into_iter().collect();
            let negative: Vec<_> = sides[1].clone().into_iter().collect();
            let mut bytes = Vec::new();
            encode(zero, &positive, &negative, &mut bytes);
            let mut back = Decoded::default();
            decode(&bytes, &mut back);
            prop_assert_eq!(back.zero, zero);
            let sides = [positive, negative];
            prop_assert_eq!(&back.sides, &sides);
            // What lies behind it changes nothing.
            let mut followed = Decoded::default();
            bytes.extend([0xff; 40]);
            decode(&bytes, &mut followed);
            prop_assert_eq!(&followed.sides, &sides);
        }
    }

    #[test]
    fn a_record_takes_little_more_than_a_byte_a_bucket() {
        let length = |step| {
            let mut bytes = Vec::new();
            let positive: Vec<_> = (0..40).map(|at| (at * step - 8, 3_u32)).collect();
            encode(0, &positive, &[], &mut bytes);
            bytes.len()
        };
        assert_eq!(length(1), 3 + 3 * 2 + 40);
        assert_eq!(length(3), 3 + 7 * 3 + 40);
    }

    #[test]
    fn a_bucket_may_come_twice() {
        let mut bytes = Vec::new();
        let positive = [(3, 1_u32), (4, 200), (4, 7), (9, 2), (9, 5)];
        encode(0, &positive, &[], &mut bytes);
        let mut back = Decoded::default();
        decode(&bytes, &mut back);
        assert_eq!(back.sides[0], positive.map(|(index, count)| (index, u64::from(count))));
    }

    #[test]
    fn a_torn_record_ends_early_and_harms_nothing() {
        let mut bytes = Vec::new();
        encode(1 << 40, &[(3, 1_u64 << 50), (4, 2)], &[(-1, 9)], &mut bytes);
        for end in 0..bytes.len() {
            decode(&bytes[..end], &mut Decoded::default());
        }
    }
}
