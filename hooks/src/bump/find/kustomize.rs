//! Entries of `images` in a kustomization, and in what has the same (Flux' Kustomization, Argo CD's Application).

use slipway_core::spec::Step;

use super::{Finder, Shape};
use crate::bump::document::NodeId;
use crate::bump::edit::Writer;

impl Finder<'_> {
    /// Moves an entry that is the image's. True where it is an entry: there is nothing more to look at in it.
    pub(super) fn look_at_entry(&mut self, map: NodeId, shape: Shape) -> bool {
        let document = self.document;
        let [.., Step::Key(list), Step::Item(_)] = self.steps.as_slice() else { return false };
        let root = self.steps.len() == 2;
        let has = |key: &str| document.value(map, key).is_some();
        let known = has("newName") || has("newTag") || (has("digest") && !has("tag"));
        if list != "images" || !has("name") || has("tag") || !(known || root || shape.kustomization) {
            return false;
        }
        let name = document.text_of(map, "newName").or_else(|| document.text_of(map, "name"));
        if name != Some(self.wanted.image) {
            return true;
        }
        if document.text_of(map, "digest") == Some(self.wanted.digest.as_str()) {
            self.found.used = true;
            return true;
        }
        let (tag, digest) = (self.wanted.tag.to_owned(), self.wanted.digest.to_string());
        let mut missing = Vec::new();
        for (key, new) in [("newTag", tag.as_str()), ("digest", digest.as_str())] {
            match document.value(map, key) {
                Some((key, value)) => self.set(key, value, new),
                None => missing.push((key, new)),
            }
        }
        if let Some(edit) = Writer(document).insert(map, None, &missing) {
            self.edit(edit);
        }
        true
    }
}
