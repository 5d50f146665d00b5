//! Every bound of this crate in one place, but for those that config.toml can set: these are core's [`Limits`], and here is how
//! they are shared out.

use std::time::Duration;

use slipway_core::limits::Limits;
use slipway_forge::shares::Bounds;

/// Longest pkt-line, its four digits included, in bytes (gitprotocol-common).
pub(crate) const PKT_BYTES_MAX: usize = 65_520;
/// Most payload bytes behind the band byte of a `side-band-64k` packet.
pub(crate) const BAND_64K_BYTES: usize = PKT_BYTES_MAX - 5;
/// Most payload bytes behind the band byte of an old `side-band` packet.
pub(crate) const BAND_1K_BYTES: usize = 1000 - 5;
/// Bytes handed on in one piece while a pack is sent: four full side-band-64k packets.
pub(crate) const CHUNK_BYTES: usize = 4 * PKT_BYTES_MAX;
/// So many of them are on their way at once, over all clients; what comes on top is sent in pieces of the size below.
pub(crate) const CHUNKS_OUT_MAX: usize = 192;
/// A piece where the others are on their way.
pub(crate) const SMALL_CHUNK_BYTES: usize = 16 * 1024;
/// Such pieces kept for the next pack once they are sent.
pub(crate) const SPARE_CHUNKS_MAX: usize = 32;
/// Chunks that may wait between a producer and the wire.
pub(crate) const CHUNKS_AHEAD: usize = 2;
/// Input chunks that may wait between the wire and a conversation.
pub(crate) const INPUT_CHUNKS: usize = 8;

/// Most `want` lines in one request, and most `want-ref` lines.
pub(crate) const WANTS_MAX: usize = 100_000;
/// Most `have` lines in one request (stateless), or in one connection (stateful).
pub(crate) const HAVES_MAX: usize = 1_000_000;
/// Most `shallow` lines in one request.
pub(crate) const SHALLOWS_MAX: usize = 100_000;
/// Most `deepen-not` and `server-option` lines in one request, each.
pub(crate) const NAMES_MAX: usize = 1_000;
/// `ref-prefix` lines beyond this many are ignored, all of them: every ref is then sent (as stock git does).
pub(crate) const REF_PREFIXES_MAX: usize = 65_536;
/// Bytes of `ref-prefix` lines in one request.
pub(crate) const REF_PREFIX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the command list of one push: half a million refs with names of usual length.
pub(crate) const COMMAND_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one push certificate.
pub(crate) const CERTIFICATE_BYTES_MAX: usize = COMMAND_BYTES_MAX;
/// Bytes of the signature in it.
pub(crate) const SIGNATURE_BYTES_MAX: usize = 64 * 1024;
/// Seconds that a push certificate's nonce stays good over HTTP where `receive.certNonceSlop` is not set.
pub(crate) const NONCE_SLOP_S: u64 = 300;
/// Most characters kept of who says to have signed a push.
pub(crate) const SIGNER_CHARS_MAX: usize = 200;
/// Push certificates remembered, so that none is used twice.
pub(crate) const CERTIFICATES_KEPT_MAX: usize = 10_000;
/// Filters that one `combine:` may have in all.
pub(crate) const FILTER_PARTS_MAX: usize = 64;
/// Largest blob that `sparse:oid` may name, in bytes.
pub(crate) const SPARSE_BLOB_BYTES_MAX: u64 = 1024 * 1024;
/// How deep `combine:` may nest.
pub(crate) const FILTER_NESTING_MAX: usize = 8;
/// Arguments of one `git archive --remote` (git's own bound).
pub(crate) const ARCHIVE_ARGUMENTS_MAX: usize = 64;
/// Longest session id that is logged, in bytes.
pub(crate) const SESSION_ID_BYTES_MAX: usize = 256;
/// Longest line sent on band 2, in bytes.
pub(crate) const REMOTE_LINE_BYTES_MAX: usize = 4_000;
/// Longest capability list that is read, in bytes.
pub(crate) const CAPABILITIES_BYTES_MAX: usize = 4_096;

/// A compressed request may grow to this many times its size …
pub(crate) const GZIP_RATIO_MAX: u64 = 200;
/// … once it has passed this many bytes.
pub(crate) const GZIP_FREE_BYTES: u64 = 1024 * 1024;
/// Compressed bytes inflated in one step: bounds what a step can grow to.
pub(crate) const GZIP_STEP_BYTES: usize = 1024;
/// Compressed bytes inflated before what came of them is handed on.
pub(crate) const GZIP_SLICE_BYTES: usize = 8 * 1024;

/// Largest request that is read whole before it is looked at, in bytes.
pub(crate) const QUICK_REQUEST_BYTES: u64 = 64 * 1024;
/// Largest pack that is put into an answer whole, in bytes.
pub(crate) const QUICK_PACK_BYTES: u64 = 256 * 1024;
/// How long such a request may take before it becomes a conversation that keeps its client waiting.
pub(crate) const QUICK_TIME: Duration = Duration::from_millis(500);
/// Pause between two keepalive packets while a client waits.
pub(crate) const KEEPALIVE_PAUSE: Duration = Duration::from_secs(5);
/// Shortest pause between two progress lines.
pub(crate) const PROGRESS_PAUSE: Duration = Duration::from_millis(500);
/// The same for a client at the other end of a pipe, unless `--timeout` says otherwise.
pub(crate) const PIPE_SILENCE: Duration = Duration::from_secs(24 * 3600);
/// Bytes read from a pipe at once.
pub(crate) const PIPE_BYTES: usize = 64 * 1024;
/// Largest `.git` file that is read, in bytes.
pub(crate) const GITFILE_BYTES_MAX: u64 = 8 * 1024;
/// Bytes that must come within a span of waiting.
pub(crate) const INPUT_BYTES_MIN: u64 = 64 * 1024;
/// How long a refused push is read on, so that its sender comes to read the refusal.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(60);
/// Bytes that are read on for that.
pub(crate) const DRAIN_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Up to how many ref updates are blamed one by one when a push is not connected.
pub(crate) const BLAME_UPDATES_MAX: usize = 16;

/// How long a push whose client sends nothing keeps its place while others wait for one.
pub(crate) const PUSH_PATIENCE: Duration = Duration::from_secs(5);
/// The same for an SSH connection on which nobody has signed in.
pub(crate) const LOGIN_PATIENCE: Duration = Duration::from_secs(2);
/// How long a client that is turned away is given to read why, and how many at once are.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);
pub(crate) const FAREWELLS_MAX: usize = 64;
/// Refs beyond which new names are not compared with the others' by upper and lower case.
pub(crate) const ODD_NAMES_LOOKED_AT_MAX: usize = 10_000;
/// Most new names of a kind that a pusher is warned of.
pub(crate) const ODD_NAMES_TOLD_MAX: usize = 5;
/// How long an SSH client that has said what it is may take to say what it offers before it is taken for one that lets the
/// server speak first.
pub(crate) const SSH_LISTS_WAIT: Duration = Duration::from_secs(1);
/// Longest line with which an SSH client says what it is, in bytes (RFC 4253, 4.2).
pub(crate) const SSH_ID_BYTES_MAX: usize = 255;
/// Longest packet in which it says what it offers, in bytes (RFC 4253, 6.1).
pub(crate) const SSH_LISTS_BYTES_MAX: usize = 35_000;
/// Key exchanges in finite fields that are computed at once: each costs milliseconds of a processor.
pub(crate) const SSH_FINITE_MAX: usize = 1;
/// Lines a minute in the log about clients with which no algorithm is shared.
pub(crate) const SSH_STRANGERS_TOLD_MAX: u32 = 30;
/// How long an SSH channel may wait for its command.
pub(crate) const EXEC_GRACE: Duration = Duration::from_secs(10);
/// How long the last bytes of a channel may take to leave.
pub(crate) const FLUSH_TIME: Duration = Duration::from_secs(300);
/// Unread pieces (of at most [`SSH_PACKET_BYTES`]) of an administrative command's standard input.
pub(crate) const STDIN_CHUNKS: usize = 64;
/// Longest command line over SSH, in bytes, and most words in it.
pub(crate) const COMMAND_LINE_BYTES_MAX: usize = 8 * 1024;
/// Most words in a command line.
pub(crate) const COMMAND_WORDS_MAX: usize = 128;
/// Read buffer of an SSH connection, in bytes.
pub(crate) const SSH_READ_BYTES: usize = 64 * 1024;
/// Window granted to an SSH client, in bytes.
pub(crate) const SSH_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Largest SSH packet taken, in bytes.
pub(crate) const SSH_PACKET_BYTES: u32 = 32 * 1024;
/// Unread SSH packets of one channel.
pub(crate) const SSH_CHANNEL_PACKETS: usize = 16;
/// First and longest pause after `accept` failed (out of file descriptors).
pub(crate) const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// Refused keys of one connection that are remembered for the log.
pub(crate) const REFUSED_KEYS_MAX: usize = 8;

/// Who may put packs together: one more than a party may have, so that there is always one for another.
pub(crate) fn builders(limits: &Limits) -> Bounds {
    Bounds { each: limits.packs_made_max, owners: 1, ..Bounds::of(limits.packs_made_max + 1) }
}

/// Who may fetch.
pub(crate) fn senders(limits: &Limits) -> Bounds {
    Bounds::of(limits.fetches_max)
}

/// Who may push.
pub(crate) fn receivers(limits: &Limits) -> Bounds {
    let (places, patience) = (limits.pushes_max, PUSH_PATIENCE);
    Bounds { each: (places / 2).max(1), patience, ..Bounds::of(places) }
}

/// Who may connect over SSH.
pub(crate) fn connections(limits: &Limits) -> Bounds {
    let places = limits.ssh_connections_max;
    let (all, queue, owners) = (Bounds::of(places), places / 4, (places / 16).max(2));
    let each = limits.ssh_connections_per_account_max.min(all.each);
    Bounds { each, owners, queue, patience: LOGIN_PATIENCE, ..all }
}
