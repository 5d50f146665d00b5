//! Kubernetes: render, apply, prune, follow the rollout.
//!
//! Bytes of manifest files come in, reports go out; Git, Docker and the store are not known here.

pub mod limits;
mod manifest;
mod yaml;

pub use self::manifest::{Manifest, ManifestFile, RenderError, RenderLimits, is_manifest_path, render};
