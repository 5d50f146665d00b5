//! Shows a pushed manifest commit to its cluster before the refs move: a server-side dry-run, bounded in time.

use std::sync::Arc;
use std::time::Duration;

use slipway_core::accept::{Incoming, Preflight, Shown};
use slipway_core::target::ClusterBinding;
use slipway_core::{Problem, ProblemKind};
use slipway_deployer::{Clusters, DeployError, PruneConfirmation, RenderLimits};
use slipway_store::Store;

use crate::admission::Admission;
use crate::manifests::{self, PUSH_COMMITS_MAX};

/// Asks the clusters that the store knows.
pub(crate) struct ClusterPreflight {
    store: Store,
    clusters: Arc<Clusters>,
    renders: RenderLimits,
    admission: Arc<Admission>,
    /// How long a push waits for its cluster's opinion.
    patience: Duration,
}

impl ClusterPreflight {
    pub(crate) fn new(
        store: Store,
        clusters: Arc<Clusters>,
        renders: RenderLimits,
        admission: Arc<Admission>,
        patience: Duration,
    ) -> Self {
        Self { store, clusters, renders, admission, patience }
    }

    fn too_late(&self, who: &str) -> Problem {
        let what = format!("{who} did not answer within {} s.", self.patience.as_secs());
        Problem::new(ProblemKind::TimedOut, what, "See the deploy.")
    }
}

impl Preflight for ClusterPreflight {
    fn check(
        &self,
        binding: &ClusterBinding,
        shown: &Shown<'_>,
        objects: &dyn Incoming,
    ) -> Result<Vec<String>, Problem> {
        // In one look: credentials are for the address that they were recorded with.
        let name = &binding.cluster;
        let (repo, (cluster, kubeconfig, inventory)) = self.store.read(|records| {
            let inventory = records.inventory(binding.repo, name)?;
            let cluster = (records.cluster(name)?, records.kubeconfig(name)?, inventory);
            Ok((records.repo(binding.repo)?, cluster))
        })?;
        let Some(repo) = repo else {
            return Err(Problem::new(
                ProblemKind::NotFound,
                "The repository is gone.",
                "Nothing needs to be done.",
            ));
        };
        let applied = !inventory.is_empty();
        let manifests =
            match manifests::wanted(objects, &shown.commit, &binding.path, applied, &self.renders)? {
                Ok(manifests) => manifests,
                Err(errors) => return Ok(errors.iter().map(ToString::to_string).collect()),
            };
        let (Some(cluster), Some(kubeconfig)) = (cluster, kubeconfig) else {
            return Err(Problem::new(
                ProblemKind::NotFound,
                format!("Cluster {} is not known here any more.", binding.cluster),
                "An owner can add it again or unbind the repository.",
            ));
        };
        let messages = objects.messages(shown.old.as_ref(), &shown.commit, PUSH_COMMITS_MAX)?;
        let prune = PruneConfirmation::of_push(&messages, shown.options);
        let runtime = tokio::runtime::Handle::current();
        // Accepting runs on a thread that may block, inside the runtime.
        let let_in = runtime
            .block_on(tokio::time::timeout(self.patience, self.admission.refusals(binding, &manifests)));
        let mut refusals = let_in.unwrap_or_else(|_| Err(self.too_late("The registries of its images")))?;
        let ask = async {
            let connection = self.clusters.connect(&cluster, &kubeconfig).await?;
            refusals.extend(connection.dry_run(&repo.name, binding, manifests, &inventory, prune).await?);
            Ok(refusals)
        };
        match runtime.block_on(tokio::time::timeout(self.patience, ask)) {
            Ok(refusals) => refusals.map_err(|e: DeployError| Problem::from(e)),
            Err(_) => Err(self.too_late(&format!("Cluster {}", binding.cluster))),
        }
    }
}
