//! Both sides ready to be measured: a fresh Slipway, its peers, and the same repositories on each.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;

use crate::account::Account;
use crate::client::Road;
use crate::harness::Slipway;
use crate::interrupt;
use crate::pairs::Side;
use crate::peers::Peers;
use crate::site::{HttpDoor, Outcome, Site, SshDoor};

/// The servers of one run.
pub(crate) struct Arena {
    /// Ours, all doors.
    pub(crate) ours: Site,
    /// git's own server side.
    pub(crate) peers: Peers,
    /// Scratch space, removed at the end.
    pub(crate) scratch: PathBuf,
    slipway: Slipway,
    _folder: tempfile::TempDir,
}

impl Arena {
    /// Starts everything.
    pub(crate) fn start() -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("slipway-bench-").tempdir()?;
        let slipway = Slipway::start();
        let person = slipway.person("bench", true);
        let mut account = Account::open("slipway");
        account.adopt(slipway.child.id());
        interrupt::ends(&account);
        interrupt::removes(folder.path());
        interrupt::removes(slipway.data.parent().ok_or("no folder")?);
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("bench:{}", person.token));
        let http = HttpDoor { address: slipway.http.clone(), authorization: Some(format!("Basic {basic}")) };
        let port = slipway.ssh.rsplit_once(':').and_then(|(_, p)| p.parse().ok()).ok_or("no SSH port")?;
        let ssh = SshDoor { port, user: "bench".into(), key: person.key.clone(), root: String::new() };
        let peers = Peers::start(&folder.path().join("peers"), &person.key)?;
        let scratch = folder.path().join("scratch");
        fs::create_dir_all(&scratch)?;
        let ours = Site { http: Some(http), ssh: Some(ssh), account };
        Ok(Self { ours, peers, scratch, slipway, _folder: folder })
    }

    /// The peer on that road.
    pub(crate) fn peer(&self, road: Road) -> Option<&Site> {
        match road {
            Road::Http => self.peers.http.as_ref(),
            Road::Ssh => self.peers.ssh.as_ref(),
        }
    }

    /// An empty public repository on both sides.
    pub(crate) fn create(&self, name: &str) -> Outcome<()> {
        if !self.own_repo(name).exists() {
            self.slipway.cli(&["repo", "create", name, "--public"]);
        }
        if self.peer_repo(name).exists() {
            return Ok(());
        }
        self.peers.create(name)
    }

    /// The same public repository on both sides: objects, refs and HEAD of `from`; packs are shared by hard links.
    pub(crate) fn place(&self, name: &str, from: &Path) -> Outcome<()> {
        if self.peer_repo(name).exists() {
            return Ok(());
        }
        self.create(name)?;
        for to in [self.own_repo(name), self.peer_repo(name)] {
            link(&from.join("objects"), &to.join("objects"))?;
            for file in ["HEAD", "packed-refs"] {
                fs::copy(from.join(file), to.join(file))?;
            }
        }
        Ok(())
    }

    /// Removes one side of a repository, to free the disk.
    pub(crate) fn remove(&self, name: &str, side: Side) -> Outcome<()> {
        match side {
            Side::Ours => drop(self.slipway.cli(&["repo", "remove", name, "--yes"])),
            Side::Peer => self.peers.remove(name)?,
        }
        Ok(())
    }

    /// A repository of ours, on disk.
    pub(crate) fn own_repo(&self, name: &str) -> PathBuf {
        self.slipway.data.join("repos").join(format!("{name}.git"))
    }

    /// A peer's repository, on disk.
    pub(crate) fn peer_repo(&self, name: &str) -> PathBuf {
        self.peers.repos.join(format!("{name}.git"))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        drop(self.slipway.child.kill());
        drop(self.slipway.child.wait());
        self.ours.account.close();
    }
}

/// Copies a folder; files of more than a few KiB become hard links where that works (git never changes a pack).
fn link(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            link(&source, &target)?;
        } else if fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
