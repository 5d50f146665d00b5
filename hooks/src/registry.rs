//! Registries, as far as a push needs them: a login, a manifest by tag, another tag for the same manifest.
//!
//! Two doors to the same facts: the OCI distribution API for any registry, and Amazon's API for ECR (whose logins
//! expire and whose repositories must be made first). Layers never pass through here: the engine pushes them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slipway_core::target::{Registry, RegistryKind, is_loopback};
use slipway_core::trial::{Report, Trial};
use slipway_core::{Digest, Secret, image};

use crate::engine::session::Login;
use crate::error::HookError;
use crate::limits::LOGIN_PROVED;

mod beside;
mod client;
mod ecr;
mod trial;
use self::client::Client;
use self::client::Repository;
pub use self::client::check_ca;
pub(crate) use self::client::{REFRESH_TOKEN, digest_of};
use self::ecr::Ecr;
pub(crate) use self::ecr::Scan;

/// ECR accounts that are kept open at once.
const ACCOUNTS_MAX: usize = 32;

/// Where an image goes: a registry, its password, and the image's path below the registry's prefix.
#[derive(Clone, Debug)]
pub struct RegistryTarget {
    /// The registry.
    pub registry: Registry,
    /// Its password (`generic`) or secret access key (`ecr`).
    pub password: Option<Secret>,
    /// The binding's image path.
    pub image: String,
}

/// A manifest as a registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
}

impl Manifest {
    /// The digest of the image's configuration: the image id of engines that store images by it.
    pub(crate) fn config_digest(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Config {
            digest: String,
        }
        #[derive(serde::Deserialize)]
        struct Shape {
            config: Option<Config>,
        }
        serde_json::from_slice::<Shape>(&self.bytes).ok()?.config.map(|c| c.digest)
    }

    /// True if this is the manifest of the engine's image `id`.
    pub(crate) fn is_of(&self, id: &str) -> bool {
        // Engines with containerd's store name an image by its manifest.
        self.digest.as_str() == id || self.config_digest().is_some_and(|config| config == id)
    }
}

/// All registries of a server.
#[derive(Debug)]
pub(crate) struct Registries {
    client: Client,
    aws_endpoint: Option<String>,
    accounts: Mutex<Vec<Arc<Ecr>>>,
}

/// One image name in one registry, ready to be spoken to.
#[derive(Clone)]
pub(crate) struct Door {
    /// As the distribution API has it, with the login that the engine pushes with.
    repository: Repository,
    /// The full name.
    image: String,
    /// Amazon's own API, for ECR.
    account: Option<Arc<Ecr>>,
}

impl Registries {
    pub(crate) fn new(aws_endpoint: Option<String>, timeout: Duration) -> Self {
        Self { client: Client::new(timeout), aws_endpoint, accounts: Mutex::default() }
    }

    /// The name and password for the registry's host; `None` where it wants none.
    pub(crate) async fn login(&self, target: &RegistryTarget) -> Result<Option<Login>, HookError> {
        match target.registry.kind {
            RegistryKind::Generic => Ok(generic_login(target)),
            RegistryKind::Ecr => self.account(target)?.login().await.map(Some),
        }
    }

    /// Opens the way to the target's image: login, and with ECR the repository, made if it is missing.
    pub(crate) async fn open(&self, target: &RegistryTarget) -> Result<Door, HookError> {
        let mut repository = repository(target);
        let image = target.registry.image(&target.image);
        if target.registry.kind == RegistryKind::Generic {
            return Ok(Door { repository, image, account: None });
        }
        let account = self.account(target)?;
        repository.login = Some(account.login().await?);
        account.ensure_repository(&repository.path).await?;
        Ok(Door { repository, image, account: Some(account) })
    }

    /// Tries every call that a push needs, in order.
    pub(crate) async fn try_out(&self, target: &RegistryTarget, trial: &Trial) -> Result<Report, HookError> {
        match target.registry.kind {
            RegistryKind::Generic => Ok(trial::generic::walk(&self.client, target, trial).await),
            RegistryKind::Ecr => {
                Ok(Box::pin(trial::ecr::walk(&self.client, &*self.account(target)?, target, trial)).await)
            }
        }
    }

    /// Asks the registry itself whether it takes the login; where it does not and there may be a better one, gets that. True
    /// if it did.
    pub(crate) async fn renew(&self, door: &mut Door) -> Result<bool, HookError> {
        if door.account.is_none() || self.refuses(door).await.is_none() {
            return Ok(false);
        }
        self.replace_login(door).await
    }

    /// Puts a new login in the place of one that was not taken. False if there can be no other.
    pub(crate) async fn replace_login(&self, door: &mut Door) -> Result<bool, HookError> {
        let (Some(account), Some(refused)) = (&door.account, &door.repository.login) else {
            return Ok(false);
        };
        account.forget_login(refused).await;
        door.repository.login = Some(account.login().await?);
        Ok(true)
    }

    /// What the registry says against the login, if it says anything. Where it does not answer us, it may well answer the
    /// engine.
    pub(crate) async fn refuses(&self, door: &Door) -> Option<HookError> {
        match tokio::time::timeout(LOGIN_PROVED, self.client.check(&door.repository)).await {
            Ok(Err(refusal @ HookError::RegistryDenied { .. })) => Some(refusal),
            _ => None,
        }
    }

    /// The manifest of that tag or digest, if there is one.
    pub(crate) async fn manifest(&self, door: &Door, named: &str) -> Result<Option<Manifest>, HookError> {
        match &door.account {
            None => self.client.manifest(&door.repository, named).await,
            Some(account) => account.manifest(&door.repository.path, named).await,
        }
    }

    /// The digest that a public image, or one in a registry of these targets, has now (`HOST/PATH:TAG` as builders write it). `None` where the
    /// registry has none of that name.
    pub(crate) async fn digest(
        &self,
        image: &str,
        targets: &[RegistryTarget],
    ) -> Result<Option<String>, HookError> {
        let (name, tag) = image::split(image);
        if tag.starts_with("sha256:") {
            return Ok(Some(tag.to_owned()));
        }
        let (host, path) = name.split_once('/').unwrap_or(("docker.io", name));
        let repository = match targets.iter().find(|target| target.registry.host == host) {
            Some(target) => {
                Repository { path: path.to_owned(), login: self.login(target).await?, ..repository(target) }
            }
            None => Repository {
                host: if host == "docker.io" { "registry-1.docker.io".to_owned() } else { host.to_owned() },
                path: path.to_owned(),
                login: None,
                plain_allowed: is_loopback(host),
                ca: None,
                spoken: Arc::default(),
            },
        };
        Ok(self.client.manifest(&repository, tag).await?.map(|manifest| manifest.digest.to_string()))
    }

    /// Makes the tag name this manifest, without sending any layer.
    pub(crate) async fn tag(&self, door: &Door, tag: &str, manifest: &Manifest) -> Result<(), HookError> {
        let Door { repository, image, account } = door;
        match account {
            None => self.client.put_manifest(repository, tag, manifest).await,
            Some(account) => account.tag(&repository.path, image, tag, manifest).await,
        }
    }

    /// What the scan of an image says.
    pub(crate) async fn scan(&self, target: &RegistryTarget, digest: &Digest) -> Result<Scan, HookError> {
        self.account(target)?.findings(&repository(target).path, digest.as_str()).await
    }

    /// Has an image scanned that nothing scans by itself.
    pub(crate) async fn start_scan(&self, target: &RegistryTarget, digest: &Digest) -> Result<(), HookError> {
        self.account(target)?.start_scan(&repository(target).path, digest.as_str()).await
    }

    fn account(&self, target: &RegistryTarget) -> Result<Arc<Ecr>, HookError> {
        let made = Ecr::new(&target.registry, target.password.clone(), self.aws_endpoint.clone())?;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accounts.iter().find(|a| a.is_same(&made)) {
            return Ok(known.clone());
        }
        if accounts.len() >= ACCOUNTS_MAX {
            accounts.remove(0);
        }
        let made = Arc::new(made);
        accounts.push(made.clone());
        Ok(made)
    }
}

impl Door {
    /// Where it leads.
    pub(crate) fn host(&self) -> &str {
        &self.repository.host
    }

    /// The login that the engine shall push with.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.repository.login.as_ref()
    }
}

fn repository(target: &RegistryTarget) -> Repository {
    let registry = &target.registry;
    let path = registry.image(&target.image);
    Repository {
        host: registry.host.clone(),
        path: path.strip_prefix(&format!("{}/", registry.host)).unwrap_or(&path).to_owned(),
        login: generic_login(target).filter(|_| registry.kind == RegistryKind::Generic),
        plain_allowed: registry.may_be_plain(),
        ca: registry.ca.clone(),
        spoken: Arc::default(),
    }
}

fn generic_login(target: &RegistryTarget) -> Option<Login> {
    let username = target.registry.username.clone()?;
    Some(Login { username, password: target.password.clone().unwrap_or_else(|| Secret::new("")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_knows_its_image() {
        let digest = |c: char| format!("sha256:{}", c.to_string().repeat(64));
        let bytes =
            format!(r#"{{"schemaVersion":2,"config":{{"digest":"{}","size":1}}}}"#, digest('a')).into_bytes();
        let manifest =
            Manifest { media_type: "m".into(), bytes, digest: Digest::parse(&digest('b')).expect("digest") };
        assert!(manifest.is_of(&digest('a')) && manifest.is_of(&digest('b')));
        assert!(!manifest.is_of(&digest('c')));
    }
}
