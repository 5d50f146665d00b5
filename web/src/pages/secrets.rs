//! The part of a repository's settings that is about its secrets. No value is ever shown.

use slipway_core::repo_secret::{RepoSecret, SecretRefs, SecretUse};
use slipway_core::{Problem, Secret, SecretName};
use slipway_forge::secrets::{self, NewSecret};
use slipway_forge::{Caller, Forge};

use super::form::Fields;
use crate::refusal::Answer;
use crate::visit::Visit;

/// A secret as shown.
pub(super) struct SecretRow {
    pub(super) name: SecretName,
    pub(super) uses: String,
    pub(super) given_to: String,
    pub(super) by: String,
}

/// What the page shows.
pub(super) fn rows(forge: &Forge, caller: &Caller, repo: &str) -> Result<Vec<SecretRow>, Problem> {
    Ok(secrets::list(forge, caller, repo)?.into_iter().map(row).collect())
}

fn row(secret: RepoSecret) -> SecretRow {
    let uses: Vec<&str> = secret.uses.iter().map(|one| one.as_str()).collect();
    SecretRow { given_to: secret.on.said(), name: secret.name, uses: uses.join(" and "), by: secret.by }
}

/// Carries out one of this part's forms.
pub(super) async fn change(visit: &Visit, repo: String, fields: &Fields) -> Answer<()> {
    let name = SecretName::parse(fields.text("name"))?;
    if fields.verb() == "remove-secret" {
        return visit.ask(move |forge, caller| secrets::remove(forge, caller, &repo, &name)).await;
    }
    let words = |field: &str| fields.text(field).split_whitespace().map(str::to_owned).collect();
    let new = NewSecret {
        // Browsers end lines with both.
        value: Secret::new(fields.text("value").replace("\r\n", "\n")),
        uses: SecretUse::ALL.into_iter().filter(|one| fields.ticked(one.as_str())).collect(),
        on: SecretRefs { branches: words("branches"), tags: words("tags") },
    };
    let set = move |forge: &Forge, caller: &Caller| secrets::set(forge, caller, &repo, name, new);
    visit.ask(set).await.map(drop)
}
