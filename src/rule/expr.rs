//! What a rule computes: one expression tree behind all faces, with PromQL's meaning.
//!
//! Builder and parser make it, [`bind`](super::bind) resolves it against the series that exist,
//! and it prints as PromQL.

use std::{fmt, time::Duration};

use regex_lite::{Regex, RegexBuilder};

pub(crate) use super::recorded::Recorded;

use crate::window::LOOKBACK;

/// The key of the metric's name among the labels, as in PromQL.
pub(crate) const NAME: &str = "__name__";

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Number(f64),
    /// The present value of every series that matches.
    Select(Selector),
    /// Their samples over a window; only as an argument.
    Range(Selector, Duration),
    Negate(Box<Expr>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(Function, Vec<Expr>),
    /// What a recording rule yields; of rule files only.
    #[cfg_attr(not(feature = "rule-files"), allow(dead_code))]
    Recorded(Recorded),
    /// What it was when an alert of the rule began, while that goes on. PromQL has no such thing:
    /// prints as what is frozen.
    Frozen(Box<Expr>),
}

/// Which series.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Selector {
    pub(crate) name: Option<String>,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) offset: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matcher {
    pub(crate) key: String,
    pub(crate) test: Test,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Equal(String),
    NotEqual(String),
    Matches(Pattern),
    NotMatches(Pattern),
}

/// A regular expression that must match the whole value.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, regex_lite::Error> {
        let whole = regex(&format!("^(?s:{text})$"));
        // Compiled alone too where a stray parenthesis could have paired with ours, and for an error
        // that is about what was given.
        if text.contains(')') || whole.is_err() {
            regex(text)?;
        }
        Ok(Self { text: text.to_owned(), regex: whole? })
    }
}

/// What a compiled pattern may take: repetitions of repetitions are bombs.
const LARGEST_PATTERN: usize = 64 << 10;

/// A pattern of bounded size.
pub(crate) fn regex(pattern: &str) -> Result<Regex, regex_lite::Error> {
    RegexBuilder::new(pattern).size_limit(LARGEST_PATTERN).build()
}

impl Test {
    /// Whether a label's value passes; a label that is absent has the empty value.
    pub(crate) fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::NotEqual(unwanted) => value != unwanted,
            Self::Matches(pattern) => pattern.regex.is_match(value),
            Self::NotMatches(pattern) => !pattern.regex.is_match(value),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) left: Expr,
    pub(crate) right: Expr,
    /// A comparison that yields 0 or 1 instead of filtering.
    pub(crate) yields_bool: bool,
    pub(crate) matching: Matching,
}

/// Which samples of both sides belong together.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Matching {
    pub(crate) on: bool,
    /// Those compared (`on`) or left out (`ignoring`).
    pub(crate) labels: Vec<String>,
    pub(crate) group: Group,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Group {
    /// One of one side belongs to at most one of the other.
    #[default]
    None,
    /// `group_left`: many on the left; these labels are taken from the right.
    Left(Vec<String>),
    /// `group_right`.
    Right(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
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
}

impl BinaryOp {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Power => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// The higher, the tighter it binds.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            _ if self.is_comparison() => 3,
            Self::Add | Self::Subtract => 4,
            Self::Power => 7,
            _ => 5,
        }
    }

    pub(crate) fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::GreaterEqual
                | Self::Less
                | Self::LessEqual
        )
    }

    pub(crate) fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// Between multiplication and power, as in PromQL: `-2 ^ 2` is -4.
pub(crate) const NEGATE_PRECEDENCE: u8 = 6;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) of: Expr,
    /// The k of `topk`, the φ of `quantile`.
    pub(crate) parameter: Option<Expr>,
    pub(crate) without: bool,
    pub(crate) labels: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Quantile,
    Topk,
    Bottomk,
}

impl AggregateOp {
    pub(crate) const ALL: [Self; 11] = [
        Self::Sum,
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::Count,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::Quantile,
        Self::Topk,
        Self::Bottomk,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Quantile => "quantile",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
        }
    }

    /// Whether what comes out is measured in what went in.
    pub(crate) fn keeps_unit(self) -> bool {
        !matches!(self, Self::Count | Self::Group | Self::Stdvar)
    }

    pub(crate) fn has_parameter(self) -> bool {
        matches!(self, Self::Quantile | Self::Topk | Self::Bottomk)
    }
}

/// What an argument or a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Scalar,
    Vector,
    Range,
}

impl Type {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Range => "range vector",
        }
    }
}

macro_rules! functions {
    ($($variant:ident $name:literal ($($argument:ident),*) $(optional $optional:literal)? -> $result:ident;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Function { $($variant),* }

        impl Function {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Its arguments' types, of which the last may be left out that many times, and its
            /// result's.
            pub(crate) fn signature(self) -> (&'static [Type], usize, Type) {
                match self {
                    $(Self::$variant =>
                        (&[$(Type::$argument),*], 0 $(+ $optional)?, Type::$result)),*
                }
            }
        }
    };
}

functions! {
    Rate "rate" (Range) -> Vector;
    Increase "increase" (Range) -> Vector;
    Delta "delta" (Range) -> Vector;
    Irate "irate" (Range) -> Vector;
    Idelta "idelta" (Range) -> Vector;
    Deriv "deriv" (Range) -> Vector;
    PredictLinear "predict_linear" (Range, Scalar) -> Vector;
    Changes "changes" (Range) -> Vector;
    Resets "resets" (Range) -> Vector;
    AvgOverTime "avg_over_time" (Range) -> Vector;
    SumOverTime "sum_over_time" (Range) -> Vector;
    MinOverTime "min_over_time" (Range) -> Vector;
    MaxOverTime "max_over_time" (Range) -> Vector;
    CountOverTime "count_over_time" (Range) -> Vector;
    LastOverTime "last_over_time" (Range) -> Vector;
    PresentOverTime "present_over_time" (Range) -> Vector;
    StddevOverTime "stddev_over_time" (Range) -> Vector;
    StdvarOverTime "stdvar_over_time" (Range) -> Vector;
    QuantileOverTime "quantile_over_time" (Scalar, Range) -> Vector;
    AbsentOverTime "absent_over_time" (Range) -> Vector;
    HistogramQuantile "histogram_quantile" (Scalar, Vector) -> Vector;
    HistogramFraction "histogram_fraction" (Scalar, Scalar, Vector) -> Vector;
    HistogramCount "histogram_count" (Vector) -> Vector;
    HistogramSum "histogram_sum" (Vector) -> Vector;
    HistogramAvg "histogram_avg" (Vector) -> Vector;
    Absent "absent" (Vector) -> Vector;
    Abs "abs" (Vector) -> Vector;
    Ceil "ceil" (Vector) -> Vector;
    Floor "floor" (Vector) -> Vector;
    Round "round" (Vector, Scalar) optional 1 -> Vector;
    Clamp "clamp" (Vector, Scalar, Scalar) -> Vector;
    ClampMin "clamp_min" (Vector, Scalar) -> Vector;
    ClampMax "clamp_max" (Vector, Scalar) -> Vector;
    Sgn "sgn" (Vector) -> Vector;
    Sqrt "sqrt" (Vector) -> Vector;
    Exp "exp" (Vector) -> Vector;
    Ln "ln" (Vector) -> Vector;
    Log2 "log2" (Vector) -> Vector;
    Log10 "log10" (Vector) -> Vector;
    Time "time" () -> Scalar;
    Timestamp "timestamp" (Vector) -> Vector;
    ToVector "vector" (Scalar) -> Vector;
    ToScalar "scalar" (Vector) -> Scalar;
}

impl Function {
    /// Whether what comes out is measured in what went in.
    pub(crate) fn keeps_unit(self) -> bool {
        matches!(
            self,
            Self::PredictLinear
                | Self::AvgOverTime
                | Self::MinOverTime
                | Self::MaxOverTime
                | Self::LastOverTime
                | Self::SumOverTime
                | Self::StddevOverTime
                | Self::QuantileOverTime
                | Self::Delta
                | Self::Idelta
                | Self::Abs
        )
    }
}

impl Expr {
    pub(crate) fn binary(op: BinaryOp, left: Self, right: Self) -> Self {
        Self::matched(op, left, right, Matching::default())
    }

    pub(crate) fn matched(op: BinaryOp, left: Self, right: Self, matching: Matching) -> Self {
        Self::Binary(Box::new(Binary { op, left, right, yields_bool: false, matching }))
    }

    pub(crate) fn aggregate(op: AggregateOp, of: Self, labels: Vec<String>) -> Self {
        Self::Aggregate(Box::new(Aggregate { op, of, parameter: None, without: false, labels }))
    }

    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::Number(_) => Type::Scalar,
            Self::Select(_) | Self::Aggregate(_) | Self::Recorded(_) => Type::Vector,
            Self::Range(..) => Type::Range,
            Self::Negate(of) | Self::Frozen(of) => of.kind(),
            Self::Binary(binary) => match (binary.left.kind(), binary.right.kind()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Self::Call(function, _) => function.signature().2,
        }
    }

    /// The same without the comparisons that filter: what is judged, whether or not it is bad.
    pub(crate) fn unfiltered(&self) -> Self {
        match self {
            Self::Binary(binary)
                if binary.op.is_comparison()
                    && !binary.yields_bool
                    && binary.left.kind() == Type::Vector =>
            {
                binary.left.unfiltered()
            }
            Self::Binary(binary) if matches!(binary.op, BinaryOp::And | BinaryOp::Unless) => {
                binary.left.unfiltered()
            }
            Self::Binary(binary) if binary.op == BinaryOp::Or => Self::matched(
                BinaryOp::Or,
                binary.left.unfiltered(),
                binary.right.unfiltered(),
                binary.matching.clone(),
            ),
            other => other.clone(),
        }
    }

    /// Calls `each` with this and every expression below it.
    pub(crate) fn walk<'a>(&'a self, each: &mut impl FnMut(&'a Self)) {
        each(self);
        match self {
            Self::Number(_) | Self::Select(_) | Self::Range(..) => {}
            Self::Negate(of) | Self::Frozen(of) => of.walk(each),
            Self::Binary(binary) => {
                binary.left.walk(each);
                binary.right.walk(each);
            }
            Self::Aggregate(aggregate) => {
                if let Some(parameter) = &aggregate.parameter {
                    parameter.walk(each);
                }
                aggregate.of.walk(each);
            }
            Self::Call(_, arguments) => {
                for argument in arguments {
                    argument.walk(each);
                }
            }
            Self::Recorded(recorded) => recorded.recordings.iter().for_each(|r| r.expr.walk(each)),
        }
    }

    /// How many regular expressions are in it, those of recording rules counted each time.
    #[cfg(feature = "rule-files")]
    pub(crate) fn patterns(&self) -> usize {
        let of = |selector: &Selector| {
            let test = |m: &&Matcher| matches!(m.test, Test::Matches(_) | Test::NotMatches(_));
            selector.matchers.iter().filter(test).count()
        };
        let mut all = 0;
        self.walk(&mut |expr| {
            all += match expr {
                Self::Select(selector) | Self::Range(selector, _) => of(selector),
                Self::Recorded(recorded) => of(&recorded.selector),
                _ => 0,
            };
        });
        all
    }

    pub(crate) fn selectors(&self) -> Vec<&Selector> {
        let mut found = Vec::new();
        self.walk(&mut |expr| {
            if let Self::Select(selector) | Self::Range(selector, _) = expr {
                found.push(selector);
            }
        });
        found
    }

    /// Calls `each` with every window: of what, how far back, and whether it is surely one of
    /// histograms.
    pub(crate) fn windows(
        &self,
        histogram: bool,
        each: &mut impl FnMut(&Selector, Duration, bool),
    ) {
        match self {
            Self::Number(_) => {}
            Self::Select(selector) if selector.offset.is_zero() => {}
            Self::Select(selector) => {
                each(selector, LOOKBACK.saturating_add(selector.offset), false);
            }
            Self::Range(selector, range) => {
                each(selector, range.saturating_add(selector.offset), histogram);
            }
            Self::Negate(of) | Self::Frozen(of) => of.windows(histogram, each),
            Self::Binary(binary) => {
                binary.left.windows(histogram, each);
                binary.right.windows(histogram, each);
            }
            Self::Aggregate(aggregate) => aggregate.of.windows(histogram, each),
            Self::Call(function, arguments) => {
                let histogram = match function {
                    Function::Rate | Function::Increase => histogram,
                    function => function.as_str().starts_with("histogram_"),
                };
                arguments.iter().for_each(|argument| argument.windows(histogram, each));
            }
            Self::Recorded(recorded) => {
                recorded.recordings.iter().for_each(|one| one.expr.windows(histogram, each));
            }
        }
    }

    fn precedence(&self) -> u8 {
        match self {
            Self::Binary(binary) => binary.op.precedence(),
            Self::Negate(_) => NEGATE_PRECEDENCE,
            Self::Frozen(of) => of.precedence(),
            Self::Number(number) if number.is_sign_negative() && !number.is_nan() => {
                NEGATE_PRECEDENCE
            }
            _ => u8::MAX,
        }
    }
}

/// Prints within parentheses if it binds looser than `at_least`.
struct Operand<'a>(&'a Expr, u8);

impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.precedence() < self.1 { write!(f, "({})", self.0) } else { self.0.fmt(f) }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => Number(*number).fmt(f),
            Self::Select(selector) => {
                selector.fmt(f)?;
                selector.fmt_offset(f)
            }
            Self::Range(selector, range) => {
                write!(f, "{selector}[{}]", Span(*range))?;
                selector.fmt_offset(f)
            }
            Self::Negate(of) => write!(f, "-{}", Operand(of, NEGATE_PRECEDENCE)),
            Self::Frozen(of) => of.fmt(f),
            Self::Recorded(recorded) => recorded.selector.fmt(f),
            Self::Binary(binary) => {
                let own = binary.op.precedence();
                // All associate to the left but power.
                let (left, right) = match binary.op {
                    BinaryOp::Power => (own + 1, own),
                    _ => (own, own + 1),
                };
                write!(f, "{} {}", Operand(&binary.left, left), binary.op.as_str())?;
                if binary.yields_bool {
                    f.write_str(" bool")?;
                }
                binary.matching.fmt(f)?;
                write!(f, " {}", Operand(&binary.right, right))
            }
            Self::Aggregate(aggregate) => {
                f.write_str(aggregate.op.as_str())?;
                if aggregate.without || !aggregate.labels.is_empty() {
                    let word = if aggregate.without { "without" } else { "by" };
                    write!(f, " {word} ({}) ", Keys(&aggregate.labels))?;
                }
                match &aggregate.parameter {
                    Some(parameter) => write!(f, "({parameter}, {})", aggregate.of),
                    None => write!(f, "({})", aggregate.of),
                }
            }
            Self::Call(function, arguments) => {
                write!(f, "{}(", function.as_str())?;
                for (at, argument) in arguments.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    argument.fmt(f)?;
                }
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.on || !self.labels.is_empty() || self.group != Group::None {
            let word = if self.on { "on" } else { "ignoring" };
            write!(f, " {word} ({})", Keys(&self.labels))?;
        }
        match &self.group {
            Group::None => Ok(()),
            Group::Left(labels) => write!(f, " group_left ({})", Keys(labels)),
            Group::Right(labels) => write!(f, " group_right ({})", Keys(labels)),
        }
    }
}

/// Whether PromQL takes it without quotes, as a metric's name (with colons) or a label's.
pub(crate) fn is_plain(name: &str, metric: bool) -> bool {
    let head = |c: char| c.is_ascii_alphabetic() || c == '_' || (metric && c == ':');
    name.starts_with(head) && name.chars().all(|c| head(c) || c.is_ascii_digit())
}

/// Words the grammar would take for itself where a metric's name may stand.
const RESERVED: &[&str] = &[
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "and",
    "or",
    "unless",
    "atan2",
    "inf",
    "nan",
    "start",
    "end",
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "group",
    "stddev",
    "stdvar",
    "quantile",
    "topk",
    "bottomk",
    "count_values",
    "limitk",
    "limit_ratio",
];

/// A label's key, quoted where it must be.
struct Key<'a>(&'a str);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0, false) { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

struct Keys<'a>(&'a [String]);

impl fmt::Display for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, key) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            Key(key).fmt(f)?;
        }
        Ok(())
    }
}

/// A PromQL string.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // As itself, Prometheus takes it for broken UTF-8.
                char::REPLACEMENT_CHARACTER => f.write_str("\\ufffd")?,
                c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = |name: &str| name.to_ascii_lowercase();
        let bare = self
            .name
            .as_deref()
            .filter(|name| is_plain(name, true) && !RESERVED.contains(&lower(name).as_str()));
        if let Some(name) = bare {
            f.write_str(name)?;
            if self.matchers.is_empty() {
                return Ok(());
            }
        }
        f.write_str("{")?;
        let quoted = self.name.as_deref().filter(|_| bare.is_none());
        if let Some(name) = quoted {
            Quoted(name).fmt(f)?;
        }
        for (at, matcher) in self.matchers.iter().enumerate() {
            if at > 0 || quoted.is_some() {
                f.write_str(", ")?;
            }
            let (op, value) = match &matcher.test {
                Test::Equal(value) => ("=", value),
                Test::NotEqual(value) => ("!=", value),
                Test::Matches(pattern) => ("=~", &pattern.text),
                Test::NotMatches(pattern) => ("!~", &pattern.text),
            };
            write!(f, "{}{op}{}", Key(&matcher.key), Quoted(value))?;
        }
        f.write_str("}")
    }
}

impl Selector {
    fn fmt_offset(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.offset.is_zero() { Ok(()) } else { write!(f, " offset {}", Span(self.offset)) }
    }
}

/// A number as PromQL reads it back.
pub(crate) struct Number(pub(crate) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = *self;
        let magnitude = number.abs();
        if number.is_nan() {
            f.write_str("NaN")
        } else if number.is_infinite() {
            f.write_str(if number > 0.0 { "Inf" } else { "-Inf" })
        } else if magnitude != 0.0 && !(1e-6..1e15).contains(&magnitude) {
            write!(f, "{number:e}")
        } else {
            write!(f, "{number}")
        }
    }
}

/// A duration as Prometheus writes it: `1m30s`.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]
        {
            if millis >= length {
                write!(f, "{}{unit}", millis / length)?;
                millis %= length;
            }
        }
        Ok(())
    }
}
