//! A memory group with a limit, in one with a limit, in the root: two ancestors; v1 only.

use std::{fs, io, path::PathBuf};

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
        let root = PathBuf::from("/sys/fs/cgroup/memory");
        let home = root.join(own.trim_start_matches('/'));
        let mut nest = Self { folders: Vec::new(), home };
        let mut at = root.join(format!("highwater-bench-{}", std::process::id()));
        for gib in [3u64, 2] {
            fs::create_dir(&at).ok()?;
            nest.folders.push(at.clone());
            fs::write(at.join("memory.limit_in_bytes"), (gib << 30).to_string()).ok()?;
            at = at.join("inner");
        }
        let innermost = nest.folders.last()?;
        fs::write(innermost.join("cgroup.procs"), std::process::id().to_string()).ok()?;
        Some(nest)
    }

    /// So that three quarters of each limit are charged.
    pub fn tighten(&self) -> io::Result<()> {
        for folder in self.folders.iter().rev() {
            let usage = fs::read_to_string(folder.join("memory.usage_in_bytes"))?;
            let usage: u64 = usage.trim().parse().map_err(io::Error::other)?;
            fs::write(folder.join("memory.limit_in_bytes"), (usage / 3 * 4).to_string())?;
        }
        Ok(())
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
