//! The Git protocol without a transport: bytes and packets in, requests out; answers in, bytes out.
//!
//! Pure: no sockets, no disk, no clock. Who may do what, and what a repository holds, is asked of [`History`] or left to
//! `service`. The formats are those of gitprotocol-common, gitprotocol-pack, gitprotocol-v2 and
//! gitprotocol-capabilities.

pub(crate) mod advertise;
pub(crate) mod archive;
pub(crate) mod certificate;
pub(crate) mod fetch;
pub(crate) mod filter;
pub(crate) mod ls_refs;
pub(crate) mod negotiate;
pub(crate) mod object_info;
pub(crate) mod pktline;
pub(crate) mod push;
pub(crate) mod ref_table;
pub(crate) mod report;
pub(crate) mod text;
pub(crate) mod upload_v0;
pub(crate) mod upload_v2;

use slipway_core::limits::PUSH_UPDATES_MAX;
use slipway_core::{Oid, Problem, ProblemKind};

use crate::limits::SESSION_ID_BYTES_MAX;

/// How this server calls itself on the wire.
pub(crate) const AGENT: &str = concat!("slipway/", env!("CARGO_PKG_VERSION"));

/// Which version of the protocol the client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// The first one, unversioned.
    #[default]
    V0,
    /// The same behind a line `version 1`.
    V1,
    /// Commands.
    V2,
}

impl Version {
    /// Reads `GIT_PROTOCOL` or the `Git-Protocol` header: colon-separated keys; the highest known version wins.
    pub(crate) fn read(keys: &str) -> Self {
        let known = |key| match key {
            "version=1" => Some(Self::V1),
            "version=2" => Some(Self::V2),
            _ => None,
        };
        keys.split(':').take(32).filter_map(known).max().unwrap_or_default()
    }
}

/// Which of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Fetch and clone.
    UploadPack,
    /// Push.
    ReceivePack,
}

impl Service {
    /// Its name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    /// The service of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "git-upload-pack" => Some(Self::UploadPack),
            "git-receive-pack" => Some(Self::ReceivePack),
            _ => None,
        }
    }
}

/// What negotiation asks of a repository. May block.
pub(crate) trait History {
    /// Both sides have the object: it exists and may be acknowledged.
    fn is_common(&self, id: &Oid) -> Result<bool, Problem>;
    /// Every want is a descendant of some common commit.
    fn is_ready(&self, wants: &[Oid], common: &[Oid]) -> Result<bool, Problem>;
}

/// A peer that does not speak the protocol, or asks too much.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// Four bytes that are no length.
    #[error("{:?} is not the length of a packet", String::from_utf8_lossy(.0))]
    BadLength([u8; 4]),
    /// Something else was due.
    #[error("{expected} was expected, and {found:?} came")]
    Unexpected {
        /// What was due.
        expected: &'static str,
        /// What came, cut short.
        found: String,
    },
    /// A bound was crossed.
    #[error("the request has more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A push of too many refs.
    #[error("The push updates too many refs at once (more than {max}, or their names are too long)", max = PUSH_UPDATES_MAX)]
    TooManyRefs,
    /// `git archive` in a format that is not made here.
    #[error("Archives are not made here in the format {0:?}")]
    ArchiveFormat(String),
    /// The same thing twice.
    #[error("{0} was given twice")]
    Twice(&'static str),
    /// A command of version 2 that is none, or none here; in git's words.
    #[error("invalid command '{0}'")]
    NoSuchCommand(String),
    /// Something that is no capability, or none that was offered; in git's words.
    #[error("unknown capability '{0}'")]
    NoSuchCapability(String),
    /// A request without a command; in git's words.
    #[error("no command requested")]
    NoCommand,
    /// An argument that the command does not have, or not here; in git's words.
    #[error("unexpected line: '{0}'")]
    NoSuchArgument(String),
    /// Something else than the end of a command's arguments; in git's words.
    #[error("expected flush after {0} arguments")]
    NoFlush(&'static str),
    /// The two sides hash differently; in git's words.
    #[error("mismatched object format: server {here}; client {asked}")]
    ObjectFormat {
        /// The client's.
        asked: String,
        /// The repository's.
        here: &'static str,
    },
    /// A filter that is none, in git's words.
    #[error("{0}")]
    Filter(String),
    /// A filter that the repository does not serve.
    #[error("filter '{0}' not supported")]
    FilterRefused(&'static str),
    /// A filter that goes deeper than the repository serves.
    #[error("tree filter allows max depth {max}, but got {got}")]
    FilterDepth {
        /// The repository's bound.
        max: u64,
        /// As asked for.
        got: u64,
    },
    /// The peer stopped in the middle.
    #[error("the request ends in the middle")]
    Cut,
    /// A want that is not reachable from any ref.
    #[error("upload-pack: not our ref {0}")]
    NotOurRef(Oid),
    /// A want-ref or deepen-not that does not exist.
    #[error("unknown ref {0}")]
    UnknownRef(String),
}

impl WireError {
    /// For packets and lines that were not due.
    pub(crate) fn unexpected(expected: &'static str, found: &[u8]) -> Self {
        Self::Unexpected { expected, found: cut(found) }
    }

    /// For formats of archives.
    pub(crate) fn archive_format(found: &[u8]) -> Self {
        Self::ArchiveFormat(cut(found))
    }

    /// For arguments that a command does not have.
    pub(crate) fn argument(found: &[u8]) -> Self {
        Self::NoSuchArgument(cut(found))
    }
}

/// As much of what came as a message may show.
fn cut(found: &[u8]) -> String {
    String::from_utf8_lossy(&found[..found.len().min(100)]).into_owned()
}

impl From<WireError> for Problem {
    fn from(e: WireError) -> Self {
        let cure = match &e {
            WireError::TooMany { .. } => "Ask for less at once.",
            WireError::TooManyRefs => {
                "Push them in groups, such as: git push REMOTE 'refs/pull/1*:refs/pull/1*'"
            }
            WireError::ArchiveFormat(_) => "Ask for tar, tgz or tar.gz.",
            WireError::ObjectFormat { .. } => {
                "Clone it anew, or push into a repository that was made with the same --object-format."
            }
            WireError::Filter(_) => "See git help rev-list, --filter.",
            WireError::FilterRefused(_) | WireError::FilterDepth { .. } => {
                "Use another filter, or ask whoever runs this server."
            }
            WireError::NotOurRef(_) | WireError::UnknownRef(_) => "Fetch again: the refs may have moved.",
            _ => "Use a current git client, and look at what lies between it and this server.",
        };
        let kind = match &e {
            WireError::TooMany { .. } | WireError::TooManyRefs => ProblemKind::TooLarge,
            WireError::NotOurRef(_) | WireError::UnknownRef(_) => ProblemKind::NotFound,
            _ => ProblemKind::Invalid,
        };
        Problem::new(kind, format!("{e}."), cure)
    }
}

/// Appends to a list that has a bound.
pub(crate) fn push_bounded<T>(
    list: &mut Vec<T>,
    item: T,
    what: &'static str,
    max: usize,
) -> Result<(), WireError> {
    if list.len() >= max {
        return Err(WireError::TooMany { what, max });
    }
    list.push(item);
    Ok(())
}

/// A client's session id as it may be logged: one short line of printable characters.
pub(crate) fn session_id(raw: &str) -> String {
    raw.chars().take(SESSION_ID_BYTES_MAX).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Reads an id of the repository's format.
pub(crate) fn read_oid(hex: &[u8], format: &'static str) -> Result<Oid, WireError> {
    let digits = if format == "sha256" { 64 } else { 40 };
    Oid::from_hex(hex)
        .filter(|_| hex.len() == digits)
        .ok_or_else(|| WireError::unexpected("an object id", hex))
}

/// Reads a line as text.
pub(crate) fn read_text(raw: &[u8], expected: &'static str) -> Result<String, WireError> {
    std::str::from_utf8(raw).map(str::to_owned).map_err(|_| WireError::unexpected(expected, raw))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::pktline::Packet;
    use super::*;

    /// Lines as a hostile client might put them together: the words of the protocol, ids good and bad, and bytes.
    fn packet() -> impl Strategy<Value = Packet> {
        let word = prop::sample::select(vec![
            "want ",
            "have ",
            "done",
            "shallow ",
            "deepen ",
            "deepen-since ",
            "deepen-not ",
            "filter ",
            "want-ref ",
            "command=fetch",
            "command=ls-refs",
            "object-format=sha1",
            "ref-prefix ",
            "0",
            "1",
            "-1",
            "blob:limit=1k",
            "push-cert",
            "push-cert-end\n",
            "certificate version 0.1\n",
            "-----BEGIN SSH SIGNATURE-----\n",
            "refs/heads/a",
            "\0",
            " ",
            "\n",
            "side-band-64k",
            "push-options",
            "peel",
        ]);
        let piece = prop_oneof![
            4 => word.prop_map(|w| w.as_bytes().to_vec()),
            2 => Just("1".repeat(40).into_bytes()),
            2 => Just("0".repeat(40).into_bytes()),
            1 => prop::collection::vec(any::<u8>(), 0..8),
        ];
        prop_oneof![
            1 => Just(Packet::Flush),
            1 => Just(Packet::Delim),
            6 => prop::collection::vec(piece, 0..6).prop_map(|p| Packet::Data(p.concat().into())),
        ]
    }

    proptest! {
        #[test]
        fn no_packets_make_a_reader_panic(packets in prop::collection::vec(packet(), 0..30)) {
            let mut commands = upload_v2::CommandReader::new("sha1", advertise::Offer::default());
            let mut wants = upload_v0::WantReader::new("sha1");
            let mut pushes = push::PushReader::new("sha1");
            for packet in &packets {
                let _ = commands.take(packet);
                let _ = wants.take(packet);
                let _ = pushes.take(packet);
            }
        }
    }

    #[test]
    fn the_highest_known_version_wins() {
        for (keys, want) in [
            ("", Version::V0),
            ("version=2", Version::V2),
            ("version=1", Version::V1),
            ("version=9", Version::V0),
            ("foo:version=1:version=2", Version::V2),
            ("version=2\n", Version::V0),
        ] {
            assert_eq!(Version::read(keys), want, "{keys:?}");
        }
    }
}
