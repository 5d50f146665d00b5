//! One test container: made from an image id, watched, and always removed.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as DockerError;
use bollard::models::{ContainerCreateBody, ContainerCreateResponse, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, KillContainerOptionsBuilder,
    RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt;
use slipway_core::Secret;
use tokio_util::sync::CancellationToken;

use super::harvest::Keeps;
use super::heard::Heard;
use super::{Engine, Labels, is_missing};
use crate::error::{HookError, one_line};
use crate::limits::{ENGINE_CALL, LOG_LINE_BYTES_MAX, TEST_OUTPUT_REST};
use crate::log::BuildLog;
use crate::log::mask::Lines;

/// The exit code of a process that SIGKILL (9) ended: 128 and the signal.
const EXIT_OF_KILLED: i64 = 128 + 9;

/// A command to run in an image, and what it may use.
#[derive(Clone, Debug)]
pub(crate) struct TestRun {
    /// The image's id: never a tag, which can move.
    pub(crate) image: String,
    pub(crate) argv: Vec<String>,
    /// Its environment, beside the image's own.
    pub(crate) variables: Vec<Variable>,
    /// Files that it finds: absolute paths, and what is in them.
    pub(crate) files: Vec<(String, Secret)>,
    /// Linux capabilities that it has.
    pub(crate) capabilities: Vec<String>,
    /// `none`, `bridge`, or the name of a network.
    pub(crate) network: String,
    /// A further network that it is in.
    pub(crate) also: Option<String>,
    pub(crate) memory_bytes: u64,
    pub(crate) cpus: f64,
    pub(crate) pids: u32,
    /// What it may write to its own file system, in bytes.
    pub(crate) disk_bytes: Option<u64>,
    pub(crate) timeout: Duration,
    /// How long it may say nothing, where that is bounded.
    pub(crate) silence: Option<Duration>,
    /// Whether the engine's own first process reaps what the test leaves behind.
    pub(crate) init: bool,
    /// The container's name, by which it is found again after a crash.
    pub(crate) name: String,
    /// For people.
    pub(crate) labels: Labels,
    /// What is kept of it.
    pub(crate) keeps: Keeps,
}

/// A variable of an environment. Its value may be a secret, so it is treated as one.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: Secret,
}

impl TestRun {
    /// The command as people write it.
    pub(crate) fn command(&self) -> String {
        let line = match self.argv.as_slice() {
            [sh, flag, line] if sh == "/bin/sh" && flag == "-ec" => line.clone(),
            argv => argv.join(" "),
        };
        one_line(&line)
    }
}

impl Engine {
    /// Runs the command; `Ok` is exit code 0 and nothing else.
    pub(crate) async fn run_test(
        &self,
        run: &TestRun,
        log: &BuildLog,
        stop: &CancellationToken,
    ) -> Result<(), HookError> {
        match self.run_once(run, log, stop).await {
            // The program is a package of its own on some systems, and nothing that a repository could mend.
            Err(HookError::NoInit { message }) if run.init => {
                log.line(&format!(
                    "note: the engine has no init process ({message}); the test is the first one"
                ))
                .await;
                self.run_once(&TestRun { init: false, ..run.clone() }, log, stop).await
            }
            done => done,
        }
    }

    async fn run_once(
        &self,
        run: &TestRun,
        log: &BuildLog,
        stop: &CancellationToken,
    ) -> Result<(), HookError> {
        let created = match self.create_test(run).await? {
            // Only some of the engine's storage drivers can bound a container's disk.
            Err(e) if run.disk_bytes.is_some() && is_no_storage_bound(&e) => {
                log.line("note: the engine's storage cannot bound what a test writes; it is not bounded")
                    .await;
                self.create_test(&TestRun { disk_bytes: None, ..run.clone() }).await?
            }
            created => created,
        };
        let id = match created {
            Ok(created) => created.id,
            Err(e) if is_missing(&e) => return Err(HookError::ImageGone { image: run.image.clone() }),
            Err(e) => return Err(self.start_failure(e, run)),
        };
        let mut guard = Guard { docker: Some(self.docker()?.clone()), id: id.clone() };
        let outcome = match self.equip(&id, run).await {
            Ok(()) => self.watch(&id, run, log, stop).await,
            Err(e) => Err(e),
        };
        if !matches!(outcome, Err(HookError::Stopped)) {
            self.harvest(&id, &run.keeps, log, stop).await;
        }
        if let Err(e) = self.remove_container(&id).await {
            // The test has its verdict; what is left is found again by its name.
            tracing::warn!(container = %id, error = %e, "a test container is left over");
        }
        guard.docker = None;
        outcome
    }

    async fn create_test(
        &self,
        run: &TestRun,
    ) -> Result<Result<ContainerCreateResponse, DockerError>, HookError> {
        let options = CreateContainerOptionsBuilder::default().name(&run.name).build();
        self.call("the test", self.docker()?.create_container(Some(options), self.body(run))).await
    }

    fn body(&self, run: &TestRun) -> ContainerCreateBody {
        let memory = i64::try_from(run.memory_bytes).unwrap_or(i64::MAX);
        // The entry point is replaced, so that what the file says is what runs.
        let (program, arguments) =
            run.argv.split_first().map(|(p, a)| (vec![p.clone()], a.to_vec())).unwrap_or_default();
        ContainerCreateBody {
            image: Some(run.image.clone()),
            entrypoint: Some(program),
            cmd: Some(arguments),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            env: Some(run.variables.iter().map(|v| format!("{}={}", v.name, v.value.expose())).collect()),
            labels: Some(run.labels.clone()),
            host_config: Some(HostConfig {
                memory: Some(memory),
                memory_swap: Some(memory),
                nano_cpus: Some((run.cpus * 1e9) as i64),
                pids_limit: Some(i64::from(run.pids)),
                network_mode: Some(run.network.clone()),
                storage_opt: run.disk_bytes.map(|b| HashMap::from([("size".to_owned(), b.to_string())])),
                cap_drop: Some(vec!["ALL".to_owned()]),
                cap_add: Some(run.capabilities.clone()).filter(|caps| !caps.is_empty()),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                init: Some(run.init),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// Gives a container that has not started its files and its further network.
    async fn equip(&self, id: &str, run: &TestRun) -> Result<(), HookError> {
        if let Some(network) = &run.also {
            self.connect_network(id, network).await?;
        }
        self.put_files(id, &run.files).await
    }

    /// Puts the files into a container that has not started.
    pub(crate) async fn put_files(&self, id: &str, files: &[(String, Secret)]) -> Result<(), HookError> {
        if files.is_empty() {
            return Ok(());
        }
        let tar =
            packed(files).map_err(|e| HookError::Internal { what: "packing secrets", why: e.to_string() })?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let docker = self.docker()?;
        let sent = docker.upload_to_container(id, Some(options), bollard::body_full(tar.into()));
        self.must("giving the test its secrets", sent).await
    }

    async fn watch(
        &self,
        id: &str,
        run: &TestRun,
        log: &BuildLog,
        stop: &CancellationToken,
    ) -> Result<(), HookError> {
        let docker = self.docker()?;
        // Attached before it starts, so that its first words are heard.
        let options = AttachContainerOptionsBuilder::default().stdout(true).stderr(true).stream(true).build();
        let attached = self.must("the test", docker.attach_container(id, Some(options))).await?;
        let heard = Heard::default();
        let output = tokio::spawn(copy_output(attached, log.clone(), heard.clone()));
        let output_end = output.abort_handle();
        let started = self.call("the test", docker.start_container(id, None)).await?;
        if let Err(e) = started {
            output_end.abort();
            return Err(self.start_failure(e, run));
        }
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Err(HookError::Stopped),
            code = self.exit_code(id) => code,
            limit = heard.silent(run.silence) => Err(HookError::Silent { what: "the test".into(), limit }),
            () = tokio::time::sleep(run.timeout) => {
                Err(HookError::TimedOut { what: "the test".into(), limit: run.timeout, setting: Some("test.timeout") })
            }
        };
        if ended.is_err() {
            self.kill(id).await;
        }
        // What a killed process still had in its pipes belongs in the log; a pipe that someone else holds open does not.
        let words = tokio::time::timeout(TEST_OUTPUT_REST, output).await;
        output_end.abort();
        let not_started = words.ok().and_then(Result::ok).flatten();
        match (ended?, not_started) {
            (0, _) => {
                if self.ran_out_of_memory(id).await {
                    let bytes = run.memory_bytes;
                    log.line(&format!("note: the kernel ended a process of the test that wanted more than its {bytes} bytes of memory; the test went on without it")).await;
                }
                Ok(())
            }
            (126 | 127, Some(message)) => Err(HookError::TestNotStarted { command: run.command(), message }),
            (_, Some(message)) if message.starts_with(CATATONIT) => {
                Err(HookError::TestNotStarted { command: run.command(), message })
            }
            (code, _) => Err(self.failed_with(id, code, run).await),
        }
    }

    async fn exit_code(&self, id: &str) -> Result<i64, HookError> {
        let mut waiting = Box::pin(self.docker()?.wait_container(id, None));
        match waiting.next().await {
            Some(Ok(ended)) => Ok(ended.status_code),
            // bollard makes an error of every exit code but 0: it is the test's result.
            Some(Err(DockerError::DockerContainerWaitError { code, error })) if error.is_empty() => Ok(code),
            Some(Err(e)) => Err(self.failure("the test", e)),
            None => Err(self.lost("the test", "its answer ended before the exit code")),
        }
    }

    /// Whether the kernel has ended one of its processes for its memory, as far as the engine knows.
    async fn ran_out_of_memory(&self, id: &str) -> bool {
        let inspected = match self.docker() {
            Ok(docker) => self.must("the test", docker.inspect_container(id, None)).await.ok(),
            Err(_) => None,
        };
        inspected.and_then(|c| c.state).and_then(|s| s.oom_killed).unwrap_or(false)
    }

    /// Why it ended so. The engine mostly knows whether the kernel killed it for its memory; where a process and its
    /// cgroup are gone before the engine has read the kernel's note, all that is left is that it was killed.
    async fn failed_with(&self, id: &str, code: i64, run: &TestRun) -> HookError {
        if self.ran_out_of_memory(id).await {
            return HookError::TestOutOfMemory { command: run.command(), memory_bytes: run.memory_bytes };
        }
        if code == EXIT_OF_KILLED {
            return HookError::TestKilled { command: run.command(), memory_bytes: run.memory_bytes };
        }
        HookError::TestFailed { command: run.command(), code }
    }

    fn start_failure(&self, e: DockerError, run: &TestRun) -> HookError {
        match &e {
            DockerError::DockerResponseServerError { message, .. } if run.init && is_no_init(message) => {
                HookError::NoInit { message: one_line(message) }
            }
            DockerError::DockerResponseServerError { status_code: 400 | 404, message, .. }
            | DockerError::DockerResponseServerError { status_code: 500, message, .. }
                if is_bad_command(message) =>
            {
                HookError::TestNotStarted { command: run.command(), message: one_line(message) }
            }
            _ => self.failure("the test", e),
        }
    }

    async fn kill(&self, id: &str) {
        let Ok(docker) = self.docker() else { return };
        let options = KillContainerOptionsBuilder::default().signal("KILL").build();
        // It may just have ended; removing it by force comes next in any case.
        let _ = self.call("ending the test", docker.kill_container(id, Some(options))).await;
    }

    /// Removes a container of ours by force, with the anonymous volumes that were made with it (`VOLUME` in its image).
    /// Engines keep volumes that have a name or that another container uses. That it is gone already is fine.
    pub(crate) async fn remove_container(&self, id: &str) -> Result<(), HookError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.call("removing a container", self.docker()?.remove_container(id, Some(options))).await? {
            Ok(()) => Ok(()),
            Err(e) if is_missing(&e) || is_under_way(&e) => Ok(()),
            Err(e) => Err(self.failure("removing a container", e)),
        }
    }
}

/// The files as a tar, readable by whomever the test runs as.
fn packed(files: &[(String, Secret)]) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, secret) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o444);
        header.set_size(secret.expose().len() as u64);
        tar.append_data(&mut header, path.trim_start_matches('/'), secret.expose().as_bytes())?;
    }
    tar.into_inner()
}

/// True where the engine's storage driver has no bound for a container.
fn is_no_storage_bound(e: &DockerError) -> bool {
    matches!(e, DockerError::DockerResponseServerError { message, .. }
        if message.contains("storage-opt") || message.contains("storage option") || message.contains("StorageOpt"))
}

/// True where the engine is removing it at this moment.
fn is_under_way(e: &DockerError) -> bool {
    matches!(e, DockerError::DockerResponseServerError { status_code: 409, message } if message.contains("already in progress"))
}

/// What Podman's init process says where it cannot start the program.
const CATATONIT: &str = "failed to exec pid1";

/// True where it is the engine's own init process that cannot run.
fn is_no_init(message: &str) -> bool {
    ["docker-init", "catatonit"].iter().any(|name| message.contains(name))
}

/// True where it is the command that cannot run, not the engine.
fn is_bad_command(message: &str) -> bool {
    [
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "is a directory",
        "exec format error",
        "no command specified",
        "not a directory",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Removes the container where the test's future is dropped half-way.
struct Guard {
    docker: Option<Docker>,
    id: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (Some(docker), Ok(runtime)) = (self.docker.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let id = std::mem::take(&mut self.id);
        runtime.spawn(async move {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            let _ = tokio::time::timeout(ENGINE_CALL, docker.remove_container(&id, Some(options))).await;
        });
    }
}

/// Copies the output to the log; tells the init process' words if it could not start the program.
async fn copy_output(attached: AttachContainerResults, log: BuildLog, heard: Heard) -> Option<String> {
    let mut not_started = None;
    let mut output = attached.output;
    let masker = log.masker();
    let (mut out, mut err) = (Lines::default(), Lines::default());
    while let Some(Ok(piece)) = output.next().await {
        heard.now();
        let lines = match &piece {
            LogOutput::StdErr { .. } => &mut err,
            _ => &mut out,
        };
        let mut whole = Vec::new();
        lines.push(piece.as_ref(), &masker, LOG_LINE_BYTES_MAX, |line| whole.push(line.to_vec()));
        for line in whole {
            if line.starts_with(b"ERROR (catatonit:") {
                let words = String::from_utf8_lossy(&line);
                not_started = words.find(CATATONIT).map(|at| one_line(&words[at..]));
            }
            if let Some(words) = line.strip_prefix(b"[FATAL tini (") {
                let words = String::from_utf8_lossy(words);
                not_started = Some(one_line(words.split_once("] ").map_or(&*words, |(_, rest)| rest)));
            }
            log.output(&line).await;
        }
    }
    let mut rest = Vec::new();
    out.finish(|line| rest.push(line.to_vec()));
    err.finish(|line| rest.push(line.to_vec()));
    for line in rest {
        log.output(&line).await;
    }
    not_started
}
