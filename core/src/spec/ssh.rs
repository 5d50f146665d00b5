//! `[build] ssh`: keys with which steps may sign, through an agent that gives none of them out.

use serde::Deserialize;

use crate::name::SecretName;

/// A key that the steps of a Dockerfile may use: `NAME`, or `ID=NAME` as Docker's own `--ssh` has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SshKey {
    /// By which a step asks for it: `RUN --mount=type=ssh,id=ID`.
    pub id: String,
    /// The repository's secret that is the key.
    pub secret: SecretName,
}

impl SshKey {
    /// What a step asks for that says no id.
    pub const DEFAULT_ID: &str = "default";
}

impl TryFrom<String> for SshKey {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (id, name) = text.split_once('=').unwrap_or((Self::DEFAULT_ID, &text));
        let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.len() > 100 || !id.chars().all(is_id) {
            return Err(format!("{id:?} is no id of a mount: letters, digits, dots, dashes and underscores"));
        }
        let secret = SecretName::parse(name).map_err(|e| e.to_string())?;
        Ok(Self { id: id.to_owned(), secret })
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::Spec;

    #[test]
    fn keys_have_an_id_or_are_the_default() {
        let spec = Spec::parse(b"[build]\nssh = [\"DEPLOY\", \"github=GITHUB_KEY\"]\n").expect("valid");
        let read: Vec<(&str, &str)> =
            spec.build.ssh.iter().map(|key| (key.id.as_str(), key.secret.as_str())).collect();
        assert_eq!(read, [("default", "DEPLOY"), ("github", "GITHUB_KEY")]);
        for wrong in ["=A", "a b=A", "a=", "a=b=c", "-"] {
            let told = Spec::parse(format!("[build]\nssh = [{wrong:?}]\n").as_bytes());
            assert_eq!(told.err().map(|e| e.line), Some(2), "{wrong}");
        }
    }
}
