//! What is offered to a client, out of the repository's settings.

use std::time::SystemTime;

use slipway_core::{Problem, ProblemKind, UnixMillis};
use slipway_repository::Settings;

use super::Opened;
use super::certificate::issue;
use crate::wire::Service;
use crate::wire::advertise::Offer;

/// Puts an offer together. A new session id and a new nonce each time, where the settings ask for them.
pub(super) fn offer(
    settings: &Settings,
    opened: &Opened,
    service: Service,
    stateless: bool,
) -> Result<Offer, Problem> {
    let (upload, receive) = (&settings.upload, &settings.receive);
    let nonce = match (&receive.certificate_seed, service) {
        (Some(seed), Service::ReceivePack) => Some(issue(seed, opened, UnixMillis::from(SystemTime::now()))),
        _ => None,
    };
    Ok(Offer {
        stateless,
        session_id: if settings.session_id { Some(session_id()?) } else { None },
        filter: upload.filter,
        ref_in_want: upload.ref_in_want,
        sideband_all: upload.sideband_all,
        object_info: upload.object_info,
        bundle_uri: upload.bundle_uris && !settings.bundles.is_empty(),
        unborn: upload.unborn,
        // Where all that is reachable may be asked for, so may tips.
        tip: upload.reachable || upload.hidden_tips,
        reachable: upload.reachable,
        atomic: receive.atomic,
        push_options: receive.push_options,
        nonce,
    })
}

fn session_id() -> Result<String, Problem> {
    let mut raw = [0u8; 16];
    aws_lc_rs::rand::fill(&mut raw).map_err(|_| {
        Problem::new(ProblemKind::Broken, "The machine gives no random numbers.", "Look at the machine.")
    })?;
    Ok(raw.iter().map(|byte| format!("{byte:02x}")).collect())
}
