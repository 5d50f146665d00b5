//! Every bound of this crate in one place.

use std::time::Duration;

/// Bytes per chunk on the way from the object store to the engine.
pub(crate) const CONTEXT_CHUNK_BYTES: usize = 64 << 10;
/// Chunks that may wait between the reading thread and the engine's socket.
pub(crate) const CONTEXT_CHUNKS_WAITING: usize = 8;
/// Longest path in a build context, in bytes: what Linux takes at once.
pub(crate) const CONTEXT_PATH_BYTES_MAX: usize = 4095;
/// Largest target of a link.
pub(crate) const CONTEXT_LINK_BYTES_MAX: u64 = 4095;
/// Largest record of a context's index.
pub(crate) const INDEX_RECORD_BYTES_MAX: usize = 8 << 10;
/// Most paths that links lead to from the files that a builder asks for by name.
pub(crate) const CONTEXT_FOLLOWED_MAX: usize = 10_000;
/// Requests for files that may wait to be answered, and answers that may wait to be taken.
pub(crate) const SYNC_WAITING: usize = 16;
/// Most bytes of the names and patterns with which a builder asks for a folder.
pub(crate) const SYNC_REQUEST_BYTES_MAX: u32 = 8 << 20;
/// Largest .dockerignore that is read.
pub(crate) const IGNORE_BYTES_MAX: u64 = 1 << 20;
/// Most patterns in a .dockerignore.
pub(crate) const IGNORE_PATTERNS_MAX: usize = 10_000;
/// Longest pattern of a .dockerignore, in bytes.
pub(crate) const IGNORE_PATTERN_BYTES_MAX: usize = 4096;
/// Largest Dockerfile.
pub(crate) const DOCKERFILE_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of a Dockerfile's instructions, each counted with all lines that continue it.
pub(crate) const DOCKERFILE_JOINED_BYTES_MAX: usize = 32 << 20;
/// Deepest nesting of variables in an image's name that is filled in.
pub(crate) const DOCKERFILE_BRACES_MAX: usize = 16;
/// Most links that lead to a Dockerfile.
pub(crate) const DOCKERFILE_LINKS_MAX: usize = 8;
/// Largest file that may be a Git LFS pointer (the pointer format's own limit is 1024 bytes).
pub(crate) const LFS_POINTER_BYTES_MAX: usize = 1024;

/// Most of a stage's log in which the line is looked for where its failure begins: the end of it.
pub(crate) const LOG_SEARCHED_BYTES_MAX: u64 = 64 << 20;
/// Entries of a folder in a test's container that are looked at for files to keep.
pub(crate) const KEPT_ENTRIES_MAX: usize = 200_000;
/// Longest path of a file that is kept.
pub(crate) const KEPT_PATH_BYTES_MAX: usize = 500;
/// Largest list of the files that are kept: 5,000 of the longest paths.
pub(crate) const KEPT_INDEX_BYTES_MAX: u64 = 8 << 20;
/// Most bytes of one folder of a test's container that are looked at for files to keep.
pub(crate) const HARVEST_BYTES_MAX: u64 = 4 << 30;
/// How long taking files out of a test's container may take.
pub(crate) const HARVEST_MAX: Duration = Duration::from_secs(120);
/// Pieces of them that may wait to be looked at.
pub(crate) const HARVEST_PIECES_WAITING: usize = 8;
/// Room past the limit of a log for stage headers and the verdict.
pub(crate) const LOG_RESERVE_BYTES: u64 = 4 << 20;
/// What is kept of the end of output that finds no room, in memory and then in the reserve.
pub(crate) const LOG_TAIL_BYTES: u64 = 256 << 10;
/// Longest log line; longer ones are broken.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Entries that may wait for the log's writing thread.
pub(crate) const LOG_ENTRIES_WAITING: usize = 256;
/// Most bytes that one read of a log returns.
pub(crate) const LOG_READ_BYTES_MAX: usize = 1 << 20;
/// Shortest secret that is masked in logs; shorter ones would mask half of every log.
pub(crate) const MASK_BYTES_MIN: usize = 4;
/// Most steps of one image build that are told apart in the log.
pub(crate) const BUILD_STEPS_MAX: usize = 10_000;

/// Most base images of one build that are remembered.
pub(crate) const BASES_MAX: usize = 200;

/// Time for a short call to the engine (inspect, create, remove, tag).
pub(crate) const ENGINE_CALL: Duration = Duration::from_secs(60);
/// Time to find out whether the engine is there.
pub(crate) const ENGINE_PING: Duration = Duration::from_secs(5);
/// How long a connection to the engine may take: its name, TLS or SSH, and whether we are let in.
pub(crate) const ENGINE_DIAL: Duration = Duration::from_secs(20);
/// How long a connection that nobody uses is kept for the next call, and how many.
pub(crate) const ENGINE_IDLE: Duration = Duration::from_secs(10);
pub(crate) const ENGINE_IDLE_MAX: usize = 4;
/// How long an engine that does not answer is left alone before it is asked again: at first, and at most.
pub(crate) const ENGINE_PAUSE_MIN: Duration = Duration::from_secs(5);
pub(crate) const ENGINE_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often a build that waits for a place looks again by itself.
pub(crate) const PLACES_ASKED: Duration = Duration::from_secs(5);
/// How often an SSH connection that is silent is asked whether it lives.
pub(crate) const ENGINE_KEEPALIVE: Duration = Duration::from_secs(30);
/// Steps of one build that may talk to its SSH agents at the same time, and bytes of each on their way.
pub(crate) const AGENT_TALKS_MAX: usize = 32;
pub(crate) const AGENT_BYTES: usize = 16 << 10;
/// Bytes on their way through an SSH connection that nobody has taken yet.
pub(crate) const ENGINE_PIPE_BYTES: usize = 256 << 10;
/// Time until the engine must have answered a long call with its headers.
pub(crate) const ENGINE_HEADERS: Duration = Duration::from_secs(2 * 3600);
/// Most bytes of an engine's answer that is only words.
pub(crate) const ENGINE_WORDS_BYTES_MAX: usize = 64 << 10;
/// Time for opening the BuildKit session.
pub(crate) const SESSION_OPEN: Duration = Duration::from_secs(15);
/// How long registries that did not give base images are not asked for the same again.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// Most sets of base images that are remembered for that.
pub(crate) const BASES_REMEMBERED_MAX: usize = 1_000;
/// Most processes in a test container where no ceiling says another number.
pub(crate) const TEST_PIDS: u32 = 512;
/// How often a service is asked whether it is ready.
pub(crate) const SERVICE_ASKED: Duration = Duration::from_millis(300);
/// How long it may take to answer that.
pub(crate) const SERVICE_CHECK_MAX: Duration = Duration::from_secs(10);
/// Last lines of a service that are shown where a test failed, and their bytes at most.
pub(crate) const SERVICE_LINES: usize = 50;
/// See [`SERVICE_LINES`].
pub(crate) const SERVICE_WORDS_BYTES_MAX: usize = 256 << 10;
/// Longest wait for the rest of a test's output once its process has ended.
pub(crate) const TEST_OUTPUT_REST: Duration = Duration::from_secs(5);

/// Time for reaching a registry.
pub(crate) const REGISTRY_CONNECT: Duration = Duration::from_secs(10);
/// Time for asking a registry whether it still takes a login.
pub(crate) const LOGIN_PROVED: Duration = Duration::from_secs(5);
/// How often it is asked while the engine's push is in trouble.
pub(crate) const LOGIN_PROVED_EVERY: Duration = Duration::from_secs(5);
/// Longest pause that a registry may ask for and get.
pub(crate) const REGISTRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Most pauses for one request.
pub(crate) const REGISTRY_PAUSES_MAX: usize = 2;
/// Largest file of authorities of a registry.
pub(crate) const CA_BYTES_MAX: usize = 64 << 10;
/// Sets of authorities whose connections are kept open at once.
pub(crate) const AUTHORITIES_MAX: usize = 32;
/// Largest manifest taken from a registry (the OCI distribution specification asks registries for 4 MiB).
pub(crate) const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Largest other answer taken from a registry.
pub(crate) const REGISTRY_BODY_BYTES_MAX: usize = 256 << 10;
/// Time for one attempt of an AWS call.
pub(crate) const AWS_ATTEMPT: Duration = Duration::from_secs(5);
/// Most attempts of an AWS call.
pub(crate) const AWS_ATTEMPTS: u32 = 3;
/// Most causes of an error of AWS that are told.
pub(crate) const CAUSES_MAX: usize = 10;
/// Time for an AWS call with its retries.
pub(crate) const AWS_CALL: Duration = Duration::from_secs(20);
/// Shortest time that an ECR login is kept, whatever its expiry says (an emulator may answer years ago).
pub(crate) const ECR_LOGIN_KEPT_MIN: Duration = Duration::from_secs(60);
/// Longest time that an ECR login is kept; they are good for 12 hours.
pub(crate) const ECR_LOGIN_KEPT_MAX: Duration = Duration::from_secs(6 * 3600);

/// Findings of a scan that are read (as many as ECR gives at once), and those that are named.
pub(crate) const FINDINGS_READ_MAX: i32 = 100;
pub(crate) const FINDINGS_NAMED_MAX: usize = 5;
/// How long a scan is waited for, and how often it is asked for.
pub(crate) const SCAN_WAIT: Duration = Duration::from_secs(15 * 60);
pub(crate) const SCAN_ASKED_EVERY: Duration = Duration::from_secs(5);

/// Largest file with the signing key.
pub(crate) const SIGNING_KEY_BYTES_MAX: u64 = 16 << 10;
/// Largest statement on an image, in its envelope.
pub(crate) const ATTACHED_BLOB_BYTES_MAX: usize = 32 << 20;
/// Addresses that one blob is asked at, one leading to the next.
pub(crate) const BLOB_HOPS_MAX: usize = 5;
/// How long listing an image's contents may take.
pub(crate) const CONTENTS_MAX: Duration = Duration::from_secs(120);
/// Layers of an image that are read.
pub(crate) const LAYERS_READ_MAX: usize = 256;
/// Layers that are remembered, and the memory that they may take.
pub(crate) const LAYERS_KEPT_MAX: usize = 128;
/// See [`LAYERS_KEPT_MAX`].
pub(crate) const LAYERS_KEPT_BYTES_MAX: usize = 8 << 20;
/// Pieces of a layer that may wait to be looked at.
pub(crate) const LAYER_PIECES_WAITING: usize = 8;
/// Most bytes of an image's layers, unpacked, that are read.
pub(crate) const IMAGE_UNPACKED_BYTES_MAX: u64 = 32 << 30;
/// Most files of an image's layers.
pub(crate) const IMAGE_ENTRIES_MAX: u64 = 2_000_000;
/// Longest path in a layer: what Linux takes at once.
pub(crate) const LAYER_PATH_BYTES_MAX: usize = 4096;
/// Most files that one layer takes away.
pub(crate) const LAYER_WHITEOUTS_MAX: usize = 100_000;
/// Remarks on one layer, and on an image, that are kept.
pub(crate) const LAYER_NOTES_MAX: usize = 20;
/// See [`LAYER_NOTES_MAX`].
pub(crate) const CONTENTS_NOTES_MAX: usize = 100;
/// Most packages of an image that are listed.
pub(crate) const LISTED_PACKAGES_MAX: usize = 50_000;
/// Most packages that one file tells of.
pub(crate) const FOUND_PACKAGES_MAX: usize = 20_000;
/// Longest name and version of a package.
pub(crate) const FOUND_NAME_CHARS_MAX: usize = 300;
/// Most files that are named for one package.
pub(crate) const FOUND_PLACES_MAX: usize = 5;
/// Largest list of a package manager, and largest archive of Java, that is read.
pub(crate) const LISTED_FILE_BYTES_MAX: u64 = 32 << 20;
/// Largest file that tells of one package.
pub(crate) const LISTED_SMALL_BYTES_MAX: u64 = 1 << 20;
/// Most entries of an archive of Java.
pub(crate) const JAR_ENTRIES_MAX: usize = 50_000;
/// Most bytes that are read of what is packed in one.
pub(crate) const JAR_INNER_BYTES_MAX: u64 = 128 << 20;
/// Largest program that is looked at as a whole; of larger ones Go's list alone is looked for.
pub(crate) const PROGRAM_BYTES_MAX: u64 = 32 << 20;
/// Largest list of what a program is made of.
pub(crate) const PROGRAM_LIST_BYTES_MAX: usize = 4 << 20;

/// Largest manifest file that is searched for image references.
pub(crate) const BUMP_FILE_BYTES_MAX: u64 = 1 << 20;
/// Most files searched below one `[deploy.*]` path.
pub(crate) const BUMP_FILES_MAX: usize = 2_000;
/// Most bytes searched below one `[deploy.*]` path.
pub(crate) const BUMP_BYTES_MAX: u64 = 64 << 20;
/// Places that are remembered of one manifest, and of all of them; there may be more.
pub(crate) const BUMP_PLACES_MAX: usize = 200;
/// Longest path and file name that is told.
pub(crate) const BUMP_PLACE_CHARS_MAX: usize = 200;
/// Places that one sentence names.
pub(crate) const BUMP_PLACES_TOLD_MAX: usize = 5;

/// Most characters of a foreign message that are repeated in an error.
pub(crate) const MESSAGE_CHARS_MAX: usize = 600;
