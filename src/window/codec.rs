//! One histogram delta as bytes: about one byte a populated bucket, where a vector of pairs takes
//! sixteen. This is what makes five minutes of a thousand histograms fit 32 MiB.
//!
//! A record is `zero positive negative`; a side is its number of runs, then the runs, each a head
//! and the counts of up to [`RUN`] adjacent buckets. A head is `zigzag(gap) << 3 | (length - 1)`,
//! the gap counted from the end of the run before. All numbers are LEB128. Only bytes written by
//! [`encode`] are ever decoded.

/// Bucket indices with their counts, ascending.
/// Indices and counts: `u32` as they come, `u64` where ticks were added up.
pub(super) type Buckets<'a, N> = &'a [(i32, N)];

/// How many adjacent buckets share a head; decoded together, for the sake of speed.
pub(super) const RUN: usize = 8;

/// The buckets above zero, or those below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Positive,
    Negative,
}

/// What takes a decoded record.
pub(super) trait Visit {
    fn zero(&mut self, count: u64);
    /// Counts of adjacent buckets, the first of which is `first`; at most [`RUN`].
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

/// The lengths of the runs of adjacent buckets.
fn runs<N>(buckets: Buckets<'_, N>) -> impl Iterator<Item = Buckets<'_, N>> {
    buckets
        .chunk_by(|a, b| a.0.checked_add(1) == Some(b.0))
        .flat_map(|adjacent| adjacent.chunks(RUN))
}

fn side<N: Copy + Into<u64>>(buckets: Buckets<'_, N>, out: &mut Vec<u8>) {
    put(out, runs(buckets).count() as u64);
    let mut end = 0_i32;
    for run in runs(buckets) {
        let Some(&(index, _)) = run.first() else { continue };
        put(out, zigzag(index.wrapping_sub(end)) << 3 | (run.len() as u64 - 1));
        for &(_, count) in run {
            put(out, count.into());
        }
        end = index.wrapping_add(run.len() as i32);
    }
}

/// Hands all of a record to `to`.
pub(super) fn decode(record: &[u8], to: &mut impl Visit) {
    let mut rest = record;
    to.zero(next(&mut rest));
    for side in [Side::Positive, Side::Negative] {
        let mut end = 0_i32;
        for _ in 0..next(&mut rest) {
            let head = next(&mut rest);
            let first = end.wrapping_add(unzigzag(head >> 3));
            let length = (head & 7) as usize + 1;
            let mut counts = [0; RUN];
            // Nearly always each count is one byte.
            if let Some(bytes) = rest.first_chunk::<RUN>().filter(|bytes| plain(bytes, length)) {
                counts = bytes.map(u64::from);
                rest = &rest[length..];
            } else {
                for count in &mut counts[..length] {
                    *count = next(&mut rest);
                }
            }
            to.run(side, first, &counts[..length]);
            end = first.wrapping_add(length as i32);
        }
    }
}

/// Whether none of the first bytes goes on in the next.
#[inline]
fn plain(bytes: &[u8; RUN], length: usize) -> bool {
    let high = u64::from_le_bytes(*bytes) & 0x8080_8080_8080_8080;
    high & (u64::MAX >> (8 * (RUN - length))) == 0
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
            self.sides[side as usize].extend((first..).zip(counts.iter().copied()));
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
            prop_assert_eq!(back.sides, [positive, negative]);
        }
    }

    #[test]
    fn forty_adjacent_buckets_take_forty_eight_bytes() {
        let mut bytes = Vec::new();
        let positive: Vec<_> = (-8..32).map(|index| (index, 3_u32)).collect();
        encode(0, &positive, &[], &mut bytes);
        assert_eq!(bytes.len(), 3 + 5 + 40);
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
