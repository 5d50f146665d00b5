//! The command line that an SSH client asks for. No shell is behind it: nothing is expanded, nothing is run.

use slipway_core::{Problem, ProblemKind};

use crate::limits::{COMMAND_LINE_BYTES_MAX, COMMAND_WORDS_MAX};
use crate::wire::Service;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exec {
    /// One of git's two services at a repository. The name is as sent; the one authoriser judges it.
    Git(Service, String),
    /// An archive of a repository's files (`git archive --remote`).
    Archive(String),
    /// Anything else, as words.
    Command(Vec<String>),
}

/// Reads a command line.
pub(crate) fn parse(raw: &[u8]) -> Result<Exec, Problem> {
    if raw.len() > COMMAND_LINE_BYTES_MAX {
        let what = format!("The command has {} bytes; {COMMAND_LINE_BYTES_MAX} are allowed.", raw.len());
        return Err(Problem::new(ProblemKind::TooLarge, what, "Shorten it."));
    }
    let line = std::str::from_utf8(raw).map_err(|_| invalid("The command is not UTF-8."))?.trim();
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(invalid("The command has control characters."));
    }
    let line = line
        .strip_prefix("git ")
        .map_or_else(|| line.to_owned(), |rest| format!("git-{}", rest.trim_start()));
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line.as_str(), ""));
    match verb {
        "git-upload-pack" | "git-receive-pack" => {
            let service = Service::parse(verb).ok_or_else(|| invalid("There is no such service."))?;
            Ok(Exec::Git(service, repository(rest.trim())?))
        }
        "git-upload-archive" => Ok(Exec::Archive(repository(rest.trim())?)),
        "git-lfs-authenticate" | "git-lfs-transfer" => Err(Problem::new(
            ProblemKind::Invalid,
            "This server has no Git LFS.",
            "Push the files themselves, or keep them elsewhere.",
        )),
        _ => Ok(Exec::Command(words(&line)?)),
    }
}

/// The repository's name out of a path: `'/NAME.git'`, `NAME`, `/v1/repos/NAME`, behind flags that stock clients send.
fn repository(rest: &str) -> Result<String, Problem> {
    let mut rest = rest;
    while let Some((flag, tail)) = rest.split_once(' ') {
        let known = matches!(flag, "--strict" | "--no-strict")
            || flag
                .strip_prefix("--timeout=")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        if !known {
            break;
        }
        rest = tail.trim_start();
    }
    let path = unquote(rest).ok_or_else(|| invalid("The repository's path is not quoted as git does it."))?;
    Ok(repository_name(&path).to_owned())
}

/// The name within a path of any form that addresses have.
pub(crate) fn repository_name(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_prefix("v1/repos/").unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.strip_suffix(".git").unwrap_or(path)
}

/// Undoes git's quoting: `'…'` with `'\''` and `'\!'` in it; or a bare word of harmless characters.
fn unquote(raw: &str) -> Option<String> {
    if !raw.starts_with('\'') {
        let bare = |b: u8| b.is_ascii_alphanumeric() || b"._/-~+@:".contains(&b);
        return (!raw.is_empty() && raw.bytes().all(bare)).then(|| raw.to_owned());
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw.strip_prefix('\'')?;
    loop {
        let (quoted, tail) = rest.split_once('\'')?;
        out.push_str(quoted);
        if tail.is_empty() {
            return Some(out);
        }
        let tail = tail.strip_prefix('\\')?;
        let escaped = tail.chars().next().filter(|c| matches!(c, '\'' | '!'))?;
        out.push(escaped);
        rest = tail.get(1..)?.strip_prefix('\'')?;
    }
}

/// Splits into words as a shell does, quotes and backslashes alone: nothing is expanded.
fn words(line: &str) -> Result<Vec<String>, Problem> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err(invalid("A quote is not closed.")),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err(invalid("A quote is not closed.")),
                        },
                        Some(c) => word.push(c),
                        None => return Err(invalid("A quote is not closed.")),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(invalid("The command ends in a backslash.")),
            },
            c => word.get_or_insert_default().push(c),
        }
        if words.len() > COMMAND_WORDS_MAX {
            return Err(invalid("The command has too many words."));
        }
    }
    words.extend(word);
    if words.is_empty() {
        return Err(invalid("The command is empty."));
    }
    Ok(words)
}

fn invalid(what: &str) -> Problem {
    Problem::new(ProblemKind::Invalid, what, "Use git, or one of the server's commands; 'help' lists them.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(line: &str) -> Option<String> {
        match parse(line.as_bytes()) {
            Ok(Exec::Git(_, name)) => Some(name),
            _ => None,
        }
    }

    #[test]
    fn addresses_of_every_form_name_the_repository() {
        for line in [
            "git-upload-pack '/app.git'",
            "git-upload-pack '/app'",
            "git-upload-pack 'app'",
            "git-upload-pack app.git",
            "git upload-pack '/app'",
            "git-upload-pack '/v1/repos/app'",
            "git-upload-pack 'v1/repos/app.git'",
            "git-upload-pack --strict --timeout=30 '/app/'",
            "git-receive-pack 'app'",
        ] {
            assert_eq!(name(line).as_deref(), Some("app"), "{line}");
        }
        assert_eq!(parse(b"git-upload-archive '/app.git'").expect("valid"), Exec::Archive("app".into()));
        assert_eq!(name(r"git-upload-pack '/it'\''s'"), Some("it's".into()));
        assert_eq!(name(r"git-upload-pack '/a'\!'b'"), Some("a!b".into()));
    }

    #[test]
    fn quoting_that_git_never_writes_is_refused() {
        for line in [
            "git-upload-pack",
            "git-upload-pack ''x",
            "git-upload-pack 'a' 'b'",
            "git-upload-pack 'a'; reboot",
            "git-upload-pack 'a",
            "git-upload-pack $(id)",
            "git-upload-pack `id`",
            "git-upload-pack \"a\"",
            "git-upload-pack 'a'|cat",
            "git-upload-pack 'a'\\x'b'",
            "git-upload-pack a b",
            "git-upload-pack 'a'\\''",
            "git-upload-pack --upload-pack=evil 'a'",
            "git-upload-pack 'a' --exec=x",
            "git-upload-pack a\u{0}b",
            "git-upload-pack 'a\nb'",
            "git-lfs-authenticate a download",
        ] {
            assert_eq!(name(line), None, "{line}");
        }
    }

    #[test]
    fn names_that_leave_the_folder_are_no_names() {
        use slipway_core::RepoName;
        for path in [
            "/../etc/passwd",
            "/~root/x",
            "/a/../b",
            "//app",
            "/.git",
            "/a/b",
            "/",
            "",
            "/v1/repos/",
            "..",
            "/-x",
        ] {
            let quoted = format!("git-upload-pack '{path}'");
            let judged = name(&quoted).map(|n| RepoName::parse(&n).is_ok());
            assert_ne!(judged, Some(true), "{path:?}");
        }
    }

    #[test]
    fn commands_are_split_into_words_without_a_shell() {
        let split = |line: &str| match parse(line.as_bytes()) {
            Ok(Exec::Command(words)) => Some(words.join("|")),
            _ => None,
        };
        assert_eq!(split("repo create app").as_deref(), Some("repo|create|app"));
        assert_eq!(
            split(r#"repo create app --description "it's \"one\" \$HOME" ''"#).as_deref(),
            Some("repo|create|app|--description|it's \"one\" $HOME|")
        );
        assert_eq!(split("a $(b) `c` *; d && e > f").as_deref(), Some("a|$(b)|`c`|*;|d|&&|e|>|f"));
        assert_eq!(split(r"a\ b 'c d'e").as_deref(), Some("a b|c de"));
        for bad in ["", "   ", "a 'b", "a \"b", "a \\", &"x ".repeat(200), &"x".repeat(9000)] {
            assert_eq!(split(bad), None, "{bad:?}");
        }
    }
}
