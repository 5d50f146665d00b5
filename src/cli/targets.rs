//! The verbs about registries and clusters, and about what repositories may use of them.

use clap::{Args, Subcommand, ValueEnum};
use slipway_core::{ClusterName, RegistryName, RepoName};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KindName {
    Generic,
    Ecr,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryVerb {
    /// Make a registry known
    Add {
        /// What it is called here
        name: RegistryName,
        /// HOST[:PORT][/PREFIX]
        #[arg(long, value_name = "HOST[:PORT][/PREFIX]")]
        url: String,
        #[arg(long, value_enum, default_value = "generic")]
        kind: KindName,
        /// AWS region (ecr)
        #[arg(long)]
        region: Option<String>,
        /// Login name, or access key id (ecr)
        #[arg(long)]
        username: Option<String>,
        /// File with the password, or secret access key (`-` reads standard input)
        #[arg(long, value_name = "FILE", requires = "username")]
        password_file: Option<String>,
        /// Allow plain HTTP
        #[arg(long)]
        insecure: bool,
    },
    /// List the registries
    List,
    /// Try to log in
    Test {
        /// What it is called here
        name: RegistryName,
    },
    /// Forget a registry
    Remove {
        /// What it is called here
        name: RegistryName,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Make a Kubernetes API known
    Add {
        /// What it is called here
        name: ClusterName,
        /// The kubeconfig file (`-` reads standard input); it is stored encrypted
        #[arg(long, value_name = "FILE")]
        kubeconfig: String,
        /// Its context [default: the current one]
        #[arg(long)]
        context: Option<String>,
    },
    /// List the clusters
    List,
    /// Try to reach it and say what may be done there
    Test {
        /// What it is called here
        name: ClusterName,
    },
    /// Forget a cluster
    Remove {
        /// What it is called here
        name: ClusterName,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DryRunName {
    Off,
    Warn,
    Enforce,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["registry", "cluster"])))]
pub(crate) struct Bind {
    /// The repository's name
    pub(crate) repo: RepoName,
    /// The registry its images go to
    #[arg(long)]
    pub(crate) registry: Option<RegistryName>,
    /// Image path in that registry [default: the repository's name in lower case]
    #[arg(long, requires = "registry")]
    pub(crate) image: Option<String>,
    /// The cluster its manifests go to
    #[arg(long)]
    pub(crate) cluster: Option<ClusterName>,
    /// The branch that the cluster follows [default: the repository's default branch]
    #[arg(long, requires = "cluster")]
    pub(crate) branch: Option<String>,
    /// The folder with the manifests
    #[arg(long, default_value = ".", requires = "cluster")]
    pub(crate) path: String,
    /// Where objects without a namespace go
    #[arg(long, default_value = "default", requires = "cluster")]
    pub(crate) namespace: String,
    /// Delete from the cluster what leaves the repository (the default)
    #[arg(long, requires = "cluster", overrides_with = "no_prune")]
    pub(crate) prune: bool,
    /// Keep in the cluster what leaves the repository
    #[arg(long, requires = "cluster")]
    pub(crate) no_prune: bool,
    /// Show pushes to the cluster before they are accepted
    #[arg(long, value_enum, default_value = "warn", requires = "cluster")]
    pub(crate) dry_run: DryRunName,
    /// A further namespace that objects may name (repeatable)
    #[arg(long, value_name = "NS", requires = "cluster")]
    pub(crate) allow_namespace: Vec<String>,
    /// Allow objects of no namespace (CRDs, ClusterRoles, Namespaces)
    #[arg(long, requires = "cluster")]
    pub(crate) cluster_scoped: bool,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["registry", "cluster"])))]
pub(crate) struct Unbind {
    /// The repository's name
    pub(crate) repo: RepoName,
    #[arg(long)]
    pub(crate) registry: bool,
    #[arg(long)]
    pub(crate) cluster: bool,
}
