//! What is asked of a cluster about a repository without a deploy.

use std::sync::Arc;

use slipway_core::{Oid, Problem, ProblemKind, RepoId};
use slipway_deployer::{Connection, Manifest, PruneConfirmation, Reconcile};

use crate::reconcile::Plan;
use crate::rooms::Rooms;
use crate::supervisor::blocking;

/// The bound branch's commit as a deploy would have it.
pub(super) struct Asked {
    plan: Plan,
    tip: Oid,
    manifests: Vec<Manifest>,
    prune: PruneConfirmation,
    pub(super) connection: Arc<Connection>,
}

impl Asked {
    /// Reads and renders it, and connects to its cluster.
    pub(super) async fn of(rooms: &Rooms, repo: RepoId) -> Result<Self, Problem> {
        let plan = Plan::load(rooms, repo, None).await.map_err(|f| f.problem)?;
        let (repositories, name, branch) =
            (rooms.repositories.clone(), plan.record.name.clone(), plan.binding.branch.clone());
        let tip = blocking(move || {
            let tip = repositories.get(repo)?.snapshot()?.target_of(branch.as_str())?;
            tip.ok_or_else(|| {
                let what = format!("{name} has no branch {} yet.", branch.short());
                Problem::new(ProblemKind::NotFound, what, "Push it first.")
            })
        })
        .await?;
        let manifests = plan.render(rooms, tip).await.map_err(|f| f.problem)?;
        let prune = plan.confirmation(rooms, tip, None).await.map_err(|f| f.problem)?;
        let connection = plan.connect(rooms).await.map_err(|f| f.problem)?;
        Ok(Self { plan, tip, manifests, prune, connection })
    }

    pub(super) fn work(&self) -> Reconcile<'_> {
        Reconcile {
            binding: &self.plan.binding,
            repo: self.plan.record.id,
            repo_name: self.plan.record.name.clone(),
            commit: self.tip,
            manifests: self.manifests.clone(),
            inventory: self.plan.inventory.clone(),
            prune: self.prune,
            takes_all: false,
        }
    }
}

/// One object of a diff: a sign, what it is, where it comes from, and the fields that would change.
pub(super) fn diff_line(diff: &slipway_deployer::ObjectDiff) -> String {
    use slipway_core::deploy::Change as To;
    let sign = match diff.change {
        To::Created => "+",
        To::Configured => "~",
        To::Pruned => "-",
        To::Refused => "!",
        To::Pending | To::Unchanged | To::Kept | To::Held => " ",
    };
    let namespace = diff.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
    let mut line = format!("{sign} {} {namespace}{}", diff.kind, diff.name);
    for part in [&diff.source, &diff.message].into_iter().filter(|part| !part.is_empty()) {
        line.push_str(&format!("  {part}"));
    }
    line.push('\n');
    for field in &diff.fields {
        line.push_str(&format!("      {field}\n"));
    }
    line
}
