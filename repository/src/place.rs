//! Where a file is, as everybody may see it. Errors carry the whole path for the log and show no more than this: whoever reads a
//! page or pushes need not know where a server keeps its files.

use std::ffi::OsStr;
use std::path::Path;

/// The path from the repository's folder on; the last name of one that is in none.
pub(crate) fn shown(path: &Path) -> String {
    let parts: Vec<&OsStr> = path.components().map(|part| part.as_os_str()).collect();
    let of_repository = |part: &&OsStr| part.to_string_lossy().ends_with(".git");
    let from = parts.iter().position(of_repository).map(|at| at + 1);
    let from = from.unwrap_or(parts.len().saturating_sub(1));
    let within: Vec<_> = parts[from..].iter().map(|part| part.to_string_lossy()).collect();
    if within.is_empty() { "the repository's folder".into() } else { within.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_above_the_repository_is_shown() {
        for (path, wanted) in [
            ("/srv/data/repos/7.git/objects/pack/pack-1.idx", "objects/pack/pack-1.idx"),
            ("/srv/data/repos/7.git", "the repository's folder"),
            ("/srv/data/repos/.slipway-new-1", ".slipway-new-1"),
            ("/srv/data/repos", "repos"),
            ("relative/app.git/refs/heads/x.git/y", "refs/heads/x.git/y"),
        ] {
            assert_eq!(shown(Path::new(path)), wanted);
        }
    }
}
