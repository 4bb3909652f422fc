//! One Alertmanager: which alerts it is to know of, and by when.
//!
//! An array with one bad alert is answered 400, though the good ones in it are taken. So a refused
//! array is halved until the bad one stands alone; that one is counted, and tried again alone as
//! often as a firing alert is sent.
//!
//! An alert is sent again only while the tick thread says that it fires: should news of its end be
//! lost on the way here, it ends with the next time it is due.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value, json};

use super::Config;
use crate::{
    alert::{Left, Raised, Speaker},
    clock::rfc3339,
    event::{Hush, State, Transition},
    export::{
        outbox::{Next, Work},
        receiver::{Line, Verdict},
    },
    name::Labels,
    rule::naming,
    sync::Arc,
};

/// Alerts in a request.
const BATCH: usize = 64;
/// As long as Prometheus keeps a resolved alert: who was away for longer has forgotten it.
const RETENTION: Duration = Duration::from_secs(15 * 60);

/// What all peers share.
#[derive(Debug)]
pub(super) struct Plan {
    /// For alerts that lack them.
    labels: Labels,
    headers: Vec<(String, String)>,
    generator_url: Option<String>,
    resend: Duration,
    /// How far off the `endsAt` of a firing alert is.
    valid: Duration,
    raised: Arc<Raised>,
}

impl Plan {
    pub(super) fn new(config: &Config, speaker: &Speaker) -> Self {
        let given = config.labels.iter().map(|(key, value)| (naming::label(key), value.as_str()));
        let identity = speaker.identity.iter().map(|(key, value)| (naming::label(key), value));
        Self {
            labels: Labels::new(identity.chain(given)),
            headers: config.manner.headers.clone(),
            generator_url: config.generator_url.clone(),
            resend: config.resend_delay,
            valid: config.resend_delay.max(speaker.tick) * 4,
            raised: speaker.raised.clone(),
        }
    }

    /// As the rule would have them on a server that scrapes this service.
    pub(super) fn labels(&self, transition: &Transition) -> Labels {
        let own = transition.labels.iter().map(|(key, value)| (naming::label(key), value));
        Labels::new(self.labels.iter().map(|(key, value)| (key.into(), value)).chain(own))
    }

    fn json(&self, labels: &Labels, alert: &Alert, now: SystemTime) -> Value {
        let told = &alert.told;
        let annotations = annotations(told);
        let labels: Map<String, Value> =
            labels.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        // An end before the start is refused.
        let ends = alert.ended.unwrap_or(now + self.valid).max(alert.started);
        let mut json = json!({
            "labels": labels,
            "annotations": annotations,
            "startsAt": rfc3339(alert.started),
            "endsAt": rfc3339(ends),
        });
        if let Some(url) = &self.generator_url {
            json["generatorURL"] = url.as_str().into();
        }
        json
    }
}

/// What is said of it; the likeliest cause is all of the evidence that fits beside a summary.
fn annotations(told: &Transition) -> Map<String, Value> {
    let runbook = told.rule.runbook.as_deref().unwrap_or_default();
    let likely = told.evidence.as_ref().and_then(|evidence| evidence.likeliest());
    let likely = likely.map_or("", |cause| cause.text.as_str());
    let given = told.annotations.iter().map(|(key, text)| (naming::label(key), text));
    let ours = [
        ("summary", told.summary.as_str()),
        ("description", told.description.as_str()),
        ("runbook_url", runbook),
    ];
    let ours = ours.into_iter().map(|(key, text)| (key.into(), text));
    // Of one name the last one counts.
    [("likely_cause".into(), likely)]
        .into_iter()
        .chain(given)
        .chain(ours)
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text): (std::borrow::Cow<'_, str>, _)| (key.into_owned(), text.into()))
        .collect()
}

#[derive(Debug)]
struct Alert {
    /// The transition that made it fire, or ended it.
    told: Arc<Transition>,
    started: SystemTime,
    ended: Option<SystemTime>,
    /// When it is sent next.
    due: Instant,
    /// When it ended, by the clock that is never set.
    since: Instant,
    /// Whether the peer knows it.
    taken: bool,
    /// The peer would not have it.
    refused: bool,
}

impl Alert {
    /// Whether the peer has yet to hear of it, or of its end.
    fn is_unheard(&self) -> bool {
        self.ended.is_some() || !(self.taken || self.refused)
    }
}

#[derive(Debug)]
pub(super) struct Peer {
    plan: Arc<Plan>,
    line: Line,
    alerts: HashMap<Labels, Alert>,
    /// Arrays that were refused, in halves.
    suspects: Vec<Vec<Labels>>,
    closing: bool,
}

impl Peer {
    pub(super) fn new(plan: Arc<Plan>, line: Line) -> Self {
        Self { plan, line, alerts: HashMap::new(), suspects: Vec::new(), closing: false }
    }

    /// What goes next: a half of what was refused, or what is due.
    fn next_batch(&mut self, now: Instant) -> Vec<Labels> {
        while let Some(mut half) = self.suspects.pop() {
            half.retain(|labels| self.alerts.contains_key(labels));
            if !half.is_empty() {
                return half;
            }
        }
        let due = self.alerts.iter().filter(|(_, alert)| alert.due <= now);
        let mut due: Vec<_> =
            due.map(|(labels, alert)| (alert.refused, alert.due, labels)).collect();
        // What was refused last, and alone; else what waits longest first, in the same order.
        due.sort();
        let alone = due.first().is_some_and(|(refused, ..)| *refused);
        let some = due.iter().take_while(|(refused, ..)| alone || !refused);
        some.take(if alone { 1 } else { BATCH }).map(|(.., labels)| (*labels).clone()).collect()
    }

    /// Ends what has ended without a word of it.
    fn reconcile(&mut self, now: Instant) {
        let Self { alerts, plan, .. } = self;
        let due = alerts.values_mut().filter(|alert| alert.due <= now && alert.ended.is_none());
        // One that nobody knows of yet is told as it was.
        for alert in due.filter(|alert| alert.taken && !plan.raised.holds(&alert.told)) {
            alert.ended = Some(SystemTime::now());
            alert.since = now;
        }
    }

    fn taken(&mut self, batch: &[Labels], now: Instant) {
        for labels in batch {
            let Some(alert) = self.alerts.get_mut(labels) else { continue };
            if alert.ended.is_some() {
                self.alerts.remove(labels);
            } else {
                (alert.taken, alert.refused) = (true, false);
                alert.due = now + self.plan.resend;
            }
        }
    }

    fn refused(&mut self, mut batch: Vec<Labels>, words: &str, now: Instant) {
        if batch.len() > 1 {
            let half = batch.split_off(batch.len() / 2);
            self.suspects.push(half);
            self.suspects.push(batch);
            return;
        }
        for labels in batch {
            let words = format!("{labels} was refused: {words}");
            match self.alerts.get_mut(&labels) {
                Some(alert) if alert.ended.is_none() => {
                    alert.due = now + self.plan.resend;
                    // One that goes on being refused is lost once.
                    if !std::mem::replace(&mut alert.refused, true) {
                        self.line.lose(1, &words);
                    }
                }
                _ => {
                    self.alerts.remove(&labels);
                    self.line.lose(1, &words);
                }
            }
        }
    }

    /// Ends that nobody took in time.
    fn expire(&mut self, now: Instant) {
        let before = self.alerts.len();
        self.alerts.retain(|_, alert| {
            alert.ended.is_none() || now.saturating_duration_since(alert.since) < RETENTION
        });
        let lost = before - self.alerts.len();
        if lost > 0 {
            self.line.lose(lost as u64, "not reached for 15 minutes");
        }
    }
}

impl Work for Peer {
    fn take(&mut self, transition: &Arc<Transition>, now: Instant) {
        let labels = self.plan.labels(transition);
        // Alertmanager sees to what flaps by itself.
        let is_wanted = matches!(transition.hushed, None | Some(Hush::Flapping));
        let fires = transition.to == State::Firing && transition.from != State::Firing;
        if let Some(known) = self.alerts.get_mut(&labels).filter(|_| fires)
            && known.ended.is_none()
        {
            // Back from a time without data: the same alert still. Told again, it is nothing new.
            if known.told.at != transition.at {
                known.told = transition.clone();
                (known.due, known.refused) = (now, false);
            }
        } else if fires && is_wanted {
            let alert = Alert {
                told: transition.clone(),
                started: transition.at,
                ended: None,
                due: now,
                since: now,
                taken: false,
                refused: false,
            };
            self.alerts.insert(labels, alert);
        } else if transition.resolved.is_some()
            // Who never heard of it needs not hear of its end.
            && let Some(alert) = self.alerts.get_mut(&labels)
        {
            if alert.refused && !alert.taken {
                self.alerts.remove(&labels);
                return;
            }
            if alert.ended.is_some_and(|ended| ended <= transition.at) {
                return;
            }
            alert.told = transition.clone();
            alert.ended = Some(transition.at);
            (alert.due, alert.since) = (now, now);
        }
    }

    fn step(&mut self, now: Instant, deadline: Option<Instant>) -> Next {
        self.expire(now);
        self.reconcile(now);
        if let Some(at) = self.line.not_before.filter(|at| *at > now) {
            return Next::At(at);
        }
        let batch = self.next_batch(now);
        if batch.is_empty() {
            let all = self.alerts.values();
            let due = all.filter(|alert| !self.closing || alert.is_unheard());
            return due.map(|alert| alert.due).min().map_or(Next::Idle, Next::At);
        }
        let wall = SystemTime::now();
        let array: Vec<_> = batch
            .iter()
            .filter_map(|labels| Some(self.plan.json(labels, self.alerts.get(labels)?, wall)))
            .collect();
        let body = Value::from(array).to_string();
        let items = batch.len() as u64;
        match self.line.post(&self.plan.headers, body.as_bytes(), items, deadline) {
            Verdict::Taken => self.taken(&batch, now),
            Verdict::Refused(words) => self.refused(batch, &words, now),
            Verdict::Later(..) => {}
        }
        Next::Now
    }

    fn hurry(&mut self) {
        self.closing = true;
        self.line.hurry();
    }

    fn left(&self) -> Option<Left> {
        // Without an end, those that fire resolve over there by themselves.
        let alerts = self.alerts.values().filter(|alert| alert.is_unheard()).count() as u64;
        let reason = || self.line.last_error.clone().unwrap_or_else(|| "out of time".to_owned());
        (alerts > 0).then(|| Left { alerts, reason: reason() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::testing::transition,
        event::ResolveReason,
        registry::{DEFAULT_CARDINALITY_LIMIT, Registry},
    };

    const RESEND: Duration = Duration::from_secs(60);

    /// A peer that took this alert, which fires.
    fn told(firing: &Arc<Transition>) -> (Peer, Arc<Raised>, Instant) {
        let raised = Arc::<Raised>::default();
        let plan = Plan {
            labels: Labels::new([("job", "shop")]),
            headers: Vec::new(),
            generator_url: None,
            resend: RESEND,
            valid: RESEND * 4,
            raised: raised.clone(),
        };
        let registry = Registry::new(DEFAULT_CARDINALITY_LIMIT);
        let line = Line::new("alertmanager", "http://127.0.0.1:9".to_owned(), RESEND, &registry);
        let (mut peer, now) = (Peer::new(Arc::new(plan), line.unwrap()), Instant::now());
        raised.note(std::slice::from_ref(firing));
        peer.take(firing, now);
        let batch = peer.next_batch(now);
        assert_eq!(batch.len(), 1);
        peer.taken(&batch, now);
        (peer, raised, now)
    }

    fn ended(firing: &Transition, to: State) -> Arc<Transition> {
        let resolved = Some(ResolveReason::Cleared);
        Arc::new(Transition { from: State::Firing, to, resolved, ..firing.clone() })
    }

    fn ends(peer: &Peer) -> Vec<bool> {
        peer.alerts.values().map(|alert| alert.ended.is_some()).collect()
    }

    #[test]
    fn an_end_that_was_lost_on_the_way_is_found_when_the_alert_is_due_again() {
        let firing = transition("Full");
        let (mut peer, raised, now) = told(&firing);
        peer.reconcile(now + RESEND);
        assert_eq!(ends(&peer), [false], "it fires");
        raised.note(&[ended(&firing, State::Inactive)]);
        peer.reconcile(now + RESEND / 2);
        assert_eq!(ends(&peer), [false], "not asked yet");
        peer.reconcile(now + RESEND);
        assert_eq!(ends(&peer), [true]);
        let batch = peer.next_batch(now + RESEND);
        peer.taken(&batch, now + RESEND);
        assert!(ends(&peer).is_empty(), "nothing more to be said");
    }

    #[test]
    fn a_beginning_that_was_lost_is_told_when_it_is_told_again() {
        let firing = transition("Full");
        let (mut peer, _, now) = told(&firing);
        // Told again, it is nothing new…
        peer.take(&firing, now);
        assert!(peer.next_batch(now).is_empty());
        // …unless it never arrived.
        peer.alerts.clear();
        peer.take(&firing, now);
        assert_eq!(peer.next_batch(now).len(), 1);
    }

    #[test]
    fn what_falls_back_to_pending_has_ended() {
        let firing = transition("Full");
        let (mut peer, raised, now) = told(&firing);
        let fallen = ended(&firing, State::Pending);
        raised.note(std::slice::from_ref(&fallen));
        peer.take(&fallen, now);
        assert_eq!(ends(&peer), [true]);
        assert!(!raised.holds(&firing));
    }

    #[test]
    fn what_is_refused_waits_and_goes_alone() {
        let (odd, even) = (transition("Odd"), transition("Even"));
        let (mut peer, _, now) = told(&odd);
        peer.take(&even, now);
        let odd = vec![peer.plan.labels(&odd)];
        peer.refused(odd.clone(), "no", now);
        let later = now + RESEND;
        assert_eq!(peer.next_batch(later), [peer.plan.labels(&even)], "the good one first");
        peer.taken(&[peer.plan.labels(&even)], later);
        assert_eq!(peer.next_batch(later), odd);
        peer.taken(&odd, later);
        assert!(peer.alerts.values().all(|alert| !alert.refused));
    }

    #[test]
    fn the_likeliest_cause_goes_along() {
        let told = annotations(&crate::alert::testing::explained("Full"));
        assert_eq!(told["likely_cause"], "the store \"grew\"");
        assert_eq!(told["summary"], "90% in use");
        assert_eq!(told["runbook_url"], "https://runbook");
        let plain = annotations(&transition("Full"));
        assert!(!plain.contains_key("likely_cause"), "what is not known is not said");
    }
}
