//! A machine that is told what to say: a folder of kernel files, read by the real samplers.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::super::{Sampler, backend::Origin, memory, pressure, process, procfs::Procfs, system};
use crate::sync::{Arc, AtomicU64, Ordering};

/// What the machine says, in bytes unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Told {
    /// Of the own control group; none is unlimited.
    pub limit: Option<f64>,
    /// What this process holds.
    pub anonymous: f64,
    /// Page cache of the own group.
    pub cache: f64,
    /// tmpfs and shared memory of the own group.
    pub shared: f64,
    /// Of the anonymous memory, what was freed with `MADV_FREE`.
    pub freed: f64,
    /// Physical memory.
    pub host: f64,
    /// What others hold of it.
    pub others: f64,
    /// PSI memory, `some` and `full`, averages over 10 and 60 s, in percent.
    pub some: [f64; 2],
    /// See [`some`](Self::some).
    pub full: [f64; 2],
    /// Major faults of this process, ever.
    pub faults: f64,
    /// Pages swapped in and out, ever.
    pub swapped: [f64; 2],
    /// Processes killed within the own group, ever.
    pub kills: f64,
}

impl Default for Told {
    /// A group of 1 GiB in a machine of 16.
    fn default() -> Self {
        Self {
            limit: Some(f64::from(1 << 30)),
            anonymous: 0.0,
            cache: 0.0,
            shared: 0.0,
            freed: 0.0,
            host: 16.0 * f64::from(1 << 30),
            others: f64::from(1 << 30),
            some: [0.0; 2],
            full: [0.0; 2],
            faults: 0.0,
            swapped: [0.0; 2],
            kills: 0.0,
        }
    }
}

const PRESSURE: [&str; 2] = ["pressure/memory", "cg/box/memory.pressure"];

/// See the module.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    files: Vec<Kept>,
    /// Whether its kernel knows PSI.
    pressure: bool,
}

#[derive(Debug)]
struct Kept {
    name: &'static str,
    file: File,
    text: Vec<u8>,
}

impl Machine {
    /// In memory where there is a file system for that.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("highwater-machine-{}-{count}", std::process::id());
        let memory = Path::new("/dev/shm").join(&name);
        let root = match fs::create_dir(&memory) {
            Ok(()) => memory,
            Err(_) => {
                let root = std::env::temp_dir().join(name);
                fs::create_dir(&root)?;
                root
            }
        };
        let mut machine = Self { root, files: Vec::new(), pressure: true };
        for folder in ["self/fd", "pressure", "cg/box"] {
            fs::create_dir_all(machine.root.join(folder))?;
        }
        let mounts = format!("31 23 0:28 / {}/cg rw - cgroup2 cgroup rw\n", machine.root.display());
        for (file, text) in [
            ("self/mountinfo", mounts.as_str()),
            ("self/cgroup", "0::/box\n"),
            ("cg/box/cgroup.type", "domain\n"),
            ("loadavg", "0.25 0.50 0.75 1/86 7777\n"),
        ] {
            fs::write(machine.root.join(file), text)?;
        }
        machine.tell(&Told::default())?;
        Ok(machine)
    }

    /// With a kernel that does not tell of pressure.
    ///
    /// # Errors
    /// The files of pressure cannot be removed.
    pub fn without_pressure(mut self) -> io::Result<Self> {
        self.pressure = false;
        for file in PRESSURE {
            self.files.retain(|kept| kept.name != file);
            fs::remove_file(self.root.join(file))?;
        }
        Ok(self)
    }

    /// What it says from now on.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn tell(&mut self, told: &Told) -> io::Result<()> {
        let Told { host, others, .. } = *told;
        let live = (told.anonymous - told.freed).max(0.0);
        let used = live + told.shared + others;
        let kib = |bytes: f64| bytes.max(0.0) as u64 / 1024;
        let whole = |bytes: f64| bytes.max(0.0) as u64;
        let limit = told.limit.map_or("max".to_owned(), |limit| whole(limit).to_string());
        self.write("cg/box/memory.max", format_args!("{limit}\n"))?;
        let charged = told.anonymous + told.cache + told.shared;
        self.write("cg/box/memory.current", format_args!("{}\n", whole(charged)))?;
        self.write(
            "cg/box/memory.stat",
            format_args!(
                "anon {}\nfile {}\nshmem {}\ninactive_file {}\nactive_file 0\nslab_reclaimable 0\n",
                whole(told.anonymous),
                whole(told.cache + told.shared),
                whole(told.shared),
                whole(told.cache + told.freed),
            ),
        )?;
        let kills = whole(told.kills);
        self.write(
            "cg/box/memory.events",
            format_args!("low 0\nhigh 0\nmax 0\noom {kills}\noom_kill {kills}\n"),
        )?;
        let rest = (host - used).max(0.0);
        self.write(
            "meminfo",
            format_args!(
                "MemTotal: {} kB\nMemFree: {} kB\nMemAvailable: {} kB\n",
                kib(host),
                kib(rest - told.cache),
                kib(rest),
            ),
        )?;
        let held = kib(told.anonymous);
        self.write(
            "self/status",
            format_args!(
                "Name: told\nVmHWM: {held} kB\nVmRSS: {held} kB\nRssAnon: {held} kB\n\
                 RssShmem: 0 kB\nVmSwap: 0 kB\n"
            ),
        )?;
        let faults = whole(told.faults);
        self.write(
            "self/stat",
            format_args!(
                "1 (told) S 1 1 1 0 -1 0 0 0 {faults} 0 0 0 0 0 20 0 1 0 0 {} {} 0\n",
                whole(told.anonymous),
                held / 4,
            ),
        )?;
        let [swapped_in, swapped_out] = told.swapped.map(whole);
        self.write(
            "vmstat",
            format_args!(
                "pgfault 0\npgmajfault {faults}\npswpin {swapped_in}\npswpout {swapped_out}\n\
                 oom_kill {kills}\n"
            ),
        )?;
        let ([some10, some60], [full10, full60]) = (told.some, told.full);
        let told = if self.pressure { &PRESSURE[..] } else { &[] };
        for file in told {
            self.write(
                file,
                format_args!(
                    "some avg10={some10:.2} avg60={some60:.2} avg300=0.00 total=0\n\
                     full avg10={full10:.2} avg60={full60:.2} avg300=0.00 total=0\n"
                ),
            )?;
        }
        Ok(())
    }

    /// The built-in samplers, over this machine.
    pub fn samplers(&self) -> Vec<Box<dyn Sampler>> {
        over(&Procfs::at(&self.root, Duration::ZERO))
    }

    fn write(&mut self, name: &'static str, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        let at = match self.files.iter().position(|kept| kept.name == name) {
            Some(at) => at,
            None => {
                let file = File::create(self.root.join(name))?;
                self.files.push(Kept { name, file, text: Vec::new() });
                self.files.len() - 1
            }
        };
        let Kept { file, text: before, .. } = &mut self.files[at];
        let (mut new, length) = (Vec::with_capacity(before.len() + 16), before.len());
        new.write_fmt(text)?;
        if new != *before {
            file.write_all_at(&new, 0)?;
            if new.len() < length {
                file.set_len(new.len() as u64)?;
            }
            *before = new;
        }
        Ok(())
    }
}

pub(super) fn over(procfs: &Arc<Procfs>) -> Vec<Box<dyn Sampler>> {
    let origin = || Origin { procfs: Some(procfs.clone()) };
    let (mut process, mut system) = (process(), system());
    let (mut memory, mut pressure) = (memory(), pressure());
    (process.origin, system.origin) = (origin(), origin());
    (memory.origin, pressure.origin) = (origin(), origin());
    vec![Box::new(process), Box::new(system), Box::new(memory), Box::new(pressure)]
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}
