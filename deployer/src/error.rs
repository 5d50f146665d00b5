//! What can go wrong, in the words that people see, and whose fault it is.

use std::fmt;

use slipway_core::run::{Failure, FailureClass};
use slipway_core::{Problem, ProblemKind};

use crate::limits::{FAILURES_MAX, MESSAGE_BYTES_MAX, cut};

/// Why a file gives no manifests: `deployment.yaml:12:3: …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct RenderError {
    /// The file.
    pub path: String,
    /// Line from 1; 0 where the whole file is meant.
    pub line: u64,
    /// Column from 1; 0 where the whole line is meant.
    pub column: u64,
    /// What is wrong and, where it is not plain, what to do.
    pub sentence: String,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}: {}", self.path, self.sentence),
            (line, 0) => write!(f, "{}:{line}: {}", self.path, self.sentence),
            (line, column) => write!(f, "{}:{line}:{column}: {}", self.path, self.sentence),
        }
    }
}

/// Why one object did not get through.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The object's own fault: a sentence without its name.
    Refused(String),
    /// The cluster's.
    Cluster(DeployError),
    /// Told to stop.
    Stopped,
}

/// Why a deploy, a dry-run or a test did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Files are not manifests.
    #[error("manifests cannot be read: {}", list(.0))]
    Render(Vec<RenderError>),
    /// Manifests are readable, but cannot or may not go where they want; nothing was written.
    #[error("manifests cannot be applied: {}", list(.0))]
    Placement(Vec<String>),
    /// The binding does not allow it; nothing was written.
    #[error("the binding does not allow it: {}", list(.0))]
    NotAllowed(Vec<String>),
    /// Objects are tracked by somebody else; nothing was written.
    #[error("objects belong to somebody else: {}", list(.0))]
    Foreign(Vec<String>),
    /// The repository has no manifests left, and everything would be deleted.
    #[error("nothing left to apply, {applied} objects would be deleted")]
    Empty {
        /// Objects that this server applied.
        applied: usize,
    },
    /// The cluster refuses objects.
    #[error("the cluster refuses: {}", list(.0))]
    Refused(Vec<String>),
    /// What was applied is not going to be healthy.
    #[error("the rollout failed: {}", list(.0))]
    Rollout(Vec<String>),
    /// What was applied is not healthy in time.
    #[error("not healthy after {after_s} s: {}", list(.waiting))]
    RolloutTimeout {
        /// How long it was waited for, in seconds.
        after_s: u64,
        /// What is not healthy and why.
        waiting: Vec<String>,
    },
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig of cluster {cluster} cannot be used: {why}")]
    Kubeconfig {
        /// Which cluster.
        cluster: String,
        /// Why; never a part of the secret.
        why: String,
    },
    /// The kubeconfig asks of this host what the server's settings do not allow.
    #[error("the kubeconfig of cluster {cluster} asks for what is not allowed: {why}")]
    KubeconfigDenied {
        /// Which cluster.
        cluster: String,
        /// What, and what would allow it; never a part of the secret.
        why: String,
    },
    /// The cluster does not answer, or not with sense.
    #[error("cluster {cluster} does not answer: {why}")]
    Unreachable {
        /// Which cluster.
        cluster: String,
        /// Why.
        why: String,
    },
    /// The cluster does not know who calls.
    #[error("cluster {cluster} does not accept the credentials: {why}")]
    Unauthorised {
        /// Which cluster.
        cluster: String,
        /// What it said.
        why: String,
    },
    /// What was done could not be written down; nothing more was done.
    #[error("the deploy's journal cannot be written: {0}")]
    Journal(Problem),
    /// It was told to stop, and stopped at a safe point.
    #[error("stopped")]
    Stopped,
}

/// `a; b; c; and 4 more`.
fn list<T: ToString>(all: &[T]) -> String {
    let mut text: Vec<String> =
        all.iter().take(FAILURES_MAX).map(|t| cut(&t.to_string(), MESSAGE_BYTES_MAX)).collect();
    if all.len() > FAILURES_MAX {
        text.push(format!("and {} more", all.len() - FAILURES_MAX));
    }
    text.join("; ")
}

fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

impl DeployError {
    /// Whose fault it is: `Infra` is worth trying again by itself.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Render(_) | Self::Placement(_) | Self::Foreign(_) | Self::Refused(_) | Self::Rollout(_) => {
                FailureClass::User
            }
            Self::Empty { .. } | Self::NotAllowed(_) | Self::KubeconfigDenied { .. } => FailureClass::Policy,
            Self::RolloutTimeout { .. } => FailureClass::Timeout,
            Self::Kubeconfig { .. } | Self::Unreachable { .. } | Self::Unauthorised { .. } => {
                FailureClass::Infra
            }
            Self::Journal(_) | Self::Stopped => FailureClass::Infra,
        }
    }

    /// What there is to say of a cluster that cannot be used: kind, what, cure.
    fn of_cluster(&self, cluster: &str, why: &str) -> (ProblemKind, String, &'static str) {
        use ProblemKind::{Denied, Unavailable};
        match self {
            Self::KubeconfigDenied { .. } => (
                Denied,
                format!("The kubeconfig of cluster {cluster} asks for what is not allowed: {why}."),
                "Give the cluster another kubeconfig with slipway cluster add NAME --kubeconfig FILE, or have who runs the \
                 server allow it and start it anew.",
            ),
            Self::Kubeconfig { .. } => (
                Unavailable,
                format!("The kubeconfig of cluster {cluster} cannot be used: {why}."),
                "Give the cluster a working kubeconfig with: slipway cluster add NAME --kubeconfig FILE.",
            ),
            Self::Unauthorised { .. } => (
                Unavailable,
                format!("Cluster {cluster} does not accept Slipway's credentials: {why}."),
                "Renew the kubeconfig with: slipway cluster add NAME --kubeconfig FILE.",
            ),
            _ => (
                Unavailable,
                format!("Cluster {cluster} does not answer: {why}."),
                "It is tried again by itself; check the cluster with: slipway cluster test NAME.",
            ),
        }
    }
}

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Problem {
        use ProblemKind::{Cancelled, Conflict, Denied, Invalid, TimedOut};
        let (kind, what, cure) = match &error {
            DeployError::Journal(problem) => return problem.clone(),
            DeployError::Render(e) => (
                Invalid,
                format!("{} cannot be read: {}.", count(e.len(), "manifest", "manifests"), list(e)),
                "Correct the files and push again; nothing was applied.",
            ),
            DeployError::Placement(e) => (
                Invalid,
                format!("{} cannot be applied: {}.", count(e.len(), "manifest", "manifests"), list(e)),
                "Correct the manifests and push again; nothing was applied.",
            ),
            DeployError::NotAllowed(e) => (
                Denied,
                format!("The binding does not allow {}: {}.", count(e.len(), "object", "objects"), list(e)),
                "Change the manifests, or ask an owner of the server to widen the binding as the sentence says; nothing was \
                 applied.",
            ),
            DeployError::Foreign(e) => (
                Conflict,
                format!(
                    "{} in the cluster to others: {}.",
                    count(e.len(), "object belongs", "objects belong"),
                    list(e)
                ),
                "Take them out of one of the repositories, or have an owner take them over: slipway deploy adopt REPO; nothing \
                 was applied.",
            ),
            DeployError::Empty { applied } => (
                Conflict,
                format!(
                    "The commit has no manifests, and all {applied} objects that were applied would be deleted."
                ),
                "Check the binding's folder; if they shall go, say so in the commit message: Slipway-Prune: all, or by git push -o \
                 deploy.prune=all.",
            ),
            DeployError::Refused(e) => (
                Invalid,
                format!("The cluster refuses {}: {}.", count(e.len(), "object", "objects"), list(e)),
                "Correct the manifests, or the rights of Slipway's account in the cluster, and deploy again.",
            ),
            DeployError::Rollout(e) => (
                Invalid,
                format!("The rollout failed: {}.", list(e)),
                "Correct it and push again, or roll back to the last healthy deploy; nothing was deleted that it could be about \
                 to replace.",
            ),
            DeployError::RolloutTimeout { after_s, waiting } => (
                TimedOut,
                format!("Not healthy after {after_s} seconds: {}.", list(waiting)),
                "Look at the named objects, then deploy again or roll back; nothing was deleted that they could be about to \
                 replace.",
            ),
            DeployError::Kubeconfig { cluster, why }
            | DeployError::KubeconfigDenied { cluster, why }
            | DeployError::Unreachable { cluster, why }
            | DeployError::Unauthorised { cluster, why } => error.of_cluster(cluster, why),
            DeployError::Stopped => (Cancelled, "The deploy was stopped.".to_owned(), ""),
        };
        Problem::new(kind, what.replace("..", "."), cure)
    }
}

impl From<DeployError> for Failure {
    fn from(error: DeployError) -> Failure {
        Failure { class: error.class(), problem: error.into() }
    }
}
