//! Access tokens. A token that was made with a token, or in a session of one, never outlives it.

use std::collections::BTreeSet;

use slipway_core::people::Token;
use slipway_core::{Problem, Scope, UnixMillis, UserName};

use crate::access::{is_owner, may};
use crate::caller::{Caller, Credential};
use crate::credential::{MintedToken, mint_token};
use crate::forge::Forge;
use crate::keys::own_or_server;
use crate::limits::{TITLE_BYTES_MAX, TOKEN_LIFE_S_MAX};
use crate::page::{Page, Rows};
use crate::refusal::{cut, invalid, missing, no_user, plain_line};
use crate::users::{subject, whose};

/// What a new token shall be.
#[derive(Clone, Debug, Default)]
pub struct NewToken {
    /// For whom; the caller where nobody is named.
    pub user: Option<UserName>,
    /// What the user calls it.
    pub name: Option<String>,
    /// What it is good for; reading and pushing where nothing is said.
    pub scopes: Option<BTreeSet<Scope>>,
    /// How long it lives, in seconds; for ever where nothing is said.
    pub expires_in_s: Option<u64>,
}

/// Tokens: of the named user; without a name everybody's for owners, else one's own.
///
/// # Errors
/// `Denied` for others' tokens.
pub fn list(
    forge: &Forge,
    caller: &Caller,
    user: Option<&UserName>,
    page: &Page,
) -> Result<Rows<Token>, Problem> {
    let mut tokens = forge.store.tokens(whose(caller, user)?.as_ref())?;
    tokens.sort_by(|a, b| a.id.cmp(&b.id));
    page.cut(tokens, |t| &t.id)
}

/// Makes a token. Its value is in the answer and nowhere else.
///
/// # Errors
/// `Denied` for others' accounts; `Invalid`; `NotFound`.
pub fn create(forge: &Forge, caller: &Caller, new: NewToken) -> Result<(Token, MintedToken), Problem> {
    let user = subject(caller, new.user)?;
    let scopes = new.scopes.unwrap_or_else(|| [Scope::RepoRead, Scope::RepoWrite].into());
    if scopes.is_empty() {
        return Err(invalid(
            "A token without a scope is good for nothing.",
            "Give one of repo:read, repo:write, api.",
        ));
    }
    let life_s = new.expires_in_s;
    if life_s.is_some_and(|s| s == 0 || s > TOKEN_LIFE_S_MAX) {
        return Err(invalid(
            "A token lives between a second and ten years.",
            "Give another time, or none for ever.",
        ));
    }
    let (minted, now) = (mint_token()?, forge.now());
    let token = Token {
        id: minted.id.clone(),
        user,
        name: plain_line(&new.name.unwrap_or_default(), "token's name", TITLE_BYTES_MAX)?,
        scopes,
        created: now,
        expires: earlier(life_s.map(|s| now.plus_ms(s.saturating_mul(1000))), parents_end(caller)),
    };
    forge.store.user(&token.user)?.ok_or_else(|| no_user(&token.user))?;
    forge.store.add_token(&token, minted.sha256)?;
    Ok((token, minted))
}

/// Until when the credential is good that the caller came with.
fn parents_end(caller: &Caller) -> Option<UnixMillis> {
    match caller.credential {
        Credential::Token { expires, .. } => expires,
        Credential::None | Credential::Host | Credential::Key { .. } | Credential::Session { .. } => None,
    }
}

fn earlier(a: Option<UnixMillis>, b: Option<UnixMillis>) -> Option<UnixMillis> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// Forgets a token of the caller's, or of anybody's for an owner. Others' tokens are answered as unknown ones.
///
/// # Errors
/// `NotFound`; `Denied`.
pub fn remove(forge: &Forge, caller: &Caller, id: &str) -> Result<(), Problem> {
    may(caller, own_or_server(caller))?;
    let whose = if is_owner(caller) { None } else { caller.user().cloned() };
    if forge.store.tokens(whose.as_ref())?.iter().any(|t| t.id == id) {
        return forge.store.remove_token(id);
    }
    Err(missing(format!("There is no token {:?} of yours.", cut(id))))
}
