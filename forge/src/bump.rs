//! The manifest bump: a build's digest, committed into a manifest repository for whoever pushed the application, if they
//! may write there. A pushed file alone grants nothing.

use slipway_core::accept::Rights;
use slipway_core::build::Build;
use slipway_core::event::{Cause, EventState};
use slipway_core::spec::{DeploySpec, FieldPath};
use slipway_core::target::RepoRecord;
use slipway_core::{
    Action, Actor, Digest, EventId, Oid, Problem, ProblemKind, RefName, RepoName, UserName, authorise,
};
use slipway_repository::{Edit, Repository, Snapshot};

use crate::access::{repository, standing};
use crate::commits::{NewCommit, commit};
use crate::forge::Forge;
use crate::moving::place;

/// How often a commit is made anew because somebody else's push came first.
const TRIES_MAX: usize = 8;
/// Events that are looked through for a bump that a crash cut off.
const LOOK_BACK: usize = 200;

/// Where a digest shall be written.
#[derive(Clone, Debug)]
pub struct Place {
    /// The manifest repository's name, for messages.
    pub repo: RepoName,
    /// The commit to start from.
    pub commit: Oid,
    /// A file, or a folder (all of it).
    pub path: String,
    /// Which image references to move, tag and digest aside.
    pub image: String,
    /// Further fields to write.
    pub fields: Vec<FieldPath>,
    /// Fields that stay as they are.
    pub leave: Vec<FieldPath>,
}

/// What has to be done to the manifests of a target.
#[derive(Debug, Default)]
pub struct Planned {
    /// Nothing where they have the digest already.
    pub edits: Vec<Edit>,
    /// What else names the image, one sentence each.
    pub notes: Vec<String>,
}

/// What a bump left.
#[derive(Debug, Default)]
pub struct Bumped {
    /// The commit and its event, or nothing where the manifests had the digest already.
    pub commit: Option<Oid>,
    /// Its event.
    pub event: Option<EventId>,
    /// What else names the image, one sentence each.
    pub notes: Vec<String>,
}

/// Writes the build's digest into the manifests of one `[deploy.*]` target. Doing it again changes nothing.
///
/// # Errors
/// `Denied` where whoever pushed may not write there; `Invalid` where there is nothing to write to; `Busy` where others
/// push too often.
pub fn bump(forge: &Forge, source: &RepoRecord, build: &Build, target: &str) -> Result<Bumped, Problem> {
    let pushed = build.pushed.as_ref().ok_or_else(|| {
        Problem::new(ProblemKind::Broken, "The build has no pushed image to deploy.", "Retry the build.")
    })?;
    let deploy = &place(forge, source, build, target)?;
    let leave = Leave { forge, source, build, manifests: &deploy.repo };
    let manifests = leave.repository()?;
    let cause = Cause::Bump { source: source.id, build: build.number, target: target.to_owned() };
    if let Some(done) = earlier(forge, &manifests, &cause)? {
        return Ok(done);
    }
    let repository = repository(forge, &manifests)?;
    let branch = branch_of(deploy, &repository)?;
    let message = forge.outside.bump_message(&source.name, build, target);
    for _ in 0..TRIES_MAX {
        let snapshot = repository.snapshot()?;
        let parent = tip(&snapshot, &manifests, &branch, target)?;
        let tag = pushed.tags.first().map(String::as_str).unwrap_or_default();
        let image = (pushed.name.as_str(), tag, &pushed.digest);
        let Planned { edits, notes } = planned(forge, &snapshot, (&manifests, parent), deploy, image)?;
        if edits.is_empty() {
            return Ok(Bumped { commit: None, event: None, notes });
        }
        let new = NewCommit {
            record: &manifests,
            repository: &repository,
            branch: &branch,
            parent: Some(parent),
            edits: &edits,
            message: &message,
            cause: cause.clone(),
            actor: Actor::Server.label(),
            rights: &leave,
        };
        match commit(forge, new)? {
            (commit, verdict) if verdict.event.is_some() => {
                return Ok(Bumped { commit: Some(commit), event: verdict.event, notes });
            }
            (_, verdict) => match verdict.answers.into_iter().next() {
                Some(Err(problem)) if problem.kind == ProblemKind::Conflict => {}
                Some(Err(problem)) => return Err(problem),
                _ => return Ok(Bumped::default()),
            },
        }
    }
    Err(too_busy(&manifests))
}

fn tip(snapshot: &Snapshot, manifests: &RepoRecord, branch: &RefName, target: &str) -> Result<Oid, Problem> {
    snapshot.target_of(branch.as_str())?.ok_or_else(|| {
        Problem::new(
            ProblemKind::Invalid,
            format!("{} has no branch {} for [deploy.{target}].", manifests.name, branch.short()),
            "Push the manifests first, or name another branch in slipway.toml.",
        )
    })
}

fn planned(
    forge: &Forge,
    snapshot: &std::sync::Arc<Snapshot>,
    (manifests, commit): (&RepoRecord, Oid),
    deploy: &DeploySpec,
    (name, tag, digest): (&str, &str, &Digest),
) -> Result<Planned, Problem> {
    let place = Place {
        repo: manifests.name.clone(),
        commit,
        path: deploy.path.clone(),
        image: deploy.image.clone().unwrap_or_else(|| name.to_owned()),
        fields: deploy.fields.clone(),
        leave: deploy.leave.clone(),
    };
    forge.outside.bump_edits(snapshot, &place, tag, digest)
}

/// Asks whether the manifests of a target could be written now, without writing any. Blocking.
///
/// # Errors
/// What [`bump()`] would say.
pub fn check(
    forge: &Forge,
    source: &RepoRecord,
    build: &Build,
    (target, image): (&str, &str),
) -> Result<(), Problem> {
    let deploy = &place(forge, source, build, target)?;
    let leave = Leave { forge, source, build, manifests: &deploy.repo };
    let manifests = leave.repository()?;
    let repository = repository(forge, &manifests)?;
    let branch = branch_of(deploy, &repository)?;
    let snapshot = repository.snapshot()?;
    // Where nothing is yet the manifests may be by then: a team's first push may well be the application.
    let Some(tip) = snapshot.target_of(branch.as_str())? else { return Ok(()) };
    // No image has it: what is looked for is whether everything could be written.
    let none = Digest::none();
    planned(forge, &snapshot, (&manifests, tip), deploy, (image, "0", &none)).map(drop)
}

/// Asks whether whoever a build is by may have it written into that manifest repository. Blocking.
///
/// # Errors
/// `Denied` where they may not.
pub(crate) fn check_leave(
    forge: &Forge,
    source: &RepoRecord,
    build: &Build,
    manifests: &RepoName,
) -> Result<(), Problem> {
    Leave { forge, source, build, manifests }.repository().map(drop)
}

/// The leave of whoever pushed an application to have its digest written into a manifest repository.
struct Leave<'a> {
    forge: &'a Forge,
    source: &'a RepoRecord,
    build: &'a Build,
    manifests: &'a RepoName,
}

impl Leave<'_> {
    /// The manifest repository, if they may write to it now.
    fn repository(&self) -> Result<RepoRecord, Problem> {
        let name = self.manifests;
        let (record, actor, standing) = self.forge.store.read(|records| {
            let record = match records.repo_by_name(name)? {
                Some(record) => Some(record),
                // As slipway.toml called it before it was renamed; who may write there is asked of what it is now.
                None => records.repo_by_former_name(name)?,
            };
            let user = match UserName::parse(&self.build.actor) {
                Ok(user) => records.user(&user)?,
                Err(_) => None,
            };
            let actor = user.map_or(Actor::Anonymous, |u| Actor::User { name: u.name, owner: u.owner });
            let standing = match (&record, actor.user()) {
                (Some(record), Some(_)) => Some(standing(records, &actor, record)?),
                _ => None,
            };
            Ok((record, actor, standing))
        })?;
        let allowed = authorise(&actor, standing, Action::WriteRepo, name.as_str());
        record.filter(|_| allowed.is_ok()).ok_or_else(|| self.denied())
    }

    fn denied(&self) -> Problem {
        let (actor, name) = (&self.build.actor, self.manifests);
        Problem::new(
            ProblemKind::Denied,
            format!("{actor}, who pushed {}, may not write to a repository {name}.", self.source.name),
            format!("Check the name in slipway.toml, or grant it: slipway grant {actor} {name} write"),
        )
    }
}

impl Rights for Leave<'_> {
    fn still(&self) -> Result<(), Problem> {
        self.repository().map(drop)
    }
}

fn too_busy(manifests: &RepoRecord) -> Problem {
    Problem::new(
        ProblemKind::Busy,
        format!(
            "{} is pushed to so often that the digest found no place in {TRIES_MAX} tries.",
            manifests.name
        ),
        "It is tried again.",
    )
}

/// The bump that a crash cut off between its acceptance and its record.
fn earlier(forge: &Forge, manifests: &RepoRecord, cause: &Cause) -> Result<Option<Bumped>, Problem> {
    let events = forge.store.events(manifests.id, LOOK_BACK)?;
    let event = events.into_iter().find(|e| e.cause == *cause && e.state == EventState::Accepted);
    let bumped = |e: slipway_core::event::Event| Bumped {
        commit: e.updates.first().map(|u| u.new),
        event: Some(e.id),
        notes: Vec::new(),
    };
    Ok(event.map(bumped))
}

fn branch_of(deploy: &DeploySpec, repository: &Repository) -> Result<RefName, Problem> {
    use slipway_core::accept::RefStore as _;
    match &deploy.branch {
        Some(branch) => Ok(RefName::branch(branch)?),
        None => repository.default_branch(),
    }
}
