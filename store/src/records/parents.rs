//! What was made with what: a session or a token ends with the token or key that it was made with, at the latest.

use slipway_core::people::Parent;
use slipway_core::{ProblemKind, UnixMillis};

use super::refusal;
use crate::error::StoreError;
use crate::keys;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// Until when what is made with it can live.
    pub(crate) fn end_of(&self, parent: Option<&Parent>) -> Result<Option<UnixMillis>, StoreError> {
        let (what, found) = match parent {
            None => return Ok(None),
            Some(Parent::Token { id }) => ("token", self.token(id)?.map(|token| token.expires)),
            Some(Parent::Key { fingerprint }) => ("key", self.key(fingerprint)?.map(|_| None)),
        };
        found.ok_or_else(|| {
            let told = format!("The {what} that this was asked with is not valid any more.");
            refusal::refuse(
                ProblemKind::Unauthenticated,
                told,
                "Sign in again, or ask an owner of this server.",
            )
        })
    }
}

impl Tx<'_> {
    /// Forgets a token or a key with all that was made with it, and with that in turn.
    pub(crate) fn end(&mut self, first: Parent) -> Result<(), StoreError> {
        // A list and not a call within a call: nothing bounds how long a line of tokens made with one another is.
        let mut left = vec![first];
        while let Some(ended) = left.pop() {
            let made = keys::made_with(&ended);
            for mark in self.view().all_keys(&made)? {
                match mark.bytes_after(&made).and_then(<[u8]>::split_first) {
                    Some((b't', id)) => {
                        left.push(Parent::Token { id: String::from_utf8_lossy(id).into_owned() });
                    }
                    Some((b's', _)) => {
                        if let Some(cookie) = mark.last_sha256() {
                            self.remove_session(&cookie)?;
                        }
                    }
                    _ => {}
                }
                self.remove(mark)?;
            }
            match &ended {
                Parent::Token { id } => self.forget_token(id)?,
                Parent::Key { fingerprint } => self.forget_key(fingerprint)?,
            }
        }
        Ok(())
    }
}

/// The earlier of two ends, of which `None` is never.
pub(crate) fn earlier(a: Option<UnixMillis>, b: Option<UnixMillis>) -> Option<UnixMillis> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
