//! config.toml as a text: what is wrong with it is told with the file, the line and the column, before anything is started.

use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Deserializer, de};
use slipway_core::place::{Place, Wrong, with_what_was_meant};
use slipway_core::{Problem, ProblemKind};

/// The largest that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// A file, and what is in it.
pub(super) struct File<'a> {
    path: &'a Path,
    text: String,
}

impl<'a> File<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// One that cannot be read, is too large or is no text.
    pub(super) fn read(path: &'a Path) -> Result<Self, Problem> {
        let unreadable = |why: String| {
            let what = format!("The configuration {} cannot be read: {why}.", path.display());
            Problem::new(ProblemKind::Invalid, what, "Check the path and its permissions.")
        };
        let length = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
        if length > BYTES_MAX {
            return Err(unreadable(format!("it has {length} bytes, and {BYTES_MAX} are allowed")));
        }
        let bytes = std::fs::read(path).map_err(|e| unreadable(e.to_string()))?;
        String::from_utf8(bytes).map(|text| Self { path, text }).map_err(|e| {
            let place = Place::of_no_text(e.as_bytes()).unwrap_or(Place { line: 1, column: 1 });
            refused(path, place, "this is not UTF-8 text")
        })
    }

    /// What it says.
    ///
    /// # Errors
    /// What is no TOML, a key that is not known, a value of another kind.
    pub(super) fn parse<T: de::DeserializeOwned>(&self) -> Result<T, Problem> {
        toml::from_str(&self.text).map_err(|e| {
            let place = Place::of(&self.text, e.span().map_or(0, |span| span.start));
            refused(self.path, place, &with_what_was_meant(e.message()))
        })
    }

    /// The refusal of a value that was read.
    pub(super) fn refuse(&self, wrong: &Wrong) -> Problem {
        refused(self.path, Place::of(&self.text, wrong.offset(&self.text)), &wrong.what)
    }
}

fn refused(path: &Path, place: Place, what: &str) -> Problem {
    let end = if what.ends_with(['?', '.']) { "" } else { "." };
    let what = format!("{}:{place}: {what}{end}", path.display());
    Problem::new(ProblemKind::Invalid, what, "Mend the configuration and start again.")
}

/// An address to listen at.
pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| {
        de::Error::custom(format!(
            "{text:?} is no address with a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\""
        ))
    })
}

/// The same, where there may be none.
pub(super) fn some_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    address(from).map(Some)
}
