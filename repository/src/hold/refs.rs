//! The refs of a repository in the form of git's own files, small ones that are kept in memory: `HEAD`, `packed-refs` for all
//! that name an object, a file each for those that name another ref, and where a shallow history ends.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use slipway_core::RefName;

use crate::boundary;
use crate::error::{RepoError, Result};
use crate::refs::{RawRefs, Value};

/// The refs at one moment.
pub(super) struct HeldRefs {
    /// Names within the repository's folder, and what is in them.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// Refs that could not be read, and why.
    pub(super) lost: Vec<(RefName, String)>,
}

impl HeldRefs {
    /// Reads them; whoever calls sees to it that nobody moves one meanwhile.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let raw = RawRefs::read(root)?;
        let mut files = Vec::new();
        if raw.lost.iter().all(|(name, _)| name.as_str() != "HEAD") {
            files.push(("HEAD".to_owned(), said(&raw.head).into_bytes()));
        }
        let mut packed = "# pack-refs with: sorted \n".to_owned();
        for (name, value) in &raw.refs {
            match value {
                // Writing to a String cannot fail.
                Value::Direct(id, peeled) => {
                    let _ = writeln!(packed, "{id} {name}");
                    if let Some(Some(peeled)) = peeled {
                        let _ = writeln!(packed, "^{peeled}");
                    }
                }
                Value::Symbolic(_) => files.push((name.to_string(), said(value).into_bytes())),
            }
        }
        files.push(("packed-refs".to_owned(), packed.into_bytes()));
        let path = boundary::path_of(root);
        match fs::read(&path) {
            Ok(text) => files.push(("shallow".to_owned(), text)),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(RepoError::io("read", &path)(e)),
        }
        Ok(Self { files, lost: raw.lost })
    }

    /// About how much memory they take.
    pub(super) fn bytes(&self) -> usize {
        self.files.iter().map(|(name, text)| name.len() + text.len() + 48).sum()
    }
}

/// The text of a ref's own file.
fn said(value: &Value) -> String {
    match value {
        Value::Direct(id, _) => format!("{id}\n"),
        Value::Symbolic(name) => format!("ref: {name}\n"),
    }
}
