//! The names that files of a data folder have. What a backup says beyond them is refused: a name of these leads nowhere else.

use std::fmt;

use slipway_core::RefName;

use crate::limits::NAME_BYTES_MAX;

/// The name of a file in a data folder, with `/` between folders: relative, and without anything that leads out of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// Files of a repository beside objects and refs.
const SMALL: [&str; 8] = [
    "HEAD",
    "config",
    "description",
    "packed-refs",
    "shallow",
    "info/attributes",
    "info/exclude",
    "slipway/id",
];
/// What goes with a pack.
const OF_PACKS: [&str; 6] = ["pack", "idx", "rev", "mtimes", "keep", "promisor"];

impl Name {
    /// All records.
    pub const RECORDS: &str = "records";
    /// The server's settings.
    pub const CONFIG: &str = "config.toml";

    /// Takes a name that a data folder can have; `None` for every other.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() <= NAME_BYTES_MAX
            && fits_a_tar(text)
            && match text.split_once('/') {
                None => text == Self::RECORDS || text == Self::CONFIG,
                Some(("keys", name)) => is_plain(name),
                Some(("builds", rest)) => {
                    rest.split_once('/').is_some_and(|(repo, log)| is_number(repo) && is_of_build(log))
                }
                Some(("repos", rest)) => rest.split_once('/').is_some_and(|(folder, file)| {
                    folder.strip_suffix(".git").is_some_and(is_number) && is_of_repository(file)
                }),
                Some(_) => false,
            };
        fits.then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for a file that is the same for ever under its name: a part of a pack, a loose object.
    pub fn is_object(&self) -> bool {
        self.of_repository().is_some_and(|file| file.starts_with("objects/"))
    }

    /// True for the log of a build: it only ever grows.
    pub fn is_log(&self) -> bool {
        self.0.starts_with("builds/")
    }

    /// True for a key of the server.
    pub fn is_key(&self) -> bool {
        self.0.starts_with("keys/")
    }

    /// How many bytes of checksum of all that is before them the file ends with, as git's packs and their indexes do.
    pub(crate) fn own_checksum(&self) -> Option<usize> {
        let name = self.of_repository()?.strip_prefix("objects/pack/pack-")?;
        let (hash, extension) = name.split_once('.')?;
        ["pack", "idx", "rev", "mtimes"].contains(&extension).then_some(hash.len() / 2)
    }

    fn of_repository(&self) -> Option<&str> {
        self.0.strip_prefix("repos/")?.split_once('/').map(|(_, file)| file)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_of_repository(file: &str) -> bool {
    if let Some(object) = file.strip_prefix("objects/") {
        return match object.split_once('/') {
            Some(("pack", name)) => name
                .strip_prefix("pack-")
                .and_then(|rest| rest.split_once('.'))
                .is_some_and(|(hash, extension)| is_hash(hash) && OF_PACKS.contains(&extension)),
            Some((two, rest)) => two.len() == 2 && is_hash(&format!("{two}{rest}")),
            None => false,
        };
    }
    if file.starts_with("refs/") {
        // A ref's name leads nowhere out of refs/ (git-check-ref-format(1)); locks are nobody's.
        return RefName::parse(file).is_ok_and(|name| name.as_str() == file) && !file.ends_with(".lock");
    }
    SMALL.contains(&file)
}

/// An entry of a tar has 100 bytes for a name, and 155 for folders before it.
fn fits_a_tar(text: &str) -> bool {
    let parts = |at: usize| at <= 155 && text.len() - at - 1 <= 100;
    text.len() <= 100 || text.match_indices('/').any(|(at, _)| parts(at))
}

/// A build's log, or one of the files that were kept beside it.
fn is_of_build(name: &str) -> bool {
    match name.split_once('/') {
        None => name.strip_suffix(".log").is_some_and(is_number),
        Some((folder, file)) => {
            folder.strip_suffix(".files").is_some_and(is_number) && (is_number(file) || file == "index.json")
        }
    }
}

/// An id as we write it.
fn is_number(text: &str) -> bool {
    text.parse::<u64>().is_ok_and(|number| number.to_string() == text)
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A file's name without folders and without a leading dot.
fn is_plain(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_a_data_folder_are_taken() {
        let hash = "a".repeat(40);
        for name in [
            "records".to_owned(),
            "config.toml".into(),
            "keys/master.key".into(),
            "builds/3/17.log".into(),
            "builds/3/17.files/0".into(),
            "builds/3/17.files/index.json".into(),
            "repos/3.git/HEAD".into(),
            "repos/3.git/packed-refs".into(),
            "repos/3.git/refs/remotes/origin/HEAD".into(),
            format!("repos/18446744073709551615.git/objects/pack/pack-{}.mtimes", "b".repeat(64)),
            format!("repos/3.git/objects/{}/{}", &hash[..2], &hash[2..]),
        ] {
            assert!(Name::parse(&name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_other_name_is_refused() {
        let hash = "a".repeat(40);
        for name in [
            "",
            "/",
            ".",
            "..",
            "/etc/passwd",
            "../x",
            "records/",
            "records\0",
            "keys/",
            "keys/../x",
            "keys/.ssh",
            "keys/a/b",
            "db/db",
            "run/admin.sock",
            "config.toml/x",
            "builds/3/x.log",
            "builds/3/17.files",
            "builds/3/17.files/x",
            "builds/3/17.files/../4.log",
            "builds/3/17.files/0/0",
            "builds/3/x.files/0",
            "builds/03/1.log",
            "builds/3/../4.log",
            "builds/-1/1.log",
            "repos/app.git/HEAD",
            "repos/3/HEAD",
            "repos/+3.git/HEAD",
            "repos/3.git/../4.git/HEAD",
            "repos/3.git/hooks/post-receive",
            "repos/3.git/objects/info/alternates",
            "repos/3.git/objects/pack/../../HEAD",
            "repos/3.git/objects/pack/pack-x.pack",
            "repos/3.git/refs/../config",
            "repos/3.git/refs/heads/a.lock",
            "repos/3.git/refs/heads//a",
            "repos/3.git/refs",
            "repos/3.git/slipway/held/x",
            "repos/3.git//HEAD",
            "repos//HEAD",
            "SHA256SUMS",
            "./records",
            "repos/3.git/commondir",
        ] {
            assert!(Name::parse(name).is_none(), "{name}");
        }
        assert!(Name::parse(&format!("repos/3.git/objects/pack/pack-{hash}.sh")).is_none());
        assert!(
            Name::parse(&format!("repos/3.git/objects/pack/pack-{}.pack", hash.to_uppercase())).is_none()
        );
        assert!(Name::parse(&format!("repos/3.git/refs/heads/{}", "a/".repeat(200))).is_none());
        assert!(
            Name::parse(&format!("repos/3.git/refs/heads/{}", "a".repeat(101))).is_none(),
            "no tar has it"
        );
        let long = format!("repos/3.git/refs/heads/{}", "a".repeat(100));
        assert!(Name::parse(&long).is_some() && tar::Header::new_ustar().set_path(&long).is_ok());
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_its_folder(text in "(records|keys|repos|builds|\\.\\.|/|[a-z0-9.]{1,4}|3\\.git|refs/heads|objects/pack){1,8}") {
            if let Some(name) = Name::parse(&text) {
                prop_assert!(!name.as_str().starts_with('/'));
                prop_assert!(name.as_str().split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            }
        }
    }
}
