//! Which objects an answer has: what the wants reach less what the haves reach.
//!
//! Of each commit ([`super::commits`]) what its tree has that its parents' trees have not ([`super::news`]) is taken,
//! parents first: so what a parent has at a path and is not taken is the client's, and is not sent if it comes back. Where
//! a file came back from elsewhere it may be sent again, as git's own sparse walk does; that costs bytes, never
//! correctness. With a filter, trees are walked whole, up to what the nearest commits that the client has show along the
//! way. Who wants all that the refs reach and has nothing is given what is known of that, without a walk.

mod trees;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use super::commits::{Chosen, Commits, commits, nodes};
use super::filter::{Filter, FilteredWalk};
use super::news::{New, Trees};
use super::request::PackRequest;
use super::selected::{Edge, Selected, Twin};
use super::stored::{News, Stored};
use crate::bitmaps::LeftOut;
use crate::error::{RepoError, Result};
use crate::ids::{IdMap, IdSet};
use crate::limits::{
    LINKED_OBJECT_BYTES_MAX, NEWS_COMMITS_MAX, PEEL_DEPTH_MAX, SENT_MAX, STORED_MAX, TWINS_MAX,
    WALKED_COMMITS_MAX,
};
use crate::links::tag_target;
use crate::marks::Marks;
use crate::object::{Kind, Objects};
use crate::packs::PackSet;
use crate::snapshot::Snapshot;

struct Select<'a> {
    snapshot: &'a Snapshot,
    request: &'a PackRequest,
    stop: &'a AtomicBool,
    taken: Marks,
    edge: Edge,
    twins: IdMap<Twin>,
    stored: Vec<Stored>,
    /// Commits that were taken, and what changed with them, for a look that needs no index.
    sent: IdSet,
    /// Something else was taken too: the index has to be asked.
    walked: bool,
    /// The walk over trees, where a filter leaves something out.
    filtered: Option<FilteredWalk>,
    /// What is left out wherever it lies, if that is all there is to the filter.
    left_out: Option<LeftOut>,
    /// Pairs of trees that were laid beside one another.
    beside: HashSet<(Oid, Oid)>,
    buffers: (Vec<u8>, Vec<u8>),
    /// With more commits than this to send, bitmaps are asked instead.
    commits_max: usize,
}

/// Commits that are wanted, and trees and blobs.
type Starts = (Vec<Oid>, Vec<(Oid, Kind)>);

/// Selects the objects of an answer.
pub(crate) fn select(snapshot: &Snapshot, request: &PackRequest, stop: &AtomicBool) -> Result<Selected> {
    if wants_everything(snapshot, request) {
        return Ok(Selected::just(snapshot.all_reachable(stop)?));
    }
    let packs = snapshot.packs.load();
    let mut select = Select {
        snapshot,
        request,
        stop,
        taken: Marks::for_packs(&packs),
        edge: Edge::default(),
        twins: IdMap::default(),
        stored: Vec::new(),
        sent: IdSet::default(),
        walked: false,
        left_out: request.filter.rules().left_out(),
        filtered: (request.filter != Filter::None).then(|| FilteredWalk::new(&request.filter)),
        beside: HashSet::new(),
        buffers: Default::default(),
        commits_max: usize::MAX,
    };
    if select.bitmaps_serve() {
        select.commits_max = WALKED_COMMITS_MAX;
    }
    select.run()?;
    let Select { taken, mut edge, twins, stored, walked, .. } = select;
    edge.sent_too = walked;
    Ok(Selected { taken: Arc::new(taken), edge, twins, stored })
}

fn wants_everything(snapshot: &Snapshot, request: &PackRequest) -> bool {
    let cut = [&request.haves, &request.client_shallow, &request.shallow, &request.unshallow];
    request.filter == Filter::None
        && cut.iter().all(|list| list.is_empty())
        && snapshot.is_everything(&request.wants.iter().collect())
}

impl<'a> Select<'a> {
    fn run(&mut self) -> Result<()> {
        let (commits, others) = self.starts()?;
        let many = self.request.haves.is_empty() && self.bitmaps_serve();
        if many && self.by_bitmaps(&commits)? {
            return self.finish(&others);
        }
        let chosen = match self.commits(&commits)? {
            Some(chosen) => chosen,
            None if self.by_bitmaps(&commits)? => return self.finish(&others),
            None => {
                self.commits_max = usize::MAX;
                match self.commits(&commits)? {
                    Some(chosen) => chosen,
                    None => return self.finish(&others),
                }
            }
        };
        match self.filtered.take() {
            None => self.changes(&chosen)?,
            Some(mut walk) => {
                self.filtered_commits(&chosen, &commits, &mut walk)?;
                self.filtered = Some(walk);
            }
        }
        self.finish(&others)
    }

    /// The commits to send, parents first; `None` if they are many and bitmaps will tell sooner.
    fn commits(&self, wants: &[Oid]) -> Result<Option<Commits<'a>>> {
        let edges = self.filtered.as_ref().is_some_and(FilteredWalk::looks_below_commits);
        commits(self.snapshot, self.request, wants, (self.commits_max, edges), self.stop)
    }

    /// Takes the commits and what changed with each.
    fn changes(&mut self, commits: &Commits<'_>) -> Result<()> {
        let snapshot = self.snapshot;
        let mut trees = Trees::new(snapshot);
        let keep = commits.len() <= NEWS_COMMITS_MAX;
        for chosen in commits.iter() {
            self.go_on()?;
            let Chosen { id, tree, beside, .. } = &chosen?;
            self.take(id);
            self.sent.insert(*id);
            if beside.is_empty() {
                self.whole_tree(tree, false)?;
                continue;
            }
            let key = (*tree, beside.as_slice().into());
            let packs = snapshot.packs.load_full();
            if let Some(news) = snapshot.findings.answers.recipes.parts.news.get(&key).filter(|_| keep) {
                self.news(&packs, &news.list, &news.entries(&packs)?);
                continue;
            }
            match trees.news(tree, beside, self.stop)? {
                Some(list) if keep => {
                    let news = Arc::new(News::new(list));
                    self.news(&packs, &news.list, &news.entries(&packs)?);
                    snapshot.findings.answers.recipes.parts.news.put(key, news);
                }
                Some(list) => self.news(&packs, &list, &[]),
                None => {
                    beside.iter().try_for_each(|old| self.mark_edges(tree, old))?;
                    self.whole_tree(tree, false)?;
                }
            }
        }
        Ok(())
    }

    /// Takes what is new in a tree, but for what the client has. `entries` tells how it is stored, where that is known.
    fn news(&mut self, packs: &PackSet, list: &[New], entries: &[Option<Stored>]) {
        if self.sent.len() > SENT_MAX {
            self.sent = IdSet::default();
            self.walked = true;
        }
        let mut at = 0;
        while let Some(New { id, was, below }) = list.get(at) {
            let stored = entries.get(at).copied().flatten();
            at += 1;
            // Everything that the parent has is taken or the client's.
            if let Some(was) = *was
                && !self.has(packs, &was)
            {
                self.edge.met.insert(was);
            }
            if self.edge.met.contains(id) || !self.sent.insert(*id) || !self.put(packs, id, stored) {
                at += *below as usize;
            } else if let Some(was) = *was {
                self.twin(*id, was);
            }
        }
    }

    /// Puts an object of that entry into the answer; false if it is in.
    fn put(&mut self, packs: &PackSet, id: &Oid, stored: Option<Stored>) -> bool {
        let Some(stored) = stored else { return self.taken.put(packs, id) };
        let is_new = self.taken.put_at(packs, id, stored.place);
        if is_new && self.stored.len() < STORED_MAX {
            self.stored.push(stored);
        }
        is_new
    }

    fn twin(&mut self, id: Oid, was: Oid) {
        let turn = self.twins.len();
        if turn < TWINS_MAX {
            self.twins.entry(id).or_insert(Twin { was, turn: turn as u32 });
        }
    }

    /// Takes of the commits and their trees what the filter lets through.
    fn filtered_commits(
        &mut self,
        commits: &Commits<'_>,
        wanted: &[Oid],
        walk: &mut FilteredWalk,
    ) -> Result<()> {
        let all = walk.sends(Kind::Commit);
        let by_id = if all { HashSet::new() } else { self.asked_for(wanted)? };
        self.walked = true;
        for id in commits.ids().filter(|id| all || by_id.contains(id)) {
            self.take(&id);
        }
        if !walk.looks_below_commits() {
            return Ok(());
        }
        for chosen in commits.iter() {
            let Chosen { tree, edges, .. } = chosen?;
            edges.iter().try_for_each(|edge| self.mark_edges(&tree, edge))?;
        }
        commits.iter().try_for_each(|chosen| self.filtered_tree(&chosen?.tree, false, walk))
    }

    /// Takes what is wanted and is no commit, and tags that come along.
    fn finish(&mut self, others: &[(Oid, Kind)]) -> Result<()> {
        for (id, kind) in others {
            self.walked = true;
            self.take(id);
            if *kind == Kind::Tree {
                self.tree(id, true)?;
            }
        }
        if self.request.include_tag { self.tags() } else { Ok(()) }
    }

    /// True if bitmaps can tell what is asked for: nothing is cut off, and what is left out is left out anywhere.
    fn bitmaps_serve(&self) -> bool {
        let PackRequest { client_shallow, shallow, unshallow, .. } = self.request;
        let whole = client_shallow.is_empty() && shallow.is_empty() && unshallow.is_empty();
        // Without commits it is those asked for that matter.
        let told = self.left_out.as_ref().is_some_and(|out| !out.kinds.contains(&Kind::Commit));
        whole && told && self.snapshot.bitmaps().is_some()
    }

    /// Takes what the commits reach and the haves do not, by bitmaps; false if there are none.
    fn by_bitmaps(&mut self, commits: &[Oid]) -> Result<bool> {
        if !self.bitmaps_serve() {
            return Ok(false);
        }
        let (snapshot, haves) = (self.snapshot, &self.request.haves);
        let Some(mut wanted) = snapshot.reach_of(commits, self.stop)? else { return Ok(false) };
        if !haves.is_empty() {
            let Some(had) = snapshot.reach_of(haves, self.stop)? else { return Ok(false) };
            wanted.remove(&had);
            self.edge.told = had;
        }
        if let Some(out) = &self.left_out
            && !snapshot.leave_out(out, &mut wanted, self.stop)?
        {
            return Ok(false);
        }
        self.taken.add(&wanted);
        self.walked = true;
        Ok(true)
    }

    fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(RepoError::Stopped) } else { Ok(()) }
    }

    /// True if the object is in the answer.
    fn has(&self, packs: &PackSet, id: &Oid) -> bool {
        self.sent.contains(id) || (self.walked && self.taken.has(packs, id))
    }

    /// Puts an object into the answer; false if it is in.
    fn take(&mut self, id: &Oid) -> bool {
        self.taken.put(&self.snapshot.packs.load(), id)
    }

    /// Follows the wants' tags, which are taken, to commits, and to trees and blobs.
    fn starts(&mut self) -> Result<Starts> {
        let (mut commits, mut others) = (Vec::new(), Vec::new());
        let had: HashSet<&Oid> = self.request.haves.iter().collect();
        for want in &self.request.wants {
            let (mut id, mut is_had) = (*want, false);
            for _ in 0..PEEL_DEPTH_MAX {
                match self.snapshot.object_size(&id)? {
                    None => return Err(RepoError::Missing { id }),
                    Some((Kind::Commit, _)) => commits.push(id),
                    Some((Kind::Tag, _)) => {
                        if had.contains(&id) {
                            is_had = true;
                        } else {
                            self.take(&id);
                        }
                        let tag = self
                            .snapshot
                            .find(&id, LINKED_OBJECT_BYTES_MAX)?
                            .ok_or(RepoError::Missing { id })?;
                        let broken = RepoError::BrokenObject { id, why: "its header is not valid".into() };
                        id = tag_target(&tag.data).ok_or(broken)?.0;
                        continue;
                    }
                    // Who has a tag has what is behind it.
                    Some(_) if is_had || had.contains(&id) => {}
                    Some((kind, _)) => others.push((id, kind)),
                }
                break;
            }
        }
        Ok((commits, others))
    }

    /// The commits that are sent whatever the filter says: those wanted, and those right behind the boundary that goes.
    fn asked_for(&self, wants: &[Oid]) -> Result<HashSet<Oid>> {
        let (snapshot, graph) = (self.snapshot, self.snapshot.graph());
        let mut found: HashSet<Oid> = wants.iter().copied().collect();
        for node in nodes(self.snapshot, &self.request.unshallow)? {
            found.extend(graph.commit(snapshot, node)?.parents.iter().map(|&parent| graph.id(parent)));
        }
        Ok(found)
    }

    /// Takes annotated tags of what is taken, and the tags between.
    fn tags(&mut self) -> Result<()> {
        let snapshot = self.snapshot;
        let packs = snapshot.packs.load_full();
        for r in snapshot.refs() {
            let Some(peeled) = r.peeled.filter(|_| r.name.as_tag().is_some()) else { continue };
            if !self.has(&packs, &peeled) {
                continue;
            }
            let mut id = r.target;
            for _ in 0..PEEL_DEPTH_MAX {
                if id == peeled {
                    break;
                }
                self.take(&id);
                let tag = snapshot.find(&id, LINKED_OBJECT_BYTES_MAX)?.ok_or(RepoError::Missing { id })?;
                match tag_target(&tag.data) {
                    Some((target, _)) => id = target,
                    None => break,
                }
            }
        }
        Ok(())
    }
}
