//! The null client: whole conversations of clone, fetch and push, over HTTP or through the stock ssh program, whose
//! bytes are thrown away. What it measures is the server.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::answer::{self, Received};
use crate::http::{Ask, Connection, copy};
use crate::pkt::{self, Head};
use crate::request::{self, Fetch};
use crate::site::{HttpDoor, Outcome, Site, SshDoor};

/// Which way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Road {
    /// Smart HTTP.
    Http,
    /// The stock ssh client.
    Ssh,
}

/// A fetch with its times.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    /// The whole conversation.
    pub(crate) wall: Duration,
    /// From sending the fetch request to the first pack byte.
    pub(crate) first: Duration,
    /// From the first pack byte to the answer's end.
    pub(crate) stream: Duration,
    /// What came.
    pub(crate) received: Received,
}

impl Timed {
    /// Now that the answer is complete.
    fn at_end(begun: Instant, asked: Instant, received: Received) -> Self {
        let now = Instant::now();
        let first = received.first.unwrap_or(now);
        Self { wall: now - begun, first: first - asked, stream: now - first, received }
    }
}

/// What a client wants once it knows the refs' ids.
type Wish<'a> = dyn Fn(Vec<String>) -> Fetch + Sync + 'a;

/// A conversation of protocol v2 as stock git has it for a clone: capabilities, refs, fetch.
pub(crate) fn clone(site: &Site, road: Road, repo: &str, wish: &Wish<'_>, verify: bool) -> Outcome<Timed> {
    match (road, &site.http, &site.ssh) {
        (Road::Http, Some(door), _) => clone_http(door, repo, wish, verify),
        (Road::Ssh, _, Some(door)) => clone_ssh(door, repo, wish, verify),
        _ => Err("that server has no such door".into()),
    }
}

fn clone_http(door: &HttpDoor, repo: &str, wish: &Wish<'_>, verify: bool) -> Outcome<Timed> {
    let begun = Instant::now();
    let mut connection = Connection::open(&door.address, None)?;
    let path = format!("/{repo}.git/info/refs?service=git-upload-pack");
    let ask = Ask { path: &path, service: "git-upload-pack", v2: true };
    io::copy(&mut connection.get(&ask)?, &mut io::sink())?;
    let refs = http_refs(&mut connection, repo, &["HEAD", "refs/heads/", "refs/tags/"])?;
    let mut timed = http_fetch(&mut connection, repo, &wish(ids(&refs)).bytes(), verify)?;
    timed.wall = begun.elapsed();
    Ok(timed)
}

/// The lines of an `ls-refs` answer.
pub(crate) fn http_refs(
    connection: &mut Connection,
    repo: &str,
    prefixes: &[&str],
) -> io::Result<Vec<String>> {
    let path = format!("/{repo}.git/git-upload-pack");
    let ask = Ask { path: &path, service: "git-upload-pack", v2: true };
    let mut body = connection.post(&ask, &request::ls_refs(prefixes))?;
    let lines = pkt::lines(&mut BufReader::new(&mut body))?;
    io::copy(&mut body, &mut io::sink())?;
    Ok(lines)
}

/// As [`http_refs`], thrown away unread; the bytes.
pub(crate) fn http_refs_bytes(connection: &mut Connection, repo: &str) -> io::Result<u64> {
    let path = format!("/{repo}.git/git-upload-pack");
    let ask = Ask { path: &path, service: "git-upload-pack", v2: true };
    let mut body = connection.post(&ask, &request::ls_refs(&[]))?;
    let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
    loop {
        match body.read(&mut buffer)? {
            0 => return Ok(bytes),
            n => bytes += n as u64,
        }
    }
}

/// One `fetch` command on a connection that is kept.
pub(crate) fn http_fetch(
    connection: &mut Connection,
    repo: &str,
    request: &[u8],
    verify: bool,
) -> io::Result<Timed> {
    let begun = Instant::now();
    let path = format!("/{repo}.git/git-upload-pack");
    let ask = Ask { path: &path, service: "git-upload-pack", v2: true };
    let mut body = connection.post(&ask, request)?;
    let received = answer::fetched(&mut body, verify)?;
    io::copy(&mut body, &mut io::sink())?;
    Ok(Timed::at_end(begun, begun, received))
}

/// The ids at the lines' beginnings, each once.
fn ids(lines: &[String]) -> Vec<String> {
    let mut all: Vec<String> = lines
        .iter()
        .filter_map(|l| l.split(' ').next().filter(|id| id.len() == 40).map(str::to_owned))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// A running ssh client.
struct Ssh {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Ssh {
    fn open(door: &SshDoor, command: &str, extra: &[&str], v2: bool) -> Outcome<Self> {
        let mut ssh = Command::new("ssh");
        ssh.args(door.options()).args(extra).arg(format!("{}@127.0.0.1", door.user)).arg(command);
        if v2 {
            ssh.env("GIT_PROTOCOL", "version=2");
        }
        let mut child = ssh
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|e| format!("ssh: {e}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { return Err("ssh has no pipes".into()) };
        Ok(Self { child, input, output })
    }

    /// Reads what is left and waits for the client's end.
    fn end(self) -> Outcome<()> {
        let Self { mut child, input, mut output } = self;
        drop(input);
        io::copy(&mut output, &mut io::sink())?;
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("ssh ended with {status}").into()) }
    }
}

fn clone_ssh(door: &SshDoor, repo: &str, wish: &Wish<'_>, verify: bool) -> Outcome<Timed> {
    clone_ssh_with(door, &[], repo, wish, verify)
}

/// As [`clone`] over SSH, with further words for the ssh client.
pub(crate) fn clone_ssh_with(
    door: &SshDoor,
    extra: &[&str],
    repo: &str,
    wish: &Wish<'_>,
    verify: bool,
) -> Outcome<Timed> {
    let begun = Instant::now();
    let mut ssh = Ssh::open(door, &format!("git-upload-pack '{}'", door.path(repo)), extra, true)?;
    pkt::lines(&mut ssh.output)?;
    ssh.input.write_all(&request::ls_refs(&["HEAD", "refs/heads/", "refs/tags/"]))?;
    let refs = pkt::lines(&mut BufReader::new(&mut ssh.output))?;
    let asked = Instant::now();
    ssh.input.write_all(&wish(ids(&refs)).bytes())?;
    let received = answer::fetched(&mut ssh.output, verify)?;
    let mut timed = Timed::at_end(begun, asked, received);
    ssh.input.write_all(pkt::FLUSH)?;
    ssh.end()?;
    timed.wall = begun.elapsed();
    Ok(timed)
}

/// Runs a command on the server and reads `length` bytes of its output; how long that took from the first byte on.
pub(crate) fn read_over_ssh(door: &SshDoor, extra: &[&str], command: &str, length: u64) -> Outcome<Duration> {
    let mut ssh = Ssh::open(door, command, extra, false)?;
    let mut first = [0];
    ssh.output.read_exact(&mut first)?;
    let begun = Instant::now();
    let mut buffer = vec![0; 256 << 10];
    let mut got = 1;
    while got < length {
        match ssh.output.read(&mut buffer)? {
            0 => return Err(format!("{command}: ended after {got} of {length} bytes").into()),
            n => got += n as u64,
        }
    }
    let took = begun.elapsed();
    ssh.end()?;
    Ok(took)
}

/// Where a push's pack comes from.
#[derive(Clone, Debug)]
pub(crate) enum PackSource {
    /// From memory.
    Bytes(Vec<u8>),
    /// A pack file.
    File(PathBuf),
}

/// One push: ref updates and the pack that they need.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    /// Old id, new id, full name of the ref.
    pub(crate) updates: Vec<(String, String, String)>,
    /// Their objects.
    pub(crate) pack: PackSource,
}

const PUSH_CAPABILITIES: &str = "report-status side-band-64k ofs-delta object-format=sha1 agent=git/bench";

impl Push {
    fn commands(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, (old, new, name)) in self.updates.iter().enumerate() {
            let capabilities = if at == 0 { format!("\0 {PUSH_CAPABILITIES}") } else { String::new() };
            pkt::line(&mut out, &format!("{old} {new} {name}{capabilities}"));
        }
        out.extend_from_slice(pkt::FLUSH);
        out
    }

    fn reader(&self) -> io::Result<(Box<dyn Read + '_>, u64)> {
        match &self.pack {
            PackSource::Bytes(bytes) => Ok((Box::new(bytes.as_slice()), bytes.len() as u64)),
            PackSource::File(path) => {
                let file = File::open(path)?;
                let length = file.metadata()?.len();
                Ok((Box::new(file), length))
            }
        }
    }
}

/// Pushes; how long the whole conversation took. A refusal is an error.
pub(crate) fn push(site: &Site, road: Road, repo: &str, push: &Push) -> Outcome<Duration> {
    let begun = Instant::now();
    match (road, &site.http, &site.ssh) {
        (Road::Http, Some(door), _) => push_http(door, repo, push)?,
        (Road::Ssh, _, Some(door)) => push_ssh(door, repo, push)?,
        _ => return Err("that server has no such door".into()),
    }
    Ok(begun.elapsed())
}

fn push_http(door: &HttpDoor, repo: &str, push: &Push) -> Outcome<()> {
    let mut connection = Connection::open(&door.address, door.authorization.as_deref())?;
    let path = format!("/{repo}.git/info/refs?service=git-receive-pack");
    let service = "git-receive-pack";
    io::copy(&mut connection.get(&Ask { path: &path, service, v2: false })?, &mut io::sink())?;
    let path = format!("/{repo}.git/git-receive-pack");
    let (mut pack, length) = push.reader()?;
    let ask = Ask { path: &path, service, v2: false };
    let mut body = connection.post_stream(&ask, &push.commands(), &mut pack, length)?;
    report(&mut BufReader::new(&mut body))
}

fn push_ssh(door: &SshDoor, repo: &str, push: &Push) -> Outcome<()> {
    let mut ssh = Ssh::open(door, &format!("git-receive-pack '{}'", door.path(repo)), &[], false)?;
    pkt::lines(&mut BufReader::new(&mut ssh.output))?;
    ssh.input.write_all(&push.commands())?;
    let (mut pack, _) = push.reader()?;
    copy(&mut pack, &mut ssh.input)?;
    report(&mut BufReader::new(&mut ssh.output))?;
    ssh.end()
}

/// Reads the report of a push (band 1, gitprotocol-pack) and expects that everything went well.
fn report(from: &mut impl Read) -> Outcome<()> {
    let mut told = Vec::new();
    while let Some(head) = pkt::head(from)? {
        match head {
            Head::Flush => break,
            Head::Mark => {}
            Head::Data(n) => {
                let packet = pkt::payload(from, n)?;
                if let Some((1, payload)) = packet.split_first().map(|(band, rest)| (*band, rest)) {
                    told.extend_from_slice(payload);
                }
            }
        }
    }
    let lines = pkt::lines(&mut told.as_slice())?;
    let well =
        lines.first().is_some_and(|l| l == "unpack ok") && lines[1..].iter().all(|l| l.starts_with("ok "));
    if well { Ok(()) } else { Err(format!("the push is refused: {lines:?}").into()) }
}
