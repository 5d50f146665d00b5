//! A file's bytes, of any size, read piece by piece as they are taken. Never a document of this origin: text stays text,
//! four kinds of pictures are pictures, and whatever it is, it runs in a sandbox without an origin.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use slipway_core::{Oid, Problem};
use slipway_repository::{Content, Mode, Snapshot};

use super::files::{At, is_clean};
use super::revision;
use crate::api::Keys;
use crate::limits::RAW_PIECE_BYTES;
use crate::refusal::{Answer, missing};
use crate::visit::Visit;

pub(crate) async fn raw(
    visit: Visit,
    Path((repo, path)): Path<(String, String)>,
    Keys(at): Keys<At>,
    headers: HeaderMap,
) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    if !is_clean(&path) {
        return Err(missing("There is no such file."));
    }
    // What an id names never changes; what a branch names does.
    let fixed = at.at.as_deref().is_some_and(|rev| Oid::parse(rev).is_ok());
    let asked = Asked::read(&headers);
    let found =
        visit.git(&seen.record, move |snapshot| find(snapshot, &path, at.at.as_deref(), &asked)).await?;
    let (status, length, body) = match found.part {
        Part::Unchanged => (StatusCode::NOT_MODIFIED, None, Body::empty()),
        Part::Beyond => (StatusCode::RANGE_NOT_SATISFIABLE, Some(0), Body::empty()),
        Part::Bytes { range, first, content } => {
            let length = range.end - range.start;
            let whole = length == found.size;
            let status = if whole { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
            (status, Some(length), pieces(Arc::new(visit), first, content, length))
        }
    };
    let mut answer = (status, body).into_response();
    let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
    let cache = if fixed { "private, max-age=86400, immutable" } else { "private, no-cache" };
    let mut put = |name: HeaderName, value: &str| drop(answer.headers_mut().insert(name, text(value)));
    put(CONTENT_TYPE, found.kind);
    put(X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox; frame-ancestors 'none'");
    put(CACHE_CONTROL, cache);
    put(ACCEPT_RANGES, "bytes");
    put(ETAG, &found.tag);
    length.into_iter().for_each(|length| put(CONTENT_LENGTH, &length.to_string()));
    found.told.into_iter().for_each(|range| put(CONTENT_RANGE, &range));
    Ok(answer)
}

/// What a request wants of a file.
#[derive(Default)]
struct Asked {
    /// Tags of what it has already.
    has: Option<String>,
    range: Option<String>,
    /// The tag that the range is of.
    only_of: Option<String>,
}

impl Asked {
    fn read(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        Self { has: text(IF_NONE_MATCH), range: text(RANGE), only_of: text(IF_RANGE) }
    }

    fn has(&self, tag: &str) -> bool {
        let tags = self.has.iter().flat_map(|has| has.split(',')).map(str::trim);
        tags.into_iter().any(|has| has == "*" || has.strip_prefix("W/").unwrap_or(has) == tag)
    }

    /// The bytes that are wanted of so many: `Some(None)` where there are none such. More than one range is not understood,
    /// and then all is sent.
    fn range(&self, size: u64, tag: &str) -> Option<Option<Range<u64>>> {
        if self.only_of.as_ref().is_some_and(|only| only != tag) {
            return None;
        }
        let (first, last) = self.range.as_ref()?.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (first.trim(), last.trim());
        let range = if first.is_empty() {
            size.saturating_sub(last.parse().ok()?)..size
        } else {
            let first: u64 = first.parse().ok()?;
            let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(size)
        };
        Some(Some(range).filter(|range| range.start < range.end))
    }
}

/// A file, and what of it is sent.
struct Found {
    kind: &'static str,
    size: u64,
    tag: String,
    /// `Content-Range`.
    told: Option<String>,
    part: Part,
}

enum Part {
    Unchanged,
    Beyond,
    Bytes { range: Range<u64>, first: Bytes, content: Box<Content> },
}

fn find(snapshot: &Snapshot, path: &str, at: Option<&str>, asked: &Asked) -> Result<Found, Problem> {
    let none = || missing("There is no such file at this revision.").0;
    let revision = revision::find(snapshot, at)?.ok_or_else(none)?;
    let entry = snapshot.entry(&revision.commit.id, path)?.ok_or_else(none)?;
    if matches!(entry.mode, Mode::Tree | Mode::Submodule) {
        return Err(none());
    }
    let tag = format!("\"{}\"", entry.id);
    let mut content = Box::new(snapshot.reader(&entry.id)?);
    let size = content.size();
    let mut first = vec![0; RAW_PIECE_BYTES];
    let got = content.read(&mut first)?;
    first.truncate(got);
    let kind = kind(&first);
    let (told, part) = match asked.range(size, &tag) {
        _ if asked.has(&tag) => (None, Part::Unchanged),
        Some(None) => (Some(format!("bytes */{size}")), Part::Beyond),
        Some(Some(range)) => {
            let told = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            // From what is here, or behind it.
            let here = usize::try_from(range.start).unwrap_or(usize::MAX).min(first.len());
            content.skip(range.start.saturating_sub(first.len() as u64))?;
            first.drain(..here);
            (Some(told), Part::Bytes { range, first: first.into(), content })
        }
        None => (None, Part::Bytes { range: 0..size, first: first.into(), content }),
    };
    Ok(Found { kind, size, tag, told, part })
}

/// The first `length` bytes of what is here and what follows.
fn pieces(visit: Arc<Visit>, first: Bytes, content: Box<Content>, length: u64) -> Body {
    let whole = usize::try_from(length).unwrap_or(usize::MAX);
    if whole <= first.len() {
        return Body::from(first.slice(..whole));
    }
    let begin = (Some(first), content, length, visit);
    Body::from_stream(stream::try_unfold(begin, |(first, mut content, left, visit)| async move {
        if left == 0 {
            return io::Result::Ok(None);
        }
        if let Some(piece) = first.filter(|piece| !piece.is_empty()) {
            let left = left - piece.len() as u64;
            return Ok(Some((piece, (None, content, left, visit))));
        }
        let read = visit.shared.door.go_on(visit.caller(), move || {
            let want = RAW_PIECE_BYTES.min(usize::try_from(left).unwrap_or(RAW_PIECE_BYTES));
            let mut piece = vec![0; want];
            let got = content.read(&mut piece)?;
            piece.truncate(got);
            Ok((content, piece))
        });
        let (content, piece) = read.await.map_err(|problem| io::Error::other(problem.to_string()))?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let left = left - piece.len() as u64;
        Ok(Some((Bytes::from(piece), (None, content, left, visit))))
    }))
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

    #[test]
    fn ranges_are_what_they_say_or_are_not_heeded() {
        for (range, want) in [
            ("bytes=0-0", Some(Some(0..1))),
            ("bytes=5-", Some(Some(5..10))),
            ("bytes=-3", Some(Some(7..10))),
            ("bytes=-30", Some(Some(0..10))),
            ("bytes=3-99", Some(Some(3..10))),
            ("bytes=10-", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=4-3", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=x-", None),
        ] {
            let asked = Asked { range: Some(range.to_owned()), ..Asked::default() };
            assert_eq!(asked.range(10, "\"t\""), want, "{range}");
        }
        let of = |tag: &str| Asked {
            range: Some("bytes=5-".into()),
            only_of: Some(tag.into()),
            ..Asked::default()
        };
        assert_eq!(of("\"t\"").range(10, "\"t\""), Some(Some(5..10)));
        assert_eq!(of("\"u\"").range(10, "\"t\""), None, "it has changed meanwhile: all of it");
    }
}
