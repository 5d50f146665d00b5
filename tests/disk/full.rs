//! What must work on a disk that is full: carrying everything elsewhere, and saying what is wrong, in the asker's own form.

use super::*;

/// The field of a form that shows whose it is.
fn form_token(jar: &Path, url: &str) -> String {
    let jar = jar.to_str().expect("utf-8");
    let (_, page) = curl(&["-b", jar, "-c", jar, url]);
    let at = page.find("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("no form: {page}")) + 19;
    page[at..].split('"').next().expect("a value").to_owned()
}

#[test]
fn everything_is_carried_to_another_disk_and_every_form_says_why_it_is_not_taken() {
    let (small, home) = (Small::of_mib(24), tempfile::tempdir().expect("temp"));
    let mut world = World::on(&small.path().join("data"), home.path());
    let (http, jar, here) = (world.server.http.clone(), home.path().join("jar"), home.path().join("in"));
    let login = format!("http://{http}/-/login");
    let sign_in = |jar: &Path, token: &str| {
        let field = form_token(jar, &login);
        let (jar, fields) =
            (jar.to_str().expect("utf-8"), [format!("csrf={field}"), format!("token={token}")]);
        let fields = ["--data-urlencode", &fields[0], "--data-urlencode", &fields[1]];
        curl(&[&["-i", "-b", jar, "-c", jar][..], &fields, &[&login]].concat())
    };
    assert_eq!(sign_in(&here, &world.ann.token).0, 303);
    small.fill(0);

    let (status, said) = sign_in(&jar, &world.ann.token);
    assert!(status == 503 && said.to_lowercase().contains("retry-after:"), "{said}");
    assert!(said.contains("<form") && said.contains("cannot be written") && said.contains("disk"), "{said}");
    let field = form_token(&here, &format!("http://{http}/-/keys"));
    for (page, form) in [
        ("/-/tokens", "do=add&name=x&read=on"),
        ("/-/new", "name=another"),
        ("/app/settings", "do=describe&description=x"),
        ("/-/admin", "do=add-user&name=x"),
    ] {
        let all = format!("{form}&csrf={field}");
        let (status, said) =
            curl(&["-i", "-b", here.to_str().expect("utf-8"), "-d", &all, &format!("http://{http}{page}")]);
        // A form that this page does not have is the form's fault, on whichever disk.
        assert!(matches!(status, 400 | 503), "{page}: {said}");
        if status == 503 {
            assert!(
                said.contains("cannot be written") && said.to_lowercase().contains("retry-after:"),
                "{said}"
            );
            assert!(said.contains("<html"), "{page}: {said}");
        }
    }
    let user = format!("ann:{}", world.ann.token);
    let (status, said) = curl(&[
        "-i",
        "-u",
        &user,
        "-H",
        "Content-Type: application/json",
        "-d",
        r#"{"name":"another"}"#,
        &format!("http://{http}/-/api/v1/repos"),
    ]);
    assert!(status == 503 && said.contains("\"kind\":\"unwritable\""), "{said}");

    let row = eventually("one row tells of the disk", AGAIN, || {
        let doctor = text(&world.server.try_cli(&["doctor"]).stdout);
        let rows: Vec<String> = doctor.lines().filter(|l| l.contains(" disk: ")).map(str::to_owned).collect();
        (rows.len() == 1 && rows[0].starts_with("FAIL")).then(|| rows[0].clone())
    });
    assert!(!row.contains(&small.path().display().to_string()), "{row}");

    let (folder, file) = (home.path().join("backups"), home.path().join("all.tar"));
    let (folder, file) = (folder.to_str().expect("utf-8"), file.to_str().expect("utf-8"));
    world.server.cli(&["backup", folder]);
    world.server.cli(&["backup", file]);
    assert!(world.server.cli(&["export"]).lines().any(|line| line.contains("\"user\"")));
    world.server.cli(&["backup", "--records", home.path().join("records").to_str().expect("utf-8")]);
    run(Command::new("kill").arg(world.server.child.id().to_string()));
    assert!(world.server.child.wait().expect("ends").success());
    let said = world.server.cli(&["backup", folder]);
    assert!(said.starts_with("Snapshot 2 "), "of a server that is stopped: {said}");
    small.empty();
    for (from, number) in [(folder, "1"), (file, "")] {
        let back = home.path().join(format!("back-{}", number.len()));
        let mut command = Command::new(program());
        command.args(["restore", from, "--data"]).arg(&back);
        if !number.is_empty() {
            command.args(["--snapshot", number]);
        }
        let done = run(&mut command);
        assert!(done.status.success(), "{from}: {}", text(&done.stderr));
        let restored = Slipway::start_in(&back, &[]);
        let shown = run(Command::new("git")
            .args(["ls-remote", &format!("http://ann:{}@{}/app", world.ann.token, restored.http)]));
        for id in world.done.refs.values() {
            assert!(text(&shown.stdout).contains(id.as_str()), "{from}: {}", text(&shown.stdout));
        }
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
