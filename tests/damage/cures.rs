//! What is told of each kind of damage, on every surface, and that the cure which is told is one: it is followed, and works.

use super::*;

/// What helps, as every surface says it.
struct Told {
    /// Of anybody.
    says: &'static str,
    /// Of the doctor.
    doctor: &'static str,
}

const REPAIR: Told = Told { says: "slipway doctor --repair", doctor: "slipway doctor --repair" };
/// Where what is missing may be in a file that is only not found.
const LOOK: &str = "run slipway doctor: it tells";

/// All that people are told while the repository is in that state.
fn everything_said(world: &World) -> Vec<(&'static str, String)> {
    let (ann, tree) = (&world.ann, &world.tree);
    let git = |url: &str| text(&ann.try_git(tree, &["ls-remote", url]).stderr);
    vec![
        ("git over http", git(&ann.http_url("app"))),
        ("git over ssh", git(&ann.ssh_url("app"))),
        ("the page", ann.get("/app").1),
        ("the page of refs", ann.get("/app/refs").1),
    ]
}

/// What the doctor says is wrong: sentences with their cures.
fn flaws(world: &World) -> Vec<String> {
    rows(world, &["doctor"]).into_iter().filter(|(well, _)| !well).map(|(_, row)| row).collect()
}

fn is_right(world: &World, when: &str) {
    eventually(&format!("right again {when}"), Duration::from_secs(30), || {
        world.read_all(when).then_some(())
    });
    assert_eq!(flaws(world), [""; 0], "{when}");
}

/// Follows what `--repair` promises, and asks whether it was kept.
fn repair(world: &World, when: &str) {
    let mended = rows(world, &["doctor", "--repair"]);
    assert!(mended.iter().all(|(well, _)| *well), "{when}: {mended:?}");
    is_right(world, when);
}

#[test]
fn a_file_that_can_be_made_anew_is_never_said_to_be_lost_and_repair_makes_it() {
    let world = World::new();
    for which in ["idx", "no idx", "midx", "bitmap", "rev", "commit-graph"] {
        let path = world.file(which.trim_start_matches("no "));
        if which == "no idx" {
            fs::remove_file(&path).expect("removed");
        } else {
            put_back(&path, &fs::read(&path).expect("read")[..100]);
        }
        for (surface, said) in everything_said(&world) {
            let is_lost = said.contains("from a backup") || said.contains("cannot be read: its file");
            assert!(!is_lost, "{which}, {surface}: {said}");
            let is_told = said.contains("missing") || said.contains("broken");
            assert!(
                !is_told || said.contains(LOOK) || said.contains(REPAIR.says),
                "{which}, {surface}: {said}"
            );
        }
        if !which.ends_with("idx") || which == "midx" {
            // Nothing that is only for speed keeps anybody from reading.
            let read = |page: &str| world.ann.get(&format!("/app{page}")).0 == 200;
            eventually(&format!("{which} is done without"), Duration::from_secs(30), || {
                ["", "/log", "/log/d3", "/files/d3/f3", "/refs"].into_iter().all(read).then_some(())
            });
        }
        let told = flaws(&world);
        assert!(!told.is_empty() && told.iter().all(|row| row.contains(REPAIR.doctor)), "{which}: {told:?}");
        repair(&world, which);
        world.server.cli(&["repo", "maintain", "app", "--full"]);
    }
}

#[test]
fn what_is_lost_is_told_with_a_cure_that_works_there() {
    let world = World::new();
    let (ann, folder) = (&world.ann, &world.folder);
    let all_say = |when: &str, told: &Told| {
        for (surface, said) in everything_said(&world) {
            let said = said.replace("&#39;", "'");
            assert!(said.contains(told.says) && !said.contains("--repair"), "{when}, {surface}: {said}");
        }
        let rows = flaws(&world);
        assert!(rows.iter().any(|row| row.contains(told.doctor)), "{when}: {rows:?}");
        assert!(!rows.iter().any(|row| row.contains("--repair")), "{when}: {rows:?}");
    };

    let head =
        Told { says: "slipway repo set NAME --default-branch BRANCH", doctor: "--default-branch BRANCH" };
    for broken in [Some("nonsense"), None] {
        match broken {
            Some(text) => fs::write(folder.join("HEAD"), text).expect("written"),
            None => fs::remove_file(folder.join("HEAD")).expect("removed"),
        }
        all_say("HEAD", &head);
        let refused = ann.try_git(&world.tree, &["push", "-q", &ann.http_url("app"), ":refs/heads/main"]);
        assert!(!refused.status.success(), "the default branch goes while nobody knows which it is");
        world.server.cli(&["repo", "set", "app", "--default-branch", "main"]);
        is_right(&world, "with a HEAD that is named anew");
    }

    assert!(world.push("by-hand"));
    let file = folder.join("refs/heads/by-hand");
    fs::write(&file, "nonsense").expect("written");
    all_say("a ref", &Told { says: "remove the ref's file", doctor: "Remove the ref's file" });
    let gone = ann.try_git(&world.tree, &["push", &ann.http_url("app"), ":refs/heads/by-hand"]);
    assert!(!gone.status.success(), "what is not removed is said to be: {}", text(&gone.stderr));
    fs::remove_file(&file).expect("removed");
    ann.git(&world.tree, &["push", "-q", &ann.http_url("app"), "HEAD:refs/heads/by-hand"]);
    is_right(&world, "with the ref pushed again");

    let packed = folder.join("packed-refs");
    let before = fs::read(&packed).ok();
    fs::write(&packed, "nonsense\n").expect("written");
    all_say("packed-refs", &Told { says: "or mend it by hand", doctor: "or mend it by hand" });
    match before {
        Some(bytes) => fs::write(&packed, bytes).expect("written"),
        None => fs::remove_file(&packed).expect("removed"),
    }
    is_right(&world, "with packed-refs put back");

    let aside = world.server.data.join("repos/aside");
    fs::rename(folder, &aside).expect("moved");
    all_say("no folder", &Told { says: "put the folder back from a backup", doctor: "put the folder back" });
    fs::rename(&aside, folder).expect("moved back");
    is_right(&world, "with its folder back");
}

#[test]
fn a_lost_pack_is_made_good_from_a_complete_clone() {
    let world = World::new();
    let (ann, folder) = (&world.ann, &world.folder);
    for whole in [false, true] {
        let when = format!("a pack, gone: {whole}");
        let (pack, index) = (world.file("pack"), world.file("idx"));
        if whole {
            fs::remove_file(&pack).expect("removed");
        } else {
            put_back(&pack, &fs::read(&pack).expect("read")[..100]);
        }
        let (status, said) = ann.get("/app/raw/d1/f1");
        let is_told = said.contains("from a backup") || said.contains(LOOK);
        assert!(status == 200 || is_told, "{when}: {said}");
        let told = flaws(&world);
        let cure = "move it and its index away and copy the packs of a complete clone there";
        assert!(told.len() == 1 && told[0].contains(cure), "{when}: {told:?}");
        let unmended = rows(&world, &["doctor", "--repair"]);
        assert!(unmended.iter().any(|(well, row)| !well && row.contains(cure)), "{when}: {unmended:?}");
        // As it says.
        drop(fs::remove_file(&pack));
        drop(fs::remove_file(&index));
        let clone = ann.home.join("complete");
        let (from, to) = (world.tree.display().to_string(), clone.display().to_string());
        ann.git(&ann.home, &["clone", "-q", "--bare", "--no-local", &from, &to]);
        ann.git(&clone, &["repack", "-q", "-a", "-d"]);
        for entry in fs::read_dir(clone.join("objects/pack")).expect("packs") {
            let path = entry.expect("entry").path();
            fs::copy(&path, folder.join("objects/pack").join(path.file_name().expect("a name")))
                .expect("copied");
        }
        fs::remove_dir_all(&clone).expect("removed");
        eventually(&format!("right again after {when}"), Duration::from_secs(30), || {
            world.read_all(&when).then_some(())
        });
        // What was made over the pack that is gone is made anew.
        rows(&world, &["doctor", "--repair"]);
        world.server.cli(&["repo", "maintain", "app", "--full"]);
        assert_eq!(flaws(&world), [""; 0], "{when}");
    }
}
