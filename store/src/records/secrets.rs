//! Secrets of repositories: what each is for, and its value, which is never written unencrypted.

use slipway_core::repo_secret::RepoSecret;
use slipway_core::{Problem, RepoId, Secret, SecretName};

use super::refusal;
use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys;
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// All secrets of a repository, by name: a bounded number. Not their values.
    pub fn secrets(&self, repo: RepoId) -> Result<Vec<RepoSecret>, StoreError> {
        self.records(&keys::secrets(repo), Scan::Up).collect()
    }

    /// The value of one.
    pub fn secret_value(&self, repo: RepoId, name: &SecretName) -> Result<Option<Secret>, StoreError> {
        self.unseal(&keys::secret_value(repo, name))
    }
}

impl Tx<'_> {
    /// Records a secret, new or in place of the one of that name, and its value, encrypted.
    pub fn put_secret(&mut self, secret: &RepoSecret, value: &Secret) -> Result<(), StoreError> {
        self.need_repo(secret.repo)?;
        let key = keys::secret(secret.repo, &secret.name);
        let most = self.limits.secrets_per_repository_max;
        if !self.has(&key)? && self.view().keys(&keys::secrets(secret.repo), Scan::Up).count() >= most {
            return Err(refusal::full("secrets", most));
        }
        self.put(key, secret)?;
        self.seal(keys::secret_value(secret.repo, &secret.name), value)
    }

    /// Forgets a secret with its value.
    pub fn remove_secret(&mut self, repo: RepoId, name: &SecretName) -> Result<(), StoreError> {
        let key = keys::secret(repo, name);
        if !self.has(&key)? {
            return Err(refusal::missing("secret", name));
        }
        self.remove(key)?;
        self.remove(keys::secret_value(repo, name))
    }

    pub(crate) fn remove_secrets_of(&mut self, repo: RepoId) -> Result<(), StoreError> {
        for secret in self.view().secrets(repo)? {
            self.remove(keys::secret_value(repo, &secret.name))?;
            self.remove(keys::secret(repo, &secret.name))?;
        }
        Ok(())
    }
}

impl Store {
    /// Records a secret, new or in place of the one of that name, and its value, encrypted.
    pub fn put_secret(&self, secret: &RepoSecret, value: &Secret) -> Result<(), Problem> {
        self.transact(|tx| tx.put_secret(secret, value))
    }
    /// All secrets of a repository, by name. Not their values.
    pub fn secrets(&self, repo: RepoId) -> Result<Vec<RepoSecret>, Problem> {
        self.read(|view| view.secrets(repo))
    }
    /// The value of one.
    pub fn secret_value(&self, repo: RepoId, name: &SecretName) -> Result<Option<Secret>, Problem> {
        self.read(|view| view.secret_value(repo, name))
    }
    /// Forgets a secret with its value.
    pub fn remove_secret(&self, repo: RepoId, name: &SecretName) -> Result<(), Problem> {
        self.transact(|tx| tx.remove_secret(repo, name))
    }
}
