//! A kubeconfig's exec plugin: a program of this host that gives the credentials for a cluster. Run without a shell, in an
//! environment of its own, for a bounded time and output.

use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::config::ExecConfig;
use serde::Deserialize;
use serde_json::{Value, json};
use slipway_core::Secret;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::kubeconfig::rules::KubeconfigRules;
use crate::limits::{EXEC_ERRORS_BYTES_MAX, EXEC_MS_MAX, EXEC_OUTPUT_BYTES_MAX, cut};

/// Where a plugin's own programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a plugin gives.
#[derive(Default)]
pub(crate) struct Credential {
    pub(crate) token: Option<Secret>,
    /// Certificate and key, PEM.
    pub(crate) certificate: Option<(String, Secret)>,
    /// Seconds since 1970 until which it is good.
    pub(crate) until_s: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<Time>,
}

/// Runs the plugin, which the rules must allow (see [`KubeconfigRules`]). `cluster` is what it is told of the cluster,
/// where it asks for that. `Err` is a sentence that holds no secret.
pub(crate) async fn run(
    exec: &ExecConfig,
    cluster: Value,
    rules: &KubeconfigRules,
) -> Result<Credential, String> {
    let program = exec.command.as_deref().ok_or("its exec plugin names no command")?;
    let mut spec = json!({"interactive": false});
    if exec.provide_cluster_info {
        spec["cluster"] = cluster;
    }
    let info = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec});
    let mut command = Command::new(program);
    command
        .args(exec.args.iter().flatten())
        .env_clear()
        .env("PATH", PATH)
        .envs(rules.environment_of(exec))
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let run = async {
        let mut child = command.spawn().map_err(|e| format!("its exec plugin cannot be started: {e}"))?;
        let err = tokio::spawn(read(child.stderr.take(), EXEC_ERRORS_BYTES_MAX, true));
        let out = read(child.stdout.take(), EXEC_OUTPUT_BYTES_MAX + 1, false).await;
        if out.len() as u64 > EXEC_OUTPUT_BYTES_MAX {
            return Err(format!("its exec plugin wrote more than {EXEC_OUTPUT_BYTES_MAX} bytes"));
        }
        let status = child.wait().await.map_err(|e| format!("its exec plugin was lost: {e}"))?;
        if !status.success() {
            let err = err.await.unwrap_or_default();
            let said = String::from_utf8_lossy(&err);
            let said = said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("nothing");
            return Err(format!("its exec plugin ended with {status} and said: {}", cut(said, 300)));
        }
        parse(&out)
    };
    let late = |_| format!("its exec plugin gave no credentials within {} seconds", EXEC_MS_MAX / 1000);
    timeout(Duration::from_millis(EXEC_MS_MAX), run).await.map_err(late)?
}

/// What can be read, at most `max` bytes. What comes after is passed over with `drain`; else the pipe is closed to it.
async fn read(from: Option<impl AsyncRead + Unpin>, max: u64, drain: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // What came before an error counts.
        let _ = (&mut from).take(max).read_to_end(&mut bytes).await;
        if drain {
            let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        }
    }
    bytes
}

fn parse(out: &[u8]) -> Result<Credential, String> {
    // An error of the parser could quote what it read.
    let wrong = || "its exec plugin did not answer with an ExecCredential".to_owned();
    let mut answer: Value = serde_json::from_slice(out).map_err(|_| wrong())?;
    let status: Status = serde_json::from_value(answer["status"].take()).map_err(|_| wrong())?;
    let credential = Credential {
        token: status.token.map(Secret::new),
        certificate: status.client_certificate_data.zip(status.client_key_data.map(Secret::new)),
        until_s: status.expiration_timestamp.map(|t| t.0.as_second()),
    };
    if credential.token.is_none() && credential.certificate.is_none() { Err(wrong()) } else { Ok(credential) }
}
