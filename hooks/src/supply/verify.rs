//! Whether an image is one that this server's builds have made, as the registry has it now; and what is stated of it.

use serde_json::Value;
use slipway_core::Digest;
use slipway_core::verified::Verified;

use super::read::Beside;
use super::statement::{CONTENTS, PROVENANCE};
use crate::error::HookError;
use crate::hooks::Hooks;
use crate::registry::RegistryTarget;

/// What can be read of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// Where it comes from.
    Provenance,
    /// What is in it.
    Contents,
}

impl Document {
    fn predicate_type(self) -> &'static str {
        match self {
            Self::Provenance => PROVENANCE,
            Self::Contents => CONTENTS,
        }
    }
}

impl Hooks {
    /// Looks up the image that `named` (a tag or a digest) names, and checks its signature and its statement by this server's
    /// key.
    ///
    /// # Errors
    /// [`HookError::NotInRegistry`], [`HookError::NotSigned`], or what the registry says.
    pub async fn verify_image(&self, target: &RegistryTarget, named: &str) -> Result<Verified, HookError> {
        let name = target.registry.image(&target.image);
        self.with_login(target, |door| {
            let name = name.clone();
            async move {
                let sign = if named.starts_with("sha256:") { '@' } else { ':' };
                let gone = || HookError::NotInRegistry { image: format!("{name}{sign}{named}") };
                let there = self.registries.manifest(&door, named).await?.ok_or_else(gone)?;
                let image = format!("{name}@{}", there.digest);
                let refused = |why: &str| HookError::NotSigned { image: image.clone(), why: why.to_owned() };
                let beside = self.beside(&door, &there.digest);
                let signature = beside.tagged(".sig").await?;
                if beside.signature(signature.as_ref()).await?.is_none()
                    && beside.referred_signature().await?.is_none()
                {
                    return Err(refused(match signature {
                        None => "has no signature",
                        Some(_) => "has no signature by this server's key",
                    }));
                }
                let said = beside.tagged(".att").await?;
                let provenance = match beside.predicate(said.as_ref(), PROVENANCE).await? {
                    None => beside.referred(PROVENANCE).await?,
                    found => found,
                };
                let provenance = provenance.ok_or_else(|| {
                    refused("is signed, and where it comes from is not stated by this server's key")
                })?;
                let listed = beside.predicate(said.as_ref(), CONTENTS).await?.is_some();
                let contents = listed || beside.referred(CONTENTS).await?.is_some();
                Ok(verified(name, there.digest, &provenance, contents))
            }
        })
        .await
    }

    /// A document that this server has stated of the image of that digest, in JSON.
    ///
    /// # Errors
    /// [`HookError::NotSigned`] where there is none by this server's key; what the registry says.
    pub async fn document(
        &self,
        target: &RegistryTarget,
        digest: &Digest,
        document: Document,
    ) -> Result<Value, HookError> {
        let of = document.predicate_type();
        let found = self
            .with_login(target, |door| async move {
                let beside: Beside<'_> = self.beside(&door, digest);
                match beside.predicate(beside.tagged(".att").await?.as_ref(), of).await? {
                    None => beside.referred(of).await,
                    found => Ok(found),
                }
            })
            .await?;
        found.ok_or_else(|| HookError::NotSigned {
            image: format!("{}@{digest}", target.registry.image(&target.image)),
            why: match document {
                Document::Provenance => "has no statement on where it comes from by this server's key",
                Document::Contents => "has no list of its contents by this server's key",
            }
            .to_owned(),
        })
    }
}

/// What the statement says, once it is believed.
fn verified(name: String, digest: Digest, provenance: &Value, contents: bool) -> Verified {
    let (definition, run) = (&provenance["buildDefinition"], &provenance["runDetails"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let internal = &definition["internalParameters"];
    Verified {
        image: name,
        digest,
        repository: text(&definition["externalParameters"]["repository"]),
        ref_name: text(&definition["externalParameters"]["ref"]),
        commit: text(&definition["resolvedDependencies"][0]["digest"]["gitCommit"]),
        build: internal["build"].as_u64().unwrap_or_default(),
        test: text(&internal["test"]),
        actor: text(&internal["actor"]),
        started: text(&run["metadata"]["startedOn"]),
        finished: text(&run["metadata"]["finishedOn"]),
        contents,
    }
}
