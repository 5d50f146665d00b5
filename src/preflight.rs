//! Shows a pushed manifest commit to its cluster before the refs move: a server-side dry-run, bounded in time.

use std::sync::Arc;
use std::time::Duration;

use slipway_core::accept::{Incoming, Preflight};
use slipway_core::target::ClusterBinding;
use slipway_core::{Oid, Problem, ProblemKind};
use slipway_deployer::{Clusters, DeployError, RenderLimits};
use slipway_store::Store;

use crate::admission::Admission;
use crate::manifests;

/// How long a push waits for its cluster's opinion.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the clusters that the store knows.
pub(crate) struct ClusterPreflight {
    store: Store,
    clusters: Arc<Clusters>,
    renders: RenderLimits,
    admission: Arc<Admission>,
}

impl ClusterPreflight {
    pub(crate) fn new(
        store: Store,
        clusters: Arc<Clusters>,
        renders: RenderLimits,
        admission: Arc<Admission>,
    ) -> Self {
        Self { store, clusters, renders, admission }
    }
}

impl Preflight for ClusterPreflight {
    fn check(
        &self,
        binding: &ClusterBinding,
        commit: &Oid,
        objects: &dyn Incoming,
    ) -> Result<Vec<String>, Problem> {
        let manifests = match manifests::wanted(objects, commit, &binding.path, &self.renders)? {
            Ok(manifests) => manifests,
            Err(errors) => return Ok(errors.iter().map(ToString::to_string).collect()),
        };
        // In one look: credentials are for the address that they were recorded with.
        let name = &binding.cluster;
        let (cluster, kubeconfig, inventory) = self.store.read(|records| {
            let inventory = records.inventory(binding.repo, name)?;
            Ok((records.cluster(name)?, records.kubeconfig(name)?, inventory))
        })?;
        let (Some(cluster), Some(kubeconfig)) = (cluster, kubeconfig) else {
            return Err(Problem::new(
                ProblemKind::NotFound,
                format!("Cluster {} is not known here any more.", binding.cluster),
                "An owner can add it again or unbind the repository.",
            ));
        };
        let ask = async {
            // A registry that does not answer refuses nothing: the deploy asks it again.
            let mut refusals = self.admission.refusals(binding, &manifests).await.unwrap_or_default();
            let connection = self.clusters.connect(&cluster, &kubeconfig).await?;
            refusals.extend(connection.dry_run(binding, manifests, &inventory).await?);
            Ok(refusals)
        };
        // Accepting runs on a thread that may block, inside the runtime.
        let answer = tokio::runtime::Handle::current().block_on(tokio::time::timeout(PATIENCE, ask));
        match answer {
            Ok(refusals) => refusals.map_err(|e: DeployError| Problem::from(e)),
            Err(_) => Err(Problem::new(
                ProblemKind::TimedOut,
                format!("Cluster {} did not answer within {} s.", binding.cluster, PATIENCE.as_secs()),
                "The push goes on; see the deploy.",
            )),
        }
    }
}
