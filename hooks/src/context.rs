//! The build context: a commit's folder, straight from the object store.
//!
//! No checkout and no copy of the whole: BuildKit is told what there is ([`index`]) and fetches what it lacks, other builders
//! get a tar stream ([`packed`]); either way one file at a time passes, by pieces. Attributes such as `export-ignore` do not
//! apply: a build context is not an archive. Knows no engine.

use std::io;
use std::sync::Arc;

use slipway_core::Oid;
use slipway_core::limits::Limits;
use slipway_repository::{Entry, Mode, Snapshot};

use crate::error::HookError;
use crate::ignore::Ignore;
use crate::limits::{IGNORE_BYTES_MAX, LFS_POINTER_BYTES_MAX};

pub(crate) mod dockerfile;
pub(crate) mod filter;
pub(crate) mod index;
pub(crate) mod packed;

/// The files of one commit, as far as a build context needs them.
pub(crate) trait Files: Send + Sync {
    /// Every entry below `path` in git's order, with its full path.
    fn walk(
        &self,
        path: &str,
        each: &mut dyn FnMut(&Entry) -> Result<bool, HookError>,
    ) -> Result<(), HookError>;
    /// The entry at `path`.
    fn entry(&self, path: &str) -> Result<Option<Entry>, HookError>;
    /// A folder's entries by the bytes of their names, which are the last components; `path` and `id` name the same folder.
    fn folder(&self, path: &str, id: &Oid) -> Result<Vec<Entry>, HookError>;
    /// A blob's size in bytes.
    fn size(&self, id: &Oid) -> Result<u64, HookError>;
    /// A blob's bytes, at most `max` of them.
    fn blob(&self, id: &Oid, max: u64) -> Result<Vec<u8>, HookError>;
    /// A blob's bytes, read piece by piece.
    fn content(&self, id: &Oid) -> Result<Box<dyn io::Read>, HookError>;
    /// Seconds since 1970 of the commit.
    fn committed_at(&self) -> Result<u64, HookError>;

    /// A file's bytes, if it is there, is a file, and is not larger than `max`.
    fn file(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, HookError> {
        match self.entry(path)? {
            Some(entry) if matches!(entry.mode, Mode::File | Mode::Executable) => {
                self.blob(&entry.id, max).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A commit of a repository.
pub(crate) struct CommitFiles {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) commit: Oid,
}

impl Files for CommitFiles {
    fn walk(
        &self,
        path: &str,
        each: &mut dyn FnMut(&Entry) -> Result<bool, HookError>,
    ) -> Result<(), HookError> {
        let mut failed = None;
        self.snapshot.walk_files(&self.commit, path, &mut |entry| match each(entry) {
            Ok(go_on) => Ok(go_on),
            Err(e) => {
                failed = Some(e);
                Ok(false)
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn entry(&self, path: &str) -> Result<Option<Entry>, HookError> {
        Ok(self.snapshot.entry(&self.commit, path)?)
    }

    fn folder(&self, _: &str, id: &Oid) -> Result<Vec<Entry>, HookError> {
        Ok(self.snapshot.listing(id)?)
    }

    fn size(&self, id: &Oid) -> Result<u64, HookError> {
        let found = self.snapshot.object_size(id)?;
        found.map(|(_, size)| size).ok_or_else(|| missing(id))
    }

    fn blob(&self, id: &Oid, max: u64) -> Result<Vec<u8>, HookError> {
        self.snapshot.object(id, max)?.map(|o| o.data).ok_or_else(|| missing(id))
    }

    fn content(&self, id: &Oid) -> Result<Box<dyn io::Read>, HookError> {
        let content = self.snapshot.reader(id)?;
        Ok(Box::new(content))
    }

    fn committed_at(&self) -> Result<u64, HookError> {
        let commit = self.snapshot.commit(&self.commit)?.ok_or_else(|| missing(&self.commit))?;
        Ok(u64::try_from(commit.committer.at).unwrap_or(0))
    }
}

fn missing(id: &Oid) -> HookError {
    HookError::Internal { what: "reading the commit", why: format!("the object {id} is missing") }
}

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct ContextPlan {
    /// `build.context`, cleaned: no slash at its ends, "" is the root.
    pub(crate) folder: String,
    /// `build.dockerfile`, cleaned, from the repository's root.
    pub(crate) dockerfile: String,
}

impl ContextPlan {
    /// Takes the paths of slipway.toml.
    pub(crate) fn new(folder: &str, dockerfile: &str) -> Self {
        Self { folder: clean(folder), dockerfile: clean(dockerfile) }
    }

    /// The Dockerfile's name in a tar: where it is, or, if it lies outside, a name that nothing else has.
    pub(crate) fn dockerfile_in_context(&self) -> String {
        self.inside(&self.dockerfile).map_or_else(|| ".slipway.Dockerfile".to_owned(), str::to_owned)
    }

    /// The Dockerfile's name in its folder.
    pub(crate) fn dockerfile_alone(&self) -> &str {
        self.dockerfile.rsplit('/').next().unwrap_or_default()
    }

    /// The path from the repository's root of what has that one within the context.
    pub(crate) fn outside(&self, path: &str) -> String {
        join(&self.folder, path)
    }

    /// Where the rules lie of what to leave out: the first of them that there is holds.
    pub(crate) fn ignore_files(&self) -> [String; 2] {
        [format!("{}.dockerignore", self.dockerfile), self.outside(".dockerignore")]
    }

    /// The path within the context, if it lies there.
    pub(crate) fn inside<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.folder.is_empty() {
            Some(path)
        } else {
            path.strip_prefix(self.folder.as_str())?.strip_prefix('/')
        }
    }
}

/// A path without `.`, empty components and slashes at its ends. (`..` was refused when slipway.toml was read.)
pub(crate) fn clean(path: &str) -> String {
    path.split('/').filter(|p| !p.is_empty() && *p != ".").collect::<Vec<_>>().join("/")
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Files of the context, links included.
    pub(crate) files: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Files that .dockerignore left out.
    pub(crate) ignored: usize,
    /// Files whose content the engine did not have.
    pub(crate) fetched: usize,
    /// The bytes of those.
    pub(crate) fetched_bytes: u64,
}

/// `<Dockerfile>.dockerignore` if there is one, else `.dockerignore` of the context.
pub(crate) fn read_ignore(files: &dyn Files, plan: &ContextPlan) -> Result<Ignore, HookError> {
    for path in plan.ignore_files() {
        if let Some(text) = files.file(&path, IGNORE_BYTES_MAX)? {
            return Ignore::parse(&path, &text);
        }
    }
    Ok(Ignore::default())
}

/// Refuses a file that is larger than the server's settings let files of a context be.
pub(crate) fn check_size(path: &str, size: u64, limits: &Limits) -> Result<(), HookError> {
    let most = limits.build_context_file_size_max;
    if size <= most {
        return Ok(());
    }
    Err(HookError::Context {
        path: path.to_owned(),
        why: format!("it has {} MiB and may have {}", size >> 20, most >> 20),
        cure: "Leave it out in .dockerignore and fetch it during the build.".into(),
    })
}

/// Refuses a file that only stands for another. The pointer format's own test: git-lfs/docs/spec.md.
pub(crate) fn check_no_pointer(path: &str, data: &[u8]) -> Result<(), HookError> {
    let is_pointer =
        data.len() <= LFS_POINTER_BYTES_MAX && data.starts_with(b"version https://git-lfs.github.com/spec/");
    if !is_pointer {
        return Ok(());
    }
    Err(HookError::Context {
        path: path.to_owned(),
        why: "it is a Git LFS pointer, and this server does not have its content".into(),
        cure: "Commit the file itself (git lfs migrate export), or leave it out in .dockerignore.".into(),
    })
}

/// `name` within the folder; "" is the root.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
pub(crate) mod tests;
