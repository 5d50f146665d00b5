//! Processor time and memory of a server and everything it starts, finished children included. A cgroup of its own
//! where one can be made; else sums over /proc, which miss children that nobody waited for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pause between two looks at a server's memory.
const SAMPLE_PAUSE: Duration = Duration::from_millis(4);
/// Processor time within one [`QUIET_PAUSE`] below which a server counts as done with a request.
const QUIET_USE: Duration = Duration::from_micros(400);
const QUIET_PAUSE: Duration = Duration::from_millis(10);
/// So many in a row: on a busy machine a server can be kept waiting for one.
const QUIET_PAUSES: u32 = 3;
const QUIET_WAIT_MAX: Duration = Duration::from_secs(3);

/// Where processor time is read.
#[derive(Clone, Debug)]
enum Method {
    /// cgroup v2: `cpu.stat`.
    Unified(PathBuf),
    /// cgroup v1: `cpuacct.usage`.
    Legacy(PathBuf),
    /// utime + stime + cutime + cstime of the root processes and their living descendants, in ticks of 10 ms.
    Proc,
}

/// Adds up what a server uses.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    method: Method,
    roots: Vec<u32>,
}

/// Memory of all processes of a server, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Anonymous resident pages (`RssAnon`): what the server itself allocated.
    pub(crate) anonymous: u64,
    /// Resident pages of mapped files (`RssFile`): page cache in use through a mapping, counted once a process.
    pub(crate) mapped: u64,
}

impl Account {
    /// An account with a new cgroup named after `label`, if this machine lets us make one.
    pub(crate) fn open(label: &str) -> Self {
        let name = format!("slipway-bench-{}-{label}", std::process::id());
        let method = unified_parent()
            .and_then(|parent| make(&parent.join(&name)))
            .filter(|p| p.join("cpu.stat").exists())
            .map(Method::Unified)
            .or_else(|| make(&Path::new("/sys/fs/cgroup/cpuacct").join(&name)).map(Method::Legacy))
            .unwrap_or(Method::Proc);
        Self { method, roots: Vec::new() }
    }

    /// One line for the report.
    pub(crate) fn method(&self) -> &'static str {
        match self.method {
            Method::Unified(_) => "cgroup v2 cpu.stat of the server's own group (children included)",
            Method::Legacy(_) => "cgroup v1 cpuacct.usage of the server's own group (children included)",
            Method::Proc => {
                "/proc sums (10 ms ticks; children that ended without being waited for are missing)"
            }
        }
    }

    fn folder(&self) -> Option<&Path> {
        match &self.method {
            Method::Unified(folder) | Method::Legacy(folder) => Some(folder),
            Method::Proc => None,
        }
    }

    /// A command that enters the group before it becomes `program`, so that nothing it starts is missed.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let Some(folder) = self.folder() else { return Command::new(program) };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(folder.join("cgroup.procs")).arg(program);
        command
    }

    /// Adds a process that runs already, with all its threads.
    pub(crate) fn adopt(&mut self, pid: u32) {
        self.roots.push(pid);
        let moved = self.folder().map(|f| fs::write(f.join("cgroup.procs"), pid.to_string()));
        if let Some(Err(_)) = moved {
            self.method = Method::Proc;
        }
    }

    /// Everything used so far.
    pub(crate) fn cpu(&self) -> Duration {
        match &self.method {
            Method::Unified(folder) => Duration::from_micros(field(&folder.join("cpu.stat"), "usage_usec")),
            Method::Legacy(folder) => {
                let text = fs::read_to_string(folder.join("cpuacct.usage")).unwrap_or_default();
                Duration::from_nanos(text.trim().parse().unwrap_or(0))
            }
            Method::Proc => self.pids().into_iter().map(ticks).sum(),
        }
    }

    /// As [`Self::cpu`], once the server has gone quiet: what it does behind an answer counts too.
    pub(crate) fn settled_cpu(&self) -> Duration {
        let (begun, mut last, mut quiet) = (Instant::now(), self.cpu(), 0);
        while quiet < QUIET_PAUSES && begun.elapsed() < QUIET_WAIT_MAX {
            std::thread::sleep(QUIET_PAUSE);
            let now = self.cpu();
            quiet = if now.saturating_sub(last) < QUIET_USE { quiet + 1 } else { 0 };
            last = now;
        }
        last
    }

    /// Processes that belong to the server now.
    pub(crate) fn pids(&self) -> Vec<u32> {
        match self.folder() {
            Some(folder) => numbers(&folder.join("cgroup.procs")),
            None => descendants(&self.roots),
        }
    }

    /// Memory of all of them right now.
    pub(crate) fn memory(&self) -> Memory {
        let mut sum = Memory::default();
        for pid in self.pids() {
            let status = proc_file(pid, "status");
            sum.anonymous += field(&status, "RssAnon:") * 1024;
            sum.mapped += field(&status, "RssFile:") * 1024;
        }
        sum
    }

    /// Highest resident size of any one process since [`Self::reset_peaks`], mapped files included, in bytes.
    pub(crate) fn high_water(&self) -> u64 {
        self.pids()
            .into_iter()
            .map(|pid| field(&proc_file(pid, "status"), "VmHWM:") * 1024)
            .max()
            .unwrap_or(0)
    }

    /// Forgets high-water marks.
    pub(crate) fn reset_peaks(&self) {
        for pid in self.pids() {
            drop(fs::write(proc_file(pid, "clear_refs"), "5"));
        }
    }

    /// Samples memory until stopped.
    pub(crate) fn watch(&self) -> Watch {
        let (stop, peaks) =
            (Arc::new(AtomicBool::new(false)), Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
        let before = self.memory();
        self.reset_peaks();
        let (account, end, highest) = (self.clone(), stop.clone(), peaks.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let now = account.memory();
                highest[0].fetch_max(now.anonymous, Ordering::Relaxed);
                highest[1].fetch_max(now.mapped, Ordering::Relaxed);
                std::thread::sleep(SAMPLE_PAUSE);
            }
        });
        Watch { stop, peaks, before, thread: Some(thread) }
    }

    /// Removes the group; its processes must have ended.
    pub(crate) fn close(&self) {
        for _ in 0..50 {
            match self.folder() {
                Some(folder) if fs::remove_dir(folder).is_err() && folder.exists() => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => return,
            }
        }
    }
}

impl Memory {
    fn above(self, before: Self) -> Self {
        Self {
            anonymous: self.anonymous.saturating_sub(before.anonymous),
            mapped: self.mapped.saturating_sub(before.mapped),
        }
    }
}

/// The highest memory of a server during an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peaks {
    /// As it was: caches that earlier operations filled count.
    pub(crate) peak: Memory,
    /// Above where it stood before.
    pub(crate) growth: Memory,
}

/// A running look at a server's memory.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    peaks: Arc<[AtomicU64; 2]>,
    before: Memory,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// What was seen, once no more is looked for.
    pub(crate) fn peaks(mut self) -> Peaks {
        self.end();
        let highest = |at: usize| self.peaks[at].load(Ordering::Relaxed);
        let peak = Memory { anonymous: highest(0), mapped: highest(1) };
        Peaks { peak, growth: peak.above(self.before) }
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// The cgroup v2 folder of this process.
fn unified_parent() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let below = own.lines().find_map(|l| l.strip_prefix("0::"))?.trim_start_matches('/').to_owned();
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find_map(|l| {
        let mut words = l.split(' ').skip(1);
        let (folder, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(folder))
    })?;
    Some(mount.join(below))
}

fn make(folder: &Path) -> Option<PathBuf> {
    fs::create_dir(folder).ok()?;
    Some(folder.to_owned())
}

fn proc_file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// The number behind `key` on its line of that file; 0 if there is none.
fn field(path: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or("");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn numbers(path: &Path) -> Vec<u32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|l| l.parse().ok()).collect()
}

/// The fields of /proc/PID/stat behind the command's name (proc(5)): the parent is field 4, times are 14 to 17.
fn stat(pid: u32) -> Vec<u64> {
    let text = fs::read_to_string(proc_file(pid, "stat")).unwrap_or_default();
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split_whitespace().skip(1).map(|n| n.parse().unwrap_or(0)).collect()
}

fn ticks(pid: u32) -> Duration {
    Duration::from_millis(stat(pid).iter().skip(10).take(4).sum::<u64>() * 10)
}

fn descendants(roots: &[u32]) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u32, u64)> = all
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .map(|pid: u32| (pid, stat(pid).first().copied().unwrap_or(0)))
        .collect();
    let mut found: BTreeSet<u32> = roots.iter().copied().filter(|p| proc_file(*p, "stat").exists()).collect();
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| {
                !found.contains(pid) && u32::try_from(*parent).is_ok_and(|p| found.contains(&p))
            })
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return found.into_iter().collect();
        }
        found.extend(more);
    }
}
