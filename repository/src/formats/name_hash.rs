//! The hash of paths that git's bitmaps keep for each object: paths with like ends get like numbers, so that objects
//! sorted by it stand beside those that make good bases for deltas (bitmap-format, "Name-hash cache").

/// The name hash of a path. Spaces are those of git: it takes no vertical tab or form feed for one.
pub(crate) fn name_hash(path: &[u8]) -> u32 {
    path.iter()
        .filter(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        .fold(0u32, |hash, byte| (hash >> 2).wrapping_add(u32::from(*byte) << 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_count_and_spaces_do_not() {
        assert_eq!(name_hash(b""), 0);
        assert_eq!(name_hash(b"a"), 0x6100_0000);
        assert_eq!(name_hash(b"ab"), 0x6200_0000 + 0x1840_0000);
        assert_eq!(name_hash(b"a \t\r\nb"), name_hash(b"ab"));
        // As git 2.47 has them in its caches.
        assert_eq!(name_hash(b"f\x0cx"), 0x8160_0000);
        assert_eq!(name_hash(b"v\x0bx"), 0x8220_0000);
        assert_eq!(name_hash(b"h\xffx"), 0x7e40_0000, "it wraps around");
    }
}
