//! Accepts SSH connections, within bounds, and watches over each until it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::server::RunningSession;
use slipway_core::Problem;
use slipway_forge::origin::TrustedProxies;
use slipway_forge::shares::{Place, Shares};
use slipway_forge::{Surface, sign_in};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use super::HostKeys;
use super::admission::{Admitted, admit, turn_away};
use super::greeting::greet;
use super::offer::Offer;
use super::session::{Session, Watch};
use super::stream::Cuttable;
use crate::limits::{self, ACCEPT_PAUSE, FAREWELLS_MAX};
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
        let limits = &self.shared.engine.limits;
        let offer = Arc::new(Offer::new(&host_keys, limits.ssh_keepalive_interval));
        let places = Shares::new("SSH connections", limits::connections(limits));
        let farewells = Arc::new(Semaphore::new(FAREWELLS_MAX));
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
            let (shared, offer, farewells) =
                (Arc::clone(&self.shared), Arc::clone(&offer), Arc::clone(&farewells));
            let (proxies, places) = (Arc::clone(&proxies), Arc::clone(&places));
            self.shared.tasks.spawn(async move {
                let span = info_span!("ssh", %peer);
                match admit(&places, &proxies, (stream, peer), &shared.engine.limits).await {
                    Ok(Admitted { stream, peer, place }) => {
                        connection(shared, offer, stream, peer, place).instrument(span).await;
                    }
                    Err(Some((stream, problem))) => {
                        debug!(%peer, %problem, "turned away");
                        if let Ok(_farewell) = farewells.try_acquire() {
                            turn_away(stream, &problem).await;
                        }
                    }
                    Err(None) => {}
                }
            });
        }
    }
}

/// One connection, from its first byte to its last.
async fn connection(
    shared: Arc<Shared>,
    offer: Arc<Offer>,
    mut stream: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    let started = Instant::now();
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot turn off Nagle's algorithm");
    }
    let cut = CancellationToken::new();
    let _cut_at_end = cut.clone().drop_guard();
    let watch = Arc::new(Watch::default());
    let grace = tokio::time::sleep(shared.engine.limits.ssh_login_timeout);
    tokio::pin!(grace);
    let gone = place.notice();
    let begun = async {
        let greeting = greet(&mut stream).await?;
        let (config, turns) = offer.to(&greeting.client, watch.exchanged()).await;
        let session = Session::new(Arc::clone(&shared), Arc::clone(&watch), peer.ip());
        let stream = Cuttable::new(stream, (greeting.heard, greeting.said), turns, &cut);
        russh::server::run_stream(config, stream, session).await
    };
    let running = tokio::select! {
        () = gone.cancelled() => return debug!("gave way to others"),
        running = begun => running,
        () = &mut grace => return debug!("said nothing in time"),
    };
    let mut running = match running {
        Ok(running) => running,
        Err(error) => return debug!(%error, "no SSH client"),
    };
    let handle = running.handle();
    tokio::select! {
        ended = &mut running => if let Err(error) = ended { offer.strangers.turned_away(&error) },
        () = watch.signed_in() => {}
        () = gone.cancelled() => {}
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
    let (reason, words) = match stay(&mut running, &watch, &place, &shared).await {
        End::Over(error) => {
            return info!(user, seconds = started.elapsed().as_secs_f32(), error, "SSH connection ended");
        }
        End::Refused(problem) => (russh::Disconnect::TooManyConnections, problem.to_string()),
        End::Idle => (russh::Disconnect::ByApplication, "Bye.".to_owned()),
    };
    let farewell = async {
        let _ = handle.disconnect(reason, words, "en".into()).await;
        let _ = (&mut running).await;
    };
    // Whoever does not take leave is cut off by the drop guard.
    let _ = tokio::time::timeout(Duration::from_secs(2), farewell).await;
    info!(user, seconds = started.elapsed().as_secs_f32(), "SSH connection closed");
}

/// Why a connection on which somebody has signed in does not go on.
enum End {
    /// It has ended already, in this way.
    Over(Option<String>),
    /// It has no place any more.
    Refused(Problem),
    /// Nothing happens on it, and others want its place or it has been long.
    Idle,
}

/// Watches over a connection on which somebody has signed in.
async fn stay(running: &mut RunningSession<Session>, watch: &Watch, place: &Place, shared: &Shared) -> End {
    if let Some(problem) = watch.party().and_then(|party| place.becomes(party).err()) {
        return End::Refused(problem);
    }
    place.works();
    let idle = shared.engine.limits.ssh_idle_timeout;
    let mut look = tokio::time::interval(Duration::from_secs(1));
    let mut idle_since = Instant::now();
    loop {
        tokio::select! {
            ended = &mut *running => return End::Over(ended.err().map(|e| e.to_string())),
            () = place.gone() => return End::Idle,
            _ = look.tick() => {}
        }
        if watch.channels() > 0 {
            idle_since = Instant::now();
            place.works();
            continue;
        }
        place.waits(idle * 2);
        if shared.engine.stop.is_cancelled() || idle_since.elapsed() >= idle {
            return End::Idle;
        }
    }
}
