//! The same facts through `sysinfo`: other systems than Linux, and Linux with procfs hidden.
//! Fewer of them, and dearer; what it cannot tell is absent.

use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{Failure, process, system};

#[derive(Debug)]
pub(super) struct Portable {
    system: System,
    /// `None` on the few systems without process ids.
    pid: Option<Pid>,
    /// Bytes; read once.
    physical: u64,
}

impl Portable {
    pub(super) fn new() -> Result<Self, Failure> {
        if !sysinfo::IS_SUPPORTED_SYSTEM {
            return Err(Failure::Unsupported("sysinfo does not know this system".into()));
        }
        let mut system = System::new();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let physical = system.total_memory();
        Ok(Self { system, pid: sysinfo::get_current_pid().ok(), physical })
    }

    pub(super) fn process(&mut self) -> Result<process::Reading, Failure> {
        let missing = || Failure::Unsupported("sysinfo cannot see this process".into());
        let pid = self.pid.ok_or_else(missing)?;
        self.system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[pid]),
            false,
            ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks(),
        );
        let own = self.system.process(pid).ok_or_else(missing)?;
        Ok(process::Reading {
            resident: Some(own.memory()),
            virtual_size: Some(own.virtual_memory()),
            physical: Some(self.physical),
            cpu: Some(own.accumulated_cpu_time() as f64 / 1e3),
            uptime: Some(own.run_time() as f64),
            ..process::Reading::default()
        })
    }

    pub(super) fn system(&mut self) -> Result<system::Reading, Failure> {
        self.system.refresh_memory();
        let all = &self.system;
        if all.total_memory() == 0 {
            return Err(Failure::Unsupported("sysinfo cannot see this system's memory".into()));
        }
        // Where it knows no load it says zero, for ever.
        let load = System::load_average();
        let load = (load.one + load.five + load.fifteen > 0.0).then_some([
            load.one,
            load.five,
            load.fifteen,
        ]);
        Ok(system::Reading {
            total: all.total_memory(),
            used: all.used_memory(),
            free: Some(all.free_memory()),
            swap: Some((all.used_swap(), all.total_swap())),
            load,
            ..system::Reading::default()
        })
    }
}
