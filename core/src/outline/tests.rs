//! Logs as they are, and what is read of them.

use super::*;
use crate::build::FirstLine;

const LOG: &str = "== clone repository\ncommit x\n== build image\n#1 [internal] load build definition\n#1 DONE 0.1s\n\
                   #2 [1/2] FROM alpine\n#2 CACHED\n#3 [2/2] RUN make\n#4 [other 1/1] RUN sleep\n#3 0.100 cc a.c\n\
                   #4 0.150 error: not this one\n#3 0.200 \u{1b}[31ma.c:3: error: no such thing\u{1b}[0m\n#3 0.300 1 more\n\
                   #3 ERROR: exit code: 2\n== failed: The step failed.\n";

fn outline(log: &str) -> Outline {
    let mut outline = Outline::default();
    outline.take(log.as_bytes());
    outline
}

fn first(stage: Stage, log: &str) -> Option<FirstLine> {
    let mut search = Search::new(stage);
    assert_eq!(search.take(log.as_bytes(), 0), log.len());
    search.found()
}

#[test]
fn a_log_is_stages_and_steps_with_their_places() {
    let read = outline(LOG);
    assert_eq!(read.read, LOG.len() as u64);
    let [clone, build] = read.stages.as_slice() else { panic!("{read:?}") };
    assert_eq!((clone.stage, clone.state, clone.start), (Stage::Clone, PartState::Done, 0));
    assert_eq!((build.stage, build.state, build.end), (Stage::Build, PartState::Failed, read.read));
    let states: Vec<_> = build.steps.iter().map(|s| (s.number, s.state, s.took_ms)).collect();
    let (done, cached) = (PartState::Done, PartState::Cached);
    assert_eq!(
        states,
        [
            (1, done, Some(100)),
            (2, cached, None),
            (3, PartState::Failed, None),
            (4, PartState::Running, None)
        ]
    );
    let make = &build.steps[2];
    assert_eq!((make.name.as_str(), make.pieces.len()), ("[2/2] RUN make", 3));
    let text: String = make.pieces.iter().map(|(a, b)| &LOG[*a as usize..*b as usize]).collect();
    assert!(text.lines().all(|line| line.starts_with("#3 ")) && text.lines().count() == 5, "{text}");
}

#[test]
fn it_is_the_same_however_the_log_comes() {
    let mut by_pieces = Outline::default();
    let bytes = LOG.as_bytes();
    for end in (0..=bytes.len()).step_by(7).chain([bytes.len()]) {
        by_pieces.take(&bytes[by_pieces.read as usize..end]);
    }
    assert_eq!(by_pieces, outline(LOG));
    let kept = serde_json::to_string(&by_pieces).expect("written");
    assert_eq!(serde_json::from_str::<Outline>(&kept).expect("read"), by_pieces);
}

#[test]
fn a_log_of_nonsense_is_bounded() {
    let lines = |n: u64| format!("== build image\n#{n} [x] RUN\n#1 0.001 a\n== nothing\n#x y\n");
    let log: String = (0..5_000).map(lines).collect();
    let read = outline(&log);
    assert_eq!(read.stages.len(), STAGES_MAX);
    assert!(read.stages.iter().map(|s| s.steps.len()).sum::<usize>() <= STEPS_MAX);
    assert!(read.stages.iter().flat_map(|s| &s.steps).all(|s| s.pieces.len() <= PIECES_MAX));
    let mut outline = Outline::default();
    outline.take(&[0xff, b'#', b'\n', 0, b'=']);
    assert_eq!((outline.read, outline.stages.len()), (3, 0));
}

#[test]
fn the_failing_steps_first_telling_line_is_found() {
    let found = first(Stage::Build, LOG).expect("found");
    assert_eq!(found.text, "a.c:3: error: no such thing");
    assert!(LOG[found.offset as usize..].starts_with("#3 0.200"), "{found:?}");
    assert_eq!(found.step.as_deref(), Some("[2/2] RUN make"));
    // One that says nothing telling: its last words. One that says nothing: its end.
    let quiet = first(Stage::Build, "#1 [1/1] RUN x\n#1 0.100 one\n#1 0.200 two\n#1 ERROR: exit code: 1\n");
    assert_eq!(quiet.expect("found").text, "two");
    let again = "#1 [1/1] FROM a\n#1 ERROR: not there\nnote: again\n#1 [1/1] FROM a\n#1 DONE 0.1s\n#2 [2/2] RUN\n#2 0.100 two\n\
                 #3 [x] RUN\n#3 0.1 error: x\n#3 ERROR: context canceled\n#2 ERROR: exit code: 1\n";
    assert_eq!(first(Stage::Build, again).expect("found").text, "two");
    let read = outline(&format!("== build image\n{again}"));
    let states: Vec<_> = read.stages[0].steps.iter().map(|s| (s.number, s.state)).collect();
    let (failed, done) = (PartState::Failed, PartState::Done);
    assert_eq!(states, [(1, failed), (1, done), (2, failed), (3, PartState::Stopped)]);
    let silent = first(Stage::Build, "#1 [1/1] RUN x\n#1 ERROR: exit code: 1\n");
    assert_eq!(silent.expect("found").text, "#1 ERROR: exit code: 1");
    assert_eq!(first(Stage::Build, "#1 [internal] load\n#1 DONE 0.0s\n"), None, "no step failed");
}

#[test]
fn a_tests_first_telling_line_is_found() {
    for (output, wanted) in [
        ("ok 1\nE   AssertionError: 1 != 2\nFAILED tests/a.py\n", "E   AssertionError: 1 != 2"),
        ("test a ... ok\nthread 'a' panicked at src/a.rs:3\n", "thread 'a' panicked at src/a.rs:3"),
        ("5 passed, 0 failed\n--- FAIL: TestX\n", "--- FAIL: TestX"),
        ("hello\nnothing special\n\n", "nothing special"),
        ("boo\nthe last lines of the service db:\ndb | error: x\n", "boo"),
    ] {
        let log = format!("== test image\nnote: error: no\n$ echo error: no\n{output}");
        assert_eq!(first(Stage::Test, &log).expect(output).text, wanted);
    }
    assert_eq!(first(Stage::Test, "== test image\n$ false\n"), None);
    let long = first(Stage::Test, &format!("error: {}\n", "ü".repeat(5_000))).expect("found");
    assert!(long.text.chars().count() <= 300);
}
