//! The table of limits that config.toml can set: names, defaults, bounds and what each is for. docs/limits.md shows it.

use std::time::Duration;

use super::unit::{Held, Unit};
use super::{Chosen, Machine};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// One limit of the table.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Its name in `[limits]`.
    pub name: &'static str,
    /// The heading under which it is listed.
    pub subject: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// What holds where nothing is said.
    pub usual: Usual,
    /// The smallest value that makes sense.
    pub least: u64,
    /// The largest.
    pub most: u64,
    /// What it bounds: the lines of its docstring.
    pub about: &'static [&'static str],
}

/// What holds where nothing is said.
#[derive(Clone, Copy, Debug)]
pub enum Usual {
    /// The same on every machine.
    Fixed(u64),
    /// So many for each processor, and so many at least.
    Processors(u64, u64),
    /// One part of memory in so many, and so many bytes at least and at most.
    Memory(u64, u64, u64),
}

impl Usual {
    /// The value on that machine.
    pub fn on(self, machine: Machine) -> u64 {
        match self {
            Self::Fixed(value) => value,
            Self::Processors(each, least) => each.saturating_mul(machine.processors).max(least),
            Self::Memory(part, least, most) => (machine.memory_bytes / part.max(1)).clamp(least, most),
        }
    }
}

/// The type of a field.
macro_rules! held {
    (Count) => {
        usize
    };
    (Size) => {
        u64
    };
    (Rate) => {
        u64
    };
    (Time) => {
        Duration
    };
}

/// Makes the struct and the table from one list: `NAME: UNIT = USUAL, LEAST..=MOST;` with what it is for above it.
macro_rules! limits {
    ($($subject:literal {$(
        $(#[doc = $about:literal])+
        $name:ident: $unit:ident = $usual:expr, $range:expr;
    )+})+) => {
        /// The limits in force. How each is written in config.toml, and what it may be, is in [`Limits::table`].
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {$($(
            $(#[doc = $about])+
            pub $name: held!($unit),
        )+)+}

        const TABLE: &[Limit] = &[$($(Limit {
            name: stringify!($name),
            subject: $subject,
            unit: Unit::$unit,
            usual: $usual,
            least: *$range.start(),
            most: *$range.end(),
            about: &[$($about),+],
        },)+)+];

        impl Limits {
            /// What `chosen` says, and what is usual on that machine of what it does not say.
            pub fn of(machine: Machine, chosen: &Chosen) -> Self {
                let mut values = TABLE.iter().map(|limit| chosen.value_of(limit, machine));
                // One value for each field, in the same order.
                let mut next = move || values.next().unwrap_or_default();
                Self {$($($name: Held::held(next()),)+)+}
            }

            /// Each with its value.
            pub fn values(&self) -> impl Iterator<Item = (&'static Limit, u64)> {
                TABLE.iter().zip([$($(Held::raw(self.$name),)+)+])
            }
        }
    };
}

use Usual::{Fixed, Memory, Processors};

limits! {
    "HTTP and HTTPS" {
        /// Connections at once, over all listeners for HTTP and HTTPS; one address has half of a listener's at most. Fewer are
        /// taken where the limit of open files asks for it.
        http_connections_max: Count = Fixed(2048), (16..=50_000);
        /// How long a client waits for a connection while all are taken.
        http_connection_wait: Time = Fixed(5 * SECOND), (SECOND..=MINUTE);
        /// How long a request's head may take.
        http_header_timeout: Time = Fixed(15 * SECOND), (SECOND..=5 * MINUTE);
        /// How long a connection may wait for its next request before others may have its place.
        http_idle_timeout: Time = Fixed(5 * MINUTE), (SECOND..=HOUR);
        /// A request's body has to come at `transfer_rate_min`, looked at whenever it was waited for this long.
        http_body_timeout: Time = Fixed(30 * SECOND), (SECOND..=10 * MINUTE);
        /// An answer has to be taken at `transfer_rate_min`, looked at whenever its client was waited for this long.
        http_response_timeout: Time = Fixed(MINUTE), (SECOND..=10 * MINUTE);
        /// The slowest that a client may send or take, over HTTP and Git.
        transfer_rate_min: Rate = Fixed(KIB), (1..=MIB);
        /// Largest body of a request to pages and API.
        http_body_size_max: Size = Fixed(MIB), (64 * KIB..=64 * MIB);
    }
    "SSH" {
        /// Connections at once. Fewer are taken where the limit of open files asks for it.
        ssh_connections_max: Count = Fixed(512), (16..=20_000);
        /// Connections at once of one account, and from one address before anybody has signed in; three quarters of all at
        /// most.
        ssh_connections_per_account_max: Count = Fixed(128), (1..=20_000);
        /// How long a client waits for a connection while all are taken.
        ssh_connection_wait: Time = Fixed(10 * SECOND), (SECOND..=MINUTE);
        /// How long a client may take to sign in (sshd's LoginGraceTime).
        ssh_login_timeout: Time = Fixed(20 * SECOND), (2 * SECOND..=10 * MINUTE);
        /// How long a connection may stay without a channel.
        ssh_idle_timeout: Time = Fixed(10 * MINUTE), (SECOND..=DAY);
        /// Pause between two signs of life that a silent client is asked for; it is dropped within five of them (sshd's
        /// ClientAliveInterval).
        ssh_keepalive_interval: Time = Fixed(30 * SECOND), (SECOND..=10 * MINUTE);
        /// Channels at once in one connection (sshd's MaxSessions).
        ssh_channels_max: Count = Fixed(8), (1..=100);
    }
    "Fetches and pushes" {
        /// Fetches and clones at once.
        fetches_max: Count = Fixed(512), (2..=20_000);
        /// Packs that are put together at once, one account's: one more is kept for others.
        packs_made_max: Count = Processors(1, 2), (1..=1024);
        /// Pushes at once; half of them at most are one account's.
        pushes_max: Count = Processors(8, 32), (2..=10_000);
        /// How long a fetch or push waits for its turn before its client is told that the server is busy.
        git_queue_wait: Time = Fixed(MINUTE), (SECOND..=HOUR);
        /// Largest pack that is pushed; `receive.maxInputSize` of a repository can lower it.
        pack_size_max: Size = Fixed(8 * GIB), (64 * KIB..=TIB);
        /// Most objects in it.
        pack_objects_max: Count = Fixed(20_000_000), (1_000..=200_000_000);
        /// Largest object in it, uncompressed.
        object_size_max: Size = Fixed(2 * GIB), (64 * KIB..=64 * GIB);
        /// Longest chain of deltas in it.
        delta_depth_max: Count = Fixed(4096), (50..=10_000);
        /// Most that everything but packs has in one request of a Git client (wants, haves, commands), uncompressed.
        git_request_size_max: Size = Fixed(64 * MIB), (64 * KIB..=GIB);
        /// How long a Git client may leave what it is sent untaken; `transfer_rate_min` gives more time for more.
        git_send_timeout: Time = Fixed(MINUTE), (SECOND..=HOUR);
        /// How long a Git client may stop in the middle of a request over HTTP.
        git_http_idle_timeout: Time = Fixed(2 * MINUTE), (SECOND..=HOUR);
        /// The same over SSH, where the server waits while a client packs and runs its pre-push hook.
        git_ssh_idle_timeout: Time = Fixed(30 * MINUTE), (SECOND..=DAY);
        /// How long `git push -o wait` watches before it lets the client go.
        push_wait_max: Time = Fixed(3 * HOUR), (SECOND..=DAY);
    }
    "Memory and disk for Git" {
        /// Memory that large objects of all pushes and reads take together.
        large_object_memory_max: Size = Memory(8, 32 * MIB, 128 * MIB), (16 * MIB..=64 * GIB);
        /// How long a push waits for that memory.
        large_object_wait: Time = Fixed(MINUTE), (SECOND..=HOUR);
        /// Disk that large objects take together for which there is no memory.
        large_object_disk_max: Size = Fixed(16 * GIB), (64 * MIB..=16 * TIB);
        /// Memory for delta bases while all pushes' deltas are resolved.
        push_delta_memory_max: Size = Fixed(64 * MIB), (8 * MIB..=16 * GIB);
        /// Memory for delta bases that are kept for the next read (git's core.deltaBaseCacheLimit).
        delta_base_cache_max: Size = Fixed(24 * MIB), (MIB..=16 * GIB);
        /// Memory of answers to fetches that are kept for whoever asks the same.
        fetch_cache_memory_max: Size = Fixed(32 * MIB), (MIB..=16 * GIB);
        /// Disk that they take.
        fetch_cache_disk_max: Size = Fixed(GIB), (16 * MIB..=TIB);
        /// Repositories kept open while nobody uses them.
        open_repositories_max: Count = Fixed(256), (4..=10_000);
        /// Threads that work on one pushed pack; never more than there are processors.
        push_threads_max: Count = Fixed(16), (1..=128);
        /// How often everything in a repository is packed anew at most.
        repack_interval: Time = Fixed(7 * DAY), (HOUR..=365 * DAY);
    }
    "Pages and API" {
        /// Requests of people who have signed in that are worked on at once.
        member_requests_max: Count = Fixed(16), (1..=1_000);
        /// Requests of everybody else that are worked on at once.
        visitor_requests_max: Count = Fixed(4), (1..=1_000);
        /// How long a request waits for its turn before it is answered 503.
        request_wait: Time = Fixed(2 * SECOND), (SECOND..=MINUTE);
        /// Live pages and followed logs at once; one account or address has a quarter of them at most.
        live_pages_max: Count = Fixed(256), (4..=20_000);
        /// Largest file that is shown as a page; raw files and archives have no limit.
        shown_file_size_max: Size = Fixed(MIB), (KIB..=32 * MIB);
        /// Files of a diff that a page shows.
        diff_files_max: Count = Fixed(300), (1..=10_000);
        /// Lines of a diff that a page shows.
        diff_lines_max: Count = Fixed(6000), (10..=200_000);
        /// How long a search of a repository may take.
        search_timeout: Time = Fixed(2 * SECOND), (SECOND..=MINUTE);
        /// How long the history of one file or folder may be looked for.
        history_timeout: Time = Fixed(1_500), (SECOND..=MINUTE);
    }
    "Accounts" {
        /// Accounts on the server.
        accounts_max: Count = Fixed(20_000), (1..=1_000_000);
        /// SSH keys of one account.
        keys_per_account_max: Count = Fixed(100), (1..=10_000);
        /// Tokens of one account, expired ones included.
        tokens_per_account_max: Count = Fixed(100), (1..=10_000);
        /// Sessions of one account; one more ends the oldest.
        sessions_per_account_max: Count = Fixed(64), (1..=10_000);
        /// How long a session lives.
        session_lifetime: Time = Fixed(7 * DAY), (5 * MINUTE..=365 * DAY);
        /// Failed sign-ins of one account from one address within a minute before further ones are asked to wait.
        sign_in_failures_max: Count = Fixed(10), (1..=10_000);
        /// Names of others' users and repositories that one account may ask for in vain within a minute.
        name_probes_max: Count = Fixed(20), (1..=10_000);
    }
    "Repositories and records" {
        /// Repositories on the server.
        repositories_max: Count = Fixed(50_000), (1..=1_000_000);
        /// Repositories that one account has made; owners have no such limit.
        repositories_per_account_max: Count = Fixed(100), (1..=1_000_000);
        /// Pushes that each repository remembers; older ones go once they are settled.
        pushes_kept: Count = Fixed(1_000), (10..=1_000_000);
        /// Bytes of pushes that each repository remembers.
        pushes_kept_size: Size = Fixed(32 * MIB), (MIB..=16 * GIB);
        /// Builds that each repository remembers; older ones go once they are over.
        builds_kept: Count = Fixed(5_000), (10..=1_000_000);
        /// Deploys that each repository remembers; older ones go once they are over.
        deploys_kept: Count = Fixed(1_000), (10..=1_000_000);
        /// Deliveries that each repository remembers; older ones go once they are over.
        deliveries_kept: Count = Fixed(1_000), (10..=1_000_000);
        /// Memory for pages of the database.
        database_cache_max: Size = Fixed(8 * MIB), (MIB..=16 * GIB);
    }
    "Builds" {
        /// Builds at once.
        builds_max: Count = Fixed(2), (1..=64);
        /// Builds of one repository at once.
        builds_per_repo_max: Count = Fixed(64), (1..=64);
        /// Builds that wait or run at once which schedules, nights and base images have started; what is due beyond that comes later.
        scheduled_builds_max: Count = Fixed(100), (1..=10_000);
        /// Over how long builds are spread that are due at the same time; those of one schedule come by the same time later
        /// each day.
        schedule_spread: Time = Fixed(MINUTE), (0..=DAY);
        /// The shortest time between two starts of one schedule.
        schedule_interval_min: Time = Fixed(5 * MINUTE), (SECOND..=DAY);
        /// How long after a base image has moved what is built on it is built anew.
        rebuild_delay: Time = Fixed(30 * SECOND), (0..=DAY);
        /// Largest build context.
        build_context_size_max: Size = Fixed(64 * GIB), (MIB..=TIB);
        /// Most files in it.
        build_context_files_max: Count = Fixed(500_000), (100..=10_000_000);
        /// Largest file in it; files pass by pieces, whatever their size.
        build_context_file_size_max: Size = Fixed(64 * GIB), (MIB..=TIB);
        /// Largest log of a build; what follows is counted and left out.
        build_log_size_max: Size = Fixed(64 * MIB), (64 * KIB..=16 * GIB);
        /// How long the log of a build that is over is kept; the newest 20 of each repository, and those of images that tags or
        /// manifests name, are kept longer.
        build_logs_kept: Time = Fixed(365 * DAY), (SECOND..=3650 * DAY);
        /// Logs that each repository keeps.
        build_logs_per_repository_max: Count = Fixed(1_000), (20..=1_000_000);
        /// Disk that all logs take together before the oldest go.
        build_logs_size_max: Size = Fixed(20 * GIB), (64 * KIB..=64 * TIB);
        /// A build that says nothing for this long is ended.
        build_silence_timeout: Time = Fixed(15 * MINUTE), (10 * SECOND..=DAY);
        /// Files that are kept of a build's test.
        artifacts_per_build_max: Count = Fixed(500), (1..=5_000);
        /// Largest of them.
        artifact_size_max: Size = Fixed(32 * MIB), (KIB..=256 * MIB);
        /// All of them together.
        artifacts_size_max: Size = Fixed(128 * MIB), (KIB..=16 * GIB);
        /// How long pushing one tag of an image may take.
        image_push_timeout: Time = Fixed(30 * MINUTE), (10 * SECOND..=DAY);
        /// A push of an image that says nothing for this long is ended.
        image_push_silence_timeout: Time = Fixed(5 * MINUTE), (10 * SECOND..=DAY);
        /// How long one request to a registry may take.
        registry_timeout: Time = Fixed(30 * SECOND), (SECOND..=10 * MINUTE);
    }
    "Secrets" {
        /// Secrets of one repository.
        secrets_per_repository_max: Count = Fixed(100), (1..=1_000);
        /// Largest value of one.
        secret_size_max: Size = Fixed(64 * KIB), (KIB..=500 * KIB);
    }
    "Deploys" {
        /// Deploys at once.
        deploys_max: Count = Fixed(8), (1..=64);
        /// Most files that one deploy reads.
        manifest_files_max: Count = Fixed(5_000), (1..=100_000);
        /// Largest of them.
        manifest_file_size_max: Size = Fixed(4 * MIB), (64 * KIB..=64 * MIB);
        /// All of them together.
        manifests_size_max: Size = Fixed(32 * MIB), (64 * KIB..=GIB);
        /// Most objects of one deploy.
        deploy_objects_max: Count = Fixed(5_000), (1..=100_000);
        /// Calls to one cluster at once, over all deploys.
        cluster_calls_max: Count = Fixed(32), (1..=1_000);
        /// How long one call to a cluster may take.
        cluster_call_timeout: Time = Fixed(36 * SECOND), (SECOND..=10 * MINUTE);
        /// How long a push waits for what its cluster says of the manifests.
        cluster_gate_timeout: Time = Fixed(20 * SECOND), (SECOND..=10 * MINUTE);
        /// How long a rollout may take; an object that asks for more itself gets it, up to an hour.
        rollout_timeout: Time = Fixed(10 * MINUTE), (SECOND..=HOUR);
        /// How long an image must fail to be pulled before the deploy fails.
        image_pull_grace: Time = Fixed(10 * SECOND), (SECOND..=HOUR);
        /// How long a container must crash before the deploy fails.
        crash_grace: Time = Fixed(20 * SECOND), (SECOND..=HOUR);
    }
    "Webhooks" {
        /// Webhooks of one repository.
        webhooks_per_repository_max: Count = Fixed(20), (1..=1_000);
        /// Deliveries at once.
        deliveries_max: Count = Fixed(16), (1..=1_000);
        /// Deliveries of one repository that wait; further ones are recorded as failed.
        deliveries_waiting_max: Count = Fixed(2_000), (10..=100_000);
        /// How long an address may take to answer.
        delivery_timeout: Time = Fixed(30 * SECOND), (SECOND..=10 * MINUTE);
    }
    "Stopping" {
        /// How long a drain waits for work under way.
        drain_timeout: Time = Fixed(30 * SECOND), (0..=DAY);
    }
}

impl Limits {
    /// All limits that there are.
    pub fn table() -> &'static [Limit] {
        TABLE
    }

    /// Those that are not as in `usual`, as config.toml has them, with what is usual behind in brackets.
    pub fn unlike(&self, usual: &Self) -> Vec<String> {
        let both = self.values().zip(usual.values());
        let other = both.filter(|((_, value), (_, usual))| value != usual);
        let said = other.map(|((limit, value), (_, usual))| {
            format!("{} = {} ({})", limit.name, limit.unit.written(value), limit.unit.written(usual))
        });
        said.collect()
    }
}

impl Default for Limits {
    /// What is usual on a small machine.
    fn default() -> Self {
        Self::of(Machine::default(), &Chosen::default())
    }
}
