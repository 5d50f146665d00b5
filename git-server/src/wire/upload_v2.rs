//! Version 2 of upload-pack: commands, each with capabilities and arguments, ended by a flush (gitprotocol-v2).

use super::fetch::FetchArgs;
use super::ls_refs::LsRefs;
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
    /// A flush in place of a command: the client has finished.
    End,
}

/// Reads commands, packet by packet.
#[derive(Debug)]
pub(crate) struct CommandReader {
    format: &'static str,
    stage: Stage,
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
}

impl Open {
    fn close(self) -> Command {
        match self {
            Self::LsRefs(args) => Command::LsRefs(args),
            Self::Fetch(mut args) => {
                args.tidy();
                Command::Fetch(args)
            }
        }
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::Keys { command: None, format: None, lines: 0 }
    }
}

impl CommandReader {
    /// For a repository of that object format.
    pub(crate) fn new(format: &'static str) -> Self {
        Self { format, stage: Stage::default() }
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
            (Stage::Arguments(Open::LsRefs(args)), Packet::Data(_)) => {
                args.take(packet.line().unwrap_or_default())?
            }
            (Stage::Arguments(Open::Fetch(args)), Packet::Data(_)) => {
                args.take(packet.line().unwrap_or_default(), self.format)?;
            }
            (Stage::Arguments(_), Packet::Flush) => {
                if let Stage::Arguments(open) = std::mem::take(&mut self.stage) {
                    return Ok(Some(open.close()));
                }
            }
            (Stage::Arguments(_), Packet::Delim) => {
                return Err(WireError::unexpected("a flush", b"a delimiter"));
            }
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
                let open = match name {
                    "ls-refs" => Open::LsRefs(LsRefs::default()),
                    "fetch" => Open::Fetch(Box::default()),
                    _ => return Err(WireError::unexpected("the command ls-refs or fetch", name.as_bytes())),
                };
                if command.replace(open).is_some() {
                    return Err(WireError::Twice("command"));
                }
            }
            ("object-format", asked) => *format = Some(asked.to_owned()),
            ("agent" | "server-option" | "session-id", _) => {}
            _ => return Err(WireError::unexpected("a capability of this server", line.as_bytes())),
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
        command.ok_or_else(|| WireError::unexpected("a command", b"no command"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::pktline::Decoder;
    use super::*;

    fn read(wire: &[u8]) -> Result<Vec<Command>, WireError> {
        let (mut decoder, mut reader, mut seen) =
            (Decoder::default(), CommandReader::new("sha1"), Vec::new());
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
