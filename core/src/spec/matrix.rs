//! `[[image]] matrix`: the values of an image's arguments, and the combinations of them that are built.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::variables::check_variable;
use crate::limits::{PART_NAME_BYTES_MAX, PARTS_MAX};
use crate::place::Wrong;

/// One value for each key.
pub(super) type Values = BTreeMap<String, String>;

/// Arguments in capitals, each with its values; and which of the combinations are left out, and which are made besides.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Matrix {
    /// What is not built: every combination that has all of one's values.
    #[serde(default)]
    exclude: Vec<Values>,
    /// What is built besides: a value for each key.
    #[serde(default)]
    include: Vec<Values>,
    #[serde(flatten)]
    keys: BTreeMap<String, Vec<String>>,
}

impl Matrix {
    /// How many keys it has.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Every combination that is built, of the image of that name; one that is empty without a matrix.
    pub(super) fn combinations(&self, image: &str) -> Result<Vec<Values>, Wrong> {
        self.check()?;
        let mut all = vec![Values::new()];
        for (key, values) in &self.keys {
            if all.len() * values.len() > PARTS_MAX * PARTS_MAX {
                return Err(too_many(image));
            }
            let with = |one: Values| {
                values.iter().map(move |value| {
                    let mut more = one.clone();
                    more.insert(key.clone(), value.clone());
                    more
                })
            };
            all = all.into_iter().flat_map(with).collect();
        }
        for (out, at) in self.exclude.iter().zip(0..) {
            let is_out = |one: &Values| out.iter().all(|(key, value)| one.get(key) == Some(value));
            let before = all.len();
            all.retain(|one| !is_out(one));
            if out.is_empty() || all.len() == before {
                let what = format!("{} of the matrix's exclude leaves nothing out", told(out));
                return Err(Wrong::at("matrix.exclude", what).item(at));
            }
        }
        for (more, at) in self.include.iter().zip(0..) {
            if more.keys().ne(self.keys.keys()) {
                let keys: Vec<&str> = self.keys.keys().map(String::as_str).collect();
                let what = format!(
                    "{} of the matrix's include wants a value for each of {}",
                    told(more),
                    keys.join(", ")
                );
                return Err(Wrong::at("matrix.include", what).item(at));
            }
            if all.contains(more) {
                let what = format!("{} of the matrix's include is there already", told(more));
                return Err(Wrong::at("matrix.include", what).item(at));
            }
            all.push(more.clone());
        }
        match all.len() {
            0 => Err(Wrong::at("matrix.exclude", format!("the matrix of {image} leaves everything out"))),
            many if many > PARTS_MAX => Err(too_many(image)),
            _ => Ok(all),
        }
    }

    fn check(&self) -> Result<(), Wrong> {
        for (key, values) in &self.keys {
            let fine = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
            if !key.bytes().all(fine) || !key.starts_with(|c: char| c.is_ascii_uppercase()) {
                let shown: String = key.chars().take(40).collect();
                let what = format!(
                    "{shown:?} is no key of a matrix: it names an argument that args has not, in capitals; beside them are exclude and include"
                );
                return Err(of(key, what).itself());
            }
            check_variable(key).map_err(|why| of(key, why).itself())?;
            let unlike: BTreeSet<&String> = values.iter().collect();
            if values.is_empty() || unlike.len() < values.len() || !values.iter().all(|value| is_value(value))
            {
                return Err(of(key, format!("{key} of the matrix wants values, each once, {OF}")));
            }
        }
        match self.include.iter().position(|one| one.values().any(|value| !is_value(value))) {
            Some(at) => {
                Err(Wrong::at("matrix.include", format!("include of the matrix wants values {OF}")).item(at))
            }
            None => Ok(()),
        }
    }

    /// True if it has that key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The keys that have several values among all that is built.
    pub(super) fn several(&self) -> impl Iterator<Item = &String> + Clone {
        let of = |key: &str| {
            let more = self.include.iter().filter_map(|one| one.get(key)).cloned();
            self.keys.get(key).into_iter().flatten().cloned().chain(more).collect::<BTreeSet<_>>().len()
        };
        self.keys.keys().filter(move |key| of(key) > 1)
    }
}

const OF: &str = "of letters, digits, '.', '_' and '-'";

fn too_many(image: &str) -> Wrong {
    Wrong::at("matrix", format!("the matrix of {image} makes more than {PARTS_MAX} images"))
}

/// What is wrong with a key of it.
fn of(key: &str, what: String) -> Wrong {
    Wrong::at("matrix", what).key(key)
}

fn told(values: &Values) -> String {
    let pairs: Vec<String> = values.iter().take(5).map(|(key, value)| format!("{key} = {value:?}")).collect();
    let text: String = pairs.join(", ").chars().take(100).collect();
    format!("{{ {text} }}")
}

fn is_value(value: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !value.is_empty() && value.len() <= PART_NAME_BYTES_MAX && value.bytes().all(fine)
}

#[cfg(test)]
mod tests {
    use crate::spec::Spec;

    fn parts(matrix: &str) -> Result<Vec<String>, String> {
        let text = format!("[[image]]\nname = \"py\"\n[image.matrix]\n{matrix}\n");
        let spec = Spec::parse(text.as_bytes()).map_err(|e| e.to_string())?;
        Ok(spec.parts().iter().map(|part| part.name.clone()).collect())
    }

    const TWO: &str = "PY = [\"3.11\", \"3.12\"]\nOS = [\"a\", \"b\"]\n";

    #[test]
    fn combinations_are_left_out_and_made_besides() {
        let with = |more: &str| parts(&format!("{TWO}{more}"));
        assert_eq!(with("").expect("parts"), ["py/a/3.11", "py/a/3.12", "py/b/3.11", "py/b/3.12"]);
        let less = with("exclude = [{ OS = \"b\", PY = \"3.11\" }]").expect("parts");
        assert_eq!(less, ["py/a/3.11", "py/a/3.12", "py/b/3.12"]);
        assert_eq!(with("exclude = [{ OS = \"b\" }]").expect("parts"), ["py/a/3.11", "py/a/3.12"]);
        let more =
            with("exclude = [{ OS = \"b\" }]\ninclude = [{ OS = \"b\", PY = \"3.13\" }]").expect("parts");
        assert_eq!(more, ["py/a/3.11", "py/a/3.12", "py/b/3.13"]);
    }

    #[test]
    fn what_a_matrix_leaves_out_or_adds_in_vain_is_an_error() {
        for (more, want) in [
            ("exclude = [{ OS = \"c\" }]", "{ OS = \"c\" } of the matrix's exclude leaves nothing out"),
            ("exclude = [{}]", "leaves nothing out"),
            ("exclude = [{ OS = \"a\" }, { OS = \"b\" }]", "the matrix of py leaves everything out"),
            ("include = [{ OS = \"a\" }]", "wants a value for each of OS, PY"),
            ("include = [{ OS = \"a\", PY = \"3.11\" }]", "is there already"),
            ("include = [{ OS = \"a b\", PY = \"3.11\" }]", "include of the matrix wants values of letters"),
            ("exlude = [\"x\"]", "\"exlude\" is no key of a matrix"),
        ] {
            let told = parts(&format!("{TWO}{more}")).expect_err("refused");
            assert!(told.contains(want), "{more}: {told}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("\"{n}\"")).collect();
        let many = many.join(",");
        assert!(parts(&format!("A = [{many}]")).expect_err("too many").contains("more than 32"));
        assert!(
            parts(&format!("A = [{many}]\nB = [{many}]\nC = [{many}]"))
                .expect_err("far")
                .contains("more than 32")
        );
        let kept = parts(&format!("A = [{many}]\nexclude = [{{ A = \"7\" }}]")).expect("32");
        assert_eq!(kept.len(), 32);
    }

    #[test]
    fn a_tag_names_each_key_that_has_several_values_with_those_made_besides() {
        let with = |tags: &str| {
            let text = format!(
                "[[image]]\nname = \"py\"\ntags = {tags}\n[image.matrix]\nPY = [\"3\"]\ninclude = [{{ PY = \"4\" }}]\n"
            );
            Spec::parse(text.as_bytes()).map(drop).map_err(|e| e.to_string())
        };
        assert!(with("[\"x\"]").expect_err("one tag for two").contains("wants {PY}"));
        with("[\"x-{PY}\"]").expect("told apart");
    }
}
