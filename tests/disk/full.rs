//! What must work on a disk that is full: carrying everything elsewhere, and saying what is wrong, in the asker's own form.

use super::*;

/// Signs in on the page, into that jar of cookies; the status and the whole answer.
fn sign_in(world: &World, jar: &Path) -> (u16, String) {
    let (jar, token) = (jar.to_str().expect("utf-8"), format!("token={}", world.ann.token));
    let page = format!("http://{}/-/login", world.server.http);
    curl(&["-i", "-b", jar, "-c", jar, "--data-urlencode", &token, &page])
}

/// The field of a form that shows whose it is.
fn form_token(world: &World, jar: &Path) -> String {
    let jar = jar.to_str().expect("utf-8");
    let (_, page) = curl(&["-b", jar, "-c", jar, &format!("http://{}/-/keys", world.server.http)]);
    let at = page.find("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("no form: {page}")) + 19;
    page[at..].split('"').next().expect("a value").to_owned()
}

fn assert_unwritable(status: u16, said: &str) {
    assert!(status == 503 && said.to_lowercase().contains("retry-after:"), "{said}");
    assert!(said.contains("cannot be written") && said.contains("disk"), "{said}");
}

#[test]
fn every_form_and_call_says_why_it_is_not_taken() {
    let (small, home) = (Small::of_mib(24), tempfile::tempdir().expect("temp"));
    let world = World::on(&small.path().join("data"), home.path());
    let (here, jar) = (home.path().join("in"), home.path().join("jar"));
    assert_eq!(sign_in(&world, &here).0, 303);
    let field = form_token(&world, &here);
    small.fill(0);
    let (status, said) = sign_in(&world, &jar);
    assert_unwritable(status, &said);
    assert!(said.contains("<form class=\"stack\" method=\"post\" action=\"/-/login\">"), "{said}");
    for (page, form) in [("/-/tokens", "do=add&name=x&read=on"), ("/-/new", "name=another")] {
        let (form, page) = (format!("{form}&csrf={field}"), format!("http://{}{page}", world.server.http));
        let (status, said) = curl(&["-i", "-b", here.to_str().expect("utf-8"), "-d", &form, &page]);
        assert_unwritable(status, &said);
        assert!(said.contains("<html"), "{page}: {said}");
    }
    let (user, json) = (format!("ann:{}", world.ann.token), "Content-Type: application/json");
    let call = format!("http://{}/-/api/v1/repos", world.server.http);
    let (status, said) = curl(&["-i", "-u", &user, "-H", json, "-d", r#"{"name":"another"}"#, &call]);
    assert_unwritable(status, &said);
    assert!(said.contains("\"kind\":\"unwritable\""), "{said}");
    let row = eventually("one row tells of the disk", AGAIN, || {
        let doctor = text(&world.server.try_cli(&["doctor"]).stdout);
        let of_disk = |line: &&str| line.starts_with("FAIL disk: ") || line.starts_with("ok   disk: ");
        let rows: Vec<String> = doctor.lines().filter(of_disk).map(str::to_owned).collect();
        (rows.len() == 1 && rows[0].starts_with("FAIL")).then(|| rows[0].clone())
    });
    assert!(!row.contains(&small.path().display().to_string()), "{row}");
}

#[test]
fn everything_is_carried_to_another_disk() {
    let (small, home) = (Small::of_mib(24), tempfile::tempdir().expect("temp"));
    let mut world = World::on(&small.path().join("data"), home.path());
    small.fill(0);
    let path = |name: &str| home.path().join(name).to_str().expect("utf-8").to_owned();
    let (folder, file) = (path("backups"), path("all.tar"));
    world.server.cli(&["backup", &folder]);
    world.server.cli(&["backup", &file]);
    assert!(world.server.cli(&["export"]).lines().any(|line| line.contains("\"user\"")));
    world.server.cli(&["backup", "--records", &path("records")]);
    run(Command::new("kill").arg(world.server.child.id().to_string()));
    assert!(world.server.child.wait().expect("ends").success());
    let said = world.server.cli(&["backup", &folder]);
    assert!(said.starts_with("Snapshot 2 "), "of a server that is stopped: {said}");
    for (from, more, to) in [(&folder, &["--snapshot", "1"][..], "one"), (&file, &[], "other")] {
        let to = home.path().join(to);
        let done =
            run(Command::new(program()).args(["restore", from, "--data"]).arg(to.join("data")).args(more));
        assert!(done.status.success(), "{from}: {}", text(&done.stderr));
        let restored = Slipway::start_in(&to.join("data"), &[]);
        let url = format!("http://ann:{}@{}/app", world.ann.token, restored.http);
        let shown = text(&run(Command::new("git").args(["ls-remote", &url])).stdout);
        assert!(world.done.refs.values().all(|id| shown.contains(id.as_str())), "{from}: {shown}");
    }
}

#[test]
fn a_disk_that_takes_no_links_is_backed_up_all_the_same() {
    let home = tempfile::tempdir().expect("temp");
    let world = World::on(&home.path().join("data"), home.path());
    let folder = home.path().join("backups");
    let folder = folder.to_str().expect("utf-8");
    {
        let _full = Failing::inject_error(world.server.child.id(), "link,linkat,mkdir,mkdirat", "ENOSPC");
        world.server.cli(&["backup", folder]);
    }
    let listed = world.server.json(&["backup", "list", folder]);
    assert_eq!(listed[0]["whole"], true, "{listed:#}");
    world.assert_whole("afterwards");
}
