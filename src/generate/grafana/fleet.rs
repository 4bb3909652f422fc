//! The dashboard of all instances of a service, the worst first.

use serde_json::{Value, json};

use super::{
    Drawing,
    layout::Layout,
    panel::{BLUE, GREEN, Kind, ORANGE, Panel, RED},
};
use crate::semconv as s;

impl Drawing<'_> {
    pub(super) fn fleet_panels(&self) -> Vec<Value> {
        let mut layout = Layout::default();
        layout.row("Are we all right?", false, self.fleet_at_a_glance());
        layout.row("Instances, the worst first", false, vec![self.fleet_table()]);
        layout.row("Over time", false, self.fleet_lines());
        layout.panels
    }

    fn fleet_at_a_glance(&self) -> Vec<Panel> {
        let d = self.dialect;
        let instance = d.instance();
        let by = format!("by ({instance})");
        let firing = format!("count {by} ({} == 4)", d.latest(s::ALERT_STATE));
        vec![
            Panel::new(Kind::Stat, "Instances", "short", "Instances that report.")
                .query(format!("count(max {by} ({}))", d.latest(s::PROCESS_UPTIME)), "instances")
                .steps(vec![(BLUE, None)])
                .no_value("none"),
            Panel::new(
                Kind::Stat,
                "Instances with a firing alert",
                "short",
                "How many of them have trouble.",
            )
            .query(format!("count({firing}) or vector(0)"), "instances")
            .steps(vec![(GREEN, None), (ORANGE, Some(1.0))]),
            Panel::new(
                Kind::Stat,
                "Fullest instance",
                "percentunit",
                "The greatest share of a memory limit in use anywhere.",
            )
            .query(format!("max({})", d.of(s::MEMORY_BINDING_UTILIZATION)), "of its limit")
            .steps(self.steps_of(s::MEMORY_UTILIZATION))
            .between(Some(0.0), Some(1.0))
            .no_value("no limit"),
            Panel::new(
                Kind::Stat,
                "First to reach its limit",
                "s",
                "The least time to a memory limit anywhere.",
            )
            .query(d.time_to_limit(), "left")
            .steps(vec![(RED, None), (ORANGE, Some(120.0)), (GREEN, Some(600.0))])
            .no_value("no trend"),
            Panel::new(Kind::Stat, "p99 of all queries", "s", "Over all instances together.")
                .query(d.quantile(0.99, s::DB_CLIENT_OPERATION_DURATION, &[], ""), "p99")
                .steps(vec![(BLUE, None)])
                .no_value("no calls"),
            Panel::new(
                Kind::Stat,
                "Failing calls",
                "percentunit",
                "The share of all queries of all instances that failed.",
            )
            .query(d.error_share(s::DB_CLIENT_OPERATION_DURATION, &[], ""), "failed")
            .steps(vec![(GREEN, None), (ORANGE, Some(0.02)), (RED, Some(0.05))])
            .no_value("no calls"),
        ]
    }

    fn fleet_table(&self) -> Panel {
        let d = self.dialect;
        let instance = d.instance();
        let by = format!("by ({instance})");
        let url = format!(
            "/d/{}?var-instance=${{__value.text}}&${{__url_time_range}}&${{datasource:queryparam}}&${{job:queryparam}}",
            self.uid(false)
        );
        let every = format!("max {by} ({})", d.of(s::PROCESS_UPTIME));
        Panel::new(
            Kind::Table,
            "Each instance",
            "short",
            "One row an instance, the fullest first; its name leads to its own dashboard.",
        )
        .query(format!("max {by} ({})", d.of(s::MEMORY_BINDING_UTILIZATION)), "")
        .query(format!("min {by} ({})", d.of(s::MEMORY_TIME_TO_LIMIT)), "")
        .query(format!("count {by} ({} == 4) or {every} * 0", d.of(s::ALERT_STATE)), "")
        .query(d.quantile(0.99, s::DB_CLIENT_OPERATION_DURATION, &[instance], ""), "")
        .query(d.calls(s::DB_CLIENT_OPERATION_DURATION, &[instance], ""), "")
        .query(every.clone(), "")
        .column('A', "memory in use", "percentunit", &self.steps_of(s::MEMORY_UTILIZATION))
        .column('B', "time to the limit", "s", &[])
        .column('C', "firing alerts", "short", &[(GREEN, None), (RED, Some(1.0))])
        .column('D', "p99", "s", &[])
        .column('E', "calls", "reqps", &[])
        .column('F', "age", "s", &[])
        .override_with(
            json!({ "id": "byName", "options": instance }),
            json!([{
                "id": "links",
                "value": [{ "title": "Its dashboard", "url": url }],
            }]),
        )
        .merged(&["Time"], "memory in use")
        .size(24, 10)
    }

    fn fleet_lines(&self) -> Vec<Panel> {
        let d = self.dialect;
        let instance = d.instance();
        let by = format!("by ({instance})");
        let legend = format!("{{{{{instance}}}}}");
        vec![
            Panel::new(
                Kind::Lines,
                "Share of the memory limit, the ten fullest",
                "percentunit",
                "By instance, with the thresholds of the rules.",
            )
            .query(format!("topk(10, max {by} ({}))", d.of(s::MEMORY_BINDING_UTILIZATION)), &legend)
            .steps(self.steps_of(s::MEMORY_UTILIZATION))
            .between(Some(0.0), Some(1.0))
            .size(12, 8),
            Panel::new(
                Kind::Lines,
                "p99, the ten slowest",
                "s",
                "Of all queries of an instance together.",
            )
            .query(
                format!(
                    "topk(10, {})",
                    d.quantile(0.99, s::DB_CLIENT_OPERATION_DURATION, &[instance], "")
                ),
                &legend,
            )
            .between(Some(0.0), None)
            .size(12, 8),
            Panel::new(
                Kind::States,
                "Firing alerts by instance",
                "short",
                "One alert on all instances has another cause than all alerts on one.",
            )
            .query(
                format!("max by ({instance}, alertname) ({}) > 2", d.of(s::ALERT_STATE)),
                &format!("{{{{alertname}}}} {legend}"),
            )
            .mapped(super::instance::states())
            .size(24, 10),
        ]
    }
}
