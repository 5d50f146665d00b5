//! The whole surface of the store as one trait, so that another database can stand beside [`crate::SledStore`] later.
//!
//! Knows no database. Every method blocks, and every write is flushed to disk before it returns. What a caller may do
//! is not decided here.

use std::sync::Arc;

use slipway_core::accept::Ledger;
use slipway_core::build::Build;
use slipway_core::deploy::{Deploy, InventoryEntry};
use slipway_core::event::Event;
use slipway_core::people::{PublicKey, Token, User};
use slipway_core::target::{Cluster, ClusterBinding, Registry, RegistryBinding, RepoRecord};
use slipway_core::{
    BuildNumber, ClusterName, DeployNumber, EventId, ObjectFormat, Problem, RegistryName, RepoId, RepoName,
    Role, Secret, UnixMillis, UserName,
};

/// A shared store.
pub type Store = Arc<dyn MetaStore>;

/// Everything that Slipway remembers besides git objects and build logs.
///
/// Errors are [`Problem`]s: `NotFound` for what is not there (where a method does not return an `Option`), `Conflict`
/// for a name taken or a thing still in use, `TooLarge` where a limit is reached, `Broken` for a failing disk or a damaged
/// record. Of each repository the newest settled events and the newest final builds and deploys are kept, older ones go;
/// what is not settled or not final stays. Ids and numbers are never given twice.
pub trait MetaStore: Ledger {
    /// Records a new user.
    fn create_user(&self, user: &User) -> Result<(), Problem>;
    /// The user of that name.
    fn user(&self, name: &UserName) -> Result<Option<User>, Problem>;
    /// All users by name.
    fn users(&self) -> Result<Vec<User>, Problem>;
    /// Forgets a user with their keys, tokens, sessions and grants. The last owner cannot go.
    fn remove_user(&self, name: &UserName) -> Result<(), Problem>;

    /// Records a key; its fingerprint must be new on the server.
    fn add_key(&self, key: &PublicKey) -> Result<(), Problem>;
    /// The key of that fingerprint.
    fn key(&self, fingerprint: &str) -> Result<Option<PublicKey>, Problem>;
    /// All keys, or those of one user.
    fn keys(&self, user: Option<&UserName>) -> Result<Vec<PublicKey>, Problem>;
    /// Forgets a key.
    fn remove_key(&self, fingerprint: &str) -> Result<(), Problem>;

    /// Records a token by the SHA-256 of its value.
    fn add_token(&self, token: &Token, value_sha256: [u8; 32]) -> Result<(), Problem>;
    /// The token whose value has that SHA-256, expired ones included.
    fn token_by_value(&self, value_sha256: &[u8; 32]) -> Result<Option<Token>, Problem>;
    /// All tokens, or those of one user.
    fn tokens(&self, user: Option<&UserName>) -> Result<Vec<Token>, Problem>;
    /// Forgets the token of that id.
    fn remove_token(&self, id: &str) -> Result<(), Problem>;

    /// Records a signed-in browser by the SHA-256 of its cookie.
    fn add_session(
        &self,
        cookie_sha256: [u8; 32],
        user: &UserName,
        expires: UnixMillis,
    ) -> Result<(), Problem>;
    /// Whose session it is, if it has not expired.
    fn session(&self, cookie_sha256: &[u8; 32], now: UnixMillis) -> Result<Option<UserName>, Problem>;
    /// Ends a session.
    fn remove_session(&self, cookie_sha256: &[u8; 32]) -> Result<(), Problem>;

    /// Records a new repository, with ids of SHA-1, and gives it an id.
    fn create_repo(
        &self,
        name: &RepoName,
        description: &str,
        public: bool,
        now: UnixMillis,
    ) -> Result<RepoRecord, Problem> {
        self.create_repo_as(ObjectFormat::Sha1, name, description, public, now)
    }
    /// The same with ids of that hash.
    fn create_repo_as(
        &self,
        format: ObjectFormat,
        name: &RepoName,
        description: &str,
        public: bool,
        now: UnixMillis,
    ) -> Result<RepoRecord, Problem>;
    /// The repository of that id.
    fn repo(&self, id: RepoId) -> Result<Option<RepoRecord>, Problem>;
    /// The repository of that name.
    fn repo_by_name(&self, name: &RepoName) -> Result<Option<RepoRecord>, Problem>;
    /// All repositories by name.
    fn repos(&self) -> Result<Vec<RepoRecord>, Problem>;
    /// Changes description, visibility or name (a new name must be free).
    fn update_repo(&self, repo: &RepoRecord) -> Result<(), Problem>;
    /// Forgets a repository with its grants, bindings, builds, deploys, events and inventories.
    fn remove_repo(&self, id: RepoId) -> Result<(), Problem>;

    /// Gives a user a role in a repository.
    fn grant(&self, user: &UserName, repo: RepoId, role: Role) -> Result<(), Problem>;
    /// Takes it away; fine if there was none.
    fn revoke(&self, user: &UserName, repo: RepoId) -> Result<(), Problem>;
    /// A user's role in a repository.
    fn role(&self, user: &UserName, repo: RepoId) -> Result<Option<Role>, Problem>;
    /// All grants of a repository.
    fn grants(&self, repo: RepoId) -> Result<Vec<(UserName, Role)>, Problem>;

    /// Records a registry (new, or in place of the one of that name) and its password, encrypted.
    fn put_registry(&self, registry: &Registry, password: Option<&Secret>) -> Result<(), Problem>;
    /// The registry of that name.
    fn registry(&self, name: &RegistryName) -> Result<Option<Registry>, Problem>;
    /// Its password.
    fn registry_password(&self, name: &RegistryName) -> Result<Option<Secret>, Problem>;
    /// All registries by name.
    fn registries(&self) -> Result<Vec<Registry>, Problem>;
    /// Forgets a registry; not while a repository is bound to it.
    fn remove_registry(&self, name: &RegistryName) -> Result<(), Problem>;

    /// Records a cluster (new, or in place of the one of that name) and its kubeconfig, encrypted.
    fn put_cluster(&self, cluster: &Cluster, kubeconfig: &Secret) -> Result<(), Problem>;
    /// The cluster of that name.
    fn cluster(&self, name: &ClusterName) -> Result<Option<Cluster>, Problem>;
    /// Its kubeconfig.
    fn kubeconfig(&self, name: &ClusterName) -> Result<Option<Secret>, Problem>;
    /// All clusters by name.
    fn clusters(&self) -> Result<Vec<Cluster>, Problem>;
    /// Forgets a cluster; not while a repository is bound to it.
    fn remove_cluster(&self, name: &ClusterName) -> Result<(), Problem>;

    /// Binds a repository to a registry, in place of an earlier binding.
    fn bind_registry(&self, binding: &RegistryBinding) -> Result<(), Problem>;
    /// Binds a repository to a cluster, in place of an earlier binding.
    fn bind_cluster(&self, binding: &ClusterBinding) -> Result<(), Problem>;
    /// Takes the registry binding away.
    fn unbind_registry(&self, repo: RepoId) -> Result<(), Problem>;
    /// Takes the cluster binding away.
    fn unbind_cluster(&self, repo: RepoId) -> Result<(), Problem>;

    /// The event of that id.
    fn event(&self, id: EventId) -> Result<Option<Event>, Problem>;
    /// A repository's newest events, newest first, at most `limit`.
    fn events(&self, repo: RepoId, limit: usize) -> Result<Vec<Event>, Problem>;

    /// The build of that number.
    fn build(&self, repo: RepoId, number: BuildNumber) -> Result<Option<Build>, Problem>;
    /// Builds, newest first, those before `before` (`None`: from the newest), at most `limit`.
    fn builds(&self, repo: RepoId, before: Option<BuildNumber>, limit: usize) -> Result<Vec<Build>, Problem>;
    /// Builds that are not final, of all repositories, oldest first.
    fn unfinished_builds(&self) -> Result<Vec<Build>, Problem>;
    /// The builds that an event owes.
    fn builds_of_event(&self, event: EventId) -> Result<Vec<Build>, Problem>;
    /// Replaces a build's record.
    fn put_build(&self, build: &Build) -> Result<(), Problem>;
    /// Records a new build (a retry) under the next number of its repository; the number in `build` is ignored.
    fn add_build(&self, build: Build) -> Result<Build, Problem>;

    /// The deploy of that number.
    fn deploy(&self, repo: RepoId, number: DeployNumber) -> Result<Option<Deploy>, Problem>;
    /// Deploys, newest first, those before `before` (`None`: from the newest), at most `limit`.
    fn deploys(
        &self,
        repo: RepoId,
        before: Option<DeployNumber>,
        limit: usize,
    ) -> Result<Vec<Deploy>, Problem>;
    /// Deploys that are not final, of all repositories, oldest first.
    fn unfinished_deploys(&self) -> Result<Vec<Deploy>, Problem>;
    /// The deploys that an event owes.
    fn deploys_of_event(&self, event: EventId) -> Result<Vec<Deploy>, Problem>;
    /// Replaces a deploy's record.
    fn put_deploy(&self, deploy: &Deploy) -> Result<(), Problem>;
    /// Records a new deploy (a sync, a rollback) under the next number; the number in `deploy` is ignored.
    fn add_deploy(&self, deploy: Deploy) -> Result<Deploy, Problem>;

    /// What a repository has applied to a cluster.
    fn inventory(&self, repo: RepoId, cluster: &ClusterName) -> Result<Vec<InventoryEntry>, Problem>;
    /// Replaces that list.
    fn put_inventory(
        &self,
        repo: RepoId,
        cluster: &ClusterName,
        entries: &[InventoryEntry],
    ) -> Result<(), Problem>;
}
