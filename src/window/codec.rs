//! One histogram delta as bytes: about one byte a populated bucket, where a vector of pairs takes
//! sixteen. This is what makes five minutes of a thousand histograms fit 32 MiB.
//!
//! A record is `zero positive negative`; a side is its number of runs, then the runs, each a head
//! and the counts of up to eight adjacent buckets. A head is `zigzag(gap) << 3 | (length - 1)`, the
//! gap counted from the end of the run before. All numbers are LEB128. Only bytes written by
//! [`encode`] are ever decoded.

use std::collections::VecDeque;

use crate::instrument::Delta;

/// What is in a record, in order.
pub(super) enum Item {
    Zero(u64),
    Positive(i32, u64),
    Negative(i32, u64),
}

fn put(out: &mut VecDeque<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push_back(value as u8 | 0x80);
        value >>= 7;
    }
    out.push_back(value as u8);
}

fn zigzag(value: i32) -> u64 {
    let value = i64::from(value);
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i32 {
    ((value >> 1) as i64 ^ -((value & 1) as i64)) as i32
}

pub(super) fn encode(delta: &Delta, out: &mut VecDeque<u8>) {
    put(out, delta.zero);
    side(&delta.positive, out);
    side(&delta.negative, out);
}

/// The lengths of the runs of adjacent buckets, each at most eight.
fn runs(buckets: &[(i32, u64)]) -> impl Iterator<Item = &[(i32, u64)]> {
    buckets.chunk_by(|a, b| a.0.checked_add(1) == Some(b.0)).flat_map(|adjacent| adjacent.chunks(8))
}

fn side(buckets: &[(i32, u64)], out: &mut VecDeque<u8>) {
    put(out, runs(buckets).count() as u64);
    let mut end = 0_i32;
    for run in runs(buckets) {
        let Some(&(index, _)) = run.first() else { continue };
        put(out, zigzag(index.wrapping_sub(end)) << 3 | (run.len() as u64 - 1));
        for &(_, count) in run {
            put(out, count);
        }
        end = index.wrapping_add(run.len() as i32);
    }
}

/// Hands every item of the record at `at` to `each` and gives the position after it.
pub(super) fn decode(bytes: &VecDeque<u8>, at: usize, mut each: impl FnMut(Item)) -> usize {
    // A range iterator, not indexing: it knows the ring's two halves.
    let mut rest = bytes.range(at..);
    let mut read = 0_usize;
    let mut next = || {
        let (mut value, mut shift) = (0_u64, 0);
        for byte in rest.by_ref() {
            read += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 || shift > 63 {
                break;
            }
        }
        value
    };
    each(Item::Zero(next()));
    for item in [Item::Positive as fn(i32, u64) -> Item, Item::Negative] {
        let mut end = 0_i32;
        for _ in 0..next() {
            let head = next();
            let index = end.wrapping_add(unzigzag(head >> 3));
            let length = (head & 7) as i32 + 1;
            for offset in 0..length {
                each(item(index.wrapping_add(offset), next()));
            }
            end = index.wrapping_add(length);
        }
    }
    at + read
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(bytes: &VecDeque<u8>, at: usize) -> (Delta, usize) {
        let mut delta = Delta::default();
        let end = decode(bytes, at, |item| match item {
            Item::Zero(count) => delta.zero = count,
            Item::Positive(index, count) => delta.positive.push((index, count)),
            Item::Negative(index, count) => delta.negative.push((index, count)),
        });
        (delta, end)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            sides in proptest::collection::vec(proptest::collection::btree_map(-2000..2000_i32, 1..u64::MAX, 0..40), 2),
            zero: u64,
            skip in 0..100_usize,
        ) {
            let mut bytes = VecDeque::new();
            bytes.extend(std::iter::repeat_n(0_u8, skip));
            let delta = Delta {
                zero,
                positive: sides[0].clone().into_iter().collect(),
                negative: sides[1].clone().into_iter().collect(),
                ..Delta::default()
            };
            encode(&delta, &mut bytes);
            let (back, end) = decoded(&bytes, skip);
            prop_assert_eq!(end, bytes.len());
            prop_assert_eq!((back.zero, back.positive, back.negative), (delta.zero, delta.positive, delta.negative));
        }
    }

    #[test]
    fn forty_adjacent_buckets_take_forty_eight_bytes() {
        let mut bytes = VecDeque::new();
        let positive = (-8..32).map(|index| (index, 3)).collect();
        encode(&Delta { positive, ..Delta::default() }, &mut bytes);
        assert_eq!(bytes.len(), 3 + 5 + 40);
    }
}
