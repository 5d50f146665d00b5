//! `[build.params.NAME]`: what somebody who starts a build by hand may say, as Jenkins' parameters do.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::variables::check_variable;
use crate::limits::{PARAM_BYTES_MAX, VARIABLES_MAX};
use crate::nearest::nearest;
use crate::place::Wrong;
use crate::problem::{Problem, ProblemKind};

/// One parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParamSpec {
    /// What holds where nobody says anything; absent is the first choice, else nothing.
    pub default: Option<String>,
    /// What it may be; none is anything.
    pub choices: Vec<String>,
    /// What it is for.
    pub description: String,
}

/// All of them, by name.
pub type Params = BTreeMap<String, ParamSpec>;

impl ParamSpec {
    /// What holds where nobody says anything.
    pub fn usual(&self) -> &str {
        self.default.as_ref().or_else(|| self.choices.first()).map(String::as_str).unwrap_or_default()
    }
}

/// What serde cannot say of them. `is_taken` tells which names something else has.
pub(super) fn check(params: &Params, is_taken: impl Fn(&str) -> bool) -> Result<(), Wrong> {
    let of = |name: &str, what: String| Wrong::at("build.params", what).key(name);
    if params.len() > VARIABLES_MAX {
        let told = format!("build.params has more than {VARIABLES_MAX} parameters");
        return Err(Wrong::at("build.params", told));
    }
    for (name, param) in params {
        check_variable(name).map_err(|why| of(name, why).itself())?;
        if super::is_reserved_arg(name) || is_taken(name) {
            let told =
                format!("the parameter {name} has the name of an argument or variable that is set already");
            return Err(of(name, told).itself());
        }
        let too_long = param.choices.iter().chain(&param.default).any(|text| text.len() > PARAM_BYTES_MAX);
        if too_long || param.choices.len() > VARIABLES_MAX {
            let told = format!("the parameter {name} has too many choices, or one that is too long");
            return Err(of(name, told));
        }
        if let Some(default) = param.default.as_ref().filter(|d| !param.may_be(d)) {
            let told = format!("the default {default:?} of the parameter {name} is none of its choices");
            return Err(of(name, told).key("default"));
        }
    }
    Ok(())
}

impl ParamSpec {
    fn may_be(&self, value: &str) -> bool {
        self.choices.is_empty() || self.choices.iter().any(|choice| choice == value)
    }
}

/// The values for a build: what was asked for, and what holds without.
///
/// # Errors
/// `Invalid` for a parameter that is not declared, and for a value that it may not have.
pub fn values(
    params: &Params,
    asked: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Problem> {
    for (name, value) in asked {
        let Some(param) = params.get(name) else { return Err(unknown(params, name)) };
        let shown: String = value.chars().take(40).collect();
        if value.len() > PARAM_BYTES_MAX || value.contains('\0') {
            let told = format!(
                "The value of the parameter {name} is longer than {PARAM_BYTES_MAX} bytes, or has a zero byte."
            );
            return Err(Problem::new(ProblemKind::Invalid, told, "Give a shorter one."));
        }
        if !param.may_be(value) {
            let told = format!("The parameter {name} cannot be {shown:?}.");
            let cure = format!("Choose one of {}.", param.choices.join(", "));
            return Err(Problem::new(ProblemKind::Invalid, told, cure));
        }
    }
    let value = |(name, param): (&String, &ParamSpec)| {
        let value = asked.get(name).map_or_else(|| param.usual(), String::as_str);
        (name.clone(), value.to_owned())
    };
    Ok(params.iter().map(value).collect())
}

fn unknown(params: &Params, name: &str) -> Problem {
    let shown: String = name.chars().take(40).collect();
    let cure = match (params.is_empty(), nearest(&shown, params.keys().map(String::as_str))) {
        (true, _) => "Its slipway.toml declares none: write [build.params.NAME] there.".to_owned(),
        (false, Some(meant)) => format!("Did you mean {meant}?"),
        (false, None) => {
            format!("It has {}.", params.keys().cloned().collect::<Vec<_>>().join(", "))
        }
    };
    Problem::new(ProblemKind::Invalid, format!("The commit has no parameter {shown:?}."), cure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    const FILE: &str = r#"
        [build.params.LEVEL]
        choices = ["debug", "release"]
        description = "How it is compiled"
        [build.params.WHO]
        default = "world"
        [build.params.NOTE]
    "#;

    fn asked(pairs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let spec = Spec::parse(FILE.as_bytes()).expect("valid");
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let values = values(&spec.build.params, &pairs).map_err(|problem| problem.to_string())?;
        Ok(values.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    #[test]
    fn what_nobody_says_is_the_default_or_the_first_choice() {
        assert_eq!(asked(&[]).expect("values"), ["LEVEL=debug", "NOTE=", "WHO=world"]);
        let said = asked(&[("LEVEL", "release"), ("NOTE", "a=b c"), ("WHO", "")]).expect("values");
        assert_eq!(said, ["LEVEL=release", "NOTE=a=b c", "WHO="]);
    }

    #[test]
    fn what_is_not_declared_is_refused_with_what_was_meant() {
        for (pair, want) in [
            (("LEVLE", "debug"), "The commit has no parameter \"LEVLE\". Did you mean LEVEL?"),
            (("SOMETHING_ELSE", "x"), "It has LEVEL, NOTE, WHO."),
            (("LEVEL", "fast"), "The parameter LEVEL cannot be \"fast\". Choose one of debug, release."),
            (("NOTE", "a\0"), "or has a zero byte"),
        ] {
            let told = asked(&[pair]).expect_err("refused");
            assert!(told.contains(want), "{told}");
        }
        let told = unknown(&Params::new(), "X").to_string();
        assert!(told.contains("declares none"), "{told}");
    }

    #[test]
    fn a_parameter_that_cannot_be_is_told_with_its_place() {
        for (text, want) in [
            ("[build.params.CI]\n", "CI is set by the server"),
            ("[build.params.BUILDKIT_SYNTAX]\n", "set already"),
            ("[build]\nargs = { A = \"b\" }\n[build.params.A]\n", "set already"),
            ("[test]\nshell = \"x\"\nenv = { A = \"b\" }\n[build.params.A]\n", "set already"),
            ("[build.params.A]\nchoices = [\"x\"]\ndefault = \"y\"\n", "none of its choices"),
            ("[build.params.A]\nchoises = []\n", "did you mean `choices`?"),
            ("[build.params.\"a b\"]\n", "is no name of a variable"),
        ] {
            let told = Spec::parse(text.as_bytes()).expect_err("must be refused").to_string();
            assert!(told.contains(want) && told.starts_with("slipway.toml:"), "{text:?}: {told}");
        }
    }
}
