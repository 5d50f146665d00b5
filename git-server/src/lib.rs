//! The Git server: protocol 0, 1 and 2 over SSH and smart HTTP.
//!
//! `wire` is the protocol without a transport, `service` the conversations without a transport, `ssh` and `http` carry
//! them, [`Pipe`] needs neither. Start at [`GitServer`]. What this room needs of its siblings comes in through [`Commands`].

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod limits;
mod pipe;
mod ports;
pub mod push_client;
mod server;
mod service;
mod ssh;
mod transport;
mod wire;

pub use self::pipe::{Pipe, PipeService};
pub use self::ports::{CommandIo, Commands};
pub use self::server::{GitServer, Parts};
pub use self::ssh::{HostKeys, HostKeysError};
