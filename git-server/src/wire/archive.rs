//! The request of `git archive --remote`: arguments, a packet each, then a flush (git-upload-archive(1)).

use super::pktline::Packet;
use super::{WireError, push_bounded, read_text};
use crate::limits::ARCHIVE_ARGUMENTS_MAX;

/// What an archive is packed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// `tar`.
    #[default]
    Tar,
    /// `tgz` or `tar.gz`.
    TarGz,
}

/// An archive, as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ArchiveArgs {
    /// Name the formats, and nothing else.
    pub(crate) list: bool,
    /// The form.
    pub(crate) format: Format,
    /// The folder that everything goes into, ending in `/`, or nothing.
    pub(crate) prefix: String,
    /// A ref, perhaps with `:PATH`.
    pub(crate) treeish: String,
    /// What of it; all if empty.
    pub(crate) paths: Vec<String>,
}

/// Reads the request, packet by packet.
#[derive(Debug, Default)]
pub(crate) struct ArchiveReader {
    words: Vec<String>,
}

impl ArchiveReader {
    /// Takes a packet; the request once it is whole.
    pub(crate) fn take(&mut self, packet: &Packet) -> Result<Option<ArchiveArgs>, WireError> {
        match packet {
            Packet::Flush => parse(std::mem::take(&mut self.words)).map(Some),
            Packet::Delim | Packet::ResponseEnd => {
                Err(WireError::unexpected("an argument or a flush", b"a delimiter"))
            }
            Packet::Data(_) => {
                let line = packet.line().unwrap_or_default();
                let Some(word) = line.strip_prefix(b"argument ") else {
                    return Err(WireError::unexpected("an argument", line));
                };
                let word = read_text(word, "an argument")?;
                push_bounded(&mut self.words, word, "arguments", ARCHIVE_ARGUMENTS_MAX)?;
                Ok(None)
            }
        }
    }
}

fn parse(words: Vec<String>) -> Result<ArchiveArgs, WireError> {
    let mut args = ArchiveArgs::default();
    let mut operands = Vec::new();
    let mut flags = true;
    for word in words {
        match word.as_str() {
            "--" if flags => flags = false,
            "--list" | "-l" if flags => args.list = true,
            "--verbose" | "-v" if flags => {}
            level
                if flags
                    && level.len() == 2
                    && level.starts_with('-')
                    && level.ends_with(|c: char| c.is_ascii_digit()) => {}
            flag if flags && flag.starts_with('-') => {
                if let Some(format) = flag.strip_prefix("--format=") {
                    args.format = match format {
                        "tar" => Format::Tar,
                        "tgz" | "tar.gz" => Format::TarGz,
                        _ => {
                            return Err(WireError::archive_format(format.as_bytes()));
                        }
                    };
                } else if let Some(prefix) = flag.strip_prefix("--prefix=") {
                    if !prefix.is_empty() && !prefix.ends_with('/') {
                        return Err(WireError::unexpected(
                            "a prefix that ends in a slash",
                            prefix.as_bytes(),
                        ));
                    }
                    args.prefix = prefix.to_owned();
                } else {
                    return Err(WireError::unexpected(
                        "an option of git archive that is known here",
                        flag.as_bytes(),
                    ));
                }
            }
            _ => operands.push(word),
        }
    }
    let mut operands = operands.into_iter();
    match operands.next() {
        Some(treeish) => args.treeish = treeish,
        None if args.list => {}
        None => return Err(WireError::unexpected("a tree-ish", b"nothing")),
    }
    args.paths = operands.collect();
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<ArchiveArgs, WireError> {
        let mut reader = ArchiveReader::default();
        for word in words {
            reader.take(&Packet::Data(format!("argument {word}\n").into_bytes().into()))?;
        }
        reader.take(&Packet::Flush).map(|args| args.expect("whole"))
    }

    #[test]
    fn a_request_is_read() {
        let args = read(&["--format=tar.gz", "--prefix=a/b/", "-9", "-v", "main", "--", "-x", "dir"])
            .expect("valid");
        assert_eq!(
            (args.format, args.prefix.as_str(), args.treeish.as_str()),
            (Format::TarGz, "a/b/", "main")
        );
        assert_eq!(args.paths, ["-x", "dir"]);
        assert!(read(&["--list"]).expect("valid").list);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            vec![],
            vec!["--format=zip", "main"],
            vec!["--exec=evil", "main"],
            vec!["--remote=x", "main"],
            vec!["--output=/etc/passwd", "main"],
            vec!["--prefix=a", "main"],
            vec!["x"; ARCHIVE_ARGUMENTS_MAX + 1],
        ] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
        assert!(ArchiveReader::default().take(&Packet::Data("hello".into())).is_err());
    }
}
