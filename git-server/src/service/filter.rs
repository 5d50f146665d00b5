//! From a filter as asked for to one that the repository can walk by: what its settings allow, and the blob that
//! `sparse:oid` names.

use std::sync::Arc;

use slipway_core::{Oid, Problem};
use slipway_repository::{Filter, Kind, Snapshot, Sparse, View};

use crate::limits::SPARSE_BLOB_BYTES_MAX;
use crate::wire::WireError;
use crate::wire::filter::FilterSpec;

/// Judges a filter and makes it ready.
pub(super) fn resolve(view: &View, spec: &FilterSpec) -> Result<Filter, Problem> {
    let settings = &view.settings.upload;
    for part in spec.all() {
        if !settings.allows_filter(part.name()) {
            return Err(WireError::FilterRefused(part.name()).into());
        }
        if let (FilterSpec::Tree(got), Some(max)) = (part, settings.tree_depth_max)
            && *got > max
        {
            return Err(WireError::FilterDepth { max, got: *got }.into());
        }
    }
    make(&view.snapshot, spec)
}

fn make(snapshot: &Snapshot, spec: &FilterSpec) -> Result<Filter, Problem> {
    Ok(match spec {
        FilterSpec::BlobNone => Filter::BlobNone,
        FilterSpec::BlobLimit(bytes) => Filter::BlobLimit(*bytes),
        FilterSpec::Tree(depth) => Filter::Tree(u32::try_from(*depth).unwrap_or(u32::MAX)),
        FilterSpec::Type(kind) => Filter::Type(*kind),
        FilterSpec::Sparse(name) => Filter::Sparse(Arc::new(patterns(snapshot, name)?)),
        FilterSpec::Combine(parts) => {
            Filter::All(parts.iter().map(|part| make(snapshot, part)).collect::<Result<_, _>>()?)
        }
    })
}

/// The patterns in the blob of that name. One that the client may not see is one that is not there.
fn patterns(snapshot: &Snapshot, name: &str) -> Result<Sparse, Problem> {
    let unknown = || {
        let name: String = name.chars().take(200).collect();
        Problem::from(WireError::Filter(format!("unable to access sparse blob in '{name}'")))
    };
    let id = blob_of(snapshot, name)?.ok_or_else(unknown)?;
    if !matches!(snapshot.object_size(&id).map_err(Problem::from)?, Some((Kind::Blob, _)))
        || !snapshot.is_visible(&id).map_err(Problem::from)?
    {
        return Err(unknown());
    }
    let blob = snapshot.object(&id, SPARSE_BLOB_BYTES_MAX).map_err(Problem::from)?.ok_or_else(unknown)?;
    Sparse::parse(&blob.data).map_err(Problem::from)
}

/// An object id, or `REV:PATH` with a ref or an id for the revision.
fn blob_of(snapshot: &Snapshot, name: &str) -> Result<Option<Oid>, Problem> {
    if let Ok(id) = Oid::parse(name) {
        return Ok(Some(id));
    }
    let Some((rev, path)) = name.split_once(':') else { return Ok(None) };
    let root = match Oid::parse(rev) {
        Ok(id) => Some(id).filter(|id| matches!(snapshot.is_visible(id), Ok(true))),
        Err(_) => super::upload::find_rev(snapshot, rev),
    };
    let Some(root) = root else { return Ok(None) };
    let entry = snapshot.entry(&root, path).map_err(Problem::from)?;
    Ok(entry.map(|entry| entry.id))
}
