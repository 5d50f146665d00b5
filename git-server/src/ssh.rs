//! Git and the administrative commands over SSH (russh). Who may do what is decided in `service` and behind
//! [`crate::Commands`].

mod admission;
mod channel;
pub(crate) mod exec;
mod greeting;
#[cfg(any(test, feature = "fuzzing"))]
mod handshake;
mod host_keys;
mod listen;
mod offer;
mod session;
mod strangers;
mod stream;
mod turns;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::greeting::first_words;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::handshake::{credentials, handshake};
pub use self::host_keys::{HostKeys, HostKeysError};
