//! These formats against stock git: what it wrote is read, what is written here it accepts. For both hashes.

#![allow(clippy::unwrap_used)]

mod bitmaps;
mod damage;
mod indexes;
mod multi;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::mapped::Mapped;
use crate::support::{git, git_in, history};

const HASHES: [(&str, usize); 2] = [("sha1", 20), ("sha256", 32)];

/// A bare repository in a folder that goes at the end, with a history.
struct Repo {
    _dir: tempfile::TempDir,
    path: PathBuf,
    hash_len: usize,
}

impl Repo {
    fn new((hash, hash_len): (&str, usize), seed: u64, commits: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.git");
        let format = format!("--object-format={hash}");
        git(dir.path(), &["init", "-q", "--bare", "-b", "main", &format, "r.git"]);
        let repo = Self { _dir: dir, path, hash_len };
        repo.git(&["config", "repack.writeBitmaps", "false"]);
        // The default of newer gits.
        repo.git(&["config", "pack.writeReverseIndex", "true"]);
        let stream = String::from_utf8(history(seed, commits)).unwrap();
        let stream = stream.replace(&"0".repeat(40), &"0".repeat(hash_len * 2));
        git_in(&repo.path, &["fast-import", "--quiet", "--force"], stream.as_bytes());
        repo
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.path, args)
    }

    fn packs_folder(&self) -> PathBuf {
        self.path.join("objects/pack")
    }

    /// The files of packs that end so, by name.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.packs_folder()).unwrap().map(|e| e.unwrap().path());
        let mut found: Vec<PathBuf> = all.filter(|p| p.to_string_lossy().ends_with(ending)).collect();
        found.sort();
        found
    }

    /// The only such file.
    fn file(&self, ending: &str) -> PathBuf {
        let [file] = &self.files(ending)[..] else { panic!("not one {ending}: {:?}", self.files(ending)) };
        file.clone()
    }

    fn index(&self) -> IndexFile<Mapped> {
        index_at(&self.file(".idx"), self.hash_len)
    }

    /// The ids that `git rev-list --objects` lists.
    fn reachable(&self, args: &[&str]) -> BTreeSet<Vec<u8>> {
        let all = [&["rev-list", "--objects"], args].concat();
        self.git(&all).lines().map(|l| hex::decode(&l[..self.hash_len * 2]).unwrap()).collect()
    }

    /// Kind and id of every object.
    fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let check = "--batch-check=%(objecttype) %(objectname)";
        let text = self.git(&["cat-file", check, "--batch-all-objects"]);
        let line = |l: &str| {
            let (kind, id) = l.split_once(' ').unwrap();
            (kind.to_owned(), hex::decode(id).unwrap())
        };
        text.lines().map(line).collect()
    }
}

fn index_at(path: &Path, hash_len: usize) -> IndexFile<Mapped> {
    let index = IndexFile::parse(Mapped::open(path).unwrap(), hash_len).unwrap();
    index.verify().unwrap();
    index
}
