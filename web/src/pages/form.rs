//! A form's fields, taken only with the token of the session that the form was made for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest, FromRequestParts, Request};

use slipway_forge::pace::TooSlow;

use crate::csrf;
use crate::parts::Shared;
use crate::refusal::{Answer, invalid};
use crate::visit::Visit;

/// The fields of a form, and who sent it.
pub(crate) struct Fields {
    values: HashMap<String, String>,
}

impl FromRequest<Arc<Shared>> for Fields {
    type Rejection = crate::refusal::Refusal;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Answer<Self> {
        let (mut parts, body) = request.into_parts();
        let visit = Visit::from_request_parts(&mut parts, shared).await?;
        let request = Request::from_parts(parts, body);
        let Form(pairs) =
            Form::<Vec<(String, String)>>::from_request(request, shared).await.map_err(|e| {
                match TooSlow::behind(&e) {
                    Some(slow) => slow.into(),
                    None => invalid("The form cannot be read.", "Load the page anew and send it again."),
                }
            })?;
        let values: HashMap<String, String> = pairs.into_iter().collect();
        csrf::check_token(&visit.visitor, values.get("csrf").map(String::as_str).unwrap_or_default())?;
        Ok(Self { values })
    }
}

impl Fields {
    /// A field's text without blanks at its ends; empty if it is missing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.values.get(name).map(|v| v.trim()).unwrap_or_default()
    }

    /// A field's text, if there is any.
    pub(crate) fn filled(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|t| !t.is_empty()).map(str::to_owned)
    }

    /// The texts of all fields that begin so, by what follows.
    pub(crate) fn after(&self, prefix: &str) -> BTreeMap<String, String> {
        let text =
            |(name, value): (&String, &String)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone()));
        self.values.iter().filter_map(text).collect()
    }

    /// Whether a box was ticked.
    pub(crate) fn ticked(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Which of a page's forms this is.
    pub(crate) fn verb(&self) -> &str {
        self.text("do")
    }

    pub(crate) fn unknown_verb<T>(&self) -> Answer<T> {
        Err(invalid("This page has no such form.", "Load the page anew and send it again."))
    }
}
