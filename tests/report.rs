//! The page in a real browser: headless Chromium at desktop and phone size, light and dark. No
//! error, no request, charts drawn, and on the first screen what fires, who eats, how long, and
//! what to do. Hostile names do nothing.
//!
//! Needs `node`, `chromium`, and `playwright-core` from npm in the directory that `PLAYWRIGHT`
//! names, or in `.tools/playwright`; without them this says aloud that it is skipped. Pictures are
//! left in `target/report`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/stack.rs"]
mod stack;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use highwater::{Highwater, alert::Severity, report, rule, sample};

/// Twelve seconds of a service whose component of this name grows towards a budget, and the page
/// that was written when its alert fired.
fn page(name: &str, directory: &Path) -> PathBuf {
    let memory = || rule::gauge("highwater.component.memory.usage");
    let hw = Highwater::builder(name)
        .tick(Duration::from_millis(100))
        .sample(sample::memory().budget(512 << 20))
        .rule(
            rule::alert("MemoryNearLimit")
                .group("highwater")
                .when(memory().above(rule::bytes(170 << 20)))
                .severity(Severity::Warning)
                .summary("{{ labels.highwater.component.name }} holds {{ value }}"),
        )
        .report(report::to(directory))
        .start()
        .unwrap();
    let store = hw.component(name);
    hw.component("page-cache").add(40 << 20);
    let query = hw.query(name).system("sqlite").build();
    let (start, mut held) = (Instant::now(), Vec::new());
    let pages = || std::fs::read_dir(directory).ok()?.next()?.ok().map(|entry| entry.path());
    loop {
        // Steady enough to be a trend: 15 MiB a second.
        if held.len() < 15 * start.elapsed().as_millis() as usize / 1_000 {
            held.push(vec![1_u8; 1 << 20]);
            store.add(1 << 20);
        }
        query.time(|| std::thread::sleep(Duration::from_millis(held.len() as u64 % 7)));
        if let Some(page) = pages().filter(|page| page.extension().is_some_and(|e| e == "html")) {
            return page;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no page");
    }
}

/// What the page says, if it is looked at; each of `expected` is an element's id and a pattern of
/// what is in it.
fn look(test: &str, page: &Path, pictures: &str, expected: &[&str]) -> Option<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let playwright = std::env::var_os("PLAYWRIGHT")
        .map_or_else(|| here.join(".tools/playwright"), PathBuf::from);
    let chromium = std::env::var_os("CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".into());
    let there = playwright.join("node_modules/playwright-core").is_dir();
    if !there || !Path::new(&chromium).is_file() {
        let required = std::env::var_os("HIGHWATER_STACK_REQUIRED").is_some();
        assert!(!required, "{test} needs chromium, nodejs, and playwright-core: see .ci/run");
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {test}: needs Debian's chromium and nodejs, and npm's playwright-core in {}",
            playwright.display()
        );
        return None;
    }
    let run = Command::new("node")
        .arg(here.join("tests/report/look.mjs"))
        .arg(page)
        .arg(here.join("target/report").join(pictures))
        .args(expected)
        .env("PLAYWRIGHT", &playwright)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    Some(said)
}

#[test]
fn the_first_screen_of_a_phone_holds_what_counts() {
    let directory = stack::Directory::new("page");
    let page = page("config-store", &directory.0);
    let expected = [
        "rule=^MemoryNearLimit$",
        "summary=^config-store holds [0-9.]+MiB$",
        "cause=config-store grew by",
        r"eater=config-store\s+[0-9.]+MiB",
        r"left=memory limit reached in\s+[0-9][0-9.]*(m [0-9]+)?s$",
        "first=^Do this first: Read in the evidence which component grew",
    ];
    let Some(said) = look("the_first_screen_of_a_phone", &page, "page", &expected) else { return };
    // In use and its limit twice over, two components, this process, in flight.
    assert!(said.contains("\"checked\""), "{said}");
}

#[test]
fn hostile_names_do_nothing() {
    let directory = stack::Directory::new("hostile");
    let name = format!(
        "</style></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'\u{202e}{}",
        "\u{5d0}".repeat(10_000)
    );
    let page = page(&name, &directory.0);
    look("hostile_names_do_nothing", &page, "hostile", &[]);
}
