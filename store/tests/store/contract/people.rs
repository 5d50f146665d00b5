//! Users, keys, tokens and sessions.

use slipway_core::{ProblemKind, Role};
use slipway_store::Store;

use super::{make_repo, refused};
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
