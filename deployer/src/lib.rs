//! Kubernetes: render, apply, prune, follow the rollout.
//!
//! Bytes of manifest files come in, reports go out; Git, Docker and the store are not known here. [`render`] makes
//! manifests of files, [`Clusters::connect`] a [`Connection`] of a kubeconfig, and [`Connection::reconcile`] brings
//! that cluster to what the manifests say, telling a [`Journal`] as it goes.

mod apply;
mod blame;
mod cluster;
mod error;
mod exec_plugin;
mod health;
mod images;
mod journal;
mod kinds;
mod kubeconfig;
pub mod limits;
mod manifest;
mod order;
mod owner;
mod payload;
mod place;
mod pod_security;
mod policy;
mod preview;
mod prune;
mod read;
mod reason;
mod reconcile;
mod redact;
mod rollout;
mod run;
mod same;
mod shared;
mod takeover;
mod texts;
mod wire;
mod wishes;
mod words;
mod yaml;

pub use self::cluster::{Clusters, Connection};
pub use self::error::{DeployError, RenderError};
pub use self::journal::Journal;
pub use self::kubeconfig::rules::KubeconfigRules;
pub use self::kubeconfig::{IN_CLUSTER, KubeconfigSummary, summarise};
pub use self::manifest::{Manifest, ManifestFile, RenderLimits, is_manifest_path, render};
pub use self::preview::ObjectDiff;
pub use self::prune::PruneConfirmation;
pub use self::reconcile::Reconcile;
pub use self::run::Timing;
