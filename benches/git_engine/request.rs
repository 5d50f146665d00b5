//! Requests of protocol version 2 (gitprotocol-v2), as stock git words them.

use crate::pkt;

const AGENT: &str = "agent=git/bench";

/// `ls-refs` with symrefs and peeled tags.
pub(crate) fn ls_refs(prefixes: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    pkt::line(&mut out, "command=ls-refs");
    pkt::line(&mut out, AGENT);
    pkt::line(&mut out, "object-format=sha1");
    out.extend_from_slice(pkt::DELIM);
    pkt::line(&mut out, "peel");
    pkt::line(&mut out, "symrefs");
    for prefix in prefixes {
        pkt::line(&mut out, &format!("ref-prefix {prefix}"));
    }
    out.extend_from_slice(pkt::FLUSH);
    out
}

/// What to fetch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetch {
    /// Object ids.
    pub(crate) wants: Vec<String>,
    /// Object ids.
    pub(crate) haves: Vec<String>,
    /// `deepen N`.
    pub(crate) depth: Option<u32>,
    /// `filter SPEC`.
    pub(crate) filter: Option<&'static str>,
}

impl Fetch {
    /// The request's bytes; negotiation ends with it (`done`).
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        pkt::line(&mut out, "command=fetch");
        pkt::line(&mut out, AGENT);
        pkt::line(&mut out, "object-format=sha1");
        out.extend_from_slice(pkt::DELIM);
        for word in ["thin-pack", "no-progress", "include-tag", "ofs-delta"] {
            pkt::line(&mut out, word);
        }
        if let Some(depth) = self.depth {
            pkt::line(&mut out, &format!("deepen {depth}"));
        }
        if let Some(filter) = self.filter {
            pkt::line(&mut out, &format!("filter {filter}"));
        }
        for want in &self.wants {
            pkt::line(&mut out, &format!("want {want}"));
        }
        for have in &self.haves {
            pkt::line(&mut out, &format!("have {have}"));
        }
        pkt::line(&mut out, "done");
        out.extend_from_slice(pkt::FLUSH);
        out
    }
}
