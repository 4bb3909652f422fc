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

/// Title and expression of every panel and annotation.
pub fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for panel in panels(dashboard) {
        let title = panel["title"].as_str().unwrap_or_default().to_owned();
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.push((title.clone(), target["expr"].as_str().unwrap_or_default().to_owned()));
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().into_iter().flatten() {
        if let Some(expr) = annotation["expr"].as_str() {
            all.push((format!("annotation {}", annotation["name"]), expr.to_owned()));
        }
    }
    all
}

/// With Grafana's variables filled in: everything is chosen.
pub fn filled(expr: &str, interval: &str) -> String {
    let all = ["$job", "$instance", "$query", "$alert"];
    let expr = expr.replace("$__rate_interval", interval);
    all.iter().fold(expr, |expr, variable| expr.replace(variable, ".+"))
}
