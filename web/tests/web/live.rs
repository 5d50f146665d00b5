//! Pages that change while one looks.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use slipway_core::BuildNumber;

use crate::world::{World, member};

/// Reads a live page until it ends, or until `enough` says so.
async fn read(world: &World, request: http::request::Builder, enough: impl Fn(&str) -> bool) -> String {
    let mut response = world.open(request, &member("rita"), Body::empty()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut text = String::new();
    while !enough(&text) {
        let frame = tokio::time::timeout(Duration::from_secs(20), response.body_mut().frame())
            .await
            .expect("in time");
        let Some(frame) = frame else { break };
        text.push_str(&String::from_utf8_lossy(&frame.expect("whole").into_data().unwrap_or_default()));
    }
    text
}

fn ids(events: &str) -> Vec<u64> {
    events.lines().filter_map(|l| l.strip_prefix("id: ")).map(|id| id.parse().expect("a number")).collect()
}

#[tokio::test]
async fn a_finished_build_sends_its_state_its_log_and_the_end() {
    let world = World::new();
    let events = read(&world, Request::get("/app/builds/2/live?from=0"), |_| false).await;
    assert!(events.contains("event: state\ndata: \"<div"), "{events}");
    assert!(events.contains("event: log\n"), "{events}");
    assert!(events.contains("step 2 red\\n"), "terminal colours are left out: {events}");
    assert!(events.trim_end().ends_with("event: end\ndata: \"\""), "{events}");
    assert_eq!(ids(&events).last().copied(), Some(world.operations.log.lock().expect("whole").len() as u64));
}

#[tokio::test]
async fn a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let world = World::new();
    let request = Request::get("/app/builds/2/live?from=0").header("last-event-id", "7");
    let events = read(&world, request, |_| false).await;
    assert!(!events.contains("step 1") && events.contains("step 2"), "{events}");
    let end = world.operations.log.lock().expect("whole").len();
    let request = Request::get("/app/builds/2/live?from=0").header("last-event-id", end.to_string());
    let events = read(&world, request, |_| false).await;
    assert!(!events.contains("event: log"), "{events}");
}

#[tokio::test]
async fn a_running_build_tells_when_it_is_over() {
    let world = World::new();
    let number = BuildNumber(3);
    let operations = std::sync::Arc::clone(&world.operations);
    let app = world.app;
    let finish = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        operations.finish_build(app, number);
    });
    let events = read(&world, Request::get("/app/builds/3/live?from=0"), |_| false).await;
    finish.await.expect("done");
    assert!(events.contains("running") && events.contains("succeeded"), "{events}");
    assert!(events.contains("event: end"), "{events}");
}

#[tokio::test]
async fn without_scripts_the_page_has_the_log_so_far_and_loads_itself_again() {
    let world = World::new();
    let running = world.get("/app/builds/3", &member("rita")).await.text();
    assert!(running.contains("step 2 red\n") && running.contains("http-equiv=\"refresh\""));
    assert!(
        running.contains(&format!("live?from={}", world.operations.log.lock().expect("whole").len())),
        "{running}"
    );
    let over = world.get("/app/builds/2", &member("rita")).await.text();
    assert!(!over.contains("http-equiv=\"refresh\"") && !over.contains("data-live"));
    assert!(over.contains("The test failed with status 1.") && over.contains("Mend it."));
}
