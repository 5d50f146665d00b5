//! Pushes of more refs than one event tells of.

use slipway_core::limits::{EVENT_UPDATE_BYTES_MAX, EVENT_UPDATES_MAX, PUSH_UPDATES_MAX};

use super::*;

fn many(count: usize, length: usize) -> Vec<RefUpdate> {
    // A component of a name has 250 bytes at most.
    let folders = "x".repeat(200) + "/";
    let folders = folders.repeat(length / 200);
    let name = |n: usize| RefName::parse(&format!("refs/pull/{folders}{n:06}/head")).expect("a name");
    (0..count).map(|n| RefUpdate { name: name(n), old: Oid::ZERO_SHA1, new: oid(1) }).collect()
}

/// How many updates each accepted event tells of.
fn recorded(books: &Books) -> Vec<usize> {
    let events = books.events.lock().expect("lock");
    assert!(events.iter().all(|e| e.state == EventState::Accepted));
    events.iter().map(|e| e.updates.len()).collect()
}

#[test]
fn each_ref_is_answered_for_and_told_of_once() {
    let (books, refs) = (Arc::new(Books::default()), Refs::default());
    let mut updates = many(120_000, 6);
    let gone = RefName::parse("refs/pull/000000").expect("a name");
    refs.refs.lock().expect("lock").insert(gone.clone(), oid(2));
    // The last of them makes room for the first, and the branch stands behind more than one event tells of.
    updates.push(RefUpdate { name: main_branch(), old: Oid::ZERO_SHA1, new: oid(1) });
    updates.push(RefUpdate { name: gone, old: oid(2), new: Oid::ZERO_SHA1 });
    updates[5].old = oid(9);
    let verdict = path(&books).accept(push(updates.clone()), &refs, &mut Pack::default()).expect("accepted");
    let refused: Vec<usize> = (0..updates.len()).filter(|at| verdict.answers[*at].is_err()).collect();
    assert_eq!(refused, [5], "what has moved, in its place");
    let told = recorded(&books);
    assert_eq!(told.iter().sum::<usize>(), updates.len() - 1);
    assert!(told.len() > 2 && told.iter().all(|n| *n <= EVENT_UPDATES_MAX), "{told:?}");
    let events = books.events.lock().expect("lock");
    assert!(events[0].updates[0].is_delete() && events[0].updates[1].name == main_branch());
    assert_eq!(verdict.event, Some(events[0].id));
}

#[test]
fn long_names_make_more_events_and_no_larger_ones() {
    let (books, refs) = (Arc::new(Books::default()), Refs::default());
    path(&books).accept(push(many(20_000, 800)), &refs, &mut Pack::default()).expect("accepted");
    let told = recorded(&books);
    assert!(told.len() > 1 && told.iter().all(|n| n * 1000 <= EVENT_UPDATE_BYTES_MAX), "{told:?}");
    assert_eq!(told.iter().sum::<usize>(), 20_000);
}

/// Refs whose disk fails at the second change.
struct OnceOnly(Refs, Cell<bool>);

impl RefStore for OnceOnly {
    fn current(&self, name: &RefName) -> Result<Option<Oid>, Problem> {
        self.0.current(name)
    }
    fn update(&self, updates: &[RefUpdate], atomic: bool) -> Result<Vec<Result<(), Problem>>, Problem> {
        if self.1.replace(true) { Err(died()) } else { self.0.update(updates, atomic) }
    }
    fn default_branch(&self) -> Result<RefName, Problem> {
        self.0.default_branch()
    }
    fn has_branch_besides(&self, these: &[&RefName]) -> Result<bool, Problem> {
        self.0.has_branch_besides(these)
    }
    fn make_default(&self, branch: &RefName) -> Result<(), Problem> {
        self.0.make_default(branch)
    }
}

#[test]
fn a_group_that_fails_is_said_to_and_the_groups_before_stay() {
    let (books, refs) = (Arc::new(Books::default()), OnceOnly(Refs::default(), Cell::new(false)));
    let updates = many(EVENT_UPDATES_MAX * 3, 6);
    let mut pack = Pack::default();
    let verdict = path(&books).accept(push(updates.clone()), &refs, &mut pack).expect("the first is in");
    let there = refs.0.refs.lock().expect("lock");
    for (update, answer) in updates.iter().zip(&verdict.answers) {
        assert_eq!(answer.is_ok(), there.contains_key(&update.name), "{}", update.name);
    }
    // No event tells of more than one group, so fewer than a third are in.
    let count = verdict.answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(count > 0 && count <= EVENT_UPDATES_MAX, "{count}");
    let events = books.events.lock().expect("lock");
    let states: Vec<EventState> = events.iter().map(|e| e.state).collect();
    assert_eq!(states, [EventState::Accepted, EventState::Abandoned]);
}

#[test]
fn all_or_none_of_too_many_is_refused_and_so_are_too_many() {
    let (books, refs) = (Arc::new(Books::default()), Refs::default());
    let atomic = Proposal { atomic: true, ..push(many(EVENT_UPDATES_MAX + 1, 6)) };
    let refused = path(&books).accept(atomic, &refs, &mut Pack::default()).expect_err("refused");
    assert!(refused.kind == ProblemKind::TooLarge && refused.cure.contains("without --atomic"), "{refused}");
    let too_many = push(many(PUSH_UPDATES_MAX + 1, 6));
    let refused = path(&books).accept(too_many, &refs, &mut Pack::default()).expect_err("refused");
    assert!(refused.cure.contains("in groups"), "{refused}");
    assert!(books.events.lock().expect("lock").is_empty() && refs.refs.lock().expect("lock").is_empty());
}
