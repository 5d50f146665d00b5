//! How the C library hands out memory in this process. The one place of this crate with `unsafe`.
//!
//! Left alone, glibc gives up to eight arenas to each processor, and what one thread has freed no other can have. On a small
//! server that is most of what is resident: with four clients that push delta bombs 250 MiB instead of 130, and 150 instead of
//! 75 once they have gone (docs/performance.md).

#![allow(unsafe_code, reason = "mallopt(3) has no safe wrapper")]

/// Settles it, for the whole process: as many arenas as processors, two at least. Before there are other threads. What the
/// environment says (`MALLOC_ARENA_MAX`) counts where this is refused.
///
/// That large buffers are kept for the next is left as it is: given back at once, each is new to the processor again, and the
/// threads of all clients wait while the kernel takes it away.
#[cfg(target_env = "gnu")]
pub(crate) fn settle() {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
    let arenas = libc::c_int::try_from(processors).unwrap_or(libc::c_int::MAX);
    // SAFETY: mallopt takes two numbers and touches nothing of ours; it is called before any other thread runs, as its
    // manual asks. A setting that is refused leaves what was.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
}

/// Other C libraries have other allocators.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn settle() {}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::sync::{Arc, Barrier};

    /// An arena beside the first lies in mappings that begin at multiples of this (glibc's HEAP_MAX_SIZE on 64 bits).
    const ARENA_BYTES: u64 = 64 << 20;

    fn arenas() -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let begins = maps.lines().filter(|line| line.contains(" rw-p 00000000 00:00 0"));
        let starts = begins.filter_map(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
        starts.filter(|start| start % ARENA_BYTES == 0).count() + 1
    }

    #[test]
    fn many_threads_share_as_many_arenas_as_there_are_processors() {
        super::settle();
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
        let all = Arc::new(Barrier::new(processors * 8 + 1));
        let threads: Vec<_> = (0..processors * 8)
            .map(|_| {
                let all = all.clone();
                std::thread::spawn(move || {
                    let kept = vec![1_u8; 4096];
                    all.wait();
                    kept.len()
                })
            })
            .collect();
        all.wait();
        let seen = arenas();
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().expect("joined"), 4096));
        // One more may be there from before it was settled.
        assert!(seen <= processors + 1, "{seen} arenas for {processors} processors");
    }
}
