#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[track_caller]
fn prints(text: &str, wanted: &str) {
    let parsed = parse(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
    assert_eq!(parsed.to_string(), wanted);
    assert_eq!(parse(wanted).unwrap(), parsed, "{wanted} does not read back");
}

#[test]
fn real_rules_read_and_print() {
    prints("up == 0", "up == 0");
    prints(
        "sum(rate(http_requests_total{job=\"api\",code=~\"5..\"}[5m])) by (job) / sum by(job) (rate(http_requests_total[5m])) > .05",
        "sum by (job) (rate(http_requests_total{job=\"api\", code=~\"5..\"}[5m])) / sum by (job) (rate(http_requests_total[5m])) > 0.05",
    );
    prints("a + b * c ^ d ^ e - -f", "a + b * c ^ d ^ e - -f");
    prints("(a + b) * c", "(a + b) * c");
    prints("(a ^ b) ^ c", "(a ^ b) ^ c");
    prints("a - (b - c)", "a - (b - c)");
    prints("-a ^ 2", "-a ^ 2");
    prints("(-a) ^ 2", "(-a) ^ 2");
    prints("-2 ^ 2", "-2 ^ 2");
    prints(
        "a and on(x, y) b or c unless ignoring (z) d",
        "a and on (x, y) b or c unless ignoring (z) d",
    );
    prints("a * on(x) group_left(y) b", "a * on (x) group_left (y) b");
    prints("a == bool 1", "a == bool 1");
    prints(
        "{\"process.memory.usage\", \"a.b\"='c'} > 1e9",
        "{\"process.memory.usage\", \"a.b\"=\"c\"} > 1000000000",
    );
    prints("{__name__=~\"a|b\"}", "{__name__=~\"a|b\"}");
    prints("{__name__=\"up\"}", "up");
    prints("rate(x[1h30m] offset 5m)", "rate(x[1h30m] offset 5m)");
    prints("topk(3, x) by (y)", "topk by (y) (3, x)");
    prints("predict_linear(free[6h], 24*3600) < 0", "predict_linear(free[6h], 24 * 3600) < 0");
    prints(
        "histogram_quantile(0.9, sum by (le) (rate(d_bucket[5m]))) > 1",
        "histogram_quantile(0.9, sum by (le) (rate(d_bucket[5m]))) > 1",
    );
    prints("time() - x > 1d # a comment", "time() - x > 86400");
    prints("vector(1)\n  > 0", "vector(1) > 0");
    prints("sum without(a)(x) > Inf", "sum without (a) (x) > Inf");
    prints("absent(up{job=\"a\"})", "absent(up{job=\"a\"})");
    prints("a:b:rate5m > 1", "a:b:rate5m > 1");
    prints("sum(x) by ()", "sum(x)");
}

#[track_caller]
fn refused(text: &str, position: (usize, usize), reason: &str) {
    let refusal = parse(text).expect_err(text);
    assert!(refusal.reason.contains(reason), "{text}: {refusal}");
    assert_eq!(refusal.position, position, "{text}: {refusal}");
}

#[test]
fn what_is_not_supported_is_named_with_its_place() {
    refused("max_over_time(rate(x[1m])[5m:1m]) > 1", (1, 26), "a subquery is not supported");
    refused("x @ 123", (1, 3), "the @ modifier is not supported");
    refused(
        "1 +\n label_replace(x, \"a\", \"b\", \"c\", \"d\")",
        (2, 2),
        "label_replace is not supported",
    );
    refused("count_values(\"x\", y)", (1, 1), "count_values is not supported");
    refused("x offset -5m", (1, 10), "negative offset");
    refused("ratte(x[5m])", (1, 1), "unknown function ratte");
}

#[test]
fn mistakes_are_told_with_their_place() {
    refused("", (1, 1), "expected an expression, found end");
    refused("a +", (1, 4), "expected an expression");
    refused("(a", (1, 3), "expected \")\"");
    refused("a b", (1, 3), "unexpected \"b\"");
    refused("a{x=~\"(\"}", (1, 6), "pattern");
    refused("{x=\"\"}", (1, 1), "must have a matcher");
    refused("{x=~\".*\"}", (1, 1), "must have a matcher");
    refused("a{__name__=\"b\"}", (1, 3), "given twice");
    refused("1 > 2", (1, 3), "must use bool");
    refused("a and 1", (1, 3), "instant vectors only");
    refused("a + on(x) 1", (1, 3), "vector matching");
    refused("a + bool b", (1, 3), "bool goes with comparisons");
    refused("a and on(x) group_left b", (1, 3), "takes no grouping");
    refused("a * on(x) group_left(x) b", (1, 3), "must not be in both");
    refused("rate(x)", (1, 1), "expects a range vector, found a instant vector");
    refused("x[5m]", (1, 1), "must not be a range vector");
    refused("x[5m] + 1", (1, 7), "takes no range vector");
    refused("rate(x[5m], 1)", (1, 1), "takes 1 arguments, found 2");
    refused("sum(x, y)", (1, 1), "takes 1 arguments, found 2");
}

#[test]
fn hostile_text_ends_in_an_error() {
    for text in [
        "(".repeat(8000),
        "-".repeat(8000),
        "a^".repeat(4000),
        "a+".repeat(4000) + "a",
        "abs(".repeat(2000),
        "a".repeat(9000),
        "sum by (".repeat(1000),
        "{".repeat(8000),
        "\u{1F980}".to_owned(),
        "\"\\".to_owned(),
        "a{é=\"b\"}é".to_owned(),
    ] {
        assert!(parse(&text).is_err(), "{text:.20}");
    }
}
