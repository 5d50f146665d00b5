//! Puts a backup back: into a data folder that is new or empty, all of it or nothing.
//!
//! Everything is written below `DATA/restoring` and made durable; then, marked as ready, each part is moved to its place, the
//! database last. A server does not start where that folder is. Cut off before the mark, the next restore begins anew; after it,
//! the next one goes on with the moves.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use slipway_core::{Problem, ProblemKind};

use crate::disk::{self, PourError, pour};
use crate::file::Nothing;
use crate::folder::time_of;
use crate::limits::HEAD_BYTES_MAX;
use crate::name::Name;
use crate::reader::{Head, Meta, Sink};
use crate::refusal::{damaged, unreadable, unwritable};
use crate::source::Source;
use crate::trouble::Trouble;

/// The folder of a restore that has not ended.
const DRAFT: &str = "restoring";
/// What is moved, in this order.
const PARTS: [&str; 5] = ["repos", "builds", "keys", "config.toml", "db"];
/// What git wants to see in a repository, however empty.
const OF_REPOSITORIES: [&str; 5] = ["objects/info", "objects/pack", "refs/heads", "refs/tags", "slipway"];

/// A data folder that is to be filled.
#[derive(Debug)]
pub struct Target {
    root: PathBuf,
    _lock: File,
}

/// What was put back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The moment that the data folder is as of, in words; `None` where an earlier restore was finished.
    pub time: Option<String>,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was not in the backup, or damaged there.
    pub troubles: Vec<Trouble>,
    /// How long it took.
    pub took: Duration,
}

impl Target {
    /// Takes a data folder; makes it where there is none.
    ///
    /// # Errors
    /// One with anything in it, or that somebody restores into.
    pub fn take(root: &Path) -> Result<Self, Problem> {
        disk::make(root)?;
        let root = root.canonicalize().map_err(unreadable(root))?;
        let draft = root.join(DRAFT);
        let is_ready = draft.join("ready").exists();
        for entry in fs::read_dir(&root).map_err(unreadable(&root))? {
            let name = entry.map_err(unreadable(&root))?.file_name();
            let is_part = is_ready && PARTS.iter().any(|part| name == *part);
            if name != DRAFT && name != "lost+found" && !is_part {
                return Err(in_use(&root, &name.to_string_lossy()));
            }
        }
        disk::make(&draft)?;
        let path = draft.join("lock");
        let lock = disk::lock_file(&path)?;
        lock.try_lock().map_err(|_| {
            let what = format!("Another restore into {} is under way.", root.display());
            Problem::new(ProblemKind::Busy, what, "Wait for it.")
        })?;
        Ok(Self { root, _lock: lock })
    }

    /// True if somebody began to restore into that data folder and has not ended.
    pub fn is_begun(root: &Path) -> bool {
        root.join(DRAFT).exists()
    }

    /// Puts the backup there. `database` makes one of the records in a file, in a folder of that name, with the keys in another: all
    /// three are told to it in this order.
    ///
    /// # Errors
    /// What is wrong with the backup, the keys or the disk. Then the folder is as empty as it was.
    pub fn restore(
        self,
        source: &mut Source,
        keys: Option<&Path>,
        database: impl FnOnce(&Path, &Path, &Path) -> Result<(), Problem>,
    ) -> Result<Restored, Problem> {
        let begun = Instant::now();
        let mut restored =
            Restored { time: None, files: 0, bytes: 0, troubles: Vec::new(), took: Duration::ZERO };
        if !self.draft("ready").exists()
            && let Err(problem) = self.fill(source, keys, database, &mut restored)
        {
            // Nothing of it is of use; the folder is as it was.
            drop(disk::remove_all(&self.root.join(DRAFT)));
            return Err(problem);
        }
        self.place()?;
        restored.took = begun.elapsed();
        Ok(restored)
    }

    fn fill(
        &self,
        source: &mut Source,
        keys: Option<&Path>,
        database: impl FnOnce(&Path, &Path, &Path) -> Result<(), Problem>,
        restored: &mut Restored,
    ) -> Result<(), Problem> {
        let data = self.draft("data");
        disk::remove_all(&data)?;
        for part in ["repos", "builds", "keys"] {
            disk::make(&data.join(part))?;
        }
        if source.can_be_read_again() {
            // All of it is looked at before anything is written.
            let summary = source.each(&mut Nothing)?;
            need_keys(&summary.head, keys)?;
            disk::need_room(&self.root, summary.read.bytes.saturating_add(summary.read.bytes / 16))?;
        }
        let mut filling = Filling { data: &data, records: self.draft("records"), keys, made: HashSet::new() };
        disk::remove(&filling.records)?;
        let summary = source.each(&mut filling)?;
        let records = filling.records;
        for trouble in summary.troubles.told.iter().filter(|trouble| trouble.left_out) {
            if let Some(name) = Name::parse(&trouble.what) {
                disk::remove(&data.join(name.as_str()))?;
            }
        }
        if let Some(keys) = keys {
            copy_keys(keys, &data.join("keys"))?;
        }
        if !records.exists() {
            return Err(damaged("it has no records"));
        }
        database(&records, &data.join("db"), &data.join("keys"))?;
        *restored = Restored {
            time: Some(time_of(summary.head.at)),
            files: summary.read.files,
            bytes: summary.read.bytes,
            troubles: summary.troubles.told,
            took: Duration::ZERO,
        };
        disk::sync_file_system(&self.root)?;
        let ready = self.draft("ready");
        disk::create_anew(&ready)?.sync_all().map_err(unwritable(&ready))?;
        disk::sync(&self.root.join(DRAFT))
    }

    /// Moves every part to its place.
    fn place(&self) -> Result<(), Problem> {
        for part in PARTS {
            let from = self.draft("data").join(part);
            if from.exists() {
                disk::put(&from, &self.root.join(part))?;
            }
        }
        disk::sync(&self.root)?;
        disk::remove_all(&self.root.join(DRAFT))?;
        disk::sync(&self.root)
    }

    fn draft(&self, name: &str) -> PathBuf {
        self.root.join(DRAFT).join(name)
    }
}

/// Writes a backup's files below a folder.
struct Filling<'a> {
    data: &'a Path,
    records: PathBuf,
    keys: Option<&'a Path>,
    /// Folders that are there.
    made: HashSet<PathBuf>,
}

impl Filling<'_> {
    fn make(&mut self, folder: PathBuf) -> Result<(), Problem> {
        if !self.made.contains(&folder) {
            disk::make(&folder)?;
            self.made.insert(folder);
        }
        Ok(())
    }

    /// Makes the folders that a file lies in.
    fn prepare(&mut self, name: &Name, path: &Path) -> Result<(), Problem> {
        if let Some((repository, _)) =
            name.as_str().strip_prefix("repos/").and_then(|rest| rest.split_once('/'))
        {
            let repository = self.data.join("repos").join(repository);
            for folder in OF_REPOSITORIES {
                self.make(repository.join(folder))?;
            }
        }
        path.parent().map_or(Ok(()), |above| self.make(above.to_owned()))
    }
}

impl Sink for Filling<'_> {
    fn begin(&mut self, head: &Head) -> Result<(), Problem> {
        need_keys(head, self.keys)
    }

    fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> Result<(), Problem> {
        let path = if meta.name.as_str() == Name::RECORDS {
            self.records.clone()
        } else {
            self.data.join(meta.name.as_str())
        };
        if meta.name.is_key() && self.keys.is_some() {
            // Those that are named count.
            return Ok(());
        }
        self.prepare(&meta.name, &path)?;
        let mut file = disk::create(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => damaged(format_args!("it has {} twice", meta.name)),
            _ => unwritable(&path)(e),
        })?;
        let take = &mut |bytes: &[u8]| file.write_all(bytes).map_err(unwritable(&path));
        match pour(content, take) {
            Ok(()) => {}
            Err(PourError::To(problem)) => return Err(problem),
            Err(PourError::From(e)) => return Err(unreadable(Path::new("the backup"))(e)),
        }
        if meta.name.is_object() {
            // As git has them.
            file.set_permissions(fs::Permissions::from_mode(0o444)).map_err(unwritable(&path))?;
        }
        if let Some(at) =
            UNIX_EPOCH.checked_add(Duration::from_secs(meta.modified_s)).filter(|_| meta.modified_s > 0)
        {
            // Only for the next backup to know it by.
            drop(file.set_modified(at));
        }
        Ok(())
    }
}

fn need_keys(head: &Head, keys: Option<&Path>) -> Result<(), Problem> {
    if head.keys || keys.is_some() {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::Invalid,
        "The backup was made without the server's keys, and its records can be read with their master key alone.",
        "Name the folder of the keys with --keys DIR: master.key, and the host keys, without which clients are warned of another \
         server. Without the master key the repositories alone are of use: unpack them with tar.",
    ))
}

/// Copies the keys of a server.
fn copy_keys(from: &Path, to: &Path) -> Result<(), Problem> {
    let mut is_there = false;
    for entry in fs::read_dir(from).map_err(unreadable(from))? {
        let entry = entry.map_err(unreadable(from))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(_) = Name::parse(&format!("keys/{name}")) else { continue };
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let mut content = Vec::new();
        let file = disk::open_plain(&entry.path())?;
        file.take(HEAD_BYTES_MAX).read_to_end(&mut content).map_err(unreadable(&entry.path()))?;
        let path = to.join(&name);
        disk::create_anew(&path)?.write_all(&content).map_err(unwritable(&path))?;
        is_there |= name == "master.key";
    }
    if is_there {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::Invalid,
        format!("There is no master.key in {}.", from.display()),
        "Name the folder with the keys of the server that was backed up.",
    ))
}

fn in_use(root: &Path, found: &str) -> Problem {
    Problem::new(
        ProblemKind::Conflict,
        format!("{} is not empty: it has {found}.", root.display()),
        "Name a new or empty folder with --data. If only the database there is damaged or missing, bring back the records alone with \
         --records.",
    )
}
