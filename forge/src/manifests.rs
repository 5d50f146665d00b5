//! The manifests of a commit: one reader for the push that wants in and for the deploy that follows it, so that what the
//! gate shows the cluster is what the deploy applies, or both refuse with the same sentence.
//!
//! Knows no YAML and no cluster: which files are manifests, and how many may be read at once, says whoever renders them.

use slipway_core::files::{Blob, Files};
use slipway_core::{Oid, Problem, ProblemKind};

/// A file that may hold manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its full path.
    pub path: String,
    /// All of its content.
    pub bytes: Vec<u8>,
}

/// Which files are manifests, and what of them is read at most. Beyond a bound nothing is read, and the file is named.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// True for the paths that are manifests.
    pub is_manifest: fn(&str) -> bool,
    /// Most files.
    pub files_max: usize,
    /// Largest file, in bytes.
    pub file_bytes_max: u64,
    /// All of them together, in bytes.
    pub bytes_max: u64,
}

/// Every manifest at `path` of the commit or below it ("" and "." are all of it), in the order of git's index. Blocking.
///
/// # Errors
/// `Invalid`, naming the file and the bound, where there is more than a deploy reads, and where nothing is at `path`;
/// `Broken` where something cannot be read.
pub fn read(
    files: &dyn Files,
    commit: &Oid,
    path: &str,
    bounds: &Bounds,
) -> Result<Vec<ManifestFile>, Problem> {
    let mut found: Vec<ManifestFile> = Vec::new();
    let mut bytes = 0u64;
    let there = files.files_at(commit, path, &mut |file, id| {
        if !(bounds.is_manifest)(file) {
            return Ok(true);
        }
        if found.len() >= bounds.files_max {
            return Err(over(format!(
                "{file} is manifest {} of this commit; one deploy reads {}",
                found.len() + 1,
                bounds.files_max
            )));
        }
        let content = match files.blob(id, bounds.file_bytes_max)? {
            Blob::Whole(content) => content,
            Blob::Over(has) => {
                let may = bounds.file_bytes_max;
                return Err(over(format!("{file} has {has} bytes; a manifest may have {may}")));
            }
        };
        bytes = bytes.saturating_add(content.len() as u64);
        if bytes > bounds.bytes_max {
            let may = bounds.bytes_max;
            return Err(over(format!(
                "With {file} the manifests have {bytes} bytes; one deploy reads {may}"
            )));
        }
        found.push(ManifestFile { path: file.to_owned(), bytes: content });
        Ok(true)
    })?;
    if there { Ok(found) } else { Err(nothing_at(commit, path)) }
}

fn over(what: String) -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        format!("{what}."),
        "Make the file smaller or move it out of the bound folder, or bind a smaller folder with --path.",
    )
}

fn nothing_at(commit: &Oid, path: &str) -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        format!("There is no {path:?} in commit {}, where the manifests are bound to be.", commit.short()),
        "Push it, or bind another folder with --path.",
    )
}

#[cfg(test)]
mod tests;
