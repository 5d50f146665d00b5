//! What a `.gitmodules` file may not say, because a client that obeys it would run or overwrite what it should not
//! (git-fsck(1): gitmodulesName, gitmodulesPath, gitmodulesUpdate, gitmodulesUrl). Pure.

use gix::bstr::{BStr, ByteSlice};

use crate::check::{Flaw, Rule};

/// Says which rule the file breaks. One that cannot be parsed obeys none and harms nobody.
pub(crate) fn check(data: &[u8]) -> Result<(), Flaw> {
    let Ok(file) = gix::config::File::try_from(BStr::new(data)) else { return Ok(()) };
    for section in file.sections() {
        let header = section.header();
        if !header.name().eq_ignore_ascii_case(b"submodule") {
            continue;
        }
        let Some(name) = header.subsection_name() else { continue };
        if name.is_empty() || name.split(|b| matches!(b, b'/' | b'\\')).any(|part| part == b"..") {
            return Err(Flaw::new(Rule::GitmodulesName, format!("it has a submodule named {name:?}")));
        }
        for (key, rule, is_bad) in RULES {
            if section.values(key).iter().any(|value| is_bad(value)) {
                let why = format!("the {key} of its submodule {name:?} could harm a client");
                return Err(Flaw::new(rule, why));
            }
        }
    }
    Ok(())
}

/// A key, the rule about it, and what its value may not be.
type Bad = (&'static str, Rule, fn(&[u8]) -> bool);

const RULES: [Bad; 3] = [
    // A leading dash would be an option of the command that gets the value.
    ("path", Rule::GitmodulesPath, |value| value.starts_with(b"-")),
    ("update", Rule::GitmodulesUpdate, |value| value.starts_with(b"!")),
    // A line feed, also escaped, would smuggle another line to a credential helper.
    ("url", Rule::GitmodulesUrl, |value| {
        value.starts_with(b"-") || value.contains(&b'\n') || value.to_lowercase().contains_str("%0a")
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmful_submodules_are_seen() {
        let file = |name: &str, line: &str| {
            format!("[submodule \"{name}\"]\n\tpath = lib\n\turl = ../lib.git\n\t{line}\n")
        };
        check(file("lib/a..b", "update = rebase").as_bytes()).expect("harmless");
        check(b"[core\n").expect("no file of its kind");
        for (name, line) in [
            ("../x", ""),
            ("a/../../b", ""),
            ("a\\\\..\\\\b", ""),
            ("lib", "url = -u./evil"),
            ("lib", "path = -x"),
            ("lib", "update = !sh"),
            ("lib", "url = https://h/%0Ahost=x"),
            ("lib", "url = \"https://h/\\nx\""),
        ] {
            assert!(check(file(name, line).as_bytes()).is_err(), "{name:?} {line:?}");
        }
    }
}
