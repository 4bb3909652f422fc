//! Random traces of memory in use: services that are well, and services that leak. The same seed
//! gives the same traces.

// Part of a test and of a bench, each of which uses some of it.
#![allow(dead_code, unreachable_pub)]

use std::{f64::consts::TAU, time::Duration};

use highwater::{
    Rehearsal,
    alert::Severity,
    rule::preset,
    sample::harness::{Machine, Told},
};

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// As often between 1 and 2 as between 10 and 20.
    fn scale(&mut self, low: f64, high: f64) -> f64 {
        self.uniform(low.ln(), high.ln()).exp()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

/// What a service does to its memory, as shares of the limit.
#[derive(Debug, Clone)]
pub struct Workload {
    base: f64,
    /// To this height within about this time.
    warm_up: (f64, f64),
    /// Height and period: a collector's.
    saw: (f64, f64),
    /// Height and period of a day's tides, however long that day is.
    tide: (f64, f64, f64),
    /// Begin, rise, stay, fall, height.
    bursts: Vec<[f64; 5]>,
    /// When, and to how much more than the base.
    steps: Vec<(f64, f64)>,
    noise: f64,
    /// What of one second's deviation is left a second later.
    memory: f64,
    leak: Option<Leak>,
}

#[derive(Debug, Clone, Copy)]
pub struct Leak {
    pub begins: f64,
    /// From then to the wall.
    pub lasts: f64,
    shape: Shape,
    /// What is left of the limit when it begins.
    room: f64,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Height is the share of the time to this power.
    Power(f64),
    /// So many doublings.
    Doubling(f64),
    /// So many steps, as evenly spaced.
    Steps(f64),
}

impl Leak {
    fn at(&self, time: f64) -> f64 {
        let share = (time - self.begins) / self.lasts;
        if share <= 0.0 {
            return 0.0;
        }
        let height = match self.shape {
            Shape::Power(power) => share.powf(power),
            Shape::Doubling(times) => ((share * times).exp2() - 1.0) / (times.exp2() - 1.0),
            Shape::Steps(count) => (share * count).floor() / count,
        };
        height * self.room
    }
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { base, warm_up, saw, tide, noise, memory, .. } = self;
        write!(f, "base {base:.2}, warm-up {warm_up:.2?}, saw {saw:.2?}, tide {tide:.2?}, ")?;
        write!(f, "{} bursts, steps {:.2?}, ", self.bursts.len(), self.steps)?;
        write!(f, "noise {noise:.4} of memory {memory:.2}, {:.2?}", self.leak)
    }
}

impl Workload {
    /// One that never needs more than it may.
    pub fn benign(random: &mut Random, seconds: f64) -> Self {
        loop {
            let workload = Self::any(random, seconds, 1.0);
            let highest = (0..seconds as u64).step_by(5).map(|at| workload.steady(at as f64));
            if highest.fold(0.0, f64::max) + 2.0 * workload.noise < 0.88 {
                return workload;
            }
        }
    }

    /// One whose leak reaches the limit.
    pub fn leaking(random: &mut Random) -> Self {
        let begins = random.uniform(120.0, 7_200.0);
        let lasts = random.scale(180.0, 28_800.0);
        loop {
            let mut workload = Self::any(random, begins + lasts, 0.35);
            let highest = (0..(begins + lasts) as u64).map(|at| workload.steady(at as f64));
            if highest.fold(0.0, f64::max) + 2.0 * workload.noise > 0.6 {
                continue;
            }
            let shape = match random.next() % 4 {
                0 => Shape::Power(random.uniform(1.0, 2.5)),
                1 => Shape::Doubling(random.uniform(1.0, 3.0)),
                2 => Shape::Steps((lasts / random.uniform(5.0, 60.0)).max(8.0)),
                _ => Shape::Power(1.0),
            };
            let room = 1.0 - workload.steady(begins + lasts);
            workload.leak = Some(Leak { begins, lasts, shape, room });
            return workload;
        }
    }

    fn any(random: &mut Random, seconds: f64, liveliness: f64) -> Self {
        let mut height = |most: f64| random.uniform(0.0, most * liveliness);
        let (warm, saw, tide) = (height(0.5), height(0.3), height(0.2));
        let mut bursts = Vec::new();
        let mut steps = Vec::new();
        if random.one_in(2) {
            let every = random.scale(300.0, 7_200.0);
            let mut at = random.uniform(60.0, every);
            while at < seconds {
                let (rise, stay) = (random.scale(1.0, 20.0), random.scale(2.0, 120.0));
                let (fall, high) =
                    (random.scale(1.0, 20.0), random.uniform(0.05, 0.35) * liveliness);
                bursts.push([at, rise, stay, fall, high]);
                at += rise + stay + fall + random.uniform(0.2, 1.8) * every;
            }
        }
        if random.one_in(2) {
            let every = random.scale(1_200.0, 20_000.0);
            let mut at = random.uniform(0.0, every);
            while at < seconds {
                steps.push((at, random.uniform(0.0, 0.3) * liveliness));
                at += random.uniform(0.2, 1.8) * every;
            }
        }
        let some = |yes: bool, height: f64| if yes { height } else { 0.0 };
        Self {
            base: random.uniform(0.1, 0.5),
            warm_up: (some(!random.one_in(3), warm), random.scale(20.0, 2_400.0)),
            saw: (some(random.one_in(3), saw), random.scale(3.0, 600.0)),
            tide: (
                some(random.one_in(2), tide),
                random.scale(1_800.0, 86_400.0),
                random.uniform(0.0, 1.0),
            ),
            bursts,
            steps,
            noise: random.scale(0.0005, 0.02),
            memory: random.uniform(0.0, 0.95),
            leak: None,
        }
    }

    pub fn leak(&self) -> Option<Leak> {
        self.leak
    }

    /// Without noise.
    fn steady(&self, time: f64) -> f64 {
        let (height, tau) = self.warm_up;
        let warm = height * (1.0 - (-time / tau).exp());
        let (high, period) = self.saw;
        let saw = high * (time % period) / period;
        let (swell, day, phase) = self.tide;
        let tide = swell * (0.5 + 0.5 * (TAU * (time / day + phase)).sin());
        let burst: f64 = self
            .bursts
            .iter()
            .take_while(|[begins, ..]| *begins <= time)
            .map(|[begins, rise, stay, fall, high]| {
                let into = time - begins;
                let up = (into / rise).min(1.0);
                let down = ((into - rise - stay) / fall).clamp(0.0, 1.0);
                high * (up - down).max(0.0)
            })
            .sum();
        let step = self.steps.iter().rev().find(|(at, _)| *at <= time).map_or(0.0, |step| step.1);
        let leak = self.leak.map_or(0.0, |leak| leak.at(time));
        self.base + warm + saw + tide + burst + step + leak
    }
}

/// What came of a trace.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub ticks: u64,
    /// When the limit was reached.
    pub wall: Option<f64>,
    /// Name, severity, from when to when.
    pub alerts: Vec<(String, Severity, f64, Option<f64>)>,
}

impl Outcome {
    /// How long before the wall the first alert of these names came, after the leak began.
    pub fn lead(&self, leak: &Leak, prefix: &str) -> Option<f64> {
        let wall = self.wall?;
        let alerts = self.alerts.iter().filter(|(name, ..)| name.starts_with(prefix));
        let since = alerts.filter(|(_, _, from, _)| *from >= leak.begins);
        since.map(|(_, _, from, _)| wall - from).max_by(f64::total_cmp)
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.alerts.iter().filter(|(_, of, ..)| *of == severity).count()
    }
}

/// Plays it second by second through the real samplers, trend and memory rules.
pub fn play(workload: &Workload, random: &mut Random, seconds: f64) -> Outcome {
    let tick = Duration::from_secs(1);
    let limit = f64::from(1 << 30);
    let mut machine = Machine::new().expect("a folder for the machine");
    let rules = preset::all(tick).into_iter().filter(|rule| rule.name().starts_with("Memory"));
    let samplers = machine.samplers().into_iter();
    let samplers = samplers.filter(|sampler| ["memory", "process"].contains(&sampler.name()));
    let mut stage = Rehearsal::new(samplers.collect(), rules.collect(), tick).expect("presets");
    let mut outcome = Outcome::default();
    let (mut deviation, mut told) = (0.0, Told::default());
    told.limit = Some(limit);
    for at in 0..seconds as u64 {
        let time = at as f64;
        let fresh = random.uniform(-1.0, 1.0) * (1.0 - workload.memory * workload.memory).sqrt();
        deviation = workload.memory * deviation + fresh;
        let share = (workload.steady(time) + workload.noise * deviation).max(0.01);
        told.anonymous = share * limit;
        machine.tell(&told).expect("the machine's files");
        stage.tick();
        outcome.ticks += 1;
        for (name, severity, _, until) in &mut outcome.alerts {
            let stands = stage.firing().any(|of| of.name == *name && of.severity == *severity);
            if until.is_none() && !stands {
                *until = Some(time);
            }
        }
        for of in stage.firing() {
            let known = outcome.alerts.iter().any(|(name, severity, _, until)| {
                *name == of.name && *severity == of.severity && until.is_none()
            });
            if !known {
                outcome.alerts.push((of.name, of.severity, time, None));
            }
        }
        if share >= 1.0 {
            outcome.wall = Some(time);
            break;
        }
    }
    outcome
}
