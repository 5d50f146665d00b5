//! The acceptance path with a ledger, refs and objects in memory that fail ("the process dies") at every step.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use slipway_core::accept::{
    Acceptance, Bindings, CommitFacts, Incoming, Ledger, Orders, Preflight, Proposal, RefStore, Rights,
    Shown, Unquestioned, Verdict,
};
use slipway_core::build::Build;
use slipway_core::deploy::DeployCause;
use slipway_core::event::{Cause, Event, EventState, Work};
use slipway_core::files::{Blob, Files};
use slipway_core::limits::EVENT_LEASE_MS;
use slipway_core::target::{ClusterBinding, DryRun, RegistryBinding};
use slipway_core::{
    BuildNumber, ClusterName, DeployNumber, EventId, Oid, Problem, ProblemKind, RefName, RefUpdate,
    RegistryName, RepoId, RepoName, UnixMillis,
};

#[path = "acceptance/branches.rs"]
mod branches;
#[path = "acceptance/gate.rs"]
mod gate;
#[path = "acceptance/groups.rs"]
mod groups;
#[path = "acceptance/idle.rs"]
mod idle;

#[derive(Default)]
struct Books {
    events: Mutex<Vec<Event>>,
    builds: Mutex<Vec<Build>>,
    bindings: Mutex<Bindings>,
    /// Steps until the process "dies": `accept` is then never reached.
    dies_at_accept: Mutex<bool>,
}

impl Ledger for Books {
    fn intend(&self, mut event: Event) -> Result<Event, Problem> {
        let mut events = self.events.lock().expect("lock");
        event.id = EventId(events.len() as u64 + 1);
        events.push(event.clone());
        Ok(event)
    }
    fn accept(&self, id: EventId, moved: &[RefUpdate], now: UnixMillis) -> Result<Orders, Problem> {
        if *self.dies_at_accept.lock().expect("lock") {
            return Err(died());
        }
        let mut events = self.events.lock().expect("lock");
        let event = events.iter_mut().find(|e| e.id == id).expect("known");
        let mut orders = Orders::default();
        if event.state == EventState::Intended {
            event.state = EventState::Accepted;
            event.updates = moved.to_vec();
            let mut builds = self.builds.lock().expect("lock");
            for owed in event.owed.iter().filter(|o| moved.iter().any(|u| u.name == o.ref_name)) {
                if matches!(owed.work, Work::Build { .. }) {
                    let number = BuildNumber(builds.len() as u64 + 1);
                    builds.push(Build::queued(
                        event.repo,
                        number,
                        id,
                        owed.ref_name.clone(),
                        owed.commit,
                        owed.title.clone(),
                        event.actor.clone(),
                        now,
                    ));
                }
            }
        }
        orders.builds = self.builds.lock().expect("lock").iter().filter(|b| b.event == id).cloned().collect();
        Ok(orders)
    }
    fn abandon(&self, id: EventId) -> Result<(), Problem> {
        let mut events = self.events.lock().expect("lock");
        events.iter_mut().find(|e| e.id == id).expect("known").state = EventState::Abandoned;
        Ok(())
    }
    fn intended(&self) -> Result<Vec<Event>, Problem> {
        let events = self.events.lock().expect("lock");
        Ok(events.iter().filter(|e| e.state == EventState::Intended).cloned().collect())
    }
    fn bindings(&self, _: RepoId) -> Result<Bindings, Problem> {
        Ok(self.bindings.lock().expect("lock").clone())
    }
}

fn died() -> Problem {
    Problem::new(ProblemKind::Broken, "The process died.", "Start it again.")
}

#[derive(Default, Clone)]
struct Refs {
    refs: Arc<Mutex<BTreeMap<RefName, Oid>>>,
    /// How many updates happen before the process "dies".
    survives: Arc<Mutex<Option<usize>>>,
    /// What HEAD names; `main` at first.
    head: Arc<Mutex<Option<RefName>>>,
    /// The process "dies" before HEAD is written.
    dies_at_head: Arc<Mutex<bool>>,
}

impl RefStore for Refs {
    fn current(&self, name: &RefName) -> Result<Option<Oid>, Problem> {
        Ok(self.refs.lock().expect("lock").get(name).copied())
    }
    fn update(&self, updates: &[RefUpdate], _: bool) -> Result<Vec<Result<(), Problem>>, Problem> {
        let mut refs = self.refs.lock().expect("lock");
        let mut answers = Vec::new();
        for (done, update) in updates.iter().enumerate() {
            if self.survives.lock().expect("lock").is_some_and(|n| done >= n) {
                return Err(died());
            }
            let now = refs.get(&update.name).copied().unwrap_or(Oid::ZERO_SHA1);
            if now != update.old {
                answers.push(Err(Problem::new(ProblemKind::Conflict, "It has moved.", "Fetch first.")));
                continue;
            }
            if update.is_delete() {
                refs.remove(&update.name);
            } else {
                refs.insert(update.name.clone(), update.new);
            }
            answers.push(Ok(()));
        }
        Ok(answers)
    }
    fn default_branch(&self) -> Result<RefName, Problem> {
        Ok(self.head.lock().expect("lock").clone().unwrap_or_else(main_branch))
    }
    fn has_branch_besides(&self, these: &[&RefName]) -> Result<bool, Problem> {
        let refs = self.refs.lock().expect("lock");
        Ok(refs.keys().any(|name| name.as_branch().is_some() && !these.contains(&name)))
    }
    fn make_default(&self, branch: &RefName) -> Result<(), Problem> {
        if *self.dies_at_head.lock().expect("lock") {
            return Err(died());
        }
        *self.head.lock().expect("lock") = Some(branch.clone());
        Ok(())
    }
}

#[derive(Default)]
struct Pack {
    files: BTreeMap<String, Vec<u8>>,
    message: String,
    published: Cell<bool>,
    order: RefCell<Vec<&'static str>>,
}

impl Files for Pack {
    fn files_at(
        &self,
        _: &Oid,
        _: &str,
        _: &mut dyn FnMut(&str, &Oid) -> Result<bool, Problem>,
    ) -> Result<bool, Problem> {
        Ok(false)
    }
    fn blob(&self, _: &Oid, _: u64) -> Result<Blob, Problem> {
        Err(died())
    }
}

impl Incoming for Pack {
    fn file(&self, _: &Oid, path: &str, _: u64) -> Result<Option<Vec<u8>>, Problem> {
        Ok(self.files.get(path).cloned())
    }
    fn has_file(&self, _: &Oid, path: &str) -> Result<bool, Problem> {
        Ok(self.files.contains_key(path))
    }
    fn commit(&self, id: &Oid) -> Result<Option<CommitFacts>, Problem> {
        Ok(Some(CommitFacts { id: *id, subject: "subject".into(), message: self.message.clone() }))
    }
    fn changed_paths(&self, _: Option<&Oid>, _: &Oid, _: usize) -> Result<Option<Vec<String>>, Problem> {
        Ok(Some(self.files.keys().cloned().collect()))
    }
    fn publish(&mut self) -> Result<(), Problem> {
        self.published.set(true);
        self.order.borrow_mut().push("publish");
        Ok(())
    }
}

struct Cluster(Vec<String>);
impl Preflight for Cluster {
    fn check(&self, _: &ClusterBinding, _: &Shown<'_>, _: &dyn Incoming) -> Result<Vec<String>, Problem> {
        Ok(self.0.clone())
    }
}

fn oid(n: u8) -> Oid {
    Oid::Sha1([n; 20])
}
fn main_branch() -> RefName {
    RefName::branch("main").expect("valid")
}
fn push(updates: Vec<RefUpdate>) -> Proposal<'static> {
    static NAME: std::sync::LazyLock<RepoName> =
        std::sync::LazyLock::new(|| RepoName::parse("app").expect("valid"));
    Proposal {
        repo: RepoId(1),
        repo_name: &NAME,
        actor: "ann".into(),
        cause: Cause::Push,
        updates,
        atomic: false,
        options: Vec::new(),
        certificate: None,
        rights: &Unquestioned,
    }
}
fn to_main(old: u8, new: u8) -> RefUpdate {
    RefUpdate { name: main_branch(), old: oid(old), new: oid(new) }
}
fn bound() -> Bindings {
    Bindings {
        registry: Some(RegistryBinding::plain(
            RepoId(1),
            RegistryName::parse("local").expect("valid"),
            "app".into(),
        )),
        cluster: None,
    }
}
fn with_dockerfile() -> Pack {
    Pack { files: BTreeMap::from([("Dockerfile".into(), b"FROM scratch".to_vec())]), ..Pack::default() }
}
fn path(books: &Arc<Books>) -> Acceptance {
    Acceptance::new(books.clone(), Arc::new(Cluster(Vec::new())), || UnixMillis(7))
}

#[test]
fn a_push_with_a_dockerfile_owes_one_build() {
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    let mut pack = with_dockerfile();
    let verdict =
        path(&books).accept(push(vec![to_main(0, 1)]), &Refs::default(), &mut pack).expect("accepted");
    assert_eq!(verdict.orders.builds.len(), 1);
    assert!(pack.published.get());
    assert_eq!(books.events.lock().expect("lock")[0].state, EventState::Accepted);
}

#[test]
fn what_does_not_ask_for_a_build_owes_none() {
    let feature = RefUpdate { name: RefName::branch("x").expect("valid"), old: oid(0), new: oid(1) };
    let spec_for_tags = Pack {
        files: BTreeMap::from([
            ("Dockerfile".into(), Vec::new()),
            ("slipway.toml".into(), b"[build]\non = { branches = [], tags = [\"v*\"] }".to_vec()),
        ]),
        ..Pack::default()
    };
    for (name, mut pack, update) in [
        ("no Dockerfile", Pack::default(), to_main(9, 1)),
        ("another branch", with_dockerfile(), feature),
        ("[skip ci]", Pack { message: "x [skip ci]".into(), ..with_dockerfile() }, to_main(9, 1)),
        ("branch not named", spec_for_tags, to_main(9, 1)),
    ] {
        let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
        let refs = Refs::default();
        refs.refs.lock().expect("lock").insert(main_branch(), oid(9));
        let verdict = path(&books).accept(push(vec![update]), &refs, &mut pack).expect("accepted");
        assert!(verdict.event.is_some(), "{name}");
        assert!(verdict.orders.builds.is_empty(), "{name}");
    }
}

#[test]
fn a_bump_never_builds_so_it_cannot_loop() {
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    let mut proposal = push(vec![to_main(0, 1)]);
    proposal.cause = Cause::Bump { source: RepoId(1), build: BuildNumber(1), target: "prod".into() };
    let verdict = path(&books).accept(proposal, &Refs::default(), &mut with_dockerfile()).expect("accepted");
    assert!(verdict.orders.builds.is_empty());
}

#[test]
fn a_broken_slipway_toml_is_told_and_owes_a_failed_build() {
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    let mut pack = with_dockerfile();
    pack.files.insert("slipway.toml".into(), b"[biuld]".to_vec());
    let verdict =
        path(&books).accept(push(vec![to_main(0, 1)]), &Refs::default(), &mut pack).expect("accepted");
    assert!(verdict.notices[0].contains("did you mean `build`"), "{:?}", verdict.notices);
    let owed = &books.events.lock().expect("lock")[0].owed;
    assert!(matches!(&owed[0].work, Work::Build { broken: Some(_), .. }));
}

#[test]
fn the_default_branch_cannot_be_deleted() {
    let books = Arc::new(Books::default());
    let refs = Refs::default();
    refs.refs.lock().expect("lock").insert(main_branch(), oid(1));
    let verdict =
        path(&books).accept(push(vec![to_main(1, 0)]), &refs, &mut Pack::default()).expect("judged");
    assert!(verdict.answers[0].is_err());
    assert!(verdict.event.is_none());
    assert!(books.events.lock().expect("lock").is_empty());
}

#[test]
fn an_atomic_push_with_one_refused_ref_moves_nothing() {
    let books = Arc::new(Books::default());
    let refs = Refs::default();
    refs.refs.lock().expect("lock").insert(main_branch(), oid(1));
    let other = RefUpdate { name: RefName::branch("x").expect("valid"), old: oid(0), new: oid(2) };
    let mut proposal = push(vec![to_main(1, 0), other]);
    proposal.atomic = true;
    let verdict = path(&books).accept(proposal, &refs, &mut Pack::default()).expect("judged");
    assert!(verdict.answers.iter().all(Result::is_err));
    assert_eq!(refs.refs.lock().expect("lock").len(), 1);
}

#[test]
fn the_cluster_s_refusal_warns_or_refuses_as_bound() {
    for (mode, refused) in [(DryRun::Off, false), (DryRun::Warn, false), (DryRun::Enforce, true)] {
        let bindings = Bindings {
            registry: None,
            cluster: Some(ClusterBinding { branch: main_branch(), dry_run: mode, ..idle::cluster() }),
        };
        let books = Arc::new(Books { bindings: Mutex::new(bindings), ..Books::default() });
        let cluster = Arc::new(Cluster(vec!["deployment.yaml:3: no.".into()]));
        let acceptance = Acceptance::new(books.clone(), cluster, || UnixMillis(7));
        let verdict = acceptance
            .accept(push(vec![to_main(0, 1)]), &Refs::default(), &mut Pack::default())
            .expect("judged");
        assert_eq!(verdict.answers[0].is_err(), refused, "{mode:?}");
        assert_eq!(verdict.notices.is_empty(), mode == DryRun::Off, "{mode:?}");
    }
}

/// The process dies after 0, 1 or 2 of two refs moved, or after both and before the record: the next start accepts
/// exactly what the refs show, and the work owed by those is recorded once.
#[test]
fn a_crash_at_any_step_is_settled_from_the_refs() {
    for (survives, dies_at_accept, want) in [(Some(0), false, 0usize), (Some(1), false, 1), (None, true, 2)] {
        let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
        *books.dies_at_accept.lock().expect("lock") = dies_at_accept;
        let refs = Refs::default();
        *refs.survives.lock().expect("lock") = survives;
        let tag = RefUpdate { name: RefName::tag("v1").expect("valid"), old: oid(0), new: oid(1) };
        let outcome = path(&books).accept(push(vec![to_main(0, 1), tag]), &refs, &mut with_dockerfile());
        assert!(outcome.is_err());

        *books.dies_at_accept.lock().expect("lock") = false;
        for _ in 0..2 {
            path(&books).settle(|_| Ok(Some(refs.clone()))).expect("settled");
        }
        let events = books.events.lock().expect("lock");
        let state = if want == 0 { EventState::Abandoned } else { EventState::Accepted };
        assert_eq!(events[0].state, state);
        if want > 0 {
            assert_eq!(events[0].updates.len(), want);
            assert_eq!(books.builds.lock().expect("lock").len(), 1, "the branch's build, exactly once");
        }
    }
}

#[test]
fn a_ref_that_moved_meanwhile_is_refused_and_nothing_is_owed() {
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    let refs = Refs::default();
    refs.refs.lock().expect("lock").insert(main_branch(), oid(9));
    let verdict =
        path(&books).accept(push(vec![to_main(1, 2)]), &refs, &mut with_dockerfile()).expect("judged");
    assert_eq!(verdict.answers[0].as_ref().map_err(|p| p.kind), Err(ProblemKind::Conflict));
    assert!(books.builds.lock().expect("lock").is_empty());
    assert!(books.events.lock().expect("lock").is_empty());
}

/// The refs moved, the disk was full for the record: the repository's next push settles that first, and the work that
/// both owe is handed on.
#[test]
fn a_push_whose_record_failed_is_settled_before_the_next_one() {
    #[derive(Default)]
    struct Desk(Mutex<usize>);
    impl slipway_core::accept::Dispatch for Desk {
        fn dispatch(&self, orders: &Orders) {
            *self.0.lock().expect("lock") += orders.builds.len();
        }
    }
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    let (desk, refs) = (Arc::new(Desk::default()), Refs::default());
    let path = path(&books).dispatching(desk.clone());
    *books.dies_at_accept.lock().expect("lock") = true;
    assert!(path.accept(push(vec![to_main(0, 1)]), &refs, &mut with_dockerfile()).is_err());
    *books.dies_at_accept.lock().expect("lock") = false;
    path.accept(push(vec![to_main(1, 2)]), &refs, &mut with_dockerfile()).expect("judged");
    assert_eq!(books.builds.lock().expect("lock").len(), 2);
    assert_eq!(*desk.0.lock().expect("lock"), 2);
}

/// Some refs moved before the disk failed: their work runs now, not after the next start.
#[test]
fn what_a_broken_push_moved_is_built_at_once() {
    #[derive(Default)]
    struct Desk(Mutex<usize>);
    impl slipway_core::accept::Dispatch for Desk {
        fn dispatch(&self, orders: &Orders) {
            *self.0.lock().expect("lock") += orders.builds.len();
        }
    }
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    let (desk, refs) = (Arc::new(Desk::default()), Refs::default());
    *refs.survives.lock().expect("lock") = Some(1);
    let tag = RefUpdate { name: RefName::tag("v1").expect("valid"), old: oid(0), new: oid(1) };
    let path = path(&books).dispatching(desk.clone());
    assert!(path.accept(push(vec![to_main(0, 1), tag]), &refs, &mut with_dockerfile()).is_err());
    assert_eq!(*desk.0.lock().expect("lock"), 1);
}

#[test]
fn one_unreadable_repository_does_not_keep_the_others_from_being_settled() {
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    *books.dies_at_accept.lock().expect("lock") = true;
    let refs = Refs::default();
    let bad = Proposal { repo: RepoId(66), ..push(vec![to_main(0, 1)]) };
    assert!(path(&books).accept(bad, &Refs::default(), &mut with_dockerfile()).is_err());
    assert!(path(&books).accept(push(vec![to_main(0, 1)]), &refs, &mut with_dockerfile()).is_err());
    *books.dies_at_accept.lock().expect("lock") = false;
    let settled = path(&books)
        .settle(|repo| if repo == RepoId(66) { Err(died()) } else { Ok(Some(refs.clone())) })
        .expect("settled");
    assert_eq!((settled.count, settled.left.len()), (1, 1));
    assert_eq!(books.builds.lock().expect("lock").len(), 1);
}

/// Two nodes over one ledger: a start settles what is its own, and of others only what nobody can be at any more.
#[test]
fn an_event_of_another_node_is_left_until_its_lease_has_ended() {
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    *books.dies_at_accept.lock().expect("lock") = true;
    let refs = Refs::default();
    let pushed = path(&books).on_node("a").accept(push(vec![to_main(0, 1)]), &refs, &mut with_dockerfile());
    assert!(pushed.is_err());
    *books.dies_at_accept.lock().expect("lock") = false;
    let lease = books.events.lock().expect("lock")[0].lease.clone().expect("leased");
    assert_eq!((lease.owner.as_str(), lease.until), ("a", UnixMillis(7 + EVENT_LEASE_MS)));

    let other = path(&books).on_node("b");
    assert_eq!(other.settle(|_| Ok(Some(refs.clone()))).expect("settled").count, 0);
    assert_eq!(books.events.lock().expect("lock")[0].state, EventState::Intended);
    let refused = other.accept(push(vec![to_main(1, 2)]), &refs, &mut with_dockerfile());
    assert_eq!(refused.expect_err("the refs may still be moving").kind, ProblemKind::Busy);

    let late =
        Acceptance::new(books.clone(), Arc::new(Cluster(Vec::new())), || UnixMillis(8 + EVENT_LEASE_MS));
    let settled = late.on_node("b").settle(|_| Ok(Some(refs.clone()))).expect("settled");
    assert_eq!((settled.count, books.builds.lock().expect("lock").len()), (1, 1));
}

#[test]
fn an_event_of_ones_own_is_settled_at_once() {
    let books = Arc::new(Books { bindings: Mutex::new(bound()), ..Books::default() });
    *books.dies_at_accept.lock().expect("lock") = true;
    let refs = Refs::default();
    let first = path(&books).on_node("a");
    assert!(first.accept(push(vec![to_main(0, 1)]), &refs, &mut with_dockerfile()).is_err());
    *books.dies_at_accept.lock().expect("lock") = false;
    let settled = path(&books).on_node("a").settle(|_| Ok(Some(refs.clone()))).expect("settled");
    assert_eq!(settled.count, 1);
}

/// A right that is taken away while the push is on its way.
struct Gone;

impl Rights for Gone {
    fn still(&self) -> Result<(), Problem> {
        Err(Problem::new(ProblemKind::Denied, "The key is gone.", "Use another."))
    }
}

#[test]
fn a_right_that_is_gone_by_the_time_of_acting_moves_no_ref_and_leaves_no_event() {
    let (books, refs) = (Arc::new(Books::default()), Refs::default());
    let late = Proposal { rights: &Gone, ..push(vec![to_main(0, 1)]) };
    let mut pack = Pack::default();
    let verdict = path(&books).accept(late, &refs, &mut pack).expect("judged");
    assert_eq!(verdict.answers, [Gone.still()]);
    assert!(verdict.event.is_none() && books.events.lock().expect("lock").is_empty());
    assert_eq!(refs.current(&main_branch()), Ok(None));
    assert!(!pack.published.get(), "nothing leaves quarantine");
}

#[test]
fn a_rollback_is_recorded_as_one_with_who_asked_for_it() {
    let binding = ClusterBinding {
        repo: RepoId(1),
        cluster: ClusterName::parse("prod").expect("valid"),
        branch: main_branch(),
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
    };
    let bindings = Bindings { registry: None, cluster: Some(binding) };
    let books = Arc::new(Books { bindings: Mutex::new(bindings), ..Books::default() });
    let back = Proposal { cause: Cause::Rollback { to: Some(DeployNumber(3)) }, ..push(vec![to_main(0, 1)]) };
    path(&books).accept(back, &Refs::default(), &mut Pack::default()).expect("accepted");
    let events = books.events.lock().expect("lock");
    let Work::Deploy { cause, .. } = &events[0].owed[0].work else { panic!("{events:?}") };
    assert_eq!((cause, events[0].actor.as_str()), (&DeployCause::Rollback { to: DeployNumber(3) }, "ann"));
}
