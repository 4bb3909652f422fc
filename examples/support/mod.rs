//! What the examples need and a service would not: a logger that prints, and an OTLP receiver in
//! fewer than 200 lines that prints what arrived.

// Each example uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod receiver;

use std::{io::Write, time::Instant};

pub use receiver::Receiver;

struct Printer(Instant);

/// Prints highwater's log lines with the seconds since now.
pub fn print_logs() {
    let printer = Box::leak(Box::new(Printer(Instant::now())));
    if log::set_logger(printer).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

impl log::Log for Printer {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("highwater")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let seconds = self.0.elapsed().as_secs_f64();
            println!("{seconds:6.2} s  {:5} {}", record.level(), record.args());
        }
    }

    fn flush(&self) {
        _ = std::io::stdout().flush();
    }
}
