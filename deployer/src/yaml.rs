//! Bytes to documents with their places. The only file that knows the YAML library.
//!
//! Scalars are read as Kubernetes' own tools read them (YAML 1.1: `yes`, `0644`), keys stay as written, a key that
//! comes twice is an error, and the parser's budget stops bombs of aliases, depth and size.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Options, Spanned};

use crate::error::RenderError;
use crate::limits::{DEPTH_MAX, DOCUMENTS_MAX, YAML_ALIASES_MAX, YAML_NODES_MAX, YAML_REPLAY_MAX, cut};

/// One document of a file.
#[derive(Debug)]
pub(crate) struct Document {
    /// Line of its first key, from 1.
    pub(crate) line: u64,
    /// Column, from 1.
    pub(crate) column: u64,
    /// Its content.
    pub(crate) value: Value,
    /// Lines of its `items`, where it is a list and they are known.
    pub(crate) item_lines: Vec<u64>,
}

/// Reads all documents of a file; empty ones are left out.
pub(crate) fn read(path: &str, bytes: &[u8]) -> Result<Vec<Document>, RenderError> {
    let text = std::str::from_utf8(bytes).map_err(|e| RenderError {
        path: path.to_owned(),
        line: 1 + bytes.iter().take(e.valid_up_to()).filter(|&&b| b == b'\n').count() as u64,
        column: 0,
        sentence: "the file is not UTF-8 text".into(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if path.to_ascii_lowercase().ends_with(".json") { read_json(path, text) } else { read_yaml(path, text) }
}

fn read_yaml(path: &str, text: &str) -> Result<Vec<Document>, RenderError> {
    let values: Vec<Spanned<Value>> = serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|e| yaml_error(path, text, e.without_snippet()))?;
    let mut documents: Vec<Document> = values
        .into_iter()
        .map(|d| Document {
            line: d.referenced.line().max(1),
            column: d.referenced.column(),
            value: whole_numbers(d.value),
            item_lines: Vec::new(),
        })
        .collect();
    if documents.iter().any(|d| d.value.get("items").is_some()) {
        note_item_lines(text, &mut documents);
    }
    Ok(documents)
}

/// `1e3` and `2.0` are whole numbers in JSON as Kubernetes' tools write it, and integer fields want them so.
fn whole_numbers(value: Value) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(n) => match n.as_f64() {
            Some(f) if n.is_f64() && f.fract() == 0.0 && f.abs() < EXACT => Value::from(f as i64),
            _ => Value::Number(n),
        },
        Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
        Value::Object(entries) => entries.into_iter().map(|(k, v)| (k, whole_numbers(v))).collect(),
        other => other,
    }
}

/// Only the lines of `items`; read a second time, since few files have lists.
#[derive(Deserialize)]
struct ItemPlaces {
    #[serde(default)]
    items: Vec<Spanned<IgnoredAny>>,
}

fn note_item_lines(text: &str, documents: &mut [Document]) {
    let Ok(places) = serde_saphyr::from_multiple_with_options::<ItemPlaces>(text, options()) else { return };
    if places.len() != documents.len() {
        return;
    }
    for (document, place) in documents.iter_mut().zip(places) {
        document.item_lines = place.items.iter().map(|i| i.referenced.line()).collect();
    }
}

fn read_json(path: &str, text: &str) -> Result<Vec<Document>, RenderError> {
    let mut documents = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let start = text.get(..stream.byte_offset()).unwrap_or_default();
        let line = 1 + start.bytes().filter(|&b| b == b'\n').count() as u64;
        match stream.next() {
            None => return Ok(documents),
            Some(Ok(value)) => documents.push(Document { line, column: 0, value, item_lines: Vec::new() }),
            Some(Err(e)) => {
                return Err(RenderError {
                    path: path.to_owned(),
                    line: e.line() as u64,
                    column: e.column() as u64,
                    sentence: format!("this is not JSON: {}", without_place(&e.to_string())),
                });
            }
        }
    }
}

/// serde_json ends its messages with a place that [`RenderError`] tells already.
fn without_place(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: YAML_NODES_MAX,
            max_events: YAML_NODES_MAX * 4,
            max_aliases: YAML_ALIASES_MAX,
            max_anchors: YAML_ALIASES_MAX,
            max_documents: DOCUMENTS_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: YAML_REPLAY_MAX,
            max_replay_stack_depth: 32,
            max_alias_expansions_per_anchor: YAML_ALIASES_MAX,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        legacy_octal_numbers: true,
        strict_booleans: false,
        with_snippet: false,
    }
}

fn yaml_error(path: &str, text: &str, error: &serde_saphyr::Error) -> RenderError {
    let place = error.location();
    let message = error.render();
    let mut sentence = cut(first_line(&message), 300);
    if text.contains("{{") {
        sentence.push_str("; it looks like a Helm template: commit the output of `helm template`");
    }
    RenderError {
        path: path.to_owned(),
        line: place.map_or(0, |p| p.line()),
        column: place.map_or(0, |p| p.column()),
        sentence,
    }
}

fn first_line(message: &str) -> &str {
    let line = message.lines().find(|l| !l.trim().is_empty()).unwrap_or("this is not YAML");
    // The library begins or ends with the place, which the error tells itself.
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(" at line ").next().unwrap_or(line)
}

/// What a value is, for sentences.
pub(crate) fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
