//! Differences, and archives.

use super::*;

fn told_by_git(path: &Path, old: &str, new: &str) -> Vec<Told> {
    let args = ["diff-tree", "-r", "-M", "-z", "--raw", "--numstat", "--diff-algorithm=histogram", old, new];
    let raw = git_in(path, &args, b"");
    let mut fields = raw.split(|&b| b == 0).peekable();
    let (mut told, mut same) = (Vec::new(), Vec::new());
    while fields.peek().is_some_and(|f| f.starts_with(b":")) {
        let head = String::from_utf8(fields.next().unwrap().to_vec()).unwrap();
        let words: Vec<&str> = head.trim_start_matches(':').split(' ').collect();
        let status = words[4].chars().next().unwrap();
        let from = text(fields.next().unwrap());
        let to = if status == 'R' { text(fields.next().unwrap()) } else { from.clone() };
        // Nobody needs to read a content that stayed the same to count its lines.
        same.push(words[2] == words[3]);
        told.push((status, from, to, words[0].to_owned(), words[1].to_owned(), None));
    }
    for (change, same) in told.iter_mut().zip(same) {
        let head = String::from_utf8_lossy(fields.next().unwrap()).into_owned();
        let words: Vec<&str> = head.split('\t').collect();
        change.5 = if same { Some((0, 0)) } else { words[0].parse().ok().zip(words[1].parse().ok()) };
        if words[2].is_empty() {
            fields.next();
            fields.next();
        }
    }
    told
}

#[test]
fn differences_are_gits() {
    let mut renames = 0;
    for seed in SEEDS {
        let wild = Wild::new(seed, 60);
        let commits = wild.commits();
        let mut random = Random(seed);
        for _ in 0..80 {
            let mut pick = || commits[random.below(commits.len() as u64) as usize];
            let (a, b) = (pick(), pick());
            let theirs = told_by_git(&wild.path, &a.to_string(), &b.to_string());
            let diff = wild.snapshot.diff(Some(&a), &b, &limits()).unwrap();
            assert!(!diff.cut && diff.files.iter().all(|f| !f.cut));
            let ours = told_by_us(&diff);
            renames += ours.iter().filter(|t| t.0 == 'R' && t.5 != Some((0, 0))).count();
            assert_alike(&ours, &theirs, &format!("seed {seed}: git diff {a} {b}"));
            check_hunks(&wild, &diff, &a, &b);
        }
        let root = commits.last().unwrap();
        let theirs = told_by_git(&wild.path, "4b825dc642cb6eb9a060e54bf8d69288fbee4904", &root.to_string());
        assert_eq!(told_by_us(&wild.snapshot.diff(None, root, &limits()).unwrap()), theirs);
    }
    assert!(renames > 20, "the histories hold renames with changes: {renames}");
}

/// The same files, and as many lines more than gone. Two histogram diffs may still differ by a line or two in what
/// they take for common.
fn assert_alike(ours: &[Told], theirs: &[Told], hint: &str) {
    let files = |told: &[Told]| -> Vec<_> {
        let net = |(added, removed): (usize, usize)| added as isize - removed as isize;
        told.iter().map(|t| (t.0, t.1.clone(), t.2.clone(), t.3.clone(), t.4.clone(), t.5.map(net))).collect()
    };
    assert_eq!(files(ours), files(theirs), "{hint}");
    for (our, their) in ours.iter().zip(theirs) {
        let (our, their) = (our.5.unwrap_or_default().0, their.5.unwrap_or_default().0);
        assert!(our.abs_diff(their) <= 2 + their / 4, "{hint}: {our} lines, {their} by git");
    }
}

/// The hunks turn each old file into the new one.
fn check_hunks(wild: &Wild, diff: &Diff, old: &Oid, new: &Oid) {
    let content = |commit: &Oid, path: &str, mode: Option<Mode>| -> Vec<u8> {
        let entry = mode.map(|_| wild.snapshot.entry(commit, path).unwrap().unwrap());
        match entry {
            None => Vec::new(),
            Some(e) if e.mode == Mode::Submodule => format!("Subproject commit {}\n", e.id).into_bytes(),
            Some(e) => wild.snapshot.object(&e.id, 1 << 20).unwrap().unwrap().data,
        }
    };
    for file in diff.files.iter().filter(|f| !f.binary) {
        let before = content(old, &file.old_path, file.old_mode);
        let after = content(new, &file.new_path, file.new_mode);
        let rows: Vec<&[u8]> = before.split_inclusive(|&b| b == b'\n').collect();
        let mut out: Vec<u8> = Vec::new();
        let mut at = 0;
        for hunk in &file.hunks {
            let start = hunk.old.start as usize - 1;
            out.extend(rows[at..start].concat());
            at = start;
            for line in &hunk.lines {
                at += usize::from(line.kind != LineKind::Added);
                if line.kind != LineKind::Removed {
                    out.extend(line.text.as_bytes());
                    out.extend(if line.no_newline { "" } else { "\n" }.as_bytes());
                }
            }
            assert_eq!(at + 1, hunk.old.end as usize);
        }
        out.extend(rows[at..].concat());
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&after), "{}", file.new_path);
    }
}

#[test]
fn diff_limits_are_kept_and_told() {
    let wild = Wild::new(7, 60);
    let sized = |id: &Oid| wild.snapshot.diff(None, id, &limits()).unwrap().files.len();
    let commits = [wild.commits().into_iter().max_by_key(sized).unwrap()];
    let whole = wild.snapshot.diff(None, &commits[0], &limits()).unwrap();
    assert!(whole.files.len() > 4);
    let few = wild.snapshot.diff(None, &commits[0], &DiffLimits { files_max: 3, ..limits() }).unwrap();
    assert!(few.cut && few.files.len() == 3);
    let short = wild.snapshot.diff(None, &commits[0], &DiffLimits { lines_max: 10, ..limits() }).unwrap();
    let shown: usize = short.files.iter().flat_map(|f| &f.hunks).map(|h| h.lines.len()).sum();
    assert!(shown <= 10 && short.files.iter().any(|f| f.cut) && !short.cut);
    assert_eq!((short.added, short.removed), (whole.added, whole.removed), "counts need no room");
    let small = wild.snapshot.diff(None, &commits[0], &DiffLimits { blob_bytes_max: 8, ..limits() }).unwrap();
    assert!(small.files.iter().any(|f| f.cut && f.hunks.is_empty() && !f.binary));
}

fn archive(wild: &Snapshot, commit: &Oid, prefix: &str) -> Vec<u8> {
    let mut pieces = wild.archive(slipway_repository::ArchiveForm::TarGz, commit, prefix, &[]).unwrap();
    let mut packed = Vec::new();
    while let Some(piece) = pieces.next_piece(wild).unwrap() {
        packed.extend(piece);
    }
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut tar).unwrap();
    tar
}

#[test]
fn an_archive_is_gits_byte_for_byte() {
    for seed in SEEDS {
        let wild = Wild::new(seed, 30);
        for commit in wild.commits().iter().take(6) {
            for prefix in ["", "app-1.0/", "a/b/"] {
                let args = ["archive", "--format=tar", &format!("--prefix={prefix}"), &commit.to_string()];
                let theirs = git_in(&wild.path, &args, b"");
                assert!(
                    archive(&wild.snapshot, commit, prefix) == theirs,
                    "seed {seed}, {commit}, {prefix:?}"
                );
            }
        }
    }
}

#[test]
fn an_archive_takes_long_names_and_obeys_export_ignore() {
    let lab = Lab::new();
    let (repository, path) = lab.create("long");
    let mut stream = String::from("commit refs/heads/main\ncommitter C <c@x> 1700000000 +0000\ndata 1\nm\n");
    let mut add = |mode: &str, path: &str, text: &str| {
        stream += &format!("M {mode} inline {path}\ndata {}\n{text}\n", text.len());
    };
    add(
        "100644",
        ".gitattributes",
        "*.secret export-ignore\n/docs export-ignore\nkeep.secret -export-ignore\n[attr]gone export-ignore\n*.old gone\n",
    );
    add("100644", "a.secret", "no");
    add("100644", "keep.secret", "yes");
    add("100644", "x.old", "no");
    add("100644", "docs/manual.txt", "no");
    add("100644", "inner/docs/manual.txt", "yes");
    add("100644", "inner/.gitattributes", "local.* export-ignore\n");
    add("100644", "inner/local.txt", "no");
    add("100644", "local.txt", "yes");
    add("100644", "only/one.secret", "the folder is empty then");
    add("120000", "link", &"far/".repeat(40));
    for deep in [60, 90, 99, 100, 101, 150, 240, 260, 400] {
        add("100755", &format!("n/{}/f", "d".repeat(deep)), "deep");
        add("100644", &format!("m/{}", "e".repeat(deep)), "long");
        add("100644", &format!("p/{}", "abcdefg/".repeat(deep / 8) + "end"), "parts");
    }
    git_in(&path, &["fast-import", "--quiet"], stream.as_bytes());
    let snapshot = repository.snapshot().unwrap();
    let commit = snapshot.resolve("main").unwrap().unwrap();
    for prefix in ["", "v/"] {
        let theirs = git_in(&path, &["archive", "--format=tar", &format!("--prefix={prefix}"), "main"], b"");
        let ours = archive(&snapshot, &commit, prefix);
        let differs = ours.chunks(512).zip(theirs.chunks(512)).position(|(a, b)| a != b);
        let shown = differs.map(|at| {
            let block = |tar: &[u8]| String::from_utf8_lossy(&tar[at * 512..][..512]).into_owned();
            (block(&ours), block(&theirs))
        });
        assert_eq!(shown, None);
        assert_eq!(ours.len(), theirs.len());
    }
    let outside = snapshot.archive(slipway_repository::ArchiveForm::Tar, &commit, "../x", &[]).map(drop);
    assert!(matches!(outside, Err(RepoError::Invalid { .. })));
}
