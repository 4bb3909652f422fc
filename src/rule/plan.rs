//! A bound expression: every name resolved to what the window store follows, every pairing of
//! labels to a list of indices. Evaluating it is arithmetic over *slots*.
//!
//! A slot is one label set an expression may yield. Which slots there are changes only with the
//! set of series ([`bind`](super::bind)); which of them are present, every tick. So a tick looks
//! at no label and allocates nothing for plain numbers.

use std::borrow::Cow;

use smallvec::SmallVec;

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

/// What a slot holds at a tick. Two words, so that it is moved as two.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(u64)]
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
    /// By alert of the rule that is evaluated; kept for its buffer.
    pub(crate) found: &'a mut Vec<Found>,
}

/// What an evaluation found for an alert.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    pub(crate) raise: Option<f64>,
    pub(crate) hold: Option<f64>,
    pub(crate) value: Option<f64>,
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
pub(crate) struct Range {
    pub(crate) function: Function,
    pub(crate) span: SpanId,
    pub(crate) scale: Scale,
    pub(crate) windows: Vec<Window>,
    pub(crate) parameter: Option<NodeId>,
    /// How many take its histograms for more than to ask them something: if none does, they are
    /// not copied.
    pub(crate) whole: u32,
}

#[derive(Debug)]
pub(crate) struct HistogramMap {
    pub(crate) function: Function,
    pub(crate) of: NodeId,
    pub(crate) from: Vec<u32>,
    pub(crate) parameters: Vec<NodeId>,
}

#[derive(Debug)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) of: NodeId,
    pub(crate) parameter: Option<NodeId>,
    pub(crate) group: Vec<u32>,
    pub(crate) groups: Vec<Accumulator>,
}

/// What a node computes. What most rules have is small, the rest boxed: a thousand rules' plans
/// are more than a cache holds.
#[derive(Debug)]
pub(crate) enum Op {
    Number(f64),
    Time,
    /// An instant selector of one series, as in most rules; of any number.
    One(Source),
    Instant(Vec<Source>),
    /// `timestamp(selector)`.
    Timestamp(Vec<Source>),
    /// `timestamp` of anything else.
    Evaluated(NodeId),
    Range(Box<Range>),
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
    HistogramMap(Box<HistogramMap>),
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
    Aggregate(Box<Aggregate>),
    ToVector(NodeId),
    ToScalar(NodeId),
}

#[derive(Debug)]
struct Node {
    op: Op,
    /// Where its slots begin among the plan's.
    begin: u32,
    slots: u32,
    /// Slots whose label sets are equal, so that at most one of each may be present.
    clashes: Box<[Vec<u32>]>,
}

/// Nodes in the order in which they can be evaluated, and what their slots hold, one node's after
/// the other's.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// As many as a comparison with a number has, in line with the rule: the next rule's are what
    /// memory holds next.
    nodes: SmallVec<[Node; 3]>,
    values: SmallVec<[Value; 3]>,
}

/// The nodes before one, which are all that it may ask for.
#[derive(Clone, Copy)]
pub(crate) struct Below<'a> {
    nodes: &'a [Node],
    values: &'a [Value],
}

impl Plan {
    pub(crate) fn push(&mut self, op: Op, slots: usize, clashes: Vec<Vec<u32>>) -> NodeId {
        let begin = self.values.len();
        self.values.resize(begin + slots, Value::Absent);
        let (begin, slots) = (begin as u32, slots as u32);
        self.nodes.push(Node { op, begin, slots, clashes: clashes.into() });
        self.nodes.len() - 1
    }

    pub(crate) fn op(&mut self, node: NodeId) -> &mut Op {
        &mut self.nodes[node].op
    }

    pub(crate) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.nodes.iter().map(|node| &node.op)
    }

    pub(crate) fn evaluate(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        for at in 0..self.nodes.len() {
            let (nodes, rest) = self.nodes.split_at_mut(at);
            let Some(node) = rest.first_mut() else { break };
            let (values, rest) = self.values.split_at_mut(node.begin as usize);
            let out = &mut rest[..node.slots as usize];
            node.op.evaluate(Below { nodes, values }, out, cx)?;
            node.check(out)?;
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn out(&self, node: NodeId) -> &[Value] {
        Below { nodes: &self.nodes, values: &self.values }.values(node)
    }

    /// A node's operation, and what its slots hold.
    pub(crate) fn parts(&mut self, node: NodeId) -> (&mut Op, &mut [Value]) {
        let Node { op, begin, slots, .. } = &mut self.nodes[node];
        (op, &mut self.values[*begin as usize..][..*slots as usize])
    }
}

impl<'a> Below<'a> {
    #[inline]
    pub(crate) fn values(self, of: NodeId) -> &'a [Value] {
        let Node { begin, slots, .. } = &self.nodes[of];
        &self.values[*begin as usize..][..*slots as usize]
    }

    /// A scalar node's number.
    #[inline]
    pub(crate) fn scalar(self, of: NodeId) -> f64 {
        self.values(of).first().and_then(|value| value.float()).unwrap_or(f64::NAN)
    }
}

impl Node {
    #[inline]
    fn check(&self, out: &[Value]) -> Result<(), Failure> {
        for clash in &self.clashes {
            let present = clash.iter().filter(|slot| out[**slot as usize].is_present());
            if present.count() > 1 {
                return Err(Failure("vector cannot contain metrics with the same labelset".into()));
            }
        }
        Ok(())
    }
}

impl Op {
    fn evaluate(
        &mut self,
        below: Below<'_>,
        out: &mut [Value],
        cx: &mut Context<'_>,
    ) -> Result<(), Failure> {
        match self {
            Self::Number(number) => out[0] = Value::Float(*number),
            Self::Time => out[0] = Value::Float(cx.wall),
            Self::One(source) => source.read(cx, &mut out[0]),
            Self::Instant(sources) => {
                for (out, source) in out.iter_mut().zip(sources) {
                    source.read(cx, out);
                }
            }
            Self::Timestamp(sources) => {
                for (out, source) in out.iter_mut().zip(sources) {
                    *out = source
                        .age(cx.store)
                        .map_or(Value::Absent, |age| Value::Float(cx.wall - age));
                }
            }
            Self::Evaluated(of) => {
                for (out, value) in out.iter_mut().zip(below.values(*of)) {
                    *out = match value.is_present() {
                        true => Value::Float(cx.wall),
                        false => Value::Absent,
                    };
                }
            }
            Self::Range(range) => {
                let Range { function, span, scale, windows, parameter, whole } = &**range;
                let parameter = parameter.map_or(f64::NAN, |at| below.scalar(at));
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
            Self::Absent(of) => {
                let any = below.values(*of).iter().any(|value| value.is_present());
                out[0] = if any { Value::Absent } else { Value::Float(1.0) };
            }
            Self::Pick(from) => {
                for (out, (node, at)) in out.iter_mut().zip(from) {
                    *out = below.values(*node)[*at as usize];
                }
            }
            Self::Negate(of) => {
                for (out, value) in out.iter_mut().zip(below.values(*of)) {
                    *out = match *value {
                        Value::Float(value) => Value::Float(-value),
                        Value::Histogram(at) => cx.scratch.map(at, |hist| hist.scale(-1.0)),
                        Value::Absent | Value::Gained(_) => Value::Absent,
                    };
                }
            }
            Self::Frozen { of, frozen } => {
                for ((out, value), frozen) in out.iter_mut().zip(below.values(*of)).zip(frozen) {
                    // A histogram is in the scratch, which the next tick takes anew.
                    if !*frozen {
                        *out = value.float().map_or(Value::Absent, Value::Float);
                    }
                }
            }
            Self::Map { function, of, parameters } => {
                let parameter =
                    |at: usize| parameters.get(at).map_or(f64::NAN, |p| below.scalar(*p));
                let (a, b) = (parameter(0), parameter(1));
                let function = *function;
                for (out, value) in out.iter_mut().zip(below.values(*of)) {
                    *out = value
                        .float()
                        .and_then(|value| number::map(function, value, a, b))
                        .map_or(Value::Absent, Value::Float);
                }
            }
            Self::HistogramMap(map) => {
                let HistogramMap { function, of, from, parameters } = &**map;
                let parameter =
                    |at: usize| parameters.get(at).map_or(f64::NAN, |p| below.scalar(*p));
                let (a, b) = (parameter(0), parameter(1));
                let values = below.values(*of);
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
            Self::Classic(classic) => classic.evaluate(below, out),
            Self::WithScalar { op, yields_bool, vector, scalar: at, swapped } => {
                let constant = below.scalar(*at);
                super::binary::with_scalar(
                    *op,
                    *yields_bool,
                    below.values(*vector),
                    constant,
                    *swapped,
                    out,
                    cx.scratch,
                );
            }
            Self::Scalars { op, left, right } => {
                let (left, right) = (below.scalar(*left), below.scalar(*right));
                out[0] = Value::Float(if op.is_comparison() {
                    f64::from(u8::from(number::compare(*op, left, right)))
                } else {
                    number::arithmetic(*op, left, right)
                });
            }
            Self::Pair(pairing) => pairing.evaluate(below, out, cx.scratch)?,
            Self::Set(set) => set.evaluate(below, out),
            Self::Aggregate(aggregate) => {
                let Aggregate { op, of, parameter, group, groups } = &mut **aggregate;
                let parameter = parameter.map_or(f64::NAN, |at| below.scalar(at));
                super::aggregate::evaluate(
                    *op,
                    parameter,
                    below.values(*of),
                    group,
                    groups,
                    out,
                    cx.scratch,
                );
            }
            Self::ToVector(of) => out[0] = Value::Float(below.scalar(*of)),
            Self::ToScalar(of) => {
                let mut present = below.values(*of).iter().filter(|value| value.is_present());
                out[0] = match (present.next(), present.next()) {
                    (Some(Value::Float(value)), None) => Value::Float(*value),
                    _ => Value::Float(f64::NAN),
                };
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
    fn read(self, cx: &mut Context<'_>, out: &mut Value) {
        let number = match self {
            Self::Now(float) => cx.store.current(float),
            Self::Then(float, span) => cx.store.last(float, span),
            Self::Histogram(histogram) => {
                let put = |counts| cx.scratch.put(|hist: &mut Hist| hist.copy(counts));
                *out = cx.store.total(histogram).map_or(Value::Absent, put);
                return;
            }
        };
        *out = number.map_or(Value::Absent, Value::Float);
    }
}
