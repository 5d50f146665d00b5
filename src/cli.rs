//! The command line: what can be said. How it is carried out is `cli/run.rs` (a thin client of the JSON API) and, for
//! `serve` and `demo`, the program itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use slipway_core::{InvalidName, Problem, RepoName, Role, UserName};

mod backups;
mod bind;
mod builds;
mod client;
mod doctor;
mod escapes;
mod import;
mod output;
mod registries;
mod repos;
mod request;
mod results;
mod run;
mod secrets;
mod targets;
mod wait;
mod webhooks;

pub(crate) use self::backups::{Backup, BackupVerb, Restore, full as full_backup};
pub(crate) use self::bind::{Bind, Unbind};
pub(crate) use self::builds::BuildVerb;
pub(crate) use self::client::Client;
pub(crate) use self::import::{ImportFile, ImportVerb};
pub(crate) use self::registries::RegistryVerb;
pub(crate) use self::repos::RepoVerb;
pub(crate) use self::request::Files;
pub(crate) use self::run::{Out, Session, run};
pub(crate) use self::secrets::SecretVerb;
pub(crate) use self::targets::ClusterVerb;
pub(crate) use self::webhooks::WebhookVerb;

/// One program from git push to a healthy rollout.
#[derive(Debug, Parser)]
#[command(
    name = "slipway",
    version,
    about = "Git server, image builds and Kubernetes deploys in one program",
    after_help = "First steps:\n  slipway demo                                  see the whole loop on sample repositories\n  \
                  slipway serve --data ./slipway-data           start a server\n  \
                  slipway user add ann --owner --key ~/.ssh/id_ed25519.pub\n  \
                  slipway repo create app && git push ssh://git@127.0.0.1:2222/app main"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags that go before or after the verb.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    #[arg(
        long,
        global = true,
        env = "SLIPWAY_DATA",
        hide_env_values = true,
        value_name = "DIR",
        help = "The server's data folder [default: ./slipway-data; demo: a temporary one]"
    )]
    pub(crate) data: Option<PathBuf>,
    /// Talk to this server instead of the one in the data folder; needs SLIPWAY_TOKEN
    #[arg(long, global = true, env = "SLIPWAY_SERVER", hide_env_values = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    /// The data folder: named, or the default.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| "./slipway-data".into())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the server in the foreground. SIGTERM drains, a second one ends at once
    Serve(Serve),
    /// Show the whole loop on sample repositories and keep serving
    Demo(Demo),
    /// People and machines with an account
    #[command(subcommand)]
    User(UserVerb),
    /// SSH public keys
    #[command(subcommand)]
    Key(KeyVerb),
    /// Access tokens for HTTP and the API
    #[command(subcommand)]
    Token(TokenVerb),
    /// Repositories
    #[command(subcommand)]
    Repo(RepoVerb),
    /// Give a user a role in a repository
    Grant {
        /// The account
        user: UserName,
        /// The repository's name
        repo: RepoName,
        /// The role
        role: RoleName,
    },
    /// Take a user's role in a repository away
    Revoke {
        /// The account
        user: UserName,
        /// The repository's name
        repo: RepoName,
    },
    /// Where images go
    #[command(subcommand)]
    Registry(RegistryVerb),
    /// Where manifests go
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Let a repository use a registry or a cluster
    Bind(Box<Bind>),
    /// Take that away
    Unbind(Unbind),
    /// Builds of a repository
    #[command(subcommand)]
    Build(BuildVerb),
    /// Deploys of a repository
    #[command(subcommand)]
    Deploy(DeployVerb),
    /// Secrets that builds and tests of a repository are given
    #[command(subcommand)]
    Secret(SecretVerb),
    /// Addresses that hear of pushes, builds and deploys
    #[command(subcommand)]
    Webhook(WebhookVerb),
    /// Check records, disk, every repository, engine, registries, clusters, ports and clock
    Doctor {
        /// Make anew what can be: indexes of packs, bitmaps, commit-graphs, links by name; remove locks that nobody holds
        #[arg(long)]
        repair: bool,
    },
    /// Back everything up, while the server runs or is stopped: records, repositories, build logs, settings, keys
    Backup(Backup),
    /// Bring a backup back into a new data folder, or records into one whose database is damaged or missing
    Restore(Restore),
    /// Print all records as lines of JSON, without secrets
    Export,
    /// Check slipway.toml of a work tree, in the words of a push
    Check {
        /// The root of the work tree
        #[arg(default_value = ".")]
        folder: std::path::PathBuf,
        /// Print the JSON Schema of slipway.toml instead
        #[arg(long)]
        schema: bool,
    },
    /// Print slipway.toml and the commands for what another CI server was told, and what has no place there
    #[command(subcommand)]
    Import(ImportVerb),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Serve fetches of one repository folder on standard input and output, as git-upload-pack does
    #[command(hide = true)]
    UploadPack(Plumbing),
    /// Serve pushes to one repository folder on standard input and output, as git-receive-pack does
    #[command(hide = true)]
    ReceivePack(Plumbing),
}

/// The flags of git's own servers.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Plumbing {
    /// Take the folder as named: do not look for .git in it or behind its name
    #[arg(long, overrides_with = "no_strict")]
    pub(crate) strict: bool,
    /// Look for .git too
    #[arg(long, overrides_with = "strict")]
    pub(crate) no_strict: bool,
    /// One request and one answer
    #[arg(long)]
    pub(crate) stateless_rpc: bool,
    /// Say only what is said first
    #[arg(long, alias = "advertise-refs")]
    pub(crate) http_backend_info_refs: bool,
    /// How long the client may be silent
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Nothing is said here anyway
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The repository's folder
    pub(crate) folder: PathBuf,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Serve {
    /// Configuration file [default: DATA/config.toml, if it is there]
    #[arg(long, env = "SLIPWAY_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address for HTTP [default: 127.0.0.1:8080]
    #[arg(long, env = "SLIPWAY_HTTP", hide_env_values = true, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Address for HTTPS; needs [tls] in the configuration [default with it: 127.0.0.1:8443]
    #[arg(long, env = "SLIPWAY_HTTPS", hide_env_values = true, value_name = "ADDR")]
    pub(crate) https: Option<SocketAddr>,
    /// Address for SSH [default: 127.0.0.1:2222]
    #[arg(long, env = "SLIPWAY_SSH", hide_env_values = true, value_name = "ADDR")]
    pub(crate) ssh: Option<SocketAddr>,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Demo {
    /// Address for HTTP [default: 127.0.0.1:8080, or a free port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Address for SSH [default: 127.0.0.1:2222, or a free port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) ssh: Option<SocketAddr>,
    /// End after the loop instead of serving on; exit status 0 only if all of it worked
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserVerb {
    /// Add an account
    Add {
        /// The account's name
        name: UserName,
        /// Owner of the server: may do everything
        #[arg(long)]
        owner: bool,
        /// A public key file (`-` reads standard input)
        #[arg(long, value_name = "FILE")]
        key: Vec<String>,
    },
    /// List the accounts
    List,
    /// Make an account an owner of the server, or no owner any more
    Set {
        /// The account's name
        name: UserName,
        /// Owner of the server: may do everything
        #[arg(long, conflicts_with = "no_owner", required_unless_present = "no_owner")]
        owner: bool,
        /// No owner any more
        #[arg(long)]
        no_owner: bool,
    },
    /// List the signed-in browsers of an account
    Sessions {
        /// The account's name
        name: UserName,
    },
    /// Sign an account out everywhere: end all its sessions
    SignOut {
        /// The account's name
        name: UserName,
    },
    /// Remove an account with its keys, tokens and grants
    Remove {
        /// The account's name
        name: UserName,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Add a public key to an account
    Add {
        /// The account
        user: UserName,
        /// The public key file (`-` reads standard input)
        #[arg(long, value_name = "FILE")]
        key: String,
        /// What to call it [default: the key's comment]
        #[arg(long)]
        title: Option<String>,
    },
    /// List keys
    List { user: Option<UserName> },
    /// Remove a key
    Remove {
        /// `SHA256:…` as `slipway key list` prints it
        fingerprint: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token; its value is printed once, alone on standard output
    Create {
        /// The account
        user: UserName,
        /// What to call it
        #[arg(long, default_value = "token")]
        name: String,
        /// What it is good for: repo:read, repo:write, api
        #[arg(long, value_delimiter = ',', default_value = "repo:read,repo:write")]
        scope: Vec<String>,
        /// How long it lives, such as 90d [default: for ever]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// List tokens
    List { user: Option<UserName> },
    /// Remove a token
    Remove {
        /// Its id, as `slipway token list` prints it
        id: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleName {
    Read,
    Write,
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Role {
        match name {
            RoleName::Read => Role::Read,
            RoleName::Write => Role::Write,
            RoleName::Admin => Role::Admin,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeployVerb {
    /// List deploys, newest first
    List {
        /// The repository's name
        repo: RepoName,
    },
    /// Show one [default: the newest]
    Show {
        /// The repository's name
        repo: RepoName,
        /// Its number [default: the newest]
        number: Option<u64>,
    },
    /// What a sync would change in the cluster
    Diff {
        /// The repository's name
        repo: RepoName,
    },
    /// Reconcile the cluster with the bound branch now
    Sync {
        /// The repository's name
        repo: RepoName,
    },
    /// Commit the state of an earlier deploy again
    Rollback {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
        /// So many objects may be deleted by it, or `all`
        #[arg(long, value_name = "N")]
        prune: Option<String>,
    },
    /// List what others apply of the branch's objects (another repository, a lost server, nobody); with --yes, take it over
    Adopt {
        /// The repository's name
        repo: RepoName,
        /// Take them over now
        #[arg(long)]
        yes: bool,
    },
}

/// What is wrong with a command line, in the words of every surface where they say more than the parser's.
pub(crate) fn refusal(error: &clap::Error) -> Option<Problem> {
    let cause = std::error::Error::source(error)?;
    cause.downcast_ref::<InvalidName>().map(|name| Problem::from(name.clone()))
}

/// True if a verb reads standard input (a file flag is `-`).
pub(crate) fn reads_input(verb: &Verb) -> bool {
    match verb {
        Verb::User(UserVerb::Add { key, .. }) => key.iter().any(|k| k == "-"),
        Verb::Key(KeyVerb::Add { key, .. }) => key == "-",
        Verb::Registry(verb) => verb.reads_input(),
        Verb::Cluster(ClusterVerb::Add { kubeconfig, .. }) => kubeconfig == "-",
        Verb::Secret(verb) => verb.reads_input(),
        Verb::Webhook(verb) => verb.reads_input(),
        _ => false,
    }
}
