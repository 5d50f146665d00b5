//! Version 2 of upload-pack: commands, each with capabilities and arguments, ended by a flush (gitprotocol-v2).

use slipway_repository::Unborn;

use super::advertise::Offer;
use super::fetch::FetchArgs;
use super::ls_refs::LsRefs;
use super::object_info::ObjectInfo;
use super::pktline::Packet;
use super::{WireError, read_text};
use crate::limits::{CAPABILITIES_BYTES_MAX, NAMES_MAX};

/// A whole command.
#[derive(Debug)]
pub(crate) enum Command {
    /// List the refs.
    LsRefs(LsRefs),
    /// Fetch.
    Fetch(Box<FetchArgs>),
    /// Tell sizes of objects.
    ObjectInfo(ObjectInfo),
    /// Tell where bundles are.
    BundleUri,
    /// A flush in place of a command: the client has finished.
    End,
}

/// Reads commands, packet by packet.
#[derive(Debug)]
pub(crate) struct CommandReader {
    format: &'static str,
    offer: Offer,
    stage: Stage,
    notes: Notes,
}

/// What a client says beside its command: for the log alone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// What its session is called there.
    pub(crate) session_id: Option<String>,
    /// `--server-option`s.
    pub(crate) server_options: Vec<String>,
}

#[derive(Debug)]
enum Stage {
    Keys { command: Option<Open>, format: Option<String>, lines: usize },
    Arguments(Open),
}

#[derive(Debug)]
enum Open {
    LsRefs(LsRefs),
    Fetch(Box<FetchArgs>),
    ObjectInfo(ObjectInfo),
    BundleUri,
}

impl Open {
    /// The command of that name, if it is offered.
    fn named(name: &str, offer: &Offer) -> Option<Self> {
        match name {
            "ls-refs" => Some(Self::LsRefs(LsRefs::default())),
            "fetch" => Some(Self::Fetch(Box::default())),
            "object-info" if offer.object_info => Some(Self::ObjectInfo(ObjectInfo::default())),
            "bundle-uri" if offer.bundle_uri => Some(Self::BundleUri),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::LsRefs(_) => "ls-refs",
            Self::Fetch(_) => "fetch",
            Self::ObjectInfo(_) => "object-info",
            Self::BundleUri => "bundle-uri",
        }
    }

    fn take(&mut self, line: &[u8], format: &'static str, offer: &Offer) -> Result<(), WireError> {
        match self {
            Self::LsRefs(_) if line == b"unborn" && offer.unborn == Unborn::Ignore => Ok(()),
            Self::LsRefs(args) => args.take(line),
            Self::Fetch(args) => {
                let refused = (line == b"sideband-all" && !offer.sideband_all)
                    || (line.starts_with(b"filter ") && !offer.filter)
                    || (line.starts_with(b"want-ref ") && !offer.ref_in_want);
                if refused {
                    return Err(WireError::argument(line));
                }
                args.take(line, format)
            }
            Self::ObjectInfo(args) => args.take(line, format),
            Self::BundleUri => Err(WireError::argument(line)),
        }
    }

    fn close(self) -> Command {
        match self {
            Self::LsRefs(args) => Command::LsRefs(args),
            Self::Fetch(mut args) => {
                args.tidy();
                Command::Fetch(args)
            }
            Self::ObjectInfo(args) => Command::ObjectInfo(args),
            Self::BundleUri => Command::BundleUri,
        }
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::Keys { command: None, format: None, lines: 0 }
    }
}

impl CommandReader {
    /// For a repository of that object format, and what is offered there.
    pub(crate) fn new(format: &'static str, offer: Offer) -> Self {
        Self { format, offer, stage: Stage::default(), notes: Notes::default() }
    }

    /// What the client said beside the commands read since the last call.
    pub(crate) fn take_notes(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }

    /// True between two commands.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Keys { command: None, lines: 0, .. })
    }

    /// Takes a packet; a command once it is whole.
    pub(crate) fn take(&mut self, packet: &Packet) -> Result<Option<Command>, WireError> {
        match (&mut self.stage, packet) {
            (Stage::Keys { command: None, lines: 0, .. }, Packet::Flush) => return Ok(Some(Command::End)),
            (Stage::Keys { .. }, Packet::Data(_)) => self.take_key(packet.line().unwrap_or_default())?,
            (Stage::Keys { .. }, Packet::Delim) => {
                let open = self.open()?;
                self.stage = Stage::Arguments(open);
            }
            (Stage::Keys { .. }, Packet::Flush) => {
                let open = self.open()?;
                return Ok(Some(open.close()));
            }
            (Stage::Arguments(open), Packet::Data(_)) => {
                open.take(packet.line().unwrap_or_default(), self.format, &self.offer)?;
            }
            (Stage::Arguments(_), Packet::Flush) => {
                if let Stage::Arguments(open) = std::mem::take(&mut self.stage) {
                    return Ok(Some(open.close()));
                }
            }
            (Stage::Arguments(open), Packet::Delim) => return Err(WireError::NoFlush(open.name())),
            (_, Packet::ResponseEnd) => return Err(WireError::unexpected("a command", b"0002")),
        }
        Ok(None)
    }

    fn take_key(&mut self, line: &[u8]) -> Result<(), WireError> {
        let Stage::Keys { command, format, lines } = &mut self.stage else { return Ok(()) };
        *lines += 1;
        if *lines > NAMES_MAX {
            return Err(WireError::TooMany { what: "capability lines", max: NAMES_MAX });
        }
        if line.len() > CAPABILITIES_BYTES_MAX {
            return Err(WireError::TooMany { what: "bytes in a capability", max: CAPABILITIES_BYTES_MAX });
        }
        let line = read_text(line, "a command")?;
        match line.split_once('=').map_or((line.as_str(), ""), |(key, value)| (key, value)) {
            ("command", name) => {
                let open = Open::named(name, &self.offer)
                    .ok_or_else(|| WireError::NoSuchCommand(name.chars().take(100).collect()))?;
                if command.replace(open).is_some() {
                    return Err(WireError::Twice("command"));
                }
            }
            ("object-format", asked) => *format = Some(asked.to_owned()),
            ("agent", _) => {}
            ("session-id", id) => self.notes.session_id = Some(super::session_id(id)),
            ("server-option", option) => {
                super::push_bounded(
                    &mut self.notes.server_options,
                    option.to_owned(),
                    "server options",
                    NAMES_MAX,
                )?;
            }
            _ => return Err(WireError::NoSuchCapability(line.chars().take(100).collect())),
        }
        Ok(())
    }

    fn open(&mut self) -> Result<Open, WireError> {
        let Stage::Keys { command, format, .. } = std::mem::take(&mut self.stage) else {
            return Err(WireError::Cut);
        };
        let asked = format.unwrap_or_else(|| "sha1".into());
        if asked != self.format {
            return Err(WireError::ObjectFormat {
                asked: asked.chars().take(40).collect(),
                here: self.format,
            });
        }
        command.ok_or(WireError::NoCommand)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pktline::Decoder;
    use super::*;

    fn read(wire: &[u8]) -> Result<Vec<Command>, WireError> {
        let (mut decoder, mut reader, mut seen) = (
            Decoder::default(),
            CommandReader::new("sha1", Offer { filter: true, ..Offer::default() }),
            Vec::new(),
        );
        for byte in wire.chunks(1) {
            decoder.put(byte);
            while let Some(packet) = decoder.next()? {
                seen.extend(reader.take(&packet)?);
            }
        }
        Ok(seen)
    }

    #[test]
    fn a_fetch_is_read_byte_by_byte() {
        let wire = format!(
            "0011command=fetch0014agent=git/2.47.30016object-format=sha10001000dthin-pack000fno-progress000dofs-delta\
             0032want {}\n0032have {}\n0009done\n0000",
            "11".repeat(20),
            "22".repeat(20)
        );
        let commands = read(wire.as_bytes()).expect("valid");
        let [Command::Fetch(args)] = commands.as_slice() else { panic!("{commands:?}") };
        assert_eq!((args.wants.len(), args.haves.len()), (1, 1));
        assert!(args.done && args.thin_pack && args.no_progress && args.ofs_delta && !args.include_tag);
    }

    #[test]
    fn commands_follow_each_other_until_a_flush() {
        let commands =
            read(b"0014command=ls-refs\n00000014command=ls-refs\n00010009peel\n00000000").expect("valid");
        assert!(matches!(commands.as_slice(), [Command::LsRefs(_), Command::LsRefs(_), Command::End]));
    }

    #[test]
    fn what_is_not_offered_is_not_taken() {
        let everything = Offer {
            filter: true,
            ref_in_want: true,
            sideband_all: true,
            object_info: true,
            bundle_uri: true,
            ..Offer::default()
        };
        for wire in [
            "0014command=object-info\n0000",
            "0017command=bundle-uri\n0000",
            "0013command=fetch\n00010011sideband-all\n0000",
            "0013command=fetch\n00010015filter blob:none\n0000",
            "0013command=fetch\n00010013want-ref HEAD\n0000",
        ] {
            // The lengths above are made right here, so that the lines stay readable.
            let wire = fix(wire);
            for (offer, taken) in [(Offer::default(), false), (everything.clone(), true)] {
                let (mut decoder, mut reader) = (Decoder::default(), CommandReader::new("sha1", offer));
                decoder.put(wire.as_bytes());
                let mut result = Ok(None);
                while let (Ok(None), Some(packet)) = (&result, decoder.next().expect("packets")) {
                    result = reader.take(&packet);
                }
                assert_eq!(result.is_ok(), taken, "{wire}");
            }
        }
    }

    /// Packets with their lengths made right.
    fn fix(wire: &str) -> String {
        let mut out = String::new();
        for line in wire.split_inclusive('\n') {
            let specials = line.len() - line.trim_start_matches("0001").len();
            let (special, rest) = line.split_at(specials);
            out.push_str(special);
            match rest {
                "0000" => out.push_str(rest),
                _ => out.push_str(&format!("{:04x}{}", rest.len(), &rest[4..])),
            }
        }
        out
    }

    #[test]
    fn what_a_client_says_beside_its_command_is_kept_for_the_log() {
        let mut reader = CommandReader::new("sha1", Offer::default());
        for line in ["command=ls-refs", "session-id=a\x07b", "server-option=x=1", "server-option=y"] {
            let packet = Packet::Data(line.as_bytes().to_vec().into());
            assert!(reader.take(&packet).expect("valid").is_none());
        }
        let notes = reader.take_notes();
        assert_eq!(notes.session_id.as_deref(), Some("a?b"));
        assert_eq!(notes.server_options, ["x=1", "y"]);
        assert_eq!(reader.take_notes(), Notes::default());
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        for bad in [
            "0012command=push\n0000",
            "000cagent=x\n0000",
            "0013command=fetch\n0013command=fetch\n0000",
            "0013command=fetch\n0018object-format=sha256\n0000",
            "0013command=fetch\n00010001",
            "0013command=fetch\n0002",
            "0013command=fetch\n0001000cnonsens\n0000",
            "000cnonsens\n0000",
            "0001",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
