//! A tree of files in memory that knows what was made durable and what was not: what a power cut may leave of it.
//!
//! The promises are those of POSIX, no more: `fsync` of a file keeps its bytes, `fsync` of a folder keeps its names. Changes of
//! names reach the disk in the order in which they were made, as a journal has it, so a cut leaves some beginning of those
//! that were not kept. Bytes that were not kept are there, or not, in pieces.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::Errno;

/// Bytes of a piece, which is on the disk as a whole or not at all.
const PIECE: usize = 16 << 10;
pub(crate) const ROOT: u64 = 1;

/// What a name leads to.
pub(crate) enum Kind {
    File(Bytes),
    Folder(BTreeMap<OsString, u64>),
    Link(PathBuf),
    Socket,
}

/// A file's bytes, in pieces.
#[derive(Clone, Default)]
struct Data {
    pieces: Vec<Arc<Vec<u8>>>,
    len: usize,
}

/// A file's bytes now, and those that were kept last.
#[derive(Default)]
pub(crate) struct Bytes {
    now: Data,
    kept: Data,
}

/// Something with a number.
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) links: u32,
    pub(crate) changed: SystemTime,
}

/// A name in a folder that leads elsewhere now, or nowhere.
type Change = (u64, OsString, Option<u64>);

/// The tree.
pub(crate) struct Tree {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// The names that are on the disk.
    kept: BTreeMap<u64, BTreeMap<OsString, u64>>,
    /// What was done to names since, each step as a whole.
    journal: Vec<Vec<Change>>,
}

impl Data {
    fn read(&self, offset: usize, size: usize) -> Vec<u8> {
        let end = offset.saturating_add(size).min(self.len);
        let mut out = Vec::new();
        let mut at = offset;
        while at < end {
            let (piece, from) = (at / PIECE, at % PIECE);
            let len = (PIECE - from).min(end - at);
            out.extend_from_slice(&self.pieces[piece][from..from + len]);
            at += len;
        }
        out
    }

    fn resize(&mut self, len: usize) {
        self.pieces.resize_with(len.div_ceil(PIECE), || Arc::new(vec![0; PIECE]));
        if len < self.len && !len.is_multiple_of(PIECE) {
            let last = self.pieces.last_mut().expect("it is not empty");
            Arc::make_mut(last)[len % PIECE..].fill(0);
        }
        self.len = len;
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        if offset + data.len() > self.len {
            self.resize(offset + data.len());
        }
        let mut done = 0;
        while done < data.len() {
            let (piece, from) = ((offset + done) / PIECE, (offset + done) % PIECE);
            let len = (PIECE - from).min(data.len() - done);
            Arc::make_mut(&mut self.pieces[piece])[from..from + len].copy_from_slice(&data[done..done + len]);
            done += len;
        }
    }

    fn is(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(a, b);
        self.len == other.len && self.pieces.iter().zip(&other.pieces).all(same)
    }

    /// Some of the pieces of `self`, the others as they were: what a disk may hold of bytes that nobody kept.
    fn torn(&self, old: &Self, choose: &mut dyn FnMut(usize) -> usize) -> Self {
        let mut torn = if choose(2) == 0 { self.clone() } else { old.clone() };
        for (at, piece) in torn.pieces.iter_mut().enumerate() {
            let other = if choose(2) == 0 { self.pieces.get(at) } else { old.pieces.get(at) };
            // A piece that was never written is zeros.
            *piece = other.cloned().unwrap_or_else(|| Arc::new(vec![0; PIECE]));
        }
        torn
    }
}

impl Bytes {
    pub(crate) fn len(&self) -> usize {
        self.now.len
    }

    pub(crate) fn read(&self, offset: usize, size: usize) -> Vec<u8> {
        self.now.read(offset, size)
    }

    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) {
        self.now.write(offset, data);
    }

    pub(crate) fn resize(&mut self, len: usize) {
        self.now.resize(len);
    }

    pub(crate) fn keep(&mut self) {
        self.kept = self.now.clone();
    }

    fn cut(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        if self.now.is(&self.kept) {
            return;
        }
        self.now = match choose(3) {
            0 => self.kept.clone(),
            1 => self.now.clone(),
            _ => self.now.torn(&self.kept, choose),
        };
        self.kept = self.now.clone();
    }
}

impl Tree {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        let root = Node {
            kind: Kind::Folder(BTreeMap::new()),
            mode: 0o755,
            owner: (0, 0),
            links: 2,
            changed: SystemTime::now(),
        };
        Self { nodes: [(ROOT, root)].into(), next: ROOT + 1, kept: BTreeMap::new(), journal: Vec::new() }
    }

    pub(crate) fn node(&self, number: u64) -> Result<&Node, Errno> {
        self.nodes.get(&number).ok_or(Errno::ENOENT)
    }

    pub(crate) fn node_mut(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&number).ok_or(Errno::ENOENT)
    }

    pub(crate) fn file(&self, number: u64) -> Result<&Bytes, Errno> {
        if let Kind::File(bytes) = &self.node(number)?.kind { Ok(bytes) } else { Err(Errno::EISDIR) }
    }

    /// A file about to change.
    pub(crate) fn file_mut(&mut self, number: u64) -> Result<&mut Bytes, Errno> {
        let node = self.node_mut(number)?;
        node.changed = SystemTime::now();
        if let Kind::File(bytes) = &mut node.kind { Ok(bytes) } else { Err(Errno::EISDIR) }
    }

    pub(crate) fn folder(&self, number: u64) -> Result<&BTreeMap<OsString, u64>, Errno> {
        if let Kind::Folder(names) = &self.node(number)?.kind { Ok(names) } else { Err(Errno::ENOTDIR) }
    }

    pub(crate) fn find(&self, folder: u64, name: &OsStr) -> Result<u64, Errno> {
        self.folder(folder)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// Names change, as one step.
    fn step(&mut self, changes: Vec<Change>) -> Result<(), Errno> {
        for (folder, name, to) in &changes {
            let old = self.folder(*folder)?.get(name).copied();
            if let Some(old) = old.and_then(|old| self.nodes.get_mut(&old)) {
                old.links = old.links.saturating_sub(1);
            }
            if let Some(new) = to.and_then(|to| self.nodes.get_mut(&to)) {
                new.links += 1;
            }
            let node = self.node_mut(*folder)?;
            node.changed = SystemTime::now();
            if let Kind::Folder(names) = &mut node.kind {
                match to {
                    Some(to) => drop(names.insert(name.clone(), *to)),
                    None => drop(names.remove(name)),
                }
            }
        }
        self.journal.push(changes);
        Ok(())
    }

    pub(crate) fn add(
        &mut self,
        folder: u64,
        name: &OsStr,
        kind: Kind,
        (mode, owner): (u32, (u32, u32)),
    ) -> Result<u64, Errno> {
        if self.find(folder, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.folder(folder)?;
        let number = self.next;
        self.next += 1;
        let links = if matches!(kind, Kind::Folder(_)) { 1 } else { 0 };
        self.nodes.insert(number, Node { kind, mode, owner, links, changed: SystemTime::now() });
        self.step(vec![(folder, name.to_owned(), Some(number))])?;
        Ok(number)
    }

    pub(crate) fn link(&mut self, number: u64, folder: u64, name: &OsStr) -> Result<(), Errno> {
        if self.find(folder, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.step(vec![(folder, name.to_owned(), Some(number))])
    }

    pub(crate) fn remove(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Result<(), Errno> {
        let number = self.find(folder, name)?;
        match &self.node(number)?.kind {
            Kind::Folder(names) if is_folder && !names.is_empty() => return Err(Errno::ENOTEMPTY),
            Kind::Folder(_) if !is_folder => return Err(Errno::EISDIR),
            Kind::Folder(_) => {}
            _ if is_folder => return Err(Errno::ENOTDIR),
            _ => {}
        }
        self.step(vec![(folder, name.to_owned(), None)])
    }

    pub(crate) fn rename(
        &mut self,
        (from, name): (u64, &OsStr),
        (to, new): (u64, &OsStr),
        replace: bool,
    ) -> Result<(), Errno> {
        let number = self.find(from, name)?;
        if let Ok(there) = self.find(to, new) {
            if !replace {
                return Err(Errno::EEXIST);
            }
            if there == number {
                return Ok(());
            }
            if matches!(&self.node(there)?.kind, Kind::Folder(names) if !names.is_empty()) {
                return Err(Errno::ENOTEMPTY);
            }
        }
        self.step(vec![(to, new.to_owned(), Some(number)), (from, name.to_owned(), None)])
    }

    /// A folder is kept; with it, as a journal has it, all that was done to names before.
    pub(crate) fn keep_names(&mut self) {
        let journal = std::mem::take(&mut self.journal);
        journal.into_iter().for_each(|step| replay(&mut self.kept, step));
    }

    /// The power goes, and is back: what was kept is there, and of the rest what `choose` (a number below the one it is
    /// given) says.
    pub(crate) fn cut(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        let journal = std::mem::take(&mut self.journal);
        let kept = choose(journal.len() + 1);
        journal.into_iter().take(kept).for_each(|step| replay(&mut self.kept, step));
        for (number, node) in &mut self.nodes {
            match &mut node.kind {
                Kind::File(bytes) => bytes.cut(choose),
                Kind::Folder(names) => *names = self.kept.get(number).cloned().unwrap_or_default(),
                Kind::Link(_) | Kind::Socket => {}
            }
        }
        self.count_links();
    }

    /// How many names lead to each node: the kernel links nothing anew that none does.
    fn count_links(&mut self) {
        let mut links: BTreeMap<u64, u32> = BTreeMap::new();
        for node in self.nodes.values() {
            if let Kind::Folder(names) = &node.kind {
                names.values().for_each(|number| *links.entry(*number).or_default() += 1);
            }
        }
        for (number, node) in &mut self.nodes {
            let own = u32::from(matches!(node.kind, Kind::Folder(_)));
            node.links = own + links.get(number).copied().unwrap_or(0);
        }
    }
}

fn replay(kept: &mut BTreeMap<u64, BTreeMap<OsString, u64>>, step: Vec<Change>) {
    for (folder, name, to) in step {
        let names = kept.entry(folder).or_default();
        match to {
            Some(to) => drop(names.insert(name, to)),
            None => drop(names.remove(&name)),
        }
    }
}
