//! How close the wall is.
//!
//! A *wall* is a limit and the usage measured at that same level; the utilisation that matters is
//! the greatest of usage ÷ limit. Page cache and reclaimable slab are left out of the usage: they
//! are given back before anything is refused.

#[cfg(target_os = "linux")]
use super::procfs::Procfs;
use super::{
    Failure, Meter, Sampler,
    backend::{Backend, Need, Origin},
    field::{Field, Fields, ratio},
};
use crate::{registry::Kind, semconv};

/// The memory that counts: `highwater.memory.limit`, `.usage`, `.utilization` by `level`, what
/// the memory rules judge. On by default.
///
/// The level `host`: all memory but what is available, against physical memory. On Linux one
/// parsed `/proc/meminfo`, shared with [`system`](super::system()).
pub fn memory() -> Memory {
    Memory { origin: Origin::default(), backend: None, fields: None }
}

/// See [`memory`].
#[derive(Debug)]
pub struct Memory {
    origin: Origin,
    backend: Option<Backend>,
    fields: Option<Fields<Wall>>,
}

/// A limit and the usage at its level, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wall {
    limit: u64,
    usage: u64,
}

impl Sampler for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        self.backend = Some(self.origin.open(Need::System)?);
        self.fields = Some(Fields::resolve(FIELDS, meter));
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        let (Some(backend), Some(fields)) = (&mut self.backend, &self.fields) else {
            return Ok(());
        };
        let host = match backend {
            #[cfg(target_os = "linux")]
            Backend::Linux(procfs) => {
                let info = procfs.meminfo()?;
                Wall { limit: info.total, usage: info.used() }
            }
            Backend::Portable(portable) => {
                let reading = portable.system()?;
                Wall { limit: reading.total, usage: reading.used }
            }
        };
        fields.publish(&host);
        Ok(())
    }
}

const HOST: Option<(&str, &str)> = Some((semconv::LEVEL, "host"));

const FIELDS: &[Field<Wall>] = &[
    Field {
        name: semconv::MEMORY_LIMIT,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "How much memory may be in use at this level.",
        label: HOST,
        value: |wall| Some(wall.limit as f64),
    },
    Field {
        name: semconv::MEMORY_USAGE,
        kind: Kind::ObservedUpDown,
        unit: "By",
        help: "Memory in use at this level that cannot be reclaimed at once.",
        label: HOST,
        value: |wall| Some(wall.usage as f64),
    },
    Field {
        name: semconv::MEMORY_UTILIZATION,
        kind: Kind::Gauge,
        unit: "1",
        help: "Usage as a share of the limit at this level.",
        label: HOST,
        value: |wall| ratio(wall.usage, wall.limit),
    },
];

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::{
        super::{
            procfs::tests::Fake,
            tests::{started, value},
        },
        *,
    };

    fn over(root: &Path) -> Memory {
        let procfs = Some(Procfs::at(root, Duration::ZERO));
        Memory { origin: Origin { procfs }, backend: None, fields: None }
    }

    #[test]
    fn the_host_is_a_wall() {
        let fake = Fake::new("memory");
        fake.write("meminfo", b"MemTotal: 100 kB\nMemFree: 10 kB\nMemAvailable: 25 kB\n");
        let (mut sampler, registry) = started(over(&fake.0));
        sampler.sample().unwrap();
        let read = |name: &str| value(&registry, name);
        assert_eq!(read(r#"highwater.memory.limit{level="host"}"#), Some(102_400.0));
        assert_eq!(read(r#"highwater.memory.usage{level="host"}"#), Some(76_800.0));
        assert_eq!(read(r#"highwater.memory.utilization{level="host"}"#), Some(0.75));
    }

    #[test]
    fn without_procfs_sysinfo_knows_the_host() {
        let (mut sampler, registry) = started(over(Path::new("/no/such/folder")));
        assert!(matches!(sampler.backend, Some(Backend::Portable(_))));
        sampler.sample().unwrap();
        let utilization =
            value(&registry, r#"highwater.memory.utilization{level="host"}"#).unwrap();
        assert!(utilization > 0.0 && utilization < 1.0);
    }
}
