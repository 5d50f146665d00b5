//! slipway.toml: what an application's commit says about its build. Absent, the defaults hold.
//!
//! Unknown keys are errors with line, column and the nearest known key: a typo must not silently change a build.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::limits::{DEPLOY_TARGETS_MAX, FIELDS_MAX, IMAGE_TAGS_MAX, VARIABLES_MAX};
use crate::name::RepoName;
use crate::place::Wrong;

mod error;
mod field;
mod images;
mod kept;
mod matrix;
mod on;
mod params;
mod pull;
mod schema;
mod services;
mod tags;
mod test;
mod text;
mod triggers;
mod values;
mod variables;
pub use self::error::SpecError;
use self::error::{at, placed, suggest};
pub use self::field::{FieldPath, Step, written};
use self::images::ImageSpec;
pub use self::images::Part;
pub use self::kept::KeptPath;
pub use self::on::{MoveOn, OnSpec, Pattern, matches_branch};
pub use self::params::{ParamSpec, Params, values as param_values};
pub use self::pull::Pull;
pub use self::schema::schema;
pub use self::services::ServiceSpec;
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
    /// Whether registries are asked for base images that the engine has; absent is yes, where they answer.
    pub pull: Option<Pull>,
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
            pull: None,
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
mod tests {
    use super::*;
    use crate::git::RefName;

    fn error(text: &str) -> String {
        Spec::parse(text.as_bytes()).expect_err("must be refused").to_string()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let spec = Spec::parse(b"").expect("valid");
        assert_eq!(spec.build.dockerfiles(), ["Dockerfile", "Containerfile"]);
        assert_eq!(spec.build.timeout_ms, 1_200_000);
        assert_eq!(spec.test.test(), Test::None);
        let tags: Vec<&str> = spec.push.tags.iter().map(|t| t.template.as_str()).collect();
        assert_eq!(tags, ["{sha}", "latest"]);
    }

    #[test]
    fn the_contract_s_example_is_read() {
        let text = r#"
            [build]
            dockerfile = "docker/Dockerfile"
            args = { A = "b" }
            pull = "missing"
            timeout = "90s"
            on = { branches = ["main", "release/*"], tags = ["v*"], paths = ["**", "!docs/**"] }
            [test]
            shell = "./test.sh"
            memory = "512MiB"
            cpus = 1.5
            [push]
            tags = ["{sha}", "{branch}"]
            [deploy.prod]
            repo = "ManifestRepo"
            path = "deployment.yaml"
        "#;
        let spec = Spec::parse(text.as_bytes()).expect("valid");
        assert_eq!(spec.build.pull, Some(Pull::Missing));
        let main = RefName::branch("main").expect("valid");
        assert!(spec.build.on.matches_ref(&RefName::branch("release/2").expect("valid"), &main));
        assert!(!spec.build.on.matches_ref(&RefName::branch("x").expect("valid"), &main));
        assert!(spec.build.on.matches_ref(&RefName::tag("v1").expect("valid"), &main));
        assert!(spec.build.on.matches_path("src/main.rs"));
        assert!(!spec.build.on.matches_path("docs/a/b.md"));
        assert_eq!(spec.test.test(), Test::Run(vec!["/bin/sh".into(), "-ec".into(), "./test.sh".into()]));
        assert_eq!(spec.deploy["prod"].repo.as_str(), "ManifestRepo");
    }

    #[test]
    fn mistakes_are_named_with_their_place_and_a_guess() {
        for (text, want) in [
            ("[biuld]\n", "slipway.toml:1:2: unknown key `biuld`; did you mean `build`?"),
            (
                "[build]\ndockerfil = \"x\"\n",
                "slipway.toml:2:1: unknown key `dockerfil`; did you mean `dockerfile`?",
            ),
            ("[test]\nrun = \"./test.sh\"\n", "slipway.toml:2:7: "),
            ("[test]\ntimeout = \"soon\"\n", "slipway.toml:2:11: \"soon\" is not a time"),
            ("[test]\nmemory = \"lots\"\n", "slipway.toml:2:10: \"lots\" is not a size"),
            ("[test]\nrun = [\"a\"]\nshell = \"b\"\n", "slipway.toml:3:1: [test] has more than one"),
            ("[build]\ncontext = \"../x\"\n", "slipway.toml:2:11: \"../x\" must be a path inside"),
            ("[deploy.prod]\npath = \"a\"\n", "slipway.toml:1:1: missing field `repo`"),
            (
                "[deploy.prod]\nrepo = \"m\"\nbranches = [\"main\"]\n",
                "slipway.toml:3:1: unknown key `branches`; which refs deploy is said by `on = { branches = […] }`",
            ),
            (
                "[push]\ntags = [{ tag = \"edge\", branches = [\"dev\"] }]\n",
                "slipway.toml:2:25: unknown key `branches`; which refs move it is said by `on = { branches = […] }`",
            ),
            ("[push]\nbranches = []\n", "slipway.toml:2:1: unknown key `branches`; which refs move"),
            (
                "[push]\ntags = [\"{sha}\", \"{brnch}\"]\n",
                "slipway.toml:2:18: unknown placeholder `{brnch}`; did you mean `{branch}`?",
            ),
            (
                "[push]\ntags = [7]\n",
                "slipway.toml:2:9: invalid type: integer `7`, expected a tag, or a table",
            ),
            (
                "[build]\nargs = { BUILDKIT_SYNTAX = \"evil/frontend\" }\n",
                "slipway.toml:2:10: build.args cannot set BUILDKIT_SYNTAX",
            ),
            (
                "[build]\nargs = { BUILDKIT_CACHE_MOUNT_NS = \"other\" }\n",
                "slipway.toml:2:10: build.args cannot set BUILDKIT_CACHE_MOUNT_NS",
            ),
            (
                "[build]\nargs = { http_proxy = \"x\" }\n",
                "slipway.toml:2:10: build.args cannot set http_proxy",
            ),
            ("[build]\npull = \"newer\"\n", "slipway.toml:2:8: unknown value `newer`"),
            ("a = \n", "slipway.toml:1:"),
        ] {
            let got = error(text);
            assert!(got.starts_with(want), "{text:?}: {got}");
        }
        assert!(Spec::parse(b"\xff").is_err());
    }

    #[test]
    fn mistakes_about_what_builds_and_tests_are_given_are_named() {
        for (text, want) in [
            (
                "[build]\nargs = { V = \"{brnch}\" }\n",
                "slipway.toml:2:14: unknown placeholder `{brnch}`; did you mean `{branch}`?",
            ),
            ("[build]\nargs = { SLIPWAY_X = \"1\" }\n", "slipway.toml:2:10: SLIPWAY_X is set by the server"),
            (
                "[test]\nshell = \"x\"\nenv = { \"a-b\" = \"1\" }\n",
                "slipway.toml:3:9: \"a-b\" is no name of a variable",
            ),
            ("[test]\nshell = \"x\"\nenv = { CI = \"1\" }\n", "slipway.toml:3:9: CI is set by the server"),
            (
                "[test]\ntarget = \"t\"\nenv = { A = \"1\" }\n",
                "slipway.toml:3:1: test.env is for run and shell",
            ),
            ("[test]\nsecrets = [\"A\"]\n", "slipway.toml:2:1: test.secrets is for run and shell"),
            (
                "[test]\nshell = \"x\"\nsecrets = [\"npm-token\"]\n",
                "slipway.toml:3:11: \"npm-token\" is no name of a variable",
            ),
            (
                "[test]\nshell = \"x\"\nsecrets = [{ name = \"A\", file = \"/a/../b\" }]\n",
                "slipway.toml:3:11: \"/a/../b\" is no absolute path of a file",
            ),
            (
                "[test]\nshell = \"x\"\nenv = { A = \"1\" }\nsecrets = [\"A\"]\n",
                "slipway.toml:4:12: the variable A of test.secrets is given twice",
            ),
            (
                "[test]\nshell = \"x\"\ncapabilities = [\"CHOWM\"]\n",
                "slipway.toml:3:16: \"CHOWM\" is no capability; did you mean CHOWN?",
            ),
            (
                "[test]\nshell = \"x\"\n[test.services.DB]\nimage = \"p\"\n",
                "slipway.toml:3:16: \"DB\" is no name of a service",
            ),
            ("[test]\nshell = \"x\"\n[test.services.db]\n", "slipway.toml:3:1: missing field `image`"),
        ] {
            let got = error(text);
            assert!(got.starts_with(want), "{text:?}: {got}");
        }
    }

    #[test]
    fn what_is_wrong_within_a_table_is_shown_where_it_stands() {
        for (text, want) in [
            ("[build]\ndockerfile = \"/x\"", "2:14: \"/x\" must"),
            ("[build]\ncontext = \"a\"\n[[image]]\nname = \"x\"", "2:1: beside [[image]]"),
            ("[build.args]\nA = \"1\"\nNO_PROXY = \"x\"", "3:1: build.args cannot set NO_PROXY"),
            ("test = { run = [] }", "1:16: test.run is empty"),
            ("[test]\nshell = \"x\"\ncpus = 2000", "3:8: test.cpus must"),
            ("[test]\nshell = \"x\"\nmemory = \"1B\"", "3:10: test.memory must"),
            ("[test]\nreports = [\"/a\"]", "2:1: test.reports is for"),
            (
                "[test]\nshell = \"x\"\n[test.services.db]\nimage = \"a b\"",
                "4:9: \"a b\", the image of the service db",
            ),
            (
                "[test]\nshell = \"x\"\n[test.services.db]\nimage = \"a\"\nready = []",
                "5:9: ready of the service db is empty",
            ),
            (
                "[test]\nshell = \"x\"\n[test.services.db]\nimage = \"a\"\nenv = { \"A B\" = \"1\" }",
                "5:9: \"A B\" is no name",
            ),
            ("[push]\ntags = []", "2:8: push.tags must name"),
            ("[deploy.p]\nrepo = \"m\"\npath = \"../x\"", "3:8: \"../x\" must"),
            ("[deploy.p]\nrepo = \"m\"\nof = \"x\"", "3:1: [deploy.p] says of which"),
            ("[[image]]\nname = \"x\"\n[[image]]\nname = \"x\"", "4:8: two [[image]] are called"),
            ("[[image]]\nname = \"x\"\ncontext = \"..\"", "3:11: \"..\" must"),
            (
                "[[image]]\nname = \"x\"\nargs = { ALL_PROXY = \"x\" }",
                "3:10: build.args cannot set ALL_PROXY",
            ),
            ("[[image]]\nname = \"x\"\n[image.test]\nrun = []", "4:7: test.run is empty"),
            ("[[image]]\nname = \"x\"\ntags = [\"{sha}\", \"{brnch}\"]", "3:18: unknown placeholder"),
            ("[[image]]\nname = \"x\"\nneeds = [\"y\"]", "3:10: needs names"),
            ("[[image]]\nname = \"x\"\nmatrix = { V = [\"a\", \"a\"] }", "3:16: V of the matrix wants"),
            (
                "[[image]]\nname = \"x\"\n[[image]]\nname = \"y\"\n[deploy.p]\nrepo = \"m\"\nof = \"z\"",
                "7:6: ",
            ),
        ] {
            let got = error(text);
            assert!(got.starts_with(&format!("slipway.toml:{want}")), "{text:?}: {got}");
        }
    }

    /// The keys that the reader knows there, as it tells them itself.
    fn keys_read(text: &str) -> Vec<String> {
        let mut keys: Vec<String> = error(text).split('`').skip(3).step_by(2).map(str::to_owned).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_schema_has_the_keys_that_are_read_and_no_others() {
        let schema: serde_json::Value = serde_json::from_str(schema()).expect("json");
        for (text, place) in [
            ("zzzzzzzzzzzz = 1", ""),
            ("[on]\nzzzzzzzzzzzz = 1", "/properties/on"),
            ("[on]\ncron = [{ zzzzzzzzzzzz = 1 }]", "/$defs/schedule/oneOf/1"),
            ("[build]\nzzzzzzzzzzzz = 1", "/properties/build"),
            (
                "[build.params.A]\nzzzzzzzzzzzz = 1",
                "/properties/build/properties/params/additionalProperties",
            ),
            ("[build.on]\nzzzzzzzzzzzz = 1", "/properties/build/properties/on"),
            ("[test]\nzzzzzzzzzzzz = 1", "/properties/test"),
            (
                "[test.services.db]\nimage = \"x\"\nzzzzzzzzzzzz = 1",
                "/properties/test/properties/services/additionalProperties",
            ),
            ("[test]\nsecrets = [{ zzzzzzzzzzzz = 1 }]", "/$defs/secrets/items/oneOf/1"),
            ("[[image]]\nname = \"x\"\nzzzzzzzzzzzz = 1", "/properties/image/items"),
            ("[push]\nzzzzzzzzzzzz = 1", "/properties/push"),
            ("[push]\ntags = [{ zzzzzzzzzzzz = 1 }]", "/properties/push/properties/tags/items/oneOf/1"),
            ("[push.on]\nzzzzzzzzzzzz = 1", "/$defs/moves"),
            ("[deploy.p]\nrepo = \"m\"\nzzzzzzzzzzzz = 1", "/properties/deploy/additionalProperties"),
        ] {
            let there = schema.pointer(place).unwrap_or_else(|| panic!("no {place}"));
            let mut keys: Vec<String> =
                there["properties"].as_object().expect("properties").keys().cloned().collect();
            keys.sort();
            assert_eq!(keys, keys_read(text), "{place}");
            assert_eq!(there["additionalProperties"], false, "{place}");
        }
    }
}
