//! Makes a backup of a data folder: records and refs of one moment, everything that the refs lead to, and what lies beside.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use slipway_backup::{End, Head, Known, Meta, Name, Stamp, Writer};
use slipway_core::{BuildNumber, Problem, ProblemKind, RepoId};
use slipway_hooks::BuildLogs;
use slipway_repository::{HeldRepository, Hold, Repositories};
use slipway_store::{Copied, MasterKey, Store};

use crate::config::Config;
use crate::data::DataFolder;
use crate::rooms::Rooms;
use crate::supervisor::now;

/// How long the folder of a repository that is just being made is waited for.
const FOLDER_WAIT: Duration = Duration::from_millis(500);
/// Bytes that are written in one go.
const BUFFER_BYTES: usize = 256 << 10;

/// What a backup is made of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) logs: Arc<BuildLogs>,
    pub(crate) data: DataFolder,
    /// The settings' file.
    pub(crate) config: PathBuf,
}

/// What is asked for.
pub(crate) struct Wants {
    /// What the reader has already.
    pub(crate) known: Known,
    /// The server's keys, too.
    pub(crate) keys: bool,
}

impl Parts {
    /// Those of a running server.
    pub(crate) fn new(rooms: &Rooms, data: &DataFolder, config: &Config) -> Self {
        let Rooms { store, repositories, logs, .. } = rooms;
        Self {
            store: store.clone(),
            repositories: repositories.clone(),
            logs: logs.clone(),
            data: data.clone(),
            config: config.file.clone(),
        }
    }

    /// Those of a data folder whose server is stopped. Nobody else can open it meanwhile.
    pub(crate) fn of_stopped(data: DataFolder) -> Result<Self, Problem> {
        let key = MasterKey::load(&data.master_key())?;
        let store = Store::open(&data.db(), &key)?;
        let repositories = Arc::new(Repositories::open(&data.repos())?);
        let logs = Arc::new(BuildLogs::new(data.builds()));
        let config = data.root().join("config.toml");
        Ok(Self { store, repositories, logs, data, config })
    }

    /// Writes a backup. What fails is told to the reader in the stream, too.
    pub(crate) fn write(
        &self,
        wants: &Wants,
        out: &mut dyn Write,
        stop: &AtomicBool,
    ) -> Result<End, Problem> {
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        let head = Head::new(env!("CARGO_PKG_VERSION"), now().0, wants.keys);
        let mut making =
            Making { parts: self, wants, stop, writer: Writer::begin(out, &head, self.data.root())? };
        match making.all() {
            Ok(()) => making.writer.finish(),
            Err(problem) => {
                making.writer.fail(&problem);
                Err(problem)
            }
        }
    }
}

struct Making<'a, W: Write> {
    parts: &'a Parts,
    wants: &'a Wants,
    stop: &'a AtomicBool,
    writer: Writer<W>,
}

impl<W: Write> Making<'_, W> {
    fn all(&mut self) -> Result<(), Problem> {
        let hold = self.parts.repositories.hold()?;
        // The moment: nothing can be recorded while it comes, so no push that begins later is among the records, and none that has
        // ended before is not among the refs. One in between is recorded as intended, and settled at the next start.
        let mut copied = self.parts.store.copy(&mut || hold.freeze())?;
        self.records(&mut copied)?;
        self.settings()?;
        for repo in &copied.repos {
            self.go_on()?;
            self.repository(&hold, *repo)?;
            self.logs(*repo)?;
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), Problem> {
        if !self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let what = "The server stops; the backup is not made.";
        Err(Problem::new(
            ProblemKind::Cancelled,
            what,
            "Make it when the server runs: what has come is not sent again.",
        ))
    }

    fn records(&mut self, copied: &mut Copied) -> Result<(), Problem> {
        let meta = Meta { name: name(Name::RECORDS)?, size: copied.bytes, modified_s: 0 };
        let stream = copied.stream().map_err(|e| unreadable("The copy of the records", &e))?;
        self.writer.file(&meta, stream)
    }

    /// config.toml and, if they are wanted, the keys.
    fn settings(&mut self) -> Result<(), Problem> {
        match File::open(&self.parts.config) {
            Ok(file) => self.file(Name::CONFIG, file)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(unreadable("config.toml", &e)),
        }
        if !self.wants.keys {
            return Ok(());
        }
        let failed = |e: io::Error| unreadable("The folder of keys", &e);
        for entry in std::fs::read_dir(self.parts.data.keys()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = format!("keys/{}", entry.file_name().to_string_lossy());
            if Name::parse(&path).is_some() && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                self.file(&path, File::open(entry.path()).map_err(failed)?)?;
            }
        }
        Ok(())
    }

    fn repository(&mut self, hold: &Hold, id: RepoId) -> Result<(), Problem> {
        let folder = format!("repos/{id}.git");
        match self.held(hold, id) {
            Ok(Some(held)) => self.held_repository(&folder, &held),
            Ok(None) if self.parts.store.events(id, 1)?.is_empty() => Ok(()),
            Ok(None) => self.writer.trouble(&folder, "its folder is missing".to_owned(), true),
            Err(problem) => self.writer.trouble(&folder, problem.what, true),
        }
    }

    fn held(&self, hold: &Hold, id: RepoId) -> Result<Option<HeldRepository>, Problem> {
        match hold.take(id)? {
            // A new one is recorded before its folder is made.
            None => {
                std::thread::sleep(FOLDER_WAIT);
                Ok(hold.take(id)?)
            }
            held => Ok(held),
        }
    }

    fn held_repository(&mut self, folder: &str, held: &HeldRepository) -> Result<(), Problem> {
        for (path, why) in held.lost() {
            self.writer.trouble(&format!("{folder}/{path}"), why.clone(), true)?;
        }
        for (path, content) in held.small() {
            let path = format!("{folder}/{path}");
            let Some(name) = Name::parse(&path) else {
                self.writer.trouble(&path, "its name is not one that can be backed up".to_owned(), true)?;
                continue;
            };
            let meta = Meta { name, size: content.len() as u64, modified_s: 0 };
            self.writer.file(&meta, &mut content.as_slice())?;
        }
        for path in held.objects() {
            self.go_on()?;
            let name = format!("{folder}/{path}");
            match held.open(&path) {
                Ok(file) => self.file(&name, file)?,
                Err(e) => self.writer.trouble(&name, format!("it cannot be read: {e}"), true)?,
            }
        }
        Ok(())
    }

    fn logs(&mut self, repo: RepoId) -> Result<(), Problem> {
        let logs = match self.parts.logs.list(repo) {
            Ok(logs) => logs,
            Err(e) => {
                return self.writer.trouble(
                    &format!("builds/{repo}"),
                    format!("it cannot be read: {e}"),
                    true,
                );
            }
        };
        for number in logs {
            let path = format!("builds/{repo}/{number}.log");
            match self.parts.logs.file(repo, number) {
                Ok(Some(file)) => self.file(&path, file)?,
                Ok(None) => {}
                Err(e) => self.writer.trouble(&path, format!("it cannot be read: {e}"), true)?,
            }
            self.kept(repo, number)?;
        }
        Ok(())
    }

    /// What was kept of a build's test, what it is called last.
    fn kept(&mut self, repo: RepoId, number: BuildNumber) -> Result<(), Problem> {
        let folder = format!("builds/{repo}/{number}.files");
        let parts = match self.parts.logs.kept_parts(repo, number) {
            Ok(parts) => parts,
            Err(e) => return self.writer.trouble(&folder, format!("it cannot be read: {e}"), true),
        };
        for (name, place) in parts {
            let path = format!("{folder}/{name}");
            match File::open(place) {
                Ok(file) => self.file(&path, file)?,
                // Removed since it was listed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => self.writer.trouble(&path, format!("it cannot be read: {e}"), true)?,
            }
        }
        Ok(())
    }

    /// A file as long as it is now, unless the reader has it.
    fn file(&mut self, path: &str, mut file: File) -> Result<(), Problem> {
        let meta = || {
            let facts = file.metadata()?;
            let age = facts.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok::<_, io::Error>((facts.len(), age.as_secs()))
        };
        let name = name(path)?;
        let known = meta().and_then(|(size, modified_s)| {
            let stamp = Stamp::of(&name, size, modified_s, &file)?;
            Ok((Meta { name: name.clone(), size, modified_s }, stamp))
        });
        match known {
            Ok((meta, Some(stamp))) if self.wants.known.has(&stamp) => self.writer.keep(&meta, stamp),
            Ok((meta, _)) => self.writer.file(&meta, &mut file),
            Err(e) => self.writer.trouble(path, format!("it cannot be read: {e}"), true),
        }
    }
}

fn name(path: &str) -> Result<Name, Problem> {
    Name::parse(path).ok_or_else(|| {
        Problem::new(
            ProblemKind::Broken,
            format!("{path} is no name of a backup."),
            "This is a fault of the server; report it.",
        )
    })
}

fn unreadable(what: &str, error: &io::Error) -> Problem {
    Problem::new(ProblemKind::Broken, format!("{what} cannot be read: {error}."), "Check the server's disk.")
}
