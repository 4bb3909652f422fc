//! The table and the file.

use std::{fmt::Write as _, fs, io, path::Path};

/// Times in milliseconds, sizes in bytes.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Tick thread, every tick.
    pub(crate) collect: f64,
    /// Tick thread, every interval.
    pub(crate) copy: f64,
    /// Exporter's thread: messages built and encoded.
    pub(crate) build: f64,
    /// The same, compressed and queued.
    pub(crate) keep: f64,
    /// By the wall, until the answer is read.
    pub(crate) send: f64,
    /// Collect, messages built, encoded.
    pub(crate) sdk: f64,
    pub(crate) sdk_collect: f64,
    pub(crate) plain: usize,
    pub(crate) sdk_plain: usize,
    /// gzip.
    pub(crate) wire: u64,
}

impl Row {
    /// Copy, build and encode, to what the SDK takes for the same.
    fn ratio(&self) -> f64 {
        (self.copy + self.build) / self.sdk
    }

    /// The same with a tick's collect, which is the tick's own and comes every tick, pushed or not.
    fn ratio_with_collect(&self) -> f64 {
        (self.collect + self.copy + self.build) / self.sdk
    }
}

/// What is claimed of a push, and whether it held in this run.
pub(crate) fn print_claims(rows: &[Row]) {
    println!("\n{:<74} measured, at most", "claims");
    let claim = |text: &str, measured: f64, most: f64| {
        let held = if measured <= most { "holds" } else { "DOES NOT HOLD" };
        println!("  {text:<72} {measured:>7.2} of {most:>5.2}  {held}");
    };
    for row in rows.iter().filter(|row| row.name.contains("histograms")) {
        claim(&format!("{}: built and encoded, ms", row.name), row.build, 3.0);
    }
    for row in rows {
        let text = format!("{}: copy + build / the SDK's collect + encode", row.name);
        claim(&text, row.ratio(), 1.0);
        let text = format!("{}: the same with a tick's collect", row.name);
        claim(&text, row.ratio_with_collect(), 1.0);
    }
}

pub(crate) fn print(rows: &[Row]) {
    println!(
        "\n{:<34} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7} {:>10} {:>10}",
        "ms",
        "collect",
        "copy",
        "build",
        "+gzip",
        "send",
        "SDK",
        "ratio",
        "+tick",
        "bytes",
        "on wire"
    );
    for row in rows {
        println!(
            "  {:<32} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>7.2} {:>7.2} {:>10} {:>10}",
            row.name,
            row.collect,
            row.copy,
            row.build,
            row.keep,
            row.send,
            row.sdk,
            row.ratio(),
            row.ratio_with_collect(),
            row.plain,
            row.wire,
        );
    }
    println!(
        "\nratio: copy + build (ours) to collect + encode (SDK); +tick: our collect too, which is the \
         tick's own, every tick. Build and gzip are the io thread's, every interval."
    );
}

pub(crate) fn write(rows: &[Row], rounds: usize) -> io::Result<String> {
    let mut json = format!("{{\n  \"rounds\": {rounds},\n  \"cases\": [\n");
    for (at, row) in rows.iter().enumerate() {
        let _ = writeln!(
            json,
            "    {{\"case\": \"{}\", \"collect_ms\": {:.3}, \"copy_ms\": {:.3}, \"build_and_encode_ms\": {:.3}, \
             \"with_gzip_ms\": {:.3}, \"send_wall_ms\": {:.3}, \"sdk_collect_and_encode_ms\": {:.3}, \
             \"sdk_collect_ms\": {:.3}, \"ratio_to_sdk\": {:.3}, \"ratio_with_collect\": {:.3}, \"bytes\": {}, \"sdk_bytes\": {}, \
             \"bytes_on_the_wire\": {}}}{}",
            row.name,
            row.collect,
            row.copy,
            row.build,
            row.keep,
            row.send,
            row.sdk,
            row.sdk_collect,
            row.ratio(),
            row.ratio_with_collect(),
            row.plain,
            row.sdk_plain,
            row.wire,
            if at + 1 == rows.len() { "" } else { "," },
        );
    }
    json.push_str("  ]\n}\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/highwater");
    fs::create_dir_all(&path)?;
    fs::write(path.join("export.json"), json)?;
    Ok("target/highwater/export.json".to_owned())
}
