//! One's own signed-in browsers.

use askama::Template;
use axum::response::Response;
use slipway_core::people::Parent;
use slipway_forge::sessions::{self, Shown};

use super::account::own;
use super::form::Fields;
use super::frame::{Frame, go_to, html_once};
use crate::link::Link;
use crate::refusal::Answer;
use crate::text::Moment;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    frame: Frame,
    rows: Vec<(Shown, Moment)>,
}

pub(crate) async fn show(visit: Visit) -> Answer<Response> {
    let (user, now) = (own(&visit)?, visit.now());
    let found = visit.ask(move |forge, caller| sessions::list(forge, caller, &user)).await?;
    let rows = found.into_iter().map(|session| {
        let until = Moment::of_ms(session.expires, now);
        (session, until)
    });
    html_once(&SessionsPage { frame: Frame::new(&visit, "Sessions"), rows: rows.collect() })
}

pub(crate) async fn change(visit: Visit, fields: Fields) -> Answer<Response> {
    let user = own(&visit)?;
    match fields.verb() {
        "end-all" => {
            visit.ask(move |forge, caller| sessions::end_all(forge, caller, &user)).await?;
            Ok(go_to(&Link::fixed("/-/login")))
        }
        _ => fields.unknown_verb(),
    }
}
