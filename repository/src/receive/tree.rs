//! Checking a tree that is made from a delta on a checked one: only what is new in it needs a look.
//!
//! Most trees differ from the one before in an entry or two, and all of them together have hundreds of times more
//! entries than the pack has objects. Entries that the delta copies whole from the base were looked at there. What
//! remains: entries that are new, the order where runs of copied entries meet, and that no new entry has the name of
//! another. Pure; what is asked of one entry is [`crate::check`]'s rule.

use std::cmp::Ordering;

use crate::check::{self, Flaw, Rule};
use crate::delta;
use crate::links::{TreeEntries, TreeEntry};

/// Where the entries of a checked tree start, and where the last one ends.
pub(crate) struct Outline(Vec<u32>);

impl Outline {
    /// Of a tree that was checked.
    pub(crate) fn of(data: &[u8], hash_len: usize) -> Self {
        let mut starts = vec![0];
        let mut entries = TreeEntries::new(data, hash_len);
        while let Some(Ok(_)) = entries.next() {
            starts.push((data.len() - entries.left()) as u32);
        }
        Self(starts)
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * 4
    }

    fn count(&self) -> usize {
        self.0.len() - 1
    }

    fn entry<'a>(&self, at: usize, data: &'a [u8], hash_len: usize) -> Option<TreeEntry<'a>> {
        let start = *self.0.get(at)? as usize;
        TreeEntries::new(data.get(start..)?, hash_len).next()?.ok()
    }
}

/// A checked tree.
pub(crate) struct Checked<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) outline: &'a Outline,
}

impl Checked<'_> {
    /// How many entries from the one at byte `from` on lie before byte `until`: their numbers. Empty if none starts
    /// exactly there.
    fn run(&self, from: usize, until: usize) -> std::ops::Range<usize> {
        let starts = &self.outline.0;
        let Ok(first) =
            u32::try_from(from).map_err(drop).and_then(|f| starts.binary_search(&f).map_err(drop))
        else {
            return 0..0;
        };
        let last = starts[first..].partition_point(|s| *s as usize <= until) + first;
        first..last.saturating_sub(1).max(first)
    }
}

/// Checks `data`, which `delta` made from `base`; `visit` is called with every entry that is not the base's. Says which
/// rule is broken.
pub(crate) fn check_changed(
    base: &Checked<'_>,
    delta: &[u8],
    data: &[u8],
    hash_len: usize,
    visit: &mut dyn FnMut(&TreeEntry<'_>) -> Result<(), Flaw>,
) -> Result<Outline, Flaw> {
    let unreadable = |why: &str| Flaw::new(Rule::BadTree, why);
    let mut outline = Outline(Vec::with_capacity(base.outline.0.len() + 8));
    let mut fresh: Vec<u32> = Vec::new();
    let mut copies = delta::copies(delta).peekable();
    let mut at = 0;
    let mut last: Option<TreeEntry<'_>> = None;
    while at < data.len() {
        while copies.next_if(|c| c.to + c.len <= at).is_some() {}
        let copied = copies.peek().filter(|c| c.to <= at);
        let run = copied.map_or(0..0, |c| base.run(c.from + (at - c.to), c.from + c.len));
        if !run.is_empty() {
            let (from, until) = (base.outline.0[run.start] as usize, base.outline.0[run.end] as usize);
            // Seen with our own eyes, whatever the delta said.
            if data.get(at..at + (until - from)) == base.data.get(from..until) {
                let first = base
                    .outline
                    .entry(run.start, base.data, hash_len)
                    .ok_or_else(|| unreadable("it is not readable"))?;
                last.map_or(Ok(()), |before| check::in_order(&before, &first))?;
                last = base.outline.entry(run.end - 1, base.data, hash_len);
                let starts = &base.outline.0[run.start..run.end];
                outline.0.extend(starts.iter().map(|s| (at + (*s as usize - from)) as u32));
                at += until - from;
                continue;
            }
        }
        let mut rest = TreeEntries::new(&data[at..], hash_len);
        let entry = rest.next().unwrap_or(Err("one of its entries is not complete")).map_err(unreadable)?;
        last.map_or(Ok(()), |before| check::in_order(&before, &entry))?;
        visit(&entry)?;
        fresh.push(outline.0.len() as u32);
        outline.0.push(at as u32);
        last = Some(entry);
        at = data.len() - rest.left();
    }
    outline.0.push(data.len() as u32);
    // Sorted by now, so that the namesake of an entry is found by halving.
    for number in fresh {
        let entry = outline.entry(number as usize, data, hash_len);
        let entry = entry.ok_or_else(|| unreadable("it is not readable"))?;
        if has_namesake(&outline, data, hash_len, &entry) {
            let why = format!("it has {} twice", check::shown(entry.name));
            return Err(Flaw::new(Rule::DuplicateEntries, why));
        }
    }
    Ok(outline)
}

/// True if a folder of that name stands beside the file, or the other way round.
fn has_namesake(outline: &Outline, data: &[u8], hash_len: usize, entry: &TreeEntry<'_>) -> bool {
    let other = TreeEntry { mode: if check::is_folder(entry) { 0o100_644 } else { 0o040_000 }, ..*entry };
    let (mut low, mut high) = (0, outline.count());
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(found) = outline.entry(middle, data, hash_len) else { return true };
        match check::compare(&found, &other) {
            Ordering::Less => low = middle + 1,
            Ordering::Equal => return found.name == entry.name,
            Ordering::Greater => high = middle,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::object::Kind;

    const NAMES: [&str; 9] = ["a", "a-b", "a.b", "a0", "b", "b!", ".gitmodules", ".git", "zz"];

    fn tree(entries: &[(u8, bool, u8)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, folder, id) in entries {
            let mode = if *folder { "40000" } else { "100644" };
            let name = NAMES[usize::from(*name) % NAMES.len()];
            out.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            out.extend_from_slice(&[*id; 20]);
        }
        out
    }

    /// Copies and insertions that make `to` from pieces of `from` at places that `cuts` choose.
    fn delta_of(from: &[u8], to: &[u8], cuts: &[u8]) -> Vec<u8> {
        let mut delta = vec![0x80 | (from.len() & 0x7f) as u8, (from.len() >> 7) as u8];
        delta.extend([0x80 | (to.len() & 0x7f) as u8, (to.len() >> 7) as u8]);
        let mut at = 0;
        for cut in cuts.iter().cycle().take(10_000) {
            if at == to.len() {
                break;
            }
            let len = (usize::from(*cut) % 100 + 1).min(to.len() - at);
            let piece = &to[at..at + len];
            match from.windows(len).position(|w| w == piece) {
                Some(found) => delta.extend([0x80 | 0b1_0011, found as u8, (found >> 8) as u8, len as u8]),
                None => {
                    delta.push(len as u8);
                    delta.extend_from_slice(piece);
                }
            }
            at += len;
        }
        delta
    }

    fn ids_of(data: &[u8]) -> Vec<(Vec<u8>, u8)> {
        TreeEntries::new(data, 20).flatten().map(|e| (e.name.to_vec(), e.id.as_bytes()[0])).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_verdict_is_that_of_a_look_at_everything(
            before in proptest::collection::vec((0u8..9, any::<bool>(), 1u8..4), 0..12),
            sorted in any::<bool>(),
            changes in proptest::collection::vec((0usize..12, 0u8..9, any::<bool>(), 0u8..4, 0u8..3), 0..4),
            cuts in proptest::collection::vec(any::<u8>(), 1..20),
            noise in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut before = before;
            if sorted {
                before.sort_by_key(|(n, folder, _)| {
                    format!("{}{}", NAMES[usize::from(*n)], if *folder { "/" } else { "" })
                });
                before.dedup_by_key(|(n, ..)| *n);
            }
            let mut base = tree(&before);
            if check::check(Kind::Tree, &base, 20, &mut check::Strict).is_err() {
                // Nothing can be built on what was refused.
                (before, base) = (Vec::new(), Vec::new());
            }
            let mut after = before.clone();
            for (at, name, folder, id, what) in changes {
                let at = at % (after.len() + 1);
                match what {
                    0 => after.insert(at, (name, folder, id)),
                    1 if at < after.len() => drop(after.remove(at)),
                    _ if at < after.len() => after[at] = (name, folder, id),
                    _ => {}
                }
            }
            let mut data = tree(&after);
            if let Some((at, byte)) = noise && !data.is_empty() {
                let at = at.index(data.len());
                data[at] = byte;
            }
            let delta = delta_of(&base, &data, &cuts);
            let mut made = Vec::new();
            delta::apply(&base, &delta, 1 << 20, &mut made).expect("a delta of ours");
            prop_assert_eq!(&made, &data);
            let whole = check::check(Kind::Tree, &data, 20, &mut check::Strict);
            let outline = Outline::of(&base, 20);
            let mut seen: Vec<(Vec<u8>, u8)> = Vec::new();
            let changed = check_changed(&Checked { data: &base, outline: &outline }, &delta, &data, 20, &mut |e| {
                seen.push((e.name.to_vec(), e.id.as_bytes()[0]));
                check::entry(e).map(drop)
            });
            prop_assert_eq!(whole.is_ok(), changed.is_ok(), "{:?} {:?}", whole, changed.err());
            if let Ok(outline) = changed {
                prop_assert_eq!(outline.0, Outline::of(&data, 20).0);
                let known = ids_of(&base);
                for entry in ids_of(&data) {
                    prop_assert!(seen.contains(&entry) || known.contains(&entry), "{:?} was missed", entry);
                }
            }
        }
    }
}
