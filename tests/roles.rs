//! What every address, API call, verb and git service answers to every kind of caller, beside what the roles promise. A new
//! one has no row here and fails the tests until somebody says who may use it.

#[path = "harness/mod.rs"]
mod harness;
#[path = "roles/table.rs"]
mod table;

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::{Person, Slipway, curl, run, text};
use table::{API, GIT, PAGES, Row, VERBS};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// An owner of the server.
    Owner,
    /// The same by a token that may read repositories.
    OwnerReads,
    /// The same by a token that may push.
    OwnerPushes,
    /// The same by a token for the API alone, as its bearer.
    OwnerByApi,
    /// Whoever can open the admin socket.
    Host,
    /// Has the role admin.
    Admin,
    /// The same by a token that may read repositories.
    AdminReads,
    /// The same by a token that may push.
    AdminPushes,
    /// The same by a token for the API alone, as its bearer.
    AdminByApi,
    /// Has the role write.
    Writer,
    /// Has the role read.
    Reader,
    /// The reader by a token that may push: a scope gives no role.
    ReaderPushes,
    /// Has an account.
    Outsider,
    /// The owner by a token whose time is over.
    Expired,
    /// Has not signed in.
    Nobody,
}

const ALL: [Who; 15] = [
    Who::Owner,
    Who::OwnerReads,
    Who::OwnerPushes,
    Who::OwnerByApi,
    Who::Host,
    Who::Admin,
    Who::AdminReads,
    Who::AdminPushes,
    Who::AdminByApi,
    Who::Writer,
    Who::Reader,
    Who::ReaderPushes,
    Who::Outsider,
    Who::Expired,
    Who::Nobody,
];

/// Those who can have a key.
const WITH_KEYS: [Who; 5] = [Who::Owner, Who::Admin, Who::Writer, Who::Reader, Who::Outsider];

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Everybody.
    Open,
    /// Everybody with a credential, whatever it is for.
    Signed,
    /// Everybody with an account, for themselves.
    Known,
    /// Owners of the server.
    Server,
    /// Whoever may read the repository.
    Read,
    /// The same, once they have signed in: it costs more than other pages.
    ReadSigned,
    /// Whoever may push to it.
    Push,
    /// Whoever may push to it and act for it.
    Operate,
    /// Its admins.
    Administer,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// They are let in, whatever comes of it.
    Let,
    /// They may not, and are told so.
    Denied,
    /// There is no such repository for them.
    Hidden,
    /// They should sign in.
    SignIn,
}

impl Who {
    /// 1 read, 2 write, 3 admin; 0 none.
    fn role(self) -> u8 {
        match self {
            Self::Owner | Self::OwnerReads | Self::OwnerPushes | Self::OwnerByApi | Self::Host => 3,
            Self::Admin | Self::AdminReads | Self::AdminPushes | Self::AdminByApi => 3,
            Self::Writer => 2,
            Self::Reader | Self::ReaderPushes => 1,
            Self::Outsider | Self::Expired | Self::Nobody => 0,
        }
    }

    fn owner(self) -> bool {
        matches!(self, Self::Owner | Self::OwnerReads | Self::OwnerPushes | Self::OwnerByApi | Self::Host)
    }

    /// Whether their credential stands for all that they may do.
    fn whole(self) -> bool {
        let bound =
            [Self::OwnerReads, Self::OwnerPushes, Self::AdminReads, Self::AdminPushes, Self::ReaderPushes];
        !bound.contains(&self)
    }

    fn pushes(self) -> bool {
        !matches!(self, Self::OwnerReads | Self::AdminReads)
    }
}

/// The promise.
fn promised(rule: Rule, who: Who, public: bool) -> Verdict {
    use Verdict::{Denied, Hidden, Let, SignIn};
    let known = |may: bool| match who {
        Who::Nobody => SignIn,
        _ if may => Let,
        _ => Denied,
    };
    let (needed, carried) = match rule {
        _ if who == Who::Expired => return SignIn,
        Rule::Open => return Let,
        Rule::Signed => return known(true),
        Rule::Known => return known(who.whole()),
        Rule::Server => return known(who.owner() && who.whole()),
        Rule::ReadSigned if who == Who::Nobody => return SignIn,
        Rule::Read | Rule::ReadSigned => (1, true),
        Rule::Push => (2, who.pushes()),
        Rule::Operate => (2, who.whole()),
        Rule::Administer => (3, who.whole()),
    };
    // Roles are given in the private repository alone; an owner has every role everywhere.
    let role = if public && !who.owner() { 0 } else { who.role() };
    match who {
        Who::Nobody if !public => SignIn,
        _ if role == 0 && !public => Hidden,
        _ if needed == 1 => Let,
        _ => known(role >= needed && carried),
    }
}

struct World {
    server: Slipway,
    people: Vec<(Who, Person)>,
    /// Makes names that are used once.
    serial: AtomicUsize,
}

impl World {
    fn new() -> Self {
        let server = Slipway::start();
        let owner = server.person("ann", true);
        let mut people = vec![(Who::Owner, owner.clone())];
        let token = |of: &Person, scope: &str, life: &str| {
            let args = ["token", "create", &of.name, "--scope", scope, "--expires", life];
            Person { token: server.cli(&args).trim().to_owned(), ..of.clone() }
        };
        let expired = token(&owner, "api", "1s");
        people.push((Who::OwnerReads, token(&owner, "repo:read", "1d")));
        people.push((Who::OwnerPushes, token(&owner, "repo:write", "1d")));
        people.push((Who::OwnerByApi, token(&owner, "api", "1d")));
        people.push((Who::Host, owner.clone()));
        for (who, name) in
            [(Who::Admin, "adam"), (Who::Writer, "will"), (Who::Reader, "rita"), (Who::Outsider, "otto")]
        {
            people.push((who, server.person(name, false)));
        }
        for (by_token, of, scope) in [
            (Who::ReaderPushes, Who::Reader, "repo:write"),
            (Who::AdminReads, Who::Admin, "repo:read"),
            (Who::AdminPushes, Who::Admin, "repo:write"),
            (Who::AdminByApi, Who::Admin, "api"),
        ] {
            let whole = people.iter().find(|(who, _)| *who == of).map(|(_, person)| person.clone());
            people.push((by_token, token(&whole.expect("made"), scope, "1d")));
        }
        people.push((Who::Expired, expired));
        let nobody = Person { token: String::new(), ..owner.clone() };
        people.push((Who::Nobody, nobody));
        let world = Self { server, people, serial: AtomicUsize::new(0) };
        world.repository("app", false);
        world.repository("pub", true);
        let tree = owner.work_tree("tree", &[("a.txt", "a\n")]);
        for name in ["app", "pub"] {
            owner.git(&tree, &["push", "-q", &owner.http_url(name), "main"]);
        }
        std::thread::sleep(Duration::from_millis(1500));
        world
    }

    /// A repository in which everybody has their role, if it is not public.
    fn repository(&self, name: &str, public: bool) {
        let public = if public { &["--public"][..] } else { &[] };
        self.server.cli(&[&["repo", "create", name], public].concat());
        if public.is_empty() {
            for (user, role) in [("adam", "admin"), ("will", "write"), ("rita", "read")] {
                self.server.cli(&["grant", user, name, role]);
            }
        }
    }

    fn person(&self, who: Who) -> &Person {
        self.people.iter().find(|(of, _)| *of == who).map(|(_, person)| person).expect("everybody")
    }

    /// `template` with its places filled in. `{gone}` is a repository for this call alone, `{new}` a new name.
    fn fill(&self, template: &str, public: bool) -> String {
        let mut filled = template.replace("{repo}", if public { "pub" } else { "app" });
        if filled.contains("{gone}") {
            let name = format!("gone{}", self.serial.fetch_add(1, Ordering::Relaxed));
            self.repository(&name, public);
            filled = filled.replace("{gone}", &name);
        }
        filled.replace("{new}", &format!("new{}", self.serial.fetch_add(1, Ordering::Relaxed)))
    }

    /// What came of a request: status and body.
    fn ask(&self, who: Who, row: &Row, path: &str, body: &str) -> (u16, String) {
        let person = self.person(who);
        let user = format!("{}:{}", person.name, person.token);
        let address = format!("http://{}{path}", self.server.http);
        let mut args = vec!["-X", row.method, "-H", "Sec-Fetch-Site: same-origin", "--path-as-is", "-i"];
        let bearer = format!("Authorization: Bearer {}", person.token);
        let socket = self.server.data.join("run/admin.sock").display().to_string();
        match who {
            Who::Nobody => {}
            Who::OwnerByApi | Who::AdminByApi => args.extend(["-H", &bearer]),
            Who::Host => args.extend(["--unix-socket", &socket]),
            _ => args.extend(["-u", &user]),
        }
        if !body.is_empty() {
            args.extend(["-H", row.content_type(), "--data-binary", body]);
        }
        // A stream that would go on is cut: its head has come.
        args.extend(["--max-time", "20", &address]);
        curl(&args)
    }

    /// Every row for everybody, in the private and in the public repository.
    fn check(&self, rows: &[Row], surface: &str) {
        let mut wrong = Vec::new();
        for row in rows {
            let places = [row.path, row.body].concat();
            let repository = places.contains("{repo}") || places.contains("{gone}");
            for public in [false, true] {
                if public && !repository {
                    continue;
                }
                // Git is not served at the admin socket.
                for who in ALL.into_iter().filter(|who| *who != Who::Host || !row.route.is_empty()) {
                    let (path, body) = (self.fill(row.path, public), self.fill(row.body, public));
                    let (status, said) = self.ask(who, row, &path, &body);
                    let (is, should) = (verdict(status, &said), promised(row.rule, who, public));
                    if is != should {
                        let said = said.chars().take(300).collect::<String>();
                        wrong.push(format!(
                            "{surface}: {} {path} as {who:?}: {is:?} instead of {should:?} ({status}: {said})",
                            row.method
                        ));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
}

fn verdict(status: u16, said: &str) -> Verdict {
    match status {
        401 => Verdict::SignIn,
        // To the page that signs in, of which curl names the address.
        303 if said.contains("\nlocation: /-/login") => Verdict::SignIn,
        // A credential that failed too often is refused without a look.
        503 if said.contains("sign-ins of this account") => Verdict::SignIn,
        // What is not built yet is no secret.
        501 => Verdict::Let,
        // They came so far that what they asked for is under way already.
        503 if said.contains("is being maintained already") => Verdict::Let,
        0 | 500.. => panic!("no answer, or a broken one: {status}: {said}"),
        403 if said.contains(" may not do this.") => Verdict::Denied,
        404 if no_repository(said) => Verdict::Hidden,
        _ => Verdict::Let,
    }
}

/// Whether that is what is said of a repository that is not there, or may not be seen.
fn no_repository(said: &str) -> bool {
    said.contains("There is no repository") && said.contains("that you may see")
}

#[test]
fn the_api_keeps_what_the_roles_promise() {
    let world = World::new();
    let (_, described) = world.person(Who::Owner).get("/-/api/v1/openapi.json");
    let described: serde_json::Value = serde_json::from_str(&described).expect("json");
    let mut missing = Vec::new();
    for (path, methods) in described["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys().filter(|key| *key != "parameters") {
            let of = |row: &&Row| row.method.eq_ignore_ascii_case(method) && row.shape() == shape(path);
            if !API.iter().any(|row| of(&row)) {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "say in tests/roles/table.rs who may call {missing:#?}");
    world.check(API, "API");
}

/// An address with its places made alike.
fn shape(path: &str) -> String {
    let path = path.trim_start_matches("/-/api/v1");
    let parts = path.split('/').map(|part| if part.contains('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn the_pages_keep_what_the_roles_promise() {
    let world = World::new();
    let sources = ["web/src/pages.rs", "web/src/router.rs"].map(|file| {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        std::fs::read_to_string(file).expect("a source")
    });
    let mut missing = Vec::new();
    for route in sources.iter().flat_map(|source| source.split(".route(\"").skip(1)) {
        let (path, rest) = route.split_once('"').expect("a route");
        let handlers = rest.split(".route(").next().unwrap_or_default().lines().next().unwrap_or_default();
        for (method, by) in [("GET", "get("), ("POST", "post(")] {
            let there = PAGES.iter().any(|row| row.method == method && row.route == path);
            // The way to sign in asks for no role (tests/trust.rs).
            if handlers.contains(by) && !there && (method, path) != ("POST", "/-/login") {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "say in tests/roles/table.rs who may see {missing:#?}");
    world.check(PAGES, "pages");
}

#[test]
fn git_over_http_keeps_what_the_roles_promise() {
    World::new().check(GIT, "git");
}

#[test]
fn verbs_over_ssh_keep_what_the_roles_promise() {
    let world = World::new();
    let mut missing = Vec::new();
    for verb in commands(&[]) {
        let below = commands(&[verb.as_str()]);
        let whole = if below.is_empty() {
            vec![verb.clone()]
        } else {
            below.iter().map(|b| format!("{verb} {b}")).collect()
        };
        let row = |line: &String| VERBS.iter().any(|row| row.line.starts_with(line.as_str()));
        missing.extend(whole.into_iter().filter(|line| !row(line)));
    }
    assert!(missing.is_empty(), "say in tests/roles/table.rs who may use {missing:#?}");
    let mut wrong = Vec::new();
    for row in VERBS {
        let Some(rule) = row.rule else { continue };
        let repository = row.line.contains("{repo}") || row.line.contains("{gone}");
        for public in [false, true].into_iter().filter(|public| !public || repository) {
            for who in WITH_KEYS {
                let line = world.fill(row.line, public);
                let said = over_ssh(world.person(who), &line, row.input);
                let is = match &said {
                    said if no_repository(said) => Verdict::Hidden,
                    said if said.contains(" may not do this.") => Verdict::Denied,
                    _ => Verdict::Let,
                };
                let should = promised(rule, who, public);
                if is != should {
                    wrong.push(format!("{line} as {who:?}: {is:?} instead of {should:?} ({said})"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// One connection a person, one channel a verb.
fn over_ssh(person: &Person, line: &str, input: &str) -> String {
    let (host, port) = person.ssh.rsplit_once(':').expect("host:port");
    let control = person.home.join("control");
    let mut ssh = Command::new("sh");
    ssh.args(["-c", "printf %s \"$1\" | timeout 60 ssh -T -p \"$2\" -i \"$3\" -S \"$4\" -o ControlMaster=auto \
        -o ControlPersist=20 -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR \"$5\" \"$6\" 2>&1 | cat", "sh", input, port])
        .arg(&person.key)
        .arg(&control)
        .arg(format!("{}@{host}", person.name))
        .arg(line);
    text(&run(&mut ssh).stdout)
}

/// The verbs below `above`, as the program's help names them.
fn commands(above: &[&str]) -> Vec<String> {
    let help = run(Command::new(harness::program()).args(above).arg("--help"));
    let help = text(&help.stdout);
    let Some((_, list)) = help.split_once("Commands:\n") else { return Vec::new() };
    let lines = list.lines().take_while(|line| !line.trim().is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("    "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}
