//! The memory presets: one event, one alert.

use super::*;

const LEVELS: [&str; 2] = ["cgroup", "cgroup.ancestor1"];

/// Name, severity and second of everything that fired or ended.
fn told(world: &World) -> Vec<(String, Severity, u64, State)> {
    let at = |t: &Transition| t.at.duration_since(moment(Duration::ZERO).wall).unwrap().as_secs();
    let steps = world.steps.iter().filter(|t| t.to == State::Firing || t.from == State::Firing);
    steps.map(|t| (t.rule.name.to_string(), t.rule.severity, at(t), t.to)).collect()
}

fn fired(world: &World) -> Vec<(String, Severity)> {
    let firing = told(world).into_iter().filter(|(.., to)| *to == State::Firing);
    firing.map(|(name, severity, ..)| (name, severity)).collect()
}

fn presets() -> World {
    World::of(secs(1), preset::all(secs(1)))
}

#[test]
fn two_levels_with_the_same_limit_are_one_alert() {
    let mut world = presets();
    for second in 0..300u64 {
        for (at, level) in LEVELS.into_iter().enumerate() {
            // Now the one is a little fuller, now the other.
            let more = if second as usize % 2 == at { 0.004 } else { 0.0 };
            let ratio = if second < 100 { 0.5 } else { 0.96 + more };
            world.set(semconv::MEMORY_UTILIZATION, [(semconv::LEVEL, level)], ratio);
            let left = if second < 100 { 9_000.0 } else { 30.0 };
            world.set(semconv::MEMORY_TIME_TO_LIMIT, [(semconv::LEVEL, level)], left);
        }
        world.step();
    }
    let expected = [
        ("MemoryCritical", Severity::Critical),
        ("MemoryExhaustionForecast", Severity::Warning),
        ("MemoryExhaustionImminent", Severity::Critical),
        ("MemoryNearLimit", Severity::Warning),
    ];
    let mut fired = fired(&world);
    fired.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(fired, expected.map(|(name, severity)| (name.to_owned(), severity)));
    assert!(told(&world).iter().all(|(.., to)| *to == State::Firing), "none flapped");
}

#[test]
fn a_full_level_counts_beside_a_host_that_others_fill() {
    let mut world = presets();
    world.set(semconv::PROCESS_MEMORY_UTILIZATION, [], 0.01);
    for second in 0..200 {
        world.set(semconv::MEMORY_UTILIZATION, [(semconv::LEVEL, "host")], 0.99);
        let ratio = if second < 100 { 0.5 } else { 0.92 };
        world.set(semconv::MEMORY_UTILIZATION, [(semconv::LEVEL, "cgroup")], ratio);
        world.step();
    }
    assert_eq!(fired(&world), [("MemoryNearLimit".to_owned(), Severity::Warning)]);
    assert!(world.steps.last().unwrap().summary.starts_with("92%"));
}

#[test]
fn pressure_told_by_host_and_group_is_one_alert() {
    let mut world = presets();
    for second in 0..200 {
        for level in ["host", "cgroup"] {
            for (metric, share) in [(semconv::PRESSURE_AVG10, 0.2), (semconv::PRESSURE_AVG60, 0.15)]
            {
                let share = if second < 100 { 0.0 } else { share };
                let labels = [
                    (semconv::RESOURCE, "memory"),
                    (semconv::STALL, "full"),
                    (semconv::LEVEL, level),
                ];
                world.set(metric, labels, share);
            }
        }
        world.step();
    }
    assert_eq!(told(&world).len(), 1);
    assert_eq!(told(&world)[0], ("MemoryThrashing".into(), Severity::Warning, 115, State::Firing));
}

#[test]
fn without_psi_faults_alone_tell_of_thrashing_after_a_minute() {
    let run = |pressure_is_told: bool, ratio: f64| {
        let mut world = presets();
        let faults = [(semconv::SYSTEM_PAGING_FAULT_TYPE, "major")];
        let faults =
            world.registry.observed_counter(semconv::PROCESS_PAGING_FAULTS, &Labels::new(faults));
        for second in 0..400u64 {
            if pressure_is_told {
                let labels = [
                    (semconv::RESOURCE, "memory"),
                    (semconv::STALL, "some"),
                    (semconv::LEVEL, "host"),
                ];
                world.set(semconv::PRESSURE_AVG10, labels, 0.0);
            }
            world.set(semconv::MEMORY_BINDING_UTILIZATION, [], ratio);
            faults.set(second.saturating_sub(100) as f64 * 800.0);
            world.step();
        }
        told(&world)
    };
    let told = run(false, 0.92);
    // The rate over a minute passes 500 of 800 a second after 38 s or so, and then holds.
    let [(name, Severity::Warning, at, State::Firing)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(name, "MemoryThrashing");
    assert!((190..=205).contains(at), "{at}");
    assert_eq!(run(true, 0.92), []);
    assert_eq!(run(false, 0.5), []);
}

fn kills(world: &World, metric: &str, event: &str, level: &str, count: f64) {
    let labels = [(semconv::EVENT, event), (semconv::LEVEL, level)];
    world.registry.observed_counter(metric, &Labels::new(labels)).set(count);
}

/// What fires where these counters rise by so much, each a metric, event and level.
fn after(rises: &[(&str, &str, &str)], by: f64) -> Vec<(String, Severity)> {
    let mut world = presets();
    for second in 0..200 {
        for level in LEVELS {
            for metric in [semconv::MEMORY_EVENTS, semconv::MEMORY_EVENTS_LOCAL] {
                for event in ["oom", "oom_kill"] {
                    let rises = rises.contains(&(metric, event, level)) && second >= 100;
                    kills(&world, metric, event, level, if rises { by } else { 0.0 });
                }
            }
        }
        world.step();
    }
    fired(&world)
}

#[test]
fn a_kill_is_told_once_and_only_if_it_was_at_a_limit_of_ours() {
    use semconv::{MEMORY_EVENTS as ALL, MEMORY_EVENTS_LOCAL as LOCAL};
    let seen = || vec![("OomKillSeen".to_owned(), Severity::Warning)];
    let [own, slice] = LEVELS;
    // Ours, at our limit: all groups around us count it, too.
    let ours = [
        (ALL, "oom", own),
        (ALL, "oom_kill", own),
        (LOCAL, "oom", own),
        (LOCAL, "oom_kill", own),
        (ALL, "oom", slice),
        (ALL, "oom_kill", slice),
    ];
    assert_eq!(after(&ours, 1.0), seen());
    // Another service of the slice, at its own limit.
    assert_eq!(after(&[(ALL, "oom", slice), (ALL, "oom_kill", slice)], 3.0), []);
    // Another service, because the slice was full: the next may be us.
    let full = [(ALL, "oom", slice), (ALL, "oom_kill", slice), (LOCAL, "oom", slice)];
    assert_eq!(after(&full, 1.0), seen());
    // v1 tells of a group's own processes only.
    assert_eq!(after(&[(ALL, "oom_kill", slice), (LOCAL, "oom_kill", slice)], 1.0), seen());
    let three = after(&ours, 3.0);
    assert_eq!(three.len(), 2, "{three:?}");
    assert!(three.contains(&("OomKillSeen".to_owned(), Severity::Critical)));
}

#[test]
fn a_kill_before_the_start_is_told_after_the_warm_up() {
    let mut world = presets();
    for second in 0..1_000 {
        let before = world.registry.gauge(semconv::MEMORY_OOM_KILLS_BEFORE_START, &Labels::empty());
        if second < 900 {
            before.set(1.0);
        } else {
            before.clear();
        }
        kills(&world, semconv::MEMORY_EVENTS, "oom_kill", "cgroup", 7.0);
        world.step();
    }
    let told: Vec<_> = told(&world).into_iter().map(|(name, _, at, to)| (name, at, to)).collect();
    let name = || "OomKillSeen".to_owned();
    assert_eq!(told, [(name(), 60, State::Firing), (name(), 900, State::Inactive)]);
}
