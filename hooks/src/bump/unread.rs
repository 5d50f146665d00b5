//! Files that are no YAML, such as templates that make lists or keys: what names the image in them is told, and nothing written.

use super::find::{Found, Place};
use super::reference::references;
use super::template::Expressions;

/// Every line that names the image. Where a template is filled in, the image is decided there.
pub(super) fn find(text: &str, image: &str) -> Found {
    let mut found = Found::default();
    let expressions = Expressions::of(text);
    let is_template = text.contains("{{");
    let mut begin = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        for reference in references(line, image).into_iter().filter(|_| !is_comment) {
            let at = begin + reference.range.start..begin + reference.range.end;
            let place = |why| Place { line: index + 1, path: String::new(), why };
            if expressions.fill(text, &at) {
                found.noted.push(place("a template fills it in"));
            } else if is_template {
                found.left.push(place("it stands in a template that cannot be read as YAML"));
            } else {
                found.left.push(place("the file cannot be read as YAML"));
            }
        }
        begin += line.len();
    }
    found
}
