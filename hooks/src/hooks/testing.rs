//! The test of an image: a stage of the Dockerfile, or a command in the image.

use std::collections::BTreeMap;
use std::time::Duration;

use slipway_core::Secret;
use slipway_core::build::{Stage, TestVerdict};
use slipway_core::spec::{Network, SecretPlace, Spec, Test, TestSecret, TestSpec, Text};
use tokio_util::sync::CancellationToken;

use super::{Hooks, Job, labels, services};
use crate::engine::container::{TestRun, Variable};
use crate::engine::harvest::Keeps;
use crate::engine::{LABEL_BUILD, LABEL_SERVER, Labels};
use crate::error::HookError;
use crate::limits::TEST_PIDS;
use crate::log::BuildLogs;
use crate::variables;

impl Hooks {
    /// Tests the image. `Passed` or `None`; a test that fails is an error.
    ///
    /// # Errors
    /// [`HookError::TestFailed`] and its kin; [`HookError::Stopped`] after `stop`.
    pub async fn test_image(
        &self,
        job: &Job,
        image: &str,
        stop: &CancellationToken,
    ) -> Result<TestVerdict, HookError> {
        job.log.stage(Stage::Test).await;
        let spec = self.spec(job).await?;
        let (mut test, told) = job.permit.lower(&spec.test)?;
        for line in told {
            job.log.line(&line).await;
        }
        match test.test() {
            Test::None => {
                job.log.line("no test is declared in slipway.toml").await;
                return Ok(TestVerdict::None);
            }
            Test::Target(stage) => {
                let tag = self.private_tag(job, "-test");
                let timeout = Duration::from_millis(test.timeout_ms);
                let mut build = self.image_build(job, &spec, stage, tag, timeout).await?;
                (build.what, build.setting) = ("the test", "test.timeout");
                build.silence = test.silence_ms.map(Duration::from_millis);
                build.secrets = job.secrets.mounted(true);
                self.untag(&build.tag).await?;
                self.engine.build(&build, &job.log, stop).await.map_err(|e| told_why(job, &spec, e))?;
            }
            Test::Run(argv) => {
                let params = variables::params(job, &spec.build);
                test.env.extend(params.into_iter().map(|(name, value)| (name, Text::plain(&value))));
                self.run_test(job, image, argv, &test, stop).await?;
            }
        }
        job.log.line("test passed").await;
        Ok(TestVerdict::Passed)
    }

    /// Refuses, before anything is built, what the test would be refused afterwards: networks and capabilities above the ceilings,
    /// images of others for services, secrets that the build is not given.
    pub(super) fn check_test(job: &Job, spec: &Spec) -> Result<(), HookError> {
        let (test, _) = job.permit.lower(&spec.test)?;
        if let Test::Run(_) = test.test() {
            environment(job, &test.env, &test.secrets)?;
            for (name, service) in &test.services {
                services::check(job, name, service)?;
            }
        }
        Ok(())
    }

    /// Runs the command in a container, in a network of its own where it is to have one that leads nowhere, or has services.
    async fn run_test(
        &self,
        job: &Job,
        image: &str,
        argv: Vec<String>,
        test: &TestSpec,
        stop: &CancellationToken,
    ) -> Result<(), HookError> {
        let labels = self.container_labels(job);
        let own = test.network == Network::Internal || !test.services.is_empty();
        let own = own.then(|| self.marks.network(job.id()));
        if let Some(name) = &own {
            self.engine.make_internal_network(name, &labels).await?;
        }
        let outcome = self.run_within(job, image, argv, test, (own.as_deref(), &labels), stop).await;
        if let Some(name) = own
            && let Err(e) = self.engine.remove_network(&name).await
        {
            // The end of the build, or the next start, finds it by its name.
            tracing::warn!(network = %name, error = %e, "a test's network is left over");
        }
        outcome
    }

    async fn run_within(
        &self,
        job: &Job,
        image: &str,
        argv: Vec<String>,
        test: &TestSpec,
        (own, labels): (Option<&str>, &Labels),
        stop: &CancellationToken,
    ) -> Result<(), HookError> {
        let run = self.test_run(job, image, argv, test, (own, labels)).await?;
        let services = match own.filter(|_| !test.services.is_empty()) {
            Some(network) => Some(self.start_services(job, test, (network, labels), stop).await?),
            None => None,
        };
        job.log.line(&format!("$ {}", run.command())).await;
        let outcome = self.engine.run_test(&run, &job.log, stop).await;
        if let Some(services) = services {
            if outcome.as_ref().is_err_and(|e| !e.is_stopped()) {
                self.tell_last_words(job, &services).await;
            }
            self.end_services(services).await;
        }
        outcome
    }

    async fn test_run(
        &self,
        job: &Job,
        image: &str,
        argv: Vec<String>,
        test: &TestSpec,
        (own, labels): (Option<&str>, &Labels),
    ) -> Result<TestRun, HookError> {
        let (variables, files) = environment(job, &test.env, &test.secrets)?;
        let ceilings = &job.permit.tests;
        let (network, also) = match (own, test.network) {
            (Some(own), Network::Bridge) => ("bridge".to_owned(), Some(own.to_owned())),
            (Some(own), _) => (own.to_owned(), None),
            (None, network) => (network.as_str().to_owned(), None),
        };
        Ok(TestRun {
            image: image.into(),
            argv,
            variables,
            files,
            capabilities: test.capabilities.names().map(str::to_owned).collect(),
            network,
            also,
            memory_bytes: test.memory_bytes,
            cpus: test.cpus.min(self.engine.processors().await?),
            pids: ceilings.pids.map_or(TEST_PIDS, |pids| pids.0),
            disk_bytes: ceilings.disk.map(|disk| disk.0),
            timeout: Duration::from_millis(test.timeout_ms),
            silence: test.silence_ms.map(Duration::from_millis),
            init: true,
            name: self.marks.container(job.id()),
            labels: labels.clone(),
            keeps: Keeps {
                reports: test.reports.clone(),
                artifacts: test.artifacts.clone(),
                folder: BuildLogs::files_beside(&job.log.folder, job.build.number),
            },
        })
    }

    fn container_labels(&self, job: &Job) -> Labels {
        labels([(LABEL_BUILD, job.label()), (LABEL_SERVER, self.marks.installation().to_owned())])
    }
}

/// Variables, and files with secrets by their paths.
pub(super) type Environment = (Vec<Variable>, Vec<(String, Secret)>);

/// Variables, ours and those that are said, and the files with secrets.
pub(super) fn environment(
    job: &Job,
    env: &BTreeMap<String, Text>,
    secrets: &[TestSecret],
) -> Result<Environment, HookError> {
    let said = env.iter().map(|(name, text)| (name.clone(), variables::filled(job, text)));
    let plain = variables::ours(job).into_iter().chain(said);
    let mut all: Vec<Variable> =
        plain.map(|(name, value)| Variable { name, value: Secret::new(value) }).collect();
    let mut files = Vec::new();
    for secret in secrets {
        let value = job.secrets.of_test(&secret.name)?;
        match &secret.place {
            SecretPlace::Variable(name) => all.push(Variable { name: name.clone(), value }),
            SecretPlace::File(path) => files.push((path.clone(), value)),
        }
    }
    Ok((all, files))
}

/// Says of a secret that a step wants, and that the build is not given, why.
pub(super) fn told_why(job: &Job, spec: &Spec, e: HookError) -> HookError {
    use slipway_core::repo_secret::SecretUse;
    match e {
        HookError::NoSecret { what: what @ "secret", name, asked, why: None } => {
            let why = job.secrets.why_not(&name, SecretUse::Build);
            HookError::NoSecret { what, name, asked, why }
        }
        // What a step asks for is an id; the key has a name.
        HookError::NoSecret { what: what @ "SSH key", name, asked, why: None } => {
            let named = spec.build.ssh.iter().find(|key| key.id == name).map(|key| key.secret.to_string());
            let why = named.as_ref().and_then(|name| job.secrets.why_not(name, SecretUse::Ssh));
            HookError::NoSecret { what, name: named.filter(|_| why.is_some()).unwrap_or(name), asked, why }
        }
        other => other,
    }
}
