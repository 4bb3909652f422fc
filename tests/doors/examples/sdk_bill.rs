//! What saying a million records again to an SDK costs: `cargo run --release -p highwater-doors
//! --example sdk_bill`.

use std::time::{Duration, Instant};

use highwater::{Highwater, export};
use opentelemetry_sdk::{
    logs::SdkLoggerProvider,
    metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider},
};

/// CPU time of this process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(12) + ticks(13)) / 100.0
}

fn run(with_sdk: bool, records: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let reader = PeriodicReader::builder(InMemoryMetricExporter::default())
        .with_interval(Duration::from_secs(3_600))
        .build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let loggers = SdkLoggerProvider::builder().build();
    let builder = Highwater::builder("bill").tick(Duration::from_millis(200));
    let builder = if with_sdk { builder.export(export::sdk(&meters, &loggers)) } else { builder };
    let hw = builder.start()?;
    let query = hw.query("orders").build();
    let begun = cpu();
    for n in 0..records {
        query.record(Duration::from_nanos(1_000 + n % 1_000_000));
    }
    hw.shutdown(Duration::from_secs(60))?;
    Ok(cpu() - begun)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let records = 10_000_000;
    let begun = Instant::now();
    let (without, with) = (run(false, records)?, run(true, records)?);
    let million = (with - without) / (records as f64 / 1e6);
    println!("CPU for {records} records: {without:.2} s without, {with:.2} s with the SDK");
    println!("{million:.3} s a million ({:.1} s in all)", begun.elapsed().as_secs_f64());
    Ok(())
}
