//! One channel: waits for its command, runs it, and ends in the order that clients want: data, end of data, exit
//! status, close.
//!
//! The channel is read from its first moment to its last, by a task that does nothing else, because a full channel
//! stops the whole connection. Git's conversations take what is read at their own pace; administrative commands get
//! at most [`STDIN_CHUNKS`] unread pieces.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use slipway_core::{Actor, Problem};
use slipway_forge::{Caller, Surface, sign_in};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::exec::{Exec, parse};
use crate::limits::{EXEC_GRACE, FLUSH_TIME, STDIN_CHUNKS};
use crate::ports::CommandIo;
use crate::service::{Conversation, Shared, blocking};
use crate::transport::{InputSender, Stop, input, output, pace, too_slow};
use crate::wire::pktline::put_error;
use crate::wire::{Service, Version};

/// What a client asked the channel to do.
enum Asked {
    Shell { terminal: bool },
    Exec { line: Vec<u8>, version: Version },
    Nothing,
}

/// Serves a channel to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    (fingerprint, peer): (Arc<str>, IpAddr),
    channel: Channel<Msg>,
) {
    let (mut read, write) = channel.split();
    let asked = tokio::time::timeout(EXEC_GRACE, asked(&mut read)).await.unwrap_or(Asked::Nothing);
    // Asked again for each command: a key that was removed opens nothing more.
    let forge = Arc::clone(&shared.forge);
    let at = sign_in::At { surface: Surface::Ssh, from: Some(peer) };
    let caller = blocking(move || sign_in::by_key(&forge, &fingerprint, at)).await;
    let status = match (asked, caller) {
        (Asked::Nothing, _) => {
            let _ = write.close().await;
            return;
        }
        (_, Err(problem)) => refuse(&write, &problem).await,
        (Asked::Shell { terminal }, Ok(caller)) => {
            greet(&write, &caller.actor, &shared.engine.base_url, terminal).await
        }
        (Asked::Exec { line, version }, Ok(caller)) => match parse(&line) {
            Ok(Exec::Git(service, name)) => {
                let reader = Reading::new(read, &shared);
                git(&shared, caller, name, Talk::Git(service, version), reader, write).await;
                return;
            }
            Ok(Exec::Archive(name)) => {
                git(&shared, caller, name, Talk::Archive, Reading::new(read, &shared), write).await;
                return;
            }
            Ok(Exec::Command(argv)) => command(&shared, caller, argv, read, &write).await,
            Err(problem) => refuse(&write, &problem).await,
        },
    };
    finish(&write, status).await;
}

/// Reads requests until a shell or a command is asked for.
async fn asked(read: &mut ChannelReadHalf) -> Asked {
    let (mut version, mut terminal) = (Version::default(), false);
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::SetEnv { variable_name, variable_value, .. } if variable_name == "GIT_PROTOCOL" => {
                version = Version::read(&variable_value);
            }
            ChannelMsg::RequestPty { .. } => terminal = true,
            ChannelMsg::RequestShell { .. } => return Asked::Shell { terminal },
            ChannelMsg::Exec { command, .. } => return Asked::Exec { line: command, version },
            ChannelMsg::Close => return Asked::Nothing,
            _ => {}
        }
    }
    Asked::Nothing
}

async fn refuse(write: &ChannelWriteHalf<Msg>, problem: &Problem) -> u32 {
    let _ = write.extended_data_bytes(1, format!("{problem}\n")).await;
    1
}

async fn greet(write: &ChannelWriteHalf<Msg>, actor: &Actor, base_url: &str, terminal: bool) -> u32 {
    let end = if terminal { "\r\n" } else { "\n" };
    let text = format!(
        "Hello {}. You are signed in; there is no shell here.{end}Clone with git clone ssh://…/NAME, run a command \
         such as 'help' behind the host name, or open {base_url}{end}",
        actor.label()
    );
    let _ = write.data_bytes(text).await;
    0
}

async fn finish(write: &ChannelWriteHalf<Msg>, status: u32) {
    let end = async {
        let _ = write.eof().await;
        let _ = write.exit_status(status).await;
        let _ = write.close().await;
    };
    let _ = tokio::time::timeout(FLUSH_TIME, end).await;
}

/// What is talked about.
#[derive(Clone, Copy)]
enum Talk {
    Git(Service, Version),
    Archive,
}

impl Talk {
    fn name(self) -> &'static str {
        match self {
            Self::Git(service, _) => service.name(),
            Self::Archive => "git-upload-archive",
        }
    }

    /// The service whose rights it takes.
    fn rights(self) -> Service {
        match self {
            Self::Git(service, _) => service,
            Self::Archive => Service::UploadPack,
        }
    }
}

/// One of git's services.
async fn git(
    shared: &Arc<Shared>,
    caller: Caller,
    name: String,
    talk: Talk,
    reader: Reading,
    write: ChannelWriteHalf<Msg>,
) {
    let started = std::time::Instant::now();
    let who = caller.actor.label();
    let asked = super::exec::repository_name(&name).to_owned();
    let opened = match shared.open(caller, asked.clone(), talk.rights()).await {
        Ok(opened) => opened,
        Err(problem) => {
            let mut out = Vec::new();
            put_error(&mut out, &problem.to_string());
            let _ = write.data_bytes(out).await;
            finish(&write, 1).await;
            return info!(who, name, service = talk.name(), %problem, "refused");
        }
    };
    if opened.name.as_str() != asked {
        let new = &opened.name;
        let hint =
            format!("{asked} is called {new} now. Use that name: git remote set-url origin ssh://…/{new}\n");
        let _ = write.extended_data_bytes(1, hint).await;
    }
    let (fed, input) = input();
    let (output, mut sent) = output(&shared.engine.limits);
    let reading = tokio::spawn(reader.feed(fed));
    let writing = tokio::spawn(async move {
        let mut bytes = 0u64;
        while let Some(chunk) = sent.recv().await {
            bytes += chunk.len() as u64;
            if write.data_bytes(chunk).await.is_err() {
                break;
            }
        }
        (write, bytes)
    });
    let version = if let Talk::Git(_, version) = talk { version } else { Version::default() };
    let conversation = Conversation::new(Arc::clone(&shared.engine), opened, version, false, input, output);
    let ended = match talk {
        Talk::Git(service, _) => conversation.run(service).await,
        Talk::Archive => conversation.archive().await,
    };
    let flush = writing.abort_handle();
    let Ok(Ok((write, bytes))) = tokio::time::timeout(FLUSH_TIME, writing).await else {
        flush.abort();
        reading.abort();
        return warn!(who, name, service = talk.name(), "the client takes nothing more");
    };
    let (status, problem) = match &ended {
        Ok(()) => (0, None),
        Err(Stop::Gone) => (1, Some("the client left".to_owned())),
        Err(Stop::Refused(problem) | Stop::Told(problem)) => (1, Some(problem.to_string())),
    };
    finish(&write, status).await;
    let seconds = started.elapsed().as_secs_f32();
    info!(who, name, service = talk.name(), bytes, seconds, problem, "served over SSH");
    // Read on until the client closes as well: what it still sends must not stop its other channels.
    let stop = reading.abort_handle();
    if tokio::time::timeout(Duration::from_secs(5), reading).await.is_err() {
        stop.abort();
    }
}

/// Reads a channel to its end.
struct Reading {
    read: ChannelReadHalf,
    /// How long the client may send nothing.
    silence: Duration,
}

impl Reading {
    fn new(read: ChannelReadHalf, shared: &Shared) -> Self {
        Self { read, silence: shared.engine.limits.git_ssh_idle_timeout }
    }

    /// Feeds a conversation. Once that takes no more, what comes is thrown away.
    async fn feed(mut self, fed: InputSender) {
        let mut fed = Some(fed);
        let silence = self.silence;
        let mut pace = pace(silence);
        loop {
            pace.wait();
            let message = match tokio::time::timeout(silence, self.read.wait()).await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(_) => {
                    if let Some(fed) = fed.take() {
                        fed.send(Err(too_slow(silence))).await;
                    }
                    continue;
                }
            };
            match message {
                ChannelMsg::Data { data } => {
                    let steady = pace.got(data.len());
                    let Some(sender) = &fed else { continue };
                    let item = if steady { Ok(data) } else { Err(too_slow(silence)) };
                    if !sender.send(item).await || !steady {
                        fed = None;
                    }
                }
                ChannelMsg::Eof => fed = None,
                ChannelMsg::Close => return,
                _ => {}
            }
        }
    }
}

/// A command that is not git's.
async fn command(
    shared: &Arc<Shared>,
    caller: Caller,
    argv: Vec<String>,
    read: ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
) -> u32 {
    let started = std::time::Instant::now();
    let (who, verb) = (caller.actor.label(), argv.first().cloned().unwrap_or_default());
    let (fed, unread) = mpsc::channel::<io::Result<Bytes>>(STDIN_CHUNKS);
    let pieces = stream::unfold(unread, |mut rx| async move { rx.recv().await.map(|piece| (piece, rx)) });
    let gone = CancellationToken::new();
    let io = CommandIo {
        stdin: Box::pin(StreamReader::new(Box::pin(pieces))),
        stdout: Box::pin(write.make_writer()),
        stderr: Box::pin(write.make_writer_ext(Some(1))),
        gone: gone.clone(),
    };
    let mut running = shared.commands.run(caller, argv, io);
    let mut feeding = std::pin::pin!(feed_command(read, fed));
    let status = tokio::select! {
        status = &mut running => status,
        // The client has closed the channel: what only tells is to end, but what was begun is not cut in the middle.
        () = &mut feeding => {
            gone.cancel();
            running.await
        }
    };
    info!(who, verb, status, seconds = started.elapsed().as_secs_f32(), "command over SSH");
    status
}

/// Feeds a command's standard input; what it does not take in time is refused, never waited for.
async fn feed_command(mut read: ChannelReadHalf, fed: mpsc::Sender<io::Result<Bytes>>) {
    let mut fed = Some(fed);
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                let Some(sender) = &fed else { continue };
                if sender.try_send(Ok(data)).is_err() {
                    fed = None;
                }
            }
            ChannelMsg::Eof => fed = None,
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}
