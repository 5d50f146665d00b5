//! What programs say of what they are made of: Go's build information, and the list that `cargo auditable` puts into
//! them. Pure.
//!
//! Go (`debug/buildinfo`): 14 bytes of magic, the size of a pointer, flags; with the second flag set (since Go 1.18) the
//! version and the modules follow 32 bytes after the beginning, each with its length before it. Only ELF is looked at.

use std::io::{self, Read};

use aho_corasick::AhoCorasick;

use super::found::{Package, Said};
use crate::limits::{FOUND_PACKAGES_MAX, PROGRAM_BYTES_MAX, PROGRAM_LIST_BYTES_MAX};

/// Smaller programs say nothing.
pub(super) const BYTES_MIN: u64 = 1 << 10;
const ELF: &[u8] = b"\x7fELF";
const GO: &[u8] = b"\xff Go buildinf:";
/// Where the texts begin.
const GO_TEXTS: usize = 32;
/// What stands before and after the modules.
const GO_MARK: usize = 16;
/// How much is looked at at once.
const PIECE: usize = 256 << 10;

/// Reads a program. What is no ELF is not read on.
pub(super) fn read(size: u64, file: &mut impl Read) -> io::Result<Said> {
    let mut bytes = Vec::new();
    file.take(ELF.len() as u64).read_to_end(&mut bytes)?;
    if bytes != ELF {
        return Ok(Said::default());
    }
    if size > PROGRAM_BYTES_MAX {
        let go = stream(bytes, file)?;
        return Ok(Said::of(go));
    }
    // At once what it has: growing would take twice that.
    bytes.reserve_exact(usize::try_from(size).unwrap_or_default());
    file.take(size).read_to_end(&mut bytes)?;
    let mut packages = go(&bytes);
    packages.extend(cargo(&bytes));
    Ok(Said::of(packages))
}

/// Looks for Go's list in a program too large to be in memory.
fn stream(mut kept: Vec<u8>, file: &mut impl Read) -> io::Result<Vec<Package>> {
    let Ok(finder) = AhoCorasick::new([GO]) else { return Ok(Vec::new()) };
    loop {
        let read = file.take(PIECE as u64).read_to_end(&mut kept)?;
        if let Some(found) = finder.find(&kept) {
            kept.drain(..found.start());
            file.take(PROGRAM_LIST_BYTES_MAX as u64).read_to_end(&mut kept)?;
            let packages = go(&kept);
            if !packages.is_empty() {
                return Ok(packages);
            }
            kept.drain(..GO.len());
        }
        if read == 0 {
            return Ok(Vec::new());
        }
        // The magic may begin at the end of one piece.
        let from = kept.len().saturating_sub(GO.len() - 1);
        kept.drain(..from);
    }
}

/// The modules of a Go program, and the language itself.
fn go(program: &[u8]) -> Vec<Package> {
    let Ok(finder) = AhoCorasick::new([GO]) else { return Vec::new() };
    // Programs that read this have the magic as a text, too.
    finder
        .find_iter(program)
        .take(64)
        .find_map(|found| modules(&program[found.start()..]))
        .unwrap_or_default()
}

fn modules(info: &[u8]) -> Option<Vec<Package>> {
    if info.get(GO.len() + 1)? & 2 == 0 {
        return None;
    }
    let (version, rest) = text(info.get(GO_TEXTS..)?)?;
    let version = std::str::from_utf8(version).ok()?.strip_prefix("go")?;
    let (list, _) = text(rest)?;
    let mut packages: Vec<Package> =
        Package::new("golang", "stdlib", version.split(' ').next()?).into_iter().collect();
    let inner = list.get(GO_MARK..list.len().checked_sub(GO_MARK)?).unwrap_or_default();
    for line in String::from_utf8_lossy(inner).lines().take(FOUND_PACKAGES_MAX) {
        let mut fields = line.split('\t');
        let (kind, path, version) = (fields.next(), fields.next(), fields.next());
        match (kind, path) {
            // What stands in another's place.
            (Some("=>"), Some(path)) => {
                packages.pop();
                packages.extend(module(path, version));
            }
            (Some("mod" | "dep"), Some(path)) => packages.extend(module(path, version)),
            _ => {}
        }
    }
    Some(packages)
}

fn module(path: &str, version: Option<&str>) -> Option<Package> {
    let (namespace, name) = path.rsplit_once('/').unwrap_or(("", path));
    let version = version.filter(|version| *version != "(devel)").unwrap_or_default();
    Some(Package::new("golang", name, version)?.within(namespace))
}

/// A text behind its length, which is written in groups of seven bits; and what follows.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut shift) = (0_u64, 0);
    for (at, byte) in bytes.iter().enumerate().take(9) {
        length |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            let rest = &bytes[at + 1..];
            let length = usize::try_from(length).ok().filter(|length| *length <= rest.len())?;
            return Some(rest.split_at(length));
        }
    }
    None
}

/// The crates of a Rust program that says which they are.
fn cargo(program: &[u8]) -> Vec<Package> {
    #[derive(serde::Deserialize)]
    struct Crate {
        name: String,
        version: String,
        kind: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct List {
        packages: Vec<Crate>,
    }
    let Ok(text) = auditable_info::json_from_slice(program, PROGRAM_LIST_BYTES_MAX) else {
        return Vec::new();
    };
    let Ok(list) = serde_json::from_str::<List>(&text) else { return Vec::new() };
    // What was needed for building alone is not in the program.
    let within = list.packages.iter().filter(|one| one.kind.as_deref() != Some("build"));
    within.take(FOUND_PACKAGES_MAX).filter_map(|one| Package::new("cargo", &one.name, &one.version)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(list: &str, padding: usize) -> Vec<u8> {
        let mut all = ELF.to_vec();
        all.resize(padding, 0);
        all.extend_from_slice(GO);
        all.extend_from_slice(&[8, 2]);
        all.resize(padding + GO_TEXTS, 0);
        all.push(8);
        all.extend_from_slice(b"go1.24.4");
        let length = list.len() + 2 * GO_MARK;
        all.extend_from_slice(&[(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
        all.extend_from_slice(&[1; GO_MARK]);
        all.extend_from_slice(list.as_bytes());
        all.extend_from_slice(&[2; GO_MARK]);
        all.resize(all.len() + 4096, 7);
        all
    }

    const LIST: &str = "path\tex.org/app\nmod\tex.org/app\t(devel)\t\ndep\tgithub.com/a/b\tv1.2.3\th1:x=\n\
                        dep\tgithub.com/c/d\tv1.0.0\n=>\tgithub.com/e/d\tv1.0.1\th1:y=\nbuild\tCGO_ENABLED=0\n";

    fn names(packages: &[Package]) -> Vec<String> {
        let of = |p: &Package| format!("{}/{}@{}", p.namespace.as_deref().unwrap_or(""), p.name, p.version);
        packages.iter().map(of).collect()
    }

    #[test]
    fn go_programs_name_their_modules_wherever_the_list_lies() {
        let want = ["/stdlib@1.24.4", "ex.org/app@", "github.com/a/b@v1.2.3", "github.com/e/d@v1.0.1"];
        for padding in [16, 4096, PIECE - 20, PIECE - 5, PIECE + 3] {
            let program = program(LIST, padding);
            let read = read(program.len() as u64, &mut &program[..]).expect("read");
            assert_eq!(names(&read.packages), want, "{padding}");
            let large = stream(ELF.to_vec(), &mut &program[4..]).expect("read");
            assert_eq!(names(&large), want, "{padding}, as it comes");
        }
    }

    #[test]
    fn what_is_cut_or_made_up_says_nothing_and_breaks_nothing() {
        let whole = program(LIST, 64);
        for length in (0..whole.len() - 4096).step_by(7) {
            let cut = &whole[..length];
            assert!(read(length as u64, &mut &cut[..]).expect("read").packages.len() <= 4);
        }
        let mut lies = program(LIST, 64);
        lies[64 + GO_TEXTS + 9..][..4].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
        assert!(names(&go(&lies)).is_empty(), "a length past the end");
        let shell = b"#!/bin/sh\nexit 0\n".repeat(100);
        assert_eq!(read(1700, &mut &shell[..]).expect("read"), Said::default());
        assert!(text(&[0xff; 20]).is_none() && text(&[]).is_none());
    }
}
