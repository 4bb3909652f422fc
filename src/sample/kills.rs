//! What the kernel killed within our limits while this service did not run: usually the service.
//!
//! The counts of all groups are kept in a file, with the boot they belong to. What is more at the
//! next start happened in between: `highwater.memory.oom_kills.before_start`, for a quarter of an
//! hour, as long as a kill that was seen is told of. Needs the spool's directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Failure, Meter, Sampler, Time,
    aside::Aside,
    backend::Origin,
    cgroup::{Membership, Version},
    parse::cgroup::GroupEvents,
    procfs::{Age, Look, Procfs, Source, Turn},
};
use crate::{instrument::Gauge, name::Unit, semconv, sync::Arc};

const TOLD: Duration = Duration::from_secs(900);
/// More groups than one machine's processes were ever in are not kept.
const MOST: usize = 256;

/// The sampler named `kills`.
#[derive(Debug)]
pub(crate) struct Kills {
    origin: Origin,
    file: PathBuf,
    state: Option<State>,
}

#[derive(Debug)]
struct State {
    time: Time,
    since: Duration,
    procfs: Arc<Procfs>,
    before: Gauge,
    boot: String,
    groups: Vec<Group>,
    /// What was last given to be kept.
    kept: Option<Vec<u64>>,
    aside: Aside,
}

#[derive(Debug)]
struct Group {
    folder: PathBuf,
    own: bool,
    source: Source<GroupEvents>,
}

impl Kills {
    pub(crate) fn new(spool: &Path) -> Self {
        Self { origin: Origin::default(), file: spool.join("oom-kills"), state: None }
    }
}

impl Sampler for Kills {
    fn name(&self) -> &str {
        "kills"
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        let procfs = self.origin.procfs();
        let boot = fs::read_to_string(procfs.root().join("sys/kernel/random/boot_id"));
        let Ok(boot) = boot.map(|boot| boot.trim().to_owned()) else {
            return Err(Failure::Unsupported("no boot has a name here".into()));
        };
        let groups = Membership::read(procfs.root()).of("memory");
        let groups = groups.map(|found| {
            let levels = found.folders.into_iter().enumerate();
            let groups = levels.filter_map(|(depth, folder)| {
                // As `OomKillSeen` judges: ours with all below, of others what was at their limit.
                let own = depth == 0;
                let file = match found.version {
                    Version::V1 => "memory.oom_control",
                    Version::V2 if own => "memory.events",
                    Version::V2 => "memory.events.local",
                };
                let mut source = Source::new(folder.join(file), GroupEvents::parse);
                source.first().ok()?;
                Some(Group { folder, own, source })
            });
            groups.collect::<Vec<_>>()
        });
        let groups = groups.unwrap_or_default();
        if groups.is_empty() {
            return Err(Failure::Unsupported("no control group tells of kills".into()));
        }
        let help = "Killed by the kernel within our limits since the service last ran; for 15 min.";
        let before = meter.gauge(semconv::MEMORY_OOM_KILLS_BEFORE_START, Unit::ONE, help, []);
        let time = meter.time();
        self.state = Some(State {
            since: time.now(),
            time,
            procfs,
            before,
            boot,
            groups,
            kept: None,
            aside: Aside::default(),
        });
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        let Some(state) = &mut self.state else { return Ok(()) };
        if state.time.now().saturating_sub(state.since) >= TOLD {
            state.before.clear();
        }
        state.keep(&self.file)
    }
}

impl State {
    /// What is new is written, on a thread of its own; the first time also compared.
    fn keep(&mut self, file: &Path) -> Result<(), Failure> {
        let mut changed = self.kept.is_none();
        let look = self.procfs.look();
        for (at, group) in self.groups.iter_mut().enumerate() {
            let now = group.count(&look, Age::Since(Turn::Around))?;
            changed |= self.kept.as_ref().is_some_and(|kept| kept[at] != now);
        }
        if !changed || self.aside.is_busy() {
            return Ok(());
        }
        let counts = self.groups.iter_mut().map(|group| group.count(&look, Age::Any));
        let counts = counts.collect::<Result<Vec<_>, _>>()?;
        let told: Vec<_> =
            self.groups.iter().map(|group| group.folder.clone()).zip(counts.clone()).collect();
        let (file, boot, before) = (file.to_owned(), self.boot.clone(), self.before.clone());
        let first = self.kept.is_none();
        let work = move || {
            let known = fs::read_to_string(&file).unwrap_or_default();
            if first {
                before.set(grown(&known, &boot, &told) as f64);
            }
            if let Err(error) = write(&file, &merged(&known, &boot, &told)) {
                log::warn!("highwater: {}: {error}", file.display());
            }
        };
        if self.aside.run("highwater-kills", work) {
            self.kept = Some(counts);
        }
        Ok(())
    }
}

impl Group {
    fn count(&mut self, look: &Look, age: Age) -> Result<u64, Failure> {
        let events = self.source.read(look, age)?;
        let kills = events.oom_kill.unwrap_or(0);
        Ok(if self.own { kills } else { kills.max(events.oom.unwrap_or(0)) })
    }
}

/// `count folder` in each line after the boot's name.
fn counts<'t>(text: &'t str, boot: &str) -> impl Iterator<Item = (u64, &'t str)> {
    let mut lines = text.lines();
    let same = lines.next() == Some(boot);
    lines.filter(move |_| same).filter_map(|line| {
        let (count, folder) = line.split_once(' ')?;
        Some((count.parse().ok()?, folder))
    })
}

/// The most any group's count has grown. One that was never seen tells nothing; one that counts
/// less was made anew since.
fn grown(known: &str, boot: &str, now: &[(PathBuf, u64)]) -> u64 {
    let growth = now.iter().filter_map(|(folder, now)| {
        let (before, _) = counts(known, boot).find(|(_, of)| Path::new(of) == folder)?;
        Some(now.checked_sub(before).unwrap_or(*now))
    });
    growth.max().unwrap_or(0)
}

/// Others' groups are kept: several services may share a spool.
fn merged(known: &str, boot: &str, now: &[(PathBuf, u64)]) -> String {
    let mut text = format!("{boot}\n");
    for (folder, count) in now {
        // A name with a new line in it is nobody's.
        let folder = folder.to_string_lossy();
        if !folder.contains('\n') {
            text.push_str(&format!("{count} {folder}\n"));
        }
    }
    let others =
        counts(known, boot).filter(|(_, of)| now.iter().all(|(own, _)| own != Path::new(of)));
    for (count, folder) in others.take(MOST) {
        text.push_str(&format!("{count} {folder}\n"));
    }
    text
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let partial = file.with_extension(format!("{}.partial", std::process::id()));
    fs::write(&partial, text)?;
    fs::rename(&partial, file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::thread;

    use super::{
        super::{
            procfs::tests::Fake,
            tests::{started, value},
        },
        *,
    };
    use crate::registry::Registry;

    fn machine(test: &str, boot: &str) -> Fake {
        let fake = Fake::new(test);
        for folder in ["cg/pod/box", "sys/kernel/random"] {
            fs::create_dir_all(fake.0.join(folder)).unwrap();
        }
        let point = fake.0.join("cg");
        let line = format!("31 23 0:28 / {} rw - cgroup2 cgroup rw\n", point.display());
        fake.write("self/mountinfo", line.as_bytes());
        fake.write("self/cgroup", b"0::/pod/box\n");
        fake.write("sys/kernel/random/boot_id", format!("{boot}\n").as_bytes());
        events(&fake, [0, 0]);
        fake
    }

    /// Own kills; the pod's own.
    fn events(fake: &Fake, [own, pod]: [u64; 2]) {
        fake.write("cg/pod/box/memory.events", format!("oom {own}\noom_kill {own}\n").as_bytes());
        let pod = format!("oom {pod}\noom_kill 0\n");
        fake.write("cg/pod/memory.events.local", pod.as_bytes());
    }

    fn settle(sampler: &mut Kills) {
        sampler.sample().unwrap();
        while sampler.state.as_ref().unwrap().aside.is_busy() {
            thread::yield_now();
        }
    }

    fn run(fake: &Fake) -> (Kills, Arc<Registry>) {
        let procfs = Some(Procfs::at(&fake.0, Duration::ZERO));
        let kills = Kills::new(&fake.0.join("spool"));
        let (mut sampler, registry) = started(Kills { origin: Origin { procfs }, ..kills });
        settle(&mut sampler);
        (sampler, registry)
    }

    fn before(registry: &Arc<Registry>) -> Option<f64> {
        value(registry, "highwater.memory.oom_kills.before_start{}")
    }

    #[test]
    fn what_was_killed_between_two_runs_is_told_for_a_while() {
        let fake = machine("kills-between", "one");
        let (mut sampler, registry) = run(&fake);
        assert_eq!(before(&registry), Some(0.0), "who never ran has missed nothing");
        // Seen while it runs: no news at the next start.
        events(&fake, [1, 0]);
        settle(&mut sampler);
        drop(sampler);
        assert_eq!(before(&run(&fake).1), Some(0.0));
        events(&fake, [3, 1]);
        let (mut sampler, registry) = run(&fake);
        assert_eq!(before(&registry), Some(2.0));
        sampler.state.as_ref().unwrap().time.set(TOLD);
        sampler.sample().unwrap();
        assert_eq!(before(&registry), None);
        events(&fake, [3, 2]);
        assert_eq!(before(&run(&fake).1), Some(1.0), "at the pod's limit");
    }

    #[test]
    fn another_boot_and_a_group_made_anew_count_from_nothing() {
        let fake = machine("kills-boot", "one");
        events(&fake, [5, 0]);
        run(&fake);
        events(&fake, [2, 0]);
        assert_eq!(before(&run(&fake).1), Some(2.0), "made anew, and killed in");
        fake.write("sys/kernel/random/boot_id", b"two\n");
        events(&fake, [9, 0]);
        assert_eq!(before(&run(&fake).1), Some(0.0));
    }

    #[test]
    fn a_file_of_nonsense_is_no_past_and_others_are_kept() {
        let now = [(PathBuf::from("/a b"), 4)];
        for text in ["", "one", "two\n1 /a b\n", "one\nx /a b\n/a b\n-1 /a b\n"] {
            assert_eq!(grown(text, "one", &now), 0, "{text}");
        }
        assert_eq!(grown("one\n1 /a b\n", "one", &now), 3);
        let merged = merged("one\n1 /a b\n7 /other\n", "one", &now);
        assert_eq!(merged, "one\n4 /a b\n7 /other\n");
    }

    #[test]
    fn a_disk_that_cannot_be_written_harms_nothing() {
        let fake = machine("kills-disk", "one");
        fake.write("spool", b"no folder");
        let (mut sampler, registry) = run(&fake);
        assert_eq!(before(&registry), Some(0.0));
        settle(&mut sampler);
    }
}
