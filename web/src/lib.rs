//! Pages and the JSON API: one [`router`] over the floor. It finds out who calls, parses, calls `slipway_forge`, and shows
//! what comes back; no rule is kept here.
//!
//! Knows no database, no SSH, no container engine and no Kubernetes. The API's routes are listed in `api.rs`, those of the
//! pages in `pages.rs`.

mod api;
mod assets;
mod csrf;
mod door;
mod identity;
mod limits;
mod link;
mod markdown;
mod moved;
mod pages;
mod parts;
mod refusal;
mod router;
mod text;
mod visit;

pub use self::parts::{Addresses, Parts};
pub use self::router::router;
