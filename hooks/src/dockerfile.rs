//! What a Dockerfile would have the engine fetch: frontends, images, addresses. Pure, and no judge: `permit.rs` is that.
//!
//! Builders differ in how they read a Dockerfile (here-documents, doubled escapes, what may be expanded), so every line is
//! taken as the possible beginning of an instruction, whatever stands before it: what any builder could fetch is found, and
//! now and then a line of a here-document that none would. What cannot be told from the text is [`ANYTHING`].

use std::collections::{BTreeSet, HashMap};

use crate::limits::DOCKERFILE_JOINED_BYTES_MAX;

mod expand;
mod words;
use self::expand::{Known, expand};
use self::words::{Words, flag, words};

#[cfg(test)]
mod tests;

/// Stands in an image's name for any text: what only the builder knows.
pub(crate) const ANYTHING: char = '\u{0}';

/// Something that a line fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    /// Line, from 1.
    pub(crate) line: usize,
    /// Which instruction: `FROM`, `COPY --from`.
    pub(crate) by: &'static str,
    /// The image, with [`ANYTHING`] for what only the builder knows, or the address.
    pub(crate) what: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    /// The frontend that is named, and its line.
    pub(crate) syntax: Option<Fetch>,
    /// Images, or names of stages.
    pub(crate) images: Vec<Fetch>,
    /// Addresses that `ADD` has fetched, or may have.
    pub(crate) addresses: Vec<Fetch>,
    /// Whether a step mounts a secret or an SSH agent.
    pub(crate) mounts_secrets: bool,
    /// Arguments that it declares, anywhere.
    declared: BTreeSet<String>,
    /// Labels that it sets, anywhere.
    labels: BTreeSet<String>,
}

/// The text joins so many lines to each other that it is not looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooTangled;

impl Dockerfile {
    /// The images that can be others tomorrow: named by a tag, and not by their digest. (And stages: they are not told apart.)
    pub(crate) fn moving_images(&self) -> Vec<String> {
        let moves =
            |image: &&Fetch| !image.what.contains("@sha256:") && !image.what.eq_ignore_ascii_case("scratch");
        self.images.iter().filter(moves).map(|image| image.what.clone()).collect()
    }

    /// Reads the text; `args` are the build's.
    pub(crate) fn read(text: &str, args: &HashMap<String, String>) -> Result<Self, TooTangled> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines: Vec<&str> = text.split('\n').map(|l| l.strip_suffix('\r').unwrap_or(l)).collect();
        let (syntax, escape) = directives(text, &lines);
        let mut found = Self { syntax, ..Self::default() };
        let mut known = Known::new(args);
        let mut joined = 0;
        let mut global = true;
        for (i, _) in lines.iter().enumerate().filter(|(_, line)| may_begin(line, escape)) {
            let whole = join(&lines[i..], escape);
            joined += whole.len();
            if joined > DOCKERFILE_JOINED_BYTES_MAX {
                return Err(TooTangled);
            }
            let words = words(&whole, escape);
            let first = words.plain.first().map(String::as_str).unwrap_or_default();
            if first.eq_ignore_ascii_case("ARG") {
                found.declare(&words);
                if global {
                    known.declare(&words);
                }
            }
            global &= !first.eq_ignore_ascii_case("FROM");
            found.take(i + 1, &words, &known);
        }
        Ok(found)
    }

    /// True if it asks for the argument.
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.declared.contains(name)
    }

    /// True if it sets the label itself.
    pub(crate) fn labels(&self, name: &str) -> bool {
        self.labels.contains(name)
    }

    fn declare(&mut self, words: &Words) {
        let names =
            words.plain.iter().skip(1).map(|word| word.split_once('=').map_or(&**word, |(name, _)| name));
        self.declared.extend(names.map(str::to_owned));
    }

    fn take(&mut self, line: usize, words: &Words, known: &Known) {
        let mut rest = words.plain.as_slice();
        if rest.first().is_some_and(|w| w.eq_ignore_ascii_case("ONBUILD")) {
            rest = &rest[1..];
        }
        let Some((name, rest)) = rest.split_first() else { return };
        let flags = rest.iter().take_while(|w| w.starts_with("--"));
        for word in flags {
            if let Some(image) = flag(word, "from") {
                self.image(line, "COPY --from", image, None);
            }
            if let Some(mount) = flag(word, "mount") {
                self.mounts_secrets |= ["secret", "ssh"].iter().any(|kind| mount.contains(kind));
                let fields = mount.split(',').filter_map(|f| f.trim().split_once('='));
                for (_, image) in fields.filter(|(key, _)| key.trim().eq_ignore_ascii_case("from")) {
                    self.image(line, "RUN --mount", image.trim(), None);
                }
            }
        }
        let plain = || rest.iter().filter(|w| !w.starts_with("--"));
        if name.eq_ignore_ascii_case("FROM")
            && let Some(image) = plain().next()
        {
            self.image(line, "FROM", image, Some(known));
        }
        if name.eq_ignore_ascii_case("LABEL") {
            let names = rest.iter().map(|word| word.split_once('=').map_or(&**word, |(name, _)| name));
            self.labels.extend(names.map(str::to_owned));
        }
        if name.eq_ignore_ascii_case("ADD") {
            let of_list = words.list.iter().flatten();
            for word in plain().chain(of_list).filter(|w| may_be_address(w)) {
                self.addresses.push(Fetch { line, by: "ADD", what: word.clone() });
            }
        }
    }

    /// An image, or the name of a stage. Only `FROM` knows arguments everywhere; elsewhere a variable may be anything.
    fn image(&mut self, line: usize, by: &'static str, word: &str, known: Option<&Known>) {
        let nobody = Known::nothing();
        let what = expand(word, known.unwrap_or(&nobody));
        if !what.is_empty() {
            self.images.push(Fetch { line, by, what });
        }
    }
}

/// True for a line that may begin an instruction which matters here; its name may be cut by the line's end.
fn may_begin(line: &str, escape: char) -> bool {
    const NAMES: [&str; 7] = ["FROM", "ARG", "COPY", "ADD", "RUN", "LABEL", "ONBUILD"];
    let line = line.trim_matches(is_blank);
    let first = line.split(is_blank).next().unwrap_or_default();
    let cut = line
        .strip_suffix(escape)
        .filter(|rest| !rest.contains(is_blank))
        .map(|_| first.trim_end_matches(escape));
    let begins = |name: &&str| {
        first.trim_end_matches(escape).eq_ignore_ascii_case(name)
            || cut.is_some_and(|c| {
                !c.is_empty() && name.get(..c.len()).is_some_and(|n| n.eq_ignore_ascii_case(c))
            })
    };
    NAMES.iter().any(begins)
}

pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// The first of the lines with all that continue it. An escape at a line's end always continues here, a doubled one too.
fn join(lines: &[&str], escape: char) -> String {
    let mut whole = String::new();
    for (i, line) in lines.iter().enumerate() {
        let bare = line.trim_matches(is_blank);
        // Within a continued instruction comments and empty lines are passed over.
        if i > 0 && (bare.is_empty() || bare.starts_with('#')) {
            continue;
        }
        let end = line.trim_end_matches(is_blank);
        match end.strip_suffix(escape) {
            Some(more) => whole.push_str(more),
            None => {
                whole.push_str(end);
                break;
            }
        }
    }
    whole
}

/// The frontend that is named in front of everything, in any way that an engine looks for it, and the escape.
fn directives(text: &str, lines: &[&str]) -> (Option<Fetch>, char) {
    let (mut syntax, mut escape) = (None, '\\');
    let skipped = usize::from(lines.first().is_some_and(|l| l.starts_with("#!")));
    for (i, line) in lines.iter().enumerate().skip(skipped) {
        let bare = line.trim();
        let Some(comment) = bare.strip_prefix("//").or_else(|| bare.strip_prefix('#')) else { break };
        let Some((key, value)) = comment.split_once('=') else { break };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        match key.as_str() {
            "syntax" if syntax.is_none() => {
                // What stands behind the image is for the frontend.
                let what = value.split_whitespace().next().unwrap_or_default().to_owned();
                syntax = Some(Fetch { line: i + 1, by: "# syntax", what });
            }
            "escape" if value == "`" => escape = '`',
            _ => {}
        }
    }
    (syntax.or_else(|| syntax_of_json(text, skipped)), escape)
}

/// A frontend may be named in a file that is JSON, too.
fn syntax_of_json(text: &str, skipped: usize) -> Option<Fetch> {
    let text = text.splitn(skipped + 1, '\n').last()?.trim_start();
    if !text.starts_with('{') {
        return None;
    }
    let first = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>().next()?;
    // What is cut, or repeats a key, is read here and there otherwise; its frontend is unknown.
    let what = match first {
        Ok(value) => value.get("syntax")?.as_str()?.to_owned(),
        Err(_) if text.contains("syntax") => "unknown".to_owned(),
        Err(_) => return None,
    };
    Some(Fetch { line: skipped + 1, by: "# syntax", what })
}

/// What engines fetch from elsewhere: an address, or a Git repository.
fn may_be_address(word: &str) -> bool {
    const SCHEMES: [&str; 6] = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    let lower = word.to_ascii_lowercase();
    let Some((fixed, _)) = lower.split_once('$') else {
        let scp = lower.split_once('@').is_some_and(|(user, rest)| {
            !user.contains('/') && rest.split_once(':').is_some_and(|(host, _)| !host.contains('/'))
        });
        return lower.contains("://") || scp || SCHEMES.iter().any(|s| lower.starts_with(s));
    };
    SCHEMES.iter().any(|s| fixed.starts_with(s) || s.starts_with(fixed))
}
