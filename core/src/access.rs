//! The one authoriser: a pure function of actor, standing and action. Deny by default.
//!
//! SSH, HTTP, the API and the pages all ask here. Nothing else in the program compares roles.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::name::UserName;
use crate::problem::{Problem, ProblemKind};

/// What a user may do in one repository. Ordered: each includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Clone, fetch, look.
    Read,
    /// And push, retry and cancel builds, sync deploys.
    Write,
    /// And change settings, grants and bindings that exist.
    Admin,
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Clone, fetch, look.
    #[serde(rename = "repo:read")]
    RepoRead,
    /// And push.
    #[serde(rename = "repo:write")]
    RepoWrite,
    /// Everything the user may do, by API and signed in on the pages.
    #[serde(rename = "api")]
    Api,
}

impl Scope {
    /// The scope of that name: `repo:read`, `repo:write` or `api`.
    pub fn parse(raw: &str) -> Option<Self> {
        match raw {
            "repo:read" => Some(Self::RepoRead),
            "repo:write" => Some(Self::RepoWrite),
            "api" => Some(Self::Api),
            _ => None,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RepoRead => "repo:read",
            Self::RepoWrite => "repo:write",
            Self::Api => "api",
        }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// Nobody has signed in.
    Anonymous,
    /// A user who proved a key, or signed in.
    User {
        /// Who.
        name: UserName,
        /// Owner of the server: may do everything.
        owner: bool,
    },
    /// A user by one of their tokens.
    Token {
        /// Whose token.
        name: UserName,
        /// Whether that user is an owner.
        owner: bool,
        /// What the token is good for.
        scopes: BTreeSet<Scope>,
    },
    /// The server itself: the manifest bump, maintenance, and whoever can open the admin socket in its data folder.
    Server,
}

impl Actor {
    /// The user behind it, if there is one.
    pub fn user(&self) -> Option<&UserName> {
        match self {
            Self::User { name, .. } | Self::Token { name, .. } => Some(name),
            Self::Anonymous | Self::Server => None,
        }
    }

    /// How logs and records call it. Never a secret.
    pub fn label(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".into(),
            Self::User { name, .. } | Self::Token { name, .. } => name.to_string(),
            Self::Server => "Slipway".into(),
        }
    }

    fn owner(&self) -> bool {
        match self {
            Self::User { owner, .. } | Self::Token { owner, .. } => *owner,
            Self::Server => true,
            Self::Anonymous => false,
        }
    }

    fn carries(&self, needed: Scope) -> bool {
        match self {
            Self::Token { scopes, .. } => scopes.iter().any(|&held| held == Scope::Api || held >= needed),
            Self::Anonymous | Self::User { .. } | Self::Server => true,
        }
    }
}

/// What a repository says about an actor: looked up by the caller, judged here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether everyone may read it.
    pub public: bool,
    /// The role granted to the actor's user.
    pub role: Option<Role>,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Clone, fetch, view pages of a repository.
    ReadRepo,
    /// Push to a repository.
    WriteRepo,
    /// Retry or cancel a build, sync or roll back a deploy.
    OperateRepo,
    /// Change a repository's settings and grants, rename or remove it.
    AdminRepo,
    /// Make a repository.
    CreateRepo,
    /// Users, registries, clusters, bindings, backup: what reaches beyond one repository.
    AdminServer,
    /// Manage one's own keys and tokens.
    ManageSelf,
}

/// Says whether `actor` may do `action`; `standing` is that of the repository concerned, `None` where there is no such
/// repository or the action concerns none.
///
/// # Errors
/// `Unauthenticated` where signing in could help, `NotFound` where the actor may not know that the repository exists,
/// `Denied` otherwise. `subject` is the repository's name, or empty.
pub fn authorise(
    actor: &Actor,
    standing: Option<Standing>,
    action: Action,
    subject: &str,
) -> Result<(), Problem> {
    match action {
        Action::CreateRepo | Action::ManageSelf => known(actor).and_then(|()| scoped(actor, Scope::Api)),
        Action::AdminServer => known(actor).and_then(|()| scoped(actor, Scope::Api)).and_then(|()| {
            if actor.owner() { Ok(()) } else { Err(denied(actor, "This needs an owner of the server.")) }
        }),
        Action::ReadRepo => repository(actor, standing, Role::Read, Scope::RepoRead, subject),
        Action::WriteRepo => repository(actor, standing, Role::Write, Scope::RepoWrite, subject),
        Action::OperateRepo => repository(actor, standing, Role::Write, Scope::Api, subject),
        Action::AdminRepo => repository(actor, standing, Role::Admin, Scope::Api, subject),
    }
}

fn repository(
    actor: &Actor,
    standing: Option<Standing>,
    needed: Role,
    scope: Scope,
    subject: &str,
) -> Result<(), Problem> {
    let hidden = || match actor {
        Actor::Anonymous => sign_in(),
        _ => Problem::no_such_repository(subject),
    };
    let Some(standing) = standing else { return Err(hidden()) };
    let role = if actor.owner() { Some(Role::Admin) } else { standing.role };
    let readable = standing.public || (role.is_some() && actor.carries(Scope::RepoRead));
    if !readable {
        return Err(hidden());
    }
    if needed == Role::Read {
        return Ok(());
    }
    known(actor)?;
    if role < Some(needed) {
        let need = if needed == Role::Write { "write" } else { "admin" };
        return Err(denied(actor, &format!("Ask an admin of {subject} for the role {need:?}.")));
    }
    scoped(actor, scope)
}

fn known(actor: &Actor) -> Result<(), Problem> {
    if matches!(actor, Actor::Anonymous) { Err(sign_in()) } else { Ok(()) }
}

fn scoped(actor: &Actor, needed: Scope) -> Result<(), Problem> {
    if actor.carries(needed) {
        return Ok(());
    }
    Err(denied(actor, &format!("The token needs the scope {}.", needed.as_str())))
}

fn sign_in() -> Problem {
    Problem::new(
        ProblemKind::Unauthenticated,
        "This is not public, and you are not signed in.",
        "Sign in with your account name and a token, or use an SSH key that this server knows.",
    )
}

fn denied(actor: &Actor, cure: &str) -> Problem {
    Problem::new(ProblemKind::Denied, format!("{} may not do this.", actor.label()), cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(owner: bool) -> Actor {
        Actor::User { name: UserName::parse("ann").expect("valid"), owner }
    }
    fn token(owner: bool, scopes: &[Scope]) -> Actor {
        Actor::Token {
            name: UserName::parse("ann").expect("valid"),
            owner,
            scopes: scopes.iter().copied().collect(),
        }
    }
    fn private(role: Option<Role>) -> Option<Standing> {
        Some(Standing { public: false, role })
    }

    /// The verdict as one word, so that a table reads well.
    fn verdict(actor: &Actor, standing: Option<Standing>, action: Action) -> &'static str {
        match authorise(actor, standing, action, "app").map_err(|p| p.kind) {
            Ok(()) => "yes",
            Err(ProblemKind::NotFound) => "unseen",
            Err(ProblemKind::Unauthenticated) => "sign in",
            Err(_) => "no",
        }
    }

    #[test]
    fn the_table_of_roles_and_actions() {
        use Action::{AdminRepo, AdminServer, CreateRepo, OperateRepo, ReadRepo, WriteRepo};
        let public = Some(Standing { public: true, role: None });
        for (actor, standing, action, want) in [
            (Actor::Anonymous, public, ReadRepo, "yes"),
            (Actor::Anonymous, public, WriteRepo, "sign in"),
            (Actor::Anonymous, private(None), ReadRepo, "sign in"),
            (Actor::Anonymous, None, ReadRepo, "sign in"),
            (Actor::Anonymous, None, CreateRepo, "sign in"),
            (user(false), private(None), ReadRepo, "unseen"),
            (user(false), private(None), WriteRepo, "unseen"),
            (user(false), None, ReadRepo, "unseen"),
            (user(false), public, WriteRepo, "no"),
            (user(false), private(Some(Role::Read)), ReadRepo, "yes"),
            (user(false), private(Some(Role::Read)), WriteRepo, "no"),
            (user(false), private(Some(Role::Write)), WriteRepo, "yes"),
            (user(false), private(Some(Role::Write)), OperateRepo, "yes"),
            (user(false), private(Some(Role::Write)), AdminRepo, "no"),
            (user(false), private(Some(Role::Admin)), AdminRepo, "yes"),
            (user(false), None, AdminServer, "no"),
            (user(true), private(None), AdminRepo, "yes"),
            (user(true), None, AdminServer, "yes"),
            (user(true), None, ReadRepo, "unseen"),
            (Actor::Server, private(None), WriteRepo, "yes"),
            (token(false, &[Scope::RepoRead]), private(Some(Role::Write)), ReadRepo, "yes"),
            (token(false, &[Scope::RepoRead]), private(Some(Role::Write)), WriteRepo, "no"),
            (token(false, &[Scope::RepoWrite]), private(Some(Role::Write)), WriteRepo, "yes"),
            (token(false, &[Scope::RepoWrite]), private(Some(Role::Write)), ReadRepo, "yes"),
            (token(false, &[Scope::RepoWrite]), private(Some(Role::Admin)), AdminRepo, "no"),
            (token(true, &[Scope::RepoWrite]), None, AdminServer, "no"),
            (token(true, &[Scope::Api]), None, AdminServer, "yes"),
            (token(false, &[]), private(Some(Role::Admin)), ReadRepo, "unseen"),
        ] {
            assert_eq!(verdict(&actor, standing, action), want, "{actor:?} {standing:?} {action:?}");
        }
    }

    #[test]
    fn a_forbidden_repository_answers_as_an_unknown_one() {
        let forbidden = authorise(&user(false), private(None), Action::ReadRepo, "app");
        let unknown = authorise(&user(false), None, Action::ReadRepo, "app");
        assert_eq!(forbidden, unknown);
        let forbidden = authorise(&Actor::Anonymous, private(None), Action::WriteRepo, "app");
        let unknown = authorise(&Actor::Anonymous, None, Action::WriteRepo, "app");
        assert_eq!(forbidden, unknown);
    }
}
