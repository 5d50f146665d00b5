//! pkt-lines (gitprotocol-common) as a client writes and reads them.

use std::io::{self, Read};

/// `0000`.
pub(crate) const FLUSH: &[u8] = b"0000";
/// `0001`.
pub(crate) const DELIM: &[u8] = b"0001";

/// Appends a text line with its newline.
pub(crate) fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(format!("{:04x}{text}\n", text.len() + 5).as_bytes());
}

/// What stands at the beginning of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// `0000`.
    Flush,
    /// `0001` or `0002`.
    Mark,
    /// That many bytes follow.
    Data(usize),
}

/// Reads the four digits; `None` at the end of input.
pub(crate) fn head(from: &mut impl Read) -> io::Result<Option<Head>> {
    let mut digits = [0; 4];
    let mut filled = 0;
    while filled < 4 {
        match from.read(&mut digits[filled..])? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
    }
    let length = std::str::from_utf8(&digits).ok().and_then(|d| usize::from_str_radix(d, 16).ok());
    match length {
        Some(0) => Ok(Some(Head::Flush)),
        Some(1 | 2) => Ok(Some(Head::Mark)),
        Some(n) if n >= 4 => Ok(Some(Head::Data(n - 4))),
        _ => Err(io::Error::other(format!("not a pkt-line: {:?}", String::from_utf8_lossy(&digits)))),
    }
}

/// Reads a whole packet's payload.
pub(crate) fn payload(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The lines up to the next flush, newlines removed.
pub(crate) fn lines(from: &mut impl Read) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    loop {
        match head(from)? {
            None => return Err(io::Error::other(format!("the answer ends without a flush: {all:?}"))),
            Some(Head::Flush) => return Ok(all),
            Some(Head::Mark) => {}
            Some(Head::Data(n)) => {
                let text = String::from_utf8_lossy(&payload(from, n)?).trim_end_matches('\n').to_owned();
                if let Some(error) = text.strip_prefix("ERR ") {
                    return Err(io::Error::other(format!("the server refuses: {error}")));
                }
                all.push(text);
            }
        }
    }
}
