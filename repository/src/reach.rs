//! What the refs of a snapshot reach: the measure of what may be sent, acknowledged and built on.
//!
//! Two walks, each paused as soon as it has the answer and taken up by the next question: over commits, and over the
//! trees of those commits. Both are exact. A generation whose refs only moved on takes over what the one before it
//! found out, so that the cost of a push is that of what is new; otherwise the worst case is one visit of everything.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_core::Oid;

use crate::error::{RepoError, Result};
use crate::findings::{Content, Roots};
use crate::graph::{Ancestors, Graph, Node};
use crate::ids::Recent;
use crate::limits::{GRAPH_KEPT_MAX, INHERIT_COMMITS_MAX, LINKED_OBJECT_BYTES_MAX, PEEL_DEPTH_MAX};
use crate::links::{TreeEntries, tag_target};
use crate::marks::Marks;
use crate::object::{Kind, Objects};
use crate::refs::Ref;
use crate::snapshot::Snapshot;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Walks are changed one whole step at a time: a panic in between leaves them valid.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshot {
    /// True if the object is reachable from the advertised refs, so that it may be sent and acknowledged.
    pub fn is_visible(&self, id: &Oid) -> Result<bool> {
        // Ref tips first: nearly every question is about one, and needs no object.
        if self.tips().contains(id) {
            return Ok(true);
        }
        if let Some(all) = self.findings.all.get() {
            return Ok(all.has(&self.packs.load(), id));
        }
        match self.object_size(id)? {
            None => Ok(false),
            Some((Kind::Commit, _)) => self.commit_is_reachable(id),
            Some((Kind::Tag, _)) => Ok(self.roots()?.tags.contains(id)),
            Some((Kind::Tree | Kind::Blob, _)) => self.content_is_reachable(id),
        }
    }

    pub(crate) fn tips(&self) -> &HashSet<Oid> {
        self.findings
            .tips
            .get_or_init(|| self.refs.iter().flat_map(|r| [Some(r.target), r.peeled]).flatten().collect())
    }

    /// What the refs point at, tags followed.
    pub(crate) fn roots(&self) -> Result<&Roots> {
        if let Some(roots) = self.findings.roots.get() {
            return Ok(roots);
        }
        let mut roots = Roots::default();
        let mut done = HashSet::new();
        for r in &self.refs {
            if r.name.as_branch().is_some() && done.insert(r.target) {
                // Branches point at commits; what git let through otherwise shows below.
                roots.commits.push(r.target);
                continue;
            }
            let mut id = r.target;
            for _ in 0..PEEL_DEPTH_MAX {
                if !done.insert(id) {
                    break;
                }
                match self.object_size(&id)? {
                    Some((Kind::Commit, _)) => roots.commits.push(id),
                    Some((Kind::Tag, _)) => {
                        roots.tags.insert(id);
                        let tag =
                            self.object(&id, LINKED_OBJECT_BYTES_MAX)?.ok_or(RepoError::Missing { id })?;
                        let broken = RepoError::BrokenObject { id, why: "its header is not valid".into() };
                        id = tag_target(&tag.data).ok_or(broken)?.0;
                        continue;
                    }
                    Some(_) => roots.others.push(id),
                    None => {}
                }
                break;
            }
        }
        Ok(self.findings.roots.get_or_init(|| roots))
    }

    fn start_all(&self, walk: &mut Ancestors) -> Result<()> {
        for id in &self.roots()?.commits {
            if let Some(node) = self.graph.find(self, id)? {
                walk.start(&self.graph, self, node)?;
            }
        }
        Ok(())
    }

    fn commit_is_reachable(&self, id: &Oid) -> Result<bool> {
        let Some(node) = self.graph.find(self, id)? else { return Ok(false) };
        let mut commits = lock(&self.findings.commits);
        let walk = match &mut *commits {
            Some(walk) => walk,
            none => {
                let mut walk = Ancestors::default();
                self.start_all(&mut walk)?;
                none.insert(walk)
            }
        };
        while !walk.seen.has(node as usize) {
            if walk.step(&self.graph, self)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The walk over content, started if it was not.
    fn content<'a>(&self, held: &'a mut Option<Content>) -> Result<&'a mut Content> {
        if held.is_none() {
            let seen = Marks::for_packs(&self.packs.load());
            let mut content = Content::new(seen);
            self.start_content(&mut content)?;
            *held = Some(content);
        }
        held.as_mut().ok_or_else(|| RepoError::Invalid { what: "a walk was not begun".into() })
    }

    fn start_content(&self, content: &mut Content) -> Result<()> {
        for id in &self.roots()?.commits {
            if let Some(node) = self.graph.find(self, id)? {
                self.queue(content, node)?;
            }
        }
        self.add_roots(&mut content.seen)
    }

    fn queue(&self, content: &mut Content, node: Node) -> Result<()> {
        if content.seen.has(&self.packs.load(), &self.graph.id(node)) || content.queued.has(node as usize) {
            return Ok(());
        }
        content.next.push((self.graph.commit(self, node)?.date, node));
        content.queued.put(node as usize);
        Ok(())
    }

    /// Marks what refs point at and is no commit.
    fn add_roots(&self, seen: &mut Marks) -> Result<()> {
        let roots = self.roots()?;
        for tag in &roots.tags {
            seen.put(&self.packs.load(), tag);
        }
        let mut recent = Recent::default();
        roots.others.iter().try_for_each(|other| self.mark_tree(other, seen, &mut recent))
    }

    /// One commit further; false at the end.
    fn step_content(&self, content: &mut Content, recent: &mut Recent) -> Result<bool> {
        let Some((_, node)) = content.next.pop() else { return Ok(false) };
        let commit = self.graph.commit(self, node)?;
        content.seen.put(&self.packs.load(), &self.graph.id(node));
        self.mark_tree(&commit.tree, &mut content.seen, recent)?;
        commit.parents.iter().try_for_each(|parent| self.queue(content, *parent))?;
        Ok(true)
    }

    /// The same for a tree or blob.
    pub(crate) fn content_is_reachable(&self, id: &Oid) -> Result<bool> {
        if self.bitmaps().is_some() {
            // Cheaper than a walk that looks for one object.
            let all = self.all_reachable(&AtomicBool::new(false))?;
            return Ok(all.has(&self.packs.load(), id));
        }
        let mut held = lock(&self.findings.content);
        let found = (|| {
            let content = self.content(&mut held)?;
            let mut recent = Recent::default();
            while !content.seen.has(&self.packs.load(), id) {
                if !self.step_content(content, &mut recent)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })();
        if found.is_err() {
            // A tree may be marked whose entries are not: the next question starts anew.
            *held = None;
        }
        found
    }

    /// Everything that the refs reach.
    ///
    /// # Errors
    /// [`RepoError::Stopped`] once `stop` is set; what was found out until then is kept.
    pub(crate) fn all_reachable(&self, stop: &AtomicBool) -> Result<Arc<Marks>> {
        if let Some(all) = self.findings.all.get() {
            return Ok(all.clone());
        }
        let mut held = lock(&self.findings.content);
        if held.is_none()
            && let Some(mut marks) = self.reach_of(&self.roots()?.commits, stop)?
        {
            self.add_roots(&mut marks)?;
            let all = Arc::new(marks.clone());
            // A walk that is at its end: later generations go on from here.
            *held = Some(Content::new(marks));
            return Ok(self.findings.all.get_or_init(|| all).clone());
        }
        let walked = (|| {
            let content = self.content(&mut held)?;
            let mut recent = Recent::default();
            while !stop.load(Ordering::Relaxed) {
                if !self.step_content(content, &mut recent)? {
                    return Ok(Some(Arc::new(content.seen.clone())));
                }
            }
            Ok(None)
        })();
        match walked {
            Ok(Some(all)) => Ok(self.findings.all.get_or_init(|| all).clone()),
            Ok(None) => Err(RepoError::Stopped),
            Err(e) => {
                *held = None;
                Err(e)
            }
        }
    }

    /// True if the wants reach just what the refs reach: every ref's own target is among them, and nothing else.
    pub(crate) fn is_everything(&self, wants: &HashSet<&Oid>) -> bool {
        self.refs.iter().all(|r| wants.contains(&r.target)) && wants.iter().all(|id| self.tips().contains(id))
    }

    /// Takes over what an earlier generation found out, if nothing that its refs reached can be out of reach now.
    pub(crate) fn inherit(&mut self, previous: &Self) -> Result<()> {
        let same_places = self.packs.load().begins_with(&previous.packs.load().lineage());
        if !same_places || !Arc::ptr_eq(&self.graph, &previous.graph) {
            return Ok(());
        }
        if let Some(Some(bitmaps)) = previous.findings.bitmaps.get() {
            // A look at whether they are whole is not taken again.
            let _ = self.findings.bitmaps.set(Some(bitmaps.clone()));
        }
        if !self.only_moved_on(previous)? {
            return Ok(());
        }
        if let Some(mut walk) = lock(&previous.findings.commits).clone() {
            self.start_all(&mut walk)?;
            self.findings.commits = Mutex::new(Some(walk));
        }
        // A long walk in progress is not waited for.
        let held = previous.findings.content.try_lock().ok().and_then(|held| held.clone());
        if let Some(mut content) = held {
            self.start_content(&mut content)?;
            self.findings.content = Mutex::new(Some(content));
        }
        Ok(())
    }

    /// True if it is certain that the refs reach all that they did.
    fn only_moved_on(&self, previous: &Self) -> Result<bool> {
        let mut lost = HashSet::new();
        let mut oldest = i64::MAX;
        for r in &previous.refs {
            if self.tips().contains(&r.target) {
                continue;
            }
            let Some(node) = self.graph.find(self, &r.target)? else { return Ok(false) };
            oldest = oldest.min(self.graph.commit(self, node)?.date);
            lost.insert(node);
        }
        if lost.is_empty() {
            return Ok(true);
        }
        // Nearly always from the refs that are new, or from HEAD where a merged branch was deleted.
        let mut from = Vec::new();
        let new = |r: &&Ref| r.name.as_str() == "HEAD" || !previous.tips().contains(&r.target);
        for r in self.refs.iter().filter(new) {
            from.extend(self.commit_of(&r.target)?);
        }
        let mut walk = Ancestors::default();
        for node in from {
            walk.start(&self.graph, self, node)?;
        }
        for _ in 0..INHERIT_COMMITS_MAX {
            let Some((node, commit)) = walk.step(&self.graph, self)? else { return Ok(false) };
            lost.remove(&node);
            if lost.is_empty() {
                return Ok(true);
            }
            if commit.date < oldest {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Puts a tree (or blob) and everything below it in; what was in before is not looked into again. `recent` holds
    /// nothing but what is in.
    pub(crate) fn mark_tree(&self, id: &Oid, seen: &mut Marks, recent: &mut Recent) -> Result<()> {
        let mut open = vec![*id];
        let mut data = Vec::new();
        if self.object_size(id)?.is_some_and(|(kind, _)| kind != Kind::Tree) {
            seen.put(&self.packs.load(), id);
            return Ok(());
        }
        while let Some(id) = open.pop() {
            if !seen.put(&self.packs.load(), &id) {
                continue;
            }
            if self.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)?.is_none() {
                return Err(RepoError::Missing { id });
            }
            for entry in TreeEntries::new(&data, id.as_bytes().len()) {
                let entry = entry.map_err(|why| RepoError::BrokenObject { id, why: why.into() })?;
                match entry.kind() {
                    None => {}
                    // An open tree is put in before anything else is asked.
                    Some(_) if recent.came(&entry.id) => {}
                    Some(Kind::Tree) => open.push(entry.id),
                    Some(_) => drop(seen.put(&self.packs.load(), &entry.id)),
                }
            }
        }
        Ok(())
    }

    /// The graph for the next generation: this one, unless it has grown too large.
    pub(crate) fn graph_to_keep(&self, objects: &Path) -> Result<Arc<Graph>> {
        if self.graph.kept() > GRAPH_KEPT_MAX {
            return Ok(Arc::new(Graph::open(objects, self.format)?));
        }
        Ok(self.graph.clone())
    }

    /// The graph of commits, shared by generations.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }
}
