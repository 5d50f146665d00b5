//! `rules`, `only` and `except`: which pushes a job is for.

use crate::import::condition::{self, ALL, Condition, Refs};
use crate::import::found::{Found, quoted};
use crate::import::jenkinsfile::BY_HAND;
use crate::import::yaml::Node;

/// Whose pushes a job is for.
pub(super) fn of_job(found: &mut Found, job: &Node) -> Condition {
    let by_hand = job.text_of("when") == Some("manual");
    if by_hand {
        by_hand_note(found, job.line);
    }
    if job.text_of("when") == Some("never") {
        return Condition::of(Refs::none());
    }
    let mut when = match job.get("rules") {
        Some(rules) => of(found, rules),
        None => only(found, job),
    };
    when.by_hand |= by_hand;
    when
}

fn by_hand_note(found: &mut Found, line: usize) {
    found.note(line, "when: manual", BY_HAND);
}

/// Rules: the first that fits decides.
pub(super) fn of(found: &mut Found, rules: &Node) -> Condition {
    let (mut refs, mut never) = (Refs::none(), Refs::none());
    let (mut by_hand, mut by_itself, mut paths) = (false, false, Vec::new());
    for rule in rules.items() {
        let mut said = match rule.text_of("if") {
            Some(text) => condition::expression(text).unwrap_or_else(|| {
                let what = format!("the rule `{}`", quoted(text));
                found.note(rule.line, what, "It is taken to fit always.");
                Refs::Any
            }),
            None => Refs::Any,
        };
        if !never.is_none()
            && let Some(others) = never.clone().not()
        {
            said = said.and(others);
        }
        match rule.text_of("when") {
            Some("never") => {
                never = if never.is_none() { said } else { never.or(said) };
                continue;
            }
            Some("manual") => {
                by_hand = true;
                by_hand_note(found, rule.line);
            }
            _ => by_itself |= !said.is_none(),
        }
        let changes = rule.get("changes");
        let changed =
            changes.map(|node| node.get("paths").unwrap_or(node)).map(Node::texts).unwrap_or_default();
        paths.extend(changed.into_iter().map(|(path, _)| path.to_owned()));
        refs = if refs.is_none() { said } else { refs.or(said) };
    }
    Condition { refs, paths, by_hand: by_hand && !by_itself }
}

fn only(found: &mut Found, job: &Node) -> Condition {
    let mut when = Condition::default();
    if let Some(only) = job.get("only") {
        when.refs = listed(found, only);
        let changes = only.get("changes").map(Node::texts).unwrap_or_default();
        when.paths = changes.into_iter().map(|(path, _)| path.to_owned()).collect();
    }
    if let Some(except) = job.get("except") {
        let others = listed(found, except);
        if others != Refs::Any
            && let Some(refs) = others.not()
        {
            when.refs = when.refs.and(refs);
        }
    }
    when
}

/// Names and kinds of refs, or a mapping of these and variables.
fn listed(found: &mut Found, node: &Node) -> Refs {
    let texts = node.get("refs").unwrap_or(node).texts();
    let mut refs = Refs::none();
    for (text, _) in &texts {
        refs = refs.or(match *text {
            "branches" => Refs::branches(&[ALL]),
            "tags" => Refs::tags(&[ALL]),
            "pushes" => Refs::Any,
            "merge_requests" | "schedules" | "web" | "api" | "triggers" | "pipelines" | "external"
            | "chat" => Refs::none(),
            text => {
                match text.strip_prefix('/').and_then(|rest| rest.trim_end_matches('i').strip_suffix('/')) {
                    Some(regex) => match condition::globs(regex) {
                        Some(globs) => Refs::Only { branches: globs.clone(), tags: globs },
                        None => unknown(found, node.line, text),
                    },
                    None => Refs::branches(&[text]),
                }
            }
        });
    }
    let variables = node.get("variables").map(Node::texts).unwrap_or_default();
    let said = variables
        .iter()
        .map(|(text, line)| condition::expression(text).unwrap_or_else(|| unknown(found, *line, text)));
    let said = said.reduce(Refs::or).unwrap_or_default();
    if texts.is_empty() { said } else { refs.and(said) }
}

fn unknown(found: &mut Found, line: usize, text: &str) -> Refs {
    found.note(line, format!("the condition `{}`", quoted(text)), "It is taken to hold always.");
    Refs::Any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::condition::DEFAULT_BRANCH;
    use crate::import::yaml;

    fn read(text: &str) -> Condition {
        let job = yaml::read(text, "f").expect("yaml").remove(0);
        of_job(&mut Found::default(), &job)
    }

    #[test]
    fn rules_and_lists_name_their_refs() {
        let default = Refs::branches(&[DEFAULT_BRANCH]);
        let not_main = Refs::Only { branches: vec![ALL.into(), "!main".into()], tags: vec![ALL.into()] };
        for (text, want) in [
            ("script: []", Refs::Any),
            ("only: [main]", Refs::branches(&["main"])),
            ("only: [tags]", Refs::tags(&[ALL])),
            ("only: [/^rel-/]\nexcept: [tags]", Refs::branches(&["rel-**"])),
            ("except: [main]", not_main.clone()),
            ("rules:\n- if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH", default.clone()),
            ("rules:\n- if: $CI_COMMIT_BRANCH == 'main'\n  when: never\n- when: always", not_main),
            ("rules:\n- if: $CI_PIPELINE_SOURCE == 'merge_request_event'", Refs::none()),
            (
                "rules:\n- if: $CI_COMMIT_TAG\n- if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH",
                Refs::tags(&[ALL]).or(default),
            ),
            ("when: never", Refs::none()),
        ] {
            assert_eq!(read(text).refs, want, "{text}");
        }
        assert!(read("when: manual").by_hand);
        assert!(read("rules:\n- if: $CI_COMMIT_BRANCH\n  when: manual").by_hand);
        assert!(!read("rules:\n- if: $CI_COMMIT_TAG\n  when: manual\n- if: $CI_COMMIT_BRANCH").by_hand);
        assert_eq!(read("rules:\n- changes: [a/**/*]").paths, ["a/**/*"]);
    }
}
