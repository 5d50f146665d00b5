//! One transfer of a folder, `fsutil`'s sending side: first what there is, entry by entry, then the content of the files
//! that the engine asks for by their place in that list.
//!
//! On a thread that may block. Holds a number for each file, and one piece of one file: the rest stays in the index and
//! in the repository.

use std::io::Read;
use std::sync::Arc;

use bollard::fsutil::types::{Packet, Stat, packet::PacketType};
use slipway_repository::{Mode, shown_path};
use tokio::sync::mpsc;

use super::{Answers, Offer};
use crate::context::filter::Filter;
use crate::context::index::{Index, Item};
use crate::context::{check_no_pointer, check_size};
use crate::error::HookError;
use crate::limits::{CONTEXT_CHUNK_BYTES, CONTEXT_LINK_BYTES_MAX, LFS_POINTER_BYTES_MAX};

/// What Go's `os.FileMode` says of folders and links; the wire has that.
const GO_FOLDER: u32 = 1 << 31;
const GO_LINK: u32 = 1 << 27;

/// What the engine says during a transfer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The content of that entry.
    File(u32),
    /// It has all.
    End,
    /// It gives up, and why.
    Failed(String),
}

pub(super) struct Transfer<'a> {
    pub(super) offer: &'a Offer,
    /// The context is counted, the Dockerfile's folder is not.
    pub(super) is_context: bool,
    pub(super) index: Arc<Index>,
    pub(super) filter: Filter,
}

impl Transfer<'_> {
    /// Sends the list, then what is asked for.
    pub(super) fn run(&self, answers: &Answers, mut asked: mpsc::Receiver<Asked>) -> Result<(), HookError> {
        let numbers = self.list(answers)?;
        // The engine hangs up where the build ends for another reason.
        while let Some(asked) = asked.blocking_recv() {
            match asked {
                Asked::File(place) => {
                    let number = numbers.get(place as usize).copied().flatten();
                    let number = number.ok_or_else(|| HookError::Internal {
                        what: "sending the build context",
                        why: format!("the engine asks for entry {place}, which is no file"),
                    })?;
                    self.content(place, &self.index.item(number)?, answers)?;
                }
                Asked::End => return self.answer(answers, PacketType::PacketFin, |_| ()),
                Asked::Failed(why) => {
                    tracing::debug!(%why, "the engine gives a build context up");
                    return Err(HookError::Stopped);
                }
            }
        }
        Err(HookError::Stopped)
    }

    /// Tells what there is; gives the index' number of every entry that is a file.
    fn list(&self, answers: &Answers) -> Result<Vec<Option<u64>>, HookError> {
        let mut listing =
            Listing { transfer: self, answers, numbers: Vec::new(), files: 0, bytes: 0, ignored: 0 };
        // Folders on the way to here that have not been told: whether they go is known once something in them does.
        let mut untold: Vec<Item> = Vec::new();
        for item in self.index.items() {
            let (number, item) = item?;
            untold.retain(|folder| {
                item.path.strip_prefix(&folder.path).is_some_and(|rest| rest.starts_with('/'))
            });
            if !self.filter.wants(&item.path) {
                match item.mode {
                    Mode::Tree => untold.push(item),
                    Mode::Submodule => {}
                    _ => listing.ignored += usize::from(self.filter.ignores(&item.path)),
                }
                continue;
            }
            for folder in untold.drain(..) {
                listing.tell(&folder, None)?;
            }
            listing.tell(&item, item.mode.is_regular().then_some(number))?;
        }
        self.answer(answers, PacketType::PacketStat, |_| ())?;
        let Listing { numbers, files, bytes, ignored, .. } = listing;
        if self.is_context {
            // Asked for more than once where a Dockerfile has parts of it at several times.
            self.offer.tally.with(|sent| {
                sent.files = sent.files.max(files);
                sent.bytes = sent.bytes.max(bytes);
                sent.ignored = sent.ignored.max(ignored);
            });
        }
        Ok(numbers)
    }

    /// Sends a file; an empty piece is its end.
    fn content(&self, place: u32, item: &Item, answers: &Answers) -> Result<(), HookError> {
        if item.size <= LFS_POINTER_BYTES_MAX as u64 && self.is_context {
            check_no_pointer(&item.path, &self.offer.files.blob(&item.id, item.size)?)?;
        }
        let mut content = self.offer.files.content(&item.id)?;
        let mut left = item.size;
        while left > 0 {
            let mut piece = vec![0; CONTEXT_CHUNK_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX))];
            content.read_exact(&mut piece).map_err(|e| HookError::Internal {
                what: "reading the commit",
                why: format!("{}: {e}", item.path),
            })?;
            left -= piece.len() as u64;
            self.piece(answers, place, piece)?;
        }
        self.piece(answers, place, Vec::new())?;
        if self.is_context {
            self.offer.tally.with(|sent| {
                sent.fetched += 1;
                sent.fetched_bytes += item.size;
            });
        }
        Ok(())
    }

    fn piece(&self, answers: &Answers, place: u32, data: Vec<u8>) -> Result<(), HookError> {
        self.answer(answers, PacketType::PacketData, |packet| {
            packet.id = place;
            packet.data = data;
        })
    }

    fn answer(
        &self,
        answers: &Answers,
        kind: PacketType,
        fill: impl FnOnce(&mut Packet),
    ) -> Result<(), HookError> {
        let mut packet = Packet { r#type: kind.into(), ..Packet::default() };
        fill(&mut packet);
        self.offer.tally.lives();
        answers.blocking_send(Ok(packet)).map_err(|_| HookError::Stopped)
    }
}

/// The list while it is told.
struct Listing<'a> {
    transfer: &'a Transfer<'a>,
    answers: &'a Answers,
    numbers: Vec<Option<u64>>,
    files: usize,
    bytes: u64,
    ignored: usize,
}

impl Listing<'_> {
    fn tell(&mut self, item: &Item, number: Option<u64>) -> Result<(), HookError> {
        self.check(item)?;
        let offer = self.transfer.offer;
        if let (Mode::Submodule, Some(log)) = (item.mode, &offer.log) {
            let note = "is a submodule: the build context has an empty folder in its place";
            log.blocking_line(&format!("note: {} {note}", item.path));
        }
        let linkname = match item.mode {
            Mode::Link => String::from_utf8(offer.files.blob(&item.id, CONTEXT_LINK_BYTES_MAX)?)
                .map_err(|_| unspeakable(&item.path, "it leads to a name"))?,
            _ => String::new(),
        };
        let stat = Stat {
            path: item.path.clone(),
            mode: go_mode(item.mode),
            size: i64::try_from(item.size).unwrap_or(i64::MAX),
            mod_time: item.mtime,
            linkname,
            ..Stat::default()
        };
        self.numbers.push(number);
        self.transfer.answer(self.answers, PacketType::PacketStat, |packet| packet.stat = Some(stat))
    }

    fn check(&mut self, item: &Item) -> Result<(), HookError> {
        let limits = &self.transfer.offer.limits;
        let most = limits.build_context_files_max;
        if self.numbers.len() >= most {
            return Err(HookError::ContextTooLarge { what: "files", limit: most as u64 });
        }
        check_size(&item.path, item.size, limits)?;
        self.files += usize::from(!matches!(item.mode, Mode::Tree | Mode::Submodule));
        self.bytes = self.bytes.saturating_add(item.size);
        let most = limits.build_context_size_max;
        if self.bytes > most {
            return Err(HookError::ContextTooLarge { what: "bytes", limit: most });
        }
        if shown_path(&item.path) != item.path {
            return Err(unspeakable(&shown_path(&item.path), "it has a name"));
        }
        Ok(())
    }
}

/// The wire has text for names.
fn unspeakable(path: &str, what: &str) -> HookError {
    HookError::Context {
        path: path.to_owned(),
        why: format!("{what} that is not UTF-8, which BuildKit's protocol has no way to say"),
        cure: "Rename it, or leave it out in .dockerignore.".into(),
    }
}

fn go_mode(mode: Mode) -> u32 {
    match mode {
        Mode::Tree | Mode::Submodule => GO_FOLDER | 0o755,
        Mode::Link => GO_LINK | 0o777,
        Mode::Executable => 0o755,
        Mode::File => 0o644,
    }
}
