//! What is said of commits, as small marks beside them.

use std::collections::HashMap;

use slipway_core::status::StatusState;
use slipway_core::target::RepoRecord;
use slipway_core::{Oid, RepoName};
use slipway_forge::statuses::{self, More, Said};

use crate::link::Link;
use crate::refusal::Answer;
use crate::text::escape_into;
use crate::visit::Visit;

/// What is said of these commits.
pub(super) async fn of(visit: &Visit, record: &RepoRecord, commits: Vec<Oid>) -> Answer<Statuses> {
    let (repo, name) = (record.clone(), record.name.clone());
    let said = visit.ask(move |forge, caller| statuses::of(forge, caller, &repo, &commits)).await?;
    Ok(Statuses { repo: name, said })
}

/// What is said of some commits of a repository.
pub(super) struct Statuses {
    repo: RepoName,
    said: HashMap<Oid, Vec<Said>>,
}

impl Statuses {
    /// One mark for all that is said of a commit, leading to the first that says it; empty where nothing is said.
    pub(super) fn mark(&self, commit: &Oid) -> String {
        let said = self.said.get(commit).map(Vec::as_slice).unwrap_or_default();
        let Some(state) = statuses::all_in_all(said) else { return String::new() };
        let telling = said.iter().find(|one| one.state == state);
        let names = said.iter().map(|one| one.context.as_str()).collect::<Vec<_>>().join(", ");
        let mut out = String::new();
        if let Some(one) = telling {
            link(&mut out, &self.repo, one, &names, state, "");
        }
        out
    }

    /// A mark for each.
    pub(super) fn all(&self, commit: &Oid) -> String {
        let mut out = String::new();
        for one in self.said.get(commit).into_iter().flatten() {
            if !out.is_empty() {
                out.push_str("<br>");
            }
            link(&mut out, &self.repo, one, &one.description, one.state, &one.context);
        }
        out
    }
}

/// A mark as a link, where it leads anywhere, with words behind it.
fn link(out: &mut String, repo: &RepoName, said: &Said, title: &str, state: StatusState, words: &str) {
    let (word, shape, class) = match state {
        StatusState::Pending => ("pending", "◐", "busy"),
        StatusState::Success => ("success", "●", "good"),
        StatusState::Failure => ("failure", "▲", "bad"),
    };
    let (address, elsewhere) = match &said.more {
        More::Build(number) => (Some(Link::build(repo, *number).to_string()), false),
        More::Deploy(number) => (Some(Link::deploy(repo, *number).to_string()), false),
        More::Url(url) => (Some(url.clone()), true),
        More::Nothing => (None, false),
    };
    let tag = if address.is_some() { "a" } else { "span" };
    out.push_str(&format!("<{tag} class=\"state {class}\""));
    if let Some(address) = address {
        out.push_str(" href=\"");
        escape_into(out, &address);
        out.push_str(if elsewhere { "\" rel=\"nofollow noopener noreferrer\"" } else { "\"" });
    }
    out.push_str(" title=\"");
    escape_into(out, title);
    out.push_str(&format!("\"><i aria-hidden=\"true\">{shape}</i>"));
    match words {
        "" => out.push_str(&format!("<span class=\"hide\">{word}</span>")),
        words => escape_into(out, words),
    }
    out.push_str(&format!("</{tag}>"));
    if !words.is_empty() && !said.description.is_empty() {
        out.push_str(" <span class=\"muted\">");
        escape_into(out, &said.description);
        out.push_str("</span>");
    }
}
