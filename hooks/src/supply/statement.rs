//! What is stated of an image: where it comes from (in-toto Statement v1 with SLSA's provenance v1), and what is in it. Pure.
//!
//! Of the same build the same is stated whenever it is asked: every time is one that is recorded.
//! Formats: <https://github.com/in-toto/attestation/tree/main/spec/v1>, <https://slsa.dev/spec/v1.0/provenance>.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use slipway_core::build::{Build, BuildCause, PushedImage, Stage};
use slipway_core::spec::BuildSpec;
use slipway_core::{Digest, UnixMillis};

use super::{Maker, Supply};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// What a statement on where an image comes from says.
pub(super) const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// What a statement with an image's contents says.
pub(super) const CONTENTS: &str = "https://cyclonedx.org/bom";
/// What parameters mean here: docs/supply-chain.md.
const BUILD_TYPE: &str = "urn:slipway:build:1";

/// `predicate` of that image.
pub(super) fn statement(image: &PushedImage, predicate_type: &str, predicate: &Value) -> Value {
    let hex = image.digest.as_str().trim_start_matches("sha256:");
    json!({
        "_type": STATEMENT,
        "subject": [{"name": image.name, "digest": {"sha256": hex}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    })
}

/// The predicate of a statement of that type on that image; `None` for any other.
pub(super) fn predicate<'a>(statement: &'a Value, digest: &Digest, of: &str) -> Option<&'a Value> {
    let hex = digest.as_str().trim_start_matches("sha256:");
    let is = statement["_type"] == STATEMENT
        && statement["predicateType"] == of
        && statement["subject"].as_array()?.iter().any(|one| one["digest"]["sha256"] == hex);
    is.then(|| &statement["predicate"])
}

/// Where the image comes from. `config` is what its commit says of that, where it can be read.
pub(super) fn provenance(supply: &Supply, maker: &Maker, config: Option<Value>) -> Value {
    let build = &maker.build;
    let repository = format!("{}/{}", supply.builder, maker.repo);
    let mut external = json!({
        "repository": repository,
        "ref": build.ref_name.as_str(),
    });
    if let Some(part) = &build.part {
        external["image"] = json!(part);
    }
    if let Some(config) = config {
        external["config"] = config;
    }
    if !build.asked.params.is_empty() {
        external["params"] = json!(build.asked.params);
    }
    let finished = time_of(build, Stage::Push).or(build.run.ended);
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": external,
            "internalParameters": {
                "build": build.number.0,
                "cause": cause(&build.cause),
                "actor": build.actor,
                "test": build.test,
                "noCache": build.no_cache,
            },
            "resolvedDependencies": dependencies(&repository, build),
        },
        "runDetails": {
            "builder": {"id": supply.builder, "version": {"slipway": supply.version}},
            "metadata": {
                "invocationId": format!("{repository}/builds/{}", build.number),
                "startedOn": build.run.started.map(date),
                "finishedOn": finished.map(date),
            },
        },
    })
}

/// What of slipway.toml decides what is in the image, its arguments as they were filled in.
pub(super) fn config(build: &BuildSpec, args: &BTreeMap<String, String>) -> Value {
    json!({
        "dockerfile": build.dockerfile,
        "context": build.context,
        "target": build.target,
        "args": args,
    })
}

fn cause(cause: &BuildCause) -> &'static str {
    match cause {
        BuildCause::Push => "push",
        BuildCause::Start => "start",
        BuildCause::Retry { .. } => "retry",
        BuildCause::Schedule { .. } => "schedule",
        BuildCause::Nightly => "nightly",
        BuildCause::Base { .. } => "base",
        BuildCause::Promote { .. } => "promote",
    }
}

/// The commit, and the base images as far as the builder tells.
fn dependencies(repository: &str, build: &Build) -> Vec<Value> {
    let mut all = vec![json!({
        "uri": format!("git+{repository}@{}", build.ref_name.as_str()),
        "digest": {"gitCommit": build.commit.to_string()},
    })];
    for (image, was) in build.bases().into_iter().flatten() {
        if let Some(hex) = was.strip_prefix("sha256:") {
            all.push(json!({"uri": format!("docker-image://{image}"), "digest": {"sha256": hex}}));
        }
    }
    all
}

/// When the stage began.
fn time_of(build: &Build, stage: Stage) -> Option<UnixMillis> {
    build.stages.iter().rev().find(|time| time.stage == stage).map(|time| time.started)
}

/// What the signature itself says besides, for those who look at nothing else.
pub(super) fn short(supply: &Supply, maker: &Maker) -> Value {
    let build = &maker.build;
    json!({
        "creator": "slipway",
        "repository": format!("{}/{}", supply.builder, maker.repo),
        "ref": build.ref_name.as_str(),
        "commit": build.commit.to_string(),
        "build": build.number.0,
        "test": build.test,
    })
}

/// What artefacts beside the image are annotated with: what would differ from commit to commit in the image itself.
pub(super) fn annotations(supply: &Supply, maker: &Maker) -> Map<String, Value> {
    let build = &maker.build;
    let mut all = Map::new();
    let mut say =
        |key: &str, value: String| all.insert(format!("org.opencontainers.image.{key}"), json!(value));
    say("source", format!("{}/{}", supply.builder, maker.repo));
    say("revision", build.commit.to_string());
    say("url", format!("{}/{}/builds/{}", supply.builder, maker.repo, build.number));
    say("version", build.ref_name.short().to_owned());
    if let Some(at) = time_of(build, Stage::Push).or(build.run.started) {
        say("created", date(at));
    }
    all
}

/// RFC 3339, in UTC, to the second.
fn date(at: UnixMillis) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or_default();
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slipway_core::build::{StageTime, TestVerdict};
    use slipway_core::{BuildNumber, EventId, Oid, RefName, RepoId, RepoName};

    use super::super::SigningKey;
    use super::*;

    #[test]
    fn a_statement_is_of_one_image_and_says_what_is_recorded() {
        let main = RefName::branch("main").expect("a branch");
        let (repo, number, event, at) = (RepoId(7), BuildNumber(12), EventId(3), UnixMillis(1_000));
        let build = Build::queued(repo, number, event, main, Oid::ZERO_SHA1, "t".into(), "ann".into(), at);
        let begun = |stage| StageTime { stage, started: UnixMillis(86_400_000), ended: None, skipped: false };
        let bases = [("docker.io/library/alpine:3.20".to_owned(), format!("sha256:{}", "b".repeat(64)))];
        let build = Build {
            stages: vec![begun(Stage::Push)],
            test: TestVerdict::Passed,
            bases: Some(bases.into_iter().collect()),
            ..build
        };
        let maker = Maker { repo: RepoName::parse("app").expect("a name"), build };
        let key = Arc::new(SigningKey::within(std::path::Path::new("/nowhere")));
        let supply = Supply { key, sign: true, list: true, builder: "http://s:1".into(), version: "0.1.0" };
        let digest = Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("a digest");
        let image = PushedImage { name: "r/app".into(), tags: Vec::new(), digest: digest.clone() };
        let said = statement(&image, PROVENANCE, &provenance(&supply, &maker, None));
        let predicate_of = |digest: &Digest, of: &str| predicate(&said, digest, of).cloned();
        assert!(predicate_of(&Digest::none(), PROVENANCE).is_none());
        assert!(predicate_of(&digest, CONTENTS).is_none());
        let run = predicate_of(&digest, PROVENANCE).expect("its own");
        assert_eq!(run["runDetails"]["metadata"]["invocationId"], "http://s:1/app/builds/12");
        assert_eq!(run["runDetails"]["metadata"]["finishedOn"], "1970-01-02T00:00:00Z");
        let depends = &run["buildDefinition"]["resolvedDependencies"];
        assert_eq!(depends[0]["digest"]["gitCommit"], "0".repeat(40));
        assert_eq!(depends[1]["uri"], "docker-image://docker.io/library/alpine:3.20");
        assert_eq!(run["buildDefinition"]["internalParameters"]["test"], "passed");
        assert_eq!(annotations(&supply, &maker)["org.opencontainers.image.source"], "http://s:1/app");
    }
}
