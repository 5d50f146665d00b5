//! A whole request of version 2 answered in one go: everything from who asks to the answer's bytes is one job on one
//! blocking thread. Most requests are like this: the refs, a round of negotiation, a small fetch, a clone that was asked
//! for before. What takes longer is handed on to the conversation that keeps the client waiting.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use slipway_core::Problem;
use slipway_forge::shares::Party;
use slipway_repository::{PackRequest, PackStream, RepoError, View};

use super::upload::{answer_fetch, answer_refs, banded};
use super::{Engine, Opened, look};
use crate::limits::QUICK_PACK_BYTES;
use crate::wire::pktline::{Band, Decoder, SideBand, put_error};
use crate::wire::text::one_line;
use crate::wire::upload_v2::{Command, CommandReader};
use crate::wire::{Service, WireError};

/// What came of a request.
pub(crate) enum Quick {
    /// The whole answer.
    Whole(Bytes),
    /// What comes before the pack, and the pack that is still to be made or is too large to be held.
    Pack(Box<Pending>),
    /// Not looked at: it is for the conversation.
    Other,
}

/// A pack to be sent.
pub(crate) struct Pending {
    pub(crate) view: View,
    pub(crate) head: Vec<u8>,
    pub(crate) request: PackRequest,
    pub(crate) quiet: bool,
}

/// Answers the request that `body` is. Whatever is wrong with it is told in the answer. May block; gives a pack up to
/// the conversation once `stop` is set.
pub(crate) fn answer(engine: &Engine, opened: &Opened, body: &Bytes, stop: &AtomicBool) -> Quick {
    request(engine, opened, body, stop).unwrap_or_else(|problem| {
        let mut out = Vec::new();
        put_error(&mut out, &problem.to_string());
        Quick::Whole(out.into())
    })
}

fn request(engine: &Engine, opened: &Opened, body: &Bytes, stop: &AtomicBool) -> Result<Quick, Problem> {
    let (view, offer) = look(opened, Service::UploadPack, true)?;
    let mut reader = CommandReader::new(view.snapshot.object_format().as_str(), offer);
    let mut decoder = Decoder::default();
    decoder.put(body);
    let command = loop {
        match decoder.next()? {
            Some(packet) => {
                if let Some(command) = reader.take(&packet)? {
                    break command;
                }
            }
            None if decoder.is_spent() && reader.is_idle() => break Command::End,
            None => return Err(WireError::Cut.into()),
        }
    };
    match command {
        Command::End => Ok(Quick::Whole(Bytes::new())),
        Command::LsRefs(args) => Ok(Quick::Whole(answer_refs(&view.snapshot, args).into())),
        Command::Fetch(args) if args.wants.is_empty() && args.want_refs.is_empty() && !args.wait_for_done => {
            Ok(Quick::Whole(Bytes::new()))
        }
        Command::Fetch(args) => {
            let (quiet, all) = (args.no_progress, args.sideband_all);
            let (head, request) = match answer_fetch(&view, *args) {
                Ok(answer) => answer,
                Err(problem) if all => {
                    let mut out = Vec::new();
                    let line = format!("{}\n", one_line(&problem.to_string()));
                    SideBand::Large.put(&mut out, Band::Fatal, line.as_bytes());
                    return Ok(Quick::Whole(out.into()));
                }
                Err(problem) => return Err(problem),
            };
            let head = if all { banded(&head) } else { head };
            match request {
                Some(request) => pack(engine, opened, Pending { view, head, request: *request, quiet }, stop),
                None => Ok(Quick::Whole(head.into())),
            }
        }
        Command::ObjectInfo(_) | Command::BundleUri => Ok(Quick::Other),
    }
}

fn pack(engine: &Engine, opened: &Opened, pending: Pending, stop: &AtomicBool) -> Result<Quick, Problem> {
    let Pending { view, request, .. } = &pending;
    let ready = match view.snapshot.pack_at_hand(request) {
        Some(pack) => Some(pack),
        None => match engine.builders.enter_now(Party::of(&opened.caller)) {
            Some(_place) => match view.snapshot.pack(request, stop) {
                Ok(pack) => Some(pack),
                Err(RepoError::Stopped) => None,
                Err(e) => return Err(e.into()),
            },
            None => None,
        },
    };
    match ready {
        Some(ready) if ready.bytes() <= QUICK_PACK_BYTES => whole(pending, ready),
        _ => Ok(Quick::Pack(Box::new(pending))),
    }
}

/// A small pack, in one piece with what comes before and behind it.
fn whole(pending: Pending, mut pack: PackStream) -> Result<Quick, Problem> {
    let (band, mut out) = (SideBand::Large, pending.head);
    if !pending.quiet {
        band.put(&mut out, Band::Remark, format!("Total {} objects.\n", pack.objects()).as_bytes());
    }
    let mut bytes = vec![0; usize::try_from(pack.bytes()).unwrap_or(0)];
    let filled = pack.fill(&mut bytes)?;
    band.put(&mut out, Band::Data, &bytes[..filled]);
    out.extend_from_slice(b"0000");
    Ok(Quick::Whole(out.into()))
}
