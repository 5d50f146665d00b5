//! Kubernetes: render, apply, prune, follow the rollout.
