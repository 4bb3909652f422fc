//! What changed.

use std::fmt;

use super::{
    bootstrap::{LEAST_BLOCKS, blocks, interval},
    figures::{Figures, Slice},
    rare::{self, RARE, Share},
};
use crate::instrument::{lower_bound, upper_bound};

/// One figure before and after.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// In the figure's unit.
    pub before: f64,
    /// In the figure's unit.
    pub after: f64,
    /// After ÷ before: 0.8 is a fifth less. Infinite if there was nothing before, NaN if there was
    /// nothing at all.
    pub ratio: f64,
    /// What the ratio lies between with 95% confidence; `None` with too little to go by. Of shares
    /// of failures of which one side has hardly any, that of independent ones; its upper end is
    /// infinite if there were none before.
    pub interval: Option<(f64, f64)>,
}

impl Change {
    /// By how many percent: -20 is a fifth less.
    pub fn percent(&self) -> f64 {
        (self.ratio - 1.0) * 100.0
    }

    /// Whether it is more than chance: the interval leaves "no change" out.
    pub fn is_clear(&self) -> bool {
        self.interval.is_some_and(|(low, high)| low > 1.0 || high < 1.0)
    }
}

/// One query before and after.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueryReport {
    /// Its `db.query.summary`.
    pub name: String,
    /// Calls per second.
    pub rate: Change,
    /// Mean latency, in seconds.
    pub mean: Change,
    /// Median latency, in seconds.
    pub p50: Change,
    /// 95th percentile of the latency, in seconds.
    pub p95: Change,
    /// 99th percentile of the latency, in seconds.
    pub p99: Change,
    /// Share of calls that failed, cancelled ones left out.
    pub error_share: Change,
}

/// What is different; from [`Figures::compare`]. Prints as a table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// What was before, and what after.
    pub names: (String, String),
    /// Calls per second, of all queries.
    pub rate: Change,
    /// The load on the database: connection-seconds per second, which is how many connections were
    /// busy on average. Of measured pools, if both sides have them; else of the queries themselves.
    pub load: Change,
    /// Mean latency in seconds, of the queries both sides have, *at the first one's mix of calls*:
    /// that a cheap query is called more often makes none faster.
    pub query_time: Change,
    /// Share of calls that failed, cancelled ones left out.
    pub error_share: Change,
    /// Each query that both sides have, the one with the most time before first.
    pub queries: Vec<QueryReport>,
    /// Queries only the first side has.
    pub only_before: Vec<String>,
    /// Queries only the second side has.
    pub only_after: Vec<String>,
}

/// One side, in blocks.
struct Side {
    seconds: Vec<f64>,
    held: Vec<f64>,
    all: Vec<Slice>,
}

impl Side {
    fn of(figures: &Figures) -> Self {
        let sums = |of: &[f64]| -> Vec<f64> {
            blocks(figures.seconds.len()).map(|block| of[block].iter().sum()).collect()
        };
        let mut all = vec![Slice::default(); blocks(figures.seconds.len()).count()];
        for query in figures.queries.keys() {
            for (sum, slice) in all.iter_mut().zip(query_blocks(figures, query)) {
                *sum = Slice { buckets: Vec::new(), ..Slice::sum([&*sum, &slice]) };
            }
        }
        Self { seconds: sums(&figures.seconds), held: sums(&figures.held), all }
    }

    fn len(&self) -> usize {
        self.seconds.len()
    }
}

fn query_blocks(figures: &Figures, query: &str) -> Vec<Slice> {
    let slices = figures.queries.get(query).map_or(&[][..], Vec::as_slice);
    blocks(figures.seconds.len())
        .map(|block| {
            let end = block.end.min(slices.len());
            Slice::sum(&slices[block.start.min(end)..end])
        })
        .collect()
}

/// A quotient of two sums over blocks.
fn quotient<T, U>(
    over: &[T],
    under: &[U],
    picked: &[usize],
    top: fn(&T) -> f64,
    low: fn(&U) -> f64,
) -> f64 {
    let sum = picked.iter().map(|at| top(&over[*at])).sum::<f64>();
    sum / picked.iter().map(|at| low(&under[*at])).sum::<f64>()
}

/// The change of a figure made of each side's blocks.
fn change(
    before: usize,
    after: usize,
    one: impl Fn(&[usize]) -> f64,
    two: impl Fn(&[usize]) -> f64,
) -> Change {
    let (first, second) = (one(&all(before)), two(&all(after)));
    let interval = interval(before, after, |before, after| two(after) / one(before));
    Change { before: first, after: second, ratio: second / first, interval }
}

/// The same of a share of failures, whose interval is another where they are rare.
fn failures(mut change: Change, before: &[Slice], after: &[Slice]) -> Change {
    let share = |blocks: &[Slice]| Share {
        events: blocks.iter().map(|block| block.errors).sum(),
        of: blocks.iter().map(|block| block.calls).sum(),
    };
    let (before, after) = (share(before), share(after));
    if before.events < RARE || after.events < RARE {
        change.interval = rare::interval(before, after);
    }
    change
}

fn all(count: usize) -> Vec<usize> {
    (0..count).collect()
}

pub(super) fn compare(before: &Figures, after: &Figures) -> Report {
    let (one, two) = (Side::of(before), Side::of(after));
    let whole = |of: fn(&Side, &[usize]) -> f64| {
        change(one.len(), two.len(), |at| of(&one, at), |at| of(&two, at))
    };
    let load: fn(&Side, &[usize]) -> f64 = if before.has_pools && after.has_pools {
        |side, at| quotient(&side.held, &side.seconds, at, |held| *held, |seconds| *seconds)
    } else {
        |side, at| quotient(&side.all, &side.seconds, at, |all| all.seconds, |seconds| *seconds)
    };
    let only = |one: &Figures, two: &Figures| -> Vec<String> {
        one.queries.keys().filter(|name| !two.queries.contains_key(*name)).cloned().collect()
    };
    let mut shared: Vec<_> =
        before.queries.keys().filter(|name| after.queries.contains_key(*name)).collect();
    let busy = |name: &String| -> f64 { before.queries[name].iter().map(|s| s.seconds).sum() };
    shared.sort_by(|a, b| busy(b).total_cmp(&busy(a)));
    Report {
        names: (before.name.clone(), after.name.clone()),
        rate: whole(|side, at| {
            quotient(&side.all, &side.seconds, at, |all| all.calls as f64, |seconds| *seconds)
        }),
        load: whole(load),
        query_time: query_time(before, after, &shared),
        error_share: failures(whole(error_share_of), &one.all, &two.all),
        queries: shared.iter().map(|name| query(before, after, (&one, &two), name)).collect(),
        only_before: only(before, after),
        only_after: only(after, before),
    }
}

fn error_share_of(side: &Side, at: &[usize]) -> f64 {
    quotient(&side.all, &side.all, at, |all| all.errors as f64, |all| all.calls as f64)
}

/// Mean latency at the first side's mix of calls.
fn query_time(before: &Figures, after: &Figures, shared: &[&String]) -> Change {
    let of = |figures| -> Vec<Vec<Slice>> {
        shared.iter().map(|name| query_blocks(figures, name)).collect()
    };
    let (one, two) = (of(before), of(after));
    let calls = |blocks: &[Slice]| blocks.iter().map(|block| block.calls as f64).sum::<f64>();
    let weights: Vec<_> = one.iter().map(|blocks| calls(blocks)).collect();
    let mean = |queries: &[Vec<Slice>], at: &[usize]| {
        let mean =
            |blocks: &Vec<Slice>| quotient(blocks, blocks, at, |b| b.seconds, |b| b.calls as f64);
        let sum: f64 = queries.iter().zip(&weights).map(|(q, weight)| mean(q) * weight).sum();
        sum / weights.iter().sum::<f64>()
    };
    let (before, after) =
        (blocks(before.seconds.len()).count(), blocks(after.seconds.len()).count());
    change(before, after, |at| mean(&one, at), |at| mean(&two, at))
}

/// Made of a query's blocks and their side, of the blocks picked.
type Figure = dyn Fn(&[Slice], &Side, &[usize]) -> f64;

fn query(before: &Figures, after: &Figures, sides: (&Side, &Side), name: &str) -> QueryReport {
    let (one, two) = (query_blocks(before, name), query_blocks(after, name));
    let change = |of: &Figure| {
        change(one.len(), two.len(), |at| of(&one, sides.0, at), |at| of(&two, sides.1, at))
    };
    let quantile = |q: f64| change(&move |blocks, _, at| quantile(blocks, at, q));
    let error_share = change(&|blocks, _, at| {
        quotient(blocks, blocks, at, |block| block.errors as f64, |block| block.calls as f64)
    });
    QueryReport {
        name: name.to_owned(),
        rate: change(&|blocks, side, at| {
            quotient(blocks, &side.seconds, at, |block| block.calls as f64, |seconds| *seconds)
        }),
        mean: change(&|blocks, _, at| {
            quotient(blocks, blocks, at, |block| block.seconds, |block| block.calls as f64)
        }),
        p50: quantile(0.5),
        p95: quantile(0.95),
        p99: quantile(0.99),
        error_share: failures(error_share, &one, &two),
    }
}

/// Within its bucket in proportion, as Prometheus has it.
fn quantile(blocks: &[Slice], picked: &[usize], q: f64) -> f64 {
    let filled = blocks.iter().filter(|block| !block.buckets.is_empty());
    let (Some(first), Some(last)) = (
        filled.clone().map(|block| block.buckets[0].0).min(),
        filled.filter_map(|block| block.buckets.last()).map(|bucket| bucket.0).max(),
    ) else {
        return f64::NAN;
    };
    let mut counts = vec![0_u64; (last - first) as usize + 1];
    let mut below = 0.0;
    for block in picked.iter().map(|at| &blocks[*at]) {
        below += block.zero as f64;
        for (index, count) in &block.buckets {
            counts[(index - first) as usize] += count;
        }
    }
    let rank = q * (below + counts.iter().sum::<u64>() as f64);
    if below > 0.0 && rank <= below {
        return 0.0;
    }
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (count, index) = (*count as f64, first + at as i32);
        if below + count >= rank {
            let (low, high) = (lower_bound(index), upper_bound(index));
            return low + (high - low) * ((rank - below) / count);
        }
        below += count;
    }
    f64::NAN
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (&self.names.0, &self.names.1);
        let width =
            self.queries.iter().map(|query| query.name.len() + 7).max().unwrap_or(0).max(28);
        writeln!(f, "{:width$}  {before:>12}  {after:>12}  change (95% interval)", "")?;
        let row =
            |f: &mut fmt::Formatter<'_>, what: &str, change: &Change, show: fn(f64) -> String| {
                let show =
                    |value: f64| if value.is_finite() { show(value) } else { "-".to_owned() };
                let (before, after) = (show(change.before), show(change.after));
                writeln!(f, "{what:width$}  {before:>12}  {after:>12}  {change}")
            };
        row(f, "queries per second", &self.rate, |v| format!("{v:.1}"))?;
        row(f, "load, connections busy", &self.load, |v| format!("{v:.3}"))?;
        row(f, "query time, at the same mix", &self.query_time, seconds)?;
        row(f, "failed", &self.error_share, |v| format!("{:.3}%", v * 100.0))?;
        for query in &self.queries {
            let name = &query.name;
            row(f, &format!("{name}, /s"), &query.rate, |v| format!("{v:.1}"))?;
            for (what, change) in [
                ("mean", &query.mean),
                ("p50", &query.p50),
                ("p95", &query.p95),
                ("p99", &query.p99),
            ] {
                row(f, &format!("{name}, {what}"), change, seconds)?;
            }
        }
        for (name, only) in [(before, &self.only_before), (after, &self.only_after)] {
            if !only.is_empty() {
                writeln!(f, "only {name}: {}", only.join(", "))?;
            }
        }
        if self.rate.interval.is_none() {
            writeln!(f, "no intervals: they need at least {LEAST_BLOCKS} ticks on each side")?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ratio: f64| format!("{:+.1}%", (ratio - 1.0) * 100.0);
        if !self.ratio.is_finite() {
            if self.after == self.before || self.after.is_nan() {
                return f.write_str("none");
            }
            return match self.interval {
                Some((low, _)) if low > 1.0 => write!(f, "new (at least {low:.1} times as much)"),
                Some(_) => f.write_str("new, not clear"),
                None => f.write_str("new"),
            };
        }
        f.write_str(&percent(self.ratio))?;
        match self.interval {
            Some((low, high)) => write!(f, " ({} to {})", percent(low), percent(high))?,
            None => return Ok(()),
        }
        if self.is_clear() { Ok(()) } else { f.write_str(", not clear") }
    }
}

fn seconds(value: f64) -> String {
    match value {
        v if v >= 1.0 => format!("{v:.3} s"),
        v if v >= 1e-3 => format!("{:.3} ms", v * 1e3),
        v => format!("{:.3} µs", v * 1e6),
    }
}
