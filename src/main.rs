//! Slipway: Git server, image builds and Kubernetes deploys in one program.
//!
//! This crate is the wiring: command line, configuration, composition, supervisor, signals. No rule about who may do
//! what, what a push owes or how a build goes lives here: those are values of `slipway-core`. Start at [`main`], then
//! `app.rs`.

use std::io::Read;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use slipway_core::{Problem, ProblemKind, Secret};
use slipway_git_server::PipeService;

mod admission;
mod allocator;
mod app;
mod backup;
mod check;
mod cli;
mod clock;
mod config;
mod data;
mod demo;
mod descriptors;
mod dispatch;
mod doctor;
mod doors;
mod engines;
mod http;
mod import;
mod machine;
mod manifests;
mod operations;
mod plumbing;
mod preflight;
mod readiness;
mod reconcile;
mod recovery;
mod rooms;
mod ssh_commands;
mod stages;
mod supervisor;
mod telemetry;
mod terminal;
mod upkeep;
mod webhooks;

use crate::cli::{Cli, Verb};

/// The exit status of a program whose reader has left: 128 and SIGPIPE.
const CLOSED_PIPE_STATUS: u8 = 141;
/// Of a command line that is not one.
const USAGE_STATUS: u8 = 2;

fn main() -> ExitCode {
    allocator::settle();
    // Before anything can open a connection: one TLS provider for all parts.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        terminal::say("slipway: the TLS provider was installed twice. Report this.");
        return ExitCode::FAILURE;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => match cli::refusal(&error) {
            Some(problem) => {
                terminal::say(format_args!("slipway: {problem}"));
                return ExitCode::from(USAGE_STATUS);
            }
            // Help, too.
            None => error.exit(),
        },
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::say(format_args!(
                "slipway: the runtime cannot be started: {error}. Check the process limits (ulimit -u)."
            ));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(carry_out(cli));
    // What still blocks a thread (a hung disk) must not hold the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // As if the signal of a closed pipe had ended it, which is what shells and their users expect.
        Err(_) if terminal::reader_left() => ExitCode::from(CLOSED_PIPE_STATUS),
        Err(problem) => {
            terminal::say(format_args!("slipway: {problem}"));
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(cli: Cli) -> Result<bool, Problem> {
    match cli.verb {
        Verb::Serve(serve) => {
            telemetry::init();
            let config = config::Config::load(&cli.global.data(), &serve)?;
            app::serve(&cli.global.data(), config).await.map(|()| true)
        }
        Verb::Demo(ref demo) => demo::run(demo, &cli.global).await,
        Verb::Restore(ref restore) => recovery::restore(restore, &cli.global.data()).await,
        Verb::Backup(ref to) if to.records && to.to.as_deref() != Some("-") => {
            recovery::write_records(to, &cli.global).await
        }
        Verb::Backup(ref to) if to.verb.is_some() || to.to.as_deref() != Some("-") => {
            backup::command::run(to.clone(), &cli.global).await
        }
        Verb::UploadPack(flags) => plumbing::serve(PipeService::UploadPack, flags).await,
        Verb::ReceivePack(flags) => plumbing::serve(PipeService::ReceivePack, flags).await,
        Verb::Check { schema: true, .. } => {
            let schema = slipway_core::spec::schema();
            cli::Out::write(&mut StandardOutput, schema.as_bytes()).await.map(|()| true)
        }
        Verb::Check { folder, .. } => {
            cli::Out::write(&mut StandardOutput, check::run(&folder)?.as_bytes()).await.map(|()| true)
        }
        Verb::Import(verb) => {
            let page = import::run(&verb, cli.global.json)?;
            cli::Out::write(&mut StandardOutput, page.as_bytes()).await.map(|()| true)
        }
        Verb::Completions { shell } => {
            // Written in one go: the generator itself would panic on a reader that leaves (`| head`).
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "slipway", &mut script);
            cli::Out::write(&mut StandardOutput, &script).await.map(|()| true)
        }
        _ => over_api(cli).await,
    }
}

/// The server that the flags and the environment name.
fn client(global: &cli::Global) -> cli::Client {
    let token = std::env::var("SLIPWAY_TOKEN").ok().map(Secret::new);
    cli::Client::new(&global.data(), global.server.as_deref(), token)
}

/// Every other verb is a call of a running server's API.
async fn over_api(cli: Cli) -> Result<bool, Problem> {
    let client = client(&cli.global);
    let doctor = matches!(cli.verb, Verb::Doctor { .. }) && cli.global.server.is_none();
    let data = cli.global.data();
    let session = cli::Session { client, files: &mut LocalFiles, out: &mut StandardOutput };
    match cli::run(cli, session).await {
        // A doctor is called when the server does not answer, too.
        Err(problem) if doctor && problem.kind == ProblemKind::Unavailable => {
            let report = doctor::without_server(&data, &problem).await;
            terminal::write(report.as_bytes()).map(|()| false)
        }
        other => other,
    }
}

/// The largest file that a flag may name, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files of the machine that the command runs on.
struct LocalFiles;

impl cli::Files for LocalFiles {
    fn read(&mut self, name: &str) -> Result<String, Problem> {
        let mut text = String::new();
        let read = if name == "-" {
            std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
        } else {
            std::fs::File::open(name).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        };
        let refuse =
            |what: String| Problem::new(ProblemKind::Invalid, what, "Check the path and what it holds.");
        match read {
            Ok(_) if text.len() as u64 > FILE_BYTES_MAX => {
                Err(refuse(format!("{name} is larger than 1 MiB.")))
            }
            Ok(_) => Ok(text),
            Err(error) => Err(refuse(format!("{name} cannot be read: {error}."))),
        }
    }
}

/// Standard output.
struct StandardOutput;

#[async_trait::async_trait]
impl cli::Out for StandardOutput {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        terminal::write(bytes)
    }
}
