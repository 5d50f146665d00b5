//! What `git push -o wait` prints: the event's builds and deploys, live, until the verdict.
//!
//! Starts at the event, follows each build into the deploys that its manifest bump owes, and ends with one line.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use slipway_core::build::{Build, BuildState};
use slipway_core::deploy::{Change as ObjectChange, Deploy, DeployState, Health, ObjectReport};
use slipway_core::{BuildNumber, DeployNumber, EventId, Problem, RepoId, RepoName, UnixMillis};
use slipway_jobs::Notice;
use slipway_store::Store;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::supervisor::{Supervisor, blocking, now};

/// Lines that may wait for a slow client.
const LINES_MAX: usize = 256;
/// Longest line that is told in one piece, in bytes.
const LINE_BYTES_MAX: usize = 4096;
/// How often the store is read again, should a change have been missed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Longest time that a follower is kept.
const FOLLOW_MAX: Duration = Duration::from_secs(3 * 3600);

/// Reads build logs as they grow.
#[async_trait]
pub(crate) trait LogReader: Send + Sync {
    /// Bytes from `offset`, at most 64 KiB; empty if there is nothing new.
    async fn read(&self, repo: RepoId, number: BuildNumber, offset: u64) -> Result<Vec<u8>, Problem>;
}

/// Follows events.
#[derive(Clone)]
pub(crate) struct Followers {
    pub(crate) store: Store,
    pub(crate) supervisor: Supervisor,
    pub(crate) logs: Arc<dyn LogReader>,
    pub(crate) stop: CancellationToken,
}

impl slipway_git_server::Follow for Followers {
    /// The event's lines until its verdict.
    fn follow(&self, event: EventId) -> BoxStream<'static, String> {
        let (lines, out) = mpsc::channel(LINES_MAX);
        let changes = self.supervisor.changes();
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
        Box::pin(futures_util::stream::unfold(out, |mut out| async move {
            out.recv().await.map(|line| (line, out))
        }))
    }
}

struct Follower {
    of: Followers,
    lines: mpsc::Sender<String>,
    events: Vec<EventId>,
    builds: HashMap<(RepoId, BuildNumber), BuildView>,
    deploys: HashMap<(RepoId, DeployNumber), DeployView>,
    /// Builds and deploys whose repository was removed under them.
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

/// The client is gone, or the server stops.
struct Gone;

impl Follower {
    async fn run(mut self, mut changes: broadcast::Receiver<Notice>) {
        let stop = self.of.stop.clone();
        while self.began.elapsed() < FOLLOW_MAX {
            match self.look().await {
                Ok(true) | Err(Gone) => return,
                Ok(false) => {}
            }
            tokio::select! {
                () = stop.cancelled() => {
                    drop(self.say("the server stops; the work goes on when it is back".into()).await);
                    return;
                }
                // A change, or having missed some: look again either way. Logs grow without a change.
                _ = changes.recv() => while changes.try_recv().is_ok() {},
                () = tokio::time::sleep(if self.builds.values().any(|b| !b.build.run.state.is_final()) {
                    Duration::from_millis(150)
                } else { LOOK_AGAIN }) => {}
            }
        }
        // Hours have passed; whoever still listens shall not wait for a verdict that never comes.
        drop(self.say(self.verdict()).await);
    }

    /// Forgets what the store does not know any more: it will never come to an end.
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
            self.say(format!("{what}: its repository was removed")).await?;
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
        let (store, events) = (self.of.store.clone(), self.events.clone());
        let found = blocking(move || {
            let mut found = Vec::new();
            let mut deploys = Vec::new();
            let mut events: Vec<EventId> = events;
            let mut at = 0;
            while let Some(event) = events.get(at).copied() {
                at += 1;
                let of_event = store.builds_of_event(event)?;
                let pusher = of_event.first().map(|build| build.actor.clone());
                for build in of_event {
                    // Somebody else's retry may reach manifests that the pusher may not see.
                    let own = pusher.as_ref() == Some(&build.actor);
                    let new = build.bumps.iter().filter(|_| own).filter_map(|b| b.event);
                    let new: Vec<EventId> = new.filter(|e| !events.contains(e)).collect();
                    events.extend(new);
                    let name = store.repo(build.repo)?.map(|r| r.name);
                    found.extend(name.map(|n| (n, build)));
                }
                for deploy in store.deploys_of_event(event)? {
                    let name = store.repo(deploy.repo)?.map(|r| r.name);
                    deploys.extend(name.map(|n| (n, deploy)));
                }
            }
            Ok((events, found, deploys))
        });
        let (events, builds, deploys) = match found.await {
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
            let bytes = match self.of.logs.read(key.0, key.1, view.log_offset).await {
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
        let Some(view) = self.builds.get_mut(&key) else { return Ok(()) };
        let state = view.build.run.state;
        if view.told == Some(state) {
            return Ok(());
        }
        view.told = Some(state);
        let name = format!("{} build {}", view.name, view.build.number);
        let why = view.build.run.failure.as_ref().map(|f| f.problem.to_string()).unwrap_or_default();
        let line = match state {
            BuildState::Queued => format!("{name}: waits for its turn"),
            BuildState::Waiting => {
                format!("{name}: {why} {}", next_try(view.build.run.retries, view.build.run.retry_at))
            }
            BuildState::Running => return Ok(()),
            BuildState::Succeeded => match &view.build.pushed {
                Some(image) => format!("{name}: pushed {}@{}", image.name, image.digest),
                None => format!("{name}: succeeded"),
            },
            BuildState::Failed => format!("{name}: failed. {why}"),
            BuildState::Cancelled => format!("{name}: cancelled"),
            BuildState::Superseded => format!("{name}: a newer commit took its place"),
        };
        self.say(line).await
    }

    async fn tell_deploy(&mut self, key: (RepoId, DeployNumber)) -> Result<(), Gone> {
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
                    let next = next_try(view.deploy.run.retries, view.deploy.run.retry_at);
                    lines.push(format!("{name}: {why} {next}"));
                }
                DeployState::Healthy => lines.push(format!("{name}: healthy")),
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
            .map(|b| format!("{} build {}", b.name, b.build.number))
            .chain(
                self.deploys
                    .values()
                    .filter(|d| d.deploy.run.state != DeployState::Healthy)
                    .map(|d| format!("{} deploy {}", d.name, d.deploy.number)),
            )
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

/// Whether a line of a build's log tells how the build ended.
fn is_ending(line: &str) -> bool {
    line == "== succeeded" || line.starts_with("== failed: ")
}

/// When a stage that failed for reasons outside the repository is tried again.
fn next_try(retries: u32, at: Option<UnixMillis>) -> String {
    let pause_s = at.unwrap_or_default().since(now()).div_ceil(1000);
    format!("Try {} follows in {pause_s} s.", retries + 1)
}

/// Cuts what has come into lines and keeps the last, unfinished one in `partial`. A line longer than
/// [`LINE_BYTES_MAX`] comes in pieces: what a build prints must not fill the server's memory.
fn take_lines(partial: &mut Vec<u8>, bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for piece in bytes.split_inclusive(|&b| b == b'\n') {
        for part in piece.chunks(LINE_BYTES_MAX) {
            partial.extend_from_slice(part);
            if part.ends_with(b"\n") || partial.len() >= LINE_BYTES_MAX {
                lines.push(String::from_utf8_lossy(partial).trim_end().to_owned());
                partial.clear();
            }
        }
    }
    lines
}

fn object_id(object: &ObjectReport) -> String {
    format!("{}/{}/{}/{}", object.group, object.kind, object.namespace.as_deref().unwrap_or(""), object.name)
}

fn object_line(object: &ObjectReport) -> String {
    let change = match object.change {
        ObjectChange::Pending => "waits",
        ObjectChange::Created => "created",
        ObjectChange::Configured => "configured",
        ObjectChange::Unchanged => "unchanged",
        ObjectChange::Pruned => "deleted",
        ObjectChange::Kept => "kept",
        ObjectChange::Refused => "refused",
    };
    let health = match object.health {
        Health::Healthy => "healthy",
        Health::Suspended => "suspended",
        Health::Progressing => "on its way",
        Health::Missing => "missing",
        Health::Degraded => "degraded",
        Health::Unknown => "unknown",
    };
    let message = if object.message.is_empty() { String::new() } else { format!(": {}", object.message) };
    format!("{} {} {change}, {health}{message}", object.kind, object.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_an_endless_one_in_bounded_pieces() {
        let mut partial = Vec::new();
        assert_eq!(take_lines(&mut partial, b"one\ntw"), ["one"]);
        assert_eq!(take_lines(&mut partial, b"o\n\nthree"), ["two", ""]);
        assert_eq!(partial, b"three");
        let pieces = take_lines(&mut partial, &vec![b'x'; 10 * LINE_BYTES_MAX]);
        assert!(pieces.iter().all(|p| p.len() < 2 * LINE_BYTES_MAX) && !pieces.is_empty());
        assert!(partial.len() < LINE_BYTES_MAX);
        let told: usize = pieces.iter().map(String::len).sum();
        assert_eq!(told + partial.len(), "three".len() + 10 * LINE_BYTES_MAX, "nothing is lost");
    }
}
