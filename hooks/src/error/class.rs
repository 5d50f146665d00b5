//! Whose fault a failure is, and what kind of problem that makes.

use slipway_core::run::{Failure, FailureClass};
use slipway_core::{Problem, ProblemKind};

use super::HookError;

impl HookError {
    /// Whose fault it is: decides whether trying again can help.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::TimedOut { .. } | Self::Silent { .. } | Self::GoesOn { .. } => FailureClass::Timeout,
            Self::RegistryDenied { .. }
            | Self::RegistrySettings { .. }
            | Self::NoRepository { .. }
            | Self::NotAllowed { .. } => FailureClass::Policy,
            Self::Aws { passing: false, .. } | Self::NoCredentials { passing: false, .. } => {
                FailureClass::Policy
            }
            Self::Aws { .. } | Self::NoCredentials { .. } => FailureClass::Infra,
            Self::BaseImageUnreachable { .. }
            | Self::Frontend { passes: true, .. }
            | Self::ServiceImage { passes: true, .. }
            | Self::EngineDown { .. }
            | Self::EngineLost { .. }
            | Self::DiskFull { .. }
            | Self::ImageGone { .. }
            | Self::NoInit { .. }
            | Self::Stopped
            | Self::RegistryDown { .. }
            | Self::RegistryBroken { .. }
            | Self::NoScan { .. }
            | Self::Repository(_)
            | Self::Internal { .. } => FailureClass::Infra,
            _ => FailureClass::User,
        }
    }

    /// True for [`HookError::Stopped`].
    pub fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// True where the engine itself is away.
    pub fn is_of_engine(&self) -> bool {
        matches!(self, Self::EngineDown { .. } | Self::EngineLost { .. })
    }

    /// The image that a registry did not give, if that is what went wrong; empty where nobody said which.
    pub(crate) fn image_not_pulled(&self) -> Option<&str> {
        match self {
            Self::BaseImage { image, .. }
            | Self::BaseImageUnreachable { image, .. }
            | Self::Frontend { image, .. } => Some(image),
            _ => None,
        }
    }

    /// True where AWS says that the identity may not do that.
    pub(crate) fn is_denied_by_aws(&self) -> bool {
        match self {
            Self::Aws { message, .. } => {
                ["AccessDenied", "NotAuthorized"].iter().any(|w| message.starts_with(w))
            }
            Self::NoCredentials { role: Some(_), message, .. } => message.contains("AccessDenied"),
            _ => false,
        }
    }

    /// True where AWS says that there is no such repository.
    pub(crate) fn has_no_repository(&self) -> bool {
        matches!(self, Self::Aws { message, .. } if message.starts_with("RepositoryNotFound"))
    }

    fn kind(&self) -> ProblemKind {
        match self {
            Self::TimedOut { .. } | Self::Silent { .. } | Self::GoesOn { .. } => ProblemKind::TimedOut,
            Self::Stopped => ProblemKind::Cancelled,
            Self::RegistryDenied { .. } | Self::NotAllowed { .. } => ProblemKind::Denied,
            Self::ContextTooLarge { .. } | Self::TooManyManifests { .. } => ProblemKind::TooLarge,
            Self::TagImmutable { .. } => ProblemKind::Conflict,
            Self::Internal { .. } => ProblemKind::Broken,
            Self::Aws { passing: false, .. } => ProblemKind::Denied,
            other if other.class() == FailureClass::Infra => ProblemKind::Unavailable,
            _ => ProblemKind::Invalid,
        }
    }
}

impl From<HookError> for Problem {
    fn from(e: HookError) -> Self {
        let (what, cure) = e.sentences();
        Problem::new(e.kind(), what, cure)
    }
}

impl From<HookError> for Failure {
    fn from(e: HookError) -> Self {
        Failure { class: e.class(), problem: e.into() }
    }
}
