//! What is claimed of rules, and whether it held in this run.

use crate::{
    case::{QUANTILES, SCATTERED, THRESHOLDS},
    report::Row,
};

fn claim(text: &str, measured: f64, most: f64) {
    let held = if measured <= most { "holds" } else { "DOES NOT HOLD" };
    println!("  {text:<64} {measured:>9.2} of {most:>8.2}  {held}");
}

pub(crate) fn print(rows: &[Row]) {
    println!("\n{:<66} measured, at most", "claims");
    for row in rows {
        let name = row.name;
        if name == THRESHOLDS {
            claim(&format!("{name}, µs a tick"), row.median, 100.0);
        }
        if [QUANTILES, SCATTERED].contains(&name) {
            claim(&format!("{name}, ms a tick"), row.median / 1e3, 2.0);
            let mebibytes = row.bytes as f64 / f64::from(1 << 20);
            claim(&format!("{name}, MiB of windows"), mebibytes, 32.0);
        }
    }
    let silent = rows.iter().map(|row| row.size - row.judged).sum::<usize>();
    claim("rules without a value in the end", silent as f64, 0.0);
}
