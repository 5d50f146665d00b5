//! A cluster that cannot be asked is no refusal.

use slipway_core::deploy_rules::{DeployRules, GateDown};

use super::*;

/// A cluster that cannot be asked, for a reason of that kind.
struct Away(ProblemKind);

impl Preflight for Away {
    fn check(&self, _: &ClusterBinding, _: &Shown<'_>, _: &dyn Incoming) -> Result<Vec<String>, Problem> {
        Err(Problem::new(self.0, "Cluster prod does not answer.", "Wait."))
    }
}

/// Somebody who may push and look after nothing.
struct Writer;

impl Rights for Writer {
    fn still(&self) -> Result<(), Problem> {
        Ok(())
    }
    fn may_go_unchecked(&self) -> Result<(), Problem> {
        Err(Problem::new(ProblemKind::Denied, "No.", ""))
    }
}

fn pushed(
    kind: ProblemKind,
    dry_run: DryRun,
    gate_down: Option<GateDown>,
    rights: &dyn Rights,
    options: &[&str],
) -> Verdict {
    let rules = DeployRules { gate_down, ..DeployRules::default() };
    let cluster = ClusterBinding { branch: main_branch(), dry_run, rules, ..idle::cluster() };
    let bindings = Bindings { registry: None, cluster: Some(cluster) };
    let books = Arc::new(Books { bindings: Mutex::new(bindings), ..Books::default() });
    let acceptance = Acceptance::new(books, Arc::new(Away(kind)), || UnixMillis(7));
    let options = options.iter().map(|o| (*o).to_owned()).collect();
    let push = Proposal { options, rights, ..push(vec![to_main(0, 1)]) };
    acceptance.accept(push, &Refs::default(), &mut Pack::default()).expect("judged")
}

#[test]
fn what_could_not_be_checked_is_let_through_or_refused_as_the_binding_says_and_never_called_a_refusal() {
    use ProblemKind::{TimedOut, Unavailable};
    let allow = Some(GateDown::Allow);
    let refuse = Some(GateDown::Refuse);
    let unchecked = ["deploy.unchecked"];
    let everybody: &dyn Rights = &Unquestioned;
    for (mode, down, rights, options, passes) in [
        (DryRun::Warn, None, everybody, &[][..], true),
        (DryRun::Enforce, None, everybody, &[][..], false),
        (DryRun::Enforce, allow, everybody, &[][..], true),
        (DryRun::Warn, refuse, everybody, &[][..], false),
        (DryRun::Enforce, None, everybody, &unchecked[..], true),
        (DryRun::Enforce, None, &Writer, &unchecked[..], false),
        (DryRun::Warn, None, &Writer, &[][..], true),
    ] {
        for kind in [TimedOut, Unavailable] {
            let verdict = pushed(kind, mode, down, rights, options);
            let told = match &verdict.answers[0] {
                Ok(()) => verdict.notices.join(" "),
                Err(problem) => problem.to_string(),
            };
            assert_eq!(verdict.answers[0].is_ok(), passes, "{mode:?} {down:?}: {told}");
            assert!(told.contains("could not be checked") && !told.contains("refuses"), "{told}");
            assert!(told.contains("does not answer") && !told.contains("Wait."), "{told}");
        }
    }
}

#[test]
fn a_mistake_of_the_repository_is_a_refusal_whatever_the_binding_says_of_outages() {
    let verdict = pushed(
        ProblemKind::Invalid,
        DryRun::Enforce,
        Some(GateDown::Allow),
        &Unquestioned,
        &["deploy.unchecked"],
    );
    assert!(verdict.answers[0].as_ref().expect_err("refused").what.contains("refuses"));
}

#[test]
fn a_push_says_by_option_how_many_may_go() {
    let told = |option: &str| pushed(ProblemKind::Busy, DryRun::Off, None, &Unquestioned, &[option]).notices;
    for known in ["deploy.prune=all", "deploy.prune=12", "deploy.unchecked"] {
        assert!(told(known).is_empty(), "{known}: {:?}", told(known));
    }
    for unknown in ["deploy.prune", "deploy.prune=", "deploy.prune=some", "deploy.prune=-1"] {
        assert!(told(unknown)[0].contains("is not known"), "{unknown}");
    }
}
