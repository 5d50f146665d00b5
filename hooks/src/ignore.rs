//! .dockerignore: which files of a folder are left out of a build context. Pure; knows no repository.
//!
//! The rules are those of the Docker documentation ("Dockerfile reference", .dockerignore file) and of what the engine
//! family does beyond its words: patterns are cleaned like Go's `path.Clean`, the last match wins, a pattern that
//! matches a folder holds for all below it, `*` and `?` stop at slashes, `**` does not, a leading `**` matches any
//! ending of the path. Matching runs all states at once, so no pattern can make it slow.

use crate::error::HookError;
use crate::limits::{IGNORE_PATTERN_BYTES_MAX, IGNORE_PATTERNS_MAX};

/// The patterns of one file.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    negated: bool,
    shape: Shape,
}

/// How a pattern matches; the simple shapes are also the ones with rules of their own.
#[derive(Debug, Clone)]
enum Shape {
    /// The very path.
    Exact(String),
    /// Ends in `**`, and is otherwise plain: any path that starts so.
    Prefix(String),
    /// Starts with `**`, and is otherwise plain: any path that ends so.
    Suffix(String),
    /// Everything else.
    Glob(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// This character.
    Char(char),
    /// One character but `/`.
    Any,
    /// Any number of characters but `/`.
    Star,
    /// Nothing, or anything up to and with a `/`.
    Folders,
    /// Anything.
    Rest,
    /// One of a set.
    Set { negated: bool, ranges: Vec<(char, char)> },
}

impl Ignore {
    /// Reads a file; `path` is its name for messages.
    ///
    /// # Errors
    /// [`HookError::Ignore`] for a pattern that is not well formed, with its line.
    pub(crate) fn parse(path: &str, bytes: &[u8]) -> Result<Self, HookError> {
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
        let mut rules = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let wrong = |why: String| HookError::Ignore { path: path.to_owned(), line: i + 1, why };
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            if line.len() > IGNORE_PATTERN_BYTES_MAX {
                return Err(wrong(format!("the pattern is longer than {IGNORE_PATTERN_BYTES_MAX} bytes")));
            }
            if rules.len() >= IGNORE_PATTERNS_MAX {
                return Err(wrong(format!("there are more than {IGNORE_PATTERNS_MAX} patterns")));
            }
            rules.push(Rule::parse(line).map_err(wrong)?);
        }
        Ok(Self { rules })
    }

    /// Takes patterns without a file around them, as builders send them.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub(crate) fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut rules = Vec::new();
        for pattern in patterns.into_iter().map(str::trim).filter(|pattern| !pattern.is_empty()) {
            if rules.len() >= IGNORE_PATTERNS_MAX || pattern.len() > IGNORE_PATTERN_BYTES_MAX {
                return Err("there are too many, or one is too long".into());
            }
            rules.push(Rule::parse(pattern)?);
        }
        Ok(Self { rules })
    }

    /// True if the file at `path` (slashes, relative to the context) is left out.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let mut ignored = false;
        for rule in &self.rules {
            // A rule that would not change the answer need not be looked at.
            if rule.negated == ignored && rule.matches_it_or_a_parent(path) {
                ignored = !rule.negated;
            }
        }
        ignored
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Self, String> {
        let (negated, rest) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if rest.is_empty() {
            return Err("\"!\" alone is not a pattern".into());
        }
        let cleaned = clean(rest);
        let pattern =
            if cleaned.len() > 1 { cleaned.strip_prefix('/').unwrap_or(&cleaned) } else { &cleaned };
        Ok(Self { negated, shape: Shape::parse(pattern)? })
    }

    fn matches_it_or_a_parent(&self, path: &str) -> bool {
        self.shape.matches(path)
            || path.match_indices('/').any(|(i, _)| path.get(..i).is_some_and(|p| self.shape.matches(p)))
    }
}

impl Shape {
    fn parse(pattern: &str) -> Result<Self, String> {
        let parts = parse_parts(pattern)?;
        let plain = |parts: &[Part]| parts.iter().all(|p| matches!(p, Part::Char(_)));
        let text = |parts: &[Part]| -> String {
            parts.iter().filter_map(|p| if let Part::Char(c) = p { Some(*c) } else { None }).collect()
        };
        if plain(&parts) {
            return Ok(Self::Exact(text(&parts)));
        }
        if let Some((Part::Rest, before)) = parts.split_last()
            && plain(before)
        {
            return Ok(Self::Prefix(text(before)));
        }
        if let Some((Part::Folders, after)) = parts.split_first()
            && plain(after)
        {
            // The slash after `**` stays in front, so that `**/b` does not match `ab`, while `**b` does.
            let slash = if pattern.starts_with("**/") { "/" } else { "" };
            return Ok(Self::Suffix(format!("{slash}{}", text(after))));
        }
        Ok(Self::Glob(parts))
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(text) => path.starts_with(text.as_str()),
            Self::Suffix(text) => path.ends_with(text.as_str()) || text.strip_prefix('/') == Some(path),
            Self::Glob(parts) => glob(parts, path),
        }
    }
}

fn parse_parts(pattern: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() { Part::Rest } else { Part::Folders }
            }
            '*' => Part::Star,
            '?' => Part::Any,
            '[' => parse_set(&mut chars)
                .ok_or_else(|| format!("the pattern {pattern:?} has an unfinished [set]"))?,
            '\\' => Part::Char(
                chars.next().ok_or_else(|| format!("the pattern {pattern:?} ends in a backslash"))?,
            ),
            plain => Part::Char(plain),
        });
    }
    Ok(parts)
}

/// Go's `filepath.Match` sets: `[a-z]`, `[^a-z]`, a backslash takes the next character as it is.
fn parse_set(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Part> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Part::Set { negated, ranges });
        }
        let low = set_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { set_char(chars)? } else { low };
        ranges.push((low, high));
    }
}

fn set_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

/// Runs every way of matching at once: `at[i]` says that the parts before `i` can match what was read so far.
fn glob(parts: &[Part], path: &str) -> bool {
    let mut at = vec![false; parts.len() + 1];
    // Inside `Folders`, past its first character: only a slash leads on.
    let mut within = vec![false; parts.len()];
    at[0] = true;
    skip_empty(parts, &mut at);
    for c in path.chars() {
        let mut next = vec![false; parts.len() + 1];
        let mut next_within = vec![false; parts.len()];
        for (i, part) in parts.iter().enumerate() {
            if !at[i] && !within[i] {
                continue;
            }
            match part {
                Part::Char(p) => next[i + 1] |= at[i] && *p == c,
                Part::Any => next[i + 1] |= at[i] && c != '/',
                Part::Star => next[i] |= at[i] && c != '/',
                Part::Rest => next[i] |= at[i],
                Part::Folders => {
                    next_within[i] = true;
                    next[i + 1] |= c == '/';
                }
                Part::Set { negated, ranges } => {
                    let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    next[i + 1] |= at[i] && inside != *negated && (!*negated || c != '\n');
                }
            }
        }
        skip_empty(parts, &mut next);
        (at, within) = (next, next_within);
    }
    at[parts.len()]
}

fn skip_empty(parts: &[Part], at: &mut [bool]) {
    for (i, part) in parts.iter().enumerate() {
        if at[i] && matches!(part, Part::Star | Part::Folders | Part::Rest) {
            at[i + 1] = true;
        }
    }
}

/// Go's `path.Clean`: no empty, `.` or resolvable `..` components, no slash at the end.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|k| *k != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            other => kept.push(other),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignores(lines: &str, path: &str) -> bool {
        Ignore::parse(".dockerignore", lines.as_bytes()).expect("well formed").matches(path)
    }

    /// Pattern, path, whether it (or a parent of it) matches: the cases that moby/patternmatcher checks itself with.
    const CASES: &[(&str, &str, bool)] = &[
        ("**", "file", true),
        ("**/", "file", true),
        ("**", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir3/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**/file", "dir/file", true),
        ("**file", "dir/dir/file", true),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/file*.txt*", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("**/**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt", "a/file.txt", true),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcdef", false),
        ("abc.def", "abc.def", true),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abcdef", false),
        ("**/foo/bar", "foo/bar", true),
        ("**/foo/bar", "dir/dir2/foo/bar", true),
        ("abc/**", "abc", false),
        ("abc/**", "abc/def", true),
        ("abc/**", "abc/def/ghi", true),
        ("**/.foo", ".foo", true),
        ("**/.foo", "bar.foo", false),
        ("a(b)c/def", "a(b)c/def", true),
        ("a(b)c/def", "a(b)c/xyz", false),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        ("dist/*.whl", "dist/p-2.4.0rc3.dev36+g08-py3.whl", true),
        ("a\\\\", "a\\", true),
        ("a\\*b", "a*b", true),
        ("*", "abc", true),
        ("*c", "abc", true),
        ("a*", "a", true),
        ("a*", "ab/c", true),
        ("a*/b", "abc/b", true),
        ("a*/b", "a/c/b", false),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
        ("a*b?c*x", "abxbbxdbxebxczzx", true),
        ("a*b?c*x", "abxbbxdbxebxczzy", false),
        ("ab[c]", "abc", true),
        ("ab[^c]", "abc", false),
        ("ab[^e-g]", "abc", true),
        ("a\\*b", "ab", false),
        ("a?b", "a☺b", true),
        ("a[^a]b", "a☺b", true),
        ("a???b", "a☺b", false),
        ("[a-ζ]*", "α", true),
        ("*[a-ζ]", "A", false),
        ("a?b", "a/b", false),
        ("a*b", "a/b", false),
        ("[\\]a]", "]", true),
        ("[\\-]", "-", true),
        ("[x\\-]", "-", true),
        ("[x\\-]", "z", false),
        ("[\\-x]", "a", false),
        ("*x", "xxx", true),
        ("docs", "docs/README.md", true),
        ("docs/", "docs/README.md", true),
        ("/docs", "docs/a/b", true),
        ("./docs//a/../b/", "docs/b", true),
        ("docs/*", "docs", false),
        ("README.md", "docs/README.md", false),
    ];

    #[test]
    fn patterns_match_what_docker_says_they_match() {
        for (pattern, path, wanted) in CASES {
            assert_eq!(ignores(pattern, path), *wanted, "{pattern:?} on {path:?}");
        }
    }

    #[test]
    fn the_last_match_wins() {
        assert!(!ignores("docs\n!docs/README.md", "docs/README.md"));
        assert!(ignores("!fileutils.go\n*.go", "fileutils.go"));
        assert!(!ignores("*.go\n!fileutils.go", "fileutils.go"));
        assert!(!ignores("**\n!util/docker/web", "util/docker/web/foo"));
        assert!(ignores("**\n!util/docker/web\nutil/docker/web/foo", "util/docker/web/foo"));
        assert!(!ignores("**\n!dist/*.whl", "dist/a+b.whl"));
        assert!(!ignores("*\n  !  /keep/me  ", "keep/me"));
    }

    #[test]
    fn comments_blank_lines_and_a_byte_order_mark_are_nothing() {
        assert!(!ignores("\u{feff}# secret\n\n   \n", "secret"));
        assert!(ignores(" # secret", "# secret"), "only a # in the first column is a comment");
    }

    #[test]
    fn what_is_not_a_pattern_is_told_with_its_line() {
        for bad in ["!", "[", "a[", "[^", "[^bc", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "x\\"] {
            match Ignore::parse(".dockerignore", format!("ok\n{bad}\n").as_bytes()) {
                Err(HookError::Ignore { line: 2, .. }) => {}
                other => panic!("{bad:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn no_pattern_makes_matching_slow() {
        let pattern = "*a".repeat(500) + "b";
        let path = "a".repeat(4000);
        let begun = std::time::Instant::now();
        assert!(!ignores(&pattern, &path));
        assert!(begun.elapsed().as_secs() < 5);
    }
}
