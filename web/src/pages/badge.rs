//! A small picture that says whether a branch builds, for READMEs. All of it is written here: nothing that anybody has named
//! is in it.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Deserialize;
use slipway_forge::badge::{self, Standing};

use super::commits::matches_tag;
use crate::api::Keys;
use crate::refusal::Answer;
use crate::visit::Visit;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Asked {
    branch: Option<String>,
}

pub(crate) async fn show(
    visit: Visit,
    Path(repo): Path<String>,
    Keys(asked): Keys<Asked>,
    headers: HeaderMap,
) -> Answer<Response> {
    let branch = asked.branch.filter(|branch| !branch.is_empty());
    let (standing, public) =
        visit.ask(move |forge, caller| badge::of(forge, caller, &repo, branch.as_deref())).await?;
    let (word, _) = look(standing);
    let tag = http::HeaderValue::from_str(&format!("\"{word}-1\""))
        .unwrap_or_else(|_| http::HeaderValue::from_static("\"\""));
    let rule = if public { "no-cache" } else { "private, no-cache" };
    let same = matches_tag(&headers, &tag);
    let mut answer = match same {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(CONTENT_TYPE, "image/svg+xml; charset=utf-8")], svg(standing)).into_response(),
    };
    answer.headers_mut().insert(ETAG, tag);
    answer.headers_mut().insert(CACHE_CONTROL, http::HeaderValue::from_static(rule));
    // Pages elsewhere show it.
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    answer.headers_mut().insert(policy, http::HeaderValue::from_static("cross-origin"));
    Ok(answer)
}

/// The word, and its colour: dark enough for white letters.
fn look(standing: Standing) -> (&'static str, &'static str) {
    match standing {
        Standing::Passing => ("passing", "#1f6f43"),
        Standing::Failing => ("failing", "#a8321f"),
        Standing::Running => ("running", "#835400"),
        Standing::None => ("none", "#586372"),
    }
}

/// How wide a small letter is in Verdana of 11 pixels, in tenths of a pixel.
fn width(letter: char) -> u32 {
    match letter {
        'i' | 'l' => 30,
        'f' => 39,
        'r' => 47,
        'a' | 'o' => 66,
        'b' | 'd' | 'g' | 'n' | 'p' | 'u' => 69,
        's' => 57,
        'e' => 66,
        _ => 70,
    }
}

/// A text's width with room beside it, in pixels.
fn field(text: &str) -> u32 {
    text.chars().map(width).sum::<u32>().div_ceil(10) + 12
}

fn svg(standing: Standing) -> String {
    const LABEL: &str = "build";
    let (word, colour) = look(standing);
    let (left, right) = (field(LABEL), field(word));
    let whole = left + right;
    let text = |middle: u32, words: &str| {
        format!(
            "<text x=\"{}.{}\" y=\"14\">{words}</text>",
            middle / 2,
            if middle.is_multiple_of(2) { 0 } else { 5 }
        )
    };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole}\" height=\"20\" role=\"img\" aria-label=\"{LABEL}: {word}\">\
         <title>{LABEL}: {word}</title><rect width=\"{whole}\" height=\"20\" rx=\"3\" fill=\"{colour}\"/>\
         <path d=\"M3 0h{inner}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z\" fill=\"#444b55\"/>\
         <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">{}{}</g></svg>",
        text(left, LABEL),
        text(2 * left + right, word),
        inner = left - 3,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_standing_has_its_word_and_letters_have_room() {
        for standing in [Standing::Passing, Standing::Failing, Standing::Running, Standing::None] {
            let (picture, (word, colour)) = (svg(standing), look(standing));
            assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>"), "{picture}");
            assert!(picture.contains(&format!(">{word}<")) && picture.contains(colour), "{picture}");
            assert!(field(word) as usize >= word.len() * 4 + 12);
        }
        assert_eq!(field("il"), 18);
    }
}
