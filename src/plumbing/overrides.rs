//! Config values from the environment, as git hands them to the programs that it starts: `GIT_CONFIG_COUNT` with its keys
//! and values (git-config(1), ENVIRONMENT), and `GIT_CONFIG_PARAMETERS`, in which `git -c` passes on what it was given.

use slipway_core::{Problem, ProblemKind};

/// A key (section and name in lower case) with its value; a key alone means yes.
type Entry = (String, Option<String>);

/// Every value in order: a later one counts more. `variable` gives a variable of the environment.
///
/// # Errors
/// What cannot be read is refused, as git refuses it.
pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Entry>, Problem> {
    let mut found = Vec::new();
    if let Some(count) = variable("GIT_CONFIG_COUNT").filter(|count| !count.is_empty()) {
        let count: usize = count.parse().map_err(|_| bad("GIT_CONFIG_COUNT", "is no number"))?;
        // The first that is missing ends the loop, however large the number.
        for n in 0..count {
            let get = |what: &str| {
                let name = format!("GIT_CONFIG_{what}_{n}");
                variable(&name).ok_or_else(|| bad(&name, "is missing"))
            };
            found.push((canonical(&get("KEY")?)?, Some(get("VALUE")?)));
        }
    }
    if let Some(words) = variable("GIT_CONFIG_PARAMETERS") {
        parameters(&words, &mut found)?;
    }
    Ok(found)
}

/// Words in single quotes: `'key'='value'`, `'key'=` for a key alone, or, as git wrote it before 2.31, `'key=value'`.
fn parameters(text: &str, found: &mut Vec<Entry>) -> Result<(), Problem> {
    let refused = || bad("GIT_CONFIG_PARAMETERS", "is not quoted as git quotes it");
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let (word, after) = unquote(rest).ok_or_else(refused)?;
        if let Some(value) = after.strip_prefix('=') {
            let quoted = value.starts_with('\'');
            let (value, after) =
                if quoted { unquote(value).ok_or_else(refused)? } else { (String::new(), value) };
            found.push((canonical(&word)?, quoted.then_some(value)));
            rest = after;
        } else {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            found.push((canonical(key)?, value));
            rest = after;
        }
        if !rest.is_empty() && !rest.starts_with(' ') {
            return Err(refused());
        }
        rest = rest.trim_start_matches(' ');
    }
    Ok(())
}

/// The quoted word at the beginning and what is behind it. Outside of quotes there may be `\'` and `\!` alone.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut rest = text.strip_prefix('\'')?;
    loop {
        let (inside, after) = rest.split_once('\'')?;
        word.push_str(inside);
        let Some(escaped) = after.strip_prefix('\\') else { return Some((word, after)) };
        let sign = escaped.chars().next().filter(|c| matches!(c, '\'' | '!'))?;
        word.push(sign);
        rest = escaped.get(1..)?.strip_prefix('\'')?;
    }
}

/// Section and name in lower case, the subsection between them as it is.
fn canonical(key: &str) -> Result<String, Problem> {
    let parts = key.split_once('.').map(|(section, rest)| match rest.rsplit_once('.') {
        Some((sub, name)) => (section, Some(sub), name),
        None => (section, None, rest),
    });
    match parts {
        Some((section, sub, name)) if !section.is_empty() && !name.is_empty() => {
            let (section, name) = (section.to_ascii_lowercase(), name.to_ascii_lowercase());
            Ok(sub.map_or_else(|| format!("{section}.{name}"), |sub| format!("{section}.{sub}.{name}")))
        }
        _ => Err(bad(&format!("the config key {key:?}"), "has no section and name")),
    }
}

fn bad(what: &str, why: &str) -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        format!("{what} {why}."),
        "Give config values with `git -c KEY=VALUE`.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Vec<Entry>, Problem> {
        read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn entry(key: &str, value: Option<&str>) -> Entry {
        (key.to_owned(), value.map(str::to_owned))
    }

    #[test]
    fn what_git_passes_on_is_read_in_order() {
        let found = of(&[
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "Transfer.HideRefs"),
            ("GIT_CONFIG_VALUE_0", "refs/a"),
            (
                "GIT_CONFIG_PARAMETERS",
                r"'uploadpackfilter.Blob:None.ALLOW'='it'\''s'  'a.b'= 'a.B=c d' 'a.c' 'a.d'=''",
            ),
        ]);
        let want = [
            entry("transfer.hiderefs", Some("refs/a")),
            entry("uploadpackfilter.Blob:None.allow", Some("it's")),
            entry("a.b", None),
            entry("a.b", Some("c d")),
            entry("a.c", None),
            entry("a.d", Some("")),
        ];
        assert_eq!(found.expect("fine"), want);
        assert_eq!(of(&[]).expect("fine"), []);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in
            ["'a.b", "a.b=c", "'a.b'x", r"'a.b'\x'c'", "'ab'='c'", "'.b'='c'", "'a.'='c'", r"'a.b'\é'c'"]
        {
            assert!(of(&[("GIT_CONFIG_PARAMETERS", bad)]).is_err(), "{bad}");
        }
        assert!(of(&[("GIT_CONFIG_COUNT", "99999999999")]).is_err());
        assert!(of(&[("GIT_CONFIG_COUNT", "x")]).is_err());
    }
}
