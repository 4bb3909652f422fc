//! What a series is called: a metric's name, its unit, and a sorted set of labels.
//!
//! Every door in (`metrics` keys, OpenTelemetry instruments, our own builders) is translated to
//! these types, so that rules and exporters know one identity only. Clones are cheap: one
//! reference count each.

use std::{borrow::Cow, fmt, sync::Arc};

/// Where a text lies in a table: by its length and at most twelve pieces spread over it, so that
/// long ones cost no more. Texts that only differ between the pieces get the same place.
#[inline]
pub(crate) fn quick_hash(seed: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash = bytes.len() as u64 ^ (seed << 32);
    let mut mix = |piece: u64| {
        hash = (hash.rotate_left(23) ^ piece).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    };
    let eight = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    bytes.chunks_exact((bytes.len() / 12).max(8)).for_each(|piece| mix(eight(piece.first_chunk())));
    // Where texts differ most.
    mix(eight(bytes.last_chunk()));
    hash >> 32
}

/// A sorted set of `key = value` pairs with unique, non-empty keys.
///
/// A label with an empty value is the same as no such label, as in Prometheus.
///
/// ```
/// let labels = highwater::Labels::new([("pool", "main"), ("db", "orders")]);
/// assert_eq!(labels.get("pool"), Some("main"));
/// assert_eq!(labels.to_string(), r#"{db="orders", pool="main"}"#);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The set of these pairs. Of a key given twice the last one wins; pairs with an empty key or
    /// value are left out.
    pub fn new<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        pairs.into_iter().map(|(k, v)| (Arc::from(k.as_ref()), Arc::from(v.as_ref()))).collect()
    }

    /// No labels at all.
    pub fn empty() -> Self {
        Self(Arc::new([]))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok().map(|at| self.0[at].1.as_ref())
    }

    /// The pairs, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(k, v)| (k.as_ref(), v.as_ref()))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both are one and the same set, found without comparing.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The labels whose key `keep` agrees to.
    pub(crate) fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        if self.0.iter().all(|(key, _)| keep(key)) {
            return self.clone();
        }
        Self(self.0.iter().filter(|(key, _)| keep(key)).cloned().collect())
    }

    /// This set with one label added or replaced; an empty value removes it.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> Self {
        self.0.iter().cloned().chain([(Arc::from(key), Arc::from(value))]).collect()
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Labels {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().filter(|(k, _)| !k.is_empty()).collect();
        // Stable, so that of equal keys the last given stays last; then keep the last.
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.reverse();
        pairs.dedup_by(|later, kept| later.0 == kept.0);
        pairs.reverse();
        pairs.retain(|(_, v)| !v.is_empty());
        Self(pairs.into())
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (key, value)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{key}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A unit in [UCUM](https://ucum.org/ucum)'s case-sensitive notation, as OpenTelemetry asks:
/// `s`, `By`, `1`, `{query}`.
///
/// ```
/// use highwater::Unit;
/// assert_eq!(Unit::SECONDS.as_str(), "s");
/// assert!(Unit::parse("{row}").is_ok());
/// assert!(Unit::parse("furlong").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Unit(Cow<'static, str>);

/// What [`Unit::parse`] knows besides `{annotations}` and quotients of these.
const KNOWN_UNITS: &[&str] = &[
    "1", "%", "ns", "us", "ms", "s", "min", "h", "d", "bit", "By", "KiBy", "MiBy", "GiBy", "TiBy",
    "kBy", "MBy", "GBy", "TBy", "Hz", "Cel", "V", "A", "W", "J", "m", "g", "kg",
];

impl Unit {
    /// No unit was given.
    pub const NONE: Self = Self(Cow::Borrowed(""));
    /// A ratio or a plain number.
    pub const ONE: Self = Self(Cow::Borrowed("1"));
    /// Seconds.
    pub const SECONDS: Self = Self(Cow::Borrowed("s"));
    /// Bytes.
    pub const BYTES: Self = Self(Cow::Borrowed("By"));

    /// A unit known to be right when this crate was compiled.
    pub(crate) const fn known(unit: &'static str) -> Self {
        Self(Cow::Borrowed(unit))
    }

    /// Checks a unit: a common UCUM code, an annotation such as `{query}`, or a quotient of two
    /// such (`By/s`).
    ///
    /// # Errors
    /// [`UnknownUnit`] with what was given.
    pub fn parse(unit: &str) -> Result<Self, UnknownUnit> {
        let atom = |part: &str| {
            let annotation = part.len() > 2
                && part.starts_with('{')
                && part.ends_with('}')
                && part[1..part.len() - 1]
                    .chars()
                    .all(|c| c.is_ascii_graphic() && !"{}".contains(c));
            annotation || KNOWN_UNITS.contains(&part)
        };
        let ok = match unit.split_once('/') {
            None => unit.is_empty() || atom(unit),
            Some((over, under)) => atom(over) && atom(under),
        };
        if ok { Ok(Self(Cow::Owned(unit.to_owned()))) } else { Err(UnknownUnit(unit.to_owned())) }
    }

    /// The code, empty for [`Unit::NONE`].
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A unit that [`Unit::parse`] does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown unit {0:?}: allowed are UCUM codes such as \"s\", \"By\", \"1\", annotations such as \"{{query}}\", and quotients of two of them"
)]
pub struct UnknownUnit(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_unique_and_the_last_wins() {
        let labels = Labels::new([("b", "1"), ("a", "2"), ("b", "3"), ("", "x"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!(labels.with("a", ""), Labels::new([("b", "3")]));
        assert_eq!(labels, Labels::new([("b", "3"), ("a", "2")]));
    }

    #[test]
    fn an_empty_last_value_removes_the_label() {
        assert!(Labels::new([("a", "1"), ("a", "")]).is_empty());
    }

    #[test]
    fn units_are_checked() {
        for good in ["", "s", "By", "1", "{query}", "By/s", "{fault}/s"] {
            assert!(Unit::parse(good).is_ok(), "{good}");
        }
        for bad in ["seconds", "S", "{}", "{a b}", "s/", "/s", "s/s/s", "{a}{b}"] {
            assert!(Unit::parse(bad).is_err(), "{bad}");
        }
    }
}
