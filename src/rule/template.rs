//! Texts with placeholders: `{{ value }}`, `{{ labels.pool }}`, and as Prometheus writes them,
//! `{{ $value | humanize }}`, `{{ printf "%.2f" $value }}`, `{{ if gt $value 10.0 }}…{{ end }}`.
//!
//! Parsed when a rule is loaded, so that a misspelt placeholder is an error then and not a hole in
//! a page at night. Filled only when an alert changes its state.

mod function;
mod go;
mod humanize;
mod syntax;

use function::Datum;
pub(crate) use humanize::readable;
use syntax::{Command, Piece, Pipeline, Term};

use super::index::find;
use crate::name::{Labels, Unit};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    text: String,
    pieces: Vec<Piece>,
}

/// What fills a template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill<'a> {
    pub(crate) value: Option<f64>,
    pub(crate) threshold: Option<f64>,
    pub(crate) unit: &'a Unit,
    pub(crate) labels: &'a Labels,
}

impl Template {
    /// The reason, if it cannot be filled.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let pieces = syntax::parse(text)?;
        let mut wrong = Ok(());
        syntax::commands(&pieces, &mut |command| {
            if let Command::Call(function, terms) = command
                && let Some(Term::Text(first)) = terms.first()
                && wrong.is_ok()
            {
                wrong = function.check_pattern(first);
            }
        });
        wrong?;
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// Whether it depends on the value, and not only on labels.
    pub(crate) fn uses_value(&self) -> bool {
        let mut uses = false;
        syntax::walk(&self.pieces, &mut |term| {
            uses |= matches!(term, Term::Readable | Term::Threshold | Term::Value);
        });
        uses
    }

    pub(crate) fn fill(&self, fill: &Fill<'_>) -> String {
        let mut run = Run { fill, variables: Vec::new() };
        let mut out = String::with_capacity(self.text.len() + 16);
        run.pieces(&self.pieces, &mut out);
        cut(&mut out, LONGEST_FILLED);
        out
    }

    /// As Prometheus takes it; what is ours alone is spelt out by unit and threshold.
    pub(crate) fn to_prometheus(&self, style: &go::Style<'_>) -> String {
        go::print(&self.pieces, style)
    }
}

pub(crate) use go::Style;

/// How long a filled text may be; the rest is cut off.
const LONGEST_FILLED: usize = 64 << 10;

/// Cut to at most so many bytes, at a character.
fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

struct Run<'a> {
    fill: &'a Fill<'a>,
    variables: Vec<(&'a str, Datum)>,
}

impl<'a> Run<'a> {
    fn pieces(&mut self, pieces: &'a [Piece], out: &mut String) {
        for piece in pieces {
            if out.len() > LONGEST_FILLED {
                return;
            }
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Print(pipeline) => out.push_str(&self.pipeline(pipeline).into_text()),
                Piece::Let(name, pipeline) => {
                    let value = self.pipeline(pipeline);
                    self.variables.push((name, value));
                }
                Piece::If(branches, otherwise) => {
                    let taken = branches.iter().find(|(when, _)| self.pipeline(when).is_true());
                    self.pieces(taken.map_or(otherwise, |(_, then)| then), out);
                }
            }
        }
    }

    fn pipeline(&self, pipeline: &Pipeline) -> Datum {
        let mut last = None;
        for command in pipeline {
            last = Some(match command {
                Command::Term(term) => self.term(term),
                Command::Call(function, terms) => {
                    let terms = terms.iter().map(|term| self.term(term));
                    let of: Vec<_> = terms.chain(last).collect();
                    function.apply(of, |key| find(self.fill.labels, key)).cut()
                }
            });
        }
        last.unwrap_or(Datum::Nothing)
    }

    fn term(&self, term: &Term) -> Datum {
        let Fill { value, threshold, unit, labels } = self.fill;
        let datum = match term {
            Term::Readable => Datum::Text(readable(*value, unit)),
            Term::Threshold => Datum::Text(readable(*threshold, unit)),
            Term::Value => value.map_or(Datum::Nothing, Datum::Number),
            Term::Label(key) => Datum::Text(find(labels, key).to_owned()),
            Term::Labels => Datum::Labels,
            Term::External => Datum::Text(String::new()),
            Term::Text(text) => Datum::Text(text.clone()),
            Term::Number(number) => Datum::Number(*number),
            Term::Bool(truth) => Datum::Bool(*truth),
            Term::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map_or(Datum::Nothing, |(_, value)| value.clone())
            }
            Term::Parens(pipeline) => self.pipeline(pipeline),
        };
        datum.cut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str, value: f64, unit: Unit) -> String {
        let labels = Labels::new([("pool", "main db"), ("db.system.name", "sqlite")]);
        let fill = Fill { value: Some(value), threshold: Some(0.5), unit: &unit, labels: &labels };
        Template::parse(text).map(|t| t.fill(&fill)).unwrap_or_else(|reason| reason)
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(fill("{{ value }} of {{ threshold }}", 0.9312, Unit::ONE), "93.12% of 50%");
        assert_eq!(fill("{{value}}", 0.3124, Unit::SECONDS), "312.4ms");
        assert_eq!(fill("{{ value }}", 90.0, Unit::SECONDS), "1m 30s");
        assert_eq!(fill("{{ value }}", 1.25 * 1024.0 * 1024.0, Unit::BYTES), "1.25MiB");
        assert_eq!(fill("{{ value }}", 12.0, Unit::known("{thread}")), "12 thread");
        assert_eq!(fill("{{ $value }}", 0.25, Unit::ONE), "0.25");
    }

    #[test]
    fn labels_and_filters() {
        assert_eq!(
            fill("{{ labels.pool | title }}/{{$labels.db.system.name|toUpper}}", 0.0, Unit::NONE),
            "Main Db/SQLITE"
        );
        assert_eq!(fill("{{ $value | humanize }}", 1_234_567.0, Unit::NONE), "1.235M");
        assert_eq!(fill("{{ $value | humanizePercentage }}", 0.123_45, Unit::NONE), "12.35%");
        assert_eq!(fill("{{ labels.none }}.", 0.0, Unit::NONE), ".");
        assert_eq!(fill("{{ $labels.db_system_name }}", 0.0, Unit::NONE), "sqlite");
    }

    #[test]
    fn what_real_rules_write() {
        let of = |text| fill(text, 12.345, Unit::NONE);
        assert_eq!(of(r#"{{ printf "%.2f" $value }}%"#), "12.35%");
        assert_eq!(of(r#"{{ $value | printf "%.1f" }}"#), "12.3");
        assert_eq!(of(r#"{{ .Value }} {{ .Labels.pool }}"#), "12.345 main db");
        assert_eq!(of("{{ if gt $value 10.0 }}much{{ else }}little{{ end }}"), "much");
        assert_eq!(
            of("{{ if lt $value 10.0 }}a{{ else if eq $labels.pool \"x\" }}b{{ else }}c{{end}}"),
            "c"
        );
        assert_eq!(of("{{ $p := $labels.pool }}{{ $p | toUpper }}"), "MAIN DB");
        assert_eq!(of("a {{- /* said to nobody */ -}} b"), "ab");
        assert_eq!(of("a {{- $value -}} b"), "a12.345b");
        assert_eq!(of(r#"{{ index $labels "pool" }}"#), "main db");
        assert_eq!(of(r#"{{ reReplaceAll "m(.*) db" "$1" $labels.pool }}"#), "ain");
        assert_eq!(of(r#"{{ (printf "%.0f" $value) | len }}"#), "2");
        assert_eq!(of("{{ if and (gt $value 1.0) (not false) }}y{{ end }}"), "y");
        assert_eq!(of("{{ $externalLabels.cluster }}."), ".");
        assert_eq!(of("{{ \"{{\" }} }}"), "{{ }}");
        assert_eq!(fill("{{ $value }}", 1_234_567.0, Unit::NONE), "1.234567e+06");
    }

    #[test]
    fn what_grows_without_end_is_cut() {
        let doubled = "{{$a:=print $a $a}}".repeat(40);
        let filled = fill(&format!("{{{{$a:=\"xx\"}}}}{doubled}{{{{$a}}}}"), 0.0, Unit::NONE);
        assert_eq!(filled.len(), function::LONGEST_DATUM);
        let long = "x".repeat(200);
        let replaced = format!(
            "{{{{$a:=\"{long}\"}}}}{}{{{{ reReplaceAll \"\" \"{}\" $a }}}}",
            "{{$a:=print $a $a}}".repeat(8),
            "$0".repeat(50)
        );
        assert!(fill(&replaced, 0.0, Unit::NONE).len() <= function::LONGEST_DATUM);
        assert!(
            fill(&"{{ printf \"%256s%256s\" $value $value }}".repeat(300), 0.0, Unit::NONE).len()
                <= LONGEST_FILLED
        );
        let bomb = r#"{{ match "(((a{90}){90}){90}){90}" $labels.pool }}"#;
        assert!(Template::parse(bomb).is_err());
        // Even when it is put together only as it is filled.
        let bomb = r#"{{ match (print "(((a{90}){90}" "){90}){90}") $labels.pool }}"#;
        assert_eq!(fill(bomb, 0.0, Unit::NONE), "false");
    }

    #[test]
    fn what_nothing_fills_is_refused() {
        let refused = |text: &str| Template::parse(text).expect_err(text);
        assert!(refused("{{ valeu }}").contains("valeu"));
        refused("{{ value");
        refused("{{ $value | humanise }}");
        refused("{{ labels. }}");
        assert!(Template::parse("plain } } { {").is_ok());
        assert!(refused("{{ query \"up\" }}").contains("`query` is not supported"));
        assert!(refused("{{ range query \"up\" }}{{ end }}").contains("`range` is not supported"));
        assert!(refused("{{ if $value }}x").contains("without `end`"));
        assert!(refused("x{{ end }}").contains("without `if`"));
        refused("{{ $x }}");
        refused("{{ if }}a{{ end }}");
        refused("{{ if true }}a{{ else }}b{{ else }}c{{ end }}");
        refused("{{ $value 1 }}");
        refused("{{ }}");
        refused("{{ printf }}");
        refused("{{ match \"(\" $labels.x }}");
        refused(&"{{ if true }}".repeat(40));
        refused(&format!("{{{{ {} }}}}", "(".repeat(900)));
        refused(&"x".repeat(20_000));
    }
}
