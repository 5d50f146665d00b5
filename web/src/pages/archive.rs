//! A revision's files as tar.gz, made piece by piece as the reader takes them: between two pieces nothing is at work, and
//! nothing is kept on disk.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use slipway_core::{Oid, Problem, ProblemKind};
use slipway_forge::access;
use slipway_forge::shares::Place;
use slipway_repository::{Archive, ArchiveForm, Snapshot};

use super::revision;
use crate::limits::ARCHIVE_PATIENCE;
use crate::refusal::{Answer, missing};
use crate::visit::{Seen, Visit};

pub(crate) async fn archive(visit: Visit, Path((repo, file)): Path<(String, String)>) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let Some(rev) = file.strip_suffix(".tar.gz").map(str::to_owned) else {
        return Err(missing("Archives are tar.gz files: …/archive/REVISION.tar.gz."));
    };
    let plain: String =
        rev.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let stem = format!("{}-{}", seen.record.name, plain.chars().take(60).collect::<String>());
    let commit = visit.git(&seen.record, move |snapshot| Ok(revision::must(snapshot, &rev)?.id)).await?;
    let body = begin(visit, &seen, commit, format!("{stem}/")).await?;
    let headers = [
        (CONTENT_TYPE, "application/gzip".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{stem}.tar.gz\"")),
        (CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    Ok((headers, body).into_response())
}

/// An archive that is being sent.
struct Sending {
    visit: Visit,
    place: Place,
    /// Gone where others wanted the place and the reader took nothing.
    work: Arc<Mutex<Option<Work>>>,
}

struct Work {
    archive: Archive,
    snapshot: Arc<Snapshot>,
}

/// Makes the first piece, so that what fails before anything is sent is told in words; the rest follows as it is taken.
async fn begin(visit: Visit, seen: &Seen, commit: Oid, prefix: String) -> Answer<Body> {
    let place = visit.live()?;
    let record = seen.record.clone();
    let work = visit.ask(move |forge, _| {
        let snapshot = access::view(forge, &record)?.snapshot;
        let archive = snapshot.archive(ArchiveForm::TarGz, &commit, &prefix, &[])?;
        Ok(Work { archive, snapshot })
    });
    let work = Arc::new(Mutex::new(Some(work.await?)));
    let (gone, kept) = (place.notice(), Arc::downgrade(&work));
    tokio::spawn(async move {
        gone.cancelled().await;
        if let Some(work) = kept.upgrade() {
            drop(work.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    });
    let sending = Sending { visit, place, work };
    let first = sending.next().await?;
    let pieces = stream::try_unfold((first, sending), |(first, sending)| async move {
        let piece = match first {
            Some(piece) => Some(piece),
            // The reader then sees a broken stream, not a short archive that looks whole.
            None => sending.next().await.map_err(|problem| io::Error::other(problem.to_string()))?,
        };
        sending.place.waits(ARCHIVE_PATIENCE);
        io::Result::Ok(piece.map(|piece| (piece, (None, sending))))
    });
    Ok(Body::from_stream(pieces))
}

impl Sending {
    async fn next(&self) -> Result<Option<Bytes>, Problem> {
        self.place.works();
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut work = work.ok_or_else(gave_way)?;
        let door = &self.visit.shared.door;
        let made = door.go_on(self.visit.caller(), move || {
            let piece = work.archive.next_piece(&work.snapshot)?;
            Ok((work, piece))
        });
        let (work, piece) = made.await?;
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
        Ok(piece.map(Bytes::from))
    }
}

fn gave_way() -> Problem {
    Problem::new(
        ProblemKind::Busy,
        "Nothing was taken of the archive for some time, and others wanted its place.",
        "Ask for it again.",
    )
}
