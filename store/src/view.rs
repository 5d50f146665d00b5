//! One consistent look at the records: single ones, put together from their pieces, and ranges of them. What they say is
//! told in `records/`, subject by subject. Inside a change a view sees what the change has staged so far.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::iter::Peekable;

use serde::de::DeserializeOwned;

use crate::codec::{self, CodecError, Framed};
use crate::engine::{Batch, Look, Pairs, Scan, Span};
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::limits::{ALIKE_LETTERS, PIECE_BYTES, RECORD_BYTES_MAX};
use crate::vault::Vault;

/// The records at one moment.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(crate) ground: &'a dyn Look,
    pub(crate) staged: Option<&'a Batch>,
    pub(crate) vault: &'a Vault,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View(…)")
    }
}

impl<'a> View<'a> {
    /// The record of that key.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        self.raw(key)?.map(|raw| self.decode(key, &raw)).transpose()
    }

    /// True if there is a record or a mark.
    pub(crate) fn has(&self, key: &Key) -> Result<bool, StoreError> {
        match self.staged.and_then(|staged| staged.get(key)) {
            Some(written) => Ok(written.is_some()),
            None => self.ground.has(key),
        }
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn keys(
        &self,
        prefix: &Key,
        scan: Scan<'_>,
    ) -> impl Iterator<Item = Result<Key, StoreError>> + use<'a> {
        self.pairs(prefix, scan).map(|pair| pair.map(|(key, _)| key))
    }

    /// The same, all of them: for changes of what they lead to. The caller knows that they are bounded.
    pub(crate) fn all_keys(&self, prefix: &Key) -> Result<Vec<Key>, StoreError> {
        self.keys(prefix, Scan::Up).collect()
    }

    /// The records whose keys begin with `prefix`.
    pub(crate) fn records<T: DeserializeOwned>(
        &self,
        prefix: &Key,
        scan: Scan<'_>,
    ) -> impl Iterator<Item = Result<T, StoreError>> + use<'a, T> {
        let view = *self;
        self.pairs(prefix, scan).map(move |pair| pair.and_then(|(key, raw)| view.decode(&key, &raw)))
    }

    /// Records by name: those after the one called `after` (`None`: from the first), at most `limit`.
    pub(crate) fn page<T: DeserializeOwned>(
        &self,
        prefix: &Key,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<T>, StoreError> {
        let after = after.map(|name| prefix.followed_by(name));
        let scan = after.as_ref().map_or(Scan::Up, Scan::UpAfter);
        self.records(prefix, scan).take(limit).collect()
    }

    /// A name among the keys below `prefix` that differs from `name` in upper and lower case alone; not `but`. Looks only at
    /// names with the same first letters.
    pub(crate) fn alike(
        &self,
        prefix: &Key,
        name: &str,
        but: Option<&str>,
    ) -> Result<Option<String>, StoreError> {
        let mut starts = vec![String::new()];
        for letter in name.chars().take(ALIKE_LETTERS) {
            let cases = BTreeSet::from([letter.to_ascii_lowercase(), letter.to_ascii_uppercase()]);
            starts = starts.iter().flat_map(|s| cases.iter().map(move |case| format!("{s}{case}"))).collect();
        }
        for start in starts {
            for key in self.keys(&prefix.followed_by(&start), Scan::Up) {
                let key = key?;
                let Some(other) = key.text_after(prefix) else { continue };
                if other != name && Some(other) != but && other.eq_ignore_ascii_case(name) {
                    return Ok(Some(other.to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// The same of what keys lead to by the name that ends them.
    pub(crate) fn page_by_marks<T>(
        &self,
        prefix: &Key,
        after: Option<&str>,
        limit: usize,
        one: impl Fn(&str) -> Result<Option<T>, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let after = after.map(|name| prefix.followed_by(name));
        let scan = after.as_ref().map_or(Scan::Up, Scan::UpAfter);
        let mut found = Vec::new();
        for mark in self.keys(prefix, scan).take(limit) {
            if let Some(name) = mark?.text_after(prefix) {
                found.extend(one(name)?);
            }
        }
        Ok(found)
    }

    fn pairs(&self, prefix: &Key, scan: Scan<'_>) -> Pairs<'a> {
        let span = Span::of(prefix, scan);
        let below = self.ground.span(&span);
        match self.staged {
            Some(staged) if !staged.is_empty() => Box::new(Merged::new(below, staged, &span)),
            _ => below,
        }
    }

    fn raw(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        match self.staged.and_then(|staged| staged.get(key)) {
            Some(written) => Ok(written.clone()),
            None => self.ground.get(key),
        }
    }

    fn decode<T: DeserializeOwned>(&self, key: &Key, raw: &[u8]) -> Result<T, StoreError> {
        decode(key, raw, |piece| self.raw(piece))
    }

    /// How many pieces lie beside that key's record.
    pub(crate) fn pieces_of(&self, key: &Key) -> Result<u32, StoreError> {
        let Some(raw) = self.raw(key)? else { return Ok(0) };
        match codec::unframe(key.bytes(), &raw) {
            Ok(Framed::InPieces { body_bytes, .. }) => Ok(pieces(body_bytes.min(RECORD_BYTES_MAX))),
            // A damaged record can still be replaced or removed.
            Ok(Framed::Inline(_)) | Err(_) => Ok(0),
        }
    }
}

/// What a change has staged.
type Staged<'a> = Box<dyn Iterator<Item = (&'a Key, &'a Option<Vec<u8>>)> + 'a>;

/// What lies in the database with what a change has staged over it.
struct Merged<'a> {
    below: Peekable<Pairs<'a>>,
    above: Peekable<Staged<'a>>,
    down: bool,
}

impl<'a> Merged<'a> {
    fn new(below: Pairs<'a>, staged: &'a Batch, span: &Span) -> Self {
        let above: Staged<'a> = match span.range() {
            None => Box::new(std::iter::empty()),
            Some(range) if span.down => Box::new(staged.range::<Key, _>(range).rev()),
            Some(range) => Box::new(staged.range::<Key, _>(range)),
        };
        Self { below: below.peekable(), above: above.peekable(), down: span.down }
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<(Key, Vec<u8>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.below.peek(), self.above.peek()) {
                (None, None) => return None,
                (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(Ok((below, _))), Some((above, _))) if self.down => (*above).cmp(below),
                (Some(Ok((below, _))), Some((above, _))) => below.cmp(above),
            };
            if order == Ordering::Less {
                return self.below.next();
            }
            if order == Ordering::Equal {
                // The change has replaced it.
                self.below.next();
            }
            if let Some((key, Some(value))) = self.above.next() {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}

/// What a record says; `piece` gives its pieces if it is stored in some.
fn decode<T: DeserializeOwned>(
    key: &Key,
    raw: &[u8],
    piece: impl Fn(&Key) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<T, StoreError> {
    let broken = |cause: CodecError| StoreError::Record { what: key.to_string(), cause };
    let damaged = |why| broken(CodecError::Damaged { why });
    let (body_bytes, checksum) = match codec::unframe(key.bytes(), raw).map_err(broken)? {
        Framed::Inline(body) => return codec::from_body(body).map_err(broken),
        Framed::InPieces { body_bytes, checksum } => (body_bytes, checksum),
    };
    if body_bytes > RECORD_BYTES_MAX {
        return Err(damaged("its length is too large"));
    }
    let mut body = Vec::with_capacity(body_bytes);
    for number in 0..pieces(body_bytes) {
        let found = piece(&keys::piece(key, number))?.ok_or_else(|| damaged("a piece is missing"))?;
        body.extend_from_slice(&found);
        if body.len() > body_bytes {
            return Err(damaged("its pieces are too long"));
        }
    }
    codec::check(key.bytes(), &body, checksum).map_err(broken)?;
    codec::from_body(&body).map_err(broken)
}

/// How many pieces a body of that length is stored in.
pub(crate) fn pieces(body_bytes: usize) -> u32 {
    u32::try_from(body_bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX)
}
