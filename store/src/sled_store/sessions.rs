//! Signed-in browsers. Knows hashes of cookies only, never the cookies.

use serde::{Deserialize, Serialize};
use slipway_core::{UnixMillis, UserName};

use super::accounts;
use crate::disk::{Change, Disk, Scan};
use crate::error::StoreError;
use crate::keys;
use crate::limits::{SESSIONS_PER_USER_MAX, SWEEP_BATCH};

#[derive(Serialize, Deserialize)]
struct Session {
    user: UserName,
    expires: UnixMillis,
}

pub(super) fn add(
    disk: &Disk,
    cookie_sha256: [u8; 32],
    user: &UserName,
    expires: UnixMillis,
) -> Result<(), StoreError> {
    disk.write(|change| {
        accounts::must_exist(change, user)?;
        forget(change, &cookie_sha256)?;
        let view = change.before();
        let of_user = keys::sessions_of(user);
        let marks: Vec<_> = view.keys(&of_user, Scan::Up).collect::<Result<_, _>>()?;
        let surplus = (marks.len() + 1).saturating_sub(SESSIONS_PER_USER_MAX);
        for mark in marks.into_iter().take(surplus) {
            if let Some(cookie) = mark.last_sha256() {
                change.remove(keys::session(&cookie))?;
            }
            change.remove(mark)?;
        }
        change.mark(keys::session_of(user, expires, &cookie_sha256));
        change.put(keys::session(&cookie_sha256), &Session { user: user.clone(), expires }).map(drop)
    })
}

pub(super) fn user(
    disk: &Disk,
    cookie_sha256: &[u8; 32],
    now: UnixMillis,
) -> Result<Option<UserName>, StoreError> {
    let session: Option<Session> = disk.read(|view| view.get(&keys::session(cookie_sha256)))?;
    Ok(session.filter(|s| s.expires > now).map(|s| s.user))
}

pub(super) fn remove(disk: &Disk, cookie_sha256: &[u8; 32]) -> Result<(), StoreError> {
    disk.write(|change| forget(change, cookie_sha256))
}

fn forget(change: &mut Change<'_>, cookie_sha256: &[u8; 32]) -> Result<(), StoreError> {
    let key = keys::session(cookie_sha256);
    let Some(old) = change.get::<Session>(&key)? else { return Ok(()) };
    change.remove(keys::session_of(&old.user, old.expires, cookie_sha256))?;
    change.remove(key)
}

/// Ends a user's sessions, as part of a larger change.
pub(super) fn remove_of_user(change: &mut Change<'_>, user: &UserName) -> Result<(), StoreError> {
    let view = change.before();
    for mark in view.keys(&keys::sessions_of(user), Scan::Up) {
        let mark = mark?;
        if let Some(cookie) = mark.last_sha256() {
            change.remove(keys::session(&cookie))?;
        }
        change.remove(mark)?;
    }
    Ok(())
}

/// Forgets expired sessions, some at a time, so that nobody waits long for their turn to write.
pub(super) fn sweep(disk: &Disk, now: UnixMillis) -> Result<usize, StoreError> {
    let mut total = 0;
    loop {
        let expired: Vec<[u8; 32]> = disk.read(|view| {
            let mut found = Vec::new();
            for key in view.keys(&keys::sessions(), Scan::Up) {
                let Some(cookie) = key?.last_sha256() else { continue };
                let session: Option<Session> = view.get(&keys::session(&cookie))?;
                if session.is_some_and(|s| s.expires <= now) {
                    found.push(cookie);
                }
                if found.len() == SWEEP_BATCH {
                    break;
                }
            }
            Ok(found)
        })?;
        if expired.is_empty() {
            return Ok(total);
        }
        total += disk.write(|change| {
            // Looked up again: in between, a cookie may have been given another time.
            let mut gone = 0;
            for cookie in &expired {
                let session: Option<Session> = change.get(&keys::session(cookie))?;
                if session.is_some_and(|s| s.expires <= now) {
                    forget(change, cookie)?;
                    gone += 1;
                }
            }
            Ok(gone)
        })?;
    }
}
