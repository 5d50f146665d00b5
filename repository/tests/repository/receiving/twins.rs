//! Packs that bring as a delta what is here and what another of their deltas builds on, beside git's index-pack.

use super::*;

/// A delta that copies nothing.
fn inserting(base: &[u8], result: &[u8]) -> Vec<u8> {
    let mut out = [number(base.len()), number(result.len())].concat();
    for piece in result.chunks(127) {
        out.push(piece.len() as u8);
        out.extend_from_slice(piece);
    }
    out
}

/// The object `result` as a delta on the object `base`.
fn on<'a>(base: &[u8], result: &[u8]) -> Part<'a> {
    Part::Ref(blob_id(base), inserting(base, result))
}

const X: &[u8] = b"the first of all";
const O: &[u8] = b"what is made from the first, and is here";
const Y: &[u8] = b"what is made from that";
const Z: &[u8] = b"and the last one";

/// Stores objects, a commit that reaches `seen` of them, and nothing for the others.
fn stocked(lab: &Lab, name: &str, here: &[&[u8]], seen: usize) -> (Arc<Repository>, std::path::PathBuf) {
    let (repository, path) = lab.create(name);
    let mut tree = String::new();
    for (n, data) in here.iter().enumerate() {
        let id = git_in(&path, &["hash-object", "-w", "--stdin"], data);
        if n < seen {
            tree.push_str(&format!("100644 blob {}\t{n}\n", String::from_utf8(id).unwrap().trim()));
        }
    }
    let tree = String::from_utf8(git_in(&path, &["mktree"], tree.as_bytes())).unwrap();
    let commit = git(&path, &["commit-tree", "-m", "x", tree.trim()]);
    git(&path, &["update-ref", "refs/heads/main", &commit]);
    (repository, path)
}

#[test]
fn what_is_here_and_comes_as_a_delta_may_be_the_base_of_another() {
    type Case<'a> = (&'a str, &'a [&'a [u8]], usize, Vec<Part<'a>>, &'a [u8], u32);
    let cases: [Case<'_>; 6] = [
        ("base first", &[X, O], 2, vec![on(X, O), on(O, Y)], Y, 3),
        ("base last", &[X, O], 2, vec![on(O, Y), on(X, O)], Y, 3),
        // What lies about must not be built upon, but this comes with the pack.
        ("not to be seen", &[X, O], 1, vec![on(O, Y), on(X, O)], Y, 3),
        ("two of them", &[X, O, Y], 3, vec![on(Y, Z), on(O, Y), on(X, O)], Z, 4),
        ("beside another", &[X, O, Z], 3, vec![on(O, Y), on(Z, b"z"), on(X, O)], Y, 5),
        ("not here", &[X], 1, vec![on(O, Y), on(X, O)], Y, 3),
    ];
    for (limits, size) in [(ReceiveLimits::default(), "small"), (as_if_large(), "large")] {
        let lab = Lab::new();
        for (n, (hint, here, seen, parts, tip, count)) in cases.iter().enumerate() {
            let hint = format!("{hint}, {size}");
            let (repository, path) = stocked(&lab, &format!("app{n}"), here, *seen);
            let mut received =
                receive_with(&repository, &by_hand(parts), &limits).unwrap_or_else(|e| panic!("{hint}: {e}"));
            assert_eq!(received.object_count(), *count, "{hint}");
            connected(&received, &[blob_id(tip)]).unwrap_or_else(|e| panic!("{hint}: {e}"));
            received.publish().unwrap();
            drop(received);
            let snapshot = repository.snapshot().unwrap();
            assert_eq!(snapshot.object(&blob_id(tip), 1 << 20).unwrap().unwrap().data, *tip, "{hint}");
            // What the pack has is read from it alone, as well.
            for loose in here.iter().map(|data| blob_id(data).to_string()) {
                let file = path.join("objects").join(&loose[..2]).join(&loose[2..]);
                std::fs::remove_file(file).unwrap();
            }
            for data in here.iter().take(*seen) {
                let stored = git_in(&path, &["cat-file", "blob", &blob_id(data).to_string()], b"");
                assert_eq!(stored, *data, "{hint}");
            }
            judge(&path);
        }
    }
}

#[test]
fn what_git_refuses_of_it_is_refused() {
    type Case<'a> = (&'a str, &'a [&'a [u8]], Vec<Part<'a>>);
    let cases: [Case<'_>; 7] = [
        ("a ring of what is here", &[X, O], vec![on(X, O), on(O, X)]),
        ("a ring of which one is here", &[X], vec![on(X, O), on(O, X)]),
        ("a ring of which one is here, the other way round", &[O], vec![on(X, O), on(O, X)]),
        ("a ring of three", &[X, O, Y], vec![on(X, O), on(O, Y), on(Y, X)]),
        ("itself", &[X], vec![on(X, X)]),
        ("made twice", &[X, O], vec![on(X, O), on(X, O), on(O, Y)]),
        ("whole and made", &[X, O], vec![on(X, O), Part::Whole(3, O)]),
    ];
    let lab = Lab::new();
    for (n, (hint, here, parts)) in cases.iter().enumerate() {
        let (repository, path) = stocked(&lab, &format!("app{n}"), here, here.len());
        let pack = by_hand(parts);
        for limits in [ReceiveLimits::default(), as_if_large()] {
            let refused = receive_with(&repository, &pack, &limits);
            assert!(matches!(refused, Err(RepoError::BadPack { .. })), "{hint}: {:?}", refused.err());
        }
        let gits = git_raw(&path, &["index-pack", "--stdin", "--fix-thin", "--strict"], &pack);
        assert!(!gits.status.success(), "{hint}");
    }
    // No longer than a chain may be, counted through what was borrowed.
    let (repository, _) = stocked(&lab, "long", &[X, O], 2);
    let limits = ReceiveLimits { depth_max: 1, ..ReceiveLimits::default() };
    let long = receive_with(&repository, &by_hand(&[on(O, Y), on(X, O)]), &limits);
    assert!(matches!(long, Err(RepoError::TooMuch { .. })), "{:?}", long.err());
}
