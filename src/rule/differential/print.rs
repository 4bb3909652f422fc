//! What is printed reads back as it was, and Prometheus takes it: any expression of the grammar.

use std::fmt::Write as _;

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngSeed, TestRunner},
};

use super::{promql, promtool, run};
use crate::rule::expr::{
    Aggregate, AggregateOp, Binary, BinaryOp, Expr, Function, Group, Matcher, Matching, Pattern,
    Selector, Test, Type,
};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_][a-z0-9_]{0,6}",
        1 => "[a-z]{1,3}:[a-z]{1,3}",
        2 => "[a-z]{1,4}\\.[a-z]{1,4}",
        1 => prop::sample::select(vec!["sum", "by", "on", "offset", "inf", "NaN", "bool", "and", "start", "Group_Left", "rate", "1x"])
            .prop_map(str::to_owned),
        1 => "\\PC{1,6}",
    ]
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_][a-z0-9_]{0,4}",
        1 => "[a-z]{1,3}\\.[a-z]{1,3}",
        1 => "\\PC{1,4}",
        1 => prop::sample::select(vec!["le", "by", "on", "and"]).prop_map(str::to_owned),
    ]
}

fn labels() -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set(label(), 0..3).prop_map(|all| all.into_iter().collect())
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let pattern = prop::sample::select(vec![".+", "a|b", "5..", "[^x]+y?", "a\\.b", "\"\\d\""]);
    let test = prop_oneof![
        3 => "\\PC{0,6}".prop_map(Test::Equal),
        1 => "[\\n\\t\"\\\\\\x01a]{1,4}".prop_map(Test::Equal),
        1 => "[a-z]{1,3}".prop_map(Test::NotEqual),
        1 => pattern.clone().prop_map(|text| Test::Matches(Pattern::new(text).unwrap())),
        1 => pattern.prop_map(|text| Test::NotMatches(Pattern::new(text).unwrap())),
    ];
    (label(), test).prop_map(|(key, test)| Matcher { key, test })
}

fn span() -> impl Strategy<Value = std::time::Duration> {
    prop_oneof![Just(300_000), 1..100_000_u64, 1..10_000_000_000_u64]
        .prop_map(std::time::Duration::from_millis)
}

fn selector() -> impl Strategy<Value = Selector> {
    let offset = prop_oneof![3 => Just(std::time::Duration::ZERO), 1 => span()];
    (name(), prop::collection::vec(matcher(), 0..3), offset)
        .prop_map(|(name, matchers, offset)| Selector { name: Some(name), matchers, offset })
}

fn number() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![
        3 => (-1000..1000_i32).prop_map(|n| f64::from(n) / 8.0),
        1 => POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE,
    ]
}

fn wrap(binary: Binary) -> Expr {
    Expr::Binary(Box::new(binary))
}

/// Scalars and vectors, well typed.
fn expression() -> impl Strategy<Value = Expr> {
    vector(3)
}

fn scalar() -> BoxedStrategy<Expr> {
    let one = prop_oneof![
        4 => number().prop_map(Expr::Number),
        1 => Just(Expr::Call(Function::Time, Vec::new())),
        1 => selector().prop_map(|s| Expr::Call(Function::ToScalar, vec![Expr::Select(s)])),
    ];
    let op = prop::sample::select(vec![
        BinaryOp::Add,
        BinaryOp::Subtract,
        BinaryOp::Multiply,
        BinaryOp::Divide,
        BinaryOp::Modulo,
        BinaryOp::Power,
        BinaryOp::Atan2,
        BinaryOp::Equal,
        BinaryOp::Less,
    ]);
    one.prop_recursive(2, 6, 2, move |inner| {
        (op.clone(), inner.clone(), inner).prop_map(|(op, left, right)| {
            wrap(Binary {
                op,
                left,
                right,
                yields_bool: op.is_comparison(),
                matching: Matching::default(),
            })
        })
    })
    .boxed()
}

fn matching(op: BinaryOp) -> impl Strategy<Value = Matching> {
    (any::<bool>(), labels(), labels(), 0..4_u8).prop_map(move |(on, own, more, group)| {
        let more: Vec<_> = more.into_iter().filter(|label| !on || !own.contains(label)).collect();
        let group = match group {
            0 if !op.is_set() => Group::Left(more),
            1 if !op.is_set() => Group::Right(more),
            _ => Group::None,
        };
        Matching { on, labels: own, group }
    })
}

const OPERATORS: [BinaryOp; 16] = [
    BinaryOp::Add,
    BinaryOp::Subtract,
    BinaryOp::Multiply,
    BinaryOp::Divide,
    BinaryOp::Modulo,
    BinaryOp::Power,
    BinaryOp::Atan2,
    BinaryOp::Equal,
    BinaryOp::NotEqual,
    BinaryOp::Greater,
    BinaryOp::GreaterEqual,
    BinaryOp::Less,
    BinaryOp::LessEqual,
    BinaryOp::And,
    BinaryOp::Or,
    BinaryOp::Unless,
];

fn vector(depth: u32) -> BoxedStrategy<Expr> {
    let leaf = prop_oneof![2 => selector().prop_map(Expr::Select), 1 => call(None)];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = vector(depth - 1);
    let negated = inner.clone().prop_map(|of| Expr::Negate(Box::new(of)));
    let operator = || prop::sample::select(OPERATORS.to_vec());
    let between = {
        let inner = inner.clone();
        operator().prop_flat_map(move |op| {
            (inner.clone(), inner.clone(), matching(op), any::<bool>()).prop_map(
                move |(left, right, matching, bool)| {
                    let yields_bool = bool && op.is_comparison();
                    wrap(Binary { op, left, right, yields_bool, matching })
                },
            )
        })
    };
    let with_scalar = (operator(), inner.clone(), scalar(), any::<bool>(), any::<bool>())
        .prop_filter("sets take vectors", |(op, ..)| !op.is_set())
        .prop_map(|(op, vector, scalar, swapped, bool)| {
            let (left, right) = if swapped { (scalar, vector) } else { (vector, scalar) };
            let yields_bool = bool && op.is_comparison();
            wrap(Binary { op, left, right, yields_bool, matching: Matching::default() })
        });
    let aggregate = (
        prop::sample::select(AggregateOp::ALL.to_vec()),
        inner.clone(),
        scalar(),
        any::<bool>(),
        labels(),
    )
        .prop_map(|(op, of, parameter, without, labels)| {
            let parameter = op.has_parameter().then_some(parameter);
            Expr::Aggregate(Box::new(Aggregate { op, of, parameter, without, labels }))
        });
    prop_oneof![2 => leaf, 1 => negated, 3 => between, 2 => with_scalar, 2 => aggregate, 2 => call(Some(inner))]
        .boxed()
}

/// A function that yields a vector, of what it takes.
fn call(inner: Option<BoxedStrategy<Expr>>) -> BoxedStrategy<Expr> {
    let functions: Vec<_> = Function::ALL
        .iter()
        .copied()
        .filter(|function| function.signature().2 == Type::Vector)
        .collect();
    let of = inner.unwrap_or_else(|| selector().prop_map(Expr::Select).boxed());
    (prop::sample::select(functions), any::<bool>())
        .prop_flat_map(move |(function, all)| {
            let (types, optional, _) = function.signature();
            let given = if all { types.len() } else { types.len() - optional };
            let arguments: Vec<BoxedStrategy<Expr>> = types[..given]
                .iter()
                .map(|wanted| match wanted {
                    Type::Scalar => scalar(),
                    Type::Vector => of.clone(),
                    Type::Range => (selector(), span())
                        .prop_map(|(selector, range)| Expr::Range(selector, range))
                        .boxed(),
                })
                .collect();
            arguments.prop_map(move |arguments| Expr::Call(function, arguments))
        })
        .boxed()
}

proptest! {
    #![proptest_config(Config {
        cases: 1_000,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn what_is_printed_reads_back(expr in expression()) {
        let text = expr.to_string();
        let read = promql::parse(&text);
        prop_assert_eq!(read, Ok(expr), "{}", text);
    }

    #[test]
    fn any_text_parses_or_is_refused(text in "[ -~]{0,60}|\\PC{0,20}") {
        if let Ok(expr) = promql::parse(&text) {
            // What was understood reads back, too.
            let printed = expr.to_string();
            let again = promql::parse(&printed).map(|expr| expr.to_string());
            prop_assert_eq!(again, Ok(printed));
        }
    }
}

#[test]
fn prometheus_takes_what_is_printed() {
    let Some(tool) = promtool("printed expressions") else { return };
    let mut runner = TestRunner::deterministic();
    let mut yaml = "groups:\n- name: g\n  rules:\n".to_owned();
    let mut all = Vec::new();
    for number in 0..600 {
        let text = expression().new_tree(&mut runner).unwrap().current().to_string();
        writeln!(yaml, "  - record: r{number}\n    expr: {}", crate::rule::expr::Quoted(&text))
            .unwrap();
        all.push(text);
    }
    let (well, said) = run(&tool, &["check", "rules"], "printed.yml", &yaml);
    let first: String = said.lines().take(20).collect::<Vec<_>>().join("\n");
    assert!(well, "{first}");
}
