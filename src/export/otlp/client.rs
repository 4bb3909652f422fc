//! Sending.
//!
//! Owned by the `highwater-io` thread. Nothing here sleeps: [`Exporter::send_next`] makes at most
//! one attempt and says when to come again, so its thread can turn to new alerts (which overtake
//! all metrics) or stop in between. A request leaves the queue when the receiver took it or refused
//! it for good; with anything else it stays, its timestamps unchanged.

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
    transport::{Dropped, Fault, Lane, Parcel, http, retry::Backoff},
};

/// How often the spool is searched for what other processes left.
const RECOVERY: Duration = Duration::from_secs(10);
/// Between two requests of a backlog, so that a receiver that has just come back is not trampled
/// by a fleet: an hour of the default interval drains in 18 s.
const PACE: Duration = Duration::from_millis(50);
/// Sends what its [`Intake`] keeps.
#[derive(Debug)]
pub(crate) struct Exporter {
    intake: Intake,
    /// By [`Lane`].
    routes: [Option<Route>; 2],
    cadence: Cadence,
    /// How long after the start metrics are pushed first.
    phase: Duration,
    /// When the spool was last searched for what others left.
    recovered: Option<Instant>,
    /// No backlog before.
    paced: Option<Instant>,
    hurried: bool,
}

/// One lane's receiver and how it fares.
#[derive(Debug)]
struct Route {
    target: Target,
    client: Client,
    backoff: Backoff,
    /// No attempt before.
    not_before: Option<Instant>,
}

/// What [`Exporter::send_next`] did.
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
pub(crate) struct Interrupt(Vec<Cut>);

#[derive(Debug, Clone)]
enum Cut {
    Http(http::Interrupt),
    #[cfg(feature = "grpc")]
    Grpc(grpc::Interrupt),
}

impl Interrupt {
    pub(crate) fn cut(&self) {
        for cut in &self.0 {
            match cut {
                Cut::Http(http) => http.cut(),
                #[cfg(feature = "grpc")]
                Cut::Grpc(grpc) => grpc.cut(),
            }
        }
    }
}

impl Exporter {
    /// # Errors
    /// What is wrong with the certificates.
    pub(crate) fn new(settings: Settings, resource: &Resource) -> Result<Self, String> {
        let intake = Intake::new(&settings, resource);
        let [alerts, metrics] = settings.targets;
        let routes = [Route::new(alerts)?, Route::new(metrics)?];
        Ok(Self {
            intake,
            routes,
            cadence: Cadence::new(settings.interval),
            phase: cadence::phase(resource.instance_id(), settings.interval),
            recovered: None,
            paced: None,
            hurried: false,
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

    pub(crate) fn interrupt(&self) -> Interrupt {
        Interrupt(self.routes.iter().flatten().map(|route| route.client.interrupt()).collect())
    }

    /// Where to hand in, from any thread.
    pub(crate) fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Makes at most one attempt, alerts first, done by `deadline`. Now and then it reads what dead
    /// processes left, the first time too.
    pub(crate) fn send_next(&mut self, now: Instant, deadline: Instant) -> Step {
        if self.recovered.is_none_or(|at| now.saturating_duration_since(at) >= RECOVERY) {
            self.recovered = Some(now);
            self.intake.shared().with_queue(|queue| queue.recover());
        }
        let mut wait: Option<Duration> = None;
        for lane in Lane::ALL {
            let Some(route) = &self.routes[lane as usize] else { continue };
            let Some(picked) = self.intake.shared().with_queue(|queue| queue.pick(lane)) else {
                continue;
            };
            let paced = self.paced.filter(|_| !picked.is_fresh);
            let until = route.not_before.max(paced);
            let remaining = until.map(|at| at.saturating_duration_since(now));
            if let Some(remaining) = remaining.filter(|remaining| !remaining.is_zero()) {
                wait = Some(wait.map_or(remaining, |least| least.min(remaining)));
                continue;
            }
            let timeout = route.target.timeout.min(deadline.saturating_duration_since(now));
            if timeout.is_zero() {
                return Step::OutOfTime;
            }
            let started = Instant::now();
            let verdict = route.attempt(lane, &picked.parcel, timeout);
            let now = now + started.elapsed();
            if !picked.is_fresh && !self.hurried {
                self.paced = Some(now + PACE);
            }
            if lane == Lane::Metrics && picked.is_fresh {
                self.keep_time(&verdict, now);
            }
            self.conclude(lane, picked.id, verdict, now);
            return Step::Tried;
        }
        wait.map_or(Step::Idle, Step::Wait)
    }

    /// Forgets all waits, for one more attempt before the end; a backlog is not paced any more.
    pub(crate) fn hurry(&mut self) {
        self.hurried = true;
        self.paced = None;
        for route in self.routes.iter_mut().flatten() {
            route.not_before = None;
        }
    }

    /// Gives up what still waits in memory, and says how many requests that were; what is on disk
    /// is for the next process.
    pub(crate) fn abandon(&mut self) -> u64 {
        self.intake.shared().with_queue(|queue| queue.abandon())
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

    fn conclude(&mut self, lane: Lane, id: u64, verdict: Verdict, now: Instant) {
        let Some(route) = &mut self.routes[lane as usize] else { return };
        let (shared, url) = (self.intake.shared(), &route.target.url);
        match verdict {
            Verdict::Accepted { rejected, words, unclear } => {
                route.backoff.succeeded();
                route.not_before = None;
                let items = shared.with_queue(|queue| queue.remove(lane, id)).into();
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
                let wait = route.backoff.failed(asked);
                route.not_before = Some(now + wait);
                shared.with_queue(|queue| queue.failed(lane, id));
                shared.health.retried(lane);
                let line = format!("{url}: {words}");
                shared.health.error(&line);
                shared.say(Topic::Later, now, || {
                    format!("{line}; trying again in {:.1} s", wait.as_secs_f64())
                });
            }
            Verdict::Refused { words } => {
                route.backoff.succeeded();
                route.not_before = None;
                let items = shared.with_queue(|queue| queue.remove(lane, id)).into();
                shared.health.refused(lane, items);
                let line = format!("{url} refused a request for good: {words}");
                shared.health.error(&line);
                shared.say(Topic::Refused, now, || {
                    format!("{line}; {items} data point(s) or record(s) are lost")
                });
            }
        }
    }
}

impl Route {
    fn new(target: Option<Target>) -> Result<Option<Self>, String> {
        let Some(target) = target else { return Ok(None) };
        let client = Client::new(&target)?;
        let backoff = Backoff::new(random_u128() as u64);
        Ok(Some(Self { target, client, backoff, not_before: None }))
    }

    fn attempt(&self, lane: Lane, parcel: &Parcel, timeout: Duration) -> Verdict {
        match &self.client {
            Client::Http(client) => {
                let request = http::Request {
                    url: &self.target.url,
                    headers: &self.target.headers,
                    content_type: CONTENT_TYPE,
                    encoding: parcel.encoding.header(),
                    body: &parcel.body,
                };
                client.post(request, timeout).map(|answer| answer::of_http(lane, &answer))
            }
            #[cfg(feature = "grpc")]
            Client::Grpc(client) => {
                let request = grpc::Request {
                    url: &self.target.url,
                    method: answer::method(lane),
                    headers: &self.target.headers,
                    encoding: parcel.encoding,
                    body: &parcel.body,
                };
                client.call(request, timeout).map(|answer| answer::of_grpc(lane, &answer))
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

    fn interrupt(&self) -> Cut {
        match self {
            Self::Http(client) => Cut::Http(client.interrupt()),
            #[cfg(feature = "grpc")]
            Self::Grpc(client) => Cut::Grpc(client.interrupt()),
        }
    }
}
