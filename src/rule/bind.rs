//! Resolves an expression against the series that exist: see [`plan`](super::plan) for what comes
//! out. Runs when a series appears that some selector of the rule takes, never on a plain tick, so
//! it may allocate and hash as it likes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    aggregate::Accumulator,
    binary::{Pairing, SetOp},
    classic::Classic,
    expr::{
        Aggregate, AggregateOp, Binary, BinaryOp, Expr, Function, Group, Matching, NAME, Selector,
        Test, Type,
    },
    index::{Index, LE, Selected, View, bound_of, find, parse_bound, same_label},
    plan::{self, NodeId, Op, Plan, Scale, Source, Window},
};
use crate::{
    instrument::bucket_up_to,
    name::Labels,
    registry::{Kind, Series},
    window::{Fold, LOOKBACK, OverBudget, Part, Store},
};

/// What a value was compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limit {
    pub(crate) value: f64,
    pub(crate) op: BinaryOp,
}

impl Limit {
    /// How near a value is to it, 1 at or past it.
    pub(crate) fn nearness(self, value: f64) -> f64 {
        let ratio = match self.op {
            BinaryOp::Greater | BinaryOp::GreaterEqual if self.value > 0.0 => value / self.value,
            BinaryOp::Less | BinaryOp::LessEqual if value > 0.0 => self.value / value,
            // Where there is no ratio, it is past it or it is not.
            op => f64::from(u8::from(super::number::compare(op, value, self.value))),
        };
        if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 1.0) }
    }
}

/// One label set an expression may yield.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// The metric's name, until an operation drops it.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) labels: Labels,
    /// What it was last compared with.
    pub(crate) limit: Option<Limit>,
    pub(super) histogram: bool,
}

impl Slot {
    fn unnamed(mut self) -> Self {
        (self.name, self.limit) = (None, None);
        self
    }

    fn label(&self, key: &str) -> &str {
        if key == NAME {
            return self.name.as_deref().unwrap_or_default();
        }
        find(&self.labels, key)
    }
}

pub(crate) struct Binder<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) series: &'a [Arc<Series>],
    pub(crate) index: &'a Index,
    /// Labels that all series have for this rule.
    given: &'a Labels,
    pub(crate) plan: Plan,
    /// The slots of each node.
    pub(crate) slots: Vec<Vec<Slot>>,
    /// What has been bound already, in a baseline or not: an expression that occurs twice is
    /// computed once.
    bound: Vec<(Expr, bool, NodeId)>,
    /// Whether what is being bound is a baseline.
    in_baseline: bool,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(
        store: &'a mut Store,
        series: &'a [Arc<Series>],
        index: &'a Index,
        given: &'a Labels,
    ) -> Self {
        Self {
            given,
            store,
            series,
            index,
            plan: Plan::default(),
            slots: Vec::new(),
            bound: Vec::new(),
            in_baseline: false,
        }
    }

    pub(crate) fn bind(&mut self, expr: &Expr) -> Result<NodeId, OverBudget> {
        let in_baseline = self.in_baseline;
        let mut bound = self.bound.iter();
        if let Some((.., known)) = bound.find(|(e, of, _)| e == expr && *of == in_baseline) {
            let known = *known;
            self.take_whole(known);
            return Ok(known);
        }
        let node = match expr {
            Expr::Number(number) => self.one(Op::Number(*number), Labels::empty()),
            Expr::Select(selector) => self.instant(selector, false)?,
            // The checks leave ranges only as arguments; alone they select nothing.
            Expr::Range(..) => self.add(Op::Instant(Vec::new()), Vec::new()),
            Expr::Negate(of) => {
                let of = self.bind(of)?;
                let slots = self.slots[of].iter().cloned().map(Slot::unnamed).collect();
                self.add(Op::Negate(of), slots)
            }
            Expr::Frozen(of) => {
                self.in_baseline = true;
                let of = self.bind(of);
                self.in_baseline = in_baseline;
                let of = of?;
                let slots: Vec<_> = self.slots[of].iter().cloned().map(number).collect();
                let frozen = vec![false; slots.len()];
                self.add(Op::Frozen { of, frozen }, slots)
            }
            Expr::Binary(binary) => self.binary(binary)?,
            Expr::Aggregate(aggregate) => self.aggregate(aggregate)?,
            Expr::Call(function, arguments) => self.call(*function, arguments)?,
            Expr::Recorded(recorded) => self.recorded(recorded)?,
        };
        self.bound.push((expr.clone(), in_baseline, node));
        self.take_whole(node);
        Ok(node)
    }

    /// Of whoever takes a node the most is assumed, until it is known that it only asks.
    fn take_whole(&mut self, node: NodeId) {
        if let Op::Range(range) = self.plan.op(node) {
            range.whole += 1;
        }
    }

    pub(super) fn add(&mut self, op: Op, slots: Vec<Slot>) -> NodeId {
        let mut same: HashMap<(Option<&str>, &Labels), Vec<u32>> = HashMap::new();
        for (at, slot) in slots.iter().enumerate() {
            same.entry((slot.name.as_deref(), &slot.labels)).or_default().push(at as u32);
        }
        // `or` itself sees to it that only one of two equal ones is present.
        let clashes = if matches!(&op, Op::Set(_)) {
            Vec::new()
        } else {
            same.into_values().filter(|slots| slots.len() > 1).collect()
        };
        let node = self.plan.push(op, slots.len(), clashes);
        self.slots.push(slots);
        node
    }

    fn one(&mut self, op: Op, labels: Labels) -> NodeId {
        self.add(op, vec![Slot { name: None, labels, limit: None, histogram: false }])
    }

    fn instant(&mut self, selector: &Selector, timestamps: bool) -> Result<NodeId, OverBudget> {
        let (mut sources, mut slots) = (Vec::new(), Vec::new());
        for selected in self.index.select(selector, self.series, self.given) {
            let histogram = is_histogram(&selected);
            let source = if histogram && selector.offset.is_zero() {
                Source::Histogram(self.store.histogram(selected.series.id))
            } else if histogram {
                continue; // what a histogram was in all some time ago is not kept
            } else {
                let Some(part) = part(&selected, selector) else { continue };
                let id = selected.series.id;
                if selector.offset.is_zero() {
                    Source::Now(self.store.follow(id, part))
                } else {
                    let span = self.store.span(LOOKBACK, selector.offset);
                    Source::Then(self.store.keep(id, part, Fold::Last, span)?, span)
                }
            };
            sources.push(source);
            slots.push(slot(selected, selector, histogram));
        }
        if timestamps {
            let slots = slots.into_iter().map(Slot::unnamed).map(number).collect();
            return Ok(self.add(Op::Timestamp(sources), slots));
        }
        let op = match sources[..] {
            [one] => Op::One(one),
            _ => Op::Instant(sources),
        };
        Ok(self.add(op, slots))
    }

    fn range(
        &mut self,
        function: Function,
        selector: &Selector,
        range: Duration,
        parameter: Option<NodeId>,
    ) -> Result<NodeId, OverBudget> {
        let span = self.store.span(range, selector.offset);
        let (mut windows, mut slots) = (Vec::new(), Vec::new());
        let of_gain = matches!(function, Function::Rate | Function::Increase);
        for selected in self.index.select(selector, self.series, self.given) {
            let histogram = is_histogram(&selected);
            let id = selected.series.id;
            let window = if histogram {
                match function {
                    Function::Rate | Function::Increase => {
                        Window::Histogram(self.store.histogram_window(id, span)?)
                    }
                    // A histogram has a sample wherever its count has.
                    Function::CountOverTime
                    | Function::PresentOverTime
                    | Function::AbsentOverTime => {
                        let fold = fold(function);
                        Window::Samples(self.store.keep(id, Part::Count, fold, span)?)
                    }
                    // Of numbers only: histograms are passed over, as Prometheus does.
                    _ => continue,
                }
            } else {
                let Some(part) = part(&selected, selector) else { continue };
                if of_gain {
                    Window::Counter(self.store.counter(id, part, span)?)
                } else {
                    Window::Samples(self.store.keep(id, part, fold(function), span)?)
                }
            };
            windows.push(window);
            let slot = slot(selected, selector, histogram && of_gain);
            slots.push(if function == Function::LastOverTime { slot } else { slot.unnamed() });
        }
        let scale = if self.in_baseline { Scale::Seen } else { Scale::Window };
        let range = plan::Range { function, span, scale, windows, parameter, whole: 0 };
        Ok(self.add(Op::Range(range.into()), slots))
    }

    /// The share of values at or below a bound, where each histogram in it knows them exactly
    /// because the bound was declared; otherwise, and where the bound is one of the buckets' own,
    /// buckets tell.
    fn exact_share(&mut self, bound: f64, of: &Expr) -> Result<Option<NodeId>, OverBudget> {
        let mut leaf = of;
        let (selector, range) = loop {
            match leaf {
                Expr::Aggregate(aggregate) if aggregate.op == AggregateOp::Sum => {
                    leaf = &aggregate.of;
                }
                Expr::Call(Function::Rate | Function::Increase, arguments) => {
                    match arguments.as_slice() {
                        [Expr::Range(selector, range)] => break (selector, *range),
                        _ => return Ok(None),
                    }
                }
                _ => return Ok(None),
            }
        };
        let selected = self.index.select(selector, self.series, self.given);
        let is_cut = |s: &Selected<'_>| is_histogram(s) && s.series.cut(bound).is_some();
        if selected.is_empty() || !selected.iter().all(is_cut) {
            return Ok(None);
        }
        let span = self.store.span(range, selector.offset);
        let mut sides = Vec::with_capacity(2);
        for below in [true, false] {
            let (mut windows, mut slots) = (Vec::new(), Vec::new());
            for one in self.index.select(selector, self.series, self.given) {
                let part = if below { up_to(one.series, bound) } else { Some(Part::Count) };
                let Some(part) = part else { continue };
                windows.push(Window::Counter(self.store.counter(one.series.id, part, span)?));
                slots.push(slot(one, selector, false).unnamed());
            }
            // Whatever a rate is stretched by, of both it would be the same; so none is.
            let (function, scale, parameter) = (Function::Increase, Scale::Gain, None);
            let range = plan::Range { function, span, scale, windows, parameter, whole: 0 };
            let node = self.add(Op::Range(range.into()), slots);
            sides.push(self.sums(of, node));
        }
        let [below, all] = sides[..] else { return Ok(None) };
        let zero = || Expr::Number(0.0);
        let matching = Matching::default();
        let op = BinaryOp::Divide;
        let division = Binary { op, left: zero(), right: zero(), yields_bool: false, matching };
        Ok(Some(self.pair(&division, below, all)))
    }

    /// The sums of an expression, of what stands for its innermost call.
    fn sums(&mut self, expr: &Expr, leaf: NodeId) -> NodeId {
        match expr {
            Expr::Aggregate(aggregate) => {
                let of = self.sums(&aggregate.of, leaf);
                self.aggregate_of(aggregate, of, None)
            }
            _ => leaf,
        }
    }

    fn call(&mut self, function: Function, arguments: &[Expr]) -> Result<NodeId, OverBudget> {
        match (function, arguments) {
            (Function::Time, _) => return Ok(self.one(Op::Time, Labels::empty())),
            (Function::Timestamp, [Expr::Select(selector)]) => return self.instant(selector, true),
            // Of what is computed it is when that was: now.
            (Function::Timestamp, [of]) => {
                let of = self.bind(of)?;
                let slots = self.slots[of].iter().cloned().map(Slot::unnamed).map(number).collect();
                return Ok(self.add(Op::Evaluated(of), slots));
            }
            (Function::Absent, [of]) => {
                let labels = match of {
                    Expr::Select(selector) => labels_of(selector),
                    _ => Labels::empty(),
                };
                let of = self.bind(of)?;
                return Ok(self.one(Op::Absent(of), labels));
            }
            (Function::AbsentOverTime, [Expr::Range(selector, range)]) => {
                let labels = labels_of(selector);
                let of = self.range(function, selector, *range, None)?;
                return Ok(self.one(Op::Absent(of), labels));
            }
            _ => {}
        }
        if let Some(Expr::Range(selector, range)) =
            arguments.iter().find(|argument| argument.kind() == Type::Range)
        {
            let parameter = arguments.iter().find(|argument| argument.kind() == Type::Scalar);
            let parameter = parameter.map(|parameter| self.bind(parameter)).transpose()?;
            return self.range(function, selector, *range, parameter);
        }
        if let (Function::HistogramFraction, [lower, Expr::Number(bound), of]) =
            (function, arguments)
            && *lower == Expr::Number(f64::NEG_INFINITY)
            && let Some(share) = self.exact_share(*bound, of)?
        {
            return Ok(share);
        }
        if let (Function::HistogramQuantile, [q, of]) = (function, arguments)
            && let Some(native) = native(of, self.index)
        {
            return self.call(function, &[q.clone(), native]);
        }
        let (mut of, mut parameters) = (None, Vec::new());
        for argument in arguments {
            let bound = self.bind(argument)?;
            match (argument.kind(), of) {
                (Type::Vector, None) => of = Some(bound),
                _ => parameters.push(bound),
            }
        }
        let Some(of) = of else {
            return Ok(match (function, parameters.first()) {
                (Function::ToVector, Some(scalar)) => {
                    self.one(Op::ToVector(*scalar), Labels::empty())
                }
                _ => self.one(Op::Number(f64::NAN), Labels::empty()),
            });
        };
        Ok(match function {
            Function::ToScalar => self.one(Op::ToScalar(of), Labels::empty()),
            Function::HistogramQuantile => {
                let native = self.histograms(function, of, parameters.clone());
                self.classic(of, parameters.first().copied(), native)
            }
            Function::HistogramFraction
            | Function::HistogramCount
            | Function::HistogramSum
            | Function::HistogramAvg => self.histograms(function, of, parameters),
            _ => {
                let slots = self.slots[of].iter().cloned().map(Slot::unnamed).map(number).collect();
                self.add(Op::Map { function, of, parameters }, slots)
            }
        })
    }

    /// A function of each histogram.
    fn histograms(&mut self, function: Function, of: NodeId, parameters: Vec<NodeId>) -> NodeId {
        if let Op::Range(range) = self.plan.op(of) {
            range.whole = range.whole.saturating_sub(1);
        }
        let (mut from, mut slots) = (Vec::new(), Vec::new());
        for (at, slot) in self.slots[of].iter().enumerate().filter(|(_, slot)| slot.histogram) {
            from.push(at as u32);
            slots.push(number(slot.clone().unnamed()));
        }
        let map = plan::HistogramMap { function, of, from, parameters };
        self.add(Op::HistogramMap(map.into()), slots)
    }

    /// `histogram_quantile` of the series with `le`, beside that of the `native` ones.
    fn classic(&mut self, of: NodeId, quantile: Option<NodeId>, native: NodeId) -> NodeId {
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let (mut groups, mut slots) = (Vec::<Vec<(f64, u32)>>::new(), Vec::new());
        for (at, slot) in self.slots[of].iter().enumerate().filter(|(_, slot)| !slot.histogram) {
            let Some(le) = slot.labels.get(LE).and_then(parse_bound) else { continue };
            let labels = slot.labels.filter(|key| key != LE);
            let group = *known.entry(labels.clone()).or_insert_with(|| {
                groups.push(Vec::new());
                slots.push(Slot { name: None, labels, limit: None, histogram: false });
                groups.len() - 1
            });
            groups[group].push((le, at as u32));
        }
        let Some(quantile) = quantile.filter(|_| !groups.is_empty()) else { return native };
        for group in &mut groups {
            group.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        let classic = Classic { quantile, of, groups, buckets: Vec::new() };
        let classic = self.add(Op::Classic(Box::new(classic)), slots);
        if self.slots[native].is_empty() {
            return classic;
        }
        self.set(BinaryOp::Or, &Matching::default(), native, classic)
    }

    fn binary(&mut self, binary: &Binary) -> Result<NodeId, OverBudget> {
        let (left, right) = (self.bind(&binary.left)?, self.bind(&binary.right)?);
        let op = binary.op;
        let yields_bool = binary.yields_bool;
        Ok(match (binary.left.kind(), binary.right.kind()) {
            (Type::Scalar, Type::Scalar) => {
                self.one(Op::Scalars { op, left, right }, Labels::empty())
            }
            (Type::Vector, Type::Scalar) | (Type::Scalar, Type::Vector) => {
                let swapped = binary.left.kind() == Type::Scalar;
                let (vector, scalar) = if swapped { (right, left) } else { (left, right) };
                let filters = op.is_comparison() && !yields_bool;
                let limit = match self.plan.op(scalar) {
                    Op::Number(value) if filters && !swapped => Some(Limit { value: *value, op }),
                    _ => None,
                };
                let slots = self.slots[vector]
                    .iter()
                    .cloned()
                    .map(|slot| match filters {
                        true => Slot { limit: limit.or(slot.limit), ..slot },
                        false => slot.unnamed(),
                    })
                    .collect();
                self.add(Op::WithScalar { op, yields_bool, vector, scalar, swapped }, slots)
            }
            _ if op.is_set() => self.set(op, &binary.matching, left, right),
            _ => self.pair(binary, left, right),
        })
    }

    fn set(&mut self, op: BinaryOp, matching: &Matching, left: NodeId, right: NodeId) -> NodeId {
        let mut groups = HashMap::new();
        let mut group = |slot: &Slot| {
            let next = groups.len() as u32;
            *groups.entry(signature(slot, matching)).or_insert(next)
        };
        let left_group: Vec<_> = self.slots[left].iter().map(&mut group).collect();
        let right_group: Vec<_> = self.slots[right].iter().map(&mut group).collect();
        let mut slots = self.slots[left].clone();
        if op == BinaryOp::Or {
            slots.extend(self.slots[right].iter().cloned());
        }
        let present = vec![false; groups.len()];
        let set = SetOp { op, left, right, left_group, right_group, present };
        self.add(Op::Set(Box::new(set)), slots)
    }

    fn pair(&mut self, binary: &Binary, left: NodeId, right: NodeId) -> NodeId {
        let Binary { op, yields_bool, matching, .. } = binary;
        let one_is_left = matches!(matching.group, Group::Right(_));
        let one_to_one = matching.group == Group::None;
        let (many, one) = if one_is_left { (right, left) } else { (left, right) };
        let mut ones: HashMap<Labels, Vec<u32>> = HashMap::new();
        for (at, slot) in self.slots[one].iter().enumerate() {
            ones.entry(signature(slot, matching)).or_default().push(at as u32);
        }
        let filters = op.is_comparison() && !yields_bool;
        let (mut pairs, mut slots) = (Vec::new(), Vec::new());
        let mut outs: HashMap<Labels, Vec<u32>> = HashMap::new();
        for (at, slot) in self.slots[many].iter().enumerate() {
            let signature = signature(slot, matching);
            for other in ones.get(&signature).into_iter().flatten() {
                outs.entry(signature.clone()).or_default().push(pairs.len() as u32);
                pairs.push((at as u32, *other));
                slots.push(result(slot, &self.slots[one][*other as usize], matching, filters));
            }
        }
        let several = |groups: HashMap<Labels, Vec<u32>>| {
            groups.into_values().filter(|slots| slots.len() > 1).collect()
        };
        let pairing = Pairing {
            op: *op,
            yields_bool: *yields_bool,
            left,
            right,
            one_is_left,
            one_to_one,
            pairs,
            one_groups: several(ones),
            out_groups: several(outs),
        };
        self.add(Op::Pair(Box::new(pairing)), slots)
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<NodeId, OverBudget> {
        let of = self.bind(&aggregate.of)?;
        let parameter = aggregate.parameter.as_ref();
        let parameter = parameter.map(|parameter| self.bind(parameter)).transpose()?;
        Ok(self.aggregate_of(aggregate, of, parameter))
    }

    fn aggregate_of(
        &mut self,
        aggregate: &Aggregate,
        of: NodeId,
        parameter: Option<NodeId>,
    ) -> NodeId {
        let Aggregate { op, without, labels, .. } = aggregate;
        let mut known: HashMap<Labels, u32> = HashMap::new();
        let (mut group, mut slots) = (Vec::new(), Vec::<Slot>::new());
        for slot in &self.slots[of] {
            let kept = if *without {
                slot.labels.filter(|key| !labels.iter().any(|label| same_label(key, label)))
            } else {
                only(slot, labels)
            };
            let next = slots.len() as u32;
            let at = *known.entry(kept.clone()).or_insert(next);
            if at == next {
                let labels = kept;
                slots.push(Slot { name: None, labels, limit: None, histogram: false });
            }
            slots[at as usize].histogram |=
                slot.histogram && matches!(op, AggregateOp::Sum | AggregateOp::Avg);
            group.push(at);
        }
        let groups = slots.iter().map(|_| Accumulator::default()).collect();
        if matches!(op, AggregateOp::Topk | AggregateOp::Bottomk) {
            slots = self.slots[of].clone();
        }
        let aggregate = plan::Aggregate { op: *op, of, parameter, group, groups };
        self.add(Op::Aggregate(aggregate.into()), slots)
    }
}

/// The same about whole histograms, where it is about all buckets of such as we hold whole: that is
/// exact to a bucket's width, where a classic view would have to list bounds.
fn native(expr: &Expr, index: &Index) -> Option<Expr> {
    let whole = |selector: &Selector| {
        let name = selector.name.as_deref()?;
        let base = name.strip_suffix("_bucket")?;
        let of_le = selector.matchers.iter().any(|matcher| matcher.key == LE);
        (!of_le && !index.has_own(name))
            .then(|| Selector { name: Some(base.to_owned()), ..selector.clone() })
    };
    Some(match expr {
        Expr::Select(selector) => Expr::Select(whole(selector)?),
        Expr::Recorded(recorded) => native(recorded.whole()?, index)?,
        Expr::Call(function @ (Function::Rate | Function::Increase), arguments) => {
            let [Expr::Range(selector, range)] = arguments.as_slice() else { return None };
            Expr::Call(*function, vec![Expr::Range(whole(selector)?, *range)])
        }
        Expr::Aggregate(aggregate) if aggregate.op == AggregateOp::Sum => {
            let mut labels = aggregate.labels.clone();
            labels.retain(|label| label != LE);
            // Without `le` in the outcome it was no quantile before.
            if aggregate.without != (labels.len() == aggregate.labels.len()) {
                return None;
            }
            let of = native(&aggregate.of, index)?;
            Expr::Aggregate(Box::new(Aggregate { of, labels, ..(**aggregate).clone() }))
        }
        _ => return None,
    })
}

/// What one sample of a long window must say of its ticks for this function of it.
fn fold(function: Function) -> Fold {
    match function {
        Function::MaxOverTime => Fold::Max,
        Function::MinOverTime => Fold::Min,
        Function::AvgOverTime => Fold::Mean,
        Function::SumOverTime => Fold::Sum,
        Function::CountOverTime | Function::PresentOverTime | Function::AbsentOverTime => {
            Fold::Count
        }
        _ => Fold::Last,
    }
}

fn is_histogram(selected: &Selected<'_>) -> bool {
    selected.view == View::Whole && matches!(selected.series.metric.kind, Kind::Histogram(_))
}

/// Which of its numbers is meant; none for a bucket that is not one of ours.
fn part(selected: &Selected<'_>, selector: &Selector) -> Option<Part> {
    Some(match selected.view {
        View::Whole => Part::Value,
        View::Count => Part::Count,
        View::Sum => Part::Sum,
        View::Bucket => {
            let le = bound_of(selector).and_then(parse_bound)?;
            up_to(selected.series, le)?
        }
    })
}

/// How many values lie at or below a bound, if that is known exactly: where it is the bound of one
/// of our buckets, or was declared.
fn up_to(series: &Series, bound: f64) -> Option<Part> {
    let declared = || series.cut(bound).map(|(at, bucket)| Part::Cut(bucket - 1, at));
    bucket_up_to(bound).map(Part::UpTo).or_else(declared)
}

fn slot(selected: Selected<'_>, selector: &Selector, histogram: bool) -> Slot {
    let labels = match (selected.view, bound_of(selector)) {
        (View::Bucket, Some(le)) => selected.labels.with(LE, le),
        _ => selected.labels,
    };
    Slot { name: Some(selected.name), labels, limit: None, histogram }
}

/// What holds numbers from here on.
fn number(mut slot: Slot) -> Slot {
    slot.histogram = false;
    slot
}

/// Only these labels of a slot.
fn only(slot: &Slot, keys: &[String]) -> Labels {
    Labels::new(keys.iter().map(|key| (key.as_str(), slot.label(key))))
}

/// What two slots must share to belong together.
fn signature(slot: &Slot, matching: &Matching) -> Labels {
    if matching.on {
        only(slot, &matching.labels)
    } else {
        slot.labels.filter(|key| !matching.labels.iter().any(|label| same_label(key, label)))
    }
}

/// The label set that comes out of a pair.
fn result(many: &Slot, one: &Slot, matching: &Matching, filters: bool) -> Slot {
    let mut labels = match (&matching.group, matching.on) {
        (Group::None, true) => only(many, &matching.labels),
        (Group::None, false) => signature(many, matching),
        _ => many.labels.clone(),
    };
    if let Group::Left(included) | Group::Right(included) = &matching.group {
        for key in included {
            labels = labels.with(key, one.label(key));
        }
    }
    let keeps_name = filters && !(matching.group == Group::None && matching.on);
    let name = many.name.clone().filter(|_| keeps_name);
    let histogram = !filters && (many.histogram || one.histogram);
    Slot { name, labels, limit: None, histogram }
}

/// The labels an absent selector is known to have had.
fn labels_of(selector: &Selector) -> Labels {
    let mut equal: Vec<(&str, &str)> = Vec::new();
    let mut twice: HashSet<&str> = HashSet::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.key != NAME) {
        match &matcher.test {
            Test::Equal(value) if !equal.iter().any(|(key, _)| key == &matcher.key) => {
                equal.push((&matcher.key, value));
            }
            _ => {
                twice.insert(&matcher.key);
            }
        }
    }
    equal.retain(|(key, _)| !twice.contains(key));
    Labels::new(equal)
}
