//! YAML to a small tree with positions. The parser is an event stream without recursion; what it
//! yields is capped in depth and number, so that aliases of aliases stay small too.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::Reason;

/// The longest file that is read.
pub(super) const LONGEST: usize = 1 << 20;
/// How deep lists and mappings may nest; rules take six.
const DEEPEST: usize = 16;
/// How many nodes there may be, those of aliases counted each time.
const MOST: usize = 100_000;
/// How many bytes their texts may have together, those of aliases counted each time.
const MOST_BYTES: usize = 4 * LONGEST;

/// Line and column, from one.
pub(super) type Place = (usize, usize);

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) place: Place,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Text {
        text: String,
        /// Without quotes: it may mean a number, a truth or nothing.
        plain: bool,
        /// `|` or `>`.
        block: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// A list or mapping that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    /// A key without its value.
    key: Option<Node>,
}

/// The only document of a text; `None` of an empty one.
pub(super) fn parse(text: &str) -> Result<Option<Node>, Reason> {
    if text.len() > LONGEST {
        return Err(Reason::Long { bytes: text.len(), allowed: LONGEST });
    }
    let wrong = |mark: &Marker, reason: String| Reason::Yaml {
        line: mark.line(),
        column: mark.col() + 1,
        reason,
    };
    let mut parser = Parser::new_from_str(text);
    let (mut open, mut root, mut count, mut bytes) = (Vec::<Open>::new(), None, 0, 0);
    let mut anchors: HashMap<usize, Node> = HashMap::new();
    while let Some(event) = parser.next_event() {
        let (event, span) =
            event.map_err(|error| wrong(error.marker(), error.info().to_owned()))?;
        let place = (span.start.line(), span.start.col() + 1);
        let refuse = |reason: &str| Err(wrong(&span.start, reason.to_owned()));
        let repeated = matches!(event, Event::Alias(_));
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
                    return refuse("a tag is not supported");
                }
                let plain = style == ScalarStyle::Plain;
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                (Node { kind: Kind::Text { text: text.into_owned(), plain, block }, place }, anchor)
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                if open.len() >= DEEPEST {
                    return refuse("nested too deeply");
                }
                let list = matches!(event, Event::SequenceStart(..));
                let kind = if list { Kind::List(Vec::new()) } else { Kind::Map(Vec::new()) };
                open.push(Open { node: Node { kind, place }, anchor, key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(closed) = open.pop() else { return refuse("an end without a begin") };
                (closed.node, closed.anchor)
            }
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some(node) => {
                    // Before it is copied: it counts for all that it repeats.
                    let (nodes, more) = size(node);
                    (count, bytes) = (count + nodes, bytes + more);
                    if count > MOST || bytes > MOST_BYTES {
                        return refuse("too many values");
                    }
                    (node.clone(), 0)
                }
                None => return refuse("an alias of itself, or of nothing"),
            },
            Event::DocumentStart(_) if root.is_some() => {
                return refuse("a second document: a rule file has one");
            }
            _ => continue,
        };
        count += usize::from(!repeated);
        if count > MOST {
            return refuse("too many values");
        }
        if anchor > 0 {
            anchors.insert(anchor, node.clone());
        }
        match open.last_mut() {
            None => root = Some(node),
            Some(Open { node: Node { kind: Kind::List(list), .. }, .. }) => list.push(node),
            Some(Open { node: Node { kind: Kind::Map(pairs), .. }, key, .. }) => match key.take() {
                None => *key = Some(node),
                Some(key) => pairs.push((key, node)),
            },
            Some(_) => return refuse("a value within a value"),
        }
    }
    Ok(root)
}

/// How many nodes and bytes of text there are in it. Depth is capped.
fn size(node: &Node) -> (usize, usize) {
    let add = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
    match &node.kind {
        Kind::Text { text, .. } => (1, text.len()),
        Kind::List(list) => list.iter().map(size).fold((1, 0), add),
        Kind::Map(pairs) => pairs.iter().flat_map(|(k, v)| [size(k), size(v)]).fold((1, 0), add),
    }
}

impl Node {
    /// Its text, if it is one; nothing for `~`, `null` and an empty value.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text { text, plain, .. } if !(*plain && is_null(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Text { text, plain: true, .. } if is_null(text))
    }

    pub(super) fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Text { .. } if self.is_null() => "nothing",
            Kind::Text { .. } => "a value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}
