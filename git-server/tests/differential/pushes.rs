//! Random pushes, sound and broken: the same verdict on every ref, the same refs afterwards, and repositories in which
//! `git fsck` finds nothing.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use slipway_core::Oid;
use slipway_git_server::PipeService;

use crate::answer::packet;
use crate::history::{History, Kind};
use crate::layout::{maintain, store};
use crate::oracle::{Said, ask_git, ask_us, git, git_with};
use crate::pack::{self, Entry};
use crate::random::Random;

#[derive(Debug)]
struct Command {
    old: Oid,
    new: Oid,
    name: String,
}

/// What a push was told: of its pack, and of each ref.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    unpacked: bool,
    refs: BTreeMap<String, bool>,
}

/// Everything of one seed: two repositories alike, and some pushes to both.
pub(crate) fn check(seed: u64, pushes: usize) {
    let mut random = Random::new(seed);
    let most = *random.pick(&[2, 8, 20]);
    let mut history = History::new(&mut random, most);
    let folder = tempfile::tempdir().unwrap();
    let sides = [folder.path().join("git.git"), folder.path().join("us.git")];
    store(&history, &sides[0], &settings(&mut random), &mut random);
    let copied = std::process::Command::new("cp").arg("-r").args(&sides).status().unwrap();
    assert!(copied.success());
    for number in 0..pushes {
        let case = format!("seed {seed}, push {number}");
        if !push(&mut history, &sides, &mut random, &case) {
            break;
        }
        if random.one_in(6) {
            maintain(&sides[1], random.one_in(2));
        }
    }
    for side in &sides {
        let out = git_with(side, &["fsck", "--full", "--no-dangling"], b"", "");
        assert!(out.status.success(), "seed {seed}, {side:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

fn settings(random: &mut Random) -> String {
    // The checks are always on here, and small packs stay packs.
    let mut text =
        "[receive]\n\tfsckObjects = true\n\tadvertisePushOptions = true\n\tunpackLimit = 1\n".to_owned();
    for (key, value) in [("denyNonFastForwards", "true"), ("denyDeletes", "true")] {
        if random.one_in(3) {
            text += &format!("\t{key} = {value}\n");
        }
    }
    text
}

/// Keeps the repositories and the request where somebody wants to look at them.
fn keep(sides: &[PathBuf; 2], request: &[u8]) {
    if let Some(place) = std::env::var_os("SLIPWAY_FUZZ_KEEP") {
        let kept = std::process::Command::new("cp").arg("-r").args(sides).arg(&place).status();
        std::fs::write(Path::new(&place).join("request"), request).unwrap();
        println!("kept in {place:?}: {kept:?}");
    }
}

/// New commits, sometimes a tag, sometimes something broken.
fn fresh(history: &mut History, random: &mut Random) -> Vec<Oid> {
    let mut fresh: Vec<Oid> = (0..random.below(4)).map(|_| history.commit(random)).collect();
    if random.one_in(4) {
        let target = *random.pick(&history.order);
        fresh.push(history.tag(target, random));
    }
    if random.one_in(12) {
        fresh.push(broken(history, random));
    }
    fresh
}

/// One push to both. False if the two are no longer alike, though both are right.
fn push(history: &mut History, sides: &[PathBuf; 2], random: &mut Random, case: &str) -> bool {
    let refs = refs_of(&sides[0]);
    let had = {
        let tips: Vec<Oid> = refs.values().copied().collect();
        history.closure(&tips, &HashSet::new())
    };
    let stored = history.order.len();
    let fresh = fresh(history, random);
    let commands = commands(history, &refs, &fresh, random);
    let tips: Vec<Oid> = commands.iter().map(|c| c.new).collect();
    let mut needed: Vec<Oid> =
        history.closure(&tips, &HashSet::new()).into_iter().filter(|id| !had.contains(id)).collect();
    // Of what was there before some lies on the server though nothing reaches it: git would take it for sent.
    let gone = if random.one_in(16) {
        needed.iter().position(|id| history.order[stored..].contains(id))
    } else {
        None
    };
    let gone = gone.map(|at| needed.remove(at));
    let mut request = write(history, &commands, random);
    if commands.iter().any(|c| !c.new.is_zero()) {
        let bases: Vec<Oid> = had.into_iter().collect();
        request.extend(pack_of(history, needed, &bases, random));
    }
    let sideband = request_has(&request, "side-band-64k");
    let answers = [
        ask_git(&sides[0], PipeService::ReceivePack, &request, ""),
        ask_us(&sides[1], PipeService::ReceivePack, &request, ""),
    ];
    let [git_said, we_said] = answers.each_ref().map(|said| read(said, sideband));
    let after = [refs_of(&sides[0]), refs_of(&sides[1])];
    let same = git_said.refs == we_said.refs && after[0] == after[1];
    // In git a push that is atomic may move some refs though others had objects missing; here it moves none.
    let atomic =
        request_has(&request, "atomic") && git_said.refs.len() < commands.len() && we_said.refs.is_empty();
    if atomic && after[1] == refs {
        return after[0] == after[1];
    }
    // With its checks git refuses all of a push with a hole, whatever leads there; here those refs alone that do.
    if let Some(gone) = gone
        && !git_said.unpacked
    {
        let moved = commands.iter().filter(|c| we_said.refs.contains_key(&c.name));
        let holed = moved.filter(|c| history.closure([&c.new], &HashSet::new()).contains(&gone)).count();
        assert_eq!(holed, 0, "{case}: a ref that leads to {gone} has moved: {commands:?}");
        return false;
    }
    // What git cannot resolve: deltas on one another whose objects are here already, though nothing reaches them.
    // Here such a pack may be taken.
    if told(&answers[0]).contains("already resolved (duplicate base") {
        return false;
    }
    if !same {
        keep(sides, &request);
        let told = answers.map(|said| format!("{} {:?}", said.remark, String::from_utf8_lossy(&said.bytes)));
        panic!(
            "{case}: {commands:#?}\ngit: {git_said:?}\n{}\nus:  {we_said:?}\n{}\n{after:#?}",
            told[0], told[1]
        );
    }
    true
}

fn request_has(request: &[u8], word: &str) -> bool {
    String::from_utf8_lossy(&request[..request.len().min(400)]).contains(word)
}

fn refs_of(dir: &Path) -> BTreeMap<String, Oid> {
    let text =
        String::from_utf8(git(dir, &["for-each-ref", "--format=%(objectname) %(refname)"], b"")).unwrap();
    let mut refs = BTreeMap::new();
    for line in text.lines() {
        let (id, name) = line.split_once(' ').unwrap();
        refs.insert(name.to_owned(), Oid::parse(id).unwrap());
    }
    refs
}

/// An object that breaks git's rules.
fn broken(history: &mut History, random: &mut Random) -> Oid {
    let tree = *random.pick(&history.ids(Kind::Tree));
    let blob = history.put(Kind::Blob, random.bytes(9), Vec::new());
    let entry = |name: &[u8]| [b"100644 ", name, b"\0", blob.as_bytes()].concat();
    let person = "C <c@example.org> 1700000000 +0000";
    let (kind, data, links) = match random.below(7) {
        0 => (Kind::Tree, [entry(b"b"), entry(b"a")].concat(), vec![blob]),
        1 => (Kind::Tree, [entry(b"a"), entry(b"a")].concat(), vec![blob]),
        2 => (Kind::Tree, entry(b".git"), vec![blob]),
        3 => (Kind::Tree, entry(b"a/b"), vec![blob]),
        4 => {
            (Kind::Commit, format!("tree {tree}\ncommitter {person}\n\nno author\n").into_bytes(), vec![tree])
        }
        5 => (
            Kind::Commit,
            format!("tree {blob}\nauthor {person}\ncommitter {person}\n\n").into_bytes(),
            vec![blob],
        ),
        _ => (
            Kind::Tag,
            format!("object {tree}\ntype commit\ntag x\ntagger {person}\n\n").into_bytes(),
            vec![tree],
        ),
    };
    history.put(kind, data, links)
}

fn commands(
    history: &History,
    refs: &BTreeMap<String, Oid>,
    fresh: &[Oid],
    random: &mut Random,
) -> Vec<Command> {
    const NAMES: [&str; 14] = [
        "refs/heads/new",
        "refs/heads/main",
        "refs/heads/b1",
        "refs/heads/main/sub",
        "refs/heads/deep/er/branch",
        "refs/tags/t",
        "refs/notes/x",
        "refs/heads/a..b",
        "refs/heads/sp ace",
        "refs/heads/end.lock",
        "heads/x",
        "HEAD",
        "refs/heads/\u{fc}ber",
        "refs/for/main",
    ];
    let zero = history.order[0].zero_like();
    let names: Vec<String> = refs.keys().cloned().collect();
    let mut commands: Vec<Command> = Vec::new();
    for _ in 0..1 + random.below(4) {
        let name = if random.one_in(2) && !names.is_empty() {
            random.pick(&names).clone()
        } else {
            let odd = random.one_in(2);
            (*random.pick(&NAMES[..if odd { 14 } else { 7 }])).to_owned()
        };
        // Of a ref that goes and one that comes below it git takes the two in order, we together.
        let clash =
            |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if commands.iter().any(|c| clash(&c.name, &name) || clash(&name, &c.name)) {
            continue;
        }
        let mut old = refs.get(&name).copied().unwrap_or(zero);
        if random.one_in(12) && !refs.is_empty() {
            // Known to git, which otherwise takes the ref for broken and lets it go.
            let all: Vec<Oid> = refs.values().copied().collect();
            old = *random.pick(&all);
        }
        let new = match random.below(12) {
            0 if !old.is_zero() => zero,
            1 => *random.pick(&history.commits),
            2 => *random.pick(&history.order),
            3 if random.one_in(4) => history.unknown(random),
            _ if fresh.is_empty() => *random.pick(&history.commits),
            _ => *random.pick(fresh),
        };
        commands.push(Command { old, new, name });
    }
    commands
}

fn write(history: &History, commands: &[Command], random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    let mut words = format!("\0 report-status object-format={}", history.format());
    for word in ["report-status-v2", "side-band-64k", "atomic", "quiet", "push-options"] {
        if random.one_in(if word == "side-band-64k" { 2 } else { 4 }) {
            words += &format!(" {word}");
        }
    }
    let options = words.contains("push-options");
    for Command { old, new, name } in commands {
        out.extend(packet(format!("{old} {new} {name}{words}")));
        words.clear();
    }
    out.extend(b"0000");
    if options {
        out.extend(packet("an-option"));
        out.extend(b"0000");
    }
    out
}

/// A pack of what is needed: whole, as deltas of one another, thin, and now and then not quite right.
fn pack_of(history: &History, mut needed: Vec<Oid>, bases: &[Oid], random: &mut Random) -> Vec<u8> {
    random.shuffle(&mut needed);
    let wrong = if random.one_in(3) { random.below(8) } else { usize::MAX };
    let fresh = needed.len();
    if wrong == 1 {
        // What is here already, each once and whole: where a delta makes such an object and is another one's base, it
        // depends on their order whether git takes it, and whether we do.
        for id in random.some(bases, 3) {
            if !needed.contains(&id) {
                needed.push(id);
            }
        }
    }
    // git does not take a delta whose base comes both with the pack and from elsewhere.
    let bases: Vec<Oid> = bases.iter().filter(|id| !needed.contains(id)).copied().collect();
    let object = |id: &Oid| &history.objects[id];
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (at, id) in needed.iter().enumerate() {
        if at >= fresh {
            entries.push(Entry::Whole(object(id).kind, &object(id).data));
            continue;
        }
        let of_kind = |other: &&Oid| object(other).kind == object(id).kind;
        let data = &object(id).data;
        let entry = match random.below(4) {
            0 => (0..at)
                .rev()
                .find(|n| of_kind(&&needed[*n]))
                .map(|n| Entry::Behind(n, pack::delta(&object(&needed[n]).data, data))),
            1 => {
                let thin: Vec<&Oid> = bases.iter().filter(of_kind).collect();
                let base = (!thin.is_empty()).then(|| **random.pick(&thin));
                base.map(|base| Entry::Onto(base, pack::delta(&object(&base).data, data)))
            }
            // The base may come later.
            2 => (at + 1..needed.len())
                .find(|n| of_kind(&&needed[*n]) && random.one_in(2))
                .map(|n| Entry::Onto(needed[n], pack::delta(&object(&needed[n]).data, data))),
            _ => None,
        };
        entries.push(entry.unwrap_or(Entry::Whole(object(id).kind, data)));
    }
    let mut pack = pack::write(history.sha256, &entries);
    let width = if history.sha256 { 32 } else { 20 };
    let at = random.below(pack.len());
    match wrong {
        2 => pack[at] ^= 1 << random.below(8),
        3 => {
            pack.truncate(pack.len() - width);
            let at = random.below(pack.len());
            pack[at] ^= 1 << random.below(8);
            pack = pack::seal(history.sha256, pack);
        }
        4 => pack.truncate(at),
        5 => {
            pack.truncate(pack.len() - width);
            pack[11] = pack[11].wrapping_add(if random.one_in(2) { 1 } else { 255 });
            pack = pack::seal(history.sha256, pack);
        }
        6 => pack.clear(),
        _ => {}
    }
    pack
}

/// What was said for people, which packets cut anywhere.
fn told(said: &Said) -> String {
    let progress = packets(&said.bytes).into_iter().filter_map(|data| data.strip_prefix(&[2]));
    let progress: Vec<u8> = progress.flatten().copied().collect();
    format!("{}{}", said.remark, String::from_utf8_lossy(&progress))
}

fn read(said: &Said, sideband: bool) -> Verdict {
    let mut report = Vec::new();
    let mut bytes = &said.bytes[..];
    if sideband {
        for data in packets(bytes) {
            if let Some((1, piece)) = data.split_first() {
                report.extend_from_slice(piece);
            }
        }
        bytes = &report;
    }
    let mut verdict = Verdict::default();
    for line in packets(bytes) {
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        let name = |rest: &str| rest.to_owned();
        if let Some(rest) = line.strip_prefix("unpack ") {
            verdict.unpacked = rest == "ok";
        } else if let Some(rest) = line.strip_prefix("ok ") {
            verdict.refs.insert(name(rest), true);
        } else if let Some(rest) = line.strip_prefix("ng ") {
            // A name may have blanks in it, a reason has them as well: the longest name that was asked about counts.
            let name = ["refs/heads/sp ace"].into_iter().find(|n| rest.starts_with(n));
            let name = name.unwrap_or_else(|| rest.split(' ').next().unwrap_or_default());
            verdict.refs.insert(name.to_owned(), false);
        }
    }
    verdict.refs.retain(|_, ok| *ok);
    verdict
}

fn packets(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(len) =
        bytes.get(..4).and_then(|d| usize::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok())
    {
        if len < 4 {
            bytes = &bytes[4..];
            continue;
        }
        let Some(data) = bytes.get(4..len) else { break };
        found.push(data);
        bytes = &bytes[len..];
    }
    found
}
