//! What a server answers to `fetch` and `ls-refs`: bands are taken apart, bytes counted and thrown away, and where asked
//! for, the pack's checksum computed.

use std::io::{self, BufRead, BufReader, Read};
use std::time::Instant;

use sha1::{Digest, Sha1};

use crate::pkt::{self, Head};

const READ_BYTES: usize = 256 << 10;
/// Bytes of a pack's trailer (gitformat-pack): the SHA-1 of everything before it.
const TRAILER_BYTES: usize = 20;

/// A received pack.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Bytes on band 1.
    pub(crate) pack_bytes: u64,
    /// Bytes of the answer, framing and other bands included.
    pub(crate) wire_bytes: u64,
    /// When the first byte on band 1 was there.
    pub(crate) first: Option<Instant>,
    /// Objects that the pack's header announces.
    pub(crate) objects: u32,
}

/// Counts what it passes on.
struct Counted<R> {
    from: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.bytes += n as u64;
        Ok(n)
    }
}

/// Reads the answer to one `fetch` command up to its flush. With `verify` the trailer must be the pack's checksum.
pub(crate) fn fetched(from: &mut impl Read, verify: bool) -> io::Result<Received> {
    let mut from = BufReader::with_capacity(READ_BYTES, Counted { from, bytes: 0 });
    sections(&mut from)?;
    let mut pack = Pack::new(verify);
    let mut first = None;
    loop {
        match pkt::head(&mut from)? {
            None => return Err(cut()),
            Some(Head::Flush) => break,
            Some(Head::Mark | Head::Data(0)) => {}
            Some(Head::Data(n)) => {
                let mut band = [0];
                from.read_exact(&mut band)?;
                match band[0] {
                    // An empty one only keeps the connection alive.
                    1 if n > 1 => {
                        first.get_or_insert_with(Instant::now);
                        take(&mut from, n - 1, |bytes| pack.take(bytes))?;
                    }
                    1 => {}
                    2 => take(&mut from, n - 1, |_| {})?,
                    _ => {
                        let text = pkt::payload(&mut from, n - 1)?;
                        return Err(io::Error::other(format!(
                            "band 3: {}",
                            String::from_utf8_lossy(&text).trim()
                        )));
                    }
                }
            }
        }
    }
    let unread = from.buffer().len() as u64;
    pack.end()?;
    Ok(Received {
        pack_bytes: pack.bytes,
        wire_bytes: from.get_ref().bytes - unread,
        first,
        objects: pack.objects(),
    })
}

/// Skips acknowledgements and shallow information, up to `packfile`.
fn sections(from: &mut impl Read) -> io::Result<()> {
    loop {
        match pkt::head(from)? {
            None => return Err(cut()),
            Some(Head::Flush) => return Err(io::Error::other("the answer has no pack")),
            Some(Head::Mark) => {}
            Some(Head::Data(n)) => {
                let text = pkt::payload(from, n)?;
                if text == b"packfile\n" {
                    return Ok(());
                }
                if text.starts_with(b"ERR ") {
                    return Err(io::Error::other(String::from_utf8_lossy(&text).trim().to_owned()));
                }
            }
        }
    }
}

/// Passes exactly `length` bytes to `sink`, without copying them.
fn take(from: &mut impl BufRead, mut length: usize, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
    while length > 0 {
        let there = from.fill_buf()?;
        if there.is_empty() {
            return Err(cut());
        }
        let n = there.len().min(length);
        sink(&there[..n]);
        from.consume(n);
        length -= n;
    }
    Ok(())
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ends in the middle")
}

/// A pack passing by.
struct Pack {
    bytes: u64,
    head: Vec<u8>,
    check: Option<(Sha1, Vec<u8>)>,
}

impl Pack {
    fn new(verify: bool) -> Self {
        Self { bytes: 0, head: Vec::new(), check: verify.then(|| (Sha1::new(), Vec::new())) }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let missing = 12usize.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        if let Some((hash, tail)) = &mut self.check {
            tail.extend_from_slice(bytes);
            let sure = tail.len().saturating_sub(TRAILER_BYTES);
            hash.update(&tail[..sure]);
            tail.drain(..sure);
        }
    }

    fn objects(&self) -> u32 {
        self.head.get(8..12).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.head.starts_with(b"PACK") {
            return Err(io::Error::other("what came on band 1 is no pack"));
        }
        let sound = self.check.take().is_none_or(|(hash, tail)| hash.finalize().as_slice() == tail);
        if sound {
            Ok(())
        } else {
            Err(io::Error::other("the pack's trailer is not the SHA-1 of what was received"))
        }
    }
}

/// A fetch answer that holds `pack`, for [`self_check`].
fn framed(pack: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    pkt::line(&mut out, "packfile");
    out.extend_from_slice(b"0005\x01");
    for piece in pack.chunks(1000) {
        out.extend_from_slice(format!("{:04x}\u{1}", piece.len() + 5).as_bytes());
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(pkt::FLUSH);
    out
}

/// Sees to it that a verification can fail: an empty pack passes, the same with one bit flipped does not.
pub(crate) fn self_check() -> Result<(), String> {
    let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
    pack.extend_from_slice(&[7; 5000]);
    let trailer = Sha1::digest(&pack);
    pack.extend_from_slice(&trailer);
    fetched(&mut framed(&pack).as_slice(), true).map_err(|e| format!("a sound pack is refused: {e}"))?;
    for at in [8, 3000, pack.len() - 1] {
        let mut damaged = pack.clone();
        damaged[at] ^= 1;
        if fetched(&mut framed(&damaged).as_slice(), true).is_ok() {
            return Err(format!("a pack that is damaged at byte {at} passes the verification"));
        }
    }
    Ok(())
}
