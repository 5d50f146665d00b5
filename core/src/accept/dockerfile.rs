//! Where a commit's Dockerfile is, and where it is not, what was probably meant.

use super::Incoming;
use crate::git::Oid;
use crate::limits::FILES_LOOKED_MAX;
use crate::problem::{Problem, ProblemKind};
use crate::spec::BuildSpec;

/// The Dockerfile that the commit is built by.
pub(super) fn find(
    commit: &Oid,
    build: &BuildSpec,
    objects: &dyn Incoming,
) -> Result<Option<String>, Problem> {
    build.find_dockerfile(|path| objects.has_file(commit, path))
}

/// That there is none, and what there is instead.
pub(super) struct Absent {
    wanted: String,
    /// What is there, and how it is built.
    instead: Option<(String, String)>,
}

impl Absent {
    /// Looks for what was probably meant.
    pub(super) fn look(commit: &Oid, build: &BuildSpec, objects: &dyn Incoming) -> Result<Self, Problem> {
        let wanted = build.dockerfiles().into_iter().next().unwrap_or_default();
        let mut alike: Vec<String> = Vec::new();
        let mut looked = 0;
        let walk = objects.files_at(commit, "", &mut |path, _| {
            looked += 1;
            let name = path.rsplit('/').next().unwrap_or_default();
            if ["dockerfile", "containerfile"].iter().any(|known| name.eq_ignore_ascii_case(known)) {
                alike.push(path.to_owned());
            }
            Ok(looked < FILES_LOOKED_MAX)
        });
        // A folder too large to be looked through has no hint.
        match walk {
            Err(problem) if problem.kind != ProblemKind::TooLarge && problem.kind != ProblemKind::Invalid => {
                return Err(problem);
            }
            _ => {}
        }
        // The nearest to the root first.
        alike.sort_by_key(|path| (path.matches('/').count(), path.clone()));
        let more = alike.len().saturating_sub(1);
        let instead = alike.into_iter().next().map(|path| {
            let cure = cure(&path, &wanted);
            (if more == 0 { path } else { format!("{path} and {more} more") }, cure)
        });
        Ok(Self { wanted, instead })
    }

    /// For a push that does not ask for a build.
    pub(super) fn why(&self) -> String {
        match &self.instead {
            None => format!("no {}", self.wanted),
            Some((there, cure)) => format!("no {}, but {there}: {cure}", self.wanted),
        }
    }

    /// For whoever wants a build.
    pub(super) fn problem(&self, commit: &Oid) -> Problem {
        let but = self.instead.as_ref().map(|(there, _)| format!(", but {there}")).unwrap_or_default();
        let what = format!("Commit {} has no {}{but}.", commit.short(), self.wanted);
        let add = || "Add it, or set build.dockerfile in slipway.toml to where it is.".to_owned();
        let cure = self.instead.as_ref().map_or_else(add, |(_, cure)| format!("{}.", capital(cure)));
        Problem::new(ProblemKind::Invalid, what, cure)
    }
}

/// How the file at `path` is built.
fn cure(path: &str, wanted: &str) -> String {
    if path.eq_ignore_ascii_case(wanted) {
        return format!("rename it to {wanted}");
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_default = name == "Dockerfile" || name == "Containerfile";
    if is_default && !folder.is_empty() {
        return format!(
            "say context = {folder:?} (or, with the root as context, dockerfile = {path:?}) under [build] in slipway.toml"
        );
    }
    format!("say dockerfile = {path:?} under [build] in slipway.toml")
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_has_its_cure() {
        for (path, wanted, want) in [
            ("dockerfile", "Dockerfile", "rename it to Dockerfile"),
            ("svc/DOCKERFILE", "svc/Dockerfile", "rename it to svc/Dockerfile"),
            (
                "svc/Dockerfile",
                "Dockerfile",
                "say context = \"svc\" (or, with the root as context, dockerfile = \"svc/Dockerfile\") under [build] in slipway.toml",
            ),
            ("Dockerfile", "svc/Dockerfile", "say dockerfile = \"Dockerfile\" under [build] in slipway.toml"),
            ("a/dockerfile", "Dockerfile", "say dockerfile = \"a/dockerfile\" under [build] in slipway.toml"),
        ] {
            assert_eq!(cure(path, wanted), want, "{path}");
        }
    }
}
