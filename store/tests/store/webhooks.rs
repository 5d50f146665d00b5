//! Webhooks: what they are owed is recorded with what happened, in its order, within bounds.

use std::collections::BTreeSet;

use slipway_core::accept::Ledger;
use slipway_core::build::BuildState;
use slipway_core::delivery::{Delivery, DeliveryState, Told};
use slipway_core::webhook::{Webhook, WebhookEvent, WebhookKind};
use slipway_core::{ProblemKind, RepoId, Secret, WebhookNumber};
use slipway_store::Store;

use crate::samples::*;

fn webhook(repo: RepoId, events: &[WebhookEvent]) -> Webhook {
    Webhook {
        repo,
        number: WebhookNumber(0),
        url: "https://example.org/hook".into(),
        kind: WebhookKind::Gitea,
        events: events.iter().copied().collect::<BTreeSet<_>>(),
        signed: false,
        by: "ann".into(),
        created: NOW,
    }
}

fn app(store: &Store) -> RepoId {
    store.create_repo(&repo_name("app"), "", false, NOW).unwrap().id
}

fn push(store: &Store, repo: RepoId, refs: &[&str], builds: bool) -> slipway_core::accept::Orders {
    let owed = if builds { vec![owes_build(refs[0])] } else { Vec::new() };
    let event = store.intend(event(repo, refs, owed)).unwrap();
    store.accept(event.id, &event.updates, NOW).unwrap()
}

fn owed(store: &Store) -> Vec<Delivery> {
    store.unfinished_deliveries(None).unwrap()
}

#[test]
fn a_push_owes_each_listener_a_delivery_per_ref_and_survives_a_crash_with_it() {
    let home = Home::new();
    let store = home.open();
    let repo = app(&store);
    push(&store, repo, &["main"], false);
    assert!(owed(&store).is_empty(), "nobody listens");
    let pushes = store.add_webhook(webhook(repo, &[WebhookEvent::Push]), None).unwrap();
    store.add_webhook(webhook(repo, &[WebhookEvent::Build]), None).unwrap();
    push(&store, repo, &["main", "dev"], false);
    drop(store);
    let store = home.open();
    let found = owed(&store);
    let refs: Vec<String> = found
        .iter()
        .map(|d| match &d.told {
            Told::Push { update, .. } => update.name.short().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(refs, ["main", "dev"]);
    assert!(found.iter().all(|d| d.webhook == pushes.number && d.run.state == DeliveryState::Queued));
    let many: Vec<String> = (0..300).map(|n| format!("b{n}")).collect();
    push(&store, repo, &many.iter().map(String::as_str).collect::<Vec<_>>(), false);
    assert_eq!(owed(&store).len(), 2 + 100, "of a push of many refs the first hundred are told");
}

#[test]
fn the_end_of_a_build_is_owed_once_and_in_the_very_change_that_ends_it() {
    let home = Home::new();
    let store = home.open();
    let repo = app(&store);
    store.add_webhook(webhook(repo, &[WebhookEvent::Build, WebhookEvent::Deploy]), None).unwrap();
    let mut build = push(&store, repo, &["main"], true).builds.remove(0);
    build.run.state = BuildState::Running;
    store.put_build(&build).unwrap();
    assert!(owed(&store).is_empty());
    build.run.state = BuildState::Succeeded;
    build.run.ended = Some(NOW);
    store.put_build(&build).unwrap();
    store.put_build(&build).unwrap();
    let found = owed(&store);
    assert_eq!(
        found.iter().map(|d| d.told.clone()).collect::<Vec<_>>(),
        [Told::Build { build: build.number }]
    );
    let deploy = store.add_deploy(deploy(repo)).unwrap();
    store
        .put_deploy(&slipway_core::deploy::Deploy {
            run: slipway_core::run::Run {
                state: slipway_core::deploy::DeployState::Healthy,
                ..deploy.run.clone()
            },
            ..deploy
        })
        .unwrap();
    assert_eq!(owed(&store).len(), 2);
}

#[test]
fn secrets_lie_encrypted_and_all_of_a_webhook_goes_with_it() {
    let home = Home::new();
    let store = home.open();
    let repo = app(&store);
    let secret = Secret::new("hunter2-hunter2-hunter2");
    let kept = store.add_webhook(webhook(repo, &[WebhookEvent::Push]), Some(&secret)).unwrap();
    assert!(kept.signed);
    assert_eq!(store.webhook_secret(repo, kept.number).unwrap(), Some(secret));
    let other = store.add_webhook(webhook(repo, &[WebhookEvent::Push]), None).unwrap();
    assert_eq!(store.webhook_secret(repo, other.number).unwrap(), None);
    push(&store, repo, &["main"], false);
    store.remove_webhook(repo, kept.number).unwrap();
    assert_eq!(store.webhook_secret(repo, kept.number).unwrap(), None);
    assert_eq!(owed(&store).iter().map(|d| d.webhook).collect::<Vec<_>>(), [other.number]);
    let gone = store.remove_webhook(repo, kept.number).unwrap_err();
    assert_eq!(gone.kind, ProblemKind::NotFound);
    let next = store.add_webhook(webhook(repo, &[WebhookEvent::Push]), None).unwrap();
    assert_eq!(next.number, WebhookNumber(3), "a number is never given twice");
    store.remove_repo(repo).unwrap();
    assert!(owed(&store).is_empty() && store.webhooks(repo).unwrap().is_empty());
    let mut all = Vec::new();
    store.backup(&mut all).unwrap();
    assert!(!String::from_utf8_lossy(&all).contains("hunter2"));
}

#[test]
fn webhooks_and_what_waits_for_them_are_bounded_and_nothing_is_dropped_unseen() {
    let home = Home::new();
    let store = home.open();
    let repo = app(&store);
    for _ in 0..20 {
        store.add_webhook(webhook(repo, &[WebhookEvent::Push]), None).unwrap();
    }
    let full = store.add_webhook(webhook(repo, &[WebhookEvent::Push]), None).unwrap_err();
    assert_eq!(full.kind, ProblemKind::TooLarge);
    let refs: Vec<String> = (0..50).map(|n| format!("b{n}")).collect();
    let refs: Vec<&str> = refs.iter().map(String::as_str).collect();
    for _ in 0..3 {
        push(&store, repo, &refs, false);
    }
    assert_eq!(owed(&store).len(), 2000);
    let newest = store.deliveries(repo, None, None, 1).unwrap().remove(0);
    assert_eq!((newest.number.0, newest.run.state), (3000, DeliveryState::Failed));
    assert!(newest.run.failure.unwrap().problem.what.contains("2000 deliveries"));
}

#[test]
fn a_delivery_that_another_took_later_is_not_written_over() {
    let home = Home::new();
    let store = home.open();
    let repo = app(&store);
    store.add_webhook(webhook(repo, &[WebhookEvent::Push]), None).unwrap();
    push(&store, repo, &["main"], false);
    let mut mine = owed(&store).remove(0);
    let mut theirs = mine.clone();
    mine.run.take("a", at(60));
    store.put_delivery(&mine).unwrap();
    theirs.run.take("b", at(60));
    assert_eq!(store.put_delivery(&theirs).unwrap_err().kind, ProblemKind::Conflict);
    theirs.run = mine.run.clone();
    theirs.run.take("b", at(60));
    store.put_delivery(&theirs).unwrap();
    assert_eq!(store.put_delivery(&mine).unwrap_err().kind, ProblemKind::Conflict);
    assert_eq!(store.delivery(repo, mine.number).unwrap(), Some(theirs));
}
