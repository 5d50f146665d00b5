//! What a build may use, put together from its binding and the server's settings.

use slipway_core::ceilings::Ceilings;
use slipway_core::{Problem, RepoId};
use slipway_hooks::Permit;

use crate::rooms::Rooms;

/// What builds of that repository may use now.
pub(super) fn of(rooms: &Rooms, repo: RepoId) -> Result<Permit, Problem> {
    let (binding, images_of_others) = rooms.store.read(|records| {
        let Some(binding) = records.bindings(repo)?.registry else { return Ok((None, Vec::new())) };
        let images = slipway_forge::images::of_others(&records, &binding)?;
        Ok((Some(binding), images))
    })?;
    let (builds, tests) = binding.as_ref().map(|b| (b.builds.clone(), b.tests.clone())).unwrap_or_default();
    Ok(Permit {
        cache_group: binding.as_ref().and_then(|b| b.cache_group.clone()),
        any_frontend: binding.as_ref().is_some_and(|b| b.any_frontend),
        remote_add: binding.as_ref().is_some_and(|b| b.remote_add),
        images_of_others,
        builds: Ceilings::in_force(&rooms.ceilings.builds, &builds, &Ceilings::of_builds()),
        tests: Ceilings::in_force(&rooms.ceilings.tests, &tests, &Ceilings::of_tests()),
    })
}
