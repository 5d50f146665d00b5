//! What is put beside a pushed image so that others can tell whose it is: a signature, a statement on where it comes from, a
//! list of its contents; and how they are read back and believed.
//!
//! All are in forms that other tools know. The signature is cosign's (`sha256-….sig`, "simple signing"), statements are
//! in-toto's in envelopes of DSSE (`sha256-….att`), and each is an artefact that refers to the image besides (OCI image
//! specification 1.1, `subject`), with the tag of the distribution specification where a registry has no list of those.
//! Nothing that is there is made anew: what this server has signed before is found and left.

use std::path::Path;
use std::sync::Arc;

use slipway_core::RepoName;
use slipway_core::build::Build;
use tokio::sync::{Mutex, MutexGuard};

mod attach;
mod envelope;
mod key;
mod manifest;
mod read;
mod statement;
mod verify;

pub(crate) use self::attach::not_there;
pub use self::key::SigningKey;
pub use self::verify::Document;

/// Signs images: one per server.
#[derive(Clone, Debug)]
pub struct Supply {
    /// With what.
    pub key: Arc<SigningKey>,
    /// Whether pushed images are signed, with a statement on where they come from.
    pub sign: bool,
    /// Whether their contents are listed.
    pub list: bool,
    /// Who says so: the address of this server, without a slash at its end.
    pub builder: String,
    /// Its version.
    pub version: &'static str,
}

impl Supply {
    /// Signs nothing.
    pub(crate) fn none() -> Self {
        let key = Arc::new(SigningKey::within(Path::new("/dev/null")));
        Self { key, sign: false, list: false, builder: String::new(), version: "" }
    }
}

/// Who writes beside an image: of those that share a place here, one at a time.
#[derive(Debug)]
pub(crate) struct Turns([Mutex<()>; TURNS]);

/// How many places there are.
const TURNS: usize = 16;

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Turns {
    /// Waits for the turn of that digest.
    pub(crate) async fn of(&self, digest: &str) -> MutexGuard<'_, ()> {
        let at = digest.bytes().map(usize::from).sum::<usize>() % TURNS;
        self.0[at].lock().await
    }
}

/// The build that made an image, which need not be the one that pushes it now.
#[derive(Clone, Debug)]
pub struct Maker {
    /// The repository's name.
    pub repo: RepoName,
    /// The record.
    pub build: Build,
}
