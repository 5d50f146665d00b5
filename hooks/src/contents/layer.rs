//! One layer of an image, as it comes: an archive of tar, mostly packed. Blocking.
//!
//! Extensions of names are read here and not by the library, which would take one of any size into memory.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{self, Cursor, Read};
use std::time::Instant;

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use sha2::{Digest as _, Sha256};
use slipway_core::Digest;
use tar::{Archive, EntryType};

use super::found::{self, Said};
use crate::error::one_line;
use crate::limits::{
    IMAGE_ENTRIES_MAX, IMAGE_UNPACKED_BYTES_MAX, LAYER_NOTES_MAX, LAYER_PATH_BYTES_MAX, LAYER_WHITEOUTS_MAX,
    LISTED_PACKAGES_MAX,
};

/// What begins the name of a file that takes another away.
const GONE: &str = ".wh.";
/// What takes away all that lay in a folder before.
const ALL_GONE: &str = ".wh..wh..opq";

/// What may be read of one image, all its layers together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    bytes: u64,
    entries: u64,
    packages: usize,
    until: Instant,
}

impl Budget {
    pub(super) fn new(until: Instant) -> Self {
        let (bytes, entries) = (IMAGE_UNPACKED_BYTES_MAX, IMAGE_ENTRIES_MAX);
        Self { bytes, entries, packages: LISTED_PACKAGES_MAX, until }
    }
}

/// What one layer says.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// What its files say, by path.
    pub(super) said: BTreeMap<String, Said>,
    /// Paths that are gone with it, and all below them.
    pub(super) gone: Vec<String>,
    /// Folders of which nothing from before is left.
    pub(super) emptied: Vec<String>,
    /// What was not read, and why.
    pub(super) notes: Vec<String>,
    /// All its files, but for folders: hashes of their paths, in order.
    names: Vec<u64>,
    /// What is left out would be there another time.
    broken_off: bool,
}

impl Layer {
    /// A layer of which nothing is known, and why.
    pub(super) fn unread(why: &str) -> Self {
        Self { notes: vec![format!("it was not read: {why}")], broken_off: true, ..Self::default() }
    }

    /// True if it has a file of that path, or has one where that path has a folder.
    pub(super) fn covers(&self, path: &str) -> bool {
        let mut folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        self.has(path) || folders.any(|folder| self.has(folder))
    }

    /// True if all of it was read, so that it says the same another time.
    pub(super) fn is_whole(&self) -> bool {
        !self.broken_off
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let packages: usize = self.said.values().map(|said| said.packages.len()).sum();
        let texts = self.said.keys().chain(&self.gone).chain(&self.emptied).map(String::len).sum::<usize>();
        self.names.len() * 8 + packages * 200 + self.said.len() * 100 + texts + 1000
    }

    fn has(&self, path: &str) -> bool {
        self.names.binary_search(&hash(path)).is_ok()
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < LAYER_NOTES_MAX {
            self.notes.push(note);
        }
    }
}

fn hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

/// Reads a layer to its end, or to the end of what may be read. The bytes must be those of the digest.
pub(super) fn read(packed: impl Read, digest: &Digest, mut budget: Budget) -> (Layer, Budget) {
    let mut layer = Layer::default();
    let mut packed = Summed { inner: packed, sum: Sha256::new() };
    if let Err(e) = unpack(&mut packed, &mut layer, &mut budget) {
        layer.broken_off = true;
        layer.note(format!("it was not read to its end: {}", one_line(&e.to_string())));
    }
    // What the archive did not need of it counts, too.
    let rest = io::copy(&mut Until { inner: &mut packed, until: budget.until }, &mut io::sink());
    let sum = format!("sha256:{:x}", packed.sum.finalize());
    if rest.is_err() || sum != digest.as_str() {
        return (Layer::unread("the registry gave other bytes than its digest says"), budget);
    }
    layer.names.sort_unstable();
    layer.names.dedup();
    (layer, budget)
}

fn unpack(packed: &mut dyn Read, layer: &mut Layer, budget: &mut Budget) -> io::Result<()> {
    let mut head = Vec::new();
    packed.take(4).read_to_end(&mut head)?;
    let kind = head.clone();
    let whole = Cursor::new(head).chain(packed);
    match kind.as_slice() {
        [0x1f, 0x8b, ..] => walk(MultiGzDecoder::new(whole), layer, budget),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let unpacked = StreamingDecoder::new(whole).map_err(|e| io::Error::other(e.to_string()))?;
            walk(unpacked, layer, budget)
        }
        _ => walk(whole, layer, budget),
    }
}

fn walk(unpacked: impl Read, layer: &mut Layer, budget: &mut Budget) -> io::Result<()> {
    let mut left = budget.bytes;
    let done = entries(Metered { inner: unpacked, left: &mut left, until: budget.until }, layer, budget);
    budget.bytes = left;
    done
}

fn entries(unpacked: impl Read, layer: &mut Layer, budget: &mut Budget) -> io::Result<()> {
    let mut archive = Archive::new(unpacked);
    let mut named = None;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        budget.entries = budget
            .entries
            .checked_sub(1)
            .ok_or_else(|| io::Error::other(format!("the image has more than {IMAGE_ENTRIES_MAX} files")))?;
        let (kind, size) = (entry.header().entry_type(), entry.header().entry_size()?);
        match kind {
            EntryType::GNULongName => named = long_name(&mut entry)?.or(named),
            EntryType::XHeader => named = extended_name(&mut entry)?.or(named),
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            _ => {
                let raw = named.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
                let runs = entry.header().mode().unwrap_or(0) & 0o111 != 0;
                match path_of(&raw) {
                    Some(path) => {
                        file(layer, budget, (path, kind, runs && kind.is_file(), size), &mut entry)?
                    }
                    // The root itself, mostly.
                    None if kind.is_dir() => {}
                    None => layer.note("a file whose name leads out of the image was left out".to_owned()),
                }
            }
        }
    }
    Ok(())
}

/// Takes one entry.
fn file(
    layer: &mut Layer,
    budget: &mut Budget,
    (path, kind, runs, size): (String, EntryType, bool, u64),
    bytes: &mut impl Read,
) -> io::Result<()> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
    if let Some(gone) = name.strip_prefix(GONE) {
        if layer.gone.len() + layer.emptied.len() >= LAYER_WHITEOUTS_MAX {
            return Err(io::Error::other(format!("it takes more than {LAYER_WHITEOUTS_MAX} files away")));
        }
        match name {
            ALL_GONE => layer.emptied.push(folder.to_owned()),
            _ if folder.is_empty() => layer.gone.push(gone.to_owned()),
            _ => layer.gone.push(format!("{folder}/{gone}")),
        }
        return Ok(());
    }
    if kind.is_dir() {
        return Ok(());
    }
    layer.names.push(hash(&path));
    let Some(look) = found::look(&path, runs, size).filter(|_| kind.is_file()) else { return Ok(()) };
    let mut said = found::read(look, size, bytes)?;
    if let Some(why) = said.unread.take() {
        layer.note(format!("{} was not read: {why}", one_line(&path)));
    }
    if said.packages.len() > budget.packages {
        said.packages.truncate(budget.packages);
        layer.note(format!("the image has more than {LISTED_PACKAGES_MAX} packages"));
    }
    budget.packages -= said.packages.len();
    if said != Said::default() {
        layer.said.insert(path, said);
    }
    Ok(())
}

/// A path without what is not a name: no slash before it, nothing that leads up, not too long.
fn path_of(raw: &[u8]) -> Option<String> {
    if raw.len() > LAYER_PATH_BYTES_MAX {
        return None;
    }
    let text = String::from_utf8_lossy(raw);
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The name in an entry of GNU's; `None` for one that is too long: then the short one has to do.
fn long_name(entry: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut name = Vec::new();
    entry.take(LAYER_PATH_BYTES_MAX as u64 + 1).read_to_end(&mut name)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    Ok(Some(name).filter(|name| name.len() <= LAYER_PATH_BYTES_MAX))
}

/// The name in an entry of POSIX's: lines of `LENGTH path=NAME`.
fn extended_name(entry: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    entry.take(8 * LAYER_PATH_BYTES_MAX as u64).read_to_end(&mut text)?;
    let mut rest = text.as_slice();
    while let Some(space) = rest.iter().take(20).position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&rest[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let Some(length) = length.filter(|length| *length > space + 1 && *length <= rest.len()) else {
            break;
        };
        let line = &rest[space + 1..length - 1];
        if let Some(path) = line.strip_prefix(b"path=") {
            return Ok(Some(path.to_vec()));
        }
        rest = &rest[length..];
    }
    Ok(None)
}

/// Bytes whose sum is kept.
struct Summed<R> {
    inner: R,
    sum: Sha256,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.sum.update(&out[..count]);
        Ok(count)
    }
}

/// Bytes until a moment.
struct Until<R> {
    inner: R,
    until: Instant,
}

impl<R: Read> Read for Until<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.until {
            return Err(io::Error::other("it takes too long"));
        }
        self.inner.read(out)
    }
}

/// Unpacked bytes, of which there may be so many.
struct Metered<'a, R> {
    inner: R,
    left: &'a mut u64,
    until: Instant,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.until {
            return Err(io::Error::other("it takes too long"));
        }
        if *self.left == 0 {
            return Err(io::Error::other(format!(
                "the image has more than {IMAGE_UNPACKED_BYTES_MAX} bytes when it is unpacked"
            )));
        }
        let most = usize::try_from(*self.left).unwrap_or(usize::MAX).min(out.len());
        let count = self.inner.read(&mut out[..most])?;
        *self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests;
