//! History: the log of a commit, the log of a path, and the last change of each entry of a folder.
//!
//! Commits come out as `git log` shows them: a queue ordered by committer date, newest first, those of one second in
//! the order in which they were found. Nothing is walked ahead of the page that is asked for. A path's history is
//! simplified by git's default rule (git-log(1), "History Simplification"): a commit that agrees with one of its
//! parents at the path is left out and only the first such parent is followed.
//! Knows nothing of refs; all work stops at the [`Budget`].

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Instant;

use slipway_core::Oid;

use super::commit::Link;
use super::tree::{Chain, Tree};
use super::{Commit, Mode, Objects, path};
use crate::limits::CLOCK_COMMITS;
use crate::{RepoError, Result};

/// Time and work that a read may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// When it ends.
    pub deadline: Instant,
    /// Most commits looked at.
    pub commits_max: usize,
}

/// One page of a log.
#[derive(Clone, Debug, Default)]
pub struct LogPage {
    /// Newest first.
    pub commits: Vec<Commit>,
    /// There may be further commits after these.
    pub more: bool,
    /// The budget ended the walk.
    pub cut: bool,
}

/// Counts what is spent of a [`Budget`].
struct Meter<'a> {
    budget: &'a Budget,
    commits: usize,
}

impl<'a> Meter<'a> {
    fn new(budget: &'a Budget) -> Self {
        Self { budget, commits: 0 }
    }

    /// Takes one commit's worth; false if there is none left.
    fn spend(&mut self) -> bool {
        if self.commits >= self.budget.commits_max {
            return false;
        }
        let look = self.commits.is_multiple_of(CLOCK_COMMITS);
        self.commits += 1;
        !(look && self.is_late())
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.budget.deadline
    }
}

/// Newest first; those of one date in the order of arrival.
struct Queue<T> {
    heap: BinaryHeap<Queued<T>>,
    arrivals: u64,
}

struct Queued<T> {
    date: i64,
    arrival: u64,
    value: T,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { heap: BinaryHeap::new(), arrivals: 0 }
    }
    fn push(&mut self, date: i64, value: T) {
        self.arrivals += 1;
        self.heap.push(Queued { date, arrival: self.arrivals, value });
    }
    fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|q| q.value)
    }
}

impl<T> Ord for Queued<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.date.cmp(&other.date).then(other.arrival.cmp(&self.arrival))
    }
}
impl<T> PartialOrd for Queued<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> PartialEq for Queued<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<T> Eq for Queued<T> {}

/// One page of the log from `start`, of those commits that touch `path` if one is given.
pub(crate) fn log(
    objects: &dyn Objects,
    start: &Oid,
    path: Option<&str>,
    skip: usize,
    limit: usize,
    budget: &Budget,
) -> Result<LogPage> {
    let path = match path {
        None => None,
        Some(text) => match path::components(text) {
            Some(parts) => Some(parts).filter(|parts| !parts.is_empty()),
            None => return Ok(LogPage::default()),
        },
    };
    let mut walk = Walk::new(objects, start, path)?;
    let mut meter = Meter::new(budget);
    let mut page = LogPage::default();
    let mut skipped = 0;
    loop {
        if walk.queue.heap.is_empty() {
            return Ok(page);
        }
        if !meter.spend() {
            page.cut = true;
            page.more = true;
            return Ok(page);
        }
        let Some(link) = walk.next()? else { continue };
        if skipped < skip {
            skipped += 1;
        } else if page.commits.len() < limit {
            page.commits.push(link.commit());
        } else {
            page.more = true;
            return Ok(page);
        }
    }
}

struct Walk<'a> {
    objects: &'a dyn Objects,
    path: Option<Vec<Vec<u8>>>,
    queue: Queue<(Link, Option<Chain>)>,
    seen: HashSet<Oid>,
}

impl<'a> Walk<'a> {
    fn new(objects: &'a dyn Objects, start: &Oid, path: Option<Vec<Vec<u8>>>) -> Result<Self> {
        let link = Link::peel(objects, start)?.ok_or(RepoError::Missing { id: *start })?;
        let chain = path.as_ref().map(|p| Chain::follow(objects, link.tree, p, None)).transpose()?;
        let mut walk = Self { objects, path, queue: Queue::new(), seen: HashSet::from([link.id]) };
        walk.queue.push(link.date, (link, chain));
        Ok(walk)
    }

    /// Takes the next commit off the queue and queues its parents; `None` if it does not touch the path.
    fn next(&mut self) -> Result<Option<Link>> {
        let Some((link, chain)) = self.queue.pop() else { return Ok(None) };
        let (Some(path), Some(chain)) = (self.path.clone(), chain) else {
            for parent in &link.parents {
                self.enqueue(parent, None)?;
            }
            return Ok(Some(link));
        };
        let here = chain.end(path.len());
        let mut differing = Vec::new();
        for id in &link.parents {
            let parent = Link::load(self.objects, id)?;
            let there = Chain::follow(self.objects, parent.tree, &path, Some(&chain))?;
            if there.end(path.len()) == here {
                self.enqueue_loaded(parent, Some(there));
                return Ok(None);
            }
            differing.push((parent, there));
        }
        let is_root = differing.is_empty();
        for (parent, there) in differing {
            self.enqueue_loaded(parent, Some(there));
        }
        Ok((!is_root || here.is_some()).then_some(link))
    }

    fn enqueue(&mut self, id: &Oid, chain: Option<Chain>) -> Result<()> {
        if !self.seen.contains(id) {
            let link = Link::load(self.objects, id)?;
            self.enqueue_loaded(link, chain);
        }
        Ok(())
    }

    fn enqueue_loaded(&mut self, link: Link, chain: Option<Chain>) {
        if self.seen.insert(link.id) {
            self.queue.push(link.date, (link, chain));
        }
    }
}

/// For each entry of the folder `path` of `start`, the commit that `git log -1` names for it. Entries that the budget
/// does not reach are left out; the others come in the tree's order.
///
/// One walk answers for all entries. By the simplification rule each entry's search runs along one line of commits, so
/// a commit carries the entries whose search stands at it and hands each on to the first parent that agrees with it.
pub(crate) fn last_changes(
    objects: &dyn Objects,
    start: &Oid,
    path: &str,
    budget: &Budget,
) -> Result<Vec<(String, Commit)>> {
    let Some(path) = path::components(path) else { return Ok(Vec::new()) };
    let link = Link::peel(objects, start)?.ok_or(RepoError::Missing { id: *start })?;
    let chain = Chain::follow(objects, link.tree, &path, None)?;
    let Some((Mode::Tree, folder)) = chain.end(path.len()) else { return Ok(Vec::new()) };
    let first = Tree::load(objects, &folder)?;
    let mut search = Search {
        objects,
        path,
        names: first.rows.iter().enumerate().map(|(at, row)| (first.name(row).to_vec(), at)).collect(),
        found: vec![None; first.rows.len()],
        waiting: HashMap::new(),
        queue: Queue::new(),
    };
    search.hand_on(link, chain, (0..first.rows.len()).collect());
    let mut meter = Meter::new(budget);
    while let Some(id) = search.queue.pop() {
        if !meter.spend() {
            break;
        }
        search.step(&id)?;
    }
    let named = first.rows.iter().zip(search.found);
    Ok(named.filter_map(|(row, commit)| Some((path::to_text(first.name(row)), commit?))).collect())
}

struct Search<'a> {
    objects: &'a dyn Objects,
    path: Vec<Vec<u8>>,
    /// The folder's entries, by name.
    names: HashMap<Vec<u8>, usize>,
    found: Vec<Option<Commit>>,
    /// The entries whose search stands at a commit.
    waiting: HashMap<Oid, (Link, Chain, Vec<usize>)>,
    queue: Queue<Oid>,
}

impl Search<'_> {
    fn hand_on(&mut self, link: Link, chain: Chain, entries: Vec<usize>) {
        if let Some((_, _, waiting)) = self.waiting.get_mut(&link.id) {
            waiting.extend(entries);
            return;
        }
        self.queue.push(link.date, link.id);
        self.waiting.insert(link.id, (link, chain, entries));
    }

    fn step(&mut self, id: &Oid) -> Result<()> {
        let Some((link, chain, mut entries)) = self.waiting.remove(id) else { return Ok(()) };
        for parent in &link.parents {
            let parent = Link::load(self.objects, parent)?;
            let there = Chain::follow(self.objects, parent.tree, &self.path, Some(&chain))?;
            let changed = self.changed(&chain, &there)?;
            let (differ, agree): (Vec<usize>, Vec<usize>) = match changed {
                Changed::All => (entries, Vec::new()),
                Changed::Some(set) => entries.into_iter().partition(|at| set.contains(at)),
            };
            if !agree.is_empty() {
                self.hand_on(parent, there, agree);
            }
            entries = differ;
            if entries.is_empty() {
                return Ok(());
            }
        }
        let commit = link.commit();
        for at in entries {
            if let Some(slot) = self.found.get_mut(at) {
                *slot = Some(commit.clone());
            }
        }
        Ok(())
    }

    /// The entries asked for that differ between the folder of a commit and of its parent.
    fn changed(&self, here: &Chain, there: &Chain) -> Result<Changed> {
        let (here, there) = (here.end(self.path.len()), there.end(self.path.len()));
        if here == there {
            return Ok(Changed::Some(HashSet::new()));
        }
        let (Some((Mode::Tree, here)), Some((Mode::Tree, there))) = (here, there) else {
            return Ok(Changed::All);
        };
        let (here, there) = (Tree::load(self.objects, &here)?, Tree::load(self.objects, &there)?);
        let mut set = HashSet::new();
        let (mut i, mut j) = (0, 0);
        loop {
            let (a, b) = (here.rows.get(i), there.rows.get(j));
            let order = match (a, b) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => here.order(a, &there, b),
            };
            let same = matches!((a, b), (Some(a), Some(b)) if (a.mode, a.id) == (b.mode, b.id));
            if order != Ordering::Equal || !same {
                let name = match order {
                    Ordering::Greater => b.map(|row| there.name(row)),
                    _ => a.map(|row| here.name(row)),
                };
                set.extend(name.and_then(|name| self.names.get(name)));
            }
            i += usize::from(order != Ordering::Greater);
            j += usize::from(order != Ordering::Less);
        }
        Ok(Changed::Some(set))
    }
}

enum Changed {
    All,
    Some(HashSet<usize>),
}
