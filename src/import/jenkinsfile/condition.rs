//! `when { … }` of a declarative pipeline.

use crate::import::condition::{self, ALL, Condition, DEFAULT_BRANCH, Refs};
use crate::import::found::{Found, quoted};
use crate::import::groovy::{Block, Call, Step};
use crate::import::limits::DEPTH_MAX;

/// What all conditions of a block say together.
pub(super) fn of(found: &mut Found, block: &Block) -> Condition {
    all(found, block, 0)
}

fn all(found: &mut Found, block: &Block, depth: usize) -> Condition {
    let mut whole = Condition::default();
    for step in &block.steps {
        if let Step::Call(call) = step {
            let one = one(found, call, depth);
            whole = whole.and(&one);
        }
    }
    whole
}

fn any(found: &mut Found, block: &Block, depth: usize) -> Condition {
    let mut refs: Option<Refs> = None;
    let mut paths = Vec::new();
    for step in &block.steps {
        if let Step::Call(call) = step {
            let one = one(found, call, depth);
            paths.extend(one.paths.clone());
            // A path among others is none of the refs.
            if one.paths.is_empty() {
                refs = Some(match refs.take() {
                    Some(refs) => refs.or(one.refs),
                    None => one.refs,
                });
            }
        }
    }
    Condition { refs: refs.unwrap_or_default(), paths, by_hand: false }
}

fn one(found: &mut Found, call: &Call, depth: usize) -> Condition {
    if depth > DEPTH_MAX {
        return Condition::default();
    }
    let text = call.text("pattern", 0).unwrap_or_default();
    let patterns = match call.text("comparator", usize::MAX).as_deref() {
        Some("REGEXP") => condition::globs(&text).unwrap_or_else(|| vec![text.clone()]),
        _ => vec![text.clone()],
    };
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let refs = match (call.name.as_str(), &call.block) {
        ("branch", _) => Some(Refs::branches(&patterns)),
        ("tag", _) => Some(Refs::tags(&patterns)),
        ("buildingTag", _) => Some(Refs::tags(&[ALL])),
        ("changeRequest", _) => Some(Refs::none()),
        ("isPrimaryBranch", _) => Some(Refs::branches(&[DEFAULT_BRANCH])),
        ("changeset", _) => return Condition { paths: vec![text], ..Condition::default() },
        ("not", Some(block)) => all(found, block, depth + 1).refs.not(),
        ("anyOf", Some(block)) => return any(found, block, depth + 1),
        ("allOf", Some(block)) => return all(found, block, depth + 1),
        ("expression", _) => {
            let source = call.text("source", usize::MAX).unwrap_or_default();
            condition::expression(source.trim().trim_start_matches("return ").trim_end_matches(';'))
        }
        ("beforeAgent" | "beforeInput" | "beforeOptions", _) => Some(Refs::Any),
        _ => None,
    };
    found.every_ref |= ["branch", "tag", "buildingTag", "changeRequest"].contains(&call.name.as_str());
    match refs {
        Some(refs) => Condition::of(refs),
        None => {
            let what = format!("the condition `{}`", quoted(&shown(call)));
            found.note(call.line, what, "What it holds is taken to run always.");
            Condition::default()
        }
    }
}

fn shown(call: &Call) -> String {
    if let Some(source) = call.text("source", usize::MAX) {
        return source.trim().trim_start_matches("return ").to_owned();
    }
    let args: Vec<String> = call.args.iter().filter_map(|(_, value)| value.text()).collect();
    format!("{} {}", call.name, args.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::groovy;

    fn read(text: &str) -> (Condition, usize) {
        let mut found = Found::default();
        let condition = of(&mut found, &groovy::read(text));
        (condition, found.notes.len())
    }

    #[test]
    fn conditions_name_their_refs() {
        let main = Refs::branches(&["main"]);
        for (text, want) in [
            ("branch 'main'", main.clone()),
            ("branch pattern: 'main', comparator: 'EQUALS'", main.clone()),
            ("branch pattern: '^rel-.*$', comparator: 'REGEXP'", Refs::branches(&["rel-**"])),
            ("anyOf { branch 'main'; tag 'v*' }", main.clone().or(Refs::tags(&["v*"]))),
            ("allOf { branch 'main'; not { changeRequest() } }", main.clone()),
            ("not { branch 'main' }", main.clone().not().expect("patterns")),
            ("expression { return env.BRANCH_NAME == 'main' }", main.clone()),
            ("buildingTag()", Refs::tags(&[ALL])),
            ("changeRequest()", Refs::none()),
            ("beforeAgent true\nbranch 'main'", main),
        ] {
            let (condition, notes) = read(text);
            assert_eq!((condition.refs, notes), (want, 0), "{text}");
        }
        assert_eq!(read("changeset 'svc/**'").0.paths, ["svc/**"]);
        assert_eq!(read("expression { params.DEPLOY }"), (Condition::default(), 1));
        assert_eq!(read("environment name: 'A', value: 'b'").1, 1);
        read(&"not { ".repeat(10_000));
    }
}
