//! Accepts SSH connections, within bounds, and watches over each until it ends.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use slipway_forge::origin::TrustedProxies;
use slipway_forge::{Surface, sign_in};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use super::HostKeys;
use super::offer::Offer;
use super::session::{Session, Watch};
use super::stream::Cuttable;
use crate::limits::{ACCEPT_PAUSE, LOGIN_GRACE, SSH_IDLE};
use crate::server::GitServer;
use crate::service::Shared;

impl GitServer {
    /// Serves SSH on `listener` until [`GitServer::drain`] is called or `stop` is cancelled. Running transfers go on
    /// after it returns; `drain` waits for them. `proxies` speak the PROXY protocol to it.
    pub async fn serve_ssh(
        self,
        listener: TcpListener,
        host_keys: HostKeys,
        proxies: TrustedProxies,
        stop: CancellationToken,
    ) {
        let proxies = Arc::new(proxies);
        let offer = Arc::new(Offer::new(&host_keys));
        let places = Arc::new(Semaphore::new(self.shared.engine.limits.connections_max));
        let addresses = Arc::new(Addresses::new(self.shared.engine.limits.connections_per_address_max));
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
                () = self.shared.engine.stop.cancelled() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept an SSH connection; is the limit of open files too low?");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                    continue;
                }
            };
            pause = ACCEPT_PAUSE.0;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                debug!(%peer, "no place for another SSH connection");
                continue;
            };
            let (shared, offer) = (Arc::clone(&self.shared), Arc::clone(&offer));
            let (proxies, addresses) = (Arc::clone(&proxies), Arc::clone(&addresses));
            self.shared.tasks.spawn(async move {
                let _place = place;
                let (mut stream, proxy) = (stream, peer);
                let peer = match proxies.accepted(&mut stream, proxy).await {
                    Ok(peer) => peer,
                    Err(error) => return warn!(%proxy, "a proxy does not say who connects: {error}"),
                };
                let Some(_address) = addresses.enter(peer.ip()) else {
                    return debug!(%peer, "too many SSH connections from this address");
                };
                let span = info_span!("ssh", %peer);
                connection(shared, offer, stream, peer).instrument(span).await;
            });
        }
    }
}

/// One connection, from its first byte to its last.
async fn connection(shared: Arc<Shared>, offer: Arc<Offer>, stream: TcpStream, peer: SocketAddr) {
    let started = Instant::now();
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot turn off Nagle's algorithm");
    }
    let cut = CancellationToken::new();
    let _cut_at_end = cut.clone().drop_guard();
    let watch = Arc::new(Watch::default());
    let session = Session::new(Arc::clone(&shared), Arc::clone(&watch), peer.ip());
    let config = offer.to(&stream).await;
    let stream = Cuttable::new(stream, &cut);
    let grace = tokio::time::sleep(LOGIN_GRACE);
    tokio::pin!(grace);
    let running = tokio::select! {
        running = russh::server::run_stream(config, stream, session) => running,
        () = &mut grace => return debug!("said nothing in time"),
    };
    let mut running = match running {
        Ok(running) => running,
        Err(error) => return debug!(%error, "no SSH client"),
    };
    let handle = running.handle();
    tokio::select! {
        _ = &mut running => {}
        () = watch.signed_in() => {}
        () = &mut grace => {}
        () = shared.engine.stop.cancelled() => {}
    }
    let Some(user) = watch.user() else {
        // Whoever only looks whether the port is open has guessed nothing.
        if let Some((login, fingerprints)) = watch.refused() {
            let at = sign_in::At { surface: Surface::Ssh, from: Some(peer.ip()) };
            sign_in::keys_refused(&shared.forge, &login, &fingerprints, at);
        }
        return debug!("nobody signed in");
    };
    let mut look = tokio::time::interval(Duration::from_secs(1));
    let mut idle_since = Instant::now();
    loop {
        tokio::select! {
            ended = &mut running => {
                let error = ended.err().map(|e| e.to_string());
                return info!(user, seconds = started.elapsed().as_secs_f32(), error, "SSH connection ended");
            }
            _ = look.tick() => {}
        }
        if watch.channels() > 0 {
            idle_since = Instant::now();
        } else if shared.engine.stop.is_cancelled() || idle_since.elapsed() >= SSH_IDLE {
            break;
        }
    }
    let farewell = async {
        let _ = handle.disconnect(russh::Disconnect::ByApplication, "Bye.".into(), "en".into()).await;
        let _ = (&mut running).await;
    };
    // Whoever does not take leave is cut off by the drop guard.
    let _ = tokio::time::timeout(Duration::from_secs(2), farewell).await;
    info!(user, seconds = started.elapsed().as_secs_f32(), "SSH connection closed");
}

/// Counts connections by address.
struct Addresses {
    max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    fn new(max: usize) -> Self {
        Self { max, counts: Mutex::new(HashMap::new()) }
    }

    /// A place for that address; given back when dropped.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Held> {
        let address = network(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Held { addresses: Arc::clone(self), address })
    }
}

/// Whoever has one address of IPv6 commonly has a whole /64: it counts as one.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) >> 64 << 64).to_be_bytes()),
        v4 => v4,
    }
}

struct Held {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let addresses = Arc::new(Addresses::new(2));
        let here: IpAddr = "127.0.0.1".parse().expect("an address");
        let first = addresses.enter(here);
        let second = addresses.enter("::ffff:127.0.0.1".parse().expect("the same, mapped"));
        assert!(first.is_some() && second.is_some() && addresses.enter(here).is_none());
        assert!(addresses.enter("127.0.0.2".parse().expect("another")).is_some());
        drop(first);
        assert!(addresses.enter(here).is_some());
    }
}
