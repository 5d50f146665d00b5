//! Filter-specs (git-rev-list(1), `--filter`): read, bounded, and named as `uploadpackfilter.*` names them. What a
//! `sparse:oid` means is found out by `service`.

use slipway_repository::Kind;

use super::{WireError, read_text};
use crate::limits::{FILTER_NESTING_MAX, FILTER_PARTS_MAX};

/// A filter as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FilterSpec {
    /// `blob:none`.
    BlobNone,
    /// `blob:limit=N`.
    BlobLimit(u64),
    /// `tree:N`.
    Tree(u64),
    /// `object:type=KIND`.
    Type(Kind),
    /// `sparse:oid=BLOB`.
    Sparse(String),
    /// `combine:A+B`.
    Combine(Vec<FilterSpec>),
}

impl FilterSpec {
    /// Reads a filter-spec.
    pub(crate) fn read(raw: &[u8]) -> Result<Self, WireError> {
        let text = read_text(raw, "a filter")?;
        let mut parts = 0;
        read(&text, 0, &mut parts)
    }

    /// Its name in `uploadpackfilter.NAME.allow`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::BlobNone => "blob:none",
            Self::BlobLimit(_) => "blob:limit",
            Self::Tree(_) => "tree",
            Self::Type(_) => "object:type",
            Self::Sparse(_) => "sparse:oid",
            Self::Combine(_) => "combine",
        }
    }

    /// It, and what it combines, at any depth.
    pub(crate) fn all(&self) -> Vec<&Self> {
        let mut found = vec![self];
        let mut at = 0;
        while let Some(spec) = found.get(at) {
            if let Self::Combine(parts) = spec {
                found.extend(parts);
            }
            at += 1;
        }
        found
    }
}

fn read(text: &str, nested: usize, parts: &mut usize) -> Result<FilterSpec, WireError> {
    *parts += 1;
    if *parts > FILTER_PARTS_MAX {
        return Err(WireError::TooMany { what: "filters combined", max: FILTER_PARTS_MAX });
    }
    if nested > FILTER_NESTING_MAX {
        return Err(WireError::TooMany {
            what: "combined filters within one another",
            max: FILTER_NESTING_MAX,
        });
    }
    let wrong = |why: String| WireError::Filter(why.chars().take(200).collect());
    let invalid = || wrong(format!("invalid filter-spec '{text}'"));
    if text == "blob:none" {
        return Ok(FilterSpec::BlobNone);
    }
    let Some((kind, value)) = text.split_once([':', '=']) else { return Err(invalid()) };
    match (kind, value) {
        ("blob", limit) => {
            let size = limit.strip_prefix("limit=").and_then(read_number);
            size.map(FilterSpec::BlobLimit).ok_or_else(invalid)
        }
        ("tree", depth) => {
            let depth = read_number(depth).ok_or_else(|| wrong("expected 'tree:<depth>'".into()))?;
            Ok(FilterSpec::Tree(depth))
        }
        ("object", rest) => {
            let Some(word) = rest.strip_prefix("type=") else { return Err(invalid()) };
            let wrong = || wrong(format!("'{word}' for 'object:type=<type>' is not a valid object type"));
            Kind::from_bytes(word.as_bytes()).map(FilterSpec::Type).ok_or_else(wrong)
        }
        ("sparse", rest) => match rest.strip_prefix("oid=") {
            Some(name) if !name.is_empty() => Ok(FilterSpec::Sparse(name.to_owned())),
            _ if rest.starts_with("path=") => {
                Err(wrong("sparse:path filters support has been dropped".into()))
            }
            _ => Err(invalid()),
        },
        ("combine", "") => Err(wrong("expected something after combine:".into())),
        ("combine", all) => {
            let mut specs = Vec::new();
            for part in all.split('+') {
                specs.push(read(&unescape(part)?, nested + 1, parts)?);
            }
            Ok(FilterSpec::Combine(specs))
        }
        _ => Err(invalid()),
    }
}

/// A number, perhaps in units of 1024 (`k`), 1024² (`m`) or 1024³ (`g`).
fn read_number(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len() - 1)?, 1 << 10),
        b'm' | b'M' => (text.get(..text.len() - 1)?, 1 << 20),
        b'g' | b'G' => (text.get(..text.len() - 1)?, 1 << 30),
        _ => (text, 1),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Undoes percent-encoding. What has to be encoded must be.
fn unescape(part: &str) -> Result<String, WireError> {
    const RESERVED: &str = "~`!@#$^&*()[]{}\\;'\",<>?";
    if let Some(bad) = part.chars().find(|c| *c <= ' ' || RESERVED.contains(*c)) {
        return Err(WireError::Filter(format!(
            "must escape char in sub-filter-spec: '{}'",
            bad.escape_default()
        )));
    }
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit =
            |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        let invalid = || WireError::Filter(format!("invalid filter-spec '{}'", part.escape_default()));
        let high = digit(bytes.next()).ok_or_else(invalid)?;
        let low = digit(bytes.next()).ok_or_else(invalid)?;
        out.push(high * 16 + low);
    }
    String::from_utf8(out).map_err(|_| WireError::Filter("a sub-filter-spec is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<FilterSpec, String> {
        FilterSpec::read(text.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn filters_are_read() {
        use FilterSpec::*;
        for (text, want) in [
            ("blob:none", BlobNone),
            ("blob:limit=10k", BlobLimit(10_240)),
            ("tree:0", Tree(0)),
            ("object:type=tag", Type(Kind::Tag)),
            ("sparse:oid=main:.sparse", Sparse("main:.sparse".into())),
            ("combine:blob:none", Combine(vec![BlobNone])),
            ("combine:tree:3+blob:limit=1m", Combine(vec![Tree(3), BlobLimit(1 << 20)])),
            ("combine:sparse:oid=a%2bb+tree%3A1", Combine(vec![Sparse("a+b".into()), Tree(1)])),
            (
                "combine:combine:tree:1%2btree:2+tree:3",
                Combine(vec![Combine(vec![Tree(1), Tree(2)]), Tree(3)]),
            ),
        ] {
            assert_eq!(read(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn refusals_say_what_git_says() {
        for (bad, why) in [
            ("", "invalid filter-spec ''"),
            ("blob", "invalid filter-spec 'blob'"),
            ("blob:limit=", "invalid filter-spec"),
            ("blob:limit=99999999999999g", "invalid filter-spec"),
            ("tree:-1", "expected 'tree:<depth>'"),
            ("tree:", "expected 'tree:<depth>'"),
            ("sparse:path=x", "sparse:path filters support has been dropped"),
            ("sparse:oid=", "invalid filter-spec"),
            ("object:type=bob", "'bob' for 'object:type=<type>' is not a valid object type"),
            ("combine:", "expected something after combine:"),
            ("combine:tree:1+", "invalid filter-spec ''"),
            ("combine:tree:1 +tree:2", "must escape char in sub-filter-spec: ' '"),
            ("combine:sparse:oid=x~1", "must escape char in sub-filter-spec: '~'"),
            ("combine:tree%3", "invalid filter-spec"),
            ("combine:%ff", "not UTF-8"),
            ("bogus:1", "invalid filter-spec 'bogus:1'"),
        ] {
            let said = read(bad).expect_err(bad);
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn combine_bombs_do_not_go_off() {
        let wide = format!("combine:{}tree:1", "tree:1+".repeat(FILTER_PARTS_MAX));
        assert!(matches!(FilterSpec::read(wide.as_bytes()), Err(WireError::TooMany { .. })));
        let deep = format!("{}tree:1", "combine:".repeat(FILTER_NESTING_MAX + 1));
        assert!(matches!(FilterSpec::read(deep.as_bytes()), Err(WireError::TooMany { .. })));
        let fine = format!("{}tree:1", "combine:".repeat(FILTER_NESTING_MAX));
        assert_eq!(FilterSpec::read(fine.as_bytes()).expect("fine").all().len(), FILTER_NESTING_MAX + 1);
    }
}
