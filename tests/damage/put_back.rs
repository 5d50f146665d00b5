//! Files of a repository that are put back, and a config that is mended: served again without a restart.

use super::*;

#[test]
fn packs_that_are_put_back_are_served_whatever_was_asked_meanwhile() {
    let world = World::new();
    let objects = world.folder.join("objects");
    let kept = world.ann.home.join("kept");
    let copy = |from: &Path, to: &Path| {
        let done = std::process::Command::new("cp").arg("-a").args([from, to]).status();
        assert!(done.expect("cp").success());
    };
    copy(&objects, &kept);
    // A cut pack is opened again as it is, and must not be taken for the one that is put back under its name.
    for asked in ["pages, doctor", "pages, a clone", "a clone, pages, doctor, a clone"] {
        let pack = world.file("pack");
        let bytes = fs::read(&pack).expect("read");
        overwrite(&pack, &bytes[..bytes.len() - 5000]);
        for what in asked.split(", ") {
            match what {
                "doctor" => drop(world.server.try_cli(&["doctor"])),
                "pages" => ["", "/log", "/files"]
                    .into_iter()
                    .for_each(|page| drop(world.ann.get(&format!("/app{page}")))),
                _ => {
                    let target = world.ann.home.join("cut");
                    let args = ["clone", "-q", &world.ann.http_url("app"), target.to_str().expect("utf-8")];
                    drop(world.ann.try_git(&world.ann.home, &args));
                    drop(fs::remove_dir_all(&target));
                }
            }
        }
        fs::remove_dir_all(&objects).expect("removed");
        copy(&kept, &objects);
        eventually(&format!("right again after {asked}"), Duration::from_secs(30), || {
            world.read_all(asked).then_some(())
        });
    }
}

#[test]
fn a_config_that_cannot_be_obeyed_is_the_server_s_fault_and_the_doctor_tells_it() {
    let world = World::new();
    let config = world.folder.join("config");
    let before = fs::read(&config).expect("read");
    for (wrong, mended) in [("[foo", "whole"), ("[receive]\n\tfsckObjects = maybe\n", "with its own config")]
    {
        overwrite(&config, &[&before[..], wrong.as_bytes()].concat());
        let said = eventually("it is told", Duration::from_secs(30), || {
            let out = world.ann.try_git(&world.tree, &["ls-remote", &world.ann.http_url("app")]);
            (!out.status.success()).then(|| text(&out.stderr))
        });
        assert!(said.contains("cannot be obeyed") && said.contains("Ask an owner of this server"), "{said}");
        let report = rows(&world, &["doctor"]);
        assert!(report.iter().any(|(well, said)| !well && said.contains("cannot be obeyed")), "{report:?}");
        overwrite(&config, &before);
        world.assert_right_again(mended);
    }
    let alternates = world.folder.join("objects/info/alternates");
    fs::create_dir_all(alternates.parent().expect("a folder")).expect("made");
    fs::write(&alternates, "/nowhere\n").expect("written");
    let report = rows(&world, &["doctor"]);
    assert!(report.iter().any(|(well, said)| !well && said.contains("borrows objects")), "{report:?}");
    fs::remove_file(&alternates).expect("removed");
}
