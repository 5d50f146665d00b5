//! YAML as a tree whose nodes know their lines. The only file here that knows the YAML library.

use std::collections::HashMap;

use granit_parser::{Event, Parser};
use slipway_core::Problem;

use super::limits::{DEPTH_MAX, NODES_MAX};
use super::plan::refused;

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// GitLab's `!reference [job, key]`.
    Reference(Vec<String>),
}

impl Node {
    /// A key's value.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Keys and values; none where it is no mapping.
    pub(super) fn entries(&self) -> &[(String, Node)] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Items; none where it is no list.
    pub(super) fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A key's text.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Node::text)
    }

    /// Its text, or those of its items, however deep, each with its line.
    pub(super) fn texts(&self) -> Vec<(&str, usize)> {
        match &self.content {
            Content::Text(text) => vec![(text, self.line)],
            Content::List(items) => items.iter().flat_map(Node::texts).collect(),
            _ => Vec::new(),
        }
    }

    /// The texts of a key.
    pub(super) fn texts_of(&self, key: &str) -> Vec<&str> {
        let texts = self.get(key).map(Node::texts).unwrap_or_default();
        texts.into_iter().map(|(text, _)| text).collect()
    }

    /// Pairs, from a mapping or from a list of `NAME=VALUE`; what is no text is left out.
    pub(super) fn pairs(&self) -> Vec<(String, String, usize)> {
        let of_map = self.entries().iter().filter_map(|(name, node)| {
            // GitLab's long form of a variable.
            let text = node.text().or_else(|| node.text_of("value"))?;
            Some((name.clone(), text.to_owned(), node.line))
        });
        let of_list = self.texts().into_iter().filter_map(|(text, line)| {
            let (name, value) = text.split_once('=')?;
            Some((name.to_owned(), value.to_owned(), line))
        });
        of_map.chain(of_list).collect()
    }
}

/// Something that is being read.
struct Open {
    line: usize,
    anchor: usize,
    is_map: bool,
    is_reference: bool,
    key: Option<String>,
    entries: Vec<(String, Node)>,
    items: Vec<Node>,
}

/// Reads all documents.
///
/// # Errors
/// A sentence with the line where it is no YAML.
pub(super) fn read(text: &str, file: &str) -> Result<Vec<Node>, Problem> {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut reader = Reader::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|e| {
            let what =
                format!("{file} is no YAML: line {}: {}.", e.marker().line(), e.info().trim_end_matches('.'));
            refused(what, "Name a file in the format that the command names.")
        })?;
        reader.take(event, span.start.line());
        if reader.nodes > NODES_MAX {
            let what = format!("{file} has more than {NODES_MAX} values, those behind aliases included.");
            return Err(refused(what, "Split it."));
        }
    }
    Ok(reader.roots)
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    /// What stands at an anchor, and how many nodes that is.
    anchors: HashMap<usize, (Node, usize)>,
    roots: Vec<Node>,
    nodes: usize,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, line: usize) {
        match event {
            Event::Scalar(value, _, anchor, _) => {
                self.close(Node { line, content: Content::Text(value.into_owned()) }, anchor);
            }
            Event::Alias(anchor) => {
                let (mut node, size) = self.anchors.get(&anchor).cloned().unwrap_or_else(|| (empty(line), 1));
                self.nodes += size;
                if self.nodes <= NODES_MAX {
                    node.line = if matches!(node.content, Content::Text(_)) { node.line } else { line };
                    self.close(node, 0);
                }
            }
            Event::UnresolvedAlias(_) => self.close(empty(line), 0),
            Event::MappingStart(_, anchor, _) => self.begin(line, anchor, true, false),
            Event::SequenceStart(_, anchor, tag) => {
                let is_reference = format!("{tag:?}").contains("reference");
                self.begin(line, anchor, false, is_reference);
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some(done) = self.open.pop() {
                    let anchor = done.anchor;
                    self.close(done.node(), anchor);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, line: usize, anchor: usize, is_map: bool, is_reference: bool) {
        let (key, entries, items) = (None, Vec::new(), Vec::new());
        self.open.push(Open { line, anchor, is_map, is_reference, key, entries, items });
    }

    /// Puts a node that is read whole where it belongs.
    fn close(&mut self, node: Node, anchor: usize) {
        self.nodes += 1;
        if let Content::Text(text) = &node.content {
            self.nodes += text.len() / TEXT_NODE_BYTES;
        }
        if anchor > 0 {
            let size = size(&node);
            // What is remembered counts as well: it is kept twice.
            self.nodes += size;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut() {
            None => self.roots.push(node),
            Some(parent) if !parent.is_map => parent.items.push(node),
            Some(parent) => match parent.key.take() {
                Some(key) => parent.entries.push((key, node)),
                None => parent.key = Some(node.text().unwrap_or_default().to_owned()),
            },
        }
    }
}

impl Open {
    fn node(mut self) -> Node {
        let content = if self.is_reference {
            Content::Reference(self.items.iter().filter_map(Node::text).map(str::to_owned).collect())
        } else if self.is_map {
            Content::Map(merged(std::mem::take(&mut self.entries)))
        } else {
            Content::List(std::mem::take(&mut self.items))
        };
        Node { line: self.line, content }
    }
}

/// `<<`: entries of other mappings, where there are none of that name.
fn merged(entries: Vec<(String, Node)>) -> Vec<(String, Node)> {
    let (others, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key == "<<");
    let mut known: std::collections::HashSet<String> = own.iter().map(|(key, _)| key.clone()).collect();
    for (_, node) in others {
        let maps = if node.entries().is_empty() { node.items().to_vec() } else { vec![node] };
        for (key, value) in maps.iter().flat_map(Node::entries) {
            if known.insert(key.clone()) {
                own.push((key.clone(), value.clone()));
            }
        }
    }
    own
}

fn empty(line: usize) -> Node {
    Node { line, content: Content::Text(String::new()) }
}

/// So many bytes of text count as a node.
const TEXT_NODE_BYTES: usize = 64;

/// How many nodes that is.
pub(super) fn size(node: &Node) -> usize {
    1 + match &node.content {
        Content::Text(text) => text.len() / TEXT_NODE_BYTES,
        Content::List(items) => items.iter().map(size).sum::<usize>(),
        Content::Map(entries) => entries.iter().map(|(_, node)| size(node)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_lines_and_anchors_what_they_stand_for() {
        let text = "a: &x\n  k: v\nb:\n  <<: *x\n  s:\n    - one\n    - |\n      two\n      three\nc: !reference [a, k]\n";
        let root = &read(text, "f").expect("yaml")[0];
        let b = root.get("b").expect("b");
        assert_eq!(b.text_of("k"), Some("v"));
        assert_eq!(b.get("s").expect("s").texts(), [("one", 6), ("two\nthree\n", 8)]);
        assert_eq!(root.get("c").expect("c").content, Content::Reference(vec!["a".into(), "k".into()]));
    }

    #[test]
    fn long_texts_behind_aliases_count_by_their_length() {
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a, ".repeat(100));
        assert!(read(&text, "f").expect_err("too large").what.contains("more than"));
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let all = vec![format!("*a{}", n - 1); 9].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{all}]\n"));
        }
        assert!(read(&bomb, "f").expect_err("too large").what.contains("more than"));
        assert!(read("a: [b", "f").expect_err("no yaml").what.contains("is no YAML: line"));
        assert!(read(&"[".repeat(100_000), "f").is_err());
        assert!(read("a: &a [*a]\nb: *c\n", "f").is_ok());
    }
}
