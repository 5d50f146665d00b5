//! Whether a received object obeys git's format: the checks of `git fsck` that are errors, and those of its warnings
//! that protect a checkout (names such as `.git`). Zero-padded modes and odd time zones of old histories pass unless the
//! repository's config minds them.
//!
//! The rules are those listed in git-fsck(1), "FSCK MESSAGES". What a broken one leads to is decided by whoever asks, by
//! what the repository's config says ([`rules`]). Pure.

mod ident;
mod rules;

use std::cmp::Ordering;

use slipway_core::Oid;

use self::ident::ident;
pub use self::rules::Checks;
pub(crate) use self::rules::{Flaw, Level, MEND, Rule};
use crate::links::{TreeEntries, TreeEntry, commit_head, tag_target};
use crate::object::Kind;

/// Who decides about broken rules, and hears what else there is to see.
pub(crate) trait Judge {
    /// Lets a flaw pass, or refuses the object for it.
    fn flaw(&mut self, flaw: Flaw) -> Result<(), Flaw>;
    /// Told of each blob that a client would read as `.gitmodules`.
    fn gitmodules(&mut self, blob: Oid);
}

/// Finds which rules the object breaks; the error is the one that it is refused for.
pub(crate) fn check(kind: Kind, data: &[u8], hash_len: usize, judge: &mut dyn Judge) -> Result<(), Flaw> {
    match kind {
        Kind::Blob => Ok(()),
        Kind::Commit => commit(data, hash_len, judge),
        Kind::Tag => tag(data, hash_len, judge),
        Kind::Tree => tree(data, hash_len, judge),
    }
}

/// A flaw as an error.
fn flawed<T>(rule: Rule, why: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw::new(rule, why))
}

fn tree(data: &[u8], hash_len: usize, judge: &mut dyn Judge) -> Result<(), Flaw> {
    let mut previous: Option<TreeEntry<'_>> = None;
    // File `a`, file `a-b`, folder `a` are in order and yet have a name twice. Kept here: the files that begin the name
    // at hand, each the start of the next.
    let mut files: Vec<&[u8]> = Vec::new();
    let (mut entries, mut padded) = (TreeEntries::new(data, hash_len), false);
    loop {
        padded |= data.get(data.len() - entries.left()) == Some(&b'0');
        let Some(entry) = entries.next() else { break };
        let entry = entry.map_err(|why| Flaw::new(Rule::BadTree, why))?;
        match name(&entry) {
            Ok(true) => judge.gitmodules(entry.id),
            Ok(false) => {}
            Err(flaw) => judge.flaw(flaw)?,
        }
        no_null(&entry).or_else(|flaw| judge.flaw(flaw))?;
        if let Some(before) = previous {
            in_order(&before, &entry).or_else(|flaw| judge.flaw(flaw))?;
        }
        while files.last().is_some_and(|f| !entry.name.starts_with(f)) {
            files.pop();
        }
        if is_folder(&entry) {
            if files.contains(&entry.name) {
                judge
                    .flaw(Flaw::new(Rule::DuplicateEntries, format!("it has {} twice", shown(entry.name))))?;
            }
        } else {
            files.push(entry.name);
        }
        previous = Some(entry);
    }
    if padded {
        judge.flaw(Flaw::new(Rule::ZeroPaddedFilemode, "a mode in it starts with a zero"))?;
    }
    Ok(())
}

/// Checks one entry of a tree by itself; true if some system takes its name for `.gitmodules`.
pub(crate) fn entry(entry: &TreeEntry<'_>) -> Result<bool, Flaw> {
    let is_modules = name(entry)?;
    no_null(entry)?;
    Ok(is_modules)
}

fn no_null(entry: &TreeEntry<'_>) -> Result<(), Flaw> {
    if entry.id.is_zero() {
        return flawed(Rule::NullSha1, format!("its entry {} has the zero id", shown(entry.name)));
    }
    Ok(())
}

/// Checks that an entry may follow another.
pub(crate) fn in_order(before: &TreeEntry<'_>, entry: &TreeEntry<'_>) -> Result<(), Flaw> {
    match compare(before, entry) {
        Ordering::Less => Ok(()),
        Ordering::Equal => flawed(Rule::DuplicateEntries, format!("it has {} twice", shown(entry.name))),
        Ordering::Greater => {
            flawed(Rule::TreeNotSorted, format!("its entry {} is out of order", shown(entry.name)))
        }
    }
}

pub(crate) fn is_folder(entry: &TreeEntry<'_>) -> bool {
    entry.mode & 0o170_000 == 0o040_000
}

/// Folders sort as if their names ended in a slash.
pub(crate) fn compare(a: &TreeEntry<'_>, b: &TreeEntry<'_>) -> Ordering {
    let common = a.name.len().min(b.name.len());
    let rest = |e: &TreeEntry<'_>| match e.name.get(common) {
        Some(&byte) => (byte, e.name.len() > common + 1 || is_folder(e)),
        None if is_folder(e) => (b'/', false),
        None => (0, false),
    };
    a.name[..common].cmp(&b.name[..common]).then_with(|| rest(a).cmp(&rest(b)))
}

/// Checks an entry's name; true if it is one that some system takes for `.gitmodules`.
fn name(entry: &TreeEntry<'_>) -> Result<bool, Flaw> {
    use gix::validate::path::component::{Error, Mode, Options};
    let name = entry.name;
    // Everything that can harm starts so or holds such a byte; most names need no closer look.
    let suspicious = match name.first() {
        None | Some(b'.' | b'g' | b'G') => true,
        Some(_) => name.iter().any(|&b| b >= 0x80 || b == b'/' || b == b'\\'),
    };
    if !suspicious {
        return Ok(false);
    }
    let options = Options { protect_windows: false, protect_hfs: true, protect_ntfs: true };
    let is_link = entry.mode & 0o170_000 == 0o120_000;
    let mut modules = false;
    // Windows takes a backslash for a separator, so each part counts.
    for part in name.split(|&b| b == b'\\') {
        let whole = part.len() == name.len();
        // Asked as for a link: then the answer tells `.gitmodules` in all its spellings.
        let (rule, why) = match gix::validate::path::component(part.into(), Some(Mode::Symlink), options) {
            Ok(_) => continue,
            Err(Error::Empty | Error::Relative) if !whole => continue,
            Err(Error::SymlinkedGitModules) if !is_link => {
                modules = true;
                continue;
            }
            Err(Error::SymlinkedGitModules) => {
                (Rule::GitmodulesSymlink, "a link, which .gitmodules must not be")
            }
            Err(Error::Empty) => (Rule::EmptyName, "empty"),
            Err(Error::PathSeparator) => (Rule::FullPathname, "a path of several parts"),
            Err(Error::Relative) if part == b"." => (Rule::HasDot, "reserved for git itself"),
            Err(Error::Relative) => (Rule::HasDotdot, "reserved for git itself"),
            Err(_) => (Rule::HasDotgit, "reserved for git itself"),
        };
        return flawed(rule, format!("its entry {} has a name that is {why}", shown(name)));
    }
    Ok(modules)
}

/// A name as it is told to people.
pub(crate) fn shown(name: &[u8]) -> String {
    let cut: String = String::from_utf8_lossy(name).chars().take(100).collect();
    format!("{cut:?}")
}

fn commit(data: &[u8], hash_len: usize, judge: &mut dyn Judge) -> Result<(), Flaw> {
    let mut lines = header(data)?;
    let head = commit_head(data)
        .ok_or_else(|| Flaw::new(unreadable_commit(data), "it does not start with a tree and parents"))?;
    for (id, rule) in std::iter::once((&head.tree, Rule::BadTreeSha1))
        .chain(head.parents.iter().map(|id| (id, Rule::BadParentSha1)))
    {
        if id.as_bytes().len() != hash_len {
            return flawed(rule, "it names an object by an id of another hash");
        }
    }
    let mut line = lines.next().unwrap_or_default();
    line = if line.starts_with(b"tree ") { lines.next().unwrap_or_default() } else { line };
    while line.starts_with(b"parent ") {
        line = lines.next().unwrap_or_default();
    }
    let mut authors = 0;
    while let Some(author) = line.strip_prefix(b"author ") {
        authors += 1;
        ident(author, "author").or_else(|flaw| judge.flaw(flaw))?;
        line = lines.next().unwrap_or_default();
    }
    match authors {
        0 => judge.flaw(Flaw::new(Rule::MissingAuthor, "it has no author"))?,
        1 => {}
        _ => judge.flaw(Flaw::new(Rule::MultipleAuthors, "it has two authors"))?,
    }
    match line.strip_prefix(b"committer ") {
        Some(committer) => ident(committer, "committer").or_else(|flaw| judge.flaw(flaw))?,
        None => judge.flaw(Flaw::new(Rule::MissingCommitter, "it has no committer"))?,
    }
    if data.contains(&0) {
        judge.flaw(Flaw::new(Rule::NulInCommit, "its message has a NUL byte"))?;
    }
    Ok(())
}

/// Why a commit's head cannot be read.
fn unreadable_commit(data: &[u8]) -> Rule {
    let mut lines = data.split(|&b| b == b'\n');
    match lines.next().and_then(|line| line.strip_prefix(b"tree ")) {
        None => Rule::MissingTree,
        Some(hex) if Oid::from_hex(hex).is_none() => Rule::BadTreeSha1,
        Some(_) => Rule::BadParentSha1,
    }
}

fn tag(data: &[u8], hash_len: usize, judge: &mut dyn Judge) -> Result<(), Flaw> {
    let mut lines = header(data)?;
    let Some((target, _)) = tag_target(data) else {
        return flawed(unreadable_tag(data), "it does not start with an object and its type");
    };
    if target.as_bytes().len() != hash_len {
        return flawed(Rule::BadObjectSha1, "it names an object by an id of another hash");
    }
    if target.is_zero() {
        return flawed(Rule::BadObjectSha1, "it points at the zero id");
    }
    match lines.nth(2).and_then(|l| l.strip_prefix(b"tag ")) {
        None => return flawed(Rule::MissingTagEntry, "it has no tag name"),
        Some(b"") => judge.flaw(Flaw::new(Rule::BadTagName, "its tag name is empty"))?,
        Some(_) => {}
    }
    // Tags of git's first year have no tagger.
    match lines.next().and_then(|l| l.strip_prefix(b"tagger ")) {
        Some(tagger) => ident(tagger, "tagger").or_else(|flaw| judge.flaw(flaw)),
        None => Ok(()),
    }
}

/// Why a tag's head cannot be read.
fn unreadable_tag(data: &[u8]) -> Rule {
    let mut lines = data.split(|&b| b == b'\n');
    match lines.next().and_then(|line| line.strip_prefix(b"object ")) {
        None => return Rule::MissingObject,
        Some(hex) if Oid::from_hex(hex).is_none() => return Rule::BadObjectSha1,
        Some(_) => {}
    }
    let kind = lines.next().and_then(|line| line.strip_prefix(b"type "));
    if kind.is_none() { Rule::MissingTypeEntry } else { Rule::BadType }
}

/// The header's lines, which must end properly and hold no NUL.
fn header(data: &[u8]) -> Result<impl Iterator<Item = &[u8]>, Flaw> {
    let end = data.windows(2).position(|w| w == b"\n\n");
    let head = match end {
        Some(end) => &data[..=end],
        None if data.ends_with(b"\n") => data,
        None => return flawed(Rule::UnterminatedHeader, "its header does not end"),
    };
    if head.contains(&0) {
        return flawed(Rule::NulInHeader, "its header has a NUL byte");
    }
    Ok(head.split(|&b| b == b'\n'))
}

/// The error for an object that is refused for a flaw.
pub(crate) fn refuse(id: Oid, kind: Kind, flaw: &Flaw) -> crate::RepoError {
    crate::RepoError::BadObject { id, kind, why: flaw.to_string(), cure: flaw.rule.cure() }
}

/// Lets nothing pass but what old histories are full of, as without a word in the config.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) struct Strict;

#[cfg(any(test, feature = "fuzzing"))]
impl Judge for Strict {
    fn flaw(&mut self, flaw: Flaw) -> Result<(), Flaw> {
        if flaw.rule.is_old() { Ok(()) } else { Err(flaw) }
    }

    fn gitmodules(&mut self, _: Oid) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_of(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (mode, name) in entries {
            out.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            out.extend_from_slice(&[7; 20]);
        }
        out
    }

    fn check_tree(entries: &[(&str, &str)]) -> Result<(), Flaw> {
        check(Kind::Tree, &tree_of(entries), 20, &mut Strict)
    }

    #[test]
    fn trees_are_sorted_without_twins_and_hold_no_name_of_gits() {
        check_tree(&[("100644", "a"), ("40000", "a-b"), ("100644", "a.b"), ("40000", "b"), ("160000", "c")])
            .expect("fine");
        check_tree(&[("100644", ".gitignore"), ("100644", ".gitmodules"), ("040000", "git")]).expect("fine");
        for name in [
            "",
            ".",
            "..",
            ".git",
            ".GIT",
            ".Git",
            "git~1",
            "GIT~1",
            ".git ",
            ".git.",
            ".git::$INDEX_ALLOCATION",
            "a/b",
            ".g\u{200c}it",
            "x\\.git",
            "a\\git~1",
        ] {
            assert!(check_tree(&[("40000", name)]).is_err(), "{name:?}");
        }
        assert!(check_tree(&[("120000", ".gitmodules")]).is_err());
        assert!(check_tree(&[("100644", "b"), ("100644", "a")]).is_err());
        assert!(check_tree(&[("100644", "a"), ("100644", "a")]).is_err());
        assert!(check_tree(&[("100644", "a"), ("40000", "a")]).is_err());
        assert!(check_tree(&[("100644", "a"), ("100644", "a-b"), ("40000", "a")]).is_err());
        assert!(check_tree(&[("40000", "a"), ("100644", "a0"), ("100644", "a")]).is_err());
        let mut zero = b"100644 a\0".to_vec();
        zero.extend_from_slice(&[0; 20]);
        assert!(check(Kind::Tree, &zero, 20, &mut Strict).is_err());
        let whole = tree_of(&[("100644", "a")]);
        for cut in 1..whole.len() {
            assert!(check(Kind::Tree, &whole[..cut], 20, &mut Strict).is_err());
        }
    }

    #[test]
    fn commits_and_tags_have_their_headers() {
        let id = "1".repeat(40);
        let good = format!("tree {id}\nparent {id}\nauthor A <a@b> 1 +0000\ncommitter C <> 0 -0130\n\nx\n");
        check(Kind::Commit, good.as_bytes(), 20, &mut Strict).expect("fine");
        check(Kind::Commit, good.replace("> ", ">  ").as_bytes(), 20, &mut Strict)
            .expect("fine for git, too");
        for (from, to) in [
            ("tree ", "tre "),
            ("parent 1", "parent x"),
            ("author", "autor"),
            ("committer", "x"),
            ("<a@b>", "a@b"),
            ("<a@b>", "<a@b"),
            ("A <", "A<"),
            ("> 1 ", "> x "),
            ("> 1 ", "> 01 "),
            ("+0000", ""),
            ("> 1", ">1"),
            ("> 1 ", "> 99999999999999999999 "),
            ("A <", "A> <"),
            ("author A", "author A\0"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(check(Kind::Commit, bad.as_bytes(), 20, &mut Strict).is_err(), "{bad:?}");
        }
        assert!(check(Kind::Commit, b"", 20, &mut Strict).is_err());
        assert!(check(Kind::Commit, good.as_bytes(), 32, &mut Strict).is_err(), "ids of another hash");
        let tag = format!("object {id}\ntype commit\ntag v1\ntagger T <t@x> 1 +0000\n\nm\n");
        check(Kind::Tag, tag.as_bytes(), 20, &mut Strict).expect("fine");
        for (from, to) in [("object", "o"), ("type commit", "type x"), ("tag v1", "tg v1"), ("<t@x>", "t")] {
            assert!(check(Kind::Tag, tag.replacen(from, to, 1).as_bytes(), 20, &mut Strict).is_err());
        }
    }
}
