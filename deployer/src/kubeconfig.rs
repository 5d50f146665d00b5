//! A kubeconfig's text to a client: one context, no prompt, no environment, nothing logged.
//!
//! Programs are run and files of this host opened only where the server's own settings name them (`kubeconfig/rules.rs`):
//! who may add a cluster over the network has no hold of the host by that.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::{AuthInfo, Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use serde_json::{Value, json};
use slipway_core::Secret;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::error::DeployError;
use crate::exec_plugin;
use crate::limits::{CLIENT_BUILD_MS_MAX, CONNECT_MS_MAX, KUBECONFIG_BYTES_MAX};
use crate::wire::{auth_words, deepest};

pub(crate) mod rules;
use self::rules::KubeconfigRules;

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
///
/// # Errors
/// [`DeployError::Kubeconfig`] for what cannot be used, [`DeployError::KubeconfigDenied`] for what `rules` do not allow.
pub fn summarise(
    cluster: &str,
    kubeconfig: &Secret,
    context: Option<&str>,
    rules: &KubeconfigRules,
) -> Result<KubeconfigSummary, DeployError> {
    let summary = summary(kubeconfig.expose(), context).map_err(|why| no_client(cluster, why.into()))?;
    let source = Source {
        kubeconfig: kubeconfig.clone(),
        context: context.map(str::to_owned),
        rules: Arc::new(rules.clone()),
    };
    source.check().map_err(|why| no_client(cluster, why))?;
    Ok(summary)
}

/// Why there is no client, as an error of that cluster.
pub(crate) fn no_client(cluster: &str, why: NoClient) -> DeployError {
    let cluster = cluster.to_owned();
    match why {
        NoClient::Denied(why) => DeployError::KubeconfigDenied { cluster, why },
        NoClient::Unusable(why) => DeployError::Kubeconfig { cluster, why },
    }
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
    let picked = pick(&parsed, context)?;
    let server = picked.cluster.server.clone();
    let server = server.ok_or_else(|| config_words(&KubeconfigError::MissingClusterUrl))?;
    server.parse::<http::Uri>().map_err(|e| config_words(&KubeconfigError::ParseClusterUrl(e)))?;
    Ok(KubeconfigSummary {
        server,
        context: Some(picked.context),
        namespace: picked.namespace.unwrap_or_else(|| "default".into()),
        credentials: credentials(picked.user),
        insecure: picked.cluster.insecure_skip_tls_verify.unwrap_or(false),
    })
}

/// What of a kubeconfig one context uses.
struct Picked<'a> {
    context: String,
    namespace: Option<String>,
    cluster: &'a kube::config::Cluster,
    user_name: Option<String>,
    user: Option<&'a AuthInfo>,
}

fn pick<'a>(parsed: &'a Kubeconfig, context: Option<&str>) -> Result<Picked<'a>, String> {
    let name = context.map(str::to_owned).or_else(|| parsed.current_context.clone());
    let name = name.ok_or_else(|| config_words(&KubeconfigError::CurrentContextNotSet))?;
    let found = parsed.contexts.iter().find(|c| c.name == name).and_then(|c| c.context.as_ref());
    let found = found.ok_or_else(|| config_words(&KubeconfigError::LoadContext(name.clone())))?;
    let cluster = parsed.clusters.iter().find(|c| c.name == found.cluster).and_then(|c| c.cluster.as_ref());
    let lost = || config_words(&KubeconfigError::LoadClusterOfContext(found.cluster.clone()));
    let cluster = cluster.ok_or_else(lost)?;
    let user = parsed.auth_infos.iter().find(|u| Some(&u.name) == found.user.as_ref());
    Ok(Picked {
        context: name,
        namespace: found.namespace.clone(),
        cluster,
        user_name: found.user.clone(),
        user: user.and_then(|u| u.auth_info.as_ref()),
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

/// A kubeconfig, and what it may make this server do: all that a client is made of, as often as its credentials end.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) kubeconfig: Secret,
    pub(crate) context: Option<String>,
    pub(crate) rules: Arc<KubeconfigRules>,
}

/// A client, and until when it is good.
pub(crate) struct Made {
    pub(crate) client: kube::Client,
    /// Seconds since 1970 until which its credentials are good; `None`: they do not end, or nobody knows.
    pub(crate) until_s: Option<i64>,
}

/// Why there is no client.
#[derive(Debug)]
pub(crate) enum NoClient {
    /// The server's settings do not allow what the kubeconfig asks for.
    Denied(String),
    /// It cannot be used.
    Unusable(String),
}

impl From<String> for NoClient {
    fn from(why: String) -> Self {
        Self::Unusable(why)
    }
}

impl Source {
    /// A client for the kubeconfig's context. Its exec plugin runs here, its files are read on a thread of their own, both
    /// for a bounded time; an `Err` is a sentence that holds no secret.
    pub(crate) async fn client(&self) -> Result<Made, NoClient> {
        let text = self.kubeconfig.expose();
        if text.trim() == IN_CLUSTER {
            self.check_in_cluster()?;
            let client = blocking(|_| {
                let config = Config::incluster_env();
                build(bounded(config.map_err(|e| format!("this server does not run in a cluster: {e}"))?))
            });
            return Ok(Made { client: client.await?, until_s: None });
        }
        let (parsed, options, until_s) = self.prepared(parse(text)?).await?;
        let client = blocking(move |runtime| {
            let config = runtime.block_on(Config::from_custom_kubeconfig(parsed, &options));
            build(bounded(config.map_err(|e| config_words(&e))?))
        });
        Ok(Made { client: client.await?, until_s })
    }

    /// Whether what it asks for is allowed; touches nothing.
    fn check(&self) -> Result<(), NoClient> {
        let text = self.kubeconfig.expose();
        if text.trim() == IN_CLUSTER {
            return self.check_in_cluster();
        }
        let parsed = parse(text)?;
        let picked = pick(&parsed, self.context.as_deref())?;
        self.rules.check(picked.user, picked.cluster).map_err(NoClient::Denied)
    }

    fn check_in_cluster(&self) -> Result<(), NoClient> {
        if self.rules.in_cluster {
            return Ok(());
        }
        Err(NoClient::Denied(
            "it names the service account of this server's own pod, which its settings do not allow; give a kubeconfig, or \
             set in config.toml: [clusters] in_cluster = true"
                .into(),
        ))
    }

    /// The kubeconfig with what its exec plugin gave in the plugin's place.
    async fn prepared(
        &self,
        mut parsed: Kubeconfig,
    ) -> Result<(Kubeconfig, KubeConfigOptions, Option<i64>), NoClient> {
        let picked = pick(&parsed, self.context.as_deref())?;
        self.rules.check(picked.user, picked.cluster).map_err(NoClient::Denied)?;
        let options = KubeConfigOptions { context: Some(picked.context), ..KubeConfigOptions::default() };
        let Some((name, exec)) = picked.user_name.zip(picked.user.and_then(|u| u.exec.clone())) else {
            return Ok((parsed, options, None));
        };
        let told = told_of(picked.cluster);
        let credential = exec_plugin::run(&exec, told, &self.rules).await?;
        let user = parsed.auth_infos.iter_mut().find(|u| u.name == name).and_then(|u| u.auth_info.as_mut());
        if let Some(user) = user {
            user.exec = None;
            user.token = credential.token.map(|t| t.expose().to_owned().into());
            if let Some((certificate, key)) = credential.certificate {
                let encode = |pem: &str| BASE64.encode(pem);
                user.client_certificate_data = Some(encode(&certificate));
                user.client_key_data = Some(encode(key.expose()).into());
            }
        }
        Ok((parsed, options, credential.until_s))
    }
}

fn build(config: Config) -> Result<kube::Client, String> {
    kube::client::ClientBuilder::try_from(config).map(|b| b.build()).map_err(|e| client_words(&e))
}

/// What an exec plugin is told of the cluster, where it asks for that.
fn told_of(cluster: &kube::config::Cluster) -> Value {
    json!({
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "certificate-authority-data": cluster.certificate_authority_data,
    })
}

/// Runs what may block on a thread of its own, inside the runtime, which a client's worker needs.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Handle) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let runtime = Handle::current();
    let work = spawn_blocking(move || {
        let _here = runtime.enter();
        work(&runtime)
    });
    match timeout(Duration::from_millis(CLIENT_BUILD_MS_MAX), work).await {
        Ok(Ok(made)) => made,
        Ok(Err(_)) => Err("its credentials could not be read".into()),
        Err(_) => Err(format!("its files could not be read within {} seconds", CLIENT_BUILD_MS_MAX / 1000)),
    }
}

fn parse(text: &str) -> Result<Kubeconfig, String> {
    if text.len() > KUBECONFIG_BYTES_MAX {
        return Err(format!("it has {} bytes, {KUBECONFIG_BYTES_MAX} are allowed", text.len()));
    }
    // A parse error would quote the text, and with it a token.
    Kubeconfig::from_yaml(text).map_err(|_| "it is not a kubeconfig (YAML)".to_owned())
}

/// Retries, timeouts and the way are ours (see `wire.rs`); kube's would hold one call for minutes.
fn bounded(mut config: Config) -> Config {
    config.default_retry = false;
    // The environment's, which is not of this server's settings: a kubeconfig with one of its own is refused.
    config.proxy_url = None;
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
        let got = summarise("new", &Secret::new(GOOD), None, &KubeconfigRules::default()).expect("good");
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
            let got = summarise("new", &Secret::new(text), context, &KubeconfigRules::default())
                .expect_err("wrong")
                .to_string();
            assert!(got.contains(want) && !got.contains("s3cr3t"), "{got}");
        }
    }

    fn source(kubeconfig: String, rules: KubeconfigRules) -> Source {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Source { kubeconfig: Secret::new(kubeconfig), context: None, rules: Arc::new(rules) }
    }

    fn with_user(user: &str) -> String {
        GOOD.replace("token: s3cr3t-t0ken", user)
    }

    fn exec(script: &str) -> String {
        with_user(&format!(
            "exec: {{apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, args: ['-c', '{script}']}}"
        ))
    }

    fn sh() -> KubeconfigRules {
        let exec = vec!["/usr/bin/other".to_owned(), "/bin/sh -c".to_owned()];
        KubeconfigRules { exec, exec_env: vec!["HOME".into(), "GIVEN".into()], ..KubeconfigRules::default() }
    }

    async fn why(source: Source) -> String {
        match source.client().await.err().expect("no client") {
            NoClient::Denied(why) => format!("denied: {why}"),
            NoClient::Unusable(why) => why,
        }
    }

    #[tokio::test]
    async fn programs_and_files_of_this_host_are_refused_unless_the_settings_name_them() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = std::env::temp_dir();
        let ran = folder.join(format!("slipway-exec-{}", std::process::id()));
        let cluster =
            |more: &str| GOOD.replace("'https://127.0.0.1:1'", &format!("'https://127.0.0.1:1', {more}"));
        for (text, want) in [
            (exec(&format!("touch {}", ran.display())), "[clusters] exec"),
            (with_user("exec: {command: sh}"), "[clusters] exec"),
            (with_user("exec: {}"), "[clusters] exec"),
            (with_user("tokenFile: /etc/hostname"), "[clusters] files"),
            (with_user("token: x, tokenFile: /etc/hostname"), "[clusters] files"),
            (with_user("client-certificate: /etc/hostname, client-key: /etc/hostname"), "[clusters] files"),
            (with_user("client-certificate-data: eA==, client-key: /etc/shadow"), "[clusters] files"),
            (cluster("certificate-authority: /etc/hostname"), "[clusters] files"),
            (with_user("auth-provider: {name: gcp, config: {cmd-path: /bin/sh}}"), "auth-provider"),
            (IN_CLUSTER.to_owned(), "in_cluster"),
            (cluster("proxy-url: 'http://stranger:3128'"), "it names a proxy"),
            (GOOD.replace("https://127.0.0.1:1", "http://10.0.0.1:1"), "plain http"),
            (GOOD.replace("https://127.0.0.1:1", "http://127.0.0.1.example.org:1"), "plain http"),
        ] {
            let rules = KubeconfigRules::default();
            let got =
                summarise("new", &Secret::new(text.clone()), None, &rules).expect_err("refused").to_string();
            assert!(got.contains(want), "{text}: {got}");
            let used = why(source(text.clone(), rules)).await;
            assert!(used.starts_with("denied: ") && used.contains(want), "{text}: {used}");
        }
        assert!(!ran.exists(), "a refused plugin has run");
        let other = KubeconfigRules { exec: vec!["/bin/sh -x".into(), "/bin".into()], ..sh() };
        assert!(why(source(exec("true"), other)).await.starts_with("denied: "));
        let set = "exec: {command: /bin/sh, args: ['-c', 'true'], env: [{name: LD_PRELOAD, value: /x}]}";
        assert!(why(source(with_user(set), sh())).await.contains("exec_env"));
    }

    #[tokio::test]
    async fn an_exec_plugin_that_fails_is_quoted_by_its_last_line_of_stderr_only() {
        let got = why(source(exec("echo hidden-t0ken; echo no login >&2; exit 3"), sh())).await;
        assert!(got.contains("no login") && got.contains('3') && !got.contains("hidden-t0ken"), "{got}");
        let got = why(source(exec("echo hidden-t0ken"), sh())).await;
        assert!(got.contains("ExecCredential") && !got.contains("hidden-t0ken"), "{got}");
        let flood = "head -c 300000 /dev/zero; sleep 60";
        assert!(why(source(exec(flood), sh())).await.contains("more than 262144 bytes"));
    }

    #[tokio::test]
    async fn an_exec_plugin_has_no_terminal_and_only_the_variables_that_are_allowed() {
        let got = why(source(exec("read answer && exit 1; echo \"no input\" >&2; exit 1"), sh())).await;
        assert!(got.contains("no input"), "{got}");
        let script = "exec: {command: /bin/sh, args: ['-c', 'env | cut -d= -f1 | sort | tr \"\\n\" \" \" >&2; exit 1'], env: [{name: GIVEN, value: x}]}";
        let got = why(source(with_user(script), sh())).await;
        assert!(got.ends_with("GIVEN HOME KUBERNETES_EXEC_INFO PATH PWD "), "{got}");
    }

    #[tokio::test]
    async fn what_an_exec_plugin_gives_is_used_until_it_ends() {
        let answer =
            r#"echo "{\"status\": {\"token\": \"t\", \"expirationTimestamp\": \"2030-01-01T00:00:00Z\"}}""#;
        let made = source(exec(answer), sh()).client().await.expect("a client");
        assert_eq!(made.until_s, Some(1_893_456_000));
    }
}
