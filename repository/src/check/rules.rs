//! The rules that pushed objects must keep, by the names that git gives them (git-fsck(1), "FSCK MESSAGES"), and what a
//! repository's config makes of them (git-config(1): `receive.fsckObjects`, `receive.fsck.<msg-id>`,
//! `receive.fsck.skipList`).
//!
//! Without a word in the config every rule is an error, those that are mere warnings for git too, but for a few that *old*
//! histories break by the thousand and that harm nobody: those count where the config names them, or says
//! `receive.fsckObjects = true`. Of the others, those of *form* can be lowered; those that *protect* who checks out what
//! was pushed can not, but an object that the skip list names is let through; what cannot be *read* is never taken.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use slipway_core::Oid;

use crate::error::{RepoError, Result};
use crate::limits::{SKIP_LIST_BYTES_MAX, SKIP_LISTS_MAX};
use crate::place::shown;

/// What may be done with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Old,
    Form,
    Protects,
    Reading,
}

macro_rules! rules {
    ($($rule:ident = $name:literal, $sort:ident;)*) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Rule { $($rule),* }

        impl Rule {
            const ALL: &'static [Self] = &[$(Self::$rule),*];

            /// git's name for it.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$rule => $name),* }
            }

            fn sort(self) -> Sort {
                match self { $(Self::$rule => Sort::$sort),* }
            }
        }
    };
}

rules! {
    NulInCommit = "nulInCommit", Old;
    OddTimezone = "badTimezone", Old;
    ZeroPaddedFilemode = "zeroPaddedFilemode", Old;
    BadDate = "badDate", Form;
    BadDateOverflow = "badDateOverflow", Form;
    BadEmail = "badEmail", Form;
    BadName = "badName", Form;
    BadTagName = "badTagName", Form;
    BadTimezone = "badTimezone", Form;
    DuplicateEntries = "duplicateEntries", Form;
    MissingAuthor = "missingAuthor", Form;
    MissingCommitter = "missingCommitter", Form;
    MissingEmail = "missingEmail", Form;
    MissingNameBeforeEmail = "missingNameBeforeEmail", Form;
    MissingSpaceBeforeDate = "missingSpaceBeforeDate", Form;
    MissingSpaceBeforeEmail = "missingSpaceBeforeEmail", Form;
    MultipleAuthors = "multipleAuthors", Form;
    NullSha1 = "nullSha1", Form;
    TreeNotSorted = "treeNotSorted", Form;
    ZeroPaddedDate = "zeroPaddedDate", Form;
    EmptyName = "emptyName", Protects;
    FullPathname = "fullPathname", Protects;
    GitmodulesLarge = "gitmodulesLarge", Protects;
    GitmodulesName = "gitmodulesName", Protects;
    GitmodulesPath = "gitmodulesPath", Protects;
    GitmodulesSymlink = "gitmodulesSymlink", Protects;
    GitmodulesUpdate = "gitmodulesUpdate", Protects;
    GitmodulesUrl = "gitmodulesUrl", Protects;
    HasDot = "hasDot", Protects;
    HasDotdot = "hasDotdot", Protects;
    HasDotgit = "hasDotgit", Protects;
    BadObjectSha1 = "badObjectSha1", Reading;
    BadParentSha1 = "badParentSha1", Reading;
    BadTree = "badTree", Reading;
    BadTreeSha1 = "badTreeSha1", Reading;
    BadType = "badType", Reading;
    MissingObject = "missingObject", Reading;
    MissingTagEntry = "missingTagEntry", Reading;
    MissingTree = "missingTree", Reading;
    MissingType = "missingType", Reading;
    MissingTypeEntry = "missingTypeEntry", Reading;
    NulInHeader = "nulInHeader", Reading;
    UnterminatedHeader = "unterminatedHeader", Reading;
}

impl Rule {
    /// One that old histories break, and that holds only where it is asked for.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn is_old(self) -> bool {
        self.sort() == Sort::Old
    }

    /// What can be done where an object that breaks it is refused.
    pub(crate) fn cure(self) -> &'static str {
        match self.sort() {
            Sort::Reading => MEND,
            Sort::Protects => SKIP,
            Sort::Form | Sort::Old => LOWER,
        }
    }
}

/// What to do about what cannot be taken in any way.
pub(crate) const MEND: &str = "Mend the history where you push from (git fsck shows it), then push again.";
const SKIP: &str = "Mend the history where you push from (git fsck shows it), or have whoever runs the server name the \
                    objects in a file that receive.fsck.skipList of the repository's config names.";
const LOWER: &str = "Mend the history where you push from (git fsck shows it), or have whoever runs the server set \
                     receive.fsck.RULE to warn or ignore in the repository's config, or name the objects in its \
                     receive.fsck.skipList.";

/// A rule that is broken, and in which way: a sentence's core that speaks of the object as "it".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) rule: Rule,
    pub(crate) why: String,
}

impl Flaw {
    pub(crate) fn new(rule: Rule, why: impl Into<String>) -> Self {
        Self { rule, why: why.into() }
    }
}

/// For people, with the name that the config knows the rule by.
impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.why, self.rule.name())
    }
}

/// What is done about a rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Ignore,
    Warn,
    Error,
}

/// How a repository wants pushed objects checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// `receive.fsckObjects`, and `transfer.fsckObjects` where that is not set.
    receive: Option<bool>,
    transfer: Option<bool>,
    levels: BTreeMap<Rule, Level>,
    /// `receive.fsck.skipList`: files with the ids of objects that are let through.
    skip_lists: Vec<PathBuf>,
    /// What those files say, once they are read.
    skipped: HashSet<Oid>,
}

impl Checks {
    /// As few rules as there can be: for objects that are the repository's own.
    pub(crate) fn none() -> Self {
        Self { receive: Some(false), ..Self::default() }
    }

    /// True if every rule but those of old histories holds for every object, and those for none.
    pub(crate) fn are_all(&self) -> bool {
        let all = |(rule, level): (&Rule, &Level)| *level == Level::Error || rule.sort() == Sort::Old;
        self.is_on() && !self.minds_old() && self.levels.iter().all(all) && self.skip_lists.is_empty()
    }

    fn is_on(&self) -> bool {
        self.receive.or(self.transfer).unwrap_or(true)
    }

    /// What is done about an object that breaks a rule.
    pub(crate) fn level(&self, id: &Oid, rule: Rule) -> Level {
        match rule.sort() {
            Sort::Reading => Level::Error,
            _ if self.skipped.contains(id) => Level::Ignore,
            Sort::Protects => Level::Error,
            Sort::Old if self.receive != Some(true) => {
                self.levels.get(&rule).copied().filter(|_| self.is_on()).unwrap_or(Level::Ignore)
            }
            Sort::Form | Sort::Old if !self.is_on() => Level::Ignore,
            Sort::Form | Sort::Old => self.levels.get(&rule).copied().unwrap_or(Level::Error),
        }
    }

    /// True if the rules of old histories are looked for.
    fn minds_old(&self) -> bool {
        let named = Rule::ALL.iter().filter(|rule| rule.sort() == Sort::Old);
        self.is_on()
            && (self.receive == Some(true)
                || named.filter_map(|rule| self.levels.get(rule)).any(|level| *level != Level::Ignore))
    }

    /// Takes a key of the config, in lower case, with its value; `yes` reads that as a truth. False if the key is none of
    /// these. Rules that git has and that are not checked here change nothing.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub(crate) fn take(
        &mut self,
        key: &str,
        value: Option<&str>,
        yes: &dyn Fn() -> Result<bool>,
    ) -> Result<bool, String> {
        let truth = || yes().map_err(|_| "is neither true nor false".to_owned());
        match key {
            "receive.fsckobjects" => self.receive = Some(truth()?),
            "transfer.fsckobjects" => self.transfer = Some(truth()?),
            "receive.fsck.skiplist" => self.add_skip_list(value.unwrap_or_default())?,
            _ => match key.strip_prefix("receive.fsck.") {
                Some(name) => self.set_level(name, value)?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    fn add_skip_list(&mut self, path: &str) -> Result<(), String> {
        if path.is_empty() || path.starts_with('~') {
            return Err("is no path; give one from the root, or from the repository's folder".into());
        }
        if self.skip_lists.len() >= SKIP_LISTS_MAX {
            return Err(format!("is there more than {SKIP_LISTS_MAX} times"));
        }
        self.skip_lists.push(path.into());
        Ok(())
    }

    fn set_level(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let level = match value.map(str::to_ascii_lowercase).as_deref() {
            Some("ignore") => Level::Ignore,
            Some("warn") => Level::Warn,
            Some("error") => Level::Error,
            _ => return Err("is none of error, warn and ignore".into()),
        };
        let mut known = false;
        for rule in Rule::ALL.iter().filter(|rule| rule.name().eq_ignore_ascii_case(name)) {
            known = true;
            self.set_rule(*rule, level, name);
        }
        if !known {
            tracing::warn!("receive.fsck.{name} is no rule that pushed objects are checked by");
        }
        Ok(())
    }

    fn set_rule(&mut self, rule: Rule, level: Level, name: &str) {
        match rule.sort() {
            Sort::Form | Sort::Old => drop(self.levels.insert(rule, level)),
            _ if level == Level::Error => {}
            Sort::Protects => {
                let cure = "list the objects in receive.fsck.skipList instead";
                tracing::warn!("receive.fsck.{name} protects clients, and stays an error; {cure}");
            }
            Sort::Reading => {
                tracing::warn!("receive.fsck.{name} stays an error: without it objects cannot be read");
            }
        }
    }

    /// The same with the skip lists read; relative paths count from the repository's folder.
    ///
    /// # Errors
    /// [`RepoError::Settings`] for a list that cannot be read.
    pub(crate) fn with_lists(&self, root: &Path) -> Result<Self> {
        let mut checks = self.clone();
        for path in &self.skip_lists {
            checks.skipped.extend(read_list(&root.join(path))?);
        }
        Ok(checks)
    }
}

/// An id a line; `#` starts a comment.
fn read_list(path: &Path) -> Result<Vec<Oid>> {
    let wrong = |why: String| RepoError::Settings {
        what: format!("the repository's receive.fsck.skipList {} cannot be obeyed: {why}", shown(path)),
    };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(SKIP_LIST_BYTES_MAX + 1).read_to_string(&mut text));
    let read = read.map_err(|e| wrong(e.to_string()))?;
    if read as u64 > SKIP_LIST_BYTES_MAX {
        return Err(wrong(format!("it is larger than {SKIP_LIST_BYTES_MAX} bytes")));
    }
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| Oid::from_hex(line.as_bytes()).ok_or_else(|| wrong(format!("{line:?} is no object id"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&str, &str)]) -> Result<Checks, String> {
        let mut checks = Checks::default();
        for (key, value) in values {
            assert!(checks.take(key, Some(value), &|| Ok(*value == "true"))?, "{key}");
        }
        Ok(checks)
    }

    #[test]
    fn form_can_be_lowered_protection_for_single_objects_and_reading_never() {
        let (one, other) = (Oid::Sha1([1; 20]), Oid::Sha1([2; 20]));
        let checks = Checks::default();
        assert!(checks.are_all());
        let old = |rule: &Rule| rule.sort() == Sort::Old;
        for rule in Rule::ALL {
            let want = if old(rule) { Level::Ignore } else { Level::Error };
            assert_eq!(checks.level(&one, *rule), want, "{rule:?}");
        }
        let all = of(&[("receive.fsckobjects", "true")]).unwrap();
        assert!(Rule::ALL.iter().all(|rule| all.level(&one, *rule) == Level::Error) && !all.are_all());
        for (name, rule) in [
            ("zeropaddedfilemode", Rule::ZeroPaddedFilemode),
            ("badtimezone", Rule::OddTimezone),
            ("nulincommit", Rule::NulInCommit),
        ] {
            for (value, level) in [("error", Level::Error), ("warn", Level::Warn), ("ignore", Level::Ignore)]
            {
                let some = of(&[(&format!("receive.fsck.{name}"), value)]).unwrap();
                assert_eq!(some.level(&one, rule), level, "{name} {value}");
            }
            let asked = of(&[(&format!("receive.fsck.{name}"), "error"), ("transfer.fsckobjects", "false")]);
            assert_eq!(asked.unwrap().level(&one, rule), Level::Ignore, "nothing is checked");
        }
        assert_eq!(
            of(&[("receive.fsck.badtimezone", "ignore")]).unwrap().level(&one, Rule::BadTimezone),
            Level::Ignore
        );
        let off = of(&[("receive.fsckobjects", "false"), ("transfer.fsckobjects", "true")]).unwrap();
        assert_eq!(off.level(&one, Rule::MissingEmail), Level::Ignore);
        assert_eq!(off.level(&one, Rule::HasDotgit), Level::Error);
        assert!(!of(&[("transfer.fsckobjects", "false")]).unwrap().is_on());
        assert!(of(&[("transfer.fsckobjects", "false"), ("receive.fsckobjects", "true")]).unwrap().is_on());
        let some = of(&[("receive.fsck.missingemail", "WARN"), ("receive.fsck.baddate", "ignore")]).unwrap();
        assert_eq!(some.level(&one, Rule::MissingEmail), Level::Warn);
        assert_eq!(some.level(&one, Rule::BadDate), Level::Ignore);
        assert_eq!(some.level(&one, Rule::BadName), Level::Error);
        assert!(!some.are_all());
        // Not checked here, or not known to git either.
        assert!(of(&[("receive.fsck.badfilemode", "error"), ("receive.fsck.x", "warn")]).is_ok());
        // What protects and what is needed to read stays an error, whatever is asked for.
        for (key, value) in [
            ("receive.fsck.hasdotgit", "error"),
            ("receive.fsck.hasdotgit", "ignore"),
            ("receive.fsck.gitmodulesurl", "warn"),
            ("receive.fsck.unterminatedheader", "warn"),
        ] {
            assert!(of(&[(key, value)]).unwrap().are_all(), "{key} {value}");
        }
        for (key, value) in [
            ("receive.fsck.baddate", "perhaps"),
            ("receive.fsck.skiplist", "~/list"),
            ("receive.fsck.skiplist", ""),
        ] {
            assert!(of(&[(key, value)]).is_err(), "{key} {value}");
        }
        let root = tempfile::tempdir().unwrap();
        let list = of(&[("receive.fsck.skiplist", "list")]).unwrap();
        assert!(list.with_lists(root.path()).is_err(), "not there");
        std::fs::write(root.path().join("list"), format!("# known\n\n  {one} # why\n")).unwrap();
        let read = list.with_lists(root.path()).unwrap();
        assert_eq!(read.level(&one, Rule::HasDotgit), Level::Ignore);
        assert_eq!(read.level(&one, Rule::BadTree), Level::Error);
        assert_eq!(read.level(&other, Rule::MissingEmail), Level::Error);
        std::fs::write(root.path().join("list"), "main\n").unwrap();
        assert!(list.with_lists(root.path()).is_err(), "no id");
    }

    #[test]
    fn every_rule_is_one_of_gits() {
        let folder = tempfile::tempdir().unwrap();
        let known = |name: &str| {
            let mut git = std::process::Command::new("git");
            git.current_dir(folder.path()).args([
                "index-pack",
                "--stdin",
                &format!("--fsck-objects={name}=error"),
            ]);
            let said = git.stdin(std::process::Stdio::null()).output().unwrap().stderr;
            !String::from_utf8_lossy(&said).contains("nhandled message id")
        };
        let made = std::process::Command::new("git").args(["init", "-q"]).current_dir(folder.path()).status();
        assert!(made.unwrap().success() && !known("noSuchRule"));
        for rule in Rule::ALL {
            assert!(known(rule.name()), "{}", rule.name());
        }
    }
}
