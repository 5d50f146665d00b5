//! A disk whose power can be cut.

mod disk;
mod tree;

pub(crate) use self::disk::Disk;

/// Whether this kernel has what a disk of this kind is made of; nothing that can be installed gives it.
pub(crate) fn can_be_cut() -> bool {
    std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|all| all.lines().any(|line| line.ends_with("\tfuse")))
}
