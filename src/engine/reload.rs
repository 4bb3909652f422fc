//! Rule files that are read again while the instance runs: when one changes, or when asked to. A
//! file that is broken changes nothing, is logged, and is counted. They are read and checked by
//! whoever asks, or by `highwater-files`; the tick thread takes over what is ready.

use std::{fs, path::Path, time::SystemTime};

use crate::{
    instrument::Gauge,
    name::{Labels, Unit},
    registry::Registry,
    rule::{Assembled, Evaluator, Refused, ReloadError, Rule, RuleNames, RuleSet, rule_names},
    semconv,
    sync::{Arc, AtomicU64, Mutex, Ordering, RwLock},
};

/// Where rules come from, and those that wait for the tick thread.
#[derive(Debug)]
pub(crate) struct Reload {
    set: RuleSet,
    names: RuleNames,
    /// What a page is written from.
    shown: Arc<RwLock<Arc<[Rule]>>>,
    /// One reads at a time, so that what is read last is what runs.
    reading: Mutex<()>,
    ready: Mutex<Option<Box<Evaluator>>>,
    /// Those that run, or will from the next tick on.
    current: Mutex<Vec<Rule>>,
    reloaded: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

/// How a file looked when it was last read; a configuration map swaps what a link points to.
type Stamp = Option<(SystemTime, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    #[cfg(unix)]
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let node = meta.ino();
    #[cfg(not(unix))]
    let node = 0;
    Some((meta.modified().ok()?, meta.len(), node))
}

impl Reload {
    /// `rules` were found when they were first read, and so many refused; those who are told of
    /// others are the look-up of names and whoever writes pages.
    pub(crate) fn new(
        set: RuleSet,
        (names, shown): (RuleNames, Arc<RwLock<Arc<[Rule]>>>),
        rules: Vec<Rule>,
        refused: usize,
    ) -> Self {
        Self {
            set,
            names,
            reading: Mutex::default(),
            shown,
            ready: Mutex::default(),
            current: Mutex::new(rules),
            reloaded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(refused as u64),
        }
    }

    /// Those that run, or will from the next tick on.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        self.current.lock().clone()
    }

    /// Reads all files on the caller's thread; the next tick takes the rules over.
    ///
    /// # Errors
    /// Why nothing changes.
    pub(crate) fn read(&self) -> Result<Vec<Refused>, ReloadError> {
        let _alone = self.reading.lock();
        match self.set.prepare() {
            Ok((Assembled { rules, refused, mistakes }, evaluator)) => {
                for mistake in &mistakes {
                    log::warn!("highwater: {mistake}");
                }
                for one in &refused {
                    log::warn!("highwater: {one}");
                }
                log::info!("highwater: {} rules read anew", rules.len());
                let mut names = rule_names(&rules);
                names.extend_from_slice(&self.set.also_known);
                names.sort();
                names.dedup();
                *self.names.write() = names;
                *self.shown.write() = Arc::from(rules.as_slice());
                self.refused.store(refused.len() as u64, Ordering::Relaxed);
                self.reloaded.fetch_add(1, Ordering::Relaxed);
                self.current.lock().clone_from(&rules);
                *self.ready.lock() = Some(Box::new(evaluator));
                Ok(refused)
            }
            Err(why) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                log::error!("highwater: rules are left as they are: {why}");
                Err(why)
            }
        }
    }
}

/// The side of `highwater-files`: one `stat` a file and look.
#[derive(Debug)]
pub(super) struct Watcher {
    reload: Arc<Reload>,
    seen: Vec<Stamp>,
}

impl Watcher {
    pub(super) fn new(reload: Arc<Reload>) -> Self {
        let seen = reload.set.files.iter().map(|file| file.path().and_then(stamp)).collect();
        Self { reload, seen }
    }

    /// Reads them all if one has changed.
    pub(super) fn look(&mut self) {
        let mut changed = false;
        for (file, seen) in self.reload.set.files.iter().zip(&mut self.seen) {
            let now = file.path().and_then(stamp);
            changed |= now != *seen;
            *seen = now;
        }
        if changed {
            // Told where it happens.
            let _ = self.reload.read();
        }
    }
}

/// The tick thread's side.
#[derive(Debug)]
pub(super) struct Reloader {
    reload: Arc<Reload>,
    outcomes: [Gauge; 2],
    refused: Gauge,
}

impl Reloader {
    pub(super) fn new(reload: Arc<Reload>, registry: &Registry) -> Self {
        let help = "Times rule files were read anew, by outcome.";
        registry.describe(semconv::RULE_RELOADS, Unit::known("{reload}"), help);
        let help = "Rules of files that are refused and do not run.";
        registry.describe(semconv::RULE_REFUSED, Unit::known("{rule}"), help);
        let outcome = |outcome| {
            let labels = Labels::new([(semconv::OUTCOME, outcome)]);
            registry.observed_counter(semconv::RULE_RELOADS, &labels)
        };
        Self {
            outcomes: ["success", "failure"].map(outcome),
            refused: registry.gauge(semconv::RULE_REFUSED, &Labels::empty()),
            reload,
        }
    }

    /// Rules to be put in place, if there are new ones.
    pub(super) fn refresh(&mut self) -> Option<Box<Evaluator>> {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed) as f64;
        self.outcomes[0].set(count(&self.reload.reloaded));
        self.outcomes[1].set(count(&self.reload.failed));
        self.refused.set(count(&self.reload.refused));
        self.reload.ready.lock().take()
    }
}
