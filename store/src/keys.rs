//! Where each record lies. Pure: makes and reads keys, and knows nothing of what lies there.
//!
//! All records lie in one tree of the database, `records`, so that one batch changes any of them together. A key is a
//! kind (one byte) and the kind's fields. Numbers are 8 bytes big-endian, so that they sort; a name that is not the
//! last field ends with a zero byte, which no name contains (`slipway_core::name`). *mark* is a key without a value.
//!
//! | kind | fields | value |
//! |---|---|---|
//! | `u` | user | `User` |
//! | `k` | fingerprint | `PublicKey` |
//! | `K` | user, fingerprint | mark |
//! | `y` | `t` and token id, or `k` and fingerprint; `t` and token id, or `s` and SHA-256 of a cookie | mark: the second was made with the first |
//! | `t` | token id | token and the SHA-256 of its value |
//! | `T` | SHA-256 of a token's value | token id |
//! | `q` | user, token id | mark |
//! | `s` | SHA-256 of a cookie | session |
//! | `S` | user, expiry, SHA-256 of a cookie | mark |
//! | `r` | repo | `RepoRecord` |
//! | `n` | repository name | repo |
//! | `f` | repository name | the repository that had it before, and until when |
//! | `F` | repo, repository name | mark: a name that it had before |
//! | `g` | repo, user | `Role` |
//! | `G` | user, repo | mark |
//! | `a` | registry | `Registry` |
//! | `A` | registry | its password, encrypted |
//! | `c` | cluster | `Cluster` |
//! | `C` | cluster | its kubeconfig, encrypted |
//! | `b` | repo | `RegistryBinding` |
//! | `B` | registry, repo | mark |
//! | `l` | repo | `ClusterBinding` |
//! | `L` | cluster, repo | mark |
//! | `e` | event | `Event` |
//! | `E` | repo, event | the event record's size in bytes |
//! | `i` | event | mark: the event is *intended* |
//! | `m` | repo, build number | `Build` |
//! | `M` | repo, build number | mark: the build is not final |
//! | `w` | event, repo, build number | mark |
//! | `d` | repo, deploy number | `Deploy` |
//! | `D` | repo, deploy number | mark: the deploy is not final |
//! | `x` | event, repo, deploy number | mark |
//! | `v` | repo, cluster | inventory |
//! | `j` | repo, `IMAGE:TAG` or `[deploy.TARGET]` | `Pointer` |
//! | `V`, `W` | repo, commit, build or deploy number | mark; of the repository alone: up to which number there are marks |
//! | `Z` | repo | `Schedules` |
//! | `I` | repo, commit, context | `CommitStatus` |
//! | `h` | repo, webhook number | `Webhook` |
//! | `H` | repo, webhook number | its secret, encrypted |
//! | `Q` | repo, secret's name | `RepoSecret` |
//! | `R` | repo, secret's name | its value, encrypted |
//! | `o` | repo, delivery number | `Delivery` |
//! | `O` | repo, delivery number | mark: the delivery is not over |
//! | `p` | event, repo, delivery number | mark |
//! | `#` | counter (one byte), repo where it is the repository's own | the last number given, or how many there are |
//! | `!` | | the seal over all others (`disk/seal.rs`) |
//! | `~` | length of a key (2 bytes), the key, piece number (4 bytes) | a piece of that key's record |
//!
//! A second tree, `meta`, has the database's own facts (`upkeep.rs`).

use std::fmt;

use slipway_core::people::Parent;
use slipway_core::{ClusterName, RegistryName, RepoId, RepoName, UnixMillis, UserName};

pub(crate) use self::work::*;

mod work;

/// The key of one record, or the beginning of the keys of several.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    pub(crate) fn number(mut self, n: u64) -> Self {
        self.0.extend_from_slice(&n.to_be_bytes());
        self
    }

    /// A name that other fields follow.
    fn name(mut self, name: &str) -> Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self
    }

    /// The last field.
    fn last(mut self, field: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(field.as_ref());
        self
    }

    /// The key of what is called `name` among those that begin with this one.
    pub(crate) fn followed_by(&self, name: &str) -> Self {
        self.clone().last(name)
    }

    /// The key's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key's bytes, taken.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The first key after all that begin with this one.
    pub(crate) fn past(&self) -> Option<Self> {
        let last = self.0.iter().rposition(|&b| b != u8::MAX)?;
        let mut past = self.0.get(..=last)?.to_vec();
        if let Some(byte) = past.last_mut() {
            *byte += 1;
        }
        Some(Self(past))
    }

    /// Takes a key as it lies in the database.
    pub(crate) fn from_bytes(raw: &[u8]) -> Self {
        Self(raw.to_vec())
    }

    /// The number that ends the key.
    pub(crate) fn last_number(&self) -> Option<u64> {
        self.0.last_chunk::<8>().map(|n| u64::from_be_bytes(*n))
    }

    /// The two numbers that end the key.
    pub(crate) fn last_two_numbers(&self) -> Option<(u64, u64)> {
        let (rest, last) = self.0.split_last_chunk::<8>()?;
        let (_, first) = rest.split_last_chunk::<8>()?;
        Some((u64::from_be_bytes(*first), u64::from_be_bytes(*last)))
    }

    /// What follows `prefix`.
    pub(crate) fn bytes_after(&self, prefix: &Key) -> Option<&[u8]> {
        self.0.strip_prefix(prefix.bytes())
    }

    /// What follows `prefix`, as text.
    pub(crate) fn text_after(&self, prefix: &Key) -> Option<&str> {
        std::str::from_utf8(self.bytes_after(prefix)?).ok()
    }

    /// The 32 bytes that end the key.
    pub(crate) fn last_sha256(&self) -> Option<[u8; 32]> {
        self.0.last_chunk::<32>().copied()
    }
}

/// The record in words, for Problems and logs. Never more than names, numbers and ids: no hash of a token or cookie.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((&kind, fields)) = self.0.split_first() else { return f.write_str("nothing") };
        let number =
            |at: usize| fields.get(at..at + 8).and_then(|n| n.try_into().ok()).map_or(0, u64::from_be_bytes);
        let text =
            |from: usize| String::from_utf8_lossy(fields.get(from..).unwrap_or_default()).replace('\0', " ");
        match kind {
            b'u' => write!(f, "user {}", text(0)),
            b'k' => write!(f, "key {}", text(0)),
            b't' => write!(f, "token {}", text(0)),
            b'T' => f.write_str("a token"),
            b's' => f.write_str("a session"),
            b'r' => write!(f, "repository {}", number(0)),
            b'n' => write!(f, "repository {}", text(0)),
            b'f' => write!(f, "the repository that was called {}", text(0)),
            b'g' => write!(f, "grant of repository {} to {}", number(0), text(8)),
            b'z' => write!(f, "who made repository {}", number(0)),
            b'a' => write!(f, "registry {}", text(0)),
            b'A' => write!(f, "password of registry {}", text(0)),
            b'c' => write!(f, "cluster {}", text(0)),
            b'C' => write!(f, "kubeconfig of cluster {}", text(0)),
            b'b' => write!(f, "registry binding of repository {}", number(0)),
            b'l' => write!(f, "cluster binding of repository {}", number(0)),
            b'e' => write!(f, "event {}", number(0)),
            b'E' => write!(f, "the size of event {}", number(8)),
            b'm' => write!(f, "build {} of repository {}", number(8), number(0)),
            b'd' => write!(f, "deploy {} of repository {}", number(8), number(0)),
            b'v' => write!(f, "inventory of repository {} in cluster {}", number(0), text(8)),
            b'j' => write!(f, "what {} of repository {} points at", text(8), number(0)),
            b'V' | b'W' => write!(f, "what repository {} has by commits", number(0)),
            b'Z' => write!(f, "schedules of repository {}", number(0)),
            b'I' => write!(f, "status {} of repository {}", text(8), number(0)),
            b'h' => write!(f, "webhook {} of repository {}", number(8), number(0)),
            b'H' => write!(f, "secret of webhook {} of repository {}", number(8), number(0)),
            b'Q' | b'R' => write!(f, "secret {} of repository {}", text(8), number(0)),
            b'o' => write!(f, "delivery {} of repository {}", number(8), number(0)),
            b'#' => f.write_str("a counter"),
            b'~' => f.write_str("a piece of a record"),
            other => write!(f, "kind {:?}", char::from(other)),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// The last repository id given. Never goes back.
    RepoIds,
    /// The last event id given. Never goes back.
    EventIds,
    /// How many users there are.
    Users,
    /// How many repositories there are.
    Repos,
    /// The last build number given in a repository. Never goes back while the repository is there.
    Builds(RepoId),
    /// The last deploy number given in a repository. Never goes back while the repository is there.
    Deploys(RepoId),
    /// The last webhook number given in a repository.
    Webhooks(RepoId),
    /// The last delivery number given in a repository.
    Deliveries(RepoId),
    /// How many events of a repository are kept.
    EventsKept(RepoId),
    /// How many bytes of events of a repository are kept.
    EventBytesKept(RepoId),
}

pub(crate) fn counter(which: Counter) -> Key {
    let key = Key::new(b'#');
    match which {
        Counter::RepoIds => key.last([b'r']),
        Counter::EventIds => key.last([b'e']),
        Counter::Users => key.last([b'U']),
        Counter::Repos => key.last([b'R']),
        Counter::Builds(repo) => key.last([b'm']).number(repo.0),
        Counter::Deploys(repo) => key.last([b'd']).number(repo.0),
        Counter::Webhooks(repo) => key.last([b'h']).number(repo.0),
        Counter::Deliveries(repo) => key.last([b'o']).number(repo.0),
        Counter::EventsKept(repo) => key.last([b'n']).number(repo.0),
        Counter::EventBytesKept(repo) => key.last([b'b']).number(repo.0),
    }
}

/// A piece of `of`'s record.
pub(crate) fn piece(of: &Key, number: u32) -> Key {
    let length = u16::try_from(of.0.len()).expect("keys are made of bounded names and numbers");
    Key::new(b'~').last(length.to_be_bytes()).last(&of.0).last(number.to_be_bytes())
}

/// True for a key of a token or a session, and of what leads to them.
pub(crate) fn is_token_or_session(raw: &[u8]) -> bool {
    raw.first().is_some_and(|kind| b"tTqsSy".contains(kind))
}

/// True for a key that [`piece`] makes.
pub(crate) fn is_piece(raw: &[u8]) -> bool {
    raw.first() == Some(&b'~')
}

/// The repository whose own record that is.
pub(crate) fn repo_of_record(raw: &[u8]) -> Option<RepoId> {
    let id: [u8; 8] = raw.strip_prefix(b"r")?.try_into().ok()?;
    Some(RepoId(u64::from_be_bytes(id)))
}

/// Whose piece that is, by the key of its record, and its number.
pub(crate) fn piece_of(raw: &[u8]) -> Option<(&[u8], u32)> {
    let (length, rest) = raw.strip_prefix(b"~")?.split_first_chunk::<2>()?;
    let (of, number) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((of, u32::from_be_bytes(number.try_into().ok()?)))
}

pub(crate) fn users() -> Key {
    Key::new(b'u')
}
pub(crate) fn user(name: &UserName) -> Key {
    users().last(name.as_str())
}
pub(crate) fn public_keys() -> Key {
    Key::new(b'k')
}
pub(crate) fn public_key(fingerprint: &str) -> Key {
    public_keys().last(fingerprint)
}
pub(crate) fn keys_of(user: &UserName) -> Key {
    Key::new(b'K').name(user.as_str())
}
pub(crate) fn key_of(user: &UserName, fingerprint: &str) -> Key {
    keys_of(user).last(fingerprint)
}
pub(crate) fn tokens() -> Key {
    Key::new(b't')
}
pub(crate) fn token(id: &str) -> Key {
    tokens().last(id)
}
pub(crate) fn token_value(sha256: &[u8; 32]) -> Key {
    Key::new(b'T').last(sha256)
}
pub(crate) fn tokens_of(user: &UserName) -> Key {
    Key::new(b'q').name(user.as_str())
}
pub(crate) fn token_of(user: &UserName, id: &str) -> Key {
    tokens_of(user).last(id)
}
/// What was made with that token or key.
pub(crate) fn made_with(parent: &Parent) -> Key {
    let key = Key::new(b'y');
    match parent {
        Parent::Token { id } => key.last([b't']).name(id),
        Parent::Key { fingerprint } => key.last([b'k']).name(fingerprint),
    }
}
pub(crate) fn token_made_with(parent: &Parent, id: &str) -> Key {
    made_with(parent).last([b't']).last(id)
}
pub(crate) fn session_made_with(parent: &Parent, cookie_sha256: &[u8; 32]) -> Key {
    made_with(parent).last([b's']).last(cookie_sha256)
}
pub(crate) fn sessions() -> Key {
    Key::new(b's')
}
pub(crate) fn session(cookie_sha256: &[u8; 32]) -> Key {
    sessions().last(cookie_sha256)
}
pub(crate) fn sessions_of(user: &UserName) -> Key {
    Key::new(b'S').name(user.as_str())
}
pub(crate) fn session_of(user: &UserName, expires: UnixMillis, cookie_sha256: &[u8; 32]) -> Key {
    sessions_of(user).number(expires.0).last(cookie_sha256)
}
pub(crate) fn repos() -> Key {
    Key::new(b'r')
}
pub(crate) fn repo(id: RepoId) -> Key {
    repos().number(id.0)
}
pub(crate) fn repo_names() -> Key {
    Key::new(b'n')
}
pub(crate) fn repo_name(name: &RepoName) -> Key {
    repo_names().last(name.as_str())
}
pub(crate) fn former_name(name: &RepoName) -> Key {
    Key::new(b'f').last(name.as_str())
}
pub(crate) fn former_names_of(repo: RepoId) -> Key {
    Key::new(b'F').number(repo.0)
}
pub(crate) fn former_name_of(repo: RepoId, name: &RepoName) -> Key {
    former_names_of(repo).last(name.as_str())
}
pub(crate) fn grants(repo: RepoId) -> Key {
    Key::new(b'g').number(repo.0)
}
pub(crate) fn grant(repo: RepoId, user: &UserName) -> Key {
    grants(repo).last(user.as_str())
}
pub(crate) fn grants_of(user: &UserName) -> Key {
    Key::new(b'G').name(user.as_str())
}
pub(crate) fn grant_of(user: &UserName, repo: RepoId) -> Key {
    grants_of(user).number(repo.0)
}
pub(crate) fn maker(repo: RepoId) -> Key {
    Key::new(b'z').number(repo.0)
}
pub(crate) fn made_by(user: &UserName) -> Key {
    Key::new(b'Z').name(user.as_str())
}
pub(crate) fn made(user: &UserName, repo: RepoId) -> Key {
    made_by(user).number(repo.0)
}
pub(crate) fn registries() -> Key {
    Key::new(b'a')
}
pub(crate) fn registry(name: &RegistryName) -> Key {
    registries().last(name.as_str())
}
pub(crate) fn registry_password(name: &RegistryName) -> Key {
    Key::new(b'A').last(name.as_str())
}
pub(crate) fn clusters() -> Key {
    Key::new(b'c')
}
pub(crate) fn cluster(name: &ClusterName) -> Key {
    clusters().last(name.as_str())
}
pub(crate) fn kubeconfig(name: &ClusterName) -> Key {
    Key::new(b'C').last(name.as_str())
}
pub(crate) fn registry_binding(repo: RepoId) -> Key {
    Key::new(b'b').number(repo.0)
}
pub(crate) fn bound_to_registry(name: &RegistryName) -> Key {
    Key::new(b'B').name(name.as_str())
}
pub(crate) fn repo_bound_to_registry(name: &RegistryName, repo: RepoId) -> Key {
    bound_to_registry(name).number(repo.0)
}
pub(crate) fn cluster_binding(repo: RepoId) -> Key {
    Key::new(b'l').number(repo.0)
}
pub(crate) fn bound_to_cluster(name: &ClusterName) -> Key {
    Key::new(b'L').name(name.as_str())
}
pub(crate) fn repo_bound_to_cluster(name: &ClusterName, repo: RepoId) -> Key {
    bound_to_cluster(name).number(repo.0)
}

#[cfg(test)]
mod tests {
    use slipway_core::{BuildNumber, EventId};

    use super::*;

    #[test]
    fn numbers_sort_as_numbers() {
        let key = |n| build(RepoId(1), BuildNumber(n));
        assert!(key(9) < key(10) && key(255) < key(256) && key(u64::MAX - 1) < key(u64::MAX));
        assert!(build(RepoId(1), BuildNumber(u64::MAX)) < build(RepoId(2), BuildNumber(1)));
    }

    #[test]
    fn a_name_is_not_mistaken_for_a_longer_one() {
        let ann = UserName::parse("ann").expect("valid");
        let anna = UserName::parse("anna").expect("valid");
        assert!(!keys_of(&anna).bytes().starts_with(keys_of(&ann).bytes()));
        assert!(!grants_of(&anna).bytes().starts_with(grants_of(&ann).bytes()));
    }

    #[test]
    fn what_was_made_with_one_is_not_mistaken_for_anothers() {
        let token = |id: &str| Parent::Token { id: id.into() };
        let key = Parent::Key { fingerprint: "a".into() };
        for other in [token("ab"), key] {
            assert!(!token_made_with(&other, "x").bytes().starts_with(made_with(&token("a")).bytes()));
        }
        let (made, with) = (token_made_with(&token("a"), "x"), made_with(&token("a")));
        assert_eq!(made.bytes_after(&with), Some(b"tx".as_slice()));
    }

    #[test]
    fn pieces_of_different_keys_never_meet() {
        let ann = user(&UserName::parse("ann").expect("valid"));
        let long = Key(piece(&ann, 7).0[3..].to_vec());
        assert_ne!(piece(&ann, 7), long);
        assert!(piece(&ann, 255) < piece(&ann, 256));
    }

    #[test]
    fn numbers_are_read_back() {
        let key = build_of(EventId(5), RepoId(6), BuildNumber(7));
        assert_eq!(key.last_number(), Some(7));
        assert_eq!(key.last_two_numbers(), Some((6, 7)));
        assert_eq!(user(&UserName::parse("bob").expect("valid")).text_after(&users()), Some("bob"));
    }
}
