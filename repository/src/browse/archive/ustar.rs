//! The tar format (POSIX ustar with pax headers, pax(1)), written in the manner of `git archive`. Knows bytes only.

use std::io::{self, Write};

use slipway_core::Oid;

const RECORD: usize = 512;
const BLOCK: u64 = 20 * RECORD as u64;
/// Largest number that eleven octal digits hold.
const OCTAL_MAX: u64 = 0o77_777_777_777;
const NAME: std::ops::Range<usize> = 0..100;
const LINK_NAME: std::ops::Range<usize> = 157..257;
const PREFIX: std::ops::Range<usize> = 345..500;

/// A file, folder or link of the archive.
pub(crate) struct Member<'a> {
    path: &'a [u8],
    id: &'a Oid,
    kind: u8,
    mode: u32,
    size: u64,
    link: &'a [u8],
}

impl<'a> Member<'a> {
    pub(crate) fn folder(path: &'a [u8], id: &'a Oid) -> Self {
        Self { path, id, kind: b'5', mode: 0o775, size: 0, link: b"" }
    }
    pub(crate) fn file(path: &'a [u8], id: &'a Oid, executable: bool, size: u64) -> Self {
        Self { path, id, kind: b'0', mode: if executable { 0o775 } else { 0o664 }, size, link: b"" }
    }
    pub(crate) fn link(path: &'a [u8], id: &'a Oid, target: &'a [u8]) -> Self {
        Self { path, id, kind: b'2', mode: 0o777, size: 0, link: target }
    }
}

/// A tar archive being written.
pub(crate) struct Ustar<W> {
    out: W,
    time: u64,
    written: u64,
}

impl<W: Write> Ustar<W> {
    /// Every member gets the time `time`, in seconds since 1970.
    pub(crate) fn new(out: W, time: u64) -> Self {
        Self { out, time, written: 0 }
    }

    /// The global header that carries the commit's id.
    pub(crate) fn comment(&mut self, text: &str) -> io::Result<()> {
        let mut records = Vec::new();
        record(&mut records, "comment", text.as_bytes());
        if self.time > OCTAL_MAX {
            record(&mut records, "mtime", self.time.to_string().as_bytes());
        }
        self.extended(b'g', b"pax_global_header", &records)
    }

    /// A member's header. A file's content follows through [`Ustar::content`] and [`Ustar::pad`].
    pub(crate) fn member(&mut self, member: &Member<'_>) -> io::Result<()> {
        let mut header = [0; RECORD];
        let mut records = Vec::new();
        if member.path.len() <= NAME.len() {
            put(&mut header, NAME, member.path);
        } else {
            let split = split(member.path);
            let (prefix, name) = (member.path.get(..split), member.path.get(split + 1..));
            match (prefix, name) {
                (Some(prefix), Some(name)) if split > 0 && name.len() <= NAME.len() => {
                    put(&mut header, PREFIX, prefix);
                    put(&mut header, NAME, name);
                }
                _ => {
                    put(&mut header, NAME, format!("{}.data", member.id).as_bytes());
                    record(&mut records, "path", member.path);
                }
            }
        }
        if member.link.len() <= LINK_NAME.len() {
            put(&mut header, LINK_NAME, member.link);
        } else {
            put(&mut header, LINK_NAME, format!("see {}.paxheader", member.id).as_bytes());
            record(&mut records, "linkpath", member.link);
        }
        if member.size > OCTAL_MAX {
            record(&mut records, "size", member.size.to_string().as_bytes());
        }
        if !records.is_empty() {
            self.extended(b'x', format!("{}.paxheader", member.id).as_bytes(), &records)?;
        }
        let size = if member.size > OCTAL_MAX { 0 } else { member.size };
        self.header(&mut header, member.kind, member.mode, size)
    }

    /// A piece of the content of the file whose header was written last.
    pub(crate) fn content(&mut self, piece: &[u8]) -> io::Result<()> {
        self.written += piece.len() as u64;
        self.out.write_all(piece)
    }

    /// Ends a content.
    pub(crate) fn pad(&mut self) -> io::Result<()> {
        let over = (self.written % RECORD as u64) as usize;
        if over > 0 { self.content(&[0; RECORD][over..]) } else { Ok(()) }
    }

    /// Where it is written to.
    pub(crate) fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Two or more empty records, up to a whole block. Nothing follows.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let mut tail = BLOCK - self.written % BLOCK;
        if tail < 2 * RECORD as u64 {
            tail += BLOCK;
        }
        while tail > 0 {
            self.content(&[0; RECORD])?;
            tail -= RECORD as u64;
        }
        Ok(())
    }

    fn extended(&mut self, kind: u8, name: &[u8], records: &[u8]) -> io::Result<()> {
        let mut header = [0; RECORD];
        put(&mut header, NAME, name);
        self.header(&mut header, kind, 0o666, records.len() as u64)?;
        self.content(records)?;
        self.pad()
    }

    fn header(&mut self, header: &mut [u8; RECORD], kind: u8, mode: u32, size: u64) -> io::Result<()> {
        let octal = |n: u64, digits: usize| format!("{n:0digits$o}").into_bytes();
        put(header, 100..108, &octal(u64::from(mode), 7));
        put(header, 108..116, &octal(0, 7));
        put(header, 116..124, &octal(0, 7));
        put(header, 124..136, &octal(size, 11));
        put(header, 136..148, &octal(self.time.min(OCTAL_MAX), 11));
        put(header, 148..156, b"        ");
        put(header, 156..157, &[kind]);
        put(header, 257..265, b"ustar\x0000");
        put(header, 265..297, b"root");
        put(header, 297..329, b"root");
        put(header, 329..337, &octal(0, 7));
        put(header, 337..345, &octal(0, 7));
        let sum: u64 = header.iter().map(|&b| u64::from(b)).sum();
        put(header, 148..156, &[octal(sum, 7), vec![0]].concat());
        self.content(header)
    }
}

fn put(header: &mut [u8; RECORD], field: std::ops::Range<usize>, value: &[u8]) {
    let place = header.get_mut(field).unwrap_or_default();
    for (to, from) in place.iter_mut().zip(value) {
        *to = *from;
    }
}

/// Where a long path is cut into prefix and name: at the last slash that leaves the prefix short enough.
fn split(path: &[u8]) -> usize {
    let inner = path.strip_suffix(b"/").unwrap_or(path);
    let head = inner.get(..PREFIX.len()).unwrap_or(inner);
    head.iter().rposition(|&b| b == b'/').unwrap_or(0)
}

/// A pax record: its own length, keyword, value.
fn record(records: &mut Vec<u8>, keyword: &str, value: &[u8]) {
    let rest = keyword.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(format!("{len} {keyword}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}
