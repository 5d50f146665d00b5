//! Whether base images of a repository's builds have moved that builds of other repositories here push.
//!
//! Asked of what is recorded, so that no move is missed: what the last build of the default branch was made of, and where the tag
//! points now. A base for which a build was started is not one for which another is, unless it moves on.

use std::collections::BTreeMap;
use std::time::Duration;

use slipway_core::build::{Build, BuildCause};
use slipway_core::limits::BASE_CHAIN_MAX;
use slipway_core::schedule::{BaseMoved, Bases, Begun, Schedules, with_tag};
use slipway_core::target::{RegistryBinding, RepoRecord};
use slipway_core::{RefName, RepoId, UnixMillis};
use slipway_store::{StoreError, View as Records};

use crate::images::of_others;
use crate::limits::BUILDS_LOOKED_MAX;

/// The base images, with their tags.
pub(super) fn names(bases: &Bases) -> impl Iterator<Item = String> {
    bases.known.keys().filter_map(|image| with_tag(image))
}

/// Why the build that is owed is made.
pub(super) fn cause(owed: &BaseMoved) -> BuildCause {
    let BaseMoved { image, repo, build, depth, .. } = owed.clone();
    BuildCause::Base { image, repo, build, depth }
}

/// Notes what the last build was made of, and the build that is owed where some of it has moved.
pub(super) fn look(
    records: Records<'_>,
    record: &RepoRecord,
    head: &RefName,
    schedules: &mut Schedules,
    (delay, now): (Duration, UnixMillis),
) -> Result<(), StoreError> {
    let Some(bases) = &mut schedules.bases else { return Ok(()) };
    let Some(binding) = records.bindings(record.id)?.registry else { return Ok(()) };
    bases.known = known(records, record.id, head)?;
    bases.tried.retain(|image, _| bases.known.keys().any(|known| with_tag(known).as_ref() == Some(image)));
    let due = now.plus_ms(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    let due = bases.owed.take().map_or(due, |owed| owed.due);
    let mut deep = None;
    for moved in moved(records, &binding, bases, due)? {
        if moved.depth > BASE_CHAIN_MAX {
            bases.tried.insert(moved.image.clone(), moved.digest.clone());
            deep = Some(moved);
        } else {
            bases.owed.get_or_insert(moved);
        }
    }
    if let Some(BaseMoved { image, .. }) = deep {
        let why = format!(
            "{image} has moved after {BASE_CHAIN_MAX} builds that each moved the base of the next: the chain ends here"
        );
        bases.last = Some(Begun { at: now, builds: Vec::new(), told: vec![why] });
    }
    Ok(())
}

/// The base images of the newest builds of the default branch, of each of its images.
fn known(records: Records<'_>, repo: RepoId, head: &RefName) -> Result<BTreeMap<String, String>, StoreError> {
    let mut of_parts: BTreeMap<Option<String>, BTreeMap<String, String>> = BTreeMap::new();
    for build in records.newest_builds(repo, BUILDS_LOOKED_MAX)? {
        let Build { ref_name, part, content, pushed, .. } = build;
        if ref_name == *head
            && pushed.is_some()
            && let Some(bases) = content.and_then(|content| content.bases)
        {
            of_parts.entry(part).or_insert(bases);
        }
    }
    Ok(of_parts.into_values().flatten().collect())
}

/// Those that have moved, and for which no build was started.
fn moved(
    records: Records<'_>,
    binding: &RegistryBinding,
    bases: &Bases,
    due: UnixMillis,
) -> Result<Vec<BaseMoved>, StoreError> {
    if bases.known.is_empty() {
        return Ok(Vec::new());
    }
    let (pushers, denied) = (pushers(records)?, of_others(&records, binding)?);
    let mut moved = Vec::new();
    for (image, was) in &bases.known {
        let Some(name) = with_tag(image) else { continue };
        let path = name.rsplit_once(':').map_or(name.as_str(), |(path, _)| path);
        let below = |whole: &str| {
            path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_denied = denied.iter().any(|other| below(other.trim_end_matches('/')));
        let owner = pushers.iter().filter(|(whole, _)| below(whole)).max_by_key(|(whole, _)| whole.len());
        // What it would push itself moves with every build of it.
        let Some((_, owner)) = owner.filter(|(_, owner)| *owner != binding.repo && !is_denied) else {
            continue;
        };
        let Some(pointer) = records.pointer(*owner, &name)? else { continue };
        let digest = pointer.digest.to_string();
        if digest == *was || bases.tried.get(&name) == Some(&digest) {
            continue;
        }
        let build = pointer.holder.build;
        let depth = records.build(*owner, build)?.map_or(0, |build| build.cause.depth()) + 1;
        moved.push(BaseMoved { image: name, digest, repo: *owner, build, depth, due });
    }
    Ok(moved)
}

/// Every image that is pushed here, and the repository whose builds do.
fn pushers(records: Records<'_>) -> Result<Vec<(String, RepoId)>, StoreError> {
    let mut all = Vec::new();
    for registry in records.registries_after(None, usize::MAX)? {
        for repo in records.bound_to_registry(&registry.name)? {
            let binding = records.bindings(repo)?.registry.filter(|b| b.registry == registry.name);
            all.extend(binding.map(|b| (registry.image(&b.image), repo)));
        }
    }
    Ok(all)
}

/// The build that was owed has begun: for all that has moved by now.
pub(super) fn begun(all: &mut Schedules, owed: &BaseMoved, begun: Begun) -> Option<()> {
    let bases = all.bases.as_mut()?;
    if bases.owed.as_ref() != Some(owed) {
        return None;
    }
    bases.owed = None;
    bases.tried.insert(owed.image.clone(), owed.digest.clone());
    bases.last = Some(begun);
    Some(())
}
