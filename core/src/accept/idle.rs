//! Why a push starts nothing: a sentence for each reason, however many refs share it. Silence where somebody expects work
//! is an answer that nobody understands.

use super::ports::{Bindings, Orders};
use crate::git::{RefName, RefUpdate};
use crate::limits::{REFS_NAMED_MAX, WHYS_MAX};
use crate::name::RepoName;

/// Why no work is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// A sentence for each reason.
    pub whys: Vec<String>,
    /// Nothing is bound, or refs were only deleted: nobody expects work then, and only who waits for it is told.
    pub expected: bool,
}

impl Idle {
    /// `None` where work is owed.
    pub(super) fn of(
        repo: &RepoName,
        bindings: &Bindings,
        orders: &Orders,
        whys: Vec<String>,
        happened: &[RefUpdate],
    ) -> Option<Self> {
        if !orders.builds.is_empty() || !orders.deploys.is_empty() {
            return None;
        }
        if bindings.registry.is_none() && bindings.cluster.is_none() {
            let why = format!(
                "{repo} is bound to no registry and no cluster (an owner binds it: slipway bind {repo} --registry NAME)"
            );
            return Some(Self { whys: vec![why], expected: true });
        }
        if happened.iter().all(RefUpdate::is_delete) {
            let why = "what is deleted is neither built nor deployed".to_owned();
            return Some(Self { whys: vec![why], expected: true });
        }
        Some(Self { whys, expected: false })
    }
}

/// Reasons as they are found, ref by ref.
#[derive(Debug, Default)]
pub(super) struct Whys(Vec<Why>);

#[derive(Debug)]
struct Why {
    what: &'static str,
    reason: String,
    /// The first refs that it holds for, and how many there are.
    names: Vec<String>,
    count: usize,
    /// The push itself, or slipway.toml, asks for it: told even where other refs owe work.
    asked: bool,
}

impl Whys {
    /// `what` ("build", "deploy") is not done for that ref.
    pub(super) fn add(&mut self, what: &'static str, name: &RefName, reason: String, asked: bool) {
        let known = self.0.iter().position(|why| why.what == what && why.reason == reason);
        let at = known.unwrap_or(self.0.len());
        if known.is_none() && at < WHYS_MAX {
            self.0.push(Why { what, reason, names: Vec::new(), count: 0, asked });
        }
        let Some(why) = self.0.get_mut(at) else { return };
        why.count += 1;
        if why.names.len() < REFS_NAMED_MAX {
            why.names.push(name.short().to_owned());
        }
    }

    /// The sentences; `asked` alone gives those that are told in any case.
    pub(super) fn told(&self, asked: bool) -> Vec<String> {
        self.0.iter().filter(|why| why.asked || !asked).map(Why::told).collect()
    }
}

impl Why {
    fn told(&self) -> String {
        let names = self.names.join(", ");
        let more = match self.count - self.names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("no {} of {names}{more}: {}", self.what, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refs_with_one_reason_make_one_sentence_and_many_reasons_a_bounded_number() {
        let mut whys = Whys::default();
        let branch = |n: usize| RefName::branch(&format!("b{n}")).expect("valid");
        for n in 0..100 {
            whys.add("build", &branch(n), "not the default branch".into(), false);
        }
        assert_eq!(whys.told(false), ["no build of b0, b1, b2 and 97 more: not the default branch"]);
        for n in 0..100 {
            whys.add("build", &branch(n), format!("reason {n}"), true);
        }
        assert_eq!(whys.told(false).len(), WHYS_MAX);
        assert_eq!(whys.told(true).len(), WHYS_MAX - 1);
    }
}
