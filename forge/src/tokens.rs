//! Access tokens. A token that was made with a token or a key, or in a session of one, ends with it at the latest.

use std::collections::BTreeSet;

use slipway_core::people::{Parent, Token};
use slipway_core::{Problem, Scope, UnixMillis, UserName};
use slipway_store::View as Records;

use crate::access::{gone, is_owner, may};
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
    let whose = whose(caller, user)?;
    page.ask(|after, limit| forge.store.tokens_after(whose.as_ref(), after, limit), |t| &t.id)
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
    let mut token = Token {
        id: minted.id.clone(),
        user,
        name: plain_line(&new.name.unwrap_or_default(), "token's name", TITLE_BYTES_MAX)?,
        scopes,
        created: now,
        expires: life_s.map(|s| now.plus_ms(s.saturating_mul(1000))),
        parent: None,
    };
    let token = forge.store.transact(|tx| {
        tx.view().user(&token.user)?.ok_or_else(|| no_user(&token.user))?;
        token.parent = parent(tx.view(), caller, now)?;
        tx.add_token(&token, minted.sha256)
    })?;
    Ok((token, minted))
}

/// What a token that the caller makes is made with. A session is no parent itself, but what it was opened with is.
fn parent(records: Records<'_>, caller: &Caller, now: UnixMillis) -> Result<Option<Parent>, Problem> {
    match &caller.credential {
        Credential::None | Credential::Host => Ok(None),
        Credential::Key { fingerprint } => Ok(Some(Parent::Key { fingerprint: fingerprint.to_string() })),
        Credential::Token { id, .. } => Ok(Some(Parent::Token { id: id.clone() })),
        Credential::Session { sha256 } => {
            let session = records.session(sha256, now)?.ok_or_else(|| gone("session"))?;
            Ok(session.parent)
        }
    }
}

/// Forgets a token of the caller's, or of anybody's for an owner, and ends what was made with it. Others' tokens are
/// answered as unknown ones.
///
/// # Errors
/// `NotFound`; `Denied`.
pub fn remove(forge: &Forge, caller: &Caller, id: &str) -> Result<(), Problem> {
    may(caller, own_or_server(caller))?;
    let whose = if is_owner(caller) { None } else { caller.user().cloned() };
    forge.store.transact(|tx| match tx.view().token(id)? {
        Some(token) if whose.as_ref().is_none_or(|own| *own == token.user) => tx.remove_token(id),
        _ => Err(missing(format!("There is no token {:?} of yours.", cut(id))).into()),
    })
}
