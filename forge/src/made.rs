//! Which build has made an image, as the records have it and as the image's signature proves; and what is stated of it.

use std::sync::Arc;

use serde_json::Value;
use slipway_core::build::Build;
use slipway_core::target::Registry;
use slipway_core::verified::Verified;
use slipway_core::{Action, Actor, Digest, Problem, ProblemKind, RepoId, RepoName, Secret, image};
use slipway_store::{StoreError, View};

use crate::access::{is_owner, may, repo, repo_in};
use crate::caller::Caller;
use crate::forge::{Forge, blocking};
use crate::limits::{ADDRESS_BYTES_MAX, MAKERS_MAX};
use crate::refusal::{cut, invalid, missing};
use crate::runs;

/// A document that is stated of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stated {
    /// Where it comes from.
    Provenance,
    /// What is in it.
    Contents,
}

/// An image name in a registry that is known here.
#[derive(Clone, Debug)]
pub struct Place {
    /// The registry.
    pub registry: Registry,
    /// Its password.
    pub password: Option<Secret>,
    /// The path below the registry's own beginning.
    pub path: String,
}

/// Where an image of that name lies (`HOST[:PORT]/PATH`), if its registry is known here; of several the one with the longest
/// beginning.
///
/// # Errors
/// Of the records.
pub fn place(records: &View<'_>, name: &str) -> Result<Option<Place>, StoreError> {
    let mut best: Option<(Registry, String)> = None;
    for registry in records.registries_after(None, usize::MAX)? {
        let Some(path) = name.strip_prefix(&registry.image("")).filter(|path| !path.is_empty()) else {
            continue;
        };
        if best.as_ref().is_none_or(|(known, _)| known.prefix.len() < registry.prefix.len()) {
            let path = path.to_owned();
            best = Some((registry, path));
        }
    }
    let Some((registry, path)) = best else { return Ok(None) };
    let password = records.registry_password(&registry.name)?;
    Ok(Some(Place { registry, password, path }))
}

/// The build that made the image of `build`: itself, or the one that it takes its image from, or that one's. Blocking.
///
/// # Errors
/// A [`Problem`] where the records cannot be read.
pub fn maker(forge: &Forge, build: Build) -> Result<Build, Problem> {
    let mut build = build;
    for _ in 0..MAKERS_MAX {
        let Some(of) = build.reuses.or(build.promotes()) else { return Ok(build) };
        match forge.store.build(build.repo, of)? {
            Some(earlier) => build = earlier,
            None => return Ok(build),
        }
    }
    Ok(build)
}

/// True if the cluster that follows the repository of that name takes signed images alone. Blocking.
///
/// # Errors
/// A [`Problem`] where the records cannot be read.
pub fn is_signature_required(forge: &Forge, name: &str) -> Result<bool, Problem> {
    let Ok(name) = RepoName::parse(name) else { return Ok(false) };
    let Some(record) = forge.store.repo_by_name(&name)? else { return Ok(false) };
    Ok(forge.store.bindings(record.id)?.cluster.is_some_and(|binding| binding.require_signed))
}

/// Whether an image is what a build here has made: by its signature, as the registry has it now. `named` is `NAME[:TAG]` or
/// `NAME@DIGEST`.
///
/// # Errors
/// `Denied` for nobody; `NotFound` where no repository that the caller may read pushes it or has made it; `Invalid` where it is not signed by
/// this server; what the registry says.
pub async fn verify(forge: &Arc<Forge>, caller: &Caller, named: &str) -> Result<Verified, Problem> {
    if matches!(caller.actor, Actor::Anonymous) {
        may(caller, Action::ManageSelf)?;
    }
    let (name, which) = image::split(named);
    let is_digest = named.contains('@');
    if named.len() > ADDRESS_BYTES_MAX
        || !is_name(name)
        || (is_digest && Digest::parse(which).is_err())
        || !is_tag(which)
    {
        return Err(invalid(
            format!("{:?} is not the name of an image.", cut(named)),
            "Write HOST[:PORT]/PATH:TAG or HOST[:PORT]/PATH@sha256:….",
        ));
    }
    let (floor, who, wanted) = (Arc::clone(forge), caller.clone(), name.to_owned());
    let place = blocking(move || visible(&floor, &who, &wanted)).await?;
    let verified = forge.outside.verify_image(&place, which).await?;
    // Whoever may write to the registry can put another repository's image under this name, with what is stated of it.
    let (floor, who) = (Arc::clone(forge), caller.clone());
    let (maker, named) = (verified.repository.clone(), named.to_owned());
    blocking(move || check_maker(&floor, &who, &maker, &named)).await?;
    Ok(verified)
}

/// Tells nothing of an image whose maker the caller may not read. `address` is the maker's.
fn check_maker(forge: &Forge, caller: &Caller, address: &str, named: &str) -> Result<(), Problem> {
    let name = address.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let may_read =
        forge.store.read(|records| Ok(repo_in(records, caller, name, Action::ReadRepo).is_ok()))?;
    if may_read || is_owner(caller) {
        return Ok(());
    }
    Err(missing(format!("{:?} is not an image of a repository here that you may read.", cut(named))))
}

/// The place of an image that the caller may know of: one that a repository pushes which they may read. Owners know all.
fn visible(forge: &Forge, caller: &Caller, name: &str) -> Result<Place, Problem> {
    forge.store.read(|records| {
        let found = place(&records, name)?;
        let seen = match owner_of(&records, name)? {
            Some(id) => match records.repo(id)? {
                Some(record) => repo_in(records, caller, record.name.as_str(), Action::ReadRepo).is_ok(),
                None => false,
            },
            None => false,
        };
        found.filter(|_| seen || is_owner(caller)).ok_or_else(|| {
            missing(format!("No repository here that you may read pushes images called {:?}.", cut(name)))
                .into()
        })
    })
}

/// The repository whose builds push images of that name.
fn owner_of(records: &View<'_>, name: &str) -> Result<Option<RepoId>, StoreError> {
    for registry in records.registries_after(None, usize::MAX)? {
        if !name.starts_with(&registry.image("")) {
            continue;
        }
        for repo in records.bound_to_registry(&registry.name)? {
            let Some(binding) = records.bindings(repo)?.registry else { continue };
            if binding.registry == registry.name && image::is_below(name, &registry.image(&binding.image)) {
                return Ok(Some(repo));
            }
        }
    }
    Ok(None)
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    let Some((host, path)) = name.split_once('/') else { return false };
    !host.is_empty()
        && !path.is_empty()
        && path.chars().all(plain)
        && !path.contains("//")
        && !path.contains("..")
}

/// True for a tag, and for a digest.
fn is_tag(tag: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    !tag.is_empty()
        && tag.len() <= slipway_core::limits::IMAGE_TAG_BYTES_MAX
        && tag.chars().all(plain)
        && !tag.contains("..")
}

/// What this server has stated of the image that a build has pushed, in JSON, and how the file is called.
///
/// # Errors
/// What the authoriser says of reading the repository; `NotFound` where it has pushed none; `Invalid` where nothing is stated.
pub async fn stated(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    number: &str,
    what: Stated,
) -> Result<(String, Value), Problem> {
    let (floor, who, name, number) = (Arc::clone(forge), caller.clone(), name.to_owned(), number.to_owned());
    let (file, place, digest) = blocking(move || {
        let record = repo(&floor, &who, &name, Action::ReadRepo)?;
        let build = runs::build(&floor, &who, record.id, &number)?;
        let Some(pushed) = build.pushed else {
            return Err(missing(format!("Build {} has pushed no image.", build.number)));
        };
        let found = floor.store.read(|records| place(&records, &pushed.name))?;
        let place = found.ok_or_else(|| {
            Problem::new(
                ProblemKind::NotFound,
                format!("The registry of {} is not known here any more.", pushed.name),
                "An owner can add it again: slipway registry add.",
            )
        })?;
        let ending = match what {
            Stated::Provenance => "provenance",
            Stated::Contents => "sbom",
        };
        Ok((format!("{}-{}.{ending}.json", record.name, build.number), place, pushed.digest))
    })
    .await?;
    let document = forge.outside.stated(&place, &digest, what).await?;
    Ok((file, document))
}

/// The public key that images are signed with, in PEM. For everybody: it is there to be known.
///
/// # Errors
/// `Broken` where it can be neither read nor made.
pub async fn public_key(forge: &Arc<Forge>) -> Result<String, Problem> {
    let floor = Arc::clone(forge);
    blocking(move || floor.outside.signing_key()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_told_from_addresses() {
        for good in ["127.0.0.1:5000/app", "r.example/team/app-x", "[::1]:5000/a"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["app", "/app", "r/", "r/A", "r/a//b", "r/../v2", "r/a?x", "r/a b", ""] {
            assert!(!is_name(bad), "{bad}");
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        assert!(is_tag("latest") && is_tag(&digest) && !is_tag("a/b") && !is_tag("..") && !is_tag(""));
    }
}
