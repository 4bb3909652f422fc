//! What our names become on a Prometheus server, so that rules written there find their series
//! here: `process.memory.usage` in bytes is `process_memory_usage_bytes`.
//!
//! Follows OpenTelemetry's
//! [compatibility specification](https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/)
//! and Prometheus' `otlptranslator` (underscore escaping with suffixes).

use std::borrow::Cow;

use crate::{
    name::{Labels, Unit},
    registry::Kind,
};

/// Letters, digits and underscores only; no digit first.
pub(crate) fn label(key: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let digit_first = key.starts_with(|c: char| c.is_ascii_digit());
    if key.chars().all(plain) && !digit_first {
        return Cow::Borrowed(key);
    }
    let escaped = key.chars().map(|c| if plain(c) { c } else { '_' });
    Cow::Owned(if digit_first {
        "key_".chars().chain(escaped).collect()
    } else {
        escaped.collect()
    })
}

/// All keys as the server has them.
pub(crate) fn labels(labels: &Labels) -> Labels {
    Labels::new(labels.iter().map(|(key, value)| (label(key), value)))
}

/// A metric's name without suffixes: runs of other characters become one underscore.
pub(crate) fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || c == ':' {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// The unit as a word, as `seconds` for `s`.
pub(crate) fn unit_word(unit: &str) -> Option<&str> {
    Some(match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        "" | "1" => return None,
        annotation if annotation.starts_with('{') => return None,
        other => other,
    })
}

fn per_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "min" => "minute",
        "h" => "hour",
        "d" => "day",
        other => other,
    }
}

/// A metric's name on the server.
pub(crate) fn metric(name: &str, unit: &Unit, kind: Kind) -> String {
    let mut out = escape(name);
    let (main, per) = match unit.as_str().split_once('/') {
        Some((main, per)) => {
            (unit_word(main), Some(per_word(per)).filter(|per| !per.starts_with('{')))
        }
        None => (unit_word(unit.as_str()), None),
    };
    let total = kind.is_monotonic();
    // Suffixes go last, so what stands there already is taken off first.
    if total && let Some(stem) = out.strip_suffix("_total") {
        out.truncate(stem.len());
    }
    let has = |out: &str, word: &str| out.split('_').any(|part| part == word);
    if let Some(word) = main
        && !has(&out, word)
    {
        out = format!("{out}_{word}");
    }
    if let Some(word) = per
        && !has(&out, word)
    {
        out = format!("{out}_per_{word}");
    }
    if total {
        out.push_str("_total");
    }
    if unit.as_str() == "1" && kind == Kind::Gauge && !out.ends_with("_ratio") {
        out.push_str("_ratio");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instrument::Measure;

    #[test]
    fn names_as_the_server_has_them() {
        let of = |name, unit, kind| metric(name, &Unit::known(unit), kind);
        assert_eq!(
            of("process.memory.usage", "By", Kind::ObservedUpDown),
            "process_memory_usage_bytes"
        );
        assert_eq!(
            of("process.cpu.time", "s", Kind::ObservedCounter),
            "process_cpu_time_seconds_total"
        );
        assert_eq!(
            of("db.client.connection.count", "{connection}", Kind::UpDownCounter),
            "db_client_connection_count"
        );
        assert_eq!(
            of("db.client.operation.duration", "s", Kind::Histogram(Measure::Time)),
            "db_client_operation_duration_seconds"
        );
        assert_eq!(
            of("system.memory.utilization", "1", Kind::Gauge),
            "system_memory_utilization_ratio"
        );
        assert_eq!(of("shop.orders_total", "", Kind::Counter), "shop_orders_total");
        assert_eq!(of("disk.io", "By/s", Kind::Gauge), "disk_io_bytes_per_second");
        assert_eq!(of("2xx--rate", "", Kind::Gauge), "_2xx_rate");
        assert_eq!(label("db.query.summary"), "db_query_summary");
        assert_eq!(label("2a"), "key_2a");
    }
}
