//! What only this crate can see of taking packs in: SHA-256, protection from gc. Judged by stock git.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use slipway_core::{ObjectFormat, RefName};

use super::*;

fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn line(dir: &Path, args: &[&str]) -> String {
    String::from_utf8(git(dir, args, b"")).unwrap().trim().to_owned()
}

/// A source and an empty target, both made by git.
struct Pair {
    dir: tempfile::TempDir,
    format: ObjectFormat,
}

impl Pair {
    fn new(format: ObjectFormat) -> Self {
        let pair = Self { dir: tempfile::tempdir().unwrap(), format };
        for name in ["source", "target"] {
            let format = format!("--object-format={format}");
            git(pair.dir.path(), &["init", "-q", "--bare", "-b", "main", &format, name], b"");
        }
        let mut stream = Vec::new();
        for n in 0..60 {
            writeln!(stream, "commit refs/heads/main\ncommitter A <a@example.org> {n} +0000\ndata 1\nx")
                .unwrap();
            for file in 0..3 {
                let text: String = (0..200)
                    .map(|l| format!("line {l} of {file}: {}\n", if l == n * 3 { n } else { 7 }))
                    .collect();
                writeln!(stream, "M 644 inline dir{file}/file{}\ndata {}\n{text}", n % 5, text.len())
                    .unwrap();
            }
        }
        git(&pair.path("source"), &["fast-import", "--quiet"], &stream);
        pair
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pack(&self, revs: &str, more: &[&str]) -> Vec<u8> {
        let args = [&["pack-objects", "--revs", "--stdout", "-q"], more].concat();
        git(&self.path("source"), &args, revs.as_bytes())
    }

    fn id(&self, rev: &str) -> Oid {
        Oid::parse(&line(&self.path("source"), &["rev-parse", rev])).unwrap()
    }

    fn receive(&self, pack: &[u8], limits: &ReceiveLimits) -> Result<Received> {
        let objects = self.path("target").join("objects");
        let indexes = crate::packs::list(&objects.join("pack"))?;
        let packs = indexes
            .iter()
            .map(|path| Pack::open(path, hash_kind(self.format)).map(Arc::new))
            .collect::<Result<_>>()?;
        let packs = Arc::new(PackSet::new(packs, Arc::default()));
        let head = RefName::branch("main").unwrap();
        let answers = crate::findings::Answers { repository: 0, recipes: Arc::default() };
        let snapshot = Arc::new(Snapshot::new(objects, self.format, head, packs, Arc::default(), answers));
        receive((snapshot, pass()), Arc::default(), &mut &pack[..], limits, &|_| {}, &AtomicBool::new(false))
    }

    fn publish(&self, received: &mut Received) {
        received.checked.store(true, Ordering::Release);
        received.publish_objects().unwrap();
    }

    /// Every object that the tip needs is there and sound.
    fn judge(&self, tip: &Oid) {
        let target = self.path("target");
        git(&target, &["update-ref", "refs/heads/main", &tip.to_string()], b"");
        git(&target, &["fsck", "--full", "--strict"], b"");
        let reach = |name| line(&self.path(name), &["rev-list", "--objects", &tip.to_string()]);
        assert_eq!(reach("target"), reach("source"));
        let fsck = git(&target, &["verify-pack", "-v", &self.published().to_string_lossy()], b"");
        assert!(fsck.ends_with(b": ok\n"));
    }

    fn published(&self) -> PathBuf {
        crate::packs::list(&self.path("target").join("objects/pack")).unwrap().pop().unwrap()
    }
}

fn pass() -> Pass {
    Arc::<crate::gate::Gate>::default().enter()
}

fn threads(n: usize) -> ReceiveLimits {
    ReceiveLimits { threads: n, parallel_from: 1, exact_links_max: 0, ..ReceiveLimits::default() }
}

#[test]
fn packs_of_both_hashes_are_taken_in_on_one_thread_and_on_several() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        for limits in [ReceiveLimits::default(), threads(1), threads(3)] {
            let pair = Pair::new(format);
            let tip = pair.id("main");
            for more in [&["--delta-base-offset"][..], &[]] {
                let mut received = pair.receive(&pair.pack("main\n", more), &limits).unwrap();
                let incoming = received.incoming.as_ref().unwrap();
                assert_eq!((incoming.outside.len(), incoming.bases.len()), (0, 0));
                pair.publish(&mut received);
            }
            pair.judge(&tip);
        }
    }
}

#[test]
fn thin_packs_are_made_whole() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        for limits in [ReceiveLimits::default(), threads(3)] {
            let pair = Pair::new(format);
            let (old, tip) = (pair.id("main~20"), pair.id("main"));
            let mut first = pair.receive(&pair.pack("main~20\n", &[]), &limits).unwrap();
            pair.publish(&mut first);
            let pack = pair.pack("main\n^main~20\n", &["--thin", "--delta-base-offset"]);
            let mut received = pair.receive(&pack, &limits).unwrap();
            let incoming = received.incoming.as_ref().unwrap();
            assert!(!incoming.bases.is_empty(), "not thin");
            assert!(incoming.outside.contains(&(old, Kind::Commit)), "{:?}", incoming.outside);
            for (id, kind) in &incoming.outside {
                assert_eq!(line(&pair.path("source"), &["cat-file", "-t", &id.to_string()]), kind.as_str());
                assert!(received.snapshot.packs.load().locate(id).is_some(), "{id}");
            }
            pair.publish(&mut received);
            pair.judge(&tip);
        }
    }
}

#[test]
fn a_published_pack_is_kept_from_gc_until_the_push_is_over() {
    let pair = Pair::new(ObjectFormat::Sha1);
    let mut received = pair.receive(&pair.pack("main\n", &[]), &ReceiveLimits::default()).unwrap();
    pair.publish(&mut received);
    let target = pair.path("target");
    let keep = pair.published().with_extension("keep");
    assert!(keep.exists());
    git(&target, &["gc", "-q", "--prune=now"], b"");
    assert!(pair.published().exists(), "gc took it");
    drop(received);
    assert!(!keep.exists());
    // What a crash leaves goes at the next start; an administrator's own stays.
    std::fs::write(&keep, format!("{}1\n", crate::sweep::KEEP_WORDS)).unwrap();
    let theirs = keep.with_file_name("pack-theirs.keep");
    std::fs::write(&theirs, "mine\n").unwrap();
    crate::sweep::sweep(&target).unwrap();
    assert!(!keep.exists() && theirs.exists());
    git(&target, &["gc", "-q", "--prune=now"], b"");
    assert_eq!(crate::packs::list(&target.join("objects/pack")).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn progress_is_told_by_one_thread_and_ends_complete() {
    let pair = Pair::new(ObjectFormat::Sha1);
    let pack = pair.pack("main\n", &[]);
    let snapshot = pair.receive(&pack, &threads(1)).unwrap().snapshot.clone();
    let told = Mutex::new(Vec::new());
    let this = std::thread::current().id();
    let progress = |p: Progress| {
        assert_eq!(std::thread::current().id(), this);
        told.lock().unwrap().push(p);
    };
    receive(
        (snapshot, pass()),
        Arc::default(),
        &mut &pack[..],
        &threads(4),
        &progress,
        &AtomicBool::new(false),
    )
    .unwrap();
    let told = told.into_inner().unwrap();
    let whole = |p: &Progress| match *p {
        Progress::Receiving { objects, total } => objects == total,
        Progress::Resolving { deltas, total } => deltas == total && total > 0,
    };
    assert!(whole(told.last().unwrap()) && told.iter().filter(|p| whole(p)).count() >= 2, "{told:?}");
}

#[test]
fn a_raised_flag_stops_both_passes_whoever_is_at_work() {
    /// A few bytes at a time.
    struct Drops<'a>(&'a [u8]);
    impl Read for Drops<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let n = out.len().min(100);
            self.0.read(&mut out[..n])
        }
    }
    let pair = Pair::new(ObjectFormat::Sha1);
    let pack = pair.pack("main\n", &[]);
    let snapshot = pair.receive(&pack, &threads(1)).unwrap().snapshot.clone();
    for n in [1, 3] {
        for at_end in [false, true] {
            let (stop, told) = (AtomicBool::new(false), Mutex::new(None));
            let raise = |p: Progress| {
                *told.lock().unwrap() = Some(p);
                if !at_end || matches!(p, Progress::Receiving { objects, total } if objects == total) {
                    stop.store(true, Ordering::Relaxed);
                }
            };
            let pack = &mut Drops(&pack);
            let outcome =
                receive((snapshot.clone(), pass()), Arc::default(), pack, &threads(n), &raise, &stop);
            assert!(matches!(outcome, Err(RepoError::Stopped)), "{n} {at_end}");
            // Nothing was told after the flag was raised.
            let last = told.into_inner().unwrap();
            let whole = matches!(last, Some(Progress::Receiving { objects, total }) if objects == total);
            assert_eq!(whole, at_end, "{last:?}");
        }
    }
}
