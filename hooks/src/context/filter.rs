//! Which entries of a context a builder gets: what it asks for, without what is ignored.
//!
//! The rules are those of `fsutil`, BuildKit's library for the transfer (its filter.go and followlinks.go): an entry must fit
//! one of the wanted patterns, if there are any, and none of the unwanted; links on the way to what is asked for by name are
//! wanted too, with what they lead to.

use std::collections::BTreeSet;

use slipway_repository::Mode;

use super::{ContextPlan, Files};
use crate::error::HookError;
use crate::ignore::Ignore;
use crate::limits::{CONTEXT_FOLLOWED_MAX, CONTEXT_LINK_BYTES_MAX};

/// What a builder asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Patterns of which one must fit, if there are any.
    pub(crate) include: Vec<String>,
    /// Patterns of which none may fit (but the last match wins, as in .dockerignore).
    pub(crate) exclude: Vec<String>,
    /// Paths whose links are to be followed; then they are as `include`.
    pub(crate) follow: Vec<String>,
}

/// The rules for one transfer.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// The commit's own rules of what to leave out.
    ours: Ignore,
    exclude: Ignore,
    only: Option<Ignore>,
}

impl Filter {
    /// Takes the commit's own rules and what is asked for. Blocking: follows links.
    ///
    /// # Errors
    /// The repository's, and [`HookError::Build`] for what is no pattern.
    pub(crate) fn new(
        files: &dyn Files,
        plan: &ContextPlan,
        ours: Ignore,
        wanted: &Wanted,
    ) -> Result<Self, HookError> {
        let bad =
            |why| HookError::Build { message: format!("the builder asked for what is no pattern: {why}") };
        let exclude = Ignore::of(wanted.exclude.iter().map(String::as_str)).map_err(bad)?;
        let followed = follow(files, plan, &wanted.follow)?;
        let all = wanted.follow.is_empty() && wanted.include.is_empty() || followed.iter().any(|p| p == ".");
        let only = (!all)
            .then(|| Ignore::of(wanted.include.iter().chain(&followed).map(String::as_str)).map_err(bad))
            .transpose()?;
        Ok(Self { ours, exclude, only })
    }

    /// True for an entry that goes.
    pub(crate) fn wants(&self, path: &str) -> bool {
        self.is_asked_for(path) && !self.ours.matches(path) && !self.exclude.matches(path)
    }

    /// True for one that would go, were it not for the commit's own rules.
    pub(crate) fn ignores(&self, path: &str) -> bool {
        self.is_asked_for(path) && self.ours.matches(path)
    }

    fn is_asked_for(&self, path: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.matches(path))
    }
}

/// The paths, and those that links on the way to them lead to.
fn follow(files: &dyn Files, plan: &ContextPlan, paths: &[String]) -> Result<BTreeSet<String>, HookError> {
    let mut todo: Vec<String> = paths.iter().rev().cloned().collect();
    let (mut done, mut seen) = (BTreeSet::new(), BTreeSet::new());
    while let Some(path) = todo.pop() {
        let path = within(&path);
        if !seen.insert(path.clone()) {
            continue;
        }
        if seen.len() > CONTEXT_FOLLOWED_MAX {
            let message = "links in the build context lead to too many other places".to_owned();
            return Err(HookError::Build { message });
        }
        let mut here = String::new();
        let mut rest = path.as_str();
        loop {
            let (part, after) = rest.split_once('/').unwrap_or((rest, ""));
            here = super::join(&here, part);
            let targets = links(files, plan, &here)?;
            if targets.is_empty() && !after.is_empty() {
                rest = after;
                continue;
            }
            todo.extend(targets.into_iter().map(|target| super::join(&target, after)));
            done.insert(if here.is_empty() { ".".to_owned() } else { here });
            break;
        }
    }
    Ok(done)
}

/// Where what stands at that path leads, if it is a link; its last component may be a pattern for several.
fn links(files: &dyn Files, plan: &ContextPlan, path: &str) -> Result<Vec<String>, HookError> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut found = Vec::new();
    if !name.contains(['*', '?', '[', '\\']) {
        found.extend(files.entry(&plan.outside(path))?.filter(|_| !path.is_empty()));
    } else if let Ok(pattern) = Ignore::of([name]) {
        let there = files.entry(&plan.outside(folder))?.filter(|entry| entry.mode == Mode::Tree);
        let listed = there.map(|entry| files.folder(&plan.outside(folder), &entry.id)).transpose()?;
        found.extend(listed.into_iter().flatten().filter(|entry| pattern.matches(&entry.name)));
    }
    let mut targets = Vec::new();
    for link in found.iter().filter(|entry| entry.mode == Mode::Link) {
        let target = files.blob(&link.id, CONTEXT_LINK_BYTES_MAX)?;
        let target = String::from_utf8_lossy(&target);
        // The builder's root is the context's.
        let whole = if target.starts_with('/') { target.into_owned() } else { format!("{folder}/{target}") };
        targets.push(within(&whole));
    }
    Ok(targets)
}

/// The path without `.`, `..` and empty components; above the context's root is the context's root.
fn within(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    kept.join("/")
}

#[cfg(test)]
mod tests;
