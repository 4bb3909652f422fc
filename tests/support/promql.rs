//! A dashboard's panels and their expressions.

#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use serde_json::Value;

/// All panels but rows, those within collapsed rows too.
pub fn panels(dashboard: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        if panel["type"] == "row" {
            all.extend(panel["panels"].as_array().into_iter().flatten().cloned());
        } else {
            all.push(panel.clone());
        }
    }
    all
}

/// What a panel or an annotation asks.
#[derive(Debug, Clone)]
pub struct Asked {
    pub title: String,
    /// The query's letter; an annotation has none.
    pub reference: String,
    pub expr: String,
    /// What is now, and not over a range.
    pub instant: bool,
}

/// What every panel and annotation asks.
pub fn asked(dashboard: &Value) -> Vec<Asked> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for panel in panels(dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.push(Asked {
                title: text(&panel["title"]),
                reference: text(&target["refId"]),
                expr: text(&target["expr"]),
                instant: target["instant"] == true,
            });
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().into_iter().flatten() {
        if annotation["expr"].is_string() {
            all.push(Asked {
                title: format!("annotation {}", annotation["name"]),
                reference: String::new(),
                expr: text(&annotation["expr"]),
                instant: false,
            });
        }
    }
    all
}

/// Title and expression of every panel and annotation.
pub fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    asked(dashboard).into_iter().map(|asked| (asked.title, asked.expr)).collect()
}

/// Of each variable that asks a server: its name, the series it looks at, and the label it lists.
pub fn variables(dashboard: &Value) -> Vec<(String, String, String)> {
    let list = dashboard["templating"]["list"].as_array().into_iter().flatten();
    let queries = list.filter_map(|variable| {
        let query = variable["query"]["query"].as_str()?.strip_prefix("label_values(")?;
        let (series, label) = query.strip_suffix(')')?.rsplit_once(", ")?;
        Some((variable["name"].as_str()?.to_owned(), series.to_owned(), label.to_owned()))
    });
    queries.collect()
}

/// With Grafana's variables filled in: everything is chosen. `seconds` is the interval.
pub fn filled(expr: &str, seconds: u32) -> String {
    let mut expr = expr.to_owned();
    // The longer name first.
    for (variable, value) in [
        ("$__interval_ms", format!("{seconds}000")),
        ("$__interval", format!("{seconds}s")),
        ("$__rate_interval", format!("{seconds}s")),
    ] {
        expr = expr.replace(variable, &value);
    }
    let all = ["$job", "$instance", "$query", "$alert"];
    all.iter().fold(expr, |expr, variable| expr.replace(variable, ".+"))
}
