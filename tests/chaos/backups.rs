//! Who backs the server up while it is used and killed. A backup that was told to be made holds what was acknowledged before
//! it was asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::activity::Activity;
use super::harness::{program, run, text};
use super::people::{World, branches};
use super::record::{Choice, Since};

/// The last one that was made, and since when each repository's branches may stem from.
#[derive(Default)]
pub(crate) struct Backups {
    pub(crate) made: usize,
    last: BTreeMap<String, Since>,
}

fn folder(world: &World) -> PathBuf {
    world.ann.home.join("backups")
}

/// Backs up until it is enough.
pub(crate) fn work(world: &World) {
    let mut choice = Choice::new(world.seed * 1000 + 800);
    std::fs::create_dir_all(folder(world)).expect("folder");
    while world.goes_on() {
        let begun = world.epoch();
        if let Err(said) = back_up(world)
            && !world.was_down(begun)
        {
            world.blame(format!("backup: {said}"));
        }
        std::thread::sleep(Duration::from_millis(300 + choice.below(1500) as u64));
    }
}

/// Makes one; what was said if it was not made, or is not whole.
pub(crate) fn back_up(world: &World) -> Result<(), String> {
    let since = world.repos.iter().map(|repo| (repo.name.clone(), repo.branches.since())).collect();
    let doing = world.tally.doing(Activity::Backup);
    let out = run(Command::new(program())
        .args(["backup", "--quick"])
        .arg(folder(world))
        .args(["--server", &format!("http://{}", world.ann.http)])
        .env("SLIPWAY_TOKEN", &world.ann.token));
    drop(doing);
    if !out.status.success() {
        return Err(format!("{}{}", text(&out.stdout), text(&out.stderr)));
    }
    let mut backups = world.backups.lock().expect("lock");
    backups.made += 1;
    backups.last = since;
    Ok(())
}

/// Brings the last one back elsewhere and compares; where that is.
pub(crate) fn bring_back(world: &World, to: &Path) -> Vec<String> {
    let backups = world.backups.lock().expect("lock");
    for verb in [vec!["backup", "verify"], vec!["restore", "--data", to.to_str().expect("utf-8")]] {
        let out = run(Command::new(program()).args(&verb).arg(folder(world)));
        assert!(out.status.success(), "{verb:?}: {}{}", text(&out.stdout), text(&out.stderr));
    }
    let mut wrong = Vec::new();
    for repo in &world.repos {
        // The links by name are made when it is served.
        let id = std::fs::read_link(world.data.join(format!("repos/{}.git", repo.name))).expect("a link");
        let folder = to.join("repos").join(id);
        super::fsck(&world.ann, &folder);
        let mut since = backups.last.get(&repo.name).cloned().unwrap_or_default();
        since.remove(super::record::SHARED);
        wrong.extend(repo.judge(&branches(&world.ann, &folder), &since));
    }
    wrong.into_iter().map(|wrong| format!("the backup: {wrong}")).collect()
}
