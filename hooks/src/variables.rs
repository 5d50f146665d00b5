//! What builds and tests are told about themselves: `CI` and `SLIPWAY_*`.

use std::collections::{BTreeMap, HashMap};

use slipway_core::spec::{BuildSpec, TagFacts, Text, image_variable, param_values};

use crate::hooks::Job;

/// The variables, with their values. What the build has not (a tag, where a branch is built) is empty.
pub(crate) fn ours(job: &Job) -> Vec<(String, String)> {
    let build = &job.build;
    let commit = build.commit.to_string();
    let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        of("CI", "true"),
        of("SLIPWAY", "true"),
        of("SLIPWAY_REPO", job.repo.as_str()),
        of("SLIPWAY_COMMIT", &commit),
        of("SLIPWAY_SHORT", commit.get(..10).unwrap_or(&commit)),
        of("SLIPWAY_REF", build.ref_name.as_str()),
        of("SLIPWAY_BRANCH", build.ref_name.as_branch().unwrap_or_default()),
        of("SLIPWAY_TAG", build.ref_name.as_tag().unwrap_or_default()),
        of("SLIPWAY_BUILD", &build.number.to_string()),
        of("SLIPWAY_BUILD_URL", &job.url),
        of("SLIPWAY_ACTOR", &build.actor),
        of("SLIPWAY_IMAGE", build.part.as_deref().unwrap_or_default()),
    ]
    .into_iter()
    .chain(job.needed.iter().map(|(part, image)| (image_variable(part), image.clone())))
    .collect()
}

/// A text of slipway.toml for that build.
pub(crate) fn filled(job: &Job, text: &Text) -> String {
    let commit = job.build.commit.to_string();
    text.fill(&TagFacts {
        commit: &commit,
        ref_name: &job.build.ref_name,
        number: job.build.number,
        created: job.build.run.created,
    })
}

/// What was said by whoever started the build, and what holds of what nobody said: `[build.params.*]`.
pub(crate) fn params(job: &Job, build: &BuildSpec) -> BTreeMap<String, String> {
    // Asked for when the build was recorded, of the same commit.
    param_values(&build.params, &job.build.asked.params).unwrap_or_default()
}

/// All arguments that a build may have: slipway.toml's, those that were said, and ours, of which it gets those that its Dockerfile
/// declares.
pub(crate) fn arguments(job: &Job, build: &BuildSpec) -> HashMap<String, String> {
    let given = build.args.iter().map(|(name, text)| (name.clone(), filled(job, text)));
    ours(job).into_iter().chain(params(job, build)).chain(given).collect()
}
