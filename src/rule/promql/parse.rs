//! PromQL's grammar, by precedence climbing.

use std::time::Duration;

use super::{
    DEEPEST, LONGEST, Refusal, check,
    lex::{Token, lex},
};
use crate::rule::expr::{
    Aggregate, AggregateOp, Binary, BinaryOp, Expr, Function, Group, Matcher, Matching, NAME,
    NEGATE_PRECEDENCE, Pattern, Selector, Test,
};

/// What PromQL has and we have not; refused by name.
const UNSUPPORTED: &[&str] = &[
    "count_values",
    "limitk",
    "limit_ratio",
    "label_replace",
    "label_join",
    "sort",
    "sort_desc",
    "sort_by_label",
    "sort_by_label_desc",
    "holt_winters",
    "double_exponential_smoothing",
    "mad_over_time",
    "first_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "ts_of_last_over_time",
    "ts_of_first_over_time",
    "histogram_stddev",
    "histogram_stdvar",
    "info",
    "minute",
    "hour",
    "day_of_week",
    "day_of_month",
    "day_of_year",
    "days_in_month",
    "month",
    "year",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "sin",
    "sinh",
    "tan",
    "tanh",
    "deg",
    "rad",
    "pi",
];

/// The expression, of instant-vector or scalar type.
///
/// # Errors
/// What is wrong or not supported, and where.
pub(crate) fn parse(text: &str) -> Result<Expr, Refusal> {
    if text.len() > LONGEST {
        let reason = format!("an expression of {} bytes, allowed are {LONGEST}", text.len());
        return Err(Refusal::at(text, 0, reason));
    }
    let tokens = lex(text).map_err(|(at, reason)| Refusal::at(text, at, reason))?;
    let mut parser = Parser { text, tokens, next: 0, depth: 0 };
    let start = parser.at();
    let (expr, _) = parser.expression(0)?;
    match parser.peek() {
        Token::End => {}
        other => return Err(parser.refuse(format!("unexpected {}", name(other)))),
    }
    check::result(&expr).map_err(|reason| Refusal::at(text, start, reason))?;
    Ok(expr)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

/// An expression and how deep it is.
type Parsed = Result<(Expr, usize), Refusal>;

fn name(token: &Token) -> String {
    match token {
        Token::Word(word) => format!("{word:?}"),
        Token::Number(number) => format!("number {number}"),
        Token::Duration(duration) => format!("duration {duration:?}"),
        Token::Text(text) => format!("string {text:?}"),
        Token::Sign(sign) => format!("{sign:?}"),
        Token::End => "end".to_owned(),
    }
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn peek_second(&self) -> &Token {
        self.tokens.get(self.next + 1).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn refuse(&self, reason: impl Into<String>) -> Refusal {
        Refusal::at(self.text, self.at(), reason)
    }

    fn refuse_at(&self, at: usize, reason: impl Into<String>) -> Refusal {
        Refusal::at(self.text, at, reason)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let hit = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.next += usize::from(hit);
        hit
    }

    fn expects(&mut self, sign: &str) -> Result<(), Refusal> {
        if self.takes(sign) {
            return Ok(());
        }
        Err(self.refuse(format!("expected {sign:?}, found {}", name(self.peek()))))
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let hit = matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word));
        self.next += usize::from(hit);
        hit
    }

    fn nested(&mut self, inner: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.refuse(format!("nested deeper than {DEEPEST}")));
        }
        let parsed = inner(self);
        self.depth -= 1;
        parsed
    }

    fn deeper(&self, at: usize, depth: usize) -> Result<usize, Refusal> {
        // Chains nest to the left as deeply as parentheses nest.
        if depth < 2 * DEEPEST {
            return Ok(depth + 1);
        }
        Err(self
            .refuse_at(at, format!("more than {} operations on top of each other", 2 * DEEPEST)))
    }

    fn operator(&self) -> Option<BinaryOp> {
        use BinaryOp::*;
        let all = [
            Add,
            Subtract,
            Multiply,
            Divide,
            Modulo,
            Power,
            Atan2,
            Equal,
            NotEqual,
            Greater,
            GreaterEqual,
            Less,
            LessEqual,
            And,
            Or,
            Unless,
        ];
        all.into_iter().find(|op| match self.peek() {
            Token::Sign(sign) => *sign == op.as_str(),
            Token::Word(word) => word.eq_ignore_ascii_case(op.as_str()),
            _ => false,
        })
    }

    fn expression(&mut self, least: u8) -> Parsed {
        self.nested(|parser| {
            let (mut left, mut depth) = parser.unary()?;
            while let Some(op) = parser.operator().filter(|op| op.precedence() >= least) {
                let at = parser.at();
                parser.advance();
                let yields_bool = parser.takes_word("bool");
                let matching = parser.matching()?;
                // All but power associate to the left.
                let right_least = op.precedence() + u8::from(op != BinaryOp::Power);
                let (right, right_depth) = parser.expression(right_least)?;
                depth = parser.deeper(at, depth.max(right_depth))?;
                let binary = Binary { op, left, right, yields_bool, matching };
                check::binary(&binary).map_err(|reason| parser.refuse_at(at, reason))?;
                left = Expr::Binary(Box::new(binary));
            }
            Ok((left, depth))
        })
    }

    fn matching(&mut self) -> Result<Matching, Refusal> {
        let mut matching = Matching::default();
        if self.takes_word("on") {
            matching.on = true;
            matching.labels = self.labels()?;
        } else if self.takes_word("ignoring") {
            matching.labels = self.labels()?;
        } else {
            return Ok(matching);
        }
        let left = self.takes_word("group_left");
        if left || self.takes_word("group_right") {
            let open = matches!(self.peek(), Token::Sign("("));
            let labels = if open { self.labels()? } else { Vec::new() };
            matching.group = if left { Group::Left(labels) } else { Group::Right(labels) };
        }
        Ok(matching)
    }

    fn labels(&mut self) -> Result<Vec<String>, Refusal> {
        self.expects("(")?;
        let mut labels = Vec::new();
        while !self.takes(")") {
            match self.advance() {
                Token::Word(label) | Token::Text(label) => labels.push(label),
                other => {
                    self.next -= 1;
                    return Err(self.refuse(format!("expected a label, found {}", name(&other))));
                }
            }
            if !self.takes(",") {
                self.expects(")")?;
                break;
            }
        }
        Ok(labels)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        if self.takes("+") {
            return self.expression(NEGATE_PRECEDENCE);
        }
        if self.takes("-") {
            let (of, depth) = self.expression(NEGATE_PRECEDENCE)?;
            check::operand(&of).map_err(|reason| self.refuse_at(at, reason))?;
            return Ok(match of {
                Expr::Number(number) => (Expr::Number(-number), depth),
                of => (Expr::Negate(Box::new(of)), self.deeper(at, depth)?),
            });
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        match self.peek().clone() {
            Token::Number(number) => {
                self.advance();
                Ok((Expr::Number(number), 1))
            }
            // Prometheus 3 takes a duration for its seconds.
            Token::Duration(duration) => {
                self.advance();
                Ok((Expr::Number(duration.as_secs_f64()), 1))
            }
            Token::Sign("(") => {
                self.advance();
                let inner = self.expression(0)?;
                self.expects(")")?;
                Ok(inner)
            }
            Token::Sign("{") => Ok((Expr::Select(self.selector(None)?), 1)),
            Token::Word(word) => self.word(at, &word),
            Token::Text(_) => Err(self.refuse("a string is no expression a rule can use")),
            other => Err(self.refuse(format!("expected an expression, found {}", name(&other)))),
        }
    }

    fn word(&mut self, at: usize, word: &str) -> Parsed {
        let lower = word.to_ascii_lowercase();
        let called = matches!(self.peek_second(), Token::Sign("("));
        let grouped = matches!(self.peek_second(), Token::Word(next)
            if ["by", "without"].iter().any(|word| next.eq_ignore_ascii_case(word)));
        if UNSUPPORTED.contains(&lower.as_str()) && (called || grouped) {
            return Err(self.refuse(format!("{word} is not supported")));
        }
        let aggregate = AggregateOp::ALL.into_iter().find(|op| op.as_str() == lower);
        if let Some(op) = aggregate.filter(|_| called || grouped) {
            self.advance();
            return self.aggregate(at, op);
        }
        if called {
            let function = Function::ALL.iter().find(|function| function.as_str() == word);
            let Some(function) = function else {
                return Err(self.refuse(format!("unknown function {word}")));
            };
            self.advance();
            return self.call(at, *function);
        }
        self.advance();
        match lower.as_str() {
            "inf" => return Ok((Expr::Number(f64::INFINITY), 1)),
            "nan" => return Ok((Expr::Number(f64::NAN), 1)),
            "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" | "bool"
            | "offset" | "and" | "or" | "unless" | "atan2" => {
                return Err(self.refuse_at(at, format!("unexpected {word:?}")));
            }
            _ => {}
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if !word.chars().all(plain) {
            return Err(self.refuse_at(at, format!("{word:?} must be quoted: {{\"{word}\"}}")));
        }
        let selector = if matches!(self.peek(), Token::Sign("{")) {
            self.selector(Some(word.to_owned()))?
        } else {
            Selector { name: Some(word.to_owned()), ..Selector::default() }
        };
        Ok((Expr::Select(selector), 1))
    }

    fn selector(&mut self, name: Option<String>) -> Result<Selector, Refusal> {
        let start = self.at();
        let mut selector = Selector { name, ..Selector::default() };
        self.expects("{")?;
        while !self.takes("}") {
            self.matcher(&mut selector)?;
            if !self.takes(",") {
                self.expects("}")?;
                break;
            }
        }
        let bites = |matcher: &Matcher| !matcher.test.accepts("");
        if selector.name.is_none() && !selector.matchers.iter().any(bites) {
            let reason = "a selector must have a matcher that does not match the empty string";
            return Err(self.refuse_at(start, reason));
        }
        Ok(selector)
    }

    fn matcher(&mut self, selector: &mut Selector) -> Result<(), Refusal> {
        let at = self.at();
        let key = match self.advance() {
            Token::Word(key) => key,
            Token::Text(text) => {
                let comparing = ["=", "!=", "=~", "!~"];
                if !matches!(self.peek(), Token::Sign(sign) if comparing.contains(sign)) {
                    if selector.name.is_some() {
                        return Err(self.refuse_at(at, "the metric's name is given twice"));
                    }
                    selector.name = Some(text);
                    return Ok(());
                }
                text
            }
            other => {
                return Err(self.refuse_at(at, format!("expected a label, found {}", name(&other))));
            }
        };
        let sign = self.advance();
        let value_at = self.at();
        let Token::Text(value) = self.advance() else {
            return Err(self.refuse_at(value_at, "expected a quoted label value"));
        };
        let pattern = |value: &str| {
            Pattern::new(value)
                .map_err(|error| self.refuse_at(value_at, format!("pattern {value:?}: {error}")))
        };
        let test = match sign {
            Token::Sign("=") => Test::Equal(value),
            Token::Sign("!=") => Test::NotEqual(value),
            Token::Sign("=~") => Test::Matches(pattern(&value)?),
            Token::Sign("!~") => Test::NotMatches(pattern(&value)?),
            other => {
                let reason =
                    format!("expected =, !=, =~ or !~ after {key:?}, found {}", name(&other));
                return Err(self.refuse_at(at, reason));
            }
        };
        match (key.as_str(), test) {
            (NAME, Test::Equal(_)) if selector.name.is_some() => {
                return Err(self.refuse_at(at, "the metric's name is given twice"));
            }
            (NAME, Test::Equal(value)) => selector.name = Some(value),
            (_, test) => selector.matchers.push(Matcher { key, test }),
        }
        Ok(())
    }

    fn postfix(&mut self, (mut expr, depth): (Expr, usize)) -> Parsed {
        loop {
            let here = self.at();
            if self.takes("[") {
                let range = self.duration()?;
                if matches!(self.peek(), Token::Sign(":"))
                    || matches!(self.peek(), Token::Word(w) if w.starts_with(':'))
                {
                    return Err(self.refuse_at(here, "a subquery is not supported"));
                }
                self.expects("]")?;
                expr = match expr {
                    Expr::Select(selector) if selector.offset.is_zero() => {
                        Expr::Range(selector, range)
                    }
                    _ => {
                        return Err(
                            self.refuse_at(here, "a range is only allowed after a selector")
                        );
                    }
                };
            } else if self.takes_word("offset") {
                if matches!(self.peek(), Token::Sign("-")) {
                    return Err(
                        self.refuse("a negative offset is not supported: it looks into the future")
                    );
                }
                let offset = self.duration()?;
                match &mut expr {
                    Expr::Select(selector) | Expr::Range(selector, _)
                        if selector.offset.is_zero() =>
                    {
                        selector.offset = offset;
                    }
                    _ => {
                        return Err(
                            self.refuse_at(here, "an offset is only allowed once after a selector")
                        );
                    }
                }
            } else if matches!(self.peek(), Token::Sign("@")) {
                return Err(self.refuse("the @ modifier is not supported"));
            } else {
                return Ok((expr, depth));
            }
        }
    }

    fn duration(&mut self) -> Result<Duration, Refusal> {
        let at = self.at();
        match self.advance() {
            Token::Duration(duration) => Ok(duration),
            // Prometheus 3 takes a number for seconds.
            Token::Number(seconds) if seconds >= 0.0 => Duration::try_from_secs_f64(seconds)
                .map_err(|error| self.refuse_at(at, error.to_string())),
            other => {
                Err(self.refuse_at(at, format!("expected a duration, found {}", name(&other))))
            }
        }
    }

    fn aggregate(&mut self, at: usize, op: AggregateOp) -> Parsed {
        let mut grouping = self.grouping()?;
        let (mut arguments, depth) = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let (without, labels) = grouping.unwrap_or_default();
        let wanted = 1 + usize::from(op.has_parameter());
        let found = arguments.len();
        let (Some(of), true) = (arguments.pop(), found == wanted) else {
            let reason = format!("{} takes {wanted} arguments, found {found}", op.as_str());
            return Err(self.refuse_at(at, reason));
        };
        let aggregate = Aggregate { op, of, parameter: arguments.pop(), without, labels };
        check::aggregate(&aggregate).map_err(|reason| self.refuse_at(at, reason))?;
        Ok((Expr::Aggregate(Box::new(aggregate)), self.deeper(at, depth)?))
    }

    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, Refusal> {
        let without = self.takes_word("without");
        if without || self.takes_word("by") {
            return Ok(Some((without, self.labels()?)));
        }
        Ok(None)
    }

    fn arguments(&mut self) -> Result<(Vec<Expr>, usize), Refusal> {
        self.expects("(")?;
        let (mut arguments, mut depth) = (Vec::new(), 0);
        while !self.takes(")") {
            let (argument, its_depth) = self.expression(0)?;
            arguments.push(argument);
            depth = depth.max(its_depth);
            if !self.takes(",") {
                self.expects(")")?;
                break;
            }
        }
        Ok((arguments, depth))
    }

    fn call(&mut self, at: usize, function: Function) -> Parsed {
        let (arguments, depth) = self.arguments()?;
        check::call(function, &arguments).map_err(|reason| self.refuse_at(at, reason))?;
        Ok((Expr::Call(function, arguments), self.deeper(at, depth)?))
    }
}
