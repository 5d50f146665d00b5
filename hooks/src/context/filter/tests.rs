//! Filters over commits that live in a map.

use super::*;
use crate::context::tests::Made;

fn made() -> Made {
    Made::default()
        .file("lib/a", "a")
        .file("lib/b.md", "b")
        .file("real/x", "x")
        .file("other", "o")
        .with("app", Mode::Link, b"lib")
        .with("deep/up", Mode::Link, b"../real")
        .with("loop", Mode::Link, b"loop")
        .with("rooted", Mode::Link, b"/other")
        .with("out", Mode::Link, b"../../../other")
}

fn wanted(paths: &[&str], wanted: Wanted, ours: &str) -> Vec<String> {
    let plan = ContextPlan::new("", "Dockerfile");
    let ours = Ignore::parse(".dockerignore", ours.as_bytes()).expect("patterns");
    let filter = Filter::new(&made(), &plan, ours, &wanted).expect("a filter");
    paths.iter().filter(|path| filter.wants(path)).map(|path| (*path).to_owned()).collect()
}

fn follow(paths: &[&str]) -> Vec<String> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    super::follow(&made(), &ContextPlan::new("", "Dockerfile"), &paths)
        .expect("followed")
        .into_iter()
        .collect()
}

#[test]
fn links_are_followed_and_kept() {
    assert_eq!(follow(&["lib"]), ["lib"]);
    assert_eq!(follow(&["app/a"]), ["app", "lib/a"]);
    assert_eq!(follow(&["deep/up/x"]), ["deep/up", "real/x"]);
    assert_eq!(follow(&["loop/x"]), ["loop", "loop/x"][..1]);
    assert_eq!(follow(&["rooted", "out"]), ["other", "out", "rooted"]);
    assert_eq!(follow(&["a*/a"]), ["a*", "lib/a"], "a pattern meets the link app");
    assert_eq!(follow(&["gone/x"]), ["gone/x"]);
    assert_eq!(follow(&["/"]), ["."]);
}

#[test]
fn what_is_asked_for_by_name_comes_and_nothing_else() {
    let all = ["app", "lib", "lib/a", "lib/b.md", "other"];
    let asked = |paths: &[&str]| Wanted {
        follow: paths.iter().map(|p| (*p).to_owned()).collect(),
        ..Wanted::default()
    };
    assert_eq!(wanted(&all, Wanted::default(), ""), all);
    assert_eq!(wanted(&all, asked(&["app"]), ""), ["app", "lib", "lib/a", "lib/b.md"]);
    assert_eq!(wanted(&all, asked(&["."]), ""), all);
    assert_eq!(wanted(&all, asked(&["l*"]), ""), ["lib", "lib/a", "lib/b.md"]);
    let include = Wanted { include: vec!["oth*".into()], ..Wanted::default() };
    assert_eq!(wanted(&all, include, ""), ["other"]);
}

#[test]
fn the_commits_rules_and_the_builders_both_hold() {
    let all = ["lib", "lib/a", "lib/b.md", "other"];
    let exclude = Wanted { exclude: vec!["**/*.md".into()], ..Wanted::default() };
    assert_eq!(wanted(&all, exclude, "other"), ["lib", "lib/a"]);
    let exception = Wanted { exclude: vec!["lib".into(), "!lib/a".into()], ..Wanted::default() };
    assert_eq!(wanted(&all, exception, ""), ["lib/a", "other"]);
    let plan = ContextPlan::new("", "Dockerfile");
    let wrong = Wanted { exclude: vec!["[".into()], ..Wanted::default() };
    assert!(Filter::new(&made(), &plan, Ignore::default(), &wrong).is_err());
}
