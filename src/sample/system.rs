//! The machine: memory by state, swap and its traffic, load.

#[cfg(target_os = "linux")]
use super::procfs::Procfs;
use super::{
    Failure, Meter, Sampler,
    backend::{Backend, Need, Origin},
    field::{Field, Fields, Value, ratio},
};
use crate::{registry::Kind, semconv};

/// The machine this process runs on: `system.*`. On by default.
///
/// Memory by state, what is available, swap in use and its traffic, page faults, load. In a
/// container these are the *host's* numbers; what binds this process is
/// [`memory`](super::memory())'s to tell. On Linux from `/proc/meminfo`, `vmstat` and `loadavg`, read
/// every five seconds; memory at every tick once half of it is in use. Elsewhere through `sysinfo`,
/// which knows memory, swap use and load.
///
/// ```
/// let hw = highwater::Highwater::builder("doc").sample(highwater::sample::system()).start()?;
/// # Ok::<(), highwater::Error>(())
/// ```
pub fn system() -> System {
    System { origin: Origin::default(), backend: None, fields: None }
}

/// See [`system`].
#[derive(Debug)]
pub struct System {
    pub(super) origin: Origin,
    backend: Option<Backend>,
    fields: Option<Fields<Reading>>,
}

/// What there is to know, in bytes and events; `None` where this system does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) total: u64,
    pub(super) used: u64,
    pub(super) free: Option<u64>,
    pub(super) available: Option<u64>,
    pub(super) buffers: Option<u64>,
    pub(super) cached: Option<u64>,
    pub(super) shared: Option<u64>,
    pub(super) slab_reclaimable: Option<u64>,
    pub(super) slab_unreclaimable: Option<u64>,
    /// Used, and all there is.
    pub(super) swap: Option<(u64, u64)>,
    /// In, and out.
    pub(super) swapped: Option<(u64, u64)>,
    pub(super) minor_faults: Option<u64>,
    pub(super) major_faults: Option<u64>,
    /// Over 1, 5 and 15 minutes.
    pub(super) load: Option<[f64; 3]>,
}

impl Sampler for System {
    fn name(&self) -> &str {
        "system"
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        self.backend = Some(self.origin.open(Need::System)?);
        self.fields = Some(Fields::resolve(FIELDS, meter));
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        let (Some(backend), Some(fields)) = (&mut self.backend, &mut self.fields) else {
            return Ok(());
        };
        let reading = match backend {
            #[cfg(target_os = "linux")]
            Backend::Linux(procfs) => read(procfs)?,
            Backend::Portable(portable) => portable.system()?,
        };
        fields.publish(reading);
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn read(procfs: &Procfs) -> Result<Reading, Failure> {
    let look = &procfs.look();
    let info = procfs.meminfo(look)?;
    let events = procfs.vmstat(look)?.unwrap_or_default();
    Ok(Reading {
        total: info.total,
        used: info.used(),
        free: Some(info.free),
        available: Some(info.available),
        buffers: Some(info.buffers),
        cached: Some(info.cached),
        shared: info.shared,
        slab_reclaimable: info.slab_reclaimable,
        slab_unreclaimable: info.slab_unreclaimable,
        swap: Some((info.swap_used(), info.swap_total)),
        swapped: events.swapped_in.zip(events.swapped_out),
        minor_faults: events
            .faults
            .zip(events.major_faults)
            .map(|(all, major)| all.saturating_sub(major)),
        major_faults: events.major_faults,
        load: procfs.load_average(look)?.map(|load| [load.one, load.five, load.fifteen]),
    })
}

const USED: (&str, &str) = (semconv::SYSTEM_MEMORY_STATE, "used");
const FREE: (&str, &str) = (semconv::SYSTEM_MEMORY_STATE, "free");
const CACHED: (&str, &str) = (semconv::SYSTEM_MEMORY_STATE, "cached");
const BUFFERS: (&str, &str) = (semconv::SYSTEM_MEMORY_STATE, "buffers");

const FIELDS: &[Field<Reading>] = &[
    usage(USED, |r| Some(r.used as f64)),
    usage(FREE, |r| Some(r.free? as f64)),
    usage(CACHED, |r| Some(r.cached? as f64)),
    usage(BUFFERS, |r| Some(r.buffers? as f64)),
    utilization(USED, |r| ratio(r.used, r.total)),
    utilization(FREE, |r| ratio(r.free?, r.total)),
    utilization(CACHED, |r| ratio(r.cached?, r.total)),
    utilization(BUFFERS, |r| ratio(r.buffers?, r.total)),
    Field {
        name: semconv::SYSTEM_MEMORY_LIMIT,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "The machine's physical memory.",
        label: None,
        value: |r| Some(r.total as f64),
    },
    Field {
        name: semconv::SYSTEM_MEMORY_LINUX_AVAILABLE,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "The kernel's estimate of what can be had without swapping.",
        label: None,
        value: |r| Some(r.available? as f64),
    },
    Field {
        name: semconv::SYSTEM_MEMORY_LINUX_SHARED,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Shared memory, mostly tmpfs.",
        label: None,
        value: |r| Some(r.shared? as f64),
    },
    slab("reclaimable", |r| Some(r.slab_reclaimable? as f64)),
    slab("unreclaimable", |r| Some(r.slab_unreclaimable? as f64)),
    swap("used", |r| Some(r.swap?.0 as f64)),
    swap("free", |r| r.swap.map(|(used, total)| total.saturating_sub(used) as f64)),
    Field {
        name: semconv::SYSTEM_PAGING_UTILIZATION,
        kind: Kind::Gauge,
        unit: "1",
        help: "Swap in use as a share of all swap; absent where there is none.",
        label: Some((semconv::SYSTEM_PAGING_STATE, "used")),
        value: |r| r.swap.and_then(|(used, total)| ratio(used, total)),
    },
    swapped("in", |r| Some(r.swapped?.0 as f64)),
    swapped("out", |r| Some(r.swapped?.1 as f64)),
    faults("minor", |r| Some(r.minor_faults? as f64)),
    faults("major", |r| Some(r.major_faults? as f64)),
    load(semconv::SYSTEM_CPU_LOAD_AVERAGE_1M, |r| Some(r.load?[0])),
    load(semconv::SYSTEM_CPU_LOAD_AVERAGE_5M, |r| Some(r.load?[1])),
    load(semconv::SYSTEM_CPU_LOAD_AVERAGE_15M, |r| Some(r.load?[2])),
];

const fn usage(state: (&'static str, &'static str), value: Value<Reading>) -> Field<Reading> {
    Field {
        name: semconv::SYSTEM_MEMORY_USAGE,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "The machine's memory by state; used is what applications hold.",
        label: Some(state),
        value,
    }
}

const fn utilization(state: (&'static str, &'static str), value: Value<Reading>) -> Field<Reading> {
    Field {
        name: semconv::SYSTEM_MEMORY_UTILIZATION,
        kind: Kind::Gauge,
        unit: "1",
        help: "The machine's memory by state, as a share of all of it.",
        label: Some(state),
        value,
    }
}

const fn slab(state: &'static str, value: Value<Reading>) -> Field<Reading> {
    Field {
        name: semconv::SYSTEM_MEMORY_LINUX_SLAB_USAGE,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Memory in the kernel's own caches.",
        label: Some((semconv::SYSTEM_MEMORY_LINUX_SLAB_STATE, state)),
        value,
    }
}

const fn swap(state: &'static str, value: Value<Reading>) -> Field<Reading> {
    Field {
        name: semconv::SYSTEM_PAGING_USAGE,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Swap space by state.",
        label: Some((semconv::SYSTEM_PAGING_STATE, state)),
        value,
    }
}

const fn swapped(direction: &'static str, value: Value<Reading>) -> Field<Reading> {
    Field {
        name: semconv::SYSTEM_PAGING_OPERATIONS,
        kind: Kind::ObservedCounter,
        unit: "{operation}",
        help: "Pages moved between memory and swap.",
        label: Some((semconv::SYSTEM_PAGING_DIRECTION, direction)),
        value,
    }
}

const fn faults(kind: &'static str, value: Value<Reading>) -> Field<Reading> {
    Field {
        name: semconv::SYSTEM_PAGING_FAULTS,
        kind: Kind::ObservedCounter,
        unit: "{fault}",
        help: "Page faults of the whole machine; major ones had to wait for a disk.",
        label: Some((semconv::SYSTEM_PAGING_FAULT_TYPE, kind)),
        value,
    }
}

const fn load(name: &'static str, value: Value<Reading>) -> Field<Reading> {
    Field {
        name,
        kind: Kind::Gauge,
        unit: "{thread}",
        help: "Threads running or waiting for a CPU or a disk, averaged over the name's minutes.",
        label: None,
        value,
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            procfs::tests::Fake,
            tests::{started, value},
        },
        *,
    };
    use crate::registry::Registry;
    use crate::sync::Arc;

    fn over(root: &std::path::Path) -> System {
        let procfs = Some(Procfs::at(root, Duration::ZERO));
        System { origin: Origin { procfs }, backend: None, fields: None }
    }

    #[test]
    fn a_captured_machine() {
        let fake = Fake::new("system");
        fake.write("meminfo", include_bytes!("testdata/linux-2.6.32/meminfo"));
        fake.write("vmstat", b"pgfault 100\npgmajfault 30\npswpin 5\npswpout 7\n");
        fake.write("loadavg", b"0.25 0.50 0.75 1/86 7777\n");
        let (mut sampler, registry) = started(over(&fake.0));
        sampler.sample().unwrap();
        let kib = 1024.0;
        for (series, expected) in [
            (r#"system.memory.usage{system.memory.state="free"}"#, 147_532.0 * kib),
            (r#"system.memory.usage{system.memory.state="cached"}"#, 1_216_400.0 * kib),
            (r#"system.memory.usage{system.memory.state="buffers"}"#, 156_140.0 * kib),
            ("system.memory.limit{}", 1_922_224.0 * kib),
            (
                r#"system.memory.linux.slab.usage{system.memory.linux.slab.state="reclaimable"}"#,
                149_440.0 * kib,
            ),
            (r#"system.paging.usage{system.paging.state="used"}"#, 0.0),
            (r#"system.paging.usage{system.paging.state="free"}"#, 2_064_376.0 * kib),
            (r#"system.paging.utilization{system.paging.state="used"}"#, 0.0),
            (r#"system.paging.operations{system.paging.direction="in"}"#, 5.0),
            (r#"system.paging.operations{system.paging.direction="out"}"#, 7.0),
            (r#"system.paging.faults{system.paging.fault.type="minor"}"#, 70.0),
            (r#"system.paging.faults{system.paging.fault.type="major"}"#, 30.0),
            ("system.cpu.load_average.1m{}", 0.25),
            ("system.cpu.load_average.15m{}", 0.75),
        ] {
            assert_eq!(value(&registry, series), Some(expected), "{series}");
        }
        let used = r#"system.memory.utilization{system.memory.state="used"}"#;
        let used = value(&registry, used).unwrap();
        assert!((used - (1.0 - 1_519_844.0 / 1_922_224.0)).abs() < 1e-12, "{used}");
    }

    #[test]
    fn this_machine() {
        let (mut sampler, registry) = started(over("/proc".as_ref()));
        sampler.sample().unwrap();
        let read = |name: &str| value(&registry, name).unwrap();
        // Through sysinfo, which takes another way.
        let mut other = sysinfo::System::new();
        other.refresh_memory();
        assert_eq!(read("system.memory.limit{}"), other.total_memory() as f64);
        let used = read(r#"system.memory.usage{system.memory.state="used"}"#);
        let tolerance = 0.05 * other.total_memory() as f64;
        assert!((used - other.used_memory() as f64).abs() < tolerance);
    }

    #[test]
    fn a_machine_that_tells_little() {
        let fake = Fake::new("little");
        fake.write("meminfo", b"MemTotal: 10 kB\nMemFree: 5 kB\n");
        let (mut sampler, registry) = started(over(&fake.0));
        sampler.sample().unwrap();
        assert_eq!(value(&registry, "system.memory.limit{}"), Some(10_240.0));
        let absent = r#"system.paging.utilization{system.paging.state="used"}"#;
        assert_eq!(value(&registry, absent), None, "no swap, no share of it");
        assert_eq!(value(&registry, "system.cpu.load_average.1m{}"), None);
        fake.write("meminfo", b"MemTotal: 1");
        assert!(sampler.sample().is_err());
    }

    #[test]
    fn without_procfs_sysinfo_tells_what_it_can() {
        let (mut sampler, registry): (_, Arc<Registry>) = started(over("/no/such/folder".as_ref()));
        assert!(matches!(sampler.backend, Some(Backend::Portable(_))));
        sampler.sample().unwrap();
        assert!(value(&registry, "system.memory.limit{}").unwrap() > 1e8);
        assert_eq!(value(&registry, "system.memory.linux.available{}"), None);
    }
}
