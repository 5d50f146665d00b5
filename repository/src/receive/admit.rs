//! One received object: its id, whether it obeys the format, and what it points at.

use gix::hash::{Hasher, hasher};
use slipway_core::{ObjectFormat, Oid};

use super::links::{Links, Recent};
use super::tree::{Checked, Outline, check_changed};
use crate::check::{self, Flaw, Judge, Level, Rule};
use crate::error::{RepoError, Result};
use crate::links::each_link;
use crate::object::Kind;
use crate::packs::{hash_kind, our_id};

/// An object's hash in the making, with a look-out for made collisions; its header is in.
pub(crate) fn start_hash(format: ObjectFormat, kind: Kind, size: u64) -> Hasher {
    let mut state = hasher(hash_kind(format));
    let mut head = [0u8; 32];
    let word = kind.as_str().as_bytes();
    head[..word.len()].copy_from_slice(word);
    head[word.len()] = b' ';
    // Twenty digits at most: they fit, with the NUL that follows.
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = size;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let start = word.len() + 1;
    let end = start + digits.len() - at;
    head[start..end].copy_from_slice(&digits[at..]);
    state.update(&head[..=end]);
    state
}

/// The id, unless the content was made to collide with another.
pub(crate) fn finish_hash(state: Hasher) -> Result<Oid> {
    let id = state.try_finalize().map_err(|e| RepoError::bad_pack(e.to_string()))?;
    Ok(our_id(&id))
}

/// Hashes, checks an object that is whole in memory, and remembers its links.
pub(crate) fn admit(
    format: ObjectFormat,
    kind: Kind,
    data: &[u8],
    links: &Links,
    recent: &mut Recent,
) -> Result<Oid> {
    let mut state = start_hash(format, kind, data.len() as u64);
    state.update(data);
    let id = finish_hash(state)?;
    if kind == Kind::Blob {
        return Ok(id);
    }
    let mut judge = OfRepository { id: &id, kind, links, modules: Vec::new() };
    check::check(kind, data, format.id_bytes(), &mut judge).map_err(|flaw| check::refuse(id, kind, &flaw))?;
    judge.modules.into_iter().try_for_each(|blob| links.add_gitmodules(blob))?;
    each_link(&id, kind, data, &mut |target, kind| links.add(&target, kind, recent))?;
    Ok(id)
}

/// Decides by what the repository's config says.
struct OfRepository<'a> {
    id: &'a Oid,
    kind: Kind,
    links: &'a Links,
    modules: Vec<Oid>,
}

impl Judge for OfRepository<'_> {
    fn flaw(&mut self, flaw: Flaw) -> Result<(), Flaw> {
        match self.links.checks().level(self.id, flaw.rule) {
            // The rest is looked at all the same: an old history is not mended one push at a time.
            Level::Error => return self.links.refuse(self.id, self.kind, flaw),
            Level::Warn => self.links.remark(&format!("{} {}: {flaw}", self.kind, self.id)),
            Level::Ignore => {}
        }
        Ok(())
    }

    fn gitmodules(&mut self, blob: Oid) {
        self.modules.push(blob);
    }
}

/// The same for a tree that `delta` made from a checked one, whose links are remembered already: only what changed is
/// looked at, and every rule holds. Also returns where its entries start.
pub(crate) fn admit_changed(
    format: ObjectFormat,
    base: &Checked<'_>,
    delta: &[u8],
    data: &[u8],
    links: &Links,
    recent: &mut Recent,
) -> Result<(Oid, Outline)> {
    let mut state = start_hash(format, Kind::Tree, data.len() as u64);
    state.update(data);
    let id = finish_hash(state)?;
    let mut failed = None;
    let outline = check_changed(base, delta, data, format.id_bytes(), &mut |entry| {
        let is_modules = check::entry(entry)?;
        let added = if is_modules { links.add_gitmodules(entry.id) } else { Ok(()) };
        let added =
            added.and_then(|()| entry.kind().map_or(Ok(()), |kind| links.add(&entry.id, kind, recent)));
        added.map_err(|e| {
            failed = Some(e);
            Flaw::new(Rule::BadTree, "")
        })
    });
    match (failed, outline) {
        (Some(e), _) => Err(e),
        (None, outline) => Ok((id, outline.map_err(|flaw| check::refuse(id, Kind::Tree, &flaw))?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_gits() {
        for (format, id) in [
            (ObjectFormat::Sha1, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
            (ObjectFormat::Sha256, "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"),
        ] {
            let empty = finish_hash(start_hash(format, Kind::Blob, 0)).expect("no collision");
            assert_eq!(empty.to_string(), id);
        }
        for size in [9, 10, 1234567890, u64::MAX] {
            let mut plain = hasher(hash_kind(ObjectFormat::Sha1));
            plain.update(format!("commit {size}\0").as_bytes());
            let ours = finish_hash(start_hash(ObjectFormat::Sha1, Kind::Commit, size)).expect("no collision");
            assert_eq!(ours, our_id(&plain.try_finalize().expect("no collision")));
        }
    }
}
