//! Which of the images that a pipeline builds is the repository's.

use slipway_core::Problem;

use super::found::{Build, Found, Push, quoted};
use super::limits::{FOUND_MAX, LINES_NAMED_MAX};
use super::plan::{Wishes, refused};
use super::reference::Reference;

/// An image: all builds of it as one, and how it is pushed.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) build: Build,
    pub(super) pushes: Vec<Push>,
}

impl Chosen {
    /// True if the image has that name, tag aside.
    pub(super) fn has(&self, name: &str) -> bool {
        let path = Reference::read(name).path;
        self.build.names.iter().any(|own| own == name || Reference::read(own).path == path)
    }

    /// What to call it in a list.
    fn called(&self) -> String {
        let name = self.build.names.first().map(|name| Reference::read(name).path);
        quoted(&name.filter(|name| !name.is_empty()).unwrap_or_else(|| self.build.context.clone()))
    }

    fn is_wished(&self, wish: &str) -> bool {
        let is = |name: &str| name == wish || name.rsplit('/').next() == Some(wish);
        is(&self.called())
            || is(&self.build.context)
            || self.build.names.iter().any(|n| is(&Reference::read(n).path))
    }
}

fn is_same(a: &Build, b: &Build) -> bool {
    let file = |build: &Build| build.dockerfile.clone().unwrap_or_else(|| default_dockerfile(&build.context));
    a.context == b.context && a.target == b.target && file(a) == file(b)
}

/// Where a Dockerfile lies without a word.
pub(super) fn default_dockerfile(context: &str) -> String {
    if context == "." { "Dockerfile".into() } else { format!("{context}/Dockerfile") }
}

/// The image, and the others that the same Dockerfile makes.
///
/// # Errors
/// A sentence where there is none, or which there are.
pub(super) fn choose(
    found: &mut Found,
    wishes: &Wishes,
    file: &str,
) -> Result<(Chosen, Vec<Chosen>), Problem> {
    let mut images = images(found);
    if let Some(wish) = &wishes.image {
        if !images.iter().any(|image| image.is_wished(wish)) {
            return Err(refused(format!("{file} builds no image {wish:?}."), &listed(&images)));
        }
        images.retain(|image| image.is_wished(wish));
    }
    if images.is_empty() {
        return Err(nothing(found, file));
    }
    let pushed: Vec<usize> = (0..images.len()).filter(|at| !images[*at].pushes.is_empty()).collect();
    let whole: Vec<usize> = (0..images.len()).filter(|at| images[*at].build.target.is_none()).collect();
    let at = match (pushed.as_slice(), images.len(), whole.as_slice()) {
        ([at], _, _) => *at,
        (_, 1, _) => 0,
        ([], _, [at]) => *at,
        _ => {
            let what = format!("{file} builds {} images: {}.", images.len(), lines(&images));
            let cure = "A repository builds one: give each a repository of its own, or take one of them with --image NAME.";
            return Err(refused(what, cure));
        }
    };
    let chosen = images.remove(at);
    let file_of =
        |build: &Build| build.dockerfile.clone().unwrap_or_else(|| default_dockerfile(&build.context));
    let (stages, others): (Vec<Chosen>, Vec<Chosen>) =
        images.into_iter().partition(|image| file_of(&image.build) == file_of(&chosen.build));
    for other in others {
        let what = format!("the image {} is built besides", other.called());
        found.note(
            other.build.line,
            what,
            "A repository builds one image; make it a stage of the Dockerfile, or a repository.",
        );
    }
    Ok((chosen, stages))
}

/// Builds of one image are one, with what they are pushed as.
fn images(found: &mut Found) -> Vec<Chosen> {
    let mut images: Vec<Chosen> = Vec::new();
    for build in std::mem::take(&mut found.builds) {
        match images.iter_mut().find(|image| is_same(&image.build, &build)) {
            Some(image) => {
                let same = image.build.when == build.when;
                image.build.when.refs = std::mem::take(&mut image.build.when.refs).or(build.when.refs);
                if !same {
                    image.build.when.paths.clear();
                }
                image.build.names.extend(build.names);
                image.build.names.truncate(FOUND_MAX);
                let room = FOUND_MAX.saturating_sub(image.build.args.len());
                image.build.args.extend(build.args.into_iter().take(room));
            }
            None => images.push(Chosen { build, pushes: Vec::new() }),
        }
    }
    for push in std::mem::take(&mut found.pushes) {
        let name = push.reference.name();
        let exact = images.iter().position(|image| {
            image.build.names.iter().any(|own| {
                let own = Reference::read(own);
                own.name() == name && (own.tag == push.reference.tag || push.reference.tag.is_none())
            })
        });
        let at = exact.or_else(|| images.iter().position(|image| image.has(&name)));
        match at.or_else(|| (images.len() == 1).then_some(0)) {
            Some(at) => images[at].pushes.push(push),
            None if images.is_empty() => {}
            None => found.note(
                push.line,
                format!("pushes {}, which is not built here", quoted(&name)),
                "A build pushes its own image.",
            ),
        }
    }
    images
}

fn lines(images: &[Chosen]) -> String {
    let one = |image: &Chosen| format!("{} (line {})", image.called(), image.build.line);
    let mut said: Vec<String> = images.iter().take(LINES_NAMED_MAX).map(one).collect();
    if images.len() > said.len() {
        said.push("…".into());
    }
    said.join(", ")
}

fn listed(images: &[Chosen]) -> String {
    if images.is_empty() { String::new() } else { format!("There are {}.", lines(images)) }
}

/// What there is instead of an image.
fn nothing(found: &Found, file: &str) -> Problem {
    if let Some(deploy) = found.deploys.first() {
        let repo = deploy.repo.as_deref().unwrap_or("MANIFESTS");
        let path = deploy.path.as_deref().unwrap_or(".");
        let what = format!("{file} builds no image; it writes manifests (line {}).", deploy.line);
        let cure = format!(
            "Import the application's own pipeline, and say there in slipway.toml: [deploy.prod] repo = {repo:?}, path = {path:?}."
        );
        return refused(what, &cure);
    }
    let first = found.notes.iter().find(|note| note.what.contains('`'));
    let hint = first.map(|note| format!(" (line {}: {})", note.line, note.what)).unwrap_or_default();
    refused(
        format!("Nothing that builds an image was found in {file}{hint}."),
        "It is looked for in docker build, buildx, podman, buildah, kaniko and the plugins for them; name the file in which those stand.",
    )
}
