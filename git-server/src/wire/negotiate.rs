//! Negotiation: which of the client's commits both sides have, and when that is enough (gitprotocol-pack, "Packfile
//! Negotiation"; gitprotocol-v2, "acknowledgments section").

use slipway_core::{Oid, Problem};

use super::History;
use super::pktline::put_line;

/// How versions 0 and 1 acknowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AckMode {
    /// The first common commit only.
    #[default]
    Single,
    /// `ACK … continue` for each.
    Multi,
    /// `ACK … common` for each, `ACK … ready` when it is enough.
    Detailed,
}

/// The conversation of versions 0 and 1 about what is common.
#[derive(Debug, Default)]
pub(crate) struct Negotiation {
    mode: AckMode,
    no_done: bool,
    common: Vec<Oid>,
    last: Option<Oid>,
    ready_sent: bool,
    /// Whether `common` suffices, as far as it has been asked: the length of `common` then, and the answer.
    ready: Option<(usize, bool)>,
}

/// What follows a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More haves.
    Haves,
    /// The pack.
    Pack,
}

impl Negotiation {
    /// Starts one.
    pub(crate) fn new(mode: AckMode, no_done: bool) -> Self {
        Self { mode, no_done, ..Self::default() }
    }

    /// The commits found common so far.
    pub(crate) fn into_common(self) -> Vec<Oid> {
        self.common
    }

    /// Answers one round: the haves up to a flush, or up to `done`.
    pub(crate) fn round(
        &mut self,
        haves: &[Oid],
        done: bool,
        wants: &[Oid],
        history: &dyn History,
        out: &mut Vec<u8>,
    ) -> Result<Next, Problem> {
        let (mut found, mut missed) = (false, false);
        for id in haves {
            if history.is_common(id)? {
                found = true;
                self.take_common(*id, out);
            } else {
                missed = true;
                if self.mode != AckMode::Single && self.suffices(wants, history)? {
                    self.acknowledge_unknown(id, out);
                }
            }
        }
        if done {
            return Ok(self.end(out));
        }
        if self.mode == AckMode::Detailed && found && !missed && self.suffices(wants, history)? {
            self.ready_sent = true;
            self.put_last(" ready", out);
        }
        if self.common.is_empty() || self.mode != AckMode::Single {
            put_line(out, "NAK");
        }
        if self.no_done && self.ready_sent {
            self.put_last("", out);
            return Ok(Next::Pack);
        }
        Ok(Next::Haves)
    }

    fn take_common(&mut self, id: Oid, out: &mut Vec<u8>) {
        let first = self.common.is_empty();
        self.common.push(id);
        self.last = Some(id);
        match self.mode {
            AckMode::Detailed => self.put_last(" common", out),
            AckMode::Multi => self.put_last(" continue", out),
            AckMode::Single if first => self.put_last("", out),
            AckMode::Single => {}
        }
    }

    /// The client's own history beyond what is needed: tell it to stop walking there.
    fn acknowledge_unknown(&mut self, id: &Oid, out: &mut Vec<u8>) {
        if self.mode == AckMode::Detailed {
            self.ready_sent = true;
            put_line(out, &format!("ACK {id} ready"));
        } else {
            put_line(out, &format!("ACK {id} continue"));
        }
    }

    fn end(&self, out: &mut Vec<u8>) -> Next {
        if self.common.is_empty() {
            put_line(out, "NAK");
        } else if self.mode != AckMode::Single {
            self.put_last("", out);
        }
        Next::Pack
    }

    fn put_last(&self, word: &str, out: &mut Vec<u8>) {
        if let Some(last) = self.last {
            put_line(out, &format!("ACK {last}{word}"));
        }
    }

    fn suffices(&mut self, wants: &[Oid], history: &dyn History) -> Result<bool, Problem> {
        if self.common.is_empty() {
            return Ok(false);
        }
        match self.ready {
            Some((_, true)) => Ok(true),
            Some((asked, false)) if asked == self.common.len() => Ok(false),
            _ => {
                let ready = history.is_ready(wants, &self.common)?;
                self.ready = Some((self.common.len(), ready));
                Ok(ready)
            }
        }
    }
}

/// Version 2's acknowledgments section, without the delimiter or flush behind it. True if `ready` was said.
pub(crate) fn put_acknowledgments(common: &[Oid], ready: bool, out: &mut Vec<u8>) -> bool {
    put_line(out, "acknowledgments");
    if common.is_empty() {
        put_line(out, "NAK");
    }
    for id in common {
        put_line(out, &format!("ACK {id}"));
    }
    if ready {
        put_line(out, "ready");
    }
    ready
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(Vec<Oid>, bool);
    impl History for Fake {
        fn is_common(&self, id: &Oid) -> Result<bool, Problem> {
            Ok(self.0.contains(id))
        }
        fn is_ready(&self, _: &[Oid], _: &[Oid]) -> Result<bool, Problem> {
            Ok(self.1)
        }
    }

    fn id(n: u8) -> Oid {
        Oid::Sha1([n; 20])
    }

    /// Runs rounds and gives the answers as words: the repeated byte of an id as two digits.
    fn talk(mode: AckMode, no_done: bool, ready: bool, rounds: &[(&[u8], bool)]) -> (String, Next) {
        let history = Fake(vec![id(1), id(2)], ready);
        let mut negotiation = Negotiation::new(mode, no_done);
        let mut out = Vec::new();
        let mut next = Next::Haves;
        for (haves, done) in rounds {
            let haves: Vec<Oid> = haves.iter().map(|&n| id(n)).collect();
            next =
                negotiation.round(&haves, *done, &[id(9)], &history, &mut out).expect("a fake never fails");
        }
        let mut text = String::from_utf8(out).expect("text");
        for n in [1u8, 2, 3, 4] {
            text = text.replace(&format!("{n:02x}").repeat(20), &format!("#{n}"));
        }
        let words: Vec<&str> = text.lines().map(|l| l.get(4..).unwrap_or_default()).collect();
        (words.join(","), next)
    }

    #[test]
    fn single_acknowledges_the_first_common_commit() {
        let (said, next) =
            talk(AckMode::Single, false, true, &[(&[3], false), (&[1, 2], false), (&[], true)]);
        assert_eq!((said.as_str(), next), ("NAK,ACK #1", Next::Pack));
        assert_eq!(talk(AckMode::Single, false, true, &[(&[3], true)]).0, "NAK");
    }

    #[test]
    fn multi_says_continue() {
        let (said, next) = talk(AckMode::Multi, false, false, &[(&[1, 3], false), (&[2], true)]);
        assert_eq!((said.as_str(), next), ("ACK #1 continue,NAK,ACK #2 continue,ACK #2", Next::Pack));
    }

    #[test]
    fn detailed_says_ready_and_with_no_done_goes_on_at_once() {
        let (said, next) = talk(AckMode::Detailed, true, true, &[(&[1, 3], false)]);
        assert_eq!((said.as_str(), next), ("ACK #1 common,ACK #3 ready,NAK,ACK #1", Next::Pack));
        let (said, next) = talk(AckMode::Detailed, false, true, &[(&[1], false)]);
        assert_eq!((said.as_str(), next), ("ACK #1 common,ACK #1 ready,NAK", Next::Haves));
        let (said, next) = talk(AckMode::Detailed, true, false, &[(&[1, 3], false)]);
        assert_eq!((said.as_str(), next), ("ACK #1 common,NAK", Next::Haves));
    }

    #[test]
    fn version_2_says_nak_or_acks() {
        let mut out = Vec::new();
        assert!(!put_acknowledgments(&[], false, &mut out));
        assert_eq!(out, b"0014acknowledgments\n0008NAK\n");
        let mut out = Vec::new();
        assert!(put_acknowledgments(&[id(1)], true, &mut out));
        assert!(out.ends_with(b"000aready\n"));
    }
}
