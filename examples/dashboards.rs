//! Everything that stands beside a service, written to a folder:
//! `cargo run --features generate --example dashboards -- DIR`. Nothing is started.
//!
//! ```text
//! DIR/grafana/prometheus/…          dashboards and provisioning, for native histograms
//! DIR/grafana/prometheus-classic/…  for classic buckets
//! DIR/grafana/victoriametrics/…
//! DIR/rules/prometheus/rules.yaml   what only a server can watch, and the process' alerts passed on
//! DIR/rules/prometheus/rules-process.yaml
//!                                   the rules that run in the process, for a server to evaluate too
//! DIR/rules/…                       both for the other servers
//! DIR/runbook.md                    a section for each rule
//! ```

use std::{env, error::Error, fs, path::PathBuf, time::Duration};

use highwater::{
    Builder, Highwater,
    alert::Severity,
    generate::{self, Flavor},
    rule,
};

/// The same that the service would start.
fn service() -> Builder {
    Highwater::builder("veltrix").runbooks("https://runbooks.example/veltrix.md").rule(
        rule::alert("OrdersSlow")
            .when(
                rule::query("orders_by_user")
                    .quantile(0.99)
                    .over(Duration::from_secs(60))
                    .above(Duration::from_millis(250))
                    .clear_below(Duration::from_millis(200)),
            )
            .hold_for(Duration::from_secs(30))
            .severity(Severity::Critical)
            .summary("p99 of orders_by_user is {{ value }}")
            .description("Customers wait for their orders."),
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(env::args().nth(1).ok_or("usage: dashboards DIR")?);
    let builder = service();
    for flavor in Flavor::ALL {
        for file in generate::grafana(&builder)?.flavor(flavor).files() {
            file.write_to(directory.join("grafana").join(flavor.as_str()))?;
        }
    }
    for flavor in Flavor::ALL {
        let rules = directory.join("rules").join(flavor.as_str());
        fs::create_dir_all(&rules)?;
        fs::write(rules.join("rules.yaml"), generate::prometheus_rules(&builder, flavor)?)?;
        fs::write(rules.join("rules-process.yaml"), generate::process_rules(&builder, flavor)?)?;
    }
    fs::write(directory.join("runbook.md"), generate::runbook(&builder)?)?;
    println!("written to {}", directory.display());
    Ok(())
}
