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

/// Finds the edits that make `place` use `image:tag@digest`. No edits: it does already. Blocking: reads the repository.
///
/// # Errors
/// [`HookError::NoManifest`], [`HookError::NothingToBump`], [`HookError::TooManyManifests`], or the repository's own.
pub fn plan(
    snapshot: &Arc<Snapshot>,
    place: &Place,
    tag: &str,
    digest: &Digest,
) -> Result<Vec<Edit>, HookError> {
    plan_in(&CommitFiles { snapshot: snapshot.clone(), commit: place.commit }, place, tag, digest)
}

fn plan_in(files: &dyn Files, place: &Place, tag: &str, digest: &Digest) -> Result<Vec<Edit>, HookError> {
    let path = clean(&place.path);
    let repo = place.repo.to_string();
    let mut found = Found { files, place, tag, digest, count: 0, bytes: 0, used: false, edits: Vec::new() };
    match files.entry(&path)? {
        Some(mut entry) if matches!(entry.mode, Mode::File | Mode::Executable) => {
            entry.name = path;
            found.look_at(&entry)?;
        }
        Some(entry) if entry.mode == Mode::Tree => found.look_below(&path)?,
        None if path.is_empty() => found.look_below("")?,
        _ => return Err(HookError::NoManifest { repo, path: place.path.clone() }),
    }
    if !found.used {
        return Err(HookError::NothingToBump { repo, path: place.path.clone(), image: place.image.clone() });
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

/// The bump's commit message: subject, and the trailers by which a deploy finds its build.
pub fn message(app: &RepoName, commit: &Oid, build: BuildNumber, target: &str) -> String {
    let subject = format!("Deploy {app}@{} to {target}", commit.short());
    format!("{subject}\n\nSlipway-Source: {app}@{commit}\nSlipway-Build: {app}#{build}\n")
}

/// The same where somebody moved the target to an earlier build's image by name, in `promotion`.
pub fn promotion_message(
    app: &RepoName,
    commit: &Oid,
    (build, promotion): (BuildNumber, BuildNumber),
    target: &str,
    by: &str,
) -> String {
    let subject = format!("Promote {app}@{} to {target} (build {build}, by {by})", commit.short());
    format!(
        "{subject}\n\nSlipway-Source: {app}@{commit}\nSlipway-Build: {app}#{build}\nSlipway-Promotion: {app}#{promotion}\nSlipway-Actor: {by}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::Made;

    fn digest(c: char) -> Digest {
        Digest::parse(&format!("sha256:{}", c.to_string().repeat(64))).expect("digest")
    }

    fn edits(files: &Made, path: &str) -> Result<Vec<Edit>, HookError> {
        let repo = RepoName::parse("manifests").expect("name");
        let place = Place { repo, commit: Oid::ZERO_SHA1, path: path.into(), image: "r:5000/app".into() };
        plan_in(files, &place, "t", &digest('a'))
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
        let below = edits(&made(), "base/").expect("plan");
        let paths: Vec<&str> = below.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, ["base/a.yml", "base/b.json"]);
        assert_eq!(edits(&made(), ".").expect("plan").len(), 3);
    }

    #[test]
    fn what_is_pinned_already_needs_no_edit() {
        let pinned = format!("image: r:5000/app:t@{}\n", digest('a'));
        let files = Made::default().file("d.yaml", &pinned);
        assert!(edits(&files, "d.yaml").expect("plan").is_empty());
    }

    #[test]
    fn nothing_found_and_nothing_there_are_told_apart() {
        assert!(matches!(edits(&made(), "base/other.yaml"), Err(HookError::NothingToBump { .. })));
        assert!(matches!(edits(&made(), "gone"), Err(HookError::NoManifest { .. })));
        assert!(matches!(edits(&Made::default(), "."), Err(HookError::NothingToBump { .. })));
    }

    #[test]
    fn the_message_has_its_trailers() {
        let oid = Oid::parse("0123456789abcdef0123456789abcdef01234567").expect("oid");
        let app = RepoName::parse("app").expect("name");
        let trailers =
            "Slipway-Source: app@0123456789abcdef0123456789abcdef01234567\nSlipway-Build: app#12\n";
        let text = message(&app, &oid, BuildNumber(12), "prod");
        assert_eq!(text, format!("Deploy app@0123456789 to prod\n\n{trailers}"));
        let text = promotion_message(&app, &oid, (BuildNumber(12), BuildNumber(15)), "prod", "ann");
        let more = "Slipway-Promotion: app#15\nSlipway-Actor: ann\n";
        assert_eq!(text, format!("Promote app@0123456789 to prod (build 12, by ann)\n\n{trailers}{more}"));
    }
}
