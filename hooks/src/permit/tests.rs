//! What is refused, by name and line, and what is not.

use super::*;

fn permit() -> Permit {
    Permit {
        images_of_others: vec![
            "127.0.0.1:5000/trust/app2".into(),
            "docker.io/team/base".into(),
            "r.example.org/x".into(),
        ],
        ..Permit::default()
    }
}

#[test]
fn another_repositorys_image_is_known_in_every_way_of_writing_it() {
    let names = permit().forbidden();
    for image in [
        "127.0.0.1:5000/trust/app2",
        "127.0.0.1:5000/trust/app2:latest",
        "127.0.0.1:5000/trust/app2:1@sha256:00",
        "127.0.0.1:5000/trust/app2@sha256:00",
        "localhost:5000/trust/app2",
        "LocalHost:5000/trust/app2",
        "[::1]:5000/trust/app2",
        "127.1:5000/trust/app2:x",
        "docker-image://127.0.0.1:5000/trust/app2:x",
        "team/base:1",
        "docker.io/team/base",
        "index.docker.io/team/base",
        "R.example.org/x",
        "\u{0}",
        "127.0.0.1:5000/\u{0}",
        "127.0.0.1:5000/trust/app\u{0}:1",
        "\u{0}/app2",
        "team/\u{0}:1",
    ] {
        assert!(names.has(image), "{image:?}");
    }
    for image in [
        "127.0.0.1:5000/trust/app",
        "127.0.0.1:5000/trust/app22",
        "127.0.0.1:5000/trust/app2/sub",
        "127.0.0.1:5001/trust/app2",
        "trust/app2",
        "alpine:3.20",
        "team/base2",
        "r.example.org/x/y",
        "golang:1-\u{0}",
        "builder",
        "",
    ] {
        assert!(!names.has(image), "{image:?}");
    }
}

#[test]
fn frontends_of_others_are_told_from_dockers() {
    for own in [
        "docker/dockerfile",
        "docker/dockerfile:1",
        "docker/dockerfile:1.4",
        "docker/dockerfile:1.7-labs",
        "docker.io/docker/dockerfile:1",
        "docker/dockerfile:1@sha256:00",
        "docker/dockerfile:latest",
    ] {
        assert!(is_dockers_own(own), "{own}");
    }
    for other in [
        "evil/dockerfile:1",
        "docker/dockerfile-upstream:master",
        "docker/dockerfile:1.0-experimental",
        "docker/dockerfile:1.1",
        "docker/dockerfile:experimental",
        "docker/dockerfilex",
        "127.0.0.1:5000/docker/dockerfile:1",
        "",
    ] {
        assert!(!is_dockers_own(other), "{other}");
    }
}

#[test]
fn a_test_is_lowered_to_the_ceilings_and_told_of() {
    let test = |text: &str| Spec::parse(text.as_bytes()).expect("valid").test;
    let huge = test("[test]\nmemory = \"100000GiB\"\ncpus = 1024\ntimeout = \"24h\"\n");
    let (lowered, told) = permit().lower(&huge).expect("lowered");
    assert_eq!((lowered.memory_bytes, lowered.cpus, lowered.timeout_ms), (4 << 30, 4.0, 7_200_000));
    assert_eq!(told.len(), 3);
    assert!(told[0].contains("test.memory = 100000GiB is lowered to 4GiB"), "{told:?}");
    let modest = test("[test]\nmemory = \"64MiB\"\ncpus = 0.5\nnetwork = \"internal\"\n");
    assert_eq!(permit().lower(&modest).expect("as it is").1, [""; 0]);
    let wide = permit().lower(&test("[test]\nnetwork = \"bridge\"\n")).expect_err("refused").to_string();
    assert!(wide.contains("test.network = \"bridge\"") && wide.contains("\"internal\" at most"), "{wide}");
    let mut allowed = permit();
    allowed.tests.network = Some(Network::Bridge);
    assert!(allowed.lower(&test("[test]\nnetwork = \"bridge\"\n")).is_ok());
}
