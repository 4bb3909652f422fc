//! The house has floors, and a floor imports only from itself and those below it: the data's way
//! up can be read from the file tree. This test reads every `crate::` and `super::` path in `src`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Top-level modules by floor; what `lib.rs` lists, in its order.
const FLOORS: &[&[&str]] = &[
    &["sync", "clock", "name", "semconv", "sql", "event", "transport"],
    &["instrument"],
    &["registry", "front"],
    &["sample"],
    &["window", "history"],
    &["rule"],
    &["alert", "compare", "export"],
    &["engine"],
    &[
        "env",
        "error",
        "builder",
        "generate",
        "report",
        "handle",
        "site",
        "testing",
        "integrate",
        "design",
        "guide",
    ],
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            into.push(path);
        }
    }
}

/// The identifiers that follow `prefix` in code, groups (`crate::{a::b, c}`) opened up.
fn heads(code: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => found.push(ident(rest)),
            Some(group) => {
                let (mut depth, mut start) = (0, true);
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            found.push(ident(&group[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn ident(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_floor_imports_from_above() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in &files {
        let relative = file.strip_prefix(&src).unwrap();
        let top = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if top == "lib" {
            continue;
        }
        let Some(own) = floor(top) else {
            panic!("{top} has no floor: add it to FLOORS and to lib.rs, where it belongs");
        };
        let code = without_comments(&fs::read_to_string(file).unwrap());
        for used in heads(&code, "crate::") {
            let Some(other) = floor(&used) else {
                // Macros and re-exports at the root are the users' names, not ours.
                wrong.push(format!("{}: crate::{used} is no module", relative.display()));
                continue;
            };
            seen += 1;
            if other > own {
                wrong.push(format!(
                    "{}: {top} (floor {own}) uses {used} (floor {other})",
                    relative.display()
                ));
            }
        }
        // `super` may climb within a room, not out of it.
        let file_is_room = relative.iter().count() == 1 || relative.ends_with("mod.rs");
        let depth =
            relative.iter().count() - usize::from(file_is_room && relative.iter().count() > 1);
        let mut climb = "super::".repeat(depth);
        // One more for an inline `mod tests`.
        climb.push_str("super::");
        if code.contains(&climb) {
            wrong.push(format!(
                "{}: `{climb}` leaves its room: write `crate::`",
                relative.display()
            ));
        }
    }
    assert!(seen > 50, "the scan found only {seen} imports: it no longer reads what it should");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_scan_sees_what_it_must() {
    assert_eq!(
        heads("use crate::rule::X; crate::{a::{b, c}, d, e as f};", "crate::"),
        ["rule", "a", "d", "e"]
    );
    assert!(heads("mycrate::x $crate::y", "crate::").is_empty());
}
