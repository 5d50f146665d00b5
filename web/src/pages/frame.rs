//! What every page has around its content: who is signed in, where one is, where one can go.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use slipway_core::{Problem, ProblemKind};

use crate::assets::ASSETS;
use crate::identity::Visitor;
use crate::link::Link;
use crate::parts::Shared;
use crate::refusal::{Answer, Refusal};
use crate::visit::{Seen, Visit};

/// The surroundings of a page, as its template sees them.
pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) user: Option<String>,
    pub(crate) owner: bool,
    pub(crate) csrf: String,
    pub(crate) login: Link,
    pub(crate) crumbs: Vec<Crumb>,
    pub(crate) tabs: Vec<Tab>,
    /// Without scripts the page loads itself again while something is under way.
    pub(crate) refresh: bool,
    pub(crate) version: &'static str,
    pub(crate) style: &'static str,
    pub(crate) script: &'static str,
}

/// A step of the way to this page.
pub(crate) struct Crumb {
    pub(crate) text: String,
    pub(crate) link: Option<Link>,
}

/// A part of a repository.
pub(crate) struct Tab {
    pub(crate) text: &'static str,
    pub(crate) link: Link,
    pub(crate) current: bool,
}

impl Frame {
    pub(crate) fn of_visitor(shared: &Shared, visitor: Option<&Visitor>, title: impl Into<String>) -> Self {
        let caller = visitor.map(|v| &v.caller);
        Self {
            title: title.into(),
            user: caller.and_then(|c| c.user()).map(ToString::to_string),
            owner: caller.is_some_and(slipway_forge::access::is_owner),
            csrf: visitor.and_then(|v| v.csrf.clone()).unwrap_or_default(),
            login: Link::fixed("/-/login"),
            crumbs: Vec::new(),
            tabs: Vec::new(),
            refresh: false,
            version: shared.parts.version,
            style: &ASSETS.style,
            script: &ASSETS.script,
        }
    }

    pub(crate) fn new(visit: &Visit, title: impl Into<String>) -> Self {
        Self::of_visitor(&visit.shared, Some(&visit.visitor), title)
    }

    /// A page of a repository; `tab` is the one that is current.
    pub(crate) fn of_repo(visit: &Visit, seen: &Seen, tab: &'static str, title: impl AsRef<str>) -> Self {
        let name = &seen.record.name;
        let title = match title.as_ref() {
            "" => name.to_string(),
            title => format!("{title} - {name}"),
        };
        let mut frame = Self::new(visit, title);
        frame.login = Link::login(Link::repo(name).as_str());
        frame.crumbs.push(Crumb { text: name.to_string(), link: Some(Link::repo(name)) });
        let mut add = |text, link| frame.tabs.push(Tab { text, link, current: text == tab });
        add("Files", Link::repo(name));
        add("History", Link::log(name, "", None));
        add("Branches and tags", Link::page(name, "refs"));
        add("Builds", Link::page(name, "builds"));
        add("Deploys", Link::page(name, "deploys"));
        if seen.admins {
            add("Settings", Link::page(name, "settings"));
        }
        frame
    }

    pub(crate) fn crumb(mut self, text: impl Into<String>, link: Option<Link>) -> Self {
        self.crumbs.push(Crumb { text: text.into(), link });
        self
    }

    pub(crate) fn refreshing(mut self, under_way: bool) -> Self {
        self.refresh = under_way;
        self
    }
}

/// Turns a template into an answer that no shared cache keeps.
pub(crate) fn html(template: &impl Template) -> Answer<Response> {
    let text = render(template)?;
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "private, no-cache")];
    Ok((headers, text).into_response())
}

/// The same, for what must leave no trace in the browser's cache either.
pub(crate) fn html_once(template: &impl Template) -> Answer<Response> {
    let mut response = html(template)?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(crate) fn render(template: &impl Template) -> Answer<String> {
    template.render().map_err(|e| {
        tracing::error!(error = %e, "a page cannot be made");
        Refusal(Problem::new(
            ProblemKind::Broken,
            "The page cannot be made.",
            "Try again; the server's log says more.",
        ))
    })
}

/// Back to a page after a form was taken.
pub(crate) fn go_to(link: &Link) -> Response {
    axum::response::Redirect::to(link.as_str()).into_response()
}
