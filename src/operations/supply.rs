//! What the floor asks of images: whose they are, and what is stated of them.

use serde_json::Value;
use slipway_core::verified::Verified;
use slipway_core::{Digest, Problem};
use slipway_forge::made::{Place, Stated};
use slipway_hooks::Document;

use crate::admission::target;
use crate::rooms::Rooms;

pub(super) async fn verify(rooms: &Rooms, place: &Place, named: &str) -> Result<Verified, Problem> {
    Ok(rooms.engines.any().verify_image(&target(place.clone()), named).await?)
}

pub(super) async fn stated(
    rooms: &Rooms,
    place: &Place,
    digest: &Digest,
    what: Stated,
) -> Result<Value, Problem> {
    let document = match what {
        Stated::Provenance => Document::Provenance,
        Stated::Contents => Document::Contents,
    };
    Ok(rooms.engines.any().document(&target(place.clone()), digest, document).await?)
}
