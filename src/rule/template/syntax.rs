//! A template's tree, and how text becomes one: the part of Go's `text/template` that alert rules
//! use. Nesting is capped; what is known and not supported is refused by name.

use super::function::Function;

/// How deep `if` and parentheses may nest.
const DEEPEST: usize = 16;

/// The longest text that is looked at.
const LONGEST: usize = 16 << 10;

/// What Prometheus has and we have not: most of it asks a server.
const UNSUPPORTED: &[&str] = &[
    "query",
    "first",
    "label",
    "strvalue",
    "sortByLabel",
    "graphLink",
    "tableLink",
    "tmpl",
    "args",
    "safeHtml",
    "externalURL",
    "pathPrefix",
    "parseDuration",
    "toTime",
    "now",
    "humanizeTimestamp",
    "html",
    "js",
    "urlquery",
    "call",
    "slice",
    "toDuration",
    "urlQueryEscape",
];

/// Go's own words we do not take.
const STATEMENTS: &[&str] = &["range", "with", "template", "define", "block", "break", "continue"];

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Print(Pipeline),
    /// `{{ $name := … }}`.
    Let(String, Pipeline),
    /// `if`, `else if`… and `else`.
    If(Vec<(Pipeline, Vec<Piece>)>, Vec<Piece>),
}

/// Commands, each the last argument of the next.
pub(super) type Pipeline = Vec<Command>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Term(Term),
    Call(Function, Vec<Term>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    /// `value`: as people write such a number, by its unit. Ours, not Prometheus'.
    Readable,
    /// `threshold`, the same way. Ours.
    Threshold,
    /// `$value`: the bare number.
    Value,
    Label(String),
    /// `$labels` itself, for `index`.
    Labels,
    /// `$externalLabels.x`: there are none in a process.
    External,
    Text(String),
    Number(f64),
    Bool(bool),
    Variable(String),
    Parens(Pipeline),
}

/// Calls `each` with every term.
pub(super) fn walk(pieces: &[Piece], each: &mut impl FnMut(&Term)) {
    commands(pieces, &mut |command| match command {
        Command::Term(term) => each(term),
        Command::Call(_, terms) => terms.iter().for_each(&mut *each),
    });
}

/// Calls `each` with every command, those in parentheses too.
pub(super) fn commands(pieces: &[Piece], each: &mut impl FnMut(&Command)) {
    let mut pipelines: Vec<&Pipeline> = Vec::new();
    let mut waiting: Vec<&[Piece]> = vec![pieces];
    while let Some(pieces) = waiting.pop() {
        for piece in pieces {
            match piece {
                Piece::Text(_) => {}
                Piece::Print(pipeline) | Piece::Let(_, pipeline) => pipelines.push(pipeline),
                Piece::If(branches, otherwise) => {
                    pipelines.extend(branches.iter().map(|(condition, _)| condition));
                    waiting.extend(branches.iter().map(|(_, then)| then.as_slice()));
                    waiting.push(otherwise);
                }
            }
        }
    }
    while let Some(pipeline) = pipelines.pop() {
        for command in pipeline {
            each(command);
            let terms = match command {
                Command::Term(term) => std::slice::from_ref(term),
                Command::Call(_, terms) => terms,
            };
            pipelines.extend(terms.iter().filter_map(|term| match term {
                Term::Parens(inner) => Some(inner),
                _ => None,
            }));
        }
    }
}

/// # Errors
/// The reason, if it cannot be filled.
pub(super) fn parse(text: &str) -> Result<Vec<Piece>, String> {
    if text.len() > LONGEST {
        return Err(format!("a text of {} bytes, allowed are {LONGEST}", text.len()));
    }
    let mut parser = Parser { chunks: split(text)?, next: 0, variables: Vec::new() };
    let (pieces, ended) = parser.pieces(0)?;
    match ended {
        None => Ok(pieces),
        Some(word) => Err(format!("`{word}` without `if`")),
    }
}

/// Text, or the inside of an action.
#[derive(Debug)]
enum Chunk {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(f64),
    Open,
    Close,
    Pipe,
    Assign,
}

fn split(text: &str) -> Result<Vec<Chunk>, String> {
    let (mut chunks, mut rest, mut trim) = (Vec::new(), text, false);
    loop {
        let (before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        let before = if trim { before.trim_start() } else { before };
        let Some(mut inside) = after else {
            chunks.push(Chunk::Text(before.to_owned()));
            return Ok(chunks);
        };
        // `{{- ` and ` -}}` trim what is beside them.
        let trims = inside.strip_prefix('-').filter(|rest| rest.starts_with(char::is_whitespace));
        chunks.push(Chunk::Text(trims.map_or(before, |_| before.trim_end()).to_owned()));
        inside = trims.unwrap_or(inside);
        let comment = inside.trim_start().starts_with("/*");
        let (tokens, after) = if comment {
            let (_, after) = inside.split_once("*/").ok_or("`/*` without `*/`")?;
            (Vec::new(), after)
        } else {
            lex(inside)?
        };
        let trimmed = after.trim_start().strip_prefix("-}}");
        trim = trimmed.is_some();
        rest =
            trimmed.or_else(|| after.trim_start().strip_prefix("}}")).ok_or("`{{` without `}}`")?;
        if !comment {
            chunks.push(Chunk::Action(tokens));
        }
    }
}

/// The tokens up to the action's end, and what begins there.
fn lex(inside: &str) -> Result<(Vec<Token>, &str), String> {
    let (mut tokens, mut rest) = (Vec::new(), inside);
    loop {
        rest = rest.trim_start();
        if rest.starts_with("}}") || rest.starts_with("-}}") {
            return Ok((tokens, rest));
        }
        let Some(first) = rest.chars().next() else { return Err("`{{` without `}}`".to_owned()) };
        match first {
            '(' | ')' | '|' => {
                rest = &rest[1..];
                tokens.push(match first {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    _ => Token::Pipe,
                });
            }
            ':' if rest.starts_with(":=") => {
                rest = &rest[2..];
                tokens.push(Token::Assign);
            }
            '"' | '`' => {
                let (text, after) = quoted(rest, first)?;
                tokens.push(Token::Text(text));
                rest = after;
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "()|\"`:}".contains(c);
                let length = rest.find(ends).unwrap_or(rest.len());
                if length == 0 {
                    return Err(format!("unexpected {first:?} in an action"));
                }
                let (word, after) = rest.split_at(length);
                rest = after;
                let number = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
                tokens.push(match word.parse::<f64>() {
                    Ok(value) if number => Token::Number(value),
                    _ => Token::Word(word.to_owned()),
                });
            }
        }
    }
}

fn quoted(rest: &str, quote: char) -> Result<(String, &str), String> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((out, &rest[at + 1..])),
            '\\' if quote == '"' => match chars.next().map(|(_, escape)| escape) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(plain @ ('"' | '\\' | '\'')) => out.push(plain),
                other => return Err(format!("unknown escape {other:?} in a string")),
            },
            c => out.push(c),
        }
    }
    Err("unterminated string in an action".to_owned())
}

struct Parser {
    chunks: Vec<Chunk>,
    next: usize,
    /// Those that are set somewhere before.
    variables: Vec<String>,
}

impl Parser {
    /// Up to the end, or to `else` and `end`, which are given back.
    fn pieces(&mut self, depth: usize) -> Result<(Vec<Piece>, Option<String>), String> {
        if depth > DEEPEST {
            return Err(format!("`if` nested deeper than {DEEPEST}"));
        }
        let mut pieces = Vec::new();
        while let Some(chunk) = self.chunks.get_mut(self.next) {
            self.next += 1;
            let tokens = match chunk {
                Chunk::Text(text) => {
                    let text = std::mem::take(text);
                    if !text.is_empty() {
                        pieces.push(Piece::Text(text));
                    }
                    continue;
                }
                Chunk::Action(tokens) => std::mem::take(tokens),
            };
            match tokens.as_slice() {
                [Token::Word(word), rest @ ..] if word == "if" => {
                    pieces.push(self.branches(rest, depth)?);
                }
                [Token::Word(word), ..] if word == "end" || word == "else" => {
                    // What follows an `else` is looked at by whoever opened the `if`.
                    self.next -= 1;
                    self.chunks[self.next] = Chunk::Action(tokens.clone());
                    return Ok((pieces, Some(word.clone())));
                }
                [Token::Word(word), ..] if STATEMENTS.contains(&word.as_str()) => {
                    return Err(format!("`{word}` is not supported"));
                }
                [Token::Word(name), Token::Assign, rest @ ..] => {
                    let value = self.whole(rest)?;
                    let name = variable(name)?;
                    self.variables.push(name.clone());
                    pieces.push(Piece::Let(name, value));
                }
                tokens => pieces.push(Piece::Print(self.whole(tokens)?)),
            }
        }
        Ok((pieces, None))
    }

    fn branches(&mut self, condition: &[Token], depth: usize) -> Result<Piece, String> {
        let (mut branches, mut otherwise) = (Vec::new(), None);
        let mut condition = Some(self.whole(condition)?);
        loop {
            let (pieces, ended) = self.pieces(depth + 1)?;
            let Some(Chunk::Action(tokens)) =
                self.chunks.get(self.next).filter(|_| ended.is_some())
            else {
                return Err("`if` without `end`".to_owned());
            };
            let tokens = tokens.clone();
            self.next += 1;
            match condition.take() {
                Some(condition) => branches.push((condition, pieces)),
                None => otherwise = Some(pieces),
            }
            match &tokens[1..] {
                [] if tokens[0] == Token::Word("end".to_owned()) => {
                    return Ok(Piece::If(branches, otherwise.unwrap_or_default()));
                }
                [] if otherwise.is_none() => {}
                [Token::Word(word), rest @ ..] if word == "if" && otherwise.is_none() => {
                    condition = Some(self.whole(rest)?);
                }
                _ => return Err("an `else` or `end` that does not fit".to_owned()),
            }
        }
    }

    fn whole(&self, tokens: &[Token]) -> Result<Pipeline, String> {
        let (pipeline, rest) = self.pipeline(tokens, 0)?;
        if rest.is_empty() { Ok(pipeline) } else { Err("`)` without `(`".to_owned()) }
    }

    fn pipeline<'t>(
        &self,
        mut tokens: &'t [Token],
        depth: usize,
    ) -> Result<(Pipeline, &'t [Token]), String> {
        if depth > DEEPEST {
            return Err(format!("parentheses nested deeper than {DEEPEST}"));
        }
        let mut pipeline = Vec::new();
        loop {
            let (mut function, mut terms) = (None, Vec::new());
            loop {
                match tokens {
                    [] | [Token::Close | Token::Pipe, ..] => break,
                    [Token::Open, rest @ ..] => {
                        let (inner, rest) = self.pipeline(rest, depth + 1)?;
                        let [Token::Close, rest @ ..] = rest else {
                            return Err("`(` without `)`".to_owned());
                        };
                        terms.push(Term::Parens(inner));
                        tokens = rest;
                    }
                    [token, rest @ ..] => {
                        let first = function.is_none() && terms.is_empty();
                        match token {
                            Token::Word(word) if first && Function::find(word).is_some() => {
                                function = Function::find(word);
                            }
                            token => terms.push(self.term(token)?),
                        }
                        tokens = rest;
                    }
                }
            }
            let piped = usize::from(!pipeline.is_empty());
            let command = match (function, terms.len()) {
                (Some(function), given) => {
                    function.check(given + piped)?;
                    Command::Call(function, terms)
                }
                (None, 1) if piped == 0 => Command::Term(terms.remove(0)),
                (None, 0) => return Err("an action without a value".to_owned()),
                (None, _) => return Err("a value is no function".to_owned()),
            };
            pipeline.push(command);
            match tokens {
                [Token::Pipe, rest @ ..] => tokens = rest,
                rest => return Ok((pipeline, rest)),
            }
        }
    }

    fn term(&self, token: &Token) -> Result<Term, String> {
        let word = match token {
            Token::Text(text) => return Ok(Term::Text(text.clone())),
            Token::Number(number) => return Ok(Term::Number(*number)),
            Token::Word(word) => word.as_str(),
            other => return Err(format!("unexpected {other:?}")),
        };
        let label = |prefix| {
            let name = word.strip_prefix(prefix);
            name.filter(|name| !name.is_empty())
        };
        if let Some(name) = label("$labels.").or(label("labels.")).or(label(".Labels.")) {
            return Ok(Term::Label(name.to_owned()));
        }
        if label("$externalLabels.").or(label(".ExternalLabels.")).is_some() {
            return Ok(Term::External);
        }
        match word {
            "value" => Ok(Term::Readable),
            "threshold" => Ok(Term::Threshold),
            "$value" | ".Value" => Ok(Term::Value),
            "$labels" | ".Labels" => Ok(Term::Labels),
            "true" | "false" => Ok(Term::Bool(word == "true")),
            _ if self.variables.iter().any(|known| known == word) => {
                Ok(Term::Variable(word.to_owned()))
            }
            _ if UNSUPPORTED.contains(&word) => Err(format!("`{word}` is not supported")),
            _ if Function::find(word).is_some() => {
                Err(format!("`{word}` with arguments must stand in parentheses"))
            }
            _ => Err(format!(
                "{word:?} is none of `value`, `threshold`, `labels.NAME`, `$value`, `$labels.NAME`, nor a function"
            )),
        }
    }
}

fn variable(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match name.strip_prefix('$') {
        Some(rest) if !rest.is_empty() && rest.chars().all(plain) => Ok(name.to_owned()),
        _ => Err(format!("{name:?} cannot be a variable")),
    }
}
