//! A git client that can do one thing: push one new branch over SSH and show what the server says. The demo uses it,
//! so that the demo goes the way of every push without needing git on the machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::{self, Handle};
use russh::keys::key::PrivateKeyWithHashAlg;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKeyOrCertificate};
use russh::{ChannelMsg, Disconnect};
use slipway_core::{Oid, Problem, ProblemKind};

use crate::wire::pktline::{Decoder, Packet, put, put_flush};

/// Time to connect and prove the key.
const CONNECT_MAX: Duration = Duration::from_secs(20);
/// Bytes of the pack handed over at once.
const PIECE_BYTES: usize = 32 << 10;

/// A key pair made for this process.
pub struct Identity(Arc<PrivateKey>);

impl Identity {
    /// A fresh ed25519 key.
    ///
    /// # Errors
    /// `Broken` if the system gives no randomness.
    pub fn generate() -> Result<Self, Problem> {
        let mut seed = [0u8; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| failed("the system gives no randomness"))?;
        let pair = Ed25519Keypair::from_seed(&seed);
        Ok(Self(Arc::new(PrivateKey::from(pair))))
    }

    /// `ssh-ed25519 AAAA…`.
    ///
    /// # Errors
    /// `Broken` if the key cannot be written down.
    pub fn public_openssh(&self) -> Result<String, Problem> {
        self.0.public_key().to_openssh().map_err(failed)
    }
}

/// What is pushed: one branch that does not exist yet.
pub struct Push {
    /// The repository's name.
    pub repo: String,
    /// The branch's short name.
    pub branch: String,
    /// Where it shall point.
    pub new: Oid,
    /// A pack with all its objects.
    pub pack: Vec<u8>,
    /// Push options.
    pub options: Vec<String>,
}

struct AnyHost;

impl client::Handler for AnyHost {
    type Error = russh::Error;

    /// The server is this very process on a loopback address.
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Pushes, and calls `tell` with every line that the server says, as it says it.
///
/// # Errors
/// What the server refused, in its words, or why it could not be asked.
pub async fn push(
    server: SocketAddr,
    user: &str,
    identity: &Identity,
    push: Push,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Problem> {
    let session = tokio::time::timeout(CONNECT_MAX, connect(server, user, identity))
        .await
        .map_err(|_| failed(format!("no answer within {} s", CONNECT_MAX.as_secs())))??;
    let mut channel = session.channel_open_session().await.map_err(failed)?;
    channel.exec(true, format!("git-receive-pack '/v1/repos/{}'", push.repo)).await.map_err(failed)?;
    let mut answer = Answer::default();
    while !answer.advertised {
        let Some(message) = channel.wait().await else {
            return Err(failed("the server closed the connection"));
        };
        answer.take(message, tell)?;
    }
    channel.data_bytes(Bytes::from(request(&push))).await.map_err(failed)?;
    for piece in push.pack.chunks(PIECE_BYTES) {
        channel.data_bytes(Bytes::copy_from_slice(piece)).await.map_err(failed)?;
    }
    channel.eof().await.map_err(failed)?;
    while let Some(message) = channel.wait().await {
        answer.take(message, tell)?;
    }
    // The server has said all it will; how the goodbye goes does not matter.
    drop(session.disconnect(Disconnect::ByApplication, "", "").await);
    answer.verdict()
}

async fn connect(server: SocketAddr, user: &str, identity: &Identity) -> Result<Handle<AnyHost>, Problem> {
    let config = Arc::new(client::Config { nodelay: true, ..client::Config::default() });
    let mut session = client::connect(config, server, AnyHost).await.map_err(failed)?;
    let key = PrivateKeyWithHashAlg::new(Arc::clone(&identity.0), None);
    let proof = session.authenticate_publickey(user, key).await.map_err(failed)?;
    if proof.success() {
        return Ok(session);
    }
    Err(Problem::new(
        ProblemKind::Unauthenticated,
        format!("The server does not know the key of {user}."),
        "Add it with slipway key add.",
    ))
}

/// The one command with its capabilities, and the push options.
fn request(push: &Push) -> Vec<u8> {
    let options = if push.options.is_empty() { "" } else { " push-options" };
    let command = format!(
        "{} {} refs/heads/{}\0report-status side-band-64k{options} agent=slipway/{}\n",
        push.new.zero_like(),
        push.new,
        push.branch,
        env!("CARGO_PKG_VERSION")
    );
    let mut out = Vec::new();
    put(&mut out, &[command.as_bytes()]);
    put_flush(&mut out);
    if !push.options.is_empty() {
        for option in &push.options {
            put(&mut out, &[option.as_bytes()]);
        }
        put_flush(&mut out);
    }
    out
}

/// What has come from the server so far.
#[derive(Default)]
struct Answer {
    packets: Decoder,
    advertised: bool,
    report: Decoder,
    remarks: Vec<u8>,
    errors: Vec<u8>,
    refused: Option<String>,
    unpacked: bool,
    status: Option<u32>,
}

impl Answer {
    fn take(&mut self, message: ChannelMsg, tell: &mut (dyn FnMut(&str) + Send)) -> Result<(), Problem> {
        match message {
            ChannelMsg::Data { data } => {
                self.packets.put(&data);
                while let Some(packet) = self.packets.next().map_err(failed)? {
                    self.packet(packet, tell)?;
                }
            }
            ChannelMsg::ExtendedData { data, .. } => self.errors.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => self.status = Some(exit_status),
            ChannelMsg::Failure => return Err(failed("the server refuses to run git-receive-pack")),
            _ => {}
        }
        Ok(())
    }

    fn packet(&mut self, packet: Packet, tell: &mut (dyn FnMut(&str) + Send)) -> Result<(), Problem> {
        let data = match packet {
            Packet::Data(data) => data,
            Packet::Flush if !self.advertised => {
                self.advertised = true;
                return Ok(());
            }
            _ => return Ok(()),
        };
        if !self.advertised {
            return match data.strip_prefix(b"ERR ") {
                Some(words) => Err(failed(String::from_utf8_lossy(words).trim_end())),
                None => Ok(()),
            };
        }
        match data.split_first() {
            Some((1, report)) => {
                self.report.put(report);
                while let Some(packet) = self.report.next().map_err(failed)? {
                    self.line(packet.line().unwrap_or_default());
                }
            }
            Some((2, remark)) => {
                self.remarks.extend_from_slice(remark);
                while let Some(end) = self.remarks.iter().position(|b| matches!(b, b'\n' | b'\r')) {
                    let line: Vec<u8> = self.remarks.drain(..=end).collect();
                    let line = String::from_utf8_lossy(&line);
                    if !line.trim().is_empty() {
                        tell(line.trim_end());
                    }
                }
            }
            Some((3, words)) => return Err(failed(String::from_utf8_lossy(words).trim_end())),
            _ => {}
        }
        Ok(())
    }

    /// One line of the report (gitprotocol-pack, "Report Status").
    fn line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        if line == "unpack ok" {
            self.unpacked = true;
        } else if let Some(refused) = line.strip_prefix("ng ").or_else(|| line.strip_prefix("unpack ")) {
            self.refused.get_or_insert_with(|| refused.to_owned());
        }
    }

    fn verdict(self) -> Result<(), Problem> {
        if let Some(refused) = self.refused {
            return Err(failed(refused));
        }
        if self.unpacked && self.status.unwrap_or(0) == 0 {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&self.errors).trim().to_owned();
        Err(failed(if words.is_empty() { "the server ended without a report".into() } else { words }))
    }
}

fn failed(why: impl std::fmt::Display) -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        format!("The push did not go through: {why}."),
        "See the server's log.",
    )
}
