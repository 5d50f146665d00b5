//! The engine on standard input and output: what runs `git-upload-pack` elsewhere (an sshd with accounts of its own,
//! git's smart HTTP helper, git's own tests) can run this. One repository folder, no store, no events: a push moves refs
//! and nothing else. Whoever may run it may do everything that the repository's own config allows.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use slipway_core::accept::{Acceptance, Bindings, Incoming, Ledger, Orders, Preflight, Shown, Unquestioned};
use slipway_core::event::Event;
use slipway_core::target::ClusterBinding;
use slipway_core::{EventId, Problem, ProblemKind, RefUpdate, RepoId, RepoName, UnixMillis, UserName};
use slipway_forge::Caller;
use slipway_repository::{ConfigValue, Repository, Settings};
use tokio::sync::mpsc;

use crate::limits::{GITFILE_BYTES_MAX, INPUT_CHUNKS, PIPE_BYTES, PIPE_SILENCE};
use crate::service::certificate::Signers;
use crate::service::{Conversation, Engine, Opened, advertisement, blocking, broken};
use crate::transport::{InputSender, Stop, input, output, too_slow};
use crate::wire::{Service, Version};

/// Which of git's services a pipe serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeService {
    /// Fetch and clone.
    UploadPack,
    /// Push.
    ReceivePack,
}

/// How a pipe is served: the flags of git-upload-pack(1) and git-receive-pack(1).
#[derive(Clone, Debug)]
pub struct Pipe {
    /// Which service.
    pub service: PipeService,
    /// Take the folder as named, and do not look for `.git` in it or behind its name.
    pub strict: bool,
    /// One request and one answer.
    pub stateless: bool,
    /// Say only what is said first.
    pub advertise: bool,
    /// How long the client may be silent.
    pub timeout: Option<Duration>,
    /// `GIT_PROTOCOL`.
    pub protocol: String,
    /// Config files that count before the repository's own.
    pub config: Vec<PathBuf>,
    /// Config values that count more than those of files: key (section and name in lower case) and value.
    pub overrides: Vec<ConfigValue>,
}

impl Pipe {
    /// Serves the repository in `folder`. True if all went well; false if the client left in the middle.
    ///
    /// # Errors
    /// A [`Problem`], of which the client was told as well if it was there to be told.
    pub async fn serve<R, W>(self, folder: &Path, reader: R, writer: W) -> Result<bool, Problem>
    where
        R: Read + Send + 'static,
        W: Write + Send + 'static,
    {
        let service = match self.service {
            PipeService::UploadPack => Service::UploadPack,
            PipeService::ReceivePack => Service::ReceivePack,
        };
        let version = Version::read(&self.protocol);
        let folder = folder.to_owned();
        let (strict, config, overrides) = (self.strict, self.config, self.overrides);
        let opened = blocking(move || open(&folder, strict, config, overrides)).await?;
        let engine = engine();
        let (output, sent) = output(&engine.limits);
        let written = std::thread::spawn(move || write_all(sent, writer));
        let result = if self.advertise {
            let told = blocking(move || advertisement(&opened, service, version, true)).await?;
            output.send(told.bytes).await
        } else {
            let (fed, input) = input();
            tokio::spawn(feed(reader, fed, self.timeout.unwrap_or(PIPE_SILENCE)));
            let talk = Conversation::new(engine, opened, version, self.stateless, input, output.clone());
            if self.stateless { talk.answer(service).await } else { talk.run(service).await }
        };
        drop(output);
        blocking(move || written.join().map_err(|_| broken())).await?;
        match result {
            Ok(()) => Ok(true),
            Err(Stop::Gone) => Ok(false),
            Err(Stop::Refused(problem) | Stop::Told(problem)) => Err(problem),
        }
    }
}

/// Reads on a thread of its own: a read that waits for a silent client must not keep the program from ending.
async fn feed(mut reader: impl Read + Send + 'static, fed: InputSender, silence: Duration) {
    let (tx, mut rx) = mpsc::channel::<Bytes>(INPUT_CHUNKS);
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIPE_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => {
                    if tx.blocking_send(Bytes::copy_from_slice(&buffer[..len])).is_err() {
                        return;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    loop {
        let chunk = tokio::select! {
            chunk = tokio::time::timeout(silence, rx.recv()) => chunk,
            () = fed.closed() => return,
        };
        match chunk {
            Ok(Some(chunk)) => {
                if !fed.send(Ok(chunk)).await {
                    return;
                }
            }
            Ok(None) => return,
            Err(_) => {
                fed.send(Err(too_slow(silence))).await;
                return;
            }
        }
    }
}

/// Writes what is sent until that ends or nobody reads it.
fn write_all(mut sent: mpsc::Receiver<Bytes>, mut writer: impl Write) {
    while let Some(chunk) = sent.blocking_recv() {
        if writer.write_all(&chunk).and_then(|()| writer.flush()).is_err() {
            return;
        }
    }
}

fn engine() -> Arc<Engine> {
    let clock = || UnixMillis::from(SystemTime::now());
    let acceptance = Acceptance::new(Arc::new(Nothing), Arc::new(Nothing), clock).moving_refs_alone();
    Arc::new(Engine::new(Arc::new(acceptance), Arc::new(Nothing), "".into(), Arc::default()))
}

fn open(
    folder: &Path,
    strict: bool,
    mut config: Vec<PathBuf>,
    overrides: Vec<ConfigValue>,
) -> Result<Opened, Problem> {
    let missing = || {
        Problem::new(
            ProblemKind::NotFound,
            format!("'{}' does not appear to be a git repository.", folder.display()),
            "Check the path.",
        )
    };
    let root = find(folder, strict).ok_or_else(missing)?;
    let root = root.canonicalize().map_err(|_| missing())?;
    config.push(root.join("config"));
    let stem = root.file_stem().and_then(|s| s.to_str()).and_then(|s| RepoName::parse(s).ok());
    let name = match stem {
        Some(name) => name,
        None => RepoName::parse("repository").map_err(Problem::from)?,
    };
    let repository = Repository::open_with(root, Settings::of_git(), config).map_err(Problem::from)?;
    let repository = repository.overruled(overrides);
    let (caller, rights) = (Caller::server(), Arc::new(Unquestioned));
    Ok(Opened {
        id: RepoId(0),
        name,
        repository: Arc::new(repository),
        view: None,
        caller,
        rights,
        follow: None,
    })
}

/// The folder with the repository in it, looked for where git looks: `DIR/.git`, `DIR`, `DIR.git/.git`, `DIR.git`.
fn find(folder: &Path, strict: bool) -> Option<PathBuf> {
    if strict {
        return is_repository(folder).then(|| folder.to_owned());
    }
    let text = folder.as_os_str().to_str()?;
    let text = if text.len() > 1 { text.trim_end_matches('/') } else { text };
    ["/.git", "", ".git/.git", ".git"].iter().find_map(|end| {
        let path = PathBuf::from(format!("{text}{end}"));
        if is_repository(&path) { Some(path) } else { follow_file(&path) }
    })
}

fn is_repository(path: &Path) -> bool {
    path.join("HEAD").is_file() && path.join("objects").is_dir() && path.join("refs").is_dir()
}

/// A file `.git` that says where the repository is (gitrepository-layout(5)).
fn follow_file(path: &Path) -> Option<PathBuf> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(GITFILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let target = Path::new(text.strip_prefix("gitdir: ")?.trim_end_matches('\n'));
    let target = path.parent()?.join(target);
    is_repository(&target).then_some(target)
}

/// No store, no clusters, no builds, no accounts.
struct Nothing;

impl Ledger for Nothing {
    fn intend(&self, event: Event) -> Result<Event, Problem> {
        Ok(event)
    }

    fn accept(&self, _: EventId, _: &[RefUpdate], _: UnixMillis) -> Result<Orders, Problem> {
        Ok(Orders::default())
    }

    fn abandon(&self, _: EventId) -> Result<(), Problem> {
        Ok(())
    }

    fn intended(&self) -> Result<Vec<Event>, Problem> {
        Ok(Vec::new())
    }

    fn bindings(&self, _: RepoId) -> Result<Bindings, Problem> {
        Ok(Bindings::default())
    }
}

impl Preflight for Nothing {
    fn check(&self, _: &ClusterBinding, _: &Shown<'_>, _: &dyn Incoming) -> Result<Vec<String>, Problem> {
        Ok(Vec::new())
    }
}

impl Signers for Nothing {
    fn owner(&self, _: &str) -> Result<Option<UserName>, Problem> {
        Ok(None)
    }
}
