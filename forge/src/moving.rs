//! Names that others follow: tags that move (`latest`), the manifests of a cluster. The rule is core's
//! ([`slipway_core::moving`]); here the repository and the records are asked, at the moment of moving, by who has the
//! repository's turn: [`turn`], [`why_not`], the move itself, [`moved`].

use std::sync::Arc;

use slipway_core::accept::{RefStore as _, spec_at};
use slipway_core::build::Build;
use slipway_core::moving::{
    AWAITS_APPROVAL, Holder, Lie, MovingTag, Name, Order, Place, Pointer, Said, Tags, belongs, decide,
    tags as tags_said,
};
use slipway_core::spec::{DeploySpec, Scope, Spec, TagFacts};
use slipway_core::target::RepoRecord;
use slipway_core::{Digest, Oid, Problem, ProblemKind, RefName, RepoId};
use slipway_repository::Snapshot;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::access::repository;
use crate::forge::Forge;
use crate::limits::{BUILDS_LOOKED_MAX, TURNS};

/// One turn for each of many repositories.
pub(crate) struct Turns([Arc<Mutex<()>>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}

/// The turn to move a repository's names: while it is held nobody else moves one.
pub struct Turn {
    _held: OwnedMutexGuard<()>,
}

/// Waits for the turn. Held from the question until what came of it is recorded.
pub async fn turn(forge: &Forge, repo: RepoId) -> Turn {
    let stripe = usize::try_from(repo.0).unwrap_or(0) % TURNS;
    Turn { _held: Arc::clone(&forge.turns.0[stripe]).lock_owned().await }
}

/// A name that a build would move.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A tag of that image (`HOST[:PORT]/PATH`).
    Tag(String, MovingTag),
    /// A `[deploy.*]` target.
    Deploy(String),
}

impl Wanted {
    /// The name.
    pub fn name(&self) -> Name {
        match self {
            Self::Tag(_, tag) => Name::Tag(tag.text.clone()),
            Self::Deploy(target) => Name::Deploy(target.clone()),
        }
    }

    /// What it is recorded by: the same tag of another image is another name.
    fn key(&self) -> String {
        match self {
            Self::Tag(image, tag) => format!("{image}:{}", tag.text),
            Self::Deploy(_) => self.name().to_string(),
        }
    }

    /// True if that build has moved it, as records from before pointers were kept tell it.
    fn was_moved_by(&self, build: &Build) -> bool {
        match self {
            Self::Tag(image, tag) => {
                build.pushed.as_ref().is_some_and(|p| p.name == *image && p.tags.contains(&tag.text))
            }
            Self::Deploy(target) => build.bumps.iter().any(|b| b.target == *target && b.commit.is_some()),
        }
    }
}

/// What the build's image is called. Blocking.
///
/// # Errors
/// `Invalid` where its slipway.toml is wrong; a [`Problem`] where the repository cannot be read.
pub fn tags(forge: &Forge, record: &RepoRecord, build: &Build) -> Result<Tags, Problem> {
    let files = Files::read(forge, record, build)?;
    let commit = build.commit.to_string();
    let (number, created) = (build.number, build.run.created);
    let facts = TagFacts { commit: &commit, ref_name: &build.ref_name, number, created };
    Ok(tags_said(&files.said(), &facts))
}

/// Why the build leaves a name where it is; `None` where it moves it. Asked by who has the [`turn`]. Blocking.
///
/// # Errors
/// A [`Problem`] where the repository or the records cannot be read.
pub fn why_not(
    forge: &Forge,
    record: &RepoRecord,
    build: &Build,
    wanted: &Wanted,
) -> Result<Option<String>, Problem> {
    if build.promoter(&wanted.name()).is_some() {
        return Ok(None);
    }
    let denied = match wanted {
        Wanted::Tag(_, tag) => tag.denied.clone(),
        Wanted::Deploy(target) => {
            Files::read(forge, record, build)?.said().deploys(target, &build.ref_name).err()
        }
    };
    if let Some(why) = denied {
        let cure = match why.as_str() {
            AWAITS_APPROVAL => format!(": slipway build approve {} {}", record.name, build.number),
            _ => String::new(),
        };
        return Ok(Some(why + &cure));
    }
    judged(forge, record, build, wanted)
}

/// Why the build leaves a name where it is that it may move: it would go back. Blocking.
pub(crate) fn judged(
    forge: &Forge,
    record: &RepoRecord,
    build: &Build,
    wanted: &Wanted,
) -> Result<Option<String>, Problem> {
    let now = pointer(forge, record, build, wanted)?;
    let holder = Holder::of(build);
    if let Wanted::Tag(_, MovingTag { scope: Scope::Build | Scope::Ref, .. }) = wanted
        && let Err(stay) = belongs(&holder, now.as_ref())
    {
        return Ok(Some(stay.to_string()));
    }
    let snapshot = forge.repositories.get(record.id)?.snapshot()?;
    Ok(judge(&snapshot, &holder, now.as_ref())?.map(|stay| stay.to_string()))
}

fn judge(
    snapshot: &Snapshot,
    build: &Holder,
    now: Option<&Pointer>,
) -> Result<Option<slipway_core::moving::Stay>, Problem> {
    // A ref that cannot be read is not one that is gone.
    snapshot.target_of(build.ref_name.as_str())?;
    let there = snapshot.find_ref(build.ref_name.as_str()).map(|r| r.peeled.unwrap_or(r.target));
    let leads = |to: &Oid| match there {
        Some(tip) => Ok::<_, Problem>(tip == *to || is_older(snapshot, to, &tip)?),
        None => Ok(false),
    };
    let place = match there {
        Some(tip) if tip == build.commit => Place::Tip,
        _ if leads(&build.commit)? => Place::Behind,
        _ => Place::Cut,
    };
    let lie = match now.map(|pointer| (pointer, pointer.rival().commit)) {
        Some((pointer, rival)) => {
            let order = order(snapshot, &build.commit, &rival)?;
            Some((pointer, Lie { place, order, rival_on_ref: leads(&rival)? }))
        }
        None => None,
    };
    Ok(decide(build, place, lie).err())
}

fn order(snapshot: &Snapshot, mine: &Oid, rival: &Oid) -> Result<Order, Problem> {
    Ok(if mine == rival {
        Order::Same
    } else if is_older(snapshot, rival, mine)? {
        Order::Newer
    } else if is_older(snapshot, mine, rival)? {
        Order::Older
    } else {
        Order::Apart
    })
}

fn is_older(snapshot: &Snapshot, commit: &Oid, other: &Oid) -> Result<bool, Problem> {
    // What was cut from the branch since may be gone altogether.
    Ok(snapshot.contains(commit)? && snapshot.contains(other)? && snapshot.is_ancestor(commit, other)?)
}

/// Where the name points. Before that was recorded, the last build that moved it tells.
fn pointer(
    forge: &Forge,
    record: &RepoRecord,
    build: &Build,
    wanted: &Wanted,
) -> Result<Option<Pointer>, Problem> {
    let (key, number) = (wanted.key(), build.number);
    forge.store.read(|records| {
        if let Some(pointer) = records.pointer(record.id, &key)? {
            return Ok(Some(pointer));
        }
        let builds = records.newest_builds(record.id, BUILDS_LOOKED_MAX)?;
        let moved = builds.into_iter().filter(|b| b.number != number && wanted.was_moved_by(b));
        let last = moved.max_by_key(|b| (b.run.ended, b.number));
        Ok(last.and_then(|b| {
            let (digest, at) = (b.pushed.as_ref()?.digest.clone(), b.run.ended.unwrap_or_default());
            Some(Pointer::next(None, Holder::of(&b), digest, None, at))
        }))
    })
}

/// Records that the name points at the build's image now. Blocking.
///
/// # Errors
/// A [`Problem`] where it cannot be recorded.
pub fn moved(
    forge: &Forge,
    record: &RepoRecord,
    build: &Build,
    wanted: &Wanted,
    digest: &Digest,
) -> Result<(), Problem> {
    if matches!(wanted, Wanted::Tag(_, MovingTag { scope: Scope::Build, .. })) {
        return Ok(());
    }
    let before = pointer(forge, record, build, wanted)?;
    let of = match build.promotes() {
        Some(of) => forge.store.build(record.id, of)?,
        None => None,
    };
    let holder = Holder::of(of.as_ref().unwrap_or(build));
    let by = build.promoter(&wanted.name()).map(str::to_owned);
    let pointer = Pointer::next(before, holder, digest.clone(), by, forge.now());
    forge.store.put_pointer(record.id, &wanted.key(), &pointer)
}

/// Where a build writes its digest for a target: as its commit has it. A promotion writes to where that is now: as the default
/// branch has it, if it does. Blocking.
///
/// # Errors
/// `Broken` where there is no such target; `Invalid` where slipway.toml is wrong.
pub(crate) fn place(
    forge: &Forge,
    record: &RepoRecord,
    build: &Build,
    target: &str,
) -> Result<DeploySpec, Problem> {
    let Files { own, of_default, .. } = Files::read(forge, record, build)?;
    let now = of_default.as_ref().filter(|_| build.promotes().is_some()).and_then(|s| s.deploy.get(target));
    now.or_else(|| own.deploy.get(target)).cloned().ok_or_else(|| {
        Problem::new(
            ProblemKind::Broken,
            format!("The commit has no [deploy.{target}] any more."),
            "Retry the build.",
        )
    })
}

/// The files that say what a build may move.
pub(crate) struct Files {
    pub(crate) own: Spec,
    pub(crate) of_default: Option<Spec>,
    pub(crate) default_branch: RefName,
}

impl Files {
    pub(crate) fn read(forge: &Forge, record: &RepoRecord, build: &Build) -> Result<Self, Problem> {
        let repository = repository(forge, record)?;
        let objects = repository.received_nothing()?;
        let default_branch = repository.default_branch()?;
        let part = build.part.as_deref();
        let own = spec_at(&build.commit, &objects)?.of(part).ok_or_else(|| no_part(build))?;
        let of_default = match repository.snapshot()?.target_of(default_branch.as_str())? {
            // One that has no such image says nothing of it.
            Some(tip) => readable(spec_at(&tip, &objects))?.and_then(|spec| spec.of(part)),
            None => Some(Spec::default()),
        };
        Ok(Self { own, of_default, default_branch })
    }

    pub(crate) fn said(&self) -> Said<'_> {
        let Self { own, of_default, default_branch } = self;
        Said { own, of_default: of_default.as_ref(), default_branch }
    }
}

fn no_part(build: &Build) -> Problem {
    let part = build.part.as_deref().unwrap_or("without a name");
    Problem::new(
        ProblemKind::Invalid,
        format!("The slipway.toml of commit {} has no image {part}.", build.commit.short()),
        "Start the build anew: slipway build start.",
    )
}

/// A file that is wrong says nothing; a disk that fails is told.
fn readable(read: Result<Spec, Problem>) -> Result<Option<Spec>, Problem> {
    match read {
        Ok(spec) => Ok(Some(spec)),
        Err(problem) if matches!(problem.kind, ProblemKind::Invalid | ProblemKind::TooLarge) => Ok(None),
        Err(problem) => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    use slipway_core::accept::Incoming as _;
    use slipway_core::{ObjectFormat, RefUpdate, UnixMillis};
    use slipway_repository::{Edit, Repositories, Repository, Signature};

    use super::*;

    fn branch(name: &str) -> RefName {
        RefName::branch(name).expect("valid")
    }

    /// A commit on `name`, on top of its tip or of `on`.
    fn commit(repository: &Repository, name: &str, on: Option<Oid>) -> Oid {
        let who = Signature { name: "A".into(), email: "a@b".into(), at_ms: 1000, offset_minutes: 0 };
        let old = repository.current(&branch(name)).expect("read");
        let parent = on.or(old);
        let text = format!("{name} {parent:?}").into_bytes();
        let edits = [Edit { path: "a".into(), content: Some(text), executable: false }];
        let (id, mut objects) =
            repository.commit(parent.as_ref(), &edits, "x", &who, &who).expect("a commit");
        objects.publish().expect("published");
        put(repository, name, id);
        id
    }

    fn put(repository: &Repository, name: &str, id: Oid) {
        let old = repository.current(&branch(name)).expect("read").unwrap_or_else(|| id.zero_like());
        let update = RefUpdate { name: branch(name), old, new: id };
        repository.update(&[update], true).expect("written").into_iter().for_each(|r| r.expect("moved"));
    }

    fn holder(name: &str, commit: Oid, number: u64) -> Holder {
        let (build, event) = (slipway_core::BuildNumber(number), slipway_core::EventId(number));
        Holder { build, commit, ref_name: branch(name), event }
    }

    #[test]
    fn a_moving_name_never_goes_back_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let repositories = Repositories::open(folder.path()).expect("a folder");
        let repository = repositories.create(RepoId(1), ObjectFormat::Sha1).expect("made");
        let first = commit(&repository, "main", None);
        let second = commit(&repository, "main", None);
        let third = commit(&repository, "main", None);
        let side = commit(&repository, "side", Some(first));
        let stays = |one: Holder, there: Option<Holder>| {
            let snapshot = repository.snapshot().expect("read");
            let digest = Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("a digest");
            let now = there.map(|there| Pointer::next(None, there, digest, None, UnixMillis(0)));
            judge(&snapshot, &one, now.as_ref()).expect("judged").map(|stay| stay.to_string())
        };
        let built = || Some(holder("main", second, 2));
        assert_eq!(stays(holder("main", third, 3), built()), None, "forward");
        let back = stays(holder("main", first, 1), built()).expect("the tip was never built");
        assert_eq!(back, "build 2 of a newer commit has it");
        assert_eq!(stays(holder("main", first, 1), None), None, "nothing is there yet");
        assert!(stays(holder("main", second, 2), Some(holder("main", third, 3))).is_some());
        assert_eq!(stays(holder("side", side, 4), built()), None, "another branch, pushed later");
        assert!(stays(holder("side", side, 1), built()).is_some(), "another branch, pushed before");
        put(&repository, "main", first);
        assert_eq!(stays(holder("main", first, 1), built()), None, "somebody put the branch back");
        let cut = stays(holder("main", third, 3), built()).expect("cut off");
        assert_eq!(cut, "the commit is not on main any more");
        put(&repository, "main", side);
        let there = Some(holder("main", third, 3));
        assert_eq!(stays(holder("main", side, 4), there.clone()), None, "the branch was rewritten");
        assert!(stays(holder("gone", side, 4), there).is_some(), "a ref that is not there");
    }
}
