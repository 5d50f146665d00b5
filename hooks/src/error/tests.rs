//! Failures have a class and two sentences, and foreign words stay in their line.

use slipway_core::run::{Failure, FailureClass};

use super::*;

#[test]
fn a_failure_has_a_class_and_two_sentences() {
    let failure = Failure::from(HookError::TestFailed { command: "./test.sh".into(), code: 3 });
    assert_eq!(failure.class, FailureClass::User);
    assert_eq!(failure.problem.what, "The test `./test.sh` failed with exit code 3.");
    let down = Failure::from(HookError::EngineDown {
        address: "unix:///x".into(),
        why: "no such file".into(),
        cure: None,
    });
    assert_eq!(down.class, FailureClass::Infra);
    assert!(down.problem.cure.contains("DOCKER_HOST"));
}

#[test]
fn foreign_words_become_one_line() {
    assert_eq!(one_line("a\nb\u{1b}[31m  c."), "a b [31m c");
    assert!(one_line(&"x".repeat(5000)).len() <= MESSAGE_CHARS_MAX);
}
