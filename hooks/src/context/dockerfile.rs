//! Which file of a commit is its Dockerfile.

use slipway_repository::{Entry, Mode};

use super::{ContextPlan, Files};
use crate::error::HookError;
use crate::limits::{DOCKERFILE_BYTES_MAX, DOCKERFILE_LINKS_MAX};

/// The file that is the Dockerfile: links within the context are followed, as the engine does.
///
/// # Errors
/// [`HookError::NoDockerfile`], and [`HookError::Context`] where it leads nowhere or is too large.
pub(crate) fn dockerfile(files: &dyn Files, plan: &ContextPlan) -> Result<Entry, HookError> {
    let no = |why: &str, cure: &str| HookError::Context {
        path: plan.dockerfile.clone(),
        why: why.to_owned(),
        cure: cure.to_owned(),
    };
    let mut path = plan.dockerfile.clone();
    for _ in 0..=DOCKERFILE_LINKS_MAX {
        let entry = files.entry(&path)?.ok_or_else(|| HookError::NoDockerfile { path: path.clone() })?;
        if entry.mode == Mode::Link {
            let target = files.blob(&entry.id, 4096)?;
            let target = String::from_utf8(target).ok().and_then(|t| follow(plan, &path, &t));
            path = target.ok_or_else(|| {
                no("it is a link that leads out of the build context", "Commit the file itself.")
            })?;
            continue;
        }
        if files.size(&entry.id)? > DOCKERFILE_BYTES_MAX {
            return Err(no(&format!("it has more than {DOCKERFILE_BYTES_MAX} bytes"), "Make it smaller."));
        }
        return Ok(entry);
    }
    Err(no("its links lead in a circle", "Commit the file itself."))
}

/// Where a link of the context leads, from the repository's root.
fn follow(plan: &ContextPlan, link: &str, target: &str) -> Option<String> {
    let inside = plan.inside(link)?;
    let mut at: Vec<&str> = match target.starts_with('/') {
        // The engine's root is the context's.
        true => Vec::new(),
        false => inside.split('/').collect::<Vec<_>>().split_last().map(|(_, folder)| folder.to_vec())?,
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            // Above the context's root is the context's root.
            ".." => drop(at.pop()),
            part => at.push(part),
        }
    }
    let folder = Some(plan.folder.as_str()).filter(|f| !f.is_empty());
    Some(folder.into_iter().chain(at).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_within_the_context_only() {
        let root = ContextPlan::new(".", "Dockerfile");
        assert_eq!(follow(&root, "Dockerfile", "docker/real").as_deref(), Some("docker/real"));
        assert_eq!(follow(&root, "a/b/Dockerfile", "../c").as_deref(), Some("a/c"));
        let app = ContextPlan::new("app", "app/Dockerfile");
        assert_eq!(follow(&app, "app/Dockerfile", "/x/real").as_deref(), Some("app/x/real"));
        assert_eq!(follow(&app, "app/Dockerfile", "../../real").as_deref(), Some("app/real"));
        assert_eq!(follow(&app, "Dockerfile", "x"), None);
    }
}
