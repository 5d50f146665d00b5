//! A small data folder, and what the tests do with it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use slipway_backup::{
    End, Folder, Head, Known, Meta, Name, Received, Sink, Source, Stamp, Target, Writer, read,
};
use slipway_core::Problem;

pub(crate) const HOUR: u64 = 3_600_000;

pub(crate) type Files = Vec<(String, Vec<u8>)>;

pub(crate) fn hash(n: u8) -> String {
    format!("{n:02x}").repeat(20)
}

/// What git's files end with.
pub(crate) fn sealed(body: &[u8]) -> Vec<u8> {
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, body);
    [body, sum.as_ref()].concat()
}

pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state as u8
    };
    (0..length).map(|_| step(&mut state)).collect()
}

/// A small data folder.
pub(crate) fn data() -> Files {
    let pack = format!("repos/1.git/objects/pack/pack-{}", hash(7));
    vec![
        ("records".into(), b"all records\n".to_vec()),
        ("config.toml".into(), b"builds_max = 2\n".to_vec()),
        ("keys/master.key".into(), b"key\n".to_vec()),
        ("repos/1.git/HEAD".into(), b"ref: refs/heads/main\n".to_vec()),
        ("repos/1.git/packed-refs".into(), b"# pack-refs with: sorted \n".to_vec()),
        ("repos/1.git/config".into(), b"[core]\n\tbare = true\n".to_vec()),
        (format!("{pack}.pack"), sealed(&noise(1, 300_000))),
        (format!("{pack}.idx"), sealed(&noise(2, 5_000))),
        ("repos/2.git/HEAD".into(), b"ref: refs/heads/main\n".to_vec()),
        ("builds/1/1.log".into(), b"== test\nok\n".to_vec()),
        ("builds/1/2.log".into(), Vec::new()),
    ]
}

/// Writes them as a server does that knows what the reader has.
pub(crate) fn stream_at(files: &Files, known: &Known, at: u64, keys: bool) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("temp");
    let mut out = Vec::new();
    let mut writer = Writer::begin(&mut out, &Head::new("0.1.0", at, keys), folder.path()).expect("begun");
    for (name, content) in files {
        let meta =
            Meta { name: Name::parse(name).expect("valid"), size: content.len() as u64, modified_s: 7 };
        let path = folder.path().join("file");
        fs::write(&path, content).expect("written");
        let mut file = fs::File::open(&path).expect("open");
        match Stamp::of(&meta.name, meta.size, meta.modified_s, &file).expect("read") {
            Some(stamp) if known.has(&stamp) => writer.keep(&meta, stamp).expect("kept"),
            _ => writer.file(&meta, &mut file).expect("written"),
        }
    }
    writer.finish().expect("ended");
    out
}

pub(crate) fn stream(files: &Files) -> Vec<u8> {
    stream_at(files, &Known::default(), HOUR, true)
}

#[derive(Default)]
pub(crate) struct Taken(pub(crate) Files);

impl Sink for Taken {
    fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> Result<(), Problem> {
        let mut all = Vec::new();
        content.read_to_end(&mut all).expect("read");
        self.0.push((meta.name.to_string(), all));
        Ok(())
    }
}

pub(crate) fn taken(bytes: &[u8]) -> Result<(Files, End), Problem> {
    let mut taken = Taken::default();
    let (_, end) = read(&mut &*bytes, &mut taken)?;
    Ok((taken.0, end))
}

pub(crate) fn receive(folder: &Folder, files: &Files, at: u64) -> (Received, usize) {
    let known = folder.known().expect("known");
    let bytes = stream_at(files, &known, at, true);
    (folder.receive(&mut bytes.as_slice(), false).expect("received"), bytes.len())
}

/// A database of the records: a folder with a copy of them.
pub(crate) fn database(records: &Path, db: &Path, keys: &Path) -> Result<(), Problem> {
    assert!(keys.join("master.key").exists(), "the records can be read");
    fs::create_dir(db).expect("folder");
    fs::copy(records, db.join("db")).expect("copied");
    Ok(())
}

pub(crate) fn restore(source: &mut Source, data: &Path) -> Result<slipway_backup::Restored, Problem> {
    Target::take(data)?.restore(source, None, database)
}

pub(crate) fn back(data: &Path, files: &Files) {
    for (name, content) in files {
        let path = if name == "records" { data.join("db/db") } else { data.join(name) };
        assert_eq!(&fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}")), content, "{name}");
    }
    for name in ["repos/2.git/objects/pack", "repos/2.git/refs/heads", "builds"] {
        assert!(data.join(name).is_dir(), "{name}");
    }
    assert!(!data.join("restoring").exists());
    let mode = |name: &str| fs::metadata(data.join(name)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("keys/master.key"), mode("repos"), mode("config.toml")), (0o600, 0o700, 0o600));
}

pub(crate) fn empty(folder: &Path) -> bool {
    fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}
