//! One request's view of the server: who asks, what they may do, and the blocking reads they are owed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request;
use slipway_core::target::RepoRecord;
use slipway_core::{Action, Actor, Problem, RepoName, Standing, UnixMillis, UserName, authorise};
use slipway_repository::Snapshot;
use slipway_store::{MetaStore, Store};

use crate::identity::Visitor;
use crate::operations::Operations;
use crate::parts::Shared;
use crate::refusal::{Answer, Refusal};

pub(crate) struct Visit {
    pub(crate) shared: Arc<Shared>,
    pub(crate) visitor: Visitor,
    /// The other end of the connection, where the listener told.
    pub(crate) peer: Option<IpAddr>,
}

/// A repository that the visitor may see, and what more they may do with it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) record: RepoRecord,
    /// Retry and cancel builds, sync and roll back deploys.
    pub(crate) operates: bool,
    /// Change settings and grants.
    pub(crate) admins: bool,
}

impl FromRequestParts<Arc<Shared>> for Visit {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut request::Parts, shared: &Arc<Shared>) -> Answer<Self> {
        // Without the identifying layer in front nobody is known: deny by default.
        let nobody = || Visitor { actor: Actor::Anonymous, csrf: None };
        let visitor = parts.extensions.get::<Visitor>().cloned().unwrap_or_else(nobody);
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
        Ok(Self { shared: Arc::clone(shared), visitor, peer })
    }
}

impl Visit {
    pub(crate) fn actor(&self) -> &Actor {
        &self.visitor.actor
    }

    pub(crate) fn operations(&self) -> &dyn Operations {
        &*self.shared.parts.operations
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.shared.now()
    }

    /// Asks the authoriser about an action that concerns no repository.
    pub(crate) fn may(&self, action: Action) -> Answer<()> {
        Ok(authorise(self.actor(), None, action, "")?)
    }

    /// Actions on somebody's own keys and tokens; those of others are an owner's business.
    pub(crate) fn may_manage(&self, user: &UserName) -> Answer<()> {
        if self.actor().user() == Some(user) {
            self.may(Action::ManageSelf)
        } else {
            self.may(Action::AdminServer)
        }
    }

    /// True if the actor may do what reaches beyond one repository.
    pub(crate) fn is_owner(&self) -> bool {
        self.may(Action::AdminServer).is_ok()
    }

    /// Reads or writes the store on a thread that may block.
    pub(crate) async fn store<T, F>(&self, work: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&dyn MetaStore) -> Result<T, Problem> + Send + 'static,
    {
        let store: Store = Arc::clone(&self.shared.parts.store);
        Ok(self.shared.door.run(self.actor(), move || work(&*store)).await?)
    }

    /// The repository of that name, if the actor may do `action` with it. A name that cannot be is answered as one
    /// that is not.
    pub(crate) async fn repo(&self, name: &str, action: Action) -> Answer<RepoRecord> {
        let (actor, name) = (self.actor().clone(), name.to_owned());
        self.store(move |store| find_repo(store, &actor, &name, action)).await
    }

    /// The repository of that name for a page, with what the visitor may do on it.
    pub(crate) async fn see(&self, name: &str) -> Answer<Seen> {
        let (actor, name) = (self.actor().clone(), name.to_owned());
        self.store(move |store| {
            let record = find_repo(store, &actor, &name, Action::ReadRepo)?;
            let standing = standing(store, &actor, &record)?;
            let may = |action| authorise(&actor, Some(standing), action, &name).is_ok();
            Ok(Seen { operates: may(Action::OperateRepo), admins: may(Action::AdminRepo), record })
        })
        .await
    }

    /// Reads a repository's objects on a thread that may block.
    pub(crate) async fn git<T, F>(&self, repo: &RepoRecord, work: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot) -> Result<T, Problem> + Send + 'static,
    {
        let (repositories, name) = (Arc::clone(&self.shared.parts.repositories), repo.name.clone());
        let read = move || work(&*repositories.get(&name)?.snapshot()?);
        Ok(self.shared.door.run(self.actor(), read).await?)
    }
}

/// Looks a repository up and asks the authoriser. Blocking.
pub(crate) fn find_repo(
    store: &dyn MetaStore,
    actor: &Actor,
    name: &str,
    action: Action,
) -> Result<RepoRecord, Problem> {
    let shown: String = name.chars().take(100).collect();
    let record = match RepoName::parse(name) {
        Ok(name) => store.repo_by_name(&name)?,
        Err(_) => None,
    };
    let standing = match &record {
        Some(record) => Some(standing(store, actor, record)?),
        None => None,
    };
    authorise(actor, standing, action, &shown)?;
    record.ok_or_else(|| Problem::no_such_repository(&shown))
}

/// What a repository says about an actor. Blocking.
pub(crate) fn standing(store: &dyn MetaStore, actor: &Actor, repo: &RepoRecord) -> Result<Standing, Problem> {
    let role = match actor.user() {
        Some(user) => store.role(user, repo.id)?,
        None => None,
    };
    Ok(Standing { public: repo.public, role })
}

/// The repositories that the actor may see, by name. Blocking.
pub(crate) fn visible_repos(store: &dyn MetaStore, actor: &Actor) -> Result<Vec<RepoRecord>, Problem> {
    let mut seen = Vec::new();
    for repo in store.repos()? {
        let standing = standing(store, actor, &repo)?;
        if authorise(actor, Some(standing), Action::ReadRepo, repo.name.as_str()).is_ok() {
            seen.push(repo);
        }
    }
    Ok(seen)
}
