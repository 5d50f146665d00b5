//! README files as HTML. Raw HTML in them is shown as text, links lead only to web pages, mail and this repository,
//! pictures come only from this repository.
//!
//! CommonMark with GitHub's tables, strikethrough and task lists, by pulldown-cmark.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};
use slipway_core::RepoName;

use crate::link::Link;

/// Where a document lies: what its relative links are relative to.
pub(crate) struct Place<'a> {
    pub(crate) repo: &'a RepoName,
    /// The folder, without slashes at its ends; empty is the root.
    pub(crate) folder: &'a str,
    /// The revision its neighbours are looked up at, if not the default branch.
    pub(crate) at: Option<&'a str>,
}

/// Renders a document.
pub(crate) fn render(text: &str, place: &Place<'_>) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut pictures = 0u32;
    let events = Parser::new_ext(text, options).map(|event| rewrite(event, place, &mut pictures));
    let mut out = String::with_capacity(text.len().saturating_mul(2));
    html::push_html(&mut out, events);
    out
}

fn rewrite<'a>(event: Event<'a>, place: &Place<'_>, pictures: &mut u32) -> Event<'a> {
    match event {
        Event::Html(raw) | Event::InlineHtml(raw) => Event::Text(raw),
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let dest_url = resolve(&dest_url, place, Link::files).into();
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) if is_relative(&dest_url) => {
            let dest_url = resolve(&dest_url, place, Link::raw).into();
            Event::Start(Tag::Image { link_type, dest_url, title, id })
        }
        // A picture from elsewhere would tell a stranger who reads here: it becomes a link.
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            *pictures += 1;
            let dest_url = resolve(&dest_url, place, Link::files).into();
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        Event::End(TagEnd::Image) if *pictures > 0 => {
            *pictures -= 1;
            Event::End(TagEnd::Link)
        }
        // Headings keep no ids of their own choosing: they could shadow the page's.
        Event::Start(Tag::Heading { level, .. }) => {
            Event::Start(Tag::Heading { level, id: None, classes: Vec::new(), attrs: Vec::new() })
        }
        other => other,
    }
}

fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once(':')?;
    let plain = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (!scheme.contains('/') && !scheme.contains('#') && plain).then_some(scheme)
}

fn is_relative(url: &str) -> bool {
    !url.contains(':') && !url.starts_with("//") && !url.starts_with('#') && !url.starts_with('\\')
}

/// What a link may lead to; anything else leads nowhere.
fn resolve(url: &str, place: &Place<'_>, local: fn(&RepoName, &str, Option<&str>) -> Link) -> String {
    let url = url.trim();
    if let Some(scheme) = scheme(url) {
        let allowed = ["http", "https", "mailto"].iter().any(|s| scheme.eq_ignore_ascii_case(s));
        return if allowed { url.to_owned() } else { "#".to_owned() };
    }
    if url.starts_with('#') {
        return url.to_owned();
    }
    if !is_relative(url) {
        return "#".to_owned();
    }
    let (path, fragment) = url.split_once('#').unwrap_or((url, ""));
    let path = path.split('?').next().unwrap_or_default();
    let Some(path) = join(place.folder, path) else { return "#".to_owned() };
    let link = local(place.repo, &path, place.at).to_string();
    let plain = fragment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fragment.is_empty() || !plain { link } else { format!("{link}#{fragment}") }
}

/// `path` as seen from `folder`; `None` if it leaves the repository. A leading slash means the repository's root.
fn join(folder: &str, path: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    let mut parts: Vec<&str> = Vec::new();
    if !decoded.starts_with('/') {
        parts.extend(folder.split('/').filter(|p| !p.is_empty()));
    }
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A plain-text document, kept as it is.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::from("<pre>");
    crate::text::escape_into(&mut out, text);
    out.push_str("</pre>");
    out
}

/// True for the file names that are shown below a folder.
pub(crate) fn is_readme(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    matches!(lower.as_str(), "readme" | "readme.md" | "readme.markdown" | "readme.txt")
}

/// True if the file is Markdown by its name.
pub(crate) fn is_markdown(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with(".md") || lower.ends_with(".markdown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let repo = RepoName::parse("app").expect("valid");
        render(text, &Place { repo: &repo, folder: "docs/a", at: Some("v1") })
    }

    #[test]
    fn relative_links_lead_to_neighbours() {
        for (url, want) in [
            ("b.md", "/app/files/docs/a/b.md?at=v1"),
            ("./b.md#top", "/app/files/docs/a/b.md?at=v1#top"),
            ("../c d.md", "/app/files/docs/c%20d.md?at=v1"),
            ("/LICENSE", "/app/files/LICENSE?at=v1"),
            ("../../..", "#"),
            ("https://example.com/x", "https://example.com/x"),
            ("mailto:a@example.com", "mailto:a@example.com"),
            ("#part", "#part"),
        ] {
            let html = shown(&format!("[x](<{url}>)"));
            let wanted = format!("href=\"{}\"", want.replace('&', "&amp;"));
            assert!(html.contains(&wanted), "{url}: {html}");
        }
    }

    #[test]
    fn attacks_stay_text() {
        for attack in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](&#106;avascript:alert(1))",
            "[x](data:text/html,<script>alert(1)</script>)",
            "[x](//evil.example/)",
            "[x](<\\\\evil.example>)",
            "[x](vbscript:x)",
            "![x](https://evil.example/pixel.png)",
            "![x](\"onerror=alert(1))",
            "<a href=\"javascript:alert(1)\">x</a>",
            "# h {onclick=x}",
            "[x]: javascript:alert(1)\n\n[x]",
            "<svg/onload=alert(1)>",
            "`<script>`\n\n    <script>",
            "<javascript:alert(1)>",
        ] {
            let html = shown(attack);
            // What stands between angle brackets is markup; everything else is text and harms nobody.
            let tags: Vec<&str> =
                html.split('<').skip(1).map(|t| t.split('>').next().unwrap_or_default()).collect();
            for tag in tags {
                let lower = tag.to_ascii_lowercase();
                let evil = [
                    "script",
                    "svg",
                    "iframe",
                    " onerror=",
                    " onload=",
                    " onclick=",
                    "href=\"//",
                    "href=\"data",
                    "src=\"http",
                ];
                let name = lower.split(' ').next().unwrap_or_default();
                assert!(
                    !evil.iter().any(|e| name == *e || (lower.contains(e) && e.len() > 6)),
                    "{attack} gave {html}"
                );
                assert!(
                    !lower.contains("href=\"javascript") && !lower.contains("href=\"vbscript"),
                    "{attack} gave {html}"
                );
            }
        }
    }

    #[test]
    fn pictures_of_the_repository_come_from_the_raw_page() {
        assert!(shown("![logo](logo.png)").contains("src=\"/app/raw/docs/a/logo.png?at=v1\""));
    }
}
