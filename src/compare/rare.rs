//! Intervals for what hardly ever happens: drawing blocks of time anew says nothing of failures there
//! were none of. Given how many there were in all, which side a failure falls on is a coin whose bias
//! the ratio of the two rates is; its exact interval (Clopper and Pearson 1934) is that of the ratio.
//! Failures are taken to be independent: those that come in bursts deserve a wider one.

/// Fewer than this on either side are rare.
pub(super) const RARE: u64 = 5;

/// Events, and out of how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) events: u64,
    pub(super) of: u64,
}

/// What `after`'s rate ÷ `before`'s lies between with 95% confidence. Nothing of no events at all.
pub(super) fn interval(before: Share, after: Share) -> Option<(f64, f64)> {
    let all = before.events + after.events;
    if all == 0 || before.of == 0 || after.of == 0 {
        return None;
    }
    let size = before.of as f64 / after.of as f64;
    let odds = |p: f64| if p < 1.0 { p / (1.0 - p) } else { f64::INFINITY };
    if after.events <= before.events {
        let (low, high) = bias(after.events, all);
        Some((odds(low) * size, odds(high) * size))
    } else {
        let (low, high) = bias(before.events, all);
        Some((size / odds(high), size / odds(low)))
    }
}

/// Between which a coin's bias lies that showed `few` heads in `all` throws.
fn bias(few: u64, all: u64) -> (f64, f64) {
    let solve = |most: u64, chance: f64| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            if at_most(most, all, middle) > chance { low = middle } else { high = middle }
        }
        high
    };
    let low = if few == 0 { 0.0 } else { solve(few - 1, 0.975) };
    let high = if few == all { 1.0 } else { solve(few, 0.025) };
    (low, high)
}

/// The chance of at most so many heads.
fn at_most(most: u64, all: u64, p: f64) -> f64 {
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return if most >= all { 1.0 } else { 0.0 };
    }
    let n = all as f64;
    // In logarithms: of many throws the first term alone is next to nothing.
    let mut term = n * (-p).ln_1p();
    let mut sum = term.exp();
    for k in 0..most {
        let k = k as f64;
        term += ((n - k) / (k + 1.0)).ln() + p.ln() - (-p).ln_1p();
        sum += term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(before: (u64, u64), after: (u64, u64)) -> Option<(f64, f64)> {
        let share = |(events, of)| Share { events, of };
        interval(share(before), share(after))
    }

    fn close(a: f64, b: f64) -> bool {
        a == b || (a / b - 1.0).abs() < 1e-3
    }

    #[test]
    fn none_before_is_not_certainly_none() {
        // The bias of a coin that fell on one side n times is at least 0.025^(1/n).
        for n in [1, 5, 50_u64] {
            let (low, high) = of((0, 1_000), (n, 1_000)).unwrap();
            let p = 0.025_f64.powf(1.0 / n as f64);
            assert!(close(low, p / (1.0 - p)) && high == f64::INFINITY, "{n}: {low} {high}");
            // The other way round it is the other way round.
            let (none, most) = of((n, 1_000), (0, 1_000)).unwrap();
            assert!(none == 0.0 && close(most, 1.0 / low), "{none} {most}");
        }
        assert!(of((0, 1_000), (1, 1_000)).unwrap().0 < 1.0, "one proves nothing");
        assert!(of((0, 1_000), (6, 1_000)).unwrap().0 > 1.0, "six do");
        assert!(of((0, 100), (6, 1_000)).unwrap().0 < 1.0, "but not of ten times the calls");
        assert_eq!(of((0, 10), (0, 10)), None);
        assert_eq!(of((0, 0), (3, 10)), None);
    }

    #[test]
    fn few_have_the_textbooks_interval() {
        // 4 of 14: Clopper and Pearson give 0.0839 to 0.5810.
        let (low, high) = of((10, 500), (4, 500)).unwrap();
        assert!(close(low, 0.0839 / 0.9161) && close(high, 0.5810 / 0.4190), "{low} {high}");
        let (low, high) = of((2, 100), (1_000_000, 2_000_000)).unwrap();
        assert!(low < 25.0 && high > 25.0 && low > 5.0 && high.is_finite(), "{low} {high}");
    }
}
