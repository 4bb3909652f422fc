//! Our evaluator and lifecycle against a real Prometheus: the same samples go to both, theirs
//! through `promtool test rules`, which prints what it got where it was told to expect something
//! else.
//!
//! `promtool` is looked for where the tests of the stack look (`tests/support/stack.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "rule-files")]
mod files;
pub(super) mod generate;
mod lifecycle;
mod print;
mod values;

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::promql;

/// A small generator: the same numbers on every machine.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub(super) fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len() as u64) as usize]
    }
}

fn promtool(test: &str) -> Option<PathBuf> {
    let roots = match std::env::var_os("HIGHWATER_STACK").map(PathBuf::from) {
        Some(root) => vec![root.clone(), root.join("bin")],
        None => vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin")],
    };
    let found = roots.iter().map(|root| root.join("promtool")).find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("HIGHWATER_STACK_REQUIRED").is_none(),
            "promtool is required: run tests/stack/fetch.sh"
        );
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {test}: there is no promtool; tests/stack/fetch.sh fetches it"
        );
    }
    found
}

/// A file of a test's own; whoever writes it removes it.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("highwater-differential-{}-{name}", std::process::id()))
}

/// Whether promtool is content with a file that holds this, and what it says.
fn run(tool: &Path, arguments: &[&str], name: &str, content: &str) -> (bool, String) {
    let file = scratch(name);
    std::fs::write(&file, content).unwrap();
    let output = Command::new(tool).args(arguments).arg(&file).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said + &String::from_utf8(output.stdout).unwrap())
}

/// What a vector holds: labels as promtool prints them, and values.
type Sample = BTreeMap<String, f64>;

/// What promtool got for each expression and second; `Err` where its evaluation failed.
type Answers = BTreeMap<(String, u64), Result<Sample, String>>;

/// Runs tests that all expect something else.
fn ask(tool: &Path, name: &str, yaml: &str) -> Answers {
    let (_, said) = run(tool, &["test", "rules"], name, yaml);
    let mut found = Answers::new();
    let mut asked: Option<(String, u64)> = None;
    for line in said.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("expr: ") {
            let (text, time) = rest.rsplit_once(", time: ").unwrap_or_else(|| panic!("{line}"));
            let text = text.trim_matches('"').replace("\\\"", "\"").replace("\\\\", "\\");
            let second =
                promql::duration(time.split(&[',', ' '][..]).next().unwrap().trim_end_matches(':'))
                    .unwrap_or_else(|| panic!("{line}"))
                    .as_secs();
            match time.split_once("err: ") {
                Some((_, why)) => {
                    found.insert((text, second), Err(why.to_owned()));
                }
                None => asked = Some((text, second)),
            }
        } else if let Some(rest) = line.strip_prefix("got:")
            && let Some(asked) = asked.take()
        {
            found.insert(asked, Ok(samples(rest.trim())));
        }
    }
    assert!(!found.is_empty(), "{said}");
    found
}

/// `{labels} value, {labels} value`; no label value here holds a brace.
fn samples(said: &str) -> Sample {
    let mut samples = Sample::new();
    if said == "nil" {
        return samples;
    }
    for one in said.split('{').skip(1) {
        let (labels, value) = one.split_once('}').unwrap_or_else(|| panic!("{said}"));
        let value =
            value.trim().trim_end_matches(',').replace("+Inf", "inf").replace("-Inf", "-inf");
        samples.insert(format!("{{{labels}}}"), value.parse().unwrap_or_else(|_| panic!("{said}")));
    }
    samples
}
