//! Failures as pages: what happened, what to do. Somebody who has not signed in is offered to.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use slipway_core::{Problem, ProblemKind};

use super::frame::{Frame, render};
use crate::identity::Visitor;
use crate::link::Link;
use crate::parts::Shared;
use crate::refusal::{mark, problem_of};

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    status: u16,
    heading: &'static str,
    problem: Problem,
}

/// The pages' outer layer.
pub(crate) async fn as_page(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let here = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let asks = *request.method() == Method::GET && !request.headers().contains_key(AUTHORIZATION);
    let response = next.run(request).await;
    if response.status().as_u16() < 400 {
        return response;
    }
    if response.headers().get(CONTENT_TYPE).is_some_and(|is| is.as_bytes().starts_with(b"text/html")) {
        // A page of its own, such as the form that was sent, with what is wrong.
        return response;
    }
    let Some(problem) = problem_of(&response) else { return response };
    let visitor = response.extensions().get::<Visitor>();
    if problem.kind == ProblemKind::Unauthenticated && asks {
        return Redirect::to(Link::login(&here).as_str()).into_response();
    }
    let mut answer = page(&shared, visitor, response.status(), &problem);
    mark(&mut answer, &problem);
    answer
}

fn page(shared: &Shared, visitor: Option<&Visitor>, status: StatusCode, problem: &Problem) -> Response {
    let heading = match problem.kind {
        ProblemKind::NotFound => "Not found",
        ProblemKind::Denied | ProblemKind::Unauthenticated => "Not allowed",
        ProblemKind::Invalid | ProblemKind::TooLarge => "This cannot be taken",
        ProblemKind::Conflict | ProblemKind::Cancelled => "This does not fit what is there",
        ProblemKind::Busy | ProblemKind::TimedOut => "Too busy right now",
        ProblemKind::Unwritable => "Nothing can be written right now",
        ProblemKind::Unavailable => "Not available right now",
        ProblemKind::Broken => "Something is broken",
    };
    let page = ProblemPage {
        frame: Frame::of_visitor(shared, visitor, heading),
        status: status.as_u16(),
        heading,
        problem: problem.clone(),
    };
    let text = render(&page).unwrap_or_else(|refusal| refusal.0.to_string());
    let mut response = (status, text).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}
