//! The table and the file.

use std::{fmt::Write as _, fs, io, path::Path};

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) size: usize,
    /// Microseconds a tick.
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) bare: f64,
    pub(crate) bytes: usize,
    /// How many alerts had a value in the end: a rule that judges nothing is fast.
    pub(crate) judged: usize,
    /// Microseconds a real Prometheus takes for one evaluation of the same rules.
    pub(crate) prometheus: Option<f64>,
}

pub(crate) fn print(rows: &[Row]) {
    println!(
        "\n{:<44} {:>9} {:>9} {:>9} {:>7} {:>10} {:>12}",
        "µs a tick", "median", "p99", "bare", "ratio", "MiB held", "Prometheus"
    );
    for row in rows {
        let server = row.prometheus.map_or("-".to_owned(), |micros| format!("{micros:.0}"));
        println!(
            "  {:<42} {:>9.1} {:>9.1} {:>9.2} {:>7.1} {:>10.2} {server:>12}",
            row.name,
            row.median,
            row.p99,
            row.bare,
            row.median / row.bare,
            row.bytes as f64 / f64::from(1 << 20),
        );
        if row.judged != row.size {
            println!("  ! only {} of {} had a value", row.judged, row.size);
        }
    }
}

pub(crate) fn write(rows: &[Row], rounds: usize) -> io::Result<()> {
    let mut json = format!("{{\n  \"rounds\": {rounds},\n  \"cases\": [\n");
    for (at, row) in rows.iter().enumerate() {
        let server = row.prometheus.map_or("null".to_owned(), |micros| format!("{micros:.0}"));
        let _ = writeln!(
            json,
            "    {{\"case\": \"{}\", \"us_per_tick\": {:.2}, \"p99_us\": {:.2}, \"bare_loop_us\": {:.3}, \
             \"ratio_to_bare\": {:.2}, \"bytes_held\": {}, \"prometheus_us\": {server}}}{}",
            row.name,
            row.median,
            row.p99,
            row.bare,
            row.median / row.bare,
            row.bytes,
            if at + 1 < rows.len() { "," } else { "" },
        );
    }
    json.push_str("  ]\n}\n");
    // From the workspace's root, wherever the bench was called from.
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/highwater");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("rules.json"), json)
}
