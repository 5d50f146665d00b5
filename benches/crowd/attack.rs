//! Those who do not work: each attack holds or asks for as much as it can, from addresses of its own.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::pack::{NONE, push};
use crate::people::{Crowd, basic};
use crate::server::Server;
use crate::{Outcome, bomb};

/// Bytes of the file that readers ask for and do not read.
const LARGE_BYTES: usize = 15 << 20;
/// Addresses that connections come from, in turn.
const ADDRESSES: usize = 32;
/// Wrong passwords a minute.
const PASSWORDS: u64 = 10_000;

/// What they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    Bodies,
    Readers,
    Pushes,
    Bombs,
    Passwords,
}

impl Attack {
    pub(crate) const ALL: &[Self] =
        &[Self::Bodies, Self::Readers, Self::Pushes, Self::Bombs, Self::Passwords];

    /// By the name that the command line has for it.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        let at =
            ["bodies", "readers", "pushes", "bombs", "passwords"].iter().position(|known| *known == name)?;
        Self::ALL.get(at)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bodies => "2,000 half-sent bodies",
            Self::Readers => "500 readers that do not read",
            Self::Pushes => "100 half-sent pushes",
            Self::Bombs => "delta bombs",
            Self::Passwords => "10,000 wrong passwords a minute",
        }
    }
}

/// Attacks under way.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<String>>,
}

impl Running {
    /// Ends them; what they say of themselves.
    pub(crate) fn end(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        let said = self.threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| "died".into()));
        said.collect::<Vec<_>>().join("; ")
    }
}

/// Begins attacks.
pub(crate) fn begin(server: &Server, crowd: &Crowd, attacks: &[Attack]) -> Outcome<Running> {
    prepare(server)?;
    let stop = Arc::new(AtomicBool::new(false));
    let address: SocketAddr = server.http.parse()?;
    let mut threads = Vec::new();
    for attack in attacks.iter().copied() {
        let (stop, insider) = (Arc::clone(&stop), crowd.insider.clone());
        threads.push(std::thread::spawn(move || match attack {
            Attack::Bodies => hold(address, 2000, &stop, &|_| {
                "POST /-/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nto".into()
            }),
            Attack::Readers => hold(address, 500, &stop, &reader),
            Attack::Pushes => hold(address, 100, &stop, &|_| half_push(&insider)),
            Attack::Bombs => bombs(address, &stop, &insider),
            Attack::Passwords => passwords(address, &stop),
        }));
    }
    Ok(Running { stop, threads })
}

/// A public repository with a large file.
fn prepare(server: &Server) -> Outcome<()> {
    if server.verb(&["repo", "show", "public"]).is_ok() {
        return Ok(());
    }
    server.verb(&["repo", "create", "public", "--public"])?;
    server.verb(&["repo", "create", "bombs"])?;
    server.verb(&["grant", "user0", "bombs", "write"])?;
    let folder = tempfile::tempdir()?;
    let mut bytes = vec![0; LARGE_BYTES];
    crate::statistics::Random::new(5).fill(&mut bytes);
    std::fs::write(folder.path().join("large"), bytes)?;
    let address = format!("http://{}:{}@{}/public", server.owner.0, server.owner.1, server.http);
    for args in [
        &["init", "-q", "-b", "main"][..],
        &["add", "."],
        &["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "Large"],
        &["push", "-q", &address, "main"],
    ] {
        let status = std::process::Command::new("git").current_dir(folder.path()).args(args).status()?;
        if !status.success() {
            return Err(format!("git {args:?} failed").into());
        }
    }
    Ok(())
}

/// What a reader asks, by its number.
fn reader(number: usize) -> String {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    match number % 5 {
        0 => get("/public/raw/large"),
        1 => get("/public/archive/main.tar.gz"),
        2 => get("/public/log"),
        3 => get("/public/files"),
        _ => {
            let body = "0011command=clone";
            format!(
                "POST /public/git-upload-pack HTTP/1.1\r\nHost: x\r\nGit-Protocol: version=2\r\nContent-Type: \
                 application/x-git-upload-pack-request\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        }
    }
}

/// A push whose pack never comes.
fn half_push(authorization: &str) -> String {
    let body = push(NONE, &"1".repeat(40), "refs/heads/never", b"PACK\0\0\0\x02\0\0\0\x01");
    format!(
        "POST /bombs/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Type: \
         application/x-git-receive-pack-request\r\nContent-Length: 1000000\r\n\r\n{}",
        String::from_utf8_lossy(&body)
    )
}

/// Holds that many connections, each after its request; those that are closed are opened again.
fn hold(address: SocketAddr, count: usize, stop: &AtomicBool, request: &dyn Fn(usize) -> String) -> String {
    let mut held: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    let (mut opened, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        for (number, slot) in held.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(is_open) {
                continue;
            }
            match connect(address, number).and_then(|mut stream| {
                stream.write_all(request(number).as_bytes())?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            }) {
                Ok(stream) => {
                    opened += 1;
                    *slot = Some(stream);
                }
                Err(_) => refused += 1,
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let open = held.iter().flatten().filter(|stream| is_open(stream)).count();
    format!("{open} of {count} connections held at the end, {opened} opened, {refused} refused")
}

/// Looks without reading what there is to read.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    match stream.peek(&mut byte) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// A connection from one of the attackers' addresses, with a small window.
fn connect(to: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let from = Ipv4Addr::new(127, 66, 0, 1 + (number % ADDRESSES) as u8);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind(&SocketAddr::new(from.into(), 0).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(2))?;
    Ok(socket.into())
}

/// Pushes bombs on four connections.
fn bombs(address: SocketAddr, stop: &AtomicBool, insider: &str) -> String {
    let (sent, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (sent, taken) = (&sent, &taken);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    if throw(address, thread, number, insider).unwrap_or(false) {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    format!("{} bombs, {} taken in", sent.into_inner(), taken.into_inner())
}

fn throw(address: SocketAddr, thread: usize, number: u64, insider: &str) -> Outcome<bool> {
    let mut stream = connect(address, thread)?;
    let body = bomb::request(number)?;
    let head = format!(
        "POST /bombs/git-receive-pack HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {insider}\r\nContent-Type: \
         application/x-git-receive-pack-request\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)?;
    let mut answer = Vec::new();
    // Cut off is an answer as well.
    drop(stream.read_to_end(&mut answer));
    Ok(String::from_utf8_lossy(&answer).contains("unpack ok"))
}

/// Wrong passwords of one client behind the proxy that the server believes.
fn passwords(address: SocketAddr, stop: &AtomicBool) -> String {
    let (mut sent, mut slowed) = (0_u64, 0_u64);
    let pause = Duration::from_secs_f64(60.0 / PASSWORDS as f64);
    let mut connection = None::<TcpStream>;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(pause);
        let request = format!(
            "GET /-/api/v1/whoami HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\nAuthorization: {}\r\n\r\n",
            basic("ann", &format!("wrong{sent}"))
        );
        let asked =
            connection.take().map_or_else(|| TcpStream::connect(address), Ok).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                stream.write_all(request.as_bytes())?;
                let mut answer = [0; 4096];
                let read = stream.read(&mut answer)?;
                Ok((stream, answer.get(9..12) == Some(b"503"), read))
            });
        if let Ok((stream, busy, read)) = asked {
            slowed += u64::from(busy);
            connection = (read > 0).then_some(stream);
        }
        sent += 1;
    }
    format!("{sent} wrong passwords, {slowed} slowed")
}
