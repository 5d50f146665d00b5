//! What an SSH client is allowed to say: a key that the store knows, session channels, one command each. Everything
//! else (passwords, forwarding, agents, subsystems) is refused.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::{HashAlg, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use slipway_core::Actor;
use tokio::sync::Notify;
use tracing::{Instrument, debug};

use super::channel::serve;
use crate::limits::CHANNELS_MAX;
use crate::service::{Shared, blocking};

/// What the connection's guardian sees of its session.
#[derive(Debug, Default)]
pub(super) struct Watch {
    user: Mutex<Option<String>>,
    signed_in: Notify,
    refused: AtomicBool,
    channels: AtomicUsize,
}

impl Watch {
    /// Returns once somebody has signed in.
    pub(super) async fn signed_in(&self) {
        self.signed_in.notified().await;
    }

    /// Who has signed in.
    pub(super) fn user(&self) -> Option<String> {
        self.user.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True if a key was refused. Whoever only looks whether the port is open has guessed nothing.
    pub(super) fn refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Channels in use.
    pub(super) fn channels(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }
}

/// A channel in use, counted until dropped.
pub(super) struct InUse(Arc<Watch>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.channels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One client.
pub(super) struct Session {
    shared: Arc<Shared>,
    watch: Arc<Watch>,
    fingerprint: Option<Arc<str>>,
    commanded: HashSet<ChannelId>,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, watch: Arc<Watch>) -> Self {
        Self { shared, watch, fingerprint: None, commanded: HashSet::new() }
    }

    /// Whose key it is. The login name does not matter: `git`, an id as on CodeCommit, or anything else.
    async fn owner_of(&self, key: &PublicKey) -> Option<(Arc<str>, Actor)> {
        let fingerprint: Arc<str> = key.fingerprint(HashAlg::Sha256).to_string().into();
        let (authenticator, wanted) = (Arc::clone(&self.shared.authenticator), Arc::clone(&fingerprint));
        match blocking(move || authenticator.by_key(&wanted)).await {
            Ok(actor) => Some((fingerprint, actor)),
            Err(problem) => {
                debug!(%problem, "key refused");
                self.watch.refused.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// A channel takes one command. True for the first.
    fn first_command(&mut self, channel: ChannelId) -> bool {
        self.commanded.insert(channel)
    }
}

impl Handler for Session {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(if self.owner_of(offer.public_key).await.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let Some((fingerprint, actor)) = self.owner_of(key.public_key).await else {
            return Ok(Auth::reject());
        };
        self.fingerprint = Some(fingerprint);
        *self.watch.user.lock().unwrap_or_else(PoisonError::into_inner) = Some(actor.label());
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, _: &mut russh::server::Session) -> Result<(), Self::Error> {
        self.watch.signed_in.notify_one();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let Some(fingerprint) = self.fingerprint.clone() else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        if self.watch.channels() >= CHANNELS_MAX || self.shared.engine.stop.is_cancelled() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.watch.channels.fetch_add(1, Ordering::Relaxed);
        let in_use = InUse(Arc::clone(&self.watch));
        let shared = Arc::clone(&self.shared);
        reply.accept().await;
        let task = async move {
            serve(shared, fingerprint, channel).await;
            drop(in_use);
        };
        self.shared.tasks.spawn(task.in_current_span());
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.commanded.remove(&channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        _value: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if name == "GIT_PROTOCOL" {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if self.first_command(channel) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _line: &[u8],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if self.first_command(channel) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
