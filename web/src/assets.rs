//! The one style sheet and the one script, embedded; their names carry a hash of their content, so browsers keep them
//! for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sha2::{Digest as _, Sha256};

use crate::refusal::{Answer, missing};

const STYLE: &str = include_str!("../assets/style.css");
const SCRIPT: &str = include_str!("../assets/app.js");

/// The addresses of both.
pub(crate) struct Assets {
    pub(crate) style: String,
    pub(crate) script: String,
}

pub(crate) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: format!("/-/assets/{}.css", hash(STYLE)),
    script: format!("/-/assets/{}.js", hash(SCRIPT)),
});

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

pub(crate) async fn serve(Path(name): Path<String>) -> Answer<Response> {
    let address = format!("/-/assets/{name}");
    let (kind, text) = if address == ASSETS.style {
        ("text/css; charset=utf-8", STYLE)
    } else if address == ASSETS.script {
        ("text/javascript; charset=utf-8", SCRIPT)
    } else {
        return Err(missing("There is no such file; the page that names it is of another version."));
    };
    let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stay_small() {
        assert!(STYLE.len() <= 16 * 1024, "{} bytes of style", STYLE.len());
        assert!(SCRIPT.len() <= 5 * 1024, "{} bytes of script", SCRIPT.len());
    }
}
