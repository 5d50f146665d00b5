//! Which refs are hidden: the rules of `transfer.hideRefs` and its kin (git-config(1)).

/// Rules in the order of the config; the last that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// `!`: shown after all.
    shown: bool,
    /// A whole ref, or the folder of several.
    name: String,
}

impl Hidden {
    /// Adds a rule: `refs/x`, `!refs/x`; `^` in front of the name means the same where there are no namespaces.
    pub(crate) fn add(&mut self, rule: &str) {
        let (shown, name) = match rule.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, rule),
        };
        let name = name.strip_prefix('^').unwrap_or(name).trim_end_matches('/');
        self.rules.push(Rule { shown, name: name.to_owned() });
    }

    /// True if there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// True if the ref of that full name is hidden.
    pub fn hides(&self, name: &str) -> bool {
        let matches = |rule: &&Rule| {
            name.strip_prefix(rule.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.rules.iter().rev().find(matches).is_some_and(|rule| !rule.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_decides() {
        let mut hidden = Hidden::default();
        for rule in ["refs/pull/", "!refs/pull/7", "^refs/keep", "!^refs/keep/me", "refs/heads/wip"] {
            hidden.add(rule);
        }
        for (name, want) in [
            ("refs/pull/1/head", true),
            ("refs/pull/7/head", false),
            ("refs/pulls/1", false),
            ("refs/pull", true),
            ("refs/keep/x", true),
            ("refs/keep/me", false),
            ("refs/heads/wip", true),
            ("refs/heads/wip2", false),
            ("HEAD", false),
        ] {
            assert_eq!(hidden.hides(name), want, "{name}");
        }
    }
}
