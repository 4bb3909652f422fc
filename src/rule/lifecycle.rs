//! One alert's life: a pure function of what it was, what is seen, and the time.
//!
//! States and arithmetic are those of Prometheus' alerting rules (`rules/alerting.go`), strictness
//! of comparisons included. Beyond it: N of M, and [`State::NoData`], as a missing sample is not
//! "false". Times are nanoseconds since the instance's origin, so a clock that is set back moves
//! nothing.

use crate::event::{ResolveReason, State};

/// How long things take, in nanoseconds, and how often they must be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// `for`.
    pub(crate) hold: u64,
    /// `keep_firing_for`.
    pub(crate) keep: u64,
    /// How long a firing alert whose samples vanished waits for them before it resolves.
    pub(crate) grace: u64,
    /// The condition holds if it did in this many…
    pub(crate) least: u32,
    /// …of the last so many evaluations; at most 64.
    pub(crate) of: u32,
}

/// What an evaluation found for one alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    /// Whether there was anything to judge.
    pub(crate) data: bool,
    pub(crate) holds: bool,
    pub(crate) value: Option<f64>,
}

/// A change worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) resolved: Option<ResolveReason>,
}

/// How long a resolved alert is remembered.
pub(crate) const RETENTION: u64 = 15 * 60 * 1_000_000_000;

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Life {
    pub(crate) state: State,
    /// What was last judged; frozen while it is kept firing.
    pub(crate) value: Option<f64>,
    /// When the condition began to hold.
    pub(crate) active_at: u64,
    pub(crate) fired_at: u64,
    /// When it ceased to hold, while the alert is kept firing.
    keep_since: Option<u64>,
    /// When its samples vanished, while it was firing.
    vanished_at: Option<u64>,
    pub(crate) resolved_at: Option<u64>,
    /// Whether it held, one bit an evaluation, the last one lowest.
    history: u64,
}

impl Life {
    /// Whether it is on its way or there.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.state == State::Pending || self.is_raised()
    }

    /// Whether it has fired and not ended: what a clear threshold applies to.
    #[inline]
    pub(crate) fn is_raised(&self) -> bool {
        self.state == State::Firing || self.vanished_at.is_some()
    }

    /// Whether it goes on firing though its condition ceased to hold, at this moment still.
    pub(crate) fn is_kept(&self, now: u64, timing: &Timing) -> bool {
        let since = self.keep_since.unwrap_or(now);
        self.state == State::Firing && timing.keep > 0 && now.saturating_sub(since) < timing.keep
    }

    #[inline]
    pub(crate) fn step(&mut self, now: u64, seen: Seen, timing: &Timing) -> Option<Step> {
        // By far the most common case first.
        if self.state == State::Inactive && seen.data && !seen.holds && timing.of <= 1 {
            self.value = seen.value;
            self.forget(now);
            return None;
        }
        self.change(now, seen, timing)
    }

    fn change(&mut self, now: u64, seen: Seen, timing: &Timing) -> Option<Step> {
        let from = self.state;
        let mut resolved = None;
        if !seen.data {
            self.without_data(now, timing, &mut resolved);
        } else if self.often_enough(seen.holds, timing) {
            self.holding(now, seen, timing, &mut resolved);
        } else {
            self.not_holding(now, seen, timing, &mut resolved);
        }
        self.forget(now);
        let worth = |state| matches!(state, State::Pending | State::Firing);
        (from != self.state && (worth(from) || worth(self.state)) || resolved.is_some())
            .then_some(Step { from, to: self.state, resolved })
    }

    fn often_enough(&mut self, holds: bool, timing: &Timing) -> bool {
        if timing.of <= 1 {
            return holds;
        }
        self.history = self.history << 1 | u64::from(holds);
        let window = u64::MAX >> (64 - timing.of.min(64));
        (self.history & window).count_ones() >= timing.least
    }

    fn holding(
        &mut self,
        now: u64,
        seen: Seen,
        timing: &Timing,
        resolved: &mut Option<ResolveReason>,
    ) {
        if self.vanished_at.take().is_some() {
            self.state = State::Firing;
        }
        if !matches!(self.state, State::Pending | State::Firing) {
            let history = self.history;
            *self = Self { state: State::Pending, active_at: now, history, ..Self::default() };
        }
        self.value = seen.value;
        self.keep_since = None;
        let held = now.saturating_sub(self.active_at) >= timing.hold;
        match self.state {
            State::Pending if held => {
                self.state = State::Firing;
                self.fired_at = now;
            }
            // Only after a reload with a longer hold. Who was told that it fires hears that it
            // no longer does.
            State::Firing if !held => {
                self.state = State::Pending;
                *resolved = Some(ResolveReason::Cleared);
                self.resolved_at = Some(now);
            }
            _ => {}
        }
    }

    fn not_holding(
        &mut self,
        now: u64,
        seen: Seen,
        timing: &Timing,
        resolved: &mut Option<ResolveReason>,
    ) {
        if self.vanished_at.take().is_some() {
            self.state = State::Firing;
        }
        if self.state == State::Firing && timing.keep > 0 {
            let since = *self.keep_since.get_or_insert(now);
            if now.saturating_sub(since) < timing.keep {
                return;
            }
        }
        // Where only a condition is judged there is no value once it fails: the last one tells what
        // ended.
        self.value = seen.value.or(self.value.filter(|_| self.state != State::Inactive));
        if self.state == State::Firing {
            *resolved = Some(ResolveReason::Cleared);
            self.resolved_at = Some(now);
        }
        self.state = State::Inactive;
        self.keep_since = None;
    }

    fn without_data(&mut self, now: u64, timing: &Timing, resolved: &mut Option<ResolveReason>) {
        if self.state == State::Firing {
            self.vanished_at = Some(now);
        }
        if let Some(since) = self.vanished_at
            && now.saturating_sub(since) >= timing.grace
        {
            *resolved = Some(ResolveReason::NoData);
            self.vanished_at = None;
            self.keep_since = None;
            self.resolved_at = Some(now);
        }
        if self.vanished_at.is_none() {
            self.value = None;
        }
        self.state = State::NoData;
    }

    fn forget(&mut self, now: u64) {
        if let Some(at) = self.resolved_at
            && now.saturating_sub(at) > RETENTION
        {
            self.resolved_at = None;
        }
    }

    /// Ends it for a reason outside the data.
    pub(crate) fn resolve(&mut self, now: u64, reason: ResolveReason) -> Option<Step> {
        let from = self.state;
        let was_firing = from == State::Firing || self.vanished_at.is_some();
        let was_pending = from == State::Pending;
        *self = Self { resolved_at: was_firing.then_some(now), ..Self::default() };
        (was_firing || was_pending).then_some(Step {
            from,
            to: State::Inactive,
            resolved: was_firing.then_some(reason),
        })
    }

    /// Moves its past by a stretch of time that shall not count.
    pub(crate) fn postpone(&mut self, by: u64) {
        self.active_at = self.active_at.saturating_add(by);
        self.fired_at = self.fired_at.saturating_add(by);
        for at in [&mut self.keep_since, &mut self.vanished_at, &mut self.resolved_at] {
            *at = at.map(|at| at.saturating_add(by));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000_000_000;
    const PLAIN: Timing = Timing { hold: 0, keep: 0, grace: 5 * MINUTE, least: 1, of: 1 };

    /// Runs minute by minute: `x` holds, `.` does not, `_` is no data; gives one letter a minute
    /// for the state.
    fn script(timing: Timing, minutes: &str) -> (String, Vec<ResolveReason>) {
        let mut life = Life::default();
        let mut reasons = Vec::new();
        let states = minutes
            .chars()
            .enumerate()
            .map(|(minute, seen)| {
                let seen = Seen { data: seen != '_', holds: seen == 'x', value: None };
                let step = life.step(minute as u64 * MINUTE, seen, &timing);
                reasons.extend(step.and_then(|step| step.resolved));
                match life.state {
                    State::Inactive => 'i',
                    State::NoData => 'n',
                    State::Error => 'e',
                    State::Pending => 'p',
                    State::Firing => 'F',
                }
            })
            .collect();
        (states, reasons)
    }

    #[test]
    fn without_a_hold_it_fires_in_the_same_tick() {
        assert_eq!(script(PLAIN, ".xx.x").0, "iFFiF");
    }

    #[test]
    fn a_hold_is_over_when_it_has_lasted_not_before() {
        let timing = Timing { hold: 2 * MINUTE, ..PLAIN };
        assert_eq!(script(timing, ".xxxx.xx.xxx").0, "ippFFippippF");
    }

    #[test]
    fn keep_firing_ends_when_it_has_lasted() {
        let timing = Timing { keep: 2 * MINUTE, ..PLAIN };
        let (states, reasons) = script(timing, "x..x...");
        assert_eq!((&*states, reasons), ("FFFFFFi", vec![ResolveReason::Cleared]));
    }

    #[test]
    fn a_gap_restarts_the_hold_and_does_not_resolve() {
        let timing = Timing { hold: MINUTE, ..PLAIN };
        let (states, reasons) = script(timing, "x_xx__x_.");
        assert_eq!((&*states, reasons), ("pnpFnnFni", vec![ResolveReason::Cleared]));
    }

    #[test]
    fn what_vanished_for_good_resolves_after_the_grace() {
        let (states, reasons) = script(PLAIN, "x_____x_x");
        assert_eq!((&*states, &*reasons), ("FnnnnnFnF", &[][..]));
        let (states, reasons) = script(PLAIN, "x______x");
        assert_eq!((&*states, reasons), ("FnnnnnnF", vec![ResolveReason::NoData]));
    }

    #[test]
    fn three_of_five() {
        let timing = Timing { least: 3, of: 5, ..PLAIN };
        assert_eq!(script(timing, "x.x.x....x").0, "iiiiFiiiii");
        assert_eq!(script(timing, "xxx__...").0, "iiFnnFFi");
    }

    #[test]
    fn a_longer_hold_ends_what_fires_and_it_fires_again_when_it_has_held() {
        let holds = Seen { data: true, holds: true, value: None };
        for gap in [false, true] {
            let mut life = Life::default();
            life.step(0, holds, &PLAIN);
            if gap {
                life.step(MINUTE, Seen { data: false, ..holds }, &PLAIN);
            }
            let longer = Timing { hold: 5 * MINUTE, ..PLAIN };
            let step = life.step(2 * MINUTE, holds, &longer).unwrap();
            assert_eq!((step.to, step.resolved), (State::Pending, Some(ResolveReason::Cleared)));
            assert!(!life.is_raised());
            let step = life.step(5 * MINUTE, holds, &longer).unwrap();
            assert_eq!((step.to, step.resolved), (State::Firing, None));
        }
    }

    #[test]
    fn shutdown_resolves_what_fires() {
        let mut life = Life::default();
        assert_eq!(life.resolve(0, ResolveReason::Shutdown), None);
        life.step(0, Seen { data: true, holds: true, value: Some(1.0) }, &PLAIN);
        let step = life.resolve(1, ResolveReason::Shutdown);
        assert_eq!(step.and_then(|step| step.resolved), Some(ResolveReason::Shutdown));
        assert_eq!(life.state, State::Inactive);
    }

    proptest! {
        #[test]
        fn it_never_fires_without_having_held(
            seen in proptest::collection::vec((1..5_u64, 0..3_u8), 1..200),
            hold in 0..6_u64,
            keep in 0..6_u64,
        ) {
            let timing = Timing { hold: hold * MINUTE, keep: keep * MINUTE, ..PLAIN };
            let (mut life, mut now, mut since) = (Life::default(), 0, None);
            for (pause, kind) in seen {
                now += pause * MINUTE;
                let seen = Seen { data: kind > 0, holds: kind == 2, value: None };
                let before = life.state;
                let was_active = life.is_active();
                life.step(now, seen, &timing);
                since = match kind {
                    2 => since.or(Some(now)),
                    _ => None,
                };
                if life.state == State::Firing && !was_active {
                    prop_assert_eq!(timing.hold, 0);
                }
                if life.state == State::Firing && before == State::Pending {
                    let since = since.ok_or_else(|| TestCaseError::fail("fires while it does not hold"))?;
                    prop_assert!(now - since >= timing.hold);
                }
                // Only data resolves for `cleared`, and a keep is respected.
                if before == State::Firing && life.state == State::Inactive {
                    prop_assert_eq!(kind, 1);
                }
            }
        }
    }
}
