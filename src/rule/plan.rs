//! A bound expression: every name resolved to what the window store follows, every pairing of
//! labels to a list of indices. Evaluating it is arithmetic over *slots*.
//!
//! A slot is one label set an expression may yield. Which slots there are changes only with the
//! set of series ([`bind`](super::bind)); which of them are present, every tick. So a tick looks
//! at no label and allocates nothing for plain numbers.

use std::borrow::Cow;

use super::{
    aggregate::Accumulator,
    binary::{Pairing, SetOp},
    expr::{AggregateOp, BinaryOp, Function},
    number::{self, Hist, Scratch},
    range,
};
use crate::window::{CounterId, FloatId, HistogramId, HistogramWindowId, SpanId, Store};

/// Which node of a plan.
pub(crate) type NodeId = usize;

/// What a slot holds at a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Absent,
    Float(f64),
    /// Where it is in the [`Scratch`] of this evaluation.
    Histogram(u32),
    /// As the window store has it, for who only [asks](number::ask); where that is in the
    /// [`Scratch`].
    Gained(u32),
}

impl Value {
    #[inline]
    pub(crate) fn is_present(self) -> bool {
        !matches!(self, Self::Absent)
    }

    #[inline]
    pub(crate) fn float(self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(value),
            _ => None,
        }
    }
}

/// Why an evaluation gave no result; the alerts of the rule stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) Cow<'static, str>);

/// What an evaluation sees besides the plan.
pub(crate) struct Context<'a> {
    pub(crate) store: &'a Store,
    /// Seconds since 1970.
    pub(crate) wall: f64,
    pub(crate) scratch: &'a mut Scratch,
}

/// One source of an instant selector.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    Now(FloatId),
    Then(FloatId, SpanId),
    Histogram(HistogramId),
}

/// One source of a range selector.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Window {
    Samples(FloatId),
    Counter(CounterId),
    Histogram(HistogramWindowId),
}

/// What a gain is made into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// That of the whole window, as PromQL has it.
    Window,
    /// A rate over what was seen of it.
    Seen,
    /// What was gained between the samples, as it is.
    Gain,
}

#[derive(Debug)]
pub(crate) enum Op {
    Number(f64),
    Time,
    Instant(Vec<Source>),
    /// `timestamp(selector)`.
    Timestamp(Vec<Source>),
    /// `timestamp` of anything else.
    Evaluated(NodeId),
    Range {
        function: Function,
        span: SpanId,
        scale: Scale,
        windows: Vec<Window>,
        parameter: Option<NodeId>,
        /// How many take its histograms for more than to ask them something: if none does, they
        /// are not copied.
        whole: u32,
    },
    /// `absent` and `absent_over_time`: one slot, present when no slot of the argument is.
    Absent(NodeId),
    Negate(NodeId),
    /// One slot each of nodes before.
    Pick(Vec<(NodeId, u32)>),
    /// Each slot as it was when it was frozen.
    Frozen {
        of: NodeId,
        frozen: Vec<bool>,
    },
    /// A function of each value and of scalars.
    Map {
        function: Function,
        of: NodeId,
        parameters: Vec<NodeId>,
    },
    /// Of histograms, one by one.
    HistogramMap {
        function: Function,
        of: NodeId,
        from: Vec<u32>,
        parameters: Vec<NodeId>,
    },
    /// `histogram_quantile` of series with `le`; see [`super::classic`].
    Classic(Box<super::classic::Classic>),
    /// A scalar on one side: `swapped` if on the left.
    WithScalar {
        op: BinaryOp,
        yields_bool: bool,
        vector: NodeId,
        scalar: NodeId,
        swapped: bool,
    },
    Scalars {
        op: BinaryOp,
        left: NodeId,
        right: NodeId,
    },
    Pair(Box<Pairing>),
    Set(Box<SetOp>),
    Aggregate {
        op: AggregateOp,
        of: NodeId,
        parameter: Option<NodeId>,
        group: Vec<u32>,
        groups: Vec<Accumulator>,
    },
    ToVector(NodeId),
    ToScalar(NodeId),
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) out: Vec<Value>,
    /// Slots whose label sets are equal, so that at most one of each may be present.
    pub(crate) clashes: Vec<Vec<u32>>,
}

/// Nodes in the order in which they can be evaluated.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<Node>,
}

impl Plan {
    pub(crate) fn evaluate(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        for at in 0..self.nodes.len() {
            let (below, rest) = self.nodes.split_at_mut(at);
            if let Some(node) = rest.first_mut() {
                node.evaluate(below, cx)?;
            }
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn out(&self, node: NodeId) -> &[Value] {
        &self.nodes[node].out
    }
}

/// A node's values; a node is only ever asked for those before it.
#[inline]
pub(crate) fn values(nodes: &[Node], at: NodeId) -> &[Value] {
    &nodes[at].out
}

/// A scalar node's number.
#[inline]
pub(crate) fn scalar(nodes: &[Node], at: NodeId) -> f64 {
    nodes[at].out.first().and_then(|value| value.float()).unwrap_or(f64::NAN)
}

impl Node {
    fn evaluate(&mut self, below: &[Node], cx: &mut Context<'_>) -> Result<(), Failure> {
        let out = &mut self.out;
        match &mut self.op {
            Op::Number(number) => out[0] = Value::Float(*number),
            Op::Time => out[0] = Value::Float(cx.wall),
            Op::Instant(sources) => {
                for (out, source) in out.iter_mut().zip(sources) {
                    *out = source.read(cx);
                }
            }
            Op::Timestamp(sources) => {
                for (out, source) in out.iter_mut().zip(sources) {
                    *out = source
                        .age(cx.store)
                        .map_or(Value::Absent, |age| Value::Float(cx.wall - age));
                }
            }
            Op::Evaluated(of) => {
                for (out, value) in out.iter_mut().zip(values(below, *of)) {
                    *out = match value.is_present() {
                        true => Value::Float(cx.wall),
                        false => Value::Absent,
                    };
                }
            }
            Op::Range { function, span, scale, windows, parameter, whole } => {
                let parameter = parameter.map_or(f64::NAN, |at| scalar(below, at));
                for (out, window) in out.iter_mut().zip(windows) {
                    if let Window::Histogram(window) = window
                        && cx.store.is_shed(*window)
                    {
                        let why = "its windows have come to take more than their budget";
                        return Err(Failure(why.into()));
                    }
                    let whole = *whole > 0;
                    *out = range::evaluate(*function, *window, *span, *scale, parameter, whole, cx);
                }
            }
            Op::Absent(of) => {
                let any = values(below, *of).iter().any(|value| value.is_present());
                out[0] = if any { Value::Absent } else { Value::Float(1.0) };
            }
            Op::Pick(from) => {
                for (out, (node, at)) in out.iter_mut().zip(from) {
                    *out = values(below, *node)[*at as usize];
                }
            }
            Op::Negate(of) => {
                for (out, value) in out.iter_mut().zip(values(below, *of)) {
                    *out = match *value {
                        Value::Float(value) => Value::Float(-value),
                        Value::Histogram(at) => cx.scratch.map(at, |hist| hist.scale(-1.0)),
                        Value::Absent | Value::Gained(_) => Value::Absent,
                    };
                }
            }
            Op::Frozen { of, frozen } => {
                for ((out, value), frozen) in out.iter_mut().zip(values(below, *of)).zip(frozen) {
                    // A histogram is in the scratch, which the next tick takes anew.
                    if !*frozen {
                        *out = value.float().map_or(Value::Absent, Value::Float);
                    }
                }
            }
            Op::Map { function, of, parameters } => {
                let parameter =
                    |at: usize| parameters.get(at).map_or(f64::NAN, |p| scalar(below, *p));
                let (a, b) = (parameter(0), parameter(1));
                let function = *function;
                for (out, value) in out.iter_mut().zip(values(below, *of)) {
                    *out = value
                        .float()
                        .and_then(|value| number::map(function, value, a, b))
                        .map_or(Value::Absent, Value::Float);
                }
            }
            Op::HistogramMap { function, of, from, parameters } => {
                let parameter =
                    |at: usize| parameters.get(at).map_or(f64::NAN, |p| scalar(below, *p));
                let (a, b) = (parameter(0), parameter(1));
                let values = values(below, *of);
                for (out, from) in out.iter_mut().zip(from) {
                    *out = match values[*from as usize] {
                        Value::Histogram(at) => {
                            Value::Float(cx.scratch.get(at).ask(*function, a, b))
                        }
                        Value::Gained(at) => {
                            let (window, factor) = cx.scratch.gain(at);
                            let gain = cx.store.histogram_gain(window);
                            gain.map_or(Value::Absent, |gain| {
                                Value::Float(number::ask(gain.gain, factor, *function, a, b))
                            })
                        }
                        _ => Value::Absent,
                    };
                }
            }
            Op::Classic(classic) => classic.evaluate(below, out),
            Op::WithScalar { op, yields_bool, vector, scalar: at, swapped } => {
                let constant = scalar(below, *at);
                super::binary::with_scalar(
                    *op,
                    *yields_bool,
                    values(below, *vector),
                    constant,
                    *swapped,
                    out,
                    cx.scratch,
                );
            }
            Op::Scalars { op, left, right } => {
                let (left, right) = (scalar(below, *left), scalar(below, *right));
                out[0] = Value::Float(if op.is_comparison() {
                    f64::from(u8::from(number::compare(*op, left, right)))
                } else {
                    number::arithmetic(*op, left, right)
                });
            }
            Op::Pair(pairing) => pairing.evaluate(below, out, cx.scratch)?,
            Op::Set(set) => set.evaluate(below, out),
            Op::Aggregate { op, of, parameter, group, groups } => {
                let parameter = parameter.map_or(f64::NAN, |at| scalar(below, at));
                super::aggregate::evaluate(
                    *op,
                    parameter,
                    values(below, *of),
                    group,
                    groups,
                    out,
                    cx.scratch,
                );
            }
            Op::ToVector(of) => out[0] = Value::Float(scalar(below, *of)),
            Op::ToScalar(of) => {
                let mut present = values(below, *of).iter().filter(|value| value.is_present());
                out[0] = match (present.next(), present.next()) {
                    (Some(Value::Float(value)), None) => Value::Float(*value),
                    _ => Value::Float(f64::NAN),
                };
            }
        }
        for clash in &self.clashes {
            let present = clash.iter().filter(|slot| self.out[**slot as usize].is_present());
            if present.count() > 1 {
                return Err(Failure("vector cannot contain metrics with the same labelset".into()));
            }
        }
        Ok(())
    }
}

impl Source {
    /// How many seconds ago its sample was taken, if it has one.
    fn age(self, store: &Store) -> Option<f64> {
        match self {
            Self::Now(float) => store.current(float).map(|_| 0.0),
            Self::Then(float, span) => store.age(float, span),
            Self::Histogram(_) => Some(0.0),
        }
    }

    #[inline]
    fn read(self, cx: &mut Context<'_>) -> Value {
        match self {
            Self::Now(float) => cx.store.current(float).map_or(Value::Absent, Value::Float),
            Self::Then(float, span) => {
                cx.store.last(float, span).map_or(Value::Absent, Value::Float)
            }
            Self::Histogram(histogram) => {
                let counts = cx.store.total(histogram);
                counts.map_or(Value::Absent, |counts| {
                    cx.scratch.put(|hist: &mut Hist| hist.copy(counts))
                })
            }
        }
    }
}
