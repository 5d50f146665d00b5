//! The command line's verbs over SSH, for people who have no shell on the host: the same parser, the same API, asked
//! in process as the key's owner. Files of the server are out of reach: `-` (standard input) is the only file.

use std::sync::OnceLock;

use clap::Parser;
use futures_util::future::BoxFuture;
use slipway_core::{Problem, ProblemKind};
use slipway_forge::Caller;
use slipway_git_server::{CommandIo, Commands};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::cli::{self, Cli, Client, Files, Out, Session};

/// Largest standard input of a command, in bytes.
const INPUT_BYTES_MAX: u64 = 1 << 20;

/// Runs verbs against the API's router.
#[derive(Default)]
pub(crate) struct SshCommands {
    router: OnceLock<axum::Router>,
}

impl SshCommands {
    /// The router is made after the Git server that needs this.
    pub(crate) fn set_router(&self, router: axum::Router) {
        // Set once, by the composition.
        drop(self.router.set(router));
    }
}

impl Commands for SshCommands {
    fn run(&self, caller: Caller, argv: Vec<String>, io: CommandIo) -> BoxFuture<'static, u32> {
        let router = self.router.get().cloned();
        Box::pin(async move {
            let CommandIo { stdin, mut stdout, mut stderr, gone } = io;
            let cli = match Cli::try_parse_from(std::iter::once("slipway".to_owned()).chain(argv)) {
                Ok(cli) => cli,
                Err(error) => {
                    let text = cli::refusal(&error).map_or_else(
                        || error.render().to_string(),
                        |problem| format!("slipway: {problem}\n"),
                    );
                    let (status, to) = if error.use_stderr() { (2, &mut stderr) } else { (0, &mut stdout) };
                    // The client may be gone already.
                    drop(to.write_all(text.as_bytes()).await);
                    return status;
                }
            };
            let outcome = match router {
                Some(router) => carry_out(cli, router, caller, stdin, (&mut stdout, gone)).await,
                None => {
                    Err(Problem::new(ProblemKind::Busy, "The server is starting.", "Try again in a moment."))
                }
            };
            match outcome {
                Ok(true) => 0,
                Ok(false) => 1,
                Err(problem) => {
                    drop(stderr.write_all(format!("slipway: {problem}\n").as_bytes()).await);
                    1
                }
            }
        })
    }
}

async fn carry_out(
    cli: Cli,
    router: axum::Router,
    caller: Caller,
    stdin: impl tokio::io::AsyncRead + Unpin + Send,
    (stdout, gone): (&mut (impl AsyncWrite + Unpin + Send), CancellationToken),
) -> Result<bool, Problem> {
    let mut input = Vec::new();
    if cli::reads_input(&cli.verb) {
        stdin.take(INPUT_BYTES_MAX + 1).read_to_end(&mut input).await.map_err(|e| {
            Problem::new(ProblemKind::Invalid, format!("The input broke off: {e}."), "Send it again.")
        })?;
    }
    if input.len() as u64 > INPUT_BYTES_MAX {
        return Err(Problem::new(
            ProblemKind::TooLarge,
            "The input is larger than 1 MiB.",
            "Check that it is the file you meant.",
        ));
    }
    let input = String::from_utf8(input).map_err(|_| {
        Problem::new(
            ProblemKind::Invalid,
            "The input is not UTF-8 text.",
            "Send the file as it is, in text form.",
        )
    })?;
    let session = Session {
        client: Client::InProcess { router, caller },
        files: &mut InputOnly(input),
        out: &mut Channel(stdout, gone),
    };
    cli::run(cli, session).await
}

struct InputOnly(String);

impl Files for InputOnly {
    fn read(&mut self, name: &str) -> Result<String, Problem> {
        if name == "-" {
            return Ok(std::mem::take(&mut self.0));
        }
        Err(Problem::new(
            ProblemKind::Denied,
            format!("{name:?} would be a file of the server."),
            "Give - and send the file on standard input: ssh … key add ann --key - < id_ed25519.pub",
        ))
    }
}

struct Channel<'a, W>(&'a mut W, CancellationToken);

#[async_trait::async_trait]
impl<W: AsyncWrite + Unpin + Send> Out for Channel<'_, W> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let write = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        write.await.map_err(|e| {
            Problem::new(
                ProblemKind::Cancelled,
                format!("The client left: {e}."),
                "Nothing needs to be done.",
            )
        })
    }

    async fn left(&mut self) {
        self.1.cancelled().await;
    }
}
