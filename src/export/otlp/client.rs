//! Sending.
//!
//! Each lane has a [`Sender`] of its own, so that no receiver delays what goes to another. Nothing
//! here sleeps: [`Sender::step`] makes at most one attempt and says when to come again, so its
//! thread can stop in between. A request leaves the queue when the receiver took it or refused it
//! for good; with anything else it stays, its timestamps unchanged.

use std::time::{Duration, Instant, SystemTime};

use super::{
    answer::{self, CONTENT_TYPE, Verdict},
    cadence::{self, Cadence},
    config::{Settings, Target},
    health::Health,
    intake::{Intake, Topic},
    resource::{Resource, random_u128},
};
#[cfg(feature = "grpc")]
use crate::{export::otlp::Protocol, transport::grpc};
use crate::{
    sync::Arc,
    transport::{Dropped, Fault, Lane, Parcel, http, queue::Next, retry::Backoff},
};

/// How often the spool is searched for what other processes left.
const RECOVERY: Duration = Duration::from_secs(10);

/// What is to be sent, and who sends it.
#[derive(Debug)]
pub(crate) struct Exporter {
    intake: Intake,
    /// Alerts' first.
    senders: Vec<Sender>,
    /// How long after the start metrics are pushed first.
    phase: Duration,
    /// When the spool was last searched for what others left.
    recovered: Option<Instant>,
}

/// Sends what one lane of an [`Intake`] keeps.
#[derive(Debug)]
pub(crate) struct Sender {
    lane: Lane,
    intake: Intake,
    target: Target,
    client: Client,
    backoff: Backoff,
    /// No attempt before.
    not_before: Option<Instant>,
    /// The request of the attempt under way.
    under_way: Option<u64>,
    /// Of metrics.
    cadence: Cadence,
    hurried: bool,
}

/// What [`Sender::step`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// One attempt was made, well or badly: call again.
    Tried,
    /// All that waits must wait for so long.
    Wait(Duration),
    /// Nothing waits.
    Idle,
    /// Something waits and could be sent, but the deadline is over.
    OutOfTime,
}

/// Cuts off the request under way.
#[derive(Debug, Clone)]
pub(crate) enum Interrupt {
    Http(http::Interrupt),
    #[cfg(feature = "grpc")]
    Grpc(grpc::Interrupt),
}

impl Interrupt {
    pub(crate) fn cut(&self) {
        match self {
            Self::Http(http) => http.cut(),
            #[cfg(feature = "grpc")]
            Self::Grpc(grpc) => grpc.cut(),
        }
    }
}

impl Exporter {
    /// # Errors
    /// What is wrong with the certificates.
    pub(crate) fn new(settings: Settings, resource: &Resource) -> Result<Self, String> {
        let intake = Intake::new(&settings, resource);
        let mut senders = Vec::new();
        for (lane, target) in Lane::ALL.into_iter().zip(settings.targets) {
            let Some(target) = target else { continue };
            senders.push(Sender {
                lane,
                intake: intake.clone(),
                client: Client::new(&target)?,
                target,
                backoff: Backoff::new(random_u128() as u64),
                not_before: None,
                under_way: None,
                cadence: Cadence::new(settings.interval),
                hurried: false,
            });
        }
        Ok(Self {
            intake,
            senders,
            phase: cadence::phase(resource.instance_id(), settings.interval),
            recovered: None,
        })
    }

    /// How long after the start metrics are pushed first; then every
    /// [`interval`](Health::interval).
    pub(crate) fn phase(&self) -> Duration {
        self.phase
    }

    pub(crate) fn health(&self) -> &Arc<Health> {
        &self.intake.shared().health
    }

    /// Where to hand in, from any thread.
    pub(crate) fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Those who send, to be given a thread each.
    pub(crate) fn take_senders(&mut self) -> Vec<Sender> {
        std::mem::take(&mut self.senders)
    }

    /// Now and then, reads what dead processes left; the first time at once.
    pub(crate) fn recover(&mut self, now: Instant) {
        if self.recovered.is_none_or(|at| now.saturating_duration_since(at) >= RECOVERY) {
            self.recovered = Some(now);
            self.intake.shared().with_queue(|queue| queue.recover());
        }
    }

    /// One step of the first sender that has something to do, for those who drive it by hand.
    pub(crate) fn send_next(&mut self, now: Instant, deadline: Instant) -> Step {
        self.recover(now);
        let mut wait: Option<Duration> = None;
        for sender in &mut self.senders {
            match sender.step(now, deadline) {
                Step::Idle => {}
                Step::Wait(time) => wait = Some(wait.map_or(time, |least| least.min(time))),
                step => return step,
            }
        }
        wait.map_or(Step::Idle, Step::Wait)
    }

    /// See [`Sender::hurry`].
    #[cfg(test)]
    pub(crate) fn hurry(&mut self) {
        self.senders.iter_mut().for_each(Sender::hurry);
    }

    #[cfg(test)]
    pub(crate) fn interrupt(&self, lane: Lane) -> Interrupt {
        let mut senders = self.senders.iter();
        senders.find(|sender| sender.lane == lane).expect("a receiver").interrupt()
    }

    /// Gives up what still waits in memory, and says how many requests that were; what is on disk
    /// is for the next process.
    pub(crate) fn abandon(&mut self) -> u64 {
        self.intake.shared().with_queue(|queue| queue.abandon())
    }
}

impl Sender {
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    pub(crate) fn interrupt(&self) -> Interrupt {
        self.client.interrupt()
    }

    /// Makes at most one attempt, done by `deadline`.
    pub(crate) fn step(&mut self, now: Instant, deadline: Instant) -> Step {
        let shared = self.intake.shared();
        // Before the disk is read for nothing.
        let left = self.not_before.map(|at| at.saturating_duration_since(now));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            let waits = shared.with_queue(|queue| queue.load(self.lane).requests) > 0;
            return if waits { Step::Wait(left) } else { Step::Idle };
        }
        let paced = if self.hurried { None } else { shared.pace.not_before(self.lane) };
        let picked = match shared.with_queue(|queue| queue.pick(self.lane, now, paced)) {
            Next::Request(picked) => picked,
            Next::Wait(wait) => return Step::Wait(wait),
            Next::Nothing => return Step::Idle,
        };
        let timeout = self.target.timeout.min(deadline.saturating_duration_since(now));
        if timeout.is_zero() {
            return Step::OutOfTime;
        }
        if !picked.is_fresh && !self.hurried && !shared.pace.take(self.lane, now) {
            // The other lane was first.
            return Step::Wait(Duration::from_millis(1));
        }
        let started = Instant::now();
        self.under_way = Some(picked.id);
        let verdict = self.attempt(&picked.parcel, timeout);
        self.under_way = None;
        let now = now + started.elapsed();
        if self.lane == Lane::Metrics && picked.is_fresh {
            self.keep_time(&verdict, now);
        }
        self.conclude(picked.id, verdict, now);
        Step::Tried
    }

    /// Forgets all waits, for one more attempt before the end; a backlog is not paced any more.
    pub(crate) fn hurry(&mut self) {
        self.hurried = true;
        self.not_before = None;
        self.intake.shared().with_queue(|queue| queue.hurry());
    }

    /// A [`step`](Self::step) panicked: what it was about waits, as if it had failed.
    pub(crate) fn panicked(&mut self, now: Instant) {
        self.not_before = Some(now + self.backoff.failed(None));
        if let Some(id) = self.under_way.take() {
            self.intake.shared().with_queue(|queue| queue.failed(self.lane, id, now));
        }
    }

    /// Pushes less often while the receiver throttles.
    fn keep_time(&mut self, verdict: &Verdict, now: Instant) {
        let changed = match verdict {
            Verdict::Accepted { .. } => self.cadence.accepted(),
            Verdict::Later { throttled: true, .. } => self.cadence.throttled(),
            Verdict::Later { .. } | Verdict::Refused { .. } => None,
        };
        let Some(interval) = changed else { return };
        let shared = self.intake.shared();
        shared.health.set_interval(interval);
        shared.say(Topic::Throttled, now, || {
            let throttles = matches!(verdict, Verdict::Later { .. });
            let why = if throttles { "the receiver throttles" } else { "it takes more again" };
            format!("metrics are pushed every {interval:?} now: {why}")
        });
    }

    fn conclude(&mut self, id: u64, verdict: Verdict, now: Instant) {
        let (lane, shared, url) = (self.lane, self.intake.shared(), &self.target.url);
        match verdict {
            Verdict::Accepted { rejected, words, unclear } => {
                self.backoff.succeeded();
                let items = shared.with_queue(|queue| queue.settle(lane, id)).into();
                let rejected = rejected.min(items);
                shared.health.sent(lane, items - rejected, SystemTime::now());
                shared.health.dropped(lane, Dropped::Rejected, rejected);
                if unclear {
                    shared.health.unclear(lane);
                }
                if let Some(words) = words {
                    let line = format!("{url} took a request, but {words}");
                    shared.health.error(&line);
                    let topic = if rejected > 0 { Topic::Rejected } else { Topic::Remark };
                    shared.say(topic, now, || line);
                }
            }
            Verdict::Later { asked, words, .. } => {
                let wait = self.backoff.failed(asked);
                self.not_before = Some(now + wait);
                shared.with_queue(|queue| queue.failed(lane, id, now));
                shared.health.retried(lane);
                let line = format!("{url}: {words}");
                shared.health.error(&line);
                shared.say(Topic::Later, now, || {
                    format!("{line}; trying again in {:.1} s", wait.as_secs_f64())
                });
            }
            Verdict::Refused { words } => {
                self.backoff.succeeded();
                let items = shared.with_queue(|queue| queue.settle(lane, id)).into();
                shared.health.refused(lane, items);
                let line = format!("{url} refused a request for good: {words}");
                shared.health.error(&line);
                shared.say(Topic::Refused, now, || {
                    format!("{line}; {items} data point(s) or record(s) are lost")
                });
            }
        }
    }

    fn attempt(&self, parcel: &Parcel, timeout: Duration) -> Verdict {
        match &self.client {
            Client::Http(client) => {
                let request = http::Request {
                    url: &self.target.url,
                    headers: &self.target.headers,
                    content_type: CONTENT_TYPE,
                    encoding: parcel.encoding.header(),
                    body: &parcel.body,
                };
                client.post(request, timeout).map(|answer| answer::of_http(self.lane, &answer))
            }
            #[cfg(feature = "grpc")]
            Client::Grpc(client) => {
                let request = grpc::Request {
                    url: &self.target.url,
                    method: answer::method(self.lane),
                    headers: &self.target.headers,
                    encoding: parcel.encoding,
                    body: &parcel.body,
                };
                client.call(request, timeout).map(|answer| answer::of_grpc(self.lane, &answer))
            }
        }
        .unwrap_or_else(|fault| match fault {
            Fault::Impossible(words) => Verdict::Refused { words },
            fault => Verdict::Later { asked: None, throttled: false, words: fault.to_string() },
        })
    }
}

/// Either transport.
#[derive(Debug)]
enum Client {
    Http(http::Client),
    #[cfg(feature = "grpc")]
    Grpc(grpc::Client),
}

impl Client {
    fn new(target: &Target) -> Result<Self, String> {
        match target.protocol {
            #[cfg(feature = "grpc")]
            Protocol::Grpc => grpc::Client::new(&target.tls).map(Self::Grpc),
            _ => http::Client::new(&target.tls).map(Self::Http),
        }
    }

    fn interrupt(&self) -> Interrupt {
        match self {
            Self::Http(client) => Interrupt::Http(client.interrupt()),
            #[cfg(feature = "grpc")]
            Self::Grpc(client) => Interrupt::Grpc(client.interrupt()),
        }
    }
}
