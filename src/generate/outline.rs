//! What a builder says, as far as what is generated depends on it.

use super::Flavor;
use crate::{builder::Builder, error::Error, rule::Rule};
#[cfg(feature = "generate")]
use crate::{event::Severity, rule::Edge};

/// As much of a name as stays readable in an address, and leaves room in Grafana's 40 characters.
const LONGEST_SLUG: usize = 24;

/// A service and the rules that run in it.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    pub(crate) service: String,
    /// `service.namespace`.
    pub(crate) namespace: Option<String>,
    pub(crate) rules: Vec<Rule>,
    /// Where the runbook can be read.
    pub(crate) runbooks: Option<String>,
    /// The kinds of sink that are told.
    pub(crate) sinks: Vec<&'static str>,
    /// Whether a page is written when an alert fires.
    pub(crate) pages: bool,
}

impl Outline {
    pub(crate) fn of(builder: &Builder) -> Result<Self, Error> {
        builder.outline()
    }

    /// What the [label that tells services apart](Flavor::job) says of this one.
    pub(crate) fn job(&self, flavor: Flavor) -> String {
        match (flavor, &self.namespace) {
            (Flavor::PrometheusNative | Flavor::PrometheusClassic, Some(namespace)) => {
                format!("{namespace}/{}", self.service)
            }
            _ => self.service.clone(),
        }
    }

    /// The rules that are switched on by name, in the order they are first met.
    pub(crate) fn by_name(&self) -> Vec<(&str, Vec<&Rule>)> {
        let mut names: Vec<(&str, Vec<&Rule>)> = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.enabled) {
            match names.iter_mut().find(|(name, _)| *name == rule.name()) {
                Some((_, rules)) => rules.push(rule),
                None => names.push((rule.name(), vec![rule])),
            }
        }
        names
    }

    #[cfg(feature = "generate")]
    /// From which values of a metric on some rule holds.
    pub(crate) fn limits_of(&self, metric: &str) -> Vec<(Edge, Severity)> {
        let mut limits: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| rule.enabled)
            .flat_map(|rule| {
                rule.edges_of(metric).into_iter().map(|edge| (edge, rule.severity_level()))
            })
            .collect();
        limits.sort_by(|(a, _), (b, _)| a.value.total_cmp(&b.value));
        limits.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = kept.1.max(later.1);
            }
            same
        });
        // Beyond a limit that is as severe there is nothing more to be seen.
        let all = limits.clone();
        limits.retain(|(edge, severity)| {
            !all.iter().any(|(other, than)| {
                let wider =
                    if edge.above { other.value < edge.value } else { other.value > edge.value };
                other.above == edge.above && than >= severity && wider
            })
        });
        limits
    }

    /// The service's name as part of an address or a file name. One that has to be changed for
    /// that ends in a hash of it, so that two services never share a dashboard.
    pub(crate) fn slug(&self) -> String {
        let mut slug = String::new();
        for c in self.service.chars() {
            if c.is_ascii_alphanumeric() {
                slug.push(c.to_ascii_lowercase());
            } else if !slug.ends_with('-') && !slug.is_empty() {
                slug.push('-');
            }
        }
        let slug = slug.trim_end_matches('-');
        if slug == self.service && slug.len() <= LONGEST_SLUG {
            return slug.to_owned();
        }
        let kept = slug.get(..slug.len().min(LONGEST_SLUG - 9)).unwrap_or_default();
        let kept = if kept.is_empty() { "service" } else { kept.trim_end_matches('-') };
        format!("{kept}-{:08x}", fnv1a(&self.service))
    }
}

/// A hash that stays the same for ever.
pub(super) fn fnv1a(text: &str) -> u32 {
    text.bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
