//! Backups of the records alone, and the way back into a data folder, of records or of everything. What is damaged, and what may be
//! replaced, is the store's matter.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use slipway_backup::{Source, Target};
use slipway_core::{Problem, ProblemKind};
use slipway_store::{MasterKey, Restored, Store};

use crate::backup;
use crate::backup::command::{capital, size};
use crate::cli::{self, Backup, Cli, Global, Out, Restore, Verb};
use crate::data::DataFolder;
use crate::supervisor::{blocking, now};
use crate::terminal;

/// Writes the records of a running server to a file: whole and checked, or none.
pub(crate) async fn write_records(backup: &Backup, global: &Global) -> Result<bool, Problem> {
    let path = PathBuf::from(backup.to.as_deref().unwrap_or_default());
    let mut draft = Draft::create(&path)?;
    let to_output = Backup { to: Some("-".to_owned()), ..backup.clone() };
    let cli = Cli { global: global.clone(), verb: Verb::Backup(to_output) };
    let client = crate::client(global);
    cli::run(cli, cli::Session { client, files: &mut crate::LocalFiles, out: &mut draft }).await?;
    let records = blocking(move || draft.finish()).await?;
    terminal::print(format_args!(
        "{records} records are in {}. Repositories, build logs and keys are not.",
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

/// Brings back what is named: everything, into a new data folder, or records, where a data folder has no database or a damaged one.
pub(crate) async fn restore(restore: &Restore, data: &Path) -> Result<bool, Problem> {
    let (restore, data) = (restore.clone(), data.to_owned());
    let told = blocking(move || {
        let Some(from) = &restore.from else { return records(None, &data) };
        match open(from, &restore)? {
            Found::Records(mut input) => records(Some(&mut *input), &data),
            Found::Everything(mut source) if restore.records => {
                let folder = DataFolder::existing(&data)?;
                let mut copy = draft(&folder)?;
                source.records(&mut copy)?;
                copy.rewind().map_err(|e| unwritable(folder.root(), &e))?;
                records(Some(&mut copy), &data)
            }
            Found::Everything(mut source) => {
                let passed_over = if restore.snapshot.is_none() { source.passed_over() } else { Vec::new() };
                everything(&mut source, restore.keys.as_deref(), &data, &passed_over)
            }
        }
    });
    terminal::print(told.await?);
    Ok(true)
}

/// What is brought back.
enum Found {
    /// The records alone.
    Records(Box<dyn Read + Send>),
    Everything(Source),
}

fn open(from: &str, restore: &Restore) -> Result<Found, Problem> {
    let path = Path::new(from);
    let when = restore.snapshot.as_deref().map(backup::command::when).transpose()?;
    if from != "-" && path.is_dir() {
        return Ok(Found::Everything(Source::open(path, when.as_ref())?));
    }
    let input: Box<dyn Read + Send> =
        if from == "-" { Box::new(std::io::stdin()) } else { Box::new(named(from)?) };
    let mut input = BufReader::new(input);
    // Records alone are lines of JSON.
    let first = input.fill_buf().map_err(|e| unreadable(from, &e))?.first().copied();
    if first == Some(b'{') {
        return Ok(Found::Records(Box::new(input)));
    }
    Ok(Found::Everything(match from {
        "-" => Source::Stream(Box::new(input)),
        _ => Source::open(path, when.as_ref())?,
    }))
}

fn named(from: &str) -> Result<File, Problem> {
    File::open(from).map_err(|e| unreadable(from, &e))
}

fn unreadable(from: &str, error: &std::io::Error) -> Problem {
    Problem::new(ProblemKind::Invalid, format!("{from} cannot be read: {error}."), "Check the path.")
}

/// A file of a moment in a data folder.
fn draft(folder: &DataFolder) -> Result<File, Problem> {
    let path = folder.root().join("records.restoring");
    let make = || {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    };
    make().map_err(|e| unwritable(&path, &e))
}

/// Puts a database where the data folder has none, or a damaged one; without records, of what can still be read.
fn records(input: Option<&mut dyn Read>, data: &Path) -> Result<String, Problem> {
    let folder = DataFolder::existing(data)?;
    let aside = format!("damaged-{}", now().0 / 1000);
    // Records are of use with their key alone; better told before anything is changed than at the start.
    let key = MasterKey::load(&folder.master_key())?;
    let Some(input) = input else {
        return Ok(told(&slipway_store::salvage(&folder.db(), &key, &aside)?, true, data));
    };
    let restored = slipway_store::restore(input, &folder.db(), &aside)?;
    Store::open(&folder.db(), &key)?;
    Ok(told(&restored, false, data))
}

/// Fills a new data folder.
fn everything(
    source: &mut Source,
    keys: Option<&Path>,
    data: &Path,
    passed_over: &[String],
) -> Result<String, Problem> {
    let name = source.name();
    let restored = Target::take(data)?.restore(source, keys, |records, db, keys| {
        let mut input = File::open(records).map_err(|e| unwritable(records, &e))?;
        slipway_store::restore(&mut input, db, "damaged")?;
        Store::open(db, &MasterKey::load(&keys.join("master.key"))?)?;
        Ok(())
    })?;
    let Some(time) = &restored.time else {
        return Ok(format!(
            "An earlier restore into {data} is finished; nothing of {name} was read. Start the server: slipway serve --data {data}",
            data = data.display()
        ));
    };
    let mut text = format!(
        "{} is back in {}, as of {time}: {} files, {}, every checksum right, in {:.1} s.",
        capital(&name),
        data.display(),
        restored.files,
        size(restored.bytes),
        restored.took.as_secs_f64()
    );
    for trouble in &restored.troubles {
        let which = if trouble.left_out { "was not in it" } else { "was damaged before" };
        text.push_str(&format!("\n{} {which}: {}.", trouble.what, trouble.why));
    }
    if !passed_over.is_empty() {
        text.push_str(&format!(
            "\nNewer ones were passed over, since not everything is in them: {}. Name one with --snapshot to take it as it is.",
            passed_over.join(", ")
        ));
    }
    text.push_str(&format!(
        "\nLook through config.toml, then start the server: slipway serve --data {}",
        data.display()
    ));
    Ok(text)
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
