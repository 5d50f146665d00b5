//! Objects that are named somewhere beside the refs that are served: in reflogs, in other work trees, by pseudo-refs like
//! `ORIG_HEAD`, by refs whose names are not valid. What they lead to counts as reachable (gitrepository-layout).
//!
//! Every file that may name objects is read for whatever looks like an id at the head of its lines: too much kept does no
//! harm, too little would.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use slipway_core::{ObjectFormat, Oid};

use crate::error::{RepoError, Result};
use crate::limits::{PACKED_REFS_BYTES_MAX, REF_FOLDERS_DEEP_MAX};

/// Longest line that is read, in bytes; ids stand at its beginning.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// All ids named in the repository at `root`.
pub(super) fn named(root: &Path, format: ObjectFormat) -> Result<HashSet<Oid>> {
    let mut found = HashSet::new();
    for folder in ["refs", "logs", "worktrees"] {
        read_folder(&root.join(folder), 0, &mut found)?;
    }
    read_file(&root.join("packed-refs"), &mut found)?;
    for entry in fs::read_dir(root).map_err(RepoError::io("list", root))? {
        let entry = entry.map_err(RepoError::io("list", root))?;
        let name = entry.file_name();
        if name.to_string_lossy().ends_with("HEAD") {
            read_file(&entry.path(), &mut found)?;
        }
    }
    found.retain(|id| id.format() == format && !id.is_zero());
    Ok(found)
}

fn read_folder(folder: &Path, deep: usize, found: &mut HashSet<Oid>) -> Result<()> {
    if deep > REF_FOLDERS_DEEP_MAX {
        return Err(RepoError::TooMuch { what: "the depth of folders", max: REF_FOLDERS_DEEP_MAX as u64 });
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => return Err(RepoError::io("list", folder)(e)),
    };
    for entry in entries {
        let path = entry.map_err(RepoError::io("list", folder))?.path();
        if path.is_dir() { read_folder(&path, deep + 1, found)? } else { read_file(&path, found)? }
    }
    Ok(())
}

/// The first two words of each line, where they are ids: a ref's value, or an entry of a reflog.
fn read_file(path: &Path, found: &mut HashSet<Oid>) -> Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(RepoError::io("read", path)(e)),
    };
    let mut lines = BufReader::new(file.take(PACKED_REFS_BYTES_MAX));
    let mut line = Vec::new();
    loop {
        line.clear();
        let got = (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        match got {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::IsADirectory => return Ok(()),
            Err(e) => return Err(RepoError::io("read", path)(e)),
        }
        let words = line.split(|b| b.is_ascii_whitespace()).take(2);
        found.extend(words.filter_map(Oid::from_hex));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_wherever_they_are_named() {
        let root = tempfile::tempdir().expect("a folder");
        let id = |n: u8| Oid::from_bytes(&[n; 20]).expect("an id");
        let write = |name: &str, text: String| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("HEAD", "ref: refs/heads/main\n".into());
        write("ORIG_HEAD", format!("{}\n", id(1)));
        write("refs/heads/a b", format!("{}\n", id(2)));
        write("packed-refs", format!("# pack-refs with: peeled\n{} refs/tags/x\n^{}\n", id(3), id(9)));
        write("logs/refs/heads/main", format!("{} {} A <a@b> 1 +0000\tpush\n", Oid::ZERO_SHA1, id(4)));
        write("worktrees/w/HEAD", format!("{}\n", id(5)));
        write("worktrees/w/logs/HEAD", format!("{} {} A <a@b> 1 +0000\n", id(6), id(7)));
        write("description", format!("{}\n", id(8)));
        let want: HashSet<Oid> = [1, 2, 3, 4, 5, 6, 7].map(id).into();
        assert_eq!(named(root.path(), ObjectFormat::Sha1).expect("read"), want);
    }
}
