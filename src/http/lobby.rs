//! Who gives way when all places for connections are taken: the one that has waited longest for a request of its client.
//! Nobody can keep others out by holding connections open without a word.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

/// The connections that wait, in the order in which they began to.
#[derive(Default)]
pub(super) struct Lobby(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    next: u64,
    idle: BTreeMap<u64, CancellationToken>,
}

impl Queue {
    fn put(&mut self, gone: CancellationToken) -> u64 {
        self.next += 1;
        self.idle.insert(self.next, gone);
        self.next
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Changed in single steps: a panic in between leaves it valid.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lobby {
    /// A connection that waits for its first request. `gone` is cancelled when it has to give way.
    pub(super) fn enter(self: &Arc<Self>, gone: CancellationToken) -> Arc<Guest> {
        let number = lock(&self.0).put(gone.clone());
        Arc::new(Guest { lobby: self.clone(), gone, state: Mutex::new(State { requests: 0, number }) })
    }

    /// Has the one that has waited longest give way; false if none waits.
    pub(super) fn dismiss(&self) -> bool {
        let longest = lock(&self.0).idle.pop_first();
        longest.inspect(|(_, gone)| gone.cancel()).is_some()
    }
}

/// A connection.
pub(super) struct Guest {
    lobby: Arc<Lobby>,
    gone: CancellationToken,
    state: Mutex<State>,
}

struct State {
    /// Requests that are being answered.
    requests: usize,
    /// Its place among those that wait, while there are none.
    number: u64,
}

impl Guest {
    /// A request has come: until what is returned goes, the connection gives way to nobody.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        let mut state = lock(&self.state);
        state.requests += 1;
        if state.requests == 1 {
            lock(&self.lobby.0).idle.remove(&state.number);
        }
        Busy(self.clone())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let number = lock(&self.state).number;
        lock(&self.lobby.0).idle.remove(&number);
    }
}

/// A request that is being answered.
pub(super) struct Busy(Arc<Guest>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.requests -= 1;
        if state.requests == 0 {
            state.number = lock(&self.0.lobby.0).put(self.0.gone.clone());
        }
    }
}

/// The body of an answer, with which the request ends.
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_longest_gives_way_and_who_is_busy_does_not() {
        let lobby = Arc::new(Lobby::default());
        let tokens: Vec<CancellationToken> = (0..3).map(|_| CancellationToken::new()).collect();
        let guests: Vec<Arc<Guest>> = tokens.iter().map(|token| lobby.enter(token.clone())).collect();
        let first = guests[0].busy();
        let also_first = guests[0].busy();
        assert!(lobby.dismiss());
        let gone = |n: usize| tokens[n].is_cancelled();
        assert!(!gone(0) && gone(1) && !gone(2));
        // One of two requests is over: still busy. Then it waits again, behind the others.
        drop(first);
        drop(also_first);
        assert!(lobby.dismiss());
        assert!(!gone(0) && gone(2));
        drop(guests);
        assert!(!lobby.dismiss(), "nobody is there");
        assert!(!gone(0));
    }
}
