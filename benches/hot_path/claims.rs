//! What is claimed of the hot path, and whether it held in this run.

use crate::report::Row;

struct Rows<'a>(&'a [Row]);

impl<'a> Rows<'a> {
    fn get(&self, group: &str, name: &str) -> &'a Row {
        let found = self.0.iter().find(|row| row.group == group && row.name == name);
        found.unwrap_or_else(|| panic!("no case {group}: {name}"))
    }

    /// Other people's, which keep quantiles.
    fn peers(&self, group: &'a str) -> impl Iterator<Item = &'a Row> {
        let ours = |row: &Row| {
            ["highwater", "rdtsc", "Instant", "the work"].map(|own| row.name.contains(own))
        };
        self.0.iter().filter(move |row| {
            row.group == group && !ours(row).contains(&true) && !row.name.contains("no quantiles")
        })
    }
}

fn claim(text: &str, measured: f64, most: f64) {
    let held = if measured <= most { "holds" } else { "DOES NOT HOLD" };
    println!("  {text:<78} {measured:>7.2} of {most:>5.2}  {held}");
}

pub(crate) fn print(rows: &[Row]) {
    let rows = Rows(rows);
    let timed = rows.get("timed", "highwater query");
    let one = |row: &Row| row.nanos[0];
    println!("\n{:<80} measured, at most", "claims");

    claim("a timed query / 2 x rdtsc", one(timed) / one(rows.get("timed", "2 x rdtsc")), 1.9);
    let fastest = rows.peers("timed").map(one).fold(f64::INFINITY, f64::min);
    claim("a timed query / the fastest peer", one(timed) / fastest, 0.65);

    let reads = one(rows.get("in situ", "2 x rdtsc"));
    let added = one(rows.get("in situ", "highwater query")) - reads;
    claim("in situ, ns over the clock reads", added, 18.0);
    let alone = one(rows.get("in situ", "the work alone"));
    let best = rows.peers("in situ").map(|row| one(row) - alone).fold(f64::INFINITY, f64::min);
    let all = one(rows.get("in situ", "highwater query")) - alone;
    claim("in situ, what we add / what the best peer adds", all / best, 0.5);

    claim("a timed query, 8 threads / 1", timed.nanos[2] / one(timed), 1.15);
    for (group, ours) in [("timed", "highwater query"), ("record", "highwater histogram")] {
        let ours = rows.get(group, ours);
        let of_two = |row: &Row| row.nanos[1];
        for peer in rows.peers(group).filter(|peer| {
            ["prometheus-client", "OTel", "exporter"].iter().any(|name| peer.name.contains(name))
        }) {
            let text = format!("{group}, 2 threads, processor time: ours / {}", peer.name);
            claim(&text, of_two(ours) / of_two(peer), 0.25);
            let text = format!("{group}, 2 threads, time passed: ours / {}", peer.name);
            claim(&text, ours.elapsed / peer.elapsed, 0.25);
        }
    }

    let ours = rows.get("record", "metrics macro, constant: highwater");
    let theirs = rows.get("record", "metrics macro, constant: exporter-prometheus");
    claim("metrics::histogram!, constant / exporter-prometheus", one(ours) / one(theirs), 0.4);
    claim("metrics::histogram!, 2 threads / 1", ours.nanos[1] / one(ours), 1.15);
    claim("1 in 16, ns", one(rows.get("timed", "highwater query, 1 in 16")), 6.0);
    for text in ["48 bytes", "1,000 bytes"] {
        let found = one(rows.get("by text", &format!("highwater queries.of, {text}")));
        claim(&format!("a query's timer found by its text of {text}, ns"), found, 100.0);
    }
    let pick = one(rows.get("1,000 series", "the pick alone"));
    let record = one(rows.get("1,000 series", "highwater histogram")) - pick;
    claim("record over 1,000 series, ns over the pick", record, 21.0);
}
