//! `git archive --remote`: the files of what a ref shows, as a tar on the side band (git-upload-archive(1)). As with git's
//! own server, only refs can be named, not ids: what no ref shows any more is not handed out.

use std::io::{self, Write};

use slipway_core::{Oid, Problem, ProblemKind};
use slipway_repository::{ArchiveForm, Side, Snapshot};
use tokio::runtime::Handle;

use super::upload::find_rev;
use super::{Conversation, StopFlag, blocking};
use crate::limits::CHUNK_BYTES;
use crate::transport::{Output, Stop};
use crate::wire::WireError;
use crate::wire::archive::{ArchiveArgs, ArchiveReader, Format};
use crate::wire::pktline::{Band, SideBand, put_flush, put_line};
use crate::wire::text::one_line;

impl Conversation {
    /// Serves one archive.
    pub(crate) async fn archive(mut self) -> Result<(), Stop> {
        let result = self.archive_request().await;
        self.tell(result).await
    }

    async fn archive_request(&mut self) -> Result<(), Stop> {
        let mut reader = ArchiveReader::default();
        let args = loop {
            let Some(packet) = self.packet().await? else { return Err(WireError::Cut.into()) };
            if let Some(args) = reader.take(&packet)? {
                break args;
            }
        };
        let mut out = Vec::new();
        put_line(&mut out, "ACK");
        put_flush(&mut out);
        self.output.send(out).await?;
        let result = self.send_archive(args).await;
        let mut out = Vec::new();
        if let Err(Stop::Refused(problem)) = &result {
            let line = format!("{}\n", one_line(&problem.to_string()));
            SideBand::Large.put(&mut out, Band::Fatal, line.as_bytes());
        }
        put_flush(&mut out);
        self.output.send(out).await?;
        match result {
            Err(Stop::Refused(problem)) => Err(Stop::Told(problem)),
            other => other,
        }
    }

    async fn send_archive(&mut self, args: ArchiveArgs) -> Result<(), Stop> {
        let _sender = self.engine.place(&self.engine.senders).await?;
        let flag = StopFlag::default();
        let (stop, repository) = (flag.share(), self.opened.repository.clone());
        let mut writer = Banded { output: self.output.clone(), runtime: Handle::current(), held: Vec::new() };
        let job = blocking(move || {
            if args.list {
                writer.write_all(b"tar\ntgz\ntar.gz\n").and_then(|()| writer.flush()).map_err(gone)?;
                return Ok(());
            }
            let snapshot = repository.view(Side::Fetch).map_err(Problem::from)?.snapshot;
            let id = named(&snapshot, &args.treeish)?;
            let form = match args.format {
                Format::Tar => ArchiveForm::Tar,
                Format::TarGz => ArchiveForm::TarGz,
            };
            for path in &args.paths {
                if snapshot.entry(&id, path.trim_end_matches('/')).map_err(Problem::from)?.is_none() {
                    let what = format!("There is nothing at {:?}.", one_line(path));
                    return Err(Problem::new(ProblemKind::NotFound, what, "Check the path."));
                }
            }
            let prefix = args.prefix.trim_end_matches('/');
            snapshot.archive_as(form, &id, prefix, &args.paths, &mut writer, &stop).map_err(Problem::from)?;
            writer.flush().map_err(gone)
        });
        self.wait(SideBand::Large, job).await?.map_err(Stop::from)
    }
}

/// The commit or tree that a ref names, or the folder at a path below one.
fn named(snapshot: &Snapshot, treeish: &str) -> Result<Oid, Problem> {
    let (name, path) = treeish.split_once(':').map_or((treeish, None), |(name, path)| (name, Some(path)));
    let unknown = || {
        let what = format!("There is no ref {:?} here.", one_line(name));
        Problem::new(ProblemKind::NotFound, what, "Name a branch or a tag; ids are not taken here.")
    };
    let id = find_rev(snapshot, name).ok_or_else(unknown)?;
    match path {
        None => Ok(id),
        Some(path) => {
            let entry = snapshot.entry(&id, path.trim_end_matches('/')).map_err(Problem::from)?;
            entry.map(|entry| entry.id).ok_or_else(unknown)
        }
    }
}

fn gone(_: io::Error) -> Problem {
    Problem::new(ProblemKind::Cancelled, "The client has left.", "Ask for it again.")
}

/// Frames what is written and hands it on, waiting for the client. For threads that may block.
struct Banded {
    output: Output,
    runtime: Handle,
    held: Vec<u8>,
}

impl Write for Banded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(CHUNK_BYTES.saturating_sub(self.held.len()));
        self.held.extend_from_slice(bytes.get(..len).unwrap_or_default());
        if self.held.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut out = Vec::new();
        SideBand::Large.put(&mut out, Band::Data, &self.held);
        self.held.clear();
        self.runtime.block_on(self.output.send(out)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
