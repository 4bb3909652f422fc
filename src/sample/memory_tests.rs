//! Walls over captured and hand-made groups; against a real kernel in `tests/cgroup_v1.rs`.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    super::{
        procfs::tests::Fake,
        tests::{started, value},
    },
    *,
};
use crate::{registry::Registry, sync::Arc};

fn over(root: &Path) -> Memory {
    let procfs = Some(Procfs::at(root, Duration::ZERO));
    Memory { origin: Origin { procfs }, ..memory() }
}

const MIB: f64 = 1024.0 * 1024.0;

/// A machine of 1,000 MiB of which 250 are taken.
fn machine(test: &str) -> Fake {
    let fake = Fake::new(test);
    let kib = |mib: u32| mib * 1024;
    let meminfo = format!(
        "MemTotal: {} kB\nMemFree: {} kB\nMemAvailable: {} kB\n",
        kib(1000),
        kib(100),
        kib(750)
    );
    fake.write("meminfo", meminfo.as_bytes());
    fake.write("self/statm", b"1000 100 10 1 0 50 0\n");
    process(&fake, 100);
    fake
}

/// This process holds so many MiB.
fn process(fake: &Fake, held: u32) {
    let kib = held * 1024;
    let status =
        format!("Name: a\nVmRSS: {kib} kB\nRssAnon: {kib} kB\nRssShmem: 0 kB\nVmSwap: 0 kB\n");
    fake.write("self/status", status.as_bytes());
}

struct Group(PathBuf);

impl Group {
    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    /// In MiB; `None` is unlimited.
    fn v2(&self, limit: Option<u32>, charged: u32, [active, inactive, slab]: [u32; 3]) {
        let bytes = |mib: u32| u64::from(mib) << 20;
        self.write("memory.max", &limit.map_or("max\n".into(), |mib| format!("{}\n", bytes(mib))));
        self.write("memory.current", &format!("{}\n", bytes(charged)));
        let [active, inactive, slab] = [bytes(active), bytes(inactive), bytes(slab)];
        self.write(
            "memory.stat",
            &format!(
                "anon {}\nactive_file {active}\ninactive_file {inactive}\nslab_reclaimable {slab}\n",
                bytes(charged / 2)
            ),
        );
    }
}

/// A v2 hierarchy with this process in its group `path`.
fn hierarchy(fake: &Fake, path: &str) -> Vec<Group> {
    let point = fake.0.join("cg");
    fs::create_dir_all(point.join(path)).unwrap();
    let line = format!("31 23 0:28 / {} rw - cgroup2 cgroup rw\n", point.display());
    fake.write("self/mountinfo", line.as_bytes());
    fake.write("self/cgroup", format!("0::/{path}\n").as_bytes());
    let own = Path::new(path).ancestors().take_while(|part| *part != Path::new(""));
    own.map(|part| Group(point.join(part))).collect()
}

fn read(registry: &Arc<Registry>, metric: &str, level: &str) -> Option<f64> {
    value(registry, &format!("highwater.memory.{metric}{{level={level:?}}}"))
}

fn binding(registry: &Arc<Registry>) -> Option<f64> {
    value(registry, "highwater.memory.binding.utilization{}")
}

#[test]
fn the_host_is_a_wall_of_who_holds_a_quarter_of_it() {
    let fake = machine("memory-host");
    let (mut sampler, registry) = started(over(&fake.0));
    sampler.sample().unwrap();
    assert_eq!(read(&registry, "limit", "host"), Some(1000.0 * MIB));
    assert_eq!(read(&registry, "usage", "host"), Some(250.0 * MIB));
    assert_eq!(read(&registry, "utilization", "host"), Some(0.25));
    assert_eq!(binding(&registry), None, "it is a neighbour who holds it");
    assert_eq!(sampler.next_glance(), None);
    process(&fake, 250);
    sampler.sample().unwrap();
    assert_eq!(binding(&registry), Some(0.25));
    assert_eq!(read(&registry, "binding", "host"), Some(1.0));
    assert_eq!(sampler.next_glance(), Some(Duration::from_secs_f64(750.0 * MIB / 6e9)));
}

#[test]
fn every_level_has_its_own_numerator_and_the_greatest_ratio_binds() {
    let fake = machine("memory-levels");
    let groups = hierarchy(&fake, "slice/pod/box");
    groups[0].v2(Some(100), 90, [20, 30, 10]);
    groups[1].v2(Some(200), 180, [20, 30, 10]);
    groups[2].v2(None, 500, [0, 0, 0]);
    let (mut sampler, registry) = started(over(&fake.0));
    sampler.sample().unwrap();
    assert_eq!(read(&registry, "usage", "cgroup"), Some(30.0 * MIB));
    assert_eq!(read(&registry, "utilization", "cgroup"), Some(0.3));
    assert_eq!(read(&registry, "utilization", "cgroup.ancestor1"), Some(0.6));
    assert_eq!(read(&registry, "utilization", "cgroup.ancestor2"), None, "unlimited");
    assert_eq!(binding(&registry), Some(0.6), "the neighbours fill the pod");
    assert_eq!(read(&registry, "binding", "cgroup.ancestor1"), Some(1.0));
    assert_eq!(read(&registry, "binding", "cgroup"), Some(0.0));
    assert_eq!(value(&registry, "container.memory.usage{}"), Some(90.0 * MIB));
    assert_eq!(value(&registry, "container.memory.working_set{}"), Some(60.0 * MIB));
    assert_eq!(value(&registry, "container.memory.rss{}"), Some(45.0 * MIB));
    assert_eq!(value(&registry, "container.memory.available{}"), Some(40.0 * MIB));
}

#[test]
fn limits_are_read_anew() {
    let fake = machine("memory-resize");
    let groups = hierarchy(&fake, "box");
    groups[0].v2(Some(400), 100, [0, 0, 0]);
    let (mut sampler, registry) = started(over(&fake.0));
    for (limit, expected) in [(Some(400), Some(0.25)), (Some(200), Some(0.5)), (None, None)] {
        groups[0].v2(limit, 100, [0, 0, 0]);
        sampler.sample().unwrap();
        assert_eq!(binding(&registry), expected);
    }
    groups[0].v2(Some(0), 0, [0, 0, 0]);
    sampler.sample().unwrap();
    assert_eq!(binding(&registry), Some(1.0), "nothing may be used");
}

#[test]
fn what_a_group_could_give_back_may_be_old_while_it_cannot_matter() {
    let fake = machine("memory-outer");
    let groups = hierarchy(&fake, "pod/box");
    groups[0].v2(Some(100), 20, [0, 10, 0]);
    groups[1].v2(Some(200), 40, [0, 10, 0]);
    let hour = Duration::from_secs(3600);
    let procfs = Some(Procfs::with(&fake.0, Duration::ZERO, hour));
    let (mut sampler, registry) = started(Memory { origin: Origin { procfs }, ..memory() });
    let mut usage = |own, around, reclaimable| {
        groups[0].v2(Some(100), own, reclaimable);
        groups[1].v2(Some(200), around, reclaimable);
        sampler.sample().unwrap();
        let of = |level| read(&registry, "usage", level).unwrap() / MIB;
        (of("cgroup"), of("cgroup.ancestor1"))
    };
    assert_eq!(usage(20, 40, [0, 10, 0]), (10.0, 30.0));
    assert_eq!(usage(21, 41, [0, 5, 0]), (11.0, 31.0), "not measured anew");
    assert_eq!(usage(25, 45, [0, 5, 0]), (20.0, 40.0), "it moves");
    assert_eq!(usage(50, 100, [0, 5, 0]), (45.0, 95.0), "half is charged");
    assert_eq!(usage(50, 100, [0, 9, 0]), (41.0, 91.0));
}

#[test]
fn page_cache_raises_nothing_in_a_glance_either() {
    let fake = machine("memory-cache");
    let groups = hierarchy(&fake, "box");
    groups[0].v2(Some(100), 20, [0, 10, 0]);
    let (mut sampler, registry) = started(over(&fake.0));
    sampler.sample().unwrap();
    assert_eq!(binding(&registry), Some(0.1));
    groups[0].v2(Some(100), 95, [30, 55, 0]);
    sampler.glance().unwrap();
    assert_eq!(binding(&registry), Some(0.1));
    // The cache gives way: as much is charged, and more of it counts.
    groups[0].v2(Some(100), 95, [5, 0, 0]);
    sampler.glance().unwrap();
    assert_eq!(binding(&registry), Some(0.9));
}

#[test]
fn v1_with_swap_and_an_ancestor_out_of_sight() {
    let fake = machine("memory-v1");
    let point = fake.0.join("memory");
    fs::create_dir_all(point.join("box")).unwrap();
    let line = format!("31 23 0:28 /docker {} rw - cgroup cgroup rw,memory\n", point.display());
    fake.write("self/mountinfo", line.as_bytes());
    fake.write("self/cgroup", b"4:memory:/docker/box\n0::/\n");
    let mib = |mib: u64| format!("{}\n", mib << 20);
    for (folder, limit, charged) in [("box", "9223372036854771712\n", 60), ("", "", 80)] {
        let group = Group(point.join(folder));
        let limit = if limit.is_empty() { mib(400) } else { limit.to_owned() };
        group.write("memory.limit_in_bytes", &limit);
        group.write("memory.usage_in_bytes", &mib(charged));
        group.write("memory.memsw.limit_in_bytes", &mib(120));
        group.write("memory.memsw.usage_in_bytes", &mib(charged + 10));
        group.write(
            "memory.stat",
            &format!(
                "inactive_file 0\nactive_file 0\nhierarchical_memory_limit {}\
                 total_inactive_file {}total_active_file 0\n",
                mib(200),
                mib(20)
            ),
        );
    }
    let (mut sampler, registry) = started(over(&fake.0));
    sampler.sample().unwrap();
    assert_eq!(read(&registry, "limit", "cgroup"), None);
    // 200 MiB is the limit of somebody further out.
    assert_eq!(read(&registry, "limit", "cgroup.ancestor1"), Some(200.0 * MIB));
    assert_eq!(read(&registry, "utilization", "cgroup.ancestor1"), Some(0.3));
    assert_eq!(read(&registry, "usage", "cgroup.memsw"), Some(50.0 * MIB));
    assert_eq!(read(&registry, "limit", "cgroup.memsw"), Some(120.0 * MIB));
    assert_eq!(binding(&registry), Some(70.0 / 120.0), "with swap, the ancestor");
}

#[test]
fn v2_swap_is_a_wall_together_with_memory() {
    let fake = machine("memory-v2-swap");
    let groups = hierarchy(&fake, "pod/box");
    groups[0].v2(Some(100), 60, [0, 10, 0]);
    groups[1].v2(None, 500, [0, 0, 0]);
    let swap = |group: &Group, limit: &str, charged: u64| {
        group.write("memory.swap.max", limit);
        group.write("memory.swap.current", &format!("{}\n", charged << 20));
    };
    let bytes = |mib: u64| format!("{}\n", mib << 20);
    swap(&groups[0], &bytes(50), 40);
    // Limited swap beside unlimited memory is no wall.
    swap(&groups[1], &bytes(50), 49);
    let (mut sampler, registry) = started(over(&fake.0));
    sampler.sample().unwrap();
    assert_eq!(read(&registry, "limit", "cgroup.memsw"), Some(150.0 * MIB));
    assert_eq!(read(&registry, "usage", "cgroup.memsw"), Some(90.0 * MIB));
    assert_eq!(read(&registry, "limit", "cgroup.ancestor1.memsw"), None);
    assert_eq!(binding(&registry), Some(0.6), "swap lies between usage and death");
    swap(&groups[0], &bytes(50), 49);
    groups[0].v2(Some(100), 100, [0, 0, 0]);
    sampler.glance().unwrap();
    assert_eq!(read(&registry, "usage", "cgroup.memsw"), Some(149.0 * MIB));
    assert_eq!(read(&registry, "utilization", "cgroup.memsw"), Some(149.0 / 150.0));
    for no_wall in ["0\n", "max\n"] {
        swap(&groups[0], no_wall, 0);
        sampler.sample().unwrap();
        assert_eq!(read(&registry, "limit", "cgroup.memsw"), None, "{no_wall}");
    }
}

#[test]
fn a_group_without_limits_of_its_own_takes_nobodys_name() {
    let fake = machine("memory-no-controller");
    let groups = hierarchy(&fake, "pod/box");
    // The controller is off in the innermost: its memory is charged to the pod.
    groups[1].v2(Some(200), 100, [0, 0, 0]);
    let (mut sampler, registry) = started(over(&fake.0));
    sampler.sample().unwrap();
    assert_eq!(read(&registry, "limit", "cgroup"), None);
    assert_eq!(read(&registry, "utilization", "cgroup.ancestor1"), Some(0.5));
    assert_eq!(binding(&registry), Some(0.5));
}

/// As in a procfs mounted with `subset=pid`.
#[test]
fn groups_have_walls_where_the_system_is_hidden() {
    let fake = machine("memory-hidden");
    hierarchy(&fake, "box")[0].v2(Some(100), 70, [0, 0, 0]);
    fs::remove_file(fake.0.join("meminfo")).unwrap();
    let (mut sampler, registry) = started(over(&fake.0));
    sampler.sample().unwrap();
    sampler.glance().unwrap();
    assert_eq!(binding(&registry), Some(0.7));
    assert_eq!(read(&registry, "limit", "host"), None);
}

#[test]
fn a_group_full_of_cache_is_looked_at_though_its_marks_are_armed() {
    let fake = machine("memory-marks");
    let folder = fake.0.join("memory/box");
    fs::create_dir_all(&folder).unwrap();
    let point = fake.0.join("memory");
    let line = format!("31 23 0:28 / {} rw - cgroup cgroup rw,memory\n", point.display());
    fake.write("self/mountinfo", line.as_bytes());
    fake.write("self/cgroup", b"4:memory:/box\n0::/\n");
    let group = Group(folder);
    group.write("cgroup.event_control", "");
    let mib = |mib: u64| format!("{}\n", mib << 20);
    let charge = |charged: u64, cache: u64| {
        group.write("memory.limit_in_bytes", &mib(200));
        group.write("memory.usage_in_bytes", &mib(charged));
        let stat = format!("total_inactive_file {}total_active_file 0\n", mib(cache));
        group.write("memory.stat", &stat);
    };
    charge(60, 40);
    let (mut sampler, registry) = started(over(&fake.0));
    sampler.sample().unwrap();
    assert_eq!(value(&registry, r#"highwater.memory.wakeups{source="threshold"}"#), Some(0.0));
    assert_eq!(sampler.next_glance(), None, "the kernel tells when it is half full");
    // Another limit, other marks.
    group.write("memory.limit_in_bytes", &mib(190));
    sampler.sample().unwrap();
    while !sampler.state.as_ref().unwrap().groups.guards.marks[0].are_armed() {
        std::thread::yield_now();
    }
    sampler.sample().unwrap();
    assert_eq!(sampler.next_glance(), None);
    charge(150, 130);
    sampler.sample().unwrap();
    assert_eq!(binding(&registry), Some(0.1));
    assert_eq!(sampler.next_glance(), Some(SHORTEST_PAUSE), "it has told already");
}

#[test]
fn a_group_that_was_left_is_looked_up_again() {
    let fake = machine("memory-moved");
    hierarchy(&fake, "one")[0].v2(Some(100), 10, [0, 0, 0]);
    let (mut sampler, registry) = started(over(&fake.0));
    sampler.sample().unwrap();
    hierarchy(&fake, "two/deeper")[0].v2(Some(100), 70, [0, 0, 0]);
    let failure = sampler.sample().unwrap_err();
    assert!(failure.to_string().contains("moved"), "{failure}");
    sampler.start(&mut Meter::new(registry.clone())).unwrap();
    sampler.sample().unwrap();
    assert_eq!(binding(&registry), Some(0.7));
}

#[test]
fn a_group_that_vanished_is_a_failure() {
    let fake = machine("memory-vanished");
    let groups = hierarchy(&fake, "one");
    groups[0].v2(Some(100), 10, [0, 0, 0]);
    let (mut sampler, _) = started(over(&fake.0));
    sampler.sample().unwrap();
    groups[0].write("memory.current", "");
    assert!(sampler.sample().is_err());
}

#[test]
fn a_budget_counts_what_this_process_holds() {
    let fake = machine("memory-budget");
    let (mut sampler, registry) = started(over(&fake.0).budget(200 << 20));
    sampler.sample().unwrap();
    assert_eq!(binding(&registry), Some(0.5));
    process(&fake, 180);
    sampler.glance().unwrap();
    assert_eq!(binding(&registry), Some(0.9));
    assert_eq!(read(&registry, "binding", "budget"), Some(1.0));
}

#[test]
fn a_steep_rise_near_the_limit_is_urgent_once() {
    let fake = machine("memory-urgent");
    let (mut sampler, _) = started(over(&fake.0).budget(200 << 20));
    let mut glance = |held: u32, tick: bool| {
        process(&fake, held);
        if tick {
            sampler.sample().unwrap();
        }
        sampler.glance().unwrap()
    };
    assert_eq!(glance(100, true), Glance::Calm);
    assert_eq!(glance(150, false), Glance::Calm, "three quarters are not high");
    assert_eq!(glance(180, false), Glance::Urgent);
    assert_eq!(glance(180, true), Glance::Calm, "the rules have judged it");
    assert_eq!(glance(181, false), Glance::Calm);
    assert_eq!(glance(190, false), Glance::Urgent);
    assert_eq!(glance(100, false), Glance::Calm);
}

#[test]
fn growth_gives_a_runway_and_standing_still_none() {
    let fake = machine("memory-runway");
    let (mut sampler, registry) = started(over(&fake.0).budget(200 << 20));
    let mut at = |seconds: f64, held: u32| {
        process(&fake, held);
        let state = sampler.state.as_mut().unwrap();
        state.read(false, sampler.budget).unwrap();
        state.publish(Duration::from_secs_f64(seconds));
        value(&registry, "highwater.memory.runway{}")
    };
    assert_eq!(at(0.0, 100), None);
    assert_eq!(at(1.0, 120), Some(4.0), "80 MiB left at 20 a second");
    assert_eq!(at(1.01, 130), Some(3.5), "too soon for another growth");
    assert_eq!(at(2.0, 120), None);
    assert_eq!(at(3.0, 110), None);
}

#[test]
fn without_procfs_sysinfo_knows_the_host() {
    let (mut sampler, registry) = started(over(Path::new("/no/such/folder")));
    sampler.sample().unwrap();
    let utilization = read(&registry, "utilization", "host").unwrap();
    assert!(utilization > 0.0 && utilization < 1.0);
}

/// The real one, whatever this machine is.
#[test]
fn this_machine() {
    let (mut sampler, registry) = started(over(Path::new("/proc")));
    sampler.sample().unwrap();
    sampler.glance().unwrap();
    assert!(read(&registry, "limit", "host").unwrap() > 1e8);
}
