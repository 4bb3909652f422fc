//! What a builder says, as far as what is generated depends on it.

use crate::{builder::Builder, error::Error, rule::Rule};
#[cfg(feature = "generate")]
use crate::{event::Severity, rule::Edge};

/// A service and the rules that run in it.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    pub(crate) service: String,
    pub(crate) rules: Vec<Rule>,
    /// Where the runbook can be read.
    pub(crate) runbooks: Option<String>,
}

impl Outline {
    pub(crate) fn of(builder: &Builder) -> Result<Self, Error> {
        builder.outline()
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

    /// The service's name as part of an address or a file name.
    pub(crate) fn slug(&self) -> String {
        let mut slug = String::new();
        for c in self.service.chars() {
            if c.is_ascii_alphanumeric() {
                slug.push(c.to_ascii_lowercase());
            } else if !slug.ends_with('-') && !slug.is_empty() {
                slug.push('-');
            }
        }
        slug.truncate(24);
        let slug = slug.trim_end_matches('-');
        if slug.is_empty() { "service".to_owned() } else { slug.to_owned() }
    }
}
