//! What tells "starved" from "slow": time lost waiting for memory, disk and CPU, and what the
//! kernel did to us.

#[cfg(target_os = "linux")]
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use super::Glance;
#[cfg(target_os = "linux")]
use super::field::Told;
use super::{Failure, Meter, Sampler, backend::Origin};
#[cfg(target_os = "linux")]
use super::{
    alarm::{self, Alarm},
    cgroup::{Groups, Membership},
    events::{Events, host_kills},
    parse::{
        cgroup::GroupCpu,
        pressure::{Pressure as Stalls, Stall, run_delay},
    },
    procfs::{Age, Look, Procfs, Source, Turn},
};
#[cfg(target_os = "linux")]
use crate::sync::Arc;
use crate::{instrument::Gauge, name::Unit, semconv};

/// Pressure: `highwater.pressure.*`, memory events, refaults, CPU throttling. Linux only. On by
/// default.
///
/// - `highwater.pressure.avg10`, `.avg60` and the counter `highwater.pressure.time`, by
///   `resource` (`memory`, `io`, `cpu`), `stall` (`some`: at least one task waited; `full`: all
///   that could have run did) and `level`: `host`, `cgroup` where the own group has files of its
///   own, and for the time `others`: how long somebody outside our group waited while nobody in
///   it did.
/// - `highwater.memory.events` by `event` (`high`, `max`, `oom`, `oom_kill`) and `level`: own
///   group, its ancestors, host, each with all below it; `highwater.memory.events.local`: of the
///   group itself. v1 groups tell `oom_kill` only, and of themselves only.
/// - `highwater.memory.refaults` by `kind` (`anonymous`, `file`) and `level`: pages taken back
///   right after they were given up, the mark of thrashing.
/// - `highwater.cpu.throttled.time`, `.throttled.periods`, `.periods` of the own group's quota.
/// - `highwater.cpu.delay.time`: how long the sampling thread itself waited for a CPU.
///
/// What this kernel lacks is absent; without PSI (kernels before 4.20, `psi=0`) events and
/// throttling remain. Where the kernel grants it, waiting for memory wakes the instance at once: as
/// systemd asks (`MEMORY_PRESSURE_WATCH`), or at 150 ms of 2 s. About 10 µs a tick, in which the
/// waiting for memory and what happened in the own group are read; disk and CPU, the host and outer
/// groups are read every five seconds, and so is the waiting for memory while the kernel would wake
/// us of any and has not for ten seconds.
pub fn pressure() -> Pressure {
    Pressure {
        origin: Origin::default(),
        #[cfg(target_os = "linux")]
        parts: None,
    }
}

/// See [`pressure`].
#[derive(Debug)]
pub struct Pressure {
    pub(super) origin: Origin,
    #[cfg(target_os = "linux")]
    parts: Option<Parts>,
}

impl Sampler for Pressure {
    fn name(&self) -> &str {
        "pressure"
    }

    #[cfg(target_os = "linux")]
    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        let procfs = self.origin.procfs();
        let parts = Parts::open(&procfs, meter);
        if parts.is_empty() {
            return Err(Failure::Unsupported("this kernel tells nothing of pressure".into()));
        }
        self.parts = Some(parts);
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn start(&mut self, _: &mut Meter) -> Result<(), Failure> {
        Err(Failure::Unsupported("only Linux tells of pressure".into()))
    }

    #[cfg(target_os = "linux")]
    fn sample(&mut self) -> Result<(), Failure> {
        self.parts.as_mut().map_or(Ok(()), Parts::sample)
    }

    #[cfg(not(target_os = "linux"))]
    fn sample(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Memory only: it is what kills.
    #[cfg(target_os = "linux")]
    fn glance(&mut self) -> Result<Glance, Failure> {
        self.parts.as_mut().map_or(Ok(()), Parts::glance).map(|()| Glance::Calm)
    }
}

/// What was found at the start; what was not is not looked for again.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Parts {
    procfs: Arc<Procfs>,
    generation: u64,
    waits: Vec<Wait>,
    events: Vec<Events>,
    host_kills: Option<Told>,
    refaults: [Refaults; 2],
    /// When what is read in its turn was.
    around: Option<Instant>,
    throttling: Option<Throttling>,
    delay: Option<(Source<u64>, Told)>,
    /// What wakes us, and how often it had when we last glanced.
    alarm: Option<(Arc<Alarm>, u64)>,
    /// How often at the last tick, and when it last had.
    rung: u64,
    rung_at: Option<Instant>,
}

#[cfg(target_os = "linux")]
impl Parts {
    fn open(procfs: &Arc<Procfs>, meter: &mut Meter) -> Self {
        let membership = Membership::read(procfs.root());
        let generation = procfs.locate_groups(&procfs.look()).1;
        // The root of all groups tells what the host tells; it alone has no type.
        let own = membership.v2().and_then(|groups| groups.folders.into_iter().next());
        let own = own.filter(|folder| folder.join("cgroup.type").exists());
        let alarm = if procfs.is_real() { arm(procfs.root(), own.as_deref(), meter) } else { None };
        let waits = [MEMORY, "io", "cpu"].into_iter().filter_map(|resource| {
            let own = own.as_ref().map(|folder| folder.join(format!("{resource}.pressure")));
            Wait::open(&procfs.root().join("pressure").join(resource), own, resource, meter)
        });
        let waits = waits.collect();
        let events = membership.of("memory").map(|groups| Events::open_all(&groups, meter));
        let vmstat = procfs.vmstat(&procfs.look()).ok().flatten();
        let mut delay = Source::new(procfs.root().join("thread-self/schedstat"), run_delay);
        Self {
            generation,
            waits,
            events: events.unwrap_or_default(),
            host_kills: vmstat
                .and_then(|stat| stat.oom_kills)
                .map(|_| Told::new(host_kills(meter))),
            refaults: ["host", "cgroup"].map(|level| Refaults::resolve(meter, level)),
            around: None,
            throttling: membership.of("cpu").and_then(|groups| Throttling::open(&groups, meter)),
            delay: delay.first().is_ok().then(|| {
                let help = "How long the sampling thread waited for a CPU.";
                let gauge = meter.counter(semconv::CPU_DELAY_TIME, Unit::SECONDS, help, []);
                (delay, Told::new(gauge))
            }),
            procfs: procfs.clone(),
            alarm: alarm.map(|alarm| (alarm, 0)),
            rung: 0,
            rung_at: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.waits.is_empty()
            && self.events.is_empty()
            && self.host_kills.is_none()
            && self.throttling.is_none()
            && self.delay.is_none()
    }

    fn sample(&mut self) -> Result<(), Failure> {
        let look = &self.procfs.look();
        if self.procfs.locate_groups(look).1 != self.generation {
            return Err(Failure::Failed("this process was moved to another control group".into()));
        }
        let is_quiet = self.is_quiet(look);
        let age = if is_quiet { Age::Since(Turn::Groups) } else { Age::Now };
        self.waits_of(MEMORY).try_for_each(|wait| wait.read(look, age))?;
        let vmstat = self.procfs.vmstat(look)?.unwrap_or_default();
        if let (Some(told), Some(kills)) = (&mut self.host_kills, vmstat.oom_kills) {
            told.put(Some(kills as f64));
        }
        let [host, own] = &mut self.refaults;
        host.publish(vmstat.refaults_anonymous, vmstat.refaults_file);
        if let Some(stat) = self.procfs.own_group(look)? {
            own.publish(stat.refaults_anonymous, stat.refaults_file);
        }
        let around = self.around.is_none_or(|at| !look.accepts(at, Age::Since(Turn::Around)));
        for events in &mut self.events {
            events.read(look, around)?;
        }
        if around {
            self.around = None;
            self.read_around(look)?;
            self.around = Some(look.now());
        }
        Ok(())
    }

    /// What is judged over a longer time.
    fn read_around(&mut self, look: &Look) -> Result<(), Failure> {
        let mut waits = self.waits.iter_mut().filter(|wait| wait.resource != MEMORY);
        waits.try_for_each(|wait| wait.read(look, Age::Now))?;
        if let Some(throttling) = &mut self.throttling {
            throttling.read(look)?;
        }
        if let Some((source, told)) = &mut self.delay {
            told.put(Some(source.read(look, Age::Now)? as f64 / 1e9));
        }
        Ok(())
    }

    /// Whether the kernel would have told of any waiting for memory worth an alert: it wakes us, has
    /// not for as long as its average reaches back, and nobody waited when last asked.
    fn is_quiet(&mut self, look: &Look) -> bool {
        let Some((alarm, _)) = self.alarm.as_ref().filter(|(alarm, _)| alarm.is_live()) else {
            return false;
        };
        let rung = alarm.rung();
        if std::mem::replace(&mut self.rung, rung) != rung {
            self.rung_at = Some(look.now());
        }
        let since = self.rung_at.map(|at| look.now().saturating_duration_since(at));
        since.is_none_or(|since| since > AVERAGED)
            && self.waits_of(MEMORY).all(|wait| wait.is_over())
    }

    fn waits_of(&mut self, resource: &str) -> impl Iterator<Item = &mut Wait> {
        self.waits.iter_mut().filter(move |wait| wait.resource == resource)
    }

    /// Unasked, if the kernel does not tell by itself that somebody waits.
    fn glance(&mut self) -> Result<(), Failure> {
        // One that is broken will never ring.
        if let Some((alarm, heard)) = self.alarm.as_mut().filter(|(alarm, _)| alarm.is_live()) {
            let rung = alarm.rung();
            if std::mem::replace(heard, rung) == rung {
                return Ok(());
            }
        }
        let look = &self.procfs.look();
        self.waits_of(MEMORY).try_for_each(|wait| wait.read(look, Age::Now))
    }
}

/// Wakes us when memory is waited for: as systemd asks, else in the own group, else on the host.
#[cfg(target_os = "linux")]
fn arm(procfs: &Path, own: Option<&Path>, meter: &mut Meter) -> Option<Arc<Alarm>> {
    let alarms = meter.alarms();
    let asked = Alarm::systemd(|name| std::env::var(name).ok(), &alarm::wakeups(meter, "systemd"));
    if let Some(Err(why)) = &asked {
        log::warn!("highwater: MEMORY_PRESSURE_WATCH: {why}");
    }
    if let Some(Ok(alarm)) = asked {
        return Some(alarms.arm(alarm));
    }
    let told = alarm::wakeups(meter, "psi");
    let host = procfs.join("pressure/memory");
    let own = own.map(|folder| folder.join("memory.pressure"));
    let granted = own.iter().chain([&host]).map(|file| Alarm::psi(file, &told));
    let mut refused = None;
    for outcome in granted {
        match outcome {
            Ok(alarm) => return Some(alarms.arm(alarm)),
            Err(why) => refused = Some(why),
        }
    }
    if let Some(why) = refused {
        log::info!("highwater: polls pressure, not woken by it: {why}");
    }
    None
}

/// How far back the shorter average reaches.
#[cfg(target_os = "linux")]
const AVERAGED: Duration = Duration::from_secs(10);

/// The resource that kills.
#[cfg(target_os = "linux")]
const MEMORY: &str = "memory";

/// The waiting for one resource: everybody's, and the own group's.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Wait {
    resource: &'static str,
    host: Option<Level>,
    own: Option<Level>,
    others: Option<Told>,
    /// The two files are not read at one moment: the difference must not step back.
    most_of_others: u64,
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Level {
    source: Source<Stalls>,
    some: Share,
    full: Share,
}

#[cfg(target_os = "linux")]
impl Wait {
    fn open(
        host: &Path,
        own: Option<PathBuf>,
        resource: &'static str,
        meter: &mut Meter,
    ) -> Option<Self> {
        let host = Level::open(host.to_owned(), resource, "host", meter);
        let own = own.and_then(|file| Level::open(file, resource, "cgroup", meter));
        if host.is_none() && own.is_none() {
            return None;
        }
        let others = (host.is_some() && own.is_some())
            .then(|| Told::new(time(meter, resource, "some", "others")));
        Some(Self { resource, host, own, others, most_of_others: 0 })
    }

    fn is_over(&self) -> bool {
        let mut levels = self.host.iter().chain(&self.own);
        levels.all(|level| level.some.avg10.last() == Some(0.0))
    }

    fn read(&mut self, look: &Look, age: Age) -> Result<(), Failure> {
        let read = |level: &mut Option<Level>| {
            level.as_mut().map(|level| level.read(look, age)).transpose()
        };
        let (host, own) = (read(&mut self.host)?, read(&mut self.own)?);
        if let (Some(told), Some(host), Some(own)) = (&mut self.others, host, own) {
            let now = host.some.total.saturating_sub(own.some.total);
            self.most_of_others = self.most_of_others.max(now);
            told.put(Some(self.most_of_others as f64 / 1e6));
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl Level {
    fn open(
        file: PathBuf,
        resource: &'static str,
        level: &'static str,
        meter: &mut Meter,
    ) -> Option<Self> {
        let mut source = Source::new(file, Stalls::parse);
        source.first().ok()?;
        let mut share = |stall| Share::resolve(meter, resource, stall, level);
        Some(Self { source, some: share("some"), full: share("full") })
    }

    fn read(&mut self, look: &Look, age: Age) -> Result<Stalls, Failure> {
        let stalls = self.source.read(look, age)?;
        self.some.publish(&stalls.some);
        if let Some(full) = &stalls.full {
            self.full.publish(full);
        }
        Ok(stalls)
    }
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Share {
    avg10: Told,
    avg60: Told,
    time: Told,
}

#[cfg(target_os = "linux")]
impl Share {
    fn resolve(meter: &mut Meter, resource: &str, stall: &str, level: &str) -> Self {
        let labels =
            [(semconv::RESOURCE, resource), (semconv::STALL, stall), (semconv::LEVEL, level)];
        let help = "Share of the time tasks waited, averaged over 10 seconds.";
        let avg10 = Told::new(meter.gauge(semconv::PRESSURE_AVG10, Unit::ONE, help, labels));
        let help = "Share of the time tasks waited, averaged over a minute.";
        let avg60 = Told::new(meter.gauge(semconv::PRESSURE_AVG60, Unit::ONE, help, labels));
        Self { avg10, avg60, time: Told::new(time(meter, resource, stall, level)) }
    }

    fn publish(&mut self, stall: &Stall) {
        self.avg10.put(Some(stall.avg10));
        self.avg60.put(Some(stall.avg60));
        self.time.put(Some(stall.total as f64 / 1e6));
    }
}

#[cfg(target_os = "linux")]
fn time(meter: &mut Meter, resource: &str, stall: &str, level: &str) -> Gauge {
    let labels = [(semconv::RESOURCE, resource), (semconv::STALL, stall), (semconv::LEVEL, level)];
    let help = "Time in which tasks waited.";
    meter.counter(semconv::PRESSURE_TIME, Unit::SECONDS, help, labels)
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Refaults {
    anonymous: Told,
    file: Told,
}

#[cfg(target_os = "linux")]
impl Refaults {
    fn resolve(meter: &mut Meter, level: &str) -> Self {
        let mut of = |kind| {
            let help = "Pages taken back right after they were given up.";
            let labels = [(semconv::KIND, kind), (semconv::LEVEL, level)];
            Told::new(meter.counter(semconv::MEMORY_REFAULTS, Unit::known("{page}"), help, labels))
        };
        Self { anonymous: of("anonymous"), file: of("file") }
    }

    fn publish(&mut self, anonymous: Option<u64>, file: Option<u64>) {
        self.anonymous.put(anonymous.map(|pages| pages as f64));
        self.file.put(file.map(|pages| pages as f64));
    }
}

/// The own group's CPU quota.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Throttling {
    source: Source<GroupCpu>,
    periods: Told,
    throttled: Told,
    time: Told,
}

#[cfg(target_os = "linux")]
impl Throttling {
    fn open(groups: &Groups, meter: &mut Meter) -> Option<Self> {
        let mut source = Source::new(groups.folders.first()?.join("cpu.stat"), GroupCpu::parse);
        source.first().ok()?.throttled_time?;
        let period = Unit::known("{period}");
        Some(Self {
            source,
            periods: Told::new(meter.counter(
                semconv::CPU_PERIODS,
                period.clone(),
                "Periods in which the own group ran under a CPU quota.",
                [],
            )),
            throttled: Told::new(meter.counter(
                semconv::CPU_THROTTLED_PERIODS,
                period,
                "Periods in which the own group used up its CPU quota.",
                [],
            )),
            time: Told::new(meter.counter(
                semconv::CPU_THROTTLED_TIME,
                Unit::SECONDS,
                "How long threads of the own group were kept from running by its CPU quota.",
                [],
            )),
        })
    }

    fn read(&mut self, look: &Look) -> Result<(), Failure> {
        let stat = self.source.read(look, Age::Now)?;
        self.periods.put(stat.periods.map(|count| count as f64));
        self.throttled.put(stat.throttled.map(|count| count as f64));
        self.time.put(stat.throttled_time);
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, time::Duration};

    use super::{
        super::{
            procfs::tests::Fake,
            tests::{started, value},
        },
        *,
    };

    fn over(root: &Path) -> Pressure {
        let procfs = Some(Procfs::at(root, Duration::ZERO));
        Pressure { origin: Origin { procfs }, parts: None }
    }

    fn psi(avg10: f64, total: u64) -> String {
        format!(
            "some avg10={avg10:.2} avg60=1.00 avg300=0.00 total={total}\n\
             full avg10=0.50 avg60=0.25 avg300=0.00 total={}\n",
            total / 2
        )
    }

    /// A machine with pressure, in a v2 group of its own below a pod.
    fn machine(test: &str) -> (Fake, PathBuf) {
        let fake = Fake::new(test);
        fs::create_dir_all(fake.0.join("pressure")).unwrap();
        let own = fake.0.join("cg/pod/box");
        fs::create_dir_all(&own).unwrap();
        let point = fake.0.join("cg");
        let line = format!("31 23 0:28 / {} rw - cgroup2 cgroup rw\n", point.display());
        fake.write("self/mountinfo", line.as_bytes());
        fake.write("self/cgroup", b"0::/pod/box\n");
        fake.write("vmstat", include_bytes!("testdata/linux-6.1-v2/vmstat"));
        for resource in ["memory", "io", "cpu"] {
            fake.write(&format!("pressure/{resource}"), psi(12.5, 9_000_000).as_bytes());
            fake.write(&format!("cg/pod/box/{resource}.pressure"), psi(2.0, 4_000_000).as_bytes());
        }
        fake.write("cg/pod/box/cgroup.type", b"domain\n");
        fake.write("cg/pod/box/cpu.stat", include_bytes!("testdata/linux-6.1-v2/box_cpu.stat"));
        let (stat, events): (&[u8], &[u8]) = (
            include_bytes!("testdata/linux-6.1-v2/box_memory.stat"),
            include_bytes!("testdata/linux-6.1-v2/pod_memory.events"),
        );
        for group in ["pod", "pod/box"] {
            fake.write(&format!("cg/{group}/memory.max"), b"max\n");
            fake.write(&format!("cg/{group}/memory.current"), b"9000000\n");
            fake.write(&format!("cg/{group}/memory.stat"), stat);
            fake.write(&format!("cg/{group}/memory.events"), events);
            // It happened to the box: the pod only heard of it.
            let local: &[u8] =
                if group == "pod" { b"low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n" } else { events };
            fake.write(&format!("cg/{group}/memory.events.local"), local);
        }
        (fake, own)
    }

    #[test]
    fn everything_of_a_captured_group() {
        let (fake, _) = machine("pressure-all");
        let (mut sampler, registry) = started(over(&fake.0));
        sampler.sample().unwrap();
        let read = |series: &str| value(&registry, &format!("highwater.{series}"));
        for (series, expected) in [
            (r#"pressure.avg10{level="host", resource="memory", stall="some"}"#, 0.125),
            (r#"pressure.avg60{level="host", resource="io", stall="full"}"#, 0.0025),
            (r#"pressure.time{level="host", resource="cpu", stall="full"}"#, 4.5),
            (r#"pressure.avg10{level="cgroup", resource="memory", stall="some"}"#, 0.02),
            (r#"pressure.time{level="cgroup", resource="memory", stall="some"}"#, 4.0),
            (r#"pressure.time{level="others", resource="memory", stall="some"}"#, 5.0),
            (r#"memory.events{event="oom_kill", level="cgroup"}"#, 1.0),
            (r#"memory.events{event="max", level="cgroup.ancestor1"}"#, 35.0),
            (r#"memory.events.local{event="oom_kill", level="cgroup"}"#, 1.0),
            (r#"memory.events.local{event="oom", level="cgroup.ancestor1"}"#, 0.0),
            (r#"memory.events{event="oom_kill", level="host"}"#, 1.0),
            (r#"memory.refaults{kind="file", level="cgroup"}"#, 0.0),
            ("cpu.throttled.time{}", 10.550_975),
            ("cpu.throttled.periods{}", 133.0),
            ("cpu.periods{}", 134.0),
        ] {
            assert_eq!(read(series), Some(expected), "{series}");
        }
    }

    #[test]
    fn the_time_of_others_never_steps_back() {
        let (fake, own) = machine("pressure-others");
        let (mut sampler, registry) = started(over(&fake.0));
        sampler.sample().unwrap();
        // Ours was read a moment later than the host's.
        fs::write(own.join("memory.pressure"), psi(2.0, 4_100_000)).unwrap();
        sampler.glance().unwrap();
        let others = r#"highwater.pressure.time{level="others", resource="memory", stall="some"}"#;
        assert_eq!(value(&registry, others), Some(5.0));
        let ours = r#"highwater.pressure.time{level="cgroup", resource="memory", stall="some"}"#;
        assert_eq!(value(&registry, ours), Some(4.1), "a glance reads memory's");
    }

    #[test]
    fn a_kernel_without_psi_still_tells_of_events() {
        let (fake, own) = machine("pressure-no-psi");
        fs::remove_dir_all(fake.0.join("pressure")).unwrap();
        for resource in ["memory", "io", "cpu"] {
            fs::remove_file(own.join(format!("{resource}.pressure"))).unwrap();
        }
        let (mut sampler, registry) = started(over(&fake.0));
        sampler.sample().unwrap();
        let kills = r#"highwater.memory.events{event="oom_kill", level="cgroup"}"#;
        assert_eq!(value(&registry, kills), Some(1.0));
        let absent = r#"highwater.pressure.avg10{level="host", resource="memory", stall="some"}"#;
        assert_eq!(value(&registry, absent), None);
    }

    #[test]
    fn a_machine_that_tells_nothing_is_unsupported() {
        let fake = Fake::new("pressure-none");
        let registry = crate::sync::Arc::new(crate::registry::Registry::new(100));
        let outcome = over(&fake.0).start(&mut Meter::new(registry));
        assert!(matches!(outcome, Err(Failure::Unsupported(_))));
    }

    #[test]
    fn a_file_that_goes_bad_is_a_failure() {
        let (fake, own) = machine("pressure-bad");
        let (mut sampler, _) = started(over(&fake.0));
        sampler.sample().unwrap();
        fs::write(own.join("memory.pressure"), "nonsense\n").unwrap();
        assert!(sampler.sample().is_err());
    }

    #[test]
    fn without_an_alarm_that_works_a_glance_reads() {
        let (fake, own) = machine("pressure-deaf");
        let (mut sampler, registry) = started(over(&fake.0));
        sampler.sample().unwrap();
        let told = alarm::wakeups(&mut Meter::new(registry.clone()), "test");
        let watched = fake.0.join("watched");
        fs::write(&watched, "").unwrap();
        let events = Alarm::events([&watched].into_iter(), &told).unwrap();
        let alarm = Arc::new(events);
        sampler.parts.as_mut().unwrap().alarm = Some((alarm.clone(), 0));
        let ours = r#"highwater.pressure.avg10{level="cgroup", resource="memory", stall="some"}"#;
        fs::write(own.join("memory.pressure"), psi(40.0, 5_000_000)).unwrap();
        sampler.glance().unwrap();
        assert_eq!(value(&registry, ours), Some(0.02), "the kernel tells when there is more");
        alarm.hear(rustix::event::PollFlags::ERR);
        sampler.glance().unwrap();
        assert_eq!(value(&registry, ours), Some(0.4));
    }

    #[test]
    fn while_the_kernel_would_wake_us_waiting_for_memory_has_a_turn() {
        let (fake, own) = machine("pressure-quiet");
        for file in [fake.0.join("pressure/memory"), own.join("memory.pressure")] {
            fs::write(file, psi(0.0, 5_000_000)).unwrap();
        }
        let procfs = Procfs::with(&fake.0, Duration::ZERO, Duration::from_secs(3600));
        let origin = Origin { procfs: Some(procfs) };
        let (mut sampler, registry) = started(Pressure { origin, parts: None });
        sampler.sample().unwrap();
        let told = alarm::wakeups(&mut Meter::new(registry.clone()), "test");
        let watched = fake.0.join("watched");
        fs::write(&watched, "").unwrap();
        let alarm = Arc::new(Alarm::events([&watched].into_iter(), &told).unwrap());
        sampler.parts.as_mut().unwrap().alarm = Some((alarm.clone(), 0));
        let ours = r#"highwater.pressure.avg10{level="cgroup", resource="memory", stall="some"}"#;
        let mut after = |avg10| {
            fs::write(own.join("memory.pressure"), psi(avg10, 6_000_000)).unwrap();
            sampler.sample().unwrap();
            value(&registry, ours)
        };
        assert_eq!(after(3.0), Some(0.0), "too little to be woken for");
        alarm.hear(rustix::event::PollFlags::IN);
        assert_eq!(after(40.0), Some(0.4));
        assert_eq!(after(20.0), Some(0.2), "it is not over");
    }

    #[test]
    fn this_machine() {
        let (mut sampler, registry) = started(over(Path::new("/proc")));
        sampler.sample().unwrap();
        let delay = || value(&registry, "highwater.cpu.delay.time{}").unwrap();
        let before = delay();
        sampler.sample().unwrap();
        assert!(delay() >= before);
    }
}
