//! What the process may use of the machine: its processors, and its memory or what the control group leaves of it.

use std::fs;
use std::path::Path;

use slipway_core::limits::Machine;

/// The machine that this runs on.
pub(crate) fn here() -> Machine {
    let processors = std::thread::available_parallelism().map_or(2, |count| count.get() as u64);
    Machine { processors, memory_bytes: memory() }
}

fn memory() -> u64 {
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
    fn the_tightest_limit_of_memory_counts() {
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
        assert!(here().memory_bytes > 0 && here().processors > 0);
    }
}
