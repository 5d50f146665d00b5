//! Fetch and clone: what the client wants, what both sides have, and the pack between.

use std::sync::Arc;

use slipway_core::{Oid, Problem};
use slipway_repository::{Deepen, PackRequest, ShallowAnswer, Snapshot};

use super::{Conversation, blocking};
use crate::transport::Stop;
use crate::wire::fetch::FetchArgs;
use crate::wire::negotiate::{Negotiation, Next, put_acknowledgments};
use crate::wire::pktline::{SideBand, put_delim, put_flush, put_line};
use crate::wire::upload_v0::{Read, WantReader, Wants};
use crate::wire::upload_v2::{Command, CommandReader};
use crate::wire::{History, Version, WireError};

impl History for Snapshot {
    fn is_common(&self, id: &Oid) -> Result<bool, Problem> {
        self.is_visible(id).map_err(Problem::from)
    }

    fn is_ready(&self, wants: &[Oid], common: &[Oid]) -> Result<bool, Problem> {
        Snapshot::is_ready(self, wants, common).map_err(Problem::from)
    }
}

impl Conversation {
    /// Serves fetches in the version that was advertised.
    pub(crate) async fn upload_pack(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Stop> {
        match self.version {
            Version::V2 => self.commands(snapshot).await,
            Version::V0 | Version::V1 => self.wants(snapshot).await,
        }
    }

    /// Version 2: commands until a flush or the end of input; over HTTP one command a request.
    async fn commands(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Stop> {
        let mut reader = CommandReader::new(snapshot.object_format());
        loop {
            let Some(packet) = self.packet().await? else {
                return if reader.is_idle() { Ok(()) } else { Err(WireError::Cut.into()) };
            };
            match reader.take(&packet)? {
                None => continue,
                Some(Command::End) => return Ok(()),
                Some(Command::LsRefs(mut args)) => {
                    let snapshot = Arc::clone(&snapshot);
                    let answer = blocking(move || {
                        let mut out = Vec::new();
                        args.answer(snapshot.refs(), snapshot.head(), &mut out);
                        Ok(out)
                    });
                    self.output.send(answer.await?).await?;
                }
                Some(Command::Fetch(args)) => self.fetch(&snapshot, *args).await?,
            }
            if self.stateless {
                return Ok(());
            }
        }
    }

    async fn fetch(&mut self, snapshot: &Arc<Snapshot>, args: FetchArgs) -> Result<(), Stop> {
        if args.wants.is_empty() && args.want_refs.is_empty() && !args.wait_for_done {
            return Ok(());
        }
        let quiet = args.no_progress;
        let view = Arc::clone(snapshot);
        let (out, request) = blocking(move || answer_fetch(&view, args)).await?;
        self.output.send(out).await?;
        match request {
            Some(request) => self.send_pack(Arc::clone(snapshot), *request, SideBand::Large, quiet).await,
            None => Ok(()),
        }
    }

    /// Versions 0 and 1: wants, then rounds of haves until `done`, or until it is enough.
    async fn wants(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Stop> {
        let mut reader = WantReader::new(snapshot.object_format());
        let mut state: Option<(Wants, ShallowAnswer)> = None;
        let mut negotiation = Negotiation::default();
        loop {
            let Some(packet) = self.packet().await? else {
                // A stateless client stops after its wants (to learn the boundary) or after a flush.
                let whole = reader.is_idle() || reader.is_between_rounds();
                return if whole { Ok(()) } else { Err(WireError::Cut.into()) };
            };
            match reader.take(&packet)? {
                None => {}
                Some(Read::Nothing) => return Ok(()),
                Some(Read::Wants(wants)) => {
                    negotiation = Negotiation::new(wants.ack, wants.no_done);
                    let view = Arc::clone(&snapshot);
                    let (wants, boundary, out) = blocking(move || answer_wants(&view, *wants)).await?;
                    self.output.send(out).await?;
                    state = Some((wants, boundary));
                }
                Some(Read::Round { haves, done }) => {
                    let Some((wants, boundary)) = state.take() else { return Err(WireError::Cut.into()) };
                    let view = Arc::clone(&snapshot);
                    let mut talk = std::mem::take(&mut negotiation);
                    let job = blocking(move || {
                        let mut out = Vec::new();
                        let next = talk.round(&haves, done, &wants.args.wants, &*view, &mut out)?;
                        Ok((next, talk, wants, out))
                    });
                    let (next, talk, wants, out) = job.await?;
                    self.output.send(out).await?;
                    if next == Next::Pack {
                        let (band, quiet) = (wants.band, wants.args.no_progress);
                        let request = pack_request(wants.args, talk.into_common(), boundary);
                        return self.send_pack(snapshot, request, band, quiet).await;
                    }
                    negotiation = talk;
                    state = Some((wants, boundary));
                }
            }
        }
    }
}

/// Checks that every want may be sent.
fn check_wants(snapshot: &Snapshot, wants: &[Oid]) -> Result<(), Problem> {
    for id in wants {
        if !snapshot.is_visible(id).map_err(Problem::from)? {
            return Err(WireError::NotOurRef(*id).into());
        }
    }
    Ok(())
}

fn answer_wants(snapshot: &Snapshot, wants: Wants) -> Result<(Wants, ShallowAnswer, Vec<u8>), Problem> {
    check_wants(snapshot, &wants.args.wants)?;
    let boundary = boundary(snapshot, &wants.args)?;
    let mut out = Vec::new();
    if wants.args.deepens() {
        put_boundary(&boundary, &mut out);
        put_flush(&mut out);
    }
    Ok((wants, boundary, out))
}

/// Everything of version 2's answer before the pack, and the pack's recipe if one follows.
fn answer_fetch(
    snapshot: &Snapshot,
    mut args: FetchArgs,
) -> Result<(Vec<u8>, Option<Box<PackRequest>>), Problem> {
    let mut out = Vec::new();
    let mut named = Vec::new();
    for name in std::mem::take(&mut args.want_refs) {
        let Some(found) = snapshot.find_ref(&name) else { return Err(WireError::UnknownRef(name).into()) };
        named.push(format!("{} {name}", found.target));
        args.wants.push(found.target);
    }
    args.tidy();
    check_wants(snapshot, &args.wants)?;
    let asked = !args.done && !args.haves.is_empty();
    let mut common = Vec::new();
    for id in std::mem::take(&mut args.haves) {
        if snapshot.is_visible(&id).map_err(Problem::from)? {
            common.push(id);
        }
    }
    if asked {
        let ready = !args.wait_for_done
            && !common.is_empty()
            && Snapshot::is_ready(snapshot, &args.wants, &common).map_err(Problem::from)?;
        if !put_acknowledgments(&common, ready, &mut out) {
            put_flush(&mut out);
            return Ok((out, None));
        }
        put_delim(&mut out);
    }
    if args.wants.is_empty() {
        return Ok((out, None));
    }
    let boundary = boundary(snapshot, &args)?;
    if args.deepens() || !args.shallows.is_empty() {
        put_line(&mut out, "shallow-info");
        put_boundary(&boundary, &mut out);
        put_delim(&mut out);
    }
    if !named.is_empty() {
        put_line(&mut out, "wanted-refs");
        named.iter().for_each(|line| put_line(&mut out, line));
        put_delim(&mut out);
    }
    put_line(&mut out, "packfile");
    Ok((out, Some(Box::new(pack_request(args, common, boundary)))))
}

/// The boundary of the answer: empty unless it was asked for.
fn boundary(snapshot: &Snapshot, args: &FetchArgs) -> Result<ShallowAnswer, Problem> {
    if !args.deepens() {
        return Ok(ShallowAnswer { shallow: Vec::new(), unshallow: Vec::new() });
    }
    let mut not = Vec::new();
    for name in &args.deepen_not {
        not.push(find_rev(snapshot, name).ok_or_else(|| WireError::UnknownRef(name.clone()))?);
    }
    let deepen = Deepen { depth: args.deepen, since: args.deepen_since, not, relative: args.deepen_relative };
    snapshot.shallow(&args.wants, &args.shallows, &deepen).map_err(Problem::from)
}

/// A ref by its full name, or by its short one as git looks them up.
fn find_rev(snapshot: &Snapshot, name: &str) -> Option<Oid> {
    ["", "refs/", "refs/tags/", "refs/heads/"]
        .iter()
        .find_map(|prefix| snapshot.find_ref(&format!("{prefix}{name}")))
        .map(|r| r.peeled.unwrap_or(r.target))
}

fn put_boundary(boundary: &ShallowAnswer, out: &mut Vec<u8>) {
    boundary.shallow.iter().for_each(|id| put_line(out, &format!("shallow {id}")));
    boundary.unshallow.iter().for_each(|id| put_line(out, &format!("unshallow {id}")));
}

fn pack_request(args: FetchArgs, common: Vec<Oid>, boundary: ShallowAnswer) -> PackRequest {
    PackRequest {
        wants: args.wants,
        haves: common,
        client_shallow: args.shallows,
        shallow: boundary.shallow,
        unshallow: boundary.unshallow,
        thin: args.thin_pack,
        ofs_delta: args.ofs_delta,
        include_tag: args.include_tag,
        filter: args.filter.unwrap_or_default(),
    }
}
