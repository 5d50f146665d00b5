//! The command line: `cargo bench --bench git_engine -- [options]`.

use std::path::PathBuf;

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Workloads by the beginnings of their names; all where empty.
    pub(crate) only: Vec<String>,
    /// Pairs per measurement of small operations; large ones take fewer.
    pub(crate) runs: usize,
    /// Real bare repositories.
    pub(crate) repos: Vec<PathBuf>,
    /// Less of everything: ends within three minutes.
    pub(crate) quick: bool,
    /// Also the 2 GB of large blobs.
    pub(crate) large: bool,
    /// Also a repository of this many objects.
    pub(crate) huge: Option<u64>,
    /// Also growth with objects, refs, packs and clients, and write the plots.
    pub(crate) plots: bool,
    /// Measure nothing: start both sides, say where they are, wait for the end of standard input.
    pub(crate) hold: bool,
}

/// Every name that `--only` takes whole.
const WORKLOADS: [&str; 12] = [
    "ls-refs",
    "small-fetch",
    "full-clone",
    "partial-clone",
    "pushed-clone",
    "many-clones",
    "push",
    "first-push",
    "ls-remote",
    "bulk-ssh",
    "huge",
    "growth",
];

/// Shown for `--help` and for what is not understood.
pub(crate) const USAGE: &str = "\
usage: cargo bench --bench git_engine -- [--quick] [--only WORKLOAD]... [--runs N] [--repo PATH]... [--large] [--huge N] [--plots] [--hold]

  --only WORKLOAD   a beginning of: ls-refs small-fetch full-clone partial-clone pushed-clone many-clones push
                    first-push ls-remote bulk-ssh huge growth
  --repo PATH       a real bare repository; also SLIPWAY_BENCH_REPOS=/a.git:/b.git
  --runs N          pairs of each small measurement (15, quick: 3)
  --large           2 GB of large blobs for bulk-ssh and first-push
  --huge N          a generated repository of about N objects
  --hold            measure nothing: start both sides with the first repository, print the addresses, and wait for the
                    end of standard input, to look at them with other tools
  --plots           growth with objects, refs, packs and clients, drawn into docs/plots
SLIPWAY_BIN=FILE measures that server binary instead of the one cargo built.
SLIPWAY_AGAINST=FILE puts that Slipway, an older one say, in git's place: before and after in the same pairs.";

impl Options {
    /// Reads the arguments; `Err` is what to print.
    pub(crate) fn read() -> Result<Self, String> {
        let mut options = Self {
            only: Vec::new(),
            runs: 0,
            repos: Vec::new(),
            quick: false,
            large: false,
            huge: None,
            plots: false,
            hold: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--bench" => {}
                "--quick" => options.quick = true,
                "--large" => options.large = true,
                "--hold" => options.hold = true,
                "--plots" => options.plots = true,
                "--only" => options.only.push(value()?),
                "--repo" => options.repos.push(value()?.into()),
                "--runs" => {
                    options.runs = value()?.parse().map_err(|_| format!("--runs wants a number\n{USAGE}"))?
                }
                "--huge" => {
                    options.huge =
                        Some(value()?.parse().map_err(|_| format!("--huge wants a number\n{USAGE}"))?);
                }
                _ => return Err(USAGE.into()),
            }
        }
        let listed = std::env::var("SLIPWAY_BENCH_REPOS").unwrap_or_default();
        options.repos.extend(listed.split(':').filter(|p| !p.is_empty()).map(PathBuf::from));
        if options.runs == 0 {
            options.runs = if options.quick { 3 } else { 15 };
        }
        Ok(options)
    }

    /// True if that workload is to be measured.
    pub(crate) fn wants(&self, workload: &str) -> bool {
        // A whole name means that one alone: "push" is not "pushed-clone".
        let chosen = |only: &String| match WORKLOADS.contains(&only.as_str()) {
            true => workload == only,
            false => workload.starts_with(only.as_str()),
        };
        self.only.is_empty() || self.only.iter().any(chosen)
    }

    /// Pairs of measurements that take seconds each.
    pub(crate) fn large_runs(&self) -> usize {
        self.runs.div_ceil(3).max(2)
    }
}
