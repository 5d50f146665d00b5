//! Where fuzzers come in: everything of this crate that reads what a client sends, behind a function of bytes. Whatever
//! the bytes, none may panic, hang, or take memory that its input does not account for. Not part of the API: behind the
//! feature `fuzzing`, which `fuzz/` asks for; the tests below replay the seeds that are kept there.

use crate::http::body::inflate_all;
use crate::limits::{GZIP_FREE_BYTES, GZIP_RATIO_MAX};
use crate::ssh::{credentials, exec, first_words, handshake};
use crate::wire::Version;
use crate::wire::advertise::Offer;
use crate::wire::archive::ArchiveReader;
use crate::wire::certificate::CertificateReader;
use crate::wire::filter::FilterSpec;
use crate::wire::pktline::{Decoder, Packet};
use crate::wire::push::PushReader;
use crate::wire::upload_v0::WantReader;
use crate::wire::upload_v2::CommandReader;

/// A parser as a fuzzer sees it.
pub type Target = fn(&[u8]);

/// All of them, by name: that of the fuzz target and of the folder of its seeds.
pub const TARGETS: [(&str, Target); 12] = [
    ("archive", archive),
    ("certificate", certificate),
    ("credentials", credentials),
    ("exec", command_line),
    ("filter", filter),
    ("greeting", greeting),
    ("gzip", gzip),
    ("handshake", handshake),
    ("pktline", pktline),
    ("push", push),
    ("upload_v0", upload_v0),
    ("upload_v2", upload_v2),
];

/// Gives bytes to the target of that name.
///
/// # Panics
/// If there is none, and if it does what it must not.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    found.unwrap_or_else(|| panic!("there is no target {name}")).1(data);
}

/// The first byte chooses the hash.
fn hashed(data: &[u8]) -> (&'static str, &[u8]) {
    let (first, rest) = data.split_first().unwrap_or((&0, data));
    (if first & 1 == 0 { "sha1" } else { "sha256" }, rest)
}

/// Decodes packets from pieces of that size; true if what came was sound.
fn packets(data: &[u8], piece: usize, mut take: impl FnMut(&Packet) -> bool) -> bool {
    let mut decoder = Decoder::default();
    for piece in data.chunks(piece.max(1)) {
        decoder.put(piece);
        loop {
            match decoder.next() {
                Ok(Some(packet)) if take(&packet) => {}
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    }
    decoder.is_spent()
}

fn pktline(data: &[u8]) {
    let read = |piece: usize| {
        let mut seen = Vec::new();
        let sound = packets(data, piece, |packet| {
            seen.push(format!("{packet:?}"));
            true
        });
        (sound, seen)
    };
    let whole = read(data.len());
    assert!(whole == read(1) && whole == read(7), "packets depend on how they come");
}

fn upload_v0(data: &[u8]) {
    let (format, data) = hashed(data);
    let mut reader = WantReader::new(format);
    packets(data, data.len(), |packet| reader.take(packet).is_ok());
    let _ = (reader.is_idle(), reader.is_between_rounds());
}

fn upload_v2(data: &[u8]) {
    let (format, data) = hashed(data);
    let offer = Offer {
        filter: true,
        ref_in_want: true,
        sideband_all: true,
        object_info: true,
        bundle_uri: true,
        ..Offer::default()
    };
    let mut reader = CommandReader::new(format, offer);
    packets(data, data.len(), |packet| reader.take(packet).is_ok());
    let _ = (reader.is_idle(), reader.take_notes());
}

fn push(data: &[u8]) {
    let (format, data) = hashed(data);
    let mut reader = PushReader::new(format);
    packets(data, data.len(), |packet| match reader.take(packet) {
        Ok(push) => {
            if let Some(push) = push {
                let names = push.commands.iter().filter_map(|c| c.update.as_ref().ok());
                names.for_each(|update| assert!(!update.name.as_str().contains("..")));
                let _ = (push.has_pack(), push.has_option("wait"));
            }
            true
        }
        Err(_) => false,
    });
    let _ = (reader.is_idle(), reader.band());
}

fn certificate(data: &[u8]) {
    let mut reader = CertificateReader::default();
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        if !matches!(reader.take(line), Ok(None)) {
            return;
        }
    }
}

fn archive(data: &[u8]) {
    let mut reader = ArchiveReader::default();
    packets(data, data.len(), |packet| matches!(reader.take(packet), Ok(None)));
}

fn command_line(data: &[u8]) {
    let _ = exec::parse(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Version::read(text);
    }
}

fn greeting(data: &[u8]) {
    first_words(data);
}

fn filter(data: &[u8]) {
    if let Ok(spec) = FilterSpec::read(data) {
        assert!(spec.all().len() <= crate::limits::FILTER_PARTS_MAX);
        let _ = spec.name();
    }
}

fn gzip(data: &[u8]) {
    let made = inflate_all(data);
    assert!(made <= GZIP_FREE_BYTES + (data.len() as u64) * GZIP_RATIO_MAX, "a bomb went off");
}

#[cfg(test)]
#[path = "../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_taken_without_harm() {
        seeds::are_taken(&TARGETS);
    }
}
