//! What keeps a mapped file that shrinks, or whose disk fails, from ending the process: the system answers a read of such a page
//! with the signal SIGBUS (mmap(2)). The handler here looks whether the address is in one of the maps that are watched; if so it
//! puts a page of zeros there, notes that the map has lost something, and the read goes on. Any other SIGBUS is what it was
//! before. Knows addresses, and no file.
//!
//! The handler may do nothing but what is allowed in one (signal-safety(7)): it reads and writes atomics, and calls `mmap` and
//! `sigaction`, which are plain system calls. So the watched maps are a list of blocks that only ever grows; a place in it is
//! taken and left under a lock that the handler does not know.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::doubt;

/// Places in a block of the list.
const BLOCK: usize = 512;

/// One map. `start` is written last when a place is taken and first when it is left.
struct Place {
    start: AtomicUsize,
    len: AtomicUsize,
    lost: AtomicBool,
}

struct Block {
    places: [Place; BLOCK],
    next: AtomicPtr<Block>,
}

static BLOCKS: AtomicPtr<Block> = AtomicPtr::new(std::ptr::null_mut());
static FREE: Mutex<Vec<&'static Place>> = Mutex::new(Vec::new());
static PAGE: AtomicUsize = AtomicUsize::new(0);
/// What SIGBUS meant before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// A map that is watched until this goes.
pub(super) struct Guarded(&'static Place);

impl Guarded {
    /// Watches the map of `len` bytes at `start`.
    ///
    /// # Errors
    /// The system takes no handler.
    pub(super) fn watch(start: usize, len: usize) -> io::Result<Self> {
        install()?;
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = free.pop().unwrap_or_else(|| more(&mut free));
        drop(free);
        place.len.store(len, Ordering::Relaxed);
        place.lost.store(false, Ordering::Relaxed);
        place.start.store(start, Ordering::Release);
        Ok(Self(place))
    }

    /// True if a page of it could not be read.
    pub(super) fn is_lost(&self) -> bool {
        self.0.lost.load(Ordering::Acquire)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

/// A new block: one place of it, and the others into `free`. It stays for ever, as the handler may be walking over it.
fn more(free: &mut Vec<&'static Place>) -> &'static Place {
    let place =
        || Place { start: AtomicUsize::new(0), len: AtomicUsize::new(0), lost: AtomicBool::new(false) };
    let next = AtomicPtr::new(BLOCKS.load(Ordering::Acquire));
    let block: &'static Block = Box::leak(Box::new(Block { places: std::array::from_fn(|_| place()), next }));
    BLOCKS.store(std::ptr::from_ref(block).cast_mut(), Ordering::Release);
    free.extend(&block.places[1..]);
    &block.places[0]
}

/// Installs the handler, once.
fn install() -> io::Result<()> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if *done {
        return Ok(());
    }
    PAGE.store(rustix::param::page_size(), Ordering::Release);
    let failed = |said: libc::c_int| if said == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: both structures are plain data for which zeros are a value; they live through the calls, and the handler has the
    // signature that SA_SIGINFO asks for. What SIGBUS meant before is kept before the handler can run.
    #[allow(unsafe_code)]
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        failed(libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before))?;
        let _ = BEFORE.set(before);
        let mut ours: libc::sigaction = std::mem::zeroed();
        ours.sa_sigaction = handle as *const () as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        failed(libc::sigemptyset(&mut ours.sa_mask))?;
        failed(libc::sigaction(libc::SIGBUS, &ours, std::ptr::null_mut()))?;
    }
    *done = true;
    Ok(())
}

/// The handler.
extern "C" fn handle(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the system hands over a valid `info` with an address (SA_SIGINFO, SIGBUS); `errno` is this thread's, and put back.
    // The page that is replaced lies whole in a map that this process has made for reading alone and that cannot go while
    // somebody reads it: a thread of this process is reading it just now, through a value that keeps it.
    #[allow(unsafe_code)]
    unsafe {
        let errno = *libc::__errno_location();
        let address = (*info).si_addr() as usize;
        let mended = watched(address).is_some_and(|place| {
            let page = PAGE.load(Ordering::Acquire);
            let at = (address & !(page - 1)) as *mut libc::c_void;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            if libc::mmap(at, page, libc::PROT_READ, flags, -1, 0) == libc::MAP_FAILED {
                return false;
            }
            place.lost.store(true, Ordering::Release);
            doubt::RAISED.fetch_add(1, Ordering::AcqRel);
            true
        });
        if !mended {
            // The read is tried again when this returns, and then means what it did before.
            let before = BEFORE.get().map_or(std::ptr::null(), std::ptr::from_ref);
            libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut());
        }
        *libc::__errno_location() = errno;
    }
}

/// The watched map that an address lies in.
fn watched(address: usize) -> Option<&'static Place> {
    let mut block = BLOCKS.load(Ordering::Acquire);
    // SAFETY: blocks are leaked, and linked once they are made.
    #[allow(unsafe_code)]
    while let Some(here) = unsafe { block.as_ref() } {
        for place in &here.places {
            let start = place.start.load(Ordering::Acquire);
            let len = place.len.load(Ordering::Acquire);
            // Read twice: between the two the place may have become another map's.
            if start != 0 && address.wrapping_sub(start) < len && start == place.start.load(Ordering::Acquire)
            {
                return Some(place);
            }
        }
        block = here.next.load(Ordering::Acquire);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// In a process of its own, as it ends it.
    const CHILD: &str = "SLIPWAY_TEST_UNWATCHED";

    #[test]
    fn what_is_not_watched_ends_the_process_as_before() {
        if std::env::var_os(CHILD).is_some() {
            unwatched();
        }
        let name = "mapped::guard::tests::what_is_not_watched_ends_the_process_as_before";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--test-threads=1"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(libc::SIGBUS), "{child:?}");
    }

    fn unwatched() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        // SAFETY: that it shrinks is what this is about.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(&file).unwrap() };
        drop(Guarded::watch(map.as_ptr() as usize, map.len()).unwrap());
        file.set_len(0).unwrap();
        assert_eq!(std::hint::black_box(map[1 << 19]), 0);
    }

    #[test]
    fn many_maps_are_told_apart() {
        let held: Vec<_> = (1..=3 * BLOCK).map(|n| Guarded::watch(n << 40, 10).unwrap()).collect();
        for (guarded, n) in held.iter().zip(1..) {
            for address in [n << 40, (n << 40) + 9] {
                assert!(std::ptr::eq(watched(address).unwrap(), guarded.0));
            }
            assert!(watched((n << 40) + 10).is_none() && watched((n << 40) - 1).is_none());
        }
        drop(held);
        assert!(watched(5 << 40).is_none());
    }
}
