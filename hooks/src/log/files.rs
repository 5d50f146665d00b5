//! Files that are kept of a build's test, in `N.files` beside its log: each under a number, so that no name of a container's
//! is one on this disk, and `index.json`, written last, which says what they are called.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use slipway_core::kept::{KeptFile, KeptFiles, TestReport};
use slipway_core::limits::Limits;
use slipway_core::spec::KeptPath;
use slipway_core::{BuildNumber, RepoId};

use super::mask::Masker;
use super::{BuildLogs, ignore_missing, read_at};
use crate::junit;
use crate::limits::{KEPT_ENTRIES_MAX, KEPT_INDEX_BYTES_MAX, KEPT_PATH_BYTES_MAX};

const INDEX: &str = "index.json";

/// How much of a test is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    files: usize,
    each: u64,
    all: u64,
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        Self {
            files: limits.artifacts_per_build_max,
            each: limits.artifact_size_max,
            all: limits.artifacts_size_max,
        }
    }
}

/// Writes what is kept of one test.
pub(crate) struct Keeper {
    folder: PathBuf,
    reports: Vec<KeptPath>,
    artifacts: Vec<KeptPath>,
    masker: Arc<Masker>,
    bounds: Bounds,
    kept: KeptFiles,
    bytes: u64,
    /// What was left out, and what could not be read.
    notes: Vec<String>,
}

impl Keeper {
    /// Begins anew: what an earlier try has kept goes.
    pub(crate) fn begin(
        folder: PathBuf,
        reports: Vec<KeptPath>,
        artifacts: Vec<KeptPath>,
        masker: Arc<Masker>,
        bounds: Bounds,
    ) -> io::Result<Self> {
        ignore_missing(fs::remove_dir_all(&folder))?;
        fs::create_dir_all(&folder)?;
        let (kept, notes) = (KeptFiles::default(), Vec::new());
        Ok(Self { folder, reports, artifacts, masker, bounds, kept, bytes: 0, notes })
    }

    /// Takes what the patterns name of a tar whose names begin in the folder `above`. Only regular files: a link leads nowhere
    /// here, and what it led to there has a name of its own.
    pub(crate) fn take(&mut self, above: &str, tar: impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(tar);
        for (count, entry) in archive.entries()?.enumerate() {
            let mut entry = entry?;
            if count >= KEPT_ENTRIES_MAX {
                self.notes.push(format!(
                    "more than {KEPT_ENTRIES_MAX} files lie in {above}; the rest is not looked at"
                ));
                break;
            }
            let Some(path) = clean(above, &entry.path()?).filter(|_| entry.header().entry_type().is_file())
            else {
                continue;
            };
            let named = |patterns: &[KeptPath]| patterns.iter().any(|pattern| pattern.matches(&path));
            let is_report = named(&self.reports);
            if (is_report || named(&self.artifacts)) && self.kept.files.iter().all(|f| f.path != path[1..]) {
                let size = entry.size();
                self.keep(&path, is_report, size, &mut entry)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, path: &str, is_report: bool, size: u64, content: &mut impl Read) -> io::Result<()> {
        let Bounds { files, each, all } = self.bounds;
        if self.kept.files.len() >= files || size > each || self.bytes.saturating_add(size) > all {
            self.notes
                .push(format!("{path} ({size} bytes) is more than may be kept (docs/limits.md, artifacts)"));
            return Ok(());
        }
        let mut bytes = Vec::new();
        content.take(each).read_to_end(&mut bytes)?;
        let bytes = self.masker.mask(&bytes);
        if is_report {
            let report = self.kept.report.get_or_insert_default();
            if let Err(why) = junit::read(&bytes, report) {
                self.notes.push(format!("{path} {why}"));
            }
        }
        fs::write(self.folder.join(self.kept.files.len().to_string()), &bytes)?;
        self.bytes += bytes.len() as u64;
        self.kept.files.push(KeptFile { path: path[1..].to_owned(), bytes: bytes.len() as u64 });
        Ok(())
    }

    /// Something that is not kept, in words.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Writes what is there, and tells it in lines.
    pub(crate) fn finish(mut self) -> io::Result<Vec<String>> {
        if let Some(report) = &mut self.kept.report {
            mask(report, &self.masker);
        }
        let index = serde_json::to_vec(&self.kept).map_err(io::Error::other)?;
        let fresh = self.folder.join("index.new");
        fs::write(&fresh, index)?;
        fs::rename(&fresh, self.folder.join(INDEX))?;
        let mut lines: Vec<String> =
            self.notes.iter().take(20).map(|note| format!("note: not kept: {note}")).collect();
        lines.push(format!("kept {} files of the test, {} bytes", self.kept.files.len(), self.bytes));
        if let Some(report) = &self.kept.report {
            let TestReport { tests, failures, errors, skipped, .. } = report;
            lines.push(format!(
                "reports: {tests} tests, {failures} failures, {errors} errors, {skipped} skipped"
            ));
        }
        Ok(lines)
    }
}

/// Escapes can hide a secret from the mask until they are read.
fn mask(report: &mut TestReport, masker: &Masker) {
    let masked = |text: &str| String::from_utf8_lossy(&masker.mask(text.as_bytes())).into_owned();
    for test in &mut report.failed {
        (test.name, test.message) = (masked(&test.name), masked(&test.message));
    }
}

/// The absolute path of an entry below `above`; `None` for one that cannot be told plainly.
fn clean(above: &str, entry: &Path) -> Option<String> {
    let mut path = above.trim_end_matches('/').to_owned();
    for part in entry.components() {
        match part {
            Component::Normal(name) => {
                path.push('/');
                path.push_str(name.to_str()?);
            }
            Component::CurDir => {}
            _ => return None,
        }
    }
    (path.len() <= KEPT_PATH_BYTES_MAX && path.len() > 1 && !path.chars().any(char::is_control))
        .then_some(path)
}

impl BuildLogs {
    /// What was kept of a build's test (blocking: file system). Nothing where nothing was, or not all of it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn kept(&self, repo: RepoId, number: BuildNumber) -> io::Result<KeptFiles> {
        let file = match fs::File::open(self.files_folder(repo, number).join(INDEX)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(KeptFiles::default()),
            file => file?,
        };
        serde_json::from_reader(io::BufReader::new(file.take(KEPT_INDEX_BYTES_MAX))).map_err(io::Error::other)
    }

    /// Up to `max` bytes of the file at that place of [`BuildLogs::kept`], from `offset` (blocking: file system).
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read_kept(
        &self,
        repo: RepoId,
        number: BuildNumber,
        at: usize,
        offset: u64,
        max: usize,
    ) -> io::Result<Vec<u8>> {
        read_at(&self.files_folder(repo, number).join(at.to_string()), offset, max)
    }

    /// The files in which it lies, by their names on disk, the index last (blocking: file system).
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn kept_parts(&self, repo: RepoId, number: BuildNumber) -> io::Result<Vec<(String, PathBuf)>> {
        let (kept, folder) = (self.kept(repo, number)?, self.files_folder(repo, number));
        if kept.files.is_empty() {
            return Ok(Vec::new());
        }
        let names = (0..kept.files.len()).map(|at| at.to_string()).chain([INDEX.to_owned()]);
        Ok(names.map(|name| (name.clone(), folder.join(name))).collect())
    }

    pub(super) fn files_folder(&self, repo: RepoId, number: BuildNumber) -> PathBuf {
        self.path(repo, number).with_extension("files")
    }

    /// Where a build's files lie whose log lies there.
    pub(crate) fn files_beside(folder: &Path, number: BuildNumber) -> PathBuf {
        folder.join(format!("{number}.files"))
    }
}

#[cfg(test)]
mod tests {
    use slipway_core::Secret;

    use super::*;

    const BOUNDS: Bounds = Bounds { files: 3, each: 100, all: 150 };

    fn paths(all: &[&str]) -> Vec<KeptPath> {
        all.iter().map(|text| KeptPath::parse(text).expect("a path")).collect()
    }

    fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            let raw = &mut header.as_gnu_mut().expect("gnu").name;
            raw[..path.len()].copy_from_slice(path.as_bytes());
            match content.strip_prefix("-> ") {
                Some(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_link_name(target).expect("a target");
                    header.set_size(0);
                }
                None => header.set_size(content.len() as u64),
            }
            header.set_mode(0o644);
            header.set_cksum();
            let content = if content.starts_with("-> ") { "" } else { content };
            tar.append(&header, content.as_bytes()).expect("packed");
        }
        tar.into_inner().expect("a tar")
    }

    fn kept(folder: &Path, files: &[(&str, &str)]) -> (KeptFiles, Vec<String>) {
        let secret = Secret::new("hunter22-secret");
        let masker = Arc::new(Masker::new([&secret]));
        let (reports, artifacts) = (paths(&["/app/out/*.xml"]), paths(&["/app/out/**"]));
        let place = folder.join("1/7.files");
        let mut keeper = Keeper::begin(place, reports, artifacts, masker, BOUNDS).expect("begun");
        keeper.take("/app", tar_of(files).as_slice()).expect("taken");
        let told = keeper.finish().expect("written");
        (BuildLogs::new(folder).kept(RepoId(1), BuildNumber(7)).expect("read"), told)
    }

    #[test]
    fn what_patterns_name_is_kept_masked_and_nothing_leads_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let (all, told) = kept(
            folder.path(),
            &[
                ("out/r.xml", "<t><testcase name='hunter22-secret'><failure/></testcase></t>"),
                ("out/../../../etc/evil", "evil"),
                ("/out/abs", "evil"),
                ("out/link", "-> /etc/passwd"),
                ("out/a/b", "a hunter22-secret b"),
                ("other", "no"),
                ("out/large", &"x".repeat(101)),
            ],
        );
        let paths: Vec<_> = all.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["app/out/r.xml", "app/out/a/b"]);
        assert_eq!(
            all.report.as_ref().map(|r| (r.failures, r.failed[0].name.clone())),
            Some((1, "***".into()))
        );
        let logs = BuildLogs::new(folder.path());
        let text = logs.read_kept(RepoId(1), BuildNumber(7), 1, 0, 100).expect("read");
        assert_eq!(String::from_utf8_lossy(&text), "a *** b");
        assert!(told.iter().any(|line| line.contains("/app/out/large (101 bytes)")), "{told:?}");
        assert_eq!(logs.kept_parts(RepoId(1), BuildNumber(7)).expect("read").len(), 3);
        assert!(!folder.path().join("etc").exists());
    }

    #[test]
    fn files_are_bounded_by_number_and_size_and_a_new_try_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let many: Vec<(String, &str)> = (0..9).map(|n| (format!("out/{n}"), "x")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!(kept(folder.path(), &many).0.files.len(), 3);
        let large = "y".repeat(90);
        assert_eq!(kept(folder.path(), &[("out/a", &large), ("out/b", &large)]).0.files.len(), 1);
        assert_eq!(kept(folder.path(), &[]).0, KeptFiles::default());
    }
}
