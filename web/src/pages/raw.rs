//! A file's bytes. Never a document of this origin: text stays text, four kinds of pictures are pictures, and whatever
//! it is, it runs in a sandbox without an origin.

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use slipway_core::{Oid, Problem, ProblemKind};
use slipway_repository::{Mode, Snapshot};

use super::files::{At, is_clean};
use super::revision;
use crate::api::Keys;
use crate::limits::RAW_BYTES_MAX;
use crate::refusal::{Answer, missing};
use crate::text::size;
use crate::visit::Visit;

pub(crate) async fn raw(
    visit: Visit,
    Path((repo, path)): Path<(String, String)>,
    Keys(at): Keys<At>,
) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    if !is_clean(&path) {
        return Err(missing("There is no such file."));
    }
    // What an id names never changes; what a branch names does.
    let fixed = at.at.as_deref().is_some_and(|rev| Oid::parse(rev).is_ok());
    let data = visit.git(&seen.record, move |snapshot| read(snapshot, &path, at.at.as_deref())).await?;
    let headers = [
        (CONTENT_TYPE, kind(&data)),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox; frame-ancestors 'none'"),
        (CACHE_CONTROL, if fixed { "private, max-age=86400, immutable" } else { "private, no-cache" }),
    ];
    Ok((headers, Body::from(data)).into_response())
}

fn read(snapshot: &Snapshot, path: &str, at: Option<&str>) -> Result<Vec<u8>, Problem> {
    let none = || missing("There is no such file at this revision.").0;
    let revision = revision::find(snapshot, at)?.ok_or_else(none)?;
    let entry = snapshot.entry(&revision.commit.id, path)?.ok_or_else(none)?;
    if matches!(entry.mode, Mode::Tree | Mode::Submodule) {
        return Err(none());
    }
    let bytes = snapshot.file_size(&entry)?;
    if bytes > RAW_BYTES_MAX {
        return Err(Problem::new(
            ProblemKind::TooLarge,
            format!("The file has {}; up to {} are sent from here.", size(bytes), size(RAW_BYTES_MAX)),
            "Clone the repository, or fetch its archive.",
        ));
    }
    Ok(snapshot.file(&entry, RAW_BYTES_MAX)?)
}

/// The type by the file's first bytes, of a short list that cannot run; everything else is text or just bytes.
fn kind(data: &[u8]) -> &'static str {
    match data {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        data if data.iter().take(8000).any(|b| *b == 0) => "application/octet-stream",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_served_as_something_that_runs() {
        for (data, want) in [
            (&b"<html><script>"[..], "text/plain; charset=utf-8"),
            (b"<svg onload=alert(1)>", "text/plain; charset=utf-8"),
            (b"%PDF-1.4", "text/plain; charset=utf-8"),
            (b"\x89PNG\r\n\x1a\nxxxx", "image/png"),
            (b"a\0b", "application/octet-stream"),
        ] {
            assert_eq!(kind(data), want);
        }
    }
}
