//! The pages: HTML made here, complete without scripts.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::assets;
use crate::parts::Shared;
use crate::refusal::{Answer, missing};

mod account;
mod admin;
mod archive;
mod badge;
mod build_log;
mod builds;
mod commits;
mod deploys;
mod difference;
mod failure;
mod files;
mod form;
mod frame;
mod go_get;
mod home;
mod live;
mod mark;
mod raw;
mod refs;
mod revision;
mod search;
mod secrets;
mod sessions;
mod settings;
mod statuses;
mod webhooks;

pub(crate) use self::failure::as_page;
pub(crate) use self::go_get::answer as go_get;

/// The pages' routes. What lies below a repository's name uses `{repo}`, as the git transports do.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    server().merge(repository()).fallback(nothing_here)
}

fn server() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(home::home))
        .route("/robots.txt", get(home::robots))
        .route("/-/new", get(home::new_form).post(home::create))
        .route("/-/assets/{name}", get(assets::serve))
        .route("/-/login", get(account::login_form).post(account::login))
        .route("/-/logout", post(account::logout))
        .route("/-/keys", get(account::keys_page).post(account::change_keys))
        .route("/-/tokens", get(account::tokens_page).post(account::change_tokens))
        .route("/-/sessions", get(sessions::show).post(sessions::change))
        .route("/-/admin", get(admin::admin).post(admin::change))
        .route("/-/admin/doctor", get(admin::doctor))
}

fn repository() -> Router<Arc<Shared>> {
    Router::new()
        .route("/{repo}", get(files::summary))
        .route("/{repo}/", get(files::summary))
        .route("/{repo}/files", get(files::root))
        .route("/{repo}/files/{*path}", get(files::files))
        .route("/{repo}/raw/{*path}", get(raw::raw))
        .route("/{repo}/blame/{*path}", get(files::no_blame))
        .route("/{repo}/log", get(commits::root_log))
        .route("/{repo}/log/{*path}", get(commits::path_log))
        .route("/{repo}/commit/{oid}", get(commits::commit))
        .route("/{repo}/compare", get(commits::compare_form))
        .route("/{repo}/compare/{*range}", get(commits::compare))
        .route("/{repo}/refs", get(refs::refs))
        .route("/{repo}/search", get(search::search))
        .route("/{repo}/archive/{*name}", get(archive::archive))
        .route("/{repo}/badge.svg", get(badge::show))
        .route("/{repo}/builds", get(builds::list).post(builds::start))
        .route("/{repo}/builds/{number}", get(builds::show).post(builds::act))
        .route("/{repo}/builds/{number}/log", get(builds::raw_log))
        .route("/{repo}/builds/{number}/live", get(live::build))
        .route("/{repo}/deploys", get(deploys::list).post(deploys::sync))
        .route("/{repo}/deploys/diff", get(deploys::difference))
        .route("/{repo}/deploys/{number}", get(deploys::show).post(deploys::act))
        .route("/{repo}/deploys/{number}/live", get(live::deploy))
        .route("/{repo}/settings", get(settings::show).post(settings::change))
}

async fn nothing_here() -> Answer<()> {
    Err(missing("There is nothing at this address."))
}
