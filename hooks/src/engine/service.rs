//! Containers that run beside a test: their image, their start, whether they are ready, what they said.

use std::collections::HashMap;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as DockerError;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, NetworkConnectRequest, NetworkingConfig,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, LogsOptionsBuilder,
};
use futures_util::StreamExt;

use super::build::request::{credentials, url_safe_login};
use super::container::Variable;
use super::failure::is_unreachable;
use super::image::tagged;
use super::session::Login;
use super::{Engine, Labels, image, is_missing};
use crate::error::{HookError, one_line};
use crate::limits::{SERVICE_ASKED, SERVICE_CHECK_MAX, SERVICE_WORDS_BYTES_MAX};

const DURING: &str = "the services of the test";

/// A service to run.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRun {
    /// By which the test reaches it.
    pub(crate) name: String,
    pub(crate) image: String,
    /// In place of the image's own command.
    pub(crate) command: Option<Vec<String>>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) files: Vec<(String, slipway_core::Secret)>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) memory_bytes: u64,
    pub(crate) pids: u32,
    /// The network that it shares with the test.
    pub(crate) network: String,
    /// The container's name, by which it is found again after a crash.
    pub(crate) container: String,
    pub(crate) labels: Labels,
    /// What succeeds once it is ready; `None` is the image's health check.
    pub(crate) ready: Option<Vec<String>>,
    pub(crate) ready_timeout: Duration,
}

impl Engine {
    /// Pulls the service's image where the engine has it not.
    pub(crate) async fn need_service_image(
        &self,
        service: &ServiceRun,
        login: Option<(&str, &Login)>,
    ) -> Result<(), HookError> {
        let docker = self.docker()?;
        if self.must(DURING, image::inspect(docker, &service.image)).await?.is_some() {
            return Ok(());
        }
        let options = CreateImageOptionsBuilder::default().from_image(&tagged(&service.image)).build();
        let docker = docker.clone().with_request_modifier(url_safe_login);
        let login = login.map(|(host, login)| credentials(host, login));
        let mut pulling = Box::pin(docker.create_image(Some(options), None, login));
        let silence = self.limits.build_silence_timeout;
        let silent = || HookError::Silent { what: format!("the pull of {}", service.image), limit: silence };
        while let Some(step) = tokio::time::timeout(silence, pulling.next()).await.map_err(|_| silent())? {
            step.map_err(|e| self.not_pulled(service, e))?;
        }
        Ok(())
    }

    fn not_pulled(&self, service: &ServiceRun, e: DockerError) -> HookError {
        let (DockerError::DockerStreamError { error: message }
        | DockerError::DockerResponseServerError { message, .. }) = &e
        else {
            return self.failure(DURING, e);
        };
        HookError::ServiceImage {
            name: service.name.clone(),
            image: service.image.clone(),
            passes: is_unreachable(&message.to_ascii_lowercase()),
            message: one_line(message),
        }
    }

    /// Makes and starts its container; gives the id.
    pub(crate) async fn start_service(&self, service: &ServiceRun) -> Result<String, HookError> {
        let docker = self.docker()?;
        let options = CreateContainerOptionsBuilder::default().name(&service.container).build();
        let created = self.call(DURING, docker.create_container(Some(options), body(service))).await?;
        let id = created.map_err(|e| self.not_started(service, e))?.id;
        self.put_files(&id, &service.files).await?;
        let started = self.call(DURING, docker.start_container(&id, None)).await?;
        started.map(|()| id).map_err(|e| self.not_started(service, e))
    }

    fn not_started(&self, service: &ServiceRun, e: DockerError) -> HookError {
        match &e {
            DockerError::DockerResponseServerError { status_code: 400 | 404 | 500, message }
                if !super::failure::is_disk_full(message) =>
            {
                service.failed(&format!("it could not be started: {}", one_line(message)))
            }
            _ => self.failure(DURING, e),
        }
    }

    /// Waits until it is ready.
    pub(crate) async fn wait_until_ready(&self, service: &ServiceRun, id: &str) -> Result<(), HookError> {
        let Some(check) = self.check_of(service).await? else { return self.must_run(service, id).await };
        let waiting = async {
            loop {
                self.must_run(service, id).await?;
                if self.succeeds(id, &check).await? {
                    return Ok(());
                }
                tokio::time::sleep(SERVICE_ASKED).await;
            }
        };
        let late = || {
            let told =
                format!("`{}` did not succeed within {} s", check.join(" "), service.ready_timeout.as_secs());
            service.failed(&one_line(&told))
        };
        tokio::time::timeout(service.ready_timeout, waiting).await.map_err(|_| late())?
    }

    /// The command that tells whether it is ready: slipway.toml's, or its image's.
    async fn check_of(&self, service: &ServiceRun) -> Result<Option<Vec<String>>, HookError> {
        if service.ready.is_some() {
            return Ok(service.ready.clone());
        }
        let image = self.must(DURING, image::inspect(self.docker()?, &service.image)).await?;
        let check = image.and_then(|i| i.config).and_then(|c| c.healthcheck).and_then(|h| h.test);
        Ok(match check.as_deref() {
            Some([kind, argv @ ..]) if kind == "CMD" && !argv.is_empty() => Some(argv.to_vec()),
            Some([kind, line]) if kind == "CMD-SHELL" => {
                Some(vec!["/bin/sh".into(), "-c".into(), line.clone()])
            }
            _ => None,
        })
    }

    async fn must_run(&self, service: &ServiceRun, id: &str) -> Result<(), HookError> {
        let found = self.call(DURING, self.docker()?.inspect_container(id, None)).await?;
        let state = match found {
            Ok(found) => found.state.unwrap_or_default(),
            Err(e) if is_missing(&e) => return Err(service.failed("its container was removed")),
            Err(e) => return Err(self.failure(DURING, e)),
        };
        if state.running == Some(true) {
            return Ok(());
        }
        if state.oom_killed == Some(true) {
            return Err(
                service.failed("it used more memory than it may; its memory can be set in slipway.toml")
            );
        }
        Err(service.failed(&format!("it ended with exit code {}", state.exit_code.unwrap_or_default())))
    }

    /// Runs the command in it; true for exit code 0. A command that takes too long is none that succeeded.
    async fn succeeds(&self, id: &str, argv: &[String]) -> Result<bool, HookError> {
        let docker = self.docker()?;
        let options = CreateExecOptions::<String> {
            cmd: Some(argv.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = match self.call(DURING, docker.create_exec(id, options)).await? {
            Ok(exec) => exec.id,
            // It ended just now, which the next look tells.
            Err(DockerError::DockerResponseServerError { .. }) => return Ok(false),
            Err(e) => return Err(self.failure(DURING, e)),
        };
        let run = async {
            let Ok(StartExecResults::Attached { mut output, .. }) =
                docker.start_exec(&exec, None::<StartExecOptions>).await
            else {
                return;
            };
            while let Some(Ok(_)) = output.next().await {}
        };
        if tokio::time::timeout(SERVICE_CHECK_MAX, run).await.is_err() {
            return Ok(false);
        }
        match self.call(DURING, docker.inspect_exec(&exec)).await? {
            Ok(told) => Ok(told.exit_code == Some(0)),
            Err(_) => Ok(false),
        }
    }

    /// Lets a container that has not started into a further network.
    pub(crate) async fn connect_network(&self, id: &str, network: &str) -> Result<(), HookError> {
        let request = NetworkConnectRequest { container: id.to_owned(), ..NetworkConnectRequest::default() };
        self.must(DURING, self.docker()?.connect_network(network, request)).await
    }

    /// The end of what it said, as lines.
    pub(crate) async fn last_words(&self, id: &str, lines: usize) -> Vec<Vec<u8>> {
        let Ok(docker) = self.docker() else { return Vec::new() };
        let options =
            LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let mut words = Vec::new();
        let reading = async {
            let mut output = docker.logs(id, Some(options));
            while let Some(Ok(piece)) = output.next().await {
                let (LogOutput::StdOut { message }
                | LogOutput::StdErr { message }
                | LogOutput::Console { message }
                | LogOutput::StdIn { message }) = piece;
                words.extend_from_slice(&message);
                if words.len() > SERVICE_WORDS_BYTES_MAX {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(SERVICE_CHECK_MAX, reading).await;
        words.split(|b| *b == b'\n').map(<[u8]>::to_vec).filter(|line| !line.is_empty()).collect()
    }
}

impl ServiceRun {
    fn failed(&self, why: &str) -> HookError {
        HookError::Service { name: self.name.clone(), why: why.to_owned() }
    }
}

fn body(service: &ServiceRun) -> ContainerCreateBody {
    let memory = i64::try_from(service.memory_bytes).unwrap_or(i64::MAX);
    let endpoint =
        EndpointSettings { aliases: Some(vec![service.name.clone()]), ..EndpointSettings::default() };
    let variables = service.variables.iter().map(|v| format!("{}={}", v.name, v.value.expose()));
    ContainerCreateBody {
        image: Some(service.image.clone()),
        hostname: Some(service.name.clone()),
        cmd: service.command.clone(),
        env: Some(variables.collect()),
        labels: Some(service.labels.clone()),
        // We ask ourselves, and sooner.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(service.network.clone(), endpoint)])),
        }),
        host_config: Some(HostConfig {
            memory: Some(memory),
            memory_swap: Some(memory),
            pids_limit: Some(i64::from(service.pids)),
            network_mode: Some(service.network.clone()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(service.capabilities.clone()).filter(|caps| !caps.is_empty()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
