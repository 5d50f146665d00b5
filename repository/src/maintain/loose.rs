//! Loose objects that refs reach go into a pack. Those that nothing reaches are left to `git prune`.

use std::io::{self, Read};
use std::sync::atomic::AtomicBool;

use crate::Repository;
use crate::error::Result;
use crate::loose::path_of;
use crate::receive::ReceiveLimits;
use crate::send::{PackRequest, PackStream};

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
        let request = PackRequest { ofs_delta: true, ..PackRequest::default() };
        let mut sent = Sent(snapshot.pack_of(&loose, &request, stop)?);
        // What is here already was checked when it came.
        let limits = ReceiveLimits { pack_bytes_max: u64::MAX, object_bytes_max: u64::MAX, ..ReceiveLimits::default() };
        let mut received = self.receive(&mut sent, &limits, &|_| (), stop)?;
        received.take_as_checked();
        received.publish_objects()?;
        for id in &loose {
            super::remove(&path_of(&snapshot.objects, id))?;
        }
        Ok(())
    }
}
