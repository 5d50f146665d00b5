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

/// Most characters of the built commit's subject that are repeated.
const TITLE_CHARS_MAX: usize = 200;

mod text;
pub use self::text::pin;

/// Finds the edits that make the manifests at `path` (a file, or a folder: all of it) of the commit use
/// `image:tag@digest` wherever they use `image`, tag and digest aside. No edits: they do already. Blocking: reads the
/// repository.
///
/// # Errors
/// [`HookError::NoManifest`], [`HookError::NothingToBump`], [`HookError::TooManyManifests`], or the repository's own.
pub fn plan(
    snapshot: &Arc<Snapshot>,
    commit: &Oid,
    path: &str,
    image: &str,
    tag: &str,
    digest: &Digest,
) -> Result<Vec<Edit>, HookError> {
    let files = CommitFiles { snapshot: snapshot.clone(), commit: *commit };
    plan_in(&files, path, image, tag, digest)
}

fn plan_in(files: &dyn Files, path: &str, image: &str, tag: &str, digest: &Digest) -> Result<Vec<Edit>, HookError> {
    let cleaned = clean(path);
    let mut found = Found { files, path, image, tag, digest, count: 0, bytes: 0, used: false, edits: Vec::new() };
    match files.entry(&cleaned)? {
        Some(mut entry) if matches!(entry.mode, Mode::File | Mode::Executable) => {
            entry.name = cleaned;
            found.look_at(&entry)?;
        }
        Some(entry) if entry.mode == Mode::Tree => found.look_below(&cleaned)?,
        None if cleaned.is_empty() => found.look_below("")?,
        _ => return Err(HookError::NoManifest { path: path.to_owned() }),
    }
    if !found.used {
        return Err(HookError::NothingToBump { path: path.to_owned(), image: image.to_owned() });
    }
    Ok(found.edits)
}

struct Found<'a> {
    files: &'a dyn Files,
    path: &'a str,
    image: &'a str,
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
                return Err(HookError::TooManyManifests { path: self.path.to_owned(), what, limit });
            }
        }
        let before = self.files.blob(&entry.id, BUMP_FILE_BYTES_MAX)?;
        if let Some(after) = pin(&before, self.image, self.tag, self.digest) {
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

/// The bump's commit message: the subject, the built commit's own subject, and the trailers by which a deploy finds
/// its build.
pub fn message(app: &RepoName, build: BuildNumber, commit: &Oid, title: &str, target: &str) -> String {
    let subject = format!("Deploy {app}@{} to {target}", commit.short());
    // One line, and none that could pass for a trailer of ours.
    let title: String = title.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TITLE_CHARS_MAX).collect();
    let title = title.trim();
    let body = if title.is_empty() { String::new() } else { format!("> {title}\n\n") };
    format!("{subject}\n\n{body}Slipway-Source: {app}@{commit}\nSlipway-Build: {app}#{build}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::Made;

    fn digest(c: char) -> Digest {
        Digest::parse(&format!("sha256:{}", c.to_string().repeat(64))).expect("digest")
    }

    fn edits(files: &Made, path: &str) -> Result<Vec<Edit>, HookError> {
        plan_in(files, path, "r:5000/app", "t", &digest('a'))
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
        let trailers = "Slipway-Source: app@0123456789abcdef0123456789abcdef01234567\nSlipway-Build: app#12\n";
        let text = message(&app, BuildNumber(12), &oid, "Greet\nSlipway-Build: evil#1", "prod");
        assert_eq!(text, format!("Deploy app@0123456789 to prod\n\n> Greet Slipway-Build: evil#1\n\n{trailers}"));
        assert_eq!(message(&app, BuildNumber(12), &oid, " ", "prod"), format!("Deploy app@0123456789 to prod\n\n{trailers}"));
    }
}
