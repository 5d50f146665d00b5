//! Push options (`git push -o …`): which are known, and what is said of those that are not. An option that nobody knows
//! does nothing, and says so: a typo must not pass for a wish.

use crate::limits::OPTIONS_TOLD_MAX;
use crate::nearest::nearest;

/// Stay and see how it goes.
const WAIT: &str = "wait";
/// Build without the engine's cache.
pub const NO_CACHE: &str = "build.no-cache";
/// Go on where the cluster cannot be asked; for admins of the repository.
pub const UNCHECKED: &str = "deploy.unchecked";
/// So many objects may be deleted, or `all`: `deploy.prune=12`.
pub const PRUNE: &str = "deploy.prune";
/// Build nothing.
const SKIP: [&str; 2] = ["ci.skip", "skip-ci"];
/// The same, in a commit's message; any case.
const SKIP_WORDS: [&str; 6] =
    ["[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]", "***no_ci***"];
/// The same, as a line of the message's last paragraph.
const SKIP_TRAILER: (&str, &str) = ("skip-checks", "true");

/// The option or the words by which a push asks for no build.
pub(super) fn skip_word(options: &[String], message: &str) -> Option<String> {
    if let Some(option) = options.iter().find(|o| SKIP.contains(&o.as_str())) {
        return Some(format!("-o {option}"));
    }
    let message = message.to_ascii_lowercase();
    let word = SKIP_WORDS.iter().find(|word| message.contains(**word)).map(|word| (*word).to_owned());
    word.or_else(|| has_skip_trailer(&message).then(|| format!("{}: {}", SKIP_TRAILER.0, SKIP_TRAILER.1)))
}

fn has_skip_trailer(message: &str) -> bool {
    let last = message.trim_end().lines().rev().take_while(|line| !line.trim().is_empty());
    last.filter_map(|line| line.split_once(':'))
        .any(|(key, value)| (key.trim(), value.trim()) == SKIP_TRAILER)
}

/// A remark for each option that is not known.
pub(super) fn remarks(options: &[String]) -> Vec<String> {
    let known = || [WAIT].into_iter().chain(SKIP).chain([NO_CACHE, UNCHECKED, PRUNE]);
    let is_prune = |o: &str| {
        let said = o.strip_prefix(PRUNE).and_then(|rest| rest.strip_prefix('='));
        said.is_some_and(|n| n == "all" || n.parse::<usize>().is_ok())
    };
    let is_known = |o: &str| is_prune(o) || known().any(|k| k == o && k != PRUNE);
    let unknown: Vec<&String> = options.iter().filter(|o| !is_known(o)).collect();
    let mut told: Vec<String> = unknown.iter().take(OPTIONS_TOLD_MAX).map(|o| remark(o, known())).collect();
    if unknown.len() > told.len() {
        told.push(format!("{} more push options are not known", unknown.len() - told.len()));
    }
    told
}

fn remark<'a>(option: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let shown: String = option.chars().take(40).collect();
    let all = known.clone().collect::<Vec<_>>().join(", ");
    let meant = nearest(&shown, known).map(|k| format!("; did you mean {k}?")).unwrap_or_default();
    format!("the push option {shown:?} is not known; known are {all}{meant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_is_told_with_the_one_that_was_meant() {
        let all = ["wait", "ci.skip", "skip-ci", "build.no-cache", "wiat", "merge_request.create"]
            .map(String::from);
        assert_eq!(
            remarks(&all),
            [
                "the push option \"wiat\" is not known; known are wait, ci.skip, skip-ci, build.no-cache, deploy.unchecked, deploy.prune; did you mean wait?",
                "the push option \"merge_request.create\" is not known; known are wait, ci.skip, skip-ci, build.no-cache, deploy.unchecked, deploy.prune",
            ]
        );
    }

    #[test]
    fn hostile_options_make_few_and_short_remarks() {
        let many: Vec<String> = (0..64).map(|n| format!("{n}\x1b[2J{}", "x".repeat(4000))).collect();
        let told = remarks(&many);
        assert_eq!(told.len(), OPTIONS_TOLD_MAX + 1);
        assert!(told.iter().all(|t| t.len() < 200 && !t.contains('\x1b')), "{told:?}");
    }

    #[test]
    fn a_push_skips_its_build_by_option_or_by_words_in_any_case() {
        for (option, message, want) in [
            ("ci.skip", "x", Some("-o ci.skip")),
            ("skip-ci", "x", Some("-o skip-ci")),
            ("wait", "Mend a typo [CI skip]", Some("[ci skip]")),
            ("wait", "[Skip CI]", Some("[skip ci]")),
            ("wait", "x [NO CI]", Some("[no ci]")),
            ("wait", "x\n\n[Skip Actions]", Some("[skip actions]")),
            ("wait", "[actions skip]", Some("[actions skip]")),
            ("wait", "***NO_CI***", Some("***no_ci***")),
            ("wait", "x\n\ny\n\nSigned-off-by: a\nSkip-Checks:true\n", Some("skip-checks: true")),
            ("wait", "x\n\nskip-checks: true\n\nand more", None),
            ("wait", "x\n\nskip-checks: false", None),
            ("ci.skip=no", "skip ci", None),
        ] {
            assert_eq!(skip_word(&[option.to_owned()], message).as_deref(), want, "{option} {message}");
        }
    }
}
