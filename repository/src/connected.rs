//! Whether what was pushed hangs together: everything reachable from the new tips is in the pack, or reachable from the
//! repository's refs. Merely lying about in the repository is not enough: a pusher must not get at objects that were
//! removed from all refs by naming them.
//!
//! The pack's own objects were read once, when they came in; what is left are the links that lead out of it, and those
//! are few. Most are found beside the changed paths in the trees of the commits that the push builds on; the rest are
//! looked for in all that the refs reach.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::{Oid, RefUpdate};

use crate::boundary;
use crate::error::{RepoError, Result};
use crate::limits::LINKED_OBJECT_BYTES_MAX;
use crate::links::{TreeEntries, commit_head, each_link, tag_target};
use crate::object::{Kind, Objects};
use crate::receive::{IncomingPack, Received};

impl Received {
    /// Everything reachable from `tips` is here or reachable from the repository's refs.
    ///
    /// # Errors
    /// [`RepoError::NotConnected`] with the first object that is not; [`RepoError::BadObject`] for one used as what it
    /// is not.
    pub fn check_connected(&self, tips: &[Oid], stop: &AtomicBool) -> Result<()> {
        let check = Check { received: self, stop };
        for tip in tips {
            if !check.is_incoming(tip) && !self.snapshot.is_visible(tip)? {
                return Err(RepoError::NotConnected { id: *tip });
            }
        }
        if let Some(incoming) = &self.incoming {
            check.outside(incoming, tips)?;
        }
        self.checked.store(true, Ordering::Release);
        Ok(())
    }
}

/// What a push from a shallow client would cut off.
impl Received {
    /// Of `boundary`, the pusher's own, the commits that the tip builds on and that came without their parents: those
    /// that are not reachable here. History may end there already ([`Objects::is_boundary`]).
    ///
    /// # Errors
    /// Where the disk or an object is broken; [`RepoError::Stopped`] once `stop` is set.
    pub fn cut_off(&self, tip: &Oid, boundary: &HashSet<Oid>, stop: &AtomicBool) -> Result<Vec<Oid>> {
        let check = Check { received: self, stop };
        let (mut open, mut seen, mut found) = (vec![*tip], HashSet::new(), Vec::new());
        let mut data = Vec::new();
        while let Some(id) = open.pop() {
            check.go_on()?;
            if !check.is_incoming(&id) || !seen.insert(id) || self.snapshot.is_visible(&id)? {
                continue;
            }
            if boundary.contains(&id) {
                found.push(id);
                continue;
            }
            match self.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)? {
                Some(Kind::Tag) => open.extend(tag_target(&data).map(|(id, _)| id)),
                Some(Kind::Commit) => {
                    open.extend(commit_head(&data).map(|head| head.parents).unwrap_or_default())
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Takes these commits, which the tip builds on, without their parents: once this is published, they are where the
    /// repository's history ends.
    pub fn end_history_at(&mut self, tip: Oid, commits: Vec<Oid>) {
        self.boundary.extend(&commits);
        self.ends.push((tip, commits));
    }

    /// Ends history only for the tips of these updates. What was written of others is taken back.
    pub(crate) fn narrow_ends(&mut self, updates: &[RefUpdate]) {
        if self.boundary.is_empty() {
            return;
        }
        let tips: HashSet<&Oid> = updates.iter().map(|update| &update.new).collect();
        self.ends.retain(|(tip, _)| tips.contains(tip));
        self.boundary = self.ends.iter().flat_map(|(_, commits)| commits).copied().collect();
        let surplus: BTreeSet<Oid> = self.ended.difference(&self.boundary).copied().collect();
        if surplus.is_empty() {
            return;
        }
        match boundary::retract(self.root(), self.snapshot.format, &surplus) {
            Ok(()) => self.ended.retain(|id| !surplus.contains(id)),
            Err(e) => tracing::warn!("history goes on ending where a failed push had it: {}", e.located()),
        }
    }
}

struct Check<'a> {
    received: &'a Received,
    stop: &'a AtomicBool,
}

impl Check<'_> {
    fn is_incoming(&self, id: &Oid) -> bool {
        self.received.incoming.as_ref().is_some_and(|i| i.packs.locate(id).is_some())
    }

    fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(RepoError::Stopped) } else { Ok(()) }
    }

    /// Checks the links that lead out of the pack, and the bases that its deltas borrowed.
    fn outside(&self, incoming: &IncomingPack, tips: &[Oid]) -> Result<()> {
        let snapshot = &self.received.snapshot;
        let (mut missing, mut content) = (HashSet::new(), HashMap::new());
        let mut look_for = |id: &Oid, kind: Kind| match content.insert(*id, kind) {
            Some(other) if other != kind => Err(crate::receive::two_kinds(id, kind, other)),
            _ => Ok(()),
        };
        for (id, kind) in &incoming.outside {
            self.go_on()?;
            if matches!(kind, Kind::Tree | Kind::Blob) {
                look_for(id, *kind)?;
            } else if !self.is_here(id, *kind)? || !snapshot.is_visible(id)? {
                missing.insert(*id);
            }
        }
        let bases: HashSet<Oid> = incoming.bases.iter().copied().collect();
        // What a delta was based on must not tell the pusher what he may not see.
        for id in &bases {
            match snapshot.object_size(id)? {
                Some((is @ (Kind::Tree | Kind::Blob), _)) => look_for(id, is)?,
                _ if !snapshot.is_visible(id)? => return Err(RepoError::NotConnected { id: *id }),
                _ => {}
            }
        }
        if !content.is_empty() {
            self.beside_changes(tips, &mut content)?;
        }
        for (id, kind) in content {
            self.go_on()?;
            if !self.is_here(&id, kind)? || !snapshot.content_is_reachable(&id)? {
                if bases.contains(&id) {
                    return Err(RepoError::NotConnected { id });
                }
                missing.insert(id);
            }
        }
        if missing.is_empty() { Ok(()) } else { self.needed(tips, &missing) }
    }

    /// True if the repository has that object, reachable or not; an error if it is of another kind.
    fn is_here(&self, id: &Oid, kind: Kind) -> Result<bool> {
        match self.received.snapshot.object_size(id)? {
            Some((is, _)) if is != kind => Err(crate::receive::two_kinds(id, is, kind)),
            found => Ok(found.is_some()),
        }
    }

    /// Strikes out of `content` what the trees of the repository's own commits have, as the same kind, at the paths that
    /// the push changes. Nothing of that is looked up: whether it is there was seen to when those commits came.
    fn beside_changes(&self, tips: &[Oid], content: &mut HashMap<Oid, Kind>) -> Result<()> {
        let mut open: Vec<Oid> = tips.to_vec();
        let mut seen = HashSet::new();
        let mut data = Vec::new();
        while let Some(id) = open.pop() {
            self.go_on()?;
            if content.is_empty() || !self.is_incoming(&id) || !seen.insert(id) {
                continue;
            }
            match self.received.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)? {
                Some(Kind::Tag) => open.extend(tag_target(&data).map(|(id, _)| id)),
                Some(Kind::Commit) => {
                    let Some(head) = commit_head(&data) else { continue };
                    for parent in head.parents {
                        if self.is_incoming(&parent) {
                            open.push(parent);
                        } else if self.received.snapshot.is_visible(&parent)? {
                            self.received.snapshot.read(&parent, LINKED_OBJECT_BYTES_MAX, &mut data)?;
                            if let Some(old) = commit_head(&data) {
                                self.beside(&head.tree, &old.tree, content)?;
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Walks a new tree and an old one together, as far down as both differ.
    fn beside(&self, new: &Oid, old: &Oid, content: &mut HashMap<Oid, Kind>) -> Result<()> {
        let mut strike = |id: &Oid, kind| {
            if content.get(id).copied() == kind {
                content.remove(id);
            }
            content.is_empty()
        };
        let mut pairs = vec![(*new, *old)];
        let mut is_done = strike(old, Some(Kind::Tree));
        let (mut new_data, mut old_data) = (Vec::new(), Vec::new());
        while let Some((new, old)) = pairs.pop() {
            self.go_on()?;
            if is_done {
                return Ok(());
            }
            if new == old {
                continue;
            }
            let is_tree = |kind| kind == Some(Kind::Tree);
            if !is_tree(self.received.snapshot.read(&old, LINKED_OBJECT_BYTES_MAX, &mut old_data)?) {
                continue;
            }
            let has_new = is_tree(self.received.read(&new, LINKED_OBJECT_BYTES_MAX, &mut new_data)?);
            let entries = |data, id: &Oid| TreeEntries::new(data, id.as_bytes().len()).map_while(Result::ok);
            let mut news = if has_new { entries(&new_data[..], &new) } else { entries(&[], &new) }.peekable();
            for entry in entries(&old_data, &old) {
                is_done = strike(&entry.id, entry.kind());
                if entry.kind() != Some(Kind::Tree) {
                    continue;
                }
                // Both are in git's order, in which folders count as ending in '/'.
                while news
                    .next_if(|n| n.kind() != Some(Kind::Tree) || slashed(n.name).lt(slashed(entry.name)))
                    .is_some()
                {}
                if let Some(twin) = news.next_if(|n| n.name == entry.name) {
                    pairs.push((twin.id, entry.id));
                }
            }
        }
        Ok(())
    }

    /// Something the pack's objects point at is missing: an error if the tips lead to it.
    fn needed(&self, tips: &[Oid], missing: &HashSet<Oid>) -> Result<()> {
        let mut open: Vec<Oid> = tips.to_vec();
        let mut seen = HashSet::new();
        let mut data = Vec::new();
        while let Some(id) = open.pop() {
            self.go_on()?;
            if missing.contains(&id) {
                return Err(RepoError::NotConnected { id });
            }
            if !self.is_incoming(&id) || !seen.insert(id) {
                continue;
            }
            if self.received.header(&id)?.is_some_and(|(kind, _)| kind == Kind::Blob) {
                continue;
            }
            if let Some(kind) = self.received.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)? {
                let is_end = self.received.is_boundary(&id);
                each_link(&id, kind, &data, &mut |target, kind| {
                    if !(is_end && kind == Kind::Commit) {
                        open.push(target);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

fn slashed(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().copied().chain([b'/'])
}
