//! What a slipway.toml asks for its test that is above the ceilings. Sizes and times are lowered where they are used; networks and
//! capabilities are refused, and that is known before anything is built: at the push, in `slipway check`, at a build's beginning.

use super::Ceilings;
use crate::spec::{Spec, TestSpec};

/// One thing that is asked for and may not be had: a clause without a full stop, and a sentence on the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// What is asked for, and what may be had.
    pub what: String,
    /// What to do.
    pub cure: String,
}

impl Ceilings {
    /// What of the test is refused under these ceilings of tests.
    pub fn refuses(&self, test: &TestSpec) -> Option<Beyond> {
        let widest = self.network.unwrap_or_default();
        if test.network > widest {
            let (asked, widest) = (test.network.as_str(), widest.as_str());
            return Some(Beyond {
                what: format!(
                    "slipway.toml asks for test.network = {asked:?}, and tests of this repository may have {widest:?} at most"
                ),
                cure: cure("Ask for less", &format!("network={asked}")),
            });
        }
        let most = self.capabilities.as_ref()?;
        let beyond = test.capabilities.beyond(most);
        if beyond.is_empty() {
            return None;
        }
        Some(Beyond {
            what: format!(
                "slipway.toml asks for the capabilities {beyond} in test.capabilities, and tests of this repository may have {most}"
            ),
            cure: cure("Do without", &format!("capabilities={most},{beyond}")),
        })
    }

    /// The same of all images of a file, each once.
    pub fn refuses_of(&self, spec: &Spec) -> Vec<Beyond> {
        let mut found: Vec<Beyond> = Vec::new();
        let one = spec.parts().is_empty().then_some(&spec.test);
        for test in spec.parts().iter().map(|part| &part.spec.test).chain(one) {
            found.extend(self.refuses(test).filter(|beyond| !found.contains(beyond)));
        }
        found
    }
}

fn cure(less: &str, limit: &str) -> String {
    format!(
        "{less}, or have an owner allow it: slipway bind REPO --registry NAME --test-limit {limit} (within [tests] of config.toml)."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_may_not_have_is_told_for_every_image_once() {
        let spec = |text: &str| Spec::parse(text.as_bytes()).expect("valid");
        let usual = Ceilings::of_tests();
        let told = |most: &Ceilings, text: &str| {
            most.refuses_of(&spec(text)).into_iter().map(|one| one.what).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&usual, "[test]\nshell = \"x\"\nnetwork = \"internal\"\nmemory = \"900GiB\"\n"),
            [""; 0]
        );
        let bridge = told(&usual, "[test]\nshell = \"x\"\nnetwork = \"bridge\"\n");
        assert!(
            bridge.len() == 1
                && bridge[0].contains("\"bridge\"")
                && bridge[0].contains("\"internal\" at most")
        );
        let none = Ceilings { network: Some(crate::spec::Network::None), ..usual.clone() };
        assert_eq!(told(&none, "[test]\nshell = \"x\"\nnetwork = \"internal\"\n").len(), 1);
        let most = Ceilings { capabilities: "CHOWN".parse().ok(), ..usual };
        let text = "[test]\nshell = \"x\"\ncapabilities = [\"CHOWN\", \"KILL\"]\n\
                    [[image]]\nname = \"a\"\n[[image]]\nname = \"b\"\n";
        let found = most.refuses_of(&spec(text));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].what.contains("KILL in test.capabilities")
                && found[0].cure.contains("capabilities=CHOWN,KILL")
        );
    }
}
