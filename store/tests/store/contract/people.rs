//! Users, keys, tokens and sessions.

use slipway_core::people::{Parent, Session, Token};
use slipway_core::{ProblemKind, Role};
use slipway_store::Store;

use super::{make_repo, pages, refused};
use crate::samples::*;

pub(crate) fn users_are_known_by_name(store: &Store) {
    let (ann, bob) = (user("ann", true), user("bob", false));
    store.create_user(&bob).unwrap();
    store.create_user(&ann).unwrap();
    refused(store.create_user(&user("ann", false)), ProblemKind::Conflict, "ann");
    assert_eq!(store.user(&ann.name).unwrap(), Some(ann.clone()));
    assert_eq!(store.user(&user_name("anna")).unwrap(), None);
    assert_eq!(store.users().unwrap(), [ann, bob]);
    refused(store.remove_user(&user_name("carl")), ProblemKind::NotFound, "carl");
}

pub(crate) fn the_last_owner_cannot_go(store: &Store) {
    store.create_user(&user("ann", true)).unwrap();
    store.create_user(&user("bob", false)).unwrap();
    refused(store.remove_user(&user_name("ann")), ProblemKind::Conflict, "ann");
    store.create_user(&user("carl", true)).unwrap();
    store.remove_user(&user_name("ann")).unwrap();
    refused(store.remove_user(&user_name("carl")), ProblemKind::Conflict, "carl");
    store.remove_user(&user_name("bob")).unwrap();
}

pub(crate) fn a_removed_user_leaves_nothing_to_the_next_of_that_name(store: &Store) {
    let repo = make_repo(store, "app");
    for name in ["bob", "bobby"] {
        store.create_user(&user(name, false)).unwrap();
        store.add_key(&key(name, &format!("SHA256:{name}"))).unwrap();
        store.add_token(&token(name, &format!("id-{name}")), [name.len() as u8; 32]).unwrap();
        store.add_session([name.len() as u8; 32], &user_name(name), at(5)).unwrap();
        store.grant(&user_name(name), repo, Role::Admin).unwrap();
    }
    let bob = user_name("bob");
    store.remove_user(&bob).unwrap();
    store.create_user(&user("bob", false)).unwrap();
    assert_eq!(store.keys(Some(&bob)).unwrap(), []);
    assert_eq!(store.key("SHA256:bob").unwrap(), None);
    assert_eq!(store.tokens(Some(&bob)).unwrap(), []);
    assert_eq!(store.token_by_value(&[3; 32]).unwrap(), None);
    assert_eq!(store.session(&[3; 32], NOW).unwrap(), None);
    assert_eq!(store.role(&bob, repo).unwrap(), None);
    assert_eq!(store.grants(repo).unwrap(), [(user_name("bobby"), Role::Admin)]);
    assert!(store.key("SHA256:bobby").unwrap().is_some());
    assert!(store.token_by_value(&[5; 32]).unwrap().is_some());
    assert_eq!(store.session(&[5; 32], NOW).unwrap(), Some(user_name("bobby")));
}

pub(crate) fn a_key_belongs_to_one_user(store: &Store) {
    store.create_user(&user("ann", true)).unwrap();
    store.create_user(&user("bob", false)).unwrap();
    refused(store.add_key(&key("carl", "SHA256:x")), ProblemKind::NotFound, "carl");
    store.add_key(&key("ann", "SHA256:b")).unwrap();
    store.add_key(&key("ann", "SHA256:a")).unwrap();
    store.add_key(&key("bob", "SHA256:c")).unwrap();
    refused(store.add_key(&key("bob", "SHA256:a")), ProblemKind::Conflict, "SHA256:a");
    assert_eq!(store.key("SHA256:a").unwrap(), Some(key("ann", "SHA256:a")));
    assert_eq!(
        store.keys(Some(&user_name("ann"))).unwrap(),
        [key("ann", "SHA256:a"), key("ann", "SHA256:b")]
    );
    assert_eq!(store.keys(None).unwrap().len(), 3);
    store.remove_key("SHA256:a").unwrap();
    refused(store.remove_key("SHA256:a"), ProblemKind::NotFound, "SHA256:a");
    assert_eq!(store.key("SHA256:a").unwrap(), None);
    assert_eq!(store.keys(Some(&user_name("ann"))).unwrap(), [key("ann", "SHA256:b")]);
    assert_eq!(store.key(&"x".repeat(100_000)).unwrap(), None);
    refused(store.add_key(&key("ann", &"x".repeat(1000))), ProblemKind::TooLarge, "1000 bytes");
}

pub(crate) fn a_user_has_a_bounded_number_of_keys_and_tokens(store: &Store) {
    store.create_user(&user("ann", true)).unwrap();
    for n in 0..100 {
        store.add_key(&key("ann", &format!("SHA256:{n}"))).unwrap();
        store.add_token(&token("ann", &format!("id-{n}")), [n; 32]).unwrap();
    }
    refused(store.add_key(&key("ann", "SHA256:x")), ProblemKind::TooLarge, "100 keys of ann");
    refused(store.add_token(&token("ann", "id-x"), [200; 32]), ProblemKind::TooLarge, "100 tokens of ann");
    store.remove_key("SHA256:7").unwrap();
    store.remove_token("id-7").unwrap();
    store.add_key(&key("ann", "SHA256:x")).unwrap();
    store.add_token(&token("ann", "id-x"), [200; 32]).unwrap();
}

pub(crate) fn a_token_is_found_by_the_hash_of_its_value(store: &Store) {
    store.create_user(&user("ann", true)).unwrap();
    refused(store.add_token(&token("bob", "one"), [1; 32]), ProblemKind::NotFound, "bob");
    store.add_token(&token("ann", "one"), [1; 32]).unwrap();
    refused(store.add_token(&token("ann", "one"), [2; 32]), ProblemKind::Conflict, "one");
    refused(store.add_token(&token("ann", "two"), [1; 32]), ProblemKind::Conflict, "two");
    assert_eq!(store.token_by_value(&[1; 32]).unwrap(), Some(token("ann", "one")));
    assert_eq!(store.token_by_value(&[2; 32]).unwrap(), None);
    assert_eq!(store.tokens(Some(&user_name("ann"))).unwrap(), [token("ann", "one")]);
    assert_eq!(store.tokens(None).unwrap(), [token("ann", "one")]);
    store.remove_token("one").unwrap();
    refused(store.remove_token("one"), ProblemKind::NotFound, "one");
    assert_eq!(store.token_by_value(&[1; 32]).unwrap(), None);
    assert_eq!(store.tokens(Some(&user_name("ann"))).unwrap(), []);
    store.add_token(&token("ann", "one"), [1; 32]).unwrap();
}

pub(crate) fn a_session_ends_when_it_expires(store: &Store) {
    refused(store.add_session([1; 32], &user_name("ann"), at(10)), ProblemKind::NotFound, "ann");
    store.create_user(&user("ann", true)).unwrap();
    store.add_session([1; 32], &user_name("ann"), at(10)).unwrap();
    assert_eq!(store.session(&[1; 32], at(9)).unwrap(), Some(user_name("ann")));
    assert_eq!(store.session(&[1; 32], at(10)).unwrap(), None);
    store.add_session([1; 32], &user_name("ann"), at(20)).unwrap();
    assert_eq!(store.session(&[1; 32], at(19)).unwrap(), Some(user_name("ann")));
    store.remove_session(&[1; 32]).unwrap();
    store.remove_session(&[1; 32]).unwrap();
    assert_eq!(store.session(&[1; 32], at(9)).unwrap(), None);
}

pub(crate) fn a_user_has_a_bounded_number_of_sessions(store: &Store) {
    store.create_user(&user("ann", true)).unwrap();
    for n in 0..70 {
        store.add_session([n; 32], &user_name("ann"), at(100 + u64::from(n))).unwrap();
    }
    for n in 0..70 {
        let there = store.session(&[n; 32], NOW).unwrap().is_some();
        assert_eq!(there, n >= 6, "session {n}: the first to expire make room");
    }
}

pub(crate) fn a_user_and_their_keys_are_one_change(store: &Store) {
    store.create_user(&user("ann", true)).unwrap();
    store.add_key(&key("ann", "SHA256:known")).unwrap();
    let make = |fingerprints: &[&str]| {
        store.transact(|tx| {
            tx.create_user(&user("bob", false))?;
            fingerprints.iter().try_for_each(|fingerprint| tx.add_key(&key("bob", fingerprint)))
        })
    };
    for known in [&["SHA256:new", "SHA256:known"][..], &["SHA256:new", "SHA256:new"]] {
        refused(make(known), ProblemKind::Conflict, "SHA256:");
        assert_eq!(store.user(&user_name("bob")).unwrap(), None);
        assert_eq!(store.key("SHA256:new").unwrap(), None);
    }
    make(&["SHA256:new", "SHA256:newer"]).unwrap();
    assert_eq!(store.keys(Some(&user_name("bob"))).unwrap().len(), 2);
    assert_eq!(store.key("SHA256:known").unwrap().unwrap().user, user_name("ann"));
}

fn by_token(id: &str) -> Option<Parent> {
    Some(Parent::Token { id: id.into() })
}

fn by_key(fingerprint: &str) -> Option<Parent> {
    Some(Parent::Key { fingerprint: fingerprint.into() })
}

/// ann has a key and a token; with these more is made, for herself and for bob, and with that in turn.
fn lineage(store: &Store) {
    for name in ["ann", "bob"] {
        store.create_user(&user(name, true)).unwrap();
    }
    store.add_key(&key("ann", "SHA256:a")).unwrap();
    let made = [
        ("root", "ann", None),
        ("child", "ann", by_token("root")),
        ("grandchild", "bob", by_token("child")),
        ("by-key", "ann", by_key("SHA256:a")),
        ("other", "bob", None),
    ];
    for ((id, name, parent), n) in made.into_iter().zip(1..) {
        store.add_token(&Token { parent, expires: None, ..token(name, id) }, [n; 32]).unwrap();
    }
    let sessions = [
        ("ann", by_token("root")),
        ("bob", by_token("grandchild")),
        ("ann", by_key("SHA256:a")),
        ("ann", None),
    ];
    for ((name, parent), n) in sessions.into_iter().zip(1..) {
        let session = Session { user: user_name(name), expires: at(500), parent };
        store.transact(|tx| tx.add_session([n; 32], &session)).unwrap();
    }
}

fn left(store: &Store) -> (Vec<String>, Vec<u8>) {
    let tokens: Vec<String> = store.tokens(None).unwrap().into_iter().map(|token| token.id).collect();
    for n in 1..6 {
        let by_value = store.token_by_value(&[n; 32]).unwrap().map(|token| token.id);
        assert!(by_value.is_none_or(|id| tokens.contains(&id)), "a value leads nowhere");
    }
    (tokens, (1..5).filter(|n| store.session(&[*n; 32], NOW).unwrap().is_some()).collect())
}

pub(crate) fn what_was_made_with_a_token_or_a_key_ends_with_it(store: &Store) {
    lineage(store);
    let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(left(store), (ids(&["by-key", "child", "grandchild", "other", "root"]), vec![1, 2, 3, 4]));
    store.remove_key("SHA256:a").unwrap();
    assert_eq!(left(store), (ids(&["child", "grandchild", "other", "root"]), vec![1, 2, 4]));
    store.remove_token("root").unwrap();
    assert_eq!(left(store), (ids(&["other"]), vec![4]), "bob's token that ann's made is gone as well");
    // What is gone is no parent, and an id that is given again is not the old one's.
    refused(
        store.add_token(&Token { parent: by_token("root"), ..token("ann", "late") }, [9; 32]),
        ProblemKind::Unauthenticated,
        "token",
    );
    store.add_token(&Token { parent: by_token("other"), ..token("ann", "root") }, [1; 32]).unwrap();
    store.remove_token("other").unwrap();
    assert_eq!(left(store), (ids(&[]), vec![4]));
}

pub(crate) fn a_removed_user_takes_along_what_was_made_with_theirs(store: &Store) {
    lineage(store);
    store.remove_user(&user_name("ann")).unwrap();
    assert_eq!(left(store), (vec!["other".to_owned()], vec![]));
}

pub(crate) fn a_child_never_outlives_its_parent(store: &Store) {
    store.create_user(&user("ann", true)).unwrap();
    let until =
        |id: &str, end: Option<u64>, parent| Token { expires: end.map(at), parent, ..token("ann", id) };
    store.add_token(&until("root", Some(100), None), [1; 32]).unwrap();
    for (n, (asked, given)) in [(None, 100), (Some(50), 50), (Some(200), 100)].into_iter().enumerate() {
        let id = format!("child-{n}");
        let child = store.add_token(&until(&id, asked, by_token("root")), [n as u8 + 2; 32]).unwrap();
        assert_eq!(child.expires, Some(at(given)));
        assert_eq!(store.read(|view| view.token(&id)).unwrap(), Some(child));
    }
    let session = Session { user: user_name("ann"), expires: at(500), parent: by_token("child-1") };
    store.transact(|tx| tx.add_session([1; 32], &session)).unwrap();
    assert_eq!(store.session(&[1; 32], at(49)).unwrap(), Some(user_name("ann")));
    assert_eq!(store.session(&[1; 32], at(50)).unwrap(), None);
    assert_eq!(store.sweep(at(50)).unwrap(), 1);
    store.remove_token("child-1").unwrap();
}

/// A line of tokens, each made with the one before: an owner can make it as long as they like.
pub(crate) fn a_long_line_ends_as_a_short_one(store: &Store) {
    let mut parent = None;
    for n in 0..400u32 {
        let (name, id) = (format!("u{}", n / 50), format!("id-{n}"));
        if n % 50 == 0 {
            store.create_user(&user(&name, n == 0)).unwrap();
        }
        let mut value = [0; 32];
        value[..4].copy_from_slice(&n.to_be_bytes());
        let token = Token { expires: None, parent: parent.take(), ..token(&name, &id) };
        store.add_token(&token, value).unwrap();
        parent = by_token(&id);
    }
    store.remove_token("id-1").unwrap();
    assert_eq!(store.tokens(None).unwrap().len(), 1);
}

pub(crate) fn people_are_listed_in_pages(store: &Store) {
    let names: Vec<String> = (0..7).map(|n| format!("u{n}")).collect();
    for (name, n) in names.iter().zip(0..) {
        store.create_user(&user(name, true)).unwrap();
        store.add_key(&key(name, &format!("SHA256:{n}"))).unwrap();
        store.add_key(&key("u0", &format!("SHA256:0{n}"))).unwrap();
        store.add_token(&token("u0", &format!("id-{n}")), [n; 32]).unwrap();
    }
    assert_eq!(pages(|after, limit| store.users_after(after, limit), |user| user.name.to_string()), names);
    let keys = |of: Option<&str>| {
        let of = of.map(user_name);
        pages(|after, limit| store.keys_after(of.as_ref(), after, limit), |key| key.fingerprint.clone())
    };
    assert_eq!(keys(None).len(), 14);
    assert_eq!(keys(Some("u0")).len(), 8);
    assert_eq!(keys(Some("u3")), ["SHA256:3"]);
    let tokens = |of: &str| {
        let of = user_name(of);
        pages(|after, limit| store.tokens_after(Some(&of), after, limit), |token| token.id.clone())
    };
    assert_eq!(tokens("u0").len(), 7);
    assert_eq!(tokens("u1").len(), 0);
}
