//! jemalloc's own figures beside ours, and heap profiles that are really written.
#![cfg(test)]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use highwater::{
    Allocator, Gauge, Highwater, Unit, rule,
    sample::{self, Failure, Meter, Sampler, harness::Sampling},
};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Allocator<Jemalloc> = Allocator::new(Jemalloc);

/// Read by jemalloc before `main`.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static CONFIGURATION: &[u8] = b"prof:true,lg_prof_sample:14\0";

const MIB: u64 = 1 << 20;

/// Says how full memory is, in the memory sampler's place.
struct Told(Arc<AtomicU64>, Option<Gauge>);

impl Sampler for Told {
    fn name(&self) -> &str {
        "memory"
    }
    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        self.1 = Some(meter.gauge("highwater.memory.binding.utilization", Unit::ONE, "", []));
        Ok(())
    }
    fn sample(&mut self) -> Result<(), Failure> {
        self.1.as_ref().unwrap().set(self.0.load(Ordering::Relaxed) as f64 / 100.0);
        Ok(())
    }
}

struct Story {
    percent: Arc<AtomicU64>,
    sampling: Sampling,
    directory: PathBuf,
}

impl Story {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("highwater-jemalloc-{}-{name}", std::process::id()));
        let percent = Arc::<AtomicU64>::default();
        let jemalloc = sample::jemalloc().profile_to(&directory).cool_down(Duration::ZERO);
        let told = Told(percent.clone(), None);
        let sampling = Sampling::new(vec![Box::new(told), Box::new(jemalloc)]);
        Self { percent, sampling, directory }
    }

    /// Memory is so full at the next tick. The names of the profiles there are once none is being
    /// written.
    fn at(&mut self, percent: u64, expected: usize) -> Vec<String> {
        self.percent.store(percent, Ordering::Relaxed);
        self.sampling.tick();
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let found = files(&self.directory);
            let partial = found.iter().any(|name| name.ends_with("partial"));
            let whole = found.iter().filter(|name| name.ends_with("json")).count();
            if !partial && whole >= expected || Instant::now() > end {
                // One too many would come now.
                sleep(Duration::from_millis(200));
                return files(&self.directory);
            }
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_allocated_shows_and_what_is_freed_does_not() {
    let mut sampling = Sampling::new(vec![Box::new(sample::jemalloc())]);
    let mut see = |series: &str| {
        sampling.tick();
        sampling.value(&format!("highwater.allocator.{series}{{}}")).unwrap() as u64
    };
    let before = see("allocated");
    let held = black_box(vec![1u8; 100 * MIB as usize]);
    let (allocated, active, resident) = (see("allocated"), see("active"), see("resident"));
    assert!((99 * MIB..140 * MIB).contains(&(allocated - before)), "{before} {allocated}");
    assert!(active >= allocated && resident >= active, "{allocated} {active} {resident}");
    drop(held);
    let after = see("allocated");
    assert!(after < before + 40 * MIB, "{before} {after}");
    see("retained");
    assert!(sampling.all_active());
}

#[test]
fn profiles_are_written_at_their_stages_and_say_who_held_what() {
    let mut story = Story::new("stages");
    // Stated by nobody: the allocator knows whose it is.
    let store = story.sampling.component("config-store");
    let scope = store.enter();
    let held = black_box(vec![1u8; 50 * MIB as usize]);
    drop(scope);
    assert_eq!(story.at(50, 0), [""; 0]);
    assert_eq!(story.at(72, 1), ["heap-0.heap", "heap-0.json"]);
    let profile = fs::read_to_string(story.directory.join("heap-0.heap")).unwrap();
    assert!(profile.starts_with("heap_v2/"), "{}", &profile[..profile.len().min(100)]);
    assert!(profile.contains("MAPPED_LIBRARIES"));
    let text = fs::read_to_string(story.directory.join("heap-0.json")).unwrap();
    let about: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(about["stage"], 0.7);
    assert_eq!(about["utilization"], 0.72);
    assert_eq!(about["file"], "heap-0.heap");
    assert!(about["allocated"].as_u64().unwrap() > 50 * MIB, "{text}");
    let components = about["components"].as_array().unwrap();
    let store = components.iter().find(|of| of["name"] == "config-store").unwrap();
    let usage = store["usage"].as_u64().unwrap();
    assert!((50 * MIB..51 * MIB).contains(&usage), "{text}");
    // The same stage again, and one above the last: none.
    assert_eq!(story.at(75, 1).len(), 2);
    assert_eq!(story.at(95, 1).len(), 2);
    assert_eq!(story.at(86, 2).len(), 4);
    // Low once, and all stages count again; four are kept.
    for round in 3..=6 {
        assert_eq!(story.at(60, 2).len(), 2 * (round - 1).min(4));
        assert_eq!(story.at(71, round.min(4)).len(), 2 * round.min(4));
    }
    let path = story.directory.join("heap-1.heap");
    let time = format!("highwater.allocator.profile.time{{file.path={path:?}}}");
    assert!(story.sampling.value(&time).unwrap() > 1.7e9);
    drop(held);
}

#[test]
fn a_directory_that_cannot_be_made_is_counted_and_harms_nothing() {
    let percent = Arc::new(AtomicU64::new(50));
    let jemalloc = sample::jemalloc().profile_to("/proc/no/such").cool_down(Duration::ZERO);
    let hw = Highwater::builder("jemalloc")
        .tick(Duration::from_millis(100))
        .without_presets()
        .sample(Told(percent.clone(), None))
        .sample(jemalloc)
        .rule(
            rule::alert("Missed").when(
                rule::counter("highwater.allocator.profiles")
                    .label("error.type", "io")
                    .increase(Duration::from_secs(60))
                    .above(0.0),
            ),
        )
        .rule(rule::alert("Reads").when(rule::gauge("highwater.allocator.allocated").above(1e5)))
        .start()
        .unwrap();
    // A counter's first reading is a baseline.
    sleep(Duration::from_millis(500));
    percent.store(75, Ordering::Relaxed);
    let end = Instant::now() + Duration::from_secs(20);
    for alert in ["Missed", "Reads"] {
        let watch = hw.alert(alert).unwrap();
        while !watch.is_firing() {
            assert!(Instant::now() < end, "{alert} does not fire");
            sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn attribution_over_jemalloc_is_exact() {
    let hw = Highwater::builder("jemalloc").without_presets().start().unwrap();
    let component = hw.component("over-jemalloc");
    let scope = component.enter();
    let mut kept: Vec<Vec<u8>> = Vec::with_capacity(1_000);
    for size in 1..=1_000 {
        kept.push(vec![1; size]);
        kept.last_mut().unwrap().reserve_exact(size % 7 * 100);
    }
    drop(scope);
    let bytes: usize = kept.iter().map(Vec::capacity).sum();
    assert_eq!(component.heap_usage(), (bytes + kept.capacity() * size_of::<Vec<u8>>()) as u64);
    drop(kept);
    assert_eq!(component.heap_usage(), 0);
}
