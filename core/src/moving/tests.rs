//! The rule as tables.

use super::*;

fn branch(name: &str) -> RefName {
    RefName::branch(name).expect("valid")
}

fn holder(build: u64, name: &str, event: u64) -> Holder {
    let ref_name = RefName::parse(name).or_else(|_| RefName::branch(name)).expect("valid");
    let ref_name = if name.contains('/') { ref_name } else { branch(name) };
    let commit = Oid::Sha1([u8::try_from(build).expect("small"); 20]);
    Holder { build: BuildNumber(build), commit, ref_name, event: EventId(event) }
}

fn pointer(holder: Holder) -> Pointer {
    let digest = Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("valid");
    Pointer { holder, digest, at: UnixMillis(0), by: None, returned_from: None }
}

#[test]
fn a_name_goes_forward_alone() {
    use Order::{Apart, Newer, Older, Same};
    use Place::{Behind, Cut, Tip};
    let main = |build, event| holder(build, "main", event);
    let other = |build, event| holder(build, "release", event);
    let now = pointer(main(5, 50));
    let newer = Err(Stay::Newer(BuildNumber(5)));
    let later = Err(Stay::Later(BuildNumber(5)));
    let cut = |name: &str| Err(Stay::Cut(branch(name)));
    for (what, build, place, order, rival_on_ref, want) in [
        ("the next commit", main(6, 60), Tip, Newer, true, Ok(())),
        ("the next but one, its tip failed", main(6, 60), Behind, Newer, true, Ok(())),
        ("the same commit again", main(6, 50), Tip, Same, true, Ok(())),
        ("an old build again, below a tip that failed", main(6, 40), Behind, Older, true, newer.clone()),
        ("an old build again, below a tip that was skipped", main(6, 40), Behind, Older, true, newer.clone()),
        ("started by hand, of no push", main(6, 0), Behind, Older, true, newer.clone()),
        ("started by hand, newer than what is there", main(6, 0), Behind, Newer, true, Ok(())),
        ("the branch put back to it", main(6, 60), Tip, Older, false, Ok(())),
        ("the branch put back, and one below it again", main(6, 40), Behind, Older, false, newer.clone()),
        ("the branch rewritten", main(6, 60), Tip, Apart, false, Ok(())),
        ("cut off by a rewrite", main(6, 40), Cut, Apart, true, cut("main")),
        ("cut off, and newer", main(6, 40), Cut, Newer, true, cut("main")),
        ("a side branch's commit that was merged", main(6, 40), Behind, Apart, true, later.clone()),
        ("another branch, pushed later", other(6, 60), Tip, Apart, false, Ok(())),
        ("another branch, pushed before", other(6, 40), Tip, Apart, false, later.clone()),
        ("another branch that starts from an older commit", other(6, 60), Tip, Older, false, newer.clone()),
        ("a tag on an older commit", holder(6, "refs/tags/v1", 60), Tip, Older, false, newer.clone()),
        ("a tag on the same commit", holder(6, "refs/tags/v1", 60), Tip, Same, true, Ok(())),
        (
            "a tag that is gone",
            holder(6, "refs/tags/v1", 60),
            Cut,
            Newer,
            false,
            Err(Stay::Cut(RefName::tag("v1").expect("valid"))),
        ),
    ] {
        let lie = Lie { place, order, rival_on_ref };
        assert_eq!(decide(&build, place, Some((&now, lie))), want, "{what}");
    }
    assert_eq!(decide(&main(1, 10), Tip, None), Ok(()), "nothing is there");
    assert_eq!(decide(&main(1, 10), Behind, None), Ok(()), "nothing is there, and the tip failed");
    assert_eq!(decide(&main(1, 10), Cut, None), cut("main"));
}

#[test]
fn a_return_by_name_pins_nothing_and_is_not_undone_by_a_retry() {
    let digest = pointer(holder(1, "main", 1)).digest;
    let at = pointer(holder(2, "main", 2));
    let back = Pointer::next(
        Some(at.clone()),
        holder(1, "main", 1),
        digest.clone(),
        Some("ann".into()),
        UnixMillis(9),
    );
    assert_eq!((back.holder.build, back.rival().build), (BuildNumber(1), BuildNumber(2)));
    let lie = |order| Lie { place: Place::Behind, order, rival_on_ref: true };
    let ask = |build: Holder, order| decide(&build, Place::Behind, Some((&back, lie(order))));
    assert_eq!(ask(holder(3, "main", 3), Order::Newer), Ok(()), "the next push");
    let again = Holder { build: BuildNumber(4), ..holder(2, "main", 2) };
    let stays = Stay::Returned { by: "ann".into(), from: BuildNumber(2), to: BuildNumber(1) };
    assert_eq!(ask(again, Order::Same), Err(stays.clone()), "what was returned from, retried");
    assert_eq!(
        stays.to_string(),
        "ann promoted build 1 in place of build 2; a commit newer than that moves it on"
    );
    // A second return remembers how far builds had come, and the next build forgets both.
    let further =
        Pointer::next(Some(back), holder(5, "side", 5), digest.clone(), Some("ann".into()), UnixMillis(9));
    assert_eq!(further.rival().build, BuildNumber(2));
    let on = Pointer::next(Some(further), holder(6, "main", 6), digest.clone(), None, UnixMillis(10));
    assert_eq!((on.rival().build, &on.by), (BuildNumber(6), &None));
    // Promoted to what is there: the same build again is no way back.
    let same = Pointer::next(Some(at), holder(2, "main", 2), digest, Some("ann".into()), UnixMillis(9));
    assert_eq!(decide(&holder(2, "main", 2), Place::Tip, Some((&same, lie(Order::Same)))), Ok(()));
}

fn spec(text: &str) -> Spec {
    Spec::parse(text.as_bytes()).expect("valid")
}

/// What of the tags of a build of `name` moves, and what does not.
fn moving(own: &str, default: Option<&str>, name: &RefName) -> (Vec<String>, Vec<String>) {
    let (own, default, main) = (spec(own), default.map(spec), branch("main"));
    let said = Said { own: &own, of_default: default.as_ref(), default_branch: &main };
    let facts =
        TagFacts { commit: "c0ffee0123", ref_name: name, number: BuildNumber(7), created: UnixMillis(0) };
    let tags = tags(&said, &facts);
    assert_eq!(tags.own.first().map(String::as_str), Some("c0ffee0123"), "{tags:?}");
    let (free, denied): (Vec<_>, Vec<_>) = tags.moving.into_iter().partition(|t| t.denied.is_none());
    let texts = |tags: Vec<MovingTag>| tags.into_iter().map(|t| t.text).collect();
    (texts(free), texts(denied))
}

#[test]
fn a_shared_tag_moves_for_the_default_branch_unless_it_says_otherwise() {
    const ALL: &str = "[build.on]\nbranches = [\"**\"]\ntags = [\"**\"]\n";
    let (main, side, v1) = (branch("main"), branch("feature/x"), RefName::tag("v1.0.0").expect("valid"));
    let stable = "[push]\ntags = [\"{sha}\", \"latest\", { tag = \"stable\", on = { tags = [\"v*\"] } }, \"{semver}\"]\n";
    let wide = "[push]\ntags = [\"{sha}\", \"latest\"]\non = { branches = [\"**\"] }\n";
    let both = "[push]\ntags = [\"{branch}\", \"latest\", \"{number}\"]\n";
    for (own, default, name, free, denied) in [
        (ALL, ALL, &main, vec!["latest"], vec![]),
        (ALL, ALL, &side, vec![], vec!["latest"]),
        (ALL, ALL, &v1, vec![], vec!["latest"]),
        (stable, stable, &main, vec!["latest"], vec!["stable"]),
        (stable, stable, &v1, vec!["stable", "1.0.0"], vec!["latest"]),
        (stable, ALL, &v1, vec!["1.0.0"], vec!["latest", "stable"]),
        // Whoever can push a feature branch alone cannot take the default branch's names by what is written there.
        (wide, ALL, &side, vec![], vec!["latest"]),
        (wide, wide, &side, vec!["latest"], vec![]),
        (ALL, wide, &side, vec![], vec!["latest"]),
        (wide, ALL, &main, vec!["latest"], vec![]),
        (both, both, &branch("latest"), vec!["7"], vec!["latest"]),
        ("[push]\ntags = [\"{branch}\"]\n", ALL, &branch("latest"), vec![], vec!["latest"]),
        ("[push]\ntags = [\"{branch}\"]\n", ALL, &side, vec!["feature-x-217d2bf5"], vec![]),
    ] {
        let got = moving(own, Some(default), name);
        let want: (Vec<String>, Vec<String>) =
            (free.into_iter().map(Into::into).collect(), denied.into_iter().map(Into::into).collect());
        assert_eq!(got, want, "{own} beside {default} for {name:?}");
    }
    assert_eq!(moving(wide, None, &side).1, ["latest"], "the default branch's file cannot be read");
}

#[test]
fn a_target_is_written_for_refs_that_both_files_name_and_to_the_place_of_the_default_branch() {
    let (main, dev, v1) = (branch("main"), branch("dev"), RefName::tag("v1").expect("valid"));
    let plain = "[deploy.p]\nrepo = \"m\"\npath = \"p\"\n";
    let wide =
        "[deploy.p]\nrepo = \"m\"\npath = \"p\"\non = { branches = [\"main\", \"dev\"], tags = [\"v*\"] }\n";
    let tags = "[deploy.p]\nrepo = \"m\"\npath = \"p\"\non = { tags = [\"v*\"] }\n";
    let elsewhere = wide.replace("\"p\"\non", "\"q\"\non");
    for (own, default, name, want) in [
        (plain, Some(plain), &main, None),
        (plain, Some(plain), &dev, Some("builds of main alone move it")),
        (wide, Some(wide), &dev, None),
        (wide, Some(plain), &dev, Some("as slipway.toml of main has it")),
        (wide, Some(""), &dev, Some("slipway.toml of main has no such target")),
        (&elsewhere, Some(wide), &dev, Some("slipway.toml of main has another place for it")),
        (wide, None, &dev, Some("slipway.toml of main cannot be read")),
        (wide, None, &main, None),
        (tags, Some(tags), &main, Some("builds of tags v* alone move it")),
        (tags, Some(tags), &v1, None),
        ("", Some(plain), &main, Some("no such target any more")),
    ] {
        let (own, default) = (spec(own), default.map(spec));
        let said = Said { own: &own, of_default: default.as_ref(), default_branch: &main };
        let got = said.deploys("p", name).err();
        assert_eq!(got.is_some(), want.is_some(), "{name:?}: {got:?}");
        assert!(got.iter().zip(want).all(|(got, want)| got.contains(want)), "{name:?}: {got:?}");
    }
}
