//! What an alert carries to explain itself.

use std::fmt;

use crate::name::Unit;

/// What explains an alert, gathered the moment its condition began to hold or it fired, from what
/// was in memory then: figures, and likely causes. Bounded: at most [`MOST_FACTS`](Self::MOST_FACTS)
/// and [`MOST_CAUSES`](Self::MOST_CAUSES), names cut at [`LONGEST_NAME`](Self::LONGEST_NAME)
/// characters.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Evidence {
    /// Figures, the most telling first.
    pub facts: Vec<Fact>,
    /// What may be behind it, the likeliest first: hypotheses, each with the figures it rests on.
    pub causes: Vec<Cause>,
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fact {
    /// What kind of figure it is, stable: `memory.component`, `query.p99`…
    pub key: &'static str,
    /// Which component, query or pool; empty where there is but one.
    pub of: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// The same for people.
    pub text: String,
}

/// One hypothesis.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Cause {
    /// In a sentence, with its figures.
    pub text: String,
    /// From 0 to 1: how much of what is seen it would explain. For ranking, not a probability.
    pub weight: f64,
}

impl Evidence {
    /// How many facts there are at most.
    pub const MOST_FACTS: usize = 16;
    /// How many causes there are at most.
    pub const MOST_CAUSES: usize = 4;
    /// After how many characters a name is cut.
    pub const LONGEST_NAME: usize = 80;

    /// The likeliest cause.
    pub fn likeliest(&self) -> Option<&Cause> {
        self.causes.first()
    }

    pub(crate) fn fact(
        &mut self,
        key: &'static str,
        of: &str,
        value: f64,
        unit: Unit,
        text: String,
    ) {
        if self.facts.len() < Self::MOST_FACTS && value.is_finite() {
            self.facts.push(Fact { key, of: short(of).to_owned(), value, unit, text });
        }
    }

    /// Kept by its weight; those that explain next to nothing are left out.
    pub(crate) fn cause(&mut self, weight: f64, text: String) {
        if weight >= 0.1 {
            let cause = Cause { text, weight: weight.min(1.0) };
            let at = self.causes.partition_point(|other| other.weight >= cause.weight);
            self.causes.insert(at, cause);
            self.causes.truncate(Self::MOST_CAUSES);
        }
    }
}

/// A name that cannot fill a page.
pub(crate) fn short(name: &str) -> &str {
    match name.char_indices().nth(Evidence::LONGEST_NAME) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_bounded_and_ranked() {
        let mut evidence = Evidence::default();
        let long = "ü".repeat(10_000);
        for n in 0..100 {
            evidence.fact("k", &long, f64::from(n), Unit::NONE, String::new());
            evidence.cause(f64::from(n % 10) / 10.0, format!("cause {}", n % 10));
        }
        evidence.fact("k", "", f64::NAN, Unit::NONE, String::new());
        assert_eq!(evidence.facts.len(), Evidence::MOST_FACTS);
        assert_eq!(evidence.facts[0].of.chars().count(), Evidence::LONGEST_NAME);
        assert_eq!(evidence.causes.len(), Evidence::MOST_CAUSES);
        assert_eq!(evidence.likeliest().unwrap().text, "cause 9");
        assert!(evidence.causes.is_sorted_by(|a, b| a.weight >= b.weight));
    }
}
