//! Indexes of commits that live in a map.

use super::*;
use crate::context::tests::Made;

const FIRST: Clock = Clock { committed: 1_000, now: Duration::new(5_000, 7) };
const LATER: Clock = Clock { committed: 1_100, now: Duration::new(6_000, 7) };

fn made() -> Made {
    Made::default()
        .file("a.c", "c")
        .file("a/b/c", "deep")
        .file("a/z", "z")
        .with("run", Mode::Executable, b"#!")
        .with("link", Mode::Link, b"a/z")
        .with("vendor", Mode::Submodule, b"")
}

fn place(folder: &tempfile::TempDir) -> Place {
    Place { kept: folder.path().join("kept"), new: folder.path().join("new") }
}

fn items(made: &Made, clock: Clock, place: Option<&Place>) -> Vec<Item> {
    let index = Index::make(made, "", clock, place).expect("made");
    let all: Vec<_> = index.items().map(|item| item.expect("whole")).collect();
    for (number, item) in &all {
        assert_eq!(index.item(*number).expect("found again"), *item);
    }
    all.into_iter().map(|(_, item)| item).collect()
}

fn time(items: &[Item], path: &str) -> i64 {
    items.iter().find(|item| item.path == path).expect("there").mtime
}

#[test]
fn entries_come_in_the_order_of_fsutil() {
    let items = items(&made(), FIRST, None);
    let paths: Vec<_> = items.iter().map(|item| item.path.as_str()).collect();
    // A folder and all that it holds come before a name that is longer than its own.
    assert_eq!(paths, ["a", "a/b", "a/b/c", "a/z", "a.c", "link", "run", "vendor"]);
    assert!(paths.is_sorted_by(|one, other| order(one, other).is_lt()));
    let sizes: Vec<_> = items.iter().map(|item| item.size).collect();
    assert_eq!(sizes, [0, 0, 4, 1, 1, 3, 2, 0]);
}

#[test]
fn the_first_times_are_the_commits() {
    let items = items(&made(), FIRST, None);
    assert!(items.iter().all(|item| item.mtime / NANOS as i64 == 1_000), "{items:?}");
    let from_the_future = Clock { committed: 9_000, ..FIRST };
    assert_eq!(time(&self::items(&made(), from_the_future, None), "a.c") / NANOS as i64, 5_000);
}

#[test]
fn a_time_stays_with_its_content_and_is_new_with_another() {
    let folder = tempfile::tempdir().expect("folder");
    let place = place(&folder);
    let first = items(&made(), FIRST, Some(&place));
    assert_eq!(items(&made(), LATER, Some(&place)), first, "nothing changed");
    let changed = made().file("a/z", "y").file("new", "n").with("run", Mode::File, b"#!");
    let later = items(&changed, LATER, Some(&place));
    for path in ["a", "a/b/c", "a.c", "link", "run"] {
        assert_eq!(time(&later, path), time(&first, path), "{path}");
    }
    for path in ["a/z", "new"] {
        assert_eq!(time(&later, path), 6_000_000_000_007, "{path}: after all that was built before");
    }
    let back = items(&made(), Clock { now: Duration::from_secs(7_000), ..LATER }, Some(&place));
    assert_eq!(time(&back, "a/z") / NANOS as i64, 7_000, "what comes back is new again");
}

#[test]
fn contents_of_one_second_differ_in_time() {
    let (one, other) = (items(&made(), FIRST, None), items(&made(), FIRST, None));
    assert_ne!(time(&one, "a/z"), time(&other, "a/z"));
}

#[test]
fn a_damaged_index_costs_times_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let place = place(&folder);
    let first = items(&made(), FIRST, Some(&place));
    let whole = std::fs::read(&place.kept).expect("kept");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&place.kept, &damaged).expect("written");
        let again = items(&made(), LATER, Some(&place));
        let told =
            |items: &[Item]| items.iter().map(|i| (i.path.clone(), i.mode, i.size)).collect::<Vec<_>>();
        assert_eq!(told(&again), told(&first), "byte {at}");
    }
    std::fs::write(&place.kept, &whole[..whole.len() / 2]).expect("cut");
    assert_eq!(items(&made(), LATER, Some(&place)).len(), first.len());
}

#[test]
fn a_disk_that_takes_nothing_costs_no_build() {
    let folder = tempfile::tempdir().expect("folder");
    let nowhere = Place { kept: folder.path().join("no/kept"), new: folder.path().join("no/new") };
    assert_eq!(items(&made(), FIRST, Some(&nowhere)).len(), 8);
}

#[test]
fn an_index_that_ends_early_is_no_index() {
    let mut index = Index::make(&made(), "", FIRST, None).expect("made");
    index.items += 1;
    assert!(index.items().last().expect("an end").is_err());
}

#[test]
fn a_context_is_a_folder_of_the_commit() {
    let index = Index::make(&made(), "a", FIRST, None).expect("made");
    let paths: Vec<_> = index.items().map(|item| item.expect("whole").1.path).collect();
    assert_eq!(paths, ["b", "b/c", "z"]);
    let long = Made::default().file(&"d/".repeat(2_100), "x");
    assert!(matches!(Index::make(&long, "", FIRST, None), Err(HookError::Context { .. })));
}
