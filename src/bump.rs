//! The server's own commits: the manifest bump. Goes the way of every push, as the server, for a pusher who may write
//! to the manifest repository.

use std::sync::Arc;

use slipway_core::accept::{Incoming, Proposal, RefStore, Verdict};
use slipway_core::build::Build;
use slipway_core::event::Cause;
use slipway_core::spec::{DeploySpec, Spec};
use slipway_core::target::RepoRecord;
use slipway_core::{
    Action, Actor, EventId, Oid, Problem, ProblemKind, RefName, RefUpdate, RepoName, Standing, UserName,
    authorise,
};
use slipway_hooks::bump::Place;
use slipway_repository::{Edit, Repository, Signature};

use crate::app::Rooms;
use crate::supervisor::now;

/// How often a commit is made anew because somebody else's push came first.
const TRIES_MAX: usize = 8;

/// The refs of a repository, as the acceptance path takes them.
pub(crate) struct Refs(pub(crate) Arc<Repository>);

impl RefStore for Refs {
    fn current(&self, name: &RefName) -> Result<Option<Oid>, Problem> {
        self.0.current(name)
    }
    fn update(&self, updates: &[RefUpdate], atomic: bool) -> Result<Vec<Result<(), Problem>>, Problem> {
        self.0.update(updates, atomic)
    }
    fn default_branch(&self) -> Result<RefName, Problem> {
        self.0.default_branch()
    }
}

/// What a bump left: the commit and its event, or nothing where the manifests had the digest already.
pub(crate) type Bumped = (Option<Oid>, Option<EventId>);

/// Writes the build's digest into the manifests of one `[deploy.*]` target. Blocking. Doing it again changes nothing.
pub(crate) fn bump(
    rooms: &Rooms,
    source: &RepoRecord,
    build: &Build,
    target: &str,
) -> Result<Bumped, Problem> {
    let pushed = build.pushed.as_ref().ok_or_else(|| {
        Problem::new(ProblemKind::Broken, "The build has no pushed image to deploy.", "Retry the build.")
    })?;
    let spec = spec_of(rooms, source, build)?;
    let deploy = spec.deploy.get(target).ok_or_else(|| {
        Problem::new(
            ProblemKind::Broken,
            format!("The commit has no [deploy.{target}] any more."),
            "Retry the build.",
        )
    })?;
    let manifests = permitted(rooms, source, build, &deploy.repo)?;
    let cause = Cause::Bump { source: source.id, build: build.number, target: target.to_owned() };
    if let Some(done) = earlier(rooms, &manifests, &cause)? {
        return Ok(done);
    }
    let repository = rooms.repositories.get(&manifests.name)?;
    let branch = branch_of(deploy, &repository)?;
    let image = deploy.image.clone().unwrap_or_else(|| pushed.name.clone());
    let tag = pushed.tags.first().cloned().unwrap_or_default();
    let message = slipway_hooks::bump::message(&source.name, &build.commit, build.number, target);
    for _ in 0..TRIES_MAX {
        let snapshot = repository.snapshot()?;
        let Some(tip) = snapshot.find_ref(branch.as_str()).map(|r| r.target) else {
            return Err(Problem::new(
                ProblemKind::Invalid,
                format!("{} has no branch {} for [deploy.{target}].", manifests.name, branch.short()),
                "Push the manifests first, or name another branch in slipway.toml.",
            ));
        };
        let edits = {
            let place = Place {
                repo: manifests.name.clone(),
                commit: tip,
                path: deploy.path.clone(),
                image: image.clone(),
            };
            slipway_hooks::bump::plan(&snapshot, &place, &tag, &pushed.digest)?
        };
        if edits.is_empty() {
            return Ok((None, None));
        }
        match commit(rooms, &manifests, &repository, &branch, Some(tip), &edits, &message, cause.clone())? {
            (commit, verdict) if verdict.event.is_some() => return Ok((Some(commit), verdict.event)),
            (_, verdict) => match verdict.answers.into_iter().next() {
                Some(Err(problem)) if problem.kind == ProblemKind::Conflict => {}
                Some(Err(problem)) => return Err(problem),
                _ => return Ok((None, None)),
            },
        }
    }
    Err(Problem::new(
        ProblemKind::Busy,
        format!(
            "{} is pushed to so often that the digest found no place in {TRIES_MAX} tries.",
            manifests.name
        ),
        "It is tried again.",
    ))
}

/// Makes a commit as the server and takes it through the acceptance path.
#[allow(clippy::too_many_arguments)] // The facts of a commit and of where it goes.
pub(crate) fn commit(
    rooms: &Rooms,
    record: &RepoRecord,
    repository: &Repository,
    branch: &RefName,
    parent: Option<Oid>,
    edits: &[Edit],
    message: &str,
    cause: Cause,
) -> Result<(Oid, Verdict), Problem> {
    let who = Signature {
        name: "Slipway".into(),
        email: "slipway@localhost".into(),
        at_ms: now().0,
        offset_minutes: 0,
    };
    let (commit, mut objects) = repository.commit(parent.as_ref(), edits, message, &who, &who)?;
    let proposal = Proposal {
        repo: record.id,
        repo_name: &record.name,
        actor: Actor::Server.label(),
        cause,
        updates: vec![RefUpdate {
            name: branch.clone(),
            old: parent.unwrap_or_else(|| commit.zero_like()),
            new: commit,
        }],
        atomic: true,
        options: Vec::new(),
        certificate: None,
    };
    let verdict = rooms.acceptance.accept(proposal, repository, &mut objects)?;
    Ok((commit, verdict))
}

/// The manifest repository, if whoever pushed the application may write to it: a pushed file alone grants nothing.
fn permitted(
    rooms: &Rooms,
    source: &RepoRecord,
    build: &Build,
    name: &RepoName,
) -> Result<RepoRecord, Problem> {
    let record = rooms.store.repo_by_name(name)?;
    let actor = match UserName::parse(&build.actor) {
        Ok(user) => match rooms.store.user(&user)? {
            Some(user) => Actor::User { name: user.name, owner: user.owner },
            None => Actor::Anonymous,
        },
        Err(_) => Actor::Anonymous,
    };
    let standing = match (&record, actor.user()) {
        (Some(record), Some(user)) => {
            Some(Standing { public: record.public, role: rooms.store.role(user, record.id)? })
        }
        _ => None,
    };
    let allowed = authorise(&actor, standing, Action::WriteRepo, name.as_str());
    match (record, allowed) {
        (Some(record), Ok(())) => Ok(record),
        _ => Err(Problem::new(
            ProblemKind::Denied,
            format!("{}, who pushed {}, may not write to a repository {name}.", build.actor, source.name),
            format!(
                "Check the name in slipway.toml, or grant it: slipway grant {} {name} write",
                build.actor
            ),
        )),
    }
}

/// The bump that a crash cut off between its acceptance and its record.
fn earlier(rooms: &Rooms, manifests: &RepoRecord, cause: &Cause) -> Result<Option<Bumped>, Problem> {
    const LOOK_BACK: usize = 200;
    let events = rooms.store.events(manifests.id, LOOK_BACK)?;
    let event = events
        .into_iter()
        .find(|e| e.cause == *cause && e.state == slipway_core::event::EventState::Accepted);
    Ok(event.map(|e| (e.updates.first().map(|u| u.new), Some(e.id))))
}

fn spec_of(rooms: &Rooms, source: &RepoRecord, build: &Build) -> Result<Spec, Problem> {
    let objects = rooms.repositories.get(&source.name)?.received_nothing()?;
    let text = objects.file(&build.commit, "slipway.toml", slipway_core::limits::SPEC_BYTES_MAX)?;
    Ok(text.as_deref().map(Spec::parse).transpose()?.unwrap_or_default())
}

fn branch_of(deploy: &DeploySpec, repository: &Repository) -> Result<RefName, Problem> {
    match &deploy.branch {
        Some(branch) => Ok(RefName::branch(branch)?),
        None => repository.default_branch(),
    }
}
