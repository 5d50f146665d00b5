//! Names that others follow: tags that move (`latest`), and the manifests of a `[deploy.*]`. What moves them, and what does
//! not: the one rule of it, pure.
//!
//! Two questions. Whether slipway.toml lets builds of a ref move the name at all ([`may_move`]); and whether it goes forward
//! ([`decide`]): never from a newer commit back to an older one, whatever was retried, skipped or failed in between, unless
//! somebody put the branch itself back. What a name points at now is recorded ([`Pointer`]); who asks holds the repository's
//! turn from the question until the answer is recorded, so that of two builds the later one sees what the earlier one did.
//! A person moves a name anywhere, by saying so ([`crate::build::BuildCause::Promote`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::build::Build;
use crate::git::{Oid, RefName};
use crate::id::{BuildNumber, Digest, EventId, UnixMillis};
use crate::spec::{DeploySpec, FilledTag, MoveOn, Scope, Spec, TagFacts};

/// What moves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// A tag of the image.
    Tag(String),
    /// The manifests of a `[deploy.*]` target.
    Deploy(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            // Brackets are in no tag.
            Self::Deploy(target) => write!(f, "[deploy.{target}]"),
        }
    }
}

/// Why a target stays that wants approval; more may follow.
pub const AWAITS_APPROVAL: &str = "it waits for approval";

/// What came of a name that a build could move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Which.
    pub name: Name,
    /// Why it was left where it is; `None` where it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

impl Move {
    /// True if it waits for somebody's approval.
    pub fn awaits_approval(&self) -> bool {
        self.left.as_ref().is_some_and(|why| why.starts_with(AWAITS_APPROVAL))
    }
}

/// The build whose image a name has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Which.
    pub build: BuildNumber,
    /// Of that commit.
    pub commit: Oid,
    /// Of that ref.
    pub ref_name: RefName,
    /// Of that push; 0 where it is not known.
    pub event: EventId,
}

/// Where a name points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// Whose image it has.
    pub holder: Holder,
    /// The image.
    pub digest: Digest,
    /// Since when.
    pub at: UnixMillis,
    /// Who moved it there by name; `None` where its build did by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The newest that builds had moved it to by themselves, where a person moved it elsewhere since: what comes after that
    /// moves it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_from: Option<Holder>,
}

impl Holder {
    /// Of a build.
    pub fn of(build: &Build) -> Self {
        let Build { number, commit, ref_name, event, .. } = build;
        Self { build: *number, commit: *commit, ref_name: ref_name.clone(), event: *event }
    }
}

impl Pointer {
    /// What a build is measured against that would move it by itself.
    pub fn rival(&self) -> &Holder {
        self.returned_from.as_ref().unwrap_or(&self.holder)
    }

    /// Where it points once `holder` has it. `by` is who moves it by name.
    pub fn next(
        now: Option<Self>,
        holder: Holder,
        digest: Digest,
        by: Option<String>,
        at: UnixMillis,
    ) -> Self {
        let returned_from = match (&by, now) {
            (Some(_), Some(now)) => Some(now.returned_from.unwrap_or(now.holder)),
            _ => None,
        };
        Self { holder, digest, at, by, returned_from }
    }
}

/// How a commit lies to the one whose image the name has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is that.
    Same,
    /// It has that among its ancestors.
    Newer,
    /// It is an ancestor of that.
    Older,
    /// Neither leads to the other, or that is not in the repository any more.
    Apart,
}

/// Where a build's commit lies on its ref now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The ref points at it.
    Tip,
    /// The ref leads to it.
    Behind,
    /// It does not: the ref was moved away, or is gone.
    Cut,
}

/// What the repository says of a build that would move a name to its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lie {
    /// Of its commit, on its own ref.
    pub place: Place,
    /// Of its commit, to the rival's.
    pub order: Order,
    /// Whether the build's ref leads to the rival's commit.
    pub rival_on_ref: bool,
}

/// Why a name is left where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stay {
    /// The commit is not on its ref any more.
    Cut(RefName),
    /// A newer commit's build has it.
    Newer(BuildNumber),
    /// The build of a later push has it.
    Later(BuildNumber),
    /// Somebody moved it away from that build, by name.
    Returned {
        /// Who.
        by: String,
        /// Away from there.
        from: BuildNumber,
        /// To there.
        to: BuildNumber,
    },
    /// It is another ref's own.
    OfRef(RefName, BuildNumber),
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(name) => write!(f, "the commit is not on {} any more", name.short()),
            Self::Newer(build) => write!(f, "build {build} of a newer commit has it"),
            Self::Later(build) => write!(f, "build {build} of a later push has it"),
            Self::Returned { by, from, to } => {
                write!(
                    f,
                    "{by} promoted build {to} in place of build {from}; a commit newer than that moves it on"
                )
            }
            Self::OfRef(name, build) => write!(f, "{} has it, by build {build}", name.short()),
        }
    }
}

/// Whether a build may take a name that slipway.toml lets it move. `now` is where it points, with how the build's commit
/// lies to it.
///
/// # Errors
/// Why it stays where it is.
pub fn decide(build: &Holder, place: Place, now: Option<(&Pointer, Lie)>) -> Result<(), Stay> {
    if place == Place::Cut {
        return Err(Stay::Cut(build.ref_name.clone()));
    }
    let Some((pointer, lie)) = now else { return Ok(()) };
    let rival = pointer.rival();
    let same_ref = rival.ref_name == build.ref_name;
    match lie.order {
        Order::Newer => Ok(()),
        Order::Same => match (&pointer.by, &pointer.returned_from) {
            (Some(by), Some(from)) if pointer.holder.commit != build.commit => {
                Err(Stay::Returned { by: by.clone(), from: from.build, to: pointer.holder.build })
            }
            _ => Ok(()),
        },
        // Somebody put the branch itself back to this commit.
        Order::Older if same_ref && place == Place::Tip => Ok(()),
        Order::Older => Err(Stay::Newer(rival.build)),
        // The branch was rewritten, and this is on what it is now.
        Order::Apart if same_ref && !lie.rival_on_ref => Ok(()),
        Order::Apart if build.event > rival.event => Ok(()),
        Order::Apart => Err(Stay::Later(rival.build)),
    }
}

/// Whether a tag that is named after a ref is another's already.
///
/// # Errors
/// [`Stay::OfRef`].
pub fn belongs(build: &Holder, now: Option<&Pointer>) -> Result<(), Stay> {
    match now.map(|pointer| &pointer.holder) {
        Some(other) if other.ref_name != build.ref_name => {
            Err(Stay::OfRef(other.ref_name.clone(), other.build))
        }
        _ => Ok(()),
    }
}

/// The two files that say whether builds of a ref move a name: that of the commit, and that of the default branch. Whoever
/// can push nothing but some other branch writes the first alone, so for other refs both must say it.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// slipway.toml of the commit that is built.
    pub own: &'a Spec,
    /// That at the tip of the default branch; `None` where it cannot be read.
    pub of_default: Option<&'a Spec>,
    /// The default branch.
    pub default_branch: &'a RefName,
}

/// A tag that a build could move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingTag {
    /// The tag.
    pub text: String,
    /// Whose it is.
    pub scope: Scope,
    /// Why builds of that ref do not move it, whatever is there.
    pub denied: Option<String>,
}

/// The tags of one build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Those of its commit: pushed in any case. At least one, so that the registry keeps the image when the others move on.
    pub own: Vec<String>,
    /// Those that move.
    pub moving: Vec<MovingTag>,
    /// Remarks for the log.
    pub notes: Vec<String>,
}

/// What a build's image is called, and what of that it may move.
pub fn tags(said: &Said<'_>, facts: &TagFacts<'_>) -> Tags {
    let mut tags = Tags::default();
    let filled: Vec<(FilledTag, &crate::spec::TagSpec)> =
        said.own.push.tags.iter().filter_map(|tag| Some((tag.template.fill(facts)?, tag))).collect();
    for (filled, tag) in &filled {
        tags.notes.extend(filled.note.clone());
        if filled.scope == Scope::Commit {
            if !tags.own.contains(&filled.text) {
                tags.own.push(filled.text.clone());
            }
            continue;
        }
        let denied = said.tag_denied(filled, tag.on.as_ref(), facts).err();
        match tags.moving.iter_mut().find(|known| known.text == filled.text) {
            // Named twice: what speaks against one speaks against it.
            Some(known) => known.denied = known.denied.take().or(denied),
            None => {
                let (text, scope) = (filled.text.clone(), filled.scope);
                tags.moving.push(MovingTag { text, scope, denied });
            }
        }
    }
    // The commit's id first: the manifests name it.
    tags.own.sort_by_key(|tag| tag != facts.commit);
    if tags.own.is_empty() {
        tags.own.push(facts.commit.to_owned());
    }
    tags.moving.retain(|tag| !tags.own.contains(&tag.text));
    tags
}

impl Said<'_> {
    fn tag_denied(
        &self,
        filled: &FilledTag,
        on: Option<&MoveOn>,
        facts: &TagFacts<'_>,
    ) -> Result<(), String> {
        let name = facts.ref_name;
        // As `name` would write it without being asked: a ref's own tag needs no condition, and one that names nobody does.
        let says = |spec: &Spec, what: &FilledTag, on: Option<&MoveOn>| match (what.scope, on) {
            (_, Some(on)) => holds(Some(on), name, self.default_branch),
            (Scope::Shared, None) => holds(spec.push.on.as_ref(), name, self.default_branch),
            (Scope::Commit | Scope::Build | Scope::Ref, None) => Ok(()),
        };
        says(self.own, filled, on)?;
        if name == self.default_branch {
            return Ok(());
        }
        let Some(default) = self.of_default else { return Err(self.unreadable()) };
        let there: Vec<_> = (default.push.tags.iter())
            .filter_map(|tag| Some((tag.template.fill(facts)?, tag.on.as_ref())))
            .filter(|(other, _)| other.text == filled.text)
            .collect();
        if there.is_empty() && filled.scope == Scope::Shared {
            return Err(format!("slipway.toml of {} has no such tag", self.default_branch.short()));
        }
        there.iter().try_for_each(|(other, on)| says(default, other, *on).map_err(|why| self.there(&why)))
    }

    /// Whether builds of that ref write the `[deploy.*]` target by themselves.
    ///
    /// # Errors
    /// Why they do not.
    pub fn deploys(&self, target: &str, name: &RefName) -> Result<(), String> {
        self.may_deploy(target, name)?;
        if self.wants_approval(target) { Err(AWAITS_APPROVAL.to_owned()) } else { Ok(()) }
    }

    /// True if the target waits for somebody's approval: either file says it.
    pub fn wants_approval(&self, target: &str) -> bool {
        let says = |spec: &Spec| spec.deploy.get(target).is_some_and(|deploy| deploy.approve);
        says(self.own) || self.of_default.is_some_and(says)
    }

    /// Whether builds of that ref write the target, once it is approved of where it must be.
    ///
    /// # Errors
    /// Why they do not.
    pub fn may_deploy(&self, target: &str, name: &RefName) -> Result<(), String> {
        let own = self.own.deploy.get(target).ok_or("slipway.toml has no such target any more")?;
        holds(own.on.as_ref(), name, self.default_branch)?;
        if name == self.default_branch {
            return Ok(());
        }
        let Some(default) = self.of_default else { return Err(self.unreadable()) };
        let branch = self.default_branch.short();
        let there: &DeploySpec = default
            .deploy
            .get(target)
            .ok_or_else(|| format!("slipway.toml of {branch} has no such target"))?;
        if !there.is_same_place(own) {
            return Err(format!("slipway.toml of {branch} has another place for it"));
        }
        holds(there.on.as_ref(), name, self.default_branch).map_err(|why| self.there(&why))
    }

    fn unreadable(&self) -> String {
        format!("slipway.toml of {} cannot be read, and it decides that", self.default_branch.short())
    }

    fn there(&self, why: &str) -> String {
        format!("{why}, as slipway.toml of {} has it", self.default_branch.short())
    }
}

fn holds(on: Option<&MoveOn>, name: &RefName, default_branch: &RefName) -> Result<(), String> {
    match on {
        None if name == default_branch => Ok(()),
        None => Err(format!(
            "builds of {} alone move it (`on` in slipway.toml names others)",
            default_branch.short()
        )),
        Some(on) if on.matches(name) => Ok(()),
        Some(on) => Err(format!("builds of {} alone move it", on.said())),
    }
}

#[cfg(test)]
mod tests;
