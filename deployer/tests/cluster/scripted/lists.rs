//! How many calls a deploy makes of objects that it knows.

use http::Method;
use serde_json::{Value, json};
use slipway_deployer::PruneConfirmation;

use super::{Fake, Fault, borrow, maps};
use crate::harness::{config_map, manifests};

#[tokio::test]
async fn a_deploy_without_a_change_makes_one_call_and_one_of_many_makes_three() {
    let fake = Fake::start(|method, path, _, state| {
        let bare = |object: &Value| {
            let mut object = object.clone();
            let fields = object.as_object_mut().expect("object");
            // As API servers list them.
            fields.remove("kind");
            fields.remove("apiVersion");
            object
        };
        let is_list = *method == Method::GET && path.ends_with("/configmaps");
        let items: Vec<Value> = state.objects.values().map(bare).collect();
        is_list.then(|| Fault::Answer(200, json!({"metadata": {}, "items": items}), None))
    })
    .await;
    let repo = fake.repo().await;
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let mut files = maps(&names);
    repo.deployed(&borrow(&files)).await;
    let calls = || {
        let log = std::mem::take(&mut fake.state.lock().expect("lock").log);
        let of = |verb: &str| log.iter().filter(|l| l.starts_with(verb)).count();
        (of("GET"), of("DRYRUN"), of("PATCH"))
    };
    calls();
    let got = repo.deployed(&borrow(&files)).await;
    assert!(got.len() == 9 && got.iter().all(|l| l.contains("Unchanged")), "{got:?}");
    assert_eq!(calls(), (1, 0, 0));
    files[3].1 = config_map("d", "2");
    let known = repo.notebook.inventory();
    let gate = repo
        .connection
        .dry_run(&repo.name(), &repo.binding, manifests(&borrow(&files)), &known, PruneConfirmation::None)
        .await;
    assert!(gate.expect("asked").is_empty());
    assert_eq!(calls(), (1, 1, 0), "the push shows what differs");
    let got = repo.deployed(&borrow(&files)).await;
    assert_eq!(got.iter().filter(|l| l.contains("Configured")).count(), 1, "{got:?}");
    assert_eq!(calls(), (1, 1, 1));
}

#[tokio::test]
async fn the_second_look_costs_one_read_an_object_and_no_write() {
    let fake = Fake::start(|_, _, _, _| None).await;
    let repo = fake.repo().await;
    let files = maps(&["a", "b", "c"]);
    repo.deployed(&borrow(&files)).await;
    fake.state.lock().expect("lock").log.clear();
    repo.deployed(&borrow(&files)).await;
    assert_eq!((fake.log().len(), fake.count("GET")), (3, 3), "{:?}", fake.log());
}
