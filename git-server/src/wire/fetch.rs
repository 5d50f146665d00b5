//! What a fetch asks for: the arguments that versions 0, 1 and 2 share, line by line.

use std::collections::HashSet;

use slipway_core::Oid;

use super::filter::FilterSpec;
use super::{WireError, push_bounded, read_oid, read_text};
use crate::limits::{HAVES_MAX, NAMES_MAX, SHALLOWS_MAX, WANTS_MAX};

/// A depth that means "all of it" (git's `--unshallow`).
pub(crate) const DEPTH_INFINITE: u32 = 0x7fff_ffff;

/// A fetch, as asked for.
#[derive(Debug, Default)]
pub(crate) struct FetchArgs {
    /// Objects wanted, each once.
    pub(crate) wants: Vec<Oid>,
    /// Refs wanted by name, in the order asked for, each once. A clone names every branch and tag that it wants.
    pub(crate) want_refs: Vec<String>,
    /// The same names, to find doubles by.
    named: HashSet<String>,
    /// Objects that the client has.
    pub(crate) haves: Vec<Oid>,
    /// The client's shallow boundary.
    pub(crate) shallows: Vec<Oid>,
    /// How many commits deep.
    pub(crate) deepen: Option<u32>,
    /// Not older than this: seconds since 1970.
    pub(crate) deepen_since: Option<i64>,
    /// Not what these refs reach.
    pub(crate) deepen_not: Vec<String>,
    /// Depth counts from the client's boundary.
    pub(crate) deepen_relative: bool,
    /// What to leave out.
    pub(crate) filter: Option<FilterSpec>,
    /// No more haves will come.
    pub(crate) done: bool,
    /// Deltas may lean on objects that the client has.
    pub(crate) thin_pack: bool,
    /// No progress on band 2.
    pub(crate) no_progress: bool,
    /// Send annotated tags of what is sent.
    pub(crate) include_tag: bool,
    /// Deltas may name their base by offset.
    pub(crate) ofs_delta: bool,
    /// Never send a pack before `done`.
    pub(crate) wait_for_done: bool,
    /// All of the answer goes through the side band.
    pub(crate) sideband_all: bool,
}

impl FetchArgs {
    /// True if the answer has a shallow boundary of its own.
    pub(crate) fn deepens(&self) -> bool {
        self.deepen.is_some() || self.deepen_since.is_some() || !self.deepen_not.is_empty()
    }

    /// Takes a `shallow`, `deepen…` or `filter` line, which all versions write alike. False if it is none of them.
    pub(crate) fn take_boundary(&mut self, line: &[u8], format: &'static str) -> Result<bool, WireError> {
        if let Some(id) = line.strip_prefix(b"shallow ") {
            push_bounded(&mut self.shallows, read_oid(id, format)?, "shallow lines", SHALLOWS_MAX)?;
        } else if let Some(depth) = line.strip_prefix(b"deepen ") {
            self.deepen = read_depth(depth)?;
        } else if let Some(at) = line.strip_prefix(b"deepen-since ") {
            let since = read_text(at, "a time")?.parse().ok().filter(|&s: &i64| s > 0);
            self.deepen_since = Some(since.ok_or_else(|| WireError::unexpected("a time", at))?);
        } else if let Some(name) = line.strip_prefix(b"deepen-not ") {
            push_bounded(&mut self.deepen_not, read_text(name, "a ref")?, "deepen-not lines", NAMES_MAX)?;
        } else if let Some(spec) = line.strip_prefix(b"filter ") {
            if self.filter.replace(FilterSpec::read(spec)?).is_some() {
                return Err(WireError::Twice("filter"));
            }
        } else {
            return Ok(false);
        }
        if self.deepen.is_some() && (self.deepen_since.is_some() || !self.deepen_not.is_empty()) {
            return Err(WireError::Unexpected {
                expected: "either deepen or deepen-since and deepen-not",
                found: "both".into(),
            });
        }
        Ok(true)
    }

    /// Adds a want.
    pub(crate) fn want(&mut self, id: &[u8], format: &'static str) -> Result<(), WireError> {
        push_bounded(&mut self.wants, read_oid(id, format)?, "wants", WANTS_MAX)
    }

    /// Adds a have.
    pub(crate) fn have(&mut self, id: &[u8], format: &'static str) -> Result<(), WireError> {
        push_bounded(&mut self.haves, read_oid(id, format)?, "haves", HAVES_MAX)
    }

    /// Takes one argument of version 2's `fetch`.
    pub(crate) fn take(&mut self, line: &[u8], format: &'static str) -> Result<(), WireError> {
        match line {
            b"done" => self.done = true,
            b"thin-pack" => self.thin_pack = true,
            b"no-progress" => self.no_progress = true,
            b"include-tag" => self.include_tag = true,
            b"ofs-delta" => self.ofs_delta = true,
            b"deepen-relative" => self.deepen_relative = true,
            b"wait-for-done" => self.wait_for_done = true,
            b"sideband-all" => self.sideband_all = true,
            _ => {
                if let Some(id) = line.strip_prefix(b"want ") {
                    self.want(id, format)?;
                } else if let Some(id) = line.strip_prefix(b"have ") {
                    self.have(id, format)?;
                } else if let Some(name) = line.strip_prefix(b"want-ref ") {
                    let name = read_text(name, "a ref")?;
                    if !self.named.insert(name.clone()) {
                        return Err(WireError::Twice("want-ref"));
                    }
                    push_bounded(&mut self.want_refs, name, "want-ref lines", WANTS_MAX)?;
                } else if line.starts_with(b"packfile-uris ") {
                    // The client may fetch some packs elsewhere; here it gets all of its objects from us.
                } else if !self.take_boundary(line, format)? {
                    return Err(WireError::argument(line));
                }
            }
        }
        Ok(())
    }

    /// Sorts and removes doubles, so that what follows works on sets.
    pub(crate) fn tidy(&mut self) {
        for list in [&mut self.wants, &mut self.shallows] {
            list.sort_unstable();
            list.dedup();
        }
    }
}

fn read_depth(raw: &[u8]) -> Result<Option<u32>, WireError> {
    let depth: i64 = read_text(raw, "a depth")?.parse().map_err(|_| WireError::unexpected("a depth", raw))?;
    match u32::try_from(depth) {
        Ok(0) => Ok(None),
        Ok(depth) if depth <= DEPTH_INFINITE => Ok(Some(depth)),
        _ => Err(WireError::unexpected("a depth", raw)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_refused() {
        let format = "sha1";
        let mut args = FetchArgs::default();
        args.take(b"filter blob:none", format).expect("first");
        assert!(args.take(b"filter tree:0", format).is_err());
        args.take(b"want-ref refs/heads/a", format).expect("first");
        assert!(args.take(b"want-ref refs/heads/a", format).is_err());
        args.take(b"deepen 1", format).expect("fine");
        assert!(args.take(b"deepen-since 5", format).is_err());
        for bad in ["want 12", "want ", "deepen -1", "deepen x", "deepen 4294967296", "nonsense", ""] {
            assert!(FetchArgs::default().take(bad.as_bytes(), format).is_err(), "{bad:?}");
        }
        assert!(FetchArgs::default().take(format!("want {}", "a".repeat(64)).as_bytes(), format).is_err());
    }

    #[test]
    fn lists_have_bounds() {
        let mut args = FetchArgs::default();
        for n in 0..NAMES_MAX {
            args.take(format!("deepen-not refs/heads/{n}").as_bytes(), "sha1").expect("within");
        }
        assert!(matches!(args.take(b"deepen-not x", "sha1"), Err(WireError::TooMany { .. })));
        for n in 0..WANTS_MAX {
            args.take(format!("want-ref refs/tags/{n}").as_bytes(), "sha1").expect("a clone with many tags");
        }
        assert!(matches!(args.take(b"want-ref x", "sha1"), Err(WireError::TooMany { .. })));
    }
}
