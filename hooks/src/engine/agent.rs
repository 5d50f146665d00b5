//! SSH agents for the steps of a build: they sign with keys of the repository, and give none of them out.
//!
//! The session's service is BuildKit's `sshforward` package: the engine makes a socket in the step's container, and what is
//! said there comes here as a stream. Who answers is russh's agent, which is let do two things: name the keys, and sign.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bollard::moby::sshforward::v1::ssh_server::{Ssh, SshServer};
use bollard::moby::sshforward::v1::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use futures_util::{Stream, StreamExt};
use russh::keys::PrivateKey;
use russh::keys::agent::client::AgentClient;
use russh::keys::agent::server::{Agent as Doorkeeper, MessageType, serve};
use slipway_core::Secret;
use slipway_core::spec::SshKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::error::{HookError, one_line};
use crate::limits::{AGENT_BYTES, AGENT_TALKS_MAX};

/// Names the keys that are kept for one id, and their secrets.
pub(crate) type Keys = BTreeMap<String, Vec<(String, Secret)>>;

/// Where the engine says which agent a step wants.
const ID: &str = "buildkit.ssh.id";

/// The agents of one build, by the ids by which steps ask for them.
pub(crate) struct Agents {
    by_id: HashMap<String, Agent>,
    /// How many steps may talk at the same time.
    talks: Arc<Semaphore>,
}

impl Agents {
    /// The methods, as the session's headers name them.
    pub(crate) const METHODS: [&str; 2] =
        ["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"];

    /// Reads the keys.
    ///
    /// # Errors
    /// [`HookError::NotAllowed`] for a secret that is no private key, or has a passphrase.
    pub(crate) async fn with(keys: &Keys) -> Result<Self, HookError> {
        let mut by_id = HashMap::new();
        for (id, keys) in keys {
            let read = keys.iter().map(|(name, secret)| read(name, secret)).collect::<Result<Vec<_>, _>>()?;
            by_id.insert(id.clone(), Agent::with(&read).await?);
        }
        Ok(Self { by_id, talks: Arc::new(Semaphore::new(AGENT_TALKS_MAX)) })
    }

    pub(crate) fn service(self) -> SshServer<Self> {
        SshServer::new(self)
    }

    fn find(&self, id: &str) -> Result<&Agent, Status> {
        let id = if id.is_empty() { SshKey::DEFAULT_ID } else { id };
        // In the words of Docker's own clients: engines hand them on.
        self.by_id.get(id).ok_or_else(|| Status::unknown(format!("unset ssh forward key {id}")))
    }
}

fn read(name: &str, secret: &Secret) -> Result<PrivateKey, HookError> {
    russh::keys::decode_secret_key(secret.expose(), None).map_err(|e| HookError::NotAllowed {
        what: format!(
            "The secret {name} is no private key without a passphrase ({})",
            one_line(&e.to_string())
        ),
        cure: format!(
            "Set it to one that OpenSSH made: slipway secret set REPO {name} --for ssh --file KEY."
        ),
    })
}

/// An agent with its keys.
struct Agent {
    doors: mpsc::Sender<io::Result<DuplexStream>>,
    serving: AbortHandle,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Agent {
    async fn with(keys: &[PrivateKey]) -> Result<Self, HookError> {
        let (doors, opened) = mpsc::channel(1);
        let taking = Arc::new(AtomicBool::new(true));
        let serving = tokio::spawn(serve(ReceiverStream::new(opened), Rules { taking: taking.clone() }));
        let agent = Self { doors, serving: serving.abort_handle() };
        let mut client = AgentClient::connect(agent.open().await.map_err(|e| unable(&e.to_string()))?);
        for key in keys {
            client.add_identity(key, &[]).await.map_err(|e| unable(&e.to_string()))?;
        }
        taking.store(false, Ordering::SeqCst);
        Ok(agent)
    }

    async fn open(&self) -> Result<DuplexStream, Status> {
        let (near, far) = tokio::io::duplex(AGENT_BYTES);
        self.doors.send(Ok(far)).await.map_err(|_| Status::unavailable("the agent has ended"))?;
        Ok(near)
    }
}

fn unable(why: &str) -> HookError {
    HookError::Internal { what: "making an SSH agent", why: one_line(why) }
}

/// What may be asked of an agent.
#[derive(Clone)]
struct Rules {
    /// Whether it takes keys still: ours, before anybody else can ask.
    taking: Arc<AtomicBool>,
}

impl Doorkeeper for Rules {
    async fn confirm_request(&self, asked: MessageType) -> bool {
        match asked {
            MessageType::RequestKeys | MessageType::Sign => true,
            MessageType::AddKeys => self.taking.load(Ordering::SeqCst),
            MessageType::RemoveKeys
            | MessageType::RemoveAllKeys
            | MessageType::Lock
            | MessageType::Unlock => false,
        }
    }
}

#[tonic::async_trait]
impl Ssh for Agents {
    type ForwardAgentStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        self.find(&request.get_ref().id).map(|_| Response::new(CheckAgentResponse {}))
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = request.metadata().get(ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let busy = |_| Status::resource_exhausted("too many steps talk to the agent");
        let talk = self.talks.clone().try_acquire_owned().map_err(busy)?;
        let (mut from, mut to) = tokio::io::split(self.find(&id)?.open().await?);
        let (answers, told) = mpsc::channel(4);
        let mut asked = request.into_inner();
        tokio::spawn(async move {
            let up = async {
                while let Some(Ok(message)) = asked.next().await {
                    if to.write_all(&message.data).await.is_err() {
                        break;
                    }
                }
            };
            let down = async {
                let mut piece = vec![0; AGENT_BYTES];
                while let Ok(read @ 1..) = from.read(&mut piece).await {
                    if answers.send(Ok(BytesMessage { data: piece[..read].to_vec() })).await.is_err() {
                        break;
                    }
                }
            };
            // Either side closing is the end.
            tokio::select! {
                () = up => {}
                () = down => {}
            }
            drop(talk);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PrivateKey {
        let algorithm = russh::keys::Algorithm::Ed25519;
        PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm).expect("a key")
    }

    #[tokio::test]
    async fn an_agent_names_its_keys_and_signs_and_does_nothing_else() {
        let ours = key();
        let agent = Agent::with(std::slice::from_ref(&ours)).await.expect("an agent");
        let mut client = AgentClient::connect(agent.open().await.expect("open"));
        assert_eq!(client.request_identities().await.expect("keys").len(), 1);
        assert!(client.add_identity(&key(), &[]).await.is_err(), "takes no key of others");
        assert!(client.remove_identity(ours.public_key()).await.is_err());
        assert!(client.lock(b"x").await.is_err());
        assert!(client.remove_all_identities().await.is_err());
        let mut client = AgentClient::connect(agent.open().await.expect("open"));
        let keys = client.request_identities().await.expect("keys");
        assert_eq!(keys.len(), 1, "its key is there still");
    }

    #[tokio::test]
    async fn what_is_no_key_is_told_by_its_name() {
        let keys = Keys::from([("default".into(), vec![("DEPLOY".into(), Secret::new("nothing"))])]);
        let told = Agents::with(&keys).await.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(told.contains("The secret DEPLOY is no private key"), "{told}");
    }
}
