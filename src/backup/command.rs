//! `slipway backup`: asks the running server for a backup and writes it here, or makes it from the data folder of one that is stopped.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use serde_json::{Value, json};
use slipway_backup::{End, Folder, Known, Received, Snapshot, Source, Trouble, Verified, When, write_file};
use slipway_core::{Problem, ProblemKind};

use super::make::{Parts, Wants};
use super::{pipe, within};
use crate::cli::{self, Backup, BackupVerb, Client, Global};
use crate::data::DataFolder;
use crate::supervisor::blocking;
use crate::terminal;

/// Carries the verb out; standard output aside, which is the API's stream.
pub(crate) async fn run(backup: Backup, global: &Global) -> Result<bool, Problem> {
    let json = global.json;
    match backup.verb {
        Some(BackupVerb::List { folder }) => {
            let (snapshots, broken) = blocking(move || Folder::open(&folder)?.snapshots()).await?;
            say(&if json { listed_json(&snapshots) } else { listed(&snapshots) })?;
            broken.iter().for_each(|problem| terminal::say(format_args!("slipway: {problem}")));
            Ok(broken.is_empty())
        }
        Some(BackupVerb::Verify { from, snapshot }) => {
            let when = snapshot.as_deref().map(when).transpose()?;
            let (text, is_whole) = blocking(move || verify(&from, when)).await?;
            say(&text)?;
            Ok(is_whole)
        }
        None => write(&backup, global).await,
    }
}

async fn write(backup: &Backup, global: &Global) -> Result<bool, Problem> {
    let to = PathBuf::from(backup.to.as_deref().unwrap_or_default());
    let keys = !backup.without_keys;
    if is_file(&to, backup.to.as_deref().unwrap_or_default())? {
        let target = to.clone();
        let take = move |input: &mut dyn std::io::Read| write_file(input, &target);
        let (_, end, verified) = made(global, Known::default(), keys, take).await?;
        let (troubles, more) = end.troubles();
        let text =
            if global.json { file_json(&to, &end, &verified) } else { file_told(&to, &end, &verified, keys) };
        say(&text)?;
        return Ok(told_troubles(troubles, more));
    }
    let quick = backup.quick;
    let path = to.clone();
    let (folder, known) = blocking(move || {
        let folder = Folder::take(&path)?;
        let known = folder.known()?;
        Ok((folder, known))
    })
    .await?;
    let received = made(global, known, keys, move |input| folder.receive(input, quick)).await?;
    say(&if global.json { received_json(&received) } else { received_told(&to, &received) })?;
    let (troubles, more) = received.snapshot.troubles();
    Ok(told_troubles(troubles, more))
}

/// True for a file to be written, false for a folder of backups.
fn is_file(to: &Path, text: &str) -> Result<bool, Problem> {
    if to.is_dir() || text.ends_with('/') {
        return Ok(false);
    }
    let is_tar = to.extension().is_some_and(|extension| extension == "tar");
    if to.exists() && !is_tar {
        let what = format!("{} is there already.", to.display());
        return Err(Problem::new(
            ProblemKind::Conflict,
            what,
            "Name a folder, or a file that is not there yet.",
        ));
    }
    Ok(is_tar)
}

/// Has a backup made by the server that runs, or of the data folder where none does, and taken in.
async fn made<T: Send + 'static>(
    global: &Global,
    known: Known,
    keys: bool,
    take: impl FnOnce(&mut dyn std::io::Read) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let client = crate::client(global);
    let request = cli::full_backup(keys, Some(Bytes::from(known.to_bytes())));
    match client.send(&request).await {
        Ok(mut answer) => {
            let (pieces, mut input) = pipe();
            let taking = blocking(move || take(&mut input));
            let sending = async move {
                loop {
                    let piece = answer.chunk().await;
                    let is_last = !matches!(piece, Ok(Some(_)));
                    let piece = match piece {
                        Ok(Some(piece)) => Ok(piece),
                        Ok(None) => return,
                        Err(problem) => {
                            Err(std::io::Error::other(problem.what.trim_end_matches('.').to_owned()))
                        }
                    };
                    let pieces = pieces.clone();
                    // It waits for a disk.
                    let sent = blocking(move || Ok(pieces.send(piece).is_ok())).await;
                    if is_last || !sent.unwrap_or(false) {
                        return;
                    }
                }
            };
            // Whichever side ends, the other hears of it.
            let (taken, ()) = tokio::join!(taking, sending);
            taken
        }
        Err(problem) if is_stopped(&client, global, &problem) => {
            let data = DataFolder::existing(&global.data())?;
            terminal::say(format_args!(
                "slipway: no server answers; the data folder {} is read.",
                data.root().display()
            ));
            blocking(move || {
                let wants = Wants { known, keys };
                within(&Parts::of_stopped(data)?, &wants, &AtomicBool::new(false), take)
            })
            .await
        }
        Err(problem) => Err(problem),
    }
}

/// Whether the data folder is here and its server is not running. If it is and does not answer, it has the lock.
fn is_stopped(client: &Client, global: &Global, problem: &Problem) -> bool {
    let is_here = matches!(client, Client::Socket(_)) && global.data().join("db").is_dir();
    is_here && problem.kind == ProblemKind::Unavailable
}

fn verify(from: &str, when: Option<When>) -> Result<(String, bool), Problem> {
    let path = Path::new(from);
    if from != "-" && path.is_dir() && when.is_none() {
        let folder = Folder::open(path)?;
        let (snapshots, broken) = folder.snapshots()?;
        if let Some(problem) = broken.into_iter().next() {
            return Err(problem);
        }
        let verified = folder.verify(&snapshots)?;
        let is_whole = snapshots.iter().all(Snapshot::is_whole);
        let text = format!(
            "{} snapshots are right: {} files, {}, were read.{}\n",
            snapshots.len(),
            verified.files,
            size(verified.bytes),
            not_whole(is_whole)
        );
        return Ok((text, is_whole));
    }
    let mut source = match from {
        "-" => Source::Stream(Box::new(std::io::stdin())),
        _ => Source::open(path, when.as_ref())?,
    };
    let (verified, time, troubles) = source.verify()?;
    let text = format!(
        "{} is right: of {time}, {} files, {}, were read.{}\n",
        capital(&source.name()),
        verified.files,
        size(verified.bytes),
        not_whole(troubles == 0)
    );
    Ok((text, troubles == 0))
}

fn not_whole(is_whole: bool) -> &'static str {
    if is_whole { "" } else { " Not everything was there to be backed up when it was made." }
}

/// A snapshot's name.
///
/// # Errors
/// What is neither a number nor a time.
pub(crate) fn when(text: &str) -> Result<When, Problem> {
    When::parse(text).ok_or_else(|| {
        let what = format!("{text:?} is neither a snapshot's number nor a time.");
        Problem::new(
            ProblemKind::Invalid,
            what,
            "Give one such as 12, 2026-11-29 or 2026-11-29T17:05; times are UTC.",
        )
    })
}

fn told_troubles(troubles: &[Trouble], more: u64) -> bool {
    for Trouble { what, why, left_out } in troubles {
        let which = if *left_out { "is not in the backup" } else { "is in the backup as it is, damaged" };
        terminal::say(format_args!("slipway: {what} {which}: {why}."));
    }
    if more > 0 {
        terminal::say(format_args!("slipway: and {more} more."));
    }
    if !troubles.is_empty() {
        terminal::say(format_args!(
            "slipway: Everything else is in the backup. Check the server's disk, and slipway doctor."
        ));
    }
    troubles.is_empty()
}

fn received_told(to: &Path, received: &Received) -> String {
    let Received { snapshot, verified, took } = received;
    let mut text = format!(
        "Snapshot {} ({}) is in {}: {} files, {}; {} files, {}, are new.\n",
        snapshot.number,
        snapshot.time(),
        to.display(),
        snapshot.files,
        size(snapshot.bytes),
        snapshot.new_files,
        size(snapshot.new_bytes)
    );
    text.push_str(&read_again(verified));
    let seconds = took.as_secs_f64();
    text.push_str(&format!(" It took {seconds:.1} s.\n{}", about_keys(snapshot.keys)));
    text
}

fn file_told(to: &Path, end: &End, verified: &Verified, keys: bool) -> String {
    let head = format!("Everything is in {}: {} files, {}.\n", to.display(), end.files, size(end.bytes));
    format!("{head}{}\n{}", read_again(verified), about_keys(keys))
}

fn read_again(verified: &Verified) -> String {
    let read =
        format!("{} files, {}, were read once more and are right", verified.files, size(verified.bytes));
    match verified.seen {
        0 => format!("{read}, packs by their own checksums, too."),
        seen => {
            format!("{read}; {seen} files, {}, were looked for and are there.", size(verified.seen_bytes))
        }
    }
}

fn about_keys(keys: bool) -> String {
    let text = if keys {
        "The server's keys are in it: whoever reads it can read every stored credential and be this server."
    } else {
        "The server's keys are not in it: without a copy of DATA/keys it cannot be restored."
    };
    format!("{text}\n")
}

fn listed(snapshots: &[Snapshot]) -> String {
    let mut text = format!(
        "{:>6}  {:20}  {:>9}  {:>10}  {:>10}  keys  whole\n",
        "number", "time", "files", "size", "new"
    );
    for one in snapshots {
        text.push_str(&format!(
            "{:>6}  {:20}  {:>9}  {:>10}  {:>10}  {:4}  {}\n",
            one.number,
            one.time(),
            one.files,
            size(one.bytes),
            size(one.new_bytes),
            yes(one.keys),
            yes(one.is_whole())
        ));
    }
    text
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn snapshot_json(one: &Snapshot) -> Value {
    let (troubles, more) = one.troubles();
    json!({
        "number": one.number, "time": one.time(), "at": one.at, "files": one.files, "bytes": one.bytes,
        "new_files": one.new_files, "new_bytes": one.new_bytes, "took_ms": one.took_ms, "keys": one.keys,
        "whole": one.is_whole(), "troubles": troubles, "troubles_more": more,
    })
}

fn verified_json(verified: &Verified) -> Value {
    let Verified { files, bytes, seen, seen_bytes } = verified;
    json!({"files": files, "bytes": bytes, "seen": seen, "seen_bytes": seen_bytes})
}

fn listed_json(snapshots: &[Snapshot]) -> String {
    pretty(&snapshots.iter().map(snapshot_json).collect())
}

fn received_json(received: &Received) -> String {
    let mut value = snapshot_json(&received.snapshot);
    value["verified"] = verified_json(&received.verified);
    pretty(&value)
}

fn file_json(to: &Path, end: &End, verified: &Verified) -> String {
    let (troubles, more) = end.troubles();
    pretty(&json!({
        "file": to, "files": end.files, "bytes": end.bytes, "verified": verified_json(verified),
        "whole": troubles.is_empty(), "troubles": troubles, "troubles_more": more,
    }))
}

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default())
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// The same as the beginning of a sentence; a path stays as it is.
pub(crate) fn capital(text: &str) -> String {
    for word in ["the ", "snapshot "] {
        if let Some(rest) = text.strip_prefix(word) {
            let (first, others) = word.split_at(1);
            return format!("{}{others}{rest}", first.to_uppercase());
        }
    }
    text.to_owned()
}

fn say(text: &str) -> Result<(), Problem> {
    terminal::write(text.as_bytes())
}
