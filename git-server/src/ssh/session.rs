//! What an SSH client is allowed to say: a key that the store knows, session channels, one command each. Everything
//! else (passwords, forwarding, agents, subsystems) is refused.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::{HashAlg, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use slipway_forge::shares::Party;
use slipway_forge::{Caller, Surface, sign_in};
use tokio::sync::Notify;
use tracing::{Instrument, debug};

use super::channel::serve;
use crate::limits::REFUSED_KEYS_MAX;
use crate::service::{Shared, blocking};

/// What the connection's guardian sees of its session.
#[derive(Debug, Default)]
pub(super) struct Watch {
    user: Mutex<Option<(String, Party)>>,
    signed_in: Notify,
    refused: Mutex<Option<(String, Vec<Arc<str>>)>>,
    channels: AtomicUsize,
    /// The first key exchange is over: the client tries to sign in.
    exchanged: Arc<AtomicBool>,
}

impl Watch {
    /// Set once the first key exchange is over.
    pub(super) fn exchanged(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.exchanged)
    }

    /// Returns once somebody has signed in.
    pub(super) async fn signed_in(&self) {
        self.signed_in.notified().await;
    }

    /// Who has signed in.
    pub(super) fn user(&self) -> Option<String> {
        self.user.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(label, _)| label.clone())
    }

    /// Whom the connection counts against once somebody has signed in.
    pub(super) fn party(&self) -> Option<Party> {
        self.user.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, party)| party.clone())
    }

    /// The login name and the keys that were refused, if there were any.
    pub(super) fn refused(&self) -> Option<(String, Vec<Arc<str>>)> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, login: &str, fingerprint: &Arc<str>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, keys) = refused.get_or_insert_with(|| (login.chars().take(100).collect(), Vec::new()));
        if keys.len() < REFUSED_KEYS_MAX && !keys.contains(fingerprint) {
            keys.push(Arc::clone(fingerprint));
        }
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
    peer: IpAddr,
    fingerprint: Option<Arc<str>>,
    commanded: HashSet<ChannelId>,
}

impl Session {
    /// A client at that address.
    pub(super) fn new(shared: Arc<Shared>, watch: Arc<Watch>, peer: IpAddr) -> Self {
        Self { shared, watch, peer, fingerprint: None, commanded: HashSet::new() }
    }

    /// Whose key it is. The login name does not matter: `git`, an id as on CodeCommit, or anything else.
    async fn owner_of(&self, login: &str, key: &PublicKey) -> Option<(Arc<str>, Caller)> {
        let fingerprint: Arc<str> = key.fingerprint(HashAlg::Sha256).to_string().into();
        let (forge, wanted) = (Arc::clone(&self.shared.forge), Arc::clone(&fingerprint));
        let at = sign_in::At { surface: Surface::Ssh, from: Some(self.peer) };
        match blocking(move || sign_in::by_key(&forge, &wanted, at)).await {
            Ok(caller) => Some((fingerprint, caller)),
            Err(problem) => {
                debug!(%problem, "key refused");
                self.watch.refuse(login, &fingerprint);
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

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        self.watch.exchanged.store(true, Ordering::Relaxed);
        Ok(Auth::reject())
    }

    async fn auth_publickey_offered(
        &mut self,
        login: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        self.watch.exchanged.store(true, Ordering::Relaxed);
        Ok(if self.owner_of(login, offer.public_key).await.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, login: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        self.watch.exchanged.store(true, Ordering::Relaxed);
        let Some((fingerprint, caller)) = self.owner_of(login, key.public_key).await else {
            return Ok(Auth::reject());
        };
        self.fingerprint = Some(fingerprint);
        let known = (caller.actor.label(), Party::of(&caller));
        *self.watch.user.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
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
        if self.watch.channels() >= self.shared.engine.limits.ssh_channels_max
            || self.shared.engine.stop.is_cancelled()
        {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.watch.channels.fetch_add(1, Ordering::Relaxed);
        let in_use = InUse(Arc::clone(&self.watch));
        let (shared, peer) = (Arc::clone(&self.shared), self.peer);
        reply.accept().await;
        let task = async move {
            serve(shared, (fingerprint, peer), channel).await;
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
