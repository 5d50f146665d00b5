//! Hides secrets in log lines, in the forms in which programs print them.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use slipway_core::Secret;
use std::collections::BTreeSet;

use crate::limits::MASK_BYTES_MIN;

/// What stands in a secret's place.
pub(crate) const MASK: &str = "***";

/// All that URLs escape: what RFC 3986 calls unreserved stays.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Finds the forms of a set of secrets.
#[derive(Debug, Default)]
pub(crate) struct Masker {
    forms: Option<AhoCorasick>,
    longest: usize,
}

impl Masker {
    /// Takes the secrets: each is looked for as it is, line by line, in base64 (both alphabets, at any offset, as in
    /// `user:password`), URL-encoded and as a JSON string.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut forms = BTreeSet::new();
        for secret in secrets {
            for line in secret.expose().lines().map(str::trim) {
                add_forms(line, &mut forms);
            }
            add_base64(secret.expose().as_bytes(), &mut forms);
        }
        forms.retain(|f| f.len() >= MASK_BYTES_MIN);
        if forms.is_empty() {
            return Self::default();
        }
        let longest = forms.iter().map(String::len).max().unwrap_or_default();
        // A set too large for the automaton cannot be: forms are a dozen per secret, and secrets a handful per build.
        let forms = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms).ok();
        Self { forms, longest }
    }

    /// The line with every secret replaced.
    pub(crate) fn mask(&self, line: &[u8]) -> Vec<u8> {
        match &self.forms {
            Some(forms) if forms.is_match(line) => {
                let mut out = Vec::with_capacity(line.len());
                forms.replace_all_with_bytes(line, &mut out, |_, _, out| {
                    out.extend_from_slice(MASK.as_bytes());
                    true
                });
                out
            }
            _ => line.to_vec(),
        }
    }

    /// Bytes at the end of an unfinished line that may be the start of a secret.
    pub(crate) fn hold_bytes(&self) -> usize {
        self.longest.saturating_sub(1)
    }
}

fn add_forms(line: &str, forms: &mut BTreeSet<String>) {
    if line.len() < MASK_BYTES_MIN {
        return;
    }
    forms.insert(line.to_owned());
    add_base64(line.as_bytes(), forms);
    let encoded = utf8_percent_encode(line, NON_ALPHANUMERIC).to_string();
    forms.insert(lower_escapes(&encoded));
    forms.insert(encoded);
    let light = utf8_percent_encode(line, UNRESERVED).to_string();
    forms.insert(light.replace("%20", "+"));
    forms.insert(light);
    if let Ok(json) = serde_json::to_string(line) {
        forms.insert(json.trim_matches('"').to_owned());
    }
}

/// Base64 of a text that contains the secret shows one of three strings, by the secret's offset modulo three; only the
/// digits that the secret alone decides are taken.
fn add_base64(secret: &[u8], forms: &mut BTreeSet<String>) {
    if secret.len() < MASK_BYTES_MIN {
        return;
    }
    for offset in 0..3usize {
        let mut padded = vec![0u8; offset];
        padded.extend_from_slice(secret);
        let from = (offset * 8).div_ceil(6);
        let until = (padded.len() * 8) / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded);
            if let Some(core) = text.get(from..until) {
                forms.insert(core.to_owned());
            }
        }
    }
}

fn lower_escapes(encoded: &str) -> String {
    let mut out = String::with_capacity(encoded.len());
    let mut left = 0usize;
    for c in encoded.chars() {
        if c == '%' {
            left = 3;
        }
        out.push(if left > 0 { c.to_ascii_lowercase() } else { c });
        left = left.saturating_sub(1);
    }
    out
}

/// Puts the chunks of one stream together to lines. A line that grows too long is broken, but never inside a secret.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes a chunk, calls back with each finished line (without its end).
    pub(crate) fn push(
        &mut self,
        chunk: &[u8],
        masker: &Masker,
        line_max: usize,
        mut each: impl FnMut(&[u8]),
    ) {
        for piece in chunk.split_inclusive(|b| *b == b'\n') {
            self.pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.finish(&mut each);
            } else if self.pending.len() > line_max {
                self.pending = masker.mask(&self.pending);
                let cut = self.pending.len().saturating_sub(masker.hold_bytes());
                if cut > 0 {
                    let rest = self.pending.split_off(cut);
                    each(&self.pending);
                    self.pending = rest;
                }
            }
        }
    }

    /// The stream has ended: what is left is a line.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        let mut line = self.pending.as_slice();
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if !self.pending.is_empty() {
            each(line);
        }
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    fn masked(secret: &str, line: &str) -> String {
        let secret = Secret::new(secret);
        String::from_utf8(Masker::new([&secret]).mask(line.as_bytes())).expect("UTF-8")
    }

    #[test]
    fn every_usual_form_is_hidden() {
        let secret = "p?ss/w>rd~\"ü!";
        for (i, form) in [
            secret.to_owned(),
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string().to_lowercase(),
            serde_json::to_string(secret).expect("json"),
        ]
        .iter()
        .enumerate()
        {
            let shown = masked(secret, &format!("x {form} y"));
            assert!(!shown.contains("rd"), "form {i}: {shown}");
            assert!(shown.starts_with("x ") && shown.ends_with(" y"));
        }
    }

    #[test]
    fn base64_is_hidden_at_every_offset() {
        let secret = "correct-horse-battery";
        for user in ["", "a", "ab", "abc", "AWS"] {
            for engine in [&STANDARD, &URL_SAFE] {
                let text = engine.encode(format!("{user}:{secret}"));
                let shown = masked(secret, &format!("auth={text}"));
                assert!(shown.contains(MASK), "{user}: {shown}");
                assert!(shown.len() < 20, "{user}: too much is left of it: {shown}");
            }
        }
    }

    #[test]
    fn a_secret_of_several_lines_is_hidden_line_by_line() {
        let shown = masked("first-line\nsecond-line", "a second-line b");
        assert_eq!(shown, "a *** b");
    }

    #[test]
    fn short_texts_are_not_secrets() {
        assert_eq!(masked("ab", "abc ab"), "abc ab");
    }

    #[test]
    fn a_secret_across_chunks_and_across_a_break_is_hidden() {
        let secret = Secret::new("0123456789secret");
        let masker = Masker::new([&secret]);
        for cut in 1..16 {
            for before in [0usize, 5, 90, 100, 101, 110, 120] {
                let text = format!("{}{}{}\n", "x".repeat(before), secret.expose(), "y".repeat(300));
                let (a, b) = text.split_at(before + cut);
                let mut lines = Lines::default();
                let mut out = Vec::new();
                for chunk in [a, b] {
                    lines.push(chunk.as_bytes(), &masker, 100, |l| out.push(masker.mask(l)));
                }
                lines.finish(|l| out.push(masker.mask(l)));
                let shown = String::from_utf8(out.concat()).expect("UTF-8");
                assert!(shown.contains(MASK), "cut {cut} before {before}");
                assert!(
                    !shown.contains("secret") && !shown.contains("0123456789"),
                    "cut {cut} before {before}: {shown}"
                );
            }
        }
    }
}
