//! Commits and tags: read leniently, for graphs and for people. Knows nothing of trees' contents.
//!
//! History holds commits that no tool would write today: signatures without dates, broken encodings, headers in odd
//! order. Only a commit without a tree is an error; everything else is shown as well as it can be. Signatures are
//! parsed by gix-actor, declared encodings by encoding_rs; text that still is not UTF-8 is shown with U+FFFD.

use gix::actor::SignatureRef;
use slipway_core::Oid;

use super::Objects;
use super::tree::hash_of;
use crate::limits::{COMMIT_BYTES_MAX, TAG_DEPTH_MAX};
use crate::{Kind, Object, RepoError, Result};

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: Oid,
    /// Its root tree.
    pub tree: Oid,
    /// Its parents, the first one first.
    pub parents: Vec<Oid>,
    /// Who wrote the change.
    pub author: Person,
    /// Who made the commit.
    pub committer: Person,
    /// The whole message.
    pub message: String,
}

impl Commit {
    /// The first line of the message.
    pub fn subject(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// Who did something, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// May be empty.
    pub name: String,
    /// May be empty.
    pub email: String,
    /// Seconds since 1970.
    pub at: i64,
    /// Minutes east of UTC.
    pub offset_minutes: i32,
}

/// A commit as the graph sees it; the rest is read when it is shown.
pub(crate) struct Link {
    pub(crate) id: Oid,
    pub(crate) tree: Oid,
    pub(crate) parents: Vec<Oid>,
    /// Committer date in seconds.
    pub(crate) date: i64,
    raw: Vec<u8>,
}

impl Link {
    /// Reads the commit `id`, which must be one.
    pub(crate) fn load(objects: &dyn Objects, id: &Oid) -> Result<Self> {
        let object = objects.find(id, COMMIT_BYTES_MAX)?.ok_or(RepoError::Missing { id: *id })?;
        Self::read_at(objects, object)
    }

    /// Reads the commit that `id` names, tags peeled; `None` if it names none.
    pub(crate) fn peel(objects: &dyn Objects, id: &Oid) -> Result<Option<Self>> {
        let commit = peel_tags(objects, id)?.filter(|o| o.kind == Kind::Commit);
        commit.map(|object| Self::read_at(objects, object)).transpose()
    }

    /// The commit as it stands there: at a boundary it has no parents.
    fn read_at(objects: &dyn Objects, object: Object) -> Result<Self> {
        let mut link = Self::read(object)?;
        if objects.is_boundary(&link.id) {
            link.parents.clear();
        }
        Ok(link)
    }

    fn read(object: Object) -> Result<Self> {
        let Object { id, kind, data } = object;
        if kind != Kind::Commit {
            return Err(RepoError::WrongKind { id, wanted: Kind::Commit, found: kind });
        }
        let mut tree = None;
        let mut parents = Vec::new();
        let mut date = 0;
        for (key, value) in headers(&data) {
            match key {
                b"tree" if tree.is_none() => tree = id_in(value, &id),
                b"parent" => parents.extend(id_in(value, &id)),
                b"committer" => date = date_of(value),
                _ => {}
            }
        }
        let corrupt = || RepoError::BrokenObject { id, why: "the commit names no tree".to_owned() };
        Ok(Self { id, tree: tree.ok_or_else(corrupt)?, parents, date, raw: data })
    }

    /// The whole commit.
    pub(crate) fn commit(&self) -> Commit {
        let header = |wanted: &[u8]| headers(&self.raw).find(|(key, _)| *key == wanted).map(|(_, v)| v);
        let encoding = header(b"encoding");
        let person = |key| header(key).map(|value| person(value, encoding)).unwrap_or_default();
        Commit {
            id: self.id,
            tree: self.tree,
            parents: self.parents.clone(),
            author: person(b"author"),
            committer: person(b"committer"),
            message: decode(message(&self.raw), encoding),
        }
    }
}

/// The object that `id` names, tags peeled; `None` if there is none of that id. Blobs and trees of any size are not read
/// for it.
///
/// # Errors
/// [`RepoError::Missing`] where a tag is there and what it names is not: that is damage, and not absence.
pub(crate) fn peel_tags(objects: &dyn Objects, id: &Oid) -> Result<Option<Object>> {
    let mut id = *id;
    for depth in 0..TAG_DEPTH_MAX {
        match objects.header(&id)? {
            None if depth == 0 => return Ok(None),
            None => return Err(RepoError::Missing { id }),
            Some((kind @ (Kind::Blob | Kind::Tree), _)) => {
                return Ok(Some(Object { id, kind, data: Vec::new() }));
            }
            Some((Kind::Commit | Kind::Tag, _)) => {}
        }
        let object = objects.find(&id, COMMIT_BYTES_MAX)?.ok_or(RepoError::Missing { id })?;
        if object.kind != Kind::Tag {
            return Ok(Some(object));
        }
        let target =
            headers(&object.data).find(|(key, _)| *key == b"object").and_then(|(_, v)| id_in(v, &id));
        id = target.ok_or(RepoError::BrokenObject { id, why: "the tag names no object".to_owned() })?;
    }
    Err(RepoError::BrokenObject {
        id,
        why: format!("more than {TAG_DEPTH_MAX} tags are nested in one another"),
    })
}

/// The tree of what `id` names: a tree, a commit's tree, or either behind tags; `None` for a blob.
///
/// # Errors
/// [`RepoError::Missing`] where there is no object of that id: whoever asks for its tree has it from somewhere.
pub(crate) fn peel_tree(objects: &dyn Objects, id: &Oid) -> Result<Option<Oid>> {
    let object = peel_tags(objects, id)?.ok_or(RepoError::Missing { id: *id })?;
    Ok(match object.kind {
        Kind::Tree => Some(object.id),
        Kind::Commit => Some(Link::read(object)?.tree),
        Kind::Blob | Kind::Tag => None,
    })
}

/// The header lines of a commit or tag, continuation lines left out.
fn headers(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    raw.split(|&b| b == b'\n').take_while(|line| !line.is_empty()).filter_map(|line| {
        let space = line.iter().position(|&b| b == b' ')?;
        (space > 0).then(|| (&line[..space], &line[space + 1..]))
    })
}

fn message(raw: &[u8]) -> &[u8] {
    let end = raw.windows(2).position(|pair| pair == b"\n\n");
    end.and_then(|at| raw.get(at + 2..)).unwrap_or_default()
}

fn id_in(value: &[u8], like: &Oid) -> Option<Oid> {
    Oid::from_hex(value).filter(|id| hash_of(id) == hash_of(like))
}

/// The date as git's own walk reads it: digits after the last `>`; anything else is the beginning of time.
fn date_of(signature: &[u8]) -> i64 {
    let after = signature.rsplit(|&b| b == b'>').next().unwrap_or_default();
    let text = std::str::from_utf8(after).unwrap_or_default();
    text.split_whitespace().next().and_then(|t| t.parse::<i64>().ok()).map_or(0, |t| t.max(0))
}

fn person(raw: &[u8], encoding: Option<&[u8]>) -> Person {
    let Ok(signature) = SignatureRef::from_bytes(raw) else {
        return Person { name: decode(raw, encoding), ..Person::default() };
    };
    let signature = signature.trim();
    let offset = signature.time().map_or(0, |time| time.offset);
    Person {
        name: decode(signature.name, encoding),
        email: decode(signature.email, encoding),
        at: signature.seconds(),
        offset_minutes: offset / 60,
    }
}

/// Text of a declared encoding (UTF-8 if none, or if nobody knows it).
fn decode(raw: &[u8], encoding: Option<&[u8]>) -> String {
    let known = encoding.and_then(encoding_rs::Encoding::for_label).unwrap_or(encoding_rs::UTF_8);
    known.decode_without_bom_handling(raw).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

    fn read(text: &[u8]) -> Result<Commit> {
        let id = Oid::Sha1([1; 20]);
        Link::read(Object { id, kind: Kind::Commit, data: text.to_vec() }).map(|link| link.commit())
    }

    #[test]
    fn a_latin_1_commit_is_shown_in_its_encoding() {
        let mut raw = format!("tree {TREE}\nauthor Ren").into_bytes();
        raw.extend(
            b"\xe9 <r@x> 10 +0130\ncommitter C <c@x> 20 -0200\nencoding ISO-8859-1\n\nCaf\xe9\n\nbody\n",
        );
        let commit = read(&raw).expect("readable");
        assert_eq!(
            commit.author,
            Person { name: "René".into(), email: "r@x".into(), at: 10, offset_minutes: 90 }
        );
        assert_eq!((commit.committer.at, commit.committer.offset_minutes), (20, -120));
        assert_eq!((commit.subject(), commit.message.as_str()), ("Café", "Café\n\nbody\n"));
    }

    #[test]
    fn broken_commits_are_shown_as_far_as_they_go() {
        let broken = [
            format!("tree {TREE}\n"),
            format!("tree {TREE}"),
            format!("tree {TREE}\nauthor\ncommitter <>>\n\n"),
            format!("tree {TREE}\nparent xyz\nauthor A <a> 99999999999999999999 +9999999999\n\nm"),
            format!("tree {TREE}\nauthor A <a> -5 -\ncommitter > < 1\ngpgsig -\n  b\n\nm\n"),
        ];
        for raw in broken {
            let commit = read(raw.as_bytes()).expect("a tree is enough");
            assert!(commit.parents.is_empty(), "{raw:?}");
        }
        for raw in ["", "\n\n", "tree abc\n\n", "author A <a> 1 +0000\n\nm"] {
            assert!(read(raw.as_bytes()).is_err(), "{raw:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_a_commit_panic(
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
            author in "[ <>0-9+aé\n-]{0,40}",
        ) {
            let _ = read(&noise);
            let raw = [format!("tree {TREE}\nauthor {author}\ncommitter {author}\nencoding ").as_bytes(), &noise].concat();
            let _ = read(&raw);
        }
    }
}
