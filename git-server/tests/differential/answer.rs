//! Answers taken apart: lines, the pack, and whether it went wrong.

use std::collections::BTreeSet;

use crate::oracle::Said;

/// What upload-pack answered.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Lines before the pack; flushes and delimiters as `0000` and `0001`.
    pub(crate) lines: Vec<String>,
    pub(crate) pack: Vec<u8>,
    /// What went wrong.
    pub(crate) error: Option<String>,
}

impl Answer {
    /// Takes an answer apart. `banded`: all of it came through the side band.
    pub(crate) fn read(said: &Said, banded: bool) -> Self {
        let mut answer = Self::default();
        if let Err(why) = answer.take(&said.bytes, banded) {
            answer.error = Some(why);
        }
        if !said.well && answer.error.is_none() {
            answer.error = Some(said.remark.clone());
        }
        answer
    }

    fn take(&mut self, mut bytes: &[u8], banded: bool) -> Result<(), String> {
        let mut in_pack = false;
        while !bytes.is_empty() {
            let Some(len) = bytes.get(..4).and_then(length) else {
                self.pack.extend_from_slice(bytes);
                return Ok(());
            };
            if len < 4 {
                // The flush behind the pack is not part of it.
                if !in_pack {
                    self.lines.push(format!("{len:04x}"));
                }
                bytes = &bytes[4..];
                continue;
            }
            let data = bytes.get(4..len).ok_or("cut short")?;
            bytes = &bytes[len..];
            match data.split_first() {
                Some((1, line)) if banded && !in_pack => in_pack = self.line(line)?,
                Some((1, piece)) => {
                    in_pack = true;
                    self.pack.extend_from_slice(piece);
                }
                Some((2, _)) => {}
                Some((3, why)) => return Err(String::from_utf8_lossy(why).into_owned()),
                _ => in_pack = self.line(data)?,
            }
        }
        Ok(())
    }

    /// Takes a line; true if the pack follows it.
    fn line(&mut self, line: &[u8]) -> Result<bool, String> {
        let line = String::from_utf8_lossy(line).trim_end_matches('\n').to_owned();
        if line.starts_with("ERR ") {
            return Err(line);
        }
        let ends = line == "packfile";
        self.lines.push(line);
        Ok(ends)
    }

    /// The lines as sections between flushes and delimiters, the boundary and refs in order and told once: nothing is
    /// meant by how often and in which order. Where git tells wanted refs before the boundary, we tell the boundary first,
    /// as gitprotocol-v2 has it and git's own client expects it.
    pub(crate) fn in_order(&self) -> Vec<String> {
        let mut sections: Vec<Vec<String>> = Vec::new();
        let ends = |line: &String| line == "0000" || line == "0001";
        for section in self.lines.split_inclusive(ends) {
            let mut lines = section.to_vec();
            let is_list = |line: &String| line.starts_with("shallow ") || line.starts_with("unshallow ");
            if lines.iter().any(is_list) || lines[0] == "wanted-refs" {
                lines.sort();
                lines.dedup();
            }
            sections.push(lines);
        }
        let is_named = |section: &Vec<String>, name: &str| section.iter().any(|line| line == name);
        for at in 1..sections.len() {
            if is_named(&sections[at - 1], "wanted-refs") && is_named(&sections[at], "shallow-info") {
                sections.swap(at - 1, at);
            }
        }
        sections.concat()
    }

    /// The ids behind a word.
    pub(crate) fn ids(&self, word: &str) -> BTreeSet<slipway_core::Oid> {
        let rest = self.lines.iter().filter_map(|line| line.strip_prefix(word));
        rest.filter_map(|id| slipway_core::Oid::parse(id.trim()).ok()).collect()
    }
}

fn length(digits: &[u8]) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A packet.
pub(crate) fn packet(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [format!("{:04x}", text.len() + 4).as_bytes(), text].concat()
}
