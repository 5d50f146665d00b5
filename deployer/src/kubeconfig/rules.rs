//! What kubeconfigs may make this server do on its own host: run programs, open files. Nothing, unless its settings say so.

use kube::config::{AuthInfo, Cluster, ExecConfig};

/// What the server's settings allow to kubeconfigs. [`Default`] is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeconfigRules {
    /// Programs that exec plugins may be, by absolute path; words after it are what its arguments must begin with.
    pub exec: Vec<String>,
    /// Names of the variables that an exec plugin gets: from its kubeconfig, or else from the server's environment.
    pub exec_env: Vec<String>,
    /// Files that may be read as token, certificate or key, by absolute path.
    pub files: Vec<String>,
    /// The service account of the pod that the server runs in.
    pub in_cluster: bool,
}

impl KubeconfigRules {
    /// What of the kubeconfig's user and cluster is not allowed, with the setting that would allow it.
    pub(crate) fn check(&self, user: Option<&AuthInfo>, cluster: &Cluster) -> Result<(), String> {
        check_way(user, cluster)?;
        let read = |path: &Option<String>, data: bool| path.clone().filter(|_| !data);
        let mut files =
            vec![read(&cluster.certificate_authority, cluster.certificate_authority_data.is_some())];
        if let Some(user) = user {
            if user.auth_provider.is_some() {
                return Err("its user has an auth-provider, which is not supported (Kubernetes has taken it out); use a \
                            token or an exec plugin"
                    .into());
            }
            if let Some(exec) = &user.exec {
                self.check_exec(exec)?;
            }
            files.push(user.token_file.clone());
            files.push(read(&user.client_certificate, user.client_certificate_data.is_some()));
            files.push(read(&user.client_key, user.client_key_data.is_some()));
        }
        match files.into_iter().flatten().find(|path| !self.files.contains(path)) {
            None => Ok(()),
            Some(path) => Err(format!(
                "it names the file {path:?} of this server, which its settings do not allow; put the content into the \
                 kubeconfig (kubectl config view --minify --flatten), or name the file in config.toml: [clusters] files"
            )),
        }
    }

    fn check_exec(&self, exec: &ExecConfig) -> Result<(), String> {
        let program = exec.command.as_deref().unwrap_or_default();
        let arguments: Vec<&str> = exec.args.iter().flatten().map(String::as_str).collect();
        let allows = |rule: &String| {
            let mut words = rule.split_whitespace();
            words.next() == Some(program) && arguments.starts_with(&words.collect::<Vec<_>>())
        };
        if !self.exec.iter().any(allows) {
            return Err(format!(
                "it runs the program {program:?} on this server, which its settings do not allow; use a token or \
                 certificates within the kubeconfig, or name the program by its absolute path, there and in config.toml: \
                 [clusters] exec"
            ));
        }
        match exec.env.iter().flatten().filter_map(|e| e.get("name")).find(|n| !self.exec_env.contains(n)) {
            None => Ok(()),
            Some(name) => Err(format!(
                "it sets the variable {name:?} for its exec plugin, which the server's settings do not allow; take it out, \
                 or name it in config.toml: [clusters] exec_env"
            )),
        }
    }

    /// What an exec plugin finds in its environment.
    pub(crate) fn environment_of(&self, exec: &ExecConfig) -> Vec<(String, std::ffi::OsString)> {
        let set = |name: &str| {
            let mut own = exec.env.iter().flatten();
            own.find(|e| e.get("name").is_some_and(|n| n == name)).and_then(|e| e.get("value"))
        };
        let value = |name: &String| set(name).map(Into::into).or_else(|| std::env::var_os(name));
        self.exec_env.iter().filter_map(|name| Some((name.clone(), value(name)?))).collect()
    }
}

/// Refuses ways on which somebody else than the cluster would see the credentials. What only the cluster judges (`as`,
/// `tls-server-name`) is its own matter; a certificate that is not checked is told of with the cluster.
fn check_way(user: Option<&AuthInfo>, cluster: &Cluster) -> Result<(), String> {
    if cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()) {
        return Err("it names a proxy (proxy-url), by way of which the credentials would go; proxies are not supported: take \
                    the line out, and let this server reach the cluster itself"
            .into());
    }
    let server = cluster.server.as_deref().unwrap_or_default();
    let Some(rest) = server.strip_prefix("http://") else { return Ok(()) };
    let has_credentials = user.is_some_and(|user| {
        user.token.is_some() || user.token_file.is_some() || user.username.is_some() || user.exec.is_some()
    });
    let authority = rest.split('/').next().and_then(|text| text.parse::<http::uri::Authority>().ok());
    let is_here = authority.is_some_and(|authority| {
        let host = authority.host().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    if has_credentials && !is_here {
        return Err("its server is reached by plain http, where everybody on the way reads the credentials; name it with https"
            .into());
    }
    Ok(())
}
