//! States as words, shapes and colours: each tells the state by itself, for eyes that miss one of them.

use slipway_core::UnixMillis;
use slipway_core::build::{Build, BuildState};
use slipway_core::deploy::{Change, Deploy, DeployState, Health};
use slipway_core::outline::PartState;

use crate::text::{Moment, duration};

/// A state, ready to be shown.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    word: &'static str,
    shape: &'static str,
    class: &'static str,
}

impl Mark {
    const fn new(word: &'static str, shape: &'static str, class: &'static str) -> Self {
        Self { word, shape, class }
    }

    /// As HTML; all of it is written here.
    pub(crate) fn html(&self) -> String {
        let Self { word, shape, class } = self;
        format!("<span class=\"state {class}\"><i aria-hidden=\"true\">{shape}</i>{word}</span>")
    }

    pub(crate) fn of_build(build: &Build) -> Self {
        match build.run.state {
            BuildState::Queued => Self::new("queued", "○", "idle"),
            BuildState::Running => Self::new("running", "◐", "busy"),
            BuildState::Waiting => Self::new("waiting to retry", "○", "warn"),
            BuildState::Succeeded => Self::new("succeeded", "●", "good"),
            BuildState::Failed => Self::new("failed", "▲", "bad"),
            BuildState::Cancelled => Self::new("cancelled", "■", "idle"),
            BuildState::Superseded => Self::new("superseded", "■", "idle"),
        }
    }

    pub(crate) fn of_deploy(deploy: &Deploy) -> Self {
        match deploy.run.state {
            DeployState::Queued => Self::new("queued", "○", "idle"),
            DeployState::Running => Self::new("rolling out", "◐", "busy"),
            DeployState::Waiting => Self::new("waiting to retry", "○", "warn"),
            DeployState::Healthy => Self::new("healthy", "●", "good"),
            DeployState::Kept => Self::new("healthy, some kept", "●", "warn"),
            DeployState::Failed => Self::new("failed", "▲", "bad"),
            DeployState::Cancelled => Self::new("cancelled", "■", "idle"),
            DeployState::Superseded => Self::new("superseded", "■", "idle"),
        }
    }

    pub(crate) fn of_health(health: Health) -> Self {
        match health {
            Health::Healthy => Self::new("healthy", "●", "good"),
            Health::Suspended => Self::new("suspended", "■", "idle"),
            Health::Progressing => Self::new("progressing", "◐", "busy"),
            Health::Missing => Self::new("missing", "○", "bad"),
            Health::Degraded => Self::new("degraded", "▲", "bad"),
            Health::Unknown => Self::new("unknown", "?", "warn"),
        }
    }

    pub(crate) fn of_stage(stage: StageState) -> Self {
        match stage {
            StageState::Ahead => Self::new("not yet", "○", "idle"),
            StageState::Running => Self::new("running", "◐", "busy"),
            StageState::Waiting => Self::new("waiting to retry", "○", "warn"),
            StageState::Done => Self::new("done", "●", "good"),
            StageState::Skipped => Self::new("nothing to do", "–", "idle"),
            StageState::Failed => Self::new("failed", "▲", "bad"),
            StageState::Stopped => Self::new("stopped", "■", "idle"),
        }
    }

    pub(crate) fn of_part(part: PartState) -> Self {
        match part {
            PartState::Running => Self::new("running", "◐", "busy"),
            PartState::Done => Self::new("done", "●", "good"),
            PartState::Cached => Self::new("cached", "●", "good"),
            PartState::Failed => Self::new("failed", "▲", "bad"),
            PartState::Stopped => Self::new("stopped", "■", "idle"),
        }
    }

    pub(crate) fn of_check(ok: bool) -> Self {
        if ok { Self::new("ok", "●", "good") } else { Self::new("failed", "▲", "bad") }
    }
}

/// Where one stage of a build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StageState {
    Ahead,
    Running,
    Waiting,
    Done,
    Skipped,
    Failed,
    Stopped,
}

/// What was done with an object, in a word.
pub(crate) fn change_word(change: Change) -> &'static str {
    match change {
        Change::Pending => "pending",
        Change::Created => "created",
        Change::Configured => "changed",
        Change::Unchanged => "unchanged",
        Change::Pruned => "deleted",
        Change::Kept => "kept",
        Change::Held => "kept until confirmed",
        Change::Refused => "refused",
    }
}

impl Moment {
    /// How long ago, the exact moment on hover and for machines. All of it is digits and words of ours.
    pub(crate) fn html(&self) -> String {
        format!("<time datetime=\"{}\" title=\"{}\">{}</time>", self.machine, self.exact, self.ago)
    }

    /// The exact moment.
    pub(crate) fn exact_html(&self) -> String {
        format!("<time datetime=\"{}\" title=\"{}\">{}</time>", self.machine, self.ago, self.exact)
    }
}

/// How long something took, or has taken so far; empty if it has not begun.
pub(crate) fn took(started: Option<UnixMillis>, ended: Option<UnixMillis>, now: UnixMillis) -> String {
    started.map(|from| duration(ended.unwrap_or(now).since(from))).unwrap_or_default()
}
