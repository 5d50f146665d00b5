//! Random histories, held in memory with all of their links: what a test needs to know of them it asks here, and neither
//! of the two programs that it compares.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use aws_lc_rs::digest;
use slipway_core::Oid;

use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Commit = 1,
    Tree = 2,
    Blob = 3,
    Tag = 4,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) data: Vec<u8>,
    /// What it leads to: of a commit its tree, then its parents; of a tree no submodules.
    pub(crate) links: Vec<Oid>,
}

/// A folder in the making.
#[derive(Clone)]
enum Node {
    Folder(BTreeMap<Vec<u8>, Node>),
    Leaf(&'static str, Oid),
}

type Folder = BTreeMap<Vec<u8>, Node>;

pub(crate) struct History {
    pub(crate) sha256: bool,
    pub(crate) objects: BTreeMap<Oid, Object>,
    /// All objects in the order in which they came to be.
    pub(crate) order: Vec<Oid>,
    pub(crate) commits: Vec<Oid>,
    pub(crate) dates: Vec<i64>,
    pub(crate) refs: BTreeMap<String, Oid>,
    /// What HEAD names; it need not be there.
    pub(crate) head: &'static str,
    folders: Vec<Folder>,
    /// Dates may run backwards.
    pub(crate) skewed: bool,
}

/// Whether repositories of that format are served.
const SHA256: bool = true;

const NAMES: [&str; 12] =
    ["a", "a.txt", "a-b", "b", "src", "src.d", "lib", "deep", "x", "README", "Makefile", "z\u{e9}"];

impl History {
    pub(crate) fn new(random: &mut Random, most: usize) -> Self {
        let mut history = Self {
            sha256: random.one_in(6) && SHA256,
            objects: BTreeMap::new(),
            order: Vec::new(),
            commits: Vec::new(),
            dates: Vec::new(),
            refs: BTreeMap::new(),
            head: if random.one_in(8) { "refs/heads/unborn" } else { "refs/heads/main" },
            folders: Vec::new(),
            skewed: random.one_in(5),
        };
        for _ in 0..1 + random.below(most) {
            history.commit(random);
        }
        history.name(random);
        history
    }

    /// Puts an object in.
    pub(crate) fn put(&mut self, kind: Kind, data: Vec<u8>, links: Vec<Oid>) -> Oid {
        let id = object_id(self.sha256, kind, &data);
        if self.objects.insert(id, Object { kind, data, links }).is_none() {
            self.order.push(id);
        }
        id
    }

    /// An id of nothing.
    pub(crate) fn unknown(&self, random: &mut Random) -> Oid {
        Oid::from_bytes(&random.bytes(if self.sha256 { 32 } else { 20 })).unwrap()
    }

    pub(crate) fn format(&self) -> &'static str {
        if self.sha256 { "sha256" } else { "sha1" }
    }

    /// Adds a commit on top of some others.
    pub(crate) fn commit(&mut self, random: &mut Random) -> Oid {
        let parents = self.parents(random);
        let mut folder = match parents.first() {
            Some(&first) => self.folders[first].clone(),
            None => Folder::new(),
        };
        if let Some(&second) = parents.get(1) {
            for (name, node) in &self.folders[second] {
                if random.one_in(2) {
                    folder.insert(name.clone(), node.clone());
                }
            }
        }
        for _ in 0..random.below(4) {
            self.change(&mut folder, random);
        }
        let tree = self.tree(&folder, random);
        let newest = parents.iter().map(|&p| self.dates[p]).max().unwrap_or(1_700_000_000);
        let date = match random.below(10) {
            0 if self.skewed => newest - random.below(100_000) as i64,
            0..2 => newest,
            _ => newest + random.below(5_000) as i64,
        };
        let mut text = format!("tree {tree}\n");
        for &parent in &parents {
            text += &format!("parent {}\n", self.commits[parent]);
        }
        text += &format!("author A <a@example.org> {date} +0000\ncommitter C <c@example.org> {date} +0100\n");
        text += &format!("\nchange {}\n", self.commits.len());
        let links = std::iter::once(tree).chain(parents.iter().map(|&p| self.commits[p])).collect();
        let id = self.put(Kind::Commit, text.into_bytes(), links);
        self.commits.push(id);
        self.dates.push(date);
        self.folders.push(folder);
        id
    }

    fn parents(&self, random: &mut Random) -> Vec<usize> {
        let count = self.commits.len();
        let wish = match random.below(20) {
            0 => 0,
            1..14 => 1,
            14..19 => 2,
            _ => 3 + random.below(3),
        };
        let mut parents = Vec::new();
        for _ in 0..wish.min(count) {
            // Near the newest as a rule, so that there are branches and not only a fan.
            let reach = if random.one_in(4) { count } else { count.min(4) };
            let back = random.below(reach);
            if !parents.contains(&(count - 1 - back)) {
                parents.push(count - 1 - back);
            }
        }
        parents
    }

    /// One change somewhere in a folder: a file new, changed, gone, moved or back from before.
    fn change(&mut self, folder: &mut Folder, random: &mut Random) {
        let path = some_path(random);
        match random.below(12) {
            0..5 => {
                let id = self.blob(random);
                set(folder, &path, Node::Leaf("100644", id));
            }
            5 => drop(take(folder, &path)),
            6 => {
                if let Some(node) = take(folder, &path) {
                    set(folder, &some_path(random), node);
                }
            }
            7 => {
                let module = self.unknown(random);
                set(folder, &path, Node::Leaf("160000", module));
            }
            8 => {
                let id = self.put(Kind::Blob, b"../a".to_vec(), Vec::new());
                set(folder, &path, Node::Leaf("120000", id));
            }
            9 => {
                let id = self.blob(random);
                set(folder, &path, Node::Leaf("100755", id));
            }
            10 => {
                let blobs = self.ids(Kind::Blob);
                if !blobs.is_empty() {
                    set(folder, &path, Node::Leaf("100644", *random.pick(&blobs)));
                }
            }
            _ if random.one_in(3) => {
                set(folder, &path, Node::Folder(Folder::new()));
            }
            _ => {
                // The same folder in another place: a tree that several paths lead to.
                if let Some(node) = folder.values().find(|n| matches!(n, Node::Folder(_))).cloned() {
                    set(folder, &path, node);
                }
            }
        }
    }

    /// A blob like one that is there already, or one that is like nothing.
    fn blob(&mut self, random: &mut Random) -> Oid {
        let blobs = self.ids(Kind::Blob);
        let mut data = match random.below(8) {
            0 => random.bytes(300),
            1 => Vec::new(),
            2 => {
                let lines = 20 + random.below(200);
                (0..lines).flat_map(|n| format!("line {n} {}\n", random.below(50)).into_bytes()).collect()
            }
            _ if blobs.is_empty() => b"first\n".to_vec(),
            _ => self.objects[random.pick(&blobs)].data.clone(),
        };
        let at = random.below(data.len() + 1);
        data.splice(at..at, format!("{}\n", random.below(1000)).into_bytes());
        self.put(Kind::Blob, data, Vec::new())
    }

    fn tree(&mut self, folder: &Folder, random: &mut Random) -> Oid {
        let mut entries = Vec::new();
        for (name, node) in folder {
            match node {
                Node::Leaf(mode, id) => entries.push((name.clone(), name.clone(), *mode, *id)),
                Node::Folder(inner) if inner.is_empty() && !random.one_in(4) => {}
                Node::Folder(inner) => {
                    let id = self.tree(inner, random);
                    let key = [name, &b"/"[..]].concat();
                    entries.push((key, name.clone(), "40000", id));
                }
            }
        }
        entries.sort();
        let (mut data, mut links) = (Vec::new(), Vec::new());
        for (_, name, mode, id) in entries {
            data.extend_from_slice(mode.as_bytes());
            data.push(b' ');
            data.extend_from_slice(&name);
            data.push(0);
            data.extend_from_slice(id.as_bytes());
            if mode != "160000" {
                links.push(id);
            }
        }
        self.put(Kind::Tree, data, links)
    }

    /// An annotated tag of anything.
    pub(crate) fn tag(&mut self, target: Oid, random: &mut Random) -> Oid {
        let kind = self.objects[&target].kind.name();
        let date = 1_700_000_000 + random.below(1_000_000);
        let text = format!(
            "object {target}\ntype {kind}\ntag t{}\ntagger T <t@example.org> {date} +0000\n\ntag\n",
            random.below(1000)
        );
        self.put(Kind::Tag, text.into_bytes(), vec![target])
    }

    /// Gives names to some of it: branches, tags of all kinds, and refs elsewhere. What has none is not reachable.
    fn name(&mut self, random: &mut Random) {
        for n in 0..1 + random.below(4) {
            let name = if n == 0 { "refs/heads/main".to_owned() } else { format!("refs/heads/b{n}") };
            let near = if random.one_in(3) { self.commits.len() } else { self.commits.len().min(3) };
            let at = self.commits.len() - 1 - random.below(near);
            self.refs.insert(name, self.commits[at]);
        }
        for n in 0..random.below(6) {
            let mut target =
                if random.one_in(4) { *random.pick(&self.order) } else { *random.pick(&self.commits) };
            while random.one_in(3) {
                target = self.tag(target, random);
            }
            let place =
                *random.pick(&["refs/tags/v", "refs/tags/v", "refs/notes/n", "refs/pull/", "refs/secret/s"]);
            self.refs.insert(format!("{place}{n}"), target);
        }
        for n in 0..random.below(3) {
            let target = *random.pick(&self.commits);
            let id = self.tag(target, random);
            self.refs.insert(format!("refs/tags/rel/{n}"), id);
        }
    }

    pub(crate) fn ids(&self, kind: Kind) -> Vec<Oid> {
        self.order.iter().filter(|id| self.objects[id].kind == kind).copied().collect()
    }

    pub(crate) fn kind(&self, id: &Oid) -> Option<Kind> {
        self.objects.get(id).map(|object| object.kind)
    }

    /// What `starts` lead to; at the commits of `cuts` no further to parents. What is not there leads nowhere.
    pub(crate) fn closure<'a>(
        &self,
        starts: impl IntoIterator<Item = &'a Oid>,
        cuts: &HashSet<Oid>,
    ) -> BTreeSet<Oid> {
        let mut found = BTreeSet::new();
        let mut open: Vec<Oid> = starts.into_iter().copied().collect();
        while let Some(id) = open.pop() {
            let Some(object) = self.objects.get(&id) else { continue };
            if !found.insert(id) {
                continue;
            }
            let cut = object.kind == Kind::Commit && cuts.contains(&id);
            open.extend(object.links.iter().take(if cut { 1 } else { usize::MAX }));
        }
        found
    }

    /// The commit, tree or blob behind tags.
    pub(crate) fn peel(&self, id: &Oid) -> Oid {
        let mut id = *id;
        while self.objects[&id].kind == Kind::Tag {
            id = self.objects[&id].links[0];
        }
        id
    }
}

/// The id of an object with that content.
pub(crate) fn object_id(sha256: bool, kind: Kind, data: &[u8]) -> Oid {
    let head = format!("{} {}\0", kind.name(), data.len());
    Oid::from_bytes(&hash(sha256, &[head.as_bytes(), data])).unwrap()
}

pub(crate) fn hash(sha256: bool, parts: &[&[u8]]) -> Vec<u8> {
    let algorithm = if sha256 { &digest::SHA256 } else { &digest::SHA1_FOR_LEGACY_USE_ONLY };
    let mut context = digest::Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().to_vec()
}

fn some_path(random: &mut Random) -> Vec<Vec<u8>> {
    let depth = if random.one_in(40) { 30 } else { 1 + random.below(3) };
    (0..depth).map(|_| random.pick(&NAMES).as_bytes().to_vec()).collect()
}

fn set(folder: &mut Folder, path: &[Vec<u8>], node: Node) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        folder.insert(first.clone(), node);
        return;
    }
    let inner = folder.entry(first.clone()).or_insert_with(|| Node::Folder(Folder::new()));
    if let Node::Leaf(..) = inner {
        *inner = Node::Folder(Folder::new());
    }
    if let Node::Folder(inner) = inner {
        set(inner, rest, node);
    }
}

fn take(folder: &mut Folder, path: &[Vec<u8>]) -> Option<Node> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        return folder.remove(first);
    }
    match folder.get_mut(first) {
        Some(Node::Folder(inner)) => take(inner, rest),
        _ => None,
    }
}
