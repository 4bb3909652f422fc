//! A file's tree to rules, strictly: a key that Prometheus does not know is a mistake there too.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Loaded, Reason, Refused,
    yaml::{self, Kind, Node, Place},
};
use crate::{
    event::Severity,
    name::Labels,
    rule::{
        builder::{Rule, SEVERITY, alert},
        condition::Condition,
        declared::Declared,
        error::Mistake,
        expr::{Expr, Function, NAME, Recorded, Type},
        promql::{self, Refusal},
        recorded::Recording,
    },
};

/// How many parts may stand on top of each other then: what a text alone may have.
const HIGHEST: usize = 2 * promql::DEEPEST + 2;
/// How many nodes an expression may have once recording rules are put in.
const LARGEST: usize = 1_000;
/// How many regular expressions a file may have, those of recording rules counted wherever used.
const MOST_PATTERNS: usize = 2_000;
/// How many bytes the labels of a group may have: each of its rules has them all.
const LONGEST_LABELS: usize = 4 << 10;

/// What is wrong, and where.
type Wrong = (Place, String);

/// # Errors
/// It is no rule file at all.
pub(super) fn read(
    text: &str,
    file: &str,
    tick: Duration,
    bounds: &Arc<Declared>,
) -> Result<Loaded, Reason> {
    let mut reader = Reader {
        file,
        tick,
        bounds,
        loaded: Loaded::default(),
        recordings: HashMap::new(),
        shared: HashMap::new(),
        recorded: HashSet::new(),
        identities: HashSet::new(),
        patterns: 0,
    };
    let Some(root) = yaml::parse(text)?.filter(|root| !root.is_null()) else {
        return Ok(reader.loaded);
    };
    let broken = |((line, column), reason): Wrong| Reason::Yaml { line, column, reason };
    let mut groups: &[Node] = &[];
    for (key, value) in fields(&root, &["groups"]).map_err(broken)? {
        match key {
            "groups" if value.is_null() => {}
            _ => groups = list(value, key).map_err(broken)?,
        }
    }
    reader.recorded = names_recorded(groups);
    let mut known: HashSet<&str> = HashSet::new();
    for group in groups {
        reader.group(group, &mut known);
    }
    Ok(reader.loaded)
}

struct Reader<'a> {
    file: &'a str,
    tick: Duration,
    bounds: &'a Arc<Declared>,
    loaded: Loaded,
    /// What has been recorded so far, by name.
    recordings: HashMap<String, Vec<Recording>>,
    /// The same for all who use them, until more is recorded under the name.
    shared: HashMap<String, Arc<[Recording]>>,
    /// All names recorded anywhere in the file.
    recorded: HashSet<String>,
    /// Group, name and labels of the alerts so far.
    identities: HashSet<(String, String, Labels)>,
    /// How many regular expressions there were so far.
    patterns: usize,
}

/// What all rules of a group share.
struct Group<'a> {
    name: &'a str,
    limit: usize,
    interval: Option<Duration>,
    labels: Vec<(String, String)>,
}

impl<'a> Reader<'a> {
    fn refuse(&mut self, group: &str, rule: &str, (position, reason): Wrong) {
        let (file, group, rule) = (self.file.to_owned(), group.to_owned(), rule.to_owned());
        self.loaded.refused.push(Refused { file, position, group, rule, reason });
    }

    fn group<'g>(&mut self, node: &'g Node, known: &mut HashSet<&'g str>) {
        const KEYS: &[&str] = &["name", "interval", "query_offset", "limit", "labels", "rules"];
        let name = field(node, "name").and_then(Node::text).unwrap_or_default();
        let read = || -> Result<(Group<'g>, &'g [Node]), Wrong> {
            let (mut limit, mut labels, mut rules) = (0, Vec::new(), &[][..]);
            let mut interval = None;
            for (key, value) in fields(node, KEYS)? {
                match key {
                    "name" if name.is_empty() => {
                        return Err((value.place, "the group's name is empty".to_owned()));
                    }
                    "interval" => {
                        interval = Some(duration(value, key)?).filter(|every| !every.is_zero());
                    }
                    "query_offset" if !duration(value, key)?.is_zero() => {
                        return Err((value.place, "query_offset is not supported".to_owned()));
                    }
                    "limit" => limit = number(value, key)?,
                    "labels" => {
                        labels = texts(value, key)?;
                        let bytes: usize = labels.iter().map(|(k, v)| k.len() + v.len()).sum();
                        if bytes > LONGEST_LABELS {
                            let reason = format!("labels of more than {LONGEST_LABELS} bytes");
                            return Err((value.place, reason));
                        }
                    }
                    "rules" if !value.is_null() => rules = list(value, key)?,
                    _ => {}
                }
            }
            if name.is_empty() {
                return Err((node.place, "a group without a name".to_owned()));
            }
            Ok((Group { name, limit, interval, labels }, rules))
        };
        match read() {
            Err(wrong) => self.refuse(name, "", wrong),
            Ok(_) if known.contains(name) => {
                let reason = "another group of the file has this name".to_owned();
                self.refuse(name, "", (node.place, reason));
            }
            Ok((group, rules)) => {
                known.insert(name);
                for rule in rules {
                    let named = ["alert", "record"].into_iter().find_map(|key| field(rule, key));
                    let named = named.and_then(Node::text).unwrap_or_default();
                    if let Err(wrong) = self.rule(rule, &group) {
                        self.refuse(group.name, named, wrong);
                    }
                }
            }
        }
    }

    fn rule(&mut self, node: &Node, group: &Group<'_>) -> Result<(), Wrong> {
        const KEYS: &[&str] =
            &["alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"];
        let here = |reason: &str| (node.place, reason.to_owned());
        let (mut name, mut record, mut expr) = (None, None, None);
        let mut hold = Duration::ZERO;
        let mut keep = Duration::ZERO;
        let (mut labels, mut annotations) = (Vec::new(), Vec::new());
        for (key, value) in fields(node, KEYS)? {
            match key {
                "alert" => name = Some(text(value, key)?),
                "record" => record = Some(text(value, key)?),
                "expr" => expr = Some((value, text(value, key)?)),
                "for" => hold = duration(value, key)?,
                "keep_firing_for" => keep = duration(value, key)?,
                "labels" => labels = texts(value, key)?,
                _ => annotations = texts(value, key)?,
            }
        }
        let Some((at, expr)) = expr else { return Err(here("a rule without expr")) };
        let expr = promql::parse(expr).map_err(|refusal| at_refusal(at, &refusal))?;
        let expr = self.resolve(expr).map_err(|reason| (at.place, format!("expr: {reason}")))?;
        self.patterns += expr.patterns();
        if self.patterns > MOST_PATTERNS {
            let reason = format!("expr: more than {MOST_PATTERNS} regular expressions in the file");
            return Err((at.place, reason));
        }
        let mut all = group.labels.clone();
        all.retain(|(key, _)| !labels.iter().any(|(own, _)| own == key));
        all.extend(labels);
        match (name, record) {
            (Some(_), Some(_)) => Err(here("a rule with both alert and record")),
            (None, None) => Err(here("a rule with neither alert nor record")),
            (None, Some(_)) if !hold.is_zero() || !keep.is_zero() || !annotations.is_empty() => {
                Err(here("for, keep_firing_for and annotations go with alert, not with record"))
            }
            (None, Some(record)) => self.record(record, expr, all).map_err(|why| here(&why)),
            (Some(name), None) => {
                if expr.kind() == Type::Scalar {
                    return Err((at.place, "expr: an alert needs an instant vector".to_owned()));
                }
                let mut rule = alert(name)
                    .group(group.name)
                    .when(Condition::of(expr))
                    .hold_for(hold)
                    .keep_firing_for(keep)
                    .limit(group.limit);
                rule.strict = true;
                rule.damped = false;
                rule.bounds = self.bounds.clone();
                rule.interval = group.interval;
                rule.labels = all;
                rule.severity = severity(&rule.labels);
                for (key, value) in &annotations {
                    rule = match key.as_str() {
                        "summary" => rule.summary(value),
                        "description" => rule.description(value),
                        "runbook_url" | "runbook" if rule.runbook.is_none() => rule.runbook(value),
                        _ => rule.annotation(key, value),
                    };
                }
                self.check(rule).map_err(|reason| here(&reason))
            }
        }
    }

    /// What the builder's rules are checked for.
    fn check(&mut self, rule: Rule) -> Result<(), String> {
        let identity = (rule.group.clone(), rule.name.clone(), rule.identity());
        if self.identities.contains(&identity) {
            return Err("another rule of the group has this name and these labels".to_owned());
        }
        rule.compile(self.tick).map_err(|wrong| {
            let all: Vec<_> = wrong.iter().map(|error| error.mistake.to_string()).collect();
            all.join("; ")
        })?;
        self.identities.insert(identity);
        self.loaded.rules.push(rule);
        Ok(())
    }

    fn record(
        &mut self,
        name: &str,
        expr: Expr,
        labels: Vec<(String, String)>,
    ) -> Result<(), String> {
        if name.is_empty() {
            return Err("the recorded name is empty".to_owned());
        }
        if let Some((key, _)) = labels.iter().find(|(key, _)| key == NAME || key.is_empty()) {
            return Err(Mistake::Label(key.clone(), "it is reserved").to_string());
        }
        let expr = match expr.kind() {
            Type::Scalar => Expr::Call(Function::ToVector, vec![expr]),
            _ => expr,
        };
        let recording = Recording { expr, labels };
        let all = self.recordings.entry(name.to_owned()).or_default();
        if all.len() >= LARGEST {
            return Err(format!("more than {LARGEST} rules record {name:?}"));
        }
        all.push(recording);
        self.shared.remove(name);
        Ok(())
    }

    /// Puts recording rules in where they are used.
    fn resolve(&mut self, mut expr: Expr) -> Result<Expr, String> {
        let Self { recordings, shared, recorded, .. } = self;
        let mut wrong = None;
        expr.change_selects(&mut |select| {
            let (selector, ranged) = match &*select {
                Expr::Select(selector) => (selector, false),
                Expr::Range(selector, _) => (selector, true),
                _ => return,
            };
            let Some(name) = selector.name.clone().filter(|n| recorded.contains(n)) else {
                return;
            };
            let refuse = |reason| Some(format!("{reason} of the recorded series {name:?}"));
            if ranged {
                wrong = refuse("a window is not supported");
            } else if !selector.offset.is_zero() {
                wrong = refuse("an offset is not supported");
            } else if let Some(found) = recordings.get(&name) {
                let recordings = shared.entry(name).or_insert_with(|| found.clone().into()).clone();
                *select = Expr::Recorded(Recorded { selector: selector.clone(), recordings });
            } else {
                wrong = Some(format!("{name:?} is recorded further down, or was refused"));
            }
        });
        match wrong {
            Some(reason) => Err(reason),
            None if expr.height() > HIGHEST => {
                Err(format!("nested deeper than {HIGHEST} once recording rules are put in"))
            }
            None if expr.size() > LARGEST => {
                Err(format!("more than {LARGEST} parts once recording rules are put in"))
            }
            None => Ok(expr),
        }
    }
}

/// A refusal's place in its text, in the file.
fn at_refusal(at: &Node, refusal: &Refusal) -> Wrong {
    let (line, column) = refusal.position;
    let (first, indent) = at.place;
    let block = matches!(at.kind, Kind::Text { block: true, .. });
    let quoted = matches!(at.kind, Kind::Text { plain: false, .. });
    let place = match (block, line) {
        // A block is where its text begins, and all its lines are indented as far.
        (true, _) => (first + line - 1, indent + column - 1),
        (false, 1) => (first, indent + column - 1 + usize::from(quoted)),
        (false, _) => (first + line - 1, column),
    };
    (place, format!("expr: {} (at {line}:{column} of it)", refusal.reason))
}

fn severity(labels: &[(String, String)]) -> Severity {
    let label = labels.iter().find(|(key, _)| key == SEVERITY);
    match label.map(|(_, value)| value.to_ascii_lowercase()).as_deref() {
        Some("critical" | "page" | "error" | "emergency" | "fatal" | "high") => Severity::Critical,
        Some("info" | "none" | "notice" | "debug" | "low") => Severity::Info,
        _ => Severity::Warning,
    }
}

fn names_recorded(groups: &[Node]) -> HashSet<String> {
    let rules = groups.iter().filter_map(|group| match &field(group, "rules")?.kind {
        Kind::List(rules) => Some(rules.as_slice()),
        _ => None,
    });
    let names = rules.flatten().filter_map(|rule| field(rule, "record")?.text());
    names.map(str::to_owned).collect()
}

fn field<'n>(node: &'n Node, wanted: &str) -> Option<&'n Node> {
    let Kind::Map(pairs) = &node.kind else { return None };
    pairs.iter().find(|(key, _)| key.text() == Some(wanted)).map(|(_, value)| value)
}

/// A mapping's pairs; its keys are among those known, none twice.
fn fields<'n>(node: &'n Node, known: &[&str]) -> Result<Vec<(&'n str, &'n Node)>, Wrong> {
    let Kind::Map(pairs) = &node.kind else {
        return Err((node.place, format!("expected a mapping, found {}", node.what())));
    };
    let mut found: Vec<(&str, &Node)> = Vec::with_capacity(pairs.len());
    let mut seen = HashSet::with_capacity(pairs.len());
    for (key, value) in pairs {
        let name = key.text().unwrap_or_default();
        if !known.is_empty() && !known.contains(&name) {
            let reason = format!("unknown key {name:?}, expected one of {}", known.join(", "));
            return Err((key.place, reason));
        }
        if !seen.insert(name) {
            return Err((key.place, format!("the key {name:?} is given twice")));
        }
        found.push((name, value));
    }
    Ok(found)
}

fn list<'n>(node: &'n Node, key: &str) -> Result<&'n [Node], Wrong> {
    match &node.kind {
        Kind::List(list) => Ok(list),
        _ => Err((node.place, format!("{key}: expected a list, found {}", node.what()))),
    }
}

fn text<'n>(node: &'n Node, key: &str) -> Result<&'n str, Wrong> {
    node.text()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| (node.place, format!("{key}: expected a text, found {}", node.what())))
}

/// A mapping of texts.
fn texts(node: &Node, key: &str) -> Result<Vec<(String, String)>, Wrong> {
    if node.is_null() {
        return Ok(Vec::new());
    }
    fields(node, &[])?
        .into_iter()
        .map(|(name, value)| match &value.kind {
            Kind::Text { text, .. } if name.is_empty() => {
                Err((value.place, format!("{key}: {text:?} has no name")))
            }
            _ if value.is_null() => Ok((name.to_owned(), String::new())),
            Kind::Text { text, .. } => Ok((name.to_owned(), text.clone())),
            _ => Err((value.place, format!("{key}: {name}: expected a text"))),
        })
        .collect()
}

fn duration(node: &Node, key: &str) -> Result<Duration, Wrong> {
    let text = text(node, key)?;
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    promql::duration(text)
        .ok_or_else(|| (node.place, format!("{key}: {text:?} is no duration, such as 5m or 1h30m")))
}

fn number(node: &Node, key: &str) -> Result<usize, Wrong> {
    let text = text(node, key)?;
    text.parse().map_err(|_| (node.place, format!("{key}: {text:?} is no whole number")))
}
