//! Moving refs by compare-and-swap, durably, beside plain git.
//!
//! The rules on disk are git's (gitrepository-layout): a ref is written to `NAME.lock`, which nobody else can make
//! meanwhile, flushed, and renamed; `packed-refs` is replaced whole under its own lock. Many new refs at once go into
//! `packed-refs` in one step instead of a file each. Deleted refs leave `packed-refs` before their loose file goes, so
//! that an old packed value never comes back to life.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use slipway_core::{Oid, RefName, RefUpdate};

use super::{RawRefs, Stamp, Value, read_packed};
use crate::durable::sync_folder;
use crate::error::{RepoError, Result};
use crate::limits::{PACK_REFS_FROM, PEEL_DEPTH_MAX};
use crate::lock_file::{Lock, rewrite};

/// What each update came to.
pub(crate) type Outcomes = Vec<Result<()>>;

/// Moves refs of the repository at `root`; the caller has the turn to write. `known` says whether an object is there,
/// and what a tag peels to.
pub(crate) fn update(
    root: &Path,
    updates: &[RefUpdate],
    atomic: bool,
    known: &dyn Fn(&Oid) -> Result<Option<Option<Oid>>>,
) -> Result<Outcomes> {
    let raw = RawRefs::read(root)?;
    let mut outcomes: Outcomes = updates.iter().map(|_| Ok(())).collect();
    let mut moves = plan(&raw, updates, known, &mut outcomes);
    if atomic && refuse_all(&mut outcomes) {
        return Ok(outcomes);
    }
    moves.retain(|m| outcomes[m.number].is_ok());
    // Deletes go first: they may make room.
    let (deletes, sets): (Vec<Move>, Vec<Move>) = moves.into_iter().partition(|m| m.new.is_none());
    let mut writer = Writer { root, locks: Vec::new(), atomic, packed: None };
    if atomic {
        // All locks before anything moves: what can fail fails here.
        for one in deletes.iter().chain(&sets) {
            if let Err(e) = writer.lock(&raw, one) {
                outcomes[one.number] = Err(e);
                refuse_all(&mut outcomes);
                return Ok(outcomes);
            }
        }
    } else {
        for one in deletes.iter() {
            if let Err(e) = writer.lock(&raw, one) {
                outcomes[one.number] = Err(e);
            }
        }
    }
    writer.delete(&deletes, &mut outcomes)?;
    if !atomic {
        for one in &sets {
            if let Err(e) = writer.lock(&raw, one) {
                outcomes[one.number] = Err(e);
            }
        }
    }
    writer.set(&raw, &sets, &mut outcomes)?;
    Ok(outcomes)
}

/// With one refused, all are.
fn refuse_all(outcomes: &mut Outcomes) -> bool {
    if outcomes.iter().all(Result::is_ok) {
        return false;
    }
    for outcome in outcomes.iter_mut().filter(|o| o.is_ok()) {
        *outcome = Err(RepoError::NotAtomic);
    }
    true
}

/// One ref's change, checked.
struct Move {
    /// Which of the updates.
    number: usize,
    name: RefName,
    old: Option<Oid>,
    /// Where to, and what that peels to if it is a tag; `None` deletes.
    new: Option<(Oid, Option<Oid>)>,
}

/// Checks every update against the refs and against the others.
fn plan(
    raw: &RawRefs,
    updates: &[RefUpdate],
    known: &dyn Fn(&Oid) -> Result<Option<Option<Oid>>>,
    outcomes: &mut Outcomes,
) -> Vec<Move> {
    let mut moves = Vec::with_capacity(updates.len());
    let mut touched: BTreeSet<RefName> = BTreeSet::new();
    for (number, update) in updates.iter().enumerate() {
        match plan_one(raw, number, update, known) {
            Ok(one) if !touched.insert(one.name.clone()) => {
                outcomes[number] = Err(refused(&update.name, "is updated twice in one push"));
            }
            Ok(one) => moves.push(one),
            Err(e) => outcomes[number] = Err(e),
        }
    }
    let gone: BTreeSet<&RefName> = moves.iter().filter(|m| m.new.is_none()).map(|m| &m.name).collect();
    let mut after: BTreeSet<&str> =
        raw.refs.keys().filter(|name| !gone.contains(name)).map(RefName::as_str).collect();
    for one in moves.iter().filter(|m| m.new.is_some()) {
        match conflict(&after, one.name.as_str()) {
            Some(other) => {
                outcomes[one.number] = Err(RepoError::RefConflict { name: one.name.clone(), other });
            }
            None => drop(after.insert(one.name.as_str())),
        }
    }
    moves
}

fn refused(name: &RefName, why: &str) -> RepoError {
    RepoError::RefRefused { name: name.clone(), why: why.into() }
}

fn plan_one(
    raw: &RawRefs,
    number: usize,
    update: &RefUpdate,
    known: &dyn Fn(&Oid) -> Result<Option<Option<Oid>>>,
) -> Result<Move> {
    if update.name.as_str() == "HEAD" {
        return Err(refused(&update.name, "cannot be moved this way"));
    }
    let mut name = update.name.clone();
    // A symbolic ref stands for the one it names; deleting it deletes itself.
    for _ in 0..PEEL_DEPTH_MAX {
        match raw.refs.get(&name) {
            Some(Value::Symbolic(to)) if !update.is_delete() => name = to.clone(),
            _ => break,
        }
    }
    let is = raw.refs.get(&name).and_then(|value| raw.resolve(value)).map(|(id, _)| id);
    let expected = (!update.old.is_zero()).then_some(update.old);
    if is != expected {
        let shown = |id: Option<Oid>| id.map_or_else(|| "nothing".to_owned(), |id| id.short());
        return Err(RepoError::RefMoved {
            name: update.name.clone(),
            is: shown(is),
            expected: shown(expected),
        });
    }
    if update.is_delete() {
        return Ok(Move { number, name, old: is, new: None });
    }
    let peeled = known(&update.new)?.ok_or(RepoError::NotConnected { id: update.new })?;
    Ok(Move { number, name, old: is, new: Some((update.new, peeled)) })
}

/// A ref that is a folder of `name`, or has `name` for a folder.
fn conflict(refs: &BTreeSet<&str>, name: &str) -> Option<String> {
    let above = name.match_indices('/').map(|(at, _)| &name[..at]).find(|folder| refs.contains(folder));
    above.map(str::to_owned).or_else(|| {
        let folder = format!("{name}/");
        let next = refs.range::<str, _>((Bound::Included(folder.as_str()), Bound::Unbounded)).next();
        next.filter(|r| r.starts_with(&folder)).map(|r| (*r).to_owned())
    })
}

/// Writes one set of changes.
struct Writer<'a> {
    root: &'a Path,
    locks: Vec<Lock>,
    atomic: bool,
    /// `packed-refs` as it was last read, and the file's state before.
    packed: Option<(Option<Stamp>, BTreeMap<RefName, Value>)>,
}

impl Writer<'_> {
    /// Locks a ref and looks again whether it is where it was: plain git may have moved it before the lock was taken.
    fn lock(&mut self, raw: &RawRefs, one: &Move) -> Result<()> {
        let target = self.root.join(one.name.as_str());
        let folder = target.parent().unwrap_or(self.root);
        // Plain git removes folders that became empty; it may do so between these two steps.
        let mut tries = 0;
        let lock = loop {
            fs::create_dir_all(folder).map_err(|e| match e.kind() {
                ErrorKind::NotADirectory | ErrorKind::AlreadyExists => in_the_way(raw, one),
                _ => RepoError::io("create", folder)(e),
            })?;
            match Lock::take(self.root, target.clone(), one.number) {
                Err(RepoError::Io { source, .. }) if source.kind() == ErrorKind::NotFound && tries < 3 => {
                    tries += 1
                }
                other => break other?,
            }
        };
        let now = match super::read_file(&target)? {
            Some(value) => raw.resolve(&value).map(|(id, _)| id),
            None => match raw.refs.get(&one.name) {
                // It was loose when the refs were read: gone now, or packed.
                Some(_) => {
                    self.packed_value(&one.name)?.and_then(|value| raw.resolve(&value)).map(|(id, _)| id)
                }
                None => None,
            },
        };
        if now != one.old {
            let shown = |id: Option<Oid>| id.map_or_else(|| "nothing".to_owned(), |id| id.short());
            return Err(RepoError::RefMoved {
                name: one.name.clone(),
                is: shown(now),
                expected: shown(one.old),
            });
        }
        self.locks.push(lock);
        Ok(())
    }

    /// What `packed-refs` says of a ref now. Read anew only when it was replaced: a push may ask of very many.
    fn packed_value(&mut self, name: &RefName) -> Result<Option<Value>> {
        let path = self.root.join("packed-refs");
        let stamp = Stamp::of(&path)?;
        let packed = match self.packed.take() {
            Some((seen, packed)) if seen == stamp => packed,
            _ => read_packed(&path)?,
        };
        let value = packed.get(name).cloned();
        self.packed = Some((stamp, packed));
        Ok(value)
    }

    fn delete(&mut self, deletes: &[Move], outcomes: &mut Outcomes) -> Result<()> {
        let names: BTreeSet<&RefName> =
            deletes.iter().filter(|m| outcomes[m.number].is_ok()).map(|m| &m.name).collect();
        if names.is_empty() {
            return Ok(());
        }
        // Held until the loose files are gone, or git might pack what is being deleted.
        let _packed = self.rewrite_packed(&mut |refs| {
            let before = refs.len();
            refs.retain(|name, _| !names.contains(name));
            refs.len() != before
        })?;
        let mut folders = BTreeSet::new();
        for one in deletes.iter().filter(|m| names.contains(&m.name)) {
            let path = self.root.join(one.name.as_str());
            match fs::remove_file(&path) {
                Ok(()) => drop(folders.insert(path.parent().unwrap_or(self.root).to_owned())),
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {}
                Err(e) => outcomes[one.number] = Err(RepoError::io("remove", &path)(e)),
            }
        }
        for folder in folders {
            sync_folder(&folder)?;
        }
        let numbers: BTreeSet<usize> = deletes.iter().map(|m| m.number).collect();
        self.locks.retain(|lock| !numbers.contains(&lock.number));
        for name in names {
            remove_empty_above(self.root, name);
        }
        Ok(())
    }

    fn set(&mut self, raw: &RawRefs, sets: &[Move], outcomes: &mut Outcomes) -> Result<()> {
        let moves: HashMap<usize, &Move> =
            sets.iter().filter(|m| outcomes[m.number].is_ok()).map(|m| (m.number, m)).collect();
        let locks: Vec<Lock> = self.locks.drain(..).filter(|lock| moves.contains_key(&lock.number)).collect();
        // Refs without a loose file can all become packed at once: one flush, and all or none after a crash.
        let packable = moves.len() >= PACK_REFS_FROM;
        let (pack, mut write): (Vec<Lock>, Vec<Lock>) =
            locks.into_iter().partition(|lock| packable && !lock.target.is_file());
        let mut folders = BTreeSet::new();
        let mut failed = None;
        for lock in &mut write {
            if let Some((id, _)) = moves[&lock.number].new
                && let Err(e) = lock.write(format!("{id}\n").as_bytes())
            {
                outcomes[lock.number] = Err(e);
                failed.get_or_insert(lock.number);
            }
        }
        if self.atomic && failed.is_some() {
            refuse_all(outcomes);
            return Ok(());
        }
        if !pack.is_empty() {
            self.rewrite_packed(&mut |refs| {
                for lock in &pack {
                    let one = moves[&lock.number];
                    if let Some((id, peeled)) = one.new {
                        refs.insert(one.name.clone(), Value::Direct(id, Some(peeled)));
                    }
                }
                true
            })
            .map(drop)?;
            // A folder each that stays behind would be looked at by whoever reads the refs.
            let packed: Vec<&RefName> = pack.iter().map(|lock| &moves[&lock.number].name).collect();
            drop(pack);
            packed.into_iter().for_each(|name| remove_empty_above(self.root, name));
        }
        for lock in write {
            let (number, target) = (lock.number, lock.target.clone());
            if outcomes[number].is_err() {
                continue;
            }
            // A folder whose last ref went may be left under the name.
            remove_empty_below(&target);
            match lock.rename() {
                Ok(()) => drop(folders.insert(target.parent().unwrap_or(self.root).to_owned())),
                Err(e) if target.is_dir() => {
                    tracing::debug!("{}", e.located());
                    outcomes[number] = Err(in_the_way(raw, moves[&number]));
                }
                Err(e) => outcomes[number] = Err(e),
            }
        }
        // A new folder is durable once the one above it is flushed too.
        let above: BTreeSet<PathBuf> = folders
            .iter()
            .flat_map(|f| f.ancestors().skip(1).take_while(|a| a.starts_with(self.root.join("refs"))))
            .map(Path::to_owned)
            .collect();
        folders.iter().chain(&above).try_for_each(|folder| sync_folder(folder))
    }

    /// Changes `packed-refs` under its lock, which is still held on return; `change` says whether it did anything.
    fn rewrite_packed(&self, change: &mut dyn FnMut(&mut BTreeMap<RefName, Value>) -> bool) -> Result<Lock> {
        let path = self.root.join("packed-refs");
        let lock = Lock::take(self.root, path.clone(), usize::MAX)?;
        let mut refs = read_packed(&path)?;
        let fully_peeled = refs.values().all(|value| matches!(value, Value::Direct(_, Some(_))));
        if !change(&mut refs) {
            return Ok(lock);
        }
        let mut text = Vec::with_capacity(refs.len() * 64 + 64);
        text.extend_from_slice(b"# pack-refs with: ");
        text.extend_from_slice(if fully_peeled { b"peeled fully-peeled sorted \n" } else { b"sorted \n" });
        for (name, value) in &refs {
            if let Value::Direct(id, peeled) = value {
                text.extend_from_slice(format!("{id} {name}\n").as_bytes());
                if let Some(Some(peeled)) = peeled {
                    text.extend_from_slice(format!("^{peeled}\n").as_bytes());
                }
            }
        }
        // Whoever holds the lock may write it. What a crash leaves of it is written over.
        let new = self.root.join("slipway/packed-refs");
        File::create(&new)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .map_err(RepoError::io("write", &new))?;
        fs::rename(&new, &path).map_err(RepoError::io("rename", &path))?;
        sync_folder(self.root)?;
        Ok(lock)
    }
}

fn in_the_way(raw: &RawRefs, one: &Move) -> RepoError {
    let names: BTreeSet<&str> = raw.refs.keys().map(RefName::as_str).collect();
    let other = conflict(&names, one.name.as_str()).unwrap_or_else(|| "another ref".to_owned());
    RepoError::RefConflict { name: one.name.clone(), other }
}

/// Removes the folders of a deleted ref that have become empty, below `refs/heads` and its like.
fn remove_empty_above(root: &Path, name: &RefName) {
    let path = root.join(name.as_str());
    for folder in path.ancestors().skip(1) {
        let deep = folder.strip_prefix(root).map_or(0, |p| p.components().count());
        if deep <= 2 || fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

/// Removes a tree of nothing but empty folders.
fn remove_empty_below(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_empty_below(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

/// Points HEAD at a branch.
pub(crate) fn set_head(root: &Path, branch: &RefName) -> Result<()> {
    rewrite(&root.join("HEAD"), || Ok(format!("ref: {branch}\n").into_bytes()))
}
