//! References to one image in a text: `NAME[:TAG][@DIGEST]`, as the reference grammar of registries has them.

use std::ops::Range;

/// A reference found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// Where in the text.
    pub(super) range: Range<usize>,
    /// With its colon's right side.
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

impl Reference {
    /// True without tag and digest.
    pub(super) fn is_bare(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }
}

/// Every reference to `image` in a text, from left to right. Longer names that have it in them are others.
pub(super) fn references(text: &str, image: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text.get(from..).filter(|_| !image.is_empty()).and_then(|rest| rest.find(image)) {
        let start = from + at;
        let (tag, digest, end) = parts(text, start + image.len());
        if begins(&text[..start]) && ends(&text[end..]) {
            found.push(Reference { range: start..end, tag, digest });
        }
        from = start + image.len();
    }
    found
}

/// The reference that a text is as a whole.
pub(super) fn whole(text: &str, image: &str) -> Option<Reference> {
    references(text, image).into_iter().next().filter(|r| r.range == (0..text.len()))
}

fn begins(before: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '@' | '%');
    // Behind a shell's default (`${X:-NAME}`) and a scheme it begins all the same.
    before.ends_with("://") || before.ends_with(":-") || !before.ends_with(is_name)
}

/// No name goes on here. A full stop or colon that ends a sentence does not count to it.
fn ends(after: &str) -> bool {
    let mut chars = after.chars();
    match chars.next() {
        Some('.' | ':') => !chars.next().is_some_and(|c| c.is_alphanumeric() || c == '_'),
        Some(c) => !(c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '@' | '%')),
        None => true,
    }
}

/// The tag and digest that stand at `at`, and where they end.
fn parts(text: &str, mut at: usize) -> (Option<String>, Option<String>, usize) {
    let run = |from: usize, is: fn(char) -> bool| {
        let rest = text.get(from..).unwrap_or_default();
        from..from + rest.find(|c: char| !is(c)).unwrap_or(rest.len())
    };
    let mut tag = None;
    if text[at..].starts_with(':') {
        let word = run(at + 1, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        let word = word.start..word.start + text[word].trim_end_matches('.').len();
        if text[word.clone()].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            (tag, at) = (Some(text[word.clone()].to_owned()), word.end);
        }
    }
    let mut digest = None;
    if text[at..].starts_with('@') {
        let kind = run(at + 1, |c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '_' | '-'));
        if !kind.is_empty() && text[kind.end..].starts_with(':') {
            let hex = run(kind.end + 1, |c| c.is_ascii_hexdigit());
            if !hex.is_empty() {
                (digest, at) = (Some(text[kind.start..hex.end].to_owned()), hex.end);
            }
        }
    }
    (tag, digest, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = "r:5000/app";

    #[test]
    fn references_are_told_from_longer_names() {
        let texts = |text: &str| -> Vec<String> {
            references(text, IMAGE).into_iter().map(|r| text[r.range].to_owned()).collect()
        };
        assert_eq!(texts("r:5000/app"), ["r:5000/app"]);
        assert_eq!(texts("--w=r:5000/app:1.2-x,b"), ["r:5000/app:1.2-x"]);
        assert_eq!(
            texts("docker://r:5000/app:1@sha256:00 and r:5000/app."),
            ["r:5000/app:1@sha256:00", "r:5000/app"]
        );
        assert_eq!(texts("(see r:5000/app:1.)"), ["r:5000/app:1"]);
        assert_eq!(texts("r:5000/app: none"), ["r:5000/app"]);
        for other in [
            "xr:5000/app:1",
            "r:5000/apple:1",
            "r:5000/app/sub:1",
            "r:5000/app-b:1",
            "a/r:5000/app",
            "r:5000/app.x:1",
        ] {
            assert!(texts(other).is_empty(), "{other}");
        }
        let r = whole("r:5000/app:1@sha256:ab", IMAGE).expect("whole");
        assert_eq!((r.tag.as_deref(), r.digest.as_deref()), (Some("1"), Some("sha256:ab")));
        assert!(whole("r:5000/app", IMAGE).expect("whole").is_bare());
        assert!(whole(" r:5000/app", IMAGE).is_none());
        // A host with a port is no tag.
        assert!(references("app:5000/other:1", "app").is_empty());
        assert!(references("x", "").is_empty());
    }
}
