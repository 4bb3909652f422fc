//! The wall: a memory cgroup of the child's own, or a limit on its address space.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where the server's memory ends.
pub(crate) enum Cage {
    Group { path: PathBuf, version: u8 },
    AddressSpace,
}

impl Cage {
    /// A group where we may make one.
    pub(crate) fn build(budget: u64) -> Self {
        let name = format!("veltrix-{}", std::process::id());
        group_v2(&name, budget).or_else(|| group_v1(&name, budget)).unwrap_or(Self::AddressSpace)
    }

    /// `program`, inside from its first instruction.
    pub(crate) fn command(&self, program: &Path, budget: u64) -> Command {
        match self {
            Self::Group { path, .. } => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]);
                shell.arg(path).arg(program);
                shell
            }
            Self::AddressSpace => {
                let mut command = Command::new(program);
                command.args(["--address-space", &budget.to_string()]);
                // Each of glibc's arenas reserves 64 MiB of address space.
                command.env("MALLOC_ARENA_MAX", "1");
                command
            }
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Group { version, .. } => format!("a memory cgroup of its own (v{version})"),
            Self::AddressSpace => "RLIMIT_AS, as no cgroup could be made".to_owned(),
        }
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        if let Self::Group { path, .. } = self {
            // What was killed leaves a moment later.
            for _ in 0..100 {
                if fs::remove_dir(&*path).is_ok() {
                    return;
                }
                sleep(Duration::from_millis(20));
            }
        }
    }
}

fn own_path(of: impl Fn(&str) -> Option<&str>) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    own.lines().find_map(|line| of(line).map(|path| PathBuf::from(path.trim_start_matches('/'))))
}

fn group_v1(name: &str, budget: u64) -> Option<Cage> {
    let own = own_path(|line| Some(line.split_once(":memory:")?.1))?;
    let path = Path::new("/sys/fs/cgroup/memory").join(own).join(name);
    fs::create_dir(&path).ok()?;
    let group = Cage::Group { path: path.clone(), version: 1 };
    fs::write(path.join("memory.limit_in_bytes"), budget.to_string()).ok()?;
    // Swap would make it slow, not dead; absent without swap accounting.
    let _ = fs::write(path.join("memory.memsw.limit_in_bytes"), budget.to_string());
    let _ = fs::write(path.join("memory.swappiness"), "0");
    Some(group)
}

fn group_v2(name: &str, budget: u64) -> Option<Cage> {
    let own = own_path(|line| line.strip_prefix("0::"))?;
    let path = Path::new("/sys/fs/cgroup").join(own).join(name);
    fs::create_dir(&path).ok()?;
    let group = Cage::Group { path: path.clone(), version: 2 };
    // Without the memory controller there is no such file, and a write must not make one.
    let mut limit = fs::OpenOptions::new().write(true).open(path.join("memory.max")).ok()?;
    limit.write_all(budget.to_string().as_bytes()).ok()?;
    let _ = fs::write(path.join("memory.swap.max"), "0");
    Some(group)
}

/// What the server knows of its cage.
pub(crate) struct Inside {
    pub(crate) address_space: Option<u64>,
    /// Without one, as under Locust and wrk, the budget is highwater's to watch.
    pub(crate) is_child: bool,
}

impl Inside {
    /// The level at which its memory ends.
    pub(crate) fn level(&self) -> &'static str {
        match (self.is_child, self.address_space) {
            (false, _) => "budget",
            (true, None) => "cgroup",
            (true, Some(_)) => "address_space",
        }
    }

    /// So much more address space than is in use already.
    pub(crate) fn close(&self) -> Result<(), Box<dyn std::error::Error>> {
        if let Some(budget) = self.address_space {
            let most = memory_of(std::process::id(), "VmSize").unwrap_or(0) + budget;
            setrlimit(Resource::As, Rlimit { current: Some(most), maximum: Some(most) })?;
        }
        Ok(())
    }
}

/// A line of a process' status, in bytes; nothing if it is gone.
pub(crate) fn memory_of(pid: u32, line: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let found = status.lines().find_map(|of| of.strip_prefix(line)?.strip_prefix(':'))?;
    found.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// A connection is a descriptor.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
