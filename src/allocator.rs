//! How the C library hands out memory in this process. The one place of this crate with `unsafe`.
//!
//! Left alone, glibc gives up to eight arenas to each processor, and what one thread has freed no other can have; and after
//! the first large buffer was freed it keeps such buffers rather than give them back. On a small server both are most of what is
//! resident: with four clients that push delta bombs 250 MiB instead of 130, and 150 instead of 50 once they have gone
//! (docs/performance.md).

#![allow(unsafe_code, reason = "mallopt(3) has no safe wrapper")]

/// Buffers from this size on are the kernel's, and go back to it when they are freed. Smaller ones are asked for too often.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 4 << 20;
/// Free memory at the end of an arena from which on it is given back.
#[cfg(target_env = "gnu")]
const SPARE_BYTES: libc::c_int = 8 << 20;

/// Settles it, for the whole process: as many arenas as processors, two at least. Before there are other threads. What the
/// environment says (`MALLOC_ARENA_MAX` and the like) counts as well, where it is stricter or this is refused.
#[cfg(target_env = "gnu")]
pub(crate) fn settle() {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
    let arenas = libc::c_int::try_from(processors).unwrap_or(libc::c_int::MAX);
    for (what, value) in [
        (libc::M_ARENA_MAX, arenas),
        (libc::M_MMAP_THRESHOLD, LARGE_BYTES),
        (libc::M_TRIM_THRESHOLD, SPARE_BYTES),
    ] {
        // SAFETY: mallopt takes two numbers and touches nothing of ours; it is called before any other thread runs, as its
        // manual asks. A setting that is refused leaves what was.
        unsafe { libc::mallopt(what, value) };
    }
}

/// Other C libraries have other allocators.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn settle() {}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::num::NonZero;

    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    #[test]
    fn what_threads_have_freed_is_given_back() {
        super::settle();
        let threads = std::thread::available_parallelism().map_or(2, NonZero::get) * 8;
        let before = resident_kib();
        // Large buffers, each with a small one behind it that stays: in an arena the large ones could not be given back.
        let work = || (0..4).map(|_| (drop(vec![1_u8; 8 << 20]), vec![1_u8; 64])).collect::<Vec<_>>();
        let begun: Vec<_> = (0..threads).map(|_| std::thread::spawn(work)).collect();
        let kept: Vec<_> = begun.into_iter().map(|thread| thread.join().expect("joined")).collect();
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 16 << 10, "{grown} KiB stay for {} small buffers", kept.len() * 4);
    }
}
