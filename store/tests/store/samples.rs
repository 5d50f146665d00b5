//! Records to test with.

use std::collections::BTreeSet;
use std::path::PathBuf;

use slipway_core::access::Scope;
use slipway_core::deploy::{Deploy, DeployCause, InventoryEntry};
use slipway_core::event::{Cause, Event, EventState, Owed, Work};
use slipway_core::people::{PublicKey, Token, User};
use slipway_core::target::{Cluster, ClusterBinding, DryRun, Registry, RegistryBinding, RegistryKind};
use slipway_core::{
    ClusterName, DeployNumber, EventId, Oid, RefName, RefUpdate, RegistryName, RepoId, RepoName, UnixMillis,
    UserName,
};
use slipway_store::{MasterKey, Store};

/// A data folder that goes when it goes out of scope.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    pub(crate) key: MasterKey,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&folder.path().join("keys/master")).unwrap();
        Self { folder, key }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.folder.path().join("db")
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(&self.db(), &self.key).unwrap()
    }

    pub(crate) fn in_memory(&self) -> Store {
        Store::in_memory(&self.key).unwrap()
    }
}

pub(crate) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

pub(crate) fn at(ms: u64) -> UnixMillis {
    NOW.plus_ms(ms)
}

pub(crate) fn user_name(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

pub(crate) fn repo_name(name: &str) -> RepoName {
    RepoName::parse(name).unwrap()
}

pub(crate) fn registry_name(name: &str) -> RegistryName {
    RegistryName::parse(name).unwrap()
}

pub(crate) fn cluster_name(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

pub(crate) fn user(name: &str, owner: bool) -> User {
    User { name: user_name(name), owner, created: NOW }
}

pub(crate) fn key(user: &str, fingerprint: &str) -> PublicKey {
    PublicKey {
        user: user_name(user),
        fingerprint: fingerprint.into(),
        openssh: "ssh-ed25519 AAAA".into(),
        title: "laptop".into(),
        created: NOW,
    }
}

pub(crate) fn token(user: &str, id: &str) -> Token {
    Token {
        id: id.into(),
        user: user_name(user),
        name: "ci".into(),
        scopes: BTreeSet::from([Scope::RepoRead, Scope::Api]),
        created: NOW,
        expires: Some(at(1000)),
        parent: None,
    }
}

pub(crate) fn registry(name: &str) -> Registry {
    Registry {
        name: registry_name(name),
        kind: RegistryKind::Generic,
        host: "127.0.0.1:5000".into(),
        prefix: String::new(),
        region: None,
        username: Some("robot".into()),
        insecure: true,
        created: NOW,
        ca: None,
        ecr: Default::default(),
    }
}

pub(crate) fn cluster(name: &str) -> Cluster {
    Cluster { name: cluster_name(name), server: "https://127.0.0.1:6443".into(), context: None, created: NOW }
}

pub(crate) fn registry_binding(repo: RepoId, name: &str) -> RegistryBinding {
    RegistryBinding::plain(repo, registry_name(name), "app".into())
}

pub(crate) fn cluster_binding(repo: RepoId, name: &str) -> ClusterBinding {
    ClusterBinding {
        repo,
        cluster: cluster_name(name),
        branch: RefName::branch("main").unwrap(),
        path: ".".into(),
        namespace: "default".into(),
        prune: true,
        dry_run: DryRun::Warn,
        allow_namespaces: BTreeSet::from(["other".to_owned()]),
        cluster_scoped: false,
        kinds: Default::default(),
        pod_security: Default::default(),
        adopt: false,
        require_signed: false,
        allow_unsigned: Default::default(),
        rules: Default::default(),
    }
}

pub(crate) fn oid(n: u64) -> Oid {
    let mut raw = [7; 20];
    raw[..8].copy_from_slice(&n.to_be_bytes());
    Oid::Sha1(raw)
}

pub(crate) fn update(branch: &str) -> RefUpdate {
    RefUpdate { name: RefName::branch(branch).unwrap(), old: Oid::ZERO_SHA1, new: oid(1) }
}

pub(crate) fn owes_build(branch: &str) -> Owed {
    owes(branch, Work::Build { broken: None, part: None, needs: Vec::new() })
}

pub(crate) fn owes_deploy(branch: &str) -> Owed {
    owes(branch, Work::Deploy { cluster: cluster_name("prod"), cause: DeployCause::Event })
}

pub(crate) fn owes(branch: &str, work: Work) -> Owed {
    Owed { ref_name: RefName::branch(branch).unwrap(), commit: oid(1), title: "Say hello".into(), work }
}

/// An event that wants to move these branches.
pub(crate) fn event(repo: RepoId, branches: &[&str], owed: Vec<Owed>) -> Event {
    Event {
        id: EventId(0),
        repo,
        actor: "ann".into(),
        cause: Cause::Push,
        at: NOW,
        updates: branches.iter().map(|b| update(b)).collect(),
        options: vec!["wait".into()],
        owed,
        state: EventState::Accepted,
        certificate: None,
        lease: None,
    }
}

pub(crate) fn deploy(repo: RepoId) -> Deploy {
    Deploy {
        number: DeployNumber(999),
        ..Deploy::queued(
            repo,
            None,
            DeployCause::Sync,
            cluster_name("prod"),
            oid(1),
            "Say hello".into(),
            "ann".into(),
            NOW,
        )
    }
}

pub(crate) fn entry(n: usize) -> InventoryEntry {
    InventoryEntry {
        group: "apps".into(),
        version: "v1".into(),
        kind: "Deployment".into(),
        namespace: Some("default".into()),
        name: format!("app-{n}"),
        uid: Some(format!("5f1c9c1e-0000-0000-0000-{n:012}")),
    }
}
