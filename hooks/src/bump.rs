//! The manifest bump: a pushed digest written into the manifests that use the image. Pure text edits, and their plan.
//!
//! Manifests are read as YAML, and only the values that move are written: comments, order, quotes and line ends stay. A target
//! is written as a whole or not at all: where something refers to the image and cannot be written, it is named, and nothing
//! changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use slipway_core::spec::FieldPath;
use slipway_core::{Digest, Oid, RepoName};
use slipway_repository::{Edit, Entry, Mode, Snapshot};

use self::document::Document;
use self::find::{Found, Wanted, find};
use crate::context::{CommitFiles, Files, clean};
use crate::error::{HookError, one_line};
use crate::limits::{
    BUMP_BYTES_MAX, BUMP_FILE_BYTES_MAX, BUMP_FILES_MAX, BUMP_PLACE_CHARS_MAX, BUMP_PLACES_MAX,
    BUMP_PLACES_TOLD_MAX,
};

mod document;
mod edit;
mod find;
mod message;
mod reference;
mod template;
#[cfg(test)]
mod tests;
mod unread;
pub use self::message::{message, promotion_message};

/// Where a digest shall be written.
#[derive(Clone, Debug)]
pub struct Place {
    /// The manifest repository's name, for messages.
    pub repo: RepoName,
    /// The commit to start from.
    pub commit: Oid,
    /// A file, or a folder (all of it).
    pub path: String,
    /// Which image references to move, tag and digest aside.
    pub image: String,
    /// Further fields to write.
    pub fields: Vec<FieldPath>,
    /// Fields that stay as they are.
    pub leave: Vec<FieldPath>,
}

/// What has to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Nothing where all have the digest already.
    pub edits: Vec<Edit>,
    /// What else names the image, one sentence each.
    pub notes: Vec<String>,
}

/// Finds what makes `place` use `image:tag@digest`. Blocking: reads the repository.
///
/// # Errors
/// [`HookError::NoManifest`], [`HookError::NothingToBump`], [`HookError::ReferencesLeft`], [`HookError::NoField`],
/// [`HookError::TooManyManifests`], or the repository's own.
pub fn plan(snapshot: &Arc<Snapshot>, place: &Place, tag: &str, digest: &Digest) -> Result<Plan, HookError> {
    plan_in(&CommitFiles { snapshot: snapshot.clone(), commit: place.commit }, place, tag, digest)
}

fn plan_in(files: &dyn Files, place: &Place, tag: &str, digest: &Digest) -> Result<Plan, HookError> {
    let path = clean(&place.path);
    let repo = place.repo.to_string();
    let wanted = Wanted { image: &place.image, tag, digest, fields: &place.fields, leave: &place.leave };
    let mut search = Search { files, place, wanted, count: 0, bytes: 0, all: All::default() };
    match files.entry(&path)? {
        Some(mut entry) if matches!(entry.mode, Mode::File | Mode::Executable) => {
            entry.name = path;
            search.look_at(&entry)?;
        }
        Some(entry) if entry.mode == Mode::Tree => search.look_below(&path)?,
        None if path.is_empty() => search.look_below("")?,
        _ => return Err(HookError::NoManifest { repo, path: place.path.clone() }),
    }
    search.all.judge(place)
}

/// What all files together have.
#[derive(Default)]
struct All {
    used: bool,
    edits: Vec<Edit>,
    left: Vec<String>,
    noted: Vec<String>,
    fields: BTreeSet<usize>,
}

impl All {
    fn judge(self, place: &Place) -> Result<Plan, HookError> {
        let (repo, path, image) = (place.repo.to_string(), place.path.clone(), place.image.clone());
        if !self.left.is_empty() {
            return Err(HookError::ReferencesLeft { repo, image, places: list(&self.left) });
        }
        if let Some(field) = (0..place.fields.len()).find(|field| !self.fields.contains(field)) {
            return Err(HookError::NoField { repo, path, field: place.fields[field].to_string() });
        }
        if !self.used {
            return Err(HookError::NothingToBump { repo, path, image, places: list(&self.noted) });
        }
        Ok(Plan { edits: self.edits, notes: self.noted })
    }
}

/// A few places, and how many more there are.
fn list(places: &[String]) -> String {
    let told = places.iter().take(BUMP_PLACES_TOLD_MAX).cloned().collect::<Vec<_>>().join("; ");
    match places.len().saturating_sub(BUMP_PLACES_TOLD_MAX) {
        0 => told,
        more if places.len() >= BUMP_PLACES_MAX => format!("{told}; and at least {more} more"),
        more => format!("{told}; and {more} more"),
    }
}

struct Search<'a> {
    files: &'a dyn Files,
    place: &'a Place,
    wanted: Wanted<'a>,
    count: usize,
    bytes: u64,
    all: All,
}

impl Search<'_> {
    fn look_below(&mut self, path: &str) -> Result<(), HookError> {
        let files = self.files;
        files.walk(path, &mut |entry| {
            let is_file = matches!(entry.mode, Mode::File | Mode::Executable);
            if is_file && is_manifest(&entry.name) {
                self.look_at(entry)?;
            }
            Ok(true)
        })
    }

    fn look_at(&mut self, entry: &Entry) -> Result<(), HookError> {
        let size = match entry.size {
            Some(size) => size,
            None => self.files.size(&entry.id)?,
        };
        self.count += 1;
        self.bytes = self.bytes.saturating_add(size);
        for (crossed, what, limit) in [
            (self.count > BUMP_FILES_MAX, "manifest files", BUMP_FILES_MAX as u64),
            (self.bytes > BUMP_BYTES_MAX, "bytes of manifests", BUMP_BYTES_MAX),
            (size > BUMP_FILE_BYTES_MAX, "bytes in one manifest", BUMP_FILE_BYTES_MAX),
        ] {
            if crossed {
                let (repo, path) = (self.place.repo.to_string(), self.place.path.clone());
                return Err(HookError::TooManyManifests { repo, path, what, limit });
            }
        }
        let bytes = self.files.blob(&entry.id, BUMP_FILE_BYTES_MAX)?;
        // What is no text uses nothing.
        let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(()) };
        let found = look(text, self.wanted, &entry.name);
        self.take(entry, text, found);
        Ok(())
    }

    fn take(&mut self, entry: &Entry, text: &str, found: Found) {
        let name = &entry.name;
        let file = told(name);
        let told = |place: find::Place| match place.path.as_str() {
            "" => format!("{file}:{}, {}", place.line, place.why),
            path => format!("{file}:{} {}, {}", place.line, told(path), place.why),
        };
        self.all.used |= found.used;
        let room = |places: &Vec<String>| BUMP_PLACES_MAX.saturating_sub(places.len());
        self.all.left.extend(found.left.into_iter().map(told).take(room(&self.all.left)));
        self.all.noted.extend(found.noted.into_iter().map(told).take(room(&self.all.noted)));
        self.all.fields.extend(found.fields);
        if !found.edits.is_empty() {
            let executable = entry.mode == Mode::Executable;
            let content = Some(edit::apply(text, found.edits).into_bytes());
            self.all.edits.push(Edit { path: name.clone(), content, executable });
        }
    }
}

/// A name from a repository, for people: on one line, with an end.
fn told(name: &str) -> String {
    let name: String = name.chars().take(BUMP_PLACE_CHARS_MAX + 1).collect();
    let name = one_line(&name);
    match name.char_indices().nth(BUMP_PLACE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name,
    }
}

/// Looks through one file.
fn look(text: &str, wanted: Wanted<'_>, file: &str) -> Found {
    // A registry and a path may stand apart, and slashes be escaped.
    let name = wanted.image.rsplit('/').next().unwrap_or(wanted.image);
    if !text.contains(name) && wanted.fields.is_empty() {
        return Found::default();
    }
    match Document::read(text) {
        Ok(document) => find(&document, wanted, file),
        Err(why) => {
            tracing::debug!(file, line = why.line, "no YAML: {}", why.why);
            unread::find(text, wanted.image)
        }
    }
}

fn is_manifest(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    name == "Kustomization" || ["yaml", "yml", "json"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}
