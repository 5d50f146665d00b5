//! What a `.gitmodules` file may not say, because a client that obeys it would run or overwrite what it should not
//! (git-fsck(1): gitmodulesName, gitmodulesPath, gitmodulesUpdate, gitmodulesUrl). Pure.

use gix::bstr::{BStr, ByteSlice};

/// Says which rule the file breaks. One that cannot be parsed obeys none and harms nobody.
pub(crate) fn check(data: &[u8]) -> Result<(), String> {
    let Ok(file) = gix::config::File::try_from(BStr::new(data)) else { return Ok(()) };
    for section in file.sections() {
        let header = section.header();
        if !header.name().eq_ignore_ascii_case(b"submodule") {
            continue;
        }
        let Some(name) = header.subsection_name() else { continue };
        if name.is_empty() || name.split(|b| matches!(b, b'/' | b'\\')).any(|part| part == b"..") {
            return Err(format!("it has a submodule named {name:?}"));
        }
        for (key, is_bad) in RULES {
            if section.values(key).iter().any(|value| is_bad(value)) {
                return Err(format!("the {key} of its submodule {name:?} could harm a client"));
            }
        }
    }
    Ok(())
}

/// A key, and what its value may not be.
type Rule = (&'static str, fn(&[u8]) -> bool);

const RULES: [Rule; 3] = [
    // A leading dash would be an option of the command that gets the value.
    ("path", |value| value.starts_with(b"-")),
    ("update", |value| value.starts_with(b"!")),
    // A line feed, also escaped, would smuggle another line to a credential helper.
    ("url", |value| {
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
