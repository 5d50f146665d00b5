//! What two parts of one file would both be called: tags of one image, and the build arguments by which images reach others.

use std::collections::BTreeMap;

use super::images::Part;
use crate::place::Wrong;

/// Parts of one image lie under one name in the registry, so that no two may have a tag in common: the last one built would win.
pub(super) fn tags(parts: &[Part]) -> Result<(), Wrong> {
    let mut of: BTreeMap<&str, &str> = BTreeMap::new();
    for part in parts {
        for tag in &part.spec.push.tags {
            let text = tag.template.as_str();
            if let Some(other) = of.insert(text, &part.name).filter(|other| *other != part.name) {
                let name = &part.name;
                let told = format!(
                    "{other} and {name} would both have the tag {text:?}: let it tell the values apart"
                );
                return Err(Wrong::at("tags", told));
            }
        }
    }
    Ok(())
}

/// The build argument with the image of a part that another needs: `SLIPWAY_IMAGE_WEB_BASE` of `web-base`.
pub fn image_variable(part: &str) -> String {
    let name = part.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    format!("SLIPWAY_IMAGE_{}", name.collect::<String>())
}

/// What an image needs reaches it by [`image_variable`]: no two may have one.
pub(super) fn variables(needs: &[String], all: &[Part]) -> Result<(), Wrong> {
    let mut of: BTreeMap<String, &str> = BTreeMap::new();
    for (need, at) in needs.iter().zip(0..) {
        for part in all.iter().filter(|part| part.is(need)) {
            let variable = image_variable(&part.name);
            if let Some(other) = of.insert(variable.clone(), &part.name).filter(|other| *other != part.name) {
                let told = format!("{other} and {} would both be {variable}: call one otherwise", part.name);
                return Err(Wrong::at("needs", told).item(at));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::spec::Spec;

    fn told(text: &str) -> String {
        Spec::parse(text.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn values_that_run_together_in_a_tag_are_refused() {
        let py =
            |tags: &str, values: &str| format!("[[image]]\nname = \"py\"\n{tags}matrix = {{ {values} }}\n");
        let dashes = told(&py("", "A = [\"1-2\", \"1\"], B = [\"3\", \"2-3\"]"));
        assert!(dashes.contains("would both have the tag \"{sha}-1-2-3\""), "{dashes}");
        let close = told(&py("tags = [\"{sha}-{A}{B}\"]\n", "A = [\"1\", \"11\"], B = [\"1\", \"11\"]"));
        assert!(close.starts_with("slipway.toml:3:8: ") && close.contains("{sha}-111"), "{close}");
        let apart = py("tags = [\"{sha}-{A}_{B}\"]\n", "A = [\"1\", \"11\"], B = [\"1\", \"11\"]");
        assert_eq!(Spec::parse(apart.as_bytes()).expect("told apart").parts().len(), 4);
    }

    #[test]
    fn images_that_would_reach_another_by_one_argument_are_refused() {
        let text = "[[image]]\nname = \"b-c\"\n[[image]]\nname = \"b_c\"\n[[image]]\nname = \"d\"\nneeds = [\"b-c\", \"b_c\"]\n";
        let both = told(text);
        assert!(both.starts_with("slipway.toml:7:17: b-c and b_c would both be SLIPWAY_IMAGE_B_C"), "{both}");
        Spec::parse(text.replace(", \"b_c\"]", "]").as_bytes()).expect("one of them");
    }
}
