//! Loose objects that refs reach go into a pack. Those that nothing reaches follow when everything is packed anew.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::sync::atomic::AtomicBool;

use slipway_core::Oid;

use super::cruft::seconds;
use super::full::LooseAges;
use super::go_on;
use crate::Repository;
use crate::error::{RepoError, Result};
use crate::loose::path_of;
use crate::receive::ReceiveLimits;
use crate::send::{PackRequest, PackStream};
use crate::snapshot::Snapshot;

/// A pack as it would be sent.
struct Sent(PackStream);

impl Read for Sent {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.fill(out).map_err(io::Error::other)
    }
}

impl Repository {
    /// Packs loose objects.
    pub(super) fn pack_loose(&self, stop: &AtomicBool) -> Result<()> {
        let snapshot = self.snapshot()?;
        if !snapshot.has_loose() {
            return Ok(());
        }
        let all = snapshot.all_reachable(stop)?;
        let loose: Vec<_> = all.loose().copied().collect();
        if loose.is_empty() {
            return Ok(());
        }
        self.pack_these(&snapshot, &loose, stop)?;
        for id in &loose {
            super::remove(&path_of(&snapshot.objects, id))?;
        }
        Ok(())
    }

    fn pack_these(
        &self,
        snapshot: &std::sync::Arc<Snapshot>,
        loose: &[Oid],
        stop: &AtomicBool,
    ) -> Result<()> {
        let request = PackRequest { ofs_delta: true, ..PackRequest::default() };
        let mut sent = Sent(snapshot.pack_of(loose, &request, stop)?);
        // What is here already was checked when it came.
        let limits = ReceiveLimits {
            pack_bytes_max: u64::MAX,
            object_bytes_max: u64::MAX,
            ..ReceiveLimits::default()
        };
        let mut received = self.receive(&mut sent, &limits, &|_| (), stop)?;
        received.take_as_checked();
        received.publish_objects()
    }

    /// Packs what is loose still and younger copies of what is packed, and tells how old it was. What cannot be packed
    /// stays as it is.
    pub(super) fn pack_unreachable_loose(&self, stop: &AtomicBool) -> Result<LooseAges> {
        let snapshot = self.snapshot()?;
        if !snapshot.has_loose() {
            return Ok(LooseAges::default());
        }
        let ages = loose_ages(&snapshot, stop)?;
        let loose: Vec<Oid> = ages.keys().copied().collect();
        if loose.is_empty() {
            return Ok(ages);
        }
        match self.pack_these(&snapshot, &loose, stop) {
            Ok(()) => {}
            Err(e @ (RepoError::Stopped | RepoError::Io { .. })) => return Err(e),
            Err(e) => {
                tracing::warn!("loose objects that nothing reaches stay loose: {e}");
                return Ok(LooseAges::default());
            }
        }
        for (id, age) in &ages {
            let path = path_of(&snapshot.objects, id);
            // Written again meanwhile, by git beside us: then that is how old it is.
            if fs::metadata(&path).and_then(|m| m.modified()).is_ok_and(|at| seconds(at) <= *age) {
                super::remove(&path)?;
            }
        }
        Ok(ages)
    }
}

/// All loose objects, and when each was written.
fn loose_ages(snapshot: &Snapshot, stop: &AtomicBool) -> Result<LooseAges> {
    let mut found = HashMap::new();
    for byte in 0..=255u8 {
        go_on(stop)?;
        let folder = snapshot.objects.join(format!("{byte:02x}"));
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(RepoError::io("list", &folder)(e)),
        };
        for entry in entries {
            let entry = entry.map_err(RepoError::io("list", &folder))?;
            let hex = format!("{byte:02x}{}", entry.file_name().to_string_lossy());
            let Some(id) = Oid::from_hex(hex.as_bytes()).filter(|id| id.format() == snapshot.format) else {
                continue;
            };
            if let Ok(at) = entry.metadata().and_then(|m| m.modified()) {
                found.insert(id, seconds(at));
            }
        }
    }
    Ok(found)
}
