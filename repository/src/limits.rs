//! Every bound of this crate in one place, but for those that config.toml can set (`slipway_core::limits`): what all repositories
//! keep together is the process's, so it is bounded by those in force.

use std::time::Duration;

// Reading for pages, builds and deploys; commits of our own.

/// Largest tree object that is read, in bytes (about a million entries).
pub(crate) const TREE_BYTES_MAX: u64 = 48 << 20;
/// Largest commit or tag object that is read, in bytes.
pub(crate) const COMMIT_BYTES_MAX: u64 = 4 << 20;
/// Most tags nested in one another.
pub(crate) const TAG_DEPTH_MAX: usize = 16;
/// Most folders nested in one another (git's core.maxTreeDepth).
pub(crate) const TREE_DEPTH_MAX: usize = 2048;
/// Most commits that a question about the graph (merge base, ancestry) looks at.
pub(crate) const ANCESTRY_COMMITS_MAX: usize = 5_000_000;
/// Most merge bases that are compared with one another.
pub(crate) const MERGE_BASES_MAX: usize = 16;
/// How many commits are walked between two looks at the clock.
pub(crate) const CLOCK_COMMITS: usize = 16;
/// Fewest digits of a shortened object id (git's rule).
pub(crate) const SHORT_ID_DIGITS_MIN: usize = 4;
/// Most objects of one prefix that are looked at and named.
pub(crate) const SHORT_ID_CANDIDATES_MAX: usize = 20;
/// Most files and folders that one look for the files below a path meets.
pub(crate) const WALK_STEPS_MAX: usize = 1_000_000;
/// Longest revision, in bytes.
pub(crate) const REV_BYTES_MAX: usize = 1200;
/// Most steps (`^`, `~n`) of one revision.
pub(crate) const REV_STEPS_MAX: usize = 100_000;
/// Sizes are looked up in folders of at most so many entries.
pub(crate) const SIZED_ENTRIES_MAX: usize = 1000;
/// Most changed files that one diff looks at; also the most among which renames are searched.
pub(crate) const CHANGES_MAX: usize = 20_000;
/// Most pairs of a removed and an added file that are compared for similarity.
pub(crate) const RENAME_PAIRS_MAX: usize = 20_000;
/// Largest file that is compared for similarity, in bytes.
pub(crate) const RENAME_FILE_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of files that one diff reads to find renames.
pub(crate) const RENAME_BYTES_MAX: u64 = 16 << 20;
/// Most bytes of files that one diff compares line by line.
pub(crate) const DIFF_BYTES_MAX: u64 = 64 << 20;
/// Most bytes of text that the lines of one diff hold.
pub(crate) const DIFF_TEXT_BYTES_MAX: usize = 16 << 20;
/// A file is binary if it has a NUL among its first bytes, so many (git's rule).
pub(crate) const BINARY_PROBE_BYTES: usize = 8000;
/// Longest target of a link in an archive, in bytes.
pub(crate) const ARCHIVE_LINK_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an archive that are made at once.
pub(crate) const ARCHIVE_PIECE_BYTES: usize = 64 << 10;
/// Largest .gitattributes that is obeyed, in bytes (git stops at 100 MiB).
pub(crate) const ATTRIBUTES_BYTES_MAX: u64 = 1 << 20;
/// Most links followed to find a file.
pub(crate) const LINK_HOPS_MAX: usize = 8;
/// Longest link target that is followed, in bytes.
pub(crate) const LINK_BYTES_MAX: u64 = 4096;
/// Most files that one commit of our own changes.
pub(crate) const EDITS_MAX: usize = 10_000;
/// Most bytes of content that one commit of our own brings.
pub(crate) const EDIT_BYTES_MAX: usize = 64 << 20;
/// Longest path that an edit writes, in bytes.
pub(crate) const EDIT_PATH_BYTES_MAX: usize = 4096;
/// Most folders on the way to an edited file.
pub(crate) const EDIT_FOLDERS_DEEP_MAX: usize = 128;
/// Longest message of a commit of our own, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Longest name or address in a commit of our own, in bytes.
pub(crate) const SIGNATURE_BYTES_MAX: usize = 1000;

// Storing, serving and receiving.

/// Longest chain of deltas that is followed in a stored pack. git writes 4095 at most.
pub(crate) const DELTA_DEPTH_MAX: usize = 10_000;
/// Largest single object put into the cache of delta bases, in bytes.
pub(crate) const BASE_CACHE_OBJECT_BYTES_MAX: usize = 1 << 20;
/// Largest file of refs (`packed-refs`) that is read, in bytes.
pub(crate) const PACKED_REFS_BYTES_MAX: u64 = 1 << 30;
/// Longest chain of symbolic refs or of tags of tags that is followed.
pub(crate) const PEEL_DEPTH_MAX: usize = 32;
/// Folders deep that loose refs are looked for.
pub(crate) const REF_FOLDERS_DEEP_MAX: usize = 512;
/// A file changed less than this before it was read may change again without showing it, in nanoseconds: time stamps
/// tick with the kernel's clock, up to 10 ms apart.
pub(crate) const RACY_NS: i128 = 25_000_000;
/// Buffers for reading packs and inflating, in bytes.
pub(crate) const BUFFER_BYTES: usize = 64 << 10;
/// Read for one entry's header where the others are far off, in bytes.
pub(crate) const HEADERS_BYTES_MIN: usize = 1 << 10;
/// Largest commit, tag or tree that is read for its links, in bytes.
pub(crate) const LINKED_OBJECT_BYTES_MAX: u64 = 256 << 20;
/// The buffer that an incoming pack passes through, in bytes.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = 256 << 10;
/// Free room in that buffer below which it is emptied before more is read, in bytes.
pub(crate) const RECEIVE_READ_BYTES_MIN: usize = 16 << 10;
/// Packs of fewer objects are worked on by one thread.
pub(crate) const PARALLEL_FROM: u32 = 1000;
/// Most threads that hash while a pack arrives: one inflates no faster than they work.
pub(crate) const SCAN_HELPERS_MAX: usize = 3;
/// Bytes and objects of which such a thread gets a batch, and how many batches there are for each thread.
pub(crate) const BATCH_BYTES: usize = 256 << 10;
pub(crate) const BATCH_OBJECTS: usize = 256;
pub(crate) const BATCHES_PER_THREAD: usize = 4;
/// Larger objects are not handed over, in bytes.
pub(crate) const BATCH_OBJECT_BYTES_MAX: u64 = 1 << 20;
/// Packs of more objects have their links remembered by fingerprint.
pub(crate) const EXACT_LINKS_OBJECTS_MAX: u32 = 200_000;
/// Most different objects that those of a received pack may point at.
pub(crate) const LINKS_MAX: usize = 24_000_000;
/// Most of them that are not in the pack.
pub(crate) const OUTSIDE_LINKS_MAX: usize = 4_000_000;
/// Parts of the set of links, so that threads seldom wait for one another.
pub(crate) const LINK_SHARDS: usize = 64;
/// Links that a thread remembers as known.
pub(crate) const RECENT_LINKS: usize = 16 << 10;
/// Most different `.gitmodules` in one received pack.
pub(crate) const GITMODULES_FILES_MAX: usize = 100_000;
/// Windows for reading a received pack again, in bytes: where reading jumps, and where it goes on.
pub(crate) const READ_JUMP_BYTES: usize = 4 << 10;
pub(crate) const READ_AHEAD_BYTES: usize = 64 << 10;
/// Largest base of a thin pack that is copied as it is stored, in bytes inflated.
pub(crate) const COPIED_BASE_BYTES_MAX: u64 = 1 << 20;
/// From this many bytes on, only one thread at a time makes objects from deltas.
pub(crate) const LARGE_BYTES: u64 = 16 << 20;
/// Packs of fewer objects are stored without a reverse index.
pub(crate) const REVERSE_FROM: usize = 1000;
/// Largest commit, tag or tree that is accepted, in bytes.
pub(crate) const RECEIVED_LINKED_BYTES_MAX: u64 = 64 << 20;
/// Largest object that is made from a delta, in bytes: it and its base are held in memory. git makes no deltas of files
/// above 512 MiB.
pub(crate) const DELTA_RESULT_BYTES_MAX: u64 = 512 << 20;
/// Objects up to this many bytes are compared byte by byte with a stored one of the same id.
pub(crate) const COMPARE_BYTES_MAX: u64 = 64 << 20;
/// How much more than its own size a pack may inflate to in all, deltas applied ...
pub(crate) const INFLATE_RATIO_MAX: u64 = 2_000;
/// ... once it goes beyond this many bytes.
pub(crate) const INFLATE_FREE_BYTES: u64 = 8 << 30;
/// Objects between two reports of progress.
pub(crate) const PROGRESS_EVERY: u32 = 256;
/// Commits that one repository's graph keeps in memory; beyond it the graph starts anew.
pub(crate) const GRAPH_KEPT_MAX: usize = 1_000_000;
/// Most commits walked to see that a generation's refs still reach what the refs of the one before did.
pub(crate) const INHERIT_COMMITS_MAX: usize = 20_000;
/// From so many refs set at once, those that are new go into `packed-refs` instead of a file each.
pub(crate) const PACK_REFS_FROM: usize = 32;
/// Largest `.gitmodules` that is accepted, in bytes.
pub(crate) const GITMODULES_BYTES_MAX: u64 = 4 << 20;
/// Largest file of sparse patterns that a filter may name, in bytes.
pub(crate) const SPARSE_BYTES_MAX: usize = 1 << 20;
/// Most patterns in it.
pub(crate) const SPARSE_PATTERNS_MAX: usize = 4096;
/// Most pairs of a tree and a path that a filter by path looks at: the same trees within one another under ever new
/// paths would keep it busy for ever.
pub(crate) const FILTER_PLACES_MAX: usize = 8_000_000;
/// Largest `shallow` of a repository that is read, in bytes: some four hundred thousand commits.
pub(crate) const BOUNDARY_BYTES_MAX: u64 = 16 << 20;
/// Largest list of objects that a repository's config lets through unchecked, in bytes: some two hundred thousand.
pub(crate) const SKIP_LIST_BYTES_MAX: u64 = 8 << 20;
/// Most such lists.
pub(crate) const SKIP_LISTS_MAX: usize = 16;
/// Most flaws of pushed objects that a pusher is told of without being refused.
pub(crate) const FLAWS_TOLD_MAX: usize = 20;
/// Largest `config` of a repository that is read, in bytes.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Most values in it.
pub(crate) const CONFIG_VALUES_MAX: usize = 10_000;
/// At most so many trees that the client has are laid beside one commit's where a filter leaves something out,
pub(crate) const EDGES_MAX: usize = 4;
/// and so many of parents otherwise.
pub(crate) const BESIDE_MAX: usize = 8;
/// A commit with more new objects than this is walked as if it had no parents close by.
pub(crate) const NEWS_MAX: usize = if cfg!(test) { 2_500 } else { 20_000 };
/// Bytes of trees that one walk keeps for its next commit.
pub(crate) const NEWS_TREES_BYTES_MAX: usize = 4 << 20;
/// Bytes of lists of what is new in commits that are kept, over all repositories.
pub(crate) const NEWS_KEPT_BYTES_MAX: usize = 12 << 20;
/// Bytes of entries made for one answer that are kept for others.
pub(crate) const MADE_KEPT_BYTES_MAX: usize = 16 << 20;
/// One walk remembers so many ids of what it took; beyond it the index is asked.
pub(crate) const SENT_MAX: usize = 500_000;
/// One walk remembers of so many objects how they are stored; beyond it that is looked up once more.
pub(crate) const STORED_MAX: usize = 100_000;
/// Walks over more commits than this keep nothing: it would drive out what others keep.
pub(crate) const NEWS_COMMITS_MAX: usize = 1_000;
/// Where more commits than this are to be sent, bitmaps are asked if there are any.
pub(crate) const WALKED_COMMITS_MAX: usize = 2_000;
/// Bytes that an answer made anew keeps in memory; beyond it they are in a file.
pub(crate) const MADE_MEMORY_BYTES_MAX: usize = 512 << 10;
/// Stretches of a pack up to so many bytes are copied into an answer instead of being referred to.
pub(crate) const COPIED_ENTRY_BYTES_MAX: usize = 4096;
/// Deltas are made for an answer among so many objects at most,
pub(crate) const FRESH_OBJECTS_MAX: usize = 50_000;
/// of so many bytes in all,
pub(crate) const FRESH_BYTES_MAX: u64 = 128 << 20;
/// and of so many bytes each.
pub(crate) const FRESH_OBJECT_BYTES_MAX: u64 = 8 << 20;
/// Pairs of an object and what the client has at its path that one answer remembers.
pub(crate) const TWINS_MAX: usize = 100_000;
/// Ids that one walk over trees remembers from not long ago (33 bytes each).
pub(crate) const RECENT_IDS: usize = 1 << 14;
/// Files of bitmaps of which it is known whether they are whole, over all repositories.
pub(crate) const BITMAP_FILES_KNOWN_MAX: usize = 10_000;
/// Bytes read of the note about a repository's bitmaps.
pub(crate) const BITMAP_NOTE_BYTES_MAX: u64 = 1_000;

// Large objects.

/// Bytes of a delta that tell the sizes of its base and its result.
pub(crate) const DELTA_HEAD_BYTES_MAX: u64 = 20;
/// The least that one push may hold of delta bases, however many are under way, in bytes.
pub(crate) const RESOLVE_BYTES_MIN: usize = 2 << 20;
/// Compressed bytes that an object which is read piece by piece holds.
pub(crate) const STREAM_BUFFER_BYTES: usize = 16 << 10;
/// Objects up to so many bytes are not counted against memory's budget.
pub(crate) const SMALL_BYTES_MAX: usize = 1 << 20;
/// Largest object that is made from a delta of a stored pack, in bytes.
pub(crate) const STORED_RESULT_BYTES_MAX: u64 = 4 << 30;

// Files beside the packs.

/// Most tips of refs that get bitmaps of their own, the newest.
pub(crate) const BITMAP_TIPS_MAX: usize = 200;
/// Among so many of the newest commits ...
pub(crate) const BITMAP_YOUNG_COMMITS: usize = 20_000;
/// ... every so many get one,
pub(crate) const BITMAP_YOUNG_SPACE: usize = 200;
/// and among the others every so many.
pub(crate) const BITMAP_OLD_SPACE: usize = 5_000;
/// Most stored bitmaps that are put together to get one.
pub(crate) const BITMAP_CHAIN_MAX: u32 = 1_000_000;
/// Most other bitmaps that reading a bitmap of our own takes.
pub(crate) const BITMAP_WRITTEN_CHAIN_MAX: usize = 32;
/// How many of the last bitmaps are tried as a base for the next one (git's number); at most 160.
pub(crate) const BITMAP_BASES_TRIED: usize = 10;

/// From so many packs outside of the multi-pack index on, rolling up pays.
pub(crate) const MAINTAINED_LONERS_MAX: usize = 8;
/// From so many objects on, having no bitmaps is reason enough.
pub(crate) const MAINTAINED_OBJECTS_MIN: u64 = 1_000;
/// It pays if more than one in so many objects is out of reach ...
pub(crate) const REPACK_UNREACHABLE_SHARE: u64 = 10;
/// ... or more than this share of all, as numerator and denominator, has come since the last time.
pub(crate) const REPACK_OLD_SHARE: (u64, u64) = (3, 4);
/// No object goes that is younger, or that was set aside less long ago.
pub(crate) const REPACK_EXPIRE_MIN: Duration = Duration::from_secs(3600);
/// How long dropping objects waits for pushes to end before it is put off.
pub(crate) const GATE_PATIENCE: Duration = Duration::from_secs(10);
/// How many objects each is compared with when everything is packed anew (git's number).
pub(crate) const REPACK_WINDOW: usize = 10;
/// Longest chain of deltas that a full repack leaves or makes (git's number).
pub(crate) const REPACK_DEPTH: usize = 50;
/// Bytes of objects and their indexes that the comparing holds.
pub(crate) const REPACK_WINDOW_BYTES: usize = 96 << 20;
/// Largest record of a repository's maintenance that is read, in bytes.
pub(crate) const MAINTENANCE_RECORD_BYTES_MAX: u64 = 64 << 10;

// What is held for a backup.

/// Bytes of refs that move while a backup is made, and are kept as they were.
pub(crate) const HELD_REFS_BYTES_MAX: usize = 256 << 20;
/// Bytes of a small file of a repository (its config and the like) that is backed up.
pub(crate) const HELD_FILE_BYTES_MAX: u64 = 4 << 20;
/// How often a repository is looked at again whose files go while they are linked.
pub(crate) const HELD_TRIES_MAX: usize = 50;

// Commit-graphs and their filters.

/// Most commits of a commit-graph that is written.
pub(crate) const COMMIT_GRAPH_COMMITS_MAX: usize = 1 << 27;
/// Most files of a chain of commit-graphs (git counts them in one byte).
pub(crate) const COMMIT_GRAPH_LAYERS_MAX: usize = 256;
/// Most changed paths, folders counted, that a commit's Bloom filter is made for (git's rule).
pub(crate) const BLOOM_PATHS_MAX: usize = 512;
/// Most bits that one path sets in a Bloom filter that is used; git sets 7.
pub(crate) const BLOOM_HASHES_MAX: u32 = 32;
/// Most bytes of Bloom filters in a commit-graph that is written; commits beyond it get none.
pub(crate) const BLOOM_BYTES_MAX: usize = 1 << 30;

// Making deltas.

/// Blocks of equal hash that an index of a base keeps.
pub(crate) const DELTA_BUCKET_MAX: u32 = 64;
/// Smaller objects are not made deltas, in bytes (git's rule).
pub(crate) const DELTA_MIN_BYTES: u64 = 50;
/// Most objects that one is compared with.
pub(crate) const DELTA_SEARCH_WINDOW_MAX: usize = 250;
/// Longest chain of deltas that is made (git's own bound).
pub(crate) const DELTA_SEARCH_DEPTH_MAX: usize = 4095;
/// Most threads that search for deltas.
pub(crate) const DELTA_SEARCH_THREADS_MAX: usize = 64;
/// Fewest objects that a thread takes at once: between two such shares no deltas are found.
pub(crate) const DELTA_SEARCH_SHARE_MIN: usize = 1000;

/// Refs that lead to missing objects of which it is watched whether these come back.
pub(crate) const WATCHED_LOST_MAX: usize = 100;
/// How much is written to see whether something can be, in bytes.
pub(crate) const PROBE_BYTES: usize = 64 << 10;
/// Packs up to so many bytes are read whole when a repository is looked at; of larger ones head and end.
pub(crate) const EXAMINED_PACK_BYTES_MAX: u64 = 256 << 20;
/// Loose refs of which it is watched whether somebody writes into their file by hand.
pub(crate) const WATCHED_REFS_MAX: usize = 512;
/// How often that is looked at.
pub(crate) const WATCH_REFS_EVERY: Duration = Duration::from_secs(1);
/// After something stored was found broken, how often the files of a repository that is asked for are looked at.
pub(crate) const DOUBT_EVERY: Duration = Duration::from_millis(500);
