//! The one door to blocking work: a bounded number of reads at once, fewer for people who have not signed in, and of
//! those a share for each party.
//!
//! The place moves into the closure, so it is given back when the work has really ended, even where the request that
//! wanted it is long gone.

use std::sync::Arc;
use std::time::Duration;

use slipway_core::limits::Limits;
use slipway_core::{Actor, Problem, ProblemKind};
use slipway_forge::Caller;
use slipway_forge::priority;
use slipway_forge::shares::{Bounds, Party, Place, Shares};

use crate::limits::{PIECE_WAIT, SIGN_INS_MAX};

pub(crate) struct Door {
    members: Arc<Shares>,
    visitors: Arc<Shares>,
    /// To find out who calls. Short, and apart: whoever is let in here may yet be an owner.
    sign_ins: Arc<Shares>,
    /// How long somebody waits for a place.
    wait: Duration,
}

impl Door {
    pub(crate) fn new(limits: &Limits) -> Self {
        let shares = |places| Shares::new("requests", Bounds::of(places));
        Self {
            members: shares(limits.member_requests_max),
            visitors: shares(limits.visitor_requests_max),
            sign_ins: shares(SIGN_INS_MAX),
            wait: limits.request_wait,
        }
    }

    /// Runs `work` of that caller on a thread that may block.
    ///
    /// # Errors
    /// `Busy` if no place came free in time, `Broken` if the work panicked, else its own.
    pub(crate) async fn run<T, F>(&self, caller: &Caller, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Problem> + Send + 'static,
    {
        let places = if matches!(caller.actor, Actor::Anonymous) { &self.visitors } else { &self.members };
        work_in(places.enter(Party::of(caller), self.wait).await?, work).await
    }

    /// The same for an answer that is under way already, whose client has waited itself: it does not fail as soon.
    pub(crate) async fn go_on<T, F>(&self, caller: &Caller, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Problem> + Send + 'static,
    {
        let places = if matches!(caller.actor, Actor::Anonymous) { &self.visitors } else { &self.members };
        let place = places.enter(Party::of(caller), PIECE_WAIT).await?;
        let done = priority::piece(move || {
            let _place = place;
            work()
        });
        done.await.unwrap_or_else(|| Err(broken()))
    }

    /// Looks up who somebody at that address is.
    ///
    /// # Errors
    /// As for [`Door::run`].
    pub(crate) async fn sign_in<T, F>(&self, from: Party, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Problem> + Send + 'static,
    {
        work_in(self.sign_ins.enter(from, self.wait).await?, work).await
    }
}

async fn work_in<T, F>(place: Place, work: F) -> Result<T, Problem>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Problem> + Send + 'static,
{
    let task = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    task.await.unwrap_or_else(|_| Err(broken()))
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

    fn visitor(n: u8) -> Caller {
        Caller::anonymous(slipway_forge::Surface::Pages, Some([10, 0, 0, n].into()))
    }

    #[tokio::test]
    async fn no_visitor_takes_the_last_place_of_all_and_none_that_of_members() {
        let limits = Limits { visitor_requests_max: 4, ..Limits::default() };
        let door = Arc::new(Door::new(&limits));
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let hold = |n: u8| {
            let (door, wait) = (Arc::clone(&door), Arc::clone(&wait));
            tokio::spawn(async move {
                let held = move || {
                    let _ = wait.lock().map(|w| w.recv());
                    Ok(())
                };
                door.run(&visitor(n), held).await
            })
        };
        for _ in 0..limits.visitor_requests_max {
            hold(1);
        }
        tokio::task::yield_now().await;
        let refused = door.run(&visitor(1), || Ok(())).await.expect_err("its share is taken");
        assert!(refused.kind == ProblemKind::Busy && refused.what.contains("your address"), "{refused}");
        assert_eq!(door.run(&visitor(2), || Ok(7)).await, Ok(7));
        hold(2);
        tokio::task::yield_now().await;
        let refused = door.run(&visitor(3), || Ok(())).await.expect_err("all are taken");
        assert!(refused.what.contains("on this server"), "{refused}");
        assert_eq!(door.run(&Caller::host(), || Ok(7)).await, Ok(7));
        drop(release);
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_and_gives_its_place_back() {
        let limits = Limits::default();
        let door = Door::new(&limits);
        for _ in 0..=limits.member_requests_max {
            let answer: Result<(), Problem> = door.run(&Caller::host(), || panic!("on purpose")).await;
            assert_eq!(answer.map_err(|p| p.kind), Err(ProblemKind::Broken));
        }
    }
}
