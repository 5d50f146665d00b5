//! The request of receive-pack: commands, push options, and then perhaps a pack (gitprotocol-pack, "Pushing Data").

use std::collections::HashSet;

use slipway_core::limits::{PUSH_OPTION_BYTES_MAX, PUSH_OPTIONS_MAX, PUSH_UPDATES_MAX};
use slipway_core::{Oid, Problem, ProblemKind, RefName, RefUpdate};

use super::certificate::{Certificate, CertificateReader};
use super::pktline::{Packet, SideBand};
use super::{WireError, push_bounded, read_oid, read_text};
use crate::limits::{CAPABILITIES_BYTES_MAX, COMMAND_BYTES_MAX, SHALLOWS_MAX};

/// One command of a push.
#[derive(Debug)]
pub(crate) struct Command {
    /// The ref's name as sent, for the report; never trusted.
    pub(crate) raw_name: Vec<u8>,
    /// It deletes: no object is sent for it.
    pub(crate) deletes: bool,
    /// What it asks for, or why it cannot be.
    pub(crate) update: Result<RefUpdate, Problem>,
}

/// All of a push but its pack.
#[derive(Debug, Default)]
pub(crate) struct Push {
    /// The commands in order.
    pub(crate) commands: Vec<Command>,
    /// The client's shallow boundary.
    pub(crate) shallows: Vec<Oid>,
    /// `-o` options.
    pub(crate) options: Vec<String>,
    /// The client reads a report.
    pub(crate) report: bool,
    /// The report goes on band 1, remarks on band 2.
    pub(crate) band: SideBand,
    /// No progress.
    pub(crate) quiet: bool,
    /// All or nothing.
    pub(crate) atomic: bool,
    /// The certificate that the commands came in.
    pub(crate) certificate: Option<Box<Certificate>>,
    /// What the client calls its session.
    pub(crate) session_id: Option<String>,
}

impl Push {
    /// True if a pack follows: it does unless every command deletes.
    pub(crate) fn has_pack(&self) -> bool {
        self.commands.iter().any(|c| !c.deletes)
    }

    /// True if `git push -o NAME` was given.
    pub(crate) fn has_option(&self, name: &str) -> bool {
        self.options.iter().any(|o| o == name)
    }
}

/// Reads a push, packet by packet, up to where the pack begins.
#[derive(Debug)]
pub(crate) struct PushReader {
    format: &'static str,
    push: Push,
    stage: Stage,
    bytes: usize,
    names: HashSet<Vec<u8>>,
    first: bool,
    wants_options: bool,
    certificate: CertificateReader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Commands,
    Certificate,
    Options,
}

impl PushReader {
    /// For a repository of that object format.
    pub(crate) fn new(format: &'static str) -> Self {
        Self {
            format,
            push: Push::default(),
            stage: Stage::Commands,
            bytes: 0,
            names: HashSet::new(),
            first: true,
            wants_options: false,
            certificate: CertificateReader::default(),
        }
    }

    /// True while nothing has come.
    pub(crate) fn is_idle(&self) -> bool {
        self.first && self.push.shallows.is_empty()
    }

    /// How the client wants to be answered, as far as it has said.
    pub(crate) fn band(&self) -> SideBand {
        self.push.band
    }

    /// Takes a packet; the push once everything before its pack is whole. A push without commands is the client's
    /// way to end, or to probe.
    pub(crate) fn take(&mut self, packet: &Packet) -> Result<Option<Push>, WireError> {
        match (self.stage, packet) {
            (_, Packet::Delim | Packet::ResponseEnd) => {
                Err(WireError::unexpected("a command", b"a delimiter"))
            }
            (stage, Packet::Data(data)) => {
                self.bytes = self.bytes.saturating_add(data.len());
                if self.bytes > COMMAND_BYTES_MAX {
                    return Err(WireError::TooManyRefs);
                }
                let line = packet.line().unwrap_or_default();
                match stage {
                    Stage::Commands => self.take_command(line)?,
                    Stage::Certificate => {
                        if let Some(certificate) = self.certificate.take(data)? {
                            self.stage = Stage::Commands;
                            self.take_certificate(certificate)?;
                        }
                    }
                    Stage::Options => self.take_option(line)?,
                }
                Ok(None)
            }
            (Stage::Certificate, Packet::Flush) => {
                Err(WireError::unexpected("the end of the push certificate", b"a flush"))
            }
            (Stage::Commands, Packet::Flush) if self.wants_options && !self.push.commands.is_empty() => {
                self.stage = Stage::Options;
                Ok(None)
            }
            (_, Packet::Flush) => Ok(Some(std::mem::take(&mut self.push))),
        }
    }

    fn take_command(&mut self, line: &[u8]) -> Result<(), WireError> {
        if let Some(id) = line.strip_prefix(b"shallow ") {
            let id = read_oid(id, self.format)?;
            return push_bounded(&mut self.push.shallows, id, "shallow lines", SHALLOWS_MAX);
        }
        let (line, capabilities) = match line.iter().position(|b| *b == 0) {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        if std::mem::take(&mut self.first) {
            self.take_capabilities(capabilities)?;
        }
        if line == b"push-cert" {
            if self.push.certificate.is_some() || !self.push.commands.is_empty() {
                return Err(WireError::Twice("push-cert"));
            }
            self.stage = Stage::Certificate;
            return Ok(());
        }
        if self.push.certificate.is_some() {
            return Err(WireError::unexpected("no command beside those of the push certificate", line));
        }
        let command = self.read_command(line)?;
        self.add(command)
    }

    fn add(&mut self, command: Command) -> Result<(), WireError> {
        if self.push.commands.len() >= PUSH_UPDATES_MAX {
            return Err(WireError::TooManyRefs);
        }
        self.push.commands.push(command);
        Ok(())
    }

    fn read_command(&mut self, line: &[u8]) -> Result<Command, WireError> {
        let mut parts = line.splitn(3, |b| *b == b' ');
        let (Some(old), Some(new), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(WireError::unexpected("a command: old id, new id, ref", line));
        };
        let (old, new) = (read_oid(old, self.format)?, read_oid(new, self.format)?);
        let fresh = self.names.insert(name.to_vec());
        let update = read_name(name).map(|name| RefUpdate { name, old, new });
        let update = if fresh { update } else { Err(twice(name)) };
        Ok(Command { raw_name: name.to_vec(), deletes: new.is_zero(), update })
    }

    fn take_certificate(&mut self, certificate: Certificate) -> Result<(), WireError> {
        for line in &certificate.commands {
            let command = self.read_command(line)?;
            self.add(command)?;
        }
        self.push.certificate = Some(Box::new(certificate));
        Ok(())
    }

    fn take_capabilities(&mut self, raw: &[u8]) -> Result<(), WireError> {
        if raw.len() > CAPABILITIES_BYTES_MAX {
            return Err(WireError::TooMany { what: "bytes of capabilities", max: CAPABILITIES_BYTES_MAX });
        }
        let mut asked = "sha1".to_owned();
        for word in read_text(raw, "capabilities")?.split_ascii_whitespace() {
            match word {
                "report-status" | "report-status-v2" => self.push.report = true,
                "side-band-64k" => self.push.band = SideBand::Large,
                "quiet" => self.push.quiet = true,
                "atomic" => self.push.atomic = true,
                "push-options" => self.wants_options = true,
                _ => {
                    if let Some(format) = word.strip_prefix("object-format=") {
                        asked = format.to_owned();
                    } else if let Some(id) = word.strip_prefix("session-id=") {
                        self.push.session_id = Some(super::session_id(id));
                    }
                }
            }
        }
        if asked != self.format {
            return Err(WireError::ObjectFormat {
                asked: asked.chars().take(40).collect(),
                here: self.format,
            });
        }
        Ok(())
    }

    fn take_option(&mut self, line: &[u8]) -> Result<(), WireError> {
        if line.len() > PUSH_OPTION_BYTES_MAX {
            return Err(WireError::TooMany { what: "bytes in a push option", max: PUSH_OPTION_BYTES_MAX });
        }
        let option = read_text(line, "a push option")?;
        push_bounded(&mut self.push.options, option, "push options", PUSH_OPTIONS_MAX)
    }
}

fn read_name(raw: &[u8]) -> Result<RefName, Problem> {
    let name = std::str::from_utf8(raw).map_err(|_| {
        refused(format!("The ref name {:?} is not UTF-8.", String::from_utf8_lossy(raw)), "Rename it.")
    })?;
    let funny = |problem: Problem| refused(format!("funny refname: {}", problem.what), &problem.cure);
    RefName::parse(name).map_err(|e| funny(Problem::from(e)))
}

fn twice(name: &[u8]) -> Problem {
    refused(format!("{} is updated twice in one push.", String::from_utf8_lossy(name)), "Name each ref once.")
}

fn refused(what: String, cure: &str) -> Problem {
    Problem::new(ProblemKind::Invalid, what, cure)
}

#[cfg(test)]
mod tests {
    use super::super::pktline::{Decoder, put, put_flush};
    use super::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const ONE: &str = "1111111111111111111111111111111111111111";

    fn read(lines: &[Option<&[u8]>], tail: &[u8]) -> Result<(Option<Push>, Vec<u8>), WireError> {
        let mut wire = Vec::new();
        for line in lines {
            match line {
                Some(line) => put(&mut wire, &[line]),
                None => put_flush(&mut wire),
            }
        }
        wire.extend_from_slice(tail);
        let (mut decoder, mut reader) = (Decoder::default(), PushReader::new("sha1"));
        let mut push = None;
        for bytes in wire.chunks(5) {
            decoder.put(bytes);
            while push.is_none() {
                let Some(packet) = decoder.next()? else { break };
                push = reader.take(&packet)?;
            }
        }
        Ok((push, decoder.take_rest().to_vec()))
    }

    #[test]
    fn a_push_is_read_up_to_its_pack() {
        let first = format!(
            "{ZERO} {ONE} refs/heads/main\0 report-status-v2 side-band-64k atomic push-options quiet"
        );
        let second = format!("{ONE} {ZERO} refs/heads/old");
        let lines = [Some(first.as_bytes()), Some(second.as_bytes()), None, Some(b"wait".as_slice()), None];
        let (push, rest) = read(&lines, b"PACK....").expect("valid");
        let push = push.expect("whole");
        assert_eq!(rest, b"PACK....");
        assert!(push.report && push.atomic && push.quiet && push.has_pack() && push.has_option("wait"));
        assert_eq!(push.commands.len(), 2);
    }

    #[test]
    fn a_push_that_only_deletes_has_no_pack() {
        let line = format!("{ONE} {ZERO} refs/heads/old\0report-status delete-refs");
        let (push, _) = read(&[Some(line.as_bytes()), None], b"").expect("valid");
        assert!(!push.expect("whole").has_pack());
    }

    #[test]
    fn a_probe_is_a_push_of_nothing() {
        let (push, _) = read(&[None], b"").expect("valid");
        assert!(push.expect("whole").commands.is_empty());
    }

    #[test]
    fn a_certificate_brings_the_commands() {
        let command = format!("{ZERO} {ONE} refs/heads/main\n");
        let lines: Vec<Vec<u8>> = [
            "push-cert\0report-status push-options session-id=me",
            "certificate version 0.1\n",
            "pusher A <a@x> 1 +0000\n",
            "push-option wait\n",
            "\n",
            &command,
            "-----BEGIN SSH SIGNATURE-----\n",
            "push-cert-end\n",
        ]
        .map(|l| l.as_bytes().to_vec())
        .into();
        let whole: Vec<Option<&[u8]>> =
            lines.iter().map(|l| Some(l.as_slice())).chain([None, Some(b"wait".as_slice()), None]).collect();
        let (push, _) = read(&whole, b"PACK").expect("valid");
        let push = push.expect("whole");
        assert_eq!((push.commands.len(), push.options.len(), push.session_id.as_deref()), (1, 1, Some("me")));
        let certificate = push.certificate.expect("there");
        assert_eq!(certificate.options, ["wait"]);
        // Commands outside of the certificate, a flush inside, a second certificate.
        let line = Some(command.as_bytes());
        let outside: Vec<Option<&[u8]>> = whole[..8].iter().copied().chain([line]).collect();
        let inside: Vec<Option<&[u8]>> = whole[..4].iter().copied().chain([None]).collect();
        let twice: Vec<Option<&[u8]>> =
            whole[..8].iter().copied().chain([Some(b"push-cert".as_slice())]).collect();
        for bad in [outside, inside, twice] {
            assert!(read(&bad, b"").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hostile_ref_names_are_refused_one_by_one() {
        for name in [
            "refs/heads/../../etc/passwd",
            "HEAD/../x",
            "refs/heads/a b",
            "refs/heads/\x1b[2J",
            "main",
            "refs/heads/x.lock",
            "refs/heads/-\n",
            "",
            "refs/",
            "refs/heads/a..b",
            "refs/heads/@{1}",
            "../x",
            "/etc/passwd",
            "refs/heads//x",
        ] {
            let line = format!("{ZERO} {ONE} {name}\0report-status");
            let (push, _) = read(&[Some(line.as_bytes()), None], b"").expect("the push itself is readable");
            assert!(push.expect("whole").commands[0].update.is_err(), "{name:?}");
        }
        let line = [format!("{ZERO} {ONE} refs/heads/").as_bytes(), &[0xff, 0xfe], b"\0"].concat();
        let (push, _) = read(&[Some(&line), None], b"").expect("readable");
        assert!(push.expect("whole").commands[0].update.is_err());
    }

    #[test]
    fn the_same_ref_twice_is_refused() {
        let line = format!("{ZERO} {ONE} refs/heads/a\0");
        let again = format!("{ZERO} {ONE} refs/heads/a");
        let (push, _) = read(&[Some(line.as_bytes()), Some(again.as_bytes()), None], b"").expect("readable");
        let push = push.expect("whole");
        assert!(push.commands[0].update.is_ok() && push.commands[1].update.is_err());
    }

    #[test]
    fn bounds_hold() {
        let lines: Vec<String> =
            (0..=PUSH_UPDATES_MAX).map(|n| format!("{ZERO} {ONE} refs/heads/{n}")).collect();
        let lines: Vec<Option<&[u8]>> = lines.iter().map(|l| Some(l.as_bytes())).collect();
        assert!(matches!(read(&lines, b""), Err(WireError::TooManyRefs)));
        let told = Problem::from(WireError::TooManyRefs).to_string();
        assert!(told.contains("in groups, such as: git push"), "{told}");
        let first = format!("{ZERO} {ONE} refs/heads/a\0push-options");
        let mut lines: Vec<Option<&[u8]>> = vec![Some(first.as_bytes()), None];
        lines.extend((0..=PUSH_OPTIONS_MAX).map(|_| Some(b"x".as_slice())));
        assert!(matches!(read(&lines, b""), Err(WireError::TooMany { .. })));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "hello", &format!("{ONE} refs/heads/a"), &format!("{ONE} {} refs/heads/a", &ONE[1..])]
        {
            assert!(read(&[Some(bad.as_bytes())], b"").is_err(), "{bad:?}");
        }
        let sha256 = format!("{ZERO} {ONE} refs/heads/a\0object-format=sha256");
        assert!(read(&[Some(sha256.as_bytes())], b"").is_err());
    }
}
