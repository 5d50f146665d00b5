//! The verbs about registries, and what they ask of the API.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use slipway_core::{Problem, ProblemKind, RegistryName};

use super::request::{Files, Request, Shows, call, says, segment, send};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KindName {
    Generic,
    Ecr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum GateName {
    Off,
    Critical,
    High,
    Medium,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryVerb {
    /// Make a registry known, or record it anew with all its settings
    Add(Box<AddRegistry>),
    /// List the registries
    List,
    /// Try every call that a push needs, and name what is missing
    Test {
        /// What it is called here
        name: RegistryName,
        /// An image path below the registry's prefix: tries what is about one repository, too
        #[arg(long, value_name = "PATH")]
        image: Option<String>,
        /// Store a small image there, and remove it again where that is allowed
        #[arg(long, requires = "image")]
        write: bool,
    },
    /// Forget a registry
    Remove {
        /// What it is called here
        name: RegistryName,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddRegistry {
    /// What it is called here
    pub(crate) name: RegistryName,
    /// HOST[:PORT][/PREFIX]
    #[arg(long, value_name = "HOST[:PORT][/PREFIX]")]
    url: String,
    #[arg(long, value_enum, default_value = "generic")]
    kind: KindName,
    /// AWS region (ecr)
    #[arg(long)]
    region: Option<String>,
    /// Login name, or access key id (ecr)
    #[arg(long)]
    username: Option<String>,
    /// File with the password, or secret access key (`-` reads standard input)
    #[arg(long, value_name = "FILE", requires = "username")]
    pub(crate) password_file: Option<String>,
    /// Allow plain HTTP
    #[arg(long)]
    insecure: bool,
    /// Certificates (PEM) of authorities to believe besides the system's (generic; `-` reads standard input)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<String>,
    #[command(flatten)]
    ecr: EcrFlags,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Amazon ECR")]
struct EcrFlags {
    /// A profile of the server's AWS files, in place of the chain
    #[arg(long, value_name = "NAME", conflicts_with = "username")]
    aws_profile: Option<String>,
    /// A role to assume, with whatever identity there is
    #[arg(long, value_name = "ARN")]
    assume_role: Option<String>,
    /// What the role's trust policy asks for
    #[arg(long, value_name = "ID", requires = "assume_role")]
    external_id: Option<String>,
    /// Where ECR's API is, such as a VPC endpoint
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Write no manifests while ECR's scan of the image has findings as bad as this [default: off]
    #[arg(long, value_enum, value_name = "LEVEL")]
    scan_gate: Option<GateName>,
    /// Make no repository that is missing
    #[arg(long)]
    no_create: bool,
    /// New repositories: tags may not change
    #[arg(long)]
    immutable_tags: bool,
    /// New repositories: tags that may all the same, such as latest
    #[arg(long, value_name = "PATTERN", requires = "immutable_tags")]
    except: Vec<String>,
    /// New repositories: scan every image
    #[arg(long)]
    scan_on_push: bool,
    /// New repositories: their lifecycle policy, as JSON or a file of it (`-` reads standard input)
    #[arg(long, value_name = "FILE|JSON")]
    lifecycle: Option<String>,
    /// New repositories: aes256, kms or kms:KEY
    #[arg(long, value_name = "HOW")]
    encryption: Option<String>,
    /// New repositories: an AWS tag
    #[arg(long, value_name = "KEY=VALUE")]
    repository_tag: Vec<String>,
}

impl RegistryVerb {
    /// True if it reads standard input.
    pub(crate) fn reads_input(&self) -> bool {
        let Self::Add(add) = self else { return false };
        [&add.password_file, &add.ca_file, &add.ecr.lifecycle].into_iter().any(|f| f.as_deref() == Some("-"))
    }
}

pub(super) fn request(verb: RegistryVerb, files: &mut dyn Files) -> Result<Request, Problem> {
    Ok(match verb {
        RegistryVerb::Add(add) => {
            let (path, sentence) =
                (format!("/registries/{}", add.name), format!("Registry {} is known.", add.name));
            send("PUT", path, body(*add, files)?, says(sentence))
        }
        RegistryVerb::List => {
            let columns = &["name", "kind", "host", "prefix", "username", "insecure"];
            call("GET", "/registries?limit=1000", Shows::Rows("registries", columns))
        }
        RegistryVerb::Test { name, image, write } => {
            let image = image.map_or_else(String::new, |image| format!("&image={}", segment(&image)));
            call("POST", format!("/registries/{name}/test?write={write}{image}"), Shows::Trial)
        }
        RegistryVerb::Remove { name } => {
            call("DELETE", format!("/registries/{name}"), says(format!("Registry {name} is forgotten.")))
        }
    })
}

fn body(add: AddRegistry, files: &mut dyn Files) -> Result<Value, Problem> {
    let kind = match add.kind {
        KindName::Generic => "generic",
        KindName::Ecr => "ecr",
    };
    let mut body = json!({"url": add.url, "kind": kind, "insecure": add.insecure});
    for (key, value) in [("region", add.region), ("username", add.username)] {
        if let Some(value) = value {
            body[key] = json!(value);
        }
    }
    if let Some(file) = add.password_file {
        body["password"] = json!(files.read(&file)?.trim_end_matches(['\r', '\n']));
    }
    if let Some(file) = add.ca_file {
        body["ca"] = json!(files.read(&file)?);
    }
    let ecr = settings(add.ecr, files)?;
    if !ecr.is_empty() {
        body["ecr"] = Value::Object(ecr);
    }
    Ok(body)
}

fn settings(flags: EcrFlags, files: &mut dyn Files) -> Result<Map<String, Value>, Problem> {
    let gate = match flags.scan_gate {
        None | Some(GateName::Off) => None,
        Some(GateName::Critical) => Some("critical".to_owned()),
        Some(GateName::High) => Some("high".to_owned()),
        Some(GateName::Medium) => Some("medium".to_owned()),
    };
    let mut all = Map::new();
    for (key, value) in [
        ("profile", flags.aws_profile),
        ("assume_role", flags.assume_role),
        ("external_id", flags.external_id),
        ("endpoint", flags.endpoint),
        ("scan_gate", gate),
    ] {
        if let Some(value) = value {
            all.insert(key.into(), json!(value));
        }
    }
    let mut template = Map::new();
    for (key, is) in [
        ("no_create", flags.no_create),
        ("immutable_tags", flags.immutable_tags),
        ("scan_on_push", flags.scan_on_push),
    ] {
        if is {
            template.insert(key.into(), json!(true));
        }
    }
    if !flags.except.is_empty() {
        template.insert("except".into(), json!(flags.except));
    }
    if let Some(policy) = flags.lifecycle {
        let text = if policy.trim_start().starts_with('{') { policy } else { files.read(&policy)? };
        template.insert("lifecycle".into(), json!(text));
    }
    if let Some(how) = flags.encryption {
        template.insert("encryption".into(), json!(how));
    }
    if !flags.repository_tag.is_empty() {
        template.insert("tags".into(), tags(&flags.repository_tag)?);
    }
    if !template.is_empty() {
        all.insert("repositories".into(), Value::Object(template));
    }
    Ok(all)
}

fn tags(given: &[String]) -> Result<Value, Problem> {
    let mut tags = Map::new();
    for tag in given {
        let (key, value) = tag.split_once('=').ok_or_else(|| {
            let what = format!("{tag:?} is not KEY=VALUE.");
            Problem::new(ProblemKind::Invalid, what, "Write --repository-tag team=platform")
        })?;
        tags.insert(key.into(), json!(value));
    }
    Ok(Value::Object(tags))
}

/// The calls of a trial as a table, and below it what to do about those that failed.
pub(super) fn steps(answer: &Value) -> String {
    let rows: Vec<Value> = answer["steps"].as_array().cloned().unwrap_or_default();
    let mut out = super::output::table(&rows, &["call", "outcome", "what"]);
    for step in rows.iter().filter(|step| step["outcome"] == "failed" || step["policy"].is_object()) {
        let text = |key: &str| super::output::line(step[key].as_str().unwrap_or_default());
        out.push_str(&format!("\n{}: {} {}\n", text("call"), text("what"), text("cure")));
        if step["policy"].is_object() {
            out.push_str(&format!("  {}\n", step["policy"]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_is_told_with_its_cure_and_statement() {
        let text = steps(&json!({"ok": false, "what": "x", "steps": [
            {"call": "ecr:GetAuthorizationToken", "outcome": "ok", "what": "AWS gives a login."},
            {"call": "ecr:PutImage", "outcome": "failed", "what": "AWS does not\u{1b}[2J allow it.", "cure": "Allow it.",
             "policy": {"Action": "ecr:PutImage"}},
            {"call": "ecr:Other", "outcome": "skipped", "what": "Not tried."},
        ]}));
        assert_eq!(
            text,
            "CALL                       OUTCOME  WHAT\n\
             ecr:GetAuthorizationToken  ok       AWS gives a login.\n\
             ecr:PutImage               failed   AWS does not [2J allow it.\n\
             ecr:Other                  skipped  Not tried.\n\n\
             ecr:PutImage: AWS does not [2J allow it. Allow it.\n  {\"Action\":\"ecr:PutImage\"}\n"
        );
    }

    #[test]
    fn a_tag_has_a_key_and_a_value() {
        assert_eq!(tags(&["a=b=c".into(), "d=".into()]).expect("tags"), json!({"a": "b=c", "d": ""}));
        assert!(tags(&["a".into()]).is_err());
    }
}
