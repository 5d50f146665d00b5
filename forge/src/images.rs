//! Whose an image is: each registry binding owns the image that it pushes.

use slipway_core::RepoId;
use slipway_core::target::RegistryBinding;
use slipway_store::{StoreError, View};

/// The images of other repositories that builds under this binding may not use: those of every private repository that is
/// neither granted nor pushes the same image. `HOST[:PORT][/PREFIX]/PATH` each; one that ends in a slash is all below it.
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
    // Below an image lie those of its repository's parts; one's own may lie there, too.
    let own = own.unwrap_or_default();
    let below: Vec<String> = images.iter().map(|image| format!("{image}/")).collect();
    images.extend(below.into_iter().filter(|image| !own.starts_with(image)));
    Ok(images)
}

/// The image of one part of a repository, `None` for the one of a repository without parts: where builds under this binding
/// push it. `HOST[:PORT][/PREFIX]/PATH` without the registry's own beginning.
pub fn path_of(binding: &RegistryBinding, part: Option<&str>) -> String {
    match part.map(|part| part.split('/').next().unwrap_or(part)) {
        Some(image) => format!("{}/{image}", binding.image),
        None => binding.image.clone(),
    }
}

/// The repository that is bound to the path at which this binding's parts would be pushed, if there is another.
///
/// # Errors
/// Of the records.
pub fn taken_by(
    records: &View<'_>,
    binding: &RegistryBinding,
    path: &str,
) -> Result<Option<RepoId>, StoreError> {
    for repo in records.bound_to_registry(&binding.registry)? {
        let other = records.bindings(repo)?.registry;
        if repo != binding.repo && other.is_some_and(|b| b.registry == binding.registry && b.image == path) {
            return Ok(Some(repo));
        }
    }
    Ok(None)
}

fn is_public(records: &View<'_>, repo: RepoId) -> Result<bool, StoreError> {
    Ok(records.repo(repo)?.is_some_and(|r| r.public))
}
