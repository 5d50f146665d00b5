//! The doctor's round of all repositories: a few at a time, so that each answer comes soon and whoever asks sees how far it is.
//! Blocking.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use slipway_core::target::RepoRecord;
use slipway_core::{Problem, ProblemKind, RepoId, RepoName};
use slipway_forge::{Check, Round};

use super::{fail, judged, ok};
use crate::rooms::Rooms;

/// After this much time no further repository is begun in one answer.
const ANSWER_AFTER: Duration = Duration::from_secs(2);

/// Looks at repositories in the order of their ids, from the one after `after` on; with `repair`, puts right what can be.
pub(crate) fn round(rooms: &Rooms, after: Option<RepoId>, repair: bool) -> Result<Round, Problem> {
    let mut records = rooms.store.repos()?;
    records.sort_by_key(|record| record.id);
    let mut round = Round { total: records.len(), ..Round::default() };
    if after.is_none() {
        round.checks.extend(names(rooms, &records, repair));
        if repair {
            crate::operations::make_all_missing(rooms)?;
        }
    }
    let begun = Instant::now();
    for (record, number) in records.iter().zip(1..).filter(|(record, _)| Some(record.id) > after) {
        if round.next.is_some() && begun.elapsed() >= ANSWER_AFTER {
            return Ok(round);
        }
        round.checks.extend(examined(rooms, record, repair));
        (round.looked, round.next) = (number, Some(record.id));
    }
    (round.looked, round.next) = (records.len(), None);
    Ok(round)
}

/// What is wrong with a repository, or was.
fn examined(rooms: &Rooms, record: &RepoRecord, repair: bool) -> Vec<Check> {
    let name = format!("repository {}", record.name);
    let look = rooms.repositories.get(record.id);
    let looked = look.and_then(|repository| repository.examine(repair, &AtomicBool::new(false)));
    match looked {
        Ok(examined) => {
            let mended = examined.mended.iter().map(|what| ok(&name, &format!("mended: {what}")));
            mended.chain(examined.flaws.iter().map(|flaw| fail(&name, &flaw.what, &flaw.cure))).collect()
        }
        Err(error) => vec![judged(&name, Err(Problem::from(error)))],
    }
}

/// Whether the links by name lead where the records say.
fn names(rooms: &Rooms, records: &[RepoRecord], repair: bool) -> Vec<Check> {
    let wanted: BTreeMap<RepoName, RepoId> = records.iter().map(|r| (r.name.clone(), r.id)).collect();
    let misled = match rooms.repositories.misled_links(&wanted) {
        Ok(misled) => misled,
        Err(error) => return vec![judged("names", Err(Problem::from(error)))],
    };
    if misled.is_empty() {
        return Vec::new();
    }
    let shown: Vec<&str> = misled.iter().take(5).map(String::as_str).collect();
    let what =
        format!("{} links by name lead elsewhere than the records say: {}.", misled.len(), shown.join(", "));
    if !repair {
        return vec![fail("names", &what, "Run slipway doctor --repair: they are made anew.")];
    }
    match rooms.repositories.settle_links(&wanted) {
        Ok(in_the_way) if in_the_way.is_empty() => vec![ok("names", &format!("mended: {what}"))],
        Ok(in_the_way) => {
            let names: Vec<&str> = in_the_way.iter().map(RepoName::as_str).collect();
            let what = format!("Something else stands where the links of {} belong.", names.join(", "));
            let problem =
                Problem::new(ProblemKind::Conflict, what, "Move it out of the folder of repositories.");
            vec![judged("names", Err(problem))]
        }
        Err(error) => vec![judged("names", Err(Problem::from(error)))],
    }
}
