//! Clients that mean harm, beside one that does not: time and memory stay bounded, and the honest one is served. Figures
//! are printed (`--no-capture`); what is asserted is generous, for machines that are busy.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use slipway_core::Role;
use slipway_core::Scope;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::{Answer, RECEIVE, UPLOAD, V2, post};
use super::server::{Person, Server, text};
use slipway_core::limits::Limits;

struct Lab {
    server: Server,
    dev: Person,
    token: String,
    tree: std::path::PathBuf,
}

impl Lab {
    /// A server with a repository of some megabytes that do not compress.
    fn new(limits: Limits) -> Self {
        let server = Server::start_with(limits);
        let dev = server.person("dev", false);
        server.repo("app", false);
        server.grant("dev", "app", Role::Write);
        let token = server.token("dev", &[Scope::RepoRead, Scope::RepoWrite], None);
        let mut x = 7u64;
        let noise: String = std::iter::repeat_with(|| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'!' + (x >> 57) as u8 % 90)
        })
        .take(4_000_000)
        .collect();
        let tree = dev.work_tree("tree", &[("a", &noise)]);
        dev.git(&tree, &["push", "-q", &dev.http_url("app", &token), "main"]);
        Self { server, dev, token, tree }
    }

    fn tip(&self) -> String {
        self.dev.git(&self.tree, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    fn head(&self, service: &str, kind: &str, version: &str, len: usize) -> String {
        format!(
            "POST /app/git-{service} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {}\r\ncontent-type: {kind}\r\n\
             git-protocol: {version}\r\ncontent-length: {len}\r\n\r\n",
            STANDARD.encode(format!("dev:{}", self.token))
        )
    }

    async fn ask(&self, body: Vec<u8>) -> Answer {
        let url = format!("http://{}/app/git-upload-pack", self.server.http);
        post(&url, ("dev", &self.token), &[UPLOAD, V2], Bytes::from(body)).await
    }

    /// An honest client asks for the refs now and then. Median and longest time.
    async fn honest(&self, what: &str) {
        let mut times = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            let answer = self.ask(b"0014command=ls-refs\n00010000".to_vec()).await;
            assert!(answer.status == 200 && text(&answer.body).contains("refs/heads/main"));
            times.push(begun.elapsed());
        }
        times.sort();
        println!(
            "{what}: ls-refs takes {:?}, at most {:?}; {} MiB resident",
            times[10],
            times[19],
            resident()
        );
        assert!(times[10] < Duration::from_secs(5), "{what}: the honest client waits {:?}", times[10]);
    }
}

/// Resident memory of this process, server and clients, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("told");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") / 1024
}

/// How many more sockets this process may open.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux");
    let line = limits.lines().find(|l| l.starts_with("Max open files")).expect("told");
    line.split_whitespace().nth(3).and_then(|n| n.parse().ok()).unwrap_or(1024)
}

fn packet(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

fn fetch(lines: impl IntoIterator<Item = String>) -> Vec<u8> {
    let mut body = format!("{}0001", packet("command=fetch"));
    lines.into_iter().for_each(|line| body += &packet(&line));
    (body + "0000").into_bytes()
}

#[test]
fn wants_and_haves_by_the_ten_thousand_are_answered() {
    let lab = Lab::new(Limits::default());
    let (tip, before, begun) = (lab.tip(), resident(), Instant::now());
    lab.server.block_on(async {
        let haves = (0..50_000u32).map(|n| format!("have {n:040x}"));
        let answer = lab.ask(fetch(std::iter::once(format!("want {tip}")).chain(haves))).await;
        assert!(text(&answer.body).contains("NAK"), "{}", text(&answer.body));
        let wants = (0..20_000u32).map(|n| format!("want {n:040x}"));
        let answer = lab.ask(fetch(wants.chain([format!("want {tip}"), "done".into()]))).await;
        assert!(text(&answer.body).contains("not our ref"), "{}", text(&answer.body));
        let wants = std::iter::repeat_n(format!("want {tip}"), 20_000);
        let answer = lab.ask(fetch(wants.chain(["done".into()]))).await;
        assert!(answer.body.len() > 3_000_000, "{}", answer.body.len());
        let wants = std::iter::repeat_n(format!("want {tip}"), 200_000);
        let answer = lab.ask(fetch(wants.chain(["done".into()]))).await;
        assert!(text(&answer.body).contains("more than 100000 wants"), "{}", text(&answer.body));
        lab.honest("after it").await;
    });
    println!("{:?}, {} MiB more", begun.elapsed(), resident().saturating_sub(before));
    assert!(begun.elapsed() < Duration::from_secs(60) && resident() < before + 200);
}

#[test]
fn lengths_that_are_none_are_refused() {
    let lab = Lab::new(Limits::default());
    lab.server.block_on(async {
        for bad in ["0003", "fff1", "ffff", "+00a", "-001", "00 5", "000g", "\0\0\0\0", "0x1f"] {
            for body in [format!("{bad}command=fetch"), format!("{}{bad}", packet("command=ls-refs"))] {
                let answer = lab.ask(body.clone().into_bytes()).await;
                assert_eq!(answer.body.get(4..8), Some(&b"ERR "[..]), "{body:?}: {}", text(&answer.body));
            }
        }
        lab.honest("after it").await;
    });
}

#[test]
fn who_reads_or_sends_slowly_keeps_nobody_else_waiting() {
    let limits = Limits { fetches_max: 200, ..Limits::default() };
    let lab = Lab::new(limits);
    let (tip, before) = (lab.tip(), resident());
    lab.server.block_on(async {
        lab.honest("alone").await;
        let mut open = Vec::new();
        let body = fetch([format!("want {tip}"), "done".into()]);
        for _ in 0..100 {
            // Asks for everything and reads the first bytes of it.
            let mut stream = TcpStream::connect(lab.server.http).await.expect("connected");
            let head = lab.head("upload-pack", UPLOAD.1, "version=2", body.len());
            stream.write_all(&[head.as_bytes(), &body[..]].concat()).await.expect("sent");
            let mut first = [0; 12];
            stream.read_exact(&mut first).await.expect("answered");
            assert_eq!(&first, b"HTTP/1.1 200");
            open.push(stream);
        }
        lab.honest("100 clones that are not read").await;
        let push = packet(&format!("{} {tip} refs/heads/x\0report-status", "0".repeat(40))) + "0000PACK";
        for _ in 0..100 {
            // Says that a pack comes, and sends the beginning.
            let mut stream = TcpStream::connect(lab.server.http).await.expect("connected");
            let head = lab.head("receive-pack", RECEIVE.1, "version=0", 1_000_000);
            stream.write_all(&[head.as_bytes(), push.as_bytes()].concat()).await.expect("sent");
            open.push(stream);
        }
        lab.honest("100 pushes that do not go on beside them").await;
        assert!(resident() < before + 200 * 4, "{} MiB became {}", before, resident());
    });
    // Once they are gone, everything goes on.
    lab.dev.git(&lab.tree, &["push", "-q", &lab.dev.http_url("app", &lab.token), "main:refs/heads/y"]);
}

#[test]
fn connections_that_do_nothing_cost_next_to_nothing() {
    // Both ends are in this process.
    let count = ((descriptors() - 200) / 4).min(2000);
    let limits = Limits {
        ssh_connections_max: 2 * count,
        ssh_connections_per_account_max: count + 10,
        ..Limits::default()
    };
    let lab = Lab::new(limits);
    let before = resident();
    let mut open = Vec::new();
    lab.server.block_on(async {
        lab.honest("alone").await;
        for _ in 0..count {
            open.push(TcpStream::connect(lab.server.http).await.expect("connected"));
        }
        lab.honest(&format!("{count} connections over HTTP")).await;
        for _ in 0..count {
            open.push(TcpStream::connect(lab.server.ssh).await.expect("connected"));
        }
        for stream in open.iter_mut().skip(count) {
            let mut first = [0; 8];
            stream.read_exact(&mut first).await.expect("greeted");
            assert_eq!(&first, b"SSH-2.0-");
        }
        lab.honest(&format!("{count} over SSH beside them")).await;
    });
    let begun = Instant::now();
    lab.dev.git(&lab.tree, &["ls-remote", &lab.dev.ssh_url("app")]);
    println!("ls-remote over SSH beside them: {:?}", begun.elapsed());
    let each = (resident().saturating_sub(before) * 1024) / (2 * count as u64);
    assert!(each < 200, "{each} KiB for each connection");
}
