//! All records as lines of plain JSON, for other programs. What they say is theirs: this only tells which is which, and leaves
//! secrets out: of what is encrypted it says so, hashes of tokens and everything of sessions are not there.
//!
//! A head `{"slipway_export":1}`, a line `{"kind":"user","record":{…}}` a record, with what only its key says beside (`repo`,
//! `user`, `name`, `number`), and an end `{"records":N}`. A stream without its end is not whole. Records come by kind, those
//! too long for one place in the database last.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::backup::{self, Copied};
use crate::codec::{self, CodecError, Framed};
use crate::engine::Tree;
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::limits::RECORD_BYTES_MAX;

const VERSION: u32 = 1;

/// A part of a key.
#[derive(Clone, Copy)]
enum Field {
    /// 8 bytes.
    Number(&'static str),
    /// The rest.
    Text(&'static str),
}
use Field::{Number, Text};

/// What a record's body is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// What people may read.
    Plain,
    /// That, beside the hash by which it is found.
    Token,
    /// What is encrypted.
    Secret,
}

/// The name of a kind, what its keys say beside the record, and what the record is. Kinds that are not here lead to others, or are
/// nobody's business.
fn kind(key: u8) -> Option<(&'static str, &'static [Field], Says)> {
    Some(match key {
        b'u' => ("user", &[], Says::Plain),
        b'k' => ("key", &[], Says::Plain),
        b't' => ("token", &[], Says::Token),
        b'r' => ("repository", &[], Says::Plain),
        b'f' => ("former_name", &[Text("name")], Says::Plain),
        b'g' => ("grant", &[Number("repo"), Text("user")], Says::Plain),
        b'a' => ("registry", &[], Says::Plain),
        b'A' => ("registry_password", &[Text("name")], Says::Secret),
        b'c' => ("cluster", &[], Says::Plain),
        b'C' => ("kubeconfig", &[Text("name")], Says::Secret),
        b'b' => ("registry_binding", &[Number("repo")], Says::Plain),
        b'l' => ("cluster_binding", &[Number("repo")], Says::Plain),
        b'e' => ("event", &[], Says::Plain),
        b'm' => ("build", &[], Says::Plain),
        b'd' => ("deploy", &[], Says::Plain),
        b'v' => ("inventory", &[Number("repo"), Text("cluster")], Says::Plain),
        b'j' => ("pointer", &[Number("repo"), Text("name")], Says::Plain),
        b'Z' => ("schedules", &[], Says::Plain),
        b'I' => ("commit_status", &[], Says::Plain),
        b'h' => ("webhook", &[], Says::Plain),
        b'H' => ("webhook_secret", &[Number("repo"), Number("number")], Says::Secret),
        b'Q' => ("secret", &[], Says::Plain),
        b'R' => ("secret_value", &[Number("repo"), Text("name")], Says::Secret),
        b'o' => ("delivery", &[], Says::Plain),
        _ => return None,
    })
}

/// Writes the copy's records out.
pub(crate) fn write(mut copied: Copied, out: &mut dyn Write) -> Result<u64, StoreError> {
    let mut export = Export { out, records: 0, long: HashMap::new(), body: Vec::new() };
    export.line(&json!({"slipway_export": VERSION}))?;
    let stream = copied.stream().map_err(|e| unwritable(&e))?;
    backup::each(stream, |(tree, key, value)| match tree {
        Tree::Records => export.take(&key, &value),
        Tree::Meta => Ok(()),
    })?;
    if let Some((key, _)) = export.long.iter().next() {
        return Err(damaged(key, "a piece is missing"));
    }
    let end = json!({"records": export.records});
    export.line(&end)?;
    export.out.flush().map_err(|e| unwritable(&e))?;
    Ok(export.records)
}

struct Export<'a> {
    out: &'a mut dyn Write,
    records: u64,
    /// Records whose pieces come later: how many bytes they have, and their checksum.
    long: HashMap<Vec<u8>, (usize, u32)>,
    /// The pieces of the one that is being put together.
    body: Vec<u8>,
}

impl Export<'_> {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if let Some((of, _)) = keys::piece_of(key) {
            return self.piece(of, value);
        }
        if key.first().is_none_or(|first| kind(*first).is_none()) {
            return Ok(());
        }
        match codec::unframe(key, value).map_err(|cause| broken(key, cause))? {
            Framed::Inline(body) => self.record(key, body),
            Framed::InPieces { body_bytes, .. } if body_bytes > RECORD_BYTES_MAX => {
                Err(damaged(key, "its length is too large"))
            }
            Framed::InPieces { body_bytes, checksum } => {
                self.long.insert(key.to_vec(), (body_bytes, checksum));
                Ok(())
            }
        }
    }

    /// Pieces of one record follow one another, in order.
    fn piece(&mut self, of: &[u8], piece: &[u8]) -> Result<(), StoreError> {
        let Some((bytes, checksum)) = self.long.get(of).copied() else { return Ok(()) };
        self.body.extend_from_slice(piece);
        if self.body.len() < bytes {
            return Ok(());
        }
        self.long.remove(of);
        let body = std::mem::take(&mut self.body);
        codec::check(of, &body, checksum).map_err(|cause| broken(of, cause))?;
        self.record(of, &body)
    }

    fn record(&mut self, key: &[u8], body: &[u8]) -> Result<(), StoreError> {
        let Some((name, fields, says)) = key.first().and_then(|first| kind(*first)) else { return Ok(()) };
        let mut line = Map::from_iter([("kind".to_owned(), json!(name))]);
        let mut rest = &key[1..];
        for field in fields {
            match field {
                Number(name) => {
                    let (number, after) =
                        rest.split_first_chunk::<8>().ok_or_else(|| damaged(key, "its key is cut short"))?;
                    line.insert((*name).to_owned(), json!(u64::from_be_bytes(*number)));
                    rest = after;
                }
                Text(name) => drop(line.insert((*name).to_owned(), json!(String::from_utf8_lossy(rest)))),
            }
        }
        let read = || codec::from_body::<Value>(body).map_err(|cause| broken(key, cause));
        let record = match says {
            Says::Plain => read()?,
            Says::Token => read()?["token"].take(),
            Says::Secret => json!("encrypted"),
        };
        line.insert("record".to_owned(), record);
        self.records += 1;
        self.line(&Value::Object(line))
    }

    fn line(&mut self, line: &Value) -> Result<(), StoreError> {
        let mut text = line.to_string();
        text.push('\n');
        self.out.write_all(text.as_bytes()).map_err(|e| unwritable(&e))
    }
}

fn broken(key: &[u8], cause: CodecError) -> StoreError {
    StoreError::Record { what: Key::from_bytes(key).to_string(), cause }
}

fn damaged(key: &[u8], why: &'static str) -> StoreError {
    broken(key, CodecError::Damaged { why })
}

fn unwritable(error: &io::Error) -> StoreError {
    let cause = format!("cannot be written out: {error}");
    StoreError::Backup { cause, cure: "Check where it goes, and the space in the data folder.".to_owned() }
}
