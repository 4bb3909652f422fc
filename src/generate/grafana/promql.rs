//! The expressions of panels, for each kind of server.

use super::Flavor;
use crate::{generate::series::server_name, rule::naming, semconv as s};

/// How a server spells things.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    pub(super) flavor: Flavor,
    /// Whether only the chosen instances are meant, or all of the job.
    pub(super) fleet: bool,
}

impl Dialect {
    /// The labels that tell services and instances apart.
    pub(super) fn job(self) -> &'static str {
        self.flavor.job()
    }

    pub(super) fn instance(self) -> &'static str {
        self.flavor.instance()
    }

    fn braces(self, more: &str) -> String {
        let job = format!(r#"{}=~"$job""#, self.job());
        let instance = match self.fleet {
            true => String::new(),
            false => format!(r#",{}=~"$instance""#, self.instance()),
        };
        let comma = if more.is_empty() { "" } else { "," };
        format!("{{{job}{instance}{comma}{more}}}")
    }

    /// A series by our name, with further matchers.
    pub(super) fn of_with(self, name: &str, more: &str) -> String {
        format!("{}{}", server_name(name), self.braces(more))
    }

    pub(super) fn of(self, name: &str) -> String {
        self.of_with(name, "")
    }

    /// The last value of a gauge, not older than what a rate looks at: where nobody tells a server
    /// that a series has ended, it would go on showing the last for five minutes.
    pub(super) fn latest(self, name: &str) -> String {
        format!("last_over_time({}[$__rate_interval])", self.of(name))
    }

    /// When a memory limit is reached: by the trend, or, before there is one and with half of it
    /// gone, at the growth of the moment.
    pub(super) fn time_to_limit(self) -> String {
        format!(
            "min({}) or min({} and on ({}, {}) {} > 0.5)",
            self.latest(s::MEMORY_TIME_TO_LIMIT),
            self.latest(s::MEMORY_RUNWAY),
            self.job(),
            self.instance(),
            self.latest(s::MEMORY_BINDING_UTILIZATION),
        )
    }

    /// How fast a counter grows, a second.
    pub(super) fn rate(self, name: &str) -> String {
        self.rate_with(name, "")
    }

    pub(super) fn rate_with(self, name: &str, more: &str) -> String {
        format!("rate({}[$__rate_interval])", self.of_with(name, more))
    }

    /// A quantile of a histogram, by labels of ours.
    pub(super) fn quantile(self, q: f64, name: &str, by: &[&str], more: &str) -> String {
        let (suffix, bucket) = self.buckets();
        let mut by: Vec<_> = by.iter().map(|key| naming::label(key).into_owned()).collect();
        by.extend(bucket.map(str::to_owned));
        let grouping =
            if by.is_empty() { String::new() } else { format!(" by ({})", by.join(", ")) };
        let selector = format!("{}{suffix}{}", server_name(name), self.braces(more));
        format!("histogram_quantile({q}, sum{grouping} (rate({selector}[$__rate_interval])))")
    }

    /// How often a histogram was recorded to, a second, by labels of ours.
    pub(super) fn calls(self, name: &str, by: &[&str], more: &str) -> String {
        let by: Vec<_> = by.iter().map(|key| naming::label(key)).collect();
        let grouping =
            if by.is_empty() { String::new() } else { format!(" by ({})", by.join(", ")) };
        let name = server_name(name);
        let braces = self.braces(more);
        match self.flavor {
            Flavor::PrometheusNative => {
                format!("sum{grouping} (histogram_count(rate({name}{braces}[$__rate_interval])))")
            }
            _ => format!("sum{grouping} (rate({name}_count{braces}[$__rate_interval]))"),
        }
    }

    /// The mean of what a histogram recorded.
    pub(super) fn heat(self, name: &str, more: &str) -> String {
        let name = server_name(name);
        let braces = self.braces(more);
        match self.flavor {
            Flavor::PrometheusNative => format!("sum(rate({name}{braces}[$__rate_interval]))"),
            Flavor::PrometheusClassic => {
                format!("sum by (le) (increase({name}_bucket{braces}[$__rate_interval]))")
            }
            Flavor::VictoriaMetrics => format!(
                "prometheus_buckets(sum by (vmrange) (increase({name}_bucket{braces}[$__rate_interval])))"
            ),
        }
    }

    /// The suffix of a histogram's buckets and the label that tells them apart.
    fn buckets(self) -> (&'static str, Option<&'static str>) {
        match self.flavor {
            Flavor::PrometheusNative => ("", None),
            Flavor::PrometheusClassic => ("_bucket", Some("le")),
            Flavor::VictoriaMetrics => ("_bucket", Some("vmrange")),
        }
    }

    /// The share of calls that failed, by labels of ours.
    pub(super) fn error_share(self, name: &str, by: &[&str], more: &str) -> String {
        let comma = if more.is_empty() { "" } else { "," };
        let failed = format!(r#"{more}{comma}error_type!="",error_type!="cancelled""#);
        let (failed, all) = (self.calls(name, by, &failed), self.calls(name, by, more));
        format!("({failed} or {all} * 0) / {all}")
    }
}
