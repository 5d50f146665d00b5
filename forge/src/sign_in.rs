//! Signing in: keys, tokens, sessions and the form, for every surface.
//!
//! The credential is looked at first. A right one always passes, whatever went wrong before it and from wherever it
//! comes: only failures are slowed, each pair of account and address by itself, so that nobody can lock out anybody but
//! himself. Every failure is told to the log, without the secret.

mod claim;
mod throttle;

use std::net::IpAddr;
use std::sync::Arc;

use slipway_core::people::{Parent, Session, Token};
use slipway_core::token::TokenValue;
use slipway_core::{Action, Actor, Problem, ProblemKind, Secret, UserName, authorise};
use slipway_store::View as Records;

pub use self::claim::{Claim, claim};
use crate::caller::{Caller, Credential, Surface};
use crate::credential::{random_cookie, sha256};
use crate::forge::Forge;
use crate::limits::CREDENTIAL_BYTES_MAX;
pub(crate) use crate::sign_in::throttle::Throttle;
use crate::sign_in::throttle::{Means, Verdict};

/// The most fingerprints that the log names of one refused SSH connection.
const KEYS_NAMED_MAX: usize = 8;

/// Where somebody signs in.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// By which surface.
    pub surface: Surface,
    /// From where, if a network lies between.
    pub from: Option<IpAddr>,
}

/// A session that was opened.
pub struct NewSession {
    /// Whose.
    pub user: UserName,
    /// The cookie's value, known afterwards only by its hash.
    pub cookie: Secret,
    /// How long it lives, in milliseconds.
    pub life_ms: u64,
}

/// The user whose token has that value. `account`, where a name was given with it, must be that user's, whatever its case,
/// or one of those that programs send for want of one ([`Claim`]) and that no account has.
///
/// # Errors
/// `Unauthenticated` for a value that is unknown or another account's, in the same words, or expired; `Busy` instead where
/// sign-ins of that account from that address have failed too often within a minute.
pub fn by_token(forge: &Forge, account: Option<&str>, value: &str, at: At) -> Result<Caller, Problem> {
    match token(forge, account, value)? {
        Ok((token, actor)) => {
            let credential =
                Credential::Token { id: token.id, sha256: sha256(value.as_bytes()), expires: token.expires };
            Ok(Caller { actor, credential, surface: at.surface, from: at.from })
        }
        Err(reason) => {
            let named = account.filter(|name| !claim::is_placeholder(name));
            Err(failed(forge, named.unwrap_or_else(|| public_id(value)), reason, at))
        }
    }
}

/// A header or a form that holds no credential which could be looked up.
///
/// # Errors
/// Always, as for a wrong token.
pub fn unreadable(forge: &Forge, at: At) -> Problem {
    failed(forge, "", Reason::Unreadable, at)
}

/// The user whose key has that fingerprint (`SHA256:…`). The surface has seen the key's signature, or will. Clients offer
/// one key after the other, so a key that nobody has is no failure yet: [`keys_refused`] is called at the end.
///
/// # Errors
/// `Unauthenticated` if no user has that key.
pub fn by_key(forge: &Forge, fingerprint: &Arc<str>, at: At) -> Result<Caller, Problem> {
    let user = forge.store.read(|records| match records.key(fingerprint)? {
        Some(key) => records.user(&key.user),
        None => Ok(None),
    })?;
    let Some(user) = user else {
        return Err(Problem::new(
            ProblemKind::Unauthenticated,
            format!("No account has the key {fingerprint}."),
            "Add it to your account, or use the key that is there.",
        ));
    };
    let actor = Actor::User { name: user.name, owner: user.owner };
    let credential = Credential::Key { fingerprint: Arc::clone(fingerprint) };
    Ok(Caller { actor, credential, surface: at.surface, from: at.from })
}

/// An SSH connection ended with every key refused.
pub fn keys_refused(forge: &Forge, login: &str, fingerprints: &[Arc<str>], at: At) {
    let named = fingerprints.iter().take(KEYS_NAMED_MAX).map(|f| &**f).collect::<Vec<_>>().join(" ");
    drop(failed(forge, login, Reason::Keys(named), at));
}

/// Whose session that cookie is. An ended one is nobody's, and no error: a page then offers to sign in.
///
/// # Errors
/// `Broken` for a failing disk.
pub fn by_session(forge: &Forge, cookie: &str, at: At) -> Result<Option<Caller>, Problem> {
    let sha256 = sha256(cookie.as_bytes());
    let now = forge.now();
    let user = forge.store.read(|records| match records.session(&sha256, now)? {
        Some(session) => records.user(&session.user),
        None => Ok(None),
    })?;
    let Some(user) = user else { return Ok(None) };
    let actor = Actor::User { name: user.name, owner: user.owner };
    let credential = Credential::Session { sha256 };
    Ok(Some(Caller { actor, credential, surface: at.surface, from: at.from }))
}

/// Trades a token that is good for pages for a session of its user, which ends with the token.
///
/// # Errors
/// As [`by_token`]; `Denied` for a token that is good for pushing only.
pub fn open_session(forge: &Forge, value: &str, at: At) -> Result<NewSession, Problem> {
    let caller = by_token(forge, None, value, at)?;
    // A token for pushing only must not grow into a session that may do everything.
    authorise(&caller.actor, None, Action::ManageSelf, "")?;
    let (Some(user), Credential::Token { id, expires, .. }) = (caller.user().cloned(), caller.credential)
    else {
        return Err(unknown_token());
    };
    let now = forge.now();
    let most_ms = u64::try_from(forge.limits.session_lifetime.as_millis()).unwrap_or(u64::MAX);
    let life_ms = expires.map_or(most_ms, |end| end.since(now).min(most_ms));
    let cookie = random_cookie()?;
    let parent = Some(Parent::Token { id });
    let session = Session { user: user.clone(), expires: now.plus_ms(life_ms), parent };
    forge.store.transact(|tx| tx.add_session(sha256(cookie.expose().as_bytes()), &session))?;
    Ok(NewSession { user, cookie, life_ms })
}

/// Ends the session of that cookie.
///
/// # Errors
/// `Broken` for a failing disk.
pub fn close_session(forge: &Forge, cookie: &str) -> Result<(), Problem> {
    forge.store.remove_session(&sha256(cookie.as_bytes()))
}

/// Why a sign-in failed, for the log.
enum Reason {
    /// No token has that value, or that form.
    Unknown,
    /// The token is another account's.
    OtherAccount,
    /// Its time is over: what is told to whoever has its value.
    Expired(Problem),
    /// It could not be read at all.
    Unreadable,
    /// No account has any of these keys.
    Keys(String),
}

fn token(
    forge: &Forge,
    account: Option<&str>,
    value: &str,
) -> Result<Result<(Token, Actor), Reason>, Problem> {
    let parsed = TokenValue::parse(value).filter(|_| value.len() <= CREDENTIAL_BYTES_MAX);
    let Some(parsed) = parsed else { return Ok(Err(Reason::Unknown)) };
    let (found, fits) = forge.store.read(|records| {
        let Some(token) = records.token_by_value(&parsed.sha256())? else { return Ok((None, false)) };
        let fits = fits(records, account, &token.user)?;
        let user = records.user(&token.user)?;
        Ok((user.map(|user| (token, user)), fits))
    })?;
    let Some((token, user)) = found else { return Ok(Err(Reason::Unknown)) };
    if !fits {
        return Ok(Err(Reason::OtherAccount));
    }
    if token.expired(forge.now()) {
        return Ok(Err(Reason::Expired(expired(&token))));
    }
    let actor = Actor::Token { name: user.name, owner: user.owner, scopes: token.scopes.clone() };
    Ok(Ok((token, actor)))
}

/// Whether the name that came with a token may be meant for its user. An account's own name never means another.
fn fits(records: Records<'_>, named: Option<&str>, user: &UserName) -> Result<bool, Problem> {
    let Some(named) = named.filter(|named| *named != user.as_str()) else { return Ok(true) };
    if !named.eq_ignore_ascii_case(user.as_str()) && !claim::is_placeholder(named) {
        return Ok(false);
    }
    Ok(match UserName::parse(named) {
        Ok(name) => records.user(&name)?.is_none(),
        Err(_) => true,
    })
}

/// Counts a failure, tells the log, and says what the client is told.
fn failed(forge: &Forge, account: &str, reason: Reason, at: At) -> Problem {
    // A token in the place of the account is a secret; its public part is none.
    let account =
        if account.trim_start().starts_with("slp_") { public_id(account.trim_start()) } else { account };
    let account: String = account.chars().take(100).collect::<String>().to_ascii_lowercase();
    let why = match &reason {
        Reason::Unknown => "no such token",
        Reason::OtherAccount => "another account's token",
        Reason::Expired(_) => "an expired token",
        Reason::Unreadable => "unreadable credentials",
        Reason::Keys(_) => "no account has the key",
    };
    let (means, keys) = match &reason {
        Reason::Keys(keys) => (Means::Key, keys.as_str()),
        _ => (Means::Token, ""),
    };
    let (surface, from) = (at.surface.as_str(), at.from.map(|ip| ip.to_string()).unwrap_or_default());
    let Verdict { failures, tell, slowed } = forge.throttle.failed(means, &account, at.from, forge.now());
    if tell && slowed {
        tracing::warn!(
            ?account,
            from,
            surface,
            failures,
            "sign-ins fail too often: further failures have to wait"
        );
    } else if tell {
        tracing::warn!(?account, from, surface, why, keys, failures, "a sign-in failed");
    }
    match reason {
        _ if slowed => too_often(failures),
        Reason::Expired(told) => told,
        // Whoever has the token may know that it is good.
        Reason::OtherAccount => Problem::new(
            ProblemKind::Unauthenticated,
            format!("The token is not one of the account {account:?}."),
            "Give the name of the account that it was made for.",
        ),
        _ => unknown_token(),
    }
}

/// The public part of what may be a token, so that failures of one are counted together.
fn public_id(value: &str) -> &str {
    let id = value.strip_prefix("slp_").and_then(|rest| rest.split_once('_')).map_or("", |(id, _)| id);
    if id.len() == 12 && id.bytes().all(|b| b.is_ascii_alphanumeric()) { id } else { "" }
}

fn unknown_token() -> Problem {
    Problem::new(
        ProblemKind::Unauthenticated,
        "The token is not known here, or it is not that account's.",
        "Check the account's name and the token, or make a new one: slipway token create USER",
    )
}

fn expired(token: &Token) -> Problem {
    Problem::new(
        ProblemKind::Unauthenticated,
        format!("The token {:?} of {} has expired.", token.name, token.user),
        format!("Make a new one: slipway token create {}", token.user),
    )
}

fn too_often(failures: u32) -> Problem {
    Problem::new(
        ProblemKind::Busy,
        format!("{failures} sign-ins of this account from your address have failed within a minute."),
        "Check the account's name and the token, and wait a minute; the right ones are taken at once.",
    )
}
