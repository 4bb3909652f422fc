//! One address: what waits for it, in order.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::template::{Fill, Template};
use crate::{
    alert::Left,
    clock::unix_nanos,
    event::{State, Transition},
    export::{
        otlp::random_u128,
        outbox::{Next, Work},
        receiver::{Line, Verdict},
    },
    instrument::Gauge,
    name::Labels,
    sync::Arc,
};

/// Alerts that wait; the oldest makes room.
const CAPACITY: usize = 1_024;
/// What is older is nobody's news.
const RETENTION: Duration = Duration::from_secs(3_600);

/// What all addresses share.
pub(super) struct Plan {
    pub(super) template: Template,
    /// `job` and `instance`.
    pub(super) identity: Labels,
    pub(super) headers: Vec<(String, String)>,
    pub(super) secret: Option<Vec<u8>>,
    /// How many replicas are desired, if the template asks.
    pub(super) desired: Option<Gauge>,
}

struct Message {
    id: String,
    told: Arc<Transition>,
    /// As it was then: a message stays the same from attempt to attempt.
    desired: Option<f64>,
    since: Instant,
}

pub(super) struct Hook {
    plan: Arc<Plan>,
    line: Line,
    waiting: VecDeque<Message>,
}

/// An alert that fires or ends, unless it is hushed.
pub(super) fn is_news(transition: &Transition) -> bool {
    let fires = transition.to == State::Firing && transition.from != State::Firing;
    transition.hushed.is_none() && (fires || transition.resolved.is_some())
}

impl Hook {
    pub(super) fn new(plan: Arc<Plan>, line: Line) -> Self {
        Self { plan, line, waiting: VecDeque::new() }
    }
}

impl Plan {
    fn body(&self, message: &Message) -> Vec<u8> {
        let own = message.told.labels.iter();
        let labels = Labels::new(self.identity.iter().chain(own));
        let Message { id, told, desired, .. } = message;
        let fill = Fill { id, told, labels: &labels, desired: *desired };
        self.template.fill(&fill).to_string().into_bytes()
    }

    /// Those given, and Standard Webhooks'.
    fn headers(&self, id: &str, at: SystemTime, body: &[u8]) -> Vec<(String, String)> {
        let at = (unix_nanos(at) / 1_000_000_000).to_string();
        let mut headers = self.headers.clone();
        if let Some(secret) = &self.secret {
            headers.push(("webhook-signature".to_owned(), signature(secret, id, &at, body)));
        }
        headers.push(("webhook-id".to_owned(), id.to_owned()));
        headers.push(("webhook-timestamp".to_owned(), at));
        headers
    }
}

/// HMAC takes keys of any length, so there is always one.
pub(super) fn signature(secret: &[u8], id: &str, at: &str, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

impl Work for Hook {
    fn take(&mut self, transition: &Arc<Transition>, now: Instant) {
        if self.waiting.len() == CAPACITY {
            self.waiting.pop_front();
            self.line.lose(1, "too many wait");
        }
        let id = format!("msg_{:032x}", random_u128());
        let desired = self.plan.desired.as_ref().and_then(|desired| desired.0.value());
        self.waiting.push_back(Message { id, told: transition.clone(), desired, since: now });
    }

    fn step(&mut self, now: Instant, deadline: Option<Instant>) -> Next {
        while let Some(oldest) = self.waiting.front()
            && now.saturating_duration_since(oldest.since) >= RETENTION
        {
            self.waiting.pop_front();
            self.line.lose(1, "not reached for an hour");
        }
        let Some(message) = self.waiting.front() else { return Next::Idle };
        if let Some(at) = self.line.not_before.filter(|at| *at > now) {
            return Next::At(at);
        }
        let body = self.plan.body(message);
        let headers = self.plan.headers(&message.id, SystemTime::now(), &body);
        match self.line.post(&headers, &body, 1, deadline) {
            Verdict::Taken => drop(self.waiting.pop_front()),
            Verdict::Refused(words) => {
                self.waiting.pop_front();
                self.line.lose(1, &format!("refused: {words}"));
            }
            Verdict::Later(..) => {}
        }
        Next::Now
    }

    fn hurry(&mut self) {
        self.line.hurry();
    }

    fn left(&self) -> Option<Left> {
        let alerts = self.waiting.len() as u64;
        let reason = || self.line.last_error.clone().unwrap_or_else(|| "out of time".to_owned());
        (alerts > 0).then(|| Left { alerts, reason: reason() })
    }
}
