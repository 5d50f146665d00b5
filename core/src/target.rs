//! Where work goes: repositories, registries, clusters, and the bindings that allow a repository to use them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ceilings::Ceilings;
use crate::deploy_rules::DeployRules;
use crate::git::{ObjectFormat, RefName};
use crate::id::{RepoId, UnixMillis};
use crate::kind_rules::KindRules;
use crate::name::{ClusterName, RegistryName, RepoName};

mod ecr;

pub use self::ecr::{EcrSettings, Encryption, RepositoryTemplate, Severity};

/// A repository as recorded; its objects live in `DATA/repos/NAME.git`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoRecord {
    /// Its identity for good.
    pub id: RepoId,
    /// Its name now.
    pub name: RepoName,
    /// A line about it.
    pub description: String,
    /// Readable by everyone.
    pub public: bool,
    /// The hash that makes its ids, for good. Records from before there was a choice mean SHA-1.
    #[serde(default)]
    pub object_format: ObjectFormat,
    /// Since when.
    pub created: UnixMillis,
    /// When it was last pushed to, or its record changed. Records from before this was kept have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<UnixMillis>,
}

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryKind {
    /// Any OCI registry, with user and password or without.
    Generic,
    /// Amazon ECR: logins are fetched and refreshed, repositories made when missing.
    Ecr,
}

/// A registry as recorded; its password lies encrypted beside it in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// Its name here.
    pub name: RegistryName,
    /// How it is spoken to.
    pub kind: RegistryKind,
    /// `HOST[:PORT]`.
    pub host: String,
    /// Path before every image name, without slashes at its ends; may be empty.
    pub prefix: String,
    /// AWS region (`ecr` only).
    pub region: Option<String>,
    /// Login name (`generic`), or access key id (`ecr`; without it a profile or the AWS credential chain is used).
    pub username: Option<String>,
    /// Plain HTTP is allowed.
    pub insecure: bool,
    /// Since when.
    pub created: UnixMillis,
    /// Certificates of authorities that are believed besides the system's, in PEM (`generic` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// What ECR is told besides. Records from before there was a choice have the default.
    #[serde(default, skip_serializing_if = "EcrSettings::is_default")]
    pub ecr: EcrSettings,
}

impl Registry {
    /// The full image name, tag aside: `HOST[:PORT][/PREFIX]/PATH`.
    pub fn image(&self, path: &str) -> String {
        let prefix = if self.prefix.is_empty() { String::new() } else { format!("/{}", self.prefix) };
        format!("{}{prefix}/{path}", self.host)
    }

    /// Whether plain HTTP may be spoken to it.
    pub fn may_be_plain(&self) -> bool {
        self.insecure || is_loopback(&self.host)
    }
}

/// True for hosts (`HOST[:PORT]`) to which plain HTTP goes no further than this machine.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A Kubernetes API as recorded; its kubeconfig lies encrypted beside it in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name here.
    pub name: ClusterName,
    /// The API's address, for people.
    pub server: String,
    /// The kubeconfig's context.
    pub context: Option<String>,
    /// Since when.
    pub created: UnixMillis,
}

/// Lets a repository push images to a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryBinding {
    /// Which repository.
    pub repo: RepoId,
    /// Which registry.
    pub registry: RegistryName,
    /// Image path below the registry's prefix.
    pub image: String,
    /// Whose build caches it shares; `None`: nobody's. Records from before there was a choice share with nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_group: Option<String>,
    /// Further repositories whose images its builds may use.
    #[serde(default)]
    pub may_pull: BTreeSet<RepoId>,
    /// Whether a Dockerfile may name another frontend than Docker's own (`# syntax=`).
    #[serde(default)]
    pub any_frontend: bool,
    /// Whether a Dockerfile may have the engine fetch addresses (`ADD https://…`).
    #[serde(default)]
    pub remote_add: bool,
    /// The most that its builds may have.
    #[serde(default)]
    pub builds: Ceilings,
    /// The most that its tests may have.
    #[serde(default)]
    pub tests: Ceilings,
}

impl RegistryBinding {
    /// A binding to that image that grants nothing besides.
    pub fn plain(repo: RepoId, registry: RegistryName, image: String) -> Self {
        let (cache_group, may_pull, any_frontend, remote_add) = Default::default();
        let (builds, tests) = Default::default();
        Self { repo, registry, image, cache_group, may_pull, any_frontend, remote_add, builds, tests }
    }
}

/// Whether a push to a bound manifest repository is first shown to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DryRun {
    /// No.
    Off,
    /// Yes; what the cluster refuses is told to the pusher.
    #[default]
    Warn,
    /// Yes; what the cluster refuses is refused.
    Enforce,
}

/// What pods may ask of their node: the levels of Kubernetes' Pod Security Standards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Everything, the node itself included.
    Privileged,
    /// Nothing that is known to lead out of a container.
    #[default]
    Baseline,
    /// What hardened pods need, and no more.
    Restricted,
}

impl PodSecurity {
    /// All levels, the widest first.
    pub const ALL: [Self; 3] = [Self::Privileged, Self::Baseline, Self::Restricted];

    /// Its name, as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }

    /// The level of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

/// Lets a repository's commits be applied to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterBinding {
    /// Which repository.
    pub repo: RepoId,
    /// Which cluster.
    pub cluster: ClusterName,
    /// The branch that the cluster follows.
    pub branch: RefName,
    /// The folder whose manifests are applied; `.` is all of it.
    pub path: String,
    /// Where objects without a namespace go.
    pub namespace: String,
    /// Whether objects that left the repository are deleted.
    pub prune: bool,
    /// See [`DryRun`].
    pub dry_run: DryRun,
    /// Further namespaces that objects may name.
    pub allow_namespaces: BTreeSet<String>,
    /// Whether objects of no namespace are allowed.
    pub cluster_scoped: bool,
    /// Which kinds of objects are allowed. Records from before there was a choice have the default.
    #[serde(flatten)]
    pub kinds: KindRules,
    /// What pods may ask of their node. Records from before there was a choice have the default.
    #[serde(default)]
    pub pod_security: PodSecurity,
    /// Whether objects that somebody else made are taken over.
    #[serde(default)]
    pub adopt: bool,
    /// Whether only images that builds of this server have made are let into the cluster, as their signatures prove.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_signed: bool,
    /// Images that are let in without: `HOST[:PORT]/PATH`, or what such a path begins with, up to a slash.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allow_unsigned: BTreeSet<String>,
    /// How it goes about what it shares with others. Records from before there was a choice have the default.
    #[serde(default)]
    pub rules: DeployRules,
}

impl ClusterBinding {
    /// True if an object may be applied into `namespace` (`None`: it has no namespace by its kind).
    pub fn allows(&self, namespace: Option<&str>) -> bool {
        match namespace {
            None => self.cluster_scoped,
            Some(n) => n == self.namespace || self.allow_namespaces.contains(n),
        }
    }
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
    fn a_registry_of_before_reads_and_is_written_as_before() {
        let text = r#"{"name":"ecr","kind":"ecr","host":"h","prefix":"","region":"eu-west-1","username":null,"insecure":false,"created":5}"#;
        let read: Registry = serde_json::from_str(text).expect("it reads");
        assert!(read.ecr.is_default() && read.ca.is_none());
        assert_eq!(serde_json::to_string(&read).expect("text"), text);
    }
}
