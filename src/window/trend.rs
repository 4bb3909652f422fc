//! Where a usage is going: how fast it truly grows, or that it does not.
//!
//! Two points make no trend, and memory is not a straight line: collectors draw saws, caches fill
//! up and stop, a burst comes and goes. So:
//!
//! - The slope is the median of the slopes between all pairs of points (Theil 1950, Sen 1968): up
//!   to 29% of the points may lie anywhere. Kendall's variance gives a bound that the true
//!   slope exceeds but once in ten thousand times; no trend unless even that is positive. A step in an
//!   otherwise flat line leaves it at zero.
//! - It is looked for at three [`SCALES`] at once, each of [`POINTS`] points. A point of a coarser
//!   scale is the *least* usage in its time, so a saw is seen as its troughs.
//! - A scale foretells no more than twice the time it has seen.
//! - What grows ever slower is extrapolated as a geometric series, which may end below the limit:
//!   then there is no exhaustion to foresee. A cache that warms up is such a one.
//! - Usage that fell by a [`DROP`] shows that the height it fell from can be recovered from. Below
//!   that height a rise proves nothing, for as long as it is [`REMEMBERED`], unless the troughs of
//!   the coarsest scale rise, or it goes on [`LONGER`] than the rise that was recovered from. (The
//!   first tooth of a saw cannot be told from a leak.)
//!
//! Pure: time is an argument. About 3 µs a push, about 10 µs a forecast, no allocation.

use std::time::Duration;

/// Points a scale keeps.
const POINTS: usize = 24;
/// Fewer are no trend.
const LEAST_POINTS: usize = 10;
/// The time between two points of each scale.
const SCALES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(6), Duration::from_secs(36)];
const FINEST: usize = 0;
const COARSEST: usize = SCALES.len() - 1;
const PAIRS: usize = POINTS * (POINTS - 1) / 2;
/// One-sided; asked every second, 99% would be wrong once in two minutes.
const QUANTILE: f64 = 3.7;
/// A step is this share of a rise within two points.
const AT_ONCE: f64 = 0.45;
/// What grows by so much less in the newer half than in the older one levels off.
const SHRINKS: f64 = 0.8;
/// These tell whether growth has just stopped…
const LAST_POINTS: usize = 6;
/// …which is so: they cannot have grown by this share of what the newer half did.
const STOPPED: f64 = 0.3;
/// Each scale foretells at most so many times what it has seen.
const REACH: [f64; SCALES.len()] = [2.0, 1.8, 1.8];
/// A fall by this share of the height is a recovery.
const DROP: f64 = 0.1;
const REMEMBERED: Duration = Duration::from_secs(1_800);
/// A rise that lasts so many times as long as the one before is another kind of rise.
const LONGER: u32 = 2;
/// Up to this share of the way from trough to peak it has hardly begun.
const FOOT: f64 = 0.25;

/// What can be foreseen of one limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Forecast {
    /// Units a second, as of late.
    pub(crate) slope: f64,
    /// What the slope all but certainly exceeds; above zero.
    pub(crate) least_slope: f64,
    /// Zero if the limit is reached.
    pub(crate) time_to_limit: Duration,
}

/// One usage's past.
#[derive(Debug, Clone)]
pub(crate) struct Trend {
    scales: [Scale; SCALES.len()],
    rise: Rise,
    recovered: Option<Recovery>,
    last: Option<(Duration, f64)>,
}

/// What has been since the last recovery.
#[derive(Debug, Clone, Copy, Default)]
struct Rise {
    peak: f64,
    peak_at: Duration,
    trough: f64,
    /// When it was last near the trough; `None` before anybody looked.
    begun: Option<Duration>,
}

impl Rise {
    /// After a fall.
    fn from(at: Duration, usage: f64) -> Self {
        Self { peak: usage, peak_at: at, trough: usage, begun: Some(at) }
    }

    /// At the first sight.
    fn under_way(at: Duration, usage: f64) -> Self {
        Self { begun: None, ..Self::from(at, usage) }
    }

    fn push(&mut self, at: Duration, usage: f64) {
        if usage > self.peak {
            (self.peak, self.peak_at) = (usage, at);
        }
        self.trough = self.trough.min(usage);
        if usage <= self.trough + FOOT * (self.peak - self.trough) {
            self.begun = Some(at);
        }
    }

    /// From trough to peak; for ever, if it began before anybody looked.
    fn time(&self) -> Duration {
        self.begun.map_or(Duration::MAX, |begun| self.peak_at.saturating_sub(begun))
    }
}

/// A fall.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    at: Duration,
    /// From here.
    height: f64,
    /// How long it had risen to there.
    rise: Duration,
}

impl Trend {
    pub(crate) fn new() -> Self {
        Self { scales: SCALES.map(Scale::new), rise: Rise::default(), recovered: None, last: None }
    }

    /// Forgets the past: the clock jumped, or the limit is another's.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Usage as measured `at` a time since some origin. What is not later than the last, or no
    /// finite number, is left out.
    pub(crate) fn push(&mut self, at: Duration, usage: f64) {
        if !usage.is_finite() || self.last.is_some_and(|(last, _)| at <= last) {
            return;
        }
        if self.last.replace((at, usage)).is_none() {
            self.rise = Rise::under_way(at, usage);
            return self.scales.iter_mut().for_each(|scale| scale.push(at, usage));
        }
        // How long it took is known by where the fall finds it.
        let took = self.rise.time();
        self.rise.push(at, usage);
        if usage < self.rise.peak * (1.0 - DROP) {
            let new = Recovery { at, height: self.rise.peak, rise: took };
            self.recovered = Some(match self.remembered(at) {
                // Of two that are remembered the higher counts, and the slower.
                Some(old) if old.height > new.height => {
                    Recovery { at, rise: old.rise.max(took), ..old }
                }
                _ => new,
            });
            self.rise = Rise::from(at, usage);
        }
        for scale in &mut self.scales {
            scale.push(at, usage);
        }
    }

    fn remembered(&self, now: Duration) -> Option<Recovery> {
        self.recovered.filter(|of| now.saturating_sub(of.at) <= REMEMBERED)
    }

    /// Whether such a rise was recovered from before.
    fn is_known(&self, now: Duration, usage: f64) -> bool {
        let lasts = now.saturating_sub(self.rise.begun.unwrap_or_default());
        self.remembered(now)
            .is_some_and(|of| usage <= of.height && lasts <= of.rise.saturating_mul(LONGER))
    }

    /// When `limit` is reached; `None` if there is no trend, or it leads nowhere near.
    pub(crate) fn forecast(&self, limit: f64) -> Option<Forecast> {
        let (now, usage) = self.last?;
        let known = self.is_known(now, usage);
        let mut soonest: Option<Forecast> = None;
        // What a coarser scale sees levelling off: to that slope, and not below it.
        let mut levelling = f64::NEG_INFINITY;
        for (at, scale) in self.scales.iter().enumerate().rev() {
            let Some(view) = &scale.view else { continue };
            let seconds = view.seconds_for((limit - usage).max(0.0));
            if !seconds.is_finite() {
                levelling = levelling.max(view.lately);
                continue;
            }
            // Growth that a few seconds alone have seen is a burst.
            let is_burst = at == FINEST && view.before <= STOPPED * view.lately;
            let elsewhere = known && at != COARSEST;
            if view.lately <= levelling || !view.is_trend() || is_burst || elsewhere {
                continue;
            }
            if seconds > REACH[at] * view.seen {
                continue;
            }
            let Ok(time_to_limit) = Duration::try_from_secs_f64(seconds) else { continue };
            let forecast =
                Forecast { slope: view.lately, least_slope: view.whole.least, time_to_limit };
            if soonest.is_none_or(|before| time_to_limit < before.time_to_limit) {
                soonest = Some(forecast);
            }
        }
        soonest
    }
}

/// Evenly spaced points, oldest first.
#[derive(Debug, Clone)]
struct Scale {
    spacing: Duration,
    points: [(f64, f64); POINTS],
    length: usize,
    /// The point in the making: when it ends, and the least so far.
    open: Option<(Duration, f64)>,
    /// Of the points so far, if they are enough.
    view: Option<View>,
}

impl Scale {
    fn new(spacing: Duration) -> Self {
        Self { spacing, points: [(0.0, 0.0); POINTS], length: 0, open: None, view: None }
    }

    fn push(&mut self, at: Duration, usage: f64) {
        let (end, least) = match self.open {
            Some((end, least)) if at < end => (end, least.min(usage)),
            Some((end, least)) => {
                self.close(end, least);
                (at + self.spacing, usage)
            }
            None => (at + self.spacing, usage),
        };
        self.open = Some((end, least));
    }

    fn close(&mut self, at: Duration, least: f64) {
        if self.length == POINTS {
            self.points.copy_within(1.., 0);
            self.length -= 1;
        }
        self.points[self.length] = (at.as_secs_f64(), least);
        self.length += 1;
        self.view = self.look();
    }

    fn look(&self) -> Option<View> {
        let points = &self.points[..self.length];
        if points.len() < LEAST_POINTS {
            return None;
        }
        let (older, newer) = points.split_at(points.len() / 2);
        let spacing = self.spacing.as_secs_f64();
        let time = |points: &[(f64, f64)]| points[points.len() - 1].0 - points[0].0 + spacing;
        Some(View {
            whole: slope(points),
            before: slope(older).median,
            lately: slope(newer).median,
            last: slope(&points[points.len() - LAST_POINTS..]).most,
            is_step: is_step(points),
            half: time(newer),
            seen: time(points),
        })
    }
}

/// What a scale's points say.
#[derive(Debug, Clone, Copy)]
struct View {
    whole: Slope,
    /// The slopes of the older and of the newer half.
    before: f64,
    lately: f64,
    /// What the slope of the last few points may be at most.
    last: f64,
    /// Most of the rise came at once.
    is_step: bool,
    /// Seconds: of the newer half, and of all.
    half: f64,
    seen: f64,
}

impl View {
    /// Grows, all but certainly, and has not just stopped.
    fn is_trend(&self) -> bool {
        let lasts = self.lately > 0.0 && self.last > STOPPED * self.lately;
        self.whole.least > 0.0 && lasts && !self.is_step
    }

    /// How long growth takes for so much more; no number if it levels off before.
    fn seconds_for(&self, room: f64) -> f64 {
        // By how much growth shrinks from one half to the next.
        let shrinks = if self.before > 0.0 { self.lately / self.before } else { 1.0 };
        if shrinks >= SHRINKS {
            return room / self.lately.max(self.whole.median);
        }
        // Growth in the halves to come: g·r, g·r², …; together g·r/(1 − r) at most.
        let (growth, ratio) = (self.lately * self.half, shrinks);
        let halves = (1.0 - room * (1.0 - ratio) / (growth * ratio)).ln() / ratio.ln();
        halves * self.half
    }
}

#[derive(Debug, Clone, Copy)]
struct Slope {
    median: f64,
    /// The lower confidence bound.
    least: f64,
    /// Four fifths of the slopes are below.
    most: f64,
}

/// Whether two neighbouring steps make up most of the rise. Kendall's test does not tell: a single
/// step in the middle has half of all pairs on its side.
fn is_step(points: &[(f64, f64)]) -> bool {
    let mut changes = [0.0; POINTS];
    let between = |before: usize| points[before + 1].1 - points[before].1;
    let count = points.len() - 1;
    for (at, change) in changes[..count].iter_mut().enumerate() {
        *change = between(at).abs();
    }
    let noise = median(&mut changes[..count]);
    let third = points.len() / 3;
    let height = |points: &[(f64, f64)]| {
        let mut heights = [0.0; POINTS];
        for (height, point) in heights.iter_mut().zip(points) {
            *height = point.1;
        }
        median(&mut heights[..points.len()])
    };
    let rise = height(&points[points.len() - third..]) - height(&points[..third]);
    let steps = points.windows(3).map(|three| three[2].1 - three[0].1);
    let highest = steps.fold(f64::NEG_INFINITY, f64::max);
    // Noise of ±n has neighbours 2n apart at most, and half of them 0.6n.
    highest - 3.0 * noise > AT_ONCE * rise
}

fn median(values: &mut [f64]) -> f64 {
    match values.len().checked_sub(1) {
        Some(last) => *values.select_nth_unstable_by(last / 2, f64::total_cmp).1,
        None => 0.0,
    }
}

/// Theil and Sen's, with Sen's confidence interval.
fn slope(points: &[(f64, f64)]) -> Slope {
    let mut slopes = [0.0; PAIRS];
    let mut count = 0;
    for (at, (t1, y1)) in points.iter().enumerate() {
        for (t2, y2) in &points[at + 1..] {
            slopes[count] = (y2 - y1) / (t2 - t1);
            count += 1;
        }
    }
    let slopes = &mut slopes[..count];
    let Some(middle) = count.checked_sub(1).map(|last| last / 2) else {
        return Slope { median: 0.0, least: 0.0, most: 0.0 };
    };
    let n = points.len() as f64;
    let variance = n * (n - 1.0) * (2.0 * n + 5.0) / 18.0;
    let rank = ((count as f64 - QUANTILE * variance.sqrt()) / 2.0).floor();
    let median = *slopes.select_nth_unstable_by(middle, f64::total_cmp).1;
    // Too few points for such confidence: nothing is excluded.
    let least = match rank >= 0.0 {
        true => *slopes.select_nth_unstable_by((rank as usize).min(middle), f64::total_cmp).1,
        false => f64::NEG_INFINITY,
    };
    let most = *slopes.select_nth_unstable_by((count - 1) * 4 / 5, f64::total_cmp).1;
    Slope { median, least, most }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: f64 = 1_000.0;

    /// Noise of no distribution in particular, the same every time, within ±1.
    fn noise(at: u64) -> f64 {
        let mixed = (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17).wrapping_mul(0x2545_f491);
        (mixed % 2_001) as f64 / 1_000.0 - 1.0
    }

    /// Every forecast of a usage told second by second.
    fn forecasts(seconds: u64, usage: impl Fn(f64) -> f64) -> Vec<(u64, Forecast)> {
        let mut trend = Trend::new();
        let each = (0..seconds).filter_map(|second| {
            trend.push(Duration::from_secs(second), usage(second as f64));
            Some((second, trend.forecast(LIMIT)?))
        });
        each.collect()
    }

    fn warned(seconds: u64, within: u64, usage: impl Fn(f64) -> f64) -> Option<u64> {
        let all = forecasts(seconds, usage);
        all.into_iter()
            .find(|(_, forecast)| forecast.time_to_limit < Duration::from_secs(within))
            .map(|(second, _)| second)
    }

    #[test]
    fn a_linear_leak_is_foreseen_to_the_second() {
        let all = forecasts(900, |t| 100.0 + t);
        // What was seen for six minutes tells of the nine to come.
        let (first, _) = all[0];
        assert!((300..=360).contains(&first), "{first}");
        for (second, forecast) in all {
            let truth = 900 - second;
            assert!(forecast.time_to_limit.abs_diff(Duration::from_secs(truth)).as_secs() <= 2);
            assert!((forecast.slope - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_noisy_leak_is_foreseen_within_a_third() {
        let all = forecasts(900, |t| 100.0 + t + 3.0 * noise(t as u64));
        let late: Vec<_> = all.iter().filter(|(second, _)| *second > 360).collect();
        assert!(late.len() > 530, "{}", late.len());
        for (second, forecast) in late {
            let truth = (900 - second) as f64;
            let told = forecast.time_to_limit.as_secs_f64();
            assert!(told < truth * 1.33 + 5.0 && told > truth * 0.4 - 5.0, "{second}: {told}");
        }
    }

    #[test]
    fn an_accelerating_leak_is_foreseen() {
        let wall = (900.0_f64 / 0.01).sqrt();
        let first = warned(wall as u64, 120, |t| 100.0 + 0.01 * t * t).unwrap();
        assert!(wall - first as f64 > 60.0, "{first} of {wall}");
    }

    #[test]
    fn a_slow_leak_under_a_saw_is_foreseen_by_its_troughs() {
        // 20 teeth of 15 s and 80 high, on a leak of 0.5 a second.
        let usage = |t: f64| 200.0 + 0.5 * t + 80.0 * (t % 15.0) / 15.0;
        let first = warned(1_440, 600, usage).unwrap();
        assert!(first < 1_300, "{first}");
    }

    #[test]
    fn a_rise_slower_than_what_was_recovered_from_is_another() {
        // Six seconds to 850 and back; from 900 s on a leak of 135 s, which is at 850 half a
        // minute before the end.
        let burst = |t: f64| match t {
            560.0..566.0 => 350.0 + 500.0 * (t - 560.0) / 6.0,
            566.0..580.0 => 850.0,
            _ => 350.0 + 650.0 * ((t - 900.0) / 135.0).max(0.0),
        };
        let first = warned(1_035, 120, burst).unwrap();
        assert!((930..1_000).contains(&first), "{first}");
        // Bursts that take their time do not become leaks by it.
        let slow = |t: f64| 350.0 + 400.0 * ((t % 600.0) / 20.0).min(1.0);
        let fall = |t: f64| if t % 600.0 > 60.0 { 350.0 } else { slow(t) };
        let told: Vec<_> = forecasts(3_600, fall).into_iter().map(|(second, _)| second).collect();
        assert!(told.iter().all(|second| *second < 30), "{told:?}");
    }

    #[test]
    fn what_must_stay_silent() {
        type Usage = Box<dyn Fn(f64) -> f64>;
        let silent: [(&str, Usage); 7] = [
            ("flat", Box::new(|_| 900.0)),
            ("noise", Box::new(|t| 850.0 + 20.0 * noise(t as u64))),
            ("step", Box::new(|t| if t < 300.0 { 200.0 } else { 850.0 })),
            ("two steps", Box::new(|t| 200.0 + 300.0 * (t / 400.0).floor().min(2.0))),
            (
                "burst and release",
                Box::new(|t| if (300.0..310.0).contains(&t) { 900.0 } else { 200.0 }),
            ),
            ("saw below its peak", Box::new(|t| 500.0 + 300.0 * ((t + 119.0) % 120.0) / 120.0)),
            ("drift at a low level", Box::new(|t| 200.0 + 0.01 * t)),
        ];
        for (name, usage) in silent {
            let told = warned(3_600, 600, usage);
            assert_eq!(told, None, "{name}");
        }
    }

    #[test]
    fn a_cache_that_warms_up_is_expected_to_stop() {
        let all = forecasts(1_800, |t| 100.0 + 600.0 * (1.0 - (-t / 120.0).exp()));
        let wrong = all.iter().filter(|(second, forecast)| {
            *second > 120 && forecast.time_to_limit < Duration::from_secs(600)
        });
        assert_eq!(wrong.count(), 0);
    }

    #[test]
    fn hardly_any_points_are_no_trend() {
        assert!(forecasts(LEAST_POINTS as u64, |t| t).is_empty());
        assert_eq!(slope(&[]).median, 0.0);
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 2.0)]).least, f64::NEG_INFINITY);
    }

    #[test]
    fn points_out_of_order_and_no_numbers_are_left_out() {
        let mut trend = Trend::new();
        for second in 0..60 {
            trend.push(Duration::from_secs(second), second as f64);
            trend.push(Duration::from_secs(second), 0.0);
            trend.push(Duration::ZERO, 900.0);
            trend.push(Duration::from_secs(second + 1_000), f64::NAN);
        }
        assert!((trend.forecast(90.0).unwrap().slope - 1.0).abs() < 1e-9);
        trend.clear();
        assert_eq!(trend.forecast(LIMIT), None);
    }

    #[test]
    fn the_slope_of_five_points_by_hand() {
        // Slopes 1 ×3, and those through the outlier (4, 100).
        let found = slope(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 100.0)]);
        assert_eq!(found.median, 1.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn never_panics(
            points in prop::collection::vec((0u64..100_000, prop::num::f64::ANY), 0..100),
            limit in prop::num::f64::ANY,
        ) {
            let mut trend = Trend::new();
            let mut at = 0;
            for (step, usage) in points {
                at += step;
                trend.push(Duration::from_millis(at), usage);
                let _ = trend.forecast(limit);
            }
        }

        #[test]
        fn what_never_grows_is_never_foreseen(
            falls in prop::collection::vec(0.0..10.0f64, 30..200),
        ) {
            let mut trend = Trend::new();
            let mut usage = 900.0;
            for (second, fall) in falls.into_iter().enumerate() {
                usage -= fall;
                trend.push(Duration::from_secs(second as u64), usage);
                prop_assert_eq!(trend.forecast(LIMIT), None);
            }
        }
    }
}
