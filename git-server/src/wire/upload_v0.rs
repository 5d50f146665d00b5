//! Versions 0 and 1 of upload-pack: wants, then rounds of haves, then `done` (gitprotocol-pack).

use slipway_core::Oid;

use super::fetch::FetchArgs;
use super::negotiate::AckMode;
use super::pktline::{Packet, SideBand};
use super::{WireError, push_bounded, read_oid, read_text};
use crate::limits::{CAPABILITIES_BYTES_MAX, HAVES_MAX};

/// The first half of the request: wants and what the client can do.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    /// What is asked for.
    pub(crate) args: FetchArgs,
    /// How to send the pack.
    pub(crate) band: SideBand,
    /// How to acknowledge.
    pub(crate) ack: AckMode,
    /// The pack may follow `ready` at once.
    pub(crate) no_done: bool,
    /// It said that it may send a filter.
    pub(crate) may_filter: bool,
    /// What the client calls its session.
    pub(crate) session_id: Option<String>,
}

/// Something whole was read.
#[derive(Debug)]
pub(crate) enum Read {
    /// A flush in place of wants: the client needs nothing.
    Nothing,
    /// The wants.
    Wants(Box<Wants>),
    /// A round of haves; `done` if it is the last.
    Round {
        /// The ids.
        haves: Vec<Oid>,
        /// No more will come.
        done: bool,
    },
}

/// Reads the request, packet by packet.
#[derive(Debug)]
pub(crate) struct WantReader {
    format: &'static str,
    wants: Option<Box<Wants>>,
    haves: Vec<Oid>,
    have_count: usize,
}

impl WantReader {
    /// For a repository of that object format.
    pub(crate) fn new(format: &'static str) -> Self {
        Self { format, wants: Some(Box::default()), haves: Vec::new(), have_count: 0 }
    }

    /// True while nothing of the wants has come.
    pub(crate) fn is_idle(&self) -> bool {
        self.wants.as_ref().is_some_and(|w| w.args.wants.is_empty())
    }

    /// True between two rounds of haves, where a stateless client stops.
    pub(crate) fn is_between_rounds(&self) -> bool {
        self.wants.is_none() && self.haves.is_empty()
    }

    /// Takes a packet.
    pub(crate) fn take(&mut self, packet: &Packet) -> Result<Option<Read>, WireError> {
        match packet {
            Packet::Delim | Packet::ResponseEnd => {
                Err(WireError::unexpected("a line or a flush", b"a delimiter"))
            }
            Packet::Data(_) => {
                let line = packet.line().unwrap_or_default();
                if self.wants.is_some() { self.take_want(line).map(|()| None) } else { self.take_have(line) }
            }
            Packet::Flush => Ok(Some(match self.wants.take() {
                Some(wants) if wants.args.wants.is_empty() => Read::Nothing,
                Some(mut wants) => {
                    wants.args.tidy();
                    Read::Wants(wants)
                }
                None => Read::Round { haves: std::mem::take(&mut self.haves), done: false },
            })),
        }
    }

    fn take_want(&mut self, line: &[u8]) -> Result<(), WireError> {
        let Some(wants) = self.wants.as_mut() else { return Ok(()) };
        let Some(rest) = line.strip_prefix(b"want ") else {
            if wants.args.take_boundary(line, self.format)? {
                return Ok(());
            }
            return Err(WireError::unexpected("a want", line));
        };
        let digits = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
        let (id, capabilities) = rest.split_at(digits);
        if wants.args.wants.is_empty() {
            read_capabilities(capabilities, wants, self.format)?;
        } else if !capabilities.trim_ascii().is_empty() {
            return Err(WireError::unexpected("a want", line));
        }
        wants.args.want(id, self.format)
    }

    fn take_have(&mut self, line: &[u8]) -> Result<Option<Read>, WireError> {
        if line == b"done" {
            return Ok(Some(Read::Round { haves: std::mem::take(&mut self.haves), done: true }));
        }
        let Some(id) = line.strip_prefix(b"have ") else {
            return Err(WireError::unexpected("a have or done", line));
        };
        self.have_count += 1;
        if self.have_count > HAVES_MAX {
            return Err(WireError::TooMany { what: "haves", max: HAVES_MAX });
        }
        push_bounded(&mut self.haves, read_oid(id, self.format)?, "haves", HAVES_MAX)?;
        Ok(None)
    }
}

fn read_capabilities(raw: &[u8], wants: &mut Wants, format: &'static str) -> Result<(), WireError> {
    if raw.len() > CAPABILITIES_BYTES_MAX {
        return Err(WireError::TooMany { what: "bytes of capabilities", max: CAPABILITIES_BYTES_MAX });
    }
    // git's own client knows the format from the advertisement and does not say it again.
    let mut asked = format.to_owned();
    for word in read_text(raw, "capabilities")?.split_ascii_whitespace() {
        match word {
            "multi_ack" => wants.ack = wants.ack.max(AckMode::Multi),
            "multi_ack_detailed" => wants.ack = AckMode::Detailed,
            "no-done" => wants.no_done = true,
            "side-band" if wants.band == SideBand::None => wants.band = SideBand::Small,
            "side-band-64k" => wants.band = SideBand::Large,
            "thin-pack" => wants.args.thin_pack = true,
            "ofs-delta" => wants.args.ofs_delta = true,
            "no-progress" => wants.args.no_progress = true,
            "filter" => wants.may_filter = true,
            "include-tag" => wants.args.include_tag = true,
            "deepen-relative" => wants.args.deepen_relative = true,
            _ => {
                if let Some(format) = word.strip_prefix("object-format=") {
                    asked = format.to_owned();
                } else if let Some(id) = word.strip_prefix("session-id=") {
                    wants.session_id = Some(super::session_id(id));
                }
            }
        }
    }
    if asked != format {
        return Err(WireError::ObjectFormat { asked: asked.chars().take(40).collect(), here: format });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::pktline::{Decoder, put_flush, put_line};
    use super::*;

    fn read(lines: &[&str]) -> Result<Vec<Read>, WireError> {
        let mut wire = Vec::new();
        for line in lines {
            if *line == "0000" { put_flush(&mut wire) } else { put_line(&mut wire, line) }
        }
        let (mut decoder, mut reader, mut seen) = (Decoder::default(), WantReader::new("sha1"), Vec::new());
        for bytes in wire.chunks(7) {
            decoder.put(bytes);
            while let Some(packet) = decoder.next()? {
                seen.extend(reader.take(&packet)?);
            }
        }
        Ok(seen)
    }

    #[test]
    fn a_clone_is_read() {
        let id = "11".repeat(20);
        let seen = read(&[
            &format!("want {id} multi_ack_detailed no-done side-band-64k thin-pack ofs-delta agent=git/2"),
            &format!("want {id}"),
            "deepen 1",
            "0000",
            &format!("have {id}"),
            "0000",
            "done",
        ])
        .expect("valid");
        let [Read::Wants(wants), Read::Round { haves, done: false }, Read::Round { done: true, .. }] =
            seen.as_slice()
        else {
            panic!("{seen:?}")
        };
        assert_eq!((wants.args.wants.len(), wants.args.deepen, haves.len()), (1, Some(1), 1));
        assert_eq!((wants.ack, wants.band, wants.no_done), (AckMode::Detailed, SideBand::Large, true));
        assert!(!wants.may_filter);
    }

    #[test]
    fn nothing_wanted_is_no_error() {
        assert!(matches!(read(&["0000"]).expect("valid").as_slice(), [Read::Nothing]));
    }

    #[test]
    fn nonsense_is_refused() {
        let id = "11".repeat(20);
        let long = format!("want {}\n", "11".repeat(32));
        let packet = super::super::pktline::Packet::Data(long.into_bytes().into());
        let whole = WantReader::new("sha256").take(&packet);
        assert!(matches!(whole, Ok(None)), "sha256 need not be said: {whole:?}");
        for bad in [vec!["have x", "0000"], vec!["want 123"], vec!["want "], vec!["GET / HTTP/1.1"]] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
        assert!(read(&[&format!("want {id}"), &format!("want {id} side-band")]).is_err());
        assert!(read(&[&format!("want {id}"), "0000", "want again"]).is_err());
        assert!(read(&[&format!("want {id} object-format=sha256")]).is_err());
    }
}
