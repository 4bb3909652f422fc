//! A panel as Grafana's classic JSON wants it, spelt out no further than a panel here needs.

use serde_json::{Value, json};

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One number.
    Stat,
    Lines,
    /// Lines one upon the other.
    Stack,
    States,
    Heatmap,
    Table,
}

/// How a line or a cell is coloured from which value on.
pub(super) type Step = (&'static str, Option<f64>);

pub(super) const GREEN: &str = "green";
pub(super) const BLUE: &str = "blue";
pub(super) const ORANGE: &str = "orange";
pub(super) const RED: &str = "red";

#[derive(Debug, Clone)]
pub(super) struct Panel {
    kind: Kind,
    pub(super) title: String,
    description: String,
    unit: &'static str,
    targets: Vec<Value>,
    steps: Vec<Step>,
    draws_steps: bool,
    overrides: Vec<Value>,
    links: Vec<Value>,
    range: (Option<f64>, Option<f64>),
    no_value: &'static str,
    mappings: Value,
    transformations: Value,
    sort_by: &'static str,
    names: bool,
    pub(super) width: u64,
    pub(super) height: u64,
}

impl Panel {
    pub(super) fn new(kind: Kind, title: &str, unit: &'static str, description: &str) -> Self {
        let (width, height) = match kind {
            Kind::Stat => (4, 4),
            Kind::Table => (12, 9),
            _ => (8, 8),
        };
        Self {
            kind,
            title: title.to_owned(),
            description: description.to_owned(),
            unit,
            targets: Vec::new(),
            steps: vec![(GREEN, None)],
            draws_steps: false,
            overrides: Vec::new(),
            links: Vec::new(),
            range: (None, None),
            no_value: "",
            mappings: json!([]),
            transformations: json!([]),
            sort_by: "",
            names: false,
            width,
            height,
        }
    }

    /// An expression and what its lines are called.
    pub(super) fn query(mut self, expr: String, legend: &str) -> Self {
        // What is, not what was: over a range, a tile would show a value that ended as the present.
        let instant = matches!(self.kind, Kind::Table | Kind::Stat);
        let format = match self.kind {
            Kind::Table => "table",
            Kind::Heatmap => "heatmap",
            _ => "time_series",
        };
        let id = char::from(b'A' + (self.targets.len() % 26) as u8).to_string();
        self.targets.push(json!({
            "datasource": datasource(),
            "editorMode": "code",
            "expr": expr,
            "format": format,
            "instant": instant,
            "range": !instant,
            "legendFormat": if legend.is_empty() { "__auto" } else { legend },
            "refId": id,
        }));
        self
    }

    pub(super) fn size(mut self, width: u64, height: u64) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    /// Colours from these values on; the first has none.
    pub(super) fn steps(mut self, steps: Vec<Step>) -> Self {
        self.draws_steps = steps.len() > 1;
        self.steps = steps;
        self
    }

    pub(super) fn between(mut self, min: Option<f64>, max: Option<f64>) -> Self {
        self.range = (min, max);
        self
    }

    pub(super) fn no_value(mut self, text: &'static str) -> Self {
        self.no_value = text;
        self
    }

    /// Says which line the number is, beside it.
    pub(super) fn named(mut self) -> Self {
        self.names = true;
        self
    }

    pub(super) fn mapped(mut self, mappings: Value) -> Self {
        self.mappings = mappings;
        self
    }

    pub(super) fn link(mut self, title: &str, url: &str) -> Self {
        self.links.push(link(title, url, true));
        self
    }

    /// Lines whose name matches are dashed and not filled: limits beside what they limit.
    pub(super) fn dashed(self, pattern: &str) -> Self {
        self.override_with(
            json!({ "id": "byRegexp", "options": pattern }),
            json!([
                { "id": "custom.lineStyle", "value": { "fill": "dash", "dash": [8, 6] } },
                { "id": "custom.fillOpacity", "value": 0 },
                { "id": "custom.stacking", "value": { "mode": "none", "group": "A" } },
            ]),
        )
    }

    /// A column of a table: what it is called, its unit and colours.
    pub(super) fn column(self, query: char, name: &str, unit: &str, steps: &[Step]) -> Self {
        let mut properties = vec![
            json!({ "id": "displayName", "value": name }),
            json!({ "id": "unit", "value": unit }),
        ];
        if steps.len() > 1 {
            properties.push(json!({ "id": "thresholds", "value": thresholds(steps) }));
            properties.push(json!({
                "id": "custom.cellOptions", "value": { "type": "color-background", "mode": "basic" },
            }));
        }
        let name = format!("Value #{query}");
        self.override_with(json!({ "id": "byName", "options": name }), json!(properties))
    }

    pub(super) fn override_with(mut self, matcher: Value, properties: Value) -> Self {
        self.overrides.push(json!({ "matcher": matcher, "properties": properties }));
        self
    }

    /// A table of several queries: one row for each label set, without these columns.
    pub(super) fn merged(mut self, hidden: &[&str], sort_by: &'static str) -> Self {
        let hidden: serde_json::Map<_, _> =
            hidden.iter().map(|name| ((*name).to_owned(), json!(true))).collect();
        self.transformations = json!([
            { "id": "merge", "options": {} },
            {
                "id": "organize",
                "options": { "excludeByName": hidden, "indexByName": {}, "renameByName": {} },
            },
        ]);
        self.sort_by = sort_by;
        self
    }

    /// The same for the same title, wherever it stands.
    pub(super) fn id(&self) -> u32 {
        id_of(&self.title)
    }

    pub(super) fn json(&self, x: u64, y: u64) -> Value {
        let mut defaults = json!({
            "unit": self.unit,
            "mappings": self.mappings,
            "thresholds": thresholds(&self.steps),
            "color": self.color(),
            "custom": self.custom(),
        });
        if let Some(min) = self.range.0 {
            defaults["min"] = json!(min);
        }
        if let Some(max) = self.range.1 {
            defaults["max"] = json!(max);
        }
        if !self.no_value.is_empty() {
            defaults["noValue"] = json!(self.no_value);
        }
        let mut panel = json!({
            "id": self.id(),
            "type": match self.kind {
                Kind::Stat => "stat",
                Kind::Lines | Kind::Stack => "timeseries",
                Kind::States => "state-timeline",
                Kind::Heatmap => "heatmap",
                Kind::Table => "table",
            },
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": { "h": self.height, "w": self.width, "x": x, "y": y },
            "targets": self.targets,
            "fieldConfig": { "defaults": defaults, "overrides": self.overrides },
            "options": self.options(),
        });
        if !self.links.is_empty() {
            panel["links"] = json!(self.links);
        }
        if self.transformations != json!([]) {
            panel["transformations"] = self.transformations.clone();
        }
        panel
    }

    fn color(&self) -> Value {
        match self.kind {
            Kind::Lines | Kind::Stack => json!({ "mode": "palette-classic" }),
            _ => json!({ "mode": "thresholds" }),
        }
    }

    fn custom(&self) -> Value {
        let line = self.draws_steps;
        match self.kind {
            Kind::Stat => json!({}),
            Kind::Lines | Kind::Stack => json!({
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": if self.kind == Kind::Stack { 40 } else { 8 },
                "gradientMode": "none",
                "showPoints": "never",
                "pointSize": 4,
                "spanNulls": false,
                "stacking": {
                    "mode": if self.kind == Kind::Stack { "normal" } else { "none" },
                    "group": "A",
                },
                "axisPlacement": "auto",
                "scaleDistribution": { "type": "linear" },
                "hideFrom": { "tooltip": false, "legend": false, "viz": false },
                "thresholdsStyle": { "mode": if line { "line+area" } else { "off" } },
            }),
            Kind::States => json!({
                "fillOpacity": 80,
                "lineWidth": 0,
                "hideFrom": { "tooltip": false, "legend": false, "viz": false },
            }),
            Kind::Heatmap => json!({
                "scaleDistribution": { "type": "linear" },
                "hideFrom": { "tooltip": false, "legend": false, "viz": false },
            }),
            Kind::Table => json!({
                "align": "auto",
                "cellOptions": { "type": "auto" },
                "inspect": false,
            }),
        }
    }

    fn options(&self) -> Value {
        let legend = json!({
            "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [],
        });
        match self.kind {
            Kind::Stat => json!({
                "graphMode": "none",
                "colorMode": "background",
                "justifyMode": "auto",
                "textMode": if self.names { "value_and_name" } else { "auto" },
                "wideLayout": true,
                "showPercentChange": false,
                "percentChangeColorMode": "standard",
                "orientation": "auto",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            }),
            Kind::Lines | Kind::Stack => json!({
                "legend": legend,
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Kind::States => json!({
                "mergeValues": true,
                "showValue": "never",
                "alignValue": "left",
                "rowHeight": 0.85,
                "legend": legend,
                "tooltip": { "mode": "single", "sort": "none" },
            }),
            Kind::Heatmap => json!({
                "calculate": false,
                "cellGap": 0,
                "color": {
                    "mode": "scheme", "scheme": "Oranges", "fill": "dark-orange",
                    "scale": "exponential", "exponent": 0.5, "steps": 64, "reverse": false,
                },
                "exemplars": { "color": "rgba(255,0,255,0.7)" },
                "filterValues": { "le": 1e-9 },
                "legend": { "show": true },
                "rowsFrame": { "layout": "auto" },
                "showValue": "never",
                "tooltip": { "mode": "single", "yHistogram": true, "showColorScale": true },
                "yAxis": { "axisPlacement": "left", "reverse": false, "unit": self.unit },
            }),
            Kind::Table => json!({
                "frameIndex": 0,
                "showHeader": true,
                "cellHeight": "sm",
                "sortBy": match self.sort_by {
                    "" => json!([]),
                    column => json!([{ "displayName": column, "desc": true }]),
                },
            }),
        }
    }
}

/// FNV-1a, within what Grafana takes for an id.
pub(super) fn id_of(title: &str) -> u32 {
    crate::generate::outline::fnv1a(title) % 1_000_000 + 1
}

pub(super) fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn thresholds(steps: &[Step]) -> Value {
    let steps: Vec<_> =
        steps.iter().map(|(color, value)| json!({ "color": color, "value": value })).collect();
    json!({ "mode": "absolute", "steps": steps })
}

/// A link that leaves Grafana, or goes on to another dashboard with time and variables.
pub(super) fn link(title: &str, url: &str, leaves: bool) -> Value {
    json!({
        "title": title,
        "type": "link",
        "icon": if leaves { "doc" } else { "dashboard" },
        "tooltip": "",
        "tags": [],
        "asDropdown": false,
        "targetBlank": leaves,
        "includeVars": !leaves,
        "keepTime": !leaves,
        "url": url,
    })
}
