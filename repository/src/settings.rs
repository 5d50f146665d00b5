//! What a repository's own `config` file says about serving it (git-config(1): `uploadpack.*`, `receive.*`,
//! `transfer.*`, `uploadpackfilter.*`, `bundle.*`). Keys that are not set leave things as Slipway has them; `include.path`
//! is not followed. Parsing is gix's; what the keys mean is here.

mod hidden;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gix::config::file::Metadata;
use gix::config::file::init::Options;

pub use self::hidden::Hidden;
use crate::check::Checks;
use crate::error::{RepoError, Result};
use crate::limits::{CONFIG_BYTES_MAX, CONFIG_VALUES_MAX};
use crate::place::shown;

/// What to do with a change that git guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Let it through.
    Allow,
    /// Let it through with a remark.
    Warn,
    /// Refuse it.
    Refuse,
}

/// What is done about a HEAD that names a branch not yet born (`lsrefs.unborn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unborn {
    /// Say that it can be asked for, and tell it.
    #[default]
    Advertise,
    /// Tell it to who asks, and do not say so.
    Allow,
    /// Do not tell it.
    Ignore,
}

/// How fetches are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadSettings {
    /// `uploadpack.allowFilter`.
    pub filter: bool,
    /// `uploadpack.allowRefInWant`.
    pub ref_in_want: bool,
    /// `uploadpack.allowTipSHA1InWant`, set on purpose: objects that hidden refs point at may be asked for by id.
    pub hidden_tips: bool,
    /// `uploadpack.allowReachableSHA1InWant`: objects that are reachable from the refs shown, and not their tips alone.
    /// Versions 0 and 1 ask; in version 2 it is so always.
    pub reachable: bool,
    /// `uploadpack.allowAnySHA1InWant`: whatever is stored may be asked for.
    pub any: bool,
    /// `uploadpack.allowSidebandAll`.
    pub sideband_all: bool,
    /// `transfer.advertiseObjectInfo`.
    pub object_info: bool,
    /// `uploadpack.advertiseBundleURIs`.
    pub bundle_uris: bool,
    /// `lsrefs.unborn`.
    pub unborn: Unborn,
    /// `uploadpackfilter.allow`: filters that no key of their own names.
    pub other_filters: bool,
    /// `uploadpackfilter.NAME.allow`.
    pub filters: BTreeMap<String, bool>,
    /// `uploadpackfilter.tree.maxDepth`.
    pub tree_depth_max: Option<u64>,
}

impl UploadSettings {
    /// True if filters of that name (`blob:none`, `tree`, …) are served.
    pub fn allows_filter(&self, name: &str) -> bool {
        self.filters.get(name).copied().unwrap_or(self.other_filters)
    }
}

/// How pushes are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveSettings {
    /// `receive.shallowUpdate`: pushes may bring commits without their parents, and history then ends there.
    pub shallow_update: bool,
    /// `receive.denyDeletes`.
    pub deny_deletes: bool,
    /// `receive.denyNonFastForwards`: of branches.
    pub deny_non_fast_forwards: bool,
    /// `receive.denyCurrentBranch`: where there is a work tree.
    pub current_branch: Guard,
    /// `receive.denyDeleteCurrent`.
    pub delete_current: Guard,
    /// `receive.fsckObjects`, `transfer.fsckObjects`, `receive.fsck.*`.
    pub checks: Arc<Checks>,
    /// `receive.maxInputSize`, in bytes.
    pub pack_bytes_max: Option<u64>,
    /// `receive.advertiseAtomic`.
    pub atomic: bool,
    /// `receive.advertisePushOptions`.
    pub push_options: bool,
    /// `receive.certNonceSeed`: with it push certificates are taken.
    pub certificate_seed: Option<String>,
    /// `receive.certNonceSlop`, in seconds.
    pub certificate_slop_s: Option<u64>,
}

/// A repository's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Fetches.
    pub upload: UploadSettings,
    /// Pushes.
    pub receive: ReceiveSettings,
    /// `transfer.advertiseSID`.
    pub session_id: bool,
    /// `bundle.*`: key and value, in order.
    pub bundles: Vec<(String, String)>,
    /// `gc.pruneExpire`: how old objects that nothing reaches must be to go.
    pub prune_after: Duration,
    /// `core.bare` is false: there is a work tree.
    pub has_work_tree: bool,
    /// Refs that fetches do not see: `transfer.hideRefs` and `uploadpack.hideRefs`.
    pub hidden_from_fetch: Hidden,
    /// Refs that pushes do not see: `transfer.hideRefs` and `receive.hideRefs`.
    pub hidden_from_push: Hidden,
}

impl Default for Settings {
    /// As Slipway serves a repository whose config says nothing.
    fn default() -> Self {
        Self {
            upload: UploadSettings {
                filter: true,
                ref_in_want: true,
                hidden_tips: false,
                reachable: true,
                any: false,
                sideband_all: false,
                object_info: false,
                bundle_uris: false,
                unborn: Unborn::Advertise,
                other_filters: true,
                filters: BTreeMap::new(),
                tree_depth_max: None,
            },
            receive: ReceiveSettings {
                shallow_update: false,
                deny_deletes: false,
                deny_non_fast_forwards: false,
                current_branch: Guard::Refuse,
                delete_current: Guard::Refuse,
                checks: Arc::default(),
                pack_bytes_max: None,
                atomic: true,
                push_options: true,
                certificate_seed: None,
                certificate_slop_s: None,
            },
            session_id: false,
            bundles: Vec::new(),
            prune_after: PRUNE_AFTER,
            has_work_tree: false,
            hidden_from_fetch: Hidden::default(),
            hidden_from_push: Hidden::default(),
        }
    }
}

impl Settings {
    /// As git serves a repository whose config says nothing.
    pub fn of_git() -> Self {
        let mut settings = Self::default();
        settings.upload.filter = false;
        settings.upload.ref_in_want = false;
        settings.upload.reachable = false;
        settings.receive.push_options = false;
        settings
    }

    /// Reads config files on top of these settings, one after another, and the values of `last` on top of them; files
    /// that do not exist are left out.
    pub(crate) fn read(mut self, paths: &[&Path], last: &[ConfigValue]) -> Result<Self> {
        let mut found = Vec::new();
        for path in paths {
            found.extend(entries(path)?);
        }
        let mut tip = None;
        for (key, value) in found.iter().chain(last) {
            if key == "uploadpack.allowtipsha1inwant" {
                tip = Some(truth(key, value.as_deref())?);
            }
            self.take(key, value.as_deref())?;
        }
        self.upload.hidden_tips = tip.unwrap_or(false) || self.upload.any;
        self.upload.reachable |= self.upload.any;
        Ok(self)
    }

    /// Takes a key (section and name in lower case) with its value; a key alone means yes.
    pub(crate) fn take(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        let yes = || truth(key, value);
        let checks = Arc::make_mut(&mut self.receive.checks);
        if checks.take(key, value, &yes).map_err(|why| wrong(key, &why))? {
            return Ok(());
        }
        let (upload, receive) = (&mut self.upload, &mut self.receive);
        match key {
            "gc.pruneexpire" => self.prune_after = age(value.unwrap_or_default()),
            "core.bare" => self.has_work_tree = !yes()?,
            "uploadpack.allowfilter" => upload.filter = yes()?,
            "uploadpack.allowrefinwant" => upload.ref_in_want = yes()?,
            "uploadpack.allowreachablesha1inwant" => upload.reachable = yes()?,
            "uploadpack.allowanysha1inwant" => upload.any = yes()?,
            "uploadpack.allowsidebandall" => upload.sideband_all = yes()?,
            "uploadpack.advertisebundleuris" => upload.bundle_uris = yes()?,
            "lsrefs.unborn" => {
                upload.unborn = match value {
                    Some("advertise") => Unborn::Advertise,
                    Some("allow") => Unborn::Allow,
                    Some("ignore") => Unborn::Ignore,
                    _ => return Err(wrong(key, "is none of advertise, allow and ignore")),
                }
            }
            "transfer.advertiseobjectinfo" => upload.object_info = yes()?,
            "transfer.advertisesid" => self.session_id = yes()?,
            "uploadpackfilter.allow" => upload.other_filters = yes()?,
            "uploadpackfilter.tree.maxdepth" => upload.tree_depth_max = Some(number(key, value)?),
            "receive.shallowupdate" => receive.shallow_update = yes()?,
            "receive.denydeletes" => receive.deny_deletes = yes()?,
            "receive.denynonfastforwards" => receive.deny_non_fast_forwards = yes()?,
            "receive.denycurrentbranch" => receive.current_branch = guard(key, value)?,
            "receive.denydeletecurrent" => receive.delete_current = guard(key, value)?,
            "receive.maxinputsize" => {
                receive.pack_bytes_max = Some(number(key, value)?).filter(|max| *max > 0);
            }
            "receive.advertiseatomic" => receive.atomic = yes()?,
            "receive.advertisepushoptions" => receive.push_options = yes()?,
            "receive.certnonceseed" => {
                receive.certificate_seed = value.filter(|v| !v.is_empty()).map(str::to_owned);
            }
            "receive.certnonceslop" => receive.certificate_slop_s = Some(number(key, value)?),
            "transfer.hiderefs" | "uploadpack.hiderefs" | "receive.hiderefs" => {
                let rule = value.ok_or_else(|| wrong(key, "has no value"))?;
                if key != "receive.hiderefs" {
                    self.hidden_from_fetch.add(rule);
                }
                if key != "uploadpack.hiderefs" {
                    self.hidden_from_push.add(rule);
                }
            }
            _ => {
                if let Some(name) =
                    key.strip_prefix("uploadpackfilter.").and_then(|k| k.strip_suffix(".allow"))
                {
                    let allowed = yes()?;
                    upload.filters.insert(name.to_owned(), allowed);
                } else if key.starts_with("bundle.") {
                    self.bundles.push((key.to_owned(), value.unwrap_or_default().to_owned()));
                }
            }
        }
        Ok(())
    }
}

/// git's own: two weeks.
const PRUNE_AFTER: Duration = Duration::from_secs(14 * 86_400);

/// An age as `gc.pruneExpire` has it: `now`, `never`, or like `2.weeks.ago`. What is none of these means never: nothing is
/// lost by it.
fn age(text: &str) -> Duration {
    let text = text.trim().to_ascii_lowercase();
    let mut words = text.split(['.', ' ']).filter(|word| !word.is_empty());
    let (number, unit) = match (words.next(), words.next()) {
        (Some("now" | "all"), None) => return Duration::ZERO,
        (Some(number), Some(unit)) => (number.parse::<u64>().ok(), unit.trim_end_matches('s')),
        _ => return Duration::MAX,
    };
    let seconds = match unit {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        "week" => 7 * 86_400,
        "month" => 30 * 86_400,
        "year" => 365 * 86_400,
        _ => return Duration::MAX,
    };
    match (number, words.next(), words.next()) {
        (Some(number), None | Some("ago"), None) => Duration::from_secs(number.saturating_mul(seconds)),
        _ => Duration::MAX,
    }
}

fn wrong(key: &str, why: &str) -> RepoError {
    RepoError::Settings { what: format!("the repository's config cannot be obeyed: {key} {why}") }
}

fn truth(key: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None => Ok(true),
        Some(value) => gix::config::Boolean::try_from(gix::bstr::BStr::new(value))
            .map(|b| b.0)
            .map_err(|_| wrong(key, &format!("is neither true nor false but {value:?}"))),
    }
}

fn number(key: &str, value: Option<&str>) -> Result<u64> {
    let read = |v: &str| gix::config::Integer::try_from(gix::bstr::BStr::new(v)).ok()?.to_decimal();
    value
        .and_then(read)
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(|| wrong(key, &format!("is no number of at least 0 but {:?}", value.unwrap_or_default())))
}

/// `ignore`, `warn`, `refuse`, `updateInstead` (which needs a work tree to update, and is refused here), or a truth.
fn guard(key: &str, value: Option<&str>) -> Result<Guard> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        Some("ignore") => Ok(Guard::Allow),
        Some("warn") => Ok(Guard::Warn),
        Some("refuse" | "updateinstead") => Ok(Guard::Refuse),
        _ => Ok(if truth(key, value)? { Guard::Refuse } else { Guard::Allow }),
    }
}

/// A key, section and name in lower case, the subsection as it is, with its value; a key alone means yes.
pub type ConfigValue = (String, Option<String>);

/// Every key of a config file with its value, in order.
fn entries(path: &Path) -> Result<Vec<ConfigValue>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => {
            let read = file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut text);
            read.map_err(RepoError::io("read", path))?;
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(RepoError::io("read", path)(e)),
    }
    parse(path, &text)
}

/// [`entries`] of a text. `path` is for people.
pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Vec<(String, Option<String>)>> {
    let refuse = |why: String| RepoError::Settings {
        what: format!("the configuration {} cannot be obeyed: {why}", shown(path)),
    };
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(refuse(format!("it is larger than {CONFIG_BYTES_MAX} bytes")));
    }
    let file = gix::config::File::from_bytes_no_includes(text, Metadata::api(), Options::default())
        .map_err(|e| refuse(e.to_string()))?;
    let mut found = Vec::new();
    for section in file.sections() {
        let header = section.header();
        let prefix = match header.subsection_name() {
            Some(sub) => format!("{}.{sub}", header.name().to_string().to_ascii_lowercase()),
            None => header.name().to_string().to_ascii_lowercase(),
        };
        for (name, value) in section.body() {
            // A name alone and a name with an empty value look alike here; they mean yes and no.
            let alone = value.is_empty() && section.body().value_implicit(&name) == Some(None);
            let value = (!alone).then(|| value.to_string());
            found.push((format!("{prefix}.{}", name.to_ascii_lowercase()), value));
            if found.len() > CONFIG_VALUES_MAX {
                return Err(refuse(format!("it has more than {CONFIG_VALUES_MAX} values")));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Settings::default().read(&[file.path()], &[])
    }

    #[test]
    fn an_empty_config_leaves_everything_as_it_is() {
        assert_eq!(read("").expect("fine"), Settings::default());
        assert_eq!(read("[core]\n\tbare = true\n").expect("fine"), Settings::default());
        assert_eq!(
            Settings::default().read(&[Path::new("/nowhere/config")], &[]).expect("fine"),
            Settings::default()
        );
    }

    #[test]
    fn keys_are_read_as_git_reads_them() {
        let settings = read(
            "[uploadpack]\n\tAllowFilter = no\n\tallowTipSHA1InWant\n\thideRefs = refs/a\n\
             [receive]\n\tdenyDeletes = on\n\tmaxInputSize = 2k\n\tcertNonceSeed = s3\n\tcertNonceSlop = 60\n\
             [transfer]\n\thideRefs = refs/b\n\thideRefs = !refs/b/c\n\
             [uploadpackfilter]\n\tallow = false\n[uploadpackfilter \"blob:none\"]\n\tallow = true\n\
             [uploadpackfilter \"tree\"]\n\tallow = true\n\tmaxDepth = 3\n\
             [bundle]\n\tversion = 1\n[bundle \"Base\"]\n\turi = https://x/y\n",
        )
        .expect("fine");
        assert!(!settings.upload.filter && settings.upload.hidden_tips && settings.receive.deny_deletes);
        assert_eq!(settings.receive.pack_bytes_max, Some(2048));
        assert_eq!(settings.receive.certificate_seed.as_deref(), Some("s3"));
        assert!(settings.upload.allows_filter("blob:none") && !settings.upload.allows_filter("sparse:oid"));
        assert_eq!(settings.upload.tree_depth_max, Some(3));
        let bundles = [("bundle.version", "1"), ("bundle.Base.uri", "https://x/y")];
        assert_eq!(settings.bundles, bundles.map(|(k, v)| (k.to_owned(), v.to_owned())));
        for (name, fetch, push) in [
            ("refs/a/x", true, false),
            ("refs/b", true, true),
            ("refs/b/c/d", false, false),
            ("refs/heads/main", false, false),
        ] {
            assert_eq!(settings.hidden_from_fetch.hides(name), fetch, "{name}");
            assert_eq!(settings.hidden_from_push.hides(name), push, "{name}");
        }
    }

    #[test]
    fn ages_are_read_as_git_reads_them_and_others_mean_never() {
        let day = Duration::from_secs(86_400);
        for (text, want) in [
            ("now", Duration::ZERO),
            ("2.weeks.ago", 14 * day),
            ("3 days ago", 3 * day),
            ("1.hour", Duration::from_secs(3600)),
            ("never", Duration::MAX),
            ("next tuesday", Duration::MAX),
            ("5.years.from.now", Duration::MAX),
        ] {
            let settings = read(&format!("[gc]\n\tpruneExpire = {text}\n")).expect("fine");
            assert_eq!(settings.prune_after, want, "{text}");
        }
        assert_eq!(read("").expect("fine").prune_after, 14 * day);
    }

    #[test]
    fn what_cannot_be_obeyed_is_an_error_and_never_ignored() {
        for bad in [
            "[receive]\n\tdenyDeletes = maybe\n",
            "[receive]\n\tmaxInputSize = many\n",
            "[transfer]\n\thideRefs\n",
            "[transfer\n",
            "[uploadpackfilter \"tree\"]\n\tallow = 2x\n",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let long = format!("[a]\n{}", "\tb = c\n".repeat(CONFIG_VALUES_MAX + 1));
        assert!(read(&long).is_err());
    }
}
