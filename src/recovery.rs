//! Backups of the records, and what is done with the data folder of a server that is stopped. What is damaged, and what may be
//! replaced, is the store's matter.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use slipway_core::{Problem, ProblemKind};
use slipway_store::{MasterKey, Restored, Store};

use crate::cli::{self, Cli, Out, Restore, Verb};
use crate::data::DataFolder;
use crate::supervisor::{blocking, now};
use crate::terminal;

/// Writes the backup of a running server to a file: whole and checked, or none.
pub(crate) async fn backup(to: &str, mut cli: Cli) -> Result<bool, Problem> {
    let path = PathBuf::from(to);
    let mut draft = Draft::create(&path)?;
    let client = crate::client(&cli.global);
    cli.verb = Verb::Backup { to: "-".to_owned() };
    cli::run(cli, cli::Session { client, files: &mut crate::LocalFiles, out: &mut draft }).await?;
    let records = blocking(move || draft.finish()).await?;
    terminal::print(format_args!(
        "{records} records are in {}. Repositories, build logs and keys are not: copy those folders, too.",
        path.display()
    ));
    Ok(true)
}

/// A file beside the one that is wanted, until it is whole.
struct Draft {
    path: PathBuf,
    draft: PathBuf,
    file: File,
}

impl Draft {
    fn create(path: &Path) -> Result<Self, Problem> {
        if path.exists() {
            let what = format!("{} is there already.", path.display());
            return Err(Problem::new(ProblemKind::Conflict, what, "Name a file that is not there yet."));
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(".part");
        let draft = PathBuf::from(draft);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
        let file = file.map_err(|e| unwritable(path, &e))?;
        Ok(Self { path: path.to_owned(), draft, file })
    }

    /// Syncs, reads it all once more, and gives it its name.
    fn finish(self) -> Result<u64, Problem> {
        self.file.sync_all().map_err(|e| unwritable(&self.path, &e))?;
        let written = File::open(&self.draft).map_err(|e| unwritable(&self.path, &e))?;
        let records = slipway_store::check_backup(&mut BufReader::new(written))?;
        std::fs::rename(&self.draft, &self.path).map_err(|e| unwritable(&self.path, &e))?;
        Ok(records)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It has its name, or is of no use.
        drop(std::fs::remove_file(&self.draft));
    }
}

#[async_trait::async_trait]
impl Out for Draft {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        // A command of one person: nothing else waits for this thread.
        self.file.write_all(bytes).map_err(|e| unwritable(&self.path, &e))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        ProblemKind::Broken,
        format!("{} cannot be written: {error}.", path.display()),
        "Check its folder, the permissions and the free space.",
    )
}

/// Puts a database where the data folder has none, or a damaged one.
pub(crate) async fn restore(restore: &Restore, data: &Path) -> Result<bool, Problem> {
    let folder = DataFolder::existing(data)?;
    let key_file = folder.master_key();
    let aside = format!("damaged-{}", now().0 / 1000);
    let (db, from) = (folder.db(), restore.from.clone());
    let restored = blocking(move || {
        // Records are of use with their key alone; better told before anything is changed than at the start.
        let key = MasterKey::load(&key_file)?;
        let Some(from) = from else { return slipway_store::salvage(&db, &key, &aside) };
        let restored = slipway_store::restore(&mut open(&from)?, &db, &aside)?;
        Store::open(&db, &key)?;
        Ok(restored)
    });
    terminal::print(told(&restored.await?, restore.salvage, data));
    Ok(true)
}

fn open(from: &str) -> Result<Box<dyn Read>, Problem> {
    if from == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = File::open(from).map_err(|e| {
        Problem::new(ProblemKind::Invalid, format!("{from} cannot be read: {e}."), "Check the path.")
    })?;
    Ok(Box::new(file))
}

fn told(restored: &Restored, salvaged: bool, data: &Path) -> String {
    let mut text = format!("{} records are back.", restored.records);
    if salvaged {
        text.push_str(
            " What could not be read is lost, and what was removed may be back: look through accounts, keys, grants, bindings and \
             who may read what before you rely on them. Tokens and sessions are not taken over; make new ones.",
        );
    }
    if let Some(made) = restored.copied {
        let minutes = made.elapsed().unwrap_or_default().as_secs() / 60;
        text.push_str(&format!(" They are from the server's own copy, {minutes} min old."));
    }
    if let Some(moved) = &restored.moved {
        text.push_str(&format!(" The damaged database is kept in {}.", moved.display()));
    }
    text.push_str(&format!(" Start the server: slipway serve --data {}", data.display()));
    text
}
