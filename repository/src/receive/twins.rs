//! Objects that a thin pack would have twice: borrowed from the repository, because a delta builds on them, and made by
//! another delta of the same pack, as is seen only once that one had a base. What came stays, what was borrowed goes:
//! deltas name their base by its id and find the other.
//!
//! An object that was sent twice is no such case, and makes a pack bad (as for `git index-pack --strict`).

use std::collections::HashMap;

use slipway_core::Oid;

use super::entries::Entries;
use super::thin::End;
use crate::error::{RepoError, Result};

/// Instead of a depth: not known yet, and being found out.
const UNKNOWN: u32 = u32::MAX;
const OPEN: u32 = u32::MAX - 1;

/// Takes the twins of what came back out of the borrowed objects, which are those from number `came` on; every delta is
/// resolved.
///
/// # Errors
/// [`RepoError::BadPack`] if deltas would then build on themselves, [`RepoError::TooMuch`] for chains of more than
/// `depth_max`.
pub(crate) fn drop_twins(entries: &mut Entries, came: u32, end: &mut End<'_>, depth_max: u32) -> Result<()> {
    let borrowed: HashMap<Oid, u32> = (came..entries.len() as u32).map(|n| (entries.id(n), n)).collect();
    if borrowed.is_empty() {
        return Ok(());
    }
    // Whole objects that came were there before anything was borrowed.
    let made = (0..came).filter(|n| entries.base(*n).is_some());
    let twins: HashMap<u32, u32> =
        made.filter_map(|n| borrowed.get(&entries.id(n)).map(|borrowed| (*borrowed, n))).collect();
    if twins.is_empty() {
        return Ok(());
    }
    check_chains(entries, &twins, depth_max)?;
    end.close_up(entries, came, &|n| !twins.contains_key(&n))
}

/// Follows every delta to a whole object, where the entries that are keys of `instead` are left out for their values.
fn check_chains(entries: &Entries, instead: &HashMap<u32, u32>, depth_max: u32) -> Result<()> {
    let mut depths = vec![UNKNOWN; entries.len()];
    let mut chain: Vec<u32> = Vec::new();
    for start in 0..entries.len() as u32 {
        let mut at = start;
        let mut depth = loop {
            match depths[at as usize] {
                UNKNOWN => {}
                OPEN => {
                    let id = entries.id(at);
                    return Err(RepoError::bad_pack(format!("its deltas make object {id} from itself")));
                }
                known => break known,
            }
            let Some(base) = entries.base(at) else {
                depths[at as usize] = 0;
                break 0;
            };
            depths[at as usize] = OPEN;
            chain.push(at);
            at = instead.get(&base).copied().unwrap_or(base);
        };
        while let Some(delta) = chain.pop() {
            depth += 1;
            depths[delta as usize] = depth;
        }
        if depth > depth_max {
            return Err(RepoError::TooMuch {
                what: "the length of a chain of deltas",
                max: u64::from(depth_max),
            });
        }
    }
    Ok(())
}
