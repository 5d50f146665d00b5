//! The verbs about clusters.

use clap::Subcommand;
use slipway_core::ClusterName;

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
