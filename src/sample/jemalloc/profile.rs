//! Heap profiles as files. Whether one is due is decided on the tick; it is written by a thread of
//! its own, since jemalloc takes its time over it.
//!
//! A profile is written under another name and renamed when it is whole. The names are `keep` in
//! number and used in turn, oldest first, so that neither a crash loop nor a year fills the disk.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fmt::Write as _,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tikv_jemalloc_ctl::raw;

use super::{Held, Meter, Plan, figure::is_profiling, stage::Stages};
use crate::{
    instrument::{Counter, Gauge},
    name::{Labels, Unit},
    registry::Registry,
    semconv,
    sync::{Arc, AtomicBool, Ordering},
};

/// So much must be free on the disk for a profile to be written.
const LEAST_FREE: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Profiles {
    stages: Stages,
    begun: Instant,
    /// The binding memory ratio, as the memory sampler has it.
    ratio: Gauge,
    writer: Arc<Writer>,
}

#[derive(Debug)]
struct Writer {
    directory: PathBuf,
    keep: usize,
    busy: AtomicBool,
    written: Counter,
    /// By [`Missed::REASONS`]; there from the start, so that the first can be told from none.
    missed: [Counter; 3],
    registry: Arc<Registry>,
}

/// What a profile is of.
#[derive(Debug, Clone, Copy)]
struct Occasion {
    stage: f64,
    ratio: f64,
    held: Held,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
enum Missed {
    #[error("only {0} B are free on the disk, and {LEAST_FREE} B must be")]
    Space(u64),
    #[error("jemalloc: {0}")]
    Dump(tikv_jemalloc_ctl::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Missed {
    const REASONS: [&'static str; 3] = ["no_space", "jemalloc", "io"];

    fn reason(&self) -> usize {
        match self {
            Self::Space(_) => 0,
            Self::Dump(_) => 1,
            Self::Io(_) => 2,
        }
    }
}

impl Profiles {
    /// Nothing where jemalloc does not profile.
    pub(super) fn start(plan: &Plan, meter: &Meter) -> Option<Self> {
        if !is_profiling() {
            log::warn!(
                "highwater: no heap profiles will be written: jemalloc does not profile (its feature `profiling`, and malloc_conf=prof:true)"
            );
            return None;
        }
        let registry = meter.registry.clone();
        registry.describe(
            semconv::ALLOCATOR_PROFILES,
            Unit::known("{profile}"),
            "Heap profiles that were due; with `error.type` those that were not written.",
        );
        registry.describe(
            semconv::ALLOCATOR_PROFILE_TIME,
            Unit::SECONDS,
            "When the heap profile of this path was written, since 1970.",
        );
        let missed = Missed::REASONS.map(|reason| {
            let labels = Labels::new([(semconv::ERROR_TYPE, reason)]);
            registry.counter(semconv::ALLOCATOR_PROFILES, &labels)
        });
        Some(Self {
            stages: Stages::new(&plan.stages, plan.cool_down),
            begun: Instant::now(),
            ratio: registry.gauge(semconv::MEMORY_BINDING_UTILIZATION, &Labels::empty()),
            writer: Arc::new(Writer {
                directory: plan.directory.clone(),
                keep: plan.keep,
                busy: AtomicBool::new(false),
                missed,
                written: registry.counter(semconv::ALLOCATOR_PROFILES, &Labels::empty()),
                registry,
            }),
        })
    }

    /// Has a profile written if one is due.
    pub(super) fn consider(&mut self, held: Held) {
        let Some(ratio) = self.ratio.0.value() else { return };
        if self.writer.busy.load(Ordering::Acquire) {
            return;
        }
        let Some(stage) = self.stages.due(ratio, self.begun.elapsed()) else { return };
        let writer = self.writer.clone();
        writer.busy.store(true, Ordering::Relaxed);
        let work = move || {
            writer.run(Occasion { stage, ratio, held });
            // Pairs with the load in `consider`: one at a time.
            writer.busy.store(false, Ordering::Release);
        };
        if let Err(error) = thread::Builder::new().name("highwater-heap".to_owned()).spawn(work) {
            self.writer.busy.store(false, Ordering::Relaxed);
            self.writer.missed(&Missed::Io(error));
        }
    }
}

impl Writer {
    fn run(&self, occasion: Occasion) {
        match self.write(occasion) {
            Ok(path) => {
                self.written.increment(1);
                let path = path.display().to_string();
                let share = occasion.ratio * 100.0;
                log::warn!("highwater: heap profile at {share:.0}% of memory: {path}");
                let labels = Labels::new([(semconv::FILE_PATH, &*path)]);
                let time = self.registry.gauge(semconv::ALLOCATOR_PROFILE_TIME, &labels);
                time.set(now().as_secs_f64());
            }
            Err(why) => self.missed(&why),
        }
    }

    fn missed(&self, why: &Missed) {
        log::warn!("highwater: no heap profile in {}: {why}", self.directory.display());
        if let Some(counter) = self.missed.get(why.reason()) {
            counter.increment(1);
        }
    }

    fn write(&self, occasion: Occasion) -> Result<PathBuf, Missed> {
        fs::create_dir_all(&self.directory)?;
        let disk = rustix::fs::statvfs(&self.directory).map_err(io::Error::from)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < LEAST_FREE {
            return Err(Missed::Space(free));
        }
        let begun = Instant::now();
        let path = oldest(&self.directory, self.keep);
        let partial = path.with_extension("partial");
        dump(&partial)?;
        fs::rename(&partial, &path)?;
        let text = self.describe(occasion, &path, begun.elapsed());
        fs::write(path.with_extension("json"), text)?;
        Ok(path)
    }

    /// The file beside it.
    fn describe(&self, occasion: Occasion, path: &Path, took: Duration) -> String {
        let Occasion { stage, ratio, held } = occasion;
        let Held { allocated, active, resident, retained } = held;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let mut text = format!(
            "{{\n  \"file\": {},\n  \"time_unix_ms\": {},\n  \"pid\": {},\n  \"stage\": {stage},\n  \
             \"utilization\": {ratio},\n  \"took_ms\": {},\n  \"allocated\": {allocated},\n  \
             \"active\": {active},\n  \"resident\": {resident},\n  \"retained\": {retained},\n  \
             \"components\": [",
            quoted(&file),
            now().as_millis(),
            std::process::id(),
            took.as_millis(),
        );
        let mut comma = "";
        self.registry.components_from(0, |(component, _)| {
            let _ = write!(
                text,
                "{comma}\n    {{\"name\": {}, \"usage\": {}, \"items\": {}, \"requests\": {}, \
                 \"request_memory\": {}}}",
                quoted(component.name()),
                super::super::component::usage(component),
                component.items(),
                component.requests(),
                component.request_memory(),
            );
            comma = ",";
        });
        text.push_str("\n  ]\n}\n");
        text
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The name that is free, or was used longest ago.
fn oldest(directory: &Path, keep: usize) -> PathBuf {
    let names = (0..keep.max(1)).map(|at| directory.join(format!("heap-{at}.heap")));
    // A file that is not there is older than any.
    let age = |path: &PathBuf| fs::metadata(path).and_then(|of| of.modified()).ok();
    names.min_by_key(age).unwrap_or_else(|| directory.join("heap-0.heap"))
}

fn dump(to: &Path) -> Result<(), Missed> {
    let path = CString::new(to.as_os_str().as_bytes()).map_err(io::Error::from)?;
    // SAFETY: `prof.dump` takes a `const char *` of a string that ends with a zero, and reads it
    // before it returns; the string lives as long as this call.
    unsafe { raw::write(b"prof.dump\0", path.as_ptr()) }.map_err(Missed::Dump)
}

/// As JSON has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for of in text.chars() {
        match of {
            '"' | '\\' => quoted.extend(['\\', of]),
            of if of < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(of));
            }
            of => quoted.push(of),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_used_in_turn() {
        let directory = std::env::temp_dir().join(format!("highwater-heap-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut used = Vec::new();
        for at in 0..6u64 {
            let path = oldest(&directory, 4);
            let file = fs::File::create(&path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000 + at)).unwrap();
            used.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(used, [0, 1, 2, 3, 0, 1].map(|at| format!("heap-{at}.heap")));
    }

    #[test]
    fn names_of_components_are_quoted() {
        assert_eq!(quoted("a\"b\\c\nd€"), "\"a\\\"b\\\\c\\u000ad€\"");
    }
}
