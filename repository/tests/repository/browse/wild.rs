//! Histories with everything in them that git allows: odd names and modes, links, submodules, merges of all sorts,
//! clocks that run backwards. Made as a stream for git fast-import.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::rc::Rc;

use crate::support::Random;

type Files = BTreeMap<Vec<u8>, (u32, Rc<Vec<u8>>)>;

/// Names of files and folders: spaces, quotes, UTF-8, Latin-1, our own escape range, sorting traps ("a", "a-b", "a.c").
const NAMES: &[&[u8]] = &[
    b"a",
    b"a-b",
    b"a.c",
    b"ab",
    b"b",
    b"with space",
    "\u{e9}t\u{e9}".as_bytes(),
    b"latin\xe9",
    "\u{F7E9}".as_bytes(),
    b"quote\"d",
    b"c",
    b"d",
    b"*.txt",
    b"[x]",
    b"-dash",
];

struct Wild {
    random: Random,
    out: Vec<u8>,
    commits: Vec<Files>,
}

/// A stream of `commits` commits; branches `main` and `b0` to `b3`, some tags.
pub(crate) fn stream(seed: u64, commits: usize) -> Vec<u8> {
    let mut wild = Wild { random: Random(seed), out: Vec::new(), commits: Vec::new() };
    for n in 0..commits {
        wild.commit(n, n + 1 == commits);
    }
    wild.out
}

impl Wild {
    fn chance(&mut self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    fn commit(&mut self, n: usize, last: bool) {
        let parent = (n > 0 && !self.chance(25)).then(|| n - 1 - self.random.below(5.min(n as u64)) as usize);
        let other = parent.filter(|_| n > 2 && self.chance(4)).map(|_| self.random.below(n as u64) as usize);
        let other = other.filter(|o| Some(*o) != parent);
        let branch = if last { "main".to_owned() } else { format!("b{}", self.random.below(4)) };
        // Several commits share a second, and some clocks are wrong.
        let time = match self.random.below(12) {
            0 => 1_600_000_000 + self.random.below(1000),
            _ => 1_700_000_000 + (n as u64 / 3) * 60,
        };
        let message = format!("commit {n}\n\nbody\n");
        write!(
            self.out,
            "commit refs/heads/{branch}\nmark :{}\nauthor \u{c9} <e@x> {} -0330\ncommitter C <c@x> {time} +0100\ndata {}\n{message}",
            n + 1,
            time - 7,
            message.len()
        )
        .unwrap();
        match parent {
            Some(p) => writeln!(self.out, "from :{}", p + 1).unwrap(),
            None => writeln!(self.out, "from {}", "0".repeat(40)).unwrap(),
        }
        let old = parent.map(|p| self.commits[p].clone()).unwrap_or_default();
        let mut files = old.clone();
        if let Some(o) = other {
            writeln!(self.out, "merge :{}", o + 1).unwrap();
            let theirs = self.commits[o].clone();
            match self.random.below(3) {
                0 => files = theirs,
                1 => {
                    for (path, file) in theirs {
                        if self.chance(2) {
                            put(&mut files, path, file);
                        }
                    }
                }
                _ => {}
            }
        }
        if other.is_none() || self.chance(3) {
            for _ in 0..=self.random.below(3) {
                self.change(&mut files);
            }
        }
        self.write_changes(&old, &files);
        self.commits.push(files);
        if self.chance(8) {
            writeln!(self.out, "tag t{n}\nfrom :{}\ntagger T <t@x> 1700000000 +0000\ndata 4\ntag\n", n + 1)
                .unwrap();
        }
    }

    fn change(&mut self, files: &mut Files) {
        let some = (!files.is_empty()).then(|| {
            let at = self.random.below(files.len() as u64) as usize;
            files.iter().nth(at).map(|(p, f)| (p.clone(), f.clone())).unwrap()
        });
        match (self.random.below(10), some) {
            (0, Some((path, _))) => drop(files.remove(&path)),
            (1, Some((path, file))) => {
                files.remove(&path);
                let to = self.path();
                put(files, to, file);
            }
            (2, Some((path, (mode, content)))) if mode / 1000 == 100 => {
                files.remove(&path);
                let to = self.path();
                let edited = self.edit(&content);
                put(files, to, (mode, edited));
            }
            (3, Some((path, (mode, content)))) if mode / 1000 == 100 => {
                files.insert(path, (if mode == 100_755 { 100_644 } else { 100_755 }, content));
            }
            (4..=6, Some((path, (mode, content)))) if mode / 1000 == 100 => {
                let edited = self.edit(&content);
                files.insert(path, (mode, edited));
            }
            _ => {
                let (path, file) = (self.path(), self.file());
                put(files, path, file);
            }
        }
    }

    fn path(&mut self) -> Vec<u8> {
        let parts = 1 + self.random.below(3);
        let part = |random: &mut Random| NAMES[random.below(NAMES.len() as u64) as usize];
        (0..parts).map(|_| part(&mut self.random)).collect::<Vec<_>>().join(&b'/')
    }

    fn file(&mut self) -> (u32, Rc<Vec<u8>>) {
        match self.random.below(12) {
            0 => (120_000, Rc::new(format!("b/{}", self.random.below(5)).into_bytes())),
            1 => (160_000, Rc::new(format!("{:040x}", 1 + self.random.below(9)).into_bytes())),
            2 => (100_644, Rc::new(Vec::new())),
            3 => {
                let mut bytes: Vec<u8> = (0..200).map(|_| self.random.below(256) as u8).collect();
                bytes[9] = 0;
                (100_644, Rc::new(bytes))
            }
            kind => {
                let ending = if kind == 4 { "\r\n" } else { "\n" };
                let mut text = String::new();
                for _ in 0..self.random.below(40) {
                    text += &format!("line {}{ending}", self.random.below(30));
                }
                if kind == 5 {
                    text += "the last line has no end";
                }
                let mode = if kind == 6 { 100_755 } else { 100_644 };
                (mode, Rc::new(text.into_bytes()))
            }
        }
    }

    fn edit(&mut self, content: &[u8]) -> Rc<Vec<u8>> {
        let mut lines: Vec<Vec<u8>> = content.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
        for _ in 0..=self.random.below(4) {
            let at = self.random.below(lines.len() as u64 + 1) as usize;
            match self.random.below(3) {
                0 if at < lines.len() => drop(lines.remove(at)),
                _ => lines.insert(at, format!("new {}\n", self.random.below(1000)).into_bytes()),
            }
        }
        Rc::new(lines.concat())
    }

    fn write_changes(&mut self, old: &Files, new: &Files) {
        for path in old.keys().filter(|path| !new.contains_key(*path)) {
            writeln!(self.out, "D {}", quoted(path)).unwrap();
        }
        for (path, (mode, content)) in new.iter().filter(|(path, file)| old.get(*path) != Some(file)) {
            if *mode == 160_000 {
                let id = std::str::from_utf8(content).unwrap();
                writeln!(self.out, "M 160000 {id} {}", quoted(path)).unwrap();
            } else {
                writeln!(self.out, "M {mode:06} inline {}\ndata {}", quoted(path), content.len()).unwrap();
                self.out.extend_from_slice(content);
                self.out.push(b'\n');
            }
        }
    }
}

/// Puts a file where it can stand: what is above or below its path goes.
fn put(files: &mut Files, path: Vec<u8>, file: (u32, Rc<Vec<u8>>)) {
    let below = |a: &[u8], b: &[u8]| b.starts_with(a) && b.get(a.len()) == Some(&b'/');
    files.retain(|other, _| !below(other, &path) && !below(&path, other));
    files.insert(path, file);
}

fn quoted(path: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in path {
        text += &format!("\\{byte:03o}");
    }
    text + "\""
}
