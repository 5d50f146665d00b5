//! The front page: the repositories that a visitor may see, and how their last builds and deploys went.

use askama::Template;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use slipway_core::target::RepoRecord;
use slipway_core::{Action, ObjectFormat, RepoName};
use slipway_forge::repositories::{self, NewRepo};
use slipway_forge::{access, runs};

use super::form::Fields;
use super::frame::{Frame, go_to, html};
use super::mark::Mark;
use crate::limits::HOME_ROWS_MAX;
use crate::link::Link;
use crate::refusal::Answer;
use crate::text::Moment;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    frame: Frame,
    rows: Vec<Row>,
    cut: bool,
    may_create: bool,
    http: String,
}

struct Row {
    record: RepoRecord,
    link: Link,
    build: Option<Run>,
    deploy: Option<Run>,
    /// What ran last cannot be told now.
    broken: bool,
}

struct Run {
    mark: Mark,
    link: Link,
    when: Moment,
    number: u64,
}

pub(crate) async fn home(visit: Visit) -> Answer<Response> {
    let now = visit.now();
    let (rows, cut) = visit
        .ask(move |forge, caller| {
            let mut seen = access::visible(forge, caller)?;
            let cut = seen.len() > HOME_ROWS_MAX;
            seen.truncate(HOME_ROWS_MAX);
            let mut rows = Vec::with_capacity(seen.len());
            for record in seen {
                let name = &record.name;
                // One repository that cannot be read leaves the others as they are.
                let last = runs::last(forge, caller, &record);
                let (broken, (build, deploy)) = (last.is_err(), last.unwrap_or_default());
                let build = build.map(|b| Run {
                    mark: Mark::of_build(&b),
                    link: Link::build(name, b.number),
                    when: Moment::of_ms(b.run.ended.unwrap_or(b.run.created), now),
                    number: b.number.0,
                });
                let deploy = deploy.map(|d| Run {
                    mark: Mark::of_deploy(&d),
                    link: Link::deploy(name, d.number),
                    when: Moment::of_ms(d.run.ended.unwrap_or(d.run.created), now),
                    number: d.number.0,
                });
                rows.push(Row { link: Link::repo(name), build, deploy, broken, record });
            }
            Ok((rows, cut))
        })
        .await?;
    let http = visit.shared.parts.addresses.http.clone();
    let may_create = visit.may(Action::CreateRepo).is_ok();
    html(&HomePage { frame: Frame::new(&visit, "Repositories"), rows, cut, may_create, http })
}

#[derive(Template)]
#[template(path = "new.html")]
struct NewPage {
    frame: Frame,
}

pub(crate) async fn new_form(visit: Visit) -> Answer<Response> {
    visit.may(Action::CreateRepo)?;
    html(&NewPage { frame: Frame::new(&visit, "New repository") })
}

pub(crate) async fn create(visit: Visit, fields: Fields) -> Answer<Response> {
    visit.may(Action::CreateRepo)?;
    let name = RepoName::parse(fields.text("name"))?;
    let format = if fields.ticked("sha256") { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 };
    let about = fields.text("description");
    let (description, public) = (about.to_owned(), fields.ticked("public"));
    let default_branch = fields.filled("default_branch");
    let new = NewRepo { name, description, public, object_format: format, default_branch };
    let repo = repositories::create(visit.forge(), visit.caller(), new).await?;
    Ok(go_to(&Link::repo(&repo.name)))
}

/// Crawlers may read what is at the tips; the depth of history costs more than it gives them.
pub(crate) async fn robots() -> ([(http::HeaderName, &'static str); 1], &'static str) {
    let text = "User-agent: *\nDisallow: /-/\nDisallow: /*/commit/\nDisallow: /*/compare/\nDisallow: /*/blame/\n\
                Disallow: /*/archive/\nDisallow: /*/search\nDisallow: /*?\n";
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}
