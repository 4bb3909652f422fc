//! How many tasks (threads of all processes) the control groups allow: `pids.max` of our own and of
//! every ancestor, each with the tasks at that same level.

use std::path::Path;

use super::{
    cgroup::Membership,
    parse::cgroup::{limit, single},
    procfs::{Age, Look, Source, Turn},
};

/// Tasks at a level, and how many it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tasks {
    pub(super) count: u64,
    pub(super) limit: u64,
}

/// The groups with a `pids.max`, kept open.
#[derive(Debug, Default)]
pub(super) struct TaskLimits(Vec<Level>);

#[derive(Debug)]
struct Level {
    limit: Source<Option<u64>>,
    count: Source<u64>,
}

impl TaskLimits {
    /// Those of this process.
    pub(super) fn open(procfs: &Path) -> Self {
        let groups = Membership::read(procfs).of("pids");
        let folders = groups.map(|groups| groups.folders).unwrap_or_default();
        let level = |folder: &std::path::PathBuf| Level {
            limit: Source::new(folder.join("pids.max"), limit),
            count: Source::new(folder.join("pids.current"), single),
        };
        // The root has no limit, and its file is not there.
        let mut levels: Vec<_> = folders.iter().map(level).collect();
        levels.retain_mut(|level| level.limit.first().is_ok());
        Self(levels)
    }

    /// The level nearest to its limit, if any has one.
    pub(super) fn tightest(&mut self, look: &Look) -> Option<Tasks> {
        let levels = self.0.iter_mut().filter_map(|level| {
            let age = Age::Since(Turn::Around);
            let limit = level.limit.read(look, age).ok()??;
            Some(Tasks { limit, count: level.count.read(look, age).ok()? })
        });
        levels.max_by(|a, b| {
            let share = |of: &Tasks| of.count as f64 / of.limit.max(1) as f64;
            share(a).total_cmp(&share(b))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::{super::procfs::tests::Fake, *};

    #[test]
    fn the_tightest_level_counts_and_limits_are_read_again() {
        let fake = Fake::new("tasks");
        let root = fake.0.join("cg");
        let own = root.join("pod/box");
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(fake.0.join("self")).unwrap();
        fs::write(fake.0.join("self/cgroup"), "0::/pod/box\n").unwrap();
        let mount = format!("31 23 0:28 / {} rw shared:9 - cgroup2 cgroup rw\n", root.display());
        fs::write(fake.0.join("self/mountinfo"), mount).unwrap();
        let write = |folder: &Path, count: &str, limit: &str| {
            fs::write(folder.join("pids.current"), count).unwrap();
            fs::write(folder.join("pids.max"), limit).unwrap();
        };
        write(&own, "30\n", "max\n");
        write(&root.join("pod"), "40\n", "max\n");
        let mut limits = TaskLimits::open(&fake.0);
        assert_eq!(limits.0.len(), 2, "the root has no such file");
        assert_eq!(limits.tightest(&Look::first()), None);
        write(&own, "30\n", "100\n");
        write(&root.join("pod"), "40\n", "50\n");
        assert_eq!(limits.tightest(&Look::first()), Some(Tasks { count: 40, limit: 50 }));
        write(&own, "99\n", "100\n");
        assert_eq!(limits.tightest(&Look::first()), Some(Tasks { count: 99, limit: 100 }));
        fs::remove_dir_all(&own).unwrap();
        assert!(TaskLimits::open(Path::new("/no/such/folder")).tightest(&Look::first()).is_none());
    }
}
