//! When something was last heard of a program.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The moment of the last word. Cheap to clone: all tell and ask of the same.
#[derive(Clone, Debug)]
pub(crate) struct Heard(Arc<Mutex<Instant>>);

impl Default for Heard {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Heard {
    /// There was a word just now.
    pub(crate) fn now(&self) {
        *self.last() = Instant::now();
    }

    /// Waits until there was none for so long; for ever without a limit.
    pub(crate) async fn silent(&self, limit: Option<Duration>) -> Duration {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            let until = *self.last() + limit;
            if until <= Instant::now() {
                return limit;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Instant> {
        // An assignment leaves nothing half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_word_begins_the_wait_anew() {
        let heard = Heard::default();
        let limit = Duration::from_millis(300);
        let begun = Instant::now();
        let words = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                heard.now();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            got = heard.silent(Some(limit)) => assert_eq!(got, limit),
            () = words => {}
        }
        assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
        let unbounded = tokio::time::timeout(Duration::from_millis(50), heard.silent(None)).await;
        assert!(unbounded.is_err());
    }
}
