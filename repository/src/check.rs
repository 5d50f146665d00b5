//! Whether a received object obeys git's format: the checks of `git fsck` that are errors, and those of its warnings
//! that protect a checkout (names such as `.git`). Zero-padded modes and odd time zones of old histories pass.
//!
//! The rules are those listed in git-fsck(1), "FSCK MESSAGES". Pure.

use std::cmp::Ordering;

use slipway_core::Oid;

use crate::links::{TreeEntries, TreeEntry, commit_head, tag_target};
use crate::object::Kind;

/// Says which rule the object breaks. `gitmodules` is called with the blobs that a client would read as `.gitmodules`.
pub(crate) fn check(
    kind: Kind,
    data: &[u8],
    hash_len: usize,
    gitmodules: &mut dyn FnMut(Oid),
) -> Result<(), String> {
    match kind {
        Kind::Blob => Ok(()),
        Kind::Commit => commit(data, hash_len),
        Kind::Tag => tag(data, hash_len),
        Kind::Tree => tree(data, hash_len, gitmodules),
    }
}

fn tree(data: &[u8], hash_len: usize, gitmodules: &mut dyn FnMut(Oid)) -> Result<(), String> {
    let mut previous: Option<TreeEntry<'_>> = None;
    // File `a`, file `a-b`, folder `a` are in order and yet have a name twice. Kept here: the files that begin the name
    // at hand, each the start of the next.
    let mut files: Vec<&[u8]> = Vec::new();
    for entry in TreeEntries::new(data, hash_len) {
        let entry = entry?;
        if self::entry(&entry)? {
            gitmodules(entry.id);
        }
        if let Some(before) = previous {
            in_order(&before, &entry)?;
        }
        while files.last().is_some_and(|f| !entry.name.starts_with(f)) {
            files.pop();
        }
        if is_folder(&entry) {
            if files.contains(&entry.name) {
                return Err(format!("it has {} twice", shown(entry.name)));
            }
        } else {
            files.push(entry.name);
        }
        previous = Some(entry);
    }
    Ok(())
}

/// Checks one entry of a tree by itself; true if some system takes its name for `.gitmodules`.
pub(crate) fn entry(entry: &TreeEntry<'_>) -> Result<bool, String> {
    let is_modules = name(entry)?;
    if entry.id.is_zero() {
        return Err(format!("its entry {} has the zero id", shown(entry.name)));
    }
    Ok(is_modules)
}

/// Checks that an entry may follow another.
pub(crate) fn in_order(before: &TreeEntry<'_>, entry: &TreeEntry<'_>) -> Result<(), String> {
    match compare(before, entry) {
        Ordering::Less => Ok(()),
        Ordering::Equal => Err(format!("it has {} twice", shown(entry.name))),
        Ordering::Greater => Err(format!("its entry {} is out of order", shown(entry.name))),
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
fn name(entry: &TreeEntry<'_>) -> Result<bool, String> {
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
        let why = match gix::validate::path::component(part.into(), Some(Mode::Symlink), options) {
            Ok(_) => continue,
            Err(Error::Empty | Error::Relative) if !whole => continue,
            Err(Error::SymlinkedGitModules) if !is_link => {
                modules = true;
                continue;
            }
            Err(Error::SymlinkedGitModules) => "a link, which .gitmodules must not be",
            Err(Error::Empty) => "empty",
            Err(Error::PathSeparator) => "a path of several parts",
            Err(_) => "reserved for git itself",
        };
        return Err(format!("its entry {} has a name that is {why}", shown(name)));
    }
    Ok(modules)
}

/// A name as it is told to people.
pub(crate) fn shown(name: &[u8]) -> String {
    let cut: String = String::from_utf8_lossy(name).chars().take(100).collect();
    format!("{cut:?}")
}

fn commit(data: &[u8], hash_len: usize) -> Result<(), String> {
    let mut lines = header(data)?;
    let head = commit_head(data).ok_or("it does not start with a tree and parents")?;
    if head.parents.iter().chain([&head.tree]).any(|id| id.as_bytes().len() != hash_len) {
        return Err("it names an object by an id of another hash".into());
    }
    let mut line = lines.next().unwrap_or_default();
    line = if line.starts_with(b"tree ") { lines.next().unwrap_or_default() } else { line };
    while line.starts_with(b"parent ") {
        line = lines.next().unwrap_or_default();
    }
    let author = line.strip_prefix(b"author ").ok_or("it has no author")?;
    ident(author, "author")?;
    line = lines.next().unwrap_or_default();
    if line.starts_with(b"author ") {
        return Err("it has two authors".into());
    }
    let committer = line.strip_prefix(b"committer ").ok_or("it has no committer")?;
    ident(committer, "committer")
}

fn tag(data: &[u8], hash_len: usize) -> Result<(), String> {
    let mut lines = header(data)?;
    let Some((target, _)) = tag_target(data) else {
        return Err("it does not start with an object and its type".into());
    };
    if target.as_bytes().len() != hash_len {
        return Err("it names an object by an id of another hash".into());
    }
    if target.is_zero() {
        return Err("it points at the zero id".into());
    }
    let name = lines.nth(2).and_then(|l| l.strip_prefix(b"tag ")).ok_or("it has no tag name")?;
    if name.is_empty() {
        return Err("its tag name is empty".into());
    }
    // Tags of git's first year have no tagger.
    match lines.next().and_then(|l| l.strip_prefix(b"tagger ")) {
        Some(tagger) => ident(tagger, "tagger"),
        None => Ok(()),
    }
}

/// The header's lines, which must end properly and hold no NUL.
fn header(data: &[u8]) -> Result<impl Iterator<Item = &[u8]>, String> {
    let end = data.windows(2).position(|w| w == b"\n\n");
    let head = match end {
        Some(end) => &data[..=end],
        None if data.ends_with(b"\n") => data,
        None => return Err("its header does not end".into()),
    };
    if head.contains(&0) {
        return Err("its header has a NUL byte".into());
    }
    Ok(head.split(|&b| b == b'\n'))
}

/// `Name <email> seconds zone`
fn ident(who: &[u8], role: &str) -> Result<(), String> {
    let open = who.iter().position(|&b| b == b'<').ok_or_else(|| format!("its {role} has no email"))?;
    if who[..open].contains(&b'>') {
        return Err(format!("its {role}'s name has a '>'"));
    }
    if open == 0 {
        return Err(format!("its {role} has no space before the email"));
    }
    if who[open - 1] != b' ' {
        return Err(format!("its {role} has no space before the email"));
    }
    let email = &who[open + 1..];
    let close = email.iter().position(|&b| b == b'>' || b == b'<');
    let close =
        close.filter(|&i| email[i] == b'>').ok_or_else(|| format!("its {role}'s email is not valid"))?;
    let rest = email[close + 1..].strip_prefix(b" ").ok_or_else(|| format!("its {role} has no date"))?;
    // Some programs wrote more than one space, and git reads over them.
    let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let rest = &rest[blanks..];
    let (seconds, zone) = match rest.iter().position(|&b| b == b' ') {
        Some(space) => (&rest[..space], &rest[space + 1..]),
        None => return Err(format!("its {role}'s date has no time zone")),
    };
    if seconds.is_empty() || !seconds.iter().all(u8::is_ascii_digit) {
        return Err(format!("its {role}'s date is not a number"));
    }
    if seconds.len() > 1 && seconds[0] == b'0' {
        return Err(format!("its {role}'s date starts with a zero"));
    }
    let fits = std::str::from_utf8(seconds).ok().and_then(|s| s.parse::<i64>().ok()).is_some();
    if !fits {
        return Err(format!("its {role}'s date is too large"));
    }
    let digits = zone.strip_prefix(b"+").or_else(|| zone.strip_prefix(b"-")).unwrap_or_default();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(format!("its {role}'s time zone is not valid"));
    }
    Ok(())
}

/// The error for an object that fails [`check`].
pub(crate) fn refuse(id: Oid, kind: Kind, why: String) -> crate::RepoError {
    crate::RepoError::BadObject { id, kind, why }
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

    fn check_tree(entries: &[(&str, &str)]) -> Result<(), String> {
        check(Kind::Tree, &tree_of(entries), 20, &mut |_| {})
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
        assert!(check(Kind::Tree, &zero, 20, &mut |_| {}).is_err());
        let whole = tree_of(&[("100644", "a")]);
        for cut in 1..whole.len() {
            assert!(check(Kind::Tree, &whole[..cut], 20, &mut |_| {}).is_err());
        }
    }

    #[test]
    fn commits_and_tags_have_their_headers() {
        let id = "1".repeat(40);
        let good = format!("tree {id}\nparent {id}\nauthor A <a@b> 1 +0000\ncommitter C <> 0 -0130\n\nx\n");
        check(Kind::Commit, good.as_bytes(), 20, &mut |_| {}).expect("fine");
        check(Kind::Commit, good.replace("> ", ">  ").as_bytes(), 20, &mut |_| {})
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
            assert!(check(Kind::Commit, bad.as_bytes(), 20, &mut |_| {}).is_err(), "{bad:?}");
        }
        assert!(check(Kind::Commit, b"", 20, &mut |_| {}).is_err());
        assert!(check(Kind::Commit, good.as_bytes(), 32, &mut |_| {}).is_err(), "ids of another hash");
        let tag = format!("object {id}\ntype commit\ntag v1\ntagger T <t@x> 1 +0000\n\nm\n");
        check(Kind::Tag, tag.as_bytes(), 20, &mut |_| {}).expect("fine");
        for (from, to) in [("object", "o"), ("type commit", "type x"), ("tag v1", "tg v1"), ("<t@x>", "t")] {
            assert!(check(Kind::Tag, tag.replacen(from, to, 1).as_bytes(), 20, &mut |_| {}).is_err());
        }
    }
}
