//! The load: requests that come when they are due, whether or not earlier ones were answered, as
//! users' do. One connection each while it is in flight; connections are used again.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a user waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where requests go, and what became of them.
#[derive(Default)]
pub(crate) struct Load {
    port: u16,
    idle: Mutex<Vec<TcpStream>>,
    sent: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    /// Of those that were served, in seconds.
    latency: Mutex<Vec<f32>>,
}

/// Where it stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) in_flight: u64,
    pub(crate) served: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
}

impl Load {
    pub(crate) fn on(port: u16) -> Arc<Self> {
        Arc::new(Self { port, ..Self::default() })
    }

    pub(crate) fn counts(&self) -> Counts {
        let (refused, failed) =
            (self.refused.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        let ended = self.ended.load(Ordering::Relaxed);
        Counts {
            in_flight: self.sent.load(Ordering::Relaxed).saturating_sub(ended),
            served: ended.saturating_sub(refused + failed),
            refused,
            failed,
        }
    }

    /// The quantiles of what was served since the `from`th, and how many that were.
    pub(crate) fn quantiles<const N: usize>(&self, from: usize, of: [f64; N]) -> ([f32; N], usize) {
        let all = self.latency.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut some = all.get(from..).unwrap_or_default().to_vec();
        drop(all);
        some.sort_by(f32::total_cmp);
        let at = |q: f64| some.get(((some.len() as f64 * q) as usize).min(some.len().max(1) - 1));
        (of.map(|q| at(q).copied().unwrap_or(f32::NAN)), from + some.len())
    }

    /// Requests after requests by so many users at once; how many a second are served.
    pub(crate) async fn capacity(self: &Arc<Self>, users: u32, lasting: Duration) -> f64 {
        let (begun, before) = (Instant::now(), self.counts().served);
        let work = (0..users).map(|user| {
            let load = self.clone();
            tokio::spawn(async move {
                while begun.elapsed() < lasting {
                    load.request(user).await;
                }
            })
        });
        for user in work.collect::<Vec<_>>() {
            let _ = user.await;
        }
        (self.counts().served - before) as f64 / begun.elapsed().as_secs_f64()
    }

    /// From `from` to `to` requests a second, evenly, then as many until `end`. Stops when
    /// `go_on` says so.
    pub(crate) async fn ramp(
        self: &Arc<Self>,
        (from, to): (f64, f64),
        (ramp, end): (Duration, Duration),
        go_on: impl Fn() -> bool,
    ) {
        let begun = Instant::now();
        let mut due = 0.0;
        let mut sent = 0u32;
        let mut last = begun;
        while begun.elapsed() < end && go_on() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now = Instant::now();
            let share = ((now - begun).as_secs_f64() / ramp.as_secs_f64()).min(1.0);
            due += (from + (to - from) * share) * (now - last).as_secs_f64();
            last = now;
            while f64::from(sent) < due {
                sent += 1;
                let (load, user) = (self.clone(), sent);
                tokio::spawn(async move { load.request(user).await });
            }
        }
    }

    async fn request(&self, user: u32) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        match timeout(PATIENCE, self.exchange(user)).await {
            Ok(Ok(200)) => {
                let mut latency =
                    self.latency.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                latency.push(begun.elapsed().as_secs_f32());
            }
            Ok(Ok(503)) => _ = self.refused.fetch_add(1, Ordering::Relaxed),
            _ => _ = self.failed.fetch_add(1, Ordering::Relaxed),
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer's status.
    async fn exchange(&self, user: u32) -> std::io::Result<u16> {
        let idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => TcpStream::connect(("127.0.0.1", self.port)).await?,
        };
        // One in five asks for what can wait.
        let what = if user.is_multiple_of(5) { "report" } else { "order" };
        let request = format!("GET /{what}/{user} HTTP/1.1\r\nHost: veltrix\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        loop {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(status) = complete(&answer) {
                let mut idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                idle.push(stream);
                return Ok(status);
            }
        }
    }
}

/// The status, once the answer is whole.
fn complete(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    (body.len() >= length.unwrap_or(0)).then_some(status)
}
