//! What is put beside a pushed image in its registry, so that others can tell whose it is and what is in it.
//!
//! None of it decides what becomes of a build: a registry that takes no more than images keeps no image from its place. Who
//! wants it to decide says so in the binding of a cluster (`core/src/target.rs`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Build, Stage};
use crate::id::UnixMillis;
use crate::limits::ATTACHED_NOTES_MAX;
use crate::run::Next;

/// What is beside an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Its signature and the statement on where it comes from are there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed: bool,
    /// What lists its contents is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    /// Something is still to be put there once the manifests are written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owed: bool,
    /// What could not be put there, and why: a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What an image's list of contents has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// How many packages.
    pub packages: u64,
    /// Parts of the image were not read; the list says which.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl Attached {
    /// True where nothing is there and nothing is known; said by saying nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds a sentence on what could not be done.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if self.notes.len() < ATTACHED_NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

impl Build {
    /// The base images that its image was made of, and which each was, as far as it is known.
    pub fn bases(&self) -> Option<&BTreeMap<String, String>> {
        self.content.as_ref().and_then(|content| content.bases.as_ref()).or(self.bases.as_ref())
    }

    /// All that others wait for is done: on to what they do not wait for.
    pub(super) fn rest(&mut self, now: UnixMillis) -> Next<super::Effect> {
        if self.attached.owed {
            return self.enter(Stage::Contents, now);
        }
        self.succeed(now)
    }

    /// What is not there after the last stage is told, and is nobody's failure: the image is where it belongs.
    pub(super) fn left_out(&mut self, why: String, now: UnixMillis) -> Next<super::Effect> {
        self.attached.owed = false;
        self.attached.note(why);
        self.succeed(now)
    }

    /// The same where it was not let come to an end.
    pub(super) fn give_up(&mut self, now: UnixMillis) -> Next<super::Effect> {
        self.left_out("Listing the image's contents was broken off.".to_owned(), now)
    }
}
