//! How much memory there is, and how much of it large objects may take.

use std::fs;
use std::path::Path;

/// What large objects of all pushes and reads get of all memory: one part in so many …
const SHARE: u64 = 8;
/// … but so many bytes at least and at most.
const BYTES: std::ops::RangeInclusive<u64> = 32 << 20..=128 << 20;

/// Gives large objects their part of the machine's memory, or of what the control group leaves the process of it.
pub(crate) fn share_out() {
    let part = part_of(available());
    slipway_repository::set_memory_max(usize::try_from(part).unwrap_or(usize::MAX));
    tracing::debug!(mib = part >> 20, "memory for large objects");
}

fn part_of(all: u64) -> u64 {
    (all / SHARE).clamp(*BYTES.start(), *BYTES.end())
}

fn available() -> u64 {
    let info = rustix::system::sysinfo();
    // As wide as the machine's words.
    #[allow(clippy::unnecessary_cast)]
    let machine = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit_of(Path::new("/sys/fs/cgroup"), &groups).map_or(machine, |limit| limit.min(machine))
}

/// The smallest limit of the process's control group and those above it; `groups` is what the kernel says they are
/// (`0::/PATH` in version 2, `N:…memory…:/PATH` in version 1).
fn limit_of(root: &Path, groups: &str) -> Option<u64> {
    let one = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (top, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // Inside of a container the path may be the host's: then its own is at the top.
        let folder = top.join(path.trim_start_matches('/'));
        let above = folder.ancestors().take_while(|folder| folder.starts_with(&top));
        above.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).min()
    };
    groups.lines().filter_map(one).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_counts_and_a_small_server_keeps_most_of_its_memory() {
        let root = tempfile::tempdir().expect("temp");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        put("a/b/memory.max", "max\n");
        put("a/memory.max", "1073741824\n");
        assert_eq!(limit_of(root.path(), "0::/a/b\n"), Some(1 << 30));
        assert_eq!(limit_of(root.path(), "0::/elsewhere\n"), None);
        put("memory/c/memory.limit_in_bytes", "536870912\n");
        assert_eq!(limit_of(root.path(), "7:cpu,memory:/c\n2:pids:/c\n"), Some(512 << 20));
        assert_eq!((part_of(1 << 30), part_of(u64::MAX), part_of(0)), (128 << 20, 128 << 20, 32 << 20));
        assert!(available() > 0);
    }
}
