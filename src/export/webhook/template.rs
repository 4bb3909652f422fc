//! JSON with placeholders. The template is parsed when the instance starts, and filled as a tree:
//! whatever a label or a summary holds, what is sent is JSON of that shape.

use serde_json::{Map, Value};

use crate::{
    clock::rfc3339,
    event::{State, Transition},
    name::Labels,
};

/// What is sent unless another template is given.
pub(super) const DEFAULT: &str = r#"{
  "id": "{{ id }}",
  "alertname": "{{ alertname }}",
  "state": "{{ state }}",
  "severity": "{{ severity }}",
  "summary": "{{ summary }}",
  "description": "{{ description }}",
  "runbook": "{{ runbook }}",
  "expression": "{{ expression }}",
  "value": "{{ value }}",
  "threshold": "{{ threshold }}",
  "unit": "{{ unit }}",
  "labels": "{{ labels }}",
  "annotations": "{{ annotations }}",
  "at": "{{ at }}",
  "active_since": "{{ active_since }}",
  "resolve_reason": "{{ resolve_reason }}",
  "causes": "{{ causes }}",
  "evidence": "{{ evidence }}"
}"#;

const WORDS: &[&str] = &[
    "id",
    "alertname",
    "state",
    "severity",
    "summary",
    "description",
    "runbook",
    "expression",
    "value",
    "threshold",
    "unit",
    "labels",
    "annotations",
    "at",
    "active_since",
    "resolve_reason",
    "causes",
    "evidence",
    DESIRED,
];

/// Not in the default: it has an autoscaler to do with.
pub(super) const DESIRED: &str = "desired_replicas";

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Fixed(Value),
    /// A text that is one placeholder and nothing else: what it stands for keeps its type.
    Whole(String),
    Text(Vec<Part>),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Word(String),
}

/// What fills a template.
pub(super) struct Fill<'a> {
    pub(super) id: &'a str,
    pub(super) told: &'a Transition,
    /// The alert's, `job` and `instance` included.
    pub(super) labels: &'a Labels,
    pub(super) desired: Option<f64>,
}

impl Template {
    /// # Errors
    /// What would be allowed.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value = serde_json::from_str(text).map_err(|error| format!("JSON ({error})"))?;
        Ok(Self(node(value)?))
    }

    pub(super) fn fill(&self, fill: &Fill<'_>) -> Value {
        self.0.fill(fill)
    }

    pub(super) fn asks_for(&self, word: &str) -> bool {
        self.0.asks_for(word)
    }
}

fn node(value: Value) -> Result<Node, String> {
    Ok(match value {
        Value::String(text) => match parts(&text)?.as_slice() {
            [Part::Word(word)] => Node::Whole(word.clone()),
            [] => Node::Fixed(Value::String(text)),
            parts => Node::Text(parts.to_vec()),
        },
        Value::Array(items) => Node::Array(items.into_iter().map(node).collect::<Result<_, _>>()?),
        Value::Object(fields) => Node::Object(
            fields
                .into_iter()
                .map(|(key, value)| Ok((key, node(value)?)))
                .collect::<Result<_, String>>()?,
        ),
        fixed => Node::Fixed(fixed),
    })
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((word, after)) = after.split_once("}}") else {
            return Err(format!("a `}}}}` for every `{{{{`, which {text:?} lacks"));
        };
        let word = word.trim();
        let named = ["labels.", "annotations."].iter().find_map(|of| word.strip_prefix(of));
        let is_named = named.is_some_and(|name| !name.is_empty());
        if !is_named && !WORDS.contains(&word) {
            return Err(format!(
                "placeholders {}, labels.NAME and annotations.NAME, which {word:?} is none of",
                WORDS.join(", ")
            ));
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(Part::Word(word.to_owned()));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

impl Node {
    fn asks_for(&self, word: &str) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Whole(of) => of == word,
            Self::Text(parts) => parts.iter().any(|part| *part == Part::Word(word.to_owned())),
            Self::Array(items) => items.iter().any(|item| item.asks_for(word)),
            Self::Object(fields) => fields.iter().any(|(_, node)| node.asks_for(word)),
        }
    }

    fn fill(&self, fill: &Fill<'_>) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Whole(word) => fill.word(word),
            Self::Text(parts) => {
                parts.iter().map(|part| part.fill(fill)).collect::<String>().into()
            }
            Self::Array(items) => items.iter().map(|item| item.fill(fill)).collect(),
            Self::Object(fields) => {
                fields.iter().map(|(key, node)| (key.clone(), node.fill(fill))).collect()
            }
        }
    }
}

impl Part {
    fn fill(&self, fill: &Fill<'_>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Word(word) => match fill.word(word) {
                Value::String(text) => text,
                Value::Null => String::new(),
                other => other.to_string(),
            },
        }
    }
}

impl Fill<'_> {
    /// What is not there is null.
    fn word(&self, word: &str) -> Value {
        let (told, rule) = (self.told, &self.told.rule);
        let present = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
        match word {
            "id" => self.id.into(),
            "alertname" => (&*rule.name).into(),
            "state" if told.to == State::Firing => "firing".into(),
            "state" => "resolved".into(),
            "severity" => rule.severity.as_str().into(),
            "summary" => present(&told.summary),
            "description" => present(&told.description),
            "runbook" => present(rule.runbook.as_deref().unwrap_or_default()),
            "expression" => present(&rule.expression),
            "value" => told.value.map_or(Value::Null, Value::from),
            "threshold" => told.threshold.map_or(Value::Null, Value::from),
            "unit" => present(rule.unit.as_str()),
            "at" => rfc3339(told.at).into(),
            "active_since" => told.active_since.map_or(Value::Null, |at| rfc3339(at).into()),
            "resolve_reason" => told.resolved.map_or(Value::Null, |why| why.as_str().into()),
            "causes" => told.evidence.as_ref().map_or(Value::Null, |evidence| {
                evidence.causes.iter().map(|cause| Value::from(&*cause.text)).collect()
            }),
            "evidence" => told.evidence.as_ref().map_or(Value::Null, |evidence| {
                evidence.facts.iter().map(|fact| Value::from(&*fact.text)).collect()
            }),
            // A whole number, as replicas are.
            DESIRED => self.desired.map_or(Value::Null, |desired| (desired as u64).into()),
            "labels" => object(self.labels),
            "annotations" => object(&told.annotations),
            named => {
                let label = named.strip_prefix("labels.").map(|key| self.labels.get(key));
                let text = named.strip_prefix("annotations.").map(|key| told.annotations.get(key));
                label.or(text).flatten().map_or(Value::Null, Value::from)
            }
        }
    }
}

fn object(pairs: &Labels) -> Value {
    let pairs = pairs.iter().map(|(key, value)| (key.to_owned(), value.into()));
    Value::Object(pairs.collect::<Map<String, Value>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::alert::testing;

    fn filled(template: &str, told: &Transition) -> Value {
        let labels = Labels::new([("pool", "a\"b\n"), ("job", "shop")]);
        Template::parse(template).unwrap().fill(&Fill {
            id: "7",
            told,
            labels: &labels,
            desired: Some(6.0),
        })
    }

    #[test]
    fn a_placeholder_alone_keeps_its_type() {
        let told = testing::transition("Full");
        let template = r#"{"n": ["{{ value }}", "{{labels.pool}}", "{{ labels.no }}", 1, true],
            "t": "{{ severity }}: {{ summary }} ({{ labels.pool }}, {{ value }}, {{ labels.no }})"}"#;
        assert_eq!(
            filled(template, &told),
            json!({"n": [0.9, "a\"b\n", null, 1, true],
                "t": "warning: 90% in use (a\"b\n, 0.9, )"})
        );
    }

    #[test]
    fn the_default_says_everything() {
        let mut told = Transition::clone(&testing::transition("Full"));
        told.value = Some(f64::NAN);
        let sent = filled(DEFAULT, &told);
        assert_eq!(sent["alertname"], "Full");
        assert_eq!(sent["state"], "firing");
        assert_eq!(sent["labels"], json!({"job": "shop", "pool": "a\"b\n"}));
        assert_eq!(sent["at"], "1970-01-01T00:00:00.000Z");
        // JSON has no NaN.
        assert_eq!(sent["value"], Value::Null);
        assert_eq!(sent.as_object().unwrap().len(), WORDS.len() - 1);
        assert!(!Template::parse(DEFAULT).unwrap().asks_for(DESIRED));
    }

    #[test]
    fn an_autoscaler_gets_a_number() {
        let told = testing::transition("Full");
        let template =
            r#"{"replicas": "{{ desired_replicas }}", "t": ["x{{ desired_replicas }}"]}"#;
        assert_eq!(filled(template, &told), json!({"replicas": 6, "t": ["x6"]}));
        assert!(Template::parse(template).unwrap().asks_for(DESIRED));
    }

    #[test]
    fn evidence_is_filled_in() {
        let told = testing::explained("Full");
        assert_eq!(
            filled(r#"{"why": "{{ causes }}", "seen": "{{ evidence }}"}"#, &told),
            json!({"why": ["the store \"grew\""], "seen": ["store holds 9MiB", "cache holds 1MiB"]})
        );
        assert_eq!(filled(DEFAULT, &told)["causes"][0], "the store \"grew\"");
        assert_eq!(filled(DEFAULT, &testing::transition("Full"))["evidence"], Value::Null);
    }

    #[test]
    fn mistakes_name_what_is_allowed() {
        let wrong = |text| Template::parse(text).unwrap_err();
        assert!(wrong("{").contains("JSON"));
        assert!(wrong(r#"["{{ sumary }}"]"#).contains("\"sumary\""));
        assert!(wrong(r#"["{{ summary"]"#).contains("}}"));
        assert!(wrong(r#"["{{ labels. }}"]"#).contains("labels.NAME"));
    }

    #[test]
    fn annotations_of_the_rule_are_there_by_name_and_together() {
        let mut told = Transition::clone(&testing::transition("Full"));
        told.annotations = Labels::new([("dashboard", "https://d")]);
        assert_eq!(
            filled(
                r#"["{{ annotations }}", "{{ annotations.dashboard }}", "{{ annotations.no }}"]"#,
                &told
            ),
            json!([{"dashboard": "https://d"}, "https://d", null])
        );
    }
}
