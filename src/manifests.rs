//! From a commit to the objects that it wants in the cluster: the floor's one reader with the deployer's bounds, then the
//! deployer's one renderer. The gate before a push and the deploy after it both come here. Knows no cluster.

use slipway_core::files::Files;
use slipway_core::{Oid, Problem};
use slipway_deployer::{Manifest, ManifestFile, RenderError, RenderLimits};
use slipway_forge::manifests::{self, Bounds};

/// Most commits of one push whose messages are looked at for what they confirm.
pub(crate) const PUSH_COMMITS_MAX: usize = 250;

/// Reads and renders what is at `path` of the commit. Where nothing is there, that is nothing to apply if something was
/// `applied` before, and else a mistake. Blocking.
///
/// # Errors
/// A [`Problem`] where it cannot be read, where it is more than one deploy reads, and for that mistake. What is read and is no manifest is the
/// inner error: a sentence each, with file and line.
pub(crate) fn wanted(
    files: &dyn Files,
    commit: &Oid,
    path: &str,
    applied: bool,
    limits: &RenderLimits,
) -> Result<Result<Vec<Manifest>, Vec<RenderError>>, Problem> {
    let bounds = Bounds {
        is_manifest: slipway_deployer::is_manifest_path,
        files_max: limits.files_max,
        file_bytes_max: limits.file_bytes_max,
        bytes_max: limits.bytes_max,
    };
    let read = match manifests::read(files, commit, path, &bounds)? {
        Some(read) => read,
        None if applied => Vec::new(),
        None => return Err(manifests::nothing_at(commit, path)),
    };
    let read: Vec<ManifestFile> =
        read.into_iter().map(|f| ManifestFile { path: f.path, bytes: f.bytes }).collect();
    Ok(slipway_deployer::render(&read, limits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_core::ProblemKind;
    use slipway_core::files::Blob;

    /// Files by path; each is found by the number that its id holds.
    struct Fake(Vec<(&'static str, Vec<u8>)>);

    impl Files for Fake {
        fn files_at(
            &self,
            _: &Oid,
            at: &str,
            each: &mut dyn FnMut(&str, &Oid) -> Result<bool, Problem>,
        ) -> Result<bool, Problem> {
            for (number, (path, _)) in (0..).zip(&self.0).filter(|(_, (path, _))| path.starts_with(at)) {
                if !each(path, &Oid::Sha1([number; 20]))? {
                    break;
                }
            }
            Ok(true)
        }

        fn blob(&self, id: &Oid, max: u64) -> Result<Blob, Problem> {
            let content = &self.0[usize::from(id.as_bytes()[0])].1;
            let bytes = content.len() as u64;
            Ok(if bytes > max { Blob::Over(bytes) } else { Blob::Whole(content.clone()) })
        }
    }

    #[test]
    fn what_is_no_manifest_is_told_with_its_line_and_what_is_too_large_by_name() {
        let good = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n".to_vec();
        let usual = RenderLimits::default();
        let read =
            |files: Vec<(&'static str, Vec<u8>)>| wanted(&Fake(files), &Oid::ZERO_SHA1, "", false, &usual);
        let fine = read(vec![("a.yaml", good.clone()), ("note.txt", vec![b'x'; 5 << 20])]).expect("read");
        assert_eq!(fine.expect("manifests").len(), 1);
        let bad = read(vec![("a.yaml", good.clone()), ("z.yaml", b"kind: 7\n".to_vec())]).expect("read");
        assert!(bad.expect_err("no manifest")[0].to_string().starts_with("z.yaml:"));
        let large = read(vec![("a.yaml", good), ("z.yaml", vec![b'#'; 5 << 20])]).expect_err("too large");
        assert_eq!(large.kind, ProblemKind::Invalid);
        assert!(large.what.starts_with("z.yaml has 5242880 bytes"), "{large}");
    }
}
