//! The verb that reads files of other CI servers: what can be said.

use clap::{Args, Subcommand};
use slipway_core::RepoName;

#[derive(Debug, Subcommand)]
pub(crate) enum ImportVerb {
    /// A Jenkinsfile, declarative or scripted
    Jenkinsfile(ImportFile),
    /// A .gitlab-ci.yml
    GitlabCi(ImportFile),
    /// A workflow of Woodpecker, or a pipeline of Drone
    Woodpecker(ImportFile),
    /// A buildspec.yml of AWS CodeBuild
    Buildspec(ImportFile),
}

#[derive(Debug, Args)]
pub(crate) struct ImportFile {
    /// The file (`-` reads standard input)
    pub(crate) file: String,
    /// What the repository is called here [default: as the file's folder]
    #[arg(long, value_name = "NAME")]
    pub(crate) repo: Option<RepoName>,
    /// Which image, where the file builds several
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// The repository with the manifests, where the file does not name it
    #[arg(long, value_name = "NAME")]
    pub(crate) manifests: Option<RepoName>,
}
