//! An object's content, read piece by piece, of any size: nothing is held but a buffer, or a small object. What is stored
//! as a delta and is large lies in a file without a name meanwhile.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use slipway_core::Oid;

use crate::bulk::Bulk;
use crate::inflate::Inflating;
use crate::limits::SMALL_BYTES_MAX;
use crate::loose::LooseFile;
use crate::pack::{EntryKind, Pack};
use crate::snapshot::Found;
use crate::{Kind, RepoError, Result, Snapshot};

/// An object that is being read.
pub struct Content {
    id: Oid,
    kind: Kind,
    size: u64,
    left: u64,
    from: Origin,
}

enum Origin {
    Here(Bulk),
    Packed(Inflating<Arc<Pack>>),
    Loose(Inflating<LooseFile>),
}

impl Snapshot {
    /// Begins to read an object that something names: one that is not there is an error, not nothing.
    ///
    /// # Errors
    /// [`RepoError::Missing`]; what is wrong with the disk, or with the object.
    pub fn reader(&self, id: &Oid) -> Result<Content> {
        let small = SMALL_BYTES_MAX as u64;
        let folder = self.objects.parent().unwrap_or(&self.objects).join("slipway");
        let found = self.look(id, |found| {
            let (kind, size, from) = match found {
                Found::Packed(packs, place) => {
                    let pack = packs.pack(place);
                    let entry = pack.header(pack.offset_at(place.position))?;
                    match entry.kind {
                        EntryKind::Whole(kind) if entry.size > small => {
                            let from = Inflating::new(Arc::clone(pack), entry.data_offset, entry.size);
                            (kind, entry.size, Origin::Packed(from))
                        }
                        _ => {
                            let (kind, bulk) = packs.bulk(place)?;
                            here(kind, bulk, &folder)?
                        }
                    }
                }
                Found::Loose(loose) if loose.size > small => {
                    let from = loose.content().map_err(RepoError::io("read", &self.objects))?;
                    (loose.kind, loose.size, Origin::Loose(from))
                }
                Found::Loose(loose) => here(loose.kind, loose.bulk(id, &self.objects)?, &folder)?,
            };
            Ok(Content { id: *id, kind, size, left: size, from })
        });
        found?.ok_or(RepoError::Missing { id: *id })
    }
}

fn here(kind: Kind, bulk: Bulk, folder: &Path) -> Result<(Kind, u64, Origin)> {
    // Nobody knows how slowly it is read: memory that others want is not held for that.
    let bulk = bulk.put_down(folder)?;
    Ok((kind, bulk.len(), Origin::Here(bulk)))
}

impl Content {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `out` as far as there are bytes left, and says with how many.
    ///
    /// # Errors
    /// What is wrong with the disk, or with the object.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let want = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let out = &mut out[..want];
        let read = match &mut self.from {
            Origin::Here(bulk) => bulk.read_exact_at(out, self.size - self.left),
            Origin::Packed(from) => from.read_exact(out),
            Origin::Loose(from) => from.read_exact(out),
        };
        let broken = |e: std::io::Error| RepoError::BrokenObject { id: self.id, why: e.to_string() };
        read.map_err(broken)?;
        self.left -= want as u64;
        Ok(want)
    }

    /// Leaves out the next bytes.
    ///
    /// # Errors
    /// As for [`Content::read`].
    pub fn skip(&mut self, bytes: u64) -> Result<()> {
        if let Origin::Here(_) = self.from {
            self.left = self.left.saturating_sub(bytes);
            return Ok(());
        }
        let (mut buffer, mut rest) = (vec![0; 64 << 10], bytes.min(self.left));
        while rest > 0 {
            let want = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            rest -= self.read(&mut buffer[..want])? as u64;
        }
        Ok(())
    }
}

impl Read for Content {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        Self::read(self, out).map_err(std::io::Error::other)
    }
}
