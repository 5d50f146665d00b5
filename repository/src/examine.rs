//! Whether a repository's files are whole, and rebuilding those that can be made anew from others: indexes of packs, the
//! multi-pack index, bitmaps, the commit-graph; and locks that nobody holds any more. Objects and refs are only looked at: what is
//! lost of them no repair brings back, and none is ever removed.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::{Oid, Problem, sentence};

use crate::check::Checks;
use crate::cure::{self, Cure};
use crate::digest::Digest;
use crate::error::{RepoError, Result};
use crate::limits::{BUFFER_BYTES, EXAMINED_PACK_BYTES_MAX};
use crate::pack::Pack;
use crate::packs::hash_kind;
use crate::place::shown;
use crate::receive::ReceiveLimits;
use crate::repository::{Repository, check_format};
use crate::sweep;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// What is wrong.
    pub flaws: Vec<Flaw>,
    /// What was wrong and has been put right, a sentence each.
    pub mended: Vec<String>,
}

/// One thing that is wrong with a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What: a sentence.
    pub what: String,
    /// What to do: a sentence.
    pub cure: String,
}

/// How words about a pack begin.
const PACK: &str = "the pack ";

/// What is wrong, as repair sees it.
enum Damage {
    /// A lock that nobody holds.
    Lock(PathBuf),
    /// An index that does not fit its pack, or is not there.
    Index(PathBuf, String),
    /// A file that is made from others.
    Derived(PathBuf, String),
    /// What cannot be made anew.
    Lost(String, String),
}

impl Damage {
    /// True for a pack or an index of one: what lies in it may not be found.
    fn hides_objects(&self) -> bool {
        match self {
            Self::Index(..) => true,
            Self::Lost(what, _) => what.starts_with(PACK),
            Self::Lock(_) | Self::Derived(..) => false,
        }
    }

    fn told(&self) -> Flaw {
        let (what, cure) = match self {
            Self::Lock(path) => (
                format!("the lock {} is left behind by a program that is gone", shown(path)),
                Cure::Unlock.to_owner(),
            ),
            Self::Index(path, why) | Self::Derived(path, why) => {
                (format!("the file {} is broken: {why}", shown(path)), Cure::Repair.to_owner())
            }
            Self::Lost(what, cure) => (what.clone(), cure.clone()),
        };
        Flaw { what: sentence(&what), cure }
    }
}

impl Repository {
    /// Looks at locks, packs with their indexes, what is made from them, refs, and the last maintenance; with `repair`, puts
    /// right what can be. Reads all indexes, and packs up to a bound. Readers and pushes are not disturbed.
    ///
    /// # Errors
    /// [`RepoError::Stopped`] once `stop` is set, or a folder that cannot be listed.
    pub fn examine(&self, repair: bool, stop: &AtomicBool) -> Result<Examined> {
        let damages = self.damages(stop)?;
        if !repair || damages.is_empty() {
            return Ok(Examined { flaws: damages.iter().map(Damage::told).collect(), mended: Vec::new() });
        }
        let mut mended = Vec::new();
        let mut rebuilds = false;
        for damage in &damages {
            let done = match damage {
                Damage::Lock(path) => remove(path),
                Damage::Index(path, _) => self.rebuild_index(path, stop),
                Damage::Derived(path, _) => remove(path),
                Damage::Lost(..) => continue,
            };
            match done {
                Ok(()) => mended.push(damage.told().what),
                Err(RepoError::Stopped) => return Err(RepoError::Stopped),
                Err(e) => tracing::warn!("not mended: {}", e.located()),
            }
            rebuilds |= !matches!(damage, Damage::Lock(_));
        }
        if rebuilds {
            self.open_anew();
            // What it fails of is told by the look that follows.
            if let Err(e) = self.maintain(stop) {
                tracing::warn!("what was removed is not made anew yet: {}", e.located());
            }
            self.open_anew();
        }
        let left = self.damages(stop)?.iter().map(Damage::told).collect();
        Ok(Examined { flaws: left, mended })
    }

    fn damages(&self, stop: &AtomicBool) -> Result<Vec<Damage>> {
        if !self.root().exists() {
            return Err(RepoError::NoFolder { path: self.root().to_owned() });
        }
        let mut found: Vec<Damage> = sweep::stale_locks(self.root())?.into_iter().map(Damage::Lock).collect();
        self.look_at_settings(&mut found);
        let folder = self.root().join("objects/pack");
        for path in list(&folder)? {
            if stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            self.look_at(&path, stop, &mut found)?;
        }
        for path in list(&self.root().join("objects/info"))?
            .into_iter()
            .chain(list(&self.root().join("objects/info/commit-graphs"))?)
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name == "commit-graph" || name.ends_with(".graph") {
                self.look_at_derived(path, stop, &mut found)?;
            }
        }
        self.look_at_refs(&mut found);
        Ok(found)
    }

    /// What a start of the server would refuse, and what everybody is refused for who asks.
    fn look_at_settings(&self, found: &mut Vec<Damage>) {
        let format = check_format(self.root()).map(drop);
        let settings = self.settings().map(drop);
        for refusal in [format, settings].into_iter().filter_map(Result::err) {
            let problem = Problem::from(refusal);
            let what = problem.what.trim_end_matches('.').to_owned();
            let cure = "Mend the file in the repository's folder, or restore the repository from a backup.";
            found.push(Damage::Lost(what, cure.to_owned()));
        }
    }

    /// One file of the folder of packs.
    fn look_at(&self, path: &Path, stop: &AtomicBool, found: &mut Vec<Damage>) -> Result<()> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match extension.as_str() {
            "pack" if name.starts_with("pack-") => self.look_at_pack(path, stop, found),
            "idx" if name.starts_with("pack-") && !path.with_extension("pack").exists() => {
                let what = format!("{PACK}{} is missing", shown(&path.with_extension("pack")));
                found.push(Damage::Lost(what, Cure::PutBack.to_owner()));
                Ok(())
            }
            "rev" | "bitmap" | "mtimes" => self.look_at_derived(path.to_owned(), stop, found),
            _ if name == "multi-pack-index" => self.look_at_derived(path.to_owned(), stop, found),
            _ => Ok(()),
        }
    }

    fn look_at_pack(&self, path: &Path, stop: &AtomicBool, found: &mut Vec<Damage>) -> Result<()> {
        let index = path.with_extension("idx");
        let length = fs::metadata(path).map_or(0, |facts| facts.len());
        let lost = |why: &str| {
            Damage::Lost(format!("{PACK}{} is broken: {why}", shown(path)), Cure::PutBack.to_owner())
        };
        if length <= EXAMINED_PACK_BYTES_MAX && self.is_whole(path, stop)? == Some(false) {
            found.push(lost("its checksum is wrong"));
            return Ok(());
        }
        let broken = |why: &str| Damage::Index(index.clone(), why.to_owned());
        let damage = match self.is_whole(&index, stop)? {
            None => Some(broken("it is missing")),
            Some(false) => Some(broken("its checksum is wrong")),
            Some(true) => match Pack::open(&index, hash_kind(self.object_format())) {
                Ok(pack) if self.trailer(path) != Oid::from_bytes(pack.checksum().as_bytes()) => {
                    Some(broken("it is of another pack"))
                }
                Ok(_) => None,
                Err(RepoError::BrokenPack { path: which, why }) if which == path => Some(lost(&why)),
                Err(RepoError::BrokenPack { why, .. }) => Some(broken(&why)),
                Err(e) => return Err(e),
            },
        };
        found.extend(damage);
        Ok(())
    }

    fn look_at_derived(&self, path: PathBuf, stop: &AtomicBool, found: &mut Vec<Damage>) -> Result<()> {
        if self.is_whole(&path, stop)? == Some(false) {
            found.push(Damage::Derived(path, "its checksum is wrong".into()));
        }
        Ok(())
    }

    fn look_at_refs(&self, found: &mut Vec<Damage>) {
        // What cannot be found while a pack or an index is broken says nothing that the pack's own row does not.
        let follows = |e: &RepoError| {
            let is_about_object = matches!(e, RepoError::LostRef { why, .. } if cure::is_about_object(why));
            is_about_object && found.iter().any(Damage::hides_objects)
        };
        let seen = self.snapshot().and_then(|snapshot| snapshot.check_tips());
        if let Some(e) = seen.err().filter(|e| !follows(e)) {
            let told = e.to_string();
            // Where nothing else is found broken, what is not found is lost.
            let cure = Cure::of(&e).map(|cure| if cure == Cure::Look { Cure::PutBack } else { cure });
            let cure = cure.map_or_else(|| Problem::from(e).cure, Cure::to_owner);
            found.push(Damage::Lost(told, cure));
        }
        if let Some(failure) = self.last_maintenance().and_then(|last| last.failure) {
            let what = format!("the last maintenance has failed: {failure}");
            let cure = "See to what it says, then run slipway repo maintain NAME.";
            found.push(Damage::Lost(what, cure.into()));
        }
    }

    /// Makes the index of a pack anew, from the pack; it is read as one that is pushed is, but for the rules.
    fn rebuild_index(&self, index: &Path, stop: &AtomicBool) -> Result<()> {
        let path = index.with_extension("pack");
        let mut pack = File::open(&path).map_err(RepoError::io("open", &path))?;
        let limits =
            ReceiveLimits { pack_bytes_max: u64::MAX, object_bytes_max: u64::MAX, ..Default::default() };
        let mut received = self.receive_checked(Checks::none(), &mut pack, &limits, stop)?;
        // They are the repository's own.
        received.take_as_checked();
        received.publish_objects()
    }

    /// Whether a file ends with the checksum of what it holds; `None` if it is not there.
    fn is_whole(&self, path: &Path, stop: &AtomicBool) -> Result<Option<bool>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            // A disk that does not give it back.
            Err(_) => return Ok(Some(false)),
        };
        let hash_len = self.object_format().id_bytes() as u64;
        let Some(mut left) = file.metadata().ok().and_then(|facts| facts.len().checked_sub(hash_len)) else {
            return Ok(Some(false));
        };
        let mut digest = Digest::new(self.object_format());
        let mut buffer = vec![0; BUFFER_BYTES];
        while left > 0 {
            if stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            if file.read_exact(&mut buffer[..part]).is_err() {
                return Ok(Some(false));
            }
            digest.update(&buffer[..part]);
            left -= part as u64;
        }
        Ok(Some(self.trailer(path) == Some(digest.finish())))
    }

    /// The checksum that a file ends with.
    fn trailer(&self, path: &Path) -> Option<Oid> {
        let file = File::open(path).ok()?;
        let mut raw = vec![0; self.object_format().id_bytes()];
        let at = file.metadata().ok()?.len().checked_sub(raw.len() as u64)?;
        file.read_exact_at(&mut raw, at).ok()?;
        Oid::from_bytes(&raw)
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(RepoError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// The files of a folder, in the order of their names; none if it is not there.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(RepoError::io("list", folder)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.map_err(RepoError::io("list", folder))?.path());
    }
    found.sort();
    Ok(found)
}
