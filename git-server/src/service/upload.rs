//! Fetch and clone: what the client wants, what both sides have, and the pack between.

use std::collections::HashSet;
use std::sync::Arc;

use slipway_core::{Oid, Problem};
use slipway_repository::{Deepen, Filter, PackRequest, Ref, ShallowAnswer, Snapshot, View};

use super::filter::resolve;
use super::{Conversation, blocking};
use crate::transport::Stop;
use crate::wire::advertise::Offer;
use crate::wire::fetch::FetchArgs;
use crate::wire::ls_refs::LsRefs;
use crate::wire::negotiate::{Negotiation, Next, put_acknowledgments};
use crate::wire::pktline::{Band, Head, SideBand, Step, put, put_delim, put_flush, put_line, step};
use crate::wire::ref_table::RefTable;
use crate::wire::text::one_line;
use crate::wire::upload_v0::{Read, WantReader, Wants};
use crate::wire::upload_v2::{Command, CommandReader, Notes};
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
    pub(crate) async fn upload_pack(&mut self, view: View, offer: Offer) -> Result<(), Stop> {
        match self.version {
            Version::V2 => self.commands(view, offer).await,
            Version::V0 | Version::V1 => self.wants(view, offer).await,
        }
    }

    /// Version 2: commands until a flush or the end of input; over HTTP one command a request.
    async fn commands(&mut self, view: View, offer: Offer) -> Result<(), Stop> {
        let session = offer.session_id.clone();
        let mut reader = CommandReader::new(view.snapshot.object_format().as_str(), offer);
        loop {
            let Some(packet) = self.packet().await? else {
                return if reader.is_idle() { Ok(()) } else { Err(WireError::Cut.into()) };
            };
            let Some(command) = reader.take(&packet)? else { continue };
            log_notes(&reader.take_notes(), session.as_deref());
            match command {
                Command::End => return Ok(()),
                Command::LsRefs(args) => {
                    let snapshot = Arc::clone(&view.snapshot);
                    let answer = blocking(move || Ok(answer_refs(&snapshot, args)));
                    self.output.send(answer.await?).await?;
                }
                Command::Fetch(args) => self.fetch(&view, *args).await?,
                Command::ObjectInfo(args) => {
                    let snapshot = Arc::clone(&view.snapshot);
                    let answer = blocking(move || {
                        let mut out = Vec::new();
                        args.answer(&|id| size_of(&snapshot, id), &mut out)?;
                        Ok(out)
                    });
                    self.output.send(answer.await?).await?;
                }
                Command::BundleUri => {
                    let mut out = Vec::new();
                    for (key, value) in &view.settings.bundles {
                        put_line(&mut out, &format!("{key}={value}"));
                    }
                    put_flush(&mut out);
                    self.output.send(out).await?;
                }
            }
            if self.stateless {
                return Ok(());
            }
        }
    }

    async fn fetch(&mut self, view: &View, args: FetchArgs) -> Result<(), Stop> {
        if args.wants.is_empty() && args.want_refs.is_empty() && !args.wait_for_done {
            return Ok(());
        }
        let (quiet, all) = (args.no_progress, args.sideband_all);
        let seen = view.clone();
        match blocking(move || answer_fetch(&seen, args)).await {
            Ok((out, request)) => {
                self.output.send(if all { banded(&out) } else { out }).await?;
                match request {
                    Some(request) => {
                        let snapshot = Arc::clone(&view.snapshot);
                        self.send_pack(snapshot, *request, SideBand::Large, quiet).await
                    }
                    None => Ok(()),
                }
            }
            Err(problem) if all => {
                let mut out = Vec::new();
                let line = format!("{}\n", one_line(&problem.to_string()));
                SideBand::Large.put(&mut out, Band::Fatal, line.as_bytes());
                self.output.send(out).await?;
                Err(Stop::Told(problem))
            }
            Err(problem) => Err(problem.into()),
        }
    }

    /// Versions 0 and 1: wants, then rounds of haves until `done`, or until it is enough.
    async fn wants(&mut self, view: View, offer: Offer) -> Result<(), Stop> {
        let snapshot = Arc::clone(&view.snapshot);
        let mut reader = WantReader::new(snapshot.object_format().as_str());
        let mut state: Option<(Wants, ShallowAnswer, Filter)> = None;
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
                    if let Some(id) = &wants.session_id {
                        tracing::debug!(client_session = id, session = offer.session_id, "fetch");
                    }
                    negotiation = Negotiation::new(wants.ack, wants.no_done && self.stateless);
                    let (seen, stateless) = (view.clone(), self.stateless);
                    let job = blocking(move || answer_wants(&seen, stateless, *wants));
                    let (wants, boundary, filter, out) = job.await?;
                    self.output.send(out).await?;
                    state = Some((wants, boundary, filter));
                }
                Some(Read::Round { haves, done }) => {
                    let Some((wants, boundary, filter)) = state.take() else {
                        return Err(WireError::Cut.into());
                    };
                    let seen = Arc::clone(&snapshot);
                    let mut talk = std::mem::take(&mut negotiation);
                    let job = blocking(move || {
                        let mut out = Vec::new();
                        let next = talk.round(&haves, done, &wants.args.wants, &*seen, &mut out)?;
                        Ok((next, talk, wants, out))
                    });
                    let (next, talk, wants, out) = job.await?;
                    self.output.send(out).await?;
                    if next == Next::Pack {
                        let (band, quiet) = (wants.band, wants.args.no_progress);
                        let request = pack_request(wants.args, talk.into_common(), boundary, filter);
                        return self.send_pack(snapshot, request, band, quiet).await;
                    }
                    negotiation = talk;
                    state = Some((wants, boundary, filter));
                }
            }
        }
    }
}

/// The refs that were asked for.
pub(super) fn answer_refs(snapshot: &Snapshot, mut args: LsRefs) -> Vec<u8> {
    let mut out = Vec::new();
    let table = || snapshot.memo(|snapshot| RefTable::new(snapshot.refs()));
    args.answer(snapshot.refs(), snapshot.head(), table, &mut out);
    out
}

fn log_notes(notes: &Notes, session: Option<&str>) {
    if *notes != Notes::default() {
        let options: Vec<String> = notes.server_options.iter().map(|o| one_line(o)).collect();
        tracing::debug!(client_session = notes.session_id, session, ?options, "command");
    }
}

/// An object's size, if the client may know that it is there.
fn size_of(snapshot: &Snapshot, id: &Oid) -> Result<Option<u64>, Problem> {
    if !snapshot.is_visible(id).map_err(Problem::from)? {
        return Ok(None);
    }
    Ok(snapshot.object_size(id).map_err(Problem::from)?.map(|(_, size)| size))
}

/// Packets, put into the side band: lines go on band 1, flushes and delimiters stay what they are.
pub(super) fn banded(packets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(packets.len() + packets.len() / 8);
    let mut rest = packets;
    while let Ok(Step::Got(head, len)) = step(rest) {
        let (packet, tail) = rest.split_at(len.min(rest.len()));
        match head {
            Head::Data => put(&mut out, &[b"\x01", packet.get(4..).unwrap_or_default()]),
            _ => out.extend_from_slice(packet),
        }
        rest = tail;
    }
    out
}

/// Checks that every want may be sent. `tips_only`: what refs point at, and not what they reach.
fn check_wants(view: &View, wants: &[Oid], tips_only: bool) -> Result<(), Problem> {
    let settings = &view.settings.upload;
    let points_at = |refs: &[Ref]| -> HashSet<Oid> {
        refs.iter().flat_map(|r| [Some(r.target), r.peeled]).flatten().collect()
    };
    let shown = if tips_only { points_at(view.snapshot.refs()) } else { HashSet::new() };
    let hidden = if settings.hidden_tips { points_at(view.whole.refs()) } else { HashSet::new() };
    for id in wants {
        let mut may = hidden.contains(id) || shown.contains(id);
        if !may && !tips_only {
            may = view.snapshot.is_visible(id).map_err(Problem::from)?;
        }
        if !may && settings.any {
            may = view.whole.contains(id).map_err(Problem::from)?;
        }
        if !may {
            return Err(WireError::NotOurRef(*id).into());
        }
    }
    Ok(())
}

type WantsAnswer = (Wants, ShallowAnswer, Filter, Vec<u8>);

fn answer_wants(view: &View, stateless: bool, wants: Wants) -> Result<WantsAnswer, Problem> {
    let settings = &view.settings.upload;
    if wants.args.filter.is_some() && !(settings.filter && wants.may_filter) {
        let found: &[u8] = if settings.filter {
            b"a filter without the capability"
        } else {
            b"a filter, which was not offered"
        };
        return Err(WireError::unexpected("no filter", found).into());
    }
    // Over HTTP the refs may have moved since they were shown: what was a tip then is reachable now.
    check_wants(view, &wants.args.wants, !settings.reachable && !stateless)?;
    let filter = filter_of(view, &wants.args)?;
    let boundary = boundary(&view.snapshot, &wants.args)?;
    let mut out = Vec::new();
    if wants.args.deepens() {
        put_boundary(&boundary, &mut out);
        put_flush(&mut out);
    }
    Ok((wants, boundary, filter, out))
}

fn filter_of(view: &View, args: &FetchArgs) -> Result<Filter, Problem> {
    args.filter.as_ref().map_or(Ok(Filter::None), |spec| resolve(view, spec))
}

/// Everything of version 2's answer before the pack, and the pack's recipe if one follows.
pub(super) fn answer_fetch(
    view: &View,
    mut args: FetchArgs,
) -> Result<(Vec<u8>, Option<Box<PackRequest>>), Problem> {
    let snapshot = &*view.snapshot;
    let filter = filter_of(view, &args)?;
    let mut out = Vec::new();
    let mut named = Vec::new();
    for name in std::mem::take(&mut args.want_refs) {
        let Some(found) = snapshot.find_ref(&name) else { return Err(WireError::UnknownRef(name).into()) };
        named.push(format!("{} {name}", found.target));
        args.wants.push(found.target);
    }
    args.tidy();
    check_wants(view, &args.wants, false)?;
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
    // A client of version 2 hears only here where the repository's own history ends; others heard it with the refs.
    let ends = !snapshot.boundary().is_empty();
    let boundary = if ends && !args.deepens() {
        snapshot.own_ends(&args.wants, &args.shallows).map_err(Problem::from)?
    } else {
        boundary(snapshot, &args)?
    };
    if ends || args.deepens() || !args.shallows.is_empty() {
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
    Ok((out, Some(Box::new(pack_request(args, common, boundary, filter)))))
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
pub(super) fn find_rev(snapshot: &Snapshot, name: &str) -> Option<Oid> {
    ["", "refs/", "refs/tags/", "refs/heads/"]
        .iter()
        .find_map(|prefix| snapshot.find_ref(&format!("{prefix}{name}")))
        .map(|r| r.peeled.unwrap_or(r.target))
}

/// Without a newline at the end, as git writes these lines: libgit2 takes one for part of the id.
fn put_boundary(boundary: &ShallowAnswer, out: &mut Vec<u8>) {
    boundary.shallow.iter().for_each(|id| put(out, &[b"shallow ", id.to_string().as_bytes()]));
    boundary.unshallow.iter().for_each(|id| put(out, &[b"unshallow ", id.to_string().as_bytes()]));
}

fn pack_request(args: FetchArgs, common: Vec<Oid>, boundary: ShallowAnswer, filter: Filter) -> PackRequest {
    PackRequest {
        wants: args.wants,
        haves: common,
        client_shallow: args.shallows,
        shallow: boundary.shallow,
        unshallow: boundary.unshallow,
        thin: args.thin_pack,
        ofs_delta: args.ofs_delta,
        include_tag: args.include_tag,
        filter,
    }
}
