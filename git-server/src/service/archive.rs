//! `git archive --remote`: the files of what a ref shows, as a tar on the side band (git-upload-archive(1)). As with git's
//! own server, only refs can be named, not ids: what no ref shows any more is not handed out.

use slipway_core::{Oid, Problem, ProblemKind};
use slipway_repository::{Archive, ArchiveForm, Side, Snapshot};

use super::upload::find_rev;
use super::{Conversation, blocking};
use crate::transport::Stop;
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
        let sender = self.engine.place(&self.engine.senders, &self.opened.caller).await?;
        if args.list {
            let mut out = Vec::new();
            SideBand::Large.put(&mut out, Band::Data, b"tar\ntgz\ntar.gz\n");
            return self.output.send(out).await;
        }
        let repository = self.opened.repository.clone();
        let opened = blocking(move || {
            let snapshot = repository.view(Side::Fetch).map_err(Problem::from)?.snapshot;
            let archive = open(&snapshot, &args)?;
            Ok((snapshot, archive))
        });
        let (mut snapshot, mut archive) = self.wait(SideBand::Large, opened).await??;
        loop {
            let next = blocking(move || {
                let piece = archive.next_piece(&snapshot)?;
                Ok((snapshot, archive, piece))
            });
            let piece;
            (snapshot, archive, piece) = self.wait(SideBand::Large, next).await??;
            let Some(piece) = piece else { return Ok(()) };
            let mut out = Vec::new();
            SideBand::Large.put(&mut out, Band::Data, &piece);
            self.output.send_as(&sender, out.into()).await?;
        }
    }
}

fn open(snapshot: &Snapshot, args: &ArchiveArgs) -> Result<Archive, Problem> {
    let id = named(snapshot, &args.treeish)?;
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
    Ok(snapshot.archive(form, &id, prefix, &args.paths)?)
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
