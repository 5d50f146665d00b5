//! A commit's files as tar or tar.gz, written while they are read. Knows the tree and its attributes, not HTTP.
//!
//! The tar inside is byte for byte what `git archive --format=tar --prefix=…` writes, so the same commit always gives
//! the same bytes: owner root, times of the commit, a pax comment with its id. `export-ignore` is obeyed from the
//! .gitattributes of the commit itself; line-end conversion and `export-subst` are not carried out: files are
//! archived as stored. Memory: one file at a time, one parsed tree per level.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use gix::attrs::search::{MetadataCollection, Outcome};
use gix::attrs::{Search, StateRef};
use gix::bstr::ByteSlice;
use slipway_core::Oid;

use super::commit::{Link, peel_tree};
use super::entry::{Flow, Step, walk};
use super::tree::Tree;
use super::{Mode, Objects, path};
use crate::limits::{ARCHIVE_FILE_BYTES_MAX, ATTRIBUTES_BYTES_MAX};
use crate::{RepoError, Result};

mod ustar;
use ustar::{Member, Ustar};

const EXPORT_IGNORE: &str = "export-ignore";

/// What an archive is packed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveForm {
    /// Plain tar.
    Tar,
    /// tar, compressed with gzip.
    TarGz,
}

/// Which files an archive has, and where in it they lie.
pub(crate) struct Extent<'a> {
    /// The folder that everything goes into; "" for none.
    pub(crate) prefix: &'a str,
    /// Files and folders that are in it; all if empty.
    pub(crate) paths: &'a [String],
}

/// Writes the archive of the commit (or tree) `id`.
pub(crate) fn archive(
    objects: &dyn Objects,
    form: ArchiveForm,
    id: &Oid,
    extent: &Extent<'_>,
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> Result<()> {
    match form {
        ArchiveForm::Tar => {
            let out = write_tar(objects, id, extent, out, stop)?;
            out.flush().map_err(sent)
        }
        ArchiveForm::TarGz => {
            let out = GzEncoder::new(out, Compression::new(6));
            let mut out = write_tar(objects, id, extent, out, stop)?;
            out.try_finish().and_then(|()| out.get_mut().flush()).map_err(sent)
        }
    }
}

fn write_tar<W: Write>(
    objects: &dyn Objects,
    id: &Oid,
    extent: &Extent<'_>,
    out: W,
    stop: &AtomicBool,
) -> Result<W> {
    let prefix = extent.prefix;
    let root = peel_tree(objects, id)?.ok_or(RepoError::Missing { id: *id })?;
    let commit = Link::peel(objects, id)?;
    let parts = path::components(prefix).ok_or_else(|| RepoError::Invalid {
        what: format!("{prefix:?} cannot be the folder of an archive"),
    })?;
    let mut prefix = parts.join(&b'/');
    if !prefix.is_empty() {
        prefix.push(b'/');
    }
    let time = commit.as_ref().map_or(0, |link| u64::try_from(link.date).unwrap_or(0));
    let mut writer = Writer {
        paths: extent
            .paths
            .iter()
            .map(|path| path::to_bytes(path.trim_end_matches('/')).into_owned())
            .collect(),
        objects,
        stop,
        tar: Ustar::new(out, time),
        ignored: Ignored::default(),
        prefix,
        pending: Vec::new(),
    };
    if let Some(link) = &commit {
        writer.tar.comment(&link.id.to_string()).map_err(sent)?;
    }
    if !writer.prefix.is_empty() {
        let whole = writer.prefix.clone();
        writer.tar.member(&Member::folder(&whole, &root)).map_err(sent)?;
    }
    walk(objects, &root, b"", &mut |step| writer.step(step))?;
    writer.tar.finish().map_err(sent)
}

fn sent(source: std::io::Error) -> RepoError {
    RepoError::NotTaken { source }
}

struct Writer<'a, W: Write> {
    objects: &'a dyn Objects,
    stop: &'a AtomicBool,
    tar: Ustar<W>,
    ignored: Ignored,
    prefix: Vec<u8>,
    /// What is in it; all if empty.
    paths: Vec<Vec<u8>>,
    /// Folders entered, by path and id, and whether they are written: a folder is when something in it is.
    pending: Vec<(Vec<u8>, Oid, bool)>,
}

impl<W: Write> Writer<'_, W> {
    fn step(&mut self, step: Step<'_>) -> Result<Flow> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(RepoError::Stopped);
        }
        match step {
            Step::Enter(full, tree, id) => {
                if !full.is_empty() && (!self.leads_in(full) || self.ignored.matches(full, true)) {
                    return Ok(Flow::Skip);
                }
                self.ignored.enter(self.objects, full, tree)?;
                self.pending.push((full.to_vec(), *id, full.is_empty()));
            }
            Step::Leave => {
                self.ignored.leave();
                self.pending.pop();
            }
            Step::File(full, row) => {
                if !self.is_in(full) {
                    return Ok(Flow::Go);
                }
                // As in git, the folder of a file that is left out is there.
                self.folders()?;
                if !self.ignored.matches(full, row.mode == Mode::Submodule) {
                    self.file(full, row.mode, &row.id)?;
                }
            }
        }
        Ok(Flow::Go)
    }

    /// True if the path is one of those asked for, or below one.
    fn is_in(&self, path: &[u8]) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|asked| asked.is_empty() || below(path, asked))
    }

    /// True if something asked for is the folder, lies in it or has it in itself.
    fn leads_in(&self, folder: &[u8]) -> bool {
        self.is_in(folder) || self.paths.iter().any(|asked| below(asked, folder))
    }

    fn full(&self, path: &[u8], end: &[u8]) -> Vec<u8> {
        [&self.prefix, path, end].concat()
    }

    fn folders(&mut self) -> Result<()> {
        for at in 0..self.pending.len() {
            let Some((path, id, written)) = self.pending.get_mut(at) else { break };
            if std::mem::replace(written, true) {
                continue;
            }
            let (path, id) = (std::mem::take(path), *id);
            let full = self.full(&path, b"/");
            self.tar.member(&Member::folder(&full, &id)).map_err(sent)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &[u8], mode: Mode, id: &Oid) -> Result<()> {
        if matches!(mode, Mode::Submodule | Mode::Tree) {
            let full = self.full(path, b"/");
            return self.tar.member(&Member::folder(&full, id)).map_err(sent);
        }
        let object = self.objects.find(id, ARCHIVE_FILE_BYTES_MAX)?.ok_or(RepoError::Missing { id: *id })?;
        let full = self.full(path, b"");
        let member = if mode == Mode::Link {
            Member::link(&full, id, &object.data)
        } else {
            Member::file(&full, id, mode == Mode::Executable, object.data.len() as u64)
        };
        self.tar.member(&member).map_err(sent)?;
        if mode != Mode::Link {
            for piece in object.data.chunks(1 << 20) {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(RepoError::Stopped);
                }
                self.tar.content(piece).map_err(sent)?;
            }
            self.tar.pad().map_err(sent)?;
        }
        Ok(())
    }
}

fn below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The `export-ignore` attributes of the folders entered.
#[derive(Default)]
struct Ignored {
    search: Search,
    names: MetadataCollection,
    outcome: Outcome,
    /// Whether each folder entered has attributes of its own.
    open: Vec<bool>,
}

impl Ignored {
    fn enter(&mut self, objects: &dyn Objects, full: &[u8], tree: &Tree) -> Result<()> {
        let row = tree.rows.iter().find(|row| row.mode.is_regular() && tree.name(row) == b".gitattributes");
        let bytes = match row {
            Some(row) if objects.header(&row.id)?.is_some_and(|(_, size)| size <= ATTRIBUTES_BYTES_MAX) => {
                objects.find(&row.id, ATTRIBUTES_BYTES_MAX)?.map(|object| object.data)
            }
            _ => None,
        };
        let added = bytes.is_some_and(|bytes| {
            let source = Path::new(OsStr::from_bytes(full)).join(".gitattributes");
            let root = Some(Path::new(""));
            // Macros may be defined at the root only, as in git.
            self.search.add_patterns_buffer(&bytes, source, root, &mut self.names, full.is_empty()).is_ok()
        });
        if added {
            self.outcome.initialize_with_selection(&self.names, [EXPORT_IGNORE]);
        }
        self.open.push(added);
        Ok(())
    }

    fn leave(&mut self) {
        if self.open.pop() == Some(true) {
            self.search.pop_pattern_list();
        }
    }

    fn matches(&mut self, full: &[u8], is_folder: bool) -> bool {
        if self.search.num_pattern_lists() == 0 {
            return false;
        }
        self.outcome.reset();
        let case = gix::glob::pattern::Case::Sensitive;
        self.search.pattern_matching_relative_path(full.as_bstr(), case, Some(is_folder), &mut self.outcome);
        self.outcome.iter_selected().any(|found| found.assignment.state == StateRef::Set)
    }
}
