//! Pages that change while one looks.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use slipway_core::build::{FirstLine, LogRemoved, Stage};
use slipway_core::{BuildNumber, UnixMillis};

use crate::world::{EVIL, World, member, owner};

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

#[tokio::test]
async fn a_log_that_was_removed_is_told_as_removed_and_never_as_empty() {
    let world = World::new();
    world.operations.log.lock().expect("whole").clear();
    let mut build = world.store.build(world.app, BuildNumber(2)).expect("read").expect("there");
    build.results.log_removed = Some(LogRemoved { at: UnixMillis(5), because: "after a while".into() });
    world.store.put_build(&build).expect("written");
    let words = "The log of build 2 was removed after a while.";
    for path in ["/repos/app/builds/2/log", "/repos/app/builds/2/log?offset=7", "/repos/app/builds/2/steps"] {
        let reply = world.call("GET", path, &owner(), None).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text().contains(words)),
            (404, true),
            "{path}: {}",
            reply.text()
        );
    }
    assert!(world.get("/app/builds/2", &owner()).await.text().contains(words));
    assert_eq!(world.get("/app/builds/2/log", &owner()).await.status, 404);
}

#[tokio::test]
async fn a_log_is_grouped_by_steps_with_the_failing_one_open_and_its_line_marked() {
    let world = World::new();
    let log = format!(
        "before\n== clone repository\ncommit x\n== build image\nnote: a note\n#1 [1/2] FROM a\n#1 CACHED\n#2 [2/2] RUN {EVIL}\n\
         #2 0.100 fine\n#2 0.200 error: {EVIL}\n#2 ERROR: exit code: 1\nafter\n== failed: x\n"
    );
    let offset = log.find("#2 0.200").expect("there") as u64;
    *world.operations.log.lock().expect("whole") = log.into_bytes();
    let mut build = world.store.build(world.app, BuildNumber(2)).expect("read").expect("there");
    build.results.first_line = Some(FirstLine {
        stage: Stage::Build,
        step: Some(EVIL.into()),
        offset,
        text: format!("error: {EVIL}"),
    });
    world.store.put_build(&build).expect("written");
    let page = world.get("/app/builds/2", &owner()).await.text();
    assert!(!page.contains(EVIL), "{page}");
    let open: Vec<_> = page.match_indices("<details class=\"part\" open>").collect();
    assert_eq!((open.len(), page.matches("<details class=\"part\">").count()), (2, 2), "{page}");
    assert_eq!(page.matches("<mark id=\"first-line\">#2 0.200 error: ").count(), 1, "{page}");
    for words in ["before", "commit x", "note: a note", "#1 CACHED", "#2 0.100 fine", "after", "== failed: x"]
    {
        assert_eq!(page.matches(words).count(), 1, "{words} in {page}");
    }
    assert!(page.contains(&format!("/app/builds/2/log?offset={offset}")), "{page}");
    let raw = world.get(&format!("/app/builds/2/log?offset={offset}"), &owner()).await;
    assert!(raw.text().starts_with("#2 0.200 error: "));
    let steps = world.call("GET", "/repos/app/builds/2/steps", &owner(), None).await.json();
    assert_eq!(steps["stages"][1]["steps"][1]["state"], "failed", "{steps}");
    assert_eq!(steps["first_line"]["offset"], offset);
}
