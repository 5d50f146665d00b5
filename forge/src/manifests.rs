//! The manifests of a commit: one reader for the push that wants in and for the deploy that follows it, so that what the
//! gate shows the cluster is what the deploy applies, or both refuse with the same sentence.
//!
//! Knows no YAML and no cluster: which files are manifests, and how many may be read at once, says whoever renders them.

use slipway_core::files::{Blob, Files, Other};
use slipway_core::source_ignore::{SOURCE_IGNORE, SOURCE_IGNORE_BYTES_MAX, SourceIgnore};
use slipway_core::{Oid, Problem, ProblemKind};

use crate::limits::{LINK_BYTES_MAX, LINKS_DEEP_MAX, LINKS_MAX};

mod links;

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

/// Every manifest at `path` of the commit or below it ("" and "." are all of it), in the order of git's index, what links lead
/// to last; `None` where nothing is at `path`. Links are followed within the commit; what `.sourceignore` (at the root and at
/// `path`) names is passed over. Blocking.
///
/// # Errors
/// `Invalid`, naming the file and the bound, where there is more than a deploy reads, and naming link or submodule, where what
/// is behind it cannot be had: what is not read would count as deleted. `Broken` where something cannot be read.
pub fn read(
    files: &dyn Files,
    commit: &Oid,
    path: &str,
    bounds: &Bounds,
) -> Result<Option<Vec<ManifestFile>>, Problem> {
    let mut reader =
        Reader { files, commit, bounds, ignored: SourceIgnore::default(), found: Vec::new(), bytes: 0 };
    reader.read_ignored("")?;
    if !is_root(path) {
        reader.read_ignored(path)?;
    }
    let there = reader.folder(path, None, 0)?;
    Ok(there.then_some(reader.found))
}

/// What was read so far of one commit.
struct Reader<'a> {
    files: &'a dyn Files,
    commit: &'a Oid,
    bounds: &'a Bounds,
    ignored: SourceIgnore,
    found: Vec<ManifestFile>,
    bytes: u64,
}

fn is_root(path: &str) -> bool {
    matches!(path.trim_matches('/'), "" | ".")
}

impl Reader<'_> {
    fn read_ignored(&mut self, folder: &str) -> Result<(), Problem> {
        let folder = if is_root(folder) { "" } else { folder.trim_matches('/') };
        let path =
            if folder.is_empty() { SOURCE_IGNORE.to_owned() } else { format!("{folder}/{SOURCE_IGNORE}") };
        let mut id = None;
        self.files.files_at(self.commit, &path, &mut |file, found| {
            id = (file == path).then_some(*found);
            Ok(false)
        })?;
        let Some(id) = id else { return Ok(()) };
        let wrong = |why: String| {
            Problem::new(
                ProblemKind::Invalid,
                format!("{path} cannot be read: {why}."),
                "Write it as a .gitignore.",
            )
        };
        match self.files.blob(&id, SOURCE_IGNORE_BYTES_MAX)? {
            Blob::Whole(text) => self.ignored.add(folder, &String::from_utf8_lossy(&text)).map_err(wrong),
            Blob::Over(has) => {
                Err(wrong(format!("it has {has} bytes, {SOURCE_IGNORE_BYTES_MAX} are allowed")))
            }
        }
    }

    /// Reads a file, or a folder with all that is in it; as if it lay at `shown`, where a link there leads to it.
    fn folder(&mut self, path: &str, shown: Option<&str>, depth: usize) -> Result<bool, Problem> {
        let (files, commit) = (self.files, self.commit);
        let there =
            files.files_at(commit, path, &mut |file, id| self.take(&name_of(file, path, shown), id))?;
        let mut others = Vec::new();
        files.others_at(commit, path, &mut |at, what, id| {
            others.push((at.to_owned(), what, *id));
            Ok(others.len() <= LINKS_MAX)
        })?;
        if others.len() > LINKS_MAX {
            return Err(over(format!("There are more than {LINKS_MAX} links and submodules in {path:?}")));
        }
        for (at, what, id) in others {
            let name = name_of(&at, path, shown);
            // Hidden is what manifests are hidden by.
            if !(self.bounds.is_manifest)(&format!("{name}/x.yaml")) || self.ignored.ignores(&name) {
                continue;
            }
            match what {
                Other::Submodule => {
                    return Err(unreadable(&name, "is a submodule, whose files are another repository's"));
                }
                Other::Link => self.link(&at, &name, &id, depth)?,
            }
        }
        Ok(there)
    }

    fn link(&mut self, at: &str, name: &str, id: &Oid, depth: usize) -> Result<(), Problem> {
        // Nobody misses a link that is no manifest and can be no folder of them.
        let file = name.rsplit('/').next().unwrap_or(name);
        let is_missed = (self.bounds.is_manifest)(name) || !file.contains('.');
        let miss = |why: &str| if is_missed { Err(unreadable(name, why)) } else { Ok(()) };
        let target = match self.files.blob(id, LINK_BYTES_MAX)? {
            Blob::Whole(target) => String::from_utf8_lossy(&target).into_owned(),
            Blob::Over(_) => return miss("is a link with too long a target"),
        };
        let Some(to) = links::resolve(at, &target) else {
            return miss(&format!("links to {target:?}, which is not in this repository"));
        };
        if depth >= LINKS_DEEP_MAX {
            return Err(unreadable(name, "is a link that leads in a circle, or through too many others"));
        }
        if self.folder(&to, Some(name), depth + 1)? {
            Ok(())
        } else {
            miss(&format!("links to {to:?}, which is not there"))
        }
    }

    fn take(&mut self, file: &str, id: &Oid) -> Result<bool, Problem> {
        let bounds = self.bounds;
        if !(bounds.is_manifest)(file) || self.ignored.ignores(file) {
            return Ok(true);
        }
        if self.found.len() >= bounds.files_max {
            return Err(over(format!(
                "{file} is manifest {} of this commit; one deploy reads {}",
                self.found.len() + 1,
                bounds.files_max
            )));
        }
        let content = match self.files.blob(id, bounds.file_bytes_max)? {
            Blob::Whole(content) => content,
            Blob::Over(has) => {
                let may = bounds.file_bytes_max;
                return Err(over(format!("{file} has {has} bytes; a manifest may have {may}")));
            }
        };
        self.bytes = self.bytes.saturating_add(content.len() as u64);
        if self.bytes > bounds.bytes_max {
            let (bytes, may) = (self.bytes, bounds.bytes_max);
            return Err(over(format!(
                "With {file} the manifests have {bytes} bytes; one deploy reads {may}"
            )));
        }
        self.found.push(ManifestFile { path: file.to_owned(), bytes: content });
        Ok(true)
    }
}

/// The name of what lies at `at` below `path`, as if that were `shown`.
fn name_of(at: &str, path: &str, shown: Option<&str>) -> String {
    let Some(shown) = shown else { return at.to_owned() };
    let rest = at.strip_prefix(path).unwrap_or(at).trim_start_matches('/');
    if rest.is_empty() { shown.to_owned() } else { format!("{shown}/{rest}") }
}

fn unreadable(name: &str, why: &str) -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        format!("{name} {why}."),
        "Commit the files themselves, move it out of the bound folder, or name it in .sourceignore.",
    )
}

fn over(what: String) -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        format!("{what}."),
        "Make the file smaller or move it out of the bound folder, or bind a smaller folder with --path.",
    )
}

/// What is told where nothing is at the bound path, and nothing was applied before.
pub fn nothing_at(commit: &Oid, path: &str) -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        format!("There is no {path:?} in commit {}, where the manifests are bound to be.", commit.short()),
        "Push it, or bind another folder with --path.",
    )
}

#[cfg(test)]
mod tests;
