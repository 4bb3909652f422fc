//! What the grammar lets through and the types do not.

use crate::rule::expr::{Aggregate, Binary, Expr, Function, Group, Type};

type Checked = Result<(), String>;

pub(super) fn result(expr: &Expr) -> Checked {
    match expr.kind() {
        Type::Range => Err("a rule's expression must not be a range vector".to_owned()),
        Type::Scalar | Type::Vector => Ok(()),
    }
}

pub(super) fn operand(expr: &Expr) -> Checked {
    match expr.kind() {
        Type::Range => Err("an operator takes no range vector".to_owned()),
        Type::Scalar | Type::Vector => Ok(()),
    }
}

pub(super) fn binary(binary: &Binary) -> Checked {
    let op = binary.op;
    operand(&binary.left)?;
    operand(&binary.right)?;
    let vectors = (binary.left.kind(), binary.right.kind()) == (Type::Vector, Type::Vector);
    let scalars = (binary.left.kind(), binary.right.kind()) == (Type::Scalar, Type::Scalar);
    let matching = &binary.matching;
    let matches = matching.on || !matching.labels.is_empty() || matching.group != Group::None;
    if binary.yields_bool && !op.is_comparison() {
        return Err(format!("bool goes with comparisons, not with {:?}", op.as_str()));
    }
    if scalars && op.is_comparison() && !binary.yields_bool {
        return Err("a comparison between scalars must use bool".to_owned());
    }
    if op.is_set() && !vectors {
        return Err(format!("{:?} takes instant vectors only", op.as_str()));
    }
    if op.is_set() && matching.group != Group::None {
        return Err(format!("{:?} takes no grouping", op.as_str()));
    }
    if matches && !vectors {
        return Err("vector matching is only allowed between instant vectors".to_owned());
    }
    if let Group::Left(labels) | Group::Right(labels) = &matching.group
        && matching.on
        && let Some(label) = labels.iter().find(|label| matching.labels.contains(label))
    {
        return Err(format!("label {label:?} must not be in both on and the grouping"));
    }
    Ok(())
}

pub(super) fn aggregate(aggregate: &Aggregate) -> Checked {
    wants(aggregate.op.as_str(), Type::Vector, &aggregate.of)?;
    match &aggregate.parameter {
        Some(parameter) => wants(aggregate.op.as_str(), Type::Scalar, parameter),
        None => Ok(()),
    }
}

pub(super) fn call(function: Function, arguments: &[Expr]) -> Checked {
    let (types, optional, _) = function.signature();
    let name = function.as_str();
    if !(types.len() - optional..=types.len()).contains(&arguments.len()) {
        let wanted = types.len();
        return Err(format!("{name} takes {wanted} arguments, found {}", arguments.len()));
    }
    arguments.iter().zip(types).try_for_each(|(argument, wanted)| wants(name, *wanted, argument))
}

fn wants(name: &str, wanted: Type, argument: &Expr) -> Checked {
    let found = argument.kind();
    if found == wanted {
        return Ok(());
    }
    Err(format!("{name} expects a {}, found a {}", wanted.as_str(), found.as_str()))
}
