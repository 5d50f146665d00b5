//! What a repository's own settings have against an update, in git's words. Whether the actor may push at all was
//! decided before; protected branches and the rest come after, in the one acceptance path.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;

use slipway_core::event::{PushCertificate, Signed};
use slipway_core::{Oid, Problem, ProblemKind, RefName, RefUpdate};
use slipway_repository::{Guard, Kind, Objects, Received, View};

use crate::limits::{ODD_NAMES_LOOKED_AT_MAX, ODD_NAMES_TOLD_MAX};
use crate::wire::push::Push;

/// Judges one update.
pub(super) fn check(view: &View, received: &Received, update: &RefUpdate) -> Result<(), Problem> {
    let settings = &view.settings.receive;
    let hides = |name: &RefName| view.settings.hidden_from_push.hides(name.as_str());
    // A symbolic ref is no way around: the update would move what it names.
    let target = view.whole.find_ref(update.name.as_str()).and_then(|r| r.symref.as_ref());
    if hides(&update.name) || target.is_some_and(hides) {
        return Err(denied("deny updating a hidden ref", "Push to another ref."));
    }
    let is_branch = update.name.as_branch().is_some();
    if update.name.as_branch() == Some("HEAD") && update.is_create() && !update.is_delete() {
        return Err(denied(
            "a branch cannot be called HEAD",
            "Choose another name: git takes that one for HEAD itself.",
        ));
    }
    let is_current = view.whole.head() == &update.name;
    if update.is_delete() {
        if settings.deny_deletes && is_branch && !update.is_create() {
            return Err(denied(
                "deletion prohibited",
                "This repository keeps its branches (receive.denyDeletes).",
            ));
        }
        if is_current && !update.is_create() && settings.delete_current == Guard::Refuse {
            let cure = "Make another branch the current one first.";
            return Err(denied("deletion of the current branch prohibited", cure));
        }
        return Ok(());
    }
    if view.settings.has_work_tree && is_current && settings.current_branch == Guard::Refuse {
        let cure = "Push to another branch: this one's files lie in a work tree.";
        return Err(denied("branch is currently checked out", cure));
    }
    let moves = is_branch && !update.is_create() && update.old != update.new;
    if moves && settings.deny_non_fast_forwards {
        // What is no commit, or is not there, is left to the compare-and-swap and its words.
        let forward = received.is_ancestor(&update.old, &update.new).unwrap_or(false);
        if !forward {
            return Err(denied("non-fast-forward", "Fetch, integrate what others pushed, and push again."));
        }
    }
    Ok(())
}

/// Refuses what would end this repository's history where the pusher's shallow clone ends, unless that may be. A remark
/// for the pusher if it would.
pub(super) fn check_ends(
    view: &View,
    received: &mut Received,
    push: &Push,
    answers: &mut [Result<(), Problem>],
    stop: &AtomicBool,
) -> Result<Option<String>, Problem> {
    if push.shallows.is_empty() {
        return Ok(None);
    }
    let boundary: HashSet<Oid> = push.shallows.iter().copied().collect();
    let mut remark = None;
    for (command, answer) in push.commands.iter().zip(answers.iter_mut()).filter(|(_, a)| a.is_ok()) {
        let Ok(update) = &command.update else { continue };
        let cut = received.cut_off(&update.new, &boundary, stop).map_err(Problem::from)?;
        if view.settings.receive.shallow_update {
            // Those where history ends already, too: a push that fails meanwhile takes its own back.
            received.end_history_at(update.new, cut);
        } else if cut.iter().any(|id| !received.is_boundary(id)) {
            let cure = "Fetch the rest with git fetch --unshallow, and push again.";
            remark = Some(format!("history would end here: {cure}"));
            *answer = Err(denied("shallow update not allowed", cure));
        }
    }
    Ok(remark)
}

/// What the settings let through with a remark, in git's words.
pub(super) fn warning(view: &View, update: &RefUpdate) -> Option<String> {
    let settings = &view.settings.receive;
    let is_current = view.whole.head() == &update.name;
    if update.is_delete() {
        let deletes = is_current && !update.is_create() && settings.delete_current == Guard::Warn;
        return deletes.then(|| "warning: deleting the current branch".to_owned());
    }
    let moves = view.settings.has_work_tree && is_current && settings.current_branch == Guard::Warn;
    moves.then(|| "warning: updating the current branch".to_owned())
}

/// What the pusher is told of new branches that trip people up: names that differ from another branch's in upper and lower
/// case alone (some file systems have one file for both), and names that commands take for an option.
pub(super) fn odd_names(view: &View, made: &[&RefName]) -> Vec<String> {
    let branches = made.iter().filter_map(|name| name.as_branch());
    let mut remarks: Vec<String> =
        (branches.clone().filter(|name| name.starts_with('-')).take(ODD_NAMES_TOLD_MAX))
            .map(|name| format!("warning: many commands take the branch {name} for an option"))
            .collect();
    let known = view.whole.refs();
    if branches.clone().next().is_none() || known.len() + made.len() > ODD_NAMES_LOOKED_AT_MAX {
        return remarks;
    }
    let all =
        known.iter().map(|known| &known.name).chain(made.iter().copied()).filter_map(RefName::as_branch);
    let mut folded: HashMap<String, &str> = HashMap::new();
    let mut twins = Vec::new();
    for name in all {
        let other = *folded.entry(name.to_lowercase()).or_insert(name);
        if other != name && made.iter().any(|m| m.as_branch() == Some(name)) {
            twins.push(format!(
                "warning: the branches {other} and {name} differ in upper and lower case alone"
            ));
        }
    }
    remarks.extend(twins.into_iter().take(ODD_NAMES_TOLD_MAX));
    remarks
}

/// What the pusher is told of a certificate that is good for little.
pub(super) fn certificate_remark(certificate: &PushCertificate) -> Option<String> {
    let what = match certificate.signed {
        Signed::ByAccount => return None,
        Signed::ByOther => "signed by a key that this account does not have",
        Signed::Unchecked => "this kind of signature is not checked",
    };
    Some(format!("push certificate: {what}"))
}

/// True for a branch, and for a symbolic ref that names one.
pub(super) fn is_branch(view: &View, name: &RefName) -> bool {
    let target = view.whole.find_ref(name.as_str()).and_then(|r| r.symref.as_ref());
    target.unwrap_or(name).as_branch().is_some()
}

/// Judges what a branch shall point at.
pub(super) fn check_tip(kind: Option<Kind>) -> Result<(), Problem> {
    match kind {
        Some(Kind::Commit) | None => Ok(()),
        Some(kind) => {
            let what = format!("trying to write non-commit object to branch: it is a {kind}");
            Err(denied(&what, "Push it to a tag, or push the commit that it names."))
        }
    }
}

fn denied(what: &str, cure: &str) -> Problem {
    Problem::new(ProblemKind::Denied, what, cure)
}

/// What to do with an update that names a symbolic ref whose target is updated by the same push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alias {
    /// It asks for what the other update (by number) does.
    Same(usize),
    /// It contradicts the other update (by number).
    Contradicts(usize),
}

/// Finds updates of symbolic refs beside updates of what they name, by number.
pub(super) fn aliases(view: &View, updates: &[(usize, &RefUpdate)]) -> Vec<(usize, Alias)> {
    let by_name: HashMap<&RefName, (usize, &RefUpdate)> =
        updates.iter().map(|(number, update)| (&update.name, (*number, *update))).collect();
    let mut found = Vec::new();
    for (number, update) in updates.iter().filter(|(_, update)| !update.is_delete()) {
        let symref = view.whole.find_ref(update.name.as_str()).and_then(|r| r.symref.as_ref());
        let Some((other, target)) = symref.and_then(|name| by_name.get(name)) else { continue };
        let same = target.old == update.old && target.new == update.new;
        found.push((*number, if same { Alias::Same(*other) } else { Alias::Contradicts(*other) }));
    }
    found
}
