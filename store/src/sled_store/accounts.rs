//! Users with their SSH keys and tokens. Knows hashes of token values only, never the values.

use serde::{Deserialize, Serialize};
use slipway_core::people::{PublicKey, Token, User};
use slipway_core::{ProblemKind, UserName};

use super::{refusal, repos, sessions};
use crate::disk::{Change, Disk, Scan};
use crate::error::StoreError;
use crate::keys::{self, Counter};
use crate::limits::{KEYS_PER_USER_MAX, TEXT_BYTES_MAX, TOKENS_PER_USER_MAX, USERS_MAX};

/// Longest key fingerprint or token id, in bytes: both become parts of keys.
const ID_BYTES_MAX: usize = 128;

/// A token with the hash by which it is found, so that both go together.
#[derive(Serialize, Deserialize)]
struct TokenRecord {
    token: Token,
    value_sha256: String,
}

pub(super) fn create_user(disk: &Disk, user: &User) -> Result<(), StoreError> {
    disk.write(|change| {
        let key = keys::user(&user.name);
        if change.has(&key)? {
            return Err(refusal::taken("user", &user.name));
        }
        if repos::count_up(change, Counter::Users)? > USERS_MAX {
            return Err(refusal::full("users", USERS_MAX));
        }
        change.put(key, user).map(drop)
    })
}

pub(super) fn user(disk: &Disk, name: &UserName) -> Result<Option<User>, StoreError> {
    disk.read(|view| view.get(&keys::user(name)))
}

pub(super) fn users(disk: &Disk) -> Result<Vec<User>, StoreError> {
    disk.read(|view| view.records(&keys::users(), Scan::Up).collect())
}

pub(super) fn remove_user(disk: &Disk, name: &UserName) -> Result<(), StoreError> {
    disk.write(|change| {
        let key = keys::user(name);
        let user: User = change.get(&key)?.ok_or_else(|| refusal::missing("user", name))?;
        if user.owner && !another_owner(change, name)? {
            return Err(refusal::refuse(
                ProblemKind::Conflict,
                format!("{name} is the last owner of this server and cannot be removed."),
                "Add another owner first.",
            ));
        }
        change.remove(key)?;
        repos::count_down(change, Counter::Users, 1)?;
        let view = change.before();
        let (of_keys, of_tokens) = (keys::keys_of(name), keys::tokens_of(name));
        for mark in view.keys(&of_keys, Scan::Up) {
            let mark = mark?;
            if let Some(fingerprint) = mark.text_after(&of_keys) {
                change.remove(keys::public_key(fingerprint))?;
            }
            change.remove(mark)?;
        }
        for mark in view.keys(&of_tokens, Scan::Up) {
            let mark = mark?;
            if let Some(id) = mark.text_after(&of_tokens) {
                forget_token(change, id)?;
            }
            change.remove(mark)?;
        }
        sessions::remove_of_user(change, name)?;
        repos::remove_grants_of(change, name)
    })
}

fn another_owner(change: &Change<'_>, than: &UserName) -> Result<bool, StoreError> {
    for user in change.before().records::<User>(&keys::users(), Scan::Up) {
        let user = user?;
        if user.owner && user.name != *than {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses what belongs to nobody.
pub(super) fn must_exist(change: &Change<'_>, user: &UserName) -> Result<(), StoreError> {
    if change.has(&keys::user(user))? { Ok(()) } else { Err(refusal::missing("user", user)) }
}

pub(super) fn add_key(disk: &Disk, new: &PublicKey) -> Result<(), StoreError> {
    refusal::check_length("fingerprint", &new.fingerprint, ID_BYTES_MAX)?;
    refusal::check_length("key", &new.openssh, TEXT_BYTES_MAX)?;
    refusal::check_length("title of the key", &new.title, TEXT_BYTES_MAX)?;
    disk.write(|change| {
        must_exist(change, &new.user)?;
        let key = keys::public_key(&new.fingerprint);
        if change.has(&key)? {
            return Err(refusal::taken("key", &new.fingerprint));
        }
        if change.before().keys(&keys::keys_of(&new.user), Scan::Up).count() >= KEYS_PER_USER_MAX {
            return Err(refusal::full(&format!("keys of {}", new.user), KEYS_PER_USER_MAX));
        }
        change.mark(keys::key_of(&new.user, &new.fingerprint));
        change.put(key, new).map(drop)
    })
}

pub(super) fn key(disk: &Disk, fingerprint: &str) -> Result<Option<PublicKey>, StoreError> {
    if fingerprint.len() > ID_BYTES_MAX {
        return Ok(None);
    }
    disk.read(|view| view.get(&keys::public_key(fingerprint)))
}

pub(super) fn keys(disk: &Disk, user: Option<&UserName>) -> Result<Vec<PublicKey>, StoreError> {
    disk.read(|view| {
        let Some(user) = user else { return view.records(&keys::public_keys(), Scan::Up).collect() };
        let of_user = keys::keys_of(user);
        let mut found = Vec::new();
        for mark in view.keys(&of_user, Scan::Up) {
            if let Some(fingerprint) = mark?.text_after(&of_user) {
                found.extend(view.get(&keys::public_key(fingerprint))?);
            }
        }
        Ok(found)
    })
}

pub(super) fn remove_key(disk: &Disk, fingerprint: &str) -> Result<(), StoreError> {
    refusal::check_length("fingerprint", fingerprint, ID_BYTES_MAX)?;
    disk.write(|change| {
        let key = keys::public_key(fingerprint);
        let old: PublicKey = change.get(&key)?.ok_or_else(|| refusal::missing("key", fingerprint))?;
        change.remove(keys::key_of(&old.user, fingerprint))?;
        change.remove(key)
    })
}

pub(super) fn add_token(disk: &Disk, token: &Token, value_sha256: [u8; 32]) -> Result<(), StoreError> {
    refusal::check_length("token id", &token.id, ID_BYTES_MAX)?;
    refusal::check_length("name of the token", &token.name, TEXT_BYTES_MAX)?;
    disk.write(|change| {
        must_exist(change, &token.user)?;
        let (key, by_value) = (keys::token(&token.id), keys::token_value(&value_sha256));
        if change.has(&key)? || change.has(&by_value)? {
            return Err(refusal::taken("token", &token.id));
        }
        if change.before().keys(&keys::tokens_of(&token.user), Scan::Up).count() >= TOKENS_PER_USER_MAX {
            return Err(refusal::full(&format!("tokens of {}", token.user), TOKENS_PER_USER_MAX));
        }
        change.mark(keys::token_of(&token.user, &token.id));
        change.put(by_value, &token.id)?;
        let record = TokenRecord { token: token.clone(), value_sha256: hex::encode(value_sha256) };
        change.put(key, &record).map(drop)
    })
}

pub(super) fn token_by_value(disk: &Disk, value_sha256: &[u8; 32]) -> Result<Option<Token>, StoreError> {
    disk.read(|view| {
        let Some(id) = view.get::<String>(&keys::token_value(value_sha256))? else { return Ok(None) };
        Ok(view.get::<TokenRecord>(&keys::token(&id))?.map(|record| record.token))
    })
}

pub(super) fn tokens(disk: &Disk, user: Option<&UserName>) -> Result<Vec<Token>, StoreError> {
    disk.read(|view| {
        let Some(user) = user else {
            let all = view.records::<TokenRecord>(&keys::tokens(), Scan::Up);
            return all.map(|record| record.map(|r| r.token)).collect();
        };
        let of_user = keys::tokens_of(user);
        let mut found = Vec::new();
        for mark in view.keys(&of_user, Scan::Up) {
            if let Some(id) = mark?.text_after(&of_user) {
                found.extend(view.get::<TokenRecord>(&keys::token(id))?.map(|record| record.token));
            }
        }
        Ok(found)
    })
}

pub(super) fn remove_token(disk: &Disk, id: &str) -> Result<(), StoreError> {
    refusal::check_length("token id", id, ID_BYTES_MAX)?;
    disk.write(|change| {
        let user = forget_token(change, id)?.ok_or_else(|| refusal::missing("token", id))?;
        change.remove(keys::token_of(&user, id))
    })
}

/// Forgets a token and the hash that leads to it; the user's mark is left to the caller. Says whose it was.
fn forget_token(change: &mut Change<'_>, id: &str) -> Result<Option<UserName>, StoreError> {
    let key = keys::token(id);
    let Some(record) = change.get::<TokenRecord>(&key)? else { return Ok(None) };
    let hash = hex::decode(&record.value_sha256).ok().and_then(|raw| <[u8; 32]>::try_from(raw).ok());
    if let Some(hash) = hash {
        change.remove(keys::token_value(&hash))?;
    }
    change.remove(key)?;
    Ok(Some(record.token.user))
}
