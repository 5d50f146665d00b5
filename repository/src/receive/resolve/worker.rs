//! One thread of the second pass: a stack of bases, and the deltas on them one after the other.

use std::io::{BufReader, Read, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use slipway_core::Oid;

use super::super::Progress;
use super::super::admit::{admit, admit_changed, finish_hash, start_hash};
use super::super::links::Recent;
use super::super::reader::Reader;
use super::super::scan::check_inflated;
use super::super::tree::{Checked, Outline};
use super::{Given, Resolve};
use crate::bulk::{Bulk, Taken, take_in};
use crate::delta;
use crate::error::{RepoError, Result};
use crate::inflate::{FAST_ROOM, InflateError, Inflating};
use crate::limits::{
    COMPARE_BYTES_MAX, DELTA_HEAD_BYTES_MAX, DELTA_RESULT_BYTES_MAX, LARGE_BYTES, PROGRESS_EVERY,
    RECEIVED_LINKED_BYTES_MAX, SMALL_BYTES_MAX,
};
use crate::object::Kind;
use crate::pack::EntryHeader;

/// An object that others are made from.
struct Base {
    data: Bulk,
    /// Of a tree that was checked.
    outline: Option<Outline>,
}

impl Base {
    fn bytes(&self) -> usize {
        self.data.in_memory().map_or(0, <[u8]>::len) + self.outline.as_ref().map_or(0, Outline::bytes)
    }
}

/// A base whose deltas are being resolved.
pub(super) struct Frame {
    entry: u32,
    kind: Kind,
    /// Bases above it in its chain.
    depth: u32,
    /// Dropped when memory is short.
    base: Option<Arc<Base>>,
    /// Deltas on it that are left, last first.
    children: Vec<u32>,
}

/// One thread of the second pass.
pub(super) struct Worker<'r, 'a> {
    shared: &'r Resolve<'a>,
    reader: Reader<'a>,
    recent: Recent,
    /// Deltas resolved here.
    done: u32,
    instructions: Vec<u8>,
    /// Whether those are of the last delta: a large one is read piece by piece.
    light: bool,
    /// A result's buffer, used again where nothing builds on it.
    result: Vec<u8>,
    /// Held from the first large object of a root's deltas to the last of them.
    large: Option<MutexGuard<'r, ()>>,
}

impl<'r, 'a> Worker<'r, 'a> {
    pub(super) fn new(shared: &'r Resolve<'a>) -> Self {
        Self {
            shared,
            reader: Reader::new(shared.given.bytes),
            recent: Recent::new(shared.given.links),
            done: 0,
            instructions: Vec::new(),
            light: true,
            result: Vec::new(),
            large: None,
        }
    }

    pub(super) fn run(&mut self, progress: Option<&dyn Fn(Progress)>) -> Result<()> {
        let tell = || {
            if let Some(progress) = progress {
                let deltas = self.shared.resolved.load(Ordering::Relaxed);
                progress(Progress::Resolving { deltas, total: self.shared.given.entries.deltas() });
            }
        };
        loop {
            let root = self.shared.next.fetch_add(1, Ordering::Relaxed);
            if root >= self.shared.until || self.shared.turns.failed() {
                // Not so often that it wraps around: each thread goes at most one too far.
                break;
            }
            if root.is_multiple_of(PROGRESS_EVERY) {
                self.go_on()?;
            }
            let Some(frame) = self.root(root)? else { continue };
            self.family(frame, &tell)?;
        }
        while let Some(frame) = self.shared.turns.next(&mut || {
            tell();
            self.go_on()
        })? {
            self.family(frame, &tell)?;
        }
        Ok(())
    }

    fn go_on(&self) -> Result<()> {
        if self.shared.given.stop.load(Ordering::Relaxed) { Err(RepoError::Stopped) } else { Ok(()) }
    }

    /// Compares a whole object with what is stored, and readies it if something builds on it.
    fn root(&mut self, root: u32) -> Result<Option<Frame>> {
        let Given { entries, stored, appended, ready, .. } = self.shared.given;
        // Deltas that are resolved by now were looked at when they were.
        let Some(kind) = entries.kind(root).filter(|_| entries.base(root).is_none()) else { return Ok(None) };
        let id = entries.id(root);
        let is_stored =
            root < appended && stored.stored(&id)?.is_some_and(|(_, size)| size <= COMPARE_BYTES_MAX);
        let children = self.children(root);
        if !is_stored && children.is_empty() {
            return Ok(None);
        }
        if let Some(data) = ready.get(&root) {
            let base = self.base(root, kind, Bulk::Memory(data.clone(), Taken::default()));
            return Ok(Some(Frame { entry: root, kind, depth: 0, base: Some(base), children }));
        }
        let header = self.reader.header(entries.offset(root))?;
        if children.is_empty() && header.size > COMPARE_BYTES_MAX {
            return Err(RepoError::Collision { id });
        }
        self.make_room(header.size)?;
        let data = self.whole(&header)?;
        if is_stored {
            stored.compare(&id, kind, &data)?;
        }
        if children.is_empty() {
            self.large = None;
            return Ok(None);
        }
        let base = self.base(root, kind, data);
        Ok(Some(Frame { entry: root, kind, depth: 0, base: Some(base), children }))
    }

    /// The object of a whole entry.
    fn whole(&mut self, header: &EntryHeader) -> Result<Bulk> {
        let Given { bytes, folder, .. } = self.shared.given;
        let mut bulk = Bulk::room(header.size, folder)?;
        if let Bulk::Memory(data, _) = &mut bulk {
            self.reader.inflate(header, data)?;
            return Ok(bulk);
        }
        let mut from = Inflating::new(bytes, header.data_offset, header.size);
        take_in(&mut from, header.size, &mut bulk).map_err(RepoError::io("read back", folder))?;
        Ok(bulk)
    }

    /// Waits for this thread's turn at large objects, if it is about to make one.
    fn make_room(&mut self, bytes: u64) -> Result<()> {
        let max = self.shared.given.limits.object_bytes_max.min(DELTA_RESULT_BYTES_MAX);
        if bytes > max {
            return Err(RepoError::TooMuch { what: "the size of one file in bytes, sent as a delta,", max });
        }
        if bytes > LARGE_BYTES && self.large.is_none() {
            self.large = Some(self.shared.large.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(())
    }

    /// Readies an object that was checked, unless it is the repository's own, to be built on.
    fn base(&self, entry: u32, kind: Kind, data: Bulk) -> Arc<Base> {
        let Given { entries, appended, links, .. } = self.shared.given;
        // By all rules: then what is new in a tree on it is all that needs a look.
        let is_checked = kind == Kind::Tree && entry < appended && links.checks().are_all();
        let bytes = data.in_memory().filter(|_| is_checked);
        let outline = bytes.map(|bytes| Outline::of(bytes, entries.format().id_bytes()));
        self.hold(Base { data, outline })
    }

    fn hold(&self, base: Base) -> Arc<Base> {
        self.shared.held.fetch_add(base.bytes(), Ordering::Relaxed);
        Arc::new(base)
    }

    fn let_go(&self, base: Option<Arc<Base>>) {
        if let Some(base) = base {
            self.shared.held.fetch_sub(base.bytes(), Ordering::Relaxed);
        }
    }

    /// Resolves everything that builds on a base.
    fn family(&mut self, root: Frame, tell: &dyn Fn()) -> Result<()> {
        let mut stack = vec![root];
        while let Some(frame) = stack.last_mut() {
            let Some(child) = frame.children.pop() else {
                let done = stack.pop().and_then(|f| f.base);
                self.let_go(done);
                continue;
            };
            let (parent, kind, depth) = (frame.entry, frame.kind, frame.depth + 1);
            if depth > self.shared.given.limits.depth_max {
                let max = u64::from(self.shared.given.limits.depth_max);
                return Err(RepoError::TooMuch { what: "the length of a chain of deltas", max });
            }
            if !self.shared.given.entries.claim(child) {
                continue;
            }
            let base = match &frame.base {
                Some(base) => base.clone(),
                None => {
                    let data = self.make(parent)?;
                    let base = self.base(parent, kind, data);
                    frame.base = Some(base.clone());
                    base
                }
            };
            if frame.children.is_empty() {
                let done = stack.pop().and_then(|f| f.base);
                self.let_go(done);
            }
            let room = std::mem::take(&mut self.result);
            let mut data = self.apply(&base.data, child, room)?;
            let outline = self.resolved(child, parent, kind, &base, &data)?;
            drop(base);
            self.done += 1;
            if self.done.is_multiple_of(PROGRESS_EVERY) {
                tell();
            }
            let children = self.children(child);
            if children.is_empty() {
                // A large one goes with its part of the budget.
                if let Bulk::Memory(room, _) = data
                    && room.capacity() <= SMALL_BYTES_MAX + FAST_ROOM
                {
                    self.result = room;
                }
            } else {
                if let Bulk::Memory(room, _) = &mut data {
                    room.shrink_to_fit();
                }
                let base = match outline {
                    Some(_) => self.hold(Base { data, outline }),
                    None => self.base(child, kind, data),
                };
                stack.push(Frame { entry: child, kind, depth, base: Some(base), children });
                self.spare(&mut stack);
            }
            if self.shared.turns.is_anyone_waiting() {
                self.share(&mut stack);
            }
        }
        self.large = None;
        if self.result.capacity() > SMALL_BYTES_MAX {
            (self.result, self.instructions) = (Vec::new(), Vec::new());
        }
        Ok(())
    }

    /// Drops what the budget does not allow, the oldest first.
    fn spare(&self, stack: &mut [Frame]) {
        let Some((_, older)) = stack.split_last_mut() else { return };
        for frame in older {
            if self.shared.held.load(Ordering::Relaxed) <= self.shared.share() {
                return;
            }
            self.let_go(frame.base.take());
        }
    }

    /// Gives the oldest part of the stack, which is the largest, to a thread that waits.
    fn share(&self, stack: &mut Vec<Frame>) {
        if stack.len() > 1 {
            return self.shared.turns.give(stack.remove(0));
        }
        if let [only] = &mut stack[..]
            && only.children.len() > 1
        {
            let children = only.children.split_off(only.children.len() / 2);
            // Held twice over, so that each lets go of it once.
            self.shared.held.fetch_add(only.base.as_ref().map_or(0, |b| b.bytes()), Ordering::Relaxed);
            self.shared.turns.give(Frame { children, base: only.base.clone(), ..*only });
        }
    }

    /// Checks and notes what a delta became; `self.instructions` still has the delta.
    fn resolved(
        &mut self,
        child: u32,
        parent: u32,
        kind: Kind,
        base: &Base,
        data: &Bulk,
    ) -> Result<Option<Outline>> {
        if kind != Kind::Blob && data.len() > RECEIVED_LINKED_BYTES_MAX {
            let what = "the size of one commit, tag or folder in bytes";
            return Err(RepoError::TooMuch { what, max: RECEIVED_LINKED_BYTES_MAX });
        }
        let Given { entries, links, stored, .. } = self.shared.given;
        let hash = entries.format();
        let before = base.outline.as_ref().filter(|_| self.light).zip(base.data.in_memory());
        let (id, outline) = match (before, data.in_memory()) {
            (Some((outline, base)), Some(data)) => {
                let base = Checked { data: base, outline };
                let (id, outline) =
                    admit_changed(hash, &base, &self.instructions, data, links, &mut self.recent)?;
                (id, Some(outline))
            }
            (None, Some(data)) => (admit(hash, kind, data, links, &mut self.recent)?, None),
            (_, None) => (self.admit_large(kind, data)?, None),
        };
        stored.compare(&id, kind, data)?;
        entries.resolved(child, parent, kind, &id);
        self.shared.resolved.fetch_add(1, Ordering::Relaxed);
        self.go_on()?;
        Ok(outline)
    }

    fn children(&self, entry: u32) -> Vec<u32> {
        let entries = self.shared.given.entries;
        if entries.may_have_children(entry) {
            entries.children(entry, &entries.id(entry))
        } else {
            Vec::new()
        }
    }

    /// An object that lies in a file. A blob is hashed from there; what has links is looked at in memory, once there is room.
    fn admit_large(&mut self, kind: Kind, data: &Bulk) -> Result<Oid> {
        let Given { entries, links, stop, .. } = self.shared.given;
        let hash = entries.format();
        if kind != Kind::Blob {
            let _taken = Taken::wait(data.len(), stop)?;
            let mut all = Vec::new();
            data.copy_into(&mut all)?;
            return admit(hash, kind, &all, links, &mut self.recent);
        }
        let mut state = start_hash(hash, kind, data.len());
        data.each_piece(&mut |piece| {
            state.update(piece);
            self.go_on()
        })?;
        finish_hash(state)
    }

    /// What a delta makes of its base, in `room` if it is small.
    fn apply(&mut self, base: &Bulk, child: u32, room: Vec<u8>) -> Result<Bulk> {
        let Given { entries, bytes, limits, folder, .. } = self.shared.given;
        let offset = entries.offset(child);
        let header = self.reader.header(offset)?;
        self.make_room(header.size)?;
        let bad =
            |why: &str| RepoError::bad_pack(format!("the object at byte {offset} cannot be made: {why}"));
        self.light = header.size <= SMALL_BYTES_MAX as u64;
        let mut instructions = std::mem::take(&mut self.instructions);
        instructions.clear();
        if self.light {
            self.reader.inflate(&header, &mut instructions)?;
        } else {
            Inflating::new(bytes, header.data_offset, header.size)
                .take(DELTA_HEAD_BYTES_MAX)
                .read_to_end(&mut instructions)
                .map_err(RepoError::io("read back", folder))?;
        }
        let size = delta::sizes(&instructions).map_or(0, |(_, result, _)| result);
        self.make_room(size)?;
        let made = match (base.in_memory().filter(|_| self.light), Taken::of(size)) {
            (Some(base), Some(taken)) => {
                let max = limits.object_bytes_max.min(DELTA_RESULT_BYTES_MAX);
                let mut room = room;
                delta::apply(base, &instructions, max, &mut room).map_err(bad)?;
                Bulk::Memory(room, taken)
            }
            (_, taken) => {
                drop(taken);
                let mut made = Bulk::room(size, folder)?;
                let mut from = BufReader::new(Inflating::new(bytes, header.data_offset, header.size));
                let done = delta::apply_stream(base, &mut from, &mut |piece| made.write_all(piece));
                done.map_err(|e| match e {
                    InflateError::Broken(why) => bad(why),
                    InflateError::Io(source) => RepoError::io("write", folder)(source),
                })?;
                made
            }
        };
        self.instructions = instructions;
        self.count(made.len())?;
        Ok(made)
    }

    fn count(&self, bytes: u64) -> Result<()> {
        let before = self.shared.inflated.fetch_add(bytes, Ordering::Relaxed);
        check_inflated(before.saturating_add(bytes), self.shared.given.packed)
    }

    /// Makes a resolved entry's object again, from the bottom of its chain.
    fn make(&mut self, entry: u32) -> Result<Bulk> {
        let entries = self.shared.given.entries;
        let mut chain = Vec::new();
        let mut at = entry;
        while let Some(base) = entries.base(at) {
            chain.push(at);
            at = base;
        }
        let header = self.reader.header(entries.offset(at))?;
        let mut data = self.whole(&header)?;
        self.count(data.len())?;
        let mut room = Vec::new();
        while let Some(child) = chain.pop() {
            self.go_on()?;
            let made = self.apply(&data, child, std::mem::take(&mut room))?;
            if let Bulk::Memory(before, _) = std::mem::replace(&mut data, made)
                && before.capacity() <= SMALL_BYTES_MAX + FAST_ROOM
            {
                room = before;
            }
        }
        Ok(data)
    }
}
