//! The rules that run in the process, for a server that shall evaluate them too.

use super::{Flavor, outline::Outline};
use crate::{
    builder::Builder,
    error::Error,
    rule::{ExportStyle, Histograms, Scope},
};

/// The rules that run in the process as a rule file for a server, each narrowed to this service and
/// judged instance by instance, as the process does.
///
/// Who tells people is the rule's [owner](crate::Builder::owner). What the process owns carries the
/// label `highwater_owner: process`, for Alertmanager to route to nobody: it is told of already. What
/// a server owns has no such label; there the process tells nobody. [`Highwater::export_rules`] is
/// the same without all that.
///
/// What a server does otherwise stands in each rule's annotation `highwater_approximations`.
/// VictoriaMetrics has histograms by `vmrange`, Prometheus native ones or by `le`.
///
/// [`Highwater::export_rules`]: crate::Highwater::export_rules
///
/// ```
/// use highwater::{Highwater, generate::{self, Flavor}};
///
/// let rules = generate::process_rules(&Highwater::builder("veltrix"), Flavor::PrometheusNative)?;
/// assert!(rules.contains("- alert: \"MemoryNearLimit\"") && rules.contains("highwater_owner"));
/// # Ok::<(), highwater::Error>(())
/// ```
///
/// # Errors
/// Every mistake in the builder, as when it is started.
pub fn process_rules(builder: &Builder, flavor: Flavor) -> Result<String, Error> {
    let outline = Outline::of(builder)?;
    let style = ExportStyle::new().histograms(match flavor {
        Flavor::PrometheusNative => Histograms::Native,
        Flavor::PrometheusClassic => Histograms::Classic,
        Flavor::VictoriaMetrics => Histograms::VmRange,
    });
    let mut service = vec![(flavor.job().to_owned(), outline.job(flavor))];
    if let (Flavor::VictoriaMetrics, Some(namespace)) = (flavor, &outline.namespace) {
        service.push(("service_namespace".to_owned(), namespace.clone()));
    }
    let scope = Scope { service, instance: flavor.instance().to_owned() };
    let exported = builder.export_rules(&style.within(scope));
    Ok(format!("{HEADER}{}", exported.yaml))
}

const HEADER: &str = "\
# Written by highwater: the rules that run in the process. It tells people of those labelled
# highwater_owner=\"process\" itself: route these to nobody, or nobody will know which of two
# messages to believe. Those without the label a server owns, and tells people of.
";
