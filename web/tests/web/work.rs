//! What people order is recorded whole or not at all, whoever else orders at the same moment.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::world::{World, member, owner, repo_name};

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_many_who_start_the_same_build_at_once_one_does() {
    let world = World::new();
    world.commit("app", Some(world.tip("app")), &[("Dockerfile", "FROM scratch\n")], "Build");
    let before = world.store.unfinished_builds().expect("read").len();
    let world = std::sync::Arc::new(world);
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let world = std::sync::Arc::clone(&world);
            let ask = async move {
                world.call("POST", "/repos/app/builds", &member("will"), Some(json!({}))).await
            };
            tokio::spawn(ask)
        })
        .collect();
    let (mut started, mut refused) = (0, 0);
    for one in asking {
        let reply = one.await.expect("answered");
        match reply.status.as_u16() {
            409 if reply.text().contains("is under way.") => refused += 1,
            status if status < 300 => started += 1,
            status => panic!("{status}: {}", reply.text()),
        }
    }
    assert_eq!((started, refused), (1, 15));
    assert_eq!(world.store.unfinished_builds().expect("read").len(), before + 1);
}

#[tokio::test]
async fn a_repository_goes_with_its_folder_once_its_work_has_stopped() {
    let world = World::new();
    let made = world.call("POST", "/repos", &member("stan"), Some(json!({"name": "short"}))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = world.store.repo_by_name(&repo_name("short")).expect("read").expect("there").id;
    let folders = || world.repositories.folders().expect("read");
    assert!(folders().contains(&id.to_string()));

    // What runs for it does not stop: nothing is gone.
    let busy = world.call("DELETE", "/repos/short", &member("stan"), None).await;
    assert!(busy.status == 503 && world.store.repo(id).expect("read").is_some(), "{}", busy.text());

    world.operations.stops.store(true, Ordering::Relaxed);
    assert_eq!(world.call("DELETE", "/repos/short", &member("rita"), None).await.status, 404);
    assert_eq!(world.call("DELETE", "/repos/short", &member("stan"), None).await.status, 200);
    assert!(world.store.repo(id).expect("read").is_none() && !folders().contains(&id.to_string()));
    assert_eq!(world.call("GET", "/repos/short", &owner(), None).await.status, 404);
}

#[tokio::test]
async fn a_sync_takes_a_binding() {
    let world = World::new();
    world.store.unbind_cluster(world.app).expect("unbound");
    let reply = world.call("POST", "/repos/app/deploys", &member("will"), None).await;
    assert!(
        reply.status == 403 && reply.text().contains("app is not bound to a cluster."),
        "{}",
        reply.text()
    );
    assert!(world.store.unfinished_deploys().expect("read").is_empty());
}
