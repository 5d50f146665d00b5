//! A push of more refs than one event tells of. It is taken in by groups, as if they had been pushed one after the other:
//! each is recorded as an event of its own, whole, before its refs move, and answered for ref by ref. Deletions come
//! first, for they make room, then branches, of which the first may become the default, then the rest.

use super::checks::{PUSH_IN_GROUPS, check_size};
use super::ports::{CommitFacts, Incoming, RefStore};
use super::{Acceptance, Proposal, Verdict};
use crate::files::{Blob, Files, Other};
use crate::git::{Oid, RefUpdate};
use crate::limits::{EVENT_UPDATE_BYTES_MAX, EVENT_UPDATES_MAX};
use crate::problem::{Problem, ProblemKind};

/// Bytes of an update as it is recorded, its name aside: two ids and what is around them.
const RECORDED_BYTES: usize = 200;

impl Acceptance {
    /// Takes a push in, or says per ref why not. Blocking.
    ///
    /// # Errors
    /// A [`Problem`] where nothing could be judged or recorded at all; then no ref has moved, or the event is still
    /// *intended* and is settled before the repository's next push, or at the next start.
    pub fn accept(
        &self,
        push: Proposal<'_>,
        refs: &dyn RefStore,
        objects: &mut dyn Incoming,
    ) -> Result<Verdict, Problem> {
        check_size(&push)?;
        let groups = groups(&push.updates);
        if groups.len() <= 1 {
            return self.accept_group(push, refs, objects);
        }
        if push.atomic {
            return Err(Problem::new(
                ProblemKind::TooLarge,
                format!("A push that moves all of its refs or none may have {EVENT_UPDATES_MAX} of them."),
                format!("Push without --atomic. {PUSH_IN_GROUPS}"),
            ));
        }
        let mut objects = Unnarrowed(objects);
        let mut verdict = Verdict::unmoved(push.updates.iter().map(|_| Ok(())).collect(), Vec::new());
        let mut failed: Option<Problem> = None;
        for group in groups {
            let taken = match &failed {
                Some(problem) => Err(problem.clone()),
                None => self.accept_group(part(&push, &group), refs, &mut objects),
            };
            match taken {
                Ok(of_group) => merge(&mut verdict, of_group, &group),
                // Nothing has moved yet.
                Err(problem) if verdict.event.is_none() => return Err(problem),
                Err(problem) => {
                    group.iter().for_each(|&at| verdict.answers[at] = Err(problem.clone()));
                    failed = Some(problem);
                }
            }
        }
        Ok(verdict)
    }
}

/// The updates by number, in groups that one event tells of each.
fn groups(updates: &[RefUpdate]) -> Vec<Vec<usize>> {
    let bytes_of = |update: &RefUpdate| update.name.as_str().len() + RECORDED_BYTES;
    let bytes: usize = updates.iter().map(bytes_of).sum();
    let mut order: Vec<usize> = (0..updates.len()).collect();
    if updates.len() <= EVENT_UPDATES_MAX && bytes <= EVENT_UPDATE_BYTES_MAX {
        return vec![order];
    }
    order.sort_by_key(|&at| {
        let update = &updates[at];
        (!update.is_delete(), update.name.as_branch().is_none())
    });
    let (mut groups, mut bytes) = (vec![Vec::new()], 0);
    for at in order {
        let more = bytes_of(&updates[at]);
        let full = groups.last().is_some_and(|group| group.len() >= EVENT_UPDATES_MAX);
        if full || bytes + more > EVENT_UPDATE_BYTES_MAX {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(group) = groups.last_mut() {
            group.push(at);
        }
    }
    groups
}

fn part<'a>(push: &Proposal<'a>, group: &[usize]) -> Proposal<'a> {
    Proposal {
        repo: push.repo,
        repo_name: push.repo_name,
        actor: push.actor.clone(),
        cause: push.cause.clone(),
        updates: group.iter().map(|&at| push.updates[at].clone()).collect(),
        atomic: false,
        options: push.options.clone(),
        certificate: push.certificate.clone(),
        rights: push.rights,
    }
}

/// Adds what became of a group. The event that is followed is the first that owes work.
fn merge(whole: &mut Verdict, of_group: Verdict, group: &[usize]) {
    let Verdict { event, answers, orders, notices, idle } = of_group;
    for (&at, answer) in group.iter().zip(answers) {
        whole.answers[at] = answer;
    }
    let works = |v: &super::Orders| !v.builds.is_empty() || !v.deploys.is_empty();
    if whole.event.is_none() || (works(&orders) && !works(&whole.orders)) {
        whole.event = event.or(whole.event);
    }
    whole.orders.builds.extend(orders.builds);
    whole.orders.deploys.extend(orders.deploys);
    for notice in notices {
        if !whole.notices.contains(&notice) {
            whole.notices.push(notice);
        }
    }
    whole.idle = if works(&whole.orders) { None } else { whole.idle.take().or(idle) };
}

/// The objects of a push whose other groups still need what one of them does not.
struct Unnarrowed<'a>(&'a mut dyn Incoming);

impl Files for Unnarrowed<'_> {
    fn files_at(
        &self,
        commit: &Oid,
        path: &str,
        each: &mut dyn FnMut(&str, &Oid) -> Result<bool, Problem>,
    ) -> Result<bool, Problem> {
        self.0.files_at(commit, path, each)
    }

    fn others_at(
        &self,
        commit: &Oid,
        path: &str,
        each: &mut dyn FnMut(&str, Other, &Oid) -> Result<bool, Problem>,
    ) -> Result<(), Problem> {
        self.0.others_at(commit, path, each)
    }

    fn messages(&self, old: Option<&Oid>, new: &Oid, max: usize) -> Result<Vec<String>, Problem> {
        self.0.messages(old, new, max)
    }

    fn blob(&self, id: &Oid, max: u64) -> Result<Blob, Problem> {
        self.0.blob(id, max)
    }
}

impl Incoming for Unnarrowed<'_> {
    fn file(&self, commit: &Oid, path: &str, max: u64) -> Result<Option<Vec<u8>>, Problem> {
        self.0.file(commit, path, max)
    }

    fn has_file(&self, commit: &Oid, path: &str) -> Result<bool, Problem> {
        self.0.has_file(commit, path)
    }

    fn commit(&self, id: &Oid) -> Result<Option<CommitFacts>, Problem> {
        self.0.commit(id)
    }

    fn changed_paths(
        &self,
        old: Option<&Oid>,
        new: &Oid,
        max: usize,
    ) -> Result<Option<Vec<String>>, Problem> {
        self.0.changed_paths(old, new, max)
    }

    fn publish(&mut self) -> Result<(), Problem> {
        self.0.publish()
    }
}
