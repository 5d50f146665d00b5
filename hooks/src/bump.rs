//! The manifest bump: a pushed digest written into the manifests that use the image. Pure text edits, and their plan.
//!
//! Line-level and minimal: no YAML is parsed and written back, so comments, order, quotes and line ends stay. What is
//! looked for is an *image reference*: the value of an `image` key, or the parts of an entry of kustomize's `images`.

use std::sync::Arc;

use slipway_core::{BuildNumber, Digest, Oid, RepoName};
use slipway_repository::{Edit, Mode, Snapshot};

use crate::context::{CommitFiles, Files, clean};
use crate::error::HookError;
use crate::limits::{BUMP_BYTES_MAX, BUMP_FILE_BYTES_MAX, BUMP_FILES_MAX};

mod text;
pub use self::text::pin;

/// The author and committer of bumps.
pub const AUTHOR: &str = "Slipway";

/// Where a digest shall be written.
#[derive(Clone, Debug)]
pub struct Place {
    /// The manifest repository's name, for messages.
    pub repo: RepoName,
    /// The commit to start from.
    pub commit: Oid,
    /// A file, or a folder (all of it).
    pub path: String,
    /// Which image references to move, tag and digest aside.
    pub image: String,
}

/// Finds the edits that make `place` use `image:tag@digest`. Blocking: reads the repository. No edits: it does already.
///
/// # Errors
/// [`HookError::NoManifest`], [`HookError::NothingToBump`], [`HookError::TooManyManifests`], or the repository's own.
pub fn plan(snapshot: &Arc<Snapshot>, place: &Place, tag: &str, digest: &Digest) -> Result<Vec<Edit>, HookError> {
    let files = CommitFiles { snapshot: snapshot.clone(), commit: place.commit };
    plan_in(&files, place, tag, digest)
}

pub(crate) fn plan_in(files: &dyn Files, place: &Place, tag: &str, digest: &Digest) -> Result<Vec<Edit>, HookError> {
    let path = clean(&place.path);
    let missing = || HookError::NoManifest { repo: place.repo.to_string(), path: place.path.clone() };
    let named = files.entry(&path)?;
    let mut found = Found { files, place, tag, digest, count: 0, bytes: 0, used: false, edits: Vec::new() };
    match named.map(|e| (e.mode, e)) {
        Some((Mode::File | Mode::Executable, mut entry)) => {
            entry.name = path;
            found.look_at(&entry)?;
        }
        Some((Mode::Tree, _)) => found.look_below(&path)?,
        None if path.is_empty() => found.look_below(&path)?,
        _ => return Err(missing()),
    }
    if !found.used {
        return Err(HookError::NothingToBump {
            repo: place.repo.to_string(),
            path: place.path.clone(),
            image: place.image.clone(),
        });
    }
    Ok(found.edits)
}

struct Found<'a> {
    files: &'a dyn Files,
    place: &'a Place,
    tag: &'a str,
    digest: &'a Digest,
    count: usize,
    bytes: u64,
    used: bool,
    edits: Vec<Edit>,
}

impl Found<'_> {
    fn look_below(&mut self, path: &str) -> Result<(), HookError> {
        let files = self.files;
        files.walk(path, &mut |entry| {
            let is_file = matches!(entry.mode, Mode::File | Mode::Executable);
            if is_file && is_manifest(&entry.name) {
                self.look_at(entry)?;
            }
            Ok(true)
        })
    }

    fn look_at(&mut self, entry: &slipway_repository::Entry) -> Result<(), HookError> {
        let size = match entry.size {
            Some(size) => size,
            None => self.files.size(&entry.id)?,
        };
        self.count += 1;
        self.bytes = self.bytes.saturating_add(size);
        for (crossed, what, limit) in [
            (self.count > BUMP_FILES_MAX, "manifest files", BUMP_FILES_MAX as u64),
            (self.bytes > BUMP_BYTES_MAX, "bytes of manifests", BUMP_BYTES_MAX),
            (size > BUMP_FILE_BYTES_MAX, "bytes in one manifest", BUMP_FILE_BYTES_MAX),
        ] {
            if crossed {
                let (repo, path) = (self.place.repo.to_string(), self.place.path.clone());
                return Err(HookError::TooManyManifests { repo, path, what, limit });
            }
        }
        let before = self.files.blob(&entry.id, BUMP_FILE_BYTES_MAX)?;
        if let Some(after) = pin(&before, &self.place.image, self.tag, self.digest) {
            self.used = true;
            if after != before {
                let executable = entry.mode == Mode::Executable;
                self.edits.push(Edit { path: entry.name.clone(), content: Some(after), executable });
            }
        }
        Ok(())
    }
}

fn is_manifest(path: &str) -> bool {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    ["yaml", "yml", "json"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// The bump's commit message: subject and the trailers by which a deploy finds its build.
pub fn message(app: &RepoName, commit: &Oid, build: BuildNumber, target: &str) -> String {
    format!(
        "Deploy {app}@{} to {target}\n\nSlipway-Source: {app}@{commit}\nSlipway-Build: {app}#{build}\n",
        commit.short()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::Made;

    fn digest(c: char) -> Digest {
        Digest::parse(&format!("sha256:{}", c.to_string().repeat(64))).expect("digest")
    }

    fn place(path: &str) -> Place {
        Place { repo: RepoName::parse("m").expect("name"), commit: Oid::ZERO_SHA1, path: path.into(), image: "r:5000/app".into() }
    }

    fn made() -> Made {
        Made::default()
            .file("deployment.yaml", "spec:\n  - image: r:5000/app:1\n")
            .file("base/a.yml", "image: r:5000/app\n")
            .file("base/b.json", "{\"image\": \"r:5000/app:2\"}\n")
            .file("base/notes.md", "image: r:5000/app:3\n")
            .file("base/other.yaml", "image: r:5000/apple:3\n")
    }

    #[test]
    fn a_folder_is_edited_as_a_whole_and_only_manifests() {
        let edits = plan_in(&made(), &place("base/"), "t", &digest('a')).expect("plan");
        let paths: Vec<&str> = edits.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, ["base/a.yml", "base/b.json"]);
        assert_eq!(plan_in(&made(), &place("."), "t", &digest('a')).expect("plan").len(), 3);
    }

    #[test]
    fn what_is_pinned_already_needs_no_edit() {
        let pinned = format!("image: r:5000/app:t@{}\n", digest('a'));
        let files = Made::default().file("d.yaml", &pinned);
        assert!(plan_in(&files, &place("d.yaml"), "t", &digest('a')).expect("plan").is_empty());
    }

    #[test]
    fn nothing_found_and_nothing_there_are_told_apart() {
        assert!(matches!(plan_in(&made(), &place("base/other.yaml"), "t", &digest('a')), Err(HookError::NothingToBump { .. })));
        assert!(matches!(plan_in(&made(), &place("gone"), "t", &digest('a')), Err(HookError::NoManifest { .. })));
        assert!(matches!(plan_in(&Made::default(), &place("."), "t", &digest('a')), Err(HookError::NothingToBump { .. })));
    }

    #[test]
    fn the_message_has_its_trailers() {
        let oid = Oid::parse("0123456789abcdef0123456789abcdef01234567").expect("oid");
        let text = message(&RepoName::parse("app").expect("name"), &oid, BuildNumber(12), "prod");
        assert_eq!(
            text,
            "Deploy app@0123456789 to prod\n\nSlipway-Source: app@0123456789abcdef0123456789abcdef01234567\nSlipway-Build: app#12\n"
        );
    }
}
