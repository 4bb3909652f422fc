//! A memory group with a limit, in one with a limit, in one with a limit; v1 only.

use std::{fs, path::PathBuf};

pub struct Nest {
    /// From the outside in.
    folders: Vec<PathBuf>,
    home: PathBuf,
}

impl Nest {
    /// This process is in the innermost, if it may make them.
    pub fn enter() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.split_once(":memory:"))?.1;
        let home = PathBuf::from("/sys/fs/cgroup/memory").join(own.trim_start_matches('/'));
        let mut nest = Self { folders: Vec::new(), home };
        let mut at = nest.home.join(format!("highwater-bench-{}", std::process::id()));
        for gib in [4u64, 3, 2] {
            fs::create_dir(&at).ok()?;
            nest.folders.push(at.clone());
            fs::write(at.join("memory.limit_in_bytes"), (gib << 30).to_string()).ok()?;
            at = at.join("inner");
        }
        let innermost = nest.folders.last()?;
        fs::write(innermost.join("cgroup.procs"), std::process::id().to_string()).ok()?;
        Some(nest)
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        let _ = fs::write(self.home.join("cgroup.procs"), std::process::id().to_string());
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}
