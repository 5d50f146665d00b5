//! Finds which removed file lives on as which added file. Knows nothing of lines and hunks.
//!
//! As git's diffcore (gitdiffcore(7), "diffcore-rename"): first files of the same content, then, where there are few
//! enough, pairs of which at least half is the same, the most alike first, equal names preferred. Likeness is the share
//! of bytes that lie in pieces (lines, or 64 bytes of a long one) which both files have, of the larger file's bytes.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};

use slipway_core::Oid;

use super::changes::Change;
use super::tree::Node;
use super::{Mode, Objects};
use crate::limits::{BINARY_PROBE_BYTES, RENAME_BYTES_MAX, RENAME_FILE_BYTES_MAX, RENAME_PAIRS_MAX};
use crate::{Kind, Result};

/// Likeness is counted in parts of this.
const WHOLE: u64 = 60_000;
/// Least likeness of a rename.
const ALIKE: u64 = WHOLE / 2;

/// A change after renames were found: `from` is the old path where it is another one.
pub(crate) struct Move {
    pub(crate) change: Change,
    pub(crate) from: Option<Vec<u8>>,
}

/// Joins removals and additions into renames. `thorough`: look at contents too.
pub(crate) fn find(objects: &dyn Objects, changes: Vec<Change>, thorough: bool) -> Result<Vec<Move>> {
    let sources: Vec<usize> = positions(&changes, |c| c.new.is_none());
    let targets: Vec<usize> = positions(&changes, |c| c.old.is_none());
    // The source of each target, by position in `changes`.
    let mut pairs: HashMap<usize, usize> = HashMap::new();
    if !sources.is_empty() && !targets.is_empty() {
        same_content(&changes, &sources, &targets, &mut pairs);
        if thorough {
            similar_content(objects, &changes, &sources, &targets, &mut pairs)?;
        }
    }
    let used: Vec<usize> = pairs.values().copied().collect();
    let mut gone = vec![false; changes.len()];
    let mut origins: HashMap<usize, (Vec<u8>, Option<Node>)> = HashMap::new();
    for (target, source) in &pairs {
        if let Some(change) = changes.get(*source) {
            origins.insert(*target, (change.path.clone(), change.old));
        }
    }
    for source in used {
        if let Some(slot) = gone.get_mut(source) {
            *slot = true;
        }
    }
    let kept = changes.into_iter().enumerate().zip(gone).filter(|(_, gone)| !gone);
    Ok(kept
        .map(|((at, mut change), _)| match origins.remove(&at) {
            Some((path, old)) => {
                change.old = old;
                Move { change, from: Some(path) }
            }
            None => Move { change, from: None },
        })
        .collect())
}

fn positions(changes: &[Change], wanted: impl Fn(&Change) -> bool) -> Vec<usize> {
    changes.iter().enumerate().filter(|(_, c)| wanted(c)).map(|(at, _)| at).collect()
}

fn basename(path: &[u8]) -> &[u8] {
    path.rsplit(|&b| b == b'/').next().unwrap_or(path)
}

/// Regular files may change their x bit on the way; links and submodules stay what they are.
fn may_become(old: Mode, new: Mode) -> bool {
    old == new || (old.is_regular() && new.is_regular())
}

fn same_content(changes: &[Change], sources: &[usize], targets: &[usize], pairs: &mut HashMap<usize, usize>) {
    let mut by_id: HashMap<Oid, Vec<usize>> = HashMap::new();
    for &at in sources {
        if let Some((_, id)) = changes.get(at).and_then(|c| c.old) {
            by_id.entry(id).or_default().push(at);
        }
    }
    for &target in targets {
        let Some((change, (mode, id))) = changes.get(target).and_then(|c| Some((c, c.new?))) else {
            continue;
        };
        let Some(candidates) = by_id.get_mut(&id) else { continue };
        let fits =
            |at: &usize| changes.get(*at).and_then(|c| c.old).is_some_and(|(m, _)| may_become(m, mode));
        let same_name =
            |at: &usize| changes.get(*at).is_some_and(|c| basename(&c.path) == basename(&change.path));
        // A hundred files of one content (empty ones, licences) are not compared by name for ever.
        let best = candidates.iter().take(100).position(|at| fits(at) && same_name(at));
        if let Some(place) = best.or_else(|| candidates.iter().position(fits)) {
            pairs.insert(target, candidates.remove(place));
        }
    }
}

/// The pieces of a file: hash of each, with how many bytes of the file lie in pieces like it.
struct Pieces {
    bytes: u64,
    shares: HashMap<u64, u64>,
}

fn similar_content(
    objects: &dyn Objects,
    changes: &[Change],
    sources: &[usize],
    targets: &[usize],
    pairs: &mut HashMap<usize, usize>,
) -> Result<()> {
    let taken: HashSet<usize> = pairs.values().copied().collect();
    let sources: Vec<usize> = sources.iter().copied().filter(|at| !taken.contains(at)).collect();
    let targets: Vec<usize> = targets.iter().copied().filter(|at| !pairs.contains_key(at)).collect();
    if sources.len().saturating_mul(targets.len()) > RENAME_PAIRS_MAX {
        return Ok(());
    }
    let mut left = RENAME_BYTES_MAX;
    let mut read = |node: Option<Node>| pieces(objects, node, &mut left);
    let mut old = Vec::new();
    for at in &sources {
        old.push(read(changes.get(*at).and_then(|c| c.old))?);
    }
    let mut scores = Vec::new();
    for (t, at) in targets.iter().enumerate() {
        let Some(new) = read(changes.get(*at).and_then(|c| c.new))? else { continue };
        for (s, old) in old.iter().enumerate() {
            let score = old.as_ref().map_or(0, |old| likeness(old, &new));
            if score >= ALIKE {
                let name = |list: &[usize], i: usize| {
                    list.get(i).and_then(|at| changes.get(*at)).map(|c| basename(&c.path))
                };
                let renamed = name(&sources, s) != name(&targets, t);
                scores.push((std::cmp::Reverse(score), renamed, t, s));
            }
        }
    }
    scores.sort_unstable();
    let mut source_free = vec![true; sources.len()];
    for (_, _, t, s) in scores {
        let (Some(target), Some(source), Some(free)) =
            (targets.get(t), sources.get(s), source_free.get_mut(s))
        else {
            continue;
        };
        if *free && !pairs.contains_key(target) {
            pairs.insert(*target, *source);
            *free = false;
        }
    }
    Ok(())
}

/// Reads a regular file's pieces, as long as `left` allows.
fn pieces(objects: &dyn Objects, node: Option<Node>, left: &mut u64) -> Result<Option<Pieces>> {
    let Some((_, id)) = node.filter(|(mode, _)| mode.is_regular()) else { return Ok(None) };
    let Some((Kind::Blob, bytes)) = objects.header(&id)? else { return Ok(None) };
    if bytes == 0 || bytes > RENAME_FILE_BYTES_MAX || bytes > *left {
        return Ok(None);
    }
    *left -= bytes;
    Ok(objects.find(&id, bytes)?.map(|object| Pieces { bytes, shares: cut(&object.data) }))
}

fn cut(data: &[u8]) -> HashMap<u64, u64> {
    let text = !is_binary(data);
    let mut shares = HashMap::new();
    let mut rest = data;
    while !rest.is_empty() {
        let window = rest.get(..64).unwrap_or(rest);
        let len = window.iter().position(|&b| b == b'\n').map_or(window.len(), |at| at + 1);
        let (piece, after) = rest.split_at(len);
        rest = after;
        // A text that only changed its line ends is still the same text.
        let piece = match piece.strip_suffix(b"\r\n") {
            Some(line) if text => [line, b"\n"].concat(),
            _ => piece.to_vec(),
        };
        let mut hasher = DefaultHasher::new();
        hasher.write(&piece);
        *shares.entry(hasher.finish()).or_default() += piece.len() as u64;
    }
    shares
}

/// True if there is a NUL among the first bytes: git's rule for what is not text.
pub(crate) fn is_binary(data: &[u8]) -> bool {
    data.iter().take(BINARY_PROBE_BYTES).any(|&b| b == 0)
}

fn likeness(old: &Pieces, new: &Pieces) -> u64 {
    let (small, large) = (old.bytes.min(new.bytes), old.bytes.max(new.bytes));
    if small * 2 < large {
        return 0;
    }
    let shared = |(hash, bytes): (&u64, &u64)| new.shares.get(hash).map_or(0, |other| *bytes.min(other));
    old.shares.iter().map(shared).sum::<u64>() * WHOLE / large
}
