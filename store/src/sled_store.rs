//! [`SledStore`]: the trait's methods, each handed to the file that knows its records. Decides nothing itself.

use std::io::Write;
use std::path::Path;

use slipway_core::accept::{Bindings, Ledger, Orders};
use slipway_core::build::Build;
use slipway_core::deploy::{Deploy, InventoryEntry};
use slipway_core::event::Event;
use slipway_core::people::{PublicKey, Token, User};
use slipway_core::target::{Cluster, ClusterBinding, Registry, RegistryBinding, RepoRecord};
use slipway_core::{
    BuildNumber, ClusterName, DeployNumber, EventId, ObjectFormat, Problem, RefUpdate, RegistryName, RepoId,
    RepoName, Role, Secret, UnixMillis, UserName,
};

use crate::disk::Disk;
use crate::error::StoreError;
use crate::master_key::MasterKey;
use crate::meta_store::MetaStore;
use crate::vault::Vault;
use crate::{backup, upkeep};

mod accounts;
mod events;
mod refusal;
mod repos;
mod sessions;
mod targets;
mod work;

/// The store on sled. What it promises of the disk is told in `disk.rs`.
pub struct SledStore {
    disk: Disk,
    vault: Vault,
}

impl std::fmt::Debug for SledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SledStore({})", self.disk.path().display())
    }
}

impl SledStore {
    /// Opens the database in `db_dir`, or makes one there. Blocking; up to a second while another process holds it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it, [`StoreError::TooNew`] for a newer format,
    /// [`StoreError::Damaged`] where it is not all that was acknowledged (then its files stay as they are),
    /// [`StoreError::WrongMasterKey`], or [`StoreError::Disk`].
    pub fn open(db_dir: &Path, master_key: &MasterKey) -> Result<Self, StoreError> {
        let vault =
            Vault::new(master_key).ok_or_else(|| StoreError::WrongMasterKey { path: db_dir.to_owned() })?;
        if Disk::is_new(db_dir)? {
            Disk::make(db_dir, None, |disk| upkeep::begin(disk, &vault))?;
        }
        let disk = Disk::open(db_dir)?;
        upkeep::check(&disk, &vault)?;
        Ok(Self { disk, vault })
    }

    /// Forgets sessions that have expired; says how many. Meant to be called every hour or so.
    ///
    /// # Errors
    /// `Broken` for a failing disk or a damaged record.
    pub fn sweep(&self, now: UnixMillis) -> Result<usize, Problem> {
        Ok(sessions::sweep(&self.disk, now)?)
    }

    /// Writes everything as of one moment, for [`crate::restore`]; says how many lines. Secrets stay encrypted: keep
    /// the master key with it, and apart from it.
    ///
    /// # Errors
    /// A [`Problem`] where `out` or the data folder cannot be written.
    pub fn backup(&self, out: &mut dyn Write) -> Result<u64, Problem> {
        Ok(backup::write(&self.disk, out)?)
    }
}

impl Ledger for SledStore {
    fn intend(&self, event: Event) -> Result<Event, Problem> {
        Ok(events::intend(&self.disk, event)?)
    }
    fn accept(&self, id: EventId, moved: &[RefUpdate], now: UnixMillis) -> Result<Orders, Problem> {
        Ok(events::accept(&self.disk, id, moved, now)?)
    }
    fn abandon(&self, id: EventId) -> Result<(), Problem> {
        Ok(events::abandon(&self.disk, id)?)
    }
    fn intended(&self) -> Result<Vec<Event>, Problem> {
        Ok(events::intended(&self.disk)?)
    }
    fn bindings(&self, repo: RepoId) -> Result<Bindings, Problem> {
        Ok(targets::bindings(&self.disk, repo)?)
    }
}

impl MetaStore for SledStore {
    fn create_user(&self, user: &User) -> Result<(), Problem> {
        Ok(accounts::create_user(&self.disk, user)?)
    }
    fn user(&self, name: &UserName) -> Result<Option<User>, Problem> {
        Ok(accounts::user(&self.disk, name)?)
    }
    fn users(&self) -> Result<Vec<User>, Problem> {
        Ok(accounts::users(&self.disk)?)
    }
    fn remove_user(&self, name: &UserName) -> Result<(), Problem> {
        Ok(accounts::remove_user(&self.disk, name)?)
    }

    fn add_key(&self, key: &PublicKey) -> Result<(), Problem> {
        Ok(accounts::add_key(&self.disk, key)?)
    }
    fn key(&self, fingerprint: &str) -> Result<Option<PublicKey>, Problem> {
        Ok(accounts::key(&self.disk, fingerprint)?)
    }
    fn keys(&self, user: Option<&UserName>) -> Result<Vec<PublicKey>, Problem> {
        Ok(accounts::keys(&self.disk, user)?)
    }
    fn remove_key(&self, fingerprint: &str) -> Result<(), Problem> {
        Ok(accounts::remove_key(&self.disk, fingerprint)?)
    }

    fn add_token(&self, token: &Token, value_sha256: [u8; 32]) -> Result<(), Problem> {
        Ok(accounts::add_token(&self.disk, token, value_sha256)?)
    }
    fn token_by_value(&self, value_sha256: &[u8; 32]) -> Result<Option<Token>, Problem> {
        Ok(accounts::token_by_value(&self.disk, value_sha256)?)
    }
    fn tokens(&self, user: Option<&UserName>) -> Result<Vec<Token>, Problem> {
        Ok(accounts::tokens(&self.disk, user)?)
    }
    fn remove_token(&self, id: &str) -> Result<(), Problem> {
        Ok(accounts::remove_token(&self.disk, id)?)
    }

    fn add_session(
        &self,
        cookie_sha256: [u8; 32],
        user: &UserName,
        expires: UnixMillis,
    ) -> Result<(), Problem> {
        Ok(sessions::add(&self.disk, cookie_sha256, user, expires)?)
    }
    fn session(&self, cookie_sha256: &[u8; 32], now: UnixMillis) -> Result<Option<UserName>, Problem> {
        Ok(sessions::user(&self.disk, cookie_sha256, now)?)
    }
    fn remove_session(&self, cookie_sha256: &[u8; 32]) -> Result<(), Problem> {
        Ok(sessions::remove(&self.disk, cookie_sha256)?)
    }

    fn create_repo_as(
        &self,
        format: ObjectFormat,
        name: &RepoName,
        description: &str,
        public: bool,
        now: UnixMillis,
    ) -> Result<RepoRecord, Problem> {
        Ok(repos::create(&self.disk, format, name, description, public, now)?)
    }
    fn repo(&self, id: RepoId) -> Result<Option<RepoRecord>, Problem> {
        Ok(repos::by_id(&self.disk, id)?)
    }
    fn repo_by_name(&self, name: &RepoName) -> Result<Option<RepoRecord>, Problem> {
        Ok(repos::by_name(&self.disk, name)?)
    }
    fn repos(&self) -> Result<Vec<RepoRecord>, Problem> {
        Ok(repos::all(&self.disk)?)
    }
    fn update_repo(&self, repo: &RepoRecord) -> Result<(), Problem> {
        Ok(repos::update(&self.disk, repo)?)
    }
    fn remove_repo(&self, id: RepoId) -> Result<(), Problem> {
        Ok(repos::remove(&self.disk, id)?)
    }

    fn grant(&self, user: &UserName, repo: RepoId, role: Role) -> Result<(), Problem> {
        Ok(repos::grant(&self.disk, user, repo, role)?)
    }
    fn revoke(&self, user: &UserName, repo: RepoId) -> Result<(), Problem> {
        Ok(repos::revoke(&self.disk, user, repo)?)
    }
    fn role(&self, user: &UserName, repo: RepoId) -> Result<Option<Role>, Problem> {
        Ok(repos::role(&self.disk, user, repo)?)
    }
    fn grants(&self, repo: RepoId) -> Result<Vec<(UserName, Role)>, Problem> {
        Ok(repos::grants(&self.disk, repo)?)
    }

    fn put_registry(&self, registry: &Registry, password: Option<&Secret>) -> Result<(), Problem> {
        Ok(targets::put_registry(&self.disk, &self.vault, registry, password)?)
    }
    fn registry(&self, name: &RegistryName) -> Result<Option<Registry>, Problem> {
        Ok(targets::registry(&self.disk, name)?)
    }
    fn registry_password(&self, name: &RegistryName) -> Result<Option<Secret>, Problem> {
        Ok(targets::registry_password(&self.disk, &self.vault, name)?)
    }
    fn registries(&self) -> Result<Vec<Registry>, Problem> {
        Ok(targets::registries(&self.disk)?)
    }
    fn remove_registry(&self, name: &RegistryName) -> Result<(), Problem> {
        Ok(targets::remove_registry(&self.disk, name)?)
    }

    fn put_cluster(&self, cluster: &Cluster, kubeconfig: &Secret) -> Result<(), Problem> {
        Ok(targets::put_cluster(&self.disk, &self.vault, cluster, kubeconfig)?)
    }
    fn cluster(&self, name: &ClusterName) -> Result<Option<Cluster>, Problem> {
        Ok(targets::cluster(&self.disk, name)?)
    }
    fn kubeconfig(&self, name: &ClusterName) -> Result<Option<Secret>, Problem> {
        Ok(targets::kubeconfig(&self.disk, &self.vault, name)?)
    }
    fn clusters(&self) -> Result<Vec<Cluster>, Problem> {
        Ok(targets::clusters(&self.disk)?)
    }
    fn remove_cluster(&self, name: &ClusterName) -> Result<(), Problem> {
        Ok(targets::remove_cluster(&self.disk, name)?)
    }

    fn bind_registry(&self, binding: &RegistryBinding) -> Result<(), Problem> {
        Ok(targets::bind_registry(&self.disk, binding)?)
    }
    fn bind_cluster(&self, binding: &ClusterBinding) -> Result<(), Problem> {
        Ok(targets::bind_cluster(&self.disk, binding)?)
    }
    fn unbind_registry(&self, repo: RepoId) -> Result<(), Problem> {
        Ok(targets::unbind_registry(&self.disk, repo)?)
    }
    fn unbind_cluster(&self, repo: RepoId) -> Result<(), Problem> {
        Ok(targets::unbind_cluster(&self.disk, repo)?)
    }

    fn event(&self, id: EventId) -> Result<Option<Event>, Problem> {
        Ok(events::by_id(&self.disk, id)?)
    }
    fn events(&self, repo: RepoId, limit: usize) -> Result<Vec<Event>, Problem> {
        Ok(events::newest(&self.disk, repo, limit)?)
    }

    fn build(&self, repo: RepoId, number: BuildNumber) -> Result<Option<Build>, Problem> {
        Ok(work::one(&self.disk, repo, number.0)?)
    }
    fn builds(&self, repo: RepoId, before: Option<BuildNumber>, limit: usize) -> Result<Vec<Build>, Problem> {
        Ok(work::newest(&self.disk, repo, before.map(|n| n.0), limit)?)
    }
    fn unfinished_builds(&self) -> Result<Vec<Build>, Problem> {
        Ok(work::unfinished(&self.disk)?)
    }
    fn builds_of_event(&self, event: EventId) -> Result<Vec<Build>, Problem> {
        Ok(work::of_event(&self.disk, event)?)
    }
    fn put_build(&self, build: &Build) -> Result<(), Problem> {
        Ok(work::put(&self.disk, build)?)
    }
    fn add_build(&self, build: Build) -> Result<Build, Problem> {
        Ok(work::add(&self.disk, build)?)
    }

    fn deploy(&self, repo: RepoId, number: DeployNumber) -> Result<Option<Deploy>, Problem> {
        Ok(work::one(&self.disk, repo, number.0)?)
    }
    fn deploys(
        &self,
        repo: RepoId,
        before: Option<DeployNumber>,
        limit: usize,
    ) -> Result<Vec<Deploy>, Problem> {
        Ok(work::newest(&self.disk, repo, before.map(|n| n.0), limit)?)
    }
    fn unfinished_deploys(&self) -> Result<Vec<Deploy>, Problem> {
        Ok(work::unfinished(&self.disk)?)
    }
    fn deploys_of_event(&self, event: EventId) -> Result<Vec<Deploy>, Problem> {
        Ok(work::of_event(&self.disk, event)?)
    }
    fn put_deploy(&self, deploy: &Deploy) -> Result<(), Problem> {
        Ok(work::put(&self.disk, deploy)?)
    }
    fn add_deploy(&self, deploy: Deploy) -> Result<Deploy, Problem> {
        Ok(work::add(&self.disk, deploy)?)
    }

    fn inventory(&self, repo: RepoId, cluster: &ClusterName) -> Result<Vec<InventoryEntry>, Problem> {
        Ok(targets::inventory(&self.disk, repo, cluster)?)
    }
    fn put_inventory(
        &self,
        repo: RepoId,
        cluster: &ClusterName,
        entries: &[InventoryEntry],
    ) -> Result<(), Problem> {
        Ok(targets::put_inventory(&self.disk, repo, cluster, entries)?)
    }
}
