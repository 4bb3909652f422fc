//! Who waits for a receiver: a thread for each signal, that lives while there is something to send,
//! so that a receiver that hangs delays neither what is kept nor what goes elsewhere.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use super::telemetry::Losses;
use crate::{
    export::otlp::{Interrupt, Sender, Step},
    sync::{Arc, Monitor, Mutex, Ordering},
    transport::Lane,
};

const NAME: &str = "highwater-send";
/// Longer than any attempt's own time-out.
const FAR: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct Outlet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lane: Lane,
    interrupt: Interrupt,
    /// Held by the thread as long as it runs.
    sender: Mutex<Sender>,
    state: Monitor<State>,
    losses: Arc<Losses>,
    spawn: Spawn,
}

type Spawn = fn(Arc<Shared>) -> io::Result<()>;

fn spawn(shared: Arc<Shared>) -> io::Result<()> {
    thread::Builder::new().name(NAME.to_owned()).spawn(move || shared.run()).map(drop)
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    /// The operating system refused a thread; said once.
    refused: bool,
    news: bool,
    /// By when all has to be over, once nothing more will come.
    closing: Option<Instant>,
}

impl Outlet {
    pub(super) fn new(sender: Sender, losses: Arc<Losses>) -> Self {
        Self::with(sender, losses, spawn)
    }

    fn with(sender: Sender, losses: Arc<Losses>, spawn: Spawn) -> Self {
        Self(Arc::new(Shared {
            lane: sender.lane(),
            interrupt: sender.interrupt(),
            sender: Mutex::new(sender),
            state: Monitor::default(),
            losses,
            spawn,
        }))
    }

    pub(super) fn lane(&self) -> Lane {
        self.0.lane
    }

    /// Something waits to be sent. `false` if there is no thread to be had.
    pub(super) fn wake(&self) -> bool {
        let mut state = self.0.state.lock();
        state.news = true;
        self.0.state.notify_all();
        if state.running {
            return true;
        }
        let spawned = (self.0.spawn)(self.0.clone());
        state.running = spawned.is_ok();
        match spawned {
            Err(why) if !state.refused => {
                state.refused = true;
                log::warn!("highwater: no thread to send {}: {why}", self.0.lane.as_str());
            }
            Err(_) => {}
            Ok(_) => state.refused = false,
        }
        state.running
    }

    /// One attempt on the caller's thread; only where [`wake`](Self::wake) found none.
    pub(super) fn step(&self, now: Instant, deadline: Instant) -> Step {
        self.0.step(&mut self.0.sender.lock(), now, deadline)
    }

    /// Nothing more will come: one more round for everything that waits, at once.
    pub(super) fn close(&self, deadline: Instant) {
        self.0.state.lock().closing = Some(deadline);
        if !self.wake() {
            self.0.send_all(deadline);
        }
    }

    /// Whether it is over by then.
    pub(super) fn wait_for_end(&self, deadline: Instant) -> bool {
        let mut state = self.0.state.lock();
        while state.running {
            let timed_out;
            (state, timed_out) = self.0.state.wait_until(state, deadline);
            if timed_out {
                return !state.running;
            }
        }
        true
    }

    /// Makes the attempt under way fail, as far as that can be done.
    pub(super) fn cut(&self) {
        self.0.interrupt.cut();
    }
}

impl Shared {
    fn step(&self, sender: &mut Sender, now: Instant, deadline: Instant) -> Step {
        // Nothing in there should panic. If it does all the same, it is as if the attempt had failed.
        catch_unwind(AssertUnwindSafe(|| sender.step(now, deadline))).unwrap_or_else(|_| {
            if self.losses.export_panicked.fetch_add(1, Ordering::Relaxed) == 0 {
                log::error!("highwater: sending {} panicked", self.lane.as_str());
            }
            sender.panicked(now);
            Step::Tried
        })
    }

    fn run(&self) {
        let mut sender = self.sender.lock();
        loop {
            let closing = {
                let mut state = self.state.lock();
                state.news = false;
                state.closing
            };
            if let Some(deadline) = closing {
                drop(sender);
                self.send_all(deadline);
                self.state.lock().running = false;
                self.state.notify_all();
                return;
            }
            let now = Instant::now();
            let step = self.step(&mut sender, now, now + FAR);
            let mut state = self.state.lock();
            match step {
                Step::Tried => {}
                Step::Wait(time) => {
                    let at = now + time;
                    while !state.news && Instant::now() < at {
                        (state, _) = self.state.wait_until(state, at);
                    }
                }
                Step::Idle | Step::OutOfTime if state.news => {}
                Step::Idle | Step::OutOfTime => {
                    // Under the lock, so that nobody takes it for still running.
                    drop(sender);
                    state.running = false;
                    return;
                }
            }
        }
    }

    /// Sends what waits until there is nothing or it is time.
    fn send_all(&self, deadline: Instant) {
        let mut sender = self.sender.lock();
        sender.hurry();
        loop {
            let now = Instant::now();
            match self.step(&mut sender, now, deadline) {
                Step::Tried => {}
                Step::Wait(time) if now + time < deadline => thread::sleep(time),
                Step::Wait(_) | Step::Idle | Step::OutOfTime => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        export::otlp::{self, Exporter, Resource},
        name::Labels,
        registry::{Collector, Registry, Snapshot},
    };

    #[test]
    fn where_no_thread_can_be_had_it_is_sent_on_the_callers() {
        let nothing = |_: &str| None;
        let settings = otlp::to("http://127.0.0.1:9").resolve(&nothing).0.unwrap();
        let resource = Resource::new("shop", [], &nothing).0;
        let mut exporter = Exporter::new(settings, &resource).unwrap();
        let (now, registry) = (Clock::system().now(), Arc::new(Registry::new(100)));
        let (mut collector, mut snapshot) =
            (Collector::new(registry.clone(), now), Snapshot::new(now));
        registry.gauge("depth", &Labels::empty()).set(1.0);
        collector.collect(now);
        collector.snapshot(&mut snapshot);
        exporter.intake().metrics(&snapshot);

        let refuse: Spawn = |_| Err(io::ErrorKind::WouldBlock.into());
        let senders = exporter.take_senders().into_iter();
        let mut outlets = senders.map(|sender| Outlet::with(sender, Arc::default(), refuse));
        let outlet = outlets.find(|outlet| outlet.lane() == Lane::Metrics).unwrap();
        let retried = || exporter.health().report().lane(Lane::Metrics).retried;
        assert!(!outlet.wake());
        let now = Instant::now();
        assert_eq!(outlet.step(now, now + FAR), Step::Tried);
        assert_eq!(retried(), 1);
        assert!(matches!(outlet.step(now, now + FAR), Step::Wait(_)));
        outlet.close(Instant::now() + Duration::from_millis(300));
        assert!(outlet.wait_for_end(Instant::now()) && retried() > 1, "one more, waits or not");
    }
}
