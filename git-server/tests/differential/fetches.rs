//! Random requests of upload-pack: what git sends has to be sent or to be the client's, and nothing else but what is the
//! client's may be sent.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use slipway_core::Oid;
use slipway_git_server::PipeService;

use crate::answer::{Answer, packet};
use crate::history::{History, Kind};
use crate::layout::store;
use crate::oracle::{ask_git, ask_us};
use crate::pack;
use crate::random::Random;

const SETTINGS: &str = "[uploadpack]
\tallowFilter = true
\tallowRefInWant = true
\tallowReachableSHA1InWant = true
\tallowSidebandAll = true
[transfer]
\tadvertiseObjectInfo = true
";

/// A client: what it has and where its history is cut off.
#[derive(Debug, Default)]
struct Client {
    owned: BTreeSet<Oid>,
    shallow: Vec<Oid>,
    haves: Vec<Oid>,
}

/// A fetch of either version.
#[derive(Debug, Default)]
struct Fetch {
    version_2: bool,
    wants: Vec<Oid>,
    want_refs: Vec<String>,
    haves: Vec<Oid>,
    shallow: Vec<Oid>,
    deepen: Vec<String>,
    filter: Option<String>,
    words: Vec<&'static str>,
    done: bool,
}

/// Everything of one seed: one repository and some requests of it.
pub(crate) fn check(seed: u64, requests: usize) {
    let mut random = Random::new(seed);
    let most = *random.pick(&[3, 12, 12, 40]);
    let history = History::new(&mut random, most);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("r.git");
    let hides = random.one_in(6);
    let settings = if hides { format!("{SETTINGS}\thideRefs = refs/secret\n") } else { SETTINGS.to_owned() };
    store(&history, &dir, &settings, &mut random);
    let shown: BTreeMap<&String, &Oid> =
        history.refs.iter().filter(|(name, _)| !hides || !name.starts_with("refs/secret")).collect();
    let case = Case { history: &history, dir: &dir, shown, seed };
    for number in 0..requests {
        case.request(number, &mut random);
    }
}

impl Fetch {
    /// In versions 0 and 1 git's server looks no further than the client's new boundary for what both have; we do, and
    /// may say sooner that it is enough.
    fn may_end_early(&self) -> bool {
        !self.version_2 && (!self.deepen.is_empty() || !self.shallow.is_empty())
    }
}

struct Case<'a> {
    history: &'a History,
    dir: &'a Path,
    shown: BTreeMap<&'a String, &'a Oid>,
    seed: u64,
}

/// What the client says of itself.
fn choose_words(fetch: &mut Fetch, random: &mut Random) {
    for word in ["thin-pack", "ofs-delta", "no-progress", "include-tag"] {
        if random.one_in(2) {
            fetch.words.push(word);
        }
    }
    let more: &[&str] = if fetch.version_2 {
        &["wait-for-done", "sideband-all"]
    } else {
        &["multi_ack", "multi_ack_detailed", "no-done", "side-band", "side-band-64k"]
    };
    for word in more {
        if random.one_in(if fetch.version_2 { 10 } else { 2 }) {
            fetch.words.push(word);
        }
    }
}

impl Case<'_> {
    fn request(&self, number: usize, random: &mut Random) {
        let (request, protocol, client, fetch) = match random.below(12) {
            0 => (self.ls_refs(random), "version=2", Client::default(), None),
            1 => (self.object_info(random), "version=2", Client::default(), None),
            _ => {
                let client = self.client(random);
                let fetch = self.fetch(&client, random);
                let bytes = if fetch.version_2 { self.write_2(&fetch, random) } else { self.write_0(&fetch) };
                let protocol = if fetch.version_2 { "version=2" } else { "version=0" };
                (bytes, protocol, client, Some(fetch))
            }
        };
        let git = ask_git(self.dir, PipeService::UploadPack, &request, protocol);
        let us = ask_us(self.dir, PipeService::UploadPack, &request, protocol);
        let banded = fetch.as_ref().is_some_and(|f| f.words.contains(&"sideband-all"));
        let (git, us) = (Answer::read(&git, banded), Answer::read(&us, banded));
        if let Err(why) = self.compare(&git, &us, &client, fetch.as_ref()) {
            if let Some(place) = std::env::var_os("SLIPWAY_FUZZ_KEEP") {
                let copied = std::process::Command::new("cp").arg("-r").arg(self.dir).arg(&place).status();
                println!("kept in {place:?}: {copied:?}");
                std::fs::write(Path::new(&place).join("request"), &request).unwrap();
            }
            panic!(
                "seed {}, request {number}: {why}\n{fetch:?}\n{}\ngit: {:?} {:?}\nus:  {:?} {:?}",
                self.seed,
                String::from_utf8_lossy(&request),
                git.lines,
                git.error,
                us.lines,
                us.error
            );
        }
    }

    fn compare(
        &self,
        git: &Answer,
        us: &Answer,
        client: &Client,
        fetch: Option<&Fetch>,
    ) -> Result<(), String> {
        if git.error.is_some() || us.error.is_some() {
            let both = git.error.is_some() == us.error.is_some() || self.loses_its_way(git);
            return if both { Ok(()) } else { Err("only one of the two refuses".into()) };
        }
        if self.meaning(git, fetch) != self.meaning(us, fetch) {
            return Err("the lines differ".into());
        }
        let early = fetch.is_some_and(Fetch::may_end_early);
        if git.pack.is_empty() != us.pack.is_empty() && !(early && git.pack.is_empty()) {
            return Err("only one of the two sends a pack".into());
        }
        match fetch {
            Some(fetch) if !us.pack.is_empty() && !git.pack.is_empty() => {
                self.compare_packs(git, us, client, fetch)
            }
            _ => Ok(()),
        }
    }

    /// Where clocks ran backwards git may take what a ref reaches for what none does.
    fn loses_its_way(&self, git: &Answer) -> bool {
        let named = git.error.as_deref().and_then(|why| why.split("not our ref ").nth(1));
        let id = named.and_then(|id| Oid::parse(id.trim()).ok());
        self.history.skewed && id.is_some_and(|id| self.reachable().contains(&id))
    }

    /// The lines, less what is said twice: git acknowledges no commit of which an earlier one told it (version 2), and
    /// one that acknowledges but once does so again and again until it hears of another branch.
    fn meaning(&self, answer: &Answer, fetch: Option<&Fetch>) -> Vec<String> {
        let mut lines = answer.in_order();
        let Some(fetch) = fetch else { return lines };
        let mut known: HashSet<Oid> = HashSet::new();
        if fetch.version_2 {
            lines.retain(|line| {
                let Some(id) = line.strip_prefix("ACK ").and_then(|id| Oid::parse(id).ok()) else {
                    return true;
                };
                let is_new = known.insert(id);
                known.extend(self.history.objects[&id].links.iter().skip(1));
                is_new
            });
        } else if fetch.may_end_early() {
            lines.retain(|line| {
                line.ends_with(" common") || line.starts_with("shallow") || line.starts_with("unshallow")
            });
        } else if !fetch.words.iter().any(|word| word.starts_with("multi_ack")) {
            let mut seen = false;
            lines.retain(|line| !line.starts_with("ACK ") || !std::mem::replace(&mut seen, true));
        }
        lines
    }

    fn compare_packs(&self, git: &Answer, us: &Answer, client: &Client, fetch: &Fetch) -> Result<(), String> {
        let history = self.history;
        // Only of commits that were asked about does a server know.
        let cuts: HashSet<Oid> = client.shallow.iter().copied().collect();
        let common: Vec<Oid> = fetch.haves.iter().copied().filter(|id| client.owned.contains(id)).collect();
        let unshallow = us.ids("unshallow ");
        let owned = history.closure(common.iter().chain(&unshallow), &cuts);
        let thin = fetch.words.contains(&"thin-pack");
        let outside = |id: &Oid| {
            let has = thin && owned.contains(id);
            has.then(|| (history.objects[id].kind, history.objects[id].data.clone()))
        };
        let theirs =
            pack::read(history.sha256, &git.pack, &outside).map_err(|e| format!("git's pack: {e}"))?;
        let ours = pack::read(history.sha256, &us.pack, &outside)?;
        let word = |id: &Oid| format!("{} {id}", history.objects[id].kind.name());
        // git sends some commits again that the client has, and then their tags.
        let tag_of_old = |id: &Oid| history.kind(id) == Some(Kind::Tag) && owned.contains(&history.peel(id));
        let missing = |id: &&Oid| !ours.contains_key(*id) && !owned.contains(*id) && !tag_of_old(id);
        if let Some(id) = theirs.keys().find(missing) {
            return Err(format!("git sends {} and we do not", word(id)));
        }
        let asked: HashSet<Oid> =
            self.asked(fetch).map(|id| history.peel(id)).chain(fetch.wants.clone()).collect();
        let surplus = |id: &&Oid| {
            let asked = fetch.filter.is_some() && asked.contains(id);
            !theirs.contains_key(*id) && !owned.contains(*id) && !asked && !tag_of_old(id)
        };
        if !self.may_send_more(fetch)
            && let Some(id) = ours.keys().find(surplus)
        {
            return Err(format!("we send {} and git does not", word(id)));
        }
        if fetch.filter.is_none() {
            let mut after = cuts;
            after.retain(|id| !unshallow.contains(id));
            after.extend(us.ids("shallow "));
            let needed = history.closure(self.asked(fetch), &after);
            if let Some(id) = needed.iter().find(|id| !ours.contains_key(id) && !client.owned.contains(id)) {
                return Err(format!("the client lacks {}", word(id)));
            }
        }
        Ok(())
    }

    /// Where filters are asked for, git forgets at times what was asked for by id. Where they depend on places, git counts a tree that was asked for by id and lies in a commit too as the
    /// commit's, and its `combine:` sends a little less where an object lies in several places.
    fn may_send_more(&self, fetch: &Fetch) -> bool {
        let asks_tree =
            self.asked(fetch).any(|id| self.history.kind(&self.history.peel(id)) == Some(Kind::Tree));
        let filter = fetch.filter.as_deref().unwrap_or_default();
        filter.starts_with("combine")
            || (asks_tree && (filter.starts_with("tree") || filter.starts_with("sparse")))
    }

    /// What is asked for, by id and by name.
    fn asked<'b>(&'b self, fetch: &'b Fetch) -> impl Iterator<Item = &'b Oid> {
        let named = fetch.want_refs.iter().filter_map(|name| self.history.refs.get(name));
        fetch.wants.iter().chain(named)
    }

    fn reachable(&self) -> Vec<Oid> {
        let tips: Vec<Oid> = self.shown.values().map(|id| **id).collect();
        self.history.closure(&tips, &HashSet::new()).into_iter().collect()
    }

    fn client(&self, random: &mut Random) -> Client {
        let history = self.history;
        let reachable = self.reachable();
        let (commits, tags): (Vec<Oid>, Vec<Oid>) = (
            reachable.iter().filter(|id| history.kind(id) == Some(Kind::Commit)).copied().collect(),
            reachable.iter().filter(|id| history.kind(id) == Some(Kind::Tag)).copied().collect(),
        );
        let mut client = Client::default();
        if random.one_in(4) {
            return client;
        }
        let mut tips = random.some(&commits, 4);
        if random.one_in(4) {
            tips.extend(random.some(&tags, 2));
        }
        let mut shallow: HashSet<Oid> = HashSet::new();
        if random.one_in(4) {
            shallow.extend(random.some(&commits, 3));
        }
        client.owned = history.closure(&tips, &shallow);
        client.shallow = shallow.into_iter().filter(|id| client.owned.contains(id)).collect();
        client.shallow.sort();
        let known: Vec<Oid> = client.owned.iter().copied().filter(|id| commits.contains(id)).collect();
        client.haves = if random.one_in(2) { tips } else { Vec::new() };
        client.haves.extend(random.some(&known, 10));
        client
    }

    fn fetch(&self, client: &Client, random: &mut Random) -> Fetch {
        let history = self.history;
        let tips: Vec<Oid> = self.shown.values().map(|id| **id).collect();
        let reachable = self.reachable();
        let commits: Vec<Oid> =
            reachable.iter().filter(|id| history.kind(id) == Some(Kind::Commit)).copied().collect();
        let mut fetch = Fetch { version_2: !random.one_in(3), done: random.below(5) > 1, ..Fetch::default() };
        self.want(&mut fetch, &tips, &commits, &reachable, random);
        fetch.haves = client.haves.clone();
        if !(fetch.version_2 && fetch.done) {
            // Of a tag git's server does not think as of the commit behind it. Its client never names one.
            fetch.haves.retain(|id| history.kind(id) == Some(Kind::Commit));
        }
        for _ in 0..if random.one_in(2) { 0 } else { random.below(4) } {
            fetch.haves.push(history.unknown(random));
        }
        random.shuffle(&mut fetch.haves);
        fetch.shallow = client.shallow.clone();
        if random.one_in(3) {
            fetch.deepen = self.deepen(random);
        }
        if random.one_in(3) {
            fetch.filter = Some(self.filter(random, 2));
        }
        choose_words(&mut fetch, random);
        if fetch.wants.is_empty() && fetch.want_refs.is_empty() {
            // Somebody who negotiates and wants nothing, or nobody.
            let Fetch { version_2, haves, mut words, .. } = fetch;
            // git's server answers who has said nothing at all with an empty pack.
            words.retain(|word| *word != "wait-for-done" || !haves.is_empty());
            return Fetch { version_2, haves, words, ..Fetch::default() };
        }
        if !fetch.version_2 && fetch.filter.is_some() && !random.one_in(20) {
            fetch.words.push("filter");
        }
        fetch
    }

    /// Tips, commits, objects, ids that nothing has, names.
    fn want(&self, fetch: &mut Fetch, tips: &[Oid], commits: &[Oid], reachable: &[Oid], random: &mut Random) {
        let history = self.history;
        fetch.wants = random.some(tips, 4);
        if random.one_in(4) && !commits.is_empty() {
            fetch.wants.push(*random.pick(commits));
        }
        if random.one_in(6) && fetch.version_2 {
            fetch.wants.push(*random.pick(reachable));
        }
        if random.one_in(60) {
            fetch.wants.push(history.unknown(random));
        }
        if random.one_in(5) && fetch.version_2 {
            let names: Vec<String> = history.refs.keys().cloned().collect();
            fetch.want_refs = random.some(&names, 2);
            fetch.want_refs.dedup();
        }
        if fetch.wants.is_empty() && !random.one_in(20) {
            fetch.wants.extend(tips.first());
        }
        if random.one_in(8) {
            // Everything there is.
            fetch.wants = tips.to_vec();
        }
    }

    fn deepen(&self, random: &mut Random) -> Vec<String> {
        let date = |random: &mut Random| random.pick(&self.history.dates) + random.below(3) as i64 - 1;
        let names: Vec<&String> = self
            .shown
            .keys()
            .copied()
            .filter(|name| self.history.kind(&self.history.peel(self.shown[name])) == Some(Kind::Commit))
            .collect();
        // Where clocks ran backwards it depends on the way what lies before a time.
        let mut lines = match random.below(if self.history.skewed { 2 } else { 4 }) {
            0 | 1 => vec![format!("deepen {}", 1 + random.below(6))],
            2 => vec![format!("deepen-since {}", date(random))],
            _ => random.some(&names, 2).iter().map(|name| format!("deepen-not {name}")).collect(),
        };
        if random.one_in(12) {
            lines = vec!["deepen 2147483647".into()];
        }
        if random.one_in(6) && lines.iter().any(|line| line.starts_with("deepen-")) {
            lines.push(format!("deepen-since {}", date(random)));
        }
        lines
    }

    fn filter(&self, random: &mut Random, nested: usize) -> String {
        let kind = |random: &mut Random| *random.pick(&["blob", "tree", "commit", "tag"]);
        match random.below(if nested > 0 { 8 } else { 7 }) {
            0 | 1 => "blob:none".into(),
            2 => format!("blob:limit={}", random.pick(&["0", "1", "50", "300", "1k", "1m"])),
            3 | 4 => format!("tree:{}", random.below(5)),
            5 => format!("object:type={}", kind(random)),
            6 => {
                let blobs = self.history.ids(Kind::Blob);
                // Text alone: of a line with a NUL in it git reads less.
                let is_text = |id: &Oid| blobs.contains(id) && self.history.objects[id].data.is_ascii();
                let sparse: Vec<Oid> = self.reachable().into_iter().filter(is_text).collect();
                if sparse.is_empty() {
                    "tree:1".into()
                } else {
                    format!("sparse:oid={}", random.pick(&sparse))
                }
            }
            _ => {
                let parts: Vec<String> = (0..1 + random.below(3)).map(|_| self.filter(random, 0)).collect();
                format!("combine:{}", parts.join("+"))
            }
        }
    }

    fn write_2(&self, fetch: &Fetch, random: &mut Random) -> Vec<u8> {
        let mut out = packet("command=fetch");
        out.extend(packet(format!("object-format={}", self.history.format())));
        out.extend(b"0001");
        let mut lines: Vec<String> = fetch.words.iter().map(|w| (*w).to_owned()).collect();
        lines.extend(fetch.wants.iter().map(|id| format!("want {id}\n")));
        lines.extend(fetch.want_refs.iter().map(|name| format!("want-ref {name}\n")));
        lines.extend(fetch.haves.iter().map(|id| format!("have {id}\n")));
        lines.extend(fetch.shallow.iter().map(|id| format!("shallow {id}")));
        lines.extend(fetch.deepen.iter().cloned());
        lines.extend(fetch.filter.iter().map(|spec| format!("filter {spec}")));
        if random.one_in(3) {
            random.shuffle(&mut lines);
        }
        if fetch.done {
            lines.push("done\n".into());
        }
        lines.iter().for_each(|line| out.extend(packet(line)));
        out.extend(b"0000");
        out
    }

    fn write_0(&self, fetch: &Fetch) -> Vec<u8> {
        let mut out = Vec::new();
        let mut words = format!(" {} object-format={}", fetch.words.join(" "), self.history.format());
        for id in &fetch.wants {
            out.extend(packet(format!("want {id}{words}\n")));
            words.clear();
        }
        fetch.shallow.iter().for_each(|id| out.extend(packet(format!("shallow {id}"))));
        fetch.deepen.iter().for_each(|line| out.extend(packet(line)));
        fetch.filter.iter().for_each(|spec| out.extend(packet(format!("filter {spec}"))));
        out.extend(b"0000");
        fetch.haves.iter().for_each(|id| out.extend(packet(format!("have {id}\n"))));
        out.extend(if fetch.done { packet("done\n") } else { b"0000".to_vec() });
        out
    }

    fn ls_refs(&self, random: &mut Random) -> Vec<u8> {
        let mut out = packet("command=ls-refs\n");
        out.extend(packet(format!("object-format={}", self.history.format())));
        out.extend(b"0001");
        for word in ["symrefs", "peel", "unborn"] {
            if random.one_in(2) {
                out.extend(packet(word));
            }
        }
        for _ in 0..if random.one_in(2) { 0 } else { 1 + random.below(3) } {
            let prefix = [
                "refs/heads/",
                "refs/tags/",
                "refs/",
                "HEAD",
                "H",
                "refs/heads/b",
                "nothing",
                "refs/tags/rel/",
            ];
            out.extend(packet(format!("ref-prefix {}", random.pick(&prefix))));
        }
        out.extend(b"0000");
        out
    }

    fn object_info(&self, random: &mut Random) -> Vec<u8> {
        let mut out = packet("command=object-info\n");
        out.extend(packet(format!("object-format={}", self.history.format())));
        out.extend(b"0001");
        if !random.one_in(4) {
            out.extend(packet("size"));
        }
        for id in random.some(&self.reachable(), 4) {
            out.extend(packet(format!("oid {id}")));
        }
        if random.one_in(3) {
            out.extend(packet(format!("oid {}", self.history.unknown(random))));
        }
        out.extend(b"0000");
        out
    }
}
