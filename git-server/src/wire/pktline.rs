//! Pkt-lines: four hexadecimal digits of length, then that many bytes less four (gitprotocol-common).
//!
//! Pure: bytes in, packets out. What a packet means is not known here.

use bytes::{Buf, Bytes, BytesMut};

use super::WireError;
use crate::limits::{BAND_1K_BYTES, BAND_64K_BYTES, PKT_BYTES_MAX};

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: the end of a section.
    Delim,
    /// `0002`: the end of a response, between a client and its helper.
    ResponseEnd,
    /// Anything else. May be empty.
    Data(Bytes),
}

impl Packet {
    /// The line without its newline, if it is one.
    pub(crate) fn line(&self) -> Option<&[u8]> {
        match self {
            Self::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            _ => None,
        }
    }
}

/// What the front of a buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// At least so many bytes more are needed.
    Need(usize),
    /// A packet's kind, and its length on the wire.
    Got(Head, usize),
}

/// The kind of packet that four digits announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// `0000`.
    Flush,
    /// `0001`.
    Delim,
    /// `0002`.
    ResponseEnd,
    /// A length.
    Data,
}

/// Looks at the front of `buf`.
pub(crate) fn step(buf: &[u8]) -> Result<Step, WireError> {
    let Some(head) = buf.first_chunk::<4>() else { return Ok(Step::Need(4 - buf.len())) };
    // Not from_str_radix: that takes "+00a".
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as usize);
    let Some(len) = head.iter().try_fold(0, |n, &b| Some(n * 16 + digit(b)?)) else {
        return Err(WireError::BadLength(*head));
    };
    match len {
        0 => Ok(Step::Got(Head::Flush, 4)),
        1 => Ok(Step::Got(Head::Delim, 4)),
        2 => Ok(Step::Got(Head::ResponseEnd, 4)),
        3 => Err(WireError::BadLength(*head)),
        n if n > PKT_BYTES_MAX => Err(WireError::BadLength(*head)),
        n if buf.len() < n => Ok(Step::Need(n - buf.len())),
        n => Ok(Step::Got(Head::Data, n)),
    }
}

/// Cuts a stream of bytes into packets. Holds at most one unfinished packet and what was last put in.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buf: BytesMut,
}

impl Decoder {
    /// Adds what has arrived.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// The next whole packet; `None` until more arrives.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, WireError> {
        let (head, len) = match step(&self.buf)? {
            Step::Need(_) => return Ok(None),
            Step::Got(head, len) => (head, len),
        };
        let mut raw = self.buf.split_to(len);
        raw.advance(4);
        Ok(Some(match head {
            Head::Flush => Packet::Flush,
            Head::Delim => Packet::Delim,
            Head::ResponseEnd => Packet::ResponseEnd,
            Head::Data => Packet::Data(raw.freeze()),
        }))
    }

    /// True between two packets. What is too short for a packet's length does not count, as in git.
    pub(crate) fn is_spent(&self) -> bool {
        self.buf.len() < 4
    }

    /// Takes what is left: the front of a pack that follows the packets.
    pub(crate) fn take_rest(&mut self) -> Bytes {
        self.buf.split().freeze()
    }
}

/// The four digits of a packet's length.
fn digits(len: usize) -> [u8; 4] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [12, 8, 4, 0].map(|shift| DIGITS[len >> shift & 15])
}

/// Appends a packet of `parts`. They must fit into one; every caller sends lines that were bounded before.
pub(crate) fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let room = PKT_BYTES_MAX - 4;
    let len = parts.iter().map(|p| p.len()).sum::<usize>().min(room) + 4;
    out.extend(digits(len));
    let mut left = len - 4;
    for part in parts {
        let take = part.len().min(left);
        out.extend_from_slice(&part[..take]);
        left -= take;
    }
}

/// Appends a line: `text` and a newline.
pub(crate) fn put_line(out: &mut Vec<u8>, text: &str) {
    put(out, &[text.as_bytes(), b"\n"]);
}

/// Appends `0000`.
pub(crate) fn put_flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// Appends `0001`.
pub(crate) fn put_delim(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0001");
}

/// Appends `ERR text`: the peer shows the text and ends.
pub(crate) fn put_error(out: &mut Vec<u8>, text: &str) {
    put(out, &[b"ERR ", super::text::one_line(text).as_bytes()]);
}

/// How pack data and remarks share the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum SideBand {
    /// They do not: only the pack is sent, raw.
    #[default]
    None,
    /// Packets of at most 1000 bytes.
    Small,
    /// Packets of at most 65520 bytes.
    Large,
}

/// A stream within the side band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Band {
    /// The pack, or the report of a push.
    Data = 1,
    /// Lines for people.
    Remark = 2,
    /// The last line before giving up.
    Fatal = 3,
}

impl SideBand {
    /// Most payload bytes in one packet.
    pub(crate) fn room(self) -> usize {
        match self {
            Self::None => usize::MAX,
            Self::Small => BAND_1K_BYTES,
            Self::Large => BAND_64K_BYTES,
        }
    }

    /// Bytes before the payload of a packet: its length and its band.
    pub(crate) fn head_len(self) -> usize {
        if self == Self::None { 0 } else { 5 }
    }

    /// Writes the [`SideBand::head_len`] bytes before a payload of `len` bytes, at most [`SideBand::room`].
    pub(crate) fn put_head(self, band: Band, len: usize, out: &mut [u8]) {
        if let [a, b, c, d, e] = out {
            [*a, *b, *c, *d] = digits(len + 5);
            *e = band as u8;
        }
    }

    /// Appends `data` on `band`, in as many packets as it takes. Without a side band only data is sent.
    pub(crate) fn put(self, out: &mut Vec<u8>, band: Band, data: &[u8]) {
        if self == Self::None {
            if band == Band::Data {
                out.extend_from_slice(data);
            }
            return;
        }
        let packets = data.len().div_ceil(self.room());
        out.reserve(data.len() + 5 * packets);
        for piece in data.chunks(self.room()) {
            put(out, &[&[band as u8], piece]);
        }
    }

    /// The packet that keeps a waiting client from giving up: band 1, nothing in it.
    pub(crate) fn keepalive(self) -> Option<&'static [u8]> {
        (self != Self::None).then_some(b"0005\x01")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_read_strictly() {
        assert_eq!(step(b"00").ok(), Some(Step::Need(2)));
        assert_eq!(step(b"0008a").ok(), Some(Step::Need(3)));
        assert_eq!(step(b"0004").ok(), Some(Step::Got(Head::Data, 4)));
        assert_eq!(step(b"0000").ok(), Some(Step::Got(Head::Flush, 4)));
        for bad in [b"0003", b"fff1", b"ffff", b"+00a", b"00 4", b"-001", b"GET ", b"\0\0\0\0"] {
            assert!(step(bad).is_err(), "{bad:?}");
        }
        assert!(matches!(step(b"fff0"), Ok(Step::Need(65_516))));
    }

    #[test]
    fn bands_are_cut_to_size() {
        let mut out = Vec::new();
        SideBand::Large.put(&mut out, Band::Data, &vec![7; BAND_64K_BYTES + 1]);
        assert_eq!(&out[..5], b"fff0\x01");
        assert_eq!(&out[PKT_BYTES_MAX..], b"0006\x01\x07");
        let mut out = Vec::new();
        SideBand::Small.put(&mut out, Band::Remark, &[7; 996]);
        assert_eq!(&out[..5], b"03e8\x02");
        assert_eq!(&out[1000..], b"0006\x02\x07");
        let mut out = Vec::new();
        SideBand::None.put(&mut out, Band::Remark, b"unheard");
        assert!(out.is_empty());
    }

    fn packet() -> impl Strategy<Value = Packet> {
        prop_oneof![
            Just(Packet::Flush),
            Just(Packet::Delim),
            Just(Packet::ResponseEnd),
            prop::collection::vec(any::<u8>(), 0..200).prop_map(|d| Packet::Data(d.into())),
        ]
    }

    fn encode(packets: &[Packet]) -> Vec<u8> {
        let mut out = Vec::new();
        for packet in packets {
            match packet {
                Packet::Flush => put_flush(&mut out),
                Packet::Delim => put_delim(&mut out),
                Packet::ResponseEnd => out.extend_from_slice(b"0002"),
                Packet::Data(data) => put(&mut out, &[data]),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn cutting_the_wire_anywhere_changes_nothing(
            packets in prop::collection::vec(packet(), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        ) {
            let wire = encode(&packets);
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(wire.len() + 1)).collect();
            at.extend([0, wire.len()]);
            at.sort_unstable();
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for pair in at.windows(2) {
                decoder.put(&wire[pair[0]..pair[1]]);
                while let Some(packet) = decoder.next().expect("well formed") {
                    seen.push(packet);
                }
            }
            prop_assert_eq!(seen, packets);
            prop_assert!(decoder.is_spent());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            decoder.put(&bytes);
            while let Ok(Some(_)) = decoder.next() {}
        }
    }
}
