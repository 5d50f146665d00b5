//! The edit of one manifest's text. Pure.
//!
//! Two shapes are known. A *reference*: `image: NAME[:TAG][@DIGEST]` in YAML (plain or quoted, in block or flow style,
//! with or without `- ` before it) and in JSON. A *kustomization entry*: below a line `images:`, a list item with
//! `name: NAME` or `newName: NAME`, whose `newTag` and `digest` lines are set.

use slipway_core::Digest;

/// Writes `image:tag@digest` wherever the text uses `image` (tag and digest aside). `None`: it uses it nowhere; the
/// same text: it is pinned so already. Text that is not UTF-8 uses nothing.
pub fn pin(manifest: &[u8], image: &str, tag: &str, digest: &Digest) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(manifest).ok()?;
    if image.is_empty() || !text.contains(image) {
        return None;
    }
    let mut used = false;
    let mut lines: Vec<String> = Vec::new();
    // Inside `key: |` all is text, however much it looks like a key.
    let mut scalar: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let blank = line.trim().is_empty();
        if scalar.is_some_and(|indent| blank || indent_of(line) > indent) {
            lines.push(line.to_owned());
            continue;
        }
        scalar = opens_scalar(line).then(|| key_column(line));
        lines.push(pin_line(line, image, tag, digest, &mut used));
    }
    used |= pin_kustomization(&mut lines, image, tag, digest);
    used.then(|| lines.concat().into_bytes())
}

/// Every `image` key of one line.
fn pin_line(line: &str, image: &str, tag: &str, digest: &Digest, used: &mut bool) -> String {
    let mut out = String::with_capacity(line.len() + 80);
    let mut rest = line;
    while let Some((before, value, after)) = next_image_value(rest, out.is_empty()) {
        out.push_str(before);
        if name_of(value) == Some(image) {
            *used = true;
            out.push_str(&format!("{image}:{tag}@{digest}"));
        } else {
            out.push_str(value);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The next `image` key: what stands before its value, the value, and what follows.
fn next_image_value(line: &str, at_start: bool) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(found) = line.get(from..)?.find("image") {
        let key = from + found;
        from = key + "image".len();
        let before = line.get(..key)?;
        if before.contains(" #") || before.trim_start().starts_with('#') {
            return None;
        }
        let quote = before.chars().next_back().filter(|c| matches!(c, '"' | '\''));
        let head = quote.map_or(before, |q| before.strip_suffix(q).unwrap_or(before)).trim_end();
        let opens =
            head.ends_with(['{', ',']) || (at_start && head.chars().all(|c| matches!(c, ' ' | '-' | '?')));
        let after_key = line.get(from..)?;
        let after_key = quote.map_or(Some(after_key), |q| after_key.strip_prefix(q));
        let Some(colon) = after_key.map(str::trim_start).filter(|_| opens).and_then(|a| a.strip_prefix(':'))
        else {
            continue;
        };
        // A plain key needs a space after its colon; in JSON none.
        if quote.is_none() && !colon.starts_with([' ', '\t']) {
            continue;
        }
        let value = colon.trim_start_matches([' ', '\t']);
        let start = line.len() - value.len();
        let (start, end) = value_bounds(line, start, line[..key].contains('{'))?;
        return Some((line.get(..start)?, line.get(start..end)?, line.get(end..)?));
    }
    None
}

/// Where the scalar at `start` begins and ends, quotes aside.
fn value_bounds(line: &str, start: usize, in_flow: bool) -> Option<(usize, usize)> {
    let value = line.get(start..)?;
    if let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let inner = value.get(1..)?;
        return Some((start + 1, start + 1 + inner.find(quote)?));
    }
    let stop = |c: char| c.is_whitespace() || (in_flow && matches!(c, ',' | '}' | ']'));
    Some((start, start + value.find(stop).unwrap_or(value.len())))
}

/// An image reference's name: without `@digest`, and without the tag, which follows the last colon after the last slash.
fn name_of(reference: &str) -> Option<&str> {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let after_slash = name.rfind('/').map_or(0, |i| i + 1);
    let last = name.get(after_slash..)?;
    Some(match last.rfind(':') {
        Some(i) => name.get(..after_slash + i)?,
        None => name,
    })
}

/// True for `key: |`, `- >-` and the like.
fn opens_scalar(line: &str) -> bool {
    let body = line.trim_end();
    let body = body.split_once(" #").map_or(body, |(b, _)| b.trim_end());
    let Some((head, mark)) = body.rsplit_once([' ', ':']) else { return false };
    (head.ends_with([':', '-']) || body.ends_with(&format!(":{mark}")))
        && mark.starts_with(['|', '>'])
        && mark.chars().skip(1).all(|c| matches!(c, '-' | '+') || c.is_ascii_digit())
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The column of a line's key, list dashes passed over.
fn key_column(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}

/// One list item below `images:`.
struct Item {
    name: bool,
    new_name: Option<bool>,
    new_tag: Option<usize>,
    digest: Option<usize>,
    last: usize,
    column: usize,
}

fn pin_kustomization(lines: &mut Vec<String>, image: &str, tag: &str, digest: &Digest) -> bool {
    let Some(head) = lines.iter().position(|l| l.trim_end() == "images:") else { return false };
    let items = items(lines, head + 1, image);
    let mut used = false;
    // From the end, so that lines put in do not move those still to come.
    for item in items.iter().rev().filter(|i| i.new_name.unwrap_or(i.name)) {
        used = true;
        let end = if lines[item.last].ends_with("\r\n") { "\r\n" } else { "\n" };
        let mut missing = Vec::new();
        match item.digest {
            Some(at) => set_value(&mut lines[at], digest.as_str()),
            None => missing.push(format!("{}digest: {digest}{end}", " ".repeat(item.column))),
        }
        match item.new_tag {
            Some(at) => set_value(&mut lines[at], tag),
            None => missing.insert(0, format!("{}newTag: {}{end}", " ".repeat(item.column), quoted(tag))),
        }
        if !missing.is_empty() && !lines[item.last].ends_with('\n') {
            lines[item.last].push_str(end);
        }
        for (i, line) in missing.into_iter().enumerate() {
            lines.insert(item.last + 1 + i, line);
        }
    }
    used
}

fn items(lines: &[String], from: usize, image: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for (i, line) in lines.iter().enumerate().skip(from) {
        let body = line.trim();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        let dashed = body.starts_with("- ");
        if indent_of(line) == 0 && !dashed {
            break;
        }
        if dashed {
            items.push(Item {
                name: false,
                new_name: None,
                new_tag: None,
                digest: None,
                last: i,
                column: key_column(line),
            });
        }
        let Some(item) = items.last_mut() else { break };
        item.last = i;
        let Some((key, value)) = body.trim_start_matches("- ").split_once(':') else { continue };
        let value = plain(value);
        match key.trim() {
            "name" => item.name = value == image,
            "newName" => item.new_name = Some(value == image),
            "newTag" => item.new_tag = Some(i),
            "digest" => item.digest = Some(i),
            _ => {}
        }
    }
    items
}

/// A scalar without its comment and quotes.
fn plain(value: &str) -> &str {
    let value = value.trim();
    let value = value.split_once(" #").map_or(value, |(v, _)| v.trim_end());
    value.trim_matches(['"', '\''])
}

/// Replaces the scalar after the line's first colon; quotes and comment stay.
fn set_value(line: &mut String, new: &str) {
    let Some(colon) = line.find(':') else { return };
    let after = line.len() - line[colon + 1..].trim_start_matches([' ', '\t']).len();
    let Some((start, end)) = value_bounds(line, after, false) else { return };
    let bare = start == after;
    let gap = if bare && after == colon + 1 { " " } else { "" };
    let new = if bare { quoted(new) } else { new.to_owned() };
    line.replace_range(start..end, &format!("{gap}{new}"));
}

/// A tag that YAML would read as a number or a word of its own is put into quotes.
fn quoted(tag: &str) -> String {
    let plain = tag.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
            .contains(&tag.to_ascii_lowercase().as_str());
    if plain || tag.starts_with("sha256:") { tag.to_owned() } else { format!("\"{tag}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = "127.0.0.1:5000/demo/app";

    fn digest() -> Digest {
        Digest::parse(&format!("sha256:{}", "d".repeat(64))).expect("digest")
    }

    fn pinned(text: &str) -> Option<String> {
        pin(text.as_bytes(), IMAGE, "abc", &digest()).map(|b| String::from_utf8(b).expect("UTF-8"))
    }

    /// `@` in the wanted text stands for the pinned reference.
    fn check(text: &str, wanted: &str) {
        let reference = format!("{IMAGE}:abc@{}", digest());
        let wanted = wanted.replace('@', &reference);
        let got = pinned(text).unwrap_or_else(|| panic!("nothing found in {text:?}"));
        assert_eq!(got, wanted);
        assert_eq!(pinned(&got).as_deref(), Some(wanted.as_str()), "a second time changes nothing");
    }

    #[test]
    fn references_are_pinned_and_nothing_else_moves() {
        check("  image: 127.0.0.1:5000/demo/app # the app\n", "  image: @ # the app\n");
        check("  - image: \"127.0.0.1:5000/demo/app:1.2\"\r\n", "  - image: \"@\"\r\n");
        check(
            "  - name: x\n    image:   '127.0.0.1:5000/demo/app:1@sha256:00'",
            "  - name: x\n    image:   '@'",
        );
        check("{ name: x, image: 127.0.0.1:5000/demo/app:1, y: z }\n", "{ name: x, image: @, y: z }\n");
        check(
            "{\"image\":\"127.0.0.1:5000/demo/app\",\"x\":{\"image\": \"127.0.0.1:5000/demo/app:2\"}}",
            "{\"image\":\"@\",\"x\":{\"image\": \"@\"}}",
        );
        check(
            "# image: 127.0.0.1:5000/demo/app:1\nimage: other\nimage: 127.0.0.1:5000/demo/app\n",
            "# image: 127.0.0.1:5000/demo/app:1\nimage: other\nimage: @\n",
        );
        check(
            "---\nimage: 127.0.0.1:5000/demo/app:1\n---\n  image: 127.0.0.1:5000/demo/app:2\n",
            "---\nimage: @\n---\n  image: @\n",
        );
    }

    #[test]
    fn other_images_keys_and_texts_are_left_alone() {
        for text in [
            "image: 127.0.0.1:5000/demo/apple:1\n",
            "image: x127.0.0.1:5000/demo/app:1\n",
            "image: 127.0.0.1:5000/demo/app/sub:1\n",
            "image: 127.0.0.1:5000/demo\n",
            "myimage: 127.0.0.1:5000/demo/app:1\n",
            "imagePullPolicy: 127.0.0.1:5000/demo/app\n",
            "  name: image: 127.0.0.1:5000/demo/app\n",
            "x: y # image: 127.0.0.1:5000/demo/app:1\n",
            "data:\n  script: |\n    image: 127.0.0.1:5000/demo/app:1\n\n    more\n",
            "data: >-\n  image: 127.0.0.1:5000/demo/app:1\n",
            "image:127.0.0.1:5000/demo/app\n",
            "",
        ] {
            assert_eq!(pinned(text), None, "{text:?}");
        }
        check(
            "a: |\n  image: 127.0.0.1:5000/demo/app:1\nimage: 127.0.0.1:5000/demo/app:1\n",
            "a: |\n  image: 127.0.0.1:5000/demo/app:1\nimage: @\n",
        );
        assert_eq!(pin(b"\xff\xfe image", IMAGE, "abc", &digest()), None);
    }

    #[test]
    fn a_kustomization_gets_tag_and_digest() {
        let d = digest();
        for (text, wanted) in [
            (
                format!("images:\n- name: app # ours\n  newName: {IMAGE}\n  newTag: \"1\"\nx: y\n"),
                format!(
                    "images:\n- name: app # ours\n  newName: {IMAGE}\n  newTag: \"abc\"\n  digest: {d}\nx: y\n"
                ),
            ),
            (
                format!(
                    "images:\n  - newTag: 1 # old\n    name: {IMAGE}\n    digest: sha256:00\n  - name: other\n    newTag: 2\n"
                ),
                format!(
                    "images:\n  - newTag: abc # old\n    name: {IMAGE}\n    digest: {d}\n  - name: other\n    newTag: 2\n"
                ),
            ),
            (
                format!("images:\n- name: {IMAGE}"),
                format!("images:\n- name: {IMAGE}\n  newTag: abc\n  digest: {d}\n"),
            ),
        ] {
            let got = pinned(&text).unwrap_or_else(|| panic!("nothing found in {text:?}"));
            assert_eq!(got, wanted);
            assert_eq!(pinned(&got), Some(wanted));
        }
        // The entry that renames our name to another is not ours.
        assert_eq!(pinned(&format!("images:\n- name: {IMAGE}\n  newName: elsewhere\n")), None);
    }

    #[test]
    fn a_tag_that_yaml_would_misread_is_quoted() {
        assert_eq!(quoted("12e34"), "\"12e34\"");
        assert_eq!(quoted("on"), "\"on\"");
        assert_eq!(quoted("v1"), "v1");
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in [
            "image",
            "image:",
            "image: ",
            "\"image",
            "'image':",
            "{image: \"",
            "images:",
            "images:\n-",
            "images:\n- name",
            "é image: é",
            "- image: '",
        ] {
            let text = format!("{text}\n{IMAGE}");
            let _ = pinned(&text);
            let _ = pinned(&text.replace('\n', ""));
        }
    }
}
