//! Signed-in browsers. Knows hashes of cookies only, never the cookies.

use slipway_core::people::Session;
use slipway_core::{Problem, UnixMillis, UserName};

use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::limits::SWEEP_BATCH;
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// The session of that cookie, if it has not expired.
    pub fn session(&self, cookie_sha256: &[u8; 32], now: UnixMillis) -> Result<Option<Session>, StoreError> {
        let session: Option<Session> = self.get(&keys::session(cookie_sha256))?;
        Ok(session.filter(|s| s.expires > now))
    }

    /// The sessions of a user that have not expired, with the SHA-256 of their cookies: what ends soonest comes first.
    pub fn sessions_of(
        &self,
        user: &UserName,
        now: UnixMillis,
    ) -> Result<Vec<([u8; 32], Session)>, StoreError> {
        let mut found = Vec::new();
        for mark in self.all_keys(&keys::sessions_of(user))? {
            let Some(cookie) = mark.last_sha256() else { continue };
            found.extend(self.session(&cookie, now)?.map(|session| (cookie, session)));
        }
        Ok(found)
    }

    /// Some that have expired.
    fn expired_sessions(&self, now: UnixMillis) -> Result<Vec<[u8; 32]>, StoreError> {
        let mut found = Vec::new();
        for key in self.keys(&keys::sessions(), Scan::Up) {
            let Some(cookie) = key?.last_sha256() else { continue };
            let session: Option<Session> = self.get(&keys::session(&cookie))?;
            if session.is_some_and(|s| s.expires <= now) {
                found.push(cookie);
            }
            if found.len() == SWEEP_BATCH {
                break;
            }
        }
        Ok(found)
    }
}

impl Tx<'_> {
    /// Records a signed-in browser by the SHA-256 of its cookie. It ends with its parent at the latest.
    pub fn add_session(&mut self, cookie_sha256: [u8; 32], session: &Session) -> Result<(), StoreError> {
        self.need_user(&session.user)?;
        self.remove_session(&cookie_sha256)?;
        let marks = self.view().all_keys(&keys::sessions_of(&session.user))?;
        let surplus = (marks.len() + 1).saturating_sub(self.limits.sessions_per_account_max);
        for mark in marks.into_iter().take(surplus) {
            self.remove_marked_session(mark)?;
        }
        let end = self.view().end_of(session.parent.as_ref())?;
        let expires = end.map_or(session.expires, |end| end.min(session.expires));
        if let Some(parent) = &session.parent {
            self.mark(keys::session_made_with(parent, &cookie_sha256));
        }
        self.mark(keys::session_of(&session.user, expires, &cookie_sha256));
        self.put(keys::session(&cookie_sha256), &Session { expires, ..session.clone() }).map(drop)
    }

    /// Ends a session; fine if there is none.
    pub fn remove_session(&mut self, cookie_sha256: &[u8; 32]) -> Result<(), StoreError> {
        let key = keys::session(cookie_sha256);
        let Some(old) = self.get::<Session>(&key)? else { return Ok(()) };
        if let Some(parent) = &old.parent {
            self.remove(keys::session_made_with(parent, cookie_sha256))?;
        }
        self.remove(keys::session_of(&old.user, old.expires, cookie_sha256))?;
        self.remove(key)
    }

    fn remove_marked_session(&mut self, mark: Key) -> Result<(), StoreError> {
        if let Some(cookie) = mark.last_sha256() {
            self.remove_session(&cookie)?;
        }
        self.remove(mark)
    }

    /// Ends a user's sessions, as part of a larger change.
    pub fn remove_sessions_of(&mut self, user: &UserName) -> Result<(), StoreError> {
        for mark in self.view().all_keys(&keys::sessions_of(user))? {
            self.remove_marked_session(mark)?;
        }
        Ok(())
    }

    /// Ends those that have expired; says how many. In between, a cookie may have been given another time.
    fn remove_expired_sessions(&mut self, found: &[[u8; 32]], now: UnixMillis) -> Result<usize, StoreError> {
        let mut gone = 0;
        for cookie in found {
            let session: Option<Session> = self.get(&keys::session(cookie))?;
            if session.is_some_and(|s| s.expires <= now) {
                self.remove_session(cookie)?;
                gone += 1;
            }
        }
        Ok(gone)
    }
}

impl Store {
    /// Records a signed-in browser by the SHA-256 of its cookie, opened with nothing that could end before.
    pub fn add_session(
        &self,
        cookie_sha256: [u8; 32],
        user: &UserName,
        expires: UnixMillis,
    ) -> Result<(), Problem> {
        let session = Session { user: user.clone(), expires, parent: None };
        self.transact(|tx| tx.add_session(cookie_sha256, &session))
    }
    /// Whose session it is, if it has not expired.
    pub fn session(&self, cookie_sha256: &[u8; 32], now: UnixMillis) -> Result<Option<UserName>, Problem> {
        self.read(|view| Ok(view.session(cookie_sha256, now)?.map(|session| session.user)))
    }
    /// Ends a session; fine if there is none.
    pub fn remove_session(&self, cookie_sha256: &[u8; 32]) -> Result<(), Problem> {
        self.transact(|tx| tx.remove_session(cookie_sha256))
    }

    /// Forgets sessions that have expired, some at a time, so that nobody waits long for their turn to write; says how
    /// many. Meant to be called every hour or so.
    pub fn sweep(&self, now: UnixMillis) -> Result<usize, Problem> {
        let mut total = 0;
        loop {
            let expired = self.read(|view| view.expired_sessions(now))?;
            if expired.is_empty() {
                return Ok(total);
            }
            total += self.transact(|tx| tx.remove_expired_sessions(&expired, now))?;
        }
    }
}
