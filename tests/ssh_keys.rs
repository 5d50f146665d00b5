//! Steps of a build that sign with a key of the repository, on a real engine, with OpenSSH's own programs in the image. Needs the
//! parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Person, Slipway, lab, run, text};

struct World {
    server: Slipway,
    ann: Person,
    tree: PathBuf,
    /// The key, and its public half beside it.
    key: PathBuf,
    base: String,
}

impl Drop for World {
    fn drop(&mut self) {
        run(Command::new("docker").args(["rmi", "-f", &self.base]));
    }
}

/// An image with OpenSSH's programs of this machine, and what they load.
fn image_with_openssh(folder: &Path, name: &str) {
    let script = "set -e; mkdir -p root/tmp; for p in ssh-add ssh-keygen; do f=$(readlink -f $(command -v $p)); \
        for l in $f $(ldd $f | grep -o '/[^ )]*'); do mkdir -p root$(dirname $l); cp -L $l root$l; done; \
        [ $f = /usr/bin/$p ] || { mkdir -p root/usr/bin; cp -L $f root/usr/bin/$p; }; done; \
        mkdir -p root/etc; echo root:x:0:0::/root:/bin/sh > root/etc/passwd; \
        printf 'FROM alpine:3.20\\nCOPY root /\\n' > Dockerfile";
    let made = run(Command::new("sh").current_dir(folder).args(["-c", script]));
    assert!(made.status.success(), "{}", text(&made.stderr));
    let built = run(Command::new("docker").args(["build", "-q", "-t", name]).arg(folder));
    assert!(built.status.success(), "{}", text(&built.stderr));
}

fn world() -> World {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let lab = lab();
    let name = format!("slipway-test-keys-{}", std::process::id());
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local", "--image", &name]);
    let tree = ann.work_tree("app", &[("a", "1\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    let key = ann.home.join("deploy");
    let made = run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    assert!(made.status.success(), "{}", text(&made.stderr));
    let base = format!("{name}-base:1");
    let folder = ann.home.join("base");
    fs::create_dir(&folder).expect("folder");
    image_with_openssh(&folder, &base);
    World { server, ann, tree, key, base }
}

impl World {
    fn push(&self, files: &[(&str, &str)], to: &str) -> String {
        self.ann.commit(&self.tree, files, "Next");
        self.ann.git(&self.tree, &["push", "-f", "-o", "wait", "origin", &format!("HEAD:{to}")])
    }

    fn log(&self) -> String {
        let builds = self.server.json(&["build", "list", "app"]);
        self.server.cli(&["build", "log", "app", &builds[0]["number"].to_string()])
    }

    fn dockerfile(&self, line: &str) -> String {
        format!("FROM {}\nCOPY a /a\nRUN {line}\n", self.base)
    }

    fn set(&self, more: &[&str]) -> std::process::Output {
        let file = self.key.display().to_string();
        self.server.try_cli(&[&["secret", "set", "app", "DEPLOY", "--file", &file][..], more].concat())
    }
}

const TOML: &str =
    "[build]\npull = \"missing\"\nssh = [\"DEPLOY\", \"github=DEPLOY\"]\n[build.on]\nbranches = [\"**\"]\n";

/// The part of a log between two marks, without the log's own beginnings of lines.
fn between<'a>(log: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    let lines = log.lines().map(|line| line.rsplit_once("| ").map_or(line, |(_, text)| text));
    let lines = lines.map(|line| line.rsplit(' ').next().unwrap_or(line));
    lines.skip_while(|line| !line.ends_with(from)).skip(1).take_while(|line| !line.ends_with(to)).collect()
}

#[test]
fn a_step_signs_with_the_repositorys_key_and_never_has_it() {
    let world = world();
    let both = text(&world.set(&["--for", "ssh,build"]).stderr);
    assert!(both.contains("cannot be for builds or tests, too"), "{both}");
    assert!(world.set(&["--for", "ssh"]).status.success());
    // The agent names the key and signs; it takes no other, loses none, and shows none.
    let step = "--mount=type=ssh,required=true ssh-add -L > /tmp/k.pub && cp /a /tmp/m && ssh-keygen -q -Y sign -f /tmp/k.pub -n test /tmp/m \
        && echo BEGIN-OF-IT && base64 /tmp/m.sig && echo END-OF-IT && ! ssh-add -D && ! ssh-add -x && ssh-keygen -q -t ed25519 -N '' -f /tmp/n \
        && ! ssh-add /tmp/n && test $(ssh-add -L | wc -l) = 1 && echo all well";
    let told = world.push(&[("Dockerfile", &world.dockerfile(step)), ("slipway.toml", TOML)], "main");
    assert!(told.contains("verdict: all done"), "{told}\n{}", world.log());
    let log = world.log();
    assert!(log.contains("all well"), "{log}");
    verify(&world, &between(&log, "BEGIN-OF-IT", "END-OF-IT").concat());
    // Under another id, too; under one that is not named there is none.
    let step = "--mount=type=ssh,id=github,required=true ssh-add -l";
    let told = world.push(&[("Dockerfile", &world.dockerfile(step))], "main");
    assert!(told.contains("verdict: all done"), "{told}");
    let step = "--mount=type=ssh,id=gitlab,required=true ssh-add -l";
    let told = world.push(&[("Dockerfile", &world.dockerfile(step))], "main");
    assert!(
        told.contains("asks for the SSH key \"gitlab\", and build.ssh of slipway.toml gives none"),
        "{told}"
    );
    // It is no secret that could be mounted.
    let step = "--mount=type=secret,id=DEPLOY,required=true cat /run/secrets/DEPLOY";
    let told = world.push(&[("Dockerfile", &world.dockerfile(step))], "main");
    assert!(
        told.contains("the secret \"DEPLOY\", which this build is not given: it is for ssh, not for build"),
        "{told}"
    );
    // Nor is it for branches that nobody named.
    let step = "--mount=type=ssh,required=true ssh-add -l";
    let told = world.push(&[("Dockerfile", &world.dockerfile(step))], "feature/x");
    assert!(
        told.contains("the SSH key \"DEPLOY\", which this build is not given") && told.contains("--for ssh"),
        "{told}"
    );
    let told = world.push(
        &[("Dockerfile", &world.dockerfile("--mount=type=ssh test ! -e \"$SSH_AUTH_SOCK\""))],
        "feature/x",
    );
    assert!(told.contains("verdict: all done"), "{told}");
    world.server.cli(&["secret", "remove", "app", "DEPLOY"]);
    let told = world.push(&[("a", "2\n")], "main");
    assert!(
        told.contains(
            "Build.ssh of slipway.toml asks for the SSH key \"DEPLOY\", and the repository has none"
        ),
        "{told}"
    );
}

/// OpenSSH believes the signature, which is in base64.
fn verify(world: &World, signature: &str) {
    let folder = &world.ann.home;
    let public = fs::read_to_string(world.key.with_extension("pub")).expect("public");
    fs::write(folder.join("allowed"), format!("it {public}")).expect("written");
    fs::write(folder.join("sig64"), signature).expect("written");
    let script =
        "base64 -d sig64 > sig && printf '1\\n' | ssh-keygen -Y verify -f allowed -I it -n test -s sig";
    let said = run(Command::new("sh").current_dir(folder).args(["-c", script]));
    assert!(said.status.success(), "{signature}: {}{}", text(&said.stdout), text(&said.stderr));
}
