//! A commit's files as tar or tar.gz, written while they are read. Knows the tree and its attributes, not HTTP.
//!
//! The tar inside is byte for byte what `git archive --format=tar --prefix=…` writes, so the same commit always gives
//! the same bytes: owner root, times of the commit, a pax comment with its id. `export-ignore` is obeyed from the
//! .gitattributes of the commit itself; line-end conversion and `export-subst` are not carried out: files are
//! archived as stored. Files may have any size. Memory: a buffer, one parsed
//! tree per level.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use gix::attrs::search::{MetadataCollection, Outcome};
use gix::attrs::{Search, StateRef};
use gix::bstr::ByteSlice;
use slipway_core::Oid;

use super::commit::{Link, peel_tree};
use super::content::Content;
use super::entry::{Flow, Step, Walk};
use super::tree::Tree;
use super::{Mode, Objects, path};
use crate::limits::{ARCHIVE_LINK_BYTES_MAX, ARCHIVE_PIECE_BYTES, ATTRIBUTES_BYTES_MAX, BUFFER_BYTES};
use crate::{RepoError, Result, Snapshot};

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

/// An archive on its way, made piece by piece as it is asked for: nothing is at work, and little is held, while its reader
/// takes its time.
pub struct Archive {
    walk: Walk,
    writer: Writer,
}

impl Archive {
    /// The archive of the commit (or tree) `id`.
    pub(crate) fn new(
        objects: &dyn Objects,
        form: ArchiveForm,
        id: &Oid,
        extent: &Extent<'_>,
    ) -> Result<Self> {
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
        let plain = |path: &String| path::to_bytes(path.trim_end_matches('/')).into_owned();
        let mut writer = Writer {
            paths: extent.paths.iter().map(plain).collect(),
            tar: Ustar::new(Packed::new(form), time),
            file: None,
            ignored: Ignored::default(),
            prefix,
            pending: Vec::new(),
            ended: false,
        };
        if let Some(link) = &commit {
            writer.tar.comment(&link.id.to_string()).map_err(sent)?;
        }
        if !writer.prefix.is_empty() {
            let whole = writer.prefix.clone();
            writer.tar.member(&Member::folder(&whole, &root)).map_err(sent)?;
        }
        Ok(Self { walk: Walk::new(root, b""), writer })
    }

    /// The next bytes of the archive, which is of that snapshot; `None` at its end.
    ///
    /// # Errors
    /// What is wrong with the disk, or with an object.
    pub fn next_piece(&mut self, snapshot: &Snapshot) -> Result<Option<Vec<u8>>> {
        let writer = &mut self.writer;
        while !writer.ended && writer.tar.out().ready().len() < ARCHIVE_PIECE_BYTES {
            if writer.file.is_some() {
                writer.go_on()?;
            } else if !self.walk.step(snapshot, &mut |step| writer.step(snapshot, step))? {
                writer.tar.finish().map_err(sent)?;
                writer.tar.out().finish().map_err(sent)?;
                writer.ended = true;
            }
        }
        let piece = std::mem::take(writer.tar.out().ready());
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// What a tar is packed into.
enum Packed {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl Packed {
    fn new(form: ArchiveForm) -> Self {
        match form {
            ArchiveForm::Tar => Self::Plain(Vec::new()),
            ArchiveForm::TarGz => Self::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(6)))),
        }
    }

    /// The bytes that nobody took yet.
    fn ready(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(ready) => ready,
            Self::Gzip(gzip) => gzip.get_mut(),
        }
    }

    fn finish(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(gzip) => gzip.try_finish(),
        }
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(ready) => ready.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn sent(source: std::io::Error) -> RepoError {
    RepoError::NotTaken { source }
}

struct Writer {
    tar: Ustar<Packed>,
    /// The file whose content is being written.
    file: Option<Content>,
    ignored: Ignored,
    prefix: Vec<u8>,
    /// What is in it; all if empty.
    paths: Vec<Vec<u8>>,
    /// Folders entered, by path and id, and whether they are written: a folder is when something in it is.
    pending: Vec<(Vec<u8>, Oid, bool)>,
    ended: bool,
}

impl Writer {
    fn step(&mut self, snapshot: &Snapshot, step: Step<'_>) -> Result<Flow> {
        match step {
            Step::Enter(full, tree, id) => {
                if !full.is_empty() && (!self.leads_in(full) || self.ignored.matches(full, true)) {
                    return Ok(Flow::Skip);
                }
                self.ignored.enter(snapshot, full, tree)?;
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
                    self.file(snapshot, full, row.mode, &row.id)?;
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

    fn file(&mut self, snapshot: &Snapshot, path: &[u8], mode: Mode, id: &Oid) -> Result<()> {
        if matches!(mode, Mode::Submodule | Mode::Tree) {
            let full = self.full(path, b"/");
            return self.tar.member(&Member::folder(&full, id)).map_err(sent);
        }
        let full = self.full(path, b"");
        if mode == Mode::Link {
            let link = snapshot.find(id, ARCHIVE_LINK_BYTES_MAX)?.ok_or(RepoError::Missing { id: *id })?;
            return self.tar.member(&Member::link(&full, id, &link.data)).map_err(sent);
        }
        let content = snapshot.reader(id)?;
        let member = Member::file(&full, id, mode == Mode::Executable, content.size());
        self.tar.member(&member).map_err(sent)?;
        self.file = Some(content);
        Ok(())
    }

    /// Writes the next part of the open file.
    fn go_on(&mut self) -> Result<()> {
        let Some(content) = &mut self.file else { return Ok(()) };
        let mut part = [0; BUFFER_BYTES];
        let got = content.read(&mut part)?;
        if got > 0 {
            return self.tar.content(&part[..got]).map_err(sent);
        }
        self.file = None;
        self.tar.pad().map_err(sent)
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
