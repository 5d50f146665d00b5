//! slipway.toml: what an application's commit says about its build. Absent, the defaults hold.
//!
//! Unknown keys are errors with line, column and the nearest known key: a typo must not silently change a build.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::limits::{DEPLOY_TARGETS_MAX, FIELDS_MAX, IMAGE_TAGS_MAX, VARIABLES_MAX};
use crate::name::RepoName;
use crate::place::Wrong;

mod clashes;
mod error;
mod field;
mod images;
mod kept;
mod matrix;
mod on;
mod params;
mod platform;
mod pull;
mod schema;
mod services;
mod ssh;
mod tags;
mod test;
mod text;
mod triggers;
mod values;
mod variables;
pub use self::clashes::image_variable;
pub use self::error::SpecError;
use self::error::{at, placed, suggest};
pub use self::field::{FieldPath, Step, written};
use self::images::ImageSpec;
pub use self::images::Part;
pub use self::kept::KeptPath;
pub use self::on::{MoveOn, OnSpec, Pattern, matches_branch};
pub use self::params::{ParamSpec, Params, values as param_values};
pub use self::platform::Platform;
pub use self::pull::Pull;
pub use self::schema::schema;
pub use self::services::ServiceSpec;
pub use self::ssh::SshKey;
pub use self::tags::{FilledTag, Placeholder, Scope, TagFacts, TagSpec, Template};
pub use self::test::{Network, Test, TestSpec};
pub use self::text::Text;
use self::triggers::one_or_many;
pub use self::triggers::{CronSpec, Rebuild, Times, TriggerSpec, Zone};
use self::values::{duration_ms, some_duration_ms};
pub use self::values::{parse_duration_ms, parse_size_bytes};
use self::variables::check_variable;
pub use self::variables::{OURS, SecretPlace, TestSecret};

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// What starts builds besides pushes.
    pub on: TriggerSpec,
    /// How the image is built.
    pub build: BuildSpec,
    /// How it is tested.
    pub test: TestSpec,
    /// How it is pushed.
    pub push: PushSpec,
    /// Which manifests get the new digest.
    pub deploy: BTreeMap<String, DeploySpec>,
    /// Several images; none is the one that `[build]` says.
    image: Vec<ImageSpec>,
    #[serde(skip)]
    parts: Vec<Part>,
}

/// `[build]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildSpec {
    /// Path of the Dockerfile from the repository's root; empty is `Dockerfile`, else `Containerfile`, in the context.
    pub dockerfile: String,
    /// The folder that is sent as build context.
    pub context: String,
    /// The stage to build; empty is the last.
    pub target: String,
    /// Build arguments.
    pub args: BTreeMap<String, Text>,
    /// For which machine it is built; nothing is the engine's own.
    pub platforms: Vec<Platform>,
    /// Whether registries are asked for base images that the engine has; absent is yes, where they answer.
    pub pull: Option<Pull>,
    /// Keys with which its steps may sign.
    pub ssh: Vec<SshKey>,
    /// Whether the image of an earlier build is taken that was made of the same.
    pub reuse: bool,
    /// Time for the image build.
    #[serde(rename = "timeout", deserialize_with = "duration_ms")]
    pub timeout_ms: u64,
    /// How long it may say nothing; absent is as the server has it.
    #[serde(rename = "silence", deserialize_with = "some_duration_ms")]
    pub silence_ms: Option<u64>,
    /// Which pushes build.
    pub on: OnSpec,
    /// What it is built anew for although nothing was pushed.
    #[serde(deserialize_with = "one_or_many")]
    pub rebuild: Vec<Rebuild>,
    /// What somebody who starts a build may say.
    pub params: Params,
}

/// `[push]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushSpec {
    /// What the image is called.
    pub tags: Vec<TagSpec>,
    /// Which refs' builds move the tags that are no ref's own; absent is the default branch alone.
    pub on: Option<MoveOn>,
    /// Time for the push of one tag; absent is as the server has it.
    #[serde(rename = "timeout", deserialize_with = "some_duration_ms")]
    pub timeout_ms: Option<u64>,
}

/// `[deploy.NAME]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploySpec {
    /// The manifest repository.
    pub repo: RepoName,
    /// Its branch; absent is its default branch.
    #[serde(default)]
    pub branch: Option<String>,
    /// Of which `[[image]]`, where there are several.
    #[serde(default)]
    pub of: Option<String>,
    /// The file or folder to edit.
    #[serde(default = "here")]
    pub path: String,
    /// Which image references to move, tag and digest aside; absent is the one pushed.
    #[serde(default)]
    pub image: Option<String>,
    /// Fields that refer to the image in ways of their own, beside what is known to.
    #[serde(default)]
    pub fields: Vec<FieldPath>,
    /// Fields that refer to the image and stay as they are.
    #[serde(default)]
    pub leave: Vec<FieldPath>,
    /// Which refs' builds write it; absent is the default branch alone.
    #[serde(default)]
    pub on: Option<MoveOn>,
    /// Whether it waits until somebody approves of it.
    #[serde(default)]
    pub approve: bool,
}

impl DeploySpec {
    /// True if both write the same place.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let place = |d: &Self| {
            (
                d.repo.clone(),
                d.branch.clone(),
                d.of.clone(),
                d.path.clone(),
                d.image.clone(),
                d.fields.clone(),
                d.leave.clone(),
            )
        };
        place(self) == place(other)
    }
}

fn here() -> String {
    ".".into()
}

impl BuildSpec {
    /// Where the Dockerfile may be; the first that is there is it.
    pub fn dockerfiles(&self) -> Vec<String> {
        if !self.dockerfile.is_empty() {
            return vec![self.dockerfile.clone()];
        }
        let parts: Vec<&str> = self.context.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let inside = |name: &str| parts.iter().copied().chain([name]).collect::<Vec<_>>().join("/");
        ["Dockerfile", "Containerfile"].map(inside).into()
    }

    /// The Dockerfile, where `has` tells which files are there.
    ///
    /// # Errors
    /// What `has` says.
    pub fn find_dockerfile<E>(&self, has: impl Fn(&str) -> Result<bool, E>) -> Result<Option<String>, E> {
        for path in self.dockerfiles() {
            if has(&path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

impl Default for BuildSpec {
    fn default() -> Self {
        Self {
            dockerfile: String::new(),
            context: ".".into(),
            target: String::new(),
            args: BTreeMap::new(),
            platforms: Vec::new(),
            pull: None,
            ssh: Vec::new(),
            reuse: true,
            timeout_ms: 20 * 60_000,
            silence_ms: None,
            on: OnSpec::default(),
            rebuild: Vec::new(),
            params: Params::new(),
        }
    }
}

impl Default for PushSpec {
    fn default() -> Self {
        let tag = |text: &str| Template::parse(text).ok().map(|template| TagSpec { template, on: None });
        Self { tags: ["{sha}", "latest"].into_iter().filter_map(tag).collect(), on: None, timeout_ms: None }
    }
}

fn check_deploy((name, deploy): (&String, &DeploySpec)) -> Result<(), Wrong> {
    let wrong = |key: &str, what: String| Wrong::at("deploy", what).key(name).key(key);
    for (key, paths) in [("fields", &deploy.fields), ("leave", &deploy.leave)] {
        if paths.len() > FIELDS_MAX {
            return Err(wrong(key, format!("{key} has more than {FIELDS_MAX} paths")));
        }
    }
    check_path(&deploy.path).map_err(|what| wrong("path", what))
}

impl Spec {
    /// Reads the file's bytes.
    ///
    /// # Errors
    /// [`SpecError`] with line and column for whatever is wrong first.
    pub fn parse(bytes: &[u8]) -> Result<Self, SpecError> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let upto = String::from_utf8_lossy(&bytes[..e.valid_up_to()]).into_owned();
            at(&upto, upto.len(), "this is not UTF-8 text".into())
        })?;
        let mut spec: Spec = toml::from_str(text).map_err(|e| {
            let offset = e.span().map_or(0, |s| s.start);
            at(text, offset, suggest(e.message()))
        })?;
        let checked = spec.check_alone().and_then(|()| images::parts(&spec));
        spec.parts = checked.map_err(|wrong| placed(text, wrong))?;
        if let Some((target, _)) = spec.deploy.iter().find(|(_, d)| d.of.is_some() && spec.parts.is_empty()) {
            let told = format!("[deploy.{target}] says of which [[image]] it is, and there is none");
            return Err(placed(text, Wrong::at("deploy", told).key(target).key("of").itself()));
        }
        Ok(spec)
    }

    /// The images of the commit, where `[[image]]` says that there are several; empty where there is the one.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The file as it is about that part; `None` is the one image. Nothing where there is no such part.
    pub fn of(&self, part: Option<&str>) -> Option<Self> {
        match part {
            None => self.parts.is_empty().then(|| self.clone()),
            Some(name) => self.parts.iter().find(|part| part.name == name).map(|part| part.spec.clone()),
        }
    }

    /// What serde cannot say, of the file as if it were about one image.
    fn check_alone(&self) -> Result<(), Wrong> {
        self.test.check().map_err(|wrong| wrong.under(&["test"]))?;
        self.on.check()?;
        params::check(&self.build.params, |name| {
            self.build.args.contains_key(name) || self.test.env.contains_key(name)
        })?;
        if self.push.tags.is_empty() || self.push.tags.len() > IMAGE_TAGS_MAX {
            return Err(Wrong::at("push.tags", format!("push.tags must name 1 to {IMAGE_TAGS_MAX} tags")));
        }
        if self.deploy.len() > DEPLOY_TARGETS_MAX {
            let told = format!("there are more than {DEPLOY_TARGETS_MAX} [deploy.*] targets");
            return Err(Wrong::at("deploy", told));
        }
        if self.build.args.len() > VARIABLES_MAX {
            let told = format!("build.args has more than {VARIABLES_MAX} arguments");
            return Err(Wrong::at("build.args", told));
        }
        let arg = |name: &str, what: String| Wrong::at("build.args", what).key(name).itself();
        for name in self.build.args.keys().filter(|name| name.starts_with(OURS)) {
            check_variable(name).map_err(|why| arg(name, why))?;
        }
        if let Some(name) = self.build.args.keys().find(|name| is_reserved_arg(name)) {
            return Err(arg(name, format!("build.args cannot set {name}: {ARGS_RESERVED}")));
        }
        platform::check(&self.build.platforms)?;
        if !self.build.dockerfile.is_empty() {
            check_path(&self.build.dockerfile).map_err(|what| Wrong::at("build.dockerfile", what))?;
        }
        check_path(&self.build.context).map_err(|what| Wrong::at("build.context", what))?;
        self.deploy.iter().try_for_each(check_deploy)
    }
}

const ARGS_RESERVED: &str = "the builder reads it itself, outside the Dockerfile; write ENV in the Dockerfile for what its steps need";

/// True for a build argument that is a switch of the builder, or, as the proxies are, changes what a step does without
/// being part of what the step is known by in the cache that all repositories share.
fn is_reserved_arg(name: &str) -> bool {
    const FREE: [&str; 4] = [
        "BUILDKIT_INLINE_CACHE",
        "BUILDKIT_MULTI_PLATFORM",
        "BUILDKIT_SANDBOX_HOSTNAME",
        "BUILDKIT_DOCKERFILE_CHECK",
    ];
    const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
    let upper = name.to_ascii_uppercase();
    (upper.starts_with("BUILDKIT_") && !FREE.contains(&upper.as_str())) || PROXIES.contains(&upper.as_str())
}

fn check_path(path: &str) -> Result<(), String> {
    let outside =
        path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains(['\0', '\\']);
    if outside || path.is_empty() {
        return Err(format!("{path:?} must be a path inside the repository"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
