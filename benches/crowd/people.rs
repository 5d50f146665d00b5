//! Those who work: each account has repositories of its own and fetches, looks and pushes at its own pace.

use std::io::{self, Read as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;

use crate::Outcome;
use crate::http::{Ask, Connection};
use crate::pack::{BLOB, COMMIT, NONE, Pack, TREE, commit, hex, id, push};
use crate::pkt;
use crate::server::Server;
use crate::statistics::Random;

/// Of a hundred requests.
const PAGES: usize = 8;
const PUSHES: usize = 2;
/// Commits in a repository at first.
const HISTORY: u64 = 20;
/// How often an owner does something.
const VERB_EVERY: Duration = Duration::from_secs(1);

/// A repository as its user knows it.
struct Repo {
    name: String,
    tree: String,
    tip: String,
    before: String,
    count: u64,
}

/// Somebody who works.
struct Person {
    authorization: String,
    repos: Vec<Repo>,
}

/// All who work, and how fast.
pub(crate) struct Crowd {
    people: Vec<Mutex<Person>>,
    rate: f64,
    /// The token of an account that may push: what an attacker with an account has.
    pub(crate) insider: String,
}

/// What a phase of work showed.
#[derive(Default)]
pub(crate) struct Seen {
    fetches: Vec<f64>,
    pages: Vec<f64>,
    pushes: Vec<f64>,
    /// How long an owner's verbs took, in ms.
    pub(crate) verbs: Vec<f64>,
    pub(crate) errors: Vec<String>,
    pub(crate) wall: Duration,
    pub(crate) processor: Duration,
    /// Most memory that was resident, in bytes.
    pub(crate) memory_max: u64,
}

impl Seen {
    /// Latencies in ms by kind of request.
    pub(crate) fn kinds(&self) -> Vec<(&'static str, &[f64])> {
        vec![("fetch", self.fetches.as_slice()), ("page", &self.pages), ("push", &self.pushes)]
    }

    pub(crate) fn count(&self) -> usize {
        self.fetches.len() + self.pages.len() + self.pushes.len()
    }

    /// What was seen at another time as well.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.verbs.append(&mut other.verbs);
        self.wall += other.wall;
        self.processor += other.processor;
        self.memory_max = self.memory_max.max(other.memory_max);
        self.add(other);
    }

    fn add(&mut self, other: Self) {
        self.fetches.extend(other.fetches);
        self.pages.extend(other.pages);
        self.pushes.extend(other.pushes);
        self.errors.extend(other.errors);
    }
}

/// A header that signs in.
pub(crate) fn basic(name: &str, token: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{token}"));
    format!("Basic {pair}")
}

impl Crowd {
    /// Makes accounts and repositories, and pushes a first history to each.
    pub(crate) fn settle(server: &Server, accounts: usize, repositories: usize, rate: f64) -> Outcome<Self> {
        let mut people = Vec::new();
        let each = repositories.div_ceil(accounts);
        let mut made = 0;
        let mut insider = String::new();
        for number in 0..accounts {
            let name = format!("user{number}");
            server.verb(&["user", "add", &name])?;
            let token = server.verb(&["token", "create", &name, "--scope", "repo:read,repo:write,api"])?;
            let authorization = basic(&name, &token);
            let mut connection = Connection::open(&server.http, Some(&authorization))?;
            let mut repos = Vec::new();
            while repos.len() < each && made < repositories {
                let name = format!("repo{made}");
                server.verb(&["repo", "create", &name])?;
                server.verb(&["grant", &format!("user{number}"), &name, "write"])?;
                repos.push(first_push(&mut connection, name)?);
                made += 1;
            }
            if insider.is_empty() {
                insider = authorization.clone();
            }
            people.push(Mutex::new(Person { authorization, repos }));
        }
        Ok(Self { people, rate, insider })
    }

    /// Everybody works for that long.
    pub(crate) fn work(&self, server: &Server, length: Duration) -> Outcome<Seen> {
        let (begun, processor) = (Instant::now(), server.processor()?);
        let (end, over) = (begun + length, AtomicBool::new(false));
        let pause = self.people.len() as f64 / self.rate;
        let mut all = Seen::default();
        let (watched, verbs) = std::thread::scope(|scope| {
            let watch = scope.spawn(|| watch(server, &over));
            let owner = scope.spawn(|| govern(server, end));
            let workers: Vec<_> = self
                .people
                .iter()
                .enumerate()
                .map(|(number, person)| {
                    let address = server.http.as_str();
                    scope.spawn(move || {
                        let mut person = person.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        work(address, &mut person, number, pause, end)
                    })
                })
                .collect();
            for worker in workers {
                match worker.join() {
                    Ok(seen) => all.add(seen),
                    Err(_) => all.errors.push("a client thread died".into()),
                }
            }
            over.store(true, Ordering::Relaxed);
            (watch.join().unwrap_or_default(), owner.join().unwrap_or_default())
        });
        all.memory_max = watched;
        all.verbs = verbs.0;
        all.errors.extend(verbs.1);
        all.wall = begun.elapsed();
        all.processor = server.processor()?.saturating_sub(processor);
        Ok(all)
    }
}

/// The most memory that was resident meanwhile.
fn watch(server: &Server, over: &AtomicBool) -> u64 {
    let mut most = 0;
    while !over.load(Ordering::Relaxed) {
        most = most.max(server.resident().unwrap_or_default());
        std::thread::sleep(Duration::from_millis(50));
    }
    most
}

/// An owner adds and removes an account, again and again; how long each took, and what failed.
fn govern(server: &Server, end: Instant) -> (Vec<f64>, Vec<String>) {
    let (mut took, mut errors) = (Vec::new(), Vec::new());
    while Instant::now() < end {
        for args in [["user", "add", "guest"], ["user", "remove", "guest"]] {
            let begun = Instant::now();
            if let Err(error) = server.verb(&args) {
                errors.push(format!("owner: {error}"));
            }
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        std::thread::sleep(VERB_EVERY);
    }
    (took, errors)
}

/// One person's requests, `pause` seconds apart on average.
fn work(address: &str, person: &mut Person, number: usize, pause: f64, end: Instant) -> Seen {
    let (mut seen, mut random) = (Seen::default(), Random::new(number as u64 + 7));
    let mut connection = None;
    loop {
        // Between nothing and twice the pause.
        let wait = Duration::from_secs_f64(pause * random.below(2000) as f64 / 1000.0);
        if Instant::now() + wait >= end || person.repos.is_empty() {
            return seen;
        }
        std::thread::sleep(wait);
        let at = random.below(person.repos.len());
        let kind = random.below(100);
        let begun = Instant::now();
        let done = open(&mut connection, address, &person.authorization).and_then(|connection| {
            let repo = &mut person.repos[at];
            match kind {
                k if k < PUSHES => again(connection, repo),
                k if k < PUSHES + PAGES => look(connection, repo, random.below(4)),
                _ => fetch(connection, repo),
            }
        });
        let took = begun.elapsed().as_secs_f64() * 1e3;
        if let Err(error) = done {
            seen.errors.push(error.to_string());
            connection = None;
            continue;
        }
        match kind {
            k if k < PUSHES => seen.pushes.push(took),
            k if k < PUSHES + PAGES => seen.pages.push(took),
            _ => seen.fetches.push(took),
        }
        // Clients come and go.
        if random.below(5) == 0 {
            connection = None;
        }
    }
}

fn open<'a>(
    connection: &'a mut Option<Connection>,
    address: &str,
    authorization: &str,
) -> io::Result<&'a mut Connection> {
    match connection {
        Some(open) => Ok(open),
        none => Ok(none.insert(Connection::open(address, Some(authorization))?)),
    }
}

/// The refs, and the newest commit.
fn fetch(connection: &mut Connection, repo: &Repo) -> io::Result<()> {
    let path = format!("/{}/git-upload-pack", repo.name);
    let ask = Ask { path: &path, service: "git-upload-pack", v2: true };
    let mut refs = Vec::new();
    for word in ["command=ls-refs", "agent=git/bench", "object-format=sha1"] {
        pkt::line(&mut refs, word);
    }
    refs.extend_from_slice(pkt::DELIM);
    pkt::line(&mut refs, "ref-prefix refs/heads/");
    refs.extend_from_slice(pkt::FLUSH);
    let listed = all(connection, &ask, &refs)?;
    if !listed.windows(40).any(|w| w == repo.tip.as_bytes()) {
        return Err(io::Error::other(format!("{}: its branch is not at {}", repo.name, repo.tip)));
    }
    let mut wanted = Vec::new();
    for word in ["command=fetch", "agent=git/bench", "object-format=sha1"] {
        pkt::line(&mut wanted, word);
    }
    wanted.extend_from_slice(pkt::DELIM);
    for word in
        ["ofs-delta".to_owned(), format!("want {}", repo.tip), format!("have {}", repo.before), "done".into()]
    {
        pkt::line(&mut wanted, &word);
    }
    wanted.extend_from_slice(pkt::FLUSH);
    let answer = all(connection, &ask, &wanted)?;
    if answer.windows(4).any(|w| w == b"PACK") {
        Ok(())
    } else {
        Err(io::Error::other(format!("{}: no pack came", repo.name)))
    }
}

fn all(connection: &mut Connection, ask: &Ask<'_>, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    connection.post(ask, body)?.read_to_end(&mut answer)?;
    Ok(answer)
}

/// One page.
fn look(connection: &mut Connection, repo: &Repo, which: usize) -> io::Result<()> {
    let name = &repo.name;
    let path = match which {
        0 => format!("/{name}"),
        1 => format!("/{name}/log"),
        2 => format!("/{name}/commit/{}", repo.tip),
        _ => format!("/{name}/files/README.md"),
    };
    let mut page = Vec::new();
    connection.get(&Ask { path: &path, service: "", v2: false })?.read_to_end(&mut page)?;
    Ok(())
}

/// One more commit.
fn again(connection: &mut Connection, repo: &mut Repo) -> io::Result<()> {
    let data = commit(&repo.tree, Some(&repo.tip), repo.count);
    let new = id("commit", &data);
    let mut pack = Pack::of(1);
    pack.entry(COMMIT, &[], &data).map_err(|e| io::Error::other(e.to_string()))?;
    send(connection, &repo.name, &push(&repo.tip, &new, "refs/heads/main", &pack.end()))?;
    repo.before = std::mem::replace(&mut repo.tip, new);
    repo.count += 1;
    Ok(())
}

fn send(connection: &mut Connection, name: &str, body: &[u8]) -> io::Result<()> {
    let path = format!("/{name}/git-receive-pack");
    let answer = all(connection, &Ask { path: &path, service: "git-receive-pack", v2: false }, body)?;
    let text = String::from_utf8_lossy(&answer);
    if text.contains("unpack ok") && !text.contains("ng refs/") {
        Ok(())
    } else {
        Err(io::Error::other(format!("{name}: the push was refused: {text}")))
    }
}

/// A first history.
fn first_push(connection: &mut Connection, name: String) -> Outcome<Repo> {
    let blob = format!("# {name}\n\nA repository of a benchmark.\n").into_bytes();
    let blob_id = id("blob", &blob);
    let raw: Vec<u8> =
        (0..20).map(|n| u8::from_str_radix(&blob_id[2 * n..2 * n + 2], 16)).collect::<Result<_, _>>()?;
    let tree = [b"100644 README.md\0".as_slice(), &raw].concat();
    let tree_id = id("tree", &tree);
    debug_assert_eq!(hex(&raw), blob_id);
    let mut pack = Pack::of(2 + HISTORY as u32);
    pack.entry(BLOB, &[], &blob)?;
    pack.entry(TREE, &[], &tree)?;
    let (mut tip, mut before) = (None::<String>, String::new());
    for number in 0..HISTORY {
        let data = commit(&tree_id, tip.as_deref(), number);
        pack.entry(COMMIT, &[], &data)?;
        before = tip.replace(id("commit", &data)).unwrap_or_default();
    }
    let tip = tip.ok_or("a history has a commit")?;
    send(connection, &name, &push(NONE, &tip, "refs/heads/main", &pack.end()))?;
    Ok(Repo { name, tree: tree_id, tip, before, count: HISTORY })
}
