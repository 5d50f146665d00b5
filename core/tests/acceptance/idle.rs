//! A push that starts nothing says why.

use super::*;

fn on(name: &str) -> RefUpdate {
    let name = RefName::parse(name).expect("valid");
    RefUpdate { name, old: oid(0), new: oid(1) }
}

fn spec(text: &str) -> Pack {
    let mut pack = with_dockerfile();
    pack.files.insert("slipway.toml".into(), text.as_bytes().to_vec());
    pack
}

pub(super) fn cluster() -> ClusterBinding {
    ClusterBinding {
        repo: RepoId(1),
        cluster: ClusterName::parse("lab").expect("valid"),
        branch: RefName::branch("prod").expect("valid"),
        path: ".".into(),
        namespace: "default".into(),
        prune: true,
        dry_run: DryRun::Off,
        allow_namespaces: BTreeSet::new(),
        cluster_scoped: false,
        kinds: Default::default(),
        pod_security: Default::default(),
        adopt: false,
        require_signed: false,
        allow_unsigned: Default::default(),
        rules: Default::default(),
    }
}

/// What a push to a repository with a `main` is told.
fn told(bindings: Bindings, updates: Vec<RefUpdate>, options: &[&str], mut pack: Pack) -> Verdict {
    let books = Arc::new(Books { bindings: Mutex::new(bindings), ..Books::default() });
    let refs = Refs::default();
    refs.refs.lock().expect("lock").insert(main_branch(), oid(9));
    let mut proposal = push(updates);
    proposal.options = options.iter().map(|o| (*o).to_owned()).collect();
    path(&books).accept(proposal, &refs, &mut pack).expect("accepted")
}

#[test]
fn each_reason_has_its_sentence() {
    let skipped = Pack { message: "x\n\n[CI skip]".into(), ..with_dockerfile() };
    for (update, options, pack, want) in [
        (
            on("refs/heads/dev"),
            &[][..],
            with_dockerfile(),
            "no build of dev: not the default branch (main builds",
        ),
        (to_main(9, 1), &[], Pack::default(), "no build of main: no Dockerfile"),
        (to_main(9, 1), &[], skipped, "no build of main: skipped by [ci skip]"),
        (to_main(9, 1), &["skip-ci"], with_dockerfile(), "no build of main: skipped by -o skip-ci"),
        (on("refs/tags/v1"), &[], with_dockerfile(), "no build of v1: no tags are built unless [build] on"),
        (
            on("refs/heads/dev"),
            &[],
            spec("[build]\non = { branches = [\"main\", \"release/*\"] }"),
            "no build of dev: not among the branches that slipway.toml builds (main, release/*)",
        ),
        (
            on("refs/notes/x"),
            &[],
            with_dockerfile(),
            "no build of refs/notes/x: only branches and tags are built",
        ),
        (
            to_main(9, 1),
            &[],
            spec("[build]\non = { paths = [\"src/**\"] }"),
            "no path that slipway.toml names has",
        ),
        (on("refs/heads/dev"), &[], spec("[biuld]"), "no build of dev: which refs build cannot be known"),
    ] {
        let verdict = told(bound(), vec![update], options, pack);
        let idle = verdict.idle.expect(want);
        assert!(idle.whys.len() == 1 && idle.whys[0].contains(want), "{want}: {idle:?}");
        assert!(!idle.expected);
    }
}

#[test]
fn who_bound_nothing_or_deletes_expects_nothing() {
    let idle = told(Bindings::default(), vec![on("refs/heads/dev")], &[], Pack::default()).idle;
    let idle = idle.expect("idle");
    assert!(idle.expected && idle.whys[0].contains("slipway bind app --registry NAME"), "{idle:?}");

    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    let refs = Refs::default();
    refs.refs.lock().expect("lock").extend([(main_branch(), oid(9)), (on("refs/heads/x").name, oid(1))]);
    let gone = RefUpdate { old: oid(1), new: oid(0), ..on("refs/heads/x") };
    let verdict = path(&books).accept(push(vec![gone]), &refs, &mut Pack::default()).expect("accepted");
    assert!(verdict.idle.is_some_and(|idle| idle.expected));
}

#[test]
fn a_cluster_that_follows_another_branch_is_named() {
    let bindings = Bindings { registry: None, cluster: Some(cluster()) };
    let idle = told(bindings, vec![to_main(9, 1)], &[], Pack::default()).idle.expect("idle");
    let why = "no deploy of main: not the bound branch (cluster lab follows prod; an owner can bind another with --branch)";
    assert_eq!(idle.whys, [why]);
}

#[test]
fn where_work_is_owed_only_what_was_asked_for_is_told() {
    let updates = vec![to_main(9, 1), on("refs/heads/dev")];
    let verdict = told(bound(), updates, &[], with_dockerfile());
    assert_eq!((verdict.orders.builds.len(), verdict.idle, verdict.notices.len()), (1, None, 0));
    let verdict = told(bound(), vec![to_main(9, 1)], &["wiat"], with_dockerfile());
    assert!(verdict.notices[0].ends_with("did you mean wait?"), "{:?}", verdict.notices);
}

#[test]
fn a_test_that_asks_for_more_than_owners_let_it_is_told_at_the_push() {
    let ask = |tests: &str, text: &str| {
        let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
        let mut pack = with_dockerfile();
        pack.files.insert("slipway.toml".into(), text.as_bytes().to_vec());
        let mut most = slipway_core::ceilings::Ceilings::default();
        most.set(tests).expect("a ceiling");
        let path = path(&books).testing_within(most);
        let verdict = path.accept(push(vec![to_main(0, 1)]), &Refs::default(), &mut pack).expect("accepted");
        assert_eq!(verdict.orders.builds.len(), 1);
        verdict.notices
    };
    let internal = "[test]\nshell = \"x\"\nnetwork = \"internal\"\n";
    assert_eq!(ask("network=internal", internal), [""; 0]);
    let told = ask("network=none", internal);
    assert!(told.len() == 1 && told[0].contains("\"none\" at most: the build will fail"), "{told:?}");
    assert!(told[0].contains("--test-limit network=internal"), "{told:?}");
    assert_eq!(ask("network=none", "[test]\nshell = \"x\"\n"), [""; 0]);
}
