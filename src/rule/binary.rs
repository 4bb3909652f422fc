//! Operators between two expressions: which slots belong together is settled when binding; here is
//! what a tick does with it.

use super::{
    expr::BinaryOp,
    number::{Scratch, arithmetic, compare},
    plan::{Below, Failure, NodeId, Value},
};

/// One operation on two values.
#[inline]
fn element(op: BinaryOp, left: Value, right: Value, scratch: &mut Scratch) -> (Value, bool) {
    match (left, right) {
        (Value::Float(left_number), Value::Float(right_number)) => {
            if op.is_comparison() {
                (left, compare(op, left_number, right_number))
            } else {
                (Value::Float(arithmetic(op, left_number, right_number)), true)
            }
        }
        (Value::Histogram(hist), Value::Float(factor)) => match op {
            BinaryOp::Multiply => (scratch.map(hist, |h| h.scale(factor)), true),
            BinaryOp::Divide => (scratch.map(hist, |h| h.scale(1.0 / factor)), true),
            _ => (Value::Absent, false),
        },
        (Value::Float(factor), Value::Histogram(hist)) if op == BinaryOp::Multiply => {
            (scratch.map(hist, |h| h.scale(factor)), true)
        }
        (Value::Histogram(a), Value::Histogram(b)) => {
            let factor = match op {
                BinaryOp::Add => 1.0,
                BinaryOp::Subtract => -1.0,
                _ => return (Value::Absent, false),
            };
            let sum = scratch.map(a, |_| ());
            if let Value::Histogram(to) = sum {
                scratch.add(to, b, factor);
            }
            (sum, true)
        }
        _ => (Value::Absent, false),
    }
}

#[inline]
fn outcome(op: BinaryOp, yields_bool: bool, (value, kept): (Value, bool)) -> Value {
    match (op.is_comparison() && yields_bool, kept) {
        (true, _) if value == Value::Absent => Value::Absent,
        (true, kept) => Value::Float(f64::from(u8::from(kept))),
        (false, true) => value,
        (false, false) => Value::Absent,
    }
}

/// Every element of a vector with one number.
pub(crate) fn with_scalar(
    op: BinaryOp,
    yields_bool: bool,
    vector: &[Value],
    scalar: f64,
    swapped: bool,
    out: &mut [Value],
    scratch: &mut Scratch,
) {
    for (out, &value) in out.iter_mut().zip(vector) {
        let Value::Float(number) = value else {
            let scalar = Value::Float(scalar);
            let (left, right) = if swapped { (scalar, value) } else { (value, scalar) };
            *out = outcome(op, yields_bool, element(op, left, right, scratch));
            continue;
        };
        let (left, right) = if swapped { (scalar, number) } else { (number, scalar) };
        let number = match op.is_comparison().then(|| compare(op, left, right)) {
            None => Some(arithmetic(op, left, right)),
            Some(holds) if yields_bool => Some(f64::from(u8::from(holds))),
            // A filter keeps the vector's element, on whichever side it stands.
            Some(holds) => holds.then_some(number),
        };
        *out = number.map_or(Value::Absent, Value::Float);
    }
}

/// Arithmetic or comparison between two vectors.
#[derive(Debug)]
pub(crate) struct Pairing {
    pub(crate) op: BinaryOp,
    pub(crate) yields_bool: bool,
    pub(crate) left: NodeId,
    pub(crate) right: NodeId,
    /// The *one* side is the left one (`group_right`).
    pub(crate) one_is_left: bool,
    /// One match group may have only one sample of the many side too.
    pub(crate) one_to_one: bool,
    /// For every slot that may come out: which of the many side, which of the one side.
    pub(crate) pairs: Vec<(u32, u32)>,
    /// Slots of the one side that share a match group.
    pub(crate) one_groups: Vec<Vec<u32>>,
    /// Slots that come out of the same match group, from different ones of the many side.
    pub(crate) out_groups: Vec<Vec<u32>>,
}

impl Pairing {
    pub(crate) fn evaluate(
        &self,
        below: Below<'_>,
        out: &mut [Value],
        scratch: &mut Scratch,
    ) -> Result<(), Failure> {
        let (left, right) = (below.values(self.left), below.values(self.right));
        let present = |values: &[Value]| values.iter().any(|value| value.is_present());
        if !present(left) || !present(right) {
            out.fill(Value::Absent);
            return Ok(());
        }
        let (many, one) = if self.one_is_left { (right, left) } else { (left, right) };
        for group in &self.one_groups {
            if group.iter().filter(|slot| one[**slot as usize].is_present()).count() > 1 {
                return Err(Failure(
                    "found duplicate series for a match group: many-to-many matching is not allowed".into(),
                ));
            }
        }
        for (out, &(m, o)) in out.iter_mut().zip(&self.pairs) {
            let (many, one) = (many[m as usize], one[o as usize]);
            *out = if many.is_present() && one.is_present() {
                let (left, right) = if self.one_is_left { (one, many) } else { (many, one) };
                outcome(self.op, self.yields_bool, element(self.op, left, right, scratch))
            } else {
                Value::Absent
            };
        }
        if self.one_to_one {
            for group in &self.out_groups {
                if group.iter().filter(|slot| out[**slot as usize].is_present()).count() > 1 {
                    return Err(Failure(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)".into(),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// `and`, `or`, `unless`.
#[derive(Debug)]
pub(crate) struct SetOp {
    pub(crate) op: BinaryOp,
    pub(crate) left: NodeId,
    pub(crate) right: NodeId,
    /// The match group of each slot of either side.
    pub(crate) left_group: Vec<u32>,
    pub(crate) right_group: Vec<u32>,
    /// Which groups are present on the deciding side; kept for its buffer.
    pub(crate) present: Vec<bool>,
}

impl SetOp {
    pub(crate) fn evaluate(&mut self, below: Below<'_>, out: &mut [Value]) {
        let (left, right) = (below.values(self.left), below.values(self.right));
        let (deciding, groups) = if self.op == BinaryOp::Or {
            (left, &self.left_group)
        } else {
            (right, &self.right_group)
        };
        self.present.fill(false);
        for (value, group) in deciding.iter().zip(groups) {
            self.present[*group as usize] |= value.is_present();
        }
        let (first, second) = out.split_at_mut(left.len());
        let wanted = self.op == BinaryOp::And;
        for ((out, value), group) in first.iter_mut().zip(left).zip(&self.left_group) {
            let kept = self.op == BinaryOp::Or || self.present[*group as usize] == wanted;
            *out = if kept { *value } else { Value::Absent };
        }
        // Only `or` has a second part.
        for ((out, value), group) in second.iter_mut().zip(right).zip(&self.right_group) {
            *out = if self.present[*group as usize] { Value::Absent } else { *value };
        }
    }
}
