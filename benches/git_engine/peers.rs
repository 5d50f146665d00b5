//! git's own server side, twice: behind OpenSSH's sshd, and behind nginx with fcgiwrap and git-http-backend. Each has its
//! own configuration in a temporary folder and listens on loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;
use crate::daemon::Daemon;
use crate::older::Older;
use crate::site::{
    self, HttpDoor, Outcome, Site, SshDoor, free_port, git_program, program, run, wait_for_port,
};

/// CGI processes that fcgiwrap keeps ready: enough for 8 clients.
const WRAPPERS: usize = 8;

/// The peers that could be started.
pub(crate) struct Peers {
    /// Where their repositories are.
    pub(crate) repos: PathBuf,
    /// nginx.
    pub(crate) http: Option<Site>,
    /// sshd.
    pub(crate) ssh: Option<Site>,
    /// What is missing, for the report.
    pub(crate) missing: Vec<&'static str>,
    older: Option<Older>,
    daemons: Vec<Daemon>,
}

/// Settings of git's repository: tuned for serving, and with the promise that a reported push is on the disk.
const SETTINGS: [(&str, &str); 9] = [
    ("uploadpack.allowFilter", "true"),
    ("uploadpack.allowAnySHA1InWant", "true"),
    ("pack.allowPackReuse", "multi"),
    ("http.receivepack", "true"),
    ("receive.autogc", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("core.fsync", "all"),
    ("core.fsyncMethod", "fsync"),
];

impl Peers {
    /// Starts what is installed. `key` is the client's private key, its public half beside it.
    pub(crate) fn start(folder: &Path, key: &Path) -> Outcome<Self> {
        if let Some(program) = std::env::var_os("SLIPWAY_AGAINST") {
            return Self::older(Path::new(&program), folder, key);
        }
        let repos = folder.join("repos");
        fs::create_dir_all(&repos)?;
        let mut peers =
            Self { repos, http: None, ssh: None, missing: Vec::new(), older: None, daemons: Vec::new() };
        match program("sshd") {
            Some(sshd) => peers.start_sshd(&sshd, folder, key)?,
            None => peers.missing.push("openssh-server"),
        }
        match (program("nginx"), program("fcgiwrap")) {
            (Some(nginx), Some(wrap)) => peers.start_nginx(&nginx, &wrap, folder)?,
            (nginx, wrap) => {
                let absent = [(nginx.is_none(), "nginx-light"), (wrap.is_none(), "fcgiwrap")];
                peers.missing.extend(absent.iter().filter(|(gone, _)| *gone).map(|(_, name)| name));
            }
        }
        Ok(peers)
    }

    /// Another Slipway in their place.
    fn older(program: &Path, folder: &Path, key: &Path) -> Outcome<Self> {
        let older = Older::start(program, &folder.join("older"), key)?;
        let (http, ssh) = (older.site.clone(), older.site.clone());
        Ok(Self {
            repos: older.repos(),
            http: Some(Site { ssh: None, ..http }),
            ssh: Some(Site { http: None, ..ssh }),
            missing: Vec::new(),
            older: Some(older),
            daemons: Vec::new(),
        })
    }

    /// An empty repository that everyone may read and the bench may write.
    pub(crate) fn create(&self, name: &str) -> Outcome<()> {
        if let Some(older) = &self.older {
            return older.create(name);
        }
        let path = self.repos.join(format!("{name}.git"));
        run(site::git(&self.repos).args(["init", "-q", "--bare", "-b", "main"]).arg(&path))?;
        for (key, value) in SETTINGS {
            run(site::git(&path).args(["config", key, value]))?;
        }
        Ok(())
    }

    /// Removes it.
    pub(crate) fn remove(&self, name: &str) -> Outcome<()> {
        match &self.older {
            Some(older) => older.remove(name),
            None => Ok(fs::remove_dir_all(self.repos.join(format!("{name}.git")))?),
        }
    }

    fn start_sshd(&mut self, sshd: &Path, folder: &Path, key: &Path) -> Outcome<()> {
        let folder = folder.join("sshd");
        fs::create_dir_all(&folder)?;
        let (host_key, users) = (folder.join("host_key"), folder.join("authorized_keys"));
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key))?;
        fs::copy(key.with_extension("pub"), &users)?;
        fs::set_permissions(&users, fs::Permissions::from_mode(0o600))?;
        let separation = Path::new("/run/sshd");
        if !separation.exists() {
            // Only root needs it, and only root can make it.
            drop(fs::create_dir(separation));
        }
        let port = free_port()?;
        let config = folder.join("sshd_config");
        fs::write(&config, sshd_config(port, &host_key, &users))?;
        let mut account = Account::open("sshd");
        let words = ["-D", "-e", "-f", &config.display().to_string()];
        self.daemons.push(Daemon::start(&mut account, sshd, &words, &folder.join("log"))?);
        wait_for_port(port)?;
        let user = run(Command::new("id").arg("-un"))?;
        let root = self.repos.display().to_string();
        let door = SshDoor { port, user, key: key.to_owned(), root };
        self.ssh = Some(Site { http: None, ssh: Some(door), account });
        Ok(())
    }

    fn start_nginx(&mut self, nginx: &Path, wrap: &Path, folder: &Path) -> Outcome<()> {
        let folder = folder.join("nginx");
        fs::create_dir_all(&folder)?;
        let backend = Path::new(&run(site::git(&folder).arg("--exec-path"))?).join("git-http-backend");
        let (port, socket, config) = (free_port()?, folder.join("cgi"), folder.join("nginx.conf"));
        fs::write(&config, nginx_config(port, &folder, &socket, &backend, &self.repos))?;
        let mut account = Account::open("nginx");
        let (many, at) = (WRAPPERS.to_string(), format!("unix:{}", socket.display()));
        let wrapper = Daemon::start(&mut account, wrap, &["-c", &many, "-s", &at], &folder.join("cgi.log"))?;
        self.daemons.push(wrapper);
        let words = ["-c", &config.display().to_string(), "-p", &folder.display().to_string()];
        self.daemons.push(Daemon::start(&mut account, nginx, &words, &folder.join("log"))?);
        wait_for_port(port)?;
        let door = HttpDoor { address: format!("127.0.0.1:{port}"), authorization: None };
        self.http = Some(Site { http: Some(door), ssh: None, account });
        Ok(())
    }

    /// A line about what to install, if anything is missing.
    pub(crate) fn advice(&self) -> Option<String> {
        let names = self.missing.join(" ");
        (!names.is_empty())
            .then(|| format!("missing peers: install them with `apt-get install {names}`; going on without"))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.daemons.clear();
        if self.older.is_some() {
            return;
        }
        for site in self.http.iter().chain(&self.ssh) {
            site.account.close();
        }
    }
}

/// `SHLVL` keeps bash from reading ~/.bashrc before each git command: that is the machine's, not OpenSSH's, cost.
fn sshd_config(port: u16, host_key: &Path, users: &Path) -> String {
    let git = git_program();
    let bin = git.parent().unwrap_or(Path::new("/usr/bin")).display();
    format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\n\
         UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\nSetEnv SHLVL=2 PATH={bin}:/usr/bin:/bin\n\
         MaxStartups 1000\nUseDNS no\nPrintMotd no\nPrintLastLog no\nLogLevel ERROR\n",
        host_key.display(),
        users.display()
    )
}

fn nginx_config(port: u16, folder: &Path, socket: &Path, backend: &Path, repos: &Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    // As root nginx would give its workers to nobody, who cannot reach the socket.
    let root = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    format!(
        "{user}daemon off; worker_processes 2; pid {pid}; error_log {errors} warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; tcp_nodelay on; sendfile on; gzip off;\n\
         keepalive_requests 100000000; keepalive_timeout 3600; client_max_body_size 0;\n\
         client_body_temp_path {a}; fastcgi_temp_path {b}; proxy_temp_path {c}; uwsgi_temp_path {d}; scgi_temp_path {e};\n\
         server {{ listen 127.0.0.1:{port} backlog=1024; location / {{\n\
         fastcgi_pass unix:{socket}; fastcgi_buffering off; fastcgi_request_buffering off;\n\
         fastcgi_read_timeout 3600; fastcgi_send_timeout 3600;\n\
         fastcgi_param SCRIPT_FILENAME {backend}; fastcgi_param GIT_PROJECT_ROOT {repos};\n\
         fastcgi_param GIT_HTTP_EXPORT_ALL \"1\"; fastcgi_param PATH_INFO $uri; fastcgi_param QUERY_STRING $query_string;\n\
         fastcgi_param REQUEST_METHOD $request_method; fastcgi_param CONTENT_TYPE $content_type;\n\
         fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param REMOTE_ADDR $remote_addr;\n\
         fastcgi_param SERVER_PROTOCOL $server_protocol;\n\
         }} }} }}\n",
        user = if root { "user root; " } else { "" },
        pid = at("pid"),
        errors = at("errors"),
        a = at("t1"),
        b = at("t2"),
        c = at("t3"),
        d = at("t4"),
        e = at("t5"),
        socket = socket.display(),
        backend = backend.display(),
        repos = repos.display(),
    )
}
