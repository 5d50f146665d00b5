//! Manifests: what the files of a repository say, as objects. Pure: no cluster, no clock.
//!
//! [`render`] reads YAML and JSON, opens lists, and refuses what is not a manifest or comes twice. Where an object
//! goes (namespaces, what the binding allows) is decided in `place.rs`, since only the cluster knows its kinds.

use std::collections::HashMap;

use serde_json::{Map, Value};
use slipway_core::limits::Limits;

use crate::error::RenderError;
use crate::limits::{DOCUMENTS_MAX, RENDER_ERRORS_MAX};
use crate::yaml;

/// A file of the repository, below the binding's folder or anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// Path for people and for order: `web/deployment.yaml`.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// One object as the repository wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub(crate) path: String,
    pub(crate) line: u64,
    pub(crate) object: Map<String, Value>,
}

/// What bounds a render: of all limits, those that count there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderLimits {
    /// Most files.
    pub files_max: usize,
    /// Largest file, in bytes.
    pub file_bytes_max: u64,
    /// All files together, in bytes.
    pub bytes_max: u64,
    /// Most objects.
    pub objects_max: usize,
}

impl From<&Limits> for RenderLimits {
    fn from(all: &Limits) -> Self {
        Self {
            files_max: all.manifest_files_max,
            file_bytes_max: all.manifest_file_size_max,
            bytes_max: all.manifests_size_max,
            objects_max: all.deploy_objects_max,
        }
    }
}

impl Default for RenderLimits {
    fn default() -> Self {
        Self::from(&Limits::default())
    }
}

impl Manifest {
    /// `apiVersion`, like `apps/v1`.
    pub fn api_version(&self) -> &str {
        self.text(&["apiVersion"])
    }

    /// API group; empty for the core group.
    pub fn group(&self) -> &str {
        split_api_version(self.api_version()).0
    }

    /// API version without its group.
    pub fn version(&self) -> &str {
        split_api_version(self.api_version()).1
    }

    /// Kind.
    pub fn kind(&self) -> &str {
        self.text(&["kind"])
    }

    /// Name.
    pub fn name(&self) -> &str {
        self.text(&["metadata", "name"])
    }

    /// The namespace that the manifest itself names.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.text(&["metadata", "namespace"])).filter(|n| !n.is_empty())
    }

    /// Where it is written: `file:line`.
    pub fn source(&self) -> String {
        format!("{}:{}", self.path, self.line)
    }

    fn text(&self, path: &[&str]) -> &str {
        let Some((last, parents)) = path.split_last() else { return "" };
        let mut at = &self.object;
        for key in parents {
            match at.get(*key).and_then(Value::as_object) {
                Some(next) => at = next,
                None => return "",
            }
        }
        at.get(*last).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Splits `apps/v1` into group and version; `v1` has the empty group.
pub(crate) fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Turns files into manifests: every `.yaml`, `.yml` and `.json` file that is not hidden, in order of path. Several
/// documents in a file and `List` kinds are opened. All or nothing: one file that cannot be read, one document that is
/// no manifest, one object that comes twice, and there are only errors (at most [`RENDER_ERRORS_MAX`]).
pub fn render(files: &[ManifestFile], limits: &RenderLimits) -> Result<Vec<Manifest>, Vec<RenderError>> {
    let mut wanted: Vec<&ManifestFile> = files.iter().filter(|f| is_manifest_path(&f.path)).collect();
    wanted.sort_by(|a, b| a.path.cmp(&b.path));
    check_sizes(&wanted, limits).map_err(|e| vec![e])?;
    let mut manifests = Vec::new();
    let mut errors = Vec::new();
    for file in wanted {
        if errors.len() >= RENDER_ERRORS_MAX {
            break;
        }
        match read_file(file) {
            Ok(mut read) => manifests.append(&mut read),
            Err(mut wrong) => errors.append(&mut wrong),
        }
        if manifests.len() > limits.objects_max {
            let sentence = format!(
                "with this file the repository has more than {} objects; split it over several bindings",
                limits.objects_max
            );
            errors.push(whole_file(&file.path, sentence));
            break;
        }
    }
    errors.extend(twice(&manifests));
    errors.truncate(RENDER_ERRORS_MAX);
    if errors.is_empty() { Ok(manifests) } else { Err(errors) }
}

/// True for files that a render reads: YAML or JSON by their ending, with no hidden part in their path.
pub fn is_manifest_path(path: &str) -> bool {
    let hidden = path.split('/').any(|part| part.starts_with('.') && part != "." && part != "..");
    let ending = path.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
    !hidden && matches!(ending.as_deref(), Some("yaml" | "yml" | "json"))
}

fn check_sizes(files: &[&ManifestFile], limits: &RenderLimits) -> Result<(), RenderError> {
    let mut total = 0u64;
    for (i, file) in files.iter().enumerate() {
        if i >= limits.files_max {
            let sentence =
                format!("there are {} manifest files, {} are allowed", files.len(), limits.files_max);
            return Err(whole_file(&file.path, sentence));
        }
        let bytes = file.bytes.len() as u64;
        if bytes > limits.file_bytes_max {
            let (has, may) = (bytes, limits.file_bytes_max);
            return Err(whole_file(&file.path, format!("the file has {has} bytes, {may} are allowed")));
        }
        total = total.saturating_add(bytes);
        if total > limits.bytes_max {
            let may = limits.bytes_max;
            return Err(whole_file(
                &file.path,
                format!("with this file the manifests have over {may} bytes"),
            ));
        }
    }
    Ok(())
}

fn whole_file(path: &str, sentence: String) -> RenderError {
    RenderError { path: path.to_owned(), line: 0, column: 0, sentence }
}

/// One file's objects, or all that is wrong with it.
fn read_file(file: &ManifestFile) -> Result<Vec<Manifest>, Vec<RenderError>> {
    if let Some(sentence) = foreign_tool(&file.path) {
        return Err(vec![whole_file(&file.path, sentence.to_owned())]);
    }
    let documents = yaml::read(&file.path, &file.bytes).map_err(|e| vec![e])?;
    if documents.len() > DOCUMENTS_MAX {
        let sentence = format!("the file has {} documents, {DOCUMENTS_MAX} are allowed", documents.len());
        return Err(vec![whole_file(&file.path, sentence)]);
    }
    let mut manifests = Vec::new();
    let mut errors = Vec::new();
    for document in documents {
        let (line, column) = (document.line, document.column);
        match check_document(&file.path, document) {
            Ok(mut found) => manifests.append(&mut found),
            Err(sentence) => errors.push(RenderError { path: file.path.clone(), line, column, sentence }),
        }
    }
    if errors.is_empty() { Ok(manifests) } else { Err(errors) }
}

/// Files that another tool reads, told by their name.
fn foreign_tool(path: &str) -> Option<&'static str> {
    match path.rsplit('/').next().unwrap_or(path) {
        "kustomization.yaml" | "kustomization.yml" => Some(
            "Kustomize files are not rendered yet; commit the output of `kustomize build`, or bind a folder of plain manifests",
        ),
        "Chart.yaml" | "Chart.yml" => Some(
            "Helm charts are not rendered yet; commit the output of `helm template`, or bind a folder of plain manifests",
        ),
        _ => None,
    }
}

/// A document's object, or the objects of its list; else what is wrong with it.
fn check_document(path: &str, document: yaml::Document) -> Result<Vec<Manifest>, String> {
    let Value::Object(object) = document.value else {
        return Err(format!("{} where a Kubernetes object is wanted", yaml::noun(&document.value)));
    };
    if is_list(&object) {
        return open_list(path, document.line, object, &document.item_lines);
    }
    check_object(&object)?;
    Ok(vec![Manifest { path: path.to_owned(), line: document.line, object }])
}

/// `v1 List` and the typed lists that `kubectl get -o yaml` never makes but APIs do (`ConfigMapList`).
fn is_list(object: &Map<String, Value>) -> bool {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    kind.ends_with("List") && object.get("items").is_some_and(Value::is_array)
}

fn open_list(
    path: &str,
    line: u64,
    mut list: Map<String, Value>,
    lines: &[u64],
) -> Result<Vec<Manifest>, String> {
    let kind = list.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let api_version = list.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(Value::Array(items)) = list.remove("items") else { return Ok(Vec::new()) };
    let mut manifests = Vec::new();
    for (i, item) in items.into_iter().enumerate() {
        let line = lines.get(i).copied().unwrap_or(line);
        let Value::Object(mut object) = item else {
            return Err(format!("item {} of the {kind} (line {line}) is {}", i + 1, yaml::noun(&item)));
        };
        // The items of a typed list may leave out what the list says.
        if kind != "List" && !object.contains_key("kind") {
            object.insert("kind".into(), kind.trim_end_matches("List").into());
            object.entry("apiVersion").or_insert_with(|| api_version.clone().into());
        }
        if is_list(&object) {
            return Err(format!("item {} of the {kind} (line {line}) is a list again", i + 1));
        }
        check_object(&object).map_err(|e| format!("item {} of the {kind} (line {line}): {e}", i + 1))?;
        manifests.push(Manifest { path: path.to_owned(), line, object });
    }
    Ok(manifests)
}

/// What every object must have, and what would make it another one on the way to the cluster.
fn check_object(object: &Map<String, Value>) -> Result<(), String> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    match (api_version.is_empty(), kind.is_empty()) {
        (true, true) => {
            return Err("this is no Kubernetes manifest: it has neither apiVersion nor kind; move files that are not \
                        manifests (Helm values, Compose files) out of the bound folder"
                .into());
        }
        (true, false) => return Err(format!("the {kind} has no apiVersion")),
        (false, true) => return Err(format!("the object of apiVersion {api_version} has no kind")),
        (false, false) => {}
    }
    if api_version.starts_with("kustomize.config.k8s.io/") {
        return Err("Kustomize files are not rendered yet; commit the output of `kustomize build`".into());
    }
    let parts: Vec<&str> = api_version.split('/').collect();
    if parts.len() > 2 || parts.iter().any(|p| !is_label(p)) || !is_label(kind) {
        return Err(format!("{api_version:?} {kind:?} cannot be an apiVersion and a kind"));
    }
    let Some(metadata) = object.get("metadata").and_then(Value::as_object) else {
        return Err(format!("the {kind} has no metadata"));
    };
    check_metadata(kind, metadata)
}

fn check_metadata(kind: &str, metadata: &Map<String, Value>) -> Result<(), String> {
    let name = match metadata.get("name") {
        Some(Value::String(name)) => name.as_str(),
        Some(other) => return Err(format!("metadata.name of the {kind} is {}; quote it", yaml::noun(other))),
        None if metadata.contains_key("generateName") => {
            return Err(format!(
                "the {kind} has a generateName; what is in Git needs a metadata.name of its own"
            ));
        }
        None => return Err(format!("the {kind} has no metadata.name")),
    };
    if name.is_empty() || name.len() > 253 || name.contains(['/', '%']) || name == "." || name == ".." {
        return Err(format!("{name:?} cannot be the name of a {kind}"));
    }
    match metadata.get("namespace") {
        None | Some(Value::Null) => {}
        Some(Value::String(ns)) if ns.is_empty() || is_label(ns) => {}
        Some(Value::String(ns)) => return Err(format!("{ns:?} cannot be the namespace of {kind} {name}")),
        Some(other) => {
            return Err(format!("metadata.namespace of {kind} {name} is {}; quote it", yaml::noun(other)));
        }
    }
    for key in ["labels", "annotations"] {
        let Some(Value::Object(entries)) = metadata.get(key) else { continue };
        if let Some((k, v)) = entries.iter().find(|(_, v)| !v.is_string() && !v.is_null()) {
            return Err(format!("{key} {k:?} of {kind} {name} is {}; quote it", yaml::noun(v)));
        }
    }
    Ok(())
}

/// Letters, digits, `-`, `.` and `_`: safe in a URL path, and all that groups, versions, kinds and namespaces need.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && text != "."
        && text != ".."
}

/// Objects that two manifests describe. A namespace that is left out counts as one of its own here; `place.rs`
/// compares again when namespaces are known.
fn twice(manifests: &[Manifest]) -> Vec<RenderError> {
    let mut seen: HashMap<(&str, &str, Option<&str>, &str), &Manifest> = HashMap::new();
    let mut errors = Vec::new();
    for manifest in manifests {
        let key = (manifest.group(), manifest.kind(), manifest.namespace(), manifest.name());
        if let Some(first) = seen.get(&key) {
            errors.push(RenderError {
                path: manifest.path.clone(),
                line: manifest.line,
                column: 0,
                sentence: format!("{} {} is already described at {}", key.1, key.3, first.source()),
            });
        } else {
            seen.insert(key, manifest);
        }
    }
    errors
}

#[cfg(test)]
mod tests;
