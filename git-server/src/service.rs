//! The conversations of git, whatever carries them: opens the repository, asks the one authoriser, and moves bytes
//! between the machines of `wire`, the repository and the one acceptance path.
//!
//! Blocking work runs on blocking threads; its permit lives with the thread. How bytes travel is not known here.

mod archive;
pub(crate) mod certificate;
pub(crate) mod chunk;
mod filter;
mod offer;
mod progress;
pub(crate) mod quick;
pub(crate) mod receive;
mod rules;
pub(crate) mod send;
pub(crate) mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use slipway_core::accept::{Acceptance, Rights};
use slipway_core::limits::Limits;
use slipway_core::{Action, Problem, ProblemKind, RepoId, RepoName};
use slipway_forge::access::{self, Pass};
use slipway_forge::follow::Follow;
use slipway_forge::shares::{Party, Place, Shares};
use slipway_forge::{Caller, Forge};
use slipway_repository::{Repository, Side, View};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::certificate::{Certificates, Signers};
use self::offer::offer;
use self::quick::Pending;
use crate::limits::{self, KEEPALIVE_PAUSE};
use crate::ports::Commands;
use crate::transport::{Input, Output, Stop};
use crate::wire::advertise::{Advertised, Offer, put_advertisement};
use crate::wire::pktline::{Decoder, Packet, SideBand, put_error};
use crate::wire::{Service, Version, WireError};

/// What a conversation needs, wherever its repository comes from and whoever talks.
pub(crate) struct Engine {
    pub(crate) acceptance: Arc<Acceptance>,
    pub(crate) signers: Arc<dyn Signers>,
    pub(crate) certificates: Certificates,
    pub(crate) base_url: Arc<str>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) builders: Arc<Shares>,
    pub(crate) senders: Arc<Shares>,
    pub(crate) receivers: Arc<Shares>,
    pub(crate) spare: Arc<chunk::Spare>,
    pub(crate) stop: CancellationToken,
}

/// Everything that the transports share: the engine, and who may use which repository.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) forge: Arc<Forge>,
    pub(crate) commands: Arc<dyn Commands>,
    pub(crate) tasks: TaskTracker,
}

/// A repository that the actor may use for what was asked.
#[derive(Clone)]
pub(crate) struct Opened {
    /// Its id in the store; 0 for one that is in no store.
    pub(crate) id: RepoId,
    /// Its name.
    pub(crate) name: RepoName,
    pub(crate) repository: Arc<Repository>,
    /// What those who fetch saw when it was opened: a request that opens and asks once need not look twice.
    pub(crate) view: Option<View>,
    /// Who opened it.
    pub(crate) caller: Caller,
    /// Whether they may still do what it was opened for.
    pub(crate) rights: Arc<dyn Rights>,
    /// What becomes of their pushes; `None` where nothing does.
    pub(crate) follow: Option<Follow>,
}

impl Shared {
    /// Opens a repository if `caller` may do with it what `service` does. An unknown repository, a name that cannot be
    /// one and a repository that the caller may not see give the same answer.
    pub(crate) async fn open(
        self: &Arc<Self>,
        caller: Caller,
        name: String,
        service: Service,
    ) -> Result<Opened, Problem> {
        let shared = Arc::clone(self);
        blocking(move || shared.open_blocking(caller, &name, service)).await
    }

    /// [`Shared::open`] on a thread that may block.
    pub(crate) fn open_blocking(
        &self,
        caller: Caller,
        name: &str,
        service: Service,
    ) -> Result<Opened, Problem> {
        let action = match service {
            Service::UploadPack => Action::ReadRepo,
            Service::ReceivePack => Action::WriteRepo,
        };
        let opened = match access::open(&self.forge, &caller, name, action) {
            Err(problem) if problem.kind == ProblemKind::NotFound => {
                // By the name that it had before; whoever asks is told the new one.
                let new = access::moved(&self.forge, &caller, name, action)?.ok_or(problem)?;
                access::open(&self.forge, &caller, new.as_str(), action)
            }
            opened => opened,
        };
        let access::Opened { record, repository, view } = opened?;
        let rights = Arc::new(Pass::new(&self.forge, &caller, record.id, action));
        let follow = (action == Action::WriteRepo).then(|| Follow::new(&self.forge, &caller));
        Ok(Opened { id: record.id, name: record.name, repository, view, caller, rights, follow })
    }
}

impl Engine {
    /// Shares what is the same in every server: bounds become places.
    pub(crate) fn new(
        acceptance: Arc<Acceptance>,
        signers: Arc<dyn Signers>,
        base_url: Arc<str>,
        limits: Arc<Limits>,
    ) -> Self {
        Self {
            acceptance,
            signers,
            certificates: Certificates::default(),
            base_url,
            builders: Shares::new("packs being made", limits::builders(&limits)),
            senders: Shares::new("fetches", limits::senders(&limits)),
            receivers: Shares::new("pushes", limits::receivers(&limits)),
            spare: Arc::default(),
            limits,
            stop: CancellationToken::new(),
        }
    }

    /// Waits for a place for whoever that is, but not for ever.
    pub(crate) async fn place(&self, places: &Arc<Shares>, caller: &Caller) -> Result<Place, Problem> {
        places.enter(Party::of(caller), self.limits.git_queue_wait).await
    }
}

/// Runs a job on a thread that may block.
pub(crate) async fn blocking<T, F>(job: F) -> Result<T, Problem>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Problem> + Send + 'static,
{
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(job)).await {
        Ok(result) => result,
        Err(_) => Err(broken()),
    }
}

/// What a client is told when a job died.
pub(crate) fn broken() -> Problem {
    Problem::new(
        ProblemKind::Broken,
        "Something broke inside the server while it worked on this request.",
        "Try again; if it happens again, tell whoever runs this server to look at its log.",
    )
}

/// One client at one repository.
pub(crate) struct Conversation {
    pub(crate) engine: Arc<Engine>,
    pub(crate) opened: Opened,
    pub(crate) version: Version,
    /// One request and one answer (HTTP), and not a dialogue (SSH).
    pub(crate) stateless: bool,
    pub(crate) input: Input,
    pub(crate) output: Output,
    /// Everything that the client sends in this request is here.
    pub(crate) input_ended: Arc<AtomicBool>,
    decoder: Decoder,
    bytes_read: u64,
}

impl Conversation {
    pub(crate) fn new(
        engine: Arc<Engine>,
        opened: Opened,
        version: Version,
        stateless: bool,
        input: Input,
        output: Output,
    ) -> Self {
        let input_ended = input.ended();
        let decoder = Decoder::default();
        Self { engine, opened, version, stateless, input, output, input_ended, decoder, bytes_read: 0 }
    }

    /// The whole dialogue of a stateful transport.
    pub(crate) async fn run(mut self, service: Service) -> Result<(), Stop> {
        let result = self.dialogue(service).await;
        self.tell(result).await
    }

    async fn dialogue(&mut self, service: Service) -> Result<(), Stop> {
        let (opened, version, stateless) = (self.opened.clone(), self.version, self.stateless);
        let told = blocking(move || advertisement(&opened, service, version, stateless)).await?;
        self.output.send(told.bytes).await?;
        self.serve(service, told.view, told.offer).await
    }

    async fn serve(&mut self, service: Service, view: View, offer: Offer) -> Result<(), Stop> {
        match service {
            Service::UploadPack => self.upload_pack(view, offer).await,
            Service::ReceivePack => self.receive_pack(view, offer).await,
        }
    }

    /// One request of a stateless transport; the answer goes to the output.
    pub(crate) async fn answer(mut self, service: Service) -> Result<(), Stop> {
        let result = self.request(service).await;
        self.tell(result).await
    }

    async fn request(&mut self, service: Service) -> Result<(), Stop> {
        let (opened, stateless) = (self.opened.clone(), self.stateless);
        let (view, offer) = blocking(move || look(&opened, service, stateless)).await?;
        self.serve(service, view, offer).await
    }

    /// Sends a pack that a quick answer left to be made, and what comes before it.
    pub(crate) async fn go_on(mut self, pending: Pending) -> Result<(), Stop> {
        let Pending { view, head, request, quiet } = pending;
        let result = async {
            self.output.send(head).await?;
            self.send_pack(view.snapshot, request, SideBand::Large, quiet).await
        };
        let result = result.await;
        self.tell(result).await
    }

    /// Tells the client what went wrong, if that is still to be done.
    async fn tell(&mut self, result: Result<(), Stop>) -> Result<(), Stop> {
        let Err(Stop::Refused(problem)) = result else { return result };
        let mut out = Vec::new();
        put_error(&mut out, &problem.to_string());
        self.output.send(out).await?;
        self.input.drain(std::time::Duration::from_secs(2)).await;
        Err(Stop::Told(problem))
    }

    /// The next packet; `None` where the client stopped between two.
    pub(crate) async fn packet(&mut self) -> Result<Option<Packet>, Stop> {
        loop {
            if let Some(packet) = self.decoder.next()? {
                return Ok(Some(packet));
            }
            match self.input.next().await? {
                Some(chunk) => {
                    self.bytes_read = self.bytes_read.saturating_add(chunk.len() as u64);
                    let max = self.engine.limits.git_request_size_max;
                    if self.bytes_read > max {
                        let max = usize::try_from(max).unwrap_or(usize::MAX);
                        return Err(WireError::TooMany { what: "bytes", max }.into());
                    }
                    self.decoder.put(&chunk);
                }
                None if self.decoder.is_spent() => return Ok(None),
                None => return Err(WireError::Cut.into()),
            }
        }
    }

    /// What lies behind the last packet, and what is still to come: a pack.
    pub(crate) fn take_rest(&mut self) -> Bytes {
        self.decoder.take_rest()
    }

    /// Waits for `job` and keeps the client waiting with it.
    pub(crate) async fn wait<T>(&self, band: SideBand, job: impl Future<Output = T>) -> Result<T, Stop> {
        let mut pause =
            tokio::time::interval_at(tokio::time::Instant::now() + KEEPALIVE_PAUSE, KEEPALIVE_PAUSE);
        tokio::pin!(job);
        loop {
            tokio::select! {
                biased;
                result = &mut job => return Ok(result),
                () = self.output.closed() => return Err(Stop::Gone),
                _ = pause.tick() => self.keep_alive(band),
            }
        }
    }

    /// A sign of life for a client that waits. A stateless one gets it only once all of its request is here: an
    /// answer that starts earlier confuses some clients.
    pub(crate) fn keep_alive(&self, band: SideBand) {
        let may_answer = !self.stateless || self.input_ended.load(Ordering::Relaxed);
        if let Some(packet) = band.keepalive().filter(|_| may_answer) {
            self.output.offer(packet);
        }
    }
}

/// The first message of a service, and the state that it told.
pub(crate) struct Told {
    pub(crate) view: View,
    pub(crate) offer: Offer,
    pub(crate) bytes: Vec<u8>,
}

/// Makes the first message of a service. May block.
pub(crate) fn advertisement(
    opened: &Opened,
    service: Service,
    version: Version,
    stateless: bool,
) -> Result<Told, Problem> {
    let (view, offer) = look(opened, service, stateless)?;
    let snapshot = &view.snapshot;
    let mut bytes = Vec::new();
    let format = snapshot.object_format().as_str();
    let (refs, head, shallow) = (snapshot.refs(), snapshot.head(), snapshot.boundary());
    let state = Advertised { refs, head, format, shallow };
    put_advertisement(service, version, &offer, &state, &mut bytes);
    Ok(Told { view, offer, bytes })
}

/// What the service shows and offers now.
fn look(opened: &Opened, service: Service, stateless: bool) -> Result<(View, Offer), Problem> {
    let side = match service {
        Service::UploadPack => Side::Fetch,
        Service::ReceivePack => Side::Push,
    };
    let view = match &opened.view {
        Some(view) if stateless && service == Service::UploadPack => view.clone(),
        _ => opened.repository.view(side).map_err(Problem::from)?,
    };
    let offer = offer(&view.settings, opened, service, stateless)?;
    Ok((view, offer))
}

/// Raises a flag when dropped: a job on another thread looks at it and ends.
#[derive(Debug, Default)]
pub(crate) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// The flag for the other thread.
    pub(crate) fn share(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for StopFlag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
