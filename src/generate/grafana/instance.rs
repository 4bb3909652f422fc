//! The dashboard of one service, by its instances: the question it answers is the first row's,
//! and each row below says why.

use serde_json::{Value, json};

use super::{
    Drawing,
    layout::Layout,
    panel::{BLUE, GREEN, Kind, ORANGE, Panel, RED, Step, id_of},
};
use crate::{event::Severity, rule::Rule, semconv as s};

const FOCUS: &str = "Value against threshold: $alert";

impl Drawing<'_> {
    pub(super) fn instance_panels(&self) -> Vec<Value> {
        let mut layout = Layout::default();
        layout.row("Are we all right?", false, self.at_a_glance());
        layout.row("Alerts", false, self.alerts());
        layout.row("Memory", false, self.memory());
        layout.row("Queries", false, self.queries());
        layout.row("Pools", false, self.pools());
        layout.row("Process", false, self.process());
        layout.row("highwater itself", true, self.itself());
        layout.row("Rules, each against its threshold", true, self.rules());
        layout.panels
    }

    fn at_a_glance(&self) -> Vec<Panel> {
        let d = self.dialect;
        let wall = format!(
            "min(({limit} - {usage}) and on ({job}, {instance}, level) {binding} == 1)",
            limit = d.of(s::MEMORY_LIMIT),
            usage = d.of(s::MEMORY_USAGE),
            binding = d.of(s::MEMORY_BINDING),
            job = d.job(),
            instance = d.instance(),
        );
        vec![
            Panel::new(
                Kind::Stat,
                "Memory in use",
                "percentunit",
                "The greatest share of a memory limit in use, over the limits that bind this process. Page cache and what else the kernel can take back are left out.",
            )
            .query(format!("max({})", d.of(s::MEMORY_BINDING_UTILIZATION)), "of the limit")
            .steps(self.steps_of(s::MEMORY_UTILIZATION))
            .between(Some(0.0), Some(1.0))
            .no_value("no limit"),
            Panel::new(
                Kind::Stat,
                "Headroom",
                "bytes",
                "How much more memory can be taken before the limit that binds is reached; of several instances, the least.",
            )
            .query(wall, "left")
            .steps(vec![(BLUE, None)])
            .no_value("no limit"),
            Panel::new(
                Kind::Stat,
                "Time to the limit",
                "s",
                "When the limit is reached if memory goes on growing as of late; before that is a trend, at the growth of the moment. Without either there is no such time, and that is good.",
            )
            .query(d.time_to_limit(), "left")
            .steps(vec![(RED, None), (ORANGE, Some(120.0)), (GREEN, Some(600.0))])
            .no_value("no trend"),
            Panel::new(
                Kind::Stat,
                "Firing alerts",
                "short",
                "Alerts that fire now, as the process itself judges.",
            )
            .query(format!("count({} == 4) or vector(0)", d.latest(s::ALERT_STATE)), "firing")
            .steps(vec![(GREEN, None), (RED, Some(1.0))]),
            Panel::new(
                Kind::Stat,
                "Slowest query",
                "s",
                "The query with the longest p99, and that p99.",
            )
            .query(
                format!(
                    "topk(1, {})",
                    d.quantile(0.99, s::DB_CLIENT_OPERATION_DURATION, &[s::DB_QUERY_SUMMARY], "")
                ),
                "{{db_query_summary}}",
            )
            .steps(vec![(BLUE, None)])
            .named()
            .no_value("no calls"),
            Panel::new(
                Kind::Stat,
                "Failing calls",
                "percentunit",
                "The share of all queries that failed; cancelled ones are not failures.",
            )
            .query(d.error_share(s::DB_CLIENT_OPERATION_DURATION, &[], ""), "failed")
            .steps(vec![(GREEN, None), (ORANGE, Some(0.02)), (RED, Some(0.05))])
            .no_value("no calls"),
        ]
    }

    fn alerts(&self) -> Vec<Panel> {
        let d = self.dialect;
        let here =
            "${__url_time_range}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}";
        let focus = format!(
            "/d/{}?var-alert=${{__data.fields.alertname}}&viewPanel={}&{here}",
            self.uid(false),
            id_of(FOCUS)
        );
        let mut links = vec![json!({ "title": "Its value against its threshold", "url": focus })];
        if let Some(base) = &self.outline.runbooks {
            links.push(json!({
                "title": "What to do: the runbook",
                "url": format!("{base}#${{__data.fields.alertname}}"),
                "targetBlank": true,
            }));
        }
        let by = "by (alertname, severity)";
        let waiting = format!("max {by} ({} > 2)", d.of(s::ALERT_STATE));
        let both =
            |name| format!("max {by} ({}) and on (alertname, severity) ({waiting})", d.of(name));
        let hidden = ["Time"];
        vec![
            Panel::new(
                Kind::States,
                "Alert timeline",
                "short",
                "Where each alert stood, by the process' own judgement: it goes on while nothing can be delivered, and what was spooled is filled in.",
            )
            .query(format!("max {by} ({})", d.of(s::ALERT_STATE)), "{{alertname}} {{severity}}")
            .mapped(states())
            .size(14, 10),
            Panel::new(
                Kind::Table,
                "Alerts that are pending or firing",
                "short",
                "What is wrong now. The links lead to the value behind the alert and to what to do about it.",
            )
            .query(waiting.clone(), "")
            .query(both(s::ALERT_VALUE), "")
            .query(both(s::ALERT_THRESHOLD), "")
            .mapped(json!([]))
            .column('A', "state", "short", &[])
            .column('B', "value", "short", &[])
            .column('C', "threshold", "short", &[])
            .override_with(
                json!({ "id": "byName", "options": "Value #A" }),
                json!([
                    { "id": "mappings", "value": states() },
                    { "id": "custom.cellOptions", "value": { "type": "color-text" } },
                ]),
            )
            .override_with(
                json!({ "id": "byName", "options": "alertname" }),
                json!([{ "id": "links", "value": links }]),
            )
            .merged(&hidden, "state")
            .no_value("none")
            .size(10, 10),
            Panel::new(
                Kind::Lines,
                FOCUS,
                "short",
                "What the chosen alert's rule compares, and with what.",
            )
            .query(d.of_with(s::ALERT_VALUE, r#"alertname=~"$alert""#), "{{alertname}} {{severity}}")
            .query(
                d.of_with(s::ALERT_THRESHOLD, r#"alertname=~"$alert""#),
                "{{alertname}} {{severity}} threshold",
            )
            .dashed("/ threshold$/")
            .size(24, 7),
        ]
    }

    fn memory(&self) -> Vec<Panel> {
        let d = self.dialect;
        vec![
            Panel::new(
                Kind::Lines,
                "Memory against its limit",
                "bytes",
                "Usage at every level that has a limit: the own control group, the groups around it, the host, the address space, a budget.",
            )
            .query(format!("max by (level) ({})", d.of(s::MEMORY_USAGE)), "{{level}}")
            .query(format!("min by (level) ({})", d.of(s::MEMORY_LIMIT)), "{{level}} limit")
            .dashed("/ limit$/")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Share of the limit in use",
                "percentunit",
                "The same as a share, with the thresholds of the rules that judge it.",
            )
            .query(format!("max by (level) ({})", d.of(s::MEMORY_UTILIZATION)), "{{level}}")
            .steps(self.steps_of(s::MEMORY_UTILIZATION))
            .between(Some(0.0), Some(1.0)),
            Panel::new(
                Kind::Stack,
                "By component",
                "bytes",
                "What each part of the service says it holds: the twelve largest.",
            )
            .query(
                format!(
                    "topk(12, sum by (highwater_component_name) ({}))",
                    d.of(s::COMPONENT_MEMORY_USAGE)
                ),
                "{{highwater_component_name}}",
            )
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "This process",
                "bytes",
                "Resident memory, the part of it that no file backs, what lies in swap, and the high-water mark.",
            )
            .query(format!("max({})", d.of(s::PROCESS_MEMORY_USAGE)), "resident")
            .query(format!("max({})", d.of(s::PROCESS_MEMORY_ANONYMOUS)), "anonymous")
            .query(format!("max({})", d.of(s::PROCESS_MEMORY_SWAP)), "in swap")
            .query(format!("max({})", d.of(s::PROCESS_MEMORY_PEAK)), "high-water mark")
            .dashed("/^high-water mark$/")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Time to the limit, by level",
                "s",
                "Foreseen from a robust trend; a gap is no trend. Dashed, what the growth of the moment alone would say.",
            )
            .query(format!("min by (level) ({})", d.of(s::MEMORY_TIME_TO_LIMIT)), "{{level}}")
            .query(format!("min({}) < 3600", d.of(s::MEMORY_RUNWAY)), "at this moment's growth")
            .dashed("/^at this/")
            .steps(self.steps_of(s::MEMORY_TIME_TO_LIMIT))
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Pressure",
                "percentunit",
                "Share of the last ten seconds in which some or all tasks waited for memory, disk or CPU (PSI).",
            )
            .query(
                format!("max by (resource, stall) ({})", d.of(s::PRESSURE_AVG10)),
                "{{resource}} {{stall}}",
            )
            .steps(self.steps_of(s::PRESSURE_AVG10))
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Page faults",
                "ops",
                "Major faults had to read from disk: with memory nearly full they are the beginning of thrashing.",
            )
            .query(
                format!(
                    "sum by (system_paging_fault_type) ({})",
                    d.rate(s::PROCESS_PAGING_FAULTS)
                ),
                "{{system_paging_fault_type}}",
            ),
            Panel::new(
                Kind::Lines,
                "Swap traffic",
                "ops",
                "Pages moved between memory and swap a second. Traffic hurts, not how much lies there.",
            )
            .query(
                format!(
                    "max by (system_paging_direction) ({})",
                    d.rate(s::SYSTEM_PAGING_OPERATIONS)
                ),
                "{{system_paging_direction}}",
            ),
            Panel::new(
                Kind::Lines,
                "At the limit",
                "short",
                "How often the kernel throttled, refused or killed at a control group's limit.",
            )
            .query(
                format!(
                    "sum by (event) (increase({}[$__rate_interval]))",
                    d.of(s::MEMORY_EVENTS)
                ),
                "{{event}}",
            ),
        ]
    }

    fn queries(&self) -> Vec<Panel> {
        let d = self.dialect;
        let chosen = r#"db_query_summary=~"$query""#;
        let name = s::DB_CLIENT_OPERATION_DURATION;
        let by = &[s::DB_QUERY_SUMMARY];
        let legend = "{{db_query_summary}}";
        let of = |q| d.quantile(q, name, &[], chosen);
        let calls = d.calls(name, by, chosen);
        let all_calls =
            format!("sum by (db_query_summary) ({})", d.rate_with(s::QUERY_CALLS, chosen));
        vec![
            Panel::new(
                Kind::Lines,
                "Latency",
                "s",
                "The time below which 50, 90 and 99 of 100 calls of the chosen queries stayed.",
            )
            .query(of(0.5), "p50")
            .query(of(0.9), "p90")
            .query(of(0.99), "p99")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Heatmap,
                "Latency, all of it",
                "s",
                "How many calls took how long: two modes are two plans or two kinds of caller, which no quantile shows.",
            )
            .query(d.heat(name, chosen), if d.flavor.is_native() { "" } else { "{{le}}" })
            .size(16, 8),
            Panel::new(Kind::Lines, "p99 by query", "s", "Which query is slow.")
                .query(d.quantile(0.99, name, by, chosen), legend)
                .steps(self.steps_of(name))
                .between(Some(0.0), None),
            Panel::new(Kind::Lines, "Calls", "reqps", "Calls a second, failed ones too.")
                .query(format!("{all_calls} or {calls}"), legend)
                .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Share of calls that fail",
                "percentunit",
                "Failures are those with an `error.type`; cancelled calls are left out.",
            )
            .query(d.error_share(name, by, chosen), legend)
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Failures by type",
                "reqps",
                "Connection, time-out and server errors have different owners.",
            )
            .query(
                d.calls(name, &[s::ERROR_TYPE], &format!(r#"{chosen},error_type!="""#)),
                "{{error_type}}",
            )
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "In flight",
                "short",
                "Calls begun and not ended. If this rises while calls a second do not, the database is the queue.",
            )
            .query(
                format!(
                    "sum by (db_query_summary) ({})",
                    d.of_with(s::QUERY_IN_FLIGHT, chosen)
                ),
                legend,
            )
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Timed things that are no queries",
                "s",
                "p99 of what was timed with `hw.timer`.",
            )
            .query(d.quantile(0.99, s::TIMER_DURATION, &[s::TIMER_NAME], ""), "{{highwater_timer_name}}")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Table,
                "Slowest queries",
                "short",
                "All queries, the slowest first.",
            )
            .query(d.quantile(0.99, name, by, ""), "")
            .query(d.quantile(0.5, name, by, ""), "")
            .query(d.calls(name, by, ""), "")
            .query(d.error_share(name, by, ""), "")
            .column('A', "p99", "s", &[])
            .column('B', "p50", "s", &[])
            .column('C', "calls", "reqps", &[])
            .column('D', "failing", "percentunit", &[(GREEN, None), (ORANGE, Some(0.02)), (RED, Some(0.05))])
            .merged(&["Time"], "p99")
            .size(24, 8),
        ]
    }

    fn pools(&self) -> Vec<Panel> {
        let d = self.dialect;
        let pool = "{{db_client_connection_pool_name}}";
        let by = "by (db_client_connection_pool_name)";
        vec![
            Panel::new(
                Kind::Stack,
                "Connections",
                "short",
                "Used and idle connections of each pool, against the most it may open.",
            )
            .query(
                format!(
                    "sum by (db_client_connection_pool_name, db_client_connection_state) ({})",
                    d.of(s::DB_CLIENT_CONNECTION_COUNT)
                ),
                "{{db_client_connection_pool_name}} {{db_client_connection_state}}",
            )
            .query(
                format!("sum {by} ({})", d.of(s::DB_CLIENT_CONNECTION_MAX)),
                "{{db_client_connection_pool_name}} most",
            )
            .dashed("/ most$/")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Waiting",
                "short",
                "Callers that wait for a connection. A pool that is full without waiters is well sized.",
            )
            .query(format!("sum {by} ({})", d.of(s::DB_CLIENT_CONNECTION_PENDING_REQUESTS)), pool)
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Time-outs",
                "ops",
                "Waits that ended without a connection, a second: work that was lost.",
            )
            .query(format!("sum {by} ({})", d.rate(s::DB_CLIENT_CONNECTION_TIMEOUTS)), pool)
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Wait for a connection",
                "s",
                "p95 of the time it took to get a connection.",
            )
            .query(
                d.quantile(0.95, s::DB_CLIENT_CONNECTION_WAIT_TIME, &[s::DB_CLIENT_CONNECTION_POOL_NAME], ""),
                pool,
            )
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Share of waiting",
                "percentunit",
                "Of the time from asking for a connection to giving it back, the part spent waiting. High with short holds: the pool is too small; with long ones: the database is slow.",
            )
            .query(format!("max {by} ({})", d.of(s::POOL_WAIT_SHARE)), pool)
            .between(Some(0.0), Some(1.0)),
            Panel::new(
                Kind::Lines,
                "A connection is held for",
                "s",
                "p95 of the time a connection was held: rising means slow queries, flat means demand, never falling a leak.",
            )
            .query(
                d.quantile(0.95, s::DB_CLIENT_CONNECTION_USE_TIME, &[s::DB_CLIENT_CONNECTION_POOL_NAME], ""),
                pool,
            )
            .between(Some(0.0), None),
        ]
    }

    fn process(&self) -> Vec<Panel> {
        let d = self.dialect;
        vec![
            Panel::new(Kind::Lines, "CPU", "short", "Cores in use, in user and system mode.")
                .query(
                    format!("sum by (cpu_mode) ({})", d.rate(s::PROCESS_CPU_TIME)),
                    "{{cpu_mode}}",
                )
                .query(format!("sum({})", d.rate(s::CPU_THROTTLED_TIME)), "held back by the quota")
                .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Threads",
                "short",
                "Threads of the process; the machine's load beside them.",
            )
            .query(format!("sum({})", d.of(s::PROCESS_THREAD_COUNT)), "threads")
            .query(format!("max({})", d.of(s::SYSTEM_CPU_LOAD_AVERAGE_1M)), "load, 1 min")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "File descriptors",
                "percentunit",
                "Open descriptors as a share of the soft limit.",
            )
            .query(
                format!("max({})", d.of(s::PROCESS_UNIX_FILE_DESCRIPTOR_UTILIZATION)),
                "of the limit",
            )
            .steps(self.steps_of(s::PROCESS_UNIX_FILE_DESCRIPTOR_UTILIZATION))
            .between(Some(0.0), Some(1.0)),
            Panel::new(
                Kind::Stack,
                "The machine's memory",
                "bytes",
                "All of it by what it is used for: neighbours too.",
            )
            .query(
                format!("max by (system_memory_state) ({})", d.of(s::SYSTEM_MEMORY_USAGE)),
                "{{system_memory_state}}",
            )
            .between(Some(0.0), None)
            .size(12, 8),
            Panel::new(
                Kind::Lines,
                "Age",
                "s",
                "Since when each instance runs; a fall is a restart.",
            )
            .query(
                format!("min by ({}) ({})", d.instance(), d.of(s::PROCESS_UPTIME)),
                &format!("{{{{{}}}}}", d.instance()),
            )
            .between(Some(0.0), None)
            .size(12, 8),
        ]
    }

    fn itself(&self) -> Vec<Panel> {
        let d = self.dialect;
        vec![
            Panel::new(
                Kind::Lines,
                "A round of highwater",
                "s",
                "How long sampling and evaluating takes, once a tick.",
            )
            .query(d.quantile(0.5, s::TICK_DURATION, &[], ""), "p50")
            .query(d.quantile(0.99, s::TICK_DURATION, &[], ""), "p99")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Missed and failed",
                "ops",
                "Rounds that did not take place, and rules that could not be evaluated. Both should be zero.",
            )
            .query(format!("sum({})", d.rate(s::TICK_MISSED)), "rounds missed")
            .query(format!("sum({})", d.rate(s::RULE_FAILURES)), "evaluations failed")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Dropped",
                "ops",
                "What was not recorded or delivered, by reason. Nothing is lost without being counted here.",
            )
            .query(format!("sum by (reason) ({})", d.rate(s::DROPPED)), "{{reason}}")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Delivery",
                "ops",
                "Data points a receiver took, those it never will by `error_type`, and attempts made again.",
            )
            .query(format!("sum by (error_type) ({})", d.rate(s::EXPORTED_POINTS)), "points {{error_type}}")
            .query(format!("sum by (signal) ({})", d.rate(s::EXPORT_RETRIES)), "{{signal}} tried again")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Waiting to be delivered",
                "s",
                "Age of the oldest data that no receiver has taken yet.",
            )
            .query(format!("max({})", d.of(s::EXPORT_QUEUE_AGE)), "oldest")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Memory of its windows",
                "bytes",
                "What the history of all rules takes.",
            )
            .query(format!("max by (component) ({})", d.of(s::OWN_MEMORY)), "{{component}}")
            .between(Some(0.0), None),
            Panel::new(
                Kind::Lines,
                "Series, silences, mistakes",
                "short",
                "Series in the registry, silences in force, mistakes found in the environment.",
            )
            .query(format!("max({})", d.of(s::SERIES_COUNT)), "series")
            .query(format!("max({})", d.of(s::SILENCE_ACTIVE)), "silences")
            .query(format!("max({})", d.of(s::CONFIG_MISTAKES)), "mistakes")
            .between(Some(0.0), None)
            .size(12, 8),
            Panel::new(
                Kind::States,
                "Samplers",
                "short",
                "Green where a sampler is in this state: `failed` is to be looked into, `unsupported` is the machine's.",
            )
            .query(
                format!("max by (sampler, status) ({}) > 0", d.of(s::SAMPLER_STATUS)),
                "{{sampler}} {{status}}",
            )
            .size(12, 8),
        ]
    }

    /// One for each name: what its rules compare, and with what.
    fn rules(&self) -> Vec<Panel> {
        let d = self.dialect;
        let panel = |(name, rules): (&str, Vec<&Rule>)| {
            let first = rules[0];
            let unit = unit(first.unit().as_str());
            let mut description = first.description.clone();
            for rule in &rules {
                let separator = if description.is_empty() { "" } else { "\n\n" };
                description = format!(
                    "{description}{separator}{}: `{}`",
                    rule.severity_level(),
                    rule.expression()
                );
            }
            let only =
                format!(r#"alertname="{}""#, name.replace('\\', r"\\").replace('"', r#"\""#));
            let mut panel = Panel::new(Kind::Lines, &format!("Rule: {name}"), unit, &description)
                .query(
                    format!("max by (severity) ({})", d.of_with(s::ALERT_VALUE, &only)),
                    "{{severity}}",
                )
                .query(
                    format!("max by (severity) ({})", d.of_with(s::ALERT_THRESHOLD, &only)),
                    "{{severity}} threshold",
                )
                .dashed("/ threshold$/");
            if let Some(address) = &first.runbook {
                panel = panel.link("Runbook", address);
            }
            panel
        };
        self.outline.by_name().into_iter().map(panel).collect()
    }

    /// The thresholds of the rules over a metric, as colours.
    pub(super) fn steps_of(&self, metric: &str) -> Vec<Step> {
        let color = |severity| match severity {
            Severity::Info => BLUE,
            Severity::Warning => ORANGE,
            Severity::Critical => RED,
        };
        let limits = self.outline.limits_of(metric);
        let rising: Vec<_> = limits.iter().filter(|(limit, _)| limit.above).collect();
        let falling: Vec<_> = limits.iter().filter(|(limit, _)| !limit.above).collect();
        if rising.is_empty() && !falling.is_empty() {
            // Worst at the bottom: each threshold ends the colour of its own rule.
            let mut steps = vec![(color(falling[0].1), None)];
            for (at, (limit, _)) in falling.iter().enumerate() {
                let next = falling.get(at + 1).map_or(GREEN, |(_, severity)| color(*severity));
                steps.push((next, Some(limit.value)));
            }
            return steps;
        }
        let worse = rising.iter().map(|(limit, severity)| (color(*severity), Some(limit.value)));
        [(GREEN, None)].into_iter().chain(worse).collect()
    }
}

/// Words and colours for the states of alerts.
pub(super) fn states() -> Value {
    let state = |text: &str, color: &str, index: u32| json!({ "text": text, "color": color, "index": index });
    json!([{
        "type": "value",
        "options": {
            "0": state("inactive", "transparent", 0),
            "1": state("no data", "text", 1),
            "2": state("error", "purple", 2),
            "3": state("pending", ORANGE, 3),
            "4": state("firing", RED, 4),
        },
    }])
}

/// Grafana's word for a unit.
fn unit(unit: &str) -> &'static str {
    match unit {
        "s" => "s",
        "ms" => "ms",
        "By" => "bytes",
        "1" => "percentunit",
        "%" => "percent",
        "By/s" => "Bps",
        "Hz" => "hertz",
        _ => "short",
    }
}
