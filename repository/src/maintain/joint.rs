//! The multi-pack index over all packs, and its bitmaps.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::UNIX_EPOCH;

use super::reachability::Reachability;
use super::record::Record;
use crate::durable::sync_folder;
use crate::error::{RepoError, Result};
use crate::formats::{Listing, Midx, MidxPack, write_midx};
use crate::mapped::Mapped;
use crate::pack::Pack;
use crate::packs::{JointIndex, PackSet};
use crate::repository::Repository;

impl Listing for Pack {
    fn count(&self) -> u32 {
        Pack::count(self)
    }

    fn id(&self, position: u32) -> Option<&[u8]> {
        (position < Pack::count(self)).then(|| self.id_at(position).as_bytes())
    }

    fn offset(&self, position: u32) -> Option<u64> {
        (position < Pack::count(self)).then(|| self.offset_at(position))
    }
}

/// A file that is gone if it was not put in its place.
struct Pending(Option<PathBuf>);

impl Pending {
    fn put(mut self, to: &Path) -> Result<()> {
        match self.0.take() {
            Some(from) => fs::rename(&from, to).map_err(RepoError::io("rename", to)),
            None => Ok(()),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

impl Repository {
    /// Writes the index and its bitmaps over all packs but the retired ones. With `anew` no earlier bitmap is used.
    pub(super) fn join(&self, retired: &[Arc<Pack>], anew: bool, stop: &AtomicBool) -> Result<()> {
        let snapshot = self.snapshot()?;
        let packs: Vec<Arc<Pack>> = snapshot
            .packs
            .load()
            .packs()
            .iter()
            .filter(|p| !retired.iter().any(|r| r.path() == p.path()))
            .cloned()
            .collect();
        let Some(preferred) = (0..packs.len()).max_by_key(|n| packs[*n].count()) else { return Ok(()) };
        if packs[preferred].count() == 0 {
            return Ok(());
        }
        let names: BTreeSet<String> = packs.iter().map(|p| index_name(p)).collect();
        let current = snapshot.packs.load_full();
        // Bitmaps would go on telling where history ended once there is more of it.
        let is_shallow = !snapshot.boundary().is_empty();
        if let Some(index) = current.index()
            && (is_shallow || snapshot.bitmaps().is_some())
            && (0..index.file.packs()).filter_map(|n| index.file.pack_name(n)).eq(names.iter())
        {
            return Ok(());
        }
        let folder = snapshot.objects.join("pack");
        let lock = folder.join("multi-pack-index.lock");
        let (mut file, _mark) = match crate::lock_file::take(self.root(), &lock) {
            Ok(taken) => taken,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(RepoError::Maintained),
            Err(e) => return Err(RepoError::io("create", &lock)(e)),
        };
        let pending = Pending(Some(lock.clone()));
        let hash_len = self.object_format().id_bytes();
        let sum = write(&mut file, &packs, preferred, hash_len).map_err(RepoError::io("write", &lock))?;
        file.sync_all().map_err(RepoError::io("flush", &lock))?;
        let bytes = Mapped::open(&lock)?;
        let index = Midx::parse(bytes.clone(), hash_len).map_err(|e| e.in_file(&lock))?;
        let set = joint_set((index, bytes), packs, self)?;
        let bitmap = folder.join(format!("multi-pack-index-{}.bitmap", hex::encode(&sum)));
        let part = folder.join(format!("tmp_bitmap_{}", std::process::id()));
        super::remove(&part)?;
        let written = Pending(Some(part.clone()));
        let before = (!anew).then_some(&*current);
        if !is_shallow && Reachability::new(&snapshot, &set, before, stop)?.write(&part, &sum)? {
            let mut record = Record::read(self.root());
            record.bitmaps = Some(hex::encode(&sum));
            record.write(self.root())?;
            written.put(&bitmap)?;
        }
        pending.put(&folder.join("multi-pack-index"))?;
        sync_folder(&folder)?;
        remove_others(&folder, &sum)
    }
}

fn index_name(pack: &Pack) -> String {
    let name = pack.path().with_extension("idx");
    name.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn write(
    file: &mut File,
    packs: &[Arc<Pack>],
    preferred: usize,
    hash_len: usize,
) -> std::io::Result<Vec<u8>> {
    let names: Vec<String> = packs.iter().map(|p| index_name(p)).collect();
    let mut rows = Vec::with_capacity(packs.len());
    for (pack, name) in packs.iter().zip(&names) {
        let modified = fs::metadata(pack.path())?.modified()?;
        let mtime = modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        rows.push(MidxPack { name, mtime, objects: pack.as_ref() });
    }
    write_midx(file, hash_len, &rows, preferred).map(|(_, sum)| sum)
}

/// The packs with their new index.
fn joint_set(
    (file, bytes): (Midx<Mapped>, Mapped),
    packs: Vec<Arc<Pack>>,
    repository: &Repository,
) -> Result<Arc<PackSet>> {
    let mut ordered = Vec::with_capacity(packs.len());
    for n in 0..file.packs() {
        let found = packs.iter().find(|p| Some(index_name(p).as_str()) == file.pack_name(n));
        let lost =
            || RepoError::Invalid { what: "a multi-pack index names other packs than it was made of".into() };
        ordered.push(found.ok_or_else(lost)?.clone());
    }
    let numbers = (0..file.packs()).collect();
    let index = Arc::new(JointIndex::new(file, bytes, numbers));
    Ok(Arc::new(PackSet::with_index(ordered, Some(index), repository.bases())))
}

/// Removes bitmaps of earlier indexes.
fn remove_others(folder: &Path, sum: &[u8]) -> Result<()> {
    let current = format!("multi-pack-index-{}.", hex::encode(sum));
    for entry in fs::read_dir(folder).map_err(RepoError::io("list", folder))? {
        let entry = entry.map_err(RepoError::io("list", folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("multi-pack-index-") && !name.starts_with(&current) {
            super::remove(&entry.path())?;
        }
    }
    Ok(())
}
