//! Shallow clones, and fetches that deepen them.

use super::*;

fn boundary(client: &Path) -> BTreeSet<Oid> {
    std::fs::read_to_string(client.join("shallow")).unwrap_or_default().lines().map(oid).collect()
}

/// Runs git's own client and server, and asks ours the same.
fn compare_shallow(served: &Served, client: &Path, args: &[&str], deepen: &Deepen, wants: &[&str]) {
    let before = boundary(client);
    let haves: Vec<Oid> = git(client, &["for-each-ref", "--format=%(objectname)"]).lines().map(oid).collect();
    // Our pack goes to a copy of the client.
    let copy = client.with_extension("copy");
    let _ = std::fs::remove_dir_all(&copy);
    assert!(Command::new("cp").arg("-r").args([client, &copy]).status().unwrap().success());
    let url = format!("file://{}", served.path.display());
    let specs: Vec<String> = wants.iter().map(|w| format!("+{w}:{w}")).collect();
    let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
    let fetch = Command::new("git")
        .args([&["fetch", "-q", "--no-tags"][..], args, &[&url], &specs].concat())
        .current_dir(client)
        .env("GIT_TRACE_PACKET", "1")
        .output()
        .unwrap();
    let trace = String::from_utf8(fetch.stderr).unwrap();
    assert!(fetch.status.success(), "{trace}");
    // git's client leaves out wants of which it has all that it looks for; what it asked for counts.
    let ids: Vec<Oid> = trace.lines().filter_map(|l| l.split("fetch> want ").nth(1)).map(oid).collect();
    if ids.is_empty() {
        return;
    }
    let snapshot = served.snapshot();
    let had: Vec<Oid> = before.iter().copied().collect();
    let answer = snapshot.shallow(&ids, &had, deepen).unwrap();
    let after = boundary(client);
    let mut ours = before.clone();
    ours.retain(|id| !answer.unshallow.contains(id));
    ours.extend(&answer.shallow);
    assert_eq!(ours, after, "{args:?} {wants:?} from {before:?}");
    let request = PackRequest {
        haves,
        client_shallow: had,
        shallow: answer.shallow,
        unshallow: answer.unshallow,
        thin: true,
        ..want(&ids)
    };
    index(&copy, &bytes_of(&snapshot, &request, 3000), false);
    let text: String = ours.iter().map(|id| format!("{id}\n")).collect();
    if text.is_empty() {
        let _ = std::fs::remove_file(copy.join("shallow"));
    } else {
        std::fs::write(copy.join("shallow"), text).unwrap();
    }
    for name in wants {
        git(&copy, &["update-ref", name, &git(&served.path, &["rev-parse", name])]);
    }
    git(&copy, &["fsck", "--full", "--strict", "--no-dangling"]);
    assert_eq!(reachable(&copy, &["--all"]), reachable(client, &["--all"]));
}

#[test]
fn a_boundary_without_a_commit_is_refused() {
    let served = Served::new(650, 20, 0);
    let snapshot = served.snapshot();
    let main = oid(&git(&served.path, &["rev-parse", "main"]));
    // An answer without a boundary would be taken for all of history.
    for deepen in [
        Deepen { since: Some(i64::MAX), ..Deepen::default() },
        Deepen { not: vec![main], ..Deepen::default() },
    ] {
        assert!(matches!(snapshot.shallow(&[main], &[], &deepen), Err(RepoError::NothingSelected)));
    }
}

#[test]
fn shallow_answers_are_gits() {
    for (format, seed) in cases(0..8) {
        let served = Served::of(format, 600 + seed, 70, seed);
        let mut random = Random(seed);
        let branches: Vec<String> = git(&served.path, &["for-each-ref", "--format=%(refname)", "refs/heads"])
            .lines()
            .map(str::to_owned)
            .collect();
        let client = served.client("client.git");
        let mut deep = 1 + random.below(3) as u32;
        for round in 0..7 {
            let some: BTreeSet<&str> = (0..=random.below(2))
                .map(|_| branches[random.below(branches.len() as u64) as usize].as_str())
                .collect();
            let wants: Vec<&str> = some.into_iter().collect();
            match (round + seed) % 4 {
                0 | 1 => {
                    deep += random.below(4) as u32;
                    let deepen = Deepen { depth: Some(deep), ..Deepen::default() };
                    compare_shallow(&served, &client, &[&format!("--depth={deep}")], &deepen, &wants);
                }
                2 => {
                    let n = 1 + random.below(3) as u32;
                    let deepen = Deepen { depth: Some(n), relative: true, ..Deepen::default() };
                    if !boundary(&client).is_empty() {
                        compare_shallow(&served, &client, &[&format!("--deepen={n}")], &deepen, &wants);
                    }
                }
                _ => {
                    let not = oid(&git(&served.path, &["rev-parse", "main~2"]));
                    let reach = git(&served.path, &["rev-list", &format!("^{not}"), wants[0]]);
                    if reach.is_empty() || wants.len() > 1 {
                        continue;
                    }
                    git(&served.path, &["update-ref", "refs/tags/limit", &not.to_string()]);
                    let deepen = Deepen { not: vec![not], ..Deepen::default() };
                    compare_shallow(
                        &served,
                        &client,
                        &["--shallow-exclude=refs/tags/limit"],
                        &deepen,
                        &wants,
                    );
                }
            }
        }
        if !boundary(&client).is_empty() {
            let all: Vec<&str> = branches.iter().map(String::as_str).collect();
            let deepen = Deepen { depth: Some(0x7fff_ffff), ..Deepen::default() };
            compare_shallow(&served, &client, &["--unshallow"], &deepen, &all);
        }
    }
}
