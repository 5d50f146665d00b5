//! Pages and the JSON API: one [`router`] over the store, the repositories and a port to builds and deploys.
//!
//! Knows no gix, no sled, no SSH, no container engine and no Kubernetes. What it needs from builds and deploys comes
//! through [`Operations`]. The routes are listed in `api.rs` and DESIGN §4.

mod api;
mod assets;
mod credential;
mod csrf;
mod door;
mod identity;
mod limits;
mod link;
mod markdown;
mod operations;
mod pages;
mod parts;
mod refusal;
mod router;
mod text;
mod throttle;
mod visit;

pub use self::credential::{MintedToken, mint_token};
pub use self::identity::authenticate;
pub use self::operations::{Change, Check, LogChunk, Operations, Subject};
pub use self::parts::{Addresses, Parts};
pub use self::router::router;
