//! The refs of one generation as version 2 lists them, rendered once: an answer is a copy of a few stretches.

use slipway_core::RefName;
use slipway_repository::Ref;

use super::pktline::put;

/// Every ref as a packet, with symbolic refs and peeled tags, as stock git asks for them.
#[derive(Debug)]
pub(crate) struct RefTable {
    bytes: Vec<u8>,
    /// Where each ref's packet ends.
    ends: Vec<usize>,
}

impl RefTable {
    /// Renders refs: HEAD first if it is there, then by name.
    pub(crate) fn new(refs: &[Ref]) -> Self {
        let (mut bytes, mut ends) = (Vec::with_capacity(refs.len() * 96), Vec::with_capacity(refs.len()));
        for entry in refs {
            put_ref(entry, true, true, &mut bytes);
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    /// The packets of the refs numbered so.
    fn packets(&self, range: std::ops::Range<usize>) -> &[u8] {
        let end = |n: usize| n.checked_sub(1).and_then(|n| self.ends.get(n)).copied().unwrap_or(0);
        self.bytes.get(end(range.start)..end(range.end)).unwrap_or_default()
    }

    /// Appends the refs whose names begin with one of `prefixes`, which are sorted and none of which begins with another;
    /// all refs if there are none.
    pub(crate) fn put(&self, refs: &[Ref], prefixes: &[String], out: &mut Vec<u8>) {
        if prefixes.is_empty() {
            return out.extend_from_slice(&self.bytes);
        }
        // HEAD is not where its name would be.
        let head = usize::from(refs.first().is_some_and(|r| r.name.as_str() == "HEAD"));
        if head == 1 && prefixes.iter().any(|p| "HEAD".starts_with(p.as_str())) {
            out.extend_from_slice(self.packets(0..1));
        }
        let named = &refs[head..];
        for prefix in prefixes {
            let from = named.partition_point(|r| r.name.as_str() < prefix.as_str());
            let len = named[from..].partition_point(|r| r.name.as_str().starts_with(prefix.as_str()));
            out.extend_from_slice(self.packets(head + from..head + from + len));
        }
    }
}

/// Appends one ref's packet.
pub(crate) fn put_ref(entry: &Ref, symrefs: bool, peel: bool, out: &mut Vec<u8>) {
    let (target, name) = (entry.target.to_string(), entry.name.as_str().as_bytes());
    let symref = entry.symref.as_ref().filter(|_| symrefs).map(RefName::as_str);
    let peeled = entry.peeled.filter(|_| peel).map(|id| id.to_string());
    let mut parts: Vec<&[u8]> = vec![target.as_bytes(), b" ", name];
    if let Some(symref) = symref {
        parts.extend([&b" symref-target:"[..], symref.as_bytes()]);
    }
    if let Some(peeled) = &peeled {
        parts.extend([&b" peeled:"[..], peeled.as_bytes()]);
    }
    parts.push(b"\n");
    put(out, &parts);
}
