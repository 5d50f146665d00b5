//! The sender against a receiver that does what `fsutil`'s does: checks the order, keeps what has not changed, asks for
//! the rest and drops what is gone.

use std::collections::BTreeMap;

use bollard::fsutil::types::Stat;
use slipway_repository::Mode;

use super::*;
use crate::context::tests::Made;

const GO_FOLDER: u32 = 1 << 31;
const GO_LINK: u32 = 1 << 27;

/// What an engine keeps between builds.
#[derive(Default)]
struct Disk {
    kept: BTreeMap<String, (Stat, Vec<u8>)>,
}

struct Conversation {
    asks: Option<mpsc::Sender<Asked>>,
    answers: mpsc::Receiver<Result<Packet, Status>>,
    offer: Arc<Offer>,
}

fn offer(made: Made, place: Option<Place>) -> Arc<Offer> {
    Arc::new(Offer::new(Arc::new(made), ContextPlan::new("", "Dockerfile"), place, Arc::default(), None))
}

fn begin(offer: &Arc<Offer>, folder: Folder, wanted: Wanted) -> Conversation {
    let (answers, taken) = mpsc::channel(SYNC_WAITING);
    let (asks, asked) = mpsc::channel(SYNC_WAITING);
    let serving = offer.clone();
    std::thread::spawn(move || serve(&serving, folder, &wanted, &answers, asked));
    Conversation { asks: Some(asks), answers: taken, offer: offer.clone() }
}

impl Conversation {
    fn next(&mut self) -> Packet {
        self.answers.blocking_recv().expect("an answer").expect("no status")
    }

    fn ask(&self, asked: Asked) {
        self.asks.as_ref().expect("still there").blocking_send(asked).expect("taken");
    }

    /// The list; its order is what receivers insist on.
    fn list(&mut self) -> Vec<Stat> {
        let mut stats: Vec<Stat> = Vec::new();
        loop {
            let packet = self.next();
            assert_eq!(packet.r#type(), PacketType::PacketStat, "{}", String::from_utf8_lossy(&packet.data));
            let Some(stat) = packet.stat else { return stats };
            let folder = stat.path.rsplit_once('/').map(|(folder, _)| folder);
            let told = |path: &str| stats.iter().any(|s| s.path == path && s.mode & GO_FOLDER != 0);
            assert!(folder.is_none_or(told), "{} before its folder", stat.path);
            let comes_after = |last: &Stat| last.path.split('/').lt(stat.path.split('/'));
            assert!(stats.last().is_none_or(comes_after), "{} is out of order", stat.path);
            stats.push(stat);
        }
    }

    fn content(&mut self, place: u32) -> Vec<u8> {
        self.ask(Asked::File(place));
        let mut data = Vec::new();
        loop {
            let packet = self.next();
            assert_eq!((packet.r#type(), packet.id), (PacketType::PacketData, place));
            if packet.data.is_empty() {
                return data;
            }
            data.extend(packet.data);
        }
    }

    fn end(mut self) {
        self.ask(Asked::End);
        assert_eq!(self.next().r#type(), PacketType::PacketFin);
        assert!(self.answers.blocking_recv().is_none(), "nothing follows");
    }

    /// The words with which the sender gives up, and what is remembered of them.
    fn refusal(mut self) -> (String, HookError) {
        let packet = loop {
            let packet = self.next();
            if packet.r#type() == PacketType::PacketErr {
                break packet;
            }
        };
        let e = self.offer.tally.outcome().expect_err("a failure");
        (String::from_utf8_lossy(&packet.data).into_owned(), e)
    }
}

impl Disk {
    /// Takes a transfer over; the paths whose content had to be fetched.
    fn sync(&mut self, offer: &Arc<Offer>, wanted: Wanted) -> Vec<String> {
        let mut conversation = begin(offer, Folder::Context, wanted);
        let stats = conversation.list();
        self.kept.retain(|path, _| stats.iter().any(|stat| stat.path == *path));
        let same = |old: &Stat, new: &Stat| {
            let folders = old.mode & new.mode & GO_FOLDER != 0;
            old.mode == new.mode
                && old.linkname == new.linkname
                && (folders || old.size == new.size && old.mod_time == new.mod_time)
        };
        let mut fetched = Vec::new();
        // From the last to the first: the order is the receiver's to choose.
        for (place, stat) in stats.into_iter().enumerate().rev() {
            if self.kept.get(&stat.path).is_some_and(|(old, _)| same(old, &stat)) {
                continue;
            }
            let mut data = Vec::new();
            if stat.mode & (GO_FOLDER | GO_LINK) == 0 {
                data = conversation.content(u32::try_from(place).expect("few"));
                fetched.push(stat.path.clone());
            }
            self.kept.insert(stat.path.clone(), (stat, data));
        }
        conversation.end();
        fetched.reverse();
        fetched
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8_lossy(&self.kept[path].1).into_owned()
    }

    fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<_> = self.kept.keys().map(String::as_str).collect();
        paths.sort_by(|one, other| one.split('/').cmp(other.split('/')));
        paths
    }
}

fn everything() -> Made {
    Made::default()
        .file("Dockerfile", "FROM x")
        .file("a.txt", "text")
        .file("a/b/c", "deep")
        .file("Überraschung\n\"'", "odd")
        .file("empty", "")
        .with("run", Mode::Executable, b"#!/bin/sh")
        .with("link", Mode::Link, b"a/b")
        .with("vendor/lib", Mode::Submodule, b"")
}

#[test]
fn a_commit_arrives_as_it_is() {
    let mut disk = Disk::default();
    let offer = offer(everything(), None);
    disk.sync(&offer, Wanted::default());
    let paths = [
        "Dockerfile",
        "a",
        "a/b",
        "a/b/c",
        "a.txt",
        "empty",
        "link",
        "run",
        "vendor",
        "vendor/lib",
        "Überraschung\n\"'",
    ];
    assert_eq!(disk.paths(), paths);
    assert_eq!((disk.text("a/b/c"), disk.text("empty")), ("deep".into(), String::new()));
    let stat = |path: &str| disk.kept[path].0.clone();
    assert_eq!(stat("run").mode, 0o755);
    assert_eq!(stat("a.txt").mode, 0o644);
    assert_eq!(
        (stat("link").mode, stat("link").linkname.as_str(), stat("link").size),
        (GO_LINK | 0o777, "a/b", 3)
    );
    assert_eq!((stat("vendor/lib").mode, stat("a").mode), (GO_FOLDER | 0o755, GO_FOLDER | 0o755));
    let sent = offer.tally.outcome().expect("sent");
    assert_eq!((sent.files, sent.fetched, sent.ignored), (7, 6, 0));
}

#[test]
fn only_what_changed_is_fetched_and_what_is_gone_goes() {
    let folder = tempfile::tempdir().expect("folder");
    let place = || Some(Place { kept: folder.path().join("kept"), new: folder.path().join("new") });
    let mut disk = Disk::default();
    disk.sync(&offer(everything().file("old", "o"), place()), Wanted::default());
    let again = offer(everything().file("old", "o"), place());
    assert_eq!(disk.sync(&again, Wanted::default()), Vec::<String>::new());
    assert_eq!(again.tally.outcome().expect("sent").fetched_bytes, 0, "not one byte");
    // Of the same size, and within the same second.
    let changed = offer(everything().file("a.txt", "TEXT").file("new", "n"), place());
    assert_eq!(disk.sync(&changed, Wanted::default()), ["a.txt", "new"]);
    assert_eq!(disk.text("a.txt"), "TEXT");
    assert!(!disk.paths().contains(&"old"));
}

#[test]
fn without_memory_all_is_fetched_and_nothing_is_mistaken() {
    let mut disk = Disk::default();
    disk.sync(&offer(everything(), None), Wanted::default());
    disk.sync(&offer(everything().file("a.txt", "TEXT"), None), Wanted::default());
    assert_eq!(disk.text("a.txt"), "TEXT", "path, size and second are the same");
}

#[test]
fn what_is_ignored_does_not_go_and_the_dockerfile_goes_apart() {
    let made = everything()
        .file(".dockerignore", "Dockerfile\n.dockerignore\na/*\n!a/keep\nvendor\n")
        .file("a/keep", "k");
    let offer = offer(made, None);
    let mut disk = Disk::default();
    disk.sync(&offer, Wanted { exclude: vec!["empty".into()], ..Wanted::default() });
    assert_eq!(disk.paths(), ["a", "a/keep", "a.txt", "link", "run", "Überraschung\n\"'"]);
    assert_eq!(offer.tally.outcome().expect("sent").ignored, 3, "a submodule is a folder");
    let mut apart = begin(&offer, Folder::Dockerfile, Wanted::default());
    let stats = apart.list();
    assert_eq!(stats.iter().map(|stat| stat.path.as_str()).collect::<Vec<_>>(), ["Dockerfile"]);
    assert_eq!(apart.content(0), b"FROM x");
    apart.end();
}

#[test]
fn a_part_comes_with_its_folders() {
    let mut disk = Disk::default();
    let wanted = Wanted { follow: vec!["link/c".into(), ".dockerignore".into()], ..Wanted::default() };
    disk.sync(&offer(everything(), None), wanted);
    assert_eq!(disk.paths(), ["a", "a/b", "a/b/c", "link"]);
}

#[test]
fn a_file_of_many_pieces_arrives_whole() {
    let long: String = (0..100_000).map(|n| format!("{n}\n")).collect();
    let mut disk = Disk::default();
    disk.sync(&offer(everything().file("long", &long), None), Wanted::default());
    assert_eq!(disk.text("long"), long);
}

#[test]
fn a_number_that_was_not_offered_is_refused() {
    for place in [0, 3, u32::MAX] {
        let offer = offer(Made::default().file("Dockerfile", "x").file("a/b", "b"), None);
        let mut conversation = begin(&offer, Folder::Context, Wanted::default());
        conversation.list();
        // Dockerfile, a, a/b.
        conversation.ask(Asked::File(if place == 0 { 1 } else { place }));
        let (words, e) = conversation.refusal();
        assert!(words.contains("which is no file"), "{words}");
        assert_eq!(e.class(), slipway_core::run::FailureClass::Infra);
    }
}

#[test]
fn a_receiver_that_hangs_up_or_gives_up_ends_the_transfer_without_blame() {
    let offer = offer(everything(), None);
    let mut hung_up = begin(&offer, Folder::Context, Wanted::default());
    hung_up.list();
    hung_up.asks = None;
    assert!(hung_up.answers.blocking_recv().is_none());
    let mut gave_up = begin(&offer, Folder::Context, Wanted::default());
    gave_up.list();
    gave_up.ask(Asked::Failed("disk full".into()));
    assert!(gave_up.answers.blocking_recv().is_none());
    let deaf = begin(&offer, Folder::Context, Wanted::default());
    drop(deaf.answers);
    drop(deaf.asks);
    assert!(offer.tally.outcome().is_ok(), "the build's own failure is the one to tell");
}

#[test]
fn what_cannot_be_sent_is_the_builds_failure() {
    for (made, path) in [
        (everything().file("big", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "big"),
        (everything().file("odd\u{F7FF}", "x"), "odd\u{FFFD}"),
    ] {
        let offer = offer(made, None);
        let mut conversation = begin(&offer, Folder::Context, Wanted::default());
        let mut place = 0;
        let refused = loop {
            let packet = conversation.next();
            match (packet.r#type(), packet.stat) {
                (PacketType::PacketErr, _) => break true,
                (_, Some(stat)) if stat.path == path => conversation.ask(Asked::File(place)),
                (_, Some(_)) => place += 1,
                (_, None) => {}
            }
        };
        assert!(refused);
        match offer.tally.outcome() {
            Err(HookError::Context { path: told, .. }) => assert_eq!(told, path),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_context_has_its_limits() {
    let usual = Limits::default();
    for (limits, told) in [
        (Limits { build_context_files_max: 3, ..usual.clone() }, "files"),
        (Limits { build_context_size_max: 10, ..usual.clone() }, "bytes"),
        (Limits { build_context_file_size_max: 5, ..usual.clone() }, "Dockerfile"),
    ] {
        let plan = ContextPlan::new("", "Dockerfile");
        let offer = Arc::new(Offer::new(Arc::new(everything()), plan, None, Arc::new(limits), None));
        let (words, _) = begin(&offer, Folder::Context, Wanted::default()).refusal();
        assert!(words.contains(told), "{told}: {words}");
    }
}

#[test]
fn a_request_is_read_as_engines_write_it() {
    let mut metadata = MetadataMap::new();
    assert!(read_request(&metadata).is_err(), "no folder is named");
    metadata.insert("dir-name", "secrets".parse().expect("a value"));
    assert!(read_request(&metadata).is_err(), "not offered");
    metadata.insert("dir-name", "context".parse().expect("a value"));
    metadata.append("exclude-patterns", "a+b".parse().expect("a value"));
    metadata.append("exclude-patterns", "c%20".parse().expect("a value"));
    metadata.append("followpaths", "%C3%BC+x".parse().expect("a value"));
    metadata.insert("followpaths-encoded", "1".parse().expect("a value"));
    let (folder, wanted) = read_request(&metadata).expect("read");
    assert_eq!(folder, Folder::Context);
    assert_eq!((wanted.exclude, wanted.follow), (vec!["a+b".into(), "c%20".into()], vec!["ü x".to_owned()]));
}
