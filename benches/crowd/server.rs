//! The server under load: started, asked, watched, ended.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Ticks of `/proc` a second; every Linux of these years has that many.
const TICKS: f64 = 100.0;

/// A server in a folder of its own.
pub(crate) struct Server {
    program: PathBuf,
    data: PathBuf,
    child: Child,
    /// `host:port`.
    pub(crate) http: String,
    /// An owner's name and token.
    pub(crate) owner: (String, String),
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts one that believes proxies at 127.0.0.1, with an owner, and with those lines of `[limits]`.
    pub(crate) fn start(limits: &[String]) -> Outcome<Self> {
        let program = std::env::var_os("SLIPWAY_BIN")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_slipway")), PathBuf::from);
        let folder = tempfile::Builder::new().prefix("slipway-crowd-").tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data)?;
        let config = format!("trusted_proxies = [\"127.0.0.1\"]\n[limits]\n{}\n", limits.join("\n"));
        std::fs::write(data.join("config.toml"), config)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(&program)
            .args(["serve", "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0", "--data"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let begun = Instant::now();
        let http = loop {
            match std::fs::read_to_string(data.join("run/http")) {
                Ok(address) if !address.trim().is_empty() => break address.trim().to_owned(),
                _ if begun.elapsed() > Duration::from_secs(30) => {
                    return Err("the server does not start".into());
                }
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let owner = ("ann".to_owned(), String::new());
        let mut server = Self { program, data, child, http, owner, _folder: folder };
        server.verb(&["user", "add", "ann", "--owner"])?;
        server.owner.1 = server.verb(&["token", "create", "ann", "--scope", "repo:read,repo:write,api"])?;
        Ok(server)
    }

    /// A verb of the command line, over the admin socket; what it prints.
    pub(crate) fn verb(&self, args: &[&str]) -> Outcome<String> {
        let mut verb = Command::new(&self.program);
        let mut child = verb
            .args(args)
            .arg("--data")
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut out, mut err) = (String::new(), String::new());
        child.stdout.take().ok_or("no stdout")?.read_to_string(&mut out)?;
        child.stderr.take().ok_or("no stderr")?.read_to_string(&mut err)?;
        if child.wait()?.success() {
            Ok(out.trim().to_owned())
        } else {
            Err(format!("{args:?}: {err}").into())
        }
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident(&self) -> Outcome<u64> {
        self.status("VmRSS:")
    }

    /// Memory in words: all that is resident, and what of it is not the program's file.
    pub(crate) fn memory(&self) -> Outcome<String> {
        let (all, own) = (self.resident()?, self.status("RssAnon:")?);
        Ok(format!("{:.1} MiB resident, {:.1} MiB of it not the program itself", mib(all), mib(own)))
    }

    fn status(&self, field: &str) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? << 10)
    }

    /// Processor time so far.
    pub(crate) fn processor(&self) -> Outcome<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks =
            |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        Ok(Duration::from_secs_f64((ticks(11) + ticks(12)) / TICKS))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is a benchmark's server: nobody needs what it still would write.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
