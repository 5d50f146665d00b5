//! The calls of a push to any registry.

use slipway_core::trial::{Report, Trial};

use super::super::client::{Client, Repository};
use super::super::{RegistryTarget, repository};
use super::{BLOB, Walk, manifest, tag};
use crate::error::HookError;

const NO_IMAGE: &str = "Not tried: say which image, as in --image team/app.";
const NO_WRITE: &str = "Not tried without --write.";

pub(in crate::registry) async fn walk(client: &Client, target: &RegistryTarget, trial: &Trial) -> Report {
    let registry = &target.registry;
    let mut door = repository(target);
    let mut walk = Walk::new(registry, &target.image);
    let image = door.path.clone();
    if trial.image.is_none() {
        door.path.clear();
    }
    walk.get("greeting", async {
        let scheme = client.scheme(&door).await?;
        Ok(((), format!("{} answers over {scheme}", registry.host)))
    })
    .await;
    let who = registry.username.as_ref().map_or("without a login".to_owned(), |u| format!("as {u}"));
    walk.get("login", async {
        let scheme = client.check(&door).await?;
        Ok(((), format!("{} answers over {scheme} {who}", registry.host)))
    })
    .await;
    if trial.image.is_none() {
        for call in ["manifest", "upload", "image"] {
            walk.skip(call, NO_IMAGE);
        }
        return walk.report;
    }
    walk.get("manifest", async {
        let found = client.manifest(&door, "latest").await?;
        let what = if found.is_some() { "is there" } else { "is not there yet, and may be asked for" };
        Ok(((), format!("{image}:latest {what}")))
    })
    .await;
    walk.call("upload", "An upload was begun and given up", client.try_upload(&door)).await;
    if trial.write {
        store(&mut walk, client, &door).await;
    } else {
        walk.skip("image", NO_WRITE);
    }
    walk.report
}

/// Stores a small image, and removes it again where that is allowed.
async fn store(walk: &mut Walk<'_>, client: &Client, door: &Repository) {
    let (tag, manifest) = (tag(), manifest());
    let stored = walk
        .get("image", async {
            client.put_blob(door, BLOB.to_vec()).await?;
            client.put_manifest(door, &tag, &manifest).await?;
            Ok(((), format!("{}:{tag} was stored", door.path)))
        })
        .await;
    if stored.is_none() {
        return;
    }
    match client.remove_manifest(door, &manifest.digest).await {
        Ok(()) => _ = walk.call("removal", "It was removed again", async { Ok(()) }).await,
        // Many registries remove nothing over this API, and a push need not.
        Err(HookError::RegistryDenied { .. } | HookError::RegistryBroken { .. }) => {
            walk.skip(
                "removal",
                &format!("The registry does not remove {tag}; it stays, and takes a few bytes."),
            );
        }
        Err(e) => walk.forgive("removal", e),
    }
}
