//! Access tokens. Knows hashes of their values only, never the values.

use serde::{Deserialize, Serialize};
use slipway_core::people::{Parent, Token};
use slipway_core::{Problem, UserName};

use super::parents::earlier;
use super::refusal;
use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys;
use crate::limits::{ID_BYTES_MAX, TEXT_BYTES_MAX};
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

/// A token with the hash by which it is found, so that both go together.
#[derive(Serialize, Deserialize)]
struct TokenRecord {
    token: Token,
    value_sha256: String,
}

impl View<'_> {
    /// The token of that id, expired or not.
    pub fn token(&self, id: &str) -> Result<Option<Token>, StoreError> {
        if id.len() > ID_BYTES_MAX {
            return Ok(None);
        }
        Ok(self.get::<TokenRecord>(&keys::token(id))?.map(|record| record.token))
    }

    /// The token whose value has that SHA-256, expired ones included.
    pub fn token_by_value(&self, value_sha256: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        match self.get::<String>(&keys::token_value(value_sha256))? {
            Some(id) => self.token(&id),
            None => Ok(None),
        }
    }

    /// Tokens by id, of one user or of all: those after `after`, at most `limit`.
    pub fn tokens_after(
        &self,
        user: Option<&UserName>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Token>, StoreError> {
        if let Some(user) = user {
            return self.page_by_marks(&keys::tokens_of(user), after, limit, |id| self.token(id));
        }
        let found: Vec<TokenRecord> = self.page(&keys::tokens(), after, limit)?;
        Ok(found.into_iter().map(|record| record.token).collect())
    }
}

impl Tx<'_> {
    /// Records a token by the SHA-256 of its value; gives it as recorded: it ends with its parent at the latest.
    pub fn add_token(&mut self, token: &Token, value_sha256: [u8; 32]) -> Result<Token, StoreError> {
        refusal::check_length("token id", &token.id, ID_BYTES_MAX)?;
        refusal::check_length("name of the token", &token.name, TEXT_BYTES_MAX)?;
        self.need_user(&token.user)?;
        let (key, by_value) = (keys::token(&token.id), keys::token_value(&value_sha256));
        if self.has(&key)? || self.has(&by_value)? {
            return Err(refusal::taken("token", &token.id));
        }
        let most = self.limits.tokens_per_account_max;
        if self.view().keys(&keys::tokens_of(&token.user), Scan::Up).count() >= most {
            return Err(refusal::full(&format!("tokens of {}", token.user), most));
        }
        let end = self.view().end_of(token.parent.as_ref())?;
        let token = Token { expires: earlier(token.expires, end), ..token.clone() };
        if let Some(parent) = &token.parent {
            self.mark(keys::token_made_with(parent, &token.id));
        }
        self.mark(keys::token_of(&token.user, &token.id));
        self.put(by_value, &token.id)?;
        let record = TokenRecord { token, value_sha256: hex::encode(value_sha256) };
        self.put(key, &record)?;
        Ok(record.token)
    }

    /// Forgets the token of that id, and ends what was made with it.
    pub fn remove_token(&mut self, id: &str) -> Result<(), StoreError> {
        refusal::check_length("token id", id, ID_BYTES_MAX)?;
        if !self.has(&keys::token(id))? {
            return Err(refusal::missing("token", id));
        }
        self.end(Parent::Token { id: id.to_owned() })
    }

    /// Forgets the token alone, as part of a larger change; fine if there is none.
    pub(crate) fn forget_token(&mut self, id: &str) -> Result<(), StoreError> {
        let key = keys::token(id);
        let Some(old) = self.get::<TokenRecord>(&key)? else { return Ok(()) };
        if let Some(parent) = &old.token.parent {
            self.remove(keys::token_made_with(parent, id))?;
        }
        let hash = hex::decode(&old.value_sha256).ok().and_then(|raw| <[u8; 32]>::try_from(raw).ok());
        if let Some(hash) = hash {
            self.remove(keys::token_value(&hash))?;
        }
        self.remove(keys::token_of(&old.token.user, id))?;
        self.remove(key)
    }

    /// Forgets a user's tokens, as part of a larger change.
    pub(crate) fn remove_tokens_of(&mut self, user: &UserName) -> Result<(), StoreError> {
        for token in self.view().tokens_after(Some(user), None, usize::MAX)? {
            self.end(Parent::Token { id: token.id })?;
        }
        Ok(())
    }
}

impl Store {
    /// Records a token by the SHA-256 of its value; gives it as recorded: it ends with its parent at the latest.
    pub fn add_token(&self, token: &Token, value_sha256: [u8; 32]) -> Result<Token, Problem> {
        self.transact(|tx| tx.add_token(token, value_sha256))
    }
    /// The token whose value has that SHA-256, expired ones included.
    pub fn token_by_value(&self, value_sha256: &[u8; 32]) -> Result<Option<Token>, Problem> {
        self.read(|view| view.token_by_value(value_sha256))
    }
    /// All tokens, or those of one user: for what needs all of them.
    pub fn tokens(&self, user: Option<&UserName>) -> Result<Vec<Token>, Problem> {
        self.tokens_after(user, None, usize::MAX)
    }
    /// Tokens by id, of one user or of all: those after `after`, at most `limit`.
    pub fn tokens_after(
        &self,
        user: Option<&UserName>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Token>, Problem> {
        self.read(|view| view.tokens_after(user, after, limit))
    }
    /// Forgets the token of that id, and ends what was made with it.
    pub fn remove_token(&self, id: &str) -> Result<(), Problem> {
        self.transact(|tx| tx.remove_token(id))
    }
}
