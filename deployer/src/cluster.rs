//! Connections to clusters: one client and one pool each, kept while its kubeconfig stays the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use slipway_core::target::Cluster;
use slipway_core::{ClusterName, Secret};

use crate::error::DeployError;
use crate::kinds::Kinds;
use crate::kubeconfig::rules::KubeconfigRules;
use crate::kubeconfig::{Source, no_client};
use crate::limits::CLUSTERS_MAX;
use crate::run::Timing;
use crate::wire::{Answer, Call, CallError, Wire};

/// Connections by cluster name; cheap to share, safe to ask from everywhere.
pub struct Clusters {
    server: String,
    timing: Timing,
    rules: Arc<KubeconfigRules>,
    kept: Mutex<HashMap<ClusterName, Kept>>,
}

struct Kept {
    fingerprint: [u8; 32],
    connection: Arc<Connection>,
}

/// One cluster's API: its pool, its limit of calls in flight, and the kinds that it serves.
pub struct Connection {
    pub(crate) name: ClusterName,
    pub(crate) server: String,
    pub(crate) timing: Timing,
    pub(crate) wire: Wire,
    pub(crate) kinds: Kinds,
    /// The cluster refused the credentials: the next `connect` begins anew.
    stale: AtomicBool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("cluster", &self.name).finish_non_exhaustive()
    }
}

impl Clusters {
    /// None yet. `server` names this installation: it must never change and no other may have it (a random id in the
    /// store, a host key's fingerprint). The marks on objects carry it; with another one, this server does not know
    /// its own objects again.
    pub fn new(server: impl Into<String>, timing: Timing) -> Self {
        Self { server: server.into(), timing, rules: Arc::default(), kept: Mutex::default() }
    }

    /// What kubeconfigs may make this server do; without this, nothing.
    #[must_use]
    pub fn allowing(mut self, rules: KubeconfigRules) -> Self {
        self.rules = Arc::new(rules);
        self
    }

    /// See [`Clusters::allowing`].
    pub fn rules(&self) -> &KubeconfigRules {
        &self.rules
    }

    /// The connection of a cluster: the one that is there, or a new one where there is none, its kubeconfig has
    /// changed, or the cluster refused its credentials. Makes no call to the cluster, but may run the kubeconfig's exec
    /// plugin, if the rules allow it.
    pub async fn connect(
        &self,
        cluster: &Cluster,
        kubeconfig: &Secret,
    ) -> Result<Arc<Connection>, DeployError> {
        let fingerprint = fingerprint(kubeconfig, cluster.context.as_deref());
        if let Some(there) = self.there(&cluster.name, fingerprint) {
            return Ok(there);
        }
        let source = Source {
            kubeconfig: kubeconfig.clone(),
            context: cluster.context.clone(),
            rules: self.rules.clone(),
        };
        let wire =
            Wire::open(source, &self.timing).await.map_err(|why| no_client(cluster.name.as_str(), why))?;
        let connection = Arc::new(Connection {
            name: cluster.name.clone(),
            server: self.server.clone(),
            timing: self.timing,
            wire,
            kinds: Kinds::default(),
            stale: AtomicBool::new(false),
        });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= CLUSTERS_MAX && !kept.contains_key(&cluster.name) {
            // Deploys under way hold their own handle; an evicted pool only costs the next one its handshakes.
            if let Some(any) = kept.keys().next().cloned() {
                kept.remove(&any);
            }
        }
        kept.insert(cluster.name.clone(), Kept { fingerprint, connection: connection.clone() });
        Ok(connection)
    }

    /// Drops the connection of a cluster that was removed or has new credentials.
    pub fn forget(&self, name: &ClusterName) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn there(&self, name: &ClusterName, fingerprint: [u8; 32]) -> Option<Arc<Connection>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let there = kept.get(name).filter(|k| k.fingerprint == fingerprint)?;
        let fresh = !there.connection.stale.load(Ordering::Relaxed);
        fresh.then(|| there.connection.clone())
    }
}

fn fingerprint(kubeconfig: &Secret, context: Option<&str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(context.unwrap_or_default());
    hash.update([0]);
    hash.update(kubeconfig.expose());
    hash.finalize().into()
}

impl Connection {
    /// Calls the API; notes refused credentials, and tells what the call alone causes from what the cluster does.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, CallError> {
        let answer = self.wire.call(call).await;
        if matches!(&answer, Err(e) if e.code() == 401) {
            self.stale.store(true, Ordering::Relaxed);
        }
        match answer {
            Err(error) => self.judged(call, error).await,
            answer => answer,
        }
    }

    /// An error of the cluster itself, as against one of an object.
    pub(crate) fn infra(&self, error: &CallError) -> DeployError {
        let cluster = self.name.to_string();
        match error {
            CallError::Api(r) if r.code == 401 => {
                DeployError::Unauthorised { cluster, why: r.message.clone() }
            }
            other => DeployError::Unreachable { cluster, why: other.to_string() },
        }
    }
}
