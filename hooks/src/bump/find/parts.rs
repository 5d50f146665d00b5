//! An image in parts, as Helm's values have it: `repository` and `tag`, with or without `registry` and `digest`.

use super::Finder;
use crate::bump::document::{Node, NodeId};
use crate::bump::edit::Writer;

/// A mapping with more keys is no image in parts.
const KEYS_MAX: usize = 500;

/// Names of an image's parts beside its name.
struct Parts {
    /// Where the image's name stands.
    name: (NodeId, NodeId),
    tag: Option<(NodeId, NodeId)>,
    digest: Option<(NodeId, NodeId)>,
}

impl Finder<'_> {
    /// Moves tag and digest that stand beside the image's name.
    pub(super) fn look_at_parts(&mut self, map: NodeId) {
        let Node::Map { pairs, .. } = self.document.node(map) else { return };
        for &(key, value) in pairs.iter().filter(|_| pairs.len() <= KEYS_MAX) {
            let Some(parts) = self.parts(map, key, value) else { continue };
            self.write_parts(map, &parts);
            let nodes = [Some(parts.name), parts.tag, parts.digest];
            self.done.extend(nodes.into_iter().flatten().map(|(_, value)| value));
        }
    }

    /// The parts whose name is that value, if it is the image's and has parts.
    fn parts(&self, map: NodeId, key: NodeId, value: NodeId) -> Option<Parts> {
        let document = self.document;
        let name = document.key(key);
        let stem = stem(name)?;
        let path = document.scalar(value)?.value.as_str();
        // Before anything is looked for beside it.
        if path.is_empty() || !self.wanted.image.ends_with(path) {
            return None;
        }
        let registry = part(stem, "registry").into_iter().find_map(|key| document.text_of(map, &key));
        let joined =
            registry.filter(|r| !r.is_empty()).map(|r| format!("{}/{path}", r.trim_end_matches('/')));
        if path != self.wanted.image && joined.as_deref() != Some(self.wanted.image) {
            return None;
        }
        let find = |what| part(stem, what).into_iter().find_map(|key| document.value(map, &key));
        let (tag, digest) = (find("tag"), find("digest"));
        let is_repository = name.to_ascii_lowercase().ends_with("repository");
        let alone = tag.is_none() && digest.is_none();
        (!alone || is_repository || joined.is_some()).then_some(Parts { name: (key, value), tag, digest })
    }

    fn write_parts(&mut self, map: NodeId, parts: &Parts) {
        let document = self.document;
        let text = |part: Option<(NodeId, NodeId)>| part.and_then(|(_, value)| document.scalar(value));
        let digest = self.wanted.digest.to_string();
        let tag = text(parts.tag).map_or("", |tag| tag.value.as_str());
        let has = tag.split_once('@').map(|(_, has)| has);
        if text(parts.digest).is_some_and(|d| d.value == digest) || has == Some(digest.as_str()) {
            self.found.used = true;
            return;
        }
        if let Some((key, value)) = parts.digest {
            self.set(key, value, &digest);
        }
        let new =
            if has.is_some() { format!("{}@{digest}", self.wanted.tag) } else { self.wanted.tag.to_owned() };
        match parts.tag {
            Some((key, value)) => self.set(key, value, &new),
            None if parts.digest.is_some() => {}
            None => match Writer(document).insert(map, Some(parts.name), &[("tag", new.as_str())]) {
                Some(edit) => self.edit(edit),
                None => self.leave(document.end_of(parts.name.1), "no tag stands beside it"),
            },
        }
    }
}

/// What stands before `repository`, `image` or `name` in a key; `None` for other keys.
fn stem(key: &str) -> Option<&str> {
    if key == "name" || key == "imageName" {
        return Some("");
    }
    ["Repository", "repository", "Image", "image"].into_iter().find_map(|end| key.strip_suffix(end))
}

/// The keys of that part beside a key with that stem: the first that is there counts.
fn part(stem: &str, what: &str) -> Vec<String> {
    let stem = stem.trim_end_matches(['_', '-']);
    let capital: String =
        what.char_indices().map(|(i, c)| if i == 0 { c.to_ascii_uppercase() } else { c }).collect();
    match stem {
        "" => vec![what.to_owned(), format!("image{capital}")],
        stem => vec![
            format!("{stem}{capital}"),
            format!("{stem}Image{capital}"),
            format!("{stem}_{what}"),
            format!("{stem}-{what}"),
        ],
    }
}
