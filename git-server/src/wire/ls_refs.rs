//! Version 2's `ls-refs`: its arguments and its answer.

use slipway_core::RefName;
use slipway_repository::Ref;

use super::pktline::{put, put_flush};
use super::ref_table::{RefTable, put_ref};
use super::{WireError, read_text};
use crate::limits::{REF_PREFIX_BYTES_MAX, REF_PREFIXES_MAX};

/// What of the refs is asked for.
#[derive(Debug, Default)]
pub(crate) struct LsRefs {
    symrefs: bool,
    peel: bool,
    unborn: bool,
    prefixes: Vec<String>,
    prefix_bytes: usize,
    all: bool,
}

impl LsRefs {
    /// Takes one argument.
    pub(crate) fn take(&mut self, line: &[u8]) -> Result<(), WireError> {
        match line {
            b"symrefs" => self.symrefs = true,
            b"peel" => self.peel = true,
            b"unborn" => self.unborn = true,
            _ => {
                let Some(prefix) = line.strip_prefix(b"ref-prefix ") else {
                    return Err(WireError::argument(line));
                };
                self.prefix_bytes = self.prefix_bytes.saturating_add(prefix.len());
                if !self.all {
                    self.prefixes.push(read_text(prefix, "a ref prefix")?);
                }
                if self.prefixes.len() >= REF_PREFIXES_MAX || self.prefix_bytes > REF_PREFIX_BYTES_MAX {
                    self.all = true;
                    self.prefixes.clear();
                }
            }
        }
        Ok(())
    }

    /// Writes the refs that are asked for. `head` is the branch that HEAD names, born or not.
    /// `table` gives them rendered.
    pub(crate) fn answer<T: AsRef<RefTable>>(
        &mut self,
        refs: &[Ref],
        head: &RefName,
        table: impl FnOnce() -> T,
        out: &mut Vec<u8>,
    ) {
        self.reduce();
        let born = refs.first().is_some_and(|r| r.name.as_str() == "HEAD");
        // A HEAD that names no branch that may be shown is not there at all.
        let names_branch = head.as_str() != "HEAD";
        if !born && names_branch && self.unborn && self.symrefs && self.matches("HEAD") {
            put(out, &[b"unborn HEAD symref-target:", head.as_str().as_bytes(), b"\n"]);
        }
        if self.symrefs && self.peel {
            table().as_ref().put(refs, &self.prefixes, out);
        } else {
            for entry in refs.iter().filter(|r| self.matches(r.name.as_str())) {
                put_ref(entry, self.symrefs, self.peel, out);
            }
        }
        put_flush(out);
    }

    /// Sorts the prefixes and drops those that another one covers, so that matching is one binary search.
    fn reduce(&mut self) {
        self.prefixes.sort_unstable();
        self.prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter.as_str()));
    }

    fn matches(&self, name: &str) -> bool {
        if self.prefixes.is_empty() {
            return true;
        }
        let after = self.prefixes.partition_point(|p| p.as_str() <= name);
        after.checked_sub(1).and_then(|i| self.prefixes.get(i)).is_some_and(|p| name.starts_with(p.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use slipway_core::Oid;

    use super::*;

    fn entry(name: &str, digit: u8, symref: Option<&str>, peeled: Option<u8>) -> Ref {
        Ref {
            name: RefName::parse(name).expect("valid"),
            target: Oid::Sha1([digit; 20]),
            peeled: peeled.map(|d| Oid::Sha1([d; 20])),
            symref: symref.map(|s| RefName::parse(s).expect("valid")),
        }
    }

    fn ask(lines: &[&str], refs: &[Ref]) -> String {
        let mut ls = LsRefs::default();
        for line in lines {
            ls.take(line.as_bytes()).expect("a valid argument");
        }
        let mut out = Vec::new();
        let head = RefName::parse("refs/heads/main").expect("valid");
        ls.answer(refs, &head, || std::sync::Arc::new(RefTable::new(refs)), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_rendered_table_says_what_the_lines_say() {
        let refs = [
            entry("HEAD", 1, Some("refs/heads/main"), None),
            entry("refs/heads/main", 1, None, None),
            entry("refs/heads/next", 2, None, None),
            entry("refs/notes/n", 3, None, None),
            entry("refs/tags/v1", 4, None, Some(1)),
        ];
        let prefixes = ["", "HEAD", "H", "refs/heads/", "refs/heads/main", "refs/tags/v", "refs/x", "z"];
        for one in prefixes {
            for two in prefixes {
                let asked = [format!("ref-prefix {one}"), format!("ref-prefix {two}")];
                let lines = ["symrefs", "peel", &asked[0], &asked[1]];
                let mut ls = LsRefs::default();
                lines.iter().for_each(|line| ls.take(line.as_bytes()).expect("valid"));
                ls.reduce();
                let mut slow = Vec::new();
                for entry in refs.iter().filter(|r| ls.matches(r.name.as_str())) {
                    put_ref(entry, true, true, &mut slow);
                }
                put_flush(&mut slow);
                assert_eq!(ask(&lines, &refs).as_bytes(), slow, "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn symrefs_and_peeled_tags_are_shown_when_asked_for() {
        let refs = [
            entry("HEAD", 0x11, Some("refs/heads/main"), None),
            entry("refs/heads/main", 0x11, None, None),
            entry("refs/tags/v1", 0x22, None, Some(0x11)),
        ];
        let one = "11".repeat(20);
        let two = "22".repeat(20);
        assert_eq!(
            ask(&["peel", "symrefs"], &refs),
            format!(
                "0050{one} HEAD symref-target:refs/heads/main\n003d{one} refs/heads/main\n\
                 006a{two} refs/tags/v1 peeled:{one}\n0000"
            )
        );
        assert_eq!(ask(&["ref-prefix refs/tags/"], &refs), format!("003a{two} refs/tags/v1\n0000"));
        assert_eq!(
            ask(&["ref-prefix refs/heads/m", "ref-prefix refs/heads/mainly"], &refs),
            format!("003d{one} refs/heads/main\n0000")
        );
        assert_eq!(ask(&["ref-prefix nothing"], &refs), "0000");
    }

    #[test]
    fn an_unborn_head_is_told_only_when_asked_for() {
        assert_eq!(ask(&["unborn", "symrefs"], &[]), "002eunborn HEAD symref-target:refs/heads/main\n0000");
        assert_eq!(ask(&["symrefs"], &[]), "0000");
        assert_eq!(ask(&["unborn"], &[]), "0000", "what it names is told to who asks for it alone");
        assert_eq!(ask(&["unborn", "ref-prefix refs/heads/"], &[]), "0000");
    }

    #[test]
    fn past_the_bound_prefixes_are_ignored() {
        let mut ls = LsRefs::default();
        for n in 0..REF_PREFIXES_MAX {
            ls.take(format!("ref-prefix no{n}").as_bytes()).expect("taken");
        }
        assert!(ls.matches("refs/heads/main"));
        assert!(ls.take(b"nonsense").is_err());
    }
}
