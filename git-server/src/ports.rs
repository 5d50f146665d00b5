//! What this room needs from others and may not import: implemented by the root.

use std::pin::Pin;

use futures_util::future::BoxFuture;
use slipway_forge::Caller;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// Runs commands that come over SSH and are not git's.
pub trait Commands: Send + Sync {
    /// Runs `argv` for `caller` and gives its exit status. Whether the caller may is decided inside.
    fn run(&self, caller: Caller, argv: Vec<String>, io: CommandIo) -> BoxFuture<'static, u32>;
}

/// The three streams of a command. Dropping the output streams ends them.
pub struct CommandIo {
    /// What the client sends.
    pub stdin: Pin<Box<dyn AsyncRead + Send>>,
    /// Results.
    pub stdout: Pin<Box<dyn AsyncWrite + Send>>,
    /// Everything else.
    pub stderr: Pin<Box<dyn AsyncWrite + Send>>,
    /// Cancelled once the client has left: nobody reads the answer any more.
    pub gone: CancellationToken,
}
