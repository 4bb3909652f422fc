//! The kinds of server that what is generated is for.

/// Which server is asked: it decides what labels and histograms look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Flavor {
    /// Prometheus over OTLP, with native histograms, as highwater pushes them by default.
    #[default]
    PrometheusNative,
    /// Prometheus with classic buckets, as `otlp::…` pushes them when told to.
    PrometheusClassic,
    /// VictoriaMetrics over OTLP, started with `-opentelemetry.usePrometheusNaming`.
    VictoriaMetrics,
}

impl Flavor {
    /// All of them.
    pub const ALL: [Self; 3] =
        [Self::PrometheusNative, Self::PrometheusClassic, Self::VictoriaMetrics];

    /// Its name in paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PrometheusNative => "prometheus",
            Self::PrometheusClassic => "prometheus-classic",
            Self::VictoriaMetrics => "victoriametrics",
        }
    }

    #[cfg(feature = "generate")]
    pub(super) fn is_native(self) -> bool {
        self == Self::PrometheusNative
    }

    /// The label that tells services apart.
    pub(super) fn job(self) -> &'static str {
        match self {
            Self::VictoriaMetrics => "service_name",
            _ => "job",
        }
    }

    /// The label that tells a service's instances apart.
    pub(super) fn instance(self) -> &'static str {
        match self {
            Self::VictoriaMetrics => "service_instance_id",
            _ => "instance",
        }
    }
}
