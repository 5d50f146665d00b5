//! The engines of a server: which one a build goes to, and which one has it.
//!
//! A repository's builds go to the same engine while that has a place for them, since that one has their cache: rendezvous
//! hashing by the repository's id, so that an engine more or less moves the fewest. One that does not answer gets nothing until
//! it answers again; its work goes to the others.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use slipway_core::RepoId;
use slipway_core::build::Build;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineVersion};
use crate::error::HookError;
use crate::hooks::Hooks;
use crate::limits::{ENGINE_PAUSE_MAX, ENGINE_PAUSE_MIN, PLACES_ASKED};
use crate::log::BuildLog;
use crate::mark::{BuildId, Marks};
use crate::supply::Supply;

/// All engines, in the order of the configuration. Never none.
#[derive(Debug)]
pub struct Engines {
    members: Vec<Member>,
    /// Told when a place is free again.
    freed: Notify,
}

/// One of them.
#[derive(Debug)]
pub struct Member {
    /// What the operator calls it.
    pub name: String,
    /// How many builds it has at once.
    pub slots: u64,
    hooks: Arc<Hooks>,
    taken: Mutex<HashSet<BuildId>>,
    trouble: Mutex<Option<Trouble>>,
}

/// An engine that does not answer.
#[derive(Clone, Debug)]
struct Trouble {
    since: Instant,
    error: HookError,
    pause: Duration,
    /// When it is asked again.
    next: Instant,
}

impl Engines {
    /// Takes the engines by name, each with how many builds it has at once, and what signs what they make; `None` without any.
    pub fn new(engines: Vec<(String, Engine, u64)>, marks: &Marks, supply: Supply) -> Option<Self> {
        let mut engines = engines.into_iter();
        let (name, engine, slots) = engines.next()?;
        let first = Hooks::new(engine, marks.clone()).signing(supply);
        let others: Vec<Member> =
            engines.map(|(name, engine, slots)| Member::of(name, first.on(engine), slots)).collect();
        let members = [Member::of(name, first, slots)].into_iter().chain(others).collect();
        Some(Self { members, freed: Notify::new() })
    }

    /// All of them.
    pub fn all(&self) -> &[Member] {
        &self.members
    }

    /// For what takes no engine: registries alone.
    pub fn any(&self) -> &Arc<Hooks> {
        &self.members[0].hooks
    }

    /// The one that has the build, by its record; a build from before there were several is the first one's.
    ///
    /// # Errors
    /// [`HookError::ImageGone`] where there is no such engine any more.
    pub fn of(&self, build: &Build) -> Result<&Arc<Hooks>, HookError> {
        let Some(name) = &build.engine else { return Ok(self.any()) };
        let found = self.members.iter().find(|member| member.name == *name);
        let gone = || HookError::ImageGone { image: build.image.clone().unwrap_or_default() };
        found.map(|member| &member.hooks).ok_or_else(gone)
    }

    /// The one to ask about what a repository's builds have been made of: the one that they go to, places aside.
    pub fn usual(&self, repo: RepoId) -> &Arc<Hooks> {
        let order = self.order(repo);
        let member = order.iter().find(|m| m.trouble().is_none()).or(order.first());
        member.map_or_else(|| self.any(), |member| &member.hooks)
    }

    /// A place for the build, on the first engine for its repository that has one and answers; waits where all are taken.
    /// The place is the build's until [`Engines::leave`].
    ///
    /// # Errors
    /// [`HookError::EngineDown`] where none answers; [`HookError::Stopped`] after `stop`.
    pub async fn take(
        &self,
        build: &Build,
        log: &BuildLog,
        stop: &CancellationToken,
    ) -> Result<&Member, HookError> {
        let id = (build.repo, build.number);
        self.leave(id);
        let order = self.order(build.repo);
        let mut told = false;
        loop {
            let freed = self.freed.notified();
            let mut wrong = None;
            let mut full = false;
            for member in &order {
                if !member.is_due() {
                    wrong = wrong.or_else(|| member.trouble().map(|t| t.error));
                } else if !member.enter(id) {
                    full = true;
                } else if self.members.len() == 1 {
                    return Ok(member);
                } else {
                    match member.ask().await {
                        Ok(_) => return Ok(member),
                        Err(error) => {
                            self.leave(id);
                            log.line(&format!(
                                "note: the engine {} does not answer; another is tried",
                                member.name
                            ))
                            .await;
                            wrong = Some(error);
                        }
                    }
                }
            }
            if let (false, Some(error)) = (full, wrong) {
                return Err(error);
            }
            if !told {
                log.line("waits for a place on an engine").await;
                told = true;
            }
            tokio::select! {
                () = stop.cancelled() => return Err(HookError::Stopped),
                () = freed => {}
                () = tokio::time::sleep(PLACES_ASKED) => {}
            }
        }
    }

    /// The build needs its place no more.
    pub fn leave(&self, id: BuildId) {
        let mut left = false;
        for member in &self.members {
            left |= member.taken().remove(&id);
        }
        if left {
            self.freed.notify_waiters();
        }
    }

    /// True if the engine that has the build does not answer and another one would: then waiting for it is worse than doing
    /// the work again.
    pub async fn has_lost(&self, build: &Build) -> bool {
        let Some(member) = self.members.iter().find(|m| Some(&m.name) == build.engine.as_ref()) else {
            return false;
        };
        let others = self.members.iter().any(|m| m.name != member.name && m.trouble().is_none());
        others && member.ask().await.is_err()
    }

    /// The first is the one for the repository.
    fn order(&self, repo: RepoId) -> Vec<&Member> {
        let mut order: Vec<&Member> = self.members.iter().collect();
        let score = |member: &Member| score(&member.name, member.slots, repo);
        order.sort_by(|a, b| score(b).total_cmp(&score(a)));
        order
    }
}

/// How much an engine is the repository's; one with more places has more repositories.
fn score(name: &str, slots: u64, repo: RepoId) -> f64 {
    let sum = Sha256::digest(format!("{name}\0{repo}"));
    let number = sum.iter().take(6).fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    // Between 0 and 1, and neither.
    let part = (number as f64 + 0.5) / (1_u64 << 48) as f64;
    -(slots.max(1) as f64) / part.ln()
}

impl Member {
    fn of(name: String, hooks: Hooks, slots: u64) -> Self {
        Self { name, slots, hooks: Arc::new(hooks), taken: Mutex::default(), trouble: Mutex::default() }
    }

    /// Its hands.
    pub fn hooks(&self) -> &Arc<Hooks> {
        &self.hooks
    }

    /// How many builds it has now.
    pub fn busy(&self) -> usize {
        self.taken().len()
    }

    /// Since when it does not answer, and why; `None` where it did when it was asked last.
    pub fn down(&self) -> Option<(Duration, HookError)> {
        self.trouble().map(|trouble| (trouble.since.elapsed(), trouble.error))
    }

    /// True if it may be asked: it answered, or it is time to see whether it does again.
    pub fn is_due(&self) -> bool {
        self.trouble().is_none_or(|trouble| trouble.next <= Instant::now())
    }

    /// Asks it who it is, and remembers whether it answered.
    ///
    /// # Errors
    /// [`HookError::EngineDown`].
    pub async fn ask(&self) -> Result<EngineVersion, HookError> {
        let answer = self.hooks.check_engine().await;
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = match &answer {
            Ok(_) => None,
            Err(error) => Some(Trouble::after(trouble.take(), error.clone())),
        };
        answer
    }

    fn enter(&self, id: BuildId) -> bool {
        let mut taken = self.taken();
        (taken.len() as u64) < self.slots && taken.insert(id)
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<BuildId>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Trouble {
    fn after(before: Option<Self>, error: HookError) -> Self {
        let now = Instant::now();
        let pause = before.as_ref().map_or(ENGINE_PAUSE_MIN, |t| (t.pause * 2).min(ENGINE_PAUSE_MAX));
        Self { since: before.map_or(now, |t| t.since), error, pause, next: now + pause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_core::{BuildNumber, Secret};

    fn pool(engines: &[(&str, u64)]) -> Engines {
        let engine = || Engine::connect(Some("unix:///nowhere/docker.sock")).expect("an address");
        let all = engines.iter().map(|(name, slots)| ((*name).to_owned(), engine(), *slots)).collect();
        Engines::new(all, &Marks::new("test", &Secret::new("key")), Supply::none()).expect("some")
    }

    fn firsts(pool: &Engines) -> Vec<String> {
        (1..=1000).map(|n| pool.order(RepoId(n))[0].name.clone()).collect()
    }

    #[test]
    fn a_repository_keeps_its_engine_when_another_comes_or_goes() {
        let before = firsts(&pool(&[("a", 1), ("b", 1), ("c", 1)]));
        let after = firsts(&pool(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || after == "d"));
        assert!((150..350).contains(&moved), "{moved} of 1000");
        let count = |name: &str| before.iter().filter(|one| *one == name).count();
        assert!([count("a"), count("b"), count("c")].iter().all(|n| (250..420).contains(n)));
    }

    #[test]
    fn an_engine_with_more_places_has_more_repositories() {
        let firsts = firsts(&pool(&[("small", 1), ("large", 3)]));
        let large = firsts.iter().filter(|one| *one == "large").count();
        assert!((680..820).contains(&large), "{large} of 1000");
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let pool = pool(&[("a", 2)]);
        let (one, two, three) =
            ((RepoId(1), BuildNumber(1)), (RepoId(1), BuildNumber(2)), (RepoId(2), BuildNumber(1)));
        let member = &pool.all()[0];
        assert!(member.enter(one) && member.enter(two) && !member.enter(three));
        pool.leave(one);
        assert!(member.enter(three) && member.busy() == 2);
    }

    #[test]
    fn who_does_not_answer_is_asked_again_after_ever_longer_pauses() {
        let pool = pool(&[("a", 1), ("b", 1)]);
        let member = &pool.all()[0];
        assert!(member.is_due() && member.down().is_none());
        let mut trouble = None;
        for pause in [5, 10, 20, 40, 60, 60] {
            let after = Trouble::after(trouble.take(), HookError::Stopped);
            assert_eq!(after.pause.as_secs(), pause);
            trouble = Some(after);
        }
        *member.trouble.lock().expect("unpoisoned") = trouble;
        assert!(!member.is_due() && member.down().is_some());
    }
}
