//! `.sourceignore`: files of a manifest repository that are no manifests, written as in .gitignore and read as Flux reads it.

use globset::{GlobBuilder, GlobMatcher};

/// Name of the file.
pub const SOURCE_IGNORE: &str = ".sourceignore";
/// Largest one, in bytes.
pub const SOURCE_IGNORE_BYTES_MAX: u64 = 64 << 10;
/// Most patterns of all files that count for one binding.
const PATTERNS_MAX: usize = 1_000;

/// Patterns, the later ones stronger.
#[derive(Clone, Debug, Default)]
pub struct SourceIgnore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// The folder of the file that says so, with a slash at its end; empty at the root.
    base: String,
    negated: bool,
    folders_only: bool,
    glob: GlobMatcher,
}

impl SourceIgnore {
    /// Adds the patterns of the file in folder `base`, which weigh more than those that are there.
    ///
    /// # Errors
    /// What is wrong, as a clause with the line.
    pub fn add(&mut self, base: &str, text: &str) -> Result<(), String> {
        let base = base.trim_matches('/').trim_start_matches("./");
        let base = if base.is_empty() || base == "." { String::new() } else { format!("{base}/") };
        for (n, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (negated, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
            let (folders_only, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
            let pattern = if line.contains('/') {
                line.strip_prefix('/').unwrap_or(line).to_owned()
            } else {
                format!("**/{line}")
            };
            let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build();
            let glob = glob.map_err(|e| format!("line {}: {}", n + 1, e.kind()))?.compile_matcher();
            self.rules.push(Rule { base: base.clone(), negated, folders_only, glob });
            if self.rules.len() > PATTERNS_MAX {
                return Err(format!("line {}: more than {PATTERNS_MAX} patterns", n + 1));
            }
        }
        Ok(())
    }

    /// True if a file is passed over: it, or a folder that it lies in, is named by the last pattern that names it at all.
    pub fn ignores(&self, path: &str) -> bool {
        let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        folders.into_iter().any(|folder| self.names(folder, true)) || self.names(path, false)
    }

    fn names(&self, path: &str, is_folder: bool) -> bool {
        let fits = |rule: &&Rule| {
            (is_folder || !rule.folders_only)
                && path.strip_prefix(rule.base.as_str()).is_some_and(|below| rule.glob.is_match(below))
        };
        self.rules.iter().rev().find(fits).is_some_and(|rule| !rule.negated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_as_in_gitignore() {
        let mut all = SourceIgnore::default();
        all.add("", "# not manifests\nvalues.yaml\n/top.yaml\ndocs/\n*.json\n!keep.json\nci/**/*.yml\n")
            .expect("patterns");
        all.add("apps", "/local.yaml\n!values.yaml\n").expect("patterns");
        for (path, want) in [
            ("values.yaml", true),
            ("a/b/values.yaml", true),
            ("apps/values.yaml", false),
            ("top.yaml", true),
            ("a/top.yaml", false),
            ("docs/a.yaml", true),
            ("a/docs/b/c.yaml", true),
            ("docs", false),
            ("x.json", true),
            ("a/keep.json", false),
            ("docs/keep.json", true),
            ("ci/a/b.yml", true),
            ("apps/local.yaml", true),
            ("local.yaml", false),
            ("apps/web.yaml", false),
        ] {
            assert_eq!(all.ignores(path), want, "{path}");
        }
        assert!(SourceIgnore::default().add("", "a\n[").expect_err("no pattern").starts_with("line 2"));
        assert!(SourceIgnore::default().add("", &"x\n".repeat(1_001)).is_err());
    }
}
