//! Expressions over the series of [`values`](super::values), made up from what the evaluator
//! supports. Comparisons and steps (`floor`, `%`) are only of what both sides compute alike to the
//! last bit: what differs by 1e-16 must not decide.

use super::Numbers;

const RANGES: &[&str] = &["3s", "5s", "7s", "10s", "20s", "1m"];

fn gauge(numbers: &mut Numbers) -> String {
    let matcher =
        numbers.one_of(&["", "", "", "{k=\"a\"}", "{k!=\"b\"}", "{k=~\"a|c\"}", "{k!~\"c\"}"]);
    format!("{}{matcher}", numbers.one_of(&["g", "g", "o", "w"]))
}

fn leaf(numbers: &mut Numbers) -> String {
    let offset = numbers.one_of(&["", "", "", " offset 5s", " offset 12s"]);
    format!("{}{offset}", gauge(numbers))
}

fn windowed(numbers: &mut Numbers) -> String {
    let range = numbers.one_of(RANGES);
    let offset = numbers.one_of(&["", "", " offset 4s"]);
    match numbers.below(12) {
        0..=2 => {
            let function = numbers.one_of(&["rate", "increase", "irate", "resets", "changes"]);
            format!("{function}(c[{range}]{offset})")
        }
        3 => format!(
            "quantile_over_time(0.{}, {}[{range}]{offset})",
            numbers.below(10),
            gauge(numbers)
        ),
        4 => format!("predict_linear({}[20s]{offset}, {})", gauge(numbers), numbers.below(90)),
        5 => format!("deriv({}[{range}]{offset})", gauge(numbers)),
        _ => {
            let function = numbers.one_of(&[
                "avg_over_time",
                "sum_over_time",
                "min_over_time",
                "max_over_time",
                "count_over_time",
                "last_over_time",
                "present_over_time",
                "delta",
                "idelta",
                "changes",
            ]);
            format!("{function}({}[{range}]{offset})", gauge(numbers))
        }
    }
}

fn of_histogram(numbers: &mut Numbers) -> String {
    let range = numbers.one_of(RANGES);
    let inner = match numbers.below(4) {
        0 => format!("rate(h[{range}])"),
        1 => format!("increase(h{{k=\"a\"}}[{range}])"),
        2 => format!("sum(rate(h[{range}]))"),
        _ => format!("sum by (k) (increase(h[{range}]))"),
    };
    match numbers.below(5) {
        0 => format!("histogram_count({inner})"),
        1 => format!("histogram_sum({inner})"),
        2 => format!("histogram_avg({inner})"),
        3 => format!(
            "histogram_fraction(0.{}, {}, {inner})",
            numbers.below(10),
            1 + numbers.below(3)
        ),
        // A zero is exactly that to us, and within a bucket of some width to them: `ln` and `/` would
        // tell.
        _ => format!("(histogram_quantile(0.{}, {inner}) + 0.3)", 1 + numbers.below(9)),
    }
}

fn scalar(numbers: &mut Numbers) -> String {
    match numbers.below(6) {
        0 => format!("scalar(sum({}))", leaf(numbers)),
        1 => "time()".to_owned(),
        2 => format!("(2 ^ {})", numbers.below(4)),
        _ => format!("{}.5", numbers.below(9)),
    }
}

/// An instant vector, of at most so many operations on top of each other.
pub(in crate::rule) fn vector(numbers: &mut Numbers, depth: u64) -> String {
    if depth == 0 {
        return match numbers.below(6) {
            0 => windowed(numbers),
            1 => of_histogram(numbers),
            2 => format!("rate(c[{}])", numbers.one_of(RANGES)),
            _ => leaf(numbers),
        };
    }
    let depth = depth - 1;
    match numbers.below(15) {
        0 => windowed(numbers),
        1 => of_histogram(numbers),
        2 => {
            let function = numbers.one_of(&["abs", "sqrt", "ln", "log2", "log10"]);
            format!("{function}({})", vector(numbers, depth))
        }
        3 => {
            let function = numbers.one_of(&["floor", "ceil", "round", "sgn", "exp", "timestamp"]);
            format!("{function}({})", gauge(numbers))
        }
        4 => match numbers.below(3) {
            0 => format!("clamp({}, 1, {})", vector(numbers, depth), 2 + numbers.below(6)),
            1 => format!("clamp_min({}, {})", vector(numbers, depth), numbers.below(6)),
            _ => format!("clamp_max({}, {})", vector(numbers, depth), numbers.below(6)),
        },
        5 => format!("-({})", vector(numbers, depth)),
        6 => {
            let op = numbers.one_of(&["+", "-", "*", "/"]);
            let (vector, scalar) = (vector(numbers, depth), scalar(numbers));
            match numbers.below(2) {
                0 => format!("({vector}) {op} {scalar}"),
                _ => format!("{scalar} {op} ({vector})"),
            }
        }
        7 => {
            let op = numbers.one_of(&[">", "<", ">=", "<=", "==", "!=", "> bool", "<= bool"]);
            format!("{} {op} {}.3", leaf(numbers), numbers.below(9))
        }
        8 => {
            let op = numbers.one_of(&["+", "-", "*", "/", "> bool", "<="]);
            // The last has more than one match, mostly: both sides must refuse.
            let matching =
                numbers.one_of(&["", "on (k)", "ignoring (z)", "on (k) group_left (z)", "on ()"]);
            format!("{} {op} {matching} {}", leaf(numbers), leaf(numbers))
        }
        9 => {
            let op = numbers.one_of(&["and", "or", "unless"]);
            let matching = numbers.one_of(&["", "on (k)", "ignoring (z)", "on ()"]);
            format!("({}) {op} {matching} ({})", vector(numbers, depth), vector(numbers, depth))
        }
        10 | 11 => {
            let op =
                numbers.one_of(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]);
            let grouping = numbers.one_of(&["", "by (k)", "without (k)", "by (z, k)"]);
            let of = match op {
                // Of what is nearly equal they keep no digit.
                "stddev" | "stdvar" => leaf(numbers),
                _ => vector(numbers, depth),
            };
            format!("{op} {grouping} ({of})")
        }
        12 => match numbers.below(3) {
            0 => format!("quantile by (z) (0.{}, {})", numbers.below(10), vector(numbers, depth)),
            1 => format!("{}(2, {})", numbers.one_of(&["topk", "bottomk"]), gauge(numbers)),
            _ => format!("{} by (k) (1, {})", numbers.one_of(&["topk", "bottomk"]), gauge(numbers)),
        },
        13 => match numbers.below(3) {
            0 => format!("absent({})", vector(numbers, depth)),
            1 => format!("absent_over_time({}[{}])", gauge(numbers), numbers.one_of(RANGES)),
            _ => format!("vector({})", scalar(numbers)),
        },
        _ => format!("{} % {}", gauge(numbers), 2 + numbers.below(5)),
    }
}
