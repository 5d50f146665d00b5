//! What can go wrong between a commit and its image, with the facts; [`Problem`] and [`Failure`] are made here.
//!
//! Knows no bollard and no AWS type: the modules that speak to them classify and hand over plain facts.

use std::time::Duration;

use slipway_core::Problem;
use slipway_core::spec::SpecError;

use crate::limits::MESSAGE_CHARS_MAX;

mod class;
mod words;

/// All failures of this room.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HookError {
    /// slipway.toml is wrong.
    #[error("{0}")]
    Spec(SpecError),
    /// The commit has no Dockerfile where it is looked for.
    #[error("the commit has no {path}")]
    NoDockerfile {
        /// Path from the repository's root.
        path: String,
    },
    /// The commit has no such folder to build in.
    #[error("the commit has no folder {path}")]
    NoContext {
        /// `build.context`.
        path: String,
    },
    /// .dockerignore is wrong.
    #[error("{path}:{line}: {why}")]
    Ignore {
        /// Which file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A file of the commit cannot be sent to the engine.
    #[error("{path}: {why}")]
    Context {
        /// Path from the repository's root.
        path: String,
        /// Why not: a clause.
        why: String,
        /// What to do: a sentence.
        cure: String,
    },
    /// The build context crosses a limit.
    #[error("the build context has more than {limit} {what}")]
    ContextTooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The Dockerfile does not parse.
    #[error("Dockerfile line {}: {message}", line.map_or("?".to_owned(), |l| l.to_string()))]
    Dockerfile {
        /// Line, from 1, where the engine tells it.
        line: Option<u32>,
        /// The engine's words.
        message: String,
    },
    /// The repository may not use what its commit asks for.
    #[error("{what}")]
    NotAllowed {
        /// What it asks for: a clause that begins a sentence.
        what: String,
        /// What to do: a sentence.
        cure: String,
    },
    /// COPY or ADD names what is not in the context.
    #[error("COPY source {path} is not in the build context")]
    CopySource {
        /// What is missing.
        path: String,
    },
    /// A base image does not exist or may not be read.
    #[error("base image {image}: {message}")]
    BaseImage {
        /// Which.
        image: String,
        /// The registry's words, by way of the engine.
        message: String,
    },
    /// A base image cannot be had for now.
    #[error("base image {image}: {message}")]
    BaseImageUnreachable {
        /// Which.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// The frontend that the Dockerfile names cannot be had.
    #[error("frontend {image}: {message}")]
    Frontend {
        /// Which.
        image: String,
        /// The engine's words.
        message: String,
        /// Whether trying again may help.
        passes: bool,
    },
    /// A step wants a secret or an SSH key, and there is none to give.
    #[error("the {what} {name} is not there")]
    NoSecret {
        /// "secret" or "SSH key".
        what: &'static str,
        /// What it is called there.
        name: String,
        /// Where it is asked for.
        asked: &'static str,
        /// Why this build is not given it, where it is there: a clause with "it".
        why: Option<String>,
    },
    /// A RUN step failed.
    #[error("{command} ended with exit code {code}")]
    Step {
        /// The command.
        command: String,
        /// Its exit code.
        code: i64,
    },
    /// The Dockerfile has no such stage.
    #[error("the Dockerfile has no stage {stage}")]
    NoStage {
        /// Which.
        stage: String,
    },
    /// The image is for another machine than the one that is named.
    #[error("the image is for {made}, not for {wanted}")]
    OtherPlatform {
        /// What `build.platforms` says.
        wanted: String,
        /// What the engine made.
        made: String,
    },
    /// The engine says no for a reason that is not known here.
    #[error("the image build failed: {message}")]
    Build {
        /// The engine's words.
        message: String,
    },
    /// The engine does not answer.
    #[error("the Docker Engine at {address} does not answer: {why}")]
    EngineDown {
        /// Its address.
        address: String,
        /// Why.
        why: String,
        /// What to do, where more is known than that it does not answer: a sentence.
        cure: Option<String>,
    },
    /// The engine went away, or broke, in the middle of something.
    #[error("the Docker Engine at {address} broke off {during}: {why}")]
    EngineLost {
        /// Its address.
        address: String,
        /// What was under way, as in "during …".
        during: &'static str,
        /// Why.
        why: String,
    },
    /// The engine's disk is full.
    #[error("the Docker Engine's disk is full: {message}")]
    DiskFull {
        /// The engine's words.
        message: String,
    },
    /// The image is not there any more.
    #[error("the engine does not have the image {image} any more")]
    ImageGone {
        /// Its id.
        image: String,
    },
    /// The test ran and failed.
    #[error("{command} ended with exit code {code}")]
    TestFailed {
        /// The command.
        command: String,
        /// Its exit code.
        code: i64,
    },
    /// The test used more memory than it may.
    #[error("{command} used more than {memory_bytes} bytes of memory")]
    TestOutOfMemory {
        /// The command.
        command: String,
        /// What it may use.
        memory_bytes: u64,
    },
    /// SIGKILL ended the test, and the engine does not know why.
    #[error("{command} was killed; it may use {memory_bytes} bytes of memory")]
    TestKilled {
        /// The command.
        command: String,
        /// What it may use.
        memory_bytes: u64,
    },
    /// The test's command could not be started.
    #[error("{command} did not start: {message}")]
    TestNotStarted {
        /// The command.
        command: String,
        /// The engine's words.
        message: String,
    },
    /// The image of a service cannot be had.
    #[error("the image {image} of the service {name}: {message}")]
    ServiceImage {
        /// The service.
        name: String,
        /// Its image.
        image: String,
        /// The engine's words.
        message: String,
        /// Whether trying again may help.
        passes: bool,
    },
    /// A service of a test did not come up.
    #[error("the service {name}: {why}")]
    Service {
        /// Which.
        name: String,
        /// Why: a clause.
        why: String,
    },
    /// The engine has no program for containers' first process.
    #[error("the engine has no init process: {message}")]
    NoInit {
        /// The engine's words.
        message: String,
    },
    /// It took too long.
    #[error("{what} took longer than {} s", limit.as_secs())]
    TimedOut {
        /// What: "the image build", "the test", "the push of …".
        what: String,
        /// The limit.
        limit: Duration,
        /// Which setting moves the limit, if any.
        setting: Option<&'static str>,
    },
    /// It said nothing for too long.
    #[error("{what} said nothing for {} s", limit.as_secs())]
    Silent {
        /// What.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// It took too long, or said nothing for too long, and the engine cannot be made to end it.
    #[error("{what} takes longer than {} s and goes on", limit.as_secs())]
    GoesOn {
        /// What.
        what: String,
        /// The limit.
        limit: Duration,
        /// Which setting moves the limit, if any.
        setting: Option<&'static str>,
    },
    /// Somebody stopped it. Never to be given to the build machine: who stopped it knows what it means.
    #[error("stopped")]
    Stopped,
    /// A registry does not answer.
    #[error("the registry {host} does not answer: {why}")]
    RegistryDown {
        /// `HOST[:PORT]`.
        host: String,
        /// Why.
        why: String,
    },
    /// A registry does not accept the login, or does not allow the action.
    #[error("the registry {host} refuses {action}: {message}")]
    RegistryDenied {
        /// `HOST[:PORT]`.
        host: String,
        /// What was asked.
        action: String,
        /// Its words.
        message: String,
        /// What to do: a sentence.
        cure: String,
    },
    /// A tag that may not change names another image.
    #[error("the tag {tag} of {image} may not change and names another image")]
    TagImmutable {
        /// The image name.
        image: String,
        /// The tag.
        tag: String,
    },
    /// The image that names shall move to is not in the registry any more.
    #[error("{image} is not in the registry")]
    NotInRegistry {
        /// The image, with its digest.
        image: String,
    },
    /// The image is not one that this server's builds have made, or cannot be shown to be.
    #[error("{image} {why}")]
    NotSigned {
        /// The image, with its digest.
        image: String,
        /// What is missing: a clause that follows the image.
        why: String,
    },
    /// The registry's scan of the image found too much.
    #[error("the scan of {image} found {found}")]
    Findings {
        /// The image, with its digest.
        image: String,
        /// How many of what severity, and some by name.
        found: String,
        /// The level from which on they count.
        level: &'static str,
    },
    /// The registry has not scanned the image.
    #[error("{image} was not scanned: {why}")]
    NoScan {
        /// The image, with its digest.
        image: String,
        /// Why not.
        why: String,
    },
    /// A registry answers what makes no sense.
    #[error("the registry {host} answered {action} with: {message}")]
    RegistryBroken {
        /// `HOST[:PORT]`.
        host: String,
        /// What was asked.
        action: String,
        /// What is wrong.
        message: String,
    },
    /// AWS says no.
    #[error("AWS {action} in {region}: {message}")]
    Aws {
        /// The API action, such as `ecr:GetAuthorizationToken`.
        action: &'static str,
        /// The region.
        region: String,
        /// AWS' code and words.
        message: String,
        /// Whether trying again may help.
        passing: bool,
    },
    /// There are no credentials to ask AWS with.
    #[error("no credentials: {message}")]
    NoCredentials {
        /// The role that was to be assumed.
        role: Option<String>,
        /// AWS' words.
        message: String,
        /// Whether trying again may help.
        passing: bool,
    },
    /// ECR has no such repository, and none is to be made.
    #[error("ECR in {region} has no repository {name}")]
    NoRepository {
        /// Its name.
        name: String,
        /// The region.
        region: String,
    },
    /// The registry is recorded in a way that cannot work.
    #[error("the registry {name} {why}")]
    RegistrySettings {
        /// Its name here.
        name: String,
        /// What is missing: a clause.
        why: String,
    },
    /// No manifest names the image.
    #[error("no manifest at {path} of {repo} names {image}")]
    NothingToBump {
        /// The manifest repository.
        repo: String,
        /// `path`.
        path: String,
        /// The image looked for.
        image: String,
        /// What names it and is decided elsewhere; empty for nothing.
        places: String,
    },
    /// Something refers to the image and cannot be written.
    #[error("{repo} refers to {image} where it cannot be written: {places}")]
    ReferencesLeft {
        /// The manifest repository.
        repo: String,
        /// The image looked for.
        image: String,
        /// Where, and why each cannot be written.
        places: String,
    },
    /// A field to write does not exist.
    #[error("{path} of {repo} has no field {field}")]
    NoField {
        /// The manifest repository.
        repo: String,
        /// `path`.
        path: String,
        /// The field, as slipway.toml has it.
        field: String,
    },
    /// The path to edit does not exist.
    #[error("{repo} has no {path}")]
    NoManifest {
        /// The manifest repository.
        repo: String,
        /// `path`.
        path: String,
    },
    /// Too much lies below the path to edit.
    #[error("at {path} of {repo} lie more than {limit} {what}")]
    TooManyManifests {
        /// The manifest repository.
        repo: String,
        /// `path`.
        path: String,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The repository cannot be read.
    #[error("{0}")]
    Repository(Problem),
    /// Something is broken here.
    #[error("{what}: {why}")]
    Internal {
        /// What was tried.
        what: &'static str,
        /// Why it did not work.
        why: String,
    },
}

impl From<SpecError> for HookError {
    fn from(e: SpecError) -> Self {
        Self::Spec(e)
    }
}

impl From<slipway_repository::RepoError> for HookError {
    fn from(e: slipway_repository::RepoError) -> Self {
        Self::Repository(Problem::from(e))
    }
}

/// One line of a foreign message: control characters gone, cut, no full stop at its end.
pub(crate) fn one_line(message: &str) -> String {
    let words: String =
        message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARS_MAX).collect();
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
