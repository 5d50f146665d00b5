//! A kubeconfig's text to a client: one context, no prompt, no environment, nothing logged.
//!
//! Who may add a cluster may also name an exec plugin and files of this host in its kubeconfig: adding clusters is the
//! server owner's privilege for that reason.

use std::time::Duration;

use kube::config::{AuthInfo, Config, ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError};
use slipway_core::Secret;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::error::DeployError;
use crate::limits::{CLIENT_BUILD_MS_MAX, CONNECT_MS_MAX, KUBECONFIG_BYTES_MAX};
use crate::wire::{auth_words, deepest};

/// In place of a kubeconfig: the service account of the pod that this server runs in.
pub const IN_CLUSTER: &str = "in-cluster";

/// What a kubeconfig says, secrets aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeconfigSummary {
    /// The API's address.
    pub server: String,
    /// The context that is used.
    pub context: Option<String>,
    /// The namespace of that context.
    pub namespace: String,
    /// How it says who calls: `token`, `client certificate`, `exec plugin …`, `service account` or `nothing`.
    pub credentials: String,
    /// The server's certificate is not checked.
    pub insecure: bool,
}

/// Reads a kubeconfig without calling anybody, opening a file or running a plugin.
pub fn summarise(kubeconfig: &Secret, context: Option<&str>) -> Result<KubeconfigSummary, DeployError> {
    let text = kubeconfig.expose();
    summary(text, context)
        .map_err(|why| DeployError::Kubeconfig { cluster: context.unwrap_or("new").to_owned(), why })
}

fn summary(text: &str, context: Option<&str>) -> Result<KubeconfigSummary, String> {
    if text.trim() == IN_CLUSTER {
        return Ok(KubeconfigSummary {
            server: "https://kubernetes.default.svc".into(),
            context: None,
            namespace: "default".into(),
            credentials: "service account".into(),
            insecure: false,
        });
    }
    let parsed = parse(text)?;
    let name = context.map(str::to_owned).or_else(|| parsed.current_context.clone());
    let name = name.ok_or_else(|| config_words(&KubeconfigError::CurrentContextNotSet))?;
    let found = parsed.contexts.iter().find(|c| c.name == name).and_then(|c| c.context.as_ref());
    let found = found.ok_or_else(|| config_words(&KubeconfigError::LoadContext(name.clone())))?;
    let cluster = parsed.clusters.iter().find(|c| c.name == found.cluster).and_then(|c| c.cluster.as_ref());
    let lost = || config_words(&KubeconfigError::LoadClusterOfContext(found.cluster.clone()));
    let cluster = cluster.ok_or_else(lost)?;
    let server = cluster.server.clone().ok_or_else(|| config_words(&KubeconfigError::MissingClusterUrl))?;
    server.parse::<http::Uri>().map_err(|e| config_words(&KubeconfigError::ParseClusterUrl(e)))?;
    let user = parsed.auth_infos.iter().find(|u| Some(&u.name) == found.user.as_ref());
    Ok(KubeconfigSummary {
        server,
        context: Some(name),
        namespace: found.namespace.clone().unwrap_or_else(|| "default".into()),
        credentials: credentials(user.and_then(|u| u.auth_info.as_ref())),
        insecure: cluster.insecure_skip_tls_verify.unwrap_or(false),
    })
}

fn credentials(auth: Option<&AuthInfo>) -> String {
    let Some(auth) = auth else { return "nothing".into() };
    if auth.token.is_some() {
        "token".into()
    } else if let Some(file) = &auth.token_file {
        format!("token file {file}")
    } else if auth.client_certificate.is_some() || auth.client_certificate_data.is_some() {
        "client certificate".into()
    } else if let Some(exec) = &auth.exec {
        format!("exec plugin {}", exec.command.as_deref().unwrap_or("without a command"))
    } else if auth.username.is_some() {
        "user and password".into()
    } else {
        "nothing".into()
    }
}

/// A client for the kubeconfig's context. Files and exec plugins are read and run on a thread of their own, for at
/// most [`CLIENT_BUILD_MS_MAX`]; `Err` is a sentence that holds no secret.
pub(crate) async fn client(kubeconfig: &Secret, context: Option<&str>) -> Result<kube::Client, String> {
    let text = kubeconfig.clone();
    let context = context.map(str::to_owned);
    blocking(move |runtime| {
        // The client's worker task needs the runtime; making it may run a plugin, which blocks.
        let _here = runtime.enter();
        let (config, _) = runtime.block_on(read(text.expose(), context.as_deref()))?;
        kube::client::ClientBuilder::try_from(config).map(|b| b.build()).map_err(|e| client_words(&e))
    })
    .await
}

/// Runs what may block on a thread of its own. A plugin that hangs keeps that thread, but nobody who waits.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Handle) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let runtime = Handle::current();
    let work = spawn_blocking(move || work(&runtime));
    match timeout(Duration::from_millis(CLIENT_BUILD_MS_MAX), work).await {
        Ok(Ok(made)) => made,
        Ok(Err(_)) => Err("its credentials could not be read".into()),
        Err(_) => {
            Err(format!("its exec plugin gave no credentials within {} seconds", CLIENT_BUILD_MS_MAX / 1000))
        }
    }
}

fn parse(text: &str) -> Result<Kubeconfig, String> {
    if text.len() > KUBECONFIG_BYTES_MAX {
        return Err(format!("it has {} bytes, {KUBECONFIG_BYTES_MAX} are allowed", text.len()));
    }
    // A parse error would quote the text, and with it a token.
    Kubeconfig::from_yaml(text).map_err(|_| "it is not a kubeconfig (YAML)".to_owned())
}

async fn read(text: &str, context: Option<&str>) -> Result<(Config, Option<String>), String> {
    if text.trim() == IN_CLUSTER {
        let config =
            Config::incluster_env().map_err(|e| format!("this server does not run in a cluster: {e}"))?;
        return Ok((bounded(config), None));
    }
    let mut parsed = parse(text)?;
    for named in &mut parsed.auth_infos {
        if let Some(exec) = named.auth_info.as_mut().and_then(|a| a.exec.as_mut()) {
            // Else the plugin has our terminal.
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
    }
    let context = context.map(str::to_owned).or_else(|| parsed.current_context.clone());
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(parsed, &options).await.map_err(|e| config_words(&e))?;
    Ok((bounded(config), context))
}

/// Retries and timeouts are ours (see `wire.rs`); kube's would hold one call for minutes.
fn bounded(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_millis(CONNECT_MS_MAX));
    config
}

fn config_words(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::CurrentContextNotSet => "it has no current-context, and none was named".into(),
        KubeconfigError::LoadContext(name) => format!("it has no context {name:?}"),
        KubeconfigError::LoadClusterOfContext(name) => format!("it has no cluster {name:?}"),
        KubeconfigError::MissingClusterUrl => "its cluster has no server".into(),
        KubeconfigError::ParseClusterUrl(_) => "its cluster's server is not a URL".into(),
        KubeconfigError::ParseProxyUrl(_) => "its proxy-url is not a URL".into(),
        KubeconfigError::LoadCertificateAuthority(e) => {
            format!("its certificate authority cannot be read: {}", deepest(e))
        }
        KubeconfigError::LoadClientCertificate(e) => {
            format!("its client certificate cannot be read: {}", deepest(e))
        }
        KubeconfigError::LoadClientKey(_) => "its client key cannot be read".into(),
        _ => "it cannot be used".into(),
    }
}

fn client_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(auth) => auth_words(auth),
        kube::Error::InferKubeconfig(e) => config_words(e),
        kube::Error::RustlsTls(e) => format!("its certificates cannot be used: {}", deepest(e)),
        kube::Error::ProxyProtocolDisabled { .. } | kube::Error::ProxyProtocolUnsupported { .. } => {
            "it names a proxy, which is not supported".into()
        }
        _ => "no client can be made of it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: s3cr3t-t0ken}}]\ncontexts: [{name: a, context: {cluster: c, user: u, namespace: team}}]\n";

    #[test]
    fn a_kubeconfig_is_summed_up_without_its_secret() {
        let got = summarise(&Secret::new(GOOD), None).expect("good");
        let server = "https://127.0.0.1:1".to_owned();
        let (context, namespace) = (Some("a".to_owned()), "team".to_owned());
        let want =
            KubeconfigSummary { server, context, namespace, credentials: "token".into(), insecure: false };
        assert_eq!(got, want);
    }

    #[test]
    fn what_is_wrong_is_told_and_no_secret_with_it() {
        let broken = GOOD.replace("contexts:", "contexts: {{");
        for (text, context, want) in [
            (broken.as_str(), None, "not a kubeconfig"),
            (GOOD, Some("b"), "no context \"b\""),
            ("a: b", None, "no current-context"),
            (&"x".repeat(KUBECONFIG_BYTES_MAX + 1), None, "are allowed"),
        ] {
            let got = summarise(&Secret::new(text), context).expect_err("wrong").to_string();
            assert!(got.contains(want) && !got.contains("s3cr3t"), "{got}");
        }
    }

    fn exec(script: &str) -> Secret {
        Secret::new(GOOD.replace(
            "token: s3cr3t-t0ken",
            &format!(
                "exec: {{apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, args: ['-c', '{script}']}}"
            ),
        ))
    }

    #[tokio::test]
    async fn an_exec_plugin_that_fails_is_quoted_by_its_last_line_of_stderr_only() {
        let secret = exec("echo hidden-t0ken; echo no login >&2; exit 3");
        let got = client(&secret, None).await.err().expect("plugin fails");
        assert!(got.contains("no login") && got.contains('3') && !got.contains("hidden-t0ken"), "{got}");
        let got = client(&exec("echo hidden-t0ken"), None).await.err().expect("no credential");
        assert!(!got.contains("hidden-t0ken"), "{got}");
    }

    #[tokio::test]
    async fn an_exec_plugin_has_no_terminal_to_ask() {
        let secret = exec("read answer && exit 1; echo \"no input\" >&2; exit 1");
        let got = client(&secret, None).await.err().expect("plugin fails");
        assert!(got.contains("no input"), "{got}");
    }
}
