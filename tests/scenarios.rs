//! Every trace in `tests/scenarios`, played on a clock that is told the time, through the real
//! samplers, trend and preset rules. Anyone can add one: see the README there.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{env, fs, path::PathBuf};

#[path = "support/scenario.rs"]
mod scenario;

use scenario::{Before, Scenario};

/// The project's own, and those in `HIGHWATER_SCENARIOS`.
fn files() -> Vec<PathBuf> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let folders = std::iter::once(own).chain(env::var_os("HIGHWATER_SCENARIOS").map(PathBuf::from));
    let mut files: Vec<_> = folders
        .flat_map(|folder| fs::read_dir(&folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "csv"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_scenario_raises_what_it_must_and_nothing_else() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    println!(
        "{:<30} {:>8} {:<34} {:>8} {:>8} {:>12}",
        "", "wall", "alert", "from", "until", "before wall"
    );
    for path in files() {
        let scenario = Scenario::load(&path).unwrap_or_else(|why| panic!("{why}"));
        let played = scenario.play();
        count += 1;
        let wall = played.wall.map_or("-".to_owned(), |wall| format!("{wall} s"));
        println!(
            "{:<30} {wall:>8} {}",
            scenario.name,
            if played.fired.is_empty() { "silent" } else { "" }
        );
        for fired in &played.fired {
            let until = fired.until.map_or("-".to_owned(), |until| format!("{until} s"));
            let lead =
                played.wall.map_or("-".to_owned(), |wall| format!("{} s", wall - fired.from));
            let from = format!("{} s", fired.from);
            println!("{:<30} {:>8} {:<34} {from:>8} {until:>8} {lead:>12}", "", "", fired.alert);
        }
        wrong.extend(
            scenario.judge(&played).into_iter().map(|why| format!("{}: {why}", scenario.name)),
        );
    }
    assert!(count >= 20, "only {count} scenarios were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_scenario_that_says_nonsense_is_refused_with_its_line() {
    for (text, why) in [
        ("time,anonymous\n0,1\n1,2\n", "no `# expect:` line"),
        ("# expect: silence\ntime,annoyance\n", "no column \"annoyance\""),
        ("# expect: silence\nanonymous\n", "the first column must be `time`"),
        ("# expect: silence\ntime,anonymous\n0,1\n", "fewer than two rows"),
        ("# expect: silence\ntime,anonymous\n5,1\n4,1\n", "line 4: \"4,1\": time steps back"),
        ("# expect: silence\ntime,anonymous\n5,1MB\n", "\"MB\" is none of s"),
        ("# expect: silence\ntime,anonymous\n5\n", "2 fields are wanted"),
        ("# expect: A soon\n", "`NAME by 60s`"),
    ] {
        let refusal = Scenario::parse("x", text).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn a_scenario_that_is_not_met_is_told() {
    let text = "# limit: 100MiB\n# expect: MemoryCritical 60s before wall\ntime,anonymous\n0,10%\n100,100%\n";
    let mut scenario = Scenario::parse("leak", text).unwrap();
    let wrong = scenario.judge(&scenario.play()).join("\n");
    assert!(wrong.contains("MemoryCritical fired"), "{wrong}");
    assert!(wrong.contains("MemoryExhaustionImminent/critical fired at"), "{wrong}");
    scenario.expected[0].before = Some(Before::TheEnd);
    assert!(!scenario.judge(&scenario.play()).join("\n").contains("MemoryCritical"));
}
