//! What of a manifest refers to an image, and the edits that move it. Pure.
//!
//! Four shapes are known. A *reference*: a value that is `NAME[:TAG][@DIGEST]`, or has one in it, whatever its key. An *entry of
//! kustomize's* `images`: `name`, `newName`, `newTag`, `digest`. *Parts*, as Helm's values have them: `repository` and `tag`, with
//! or without `registry` and `digest`. A *field* that slipway.toml names. What refers to the image and cannot be written is
//! named; what stands in a template is decided where the template is filled in.

use std::collections::BTreeSet;
use std::ops::Range;

use granit_parser::ScalarStyle;
use slipway_core::Digest;
use slipway_core::spec::{FieldPath, Step, written};

use super::document::{Document, Node, NodeId, Scalar};
use super::edit::{TextEdit, Writer};
use super::reference::{Reference, references, whole};
use crate::limits::BUMP_PLACES_MAX;

mod kustomize;
mod parts;

/// What shall be written, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Which image: a name without tag and digest.
    pub(super) image: &'a str,
    pub(super) tag: &'a str,
    pub(super) digest: &'a Digest,
    /// Further places, whatever stands there.
    pub(super) fields: &'a [FieldPath],
    /// Places that stay as they are.
    pub(super) leave: &'a [FieldPath],
}

impl Wanted<'_> {
    pub(super) fn reference(&self) -> String {
        format!("{}:{}@{}", self.image, self.tag, self.digest)
    }
}

/// A place that refers to the image and is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From 1.
    pub(super) line: usize,
    /// As `leave` and `fields` have it; empty where the text could not be read.
    pub(super) path: String,
    /// Why: a clause.
    pub(super) why: &'static str,
}

/// What was found in one file.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Something has the digest, or gets it.
    pub(super) used: bool,
    pub(super) edits: Vec<TextEdit>,
    /// What still has another image then.
    pub(super) left: Vec<Place>,
    /// What is decided elsewhere.
    pub(super) noted: Vec<Place>,
    /// Which of the fields were there.
    pub(super) fields: BTreeSet<usize>,
}

/// Looks through one file.
pub(super) fn find(document: &Document<'_>, wanted: Wanted<'_>, file: &str) -> Found {
    let mut finder =
        Finder { document, wanted, found: Found::default(), done: BTreeSet::new(), steps: Vec::new() };
    for &root in &document.roots {
        let kind = document.text_of(root, "kind").unwrap_or_default();
        let shape = Shape {
            kustomization: kind == "Kustomization" || is_kustomization(file),
            names_alone: kind == "ImageRepository",
        };
        finder.look_at(root, shape);
    }
    finder.note_templates();
    finder.found
}

fn is_kustomization(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name)
}

/// What kind of document it is.
#[derive(Clone, Copy)]
struct Shape {
    kustomization: bool,
    /// Where an image is a name that something else looks for tags of.
    names_alone: bool,
}

struct Finder<'d> {
    document: &'d Document<'d>,
    wanted: Wanted<'d>,
    found: Found,
    /// What an entry or its parts were found in is not looked at once more.
    done: BTreeSet<NodeId>,
    steps: Vec<Step>,
}

impl Finder<'_> {
    fn look_at(&mut self, id: NodeId, shape: Shape) {
        let document = self.document;
        match document.node(id) {
            Node::Map { pairs, .. } => {
                // Where a part shall stay as it is, the others are no image together.
                let whole = !pairs.iter().any(|&(key, _)| self.below(key, Self::stays));
                let entry = whole && self.look_at_entry(id, shape);
                if entry {
                    self.done.extend(pairs.iter().map(|(_, value)| *value));
                } else if whole {
                    self.look_at_parts(id);
                }
                for &(key, value) in pairs {
                    self.below(key, |finder| finder.look_at_value(key, value, shape));
                }
            }
            Node::List(items) => {
                for (index, &item) in items.iter().enumerate() {
                    self.steps.push(Step::Item(index));
                    self.look_at_value(id, item, shape);
                    self.steps.pop();
                }
            }
            Node::Scalar(_) | Node::Alias { .. } => self.look_at_value(id, id, shape),
        }
    }

    /// Does something one step below, at that key.
    fn below<T>(&mut self, key: NodeId, what: impl FnOnce(&mut Self) -> T) -> T {
        self.steps.push(Step::Key(self.document.key(key).to_owned()));
        let done = what(self);
        self.steps.pop();
        done
    }

    /// True for what slipway.toml says shall stay as it is.
    fn stays(&mut self) -> bool {
        self.wanted.leave.iter().any(|field| field.covers(&self.steps))
    }

    /// Looks at what stands below a key, or in a list; `before` is the key.
    fn look_at_value(&mut self, before: NodeId, id: NodeId, shape: Shape) {
        if self.stays() {
            return;
        }
        let field = self.is_field();
        self.found.fields.extend(field);
        if self.done.contains(&id) {
            return;
        }
        if field.is_some() {
            return self.write_field(before, id, shape);
        }
        match self.document.node(id) {
            Node::Scalar(scalar) => self.look_at_scalar(scalar, shape),
            Node::Alias { .. } => self.look_at_alias(id),
            Node::Map { .. } | Node::List(_) => self.look_at(id, shape),
        }
    }

    fn is_field(&self) -> Option<usize> {
        self.wanted.fields.iter().position(|field| field.leads_to(&self.steps))
    }

    /// A reference anywhere, tag and digest or not.
    fn look_at_scalar(&mut self, scalar: &Scalar, shape: Shape) {
        let image = self.wanted.image;
        if let Some(found) = whole(&scalar.value, image) {
            if !found.is_bare() {
                return self.write_scalar(scalar, &found);
            }
            return match (shape.names_alone, self.is_image()) {
                (true, _) => {}
                (false, true) => self.write_scalar(scalar, &found),
                (false, false) => self.note(scalar.span.start, "a name with neither tag nor digest"),
            };
        }
        let Some(inside) = self.plain_text(scalar) else {
            let why = match scalar.style {
                ScalarStyle::Literal | ScalarStyle::Folded => "it stands in a block of text",
                _ => "it is written with escapes or over several lines",
            };
            // Of a value that reads otherwise than it is written, only that it is there is known.
            for found in references(&scalar.value, image).iter().take(1) {
                if found.is_bare() {
                    self.note(scalar.span.start, why)
                } else {
                    self.leave(scalar.span.start, why)
                }
            }
            return;
        };
        self.write_inside(inside, false);
    }

    /// What an anchor names is written where the anchor is; a bare name becomes a reference by being used as an image.
    fn look_at_alias(&mut self, id: NodeId) {
        let Some(scalar) = self.document.scalar(id) else { return };
        if let Some(found) = whole(&scalar.value, self.wanted.image)
            && self.is_image()
        {
            self.write_scalar(scalar, &found);
        }
    }

    /// True for a value whose key says that it is an image, or a list of them.
    fn is_image(&self) -> bool {
        let key = self.steps.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.to_ascii_lowercase()),
            Step::Item(_) => None,
        });
        key.is_some_and(|key| key.ends_with("image") || key.ends_with("images"))
    }

    /// Moves a reference that is all of a value.
    fn write_scalar(&mut self, scalar: &Scalar, found: &Reference) {
        if found.digest.as_deref() == Some(self.wanted.digest.as_str()) {
            self.found.used = true;
        } else if self.document.expressions.touch(&scalar.span) {
            self.note(scalar.span.start, "a template fills it in");
        } else {
            let new = self.wanted.reference();
            self.write(scalar, &new);
        }
    }

    /// Writes a value that is there.
    fn write(&mut self, scalar: &Scalar, new: &str) {
        match Writer(self.document).value(scalar, new) {
            Some(edit) => self.edit(edit),
            None => self.leave(scalar.span.start, "it stands in a block of text"),
        }
    }

    fn edit(&mut self, edit: TextEdit) {
        self.found.used = true;
        if self.document.text.get(edit.at.clone()) != Some(edit.new.as_str()) {
            self.found.edits.push(edit);
        }
    }

    /// Moves the references with tag or digest in a stretch of the text; the bare ones too, where that is `asked`.
    fn write_inside(&mut self, inside: Range<usize>, asked: bool) {
        let Some(text) = self.document.text.get(inside.clone()) else { return };
        for found in references(text, self.wanted.image) {
            let at = inside.start + found.range.start..inside.start + found.range.end;
            if self.document.expressions.fill(self.document.text, &at) {
                self.note(at.start, "a template fills it in");
            } else if found.digest.as_deref() == Some(self.wanted.digest.as_str()) {
                self.found.used = true;
            } else if found.is_bare() && !asked {
                self.note(at.start, "a name with neither tag nor digest");
            } else {
                self.edit(TextEdit { at, new: self.wanted.reference() });
            }
        }
    }

    /// Where the words of a value stand that reads as it is written: without its quotes.
    fn plain_text(&self, scalar: &Scalar) -> Option<Range<usize>> {
        if matches!(scalar.style, ScalarStyle::Literal | ScalarStyle::Folded) {
            return None;
        }
        let quote =
            usize::from(matches!(scalar.style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted));
        let inside = scalar.span.start + quote..scalar.span.end.checked_sub(quote)?;
        let text = self.document.text.get(inside.clone())?;
        // A template is masked where it is read.
        (text == scalar.value || (!text.contains('\n') && self.document.expressions.touch(&inside)))
            .then_some(inside)
    }

    /// What slipway.toml names is an image reference, a tag or a digest, by what is there and by its key.
    fn write_field(&mut self, before: NodeId, id: NodeId, shape: Shape) {
        let at = self.document.end_of(id);
        let Some(scalar) = self.document.scalar(id) else {
            // An alias leads to what is looked at where it stands.
            let is_alias = matches!(self.document.node(id), Node::Alias { .. });
            return self.or_leave(at, "it does not name the image", |finder| {
                if !is_alias {
                    finder.look_at(id, shape);
                }
            });
        };
        if matches!(scalar.style, ScalarStyle::Literal | ScalarStyle::Folded) {
            let (at, inside) = (scalar.span.start, scalar.span.clone());
            return self
                .or_leave(at, "it does not name the image", |finder| finder.write_inside(inside, true));
        }
        let key = match self.steps.last() {
            Some(Step::Key(key)) => key.to_ascii_lowercase(),
            _ => String::new(),
        };
        let new = if key.ends_with("digest") || scalar.value.starts_with("sha256:") {
            self.wanted.digest.to_string()
        } else if key.ends_with("tag") || key == "version" {
            self.wanted.tag.to_owned()
        } else {
            self.wanted.reference()
        };
        let same = whole(&scalar.value, self.wanted.image)
            .is_some_and(|r| r.digest.as_deref() == Some(self.wanted.digest.as_str()));
        if same {
            self.found.used = true;
        } else {
            self.set(before, id, &new);
        }
    }

    /// Does something that finds a use of the image; where it does not, that is told.
    fn or_leave(&mut self, at: usize, why: &'static str, find: impl FnOnce(&mut Self)) {
        let used = std::mem::take(&mut self.found.used);
        find(self);
        if !self.found.used {
            self.leave(at, why);
        }
        self.found.used |= used;
    }

    /// Writes a value below a key, whatever is there now.
    fn set(&mut self, key: NodeId, id: NodeId, new: &str) {
        match Writer(self.document).set(key, id, new) {
            Some(edit) if self.document.expressions.touch(&edit.at) => {
                self.note(edit.at.start, "a template fills it in")
            }
            Some(edit) => self.edit(edit),
            None => self.leave(self.document.end_of(id), "it is no text on one line"),
        }
    }

    /// What an expression has in it is not seen where YAML is read.
    fn note_templates(&mut self) {
        let document = self.document;
        let before: BTreeSet<usize> = self.found.noted.iter().map(|place| place.line).collect();
        for range in document.expressions.masked(document.text) {
            if self.found.noted.len() >= BUMP_PLACES_MAX {
                return;
            }
            let line = document.line(range.start);
            if !references(&document.text[range], self.wanted.image).is_empty() && !before.contains(&line) {
                self.found.noted.push(Place { line, path: String::new(), why: "a template fills it in" });
            }
        }
    }

    fn place(&self, at: usize, why: &'static str) -> Place {
        Place { line: self.document.line(at), path: written(&self.steps), why }
    }

    fn leave(&mut self, at: usize, why: &'static str) {
        if self.found.left.len() < BUMP_PLACES_MAX {
            let place = self.place(at, why);
            self.found.left.push(place);
        }
    }

    fn note(&mut self, at: usize, why: &'static str) {
        if self.found.noted.len() < BUMP_PLACES_MAX {
            let place = self.place(at, why);
            self.found.noted.push(place);
        }
    }
}
