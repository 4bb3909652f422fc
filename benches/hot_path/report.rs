//! The table and the file.

use std::{fmt::Write as _, fs, io, path::Path};

use crate::{THREADS, tail::Tail};

pub(crate) struct Row {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    /// By [`THREADS`].
    pub(crate) nanos: Vec<f64>,
    /// With two threads, for the caller.
    pub(crate) elapsed: f64,
}

/// What the first column's ratio is to, within a group.
fn baseline<'a>(rows: &'a [Row], group: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.group == group)
}

fn rdtsc(rows: &[Row]) -> Option<&Row> {
    rows.iter().find(|row| row.group == "timed" && row.name == "2 x rdtsc")
}

pub(crate) fn print(rows: &[Row], tail: &[Tail]) {
    let mut groups: Vec<_> = rows.iter().map(|row| row.group).collect();
    groups.dedup();
    let mut seen = Vec::new();
    for group in groups {
        if seen.contains(&group) {
            continue;
        }
        seen.push(group);
        println!(
            "\n{group:<48} {:>8} {:>8} {:>8} {:>10}  ns of processor time",
            "1 thread", "2", "8", "2, passed"
        );
        let base = baseline(rows, group);
        for row in rows.iter().filter(|row| row.group == group) {
            print!("  {:<46}", row.name);
            row.nanos.iter().for_each(|nanos| print!(" {nanos:>8.1}"));
            print!(" {:>10.1}", row.elapsed);
            if let Some(base) = base {
                print!("  {:>5.2} x {}", row.nanos[0] / base.nanos[0], base.name);
            }
            println!();
        }
    }
    println!("\n{:<48} {:>8} {:>8} {:>8}", "tail, one thread", "median", "p99.9", "folds");
    for tail in tail {
        println!("  {:<46} {:>8.1} {:>8.1} {:>8}", tail.name, tail.median, tail.p999, tail.folds);
    }
}

pub(crate) fn write(rows: &[Row], tail: &[Tail], rounds: usize) -> io::Result<()> {
    let text = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut json = format!("{{\n  \"rounds\": {rounds},\n");
    let _ = writeln!(json, "  \"processor\": {},", text(&processor()));
    let _ = writeln!(json, "  \"clocksource\": {},", text(&clocksource()));
    json.push_str("  \"cases\": [\n");
    let base = rdtsc(rows).map_or(f64::NAN, |row| row.nanos[0]);
    let cases: Vec<_> = rows
        .iter()
        .map(|row| {
            let nanos = THREADS.iter().zip(&row.nanos);
            let nanos: Vec<_> =
                nanos.map(|(threads, ns)| format!("\"{threads}\": {ns:.2}")).collect();
            format!(
                "    {{\"group\": {}, \"case\": {}, \"ns\": {{{}}}, \"elapsed_ns_2\": {:.2}, \"ratio_to_2_rdtsc\": {:.3}}}",
                text(row.group),
                text(row.name),
                nanos.join(", "),
                row.elapsed,
                row.nanos[0] / base
            )
        })
        .collect();
    json.push_str(&cases.join(",\n"));
    json.push_str("\n  ],\n  \"tail\": [\n");
    let tails: Vec<_> = tail
        .iter()
        .map(|tail| {
            format!(
                "    {{\"case\": {}, \"median_ns\": {:.1}, \"p999_ns\": {:.1}, \"folds\": {}}}",
                text(tail.name),
                tail.median,
                tail.p999,
                tail.folds
            )
        })
        .collect();
    json.push_str(&tails.join(",\n"));
    json.push_str("\n  ]\n}\n");
    // From the workspace's root, wherever the bench was called from.
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/highwater");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("hot_path.json"), json)
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} ({cores} cores)", model.map_or("unknown", |(_, name)| name.trim()))
}

fn clocksource() -> String {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
