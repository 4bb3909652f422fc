//! This process: memory, CPU time, threads, descriptors, faults, age.

use super::{
    Failure, Meter, Sampler,
    backend::{Backend, Need, Origin},
    field::{Field, Fields, ratio},
};
#[cfg(target_os = "linux")]
use super::{
    procfs::{Age, Look, Procfs, Turn},
    tasks::TaskLimits,
};
use crate::{registry::Kind, semconv};

/// This process as it is seen from inside: `process.*`. On by default.
///
/// Resident, anonymous, virtual and swapped memory, the high-water mark, CPU time, threads, open
/// descriptors and their limit, page faults, uptime, and how near the control group is to the
/// threads it allows. On Linux from `/proc/self/stat`, about 30 µs a tick; anonymous and swapped
/// memory and the high-water mark (`status`), open descriptors, limits, and the group's threads are
/// read every five seconds. Before Linux 6.2 descriptors have to be listed, about a
/// microsecond for each, and are then counted the more rarely the more there are. Elsewhere
/// through `sysinfo`, which knows memory, CPU time (without `cpu.mode`) and uptime.
///
/// ```
/// let hw = highwater::Highwater::builder("doc").sample(highwater::sample::process()).start()?;
/// # Ok::<(), highwater::Error>(())
/// ```
pub fn process() -> Process {
    Process::of(Origin::default())
}

/// See [`process`].
#[derive(Debug)]
pub struct Process {
    pub(super) origin: Origin,
    backend: Option<Backend>,
    fields: Option<Fields<Reading>>,
    #[cfg(target_os = "linux")]
    limits: TaskLimits,
}

impl Process {
    fn of(origin: Origin) -> Self {
        Self {
            origin,
            backend: None,
            fields: None,
            #[cfg(target_os = "linux")]
            limits: TaskLimits::default(),
        }
    }
}

/// What there is to know; `None` where this system does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) resident: Option<u64>,
    pub(super) virtual_size: Option<u64>,
    pub(super) physical: Option<u64>,
    pub(super) anonymous: Option<u64>,
    pub(super) swap: Option<u64>,
    pub(super) peak: Option<u64>,
    /// Both modes together, seconds.
    pub(super) cpu: Option<f64>,
    /// User and system, seconds.
    pub(super) cpu_modes: Option<[f64; 2]>,
    pub(super) threads: Option<u64>,
    pub(super) descriptors: Option<u64>,
    pub(super) descriptor_limit: Option<u64>,
    pub(super) minor_faults: Option<u64>,
    pub(super) major_faults: Option<u64>,
    /// Seconds.
    pub(super) uptime: Option<f64>,
    /// Tasks of the control group nearest to its limit of them, and that limit.
    pub(super) tasks: Option<u64>,
    pub(super) task_limit: Option<u64>,
}

impl Sampler for Process {
    fn name(&self) -> &str {
        "process"
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        self.backend = Some(self.origin.open(Need::Process)?);
        #[cfg(target_os = "linux")]
        if let Some(Backend::Linux(procfs)) = &self.backend {
            self.limits = TaskLimits::open(procfs.root());
        }
        self.fields = Some(Fields::resolve(FIELDS, meter));
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        let (Some(backend), Some(fields)) = (&mut self.backend, &mut self.fields) else {
            return Ok(());
        };
        let reading = match backend {
            #[cfg(target_os = "linux")]
            Backend::Linux(procfs) => {
                let look = procfs.look();
                let tightest = self.limits.tightest(&look);
                let (tasks, task_limit) = tightest.map(|of| (of.count, of.limit)).unzip();
                Reading { tasks, task_limit, ..read(procfs, &look)? }
            }
            Backend::Portable(portable) => portable.process()?,
        };
        fields.publish(reading);
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn read(procfs: &Procfs, look: &Look) -> Result<Reading, Failure> {
    use rustix::{param, time};

    let stat = procfs.process_stat(look)?;
    let status = procfs.process_status(look, Age::Since(Turn::Process))?.unwrap_or_default();
    let resident = procfs.resident(look)?;
    let ticks_per_second = param::clock_ticks_per_second().max(1) as f64;
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second;
    let since_boot = time::clock_gettime(time::ClockId::Boottime);
    let since_boot = since_boot.tv_sec as f64 + since_boot.tv_nsec as f64 / 1e9;
    Ok(Reading {
        resident,
        virtual_size: Some(stat.virtual_size),
        // Hidden where procfs tells of processes only.
        physical: procfs.meminfo(look).ok().map(|info| info.total),
        anonymous: status.anonymous,
        swap: status.swap,
        // Seldom looked for, and never less than what is seen.
        peak: status.peak_resident.max(status.peak_resident.and(resident)),
        cpu: None,
        cpu_modes: Some([seconds(stat.user_time), seconds(stat.system_time)]),
        threads: Some(stat.threads),
        descriptors: procfs.descriptors(look),
        descriptor_limit: procfs.process_limits(look)?.open_files,
        minor_faults: Some(stat.minor_faults),
        major_faults: Some(stat.major_faults),
        tasks: None,
        task_limit: None,
        uptime: Some((since_boot - seconds(stat.start_time)).max(0.0)),
    })
}

const FIELDS: &[Field<Reading>] = &[
    Field {
        name: semconv::PROCESS_MEMORY_USAGE,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Physical memory in use (resident set).",
        label: None,
        value: |r| Some(r.resident? as f64),
    },
    Field {
        name: semconv::PROCESS_MEMORY_VIRTUAL,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Virtual memory, reserved or used.",
        label: None,
        value: |r| Some(r.virtual_size? as f64),
    },
    Field {
        name: semconv::PROCESS_MEMORY_UTILIZATION,
        kind: Kind::Gauge,
        unit: "1",
        help: "Resident memory as a share of the machine's physical memory.",
        label: None,
        value: |r| ratio(r.resident?, r.physical?),
    },
    Field {
        name: semconv::PROCESS_MEMORY_ANONYMOUS,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Resident memory that no file backs: heap and stacks.",
        label: None,
        value: |r| Some(r.anonymous? as f64),
    },
    Field {
        name: semconv::PROCESS_MEMORY_SWAP,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Memory of this process that lies in swap.",
        label: None,
        value: |r| Some(r.swap? as f64),
    },
    Field {
        name: semconv::PROCESS_MEMORY_PEAK,
        kind: Kind::Gauge,
        unit: "By",
        help: "The most physical memory ever in use (high-water mark).",
        label: None,
        value: |r| Some(r.peak? as f64),
    },
    Field {
        name: semconv::PROCESS_CPU_TIME,
        kind: Kind::ObservedCounter,
        unit: "s",
        help: "CPU time spent.",
        label: None,
        value: |r| r.cpu,
    },
    Field {
        name: semconv::PROCESS_CPU_TIME,
        kind: Kind::ObservedCounter,
        unit: "s",
        help: "CPU time spent.",
        label: Some((semconv::CPU_MODE, "user")),
        value: |r| Some(r.cpu_modes?[0]),
    },
    Field {
        name: semconv::PROCESS_CPU_TIME,
        kind: Kind::ObservedCounter,
        unit: "s",
        help: "CPU time spent.",
        label: Some((semconv::CPU_MODE, "system")),
        value: |r| Some(r.cpu_modes?[1]),
    },
    Field {
        name: semconv::PROCESS_THREAD_COUNT,
        kind: Kind::ObservedUpDown,
        unit: "{thread}",
        help: "Threads of this process.",
        label: None,
        value: |r| Some(r.threads? as f64),
    },
    Field {
        name: semconv::PROCESS_UNIX_FILE_DESCRIPTOR_COUNT,
        kind: Kind::ObservedUpDown,
        unit: "{file_descriptor}",
        help: "Open file descriptors.",
        label: None,
        value: |r| Some(r.descriptors? as f64),
    },
    Field {
        name: semconv::PROCESS_UNIX_FILE_DESCRIPTOR_LIMIT,
        kind: Kind::ObservedUpDown,
        unit: "{file_descriptor}",
        help: "How many file descriptors may be open (soft limit).",
        label: None,
        value: |r| Some(r.descriptor_limit? as f64),
    },
    Field {
        name: semconv::PROCESS_UNIX_FILE_DESCRIPTOR_UTILIZATION,
        kind: Kind::Gauge,
        unit: "1",
        help: "Open file descriptors as a share of their soft limit.",
        label: None,
        value: |r| ratio(r.descriptors?, r.descriptor_limit?),
    },
    Field {
        name: semconv::PROCESS_PAGING_FAULTS,
        kind: Kind::ObservedCounter,
        unit: "{fault}",
        help: "Page faults of this process; major ones had to wait for a disk.",
        label: Some((semconv::SYSTEM_PAGING_FAULT_TYPE, "minor")),
        value: |r| Some(r.minor_faults? as f64),
    },
    Field {
        name: semconv::PROCESS_PAGING_FAULTS,
        kind: Kind::ObservedCounter,
        unit: "{fault}",
        help: "Page faults of this process; major ones had to wait for a disk.",
        label: Some((semconv::SYSTEM_PAGING_FAULT_TYPE, "major")),
        value: |r| Some(r.major_faults? as f64),
    },
    Field {
        name: semconv::PROCESS_UPTIME,
        kind: Kind::Gauge,
        unit: "s",
        help: "How long this process has been running.",
        label: None,
        value: |r| r.uptime,
    },
    Field {
        name: semconv::TASK_COUNT,
        kind: Kind::ObservedUpDown,
        unit: "{task}",
        help: "Threads of all processes in the control group nearest to its limit of them.",
        label: None,
        value: |r| Some(r.tasks? as f64),
    },
    Field {
        name: semconv::TASK_LIMIT,
        kind: Kind::ObservedUpDown,
        unit: "{task}",
        help: "How many there may be (pids.max).",
        label: None,
        value: |r| Some(r.task_limit? as f64),
    },
    Field {
        name: semconv::TASK_UTILIZATION,
        kind: Kind::Gauge,
        unit: "1",
        help: "Their share of that limit: at 1 no thread can be started.",
        label: None,
        value: |r| ratio(r.tasks?, r.task_limit?),
    },
];

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use super::{
        super::tests::{started, value},
        *,
    };
    use crate::{registry::Registry, sync::Arc};

    fn unshared(root: &str) -> Process {
        let procfs = Some(Procfs::at(Path::new(root), Duration::ZERO));
        Process::of(Origin { procfs })
    }

    /// Other tests run beside this one: tries until nothing changed while it looked.
    fn agrees(sampler: &mut Process, registry: &Arc<Registry>, series: &str, truth: fn() -> f64) {
        let patience = std::time::Instant::now() + Duration::from_secs(60);
        while std::time::Instant::now() < patience {
            let before = truth();
            sampler.sample().unwrap();
            let seen = value(registry, series);
            if before == truth() && seen == Some(before) {
                return;
            }
        }
        panic!("{series} is {:?}, not {}", value(registry, series), truth());
    }

    fn statm(field: usize) -> f64 {
        let text = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: f64 = text.split(' ').nth(field).unwrap().parse().unwrap();
        pages * rustix::param::page_size() as f64
    }

    fn entries(folder: &str) -> f64 {
        fs::read_dir(folder).unwrap().count() as f64
    }

    #[test]
    fn values_are_those_of_proc() {
        let (mut sampler, registry) = started(unshared("/proc"));
        let (sampler, registry) = (&mut sampler, &registry);
        agrees(sampler, registry, "process.memory.virtual{}", || statm(0));
        agrees(sampler, registry, "process.memory.usage{}", || statm(1));
        agrees(sampler, registry, "process.thread.count{}", || entries("/proc/self/task"));
        let count = "process.unix.file_descriptor.count{}";
        // Less the listing's own. The kernel counts those too that a blocked `accept` has reserved
        // and no listing shows, and other tests beside this one block in it: files of our own show
        // that the figure moves with the truth.
        let _files: Vec<_> = (0..64).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        sampler.sample().unwrap();
        let listed = entries("/proc/self/fd") - 1.0;
        assert!(listed >= 64.0 && value(registry, count) >= Some(64.0));
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let soft: f64 = open_files.split_whitespace().nth(3).unwrap().parse().unwrap();
        let limit = "highwater.process.unix.file_descriptor.limit{}";
        assert_eq!(value(registry, limit), Some(soft));
        let share = "highwater.process.unix.file_descriptor.utilization{}";
        assert_eq!(value(registry, share), Some(value(registry, count).unwrap() / soft));
    }

    #[test]
    fn memory_that_is_touched_shows() {
        let (mut sampler, registry) = started(unshared("/proc"));
        const MORE: usize = 256 << 20;
        let read = |name: &str| value(&registry, name).unwrap();
        sampler.sample().unwrap();
        let (usage, anonymous) =
            (read("process.memory.usage{}"), read("highwater.process.memory.anonymous{}"));
        let held = std::hint::black_box(vec![1u8; MORE]);
        sampler.sample().unwrap();
        let enough = MORE as f64 * 0.75;
        assert!(read("process.memory.usage{}") - usage > enough);
        assert!(read("highwater.process.memory.anonymous{}") - anonymous > enough);
        drop(held);
        sampler.sample().unwrap();
        assert!(read("process.memory.usage{}") < read("highwater.process.memory.peak{}"));
        let utilization = read("process.memory.utilization{}");
        assert!(utilization > 0.0 && utilization < 1.0);
    }

    #[test]
    fn time_and_faults_pass() {
        let (mut sampler, registry) = started(unshared("/proc"));
        let read = |name: &str| value(&registry, name).unwrap();
        let user = r#"process.cpu.time{cpu.mode="user"}"#;
        let minor = r#"process.paging.faults{system.paging.fault.type="minor"}"#;
        sampler.sample().unwrap();
        let before = (read(user), read(minor), read("process.uptime{}"));
        let mut sum = 0u64;
        while read(user) < before.0 + 0.05 {
            sum = std::hint::black_box((0..1_000_000u64).fold(sum, u64::wrapping_add));
            sampler.sample().unwrap();
        }
        std::hint::black_box(vec![1u8; 8 << 20]);
        sampler.sample().unwrap();
        assert!(read(minor) > before.1);
        assert!(read("process.uptime{}") >= before.2 + 0.02);
        assert!(read("process.uptime{}") < 86_400.0, "tests do not run for a day");
    }

    #[test]
    fn without_procfs_sysinfo_tells_what_it_can() {
        let (mut sampler, registry) = started(unshared("/no/such/folder"));
        assert!(matches!(sampler.backend, Some(Backend::Portable(_))));
        sampler.sample().unwrap();
        let read = |name: &str| value(&registry, name);
        let usage = read("process.memory.usage{}").unwrap();
        assert!(usage > 1e6 && usage < 1e11, "{usage}");
        assert!(read("process.memory.virtual{}").unwrap() >= usage);
        assert!(read("process.cpu.time{}").is_some());
        assert!(read("process.uptime{}").is_some());
        assert_eq!(read(r#"process.cpu.time{cpu.mode="user"}"#), None);
        assert_eq!(read("process.thread.count{}"), None);
    }
}
