//! The verbs about registries and clusters.

use clap::{Subcommand, ValueEnum};
use slipway_core::{ClusterName, RegistryName};

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
