//! Packs for clones and fetches, judged by `git index-pack --strict` and `git fsck`; boundaries compared with git's.

mod clones;
mod fetches;
mod filters;
mod shallow;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use slipway_core::{ObjectFormat, Oid};
use slipway_repository::*;

use crate::support::*;

fn bytes_of(snapshot: &Arc<Snapshot>, request: &PackRequest, chunk: usize) -> Vec<u8> {
    let mut stream = snapshot.pack(request, &AtomicBool::new(false)).unwrap();
    let (mut all, mut out) = (Vec::new(), vec![0; chunk]);
    loop {
        let got = stream.fill(&mut out).unwrap();
        all.extend_from_slice(&out[..got]);
        if got < chunk {
            break;
        }
    }
    assert_eq!(stream.fill(&mut out).unwrap(), 0);
    assert_eq!(all.len() as u64, stream.bytes());
    assert_eq!(all[8..12], stream.objects().to_be_bytes());
    // The answer at hand is the same, and its checksum needs no computing.
    let mut again = snapshot.pack_at_hand(request).unwrap();
    let mut same = vec![0; all.len()];
    let got = again.fill_now(&mut same).unwrap();
    assert!(got.is_none_or(|got| same[..got] == all[..got]));
    all
}

/// Has git take the pack in; returns the objects that came, each once.
fn index(client: &Path, pack: &[u8], strict: bool) -> BTreeSet<Oid> {
    let mut args = vec!["index-pack", "--stdin", "--fix-thin"];
    if strict {
        args.push("--strict");
    }
    let announced = u32::from_be_bytes(pack[8..12].try_into().unwrap());
    if announced == 0 {
        return BTreeSet::new();
    }
    let name = String::from_utf8(git_in(client, &args, pack)).unwrap();
    let name = name.trim().rsplit('\t').next().unwrap().to_owned();
    let idx = client.join(format!("objects/pack/pack-{name}.idx"));
    let listed = git_in(client, &["show-index"], &std::fs::read(idx).unwrap());
    let ids: Vec<Oid> =
        String::from_utf8(listed).unwrap().lines().map(|l| oid(l.split(' ').nth(1).unwrap())).collect();
    let set: BTreeSet<Oid> = ids.iter().copied().collect();
    assert_eq!(set.len(), ids.len(), "an object came twice");
    set
}

fn want(ids: &[Oid]) -> PackRequest {
    PackRequest { wants: ids.to_vec(), ofs_delta: true, ..PackRequest::default() }
}

struct Served {
    lab: Lab,
    path: PathBuf,
    repository: Arc<Repository>,
}

impl Served {
    /// A history in one of several shapes on disk.
    fn new(seed: u64, commits: u64, shape: u64) -> Self {
        Self::of(ObjectFormat::Sha1, seed, commits, shape)
    }

    fn of(format: ObjectFormat, seed: u64, commits: u64, shape: u64) -> Self {
        let lab = Lab::of(format);
        let (repository, path) = lab.create("app");
        import(&path, seed, commits);
        match shape % 7 {
            0 => {}
            1 => drop(git(&path, &["repack", "-adfq", "--depth=50", "--window=50"])),
            2 => {
                // Deltas that name their bases by id, and objects in two packs.
                git(&path, &["-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq", "--depth=20"]);
                let some = format!("{}\n", git(&path, &["rev-parse", "main~3"]));
                git_in(&path, &["pack-objects", "--revs", "-q", "objects/pack/pack"], some.as_bytes());
            }
            3 => unpack(&lab, &path, seed),
            5 => {
                // Bitmaps of one pack, and pushes since.
                let later = git(&path, &["rev-parse", "main"]);
                git(&path, &["update-ref", "refs/heads/main", "main~5"]);
                git(&path, &["repack", "-adbq", "--depth=20"]);
                git(&path, &["commit-graph", "write", "--reachable", "--changed-paths", "--no-progress"]);
                let rest = format!("{later}\n--not\n--all\n");
                restore(&lab, seed, commits, &path, &rest);
                git(&path, &["update-ref", "refs/heads/main", &later]);
            }
            6 => {
                // Bitmaps of several packs that have objects in common, and pushes since.
                let later = git(&path, &["rev-parse", "main"]);
                git(&path, &["update-ref", "refs/heads/main", "main~5"]);
                git(&path, &["repack", "-adq", "--depth=20"]);
                for some in ["main~9", "main~2"] {
                    let some = format!("{}\n", git(&path, &["rev-parse", some]));
                    git_in(&path, &["pack-objects", "--revs", "-q", "objects/pack/pack"], some.as_bytes());
                }
                git(&path, &["multi-pack-index", "write", "--bitmap", "--no-progress"]);
                let rest = format!("{later}\n--not\n--all\n");
                restore(&lab, seed, commits, &path, &rest);
                git(&path, &["update-ref", "refs/heads/main", &later]);
            }
            _ => {
                // Several packs pushed one after another, as we keep them.
                let bare = lab.bare("from.git");
                import(&bare, seed, commits);
                std::fs::remove_dir_all(path.join("objects/pack")).unwrap();
                std::fs::create_dir_all(path.join("objects/pack")).unwrap();
                let mut old: Vec<String> = Vec::new();
                let mut line: Vec<String> =
                    git(&bare, &["rev-list", "--reverse", "--all"]).lines().map(str::to_owned).collect();
                line.extend(
                    git(&bare, &["for-each-ref", "--format=%(objectname)", "refs/tags"])
                        .lines()
                        .map(str::to_owned),
                );
                for part in line.chunks(25) {
                    let mut revs: String = part.iter().map(|id| format!("{id}\n")).collect();
                    revs += &old.iter().map(|id| format!("^{id}\n")).collect::<String>();
                    let pack = git_in(
                        &bare,
                        &["pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"],
                        revs.as_bytes(),
                    );
                    git_in(&path, &["index-pack", "--stdin", "--fix-thin"], &pack);
                    old.extend(part.iter().cloned());
                }
            }
        }
        Self { lab, path, repository }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.repository.snapshot().unwrap()
    }

    fn tips(&self) -> Vec<Oid> {
        let snapshot = self.snapshot();
        let tips: BTreeSet<Oid> = snapshot.refs().iter().map(|r| r.target).collect();
        tips.into_iter().collect()
    }

    fn client(&self, name: &str) -> PathBuf {
        self.lab.bare(name)
    }
}

/// Every number with SHA-1, and with SHA-256 a few of them.
fn cases(numbers: std::ops::Range<u64>) -> Vec<(ObjectFormat, u64)> {
    let few = numbers.clone().filter(|n| [1, 5].contains(n)).map(|n| (ObjectFormat::Sha256, n));
    few.chain(numbers.map(|n| (ObjectFormat::Sha1, n))).collect()
}

/// Brings what `revs` name, from the same history made again, in a pack of its own.
fn restore(lab: &Lab, seed: u64, commits: u64, path: &Path, revs: &str) {
    let bare = lab.bare("again.git");
    import(&bare, seed, commits);
    let known = git(path, &["for-each-ref", "--format=^%(objectname)"]);
    let revs = revs.replace("--not\n--all\n", &format!("{known}\n"));
    let args = ["pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"];
    let pack = git_in(&bare, &args, revs.as_bytes());
    if pack[8..12] != [0; 4] {
        git_in(path, &["index-pack", "--stdin", "--fix-thin"], &pack);
    }
}

/// Makes every object loose, but for half of them also packed.
fn unpack(lab: &Lab, path: &Path, seed: u64) {
    let aside = lab.dir.path().join("aside");
    std::fs::rename(path.join("objects/pack"), &aside).unwrap();
    std::fs::create_dir(path.join("objects/pack")).unwrap();
    for entry in std::fs::read_dir(&aside).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|e| e == "pack") {
            git_in(path, &["unpack-objects", "-q"], &std::fs::read(file).unwrap());
        }
    }
    if seed.is_multiple_of(2) {
        let some = format!("{}\n", git(path, &["rev-parse", "main~2"]));
        git_in(path, &["pack-objects", "--revs", "-q", "objects/pack/pack"], some.as_bytes());
    }
}
