//! A manifest's text as a tree whose values know where they stand. Nothing is written back: edits are made in the text.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use super::template::{self, Expressions};

/// How deep lists and mappings may lie in each other.
const DEPTH_MAX: usize = 100;

/// A place in a [`Document`].
pub(super) type NodeId = usize;

/// What stands at a place.
#[derive(Debug)]
pub(super) enum Node {
    /// A text, number or word.
    Scalar(Scalar),
    /// Keys and their values, in their order.
    Map { flow: bool, pairs: Vec<(NodeId, NodeId)> },
    /// A list.
    List(Vec<NodeId>),
    /// What stands at an anchor.
    Alias { anchor: usize, span: Range<usize> },
}

/// A text, number or word.
#[derive(Debug)]
pub(super) struct Scalar {
    /// As YAML reads it.
    pub(super) value: String,
    /// How it is written.
    pub(super) style: ScalarStyle,
    /// Where in the file's text, with its quotes; empty where nothing is written.
    pub(super) span: Range<usize>,
}

/// One file: its documents, and the text they were read from.
#[derive(Debug)]
pub(super) struct Document<'t> {
    pub(super) text: &'t str,
    pub(super) roots: Vec<NodeId>,
    pub(super) expressions: Expressions,
    nodes: Vec<Node>,
    anchors: HashMap<usize, NodeId>,
    /// Where lines end.
    ends: Vec<usize>,
}

/// Why a text is no YAML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// From 1.
    pub(super) line: usize,
    pub(super) why: String,
}

impl<'t> Document<'t> {
    /// Reads a text, the expressions of templates in it taken for words.
    ///
    /// # Errors
    /// [`Unread`] where it is no YAML even so.
    pub(super) fn read(text: &'t str) -> Result<Self, Unread> {
        let expressions = Expressions::of(text);
        let masked = template::masked(text, &expressions);
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            flow_nesting_limit: DEPTH_MAX,
            block_nesting_limit: DEPTH_MAX,
        };
        let mut document = Self {
            text,
            roots: Vec::new(),
            expressions,
            nodes: Vec::new(),
            anchors: HashMap::new(),
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        };
        let mut open: Vec<Open> = Vec::new();
        for next in Parser::new_from_str_with_options(&masked, options) {
            let (event, span) =
                next.map_err(|e| Unread { line: e.marker().line(), why: e.info().to_owned() })?;
            document.take(event, range(&span), &mut open);
        }
        Ok(document)
    }

    fn take(&mut self, event: Event<'_>, span: Range<usize>, open: &mut Vec<Open>) {
        match event {
            Event::Scalar(value, style, anchor, _) => {
                let scalar = Scalar { value: value.into_owned(), style, span };
                let id = self.add(Node::Scalar(scalar), anchor);
                self.close(id, open);
            }
            Event::Alias(anchor) => {
                let id = self.add(Node::Alias { anchor, span }, 0);
                self.close(id, open);
            }
            Event::UnresolvedAlias(_) => {
                let id = self.add(Node::Alias { anchor: 0, span }, 0);
                self.close(id, open);
            }
            Event::MappingStart(style, anchor, _) => {
                let flow = style == StructureStyle::Flow;
                let id = self.add(Node::Map { flow, pairs: Vec::new() }, anchor);
                open.push(Open { id, key: None });
            }
            Event::SequenceStart(_, anchor, _) => {
                let id = self.add(Node::List(Vec::new()), anchor);
                open.push(Open { id, key: None });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some(done) = open.pop() {
                    self.close(done.id, open);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, node: Node, anchor: usize) -> NodeId {
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
        id
    }

    /// Puts a node that is read whole where it belongs.
    fn close(&mut self, id: NodeId, open: &mut [Open]) {
        let Some(parent) = open.last_mut() else { return self.roots.push(id) };
        match &mut self.nodes[parent.id] {
            Node::Map { pairs, .. } => match parent.key.take() {
                Some(key) => pairs.push((key, id)),
                None => parent.key = Some(id),
            },
            Node::List(items) => items.push(id),
            Node::Scalar(_) | Node::Alias { .. } => {}
        }
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// The scalar that stands there, or at the anchor that is named there.
    pub(super) fn scalar(&self, id: NodeId) -> Option<&Scalar> {
        match self.node(id) {
            Node::Scalar(scalar) => Some(scalar),
            Node::Alias { anchor, .. } => match self.node(*self.anchors.get(anchor)?) {
                Node::Scalar(scalar) => Some(scalar),
                _ => None,
            },
            _ => None,
        }
    }

    /// A key's text; empty where it is none.
    pub(super) fn key(&self, id: NodeId) -> &str {
        self.scalar(id).map_or("", |scalar| scalar.value.as_str())
    }

    /// A key's value in a mapping.
    pub(super) fn value(&self, map: NodeId, key: &str) -> Option<(NodeId, NodeId)> {
        let Node::Map { pairs, .. } = self.node(map) else { return None };
        pairs.iter().copied().find(|(k, _)| self.key(*k) == key)
    }

    /// A key's text in a mapping; `None` where it is not there, or no text.
    pub(super) fn text_of(&self, map: NodeId, key: &str) -> Option<&str> {
        self.value(map, key).and_then(|(_, value)| self.scalar(value)).map(|scalar| scalar.value.as_str())
    }

    /// Where the last word of what stands there ends.
    pub(super) fn end_of(&self, id: NodeId) -> usize {
        match self.node(id) {
            Node::Scalar(scalar) => scalar.span.end,
            Node::Alias { span, .. } => span.end,
            Node::Map { pairs, .. } => {
                pairs.iter().map(|(key, value)| self.end_of(*key).max(self.end_of(*value))).max().unwrap_or(0)
            }
            Node::List(items) => items.iter().map(|item| self.end_of(*item)).max().unwrap_or(0),
        }
    }

    /// Where a key or value begins; `None` for lists and mappings.
    pub(super) fn start_of(&self, id: NodeId) -> Option<usize> {
        match self.node(id) {
            Node::Scalar(scalar) => Some(scalar.span.start),
            Node::Alias { span, .. } => Some(span.start),
            Node::Map { .. } | Node::List(_) => None,
        }
    }

    /// The line of a byte of the text, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }
}

/// A list or mapping that is being read.
struct Open {
    id: NodeId,
    key: Option<NodeId>,
}

fn range(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or(0..0)
}
