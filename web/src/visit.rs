//! One request's view of the server: who calls, and the door to the floor's blocking work.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request;
use slipway_core::limits::Limits;
use slipway_core::target::RepoRecord;
use slipway_core::{Action, Actor, Problem, UnixMillis};
pub(crate) use slipway_forge::access::Seen;
use slipway_forge::shares::{Party, Place};
use slipway_forge::{Caller, Forge, Surface, access};
use slipway_repository::Snapshot;

use crate::identity::Visitor;
use crate::parts::Shared;
use crate::refusal::{Answer, Refusal};

pub(crate) struct Visit {
    pub(crate) shared: Arc<Shared>,
    pub(crate) visitor: Visitor,
}

impl FromRequestParts<Arc<Shared>> for Visit {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut request::Parts, shared: &Arc<Shared>) -> Answer<Self> {
        // Without the identifying layer in front nobody is known: deny by default.
        let nobody = || Visitor { caller: Caller::anonymous(Surface::Pages, None), csrf: None };
        let visitor = parts.extensions.get::<Visitor>().cloned().unwrap_or_else(nobody);
        Ok(Self { shared: Arc::clone(shared), visitor })
    }
}

impl Visit {
    pub(crate) fn caller(&self) -> &Caller {
        &self.visitor.caller
    }

    pub(crate) fn actor(&self) -> &Actor {
        &self.visitor.caller.actor
    }

    /// For what waits for work; everything else goes through [`Visit::ask`].
    pub(crate) fn forge(&self) -> &Arc<Forge> {
        &self.shared.parts.forge
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.shared.parts.forge.now()
    }

    /// What requests may cost.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.shared.parts.limits
    }

    /// Asks about an action that concerns no repository.
    pub(crate) fn may(&self, action: Action) -> Answer<()> {
        Ok(access::may(self.caller(), action)?)
    }

    /// True if the caller may do what reaches beyond one repository.
    pub(crate) fn is_owner(&self) -> bool {
        access::is_owner(self.caller())
    }

    /// Does what blocks, as the caller, on a thread that may block.
    pub(crate) async fn ask<T, F>(&self, work: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&Forge, &Caller) -> Result<T, Problem> + Send + 'static,
    {
        let (forge, caller) = (Arc::clone(self.forge()), self.caller().clone());
        Ok(self.shared.door.run(self.caller(), move || work(&forge, &caller)).await?)
    }

    /// A place for an answer that lasts as long as what it tells of.
    pub(crate) fn live(&self) -> Answer<Place> {
        let (live, party) = (&self.shared.live, Party::of(self.caller()));
        Ok(live.enter_now(party.clone()).ok_or_else(|| live.refusal(&party))?)
    }

    /// The repository of that name, if the caller may do `action` with it.
    pub(crate) async fn repo(&self, name: &str, action: Action) -> Answer<RepoRecord> {
        let name = name.to_owned();
        self.ask(move |forge, caller| access::repo(forge, caller, &name, action)).await
    }

    /// The repository of that name for a page, with what the caller may do on it.
    pub(crate) async fn see(&self, name: &str) -> Answer<Seen> {
        let name = name.to_owned();
        self.ask(move |forge, caller| access::see(forge, caller, &name)).await
    }

    /// Reads what those who fetch see of a repository, on a thread that may block.
    pub(crate) async fn git<T, F>(&self, repo: &RepoRecord, work: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot) -> Result<T, Problem> + Send + 'static,
    {
        let repo = repo.clone();
        self.ask(move |forge, _| work(&access::view(forge, &repo)?.snapshot)).await
    }
}
