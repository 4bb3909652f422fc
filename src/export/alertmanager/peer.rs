//! One Alertmanager: which alerts it is to know of, and by when.
//!
//! An array with one bad alert is answered 400, though the good ones in it are taken. So a refused
//! array is halved until the bad one stands alone; that one is given up, and counted, until its
//! next transition.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value, json};

use super::Config;
use crate::{
    alert::{Left, Speaker},
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
        }
    }

    /// As the rule would have them on a server that scrapes this service.
    pub(super) fn labels(&self, transition: &Transition) -> Labels {
        let own = transition.labels.iter().map(|(key, value)| (naming::label(key), value));
        Labels::new(self.labels.iter().map(|(key, value)| (key.into(), value)).chain(own))
    }

    fn json(&self, labels: &Labels, alert: &Alert, now: SystemTime) -> Value {
        let told = &alert.told;
        let runbook = told.rule.runbook.as_deref().unwrap_or_default();
        let likely = told.evidence.as_ref().and_then(|evidence| evidence.likeliest());
        let annotations: Map<String, Value> = [
            ("likely_cause", likely.map_or("", |cause| cause.text.as_str())),
            ("summary", told.summary.as_str()),
            ("description", told.description.as_str()),
            ("runbook_url", runbook),
        ]
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text)| (key.to_owned(), text.into()))
        .collect();
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
    /// The peer will not have it.
    refused: bool,
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
        let due = self.alerts.iter().filter(|(_, alert)| !alert.refused && alert.due <= now);
        let mut due: Vec<_> = due.map(|(labels, alert)| (alert.due, labels)).collect();
        // What waits longest first, and always in the same order.
        due.sort();
        due.into_iter().take(BATCH).map(|(_, labels)| labels.clone()).collect()
    }

    fn taken(&mut self, batch: &[Labels], now: Instant) {
        for labels in batch {
            let Some(alert) = self.alerts.get_mut(labels) else { continue };
            if alert.ended.is_some() {
                self.alerts.remove(labels);
            } else {
                alert.taken = true;
                alert.due = now + self.plan.resend;
            }
        }
    }

    fn refused(&mut self, mut batch: Vec<Labels>, words: &str) {
        if batch.len() > 1 {
            let half = batch.split_off(batch.len() / 2);
            self.suspects.push(half);
            self.suspects.push(batch);
            return;
        }
        for labels in batch {
            self.line.lose(1, &format!("{labels} was refused: {words}"));
            match self.alerts.get_mut(&labels) {
                Some(alert) if alert.ended.is_none() => alert.refused = true,
                _ => drop(self.alerts.remove(&labels)),
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
            // Back from a time without data: the same alert still.
            known.told = transition.clone();
            (known.due, known.refused) = (now, false);
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
            if alert.refused {
                self.alerts.remove(&labels);
                return;
            }
            alert.told = transition.clone();
            alert.ended = Some(transition.at);
            (alert.due, alert.since) = (now, now);
        }
    }

    fn step(&mut self, now: Instant, deadline: Option<Instant>) -> Next {
        self.expire(now);
        if let Some(at) = self.line.not_before.filter(|at| *at > now) {
            return Next::At(at);
        }
        let batch = self.next_batch(now);
        if batch.is_empty() {
            let firing = self.alerts.values().filter(|alert| !alert.refused);
            let due = firing.filter(|alert| !self.closing || alert.ended.is_some() || !alert.taken);
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
            Verdict::Refused(words) => self.refused(batch, &words),
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
        let waiting = |alert: &&Alert| !alert.refused && (alert.ended.is_some() || !alert.taken);
        let alerts = self.alerts.values().filter(waiting).count() as u64;
        let reason = || self.line.last_error.clone().unwrap_or_else(|| "out of time".to_owned());
        (alerts > 0).then(|| Left { alerts, reason: reason() })
    }
}
