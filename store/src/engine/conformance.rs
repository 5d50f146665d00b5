//! What every engine does, whatever is recorded in it.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::disk::Disk;

fn key(text: &str) -> Key {
    Key::from_bytes(text.as_bytes())
}

fn put(engine: &dyn Engine, pairs: &[(&str, Option<&str>)]) -> Result<(), StoreError> {
    engine.transact(&mut |_| {
        Ok(pairs.iter().map(|(k, v)| (key(k), v.map(|v| v.as_bytes().to_vec()))).collect())
    })
}

fn get(engine: &dyn Engine, text: &str) -> Option<Vec<u8>> {
    let mut found = None;
    let read = engine.read(&mut |look| {
        found = look.get(&key(text))?;
        assert_eq!(look.has(&key(text))?, found.is_some());
        Ok(())
    });
    read.expect("readable");
    found
}

fn walk(engine: &dyn Engine, span: &Span) -> Vec<String> {
    let mut found = Vec::new();
    let read = engine.read(&mut |look| {
        for pair in look.span(span) {
            found.push(String::from_utf8_lossy(pair?.0.bytes()).into_owned());
        }
        Ok(())
    });
    read.expect("readable");
    found
}

fn keys_are_walked_in_order_within_their_span(engine: &dyn Engine) {
    put(engine, &[("b", Some("")), ("a2", Some("x")), ("a", Some("y")), ("a1", Some("z"))]).expect("written");
    let span = |scan: Scan<'_>| Span::of(&key("a"), scan);
    assert_eq!(walk(engine, &span(Scan::Up)), ["a", "a1", "a2"]);
    assert_eq!(walk(engine, &span(Scan::Down)), ["a2", "a1", "a"]);
    assert_eq!(walk(engine, &span(Scan::UpAfter(&key("a1")))), ["a2"]);
    assert_eq!(walk(engine, &span(Scan::UpAfter(&key("a2")))), [""; 0]);
    assert_eq!(walk(engine, &span(Scan::DownFrom(&key("a1")))), ["a"]);
    assert_eq!(walk(engine, &span(Scan::DownFrom(&key("a")))), [""; 0]);
    let backwards = Span { from: Bound::Included(key("b")), to: Bound::Excluded(key("a")), down: false };
    assert_eq!(walk(engine, &backwards), [""; 0], "an empty stretch is no error");
    let last = Key::from_bytes(&[255, 255]);
    engine.transact(&mut |_| Ok(Batch::from([(last.clone(), Some(vec![1]))]))).expect("written");
    assert_eq!(walk(engine, &Span::of(&Key::from_bytes(&[255]), Scan::Up)).len(), 1, "nothing is past it");
}

fn a_change_is_made_whole_or_not_at_all(engine: &dyn Engine) {
    put(engine, &[("a", Some("1")), ("b", Some("1"))]).expect("written");
    let refused = engine.transact(&mut |_| Err(StoreError::Sealed { what: "x".into() }));
    assert!(refused.is_err());
    put(engine, &[("a", Some("2")), ("b", None), ("none", None)]).expect("written");
    assert_eq!(get(engine, "a").as_deref(), Some(b"2".as_slice()));
    assert_eq!(get(engine, "b"), None);
    assert_eq!(get(engine, "none"), None);
}

/// Everybody adds one to what they have read: what was read must still be so when it is written.
fn what_was_read_is_still_so_when_it_is_written(engine: &dyn Engine) {
    const THREADS: u32 = 8;
    const ROUNDS: u32 = 25;
    let runs = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let add = engine.transact(&mut |look| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        let old = look.get(&key("sum"))?.map_or(0, |raw| raw.len());
                        std::thread::yield_now();
                        Ok(Batch::from([(key("sum"), Some(vec![0; old + 1]))]))
                    });
                    add.expect("written");
                }
            });
        }
    });
    assert_eq!(get(engine, "sum").map(|raw| raw.len()), Some((THREADS * ROUNDS) as usize));
    assert!(runs.load(Ordering::Relaxed) >= THREADS * ROUNDS);
}

/// A reader that looks twice sees the same, whatever others write meanwhile.
fn a_look_sees_no_change_by_half(engine: &dyn Engine) {
    put(engine, &[("a", Some("0")), ("z", Some("0"))]).expect("written");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 1..50 {
                let n = n.to_string();
                put(engine, &[("a", Some(&n)), ("z", Some(&n))]).expect("written");
            }
        });
        while !writer.is_finished() {
            let read = engine.read(&mut |look| {
                let first = look.get(&key("a"))?;
                std::thread::yield_now();
                assert_eq!(first, look.get(&key("z"))?);
                Ok(())
            });
            read.expect("readable");
        }
    });
}

fn facts_lie_apart_from_records(engine: &dyn Engine) {
    assert_eq!(engine.fact("a").expect("readable"), None);
    engine.put_fact("a", b"1").expect("written");
    assert_eq!(get(engine, "a"), None);
    put(engine, &[("a", Some("record"))]).expect("written");
    engine.put_fact("a", b"2").expect("written");
    assert_eq!(engine.fact("a").expect("readable").as_deref(), Some(b"2".as_slice()));
    let mut all = Vec::new();
    let each = engine.each(&mut || (), &mut |tree, key, value| {
        all.push((tree, key.to_vec(), value.to_vec()));
        Ok(())
    });
    each.expect("readable");
    let want =
        [(Tree::Meta, b"a".to_vec(), b"2".to_vec()), (Tree::Records, b"a".to_vec(), b"record".to_vec())];
    assert_eq!(all, want);
}

/// A copy says what was there at its moment, whatever is changed, added and removed while it is taken.
fn a_copy_is_of_one_moment(engine: &dyn Engine) {
    const KEYS: usize = 3_000;
    let name = |n: usize| Key::from_bytes(format!("k{n:05}").as_bytes());
    let all: Batch = (0..KEYS).map(|n| (name(n), Some(n.to_string().into_bytes()))).collect();
    engine.transact(&mut |_| Ok(Batch::clone(&all))).expect("written");
    let (mut copied, mut moments, mut turn) = (Vec::new(), 0, 0);
    let each = engine.each(&mut || moments += 1, &mut |tree, key, value| {
        // Early, late and on the way: one changed, one removed, one that is new, and the removed one back with another value.
        if copied.len() % 700 == 5 {
            turn += 1;
            for at in [turn, KEYS / 2 + turn, KEYS - turn] {
                let new = Key::from_bytes(format!("k{at:05}+").as_bytes());
                let change = |what| engine.transact(&mut |_| Ok(Batch::clone(&what)));
                let (changed, other) = (Some(b"changed".to_vec()), Some(b"other".to_vec()));
                change(Batch::from([(name(at), changed), (name(at + 3), None), (new, other.clone())]))
                    .expect("written");
                change(Batch::from([(name(at + 3), other)])).expect("written");
            }
        }
        if tree == Tree::Records {
            copied.push((key.to_vec(), value.to_vec()));
        }
        Ok(())
    });
    each.expect("readable");
    let want: Vec<_> = (0..KEYS).map(|n| (name(n).into_bytes(), n.to_string().into_bytes())).collect();
    assert!(copied == want, "it is not what was there when it was begun");
    assert_eq!(moments, 1);
    assert!(turn > 3, "nothing was changed meanwhile");
    assert_eq!(get(engine, "k00001").as_deref(), Some(b"changed".as_slice()));
}

macro_rules! every_engine {
    ($($case:ident),* $(,)?) => {
        mod sled_on_disk {
            $(
                #[test]
                fn $case() {
                    let folder = tempfile::tempdir().expect("temp folder");
                    let path = folder.path().join("db");
                    super::Disk::make(&path, None, |_| Ok(())).expect("made");
                    super::$case(&super::Disk::open(&path).expect("opens"));
                }
            )*
        }
        mod in_memory {
            $(
                #[test]
                fn $case() {
                    super::$case(&super::Memory::new());
                }
            )*
        }
    };
}

every_engine!(
    keys_are_walked_in_order_within_their_span,
    a_change_is_made_whole_or_not_at_all,
    what_was_read_is_still_so_when_it_is_written,
    a_look_sees_no_change_by_half,
    facts_lie_apart_from_records,
    a_copy_is_of_one_moment,
);
