//! Where git keeps commit-graphs, and opening what is there: `info/commit-graph`, or the files of a chain that
//! `info/commit-graphs/commit-graph-chain` lists. How a file becomes bytes is the caller's.

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use slipway_core::Oid;

use super::CommitGraph;
use crate::error::{RepoError, Result};
use crate::limits::COMMIT_GRAPH_LAYERS_MAX;

/// The single file, below a folder of objects.
pub(crate) fn single_path(objects: &Path) -> PathBuf {
    objects.join("info/commit-graph")
}

/// The list of a chain's files, below a folder of objects.
pub(crate) fn list_path(objects: &Path) -> PathBuf {
    objects.join("info/commit-graphs/commit-graph-chain")
}

/// A file of a chain, below a folder of objects.
pub(crate) fn layer_path(objects: &Path, checksum: &Oid) -> PathBuf {
    objects.join(format!("info/commit-graphs/graph-{checksum}.graph"))
}

/// Reads the list of a chain: one checksum a line, the base first. `None` if it is not valid.
fn parse_list(text: &[u8], hash_len: usize) -> Option<Vec<Oid>> {
    let mut list = Vec::new();
    for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        if list.len() >= COMMIT_GRAPH_LAYERS_MAX || line.len() != 2 * hash_len {
            return None;
        }
        list.push(Oid::from_hex(line)?);
    }
    Some(list)
}

/// Opens the commit-graph of a folder of objects; like git, the single file before a chain. `None` if there is none. If a
/// file of a chain is gone (another program has just replaced it), those below it are the graph.
///
/// # Errors
/// [`RepoError::BrokenPack`] with the file's name if it is malformed: walk without a graph then. Others if `map` fails
/// for another reason than a missing file.
pub(crate) fn open<D: Deref<Target = [u8]>>(
    objects: &Path,
    hash_len: usize,
    map: impl Fn(&Path) -> io::Result<D>,
) -> Result<Option<CommitGraph<D>>> {
    let map = |path: &Path| match map(path) {
        Ok(data) => Ok(Some(data)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(RepoError::io("read", path)(e)),
    };
    let broken = |path: &Path, why: &str| RepoError::BrokenPack { path: path.to_owned(), why: why.into() };
    let single = single_path(objects);
    if let Some(data) = map(&single)? {
        let graph = CommitGraph::new([data], hash_len).map_err(|e| broken(&single, e.0))?;
        return Ok(Some(graph));
    }
    let list = list_path(objects);
    let Some(text) = map(&list)? else { return Ok(None) };
    let layers = parse_list(&text, hash_len).ok_or_else(|| broken(&list, "it is no list of checksums"))?;
    let mut files = Vec::new();
    for checksum in &layers {
        let Some(data) = map(&layer_path(objects, checksum))? else { break };
        files.push(data);
    }
    if files.is_empty() {
        return Ok(None);
    }
    CommitGraph::new(files, hash_len).map(Some).map_err(|e| broken(&list, e.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_checksum_a_line() {
        let line = "ab".repeat(20);
        let list = parse_list(format!("{line}\n{line}\n").as_bytes(), 20).expect("valid");
        assert_eq!(list.len(), 2);
        assert_eq!(parse_list(b"", 20), Some(vec![]));
        for bad in
            ["xyz\n".to_owned(), line[1..].to_owned(), "zz".repeat(20), format!("{line}\n").repeat(300)]
        {
            assert_eq!(parse_list(bad.as_bytes(), 20), None, "{bad}");
        }
        assert_eq!(parse_list(line.as_bytes(), 32), None);
    }
}
