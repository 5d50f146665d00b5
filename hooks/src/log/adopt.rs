//! Logs that an earlier version kept below their repositories' names come below their ids, once.
//!
//! A name may be another's id (a repository called `7`), so all folders leave first and then arrive. How far that has come
//! is written down between the two, so that a start which was cut off is taken up where it was.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use slipway_core::RepoId;

use super::{BuildLogs, ignore_missing};

/// Says how far it has come.
const STATE: &str = ".by-id";
const LEFT: &str = "left\n";
const DONE: &str = "done\n";
/// What folders on their way begin with.
const MOVING: &str = ".moving-";

impl BuildLogs {
    /// Brings the logs of each repository below its id from the first of those folders that is there (blocking: file
    /// system). Does nothing where that is done.
    ///
    /// # Errors
    /// Where a folder cannot be moved; the next start goes on.
    pub fn adopt<'a>(&self, repos: impl IntoIterator<Item = (RepoId, Vec<&'a str>)>) -> io::Result<()> {
        let state = match fs::read_to_string(self.root.join(STATE)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            state => state?,
        };
        if state == DONE {
            return Ok(());
        }
        fs::create_dir_all(&self.root)?;
        if state != LEFT {
            for (id, names) in repos {
                self.leave(id, &names)?;
            }
            write(&self.root, LEFT)?;
        }
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|n| n.strip_prefix(MOVING)?.parse::<RepoId>().ok());
            if let Some(id) = id {
                let place = self.root.join(id.to_string());
                if place.exists() {
                    // Of a repository that was called so and is no more.
                    fs::rename(&place, self.root.join(format!(".stray-{id}")))?;
                }
                fs::rename(entry.path(), place)?;
            }
        }
        write(&self.root, DONE)
    }

    fn leave(&self, id: RepoId, names: &[&str]) -> io::Result<()> {
        let moving = self.root.join(format!("{MOVING}{id}"));
        let there = names.iter().map(|name| self.root.join(name)).find(|folder| folder.is_dir());
        match there {
            Some(folder) if !moving.exists() => ignore_missing(fs::rename(folder, moving)),
            _ => Ok(()),
        }
    }
}

fn write(root: &Path, state: &str) -> io::Result<()> {
    let fresh = root.join(format!("{STATE}.new"));
    let mut file = fs::File::create(&fresh)?;
    file.write_all(state.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, root.join(STATE))?;
    fs::File::open(root)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_core::BuildNumber;

    /// Logs by name, of repositories of which some are called as others are numbered.
    fn old() -> (tempfile::TempDir, BuildLogs) {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["app", "2", "3", "nobody"] {
            fs::create_dir_all(folder.path().join(name)).expect("made");
            fs::write(folder.path().join(name).join("1.log"), name).expect("written");
        }
        let logs = BuildLogs::new(folder.path());
        (folder, logs)
    }

    const REPOS: [(RepoId, &str); 4] =
        [(RepoId(1), "app"), (RepoId(2), "3"), (RepoId(3), "2"), (RepoId(4), "none")];

    fn adopt(logs: &BuildLogs) {
        logs.adopt(REPOS.map(|(id, name)| (id, vec![name]))).expect("adopted");
    }

    fn read(logs: &BuildLogs, id: u64) -> String {
        let bytes = logs.read(RepoId(id), BuildNumber(1), 0, 100).expect("read");
        String::from_utf8(bytes).expect("text")
    }

    fn assert_adopted(logs: &BuildLogs) {
        assert_eq!([1, 2, 3, 4].map(|id| read(logs, id)), ["app", "3", "2", ""]);
        assert!(logs.root.join("nobody/1.log").exists(), "what nobody owns stays");
    }

    #[test]
    fn logs_come_below_ids_also_where_a_name_is_anothers_id_and_only_once() {
        let (_folder, logs) = old();
        adopt(&logs);
        assert_adopted(&logs);
        // A repository is called 1 from now on: its logs are not looked for by that name.
        logs.adopt([(RepoId(2), vec!["1"])]).expect("done before");
        assert_adopted(&logs);
    }

    #[test]
    fn a_move_that_was_cut_off_anywhere_is_taken_up() {
        for steps in 0..5 {
            let (folder, logs) = old();
            // The first moves of a start that ended there ...
            for (id, name) in REPOS.iter().take(steps.min(3)) {
                logs.leave(*id, &[*name]).expect("left");
            }
            // ... or all of them and the first arrival.
            if steps == 4 {
                write(folder.path(), LEFT).expect("written");
                fs::rename(folder.path().join(".moving-2"), folder.path().join("2")).expect("arrived");
            }
            adopt(&logs);
            assert_adopted(&logs);
        }
    }
}
