//! The gate before a bound manifest repository: what its cluster would refuse, and what becomes of a push that the cluster could
//! not be asked about, which is no refusal.

use super::options::UNCHECKED;
use super::{Bindings, Incoming, Preflight, Proposal, Shown};
use crate::deploy_rules::GateDown;
use crate::git::RefUpdate;
use crate::problem::{Problem, ProblemKind};
use crate::target::{ClusterBinding, DryRun};

/// Most refusals that a push is told.
const TOLD_MAX: usize = 10;

/// Whether an update may pass; what its cluster said goes to the notices.
pub(super) fn ask(
    preflight: &dyn Preflight,
    (push, update): (&Proposal<'_>, &RefUpdate),
    bindings: &Bindings,
    objects: &dyn Incoming,
    notices: &mut Vec<String>,
) -> Result<(), Problem> {
    let bound = bindings.cluster.as_ref().filter(|b| b.branch == update.name && !update.is_delete());
    let Some(binding) = bound.filter(|b| b.dry_run != DryRun::Off) else { return Ok(()) };
    let old = Some(update.old).filter(|_| !update.is_create());
    let shown = Shown { old, commit: update.new, options: &push.options };
    let refusals = match preflight.check(binding, &shown, objects) {
        Ok(refusals) => refusals,
        Err(problem) if is_down(problem.kind) => return unchecked(push, binding, &problem, notices),
        Err(problem) => vec![problem.to_string()],
    };
    let Some(first) = refusals.first() else { return Ok(()) };
    notices.extend(refusals.iter().take(TOLD_MAX).map(|r| format!("cluster {}: {r}", binding.cluster)));
    if binding.dry_run == DryRun::Warn {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::Invalid,
        format!("Cluster {} refuses these manifests: {first}", binding.cluster),
        "Mend the manifests and push again, or ask an owner to bind with --dry-run warn.",
    ))
}

fn is_down(kind: ProblemKind) -> bool {
    use ProblemKind::{Broken, Busy, Cancelled, TimedOut, Unavailable};
    matches!(kind, Unavailable | TimedOut | Busy | Broken | Cancelled)
}

/// A gate that could not do its work lets through or refuses as the binding says; where that says nothing, one that enforces
/// refuses.
fn unchecked(
    push: &Proposal<'_>,
    binding: &ClusterBinding,
    problem: &Problem,
    notices: &mut Vec<String>,
) -> Result<(), Problem> {
    let what = format!("These manifests could not be checked. {}", problem.what);
    let rule = binding.rules.gate_down.unwrap_or(match binding.dry_run {
        DryRun::Enforce => GateDown::Refuse,
        DryRun::Warn | DryRun::Off => GateDown::Allow,
    });
    let passes = match rule {
        GateDown::Allow => Ok(()),
        GateDown::Refuse if push.options.iter().any(|o| o == UNCHECKED) => push.rights.may_go_unchecked(),
        GateDown::Refuse => Err(Problem::new(ProblemKind::Denied, "", "")),
    };
    match passes {
        Ok(()) => {
            notices.push(format!("{what} The push goes on, and its deploy tells."));
            Ok(())
        }
        Err(_) => Err(Problem::new(
            ProblemKind::Unavailable,
            what,
            format!(
                "Push again later; an admin of the repository may push past it with git push -o {UNCHECKED}, and an owner may \
                 bind with --gate-down allow."
            ),
        )),
    }
}
