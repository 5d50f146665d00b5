//! Whose an image is: each registry binding owns the image that it pushes.

use slipway_core::RepoId;
use slipway_core::target::RegistryBinding;
use slipway_store::{StoreError, View};

/// The images of other repositories that builds under this binding may not use: those of every private repository that is
/// neither granted nor pushes the same image. `HOST[:PORT][/PREFIX]/PATH` each.
///
/// # Errors
/// Of the records.
pub fn of_others(records: &View<'_>, binding: &RegistryBinding) -> Result<Vec<String>, StoreError> {
    let mut images = Vec::new();
    let mut own = None;
    for registry in records.registries_after(None, usize::MAX)? {
        if registry.name == binding.registry {
            own = Some(registry.image(&binding.image));
        }
        for repo in records.bound_to_registry(&registry.name)? {
            if repo == binding.repo || binding.may_pull.contains(&repo) || is_public(records, repo)? {
                continue;
            }
            let other = records.bindings(repo)?.registry.filter(|b| b.registry == registry.name);
            images.extend(other.map(|b| registry.image(&b.image)));
        }
    }
    images.retain(|image| Some(image) != own.as_ref());
    Ok(images)
}

fn is_public(records: &View<'_>, repo: RepoId) -> Result<bool, StoreError> {
    Ok(records.repo(repo)?.is_some_and(|r| r.public))
}
