//! The two that are compared: stock git, and this server's conversations on a pipe. Both get the same bytes.

use std::io::{Cursor, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, LazyLock, Mutex};

use slipway_git_server::{Pipe, PipeService};
use tokio::runtime::Runtime;

/// What one of them sent, and whether it thinks that all went well.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) bytes: Vec<u8>,
    pub(crate) well: bool,
    /// For people.
    pub(crate) remark: String,
}

/// Runs git in a folder with nothing of the host's configuration.
pub(crate) fn git_with(dir: &Path, args: &[&str], input: &[u8], protocol: &str) -> Output {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_PROTOCOL", protocol)
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_COMMITTER_NAME", "C")
        .env("GIT_COMMITTER_EMAIL", "c@example.org")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

/// The same, of which it is known that it goes well.
pub(crate) fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let out = git_with(dir, args, input, "");
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// What git answers to a request.
pub(crate) fn ask_git(dir: &Path, service: PipeService, request: &[u8], protocol: &str) -> Said {
    let name = match service {
        PipeService::UploadPack => "upload-pack",
        PipeService::ReceivePack => "receive-pack",
    };
    let out = git_with(dir, &[name, "--stateless-rpc", "."], request, protocol);
    let remark = String::from_utf8_lossy(&out.stderr).into_owned();
    Said { bytes: out.stdout, well: out.status.success(), remark }
}

/// What this server answers to a request.
pub(crate) fn ask_us(dir: &Path, service: PipeService, request: &[u8], protocol: &str) -> Said {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    let pipe = Pipe {
        service,
        strict: true,
        stateless: true,
        advertise: false,
        timeout: None,
        protocol: protocol.to_owned(),
        config: Vec::new(),
        overrides: Vec::new(),
    };
    let written = Sink::default();
    let result = RUNTIME.block_on(pipe.serve(dir, Cursor::new(request.to_vec()), written.clone()));
    let bytes = std::mem::take(&mut *written.0.lock().unwrap());
    Said { bytes, well: matches!(result, Ok(true)), remark: format!("{result:?}") }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
