//! Layers on top of each other: what a layer above takes away or writes anew is not in the image. Pure.

use std::collections::{BTreeMap, BTreeSet};

use slipway_core::Digest;

use super::found::{Package, Said, System};
use super::layer::Layer;
use crate::limits::CONTENTS_NOTES_MAX;

/// What the layers so far say together.
#[derive(Debug, Default)]
pub(super) struct Merged {
    said: BTreeMap<String, Said>,
    notes: Vec<String>,
}

impl Merged {
    /// Lays a layer on top.
    pub(super) fn lay(&mut self, digest: &Digest, layer: &Layer) {
        let below = |path: &str, folder: &str| {
            path.strip_prefix(folder).is_some_and(|rest| folder.is_empty() || rest.starts_with('/'))
        };
        let gone: BTreeSet<&str> = layer.gone.iter().map(String::as_str).collect();
        let emptied: BTreeSet<&str> = layer.emptied.iter().map(String::as_str).collect();
        self.said.retain(|path, _| {
            let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
            let mut all = folders.chain([path.as_str(), ""]);
            let taken =
                all.any(|at| gone.contains(at) || (at != path && below(path, at) && emptied.contains(at)));
            !taken && !layer.covers(path)
        });
        self.said.extend(layer.said.iter().map(|(path, said)| (path.clone(), said.clone())));
        for note in &layer.notes {
            self.note(format!("layer {digest}: {note}"));
        }
    }

    /// Adds a word on what was not read.
    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < CONTENTS_NOTES_MAX {
            self.notes.push(note);
        }
    }

    /// What was not read.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The distribution. The file in `etc` is what an administrator may have written.
    pub(super) fn system(&self) -> Option<&System> {
        ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| self.said.get(*path)?.system.as_ref())
    }

    /// All packages, in order, each with the files that tell of it.
    pub(super) fn packages(&self) -> BTreeMap<&Package, Vec<&str>> {
        let mut all: BTreeMap<&Package, Vec<&str>> = BTreeMap::new();
        for (path, said) in &self.said {
            for package in &said.packages {
                let paths = all.entry(package).or_default();
                if paths.last() != Some(&path.as_str()) {
                    paths.push(path);
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::layer::tests::{archive, layer};
    use super::*;

    const APK: &str = "lib/apk/db/installed";

    fn names(layers: &[&[(&str, u32, &[u8])]]) -> Vec<String> {
        let mut merged = Merged::default();
        for files in layers {
            merged.lay(&Digest::none(), &layer(&archive(files)));
        }
        merged.packages().keys().map(|package| format!("{}@{}", package.name, package.version)).collect()
    }

    #[test]
    fn what_lies_above_counts() {
        let base: &[(&str, u32, &[u8])] = &[
            (APK, 0o644, b"P:musl\nV:1\n\nP:curl\nV:8\n"),
            ("app/x.dist-info/METADATA", 0o644, b"Name: x\nVersion: 1\n"),
            ("app/node_modules/y/package.json", 0o644, br#"{"name":"y","version":"1"}"#),
        ];
        assert_eq!(names(&[base]), ["curl@8", "musl@1", "y@1", "x@1"]);
        let all = |above: &[(&str, u32, &[u8])]| names(&[base, above]);
        assert_eq!(all(&[(APK, 0o644, b"P:musl\nV:2\n")]), ["musl@2", "y@1", "x@1"]);
        assert_eq!(all(&[("app/.wh.x.dist-info", 0o644, b"")]), ["curl@8", "musl@1", "y@1"]);
        assert_eq!(all(&[(".wh.app", 0o644, b"")]), ["curl@8", "musl@1"]);
        assert_eq!(all(&[(".wh.ap", 0o644, b"")]), ["curl@8", "musl@1", "y@1", "x@1"]);
        assert_eq!(all(&[("app/.wh..wh..opq", 0o644, b"")]), ["curl@8", "musl@1"]);
        assert_eq!(all(&[(".wh..wh..opq", 0o644, b"")]), Vec::<String>::new());
        // A file where a folder was.
        assert_eq!(all(&[("app", 0o644, b"words")]), ["curl@8", "musl@1"]);
        // What takes away and brings anew in one layer brings.
        let anew: &[(&str, u32, &[u8])] = &[
            ("app/.wh..wh..opq", 0o644, b""),
            ("app/z.dist-info/METADATA", 0o644, b"Name: z\nVersion: 3\n"),
        ];
        assert_eq!(all(anew), ["curl@8", "musl@1", "z@3"]);
    }
}
