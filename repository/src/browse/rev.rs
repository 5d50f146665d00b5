//! Revisions as people write them: names, ids, short ids, and steps from there (gitrevisions(7)).
//!
//! Names are looked up in git's order: as written, then `refs/X`, `refs/tags/X`, `refs/heads/X`, `refs/remotes/X`.
//! Understood after a name: `^`, `^n`, `^0`, `~`, `~n`, `^{}`, `^{commit}`, `^{tree}`, `^{object}`. There are no
//! reflogs here, so `@{…}` names nothing. Knows nothing of who may see what.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use slipway_core::Oid;

use super::Objects;
use super::commit::{Link, peel_tags, peel_tree};
use crate::limits::{REV_BYTES_MAX, REV_STEPS_MAX, SHORT_ID_CANDIDATES_MAX, SHORT_ID_DIGITS_MIN};
use crate::{Kind, RepoError, Result, Snapshot};

/// Where names and shortened ids are looked up.
pub(crate) trait Names {
    /// What the ref of that full name (or `HEAD`) points at; an error if there is such a ref and it cannot be read.
    fn target(&self, full: &str) -> Result<Option<Oid>>;
    /// Hexadecimal digits of a whole id.
    fn id_digits(&self) -> usize;
    /// Up to `max` objects whose ids begin with these lower-case digits.
    fn with_prefix(&self, digits: &str, max: usize) -> Result<Vec<Oid>>;
}

/// What `rev` names; `None` if there is no such thing. The object is there, but it may be of any kind.
pub(crate) fn resolve(objects: &dyn Objects, names: &dyn Names, rev: &str) -> Result<Option<Oid>> {
    if rev.len() > REV_BYTES_MAX {
        return Ok(None);
    }
    let (name, steps) = rev.split_at(rev.find(['^', '~']).unwrap_or(rev.len()));
    let Some(steps) = parse_steps(steps) else { return Ok(None) };
    let Some(mut id) = named(objects, names, name)? else { return Ok(None) };
    let mut walked = 0;
    for step in &steps {
        let Some(next) = take(objects, &id, step, &mut walked)? else { return Ok(None) };
        id = next;
    }
    Ok(Some(id))
}

impl Names for Snapshot {
    fn target(&self, full: &str) -> Result<Option<Oid>> {
        let target = self.target_of(full)?;
        match target {
            // As said of a packed ref, whose object nobody has looked for yet.
            Some(id) if !self.contains(&id)? => Err(RepoError::Missing { id }),
            target => Ok(target),
        }
    }

    fn id_digits(&self) -> usize {
        2 * self.object_format().id_bytes()
    }

    fn with_prefix(&self, digits: &str, max: usize) -> Result<Vec<Oid>> {
        let mut found = BTreeSet::new();
        for pack in self.packs.load().packs() {
            pack.ids_with_prefix(digits, max, &mut found);
        }
        loose_with_prefix(&self.objects, digits, max, &mut found)?;
        Ok(found.into_iter().collect())
    }
}

/// Loose objects lie in a folder named after their first two digits.
fn loose_with_prefix(objects: &Path, digits: &str, max: usize, found: &mut BTreeSet<Oid>) -> Result<()> {
    let (Some(first), Some(rest)) = (digits.get(..2), digits.get(2..)) else { return Ok(()) };
    let folder = objects.join(first);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(RepoError::io("list", &folder)(e)),
    };
    for entry in entries {
        let name = entry.map_err(RepoError::io("list", &folder))?.file_name();
        let name = name.to_str().filter(|name| name.starts_with(rest));
        // Temporary files have names that are no ids.
        if let Some(id) = name.and_then(|name| Oid::parse(&format!("{first}{name}")).ok())
            && found.len() < max
        {
            found.insert(id);
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// `^n`: 0 is the commit itself.
    Parent(usize),
    /// `~n`.
    Ancestor(usize),
    /// `^{}`, `^{commit}`, `^{tree}`, `^{object}`.
    Peel(Option<Kind>),
    /// `^{object}`: as it is.
    Stay,
}

fn parse_steps(mut text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while let Some(sign) = text.chars().next() {
        text = text.get(1..)?;
        if let Some(rest) = text.strip_prefix('{').filter(|_| sign == '^') {
            let (kind, rest) = rest.split_once('}')?;
            text = rest;
            steps.push(match kind {
                "" => Step::Peel(None),
                "object" => Step::Stay,
                "commit" => Step::Peel(Some(Kind::Commit)),
                "tree" => Step::Peel(Some(Kind::Tree)),
                _ => return None,
            });
            continue;
        }
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, rest) = text.split_at(digits);
        text = rest;
        let number = if number.is_empty() { 1 } else { number.parse().ok()? };
        steps.push(match sign {
            '^' => Step::Parent(number),
            '~' => Step::Ancestor(number),
            _ => return None,
        });
    }
    Some(steps)
}

fn take(objects: &dyn Objects, id: &Oid, step: &Step, walked: &mut usize) -> Result<Option<Oid>> {
    let mut spend = || {
        *walked += 1;
        let max = REV_STEPS_MAX;
        if *walked > max {
            Err(RepoError::TooLong { what: "the number of steps in the revision", max })
        } else {
            Ok(())
        }
    };
    match step {
        Step::Stay => Ok(Some(*id)),
        Step::Peel(Some(Kind::Tree)) => peel_tree(objects, id),
        Step::Peel(None) => Ok(peel_tags(objects, id)?.map(|object| object.id)),
        Step::Peel(Some(_)) | Step::Parent(0) => Ok(Link::peel(objects, id)?.map(|link| link.id)),
        Step::Parent(n) => {
            spend()?;
            Ok(Link::peel(objects, id)?.and_then(|link| link.parents.get(n - 1).copied()))
        }
        Step::Ancestor(n) => {
            let Some(mut link) = Link::peel(objects, id)? else { return Ok(None) };
            for _ in 0..*n {
                spend()?;
                let Some(parent) = link.parents.first() else { return Ok(None) };
                link = Link::load(objects, parent)?;
            }
            Ok(Some(link.id))
        }
    }
}

fn named(objects: &dyn Objects, names: &dyn Names, name: &str) -> Result<Option<Oid>> {
    let digits = names.id_digits();
    if let Ok(id) = Oid::parse(name)
        && name.len() == digits
    {
        // git takes a full id before any ref of that name.
        return Ok(objects.header(&id)?.map(|_| id));
    }
    let name = if name == "@" { "HEAD" } else { name };
    if (name == "HEAD" || name.starts_with("refs/"))
        && let Some(id) = names.target(name)?
    {
        return Ok(Some(id));
    }
    for folder in ["refs/", "refs/tags/", "refs/heads/", "refs/remotes/"] {
        if let Some(id) = names.target(&format!("{folder}{name}"))? {
            return Ok(Some(id));
        }
    }
    let short =
        (SHORT_ID_DIGITS_MIN..digits).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
    if short { short_id(objects, names, &name.to_ascii_lowercase()) } else { Ok(None) }
}

/// A shortened id: of several objects the only commit (or tag of one) is meant.
fn short_id(objects: &dyn Objects, names: &dyn Names, digits: &str) -> Result<Option<Oid>> {
    let candidates = names.with_prefix(digits, SHORT_ID_CANDIDATES_MAX)?;
    if candidates.len() <= 1 {
        return Ok(candidates.first().copied());
    }
    let mut commits = Vec::new();
    for id in &candidates {
        if peel_tags(objects, id)?.is_some_and(|object| object.kind == Kind::Commit) {
            commits.push(*id);
        }
    }
    match commits.as_slice() {
        [only] if candidates.len() < SHORT_ID_CANDIDATES_MAX => Ok(Some(*only)),
        _ => Err(RepoError::AmbiguousRev { rev: digits.to_owned(), candidates }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_or_refused() {
        let steps = parse_steps("^~3^2^{}^{tree}^0").expect("valid");
        let wanted = [
            Step::Parent(1),
            Step::Ancestor(3),
            Step::Parent(2),
            Step::Peel(None),
            Step::Peel(Some(Kind::Tree)),
            Step::Parent(0),
        ];
        assert_eq!(steps, wanted);
        for bad in ["^{", "^{blobs}", "~{}", "^x", "~1é", "^99999999999999999999999"] {
            assert_eq!(parse_steps(bad), None, "{bad:?}");
        }
    }
}
