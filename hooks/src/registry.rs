//! Registries, as far as a push needs them: a login, a manifest by tag, another tag for the same manifest.
//!
//! Two doors to the same facts: the OCI distribution API for any registry, and Amazon's API for ECR (whose logins
//! expire and whose repositories must be made first). Layers never pass through here: the engine pushes them.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use slipway_core::target::{Registry, RegistryKind};
use slipway_core::{Digest, Secret};

use crate::engine::session::Login;
use crate::error::HookError;

mod client;
mod ecr;
use self::client::Client;
use self::client::Repository;
use self::ecr::Ecr;

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
    ecr_endpoint: Option<String>,
    accounts: Mutex<Vec<std::sync::Arc<Ecr>>>,
}

/// One image name in one registry, ready to be spoken to.
pub(crate) enum Door {
    Generic { login: Option<Login>, repository: Repository },
    Ecr { login: Login, account: std::sync::Arc<Ecr>, repository: String, image: String },
}

impl Registries {
    pub(crate) fn new(ecr_endpoint: Option<String>, timeout: Duration) -> Self {
        Self { client: Client::new(timeout), ecr_endpoint, accounts: Mutex::default() }
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
        let registry = &target.registry;
        let path = registry.image(&target.image);
        let path = path.strip_prefix(&format!("{}/", registry.host)).unwrap_or(&path).to_owned();
        match registry.kind {
            RegistryKind::Generic => {
                let login = generic_login(target);
                let repository = Repository {
                    host: registry.host.clone(),
                    path,
                    login: login.clone(),
                    plain_allowed: registry.insecure || is_loopback(&registry.host),
                };
                Ok(Door::Generic { login, repository })
            }
            RegistryKind::Ecr => {
                let account = self.account(target)?;
                let login = account.login().await?;
                account.ensure_repository(&path).await?;
                Ok(Door::Ecr { login, account, repository: path, image: registry.image(&target.image) })
            }
        }
    }

    /// Whether the registry answers and takes the login; a sentence about it.
    pub(crate) async fn check(&self, target: &RegistryTarget) -> Result<String, HookError> {
        let registry = &target.registry;
        match registry.kind {
            RegistryKind::Generic => {
                let repository = Repository {
                    host: registry.host.clone(),
                    path: String::new(),
                    login: generic_login(target),
                    plain_allowed: registry.insecure || is_loopback(&registry.host),
                };
                let scheme = self.client.check(&repository).await?;
                let who =
                    registry.username.as_ref().map_or("without a login".to_owned(), |u| format!("as {u}"));
                Ok(format!("{} answers over {scheme} {who}.", registry.host))
            }
            RegistryKind::Ecr => {
                let account = self.account(target)?;
                account.login().await?;
                Ok(format!("AWS gives a login for {} in {}.", registry.host, account.region()))
            }
        }
    }

    /// The manifest of that tag or digest, if there is one.
    pub(crate) async fn manifest(&self, door: &Door, named: &str) -> Result<Option<Manifest>, HookError> {
        match door {
            Door::Generic { repository, .. } => self.client.manifest(repository, named).await,
            Door::Ecr { account, repository, .. } => account.manifest(repository, named).await,
        }
    }

    /// The digest that a public image, or one in a registry of these targets, has now (`HOST/PATH:TAG` as builders write it). `None` where the
    /// registry has none of that name.
    pub(crate) async fn digest(
        &self,
        image: &str,
        targets: &[RegistryTarget],
    ) -> Result<Option<String>, HookError> {
        let (name, tag) = split_tag(image);
        if tag.starts_with("sha256:") {
            return Ok(Some(tag.to_owned()));
        }
        let (host, path) = name.split_once('/').unwrap_or(("docker.io", name));
        let target = targets.iter().find(|target| target.registry.host == host);
        let login = match target {
            Some(target) => self.login(target).await?,
            None => None,
        };
        let repository = Repository {
            host: if host == "docker.io" { "registry-1.docker.io".to_owned() } else { host.to_owned() },
            path: path.to_owned(),
            login,
            plain_allowed: target.is_some_and(|target| target.registry.insecure) || is_loopback(host),
        };
        Ok(self.client.manifest(&repository, tag).await?.map(|manifest| manifest.digest.to_string()))
    }

    /// Makes the tag name this manifest, without sending any layer.
    pub(crate) async fn tag(&self, door: &Door, tag: &str, manifest: &Manifest) -> Result<(), HookError> {
        match door {
            Door::Generic { repository, .. } => self.client.put_manifest(repository, tag, manifest).await,
            Door::Ecr { account, repository, image, .. } => {
                account.tag(repository, image, tag, manifest).await
            }
        }
    }

    /// Forgets a login that the registry did not take; true if there may be a better one.
    pub(crate) async fn forget_login(&self, target: &RegistryTarget) -> Result<bool, HookError> {
        if target.registry.kind != RegistryKind::Ecr {
            return Ok(false);
        }
        self.account(target)?.forget_login().await;
        Ok(true)
    }

    fn account(&self, target: &RegistryTarget) -> Result<std::sync::Arc<Ecr>, HookError> {
        let made = Ecr::new(&target.registry, target.password.clone(), self.ecr_endpoint.clone())?;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accounts.iter().find(|a| a.is_same(&made)) {
            return Ok(known.clone());
        }
        if accounts.len() >= ACCOUNTS_MAX {
            accounts.remove(0);
        }
        let made = std::sync::Arc::new(made);
        accounts.push(made.clone());
        Ok(made)
    }
}

impl Door {
    /// The login that the engine shall push with.
    pub(crate) fn login(&self) -> Option<&Login> {
        match self {
            Self::Generic { login, .. } => login.as_ref(),
            Self::Ecr { login, .. } => Some(login),
        }
    }
}

fn generic_login(target: &RegistryTarget) -> Option<Login> {
    let username = target.registry.username.clone()?;
    Some(Login { username, password: target.password.clone().unwrap_or_else(|| Secret::new("")) })
}

/// A name and its digest, or its tag.
fn split_tag(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
        return (name, digest);
    }
    image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, "latest"))
}

/// True for hosts to which plain HTTP goes no further than this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for yes in ["127.0.0.1:5000", "localhost", "localhost:1", "[::1]:5000", "127.9.9.9"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in
            ["10.0.0.1:5000", "registry.example", "127.0.0.1.example:80", "localhost.example", "[::2]:1", ""]
        {
            assert!(!is_loopback(no), "{no}");
        }
    }

    #[test]
    fn a_tag_is_no_port() {
        for (image, name, tag) in [
            ("docker.io/library/alpine:3.20", "docker.io/library/alpine", "3.20"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a", "latest"),
            ("127.0.0.1:5000/a:1", "127.0.0.1:5000/a", "1"),
            ("h/a:1@sha256:00", "h/a", "sha256:00"),
            ("h/a@sha256:00", "h/a", "sha256:00"),
        ] {
            assert_eq!(split_tag(image), (name, tag), "{image}");
        }
    }

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
