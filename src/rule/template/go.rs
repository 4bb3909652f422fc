//! A template printed for Prometheus.

use super::{
    humanize::plain,
    syntax::{Command, Piece, Pipeline, Term},
};
use crate::{name::Unit, rule::expr::Quoted};

/// How what is ours is said there.
#[derive(Clone, Copy)]
pub(crate) struct Style<'a> {
    pub(crate) unit: &'a Unit,
    pub(crate) threshold: Option<f64>,
    /// A label's name there.
    pub(crate) label: &'a dyn Fn(&str) -> String,
}

pub(super) fn print(pieces: &[Piece], style: &Style<'_>) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            // Braces of the text itself must not open an action.
            Piece::Text(text) => out.push_str(&text.replace("{{", "{{ \"{{\" }}")),
            Piece::Print(pipeline) => match pipeline.as_slice() {
                [Command::Term(Term::Readable)] => out.push_str(&readable(style)),
                [Command::Term(Term::Threshold)] => {
                    out.push_str(&super::readable(style.threshold, style.unit));
                }
                pipeline => {
                    out.push_str(&format!("{{{{ {} }}}}", of_pipeline(pipeline, style)));
                }
            },
            Piece::Let(name, pipeline) => {
                out.push_str(&format!("{{{{ {name} := {} }}}}", of_pipeline(pipeline, style)));
            }
            Piece::If(branches, otherwise) => {
                for (at, (condition, then)) in branches.iter().enumerate() {
                    let word = if at == 0 { "if" } else { "else if" };
                    let condition = of_pipeline(condition, style);
                    out.push_str(&format!("{{{{ {word} {condition} }}}}{}", print(then, style)));
                }
                if !otherwise.is_empty() {
                    out.push_str(&format!("{{{{ else }}}}{}", print(otherwise, style)));
                }
                out.push_str("{{ end }}");
            }
        }
    }
    out
}

fn of_pipeline(pipeline: &[Command], style: &Style<'_>) -> String {
    let commands = pipeline.iter().map(|command| match command {
        Command::Term(Term::Label(key)) => label(key, style),
        Command::Term(Term::Readable) => as_readable(style).0,
        Command::Term(term) => of_term(term, style),
        Command::Call(function, terms) => {
            let terms = terms.iter().map(|term| format!(" {}", of_term(term, style)));
            function.as_str().to_owned() + &terms.collect::<String>()
        }
    });
    commands.collect::<Vec<_>>().join(" | ")
}

fn of_term(term: &Term, style: &Style<'_>) -> String {
    match term {
        Term::Readable => format!("({})", as_readable(style).0),
        // What is known beforehand is written out.
        Term::Threshold => {
            let known = style.threshold;
            let text =
                known.map_or("?".to_owned(), |known| super::readable(Some(known), style.unit));
            Quoted(&text).to_string()
        }
        Term::Value => "$value".to_owned(),
        Term::Label(key) => {
            let label = label(key, style);
            if label.contains(' ') { format!("({label})") } else { label }
        }
        Term::Labels => "$labels".to_owned(),
        Term::External => "\"\"".to_owned(),
        Term::Text(text) => Quoted(text).to_string(),
        Term::Number(number) => {
            // Go compares a float with a float only.
            let text = plain(*number);
            if text.contains(['.', 'e', 'N', 'I']) { text } else { text + ".0" }
        }
        Term::Bool(truth) => truth.to_string(),
        Term::Variable(name) => name.clone(),
        Term::Parens(pipeline) => format!("({})", of_pipeline(pipeline as &Pipeline, style)),
    }
}

fn label(key: &str, style: &Style<'_>) -> String {
    let key = (style.label)(key);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if key.chars().all(plain) && !key.starts_with(|c: char| c.is_ascii_digit()) {
        format!("$labels.{key}")
    } else {
        format!("index $labels {}", Quoted(&key))
    }
}

/// `{{ value }}`, with the unit beside it.
fn readable(style: &Style<'_>) -> String {
    let (action, unit) = as_readable(style);
    format!("{{{{ {action} }}}}{unit}")
}

fn as_readable(style: &Style<'_>) -> (String, String) {
    let four = "$value | printf \"%.4g\"".to_owned();
    match style.unit.as_str() {
        "1" if style.threshold.is_none_or(|known| (0.0..=1.0).contains(&known)) => {
            ("$value | humanizePercentage".to_owned(), String::new())
        }
        "s" => ("$value | humanizeDuration".to_owned(), String::new()),
        "By" => ("$value | humanize1024".to_owned(), "B".to_owned()),
        "" | "1" => (four, String::new()),
        other => (four, format!(" {}", other.trim_matches(['{', '}']))),
    }
}
