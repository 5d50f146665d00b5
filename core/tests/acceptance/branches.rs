//! The first branch of a repository becomes its default, and people can choose another.

use super::*;

fn branch(name: &str) -> RefName {
    RefName::branch(name).expect("valid")
}

fn made(names: &[&str]) -> Vec<RefUpdate> {
    let update = |name: &&str| RefUpdate {
        name: RefName::parse(name).unwrap_or_else(|_| branch(name)),
        old: oid(0),
        new: oid(1),
    };
    names.iter().map(update).collect()
}

#[test]
fn the_first_branch_becomes_the_default_and_is_built() {
    for (pushed, want, builds) in [
        (&["master"][..], "master", 1),
        (&["dev", "main"], "main", 1),
        (&["dev", "master", "a"], "master", 1),
        (&["z", "a"], "z", 1),
        (&["refs/tags/v1", "x"], "x", 1),
        (&["refs/tags/v1"], "main", 0),
        (&["refs/notes/commits"], "main", 0),
    ] {
        let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
        let refs = Refs::default();
        let verdict =
            path(&books).accept(push(made(pushed)), &refs, &mut with_dockerfile()).expect("accepted");
        assert_eq!(refs.default_branch(), Ok(branch(want)), "{pushed:?}");
        assert_eq!(verdict.orders.builds.len(), builds, "{pushed:?}");
        let told = verdict.notices.iter().any(|n| n.contains("is the default branch of app now"));
        assert_eq!(told, want != "main", "{:?}", verdict.notices);
    }
}

#[test]
fn head_s_own_name_wins_and_a_repository_with_a_history_keeps_its_default() {
    let books = Arc::new(Books::default());
    let refs = Refs::default();
    refs.make_default(&branch("trunk")).expect("set");
    let all = made(&["main", "master", "trunk"]);
    path(&books).accept(push(all), &refs, &mut Pack::default()).expect("accepted");
    assert_eq!(refs.default_branch(), Ok(branch("trunk")));

    // HEAD unborn beside a branch: somebody's choice, or an old repository; not ours to change.
    let refs = Refs::default();
    refs.refs.lock().expect("lock").insert(branch("old"), oid(1));
    path(&books).accept(push(made(&["new"])), &refs, &mut Pack::default()).expect("accepted");
    assert_eq!(refs.default_branch(), Ok(main_branch()));

    // A detached HEAD was made so by hand.
    let refs = Refs::default();
    *refs.head.lock().expect("lock") = Some(RefName::parse("HEAD").expect("valid"));
    path(&books).accept(push(made(&["new"])), &refs, &mut Pack::default()).expect("accepted");
    assert_eq!(refs.default_branch().expect("read").as_str(), "HEAD");
}

#[test]
fn a_folder_served_as_git_serves_it_keeps_its_head() {
    let refs = Refs::default();
    let path = path(&Arc::new(Books::default())).moving_refs_alone();
    let mut proposal = push(made(&["master"]));
    proposal.options = vec!["whatever".into()];
    let verdict = path.accept(proposal, &refs, &mut Pack::default()).expect("accepted");
    assert_eq!(refs.default_branch(), Ok(main_branch()));
    assert_eq!((verdict.notices, verdict.idle), (vec![], None));
}

/// The process dies between the refs and HEAD, or between HEAD and the record: the next start does what is left, and the
/// build that the first branch owes is recorded once.
#[test]
fn a_crash_before_head_is_written_is_settled() {
    for dies_at_head in [true, false] {
        let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
        let refs = Refs::default();
        *books.dies_at_accept.lock().expect("lock") = true;
        *refs.dies_at_head.lock().expect("lock") = dies_at_head;
        let push = push(made(&["master", "x"]));
        assert!(path(&books).accept(push, &refs, &mut with_dockerfile()).is_err());
        *books.dies_at_accept.lock().expect("lock") = false;
        *refs.dies_at_head.lock().expect("lock") = false;
        for _ in 0..2 {
            path(&books).settle(|_| Ok(Some(refs.clone()))).expect("settled");
        }
        assert_eq!(refs.default_branch(), Ok(branch("master")));
        assert_eq!(books.builds.lock().expect("lock").len(), 1);
    }
}

#[test]
fn a_head_that_cannot_be_written_keeps_no_push_out_and_names_the_verb() {
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    let refs = Refs::default();
    *refs.dies_at_head.lock().expect("lock") = true;
    let verdict =
        path(&books).accept(push(made(&["master"])), &refs, &mut with_dockerfile()).expect("accepted");
    assert!(verdict.answers[0].is_ok());
    assert!(verdict.notices.iter().any(|n| n.contains("slipway repo set app --default-branch")));
}

/// Only the branch that moves first may become the default, even if a plan was made for another one.
#[test]
fn of_two_first_pushes_at_once_the_second_is_planned_anew() {
    /// Somebody else's push of `dev` lands while this one looks at its objects.
    struct Overtaken(Pack, Refs);
    impl Files for Overtaken {
        fn files_at(
            &self,
            commit: &Oid,
            folder: &str,
            each: &mut dyn FnMut(&str, &Oid) -> Result<bool, Problem>,
        ) -> Result<bool, Problem> {
            self.0.files_at(commit, folder, each)
        }
        fn blob(&self, id: &Oid, max: u64) -> Result<Blob, Problem> {
            self.0.blob(id, max)
        }
    }
    impl Incoming for Overtaken {
        fn file(&self, commit: &Oid, path: &str, max: u64) -> Result<Option<Vec<u8>>, Problem> {
            self.1.refs.lock().expect("lock").insert(branch("dev"), oid(7));
            self.1.make_default(&branch("dev"))?;
            self.0.file(commit, path, max)
        }
        fn has_file(&self, commit: &Oid, path: &str) -> Result<bool, Problem> {
            self.0.has_file(commit, path)
        }
        fn commit(&self, id: &Oid) -> Result<Option<CommitFacts>, Problem> {
            self.0.commit(id)
        }
        fn changed_paths(&self, _: Option<&Oid>, _: &Oid, _: usize) -> Result<Option<Vec<String>>, Problem> {
            Ok(None)
        }
        fn publish(&mut self) -> Result<(), Problem> {
            self.0.publish()
        }
    }
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    let refs = Refs::default();
    let mut late = Overtaken(with_dockerfile(), refs.clone());
    let verdict = path(&books).accept(push(made(&["master"])), &refs, &mut late).expect("accepted");
    assert_eq!(refs.default_branch(), Ok(branch("dev")));
    assert!(verdict.orders.builds.is_empty(), "master is not the default branch");
    let idle = verdict.idle.expect("idle");
    assert!(idle.whys[0].contains("not the default branch (dev builds"), "{idle:?}");
}

/// An admin makes the branch the default while a push that deletes it is on its way.
#[test]
fn a_branch_that_became_the_default_meanwhile_is_not_deleted() {
    struct Chooses(Refs);
    impl Preflight for Chooses {
        fn check(&self, _: &ClusterBinding, _: &Shown<'_>, _: &dyn Incoming) -> Result<Vec<String>, Problem> {
            self.0.make_default(&branch("dev")).map(|()| Vec::new())
        }
    }
    let refs = Refs::default();
    refs.refs.lock().expect("lock").extend([(main_branch(), oid(1)), (branch("dev"), oid(1))]);
    let cluster = ClusterBinding { branch: main_branch(), dry_run: DryRun::Warn, ..idle::cluster() };
    let bindings = Bindings { registry: None, cluster: Some(cluster) };
    let books = Arc::new(Books { bindings: Mutex::new(bindings), ..Books::default() });
    let path = Acceptance::new(books, Arc::new(Chooses(refs.clone())), || UnixMillis(7));
    let gone = RefUpdate { name: branch("dev"), old: oid(1), new: oid(0) };
    let verdict = path.accept(push(vec![to_main(1, 2), gone]), &refs, &mut Pack::default()).expect("judged");
    assert!(verdict.answers[0].is_ok());
    let refused = verdict.answers[1].as_ref().expect_err("refused");
    assert!(refused.cure.contains("slipway repo set app --default-branch"), "{refused}");
    assert_eq!(refs.current(&branch("dev")), Ok(Some(oid(1))));
}

#[test]
fn a_default_is_chosen_among_what_is_there_and_by_who_still_may() {
    let path = path(&Arc::new(Books::default()));
    let name = RepoName::parse("app").expect("valid");
    let refs = Refs::default();
    let set = |to: &RefName, rights: &dyn Rights| path.make_default((RepoId(1), &name), to, &refs, rights);
    assert_eq!(set(&branch("trunk"), &Unquestioned), Ok(()), "any, where there is no history");
    refs.refs.lock().expect("lock").insert(branch("trunk"), oid(1));
    for (to, kind) in [("refs/heads/x", ProblemKind::NotFound), ("refs/tags/v1", ProblemKind::Invalid)] {
        let refused = set(&RefName::parse(to).expect("valid"), &Unquestioned).expect_err(to);
        assert_eq!(refused.kind, kind, "{refused}");
    }
    refs.refs.lock().expect("lock").insert(branch("x"), oid(1));
    assert_eq!(set(&branch("x"), &Gone), Gone.still());
    assert_eq!(refs.default_branch(), Ok(branch("trunk")));
    assert_eq!(set(&branch("x"), &Unquestioned), Ok(()));
    assert_eq!(refs.default_branch(), Ok(branch("x")));
}
