//! What `git push -o wait` prints: the event's builds and deploys, live, until the verdict.
//!
//! Starts at the event, follows each build into the deploys that its manifest bump owes, and ends with one line.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use slipway_core::build::{Build, BuildState};
use slipway_core::deploy::{Change as ObjectChange, Deploy, DeployState, Health};
use slipway_core::{Action, BuildNumber, DeployNumber, EventId, Problem, ProblemKind, RepoId, RepoName};
use tokio::sync::mpsc;

use self::words::{first_line, is_ending, left, next_try, object_id, object_line, take_lines};
use crate::access::again;
use crate::caller::Caller;
use crate::forge::{Forge, blocking};
use crate::limits::{FOLLOW_LINES_MAX, LOG_PIECE_BYTES};
use crate::outside::Change;

mod words;

/// How often the records are read again, should a change have been missed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The same while a build writes its log.
const LOOK_AT_LOGS: Duration = Duration::from_millis(150);

/// The work of a caller's push, as it goes on. Rights are asked again with every look: what the caller may not see any
/// more is not told any more.
#[derive(Clone)]
pub struct Follow {
    forge: Arc<Forge>,
    caller: Caller,
}

impl Follow {
    /// Looks at nothing yet.
    pub fn new(forge: &Arc<Forge>, caller: &Caller) -> Self {
        Self { forge: Arc::clone(forge), caller: caller.clone() }
    }

    /// What becomes of an event, in lines for people, until the verdict, which is the last.
    pub fn lines(&self, event: EventId) -> BoxStream<'static, String> {
        let (lines, out) = mpsc::channel(FOLLOW_LINES_MAX);
        // Listened to before the first look: nothing falls between.
        let changes = self.forge.outside.changes();
        let follower = Follower {
            of: self.clone(),
            lines,
            events: vec![event],
            builds: HashMap::new(),
            deploys: HashMap::new(),
            gone: Vec::new(),
            began: Instant::now(),
        };
        tokio::spawn(follower.run(changes));
        stream::unfold(out, |mut out| async move { out.recv().await.map(|line| (line, out)) }).boxed()
    }

    /// The events that `events` led to, and the builds and deploys of all of them, with the names of their repositories
    /// now. Blocking.
    fn found(&self, mut events: Vec<EventId>) -> Result<Found, Problem> {
        let store = &self.forge.store;
        let (mut builds, mut deploys) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(event) = events.get(at).copied() {
            at += 1;
            let of_event = store.builds_of_event(event)?;
            let pusher = of_event.first().map(|build| build.actor.clone());
            for build in of_event {
                // Somebody else's retry may reach manifests that are no business of the pusher's.
                let own = pusher.as_ref() == Some(&build.actor);
                let new = build.bumps.iter().filter(|_| own).filter_map(|b| b.event);
                let new: Vec<EventId> = new.filter(|e| !events.contains(e)).collect();
                events.extend(new);
                builds.extend(self.seen(build.repo)?.map(|name| (name, build)));
            }
            for deploy in store.deploys_of_event(event)? {
                deploys.extend(self.seen(deploy.repo)?.map(|name| (name, deploy)));
            }
        }
        Ok((events, builds, deploys))
    }

    /// The name of a repository, if it is there and the caller may see it now.
    fn seen(&self, repo: RepoId) -> Result<Option<RepoName>, Problem> {
        match again(&self.forge, &self.caller, repo, Action::ReadRepo) {
            Ok(record) => Ok(Some(record.name)),
            Err(problem) if problem.kind == ProblemKind::Broken => Err(problem),
            Err(_) => Ok(None),
        }
    }
}

/// Events, and the builds and deploys that they led to.
type Found = (Vec<EventId>, Vec<(RepoName, Build)>, Vec<(RepoName, Deploy)>);

struct Follower {
    of: Follow,
    lines: mpsc::Sender<String>,
    events: Vec<EventId>,
    builds: HashMap<(RepoId, BuildNumber), BuildView>,
    deploys: HashMap<(RepoId, DeployNumber), DeployView>,
    /// Builds and deploys whose repository was removed under them, or may not be seen any more.
    gone: Vec<String>,
    began: Instant,
}

/// What was told of a build so far.
struct BuildView {
    name: RepoName,
    build: Build,
    log_offset: u64,
    /// It cannot be read, and that was told.
    log_lost: bool,
    partial: Vec<u8>,
    told: Option<BuildState>,
}

/// What was told of a deploy so far.
struct DeployView {
    name: RepoName,
    deploy: Deploy,
    objects: HashMap<String, (ObjectChange, Health, String)>,
    notes: HashSet<String>,
    told: Option<DeployState>,
}

/// The client is gone.
struct Gone;

impl Follower {
    async fn run(mut self, changes: BoxStream<'static, Change>) {
        // Where nothing tells of changes, the clock does.
        let mut changes = changes.chain(stream::pending());
        while self.began.elapsed() < self.of.forge.limits.push_wait_max {
            match self.look().await {
                Ok(true) | Err(Gone) => return,
                Ok(false) => {}
            }
            let writes = self.builds.values().any(|b| !b.build.run.state.is_final());
            let pause = if writes { LOOK_AT_LOGS } else { LOOK_AGAIN };
            tokio::select! {
                () = self.lines.closed() => return,
                _ = changes.next() => while changes.next().now_or_never().is_some() {},
                () = tokio::time::sleep(pause) => {}
            }
        }
        // Hours have passed; whoever still listens shall not wait for a verdict that never comes.
        drop(self.say(self.verdict()).await);
    }

    /// Forgets what is gone, or may not be seen any more: its end will never be told.
    async fn forget(
        &mut self,
        builds: &HashSet<(RepoId, BuildNumber)>,
        deploys: &HashSet<(RepoId, DeployNumber)>,
    ) -> Result<(), Gone> {
        let mut gone = Vec::new();
        self.builds.retain(|key, view| {
            let there = builds.contains(key);
            if !there {
                gone.push(format!("{} build {}", view.name, key.1));
            }
            there
        });
        self.deploys.retain(|key, view| {
            let there = deploys.contains(key);
            if !there {
                gone.push(format!("{} deploy {}", view.name, key.1));
            }
            there
        });
        for what in gone {
            self.say(format!("{what}: its repository was removed, or you may not see it any more")).await?;
            self.gone.push(what);
        }
        Ok(())
    }

    /// Reads everything anew and tells what is new. True once the verdict is told.
    async fn look(&mut self) -> Result<bool, Gone> {
        self.refresh().await?;
        let builds: Vec<_> = self.builds.keys().copied().collect();
        for key in builds {
            self.tell_build(key).await?;
        }
        let deploys: Vec<_> = self.deploys.keys().copied().collect();
        for key in deploys {
            self.tell_deploy(key).await?;
        }
        let open = self.builds.values().any(|b| !b.build.run.state.is_final())
            || self.deploys.values().any(|d| !d.deploy.run.state.is_final());
        if open {
            return Ok(false);
        }
        let verdict = self.verdict();
        self.say(verdict).await?;
        Ok(true)
    }

    async fn refresh(&mut self) -> Result<(), Gone> {
        let (of, events) = (self.of.clone(), self.events.clone());
        let (events, builds, deploys) = match blocking(move || of.found(events)).await {
            Ok(found) => found,
            Err(problem) => return self.say(problem.to_string()).await.and(Err(Gone)),
        };
        self.events = events;
        let known_builds = builds.iter().map(|(_, b)| (b.repo, b.number)).collect();
        let known_deploys = deploys.iter().map(|(_, d)| (d.repo, d.number)).collect();
        self.forget(&known_builds, &known_deploys).await?;
        for (name, build) in builds {
            let view = self.builds.entry((build.repo, build.number)).or_insert_with(|| BuildView {
                name: name.clone(),
                build: build.clone(),
                log_offset: 0,
                log_lost: false,
                partial: Vec::new(),
                told: None,
            });
            // Renamed, perhaps.
            (view.name, view.build) = (name, build);
        }
        for (name, deploy) in deploys {
            let view = self.deploys.entry((deploy.repo, deploy.number)).or_insert_with(|| DeployView {
                name: name.clone(),
                deploy: deploy.clone(),
                objects: HashMap::new(),
                notes: HashSet::new(),
                told: None,
            });
            (view.name, view.deploy) = (name, deploy);
        }
        Ok(())
    }

    async fn tell_build(&mut self, key: (RepoId, BuildNumber)) -> Result<(), Gone> {
        loop {
            let Some(view) = self.builds.get_mut(&key) else { return Ok(()) };
            let (forge, offset) = (Arc::clone(&self.of.forge), view.log_offset);
            let read = move || forge.outside.read_log(key.0, key.1, offset, LOG_PIECE_BYTES);
            let bytes = match blocking(read).await {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => bytes,
                Err(_) if view.log_lost => break,
                Err(problem) => {
                    view.log_lost = true;
                    let line = format!("{} build {}: {problem}", view.name, key.1);
                    self.say(line).await?;
                    break;
                }
            };
            view.log_offset += bytes.len() as u64;
            for line in take_lines(&mut view.partial, &bytes) {
                // The log's own last line; the build's state says the same, once.
                if !is_ending(&line) {
                    self.say(line).await?;
                }
            }
        }
        let now = self.of.forge.now();
        let Some(view) = self.builds.get_mut(&key) else { return Ok(()) };
        let state = view.build.run.state;
        if view.told == Some(state) {
            return Ok(());
        }
        view.told = Some(state);
        let name = format!("{} {}", view.name, view.build.label());
        let why = view.build.run.failure.as_ref().map(|f| f.problem.to_string()).unwrap_or_default();
        let line = match state {
            BuildState::Queued => format!("{name}: waits for its turn"),
            BuildState::Waiting => {
                format!("{name}: {why} {}", next_try(view.build.run.retries, view.build.run.retry_at, now))
            }
            BuildState::Running => return Ok(()),
            BuildState::Succeeded => match &view.build.pushed {
                Some(image) => {
                    format!("{name}: pushed {}@{}{}", image.name, image.digest, left(&view.build.moves))
                }
                None => format!("{name}: succeeded"),
            },
            BuildState::Failed => format!("{name}: failed. {why}{}", first_line(&view.build)),
            BuildState::Cancelled => format!("{name}: cancelled"),
            BuildState::Superseded => format!("{name}: a newer commit took its place"),
        };
        self.say(line).await
    }

    async fn tell_deploy(&mut self, key: (RepoId, DeployNumber)) -> Result<(), Gone> {
        let now = self.of.forge.now();
        let Some(view) = self.deploys.get_mut(&key) else { return Ok(()) };
        let name = format!("{} deploy {}", view.name, view.deploy.number);
        let mut lines = Vec::new();
        let total = view.deploy.objects.len();
        for (at, object) in view.deploy.objects.iter().enumerate() {
            let id = object_id(object);
            let now = (object.change, object.health, object.message.clone());
            if object.change != ObjectChange::Pending && view.objects.get(&id) != Some(&now) {
                lines.push(format!("{name}: [{}/{total}] {}", at + 1, object_line(object)));
                view.objects.insert(id, now);
            }
        }
        for note in &view.deploy.notes {
            if view.notes.insert(note.clone()) {
                lines.push(format!("{name}: {note}"));
            }
        }
        let state = view.deploy.run.state;
        if view.told != Some(state) {
            view.told = Some(state);
            let why = view.deploy.run.failure.as_ref().map(|f| f.problem.to_string()).unwrap_or_default();
            match state {
                DeployState::Queued => lines.push(format!("{name}: waits for its turn")),
                DeployState::Running => lines.push(format!("{name}: to cluster {}", view.deploy.cluster)),
                DeployState::Waiting => {
                    let next = next_try(view.deploy.run.retries, view.deploy.run.retry_at, now);
                    lines.push(format!("{name}: {why} {next}"));
                }
                DeployState::Healthy => lines.push(format!("{name}: healthy")),
                DeployState::Kept => {
                    let held = view.deploy.held();
                    lines.push(format!(
                        "{name}: healthy, and {held} kept until it is confirmed that they may go"
                    ));
                }
                DeployState::Failed => lines.push(format!("{name}: failed. {why}")),
                DeployState::Cancelled => lines.push(format!("{name}: cancelled")),
                DeployState::Superseded => lines.push(format!("{name}: a newer commit took its place")),
            }
        }
        for line in lines {
            self.say(line).await?;
        }
        Ok(())
    }

    fn verdict(&self) -> String {
        let took = self.began.elapsed().as_secs_f64();
        let bad = self
            .builds
            .values()
            .filter(|b| b.build.run.state != BuildState::Succeeded)
            .map(|b| format!("{} {}", b.name, b.build.label()))
            .chain(self.deploys.values().filter(|d| d.deploy.run.state != DeployState::Healthy).map(|d| {
                match d.deploy.run.state {
                    DeployState::Kept => {
                        format!("{} deploy {} kept {} objects", d.name, d.deploy.number, d.deploy.held())
                    }
                    _ => format!("{} deploy {}", d.name, d.deploy.number),
                }
            }))
            .chain(self.gone.iter().cloned())
            .collect::<Vec<_>>();
        if self.builds.is_empty() && self.deploys.is_empty() && self.gone.is_empty() {
            "verdict: nothing was started".to_owned()
        } else if bad.is_empty() {
            format!("verdict: all done in {took:.1} s")
        } else {
            format!("verdict: not done after {took:.1} s: {}", bad.join(", "))
        }
    }

    async fn say(&self, line: String) -> Result<(), Gone> {
        self.lines.send(line).await.map_err(|_| Gone)
    }
}
