//! The snippets for autoscalers: they are YAML of the right shape, their queries find the exported
//! series on a real Prometheus, and what Kubernetes makes of them is what we compute.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/prometheus.rs"]
mod prometheus;
#[path = "support/stack.rs"]
mod stack;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use highwater::{
    Highwater,
    export::{prometheus::CONTENT_TYPE, scale::Replicas},
    sample,
};
use prometheus::{Prometheus, Route};
use serde_json::Value;

/// A file's documents, read by Python's YAML; `None`, said aloud, without it.
fn yaml(test: &str, text: &str) -> Option<Vec<Value>> {
    let mut python = Command::new("python3");
    let path = stack::tools().unwrap_or_default().join("python");
    let code = "import sys, json, yaml; print(json.dumps(list(yaml.safe_load_all(sys.argv[1]))))";
    let out = python.env("PYTHONPATH", path).args(["-c", code, text]).output();
    match out {
        Ok(out) if out.status.success() => Some(serde_json::from_slice(&out.stdout).unwrap()),
        Ok(out) if String::from_utf8_lossy(&out.stderr).contains("yaml.") => {
            panic!("{}", String::from_utf8_lossy(&out.stderr))
        }
        _ => {
            let required = std::env::var_os("HIGHWATER_STACK_REQUIRED").is_some();
            assert!(!required, "{test} needs Python's yaml: run tests/stack/fetch.sh");
            let said = format!("SKIPPED: {test}: there is no Python with yaml\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes());
            None
        }
    }
}

fn snippet(test: &str, name: &str) -> Option<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/autoscaling").join(name);
    yaml(test, &std::fs::read_to_string(path).unwrap())
}

#[test]
fn the_snippets_ask_for_series_that_are_there() {
    let test = "the_snippets_ask_for_series_that_are_there";
    let Some(keda) = snippet(test, "keda.yaml") else { return };
    let Some(hpa) = snippet(test, "hpa.yaml") else { return };
    assert_eq!(keda[0]["kind"], "ScaledObject");
    let trigger = &keda[0]["spec"]["triggers"][0];
    assert_eq!(
        (&trigger["type"], &trigger["metricType"]),
        (&"prometheus".into(), &"AverageValue".into())
    );
    let target: f64 = trigger["metadata"]["threshold"].as_str().unwrap().parse().unwrap();
    assert_eq!(hpa[0]["apiVersion"], "autoscaling/v2");
    let external = &hpa[0]["spec"]["metrics"][0]["external"];
    assert_eq!(external["target"]["averageValue"], "700m");
    let adapter = hpa[1]["data"]["config.yaml"].as_str().unwrap();
    let adapter = yaml(test, adapter).unwrap().remove(0)["externalRules"][0].clone();
    assert_eq!(adapter["name"]["as"], external["metric"]["name"]);
    let query = trigger["metadata"]["query"].as_str().unwrap();
    assert_eq!(adapter["metricsQuery"], query);

    // Without a limit there is nothing to be a share of.
    let memory = sample::memory().budget(1 << 30);
    let hw =
        Highwater::builder("shop").tick(Duration::from_millis(100)).sample(memory).start().unwrap();
    let page = hw.clone();
    let route = Route::serve(CONTENT_TYPE, move || page.render_prometheus());
    let Some(prometheus) = Prometheus::start(test, route.address) else { return };
    let sum = prometheus.one(query);
    assert!(sum > 0.0 && sum < 1.0, "one replica's share of its memory: {sum}");
    stack::eventually("what the adapter looks for", || {
        prometheus.query(adapter["seriesQuery"].as_str().unwrap()).pop()
    });
    hw.shutdown(Duration::from_secs(5)).unwrap();

    // An average value is the sum divided by the target, rounded up.
    for (running, utilization) in [(4_u32, 0.9), (10, 0.2), (3, 0.7), (7, 1.3)] {
        let kubernetes = (f64::from(running) * utilization / target - 1e-9).ceil() as u32;
        let mut ours = Replicas::towards(target)
            .between(1, 100)
            .tolerance(0.0)
            .cool_down(Duration::ZERO, Duration::ZERO);
        assert_eq!(ours.desired(Instant::now(), running, utilization), kubernetes);
    }
}
