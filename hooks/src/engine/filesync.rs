//! The folders of a build, as BuildKit fetches them: `moby.filesync.v1.FileSync` on our session.
//!
//! The engine asks for a folder by name, in the call's metadata: `context`, or `dockerfile`, which holds the Dockerfile and its
//! ignore file alone; what is left out of the first can thus be built with and not be seen by `COPY`. The conversation is that of `fsutil` (`transfer.rs`). Sources: `session/filesync/filesync.go`
//! of moby/buildkit, `receive.go` of tonistiigi/fsutil.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bollard::fsutil::types::{Packet, packet::PacketType};
use bollard::moby::filesync::v1::file_sync_server::{FileSync, FileSyncServer};
use percent_encoding::percent_decode_str;
use slipway_core::limits::Limits;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::context::dockerfile::dockerfile;
use crate::context::filter::{Filter, Wanted};
use crate::context::index::{Clock, Index, Place};
use crate::context::{ContextPlan, Files, Sent, read_ignore};
use crate::error::HookError;
use crate::limits::SYNC_WAITING;
use crate::log::BuildLog;

mod transfer;
use self::transfer::{Asked, Transfer};

type Answers = mpsc::Sender<Result<Packet, Status>>;

/// What a build offers to the engine.
pub(crate) struct Offer {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) plan: ContextPlan,
    /// Where the context's index is kept from build to build.
    pub(crate) place: Option<Place>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) log: Option<BuildLog>,
    pub(crate) tally: Arc<Tally>,
    /// The context's, made when it is first asked for.
    index: OnceLock<Result<Arc<Index>, HookError>>,
}

/// What has become of the transfers of a build so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent: Mutex<Sent>,
    failure: Mutex<Option<HookError>>,
    /// Grows with every answer: a sign of life.
    pub(crate) life: AtomicU64,
}

impl Tally {
    /// What was sent, or why not all of it could be.
    pub(crate) fn outcome(&self) -> Result<Sent, HookError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone().map_or_else(|| Ok(self.with(|sent| *sent)), Err)
    }

    fn fail(&self, e: HookError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Sent) -> T) -> T {
        change(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lives(&self) {
        self.life.fetch_add(1, Ordering::Relaxed);
    }
}

/// Which folder is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Folder {
    Context,
    Dockerfile,
}

impl Offer {
    pub(crate) fn new(
        files: Arc<dyn Files>,
        plan: ContextPlan,
        place: Option<Place>,
        limits: Arc<Limits>,
        log: Option<BuildLog>,
    ) -> Self {
        Self { files, plan, place, limits, log, tally: Arc::default(), index: OnceLock::new() }
    }

    /// The transfer that is asked for. Blocking.
    fn transfer(&self, folder: Folder, wanted: &Wanted) -> Result<Transfer<'_>, HookError> {
        let files = self.files.as_ref();
        let (index, filter) = match folder {
            Folder::Context => {
                let ours = read_ignore(files, &self.plan)?;
                (self.context()?, Filter::new(files, &self.plan, ours, wanted)?)
            }
            // Two files at most: whatever part is asked for, all of it goes.
            Folder::Dockerfile => (Arc::new(self.dockerfiles()?), Filter::default()),
        };
        Ok(Transfer { offer: self, is_context: folder == Folder::Context, index, filter })
    }

    fn context(&self) -> Result<Arc<Index>, HookError> {
        let make = || {
            let index =
                Index::make(self.files.as_ref(), &self.plan.folder, self.clock()?, self.place.as_ref())?;
            Ok(Arc::new(index))
        };
        self.index.get_or_init(make).clone()
    }

    /// The Dockerfile, by the last part of its path, and the ignore file beside it.
    fn dockerfiles(&self) -> Result<Index, HookError> {
        let files = self.files.as_ref();
        let name = self.plan.dockerfile_alone().to_owned();
        let mut found = Vec::new();
        let ignore = files.entry(&format!("{}.dockerignore", self.plan.dockerfile))?;
        for (name, entry) in [
            (name.clone(), Some(dockerfile(files, &self.plan)?)),
            (format!("{name}.dockerignore"), ignore.filter(|entry| entry.mode.is_regular())),
        ] {
            if let Some(entry) = entry {
                found.push((name, entry.id, files.size(&entry.id)?));
            }
        }
        Ok(Index::of(&found, self.clock()?))
    }

    fn clock(&self) -> Result<Clock, HookError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(Clock { committed: self.files.committed_at()?, now })
    }
}

/// The service.
pub(crate) struct Folders {
    offer: Arc<Offer>,
}

impl Folders {
    /// The path of its call, as the session's header names it.
    pub(crate) const METHOD: &str = "/moby.filesync.v1.FileSync/DiffCopy";

    pub(crate) fn service(offer: Arc<Offer>) -> FileSyncServer<Self> {
        FileSyncServer::new(Self { offer })
    }
}

#[tonic::async_trait]
impl FileSync for Folders {
    type DiffCopyStream = ReceiverStream<Result<Packet, Status>>;
    type TarStreamStream = ReceiverStream<Result<Packet, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let (folder, wanted) = read_request(request.metadata())?;
        let (answers, taken) = mpsc::channel(SYNC_WAITING);
        let (asks, asked) = mpsc::channel(SYNC_WAITING);
        tokio::spawn(listen(request.into_inner(), asks));
        let offer = self.offer.clone();
        tokio::task::spawn_blocking(move || serve(&offer, folder, &wanted, &answers, asked));
        Ok(Response::new(ReceiverStream::new(taken)))
    }

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("tar_stream"))
    }
}

/// Carries a transfer out on a thread that may block; what goes wrong is told to the engine and remembered.
fn serve(offer: &Offer, folder: Folder, wanted: &Wanted, answers: &Answers, asked: mpsc::Receiver<Asked>) {
    let done = offer.transfer(folder, wanted).and_then(|transfer| transfer.run(answers, asked));
    let Err(e) = done else { return };
    if !e.is_stopped() {
        let packet = Packet {
            r#type: PacketType::PacketErr.into(),
            data: e.to_string().into_bytes(),
            ..Packet::default()
        };
        offer.tally.fail(e);
        let _ = answers.blocking_send(Ok(packet));
    }
}

/// Hands on what the engine asks for, until it asks no more.
async fn listen(mut from: Streaming<Packet>, to: mpsc::Sender<Asked>) {
    while let Ok(Some(packet)) = from.message().await {
        let asked = match packet.r#type() {
            PacketType::PacketReq => Asked::File(packet.id),
            PacketType::PacketFin => Asked::End,
            PacketType::PacketErr => Asked::Failed(String::from_utf8_lossy(&packet.data).into_owned()),
            PacketType::PacketStat | PacketType::PacketData => continue,
        };
        if to.send(asked).await.is_err() {
            return;
        }
    }
}

fn read_request(metadata: &MetadataMap) -> Result<(Folder, Wanted), Status> {
    let folder = match values(metadata, "dir-name").first().map(String::as_str) {
        Some("context") => Folder::Context,
        Some("dockerfile") => Folder::Dockerfile,
        other => {
            return Err(Status::not_found(format!("no folder {:?} is offered", other.unwrap_or_default())));
        }
    };
    let wanted = Wanted {
        include: values(metadata, "include-patterns"),
        exclude: values(metadata, "exclude-patterns"),
        follow: values(metadata, "followpaths"),
    };
    Ok((folder, wanted))
}

/// All values of a key, those with other than ASCII letters decoded: newer engines send them as in a form.
fn values(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let is_form = metadata.get(format!("{key}-encoded")).is_some_and(|v| v.as_bytes() == b"1");
    let text = |value: &[u8]| {
        let text = String::from_utf8_lossy(value).into_owned();
        if !is_form {
            return text;
        }
        percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
    };
    metadata.get_all(key).iter().map(|value| text(value.as_bytes())).collect()
}

#[cfg(test)]
mod tests;
