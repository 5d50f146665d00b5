//! The messages of bumps' commits.

use slipway_core::{BuildNumber, Oid, RepoName};

/// The bump's commit message: subject, and the trailers by which a deploy finds its build.
pub fn message(app: &RepoName, commit: &Oid, build: BuildNumber, target: &str) -> String {
    let subject = format!("Deploy {app}@{} to {target}", commit.short());
    format!("{subject}\n\nSlipway-Source: {app}@{commit}\nSlipway-Build: {app}#{build}\n")
}

/// The same where somebody moved the target to an earlier build's image by name, in `promotion`.
pub fn promotion_message(
    app: &RepoName,
    commit: &Oid,
    (build, promotion): (BuildNumber, BuildNumber),
    target: &str,
    by: &str,
) -> String {
    let subject = format!("Promote {app}@{} to {target} (build {build}, by {by})", commit.short());
    format!(
        "{subject}\n\nSlipway-Source: {app}@{commit}\nSlipway-Build: {app}#{build}\nSlipway-Promotion: {app}#{promotion}\nSlipway-Actor: {by}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_its_trailers() {
        let oid = Oid::parse("0123456789abcdef0123456789abcdef01234567").expect("oid");
        let app = RepoName::parse("app").expect("name");
        let trailers =
            "Slipway-Source: app@0123456789abcdef0123456789abcdef01234567\nSlipway-Build: app#12\n";
        let text = message(&app, &oid, BuildNumber(12), "prod");
        assert_eq!(text, format!("Deploy app@0123456789 to prod\n\n{trailers}"));
        let text = promotion_message(&app, &oid, (BuildNumber(12), BuildNumber(15)), "prod", "ann");
        let more = "Slipway-Promotion: app#15\nSlipway-Actor: ann\n";
        assert_eq!(text, format!("Promote app@0123456789 to prod (build 12, by ann)\n\n{trailers}{more}"));
    }
}
