//! Git's own words: object ids and reference names.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::REF_NAME_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};

/// Which hash makes the object ids of a repository (`extensions.objectFormat` of git-config(1)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectFormat {
    /// SHA-1, the one that every client and host understands.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ObjectFormat {
    /// The name that git's configuration and its protocol have for it: `sha1` or `sha256`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// Bytes of an id.
    pub const fn id_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The id of no object, which stands for "does not exist" in ref updates.
    pub const fn zero(self) -> Oid {
        match self {
            Self::Sha1 => Oid::Sha1([0; 20]),
            Self::Sha256 => Oid::Sha256([0; 32]),
        }
    }
}

impl fmt::Display for ObjectFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No object format: neither `sha1` nor `sha256`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an object format; there are sha1 and sha256")]
pub struct InvalidObjectFormat(pub String);

impl FromStr for ObjectFormat {
    type Err = InvalidObjectFormat;
    fn from_str(name: &str) -> Result<Self, InvalidObjectFormat> {
        match name {
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            _ => Err(InvalidObjectFormat(name.chars().take(80).collect())),
        }
    }
}

/// An object id: 20 bytes in SHA-1 repositories, 32 in SHA-256 ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Oid {
    /// SHA-1.
    Sha1([u8; 20]),
    /// SHA-256.
    Sha256([u8; 32]),
}

impl Hash for Oid {
    /// The bytes alone: the two kinds differ in length, and tables of ids are what the engine asks most.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}

/// Not an object id: neither 40 nor 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an object id of 40 or 64 hexadecimal digits")]
pub struct InvalidOid(pub String);

impl Oid {
    /// The SHA-1 id of no object, which stands for "does not exist" in ref updates.
    pub const ZERO_SHA1: Oid = Oid::Sha1([0; 20]);

    /// Takes the raw bytes of an id: 20 or 32 of them.
    pub fn from_bytes(raw: &[u8]) -> Option<Self> {
        match raw.len() {
            20 => Some(Self::Sha1(raw.try_into().ok()?)),
            32 => Some(Self::Sha256(raw.try_into().ok()?)),
            _ => None,
        }
    }

    /// Reads 40 or 64 hexadecimal digits.
    pub fn parse(hex: &str) -> Result<Self, InvalidOid> {
        Self::from_hex(hex.as_bytes()).ok_or_else(|| InvalidOid(hex.chars().take(80).collect()))
    }

    /// Reads 40 or 64 hexadecimal digits from bytes.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
        let mut raw = [0u8; 32];
        if hex.len() != 40 && hex.len() != 64 {
            return None;
        }
        for (byte, pair) in raw.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Self::from_bytes(&raw[..hex.len() / 2])
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(raw) => raw,
            Self::Sha256(raw) => raw,
        }
    }

    /// True for the id of no object.
    pub fn is_zero(&self) -> bool {
        self.as_bytes().iter().all(|&b| b == 0)
    }

    /// Which hash made it.
    pub const fn format(&self) -> ObjectFormat {
        match self {
            Self::Sha1(_) => ObjectFormat::Sha1,
            Self::Sha256(_) => ObjectFormat::Sha256,
        }
    }

    /// The zero id of the same hash.
    pub fn zero_like(&self) -> Self {
        self.format().zero()
    }

    /// The first ten digits, for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(10).collect()
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        let raw = self.as_bytes();
        for (i, b) in raw.iter().enumerate() {
            text[2 * i] = DIGITS[usize::from(b >> 4)];
            text[2 * i + 1] = DIGITS[usize::from(b & 15)];
        }
        f.write_str(std::str::from_utf8(&text[..2 * raw.len()]).unwrap_or_default())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Oid {
    type Err = InvalidOid;
    fn from_str(hex: &str) -> Result<Self, InvalidOid> {
        Self::parse(hex)
    }
}
impl TryFrom<String> for Oid {
    type Error = InvalidOid;
    fn try_from(hex: String) -> Result<Self, InvalidOid> {
        Self::parse(&hex)
    }
}
impl From<Oid> for String {
    fn from(oid: Oid) -> String {
        oid.to_string()
    }
}

/// A full reference name (`refs/…` or `HEAD`) that obeys git's rule and this server's length limit.
///
/// The rule is git-check-ref-format(1). UTF-8 is asked for on top: pages and logs show names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefName(Box<str>);

/// Why a reference name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a reference name: {why}")]
pub struct InvalidRefName {
    /// The name, cut to 200 characters.
    pub name: String,
    /// The part of the rule that it breaks.
    pub why: &'static str,
}

impl From<InvalidRefName> for Problem {
    fn from(e: InvalidRefName) -> Self {
        Problem::new(
            ProblemKind::Invalid,
            format!("{e}."),
            "Use a full name such as refs/heads/main; git-check-ref-format(1) has the rule.",
        )
    }
}

impl RefName {
    /// Checks git's rule for full names.
    pub fn parse(raw: &str) -> Result<Self, InvalidRefName> {
        match broken_rule(raw) {
            None => Ok(Self(raw.into())),
            Some(why) => Err(InvalidRefName { name: raw.chars().take(200).collect(), why }),
        }
    }

    /// The branch of that short name.
    pub fn branch(short: &str) -> Result<Self, InvalidRefName> {
        Self::parse(&format!("refs/heads/{short}"))
    }

    /// The tag of that short name.
    pub fn tag(short: &str) -> Result<Self, InvalidRefName> {
        Self::parse(&format!("refs/tags/{short}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The branch's short name, if it is a branch.
    pub fn as_branch(&self) -> Option<&str> {
        self.0.strip_prefix("refs/heads/")
    }

    /// The tag's short name, if it is a tag.
    pub fn as_tag(&self) -> Option<&str> {
        self.0.strip_prefix("refs/tags/")
    }

    /// The name as people say it: without `refs/heads/` or `refs/tags/`.
    pub fn short(&self) -> &str {
        self.as_branch().or_else(|| self.as_tag()).unwrap_or(&self.0)
    }
}

fn broken_rule(raw: &str) -> Option<&'static str> {
    if raw == "HEAD" {
        return None;
    }
    if raw.len() > REF_NAME_BYTES_MAX {
        return Some("it is longer than 1024 bytes");
    }
    let Some(rest) = raw.strip_prefix("refs/") else { return Some("it does not start with refs/") };
    if rest.is_empty() || raw.ends_with('/') || raw.contains("//") {
        return Some("it has an empty component");
    }
    if raw.ends_with('.') {
        return Some("it ends with a dot");
    }
    if raw.contains("..") || raw.contains("@{") {
        return Some("it has '..' or '@{'");
    }
    if raw.bytes().any(|b| b < 0x20 || b == 0x7f || b" ~^:?*[\\".contains(&b)) {
        return Some("it has a space, a control character or one of ~^:?*[\\");
    }
    if raw.split('/').any(|part| part.starts_with('.') || part.ends_with(".lock")) {
        return Some("a component starts with '.' or ends with '.lock'");
    }
    if raw.split('/').any(|part| part.len() > 250) {
        return Some("a component is longer than 250 bytes");
    }
    None
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
impl FromStr for RefName {
    type Err = InvalidRefName;
    fn from_str(raw: &str) -> Result<Self, InvalidRefName> {
        Self::parse(raw)
    }
}
impl TryFrom<String> for RefName {
    type Error = InvalidRefName;
    fn try_from(raw: String) -> Result<Self, InvalidRefName> {
        Self::parse(&raw)
    }
}
impl From<RefName> for String {
    fn from(name: RefName) -> String {
        name.0.into()
    }
}

/// The wish to move one ref from `old` to `new`; the zero id stands for "does not exist".
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RefUpdate {
    /// Which ref.
    pub name: RefName,
    /// What the asker believes it is now.
    pub old: Oid,
    /// What it shall be.
    pub new: Oid,
}

impl RefUpdate {
    /// True where the ref is made.
    pub fn is_create(&self) -> bool {
        self.old.is_zero()
    }

    /// True where the ref is removed.
    pub fn is_delete(&self) -> bool {
        self.new.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oid_survives_its_text() {
        for hex in ["0123456789abcdef0123456789abcdef01234567", &"ab".repeat(32)] {
            let oid = Oid::parse(hex).expect("valid");
            assert_eq!(oid.to_string(), hex);
            assert_eq!(Oid::from_bytes(oid.as_bytes()), Some(oid));
        }
        for bad in ["", "0123", "+123456789abcdef0123456789abcdef01234567", &"g".repeat(40), &"a".repeat(41)]
        {
            assert!(Oid::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ref_names_obey_gits_rule() {
        for good in [
            "HEAD",
            "refs/heads/main",
            "refs/tags/v1.0",
            "refs/heads/a/b/c",
            "refs/notes/commits",
            "refs/heads/é",
        ] {
            assert!(RefName::parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "main",
            "heads/main",
            "refs/",
            "refs/heads/",
            "refs/heads//a",
            "refs/heads/a..b",
            "refs/heads/.a",
            "refs/heads/a.lock",
            "refs/heads/a.lock/b",
            "refs/heads/a b",
            "refs/heads/a\n",
            "refs/heads/a~1",
            "refs/heads/a^",
            "refs/heads/a:b",
            "refs/heads/a?",
            "refs/heads/a*",
            "refs/heads/a[",
            "refs/heads/a\\b",
            "refs/heads/a.",
            "refs/heads/@{x}",
            "refs/heads/../../x",
            "refs/heads/a\x7f",
        ] {
            assert!(RefName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(RefName::parse(&format!("refs/heads/{}", "a/".repeat(600))).is_err());
    }
}
