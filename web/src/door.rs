//! The one door to blocking work: a bounded number of reads at once, fewer for people who have not signed in.
//!
//! The permit moves into the closure, so it is given back when the work has really ended, even where the request that
//! wanted it is long gone.

use std::sync::Arc;

use slipway_core::{Actor, Problem, ProblemKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{MEMBER_READS_MAX, READ_WAIT, VISITOR_READS_MAX};

pub(crate) struct Door {
    members: Arc<Semaphore>,
    visitors: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self {
            members: Arc::new(Semaphore::new(MEMBER_READS_MAX)),
            visitors: Arc::new(Semaphore::new(VISITOR_READS_MAX)),
        }
    }

    /// Runs `work` on a thread that may block.
    ///
    /// # Errors
    /// `Busy` if no place came free in time, `Broken` if the work panicked, else its own.
    pub(crate) async fn run<T, F>(&self, actor: &Actor, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Problem> + Send + 'static,
    {
        let permit = self.enter(actor).await?;
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        task.await.unwrap_or_else(|_| Err(broken()))
    }

    /// A place for work that goes on while its answer is already under way; it must move to the thread that works.
    pub(crate) async fn enter(&self, actor: &Actor) -> Result<OwnedSemaphorePermit, Problem> {
        let places = if matches!(actor, Actor::Anonymous) { &self.visitors } else { &self.members };
        let waiting = tokio::time::timeout(READ_WAIT, Arc::clone(places).acquire_owned());
        match waiting.await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy()),
        }
    }
}

/// The answer where no place is free.
pub(crate) fn busy() -> Problem {
    Problem::new(ProblemKind::Busy, "Too many requests are being answered.", "Try again in a few seconds.")
}

fn broken() -> Problem {
    Problem::new(
        ProblemKind::Broken,
        "Something broke while answering.",
        "Try again; the server's log says more.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_visitor_beyond_the_bound_is_told_to_come_back_and_members_still_get_in() {
        let door = Arc::new(Door::new());
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        for _ in 0..VISITOR_READS_MAX {
            let (door, wait) = (Arc::clone(&door), Arc::clone(&wait));
            tokio::spawn(async move {
                door.run(&Actor::Anonymous, move || {
                    let _ = wait.lock().map(|w| w.recv());
                    Ok(())
                })
                .await
            });
        }
        tokio::task::yield_now().await;
        let refused = door.run(&Actor::Anonymous, || Ok(())).await;
        assert_eq!(refused.map_err(|p| p.kind), Err(ProblemKind::Busy));
        assert_eq!(door.run(&Actor::Server, || Ok(7)).await, Ok(7));
        drop(release);
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_and_gives_its_place_back() {
        let door = Door::new();
        for _ in 0..=MEMBER_READS_MAX {
            let answer: Result<(), Problem> = door.run(&Actor::Server, || panic!("on purpose")).await;
            assert_eq!(answer.map_err(|p| p.kind), Err(ProblemKind::Broken));
        }
    }
}
