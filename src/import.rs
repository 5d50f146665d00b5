//! `slipway import FORMAT FILE`: an old pipeline's file as slipway.toml, the commands that go with it, and, line by line, what
//! has no place there. Asks no server and runs nothing: texts are read, never evaluated.
//!
//! A reader for each format (`jenkinsfile.rs`, `gitlab_ci.rs`, `woodpecker.rs`, `buildspec.rs`) walks its file and puts down what
//! it finds in one `Found`; scripts go through `commands.rs` whatever they stand in. `plan.rs` decides what that comes to,
//! `render.rs` writes it down. Whatever a file holds, reading it ends: the bounds are in `limits.rs`.

use std::io::Read;
use std::path::Path;

use serde::Serialize;
use serde_json::json;
use slipway_core::spec::Spec;
use slipway_core::{Problem, ProblemKind, RepoName};

use self::limits::FILE_BYTES_MAX;
use self::plan::{Plan, Wishes, refused};
use crate::cli::{ImportFile, ImportVerb};

mod agent;
mod buildspec;
mod choice;
mod commands;
mod condition;
mod cursor;
mod docker;
mod found;
mod gitlab_ci;
mod given;
mod groovy;
mod jenkinsfile;
mod limits;
mod manifests;
mod plan;
mod reference;
mod render;
mod scope;
mod sheet;
mod shell;
#[cfg(test)]
mod tests;
mod woodpecker;
mod yaml;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    Jenkinsfile,
    GitlabCi,
    Woodpecker,
    Buildspec,
}

/// What is printed for a file.
///
/// # Errors
/// A sentence where the file cannot be read, or builds no image, or several.
pub(crate) fn run(verb: &ImportVerb, json: bool) -> Result<String, Problem> {
    let (format, asked) = match verb {
        ImportVerb::Jenkinsfile(asked) => (Format::Jenkinsfile, asked),
        ImportVerb::GitlabCi(asked) => (Format::GitlabCi, asked),
        ImportVerb::Woodpecker(asked) => (Format::Woodpecker, asked),
        ImportVerb::Buildspec(asked) => (Format::Buildspec, asked),
    };
    let text = read(&asked.file)?;
    let file = if asked.file == "-" { "standard input" } else { asked.file.as_str() };
    let source = Path::new(file).file_name().map_or(file.into(), |name| name.to_string_lossy());
    // A name may hold what steers a terminal.
    let source = source.replace(char::is_control, " ");
    let wishes = Wishes {
        image: asked.image.clone(),
        manifests: asked.manifests.as_ref().map(|repo| repo.as_str().to_owned()),
    };
    let repo = repository(asked);
    let plan = plan(format, &text, &wishes, &source)?;
    Ok(if json { as_json(format, plan, &repo)? } else { as_text(plan, &repo, &source)? })
}

fn read(name: &str) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    let read = if name == "-" {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(name).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    let name = if name == "-" { "Standard input" } else { name };
    match read {
        Err(error) => Err(refused(format!("{name} cannot be read: {error}."), "Check the path.")),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
            let what = format!("{name} is larger than {} MiB.", FILE_BYTES_MAX >> 20);
            Err(Problem::new(ProblemKind::TooLarge, what, "Name the file of a pipeline."))
        }
        Ok(_) if bytes.contains(&0) => {
            Err(refused(format!("{name} is no text."), "Name the file of a pipeline."))
        }
        // Comments in an old encoding are no reason to refuse.
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// What the repository shall be called: as asked for, else as the file's folder.
fn repository(asked: &ImportFile) -> String {
    if let Some(name) = &asked.repo {
        return name.as_str().to_owned();
    }
    let folder = match Path::new(&asked.file).parent() {
        Some(parent) if asked.file != "-" && !parent.as_os_str().is_empty() => parent.canonicalize(),
        _ => std::env::current_dir(),
    };
    let name = folder.ok().and_then(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()));
    name.filter(|name| RepoName::parse(name).is_ok()).unwrap_or_else(|| "REPO".into())
}

fn plan(format: Format, text: &str, wishes: &Wishes, file: &str) -> Result<Plan, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let found = match format {
        Format::Jenkinsfile => jenkinsfile::read(text),
        Format::GitlabCi => gitlab_ci::read(text, file)?,
        Format::Woodpecker => woodpecker::read(text, file)?,
        Format::Buildspec => buildspec::read(text, file)?,
    };
    plan::plan(found, wishes, file)
}

/// The text, if the program itself reads it as slipway.toml.
fn accepted(toml: String) -> Result<String, Problem> {
    match Spec::parse(toml.as_bytes()) {
        Ok(_) => Ok(toml),
        Err(why) => Err(Problem::new(
            ProblemKind::Broken,
            format!("What was made of the file is no slipway.toml: {why}."),
            "Report this, with the file if you can.",
        )),
    }
}

fn as_text(mut plan: Plan, repo: &str, source: &str) -> Result<String, Problem> {
    let toml = render::toml(&mut plan, repo);
    accepted(render::page(&plan, &toml, repo, source))
}

fn as_json(format: Format, mut plan: Plan, repo: &str) -> Result<String, Problem> {
    let toml = accepted(render::toml(&mut plan, repo))?;
    let (server, tree) = render::commands(&plan, repo);
    let all = json!({
        "format": format, "repo": repo, "slipway_toml": toml, "plan": plan,
        "commands": { "server": server, "work_tree": tree },
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&all).unwrap_or_default()))
}
