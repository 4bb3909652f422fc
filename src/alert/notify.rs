//! Which transitions the sinks are told of, and when.
//!
//! An alert's state is the rule's business and never waits; this is about *news*: whether what the
//! sinks were last told of an alert is still so. News waits
//!
//! - while a silence, a maintenance window or a deploy covers the alert,
//! - while an alert fires that inhibits it,
//! - for the delay of an alert that fires again soon after it ended, counted from the last news: a
//!   minute, doubled each time it is told anew, up to an hour.
//!
//! News that is still so when it may go is told then: an alert that began under a silence does not
//! stay unknown. What ended before anybody was told is never told. Every transition is exported at
//! its time, with the reason it is hushed for.
//!
//! Pure but for the silences' lock: time is an argument.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    time::{Duration, SystemTime},
};

use super::silence::Silences;
use crate::{
    clock::Moment,
    event::{Hush, Owner, ResolveReason, State, TEST, Transition},
    name::Labels,
    sync::Arc,
};

/// The delay of an alert that fires again soon after it ended.
const FIRST_DELAY: Duration = Duration::from_secs(60);
const LONGEST_DELAY: Duration = Duration::from_secs(3_600);
/// How long after its end an alert that fires again does so *soon*, or twice its delay if that is
/// longer.
const SOON: Duration = Duration::from_secs(600);
/// How long after its end an alert is told of again to those who want it so, and remembered:
/// Prometheus' own.
const RETENTION: Duration = Duration::from_secs(900);
/// Between two times, Prometheus' own.
const RESEND: Duration = Duration::from_secs(60);

/// What becomes of a transition.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) transition: Arc<Transition>,
    /// It has just happened, so it is exported.
    pub(crate) is_new: bool,
    pub(crate) told: Told,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Nobody,
    Everybody,
    /// Those who want to hear it again.
    Again,
}

/// What the sinks know of the alerts that are on their way, there, or lately gone.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    entries: HashMap<(Arc<str>, Labels), Known>,
    hushed: [u64; Hush::ALL.len()],
}

/// What the sinks know of one alert.
#[derive(Debug)]
struct Known {
    /// When it last began to fire, or ended.
    latest: Arc<Transition>,
    firing: bool,
    /// Whether the sinks were told that it fires.
    believed: bool,
    /// When they were last told news.
    told_at: Option<Duration>,
    /// When they last heard of it, be it again.
    heard_at: Option<Duration>,
    ended_at: Option<Duration>,
    delay: Duration,
}

impl Notifier {
    /// Decides on a tick's transitions, and on the news that waited. `fires` says whether an alert
    /// of a name does.
    pub(crate) fn decide(
        &mut self,
        transitions: impl Iterator<Item = Arc<Transition>>,
        fires: impl Fn(&str) -> bool,
        silences: &Silences,
        at: Moment,
        out: &mut Vec<Notice>,
    ) {
        // Thousands of alerts may have one inhibitor: each name is asked for once.
        let asked = RefCell::new(HashMap::<String, bool>::new());
        let fires = |name: &str| match asked.borrow_mut().entry(name.to_owned()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => *new.insert(fires(name)),
        };
        let hush = |transition: &Transition| hush(transition, &fires, silences, at.wall);
        for transition in transitions {
            let notice = self.take(transition, &hush, at.mono);
            if let Some(why) = notice.transition.hushed {
                self.hushed[why as usize] += 1;
            }
            out.push(notice);
        }
        for entry in self.entries.values_mut() {
            entry.catch_up(&hush, at.mono, out);
        }
        self.entries.retain(|_, entry| entry.is_needed(at.mono));
    }

    /// How many transitions were hushed, by [`Hush`].
    pub(crate) fn hushed(&self) -> [u64; Hush::ALL.len()] {
        self.hushed
    }

    fn take(
        &mut self,
        transition: Arc<Transition>,
        hush: &impl Fn(&Transition) -> Option<Hush>,
        now: Duration,
    ) -> Notice {
        let began = transition.to == State::Firing;
        let ended = transition.resolved.is_some();
        if !began && !ended {
            // Its way there is told as it goes; that data comes and goes is for the dashboards.
            let quiet = |state| matches!(state, State::NoData | State::Firing);
            let of_data = quiet(transition.from) || quiet(transition.to);
            let flaps = self.entries.get(&key(&transition)).is_some_and(Known::is_damped);
            let why = hush(&transition).or(flaps.then_some(Hush::Flapping));
            let told = if of_data || why.is_some() { Told::Nobody } else { Told::Everybody };
            return Notice { transition: with(transition, why), is_new: true, told };
        }
        let entry = self.entries.entry(key(&transition)).or_insert_with(|| Known {
            latest: transition.clone(),
            firing: false,
            believed: false,
            told_at: None,
            heard_at: None,
            ended_at: None,
            delay: Duration::ZERO,
        });
        let again = began && !entry.firing && entry.ended_at.is_some();
        if again {
            entry.delay = entry.next_delay(&transition, now);
        }
        entry.firing = began;
        if ended {
            entry.ended_at = Some(now);
        }
        let final_word = matches!(
            transition.resolved,
            Some(ResolveReason::Shutdown | ResolveReason::RuleRemoved)
        );
        let news = began != entry.believed;
        let why = match news {
            true => entry.hushed(&transition, hush, now, final_word),
            // They never heard of its end, and so not that it fires again…
            false if began => hush(&transition).or(again.then_some(Hush::Flapping)),
            // …or never of its beginning.
            false => entry.latest.hushed,
        };
        let transition = with(transition, why);
        entry.latest = transition.clone();
        let tell = news && why.is_none();
        if tell {
            entry.told(now);
        }
        let told = if tell { Told::Everybody } else { Told::Nobody };
        Notice { transition, is_new: true, told }
    }
}

impl Known {
    fn is_damped(&self) -> bool {
        !self.delay.is_zero()
    }

    /// How long its next news waits, now that it fires again.
    fn next_delay(&self, transition: &Transition, now: Duration) -> Duration {
        let since = self.ended_at.map_or(Duration::MAX, |ended| now.saturating_sub(ended));
        // Who sends a test wants to see it arrive.
        let is_test = transition.labels.get(TEST).is_some();
        if is_test || !transition.rule.damped || since > SOON.max(self.delay * 2) {
            Duration::ZERO
        } else {
            self.delay.max(FIRST_DELAY)
        }
    }

    /// Why its news waits, if it does.
    fn hushed(
        &self,
        transition: &Transition,
        hush: &impl Fn(&Transition) -> Option<Hush>,
        now: Duration,
        final_word: bool,
    ) -> Option<Hush> {
        let early = self.told_at.is_some_and(|told| now.saturating_sub(told) < self.delay);
        let flaps = (early && !final_word).then_some(Hush::Flapping);
        // That it is over is told to whom it was told that it began.
        let inhibited = |why: &Hush| !(*why == Hush::Inhibited && self.believed);
        hush(transition).filter(inhibited).or(flaps)
    }

    fn told(&mut self, now: Duration) {
        self.believed = self.firing;
        (self.told_at, self.heard_at) = (Some(now), Some(now));
        if self.firing {
            self.delay = (self.delay * 2).min(LONGEST_DELAY);
        }
    }

    /// Tells news that waited and may go now, or once more what is known.
    fn catch_up(
        &mut self,
        hush: &impl Fn(&Transition) -> Option<Hush>,
        now: Duration,
        out: &mut Vec<Notice>,
    ) {
        let late = self.firing != self.believed;
        let since_heard = self.heard_at.map(|heard| now.saturating_sub(heard));
        let told = match since_heard {
            _ if late => Told::Everybody,
            Some(since) if since > RESEND && self.is_retained(now) => Told::Again,
            _ => return,
        };
        if self.hushed(&self.latest, hush, now, told == Told::Again).is_some() {
            return;
        }
        let transition = with(self.latest.clone(), None);
        match told {
            Told::Again => self.heard_at = Some(now),
            _ => self.told(now),
        }
        out.push(Notice { transition, is_new: false, told });
    }

    fn is_retained(&self, now: Duration) -> bool {
        self.firing || self.ended_at.is_some_and(|ended| now.saturating_sub(ended) <= RETENTION)
    }

    fn is_needed(&self, now: Duration) -> bool {
        let soon = self.delay * 2;
        let lately = self.ended_at.is_some_and(|ended| now.saturating_sub(ended) <= soon);
        self.believed || lately || self.is_retained(now)
    }
}

fn key(transition: &Transition) -> (Arc<str>, Labels) {
    (transition.rule.group.clone(), transition.labels.clone())
}

fn with(transition: Arc<Transition>, hushed: Option<Hush>) -> Arc<Transition> {
    if transition.hushed == hushed {
        return transition;
    }
    Arc::new(Transition { hushed, ..Transition::clone(&transition) })
}

/// Why nobody is told of this alert at the moment, but for its own flapping.
fn hush(
    transition: &Transition,
    fires: &impl Fn(&str) -> bool,
    silences: &Silences,
    now: SystemTime,
) -> Option<Hush> {
    let rule = &transition.rule;
    if rule.owner == Owner::Server {
        return Some(Hush::Owner);
    }
    silences
        .covers(&transition.labels, rule.severity, now)
        .or_else(|| rule.inhibited_by.iter().any(|name| fires(name)).then_some(Hush::Inhibited))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::{Silence, testing::transition},
        event::RuleInfo,
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// A notifier on a clock that is told, and one letter for each time the sinks are: `F` fires,
    /// `r` resolved, `a` fires again told, `z` resolved again told.
    struct World {
        notifier: Notifier,
        silences: Silences,
        now: Duration,
        inhibited: bool,
        exported: Vec<Option<Hush>>,
    }

    impl World {
        fn new() -> Self {
            Self {
                notifier: Notifier::default(),
                silences: Silences::default(),
                now: Duration::ZERO,
                inhibited: false,
                exported: Vec::new(),
            }
        }

        fn step(&mut self, transitions: Vec<Arc<Transition>>) -> String {
            let at = Moment { mono: self.now, wall: SystemTime::UNIX_EPOCH + self.now };
            self.now += SECOND;
            let mut out = Vec::new();
            let fires = |_: &str| self.inhibited;
            self.notifier.decide(transitions.into_iter(), fires, &self.silences, at, &mut out);
            self.exported.extend(out.iter().filter(|n| n.is_new).map(|n| n.transition.hushed));
            let letter = |notice: &Notice| {
                let fires = notice.transition.to == State::Firing;
                match (notice.told, fires) {
                    (Told::Nobody, _) => None,
                    (Told::Everybody, true) => Some('F'),
                    (Told::Everybody, false) => Some('r'),
                    (Told::Again, true) => Some('a'),
                    (Told::Again, false) => Some('z'),
                }
            };
            out.iter().filter_map(letter).collect()
        }

        fn pass(&mut self, seconds: u64) -> String {
            (0..seconds).map(|_| self.step(Vec::new())).collect()
        }
    }

    fn begins() -> Arc<Transition> {
        let mut begins = Transition::clone(&transition("A"));
        let rule = RuleInfo { inhibited_by: vec!["B".into()], ..(*begins.rule).clone() };
        begins.rule = Arc::new(rule);
        Arc::new(begins)
    }

    fn ends(reason: ResolveReason) -> Arc<Transition> {
        let mut ends = Transition::clone(&begins());
        (ends.from, ends.to, ends.resolved) = (State::Firing, State::Inactive, Some(reason));
        Arc::new(ends)
    }

    fn cleared() -> Arc<Transition> {
        ends(ResolveReason::Cleared)
    }

    #[test]
    fn news_is_told_at_once_and_again_by_the_minute_for_a_quarter_of_an_hour_after_its_end() {
        let mut world = World::new();
        assert_eq!(world.step(vec![begins()]), "F");
        assert_eq!(world.pass(61), "a");
        assert_eq!(world.step(vec![cleared()]), "r");
        // Strictly more than a minute apart, as Prometheus has it.
        assert_eq!(world.pass(1_000), "z".repeat(900 / 61));
        assert!(world.notifier.entries.is_empty());
        assert_eq!(world.exported, [None, None]);
    }

    #[test]
    fn what_began_under_a_silence_is_told_when_it_ends() {
        let mut world = World::new();
        world.silences.add(Silence {
            matchers: Labels::new([("alertname", "A")]),
            until: SystemTime::UNIX_EPOCH + 10 * SECOND,
            reason: String::new(),
        });
        assert_eq!(world.step(vec![begins()]), "");
        assert_eq!(world.pass(9), "");
        assert_eq!(world.pass(1), "F");
        assert_eq!(world.exported, [Some(Hush::Silence)]);
        assert_eq!(world.notifier.hushed()[Hush::Silence as usize], 1);
    }

    #[test]
    fn what_ended_under_a_silence_is_never_told() {
        let mut world = World::new();
        world.silences.add(Silence {
            matchers: Labels::new([("alertname", "A")]),
            until: SystemTime::UNIX_EPOCH + 10 * SECOND,
            reason: String::new(),
        });
        world.step(vec![begins()]);
        assert_eq!(world.step(vec![cleared()]), "");
        assert_eq!(world.pass(100), "");
        assert_eq!(world.exported, [Some(Hush::Silence); 2]);
    }

    #[test]
    fn an_inhibited_alert_waits_and_its_end_is_told_if_its_beginning_was() {
        let mut world = World::new();
        world.inhibited = true;
        assert_eq!(world.step(vec![begins()]), "");
        assert_eq!(world.pass(100), "");
        world.inhibited = false;
        assert_eq!(world.pass(1), "F");
        world.inhibited = true;
        assert_eq!(world.step(vec![cleared()]), "r");
        assert_eq!(world.exported, [Some(Hush::Inhibited), None]);
    }

    #[test]
    fn the_delay_of_an_alert_that_flaps_doubles_up_to_an_hour() {
        let mut world = World::new();
        let mut told = Vec::new();
        // On for ten seconds, off for ten, for a day.
        for turn in 0..8_640 {
            let step = if turn % 2 == 0 { begins() } else { cleared() };
            for at in 0..10 {
                let heard = world.step(if at == 0 { vec![step.clone()] } else { Vec::new() });
                told.extend(heard.chars().filter(|c| "Fr".contains(*c)).map(|c| (c, world.now)));
            }
        }
        assert_eq!((told[0].0, told[1].0), ('F', 'r'), "the first time it is told as it is");
        assert!(told.windows(2).all(|two| two[0].0 != two[1].0), "{told:?}");
        let gaps: Vec<_> = told.windows(2).map(|two| (two[1].1 - two[0].1).as_secs()).collect();
        assert!(gaps[2..].iter().all(|gap| *gap >= 60), "{gaps:?}");
        // 24 hours, one news an hour, and a few at first.
        assert!((24..40).contains(&told.len()), "{}: {gaps:?}", told.len());
        assert!(
            gaps.iter().all(|gap| *gap <= 3_600 + 20),
            "nothing is hidden for longer: {gaps:?}"
        );
        assert!(world.notifier.hushed()[Hush::Flapping as usize] > 8_000);
    }

    #[test]
    fn tests_are_told_however_often_they_come() {
        let mut world = World::new();
        let of = |step: Arc<Transition>| {
            let labels = step.labels.with(TEST, "true");
            Arc::new(Transition { labels, ..Transition::clone(&step) })
        };
        for _ in 0..3 {
            assert_eq!(world.step(vec![of(begins())]), "F");
            assert_eq!(world.step(vec![of(cleared())]), "r");
        }
    }

    #[test]
    fn calm_makes_a_flapping_alert_a_plain_one_again() {
        let mut world = World::new();
        for _ in 0..4 {
            world.step(vec![begins()]);
            world.step(vec![cleared()]);
        }
        world.pass(4_000);
        assert_eq!(world.step(vec![begins()]), "F");
        assert_eq!(world.step(vec![cleared()]), "r");
    }

    #[test]
    fn a_shutdown_is_told_however_it_flaps() {
        let mut world = World::new();
        for _ in 0..2 {
            world.step(vec![begins()]);
            world.step(vec![cleared()]);
        }
        assert_eq!(world.step(vec![begins()]), "", "damped");
        assert_eq!(world.step(vec![ends(ResolveReason::Shutdown)]), "", "nobody knew");
        let mut world = World::new();
        world.step(vec![begins()]);
        world.step(vec![cleared()]);
        world.step(vec![begins()]);
        assert_eq!(world.pass(60), "F");
        assert_eq!(world.step(vec![ends(ResolveReason::Shutdown)]), "r");
    }

    #[test]
    fn data_that_comes_and_goes_is_told_to_nobody() {
        let mut world = World::new();
        world.step(vec![begins()]);
        let mut gap = Transition::clone(&begins());
        (gap.from, gap.to) = (State::Firing, State::NoData);
        let mut back = gap.clone();
        (back.from, back.to) = (State::NoData, State::Firing);
        assert_eq!(world.step(vec![Arc::new(gap)]), "");
        assert_eq!(world.step(vec![Arc::new(back)]), "", "it is known to fire");
        assert_eq!(world.step(vec![cleared()]), "r");
    }

    proptest::proptest! {
        #[test]
        fn sinks_hear_begin_and_end_in_turn_and_are_right_in_the_end(
            turns in proptest::collection::vec((1..400_u64, 0..3_u8), 1..80),
        ) {
            let mut world = World::new();
            let (mut heard, mut firing) = (String::new(), false);
            for (seconds, kind) in turns {
                world.inhibited = kind == 2;
                let step = match (kind, firing) {
                    (1, false) => vec![begins()],
                    (0, true) => vec![cleared()],
                    _ => Vec::new(),
                };
                firing = match kind { 0 => false, 1 => true, _ => firing };
                heard += &world.step(step);
                heard += &world.pass(seconds);
            }
            world.inhibited = false;
            heard += &world.pass(3_601);
            heard.retain(|c| "Fr".contains(c));
            for two in heard.as_bytes().windows(2) {
                proptest::prop_assert_ne!(two[0], two[1]);
            }
            proptest::prop_assert_eq!(heard.ends_with('F'), firing, "{}", heard);
        }
    }
}
