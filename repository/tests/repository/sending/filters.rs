//! Partial clones.

use super::*;

#[test]
fn filters_leave_out_what_git_leaves_out() {
    // Without bitmaps, and with bitmaps of one pack and of several, older than the newest commits.
    for (format, shape) in
        [(ObjectFormat::Sha1, 1), (ObjectFormat::Sha256, 1), (ObjectFormat::Sha1, 5), (ObjectFormat::Sha1, 6)]
    {
        let served = Served::of(format, 500, 60, shape);
        filters(&served);
        asked_by_id(&served);
    }
}

fn filters(served: &Served) {
    let main = oid(&git(&served.path, &["rev-parse", "main"]));
    for (filter, text) in [
        (Filter::BlobNone, "blob:none"),
        (Filter::BlobLimit(500), "blob:limit=500"),
        (Filter::BlobLimit(0), "blob:limit=0"),
        (Filter::Tree(0), "tree:0"),
        (Filter::Tree(1), "tree:1"),
        (Filter::Tree(2), "tree:2"),
        (Filter::Tree(3), "tree:3"),
    ] {
        let request = PackRequest { filter, ..want(&[main]) };
        let client = served.client(&format!("{}.git", text.replace([':', '='], "-")));
        let came = index(&client, &bytes_of(&served.snapshot(), &request, 4096), false);
        let theirs = reachable(&served.path, &[&format!("--filter={text}"), "main"]);
        assert_eq!(came, theirs, "{text}");
    }
    let patterns = "/*\n!/*/\n/dir0-0/\n!/dir0-0/*/\n*1.txt\n!file2.txt\n";
    let blob =
        oid(&String::from_utf8(git_in(&served.path, &["hash-object", "-w", "--stdin"], patterns.as_bytes()))
            .unwrap());
    let sparse = Filter::Sparse(Arc::new(Sparse::parse(patterns.as_bytes()).unwrap()));
    let both = |a: &Filter, b: &Filter| Filter::All(vec![a.clone(), b.clone()]);
    let sparse_text = format!("sparse:oid={blob}");
    for (filter, text) in [
        (Filter::Type(Kind::Commit), "object:type=commit".to_owned()),
        (Filter::Type(Kind::Tree), "object:type=tree".to_owned()),
        (Filter::Type(Kind::Blob), "object:type=blob".to_owned()),
        (Filter::Type(Kind::Tag), "object:type=tag".to_owned()),
        (sparse.clone(), sparse_text.clone()),
    ] {
        let request = PackRequest { filter, ..want(&[main]) };
        let client = served.client(&format!("{}.git", text.replace([':', '=', '+'], "-")));
        let came = index(&client, &bytes_of(&served.snapshot(), &request, 4096), false);
        let theirs = reachable(&served.path, &[&format!("--filter={text}"), "main"]);
        assert_eq!(came, theirs, "{text}");
    }
    // Combined: what both let through. git itself leaves some of that out: once one of its filters has seen a blob where
    // another refuses it, it does not look at it again where both would take it.
    let (limit, kind) = (Filter::BlobLimit(500), Filter::Type(Kind::Blob));
    for (filter, first, second) in [
        (both(&Filter::Tree(2), &limit), "tree:2", "blob:limit=500"),
        (both(&sparse, &limit), sparse_text.as_str(), "blob:limit=500"),
        (both(&kind, &Filter::Tree(2)), "object:type=blob", "tree:2"),
    ] {
        let request = PackRequest { filter, ..want(&[main]) };
        let client = served.client(&format!("{first}+{second}.git").replace([':', '='], "-"));
        let came = index(&client, &bytes_of(&served.snapshot(), &request, 4096), false);
        let by = |filter: &str| reachable(&served.path, &[&format!("--filter={filter}"), "main"]);
        let theirs: BTreeSet<Oid> = by(first).intersection(&by(second)).copied().collect();
        assert_eq!(came, theirs, "{first} and {second}");
        assert!(by(&format!("combine:{first}+{second}")).is_subset(&came), "{first} and {second}");
    }
}

fn asked_by_id(served: &Served) {
    // A tree that was asked for by id: its entries are at depth 0.
    let tree = oid(&git(&served.path, &["rev-parse", "main^{tree}"]));
    for depth in 0..4 {
        let request = PackRequest { filter: Filter::Tree(depth), ..want(&[tree]) };
        let client = served.client(&format!("asked-{depth}.git"));
        let came = index(&client, &bytes_of(&served.snapshot(), &request, 4096), false);
        let filter = format!("--filter=tree:{depth}");
        assert_eq!(came, reachable(&served.path, &[&filter, &tree.to_string()]), "{depth}");
    }
    // What was left out can be asked for by id.
    let blobs: Vec<Oid> =
        all_objects(&served.path).into_iter().filter(|o| o.1 == "blob").map(|o| o.0).take(5).collect();
    let request = PackRequest { filter: Filter::BlobNone, ..want(&blobs) };
    let came = index(&served.client("back.git"), &bytes_of(&served.snapshot(), &request, 4096), false);
    assert_eq!(came, blobs.into_iter().collect());
    let tree = oid(&git(&served.path, &["rev-parse", "main^{tree}"]));
    let request = PackRequest { filter: Filter::Tree(0), ..want(&[tree]) };
    let came = index(&served.client("tree.git"), &bytes_of(&served.snapshot(), &request, 4096), false);
    assert_eq!(came, BTreeSet::from([tree]));
}
