//! The two sentences of every failure: what happened, and what to do. The same on every surface.

use slipway_core::{Problem, sentence};

use super::HookError;

impl HookError {
    /// What happened, and what to do.
    pub(super) fn sentences(&self) -> (String, String) {
        match self {
            Self::NoDockerfile { .. }
            | Self::NoContext { .. }
            | Self::Ignore { .. }
            | Self::Context { .. }
            | Self::ContextTooLarge { .. }
            | Self::Dockerfile { .. }
            | Self::NotAllowed { .. }
            | Self::CopySource { .. }
            | Self::BaseImage { .. }
            | Self::BaseImageUnreachable { .. }
            | Self::Frontend { .. }
            | Self::NoSecret { .. }
            | Self::Step { .. }
            | Self::NoStage { .. }
            | Self::OtherPlatform { .. }
            | Self::Build { .. } => self.build_sentences(),
            Self::RegistryDown { .. }
            | Self::RegistryDenied { .. }
            | Self::TagImmutable { .. }
            | Self::NotInRegistry { .. }
            | Self::NotSigned { .. }
            | Self::RegistryBroken { .. }
            | Self::Aws { .. }
            | Self::Findings { .. }
            | Self::NoScan { .. }
            | Self::NoRepository { .. }
            | Self::NoCredentials { .. }
            | Self::RegistrySettings { .. } => self.registry_sentences(),
            Self::ServiceImage { .. }
            | Self::Service { .. }
            | Self::TestFailed { .. }
            | Self::TestOutOfMemory { .. }
            | Self::TestKilled { .. }
            | Self::TestNotStarted { .. }
            | Self::NoInit { .. } => self.test_sentences(),
            Self::NothingToBump { .. }
            | Self::ReferencesLeft { .. }
            | Self::NoField { .. }
            | Self::NoManifest { .. }
            | Self::TooManyManifests { .. } => self.bump_sentences(),
            _ => self.engine_sentences(),
        }
    }

    fn build_sentences(&self) -> (String, String) {
        match self {
            Self::NoDockerfile { path } => (
                format!("The commit has no file {path:?}."),
                "Add it, or set build.dockerfile in slipway.toml to where it is.".into(),
            ),
            Self::NoContext { path } => (
                format!("The commit has no folder {path:?} to build in."),
                "Set build.context in slipway.toml to a folder of the repository.".into(),
            ),
            Self::Ignore { path, line, why } => {
                (format!("{path}:{line}: {why}."), format!("Mend {path} and push again."))
            }
            Self::Context { path, why, cure } => {
                (format!("{path:?} cannot be sent to the engine: {why}."), cure.clone())
            }
            Self::ContextTooLarge { what, limit } => (
                format!("The build context has more than {limit} {what}."),
                "Leave out what the image does not need, in .dockerignore or by build.context.".into(),
            ),
            Self::Dockerfile { line: Some(line), message } => (
                format!("The Dockerfile is wrong in line {line}: {message}."),
                "Mend it and push again.".into(),
            ),
            Self::Dockerfile { line: None, message } => {
                (format!("The Dockerfile is wrong: {message}."), "Mend it and push again.".into())
            }
            Self::NotAllowed { what, cure } => (format!("{what}."), cure.clone()),
            Self::CopySource { path } => (
                format!("The Dockerfile copies {path:?}, which is not in the build context."),
                "Commit it, correct the path, or take it out of .dockerignore.".into(),
            ),
            Self::BaseImage { image, message } => (
                format!("{} cannot be pulled: {message}.", base(image)),
                "Correct its name in the Dockerfile, or bind a registry whose login may read it.".into(),
            ),
            Self::BaseImageUnreachable { image, message } => (
                format!("{} cannot be pulled for now: {message}.", base(image)),
                "Check the engine's network and the registry; the build is tried again by itself.".into(),
            ),
            Self::Frontend { image, message, passes } => (
                format!("The frontend {image} of `# syntax` cannot be pulled: {message}."),
                if *passes {
                    "Take that line out where the engine's own frontend will do, or check the engine's network; the build is \
                     tried again by itself."
                } else {
                    "Correct that line, or take it out: the engine has a frontend of its own."
                }
                .into(),
            ),
            Self::NoSecret { what, name, asked, why } => no_secret(what, name, asked, why.as_deref()),
            Self::Step { command, code } => (
                format!("The build step `{command}` ended with exit code {code}."),
                "Its output is in the log; mend it and push again.".into(),
            ),
            Self::OtherPlatform { wanted, made } => other_platform(wanted, made),
            Self::NoStage { stage } => (
                format!("The Dockerfile has no stage {stage:?}."),
                format!("Name a stage with `FROM … AS {stage}`, or correct slipway.toml."),
            ),
            _ => (
                sentence(&self.to_string()),
                "The log has the engine's words; mend it and push again.".into(),
            ),
        }
    }

    fn registry_sentences(&self) -> (String, String) {
        match self {
            Self::RegistryDown { host, why } => (
                format!("The registry {host} does not answer: {why}."),
                "Check that it runs and that this server reaches it; it is tried again by itself.".into(),
            ),
            Self::RegistryDenied { host, action, message, cure } => {
                (format!("The registry {host} refuses {action}: {message}."), cure.clone())
            }
            Self::TagImmutable { image, tag } => (
                format!("{image}:{tag} exists with another content, and the registry does not let tags change."),
                "Leave that tag out of push.tags in slipway.toml, or except it from immutability in the registry.".into(),
            ),
            Self::NotSigned { image, why } => (
                format!("{image} {why}."),
                "Take an image that a build here has pushed, or build it again: slipway build start REPO.".into(),
            ),
            Self::NotInRegistry { image } => (
                format!("{image} is not in the registry any more."),
                "Build its commit again: slipway build retry.".into(),
            ),
            Self::Aws { region, message, .. } if self.has_no_repository() => (
                format!("ECR in {region} has no such repository: {message}."),
                "Make it, or give the identity the IAM actions ecr:DescribeRepositories and ecr:CreateRepository, and a push makes it.".into(),
            ),
            Self::Aws { action, region, message, passing: true } => (
                format!("AWS did not carry out {action} in {region}: {message}."),
                "It is tried again by itself; check the network and the AWS status if it stays.".into(),
            ),
            Self::Aws { action, region, message, .. } => (
                format!("AWS does not allow {action} in {region}: {message}."),
                format!("Give the identity the IAM action {action}, or record other credentials for the registry."),
            ),
            Self::Findings { image, found, level } => (
                format!("The scan of {image} found {found}, and manifests follow no image with findings that are {level} or worse."),
                "Mend it, mostly with a newer base image, and push again. The image is in the registry under its commit's tag.".into(),
            ),
            Self::NoScan { image, why } => (
                format!("ECR has not scanned {image}: {why}."),
                "Look at the repository's scan settings and at the image in the AWS console; it is tried again by itself.".into(),
            ),
            Self::NoCredentials { role: Some(role), message, .. } => (
                format!("The role {role} cannot be assumed: {message}."),
                "Let the role's trust policy name the server's identity (and the external id), and give that one sts:AssumeRole on the role.".into(),
            ),
            Self::NoCredentials { message, .. } => (
                format!("There are no credentials for AWS: {message}."),
                "Record an access key (--username, --password-file) or a profile, or give the server's process an identity (docs/registries.md).".into(),
            ),
            Self::NoRepository { name, region } => (
                format!("ECR in {region} has no repository {name}, and its registry is recorded with --no-create."),
                format!("Make it: aws ecr create-repository --region {region} --repository-name {name}"),
            ),
            Self::RegistrySettings { name, why } => {
                (format!("The registry {name} {why}."), format!("Record it again: slipway registry remove {name}, then slipway registry add."))
            }
            _ => (sentence(&self.to_string()), "Look at the registry's own log; it is tried again by itself.".into()),
        }
    }

    fn bump_sentences(&self) -> (String, String) {
        match self {
            Self::NothingToBump { repo, path, image, places } if !places.is_empty() => (
                format!("No manifest at {path:?} of {repo} has a tag of the image {image} to write; it is named there: {places}."),
                "Name the field that has its tag in `fields` of the [deploy.*] table.".into(),
            ),
            Self::ReferencesLeft { repo, image, places } => (
                format!("{repo} refers to {image} where it cannot be written, and nothing was changed: {places}."),
                "Write it in another way there, or name the field in `leave` of the [deploy.*] table if it shall stay as it is (in `fields` if it is a block of text to write in).".into(),
            ),
            Self::NoField { repo, path, field } => (
                format!("No manifest at {path:?} of {repo} has the field {field}."),
                "Correct `fields` of the [deploy.*] table, or add the field.".into(),
            ),
            Self::NothingToBump { repo, path, image, .. } => (
                format!("No manifest at {path:?} of {repo} uses the image {image}."),
                "Write that image into the manifest once, or set `image` and `path` of the [deploy.*] table to what is there.".into(),
            ),
            Self::NoManifest { repo, path } => {
                (format!("{repo} has no file or folder {path:?}."), "Correct `path` of the [deploy.*] table, or add it.".into())
            }
            _ => (sentence(&self.to_string()), "Set `path` of the [deploy.*] table to the file that names the image.".into()),
        }
    }

    fn test_sentences(&self) -> (String, String) {
        match self {
            Self::ServiceImage { name, image, message, passes } => (
                format!("The image {image} of the service {name} cannot be pulled: {message}."),
                if *passes {
                    "Wait until its registry answers; it is tried again.".into()
                } else {
                    "Check its name; a private one takes a registry that the repository is bound to.".into()
                },
            ),
            Self::Service { name, why } => (
                format!("The service {name} of the test did not come up: {why}."),
                format!(
                    "Its last lines are in the log; [test.services.{name}] in slipway.toml says how it is run."
                ),
            ),
            Self::TestFailed { command, code } => (
                format!("The test `{command}` failed with exit code {code}."),
                "Its output is in the log. No image was pushed.".into(),
            ),
            Self::TestOutOfMemory { command, memory_bytes } => (
                format!("The test `{command}` needed more than {} MiB of memory.", memory_bytes >> 20),
                "Raise test.memory in slipway.toml. No image was pushed.".into(),
            ),
            Self::TestKilled { command, memory_bytes } => (
                format!("The test `{command}` was killed (exit code 137)."),
                format!(
                    "Mostly the kernel does that to what needs more memory than it may have, here {} MiB: raise test.memory \
                     in slipway.toml, or see in the log what else ended it. No image was pushed.",
                    memory_bytes >> 20
                ),
            ),
            Self::NoInit { message } => (
                format!("The engine has no init process for containers: {message}."),
                "Install docker-init (tini) or catatonit on the engine's machine.".into(),
            ),
            Self::TestNotStarted { command, message } => (
                format!("The test `{command}` could not be started in the image: {message}."),
                "Check that the program exists in the image and is executable. No image was pushed.".into(),
            ),
            _ => (sentence(&self.to_string()), "Look at the log. No image was pushed.".into()),
        }
    }

    fn engine_sentences(&self) -> (String, String) {
        match self {
            Self::EngineDown { address, why, cure: Some(cure) } => {
                (format!("The Docker Engine at {address} cannot be reached: {why}."), cure.clone())
            }
            Self::EngineDown { address, why, cure: None } => (
                format!("The Docker Engine at {address} does not answer: {why}."),
                "Start it, or set DOCKER_HOST to where it is; the build is tried again by itself.".into(),
            ),
            Self::EngineLost { address, during, why } => (
                format!("The Docker Engine at {address} broke off during {during}: {why}."),
                "Look at its log and its memory; the build is tried again by itself.".into(),
            ),
            Self::DiskFull { message } => (
                format!("The Docker Engine has no space left: {message}."),
                "Free space on its disk, for example with `docker builder prune`.".into(),
            ),
            Self::ImageGone { image } => (
                format!("The engine does not have the tested image {image} any more."),
                "Retry the build.".into(),
            ),
            Self::TimedOut { what, limit, setting } => (
                format!("{} took longer than {} s and was ended.", capital(what), limit.as_secs()),
                setting.map_or_else(
                    || "Try it again.".to_owned(),
                    |s| format!("Make it faster, or raise {s} in slipway.toml."),
                ),
            ),
            Self::Silent { what, limit } => (
                format!("{} said nothing for {} s and was ended.", capital(what), limit.as_secs()),
                "Find out what it waits for; the log ends where it hung.".into(),
            ),
            Self::GoesOn { what, limit, setting } => (
                format!(
                    "{} took longer than {} s; it is waited for no more, and Podman goes on with it until it ends by itself.",
                    capital(what),
                    limit.as_secs()
                ),
                setting.map_or_else(
                    || "End it on the engine's machine, or leave it.".to_owned(),
                    |s| format!("Make it faster, or raise {s} in slipway.toml."),
                ),
            ),
            Self::Stopped => ("It was stopped.".into(), String::new()),
            Self::Repository(p) => (p.what.clone(), p.cure.clone()),
            Self::Spec(e) => {
                let problem = Problem::from(e.clone());
                (problem.what, problem.cure)
            }
            _ => (sentence(&self.to_string()), "Look at the server's log.".into()),
        }
    }
}

fn base(image: &str) -> String {
    if image.is_empty() {
        "A base image of the Dockerfile".to_owned()
    } else {
        format!("The base image {image}")
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn other_platform(wanted: &str, made: &str) -> (String, String) {
    (
        format!("The image was made for {made}, where build.platforms of slipway.toml says {wanted}."),
        format!(
            "The engine has a base image for {made} alone: build.pull = \"always\" has it ask for the one for {wanted}."
        ),
    )
}

/// A secret that is asked for, and that the build has not.
fn no_secret(what: &str, name: &str, asked: &str, why: Option<&str>) -> (String, String) {
    let asks = format!("{}{} asks for the {what} {name:?}", asked[..1].to_uppercase(), &asked[1..]);
    match why {
        Some(why) => (
            format!("{asks}, which this build is not given: {why}."),
            match what {
                // An SSH key that signs must not become a value that steps read.
                "secret" if why.starts_with("it is for ssh") => {
                    "A key that steps sign with is given to nobody; name another secret there.".to_owned()
                }
                "secret" => format!(
                    "An admin of the repository can say otherwise: slipway secret set REPO {name} --for build,test --branch PATTERN."
                ),
                _ => format!(
                    "An admin of the repository can say otherwise: slipway secret set REPO {name} --for ssh --branch PATTERN."
                ),
            },
        ),
        None if asked.starts_with("build.ssh") => (
            format!("{asks}, and the repository has none of that name."),
            format!(
                "An admin of the repository can set it: slipway secret set REPO {name} --for ssh --file KEY."
            ),
        ),
        None if what == "secret" => (
            format!("{asks}, and the repository has none of that name."),
            format!("An admin of the repository can set it: slipway secret set REPO {name} --file FILE."),
        ),
        None => (
            format!("{asks}, and build.ssh of slipway.toml gives none by that id."),
            format!(
                "Name a secret there that is a key: ssh = [\"{name}=KEY\"] (or [\"KEY\"] for the id default), set with \
                 slipway secret set REPO KEY --for ssh --file FILE."
            ),
        ),
    }
}
