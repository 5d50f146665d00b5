//! Removes the logs of builds that are kept no longer, each after that is recorded: a log that was removed is told as that.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use slipway_core::build::LogRemoved;
use slipway_core::retention::{KeptLog, Rules, outlived};
use slipway_core::{BuildNumber, Problem, RepoId, UnixMillis};
use slipway_hooks::BuildLogs;
use slipway_store::Store;

use crate::supervisor::now;

/// The logs, and how much of them is kept.
pub(crate) struct LogKeeping {
    pub(crate) store: Store,
    pub(crate) logs: Arc<BuildLogs>,
    pub(crate) rules: Rules,
}

impl LogKeeping {
    /// Looks at all logs of these repositories. What fails is told and tried again with the next look.
    pub(super) fn sweep(&self, repos: &[RepoId], is_stopped: impl Fn() -> bool) {
        let mut all = Vec::new();
        for repo in repos {
            match self.logs_of(*repo) {
                Ok(logs) => all.extend(logs),
                Err(problem) => tracing::warn!(%problem, %repo, "its build logs are not looked at"),
            }
        }
        let mut gone = (0usize, 0u64);
        for (log, why) in outlived(all, self.rules, now()) {
            if is_stopped() {
                break;
            }
            let removed = LogRemoved { at: now(), because: why.because().to_owned() };
            match self.remove(&log, &removed) {
                Ok(true) => gone = (gone.0 + 1, gone.1 + log.bytes),
                Ok(false) => {}
                Err(problem) => tracing::warn!(%problem, repo = %log.repo, "a build log is not removed"),
            }
        }
        if gone.0 > 0 {
            tracing::info!(logs = gone.0, bytes = gone.1, "build logs were removed: they are kept no longer");
        }
    }

    fn logs_of(&self, repo: RepoId) -> Result<Vec<KeptLog>, Problem> {
        let sizes = self.logs.sizes(repo).map_err(|e| broken("The build logs cannot be listed", &e))?;
        let named = if sizes.is_empty() { HashSet::new() } else { self.named(repo)? };
        let log = |(number, bytes, at): (BuildNumber, u64, std::time::SystemTime)| {
            let ms = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let ended = UnixMillis(u64::try_from(ms).unwrap_or(u64::MAX));
            KeptLog { repo, number, bytes, ended, named: named.contains(&number) }
        };
        Ok(sizes.into_iter().map(log).collect())
    }

    /// The builds whose images tags and manifests name; of a promotion also the build that made the image.
    fn named(&self, repo: RepoId) -> Result<HashSet<BuildNumber>, Problem> {
        self.store.read(|records| {
            let mut named = HashSet::new();
            for pointer in records.pointers(repo)? {
                let number = pointer.holder.build;
                if named.insert(number)
                    && let Some(of) = records.build(repo, number)?.and_then(|build| build.promotes())
                {
                    named.insert(of);
                }
            }
            Ok(named)
        })
    }

    fn remove(&self, log: &KeptLog, removed: &LogRemoved) -> Result<bool, Problem> {
        let over = self.store.remove_log(log.repo, log.number, removed)?;
        if over {
            self.logs
                .remove_one(log.repo, log.number)
                .map_err(|e| broken("A build log cannot be removed", &e))?;
        }
        Ok(over)
    }
}

fn broken(what: &str, error: &io::Error) -> Problem {
    Problem::new(slipway_core::ProblemKind::Broken, format!("{what}: {error}."), "Check the server's disk.")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use slipway_core::Digest;
    use slipway_core::build::{Build, BuildState};
    use slipway_core::moving::{Holder, Pointer};
    use slipway_core::{EventId, Oid, RefName, RepoName};
    use slipway_store::MasterKey;

    use super::*;

    /// A repository with that many builds that succeeded, each with a log of ten bytes, and what is kept of them.
    fn keeping(folder: &std::path::Path, builds: u64, rules: Rules) -> (LogKeeping, RepoId) {
        let key = MasterKey::load_or_create(&folder.join("key")).expect("key");
        let store = Store::open(&folder.join("db"), &key).expect("store");
        let name = RepoName::parse("app").expect("name");
        let repo = store.create_repo(&name, "", false, now()).expect("made").id;
        let logs = Arc::new(BuildLogs::new(folder.join("builds")));
        fs::create_dir_all(folder.join(format!("builds/{repo}"))).expect("made");
        for _ in 0..builds {
            let (main, commit) = (RefName::parse("refs/heads/main").expect("ref"), oid());
            let build = Build::queued(
                repo,
                BuildNumber(0),
                EventId(1),
                main,
                commit,
                "Change".into(),
                "ann".into(),
                now(),
            );
            let mut build = store.add_build(build).expect("added");
            build.run.state = BuildState::Succeeded;
            store.put_build(&build).expect("written");
            fs::write(folder.join(format!("builds/{repo}/{}.log", build.number)), "123456789\n")
                .expect("log");
        }
        (LogKeeping { store, logs, rules }, repo)
    }

    fn oid() -> Oid {
        Oid::parse(&"a".repeat(40)).expect("an id")
    }

    #[test]
    fn the_oldest_logs_go_recorded_and_what_tags_name_or_runs_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let rules = Rules { age: Duration::from_secs(3600), per_repo: 21, bytes: 1 << 30 };
        let (keeping, repo) = keeping(folder.path(), 26, rules);
        let mut runs = keeping.store.build(repo, BuildNumber(2)).expect("read").expect("there");
        runs.run.state = BuildState::Running;
        keeping.store.put_build(&runs).expect("written");
        let named = keeping.store.build(repo, BuildNumber(3)).expect("read").expect("there");
        let digest = Digest::parse(&format!("sha256:{}", "b".repeat(64))).expect("a digest");
        let pointer =
            Pointer { holder: Holder::of(&named), digest, at: now(), by: None, returned_from: None };
        keeping.store.put_pointer(repo, "app:latest", &pointer).expect("written");
        keeping.logs.outline(repo, BuildNumber(1)).expect("read");
        keeping.sweep(&[repo], || true);
        assert_eq!(keeping.logs.list(repo).expect("read").len(), 26, "a server that stops removes nothing");
        keeping.sweep(&[repo], || false);
        let left: Vec<u64> = keeping.logs.list(repo).expect("read").iter().map(|n| n.0).collect();
        assert_eq!(left, [2, 3].into_iter().chain(6..=26).collect::<Vec<_>>());
        assert!(!folder.path().join(format!("builds/{repo}/1.outline")).exists());
        let gone = keeping.store.build(repo, BuildNumber(1)).expect("read").expect("there");
        let said = gone.removed_log().expect("said").what;
        assert_eq!(
            said,
            "The log of build 1 was removed after newer ones, as build_logs_per_repository_max says."
        );
        for kept in [2, 3, 26] {
            let build = keeping.store.build(repo, BuildNumber(kept)).expect("read").expect("there");
            assert_eq!(build.removed_log(), None, "{kept}");
        }
    }
}
