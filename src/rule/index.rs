//! Which series a selector takes, by our own names or by those a Prometheus server has for them.
//!
//! A metric is found by its own name (`process.memory.usage`), by the server's
//! (`process_memory_usage_bytes`) and by that without suffixes. A histogram is also found by its
//! classic views, `_count`, `_sum` and `_bucket`. Labels of a series found by a server's name are
//! the server's too, so that a rule from a file sees what it would see there.

use std::collections::{HashMap, HashSet};

use super::{
    expr::{NAME, Selector, Test},
    naming,
};
use crate::{
    name::Labels,
    registry::{Kind, Series},
    sync::Arc,
};

/// The bucket's upper bound among a classic histogram's labels.
pub(crate) const LE: &str = "le";

/// What of a series a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Whole,
    Count,
    Sum,
    Bucket,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    series: u32,
    view: View,
    /// By a name that is not its own.
    translated: bool,
}

/// Which series have which names.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_name: HashMap<Arc<str>, Vec<Entry>>,
    /// The server's name of each series.
    translations: Vec<Arc<str>>,
}

/// A series a selector takes.
#[derive(Debug)]
pub(crate) struct Selected<'a> {
    pub(crate) series: &'a Arc<Series>,
    pub(crate) view: View,
    /// Its name and labels, in the words the selector used.
    pub(crate) name: Arc<str>,
    pub(crate) labels: Labels,
}

impl Index {
    /// Takes in the series it does not know yet and gives all names they go by.
    pub(crate) fn catch_up(&mut self, series: &[Arc<Series>]) -> HashSet<Arc<str>> {
        let mut touched = HashSet::new();
        for (at, new) in series.iter().enumerate().skip(self.translations.len()) {
            let (own, metric) = (&new.metric.name, &new.metric);
            let full: Arc<str> = naming::metric(own, &metric.unit(), metric.kind).into();
            let bare: Arc<str> = naming::escape(own).into();
            let mut add = |name: Arc<str>, view, translated| {
                touched.insert(name.clone());
                let entries = self.by_name.entry(name).or_default();
                entries.push(Entry { series: at as u32, view, translated });
            };
            add(own.clone(), View::Whole, false);
            let mut others = vec![full.clone()];
            if bare != full {
                others.push(bare);
            }
            for other in others {
                if matches!(metric.kind, Kind::Histogram(_)) {
                    add(format!("{other}_count").into(), View::Count, true);
                    add(format!("{other}_sum").into(), View::Sum, true);
                    add(format!("{other}_bucket").into(), View::Bucket, true);
                }
                if other != *own {
                    add(other, View::Whole, true);
                }
            }
            // What is exported by our own names has these for a histogram's series.
            if matches!(metric.kind, Kind::Histogram(_)) && **own != *naming::escape(own) {
                add(format!("{own}_count").into(), View::Count, false);
                add(format!("{own}_sum").into(), View::Sum, false);
                add(format!("{own}_bucket").into(), View::Bucket, false);
            }
            self.translations.push(full);
        }
        touched
    }

    /// A series of the metric of this name.
    pub(crate) fn first(&self, name: &str) -> Option<usize> {
        self.by_name.get(name)?.first().map(|entry| entry.series as usize)
    }

    /// Whether a metric is called exactly so.
    pub(crate) fn has_own(&self, name: &str) -> bool {
        let is_own = |entry: &Entry| !entry.translated && entry.view == View::Whole;
        self.by_name.get(name).is_some_and(|all| all.iter().any(is_own))
    }

    /// The series a selector takes. A metric's own name goes before another's translation. `given`
    /// are labels that all have, but for those that have them already.
    pub(crate) fn select<'a>(
        &self,
        selector: &Selector,
        series: &'a [Arc<Series>],
        given: &Labels,
    ) -> Vec<Selected<'a>> {
        let known = self.translations.len() as u32;
        let whole = |series| Entry { series, view: View::Whole, translated: false };
        let entries: Vec<Entry> = match &selector.name {
            Some(name) => {
                let all = self.by_name.get(name.as_str()).map_or(&[][..], Vec::as_slice);
                let own = all.iter().any(|entry| !entry.translated);
                all.iter().filter(|entry| entry.translated != own).copied().collect()
            }
            None => (0..known).map(whole).collect(),
        };
        let take = |entry| self.take(selector, entry, series, given);
        entries.into_iter().filter_map(take).collect()
    }

    fn take<'a>(
        &self,
        selector: &Selector,
        entry: Entry,
        series: &'a [Arc<Series>],
        given: &Labels,
    ) -> Option<Selected<'a>> {
        let series = series.get(entry.series as usize)?;
        let mut translated = entry.translated;
        if selector.name.is_none() {
            // Its own name, or else the server's.
            let named = |name: &str| {
                let mut about = selector.matchers.iter().filter(|matcher| matcher.key == NAME);
                about.all(|matcher| matcher.test.accepts(name))
            };
            translated = !named(&series.metric.name);
            if translated && !named(self.translations.get(entry.series as usize)?) {
                return None;
            }
        }
        let accepted =
            selector.matchers.iter().filter(|matcher| matcher.key != NAME).all(|matcher| {
                if matcher.key == LE && entry.view == View::Bucket {
                    return true; // which bucket, not which series
                }
                let value = match find(&series.labels, &matcher.key) {
                    "" => given.get(&matcher.key).unwrap_or_default(),
                    own => own,
                };
                matcher.test.accepts(value)
            });
        accepted.then(|| {
            let name = match (&selector.name, translated) {
                (Some(name), _) => Arc::from(name.as_str()),
                (None, false) => series.metric.name.clone(),
                (None, true) => self.translations[entry.series as usize].clone(),
            };
            let mut labels =
                if translated { naming::labels(&series.labels) } else { series.labels.clone() };
            for (key, value) in given.iter().filter(|(key, _)| find(&series.labels, key).is_empty())
            {
                labels = labels.with(key, value);
            }
            Selected { series, view: entry.view, name, labels }
        })
    }
}

/// A label's value, by its own key or by the server's; empty without it.
pub(crate) fn find<'a>(labels: &'a Labels, key: &str) -> &'a str {
    labels
        .get(key)
        .or_else(|| {
            labels.iter().find(|(own, _)| naming::label(own) == key).map(|(_, value)| value)
        })
        .unwrap_or_default()
}

/// Whether both are names of one label.
pub(crate) fn same_label(own: &str, key: &str) -> bool {
    own == key || naming::label(own) == key
}

/// Whether a metric of this name may have series the selector takes.
pub(crate) fn may_take(selector: &Selector, name: &str) -> bool {
    match &selector.name {
        Some(wanted) => wanted == name,
        None => selector.matchers.iter().all(|m| m.key != NAME || m.test.accepts(name)),
    }
}

/// The upper bound a selector asks of a histogram's buckets, if it asks for one by `le="…"`.
pub(crate) fn bound_of(selector: &Selector) -> Option<&str> {
    selector.matchers.iter().find_map(|matcher| match &matcher.test {
        Test::Equal(bound) if matcher.key == LE => Some(bound.as_str()),
        _ => None,
    })
}

/// A classic bucket's bound as a number.
pub(crate) fn parse_bound(le: &str) -> Option<f64> {
    match le {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}
