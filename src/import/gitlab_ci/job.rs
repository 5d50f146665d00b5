//! A job with all that it extends.

use crate::import::yaml::{Content, Node, size};

/// How many jobs may stand behind one.
const EXTENDS_MAX: usize = 11;

/// The job of that name, what it extends put in; of `left` nodes goes what it has, and none is left where it is too much.
pub(super) fn whole(root: &Node, name: &str, left: &mut usize) -> Node {
    let mut budget = EXTENDS_MAX;
    extended(root, name, &mut budget, left)
}

fn extended(root: &Node, name: &str, budget: &mut usize, left: &mut usize) -> Node {
    let Some(own) = root.get(name).filter(|_| *budget > 0 && *left > 0) else {
        return Node { line: 0, content: Content::Map(Vec::new()) };
    };
    *budget -= 1;
    *left = left.saturating_sub(size(own));
    let own = own.clone();
    let mut entries: Vec<(String, Node)> = Vec::new();
    for base in own.texts_of("extends") {
        let base = extended(root, base, budget, left);
        entries = over(entries, base.entries());
    }
    let entries = over(entries, own.entries());
    Node { line: own.line, content: Content::Map(entries) }
}

/// Entries, and others that come first; of mappings each entry by itself.
fn over(mut below: Vec<(String, Node)>, above: &[(String, Node)]) -> Vec<(String, Node)> {
    for (key, node) in above {
        match below.iter_mut().find(|(name, _)| name == key) {
            Some((_, known)) => match (&mut known.content, &node.content) {
                (Content::Map(old), Content::Map(new)) if key == "variables" => {
                    *old = over(std::mem::take(old), new);
                }
                _ => *known = node.clone(),
            },
            None => below.push((key.clone(), node.clone())),
        }
    }
    below
}

/// `30m`, `1h 30m`, `90 minutes` as slipway.toml has it.
pub(super) fn time(text: &str) -> Option<String> {
    let mut minutes: u64 = 0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].trim_start();
        let end = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        minutes = minutes.checked_add(match &unit[..end] {
            "h" | "hr" | "hrs" | "hour" | "hours" => number.checked_mul(60)?,
            "m" | "min" | "mins" | "minute" | "minutes" => number,
            _ => return None,
        })?;
        rest = unit[end..].trim_start();
    }
    (minutes > 0).then(|| format!("{minutes}m"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::yaml::read;

    #[test]
    fn a_job_has_what_it_extends() {
        let text = ".a:\n  image: x\n  variables: {A: 1, B: 2}\n.b:\n  extends: .a\n  script: [s]\njob:\n  extends: [.b]\n  variables: {B: 3}\nloop:\n  extends: loop\n";
        let root = read(text, "f").expect("yaml").remove(0);
        let job = whole(&root, "job", &mut 100);
        assert_eq!((job.text_of("image"), job.texts_of("script")), (Some("x"), vec!["s"]));
        let variables = job.get("variables").expect("variables");
        assert_eq!((variables.text_of("A"), variables.text_of("B")), (Some("1"), Some("3")));
        let mut few = 3;
        assert!(whole(&root, "job", &mut few).get("image").is_none() && few == 0);
        assert_eq!(whole(&root, "loop", &mut 100).text_of("extends"), Some("loop"));
    }

    #[test]
    fn times_are_minutes() {
        for (text, want) in [
            ("30m", Some("30m")),
            ("1h 30m", Some("90m")),
            ("2 hours", Some("120m")),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(time(text).as_deref(), want, "{text}");
        }
    }
}
