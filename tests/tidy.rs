//! The house as ARCHITECTURE.md draws it, held: who may know whom, and the outer bounds of functions and files. Knows no behaviour.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Most lines of a function, its signature and braces included, attributes and comments before it not.
const FUNCTION_LINES_MAX: usize = 70;
/// Most lines of a file.
const FILE_LINES_MAX: usize = 520;
/// Crates that one room alone may use, or two with different ends of them; deny.toml says it too, for all that they bring.
const PARTS: [(&str, &str); 9] = [
    ("sled", "store"),
    ("gix", "repository"),
    ("russh", "git-server"),
    ("russh", "hooks"),
    ("bollard", "hooks"),
    ("aws-sdk-ecr", "hooks"),
    ("aws-config", "hooks"),
    ("aws-sdk-sts", "hooks"),
    ("kube", "deployer"),
];
/// What the room of words and rules has no use for.
const IMPURE: [&str; 6] = ["tokio", "gix", "sled", "axum", "http", "hyper"];

type Arrows = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A package by the name that ARCHITECTURE.md has for it: its folder.
fn room(package: &str) -> &str {
    match package {
        "slipway" => "src",
        other => other.strip_prefix("slipway-").unwrap_or(other),
    }
}

/// Direct dependencies of every room, those of tests aside.
fn dependencies() -> Arrows {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo");
    let all: serde_json::Value = serde_json::from_slice(&out.stdout).expect("metadata");
    let packages = all["packages"].as_array().expect("packages");
    let direct = |package: &serde_json::Value| {
        let of = package["dependencies"].as_array().expect("dependencies");
        let normal = of.iter().filter(|d| d["kind"].is_null()).filter_map(|d| d["name"].as_str());
        normal.map(|name| room(name).to_owned()).collect()
    };
    packages.iter().map(|p| (room(p["name"].as_str().expect("name")).to_owned(), direct(p))).collect()
}

/// The arrows in the block `rooms` of ARCHITECTURE.md: `ROOM -> ROOM ROOM …` a line.
fn drawn() -> Arrows {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, block) = text.split_once("```rooms\n").expect("a block `rooms` in ARCHITECTURE.md");
    let (block, _) = block.split_once("```").expect("its end");
    let line = |line: &str| {
        let (from, to) = line.split_once("->").unwrap_or((line, ""));
        (from.trim().to_owned(), to.split_whitespace().map(str::to_owned).collect())
    };
    block.lines().map(line).collect()
}

#[test]
fn rooms_know_whom_the_drawing_says_and_nobody_else() {
    let (drawn, all) = (drawn(), dependencies());
    let rooms: BTreeSet<&String> = all.keys().collect();
    assert_eq!(
        drawn.keys().collect::<BTreeSet<_>>(),
        rooms,
        "the rooms drawn are the packages that are there"
    );
    for (room, known) in &all {
        let known: BTreeSet<_> = known.iter().filter(|name| rooms.contains(name)).cloned().collect();
        assert_eq!(known, drawn[room], "whom {room} knows (left), and whom ARCHITECTURE.md draws (right)");
    }
}

#[test]
fn each_named_part_has_one_user() {
    let all = dependencies();
    for (part, own) in PARTS {
        for (room, known) in &all {
            let may = PARTS.contains(&(part, room.as_str()));
            assert!(may || !known.contains(part), "{room} must not use {part}: it is {own}'s");
        }
    }
    for name in IMPURE {
        assert!(!all["core"].contains(name), "core must not use {name}");
    }
}

/// Every Rust file of the project.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !["target", "slipway-data"].contains(&name.as_str())
            {
                folders.push(path);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 300, "the search finds the sources: {}", found.len());
    found
}

/// Looks at each parsed file and gathers what is said of it.
fn look(mut at: impl FnMut(&str, &str, &syn::File) -> Vec<String>) -> Vec<String> {
    let mut said = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a source");
        let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        said.extend(at(&name, &text, &file));
    }
    said.sort();
    said
}

fn assert_none(said: &[String], rule: &str) {
    assert!(said.is_empty(), "{rule}:\n{}", said.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let said = look(|name, text, file| {
        let lines = text.lines().count();
        let long = (lines > FILE_LINES_MAX).then(|| format!("{name} has {lines} lines"));
        let documented = file.attrs.iter().any(|attribute| attribute.path().is_ident("doc"));
        let silent = (!documented).then(|| format!("{name} does not open with //!"));
        long.into_iter().chain(silent).collect()
    });
    assert_none(&said, &format!("at most {FILE_LINES_MAX} lines a file, and //! what it is"));
}

/// The functions of a file that are too long.
struct Long<'a> {
    name: &'a str,
    said: Vec<String>,
}

impl Long<'_> {
    fn measure(&mut self, signature: &syn::Signature, whole: proc_macro2::Span) {
        let first = signature.span().start().line;
        let lines = whole.end().line + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            self.said.push(format!("{}:{first}: {} has {lines} lines", self.name, signature.ident));
        }
    }
}

impl<'ast> Visit<'ast> for Long<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig, item.span());
        visit::visit_item_fn(self, item);
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig, item.span());
        visit::visit_impl_item_fn(self, item);
    }
    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.measure(&item.sig, item.span());
        visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn functions_are_short() {
    let said = look(|name, _, file| {
        let mut long = Long { name, said: Vec::new() };
        long.visit_file(file);
        long.said
    });
    assert_none(&said, &format!("at most {FUNCTION_LINES_MAX} lines a function"));
}

/// What prints, and ends the thread where that fails.
const PRINTING: [&str; 5] = ["println!(", "print!(", "eprintln!(", "eprint!(", "dbg!("];
/// The one file that prints.
const PRINTER: &str = "src/terminal.rs";

#[test]
fn one_place_prints() {
    let said = look(|name, text, _| {
        let program = name.split('/').all(|part| !["tests", "benches", "examples", "fuzz"].contains(&part));
        if !program || name == PRINTER || name.ends_with("tests.rs") {
            return Vec::new();
        }
        let prints = |line: &&str| PRINTING.iter().any(|word| line.trim_start().starts_with(word));
        text.lines().filter(prints).map(|line| format!("{name}: {}", line.trim())).collect()
    });
    assert_none(&said, &format!("a stream that is full or closed must not end anything: print by {PRINTER}"));
}

/// How sources say that a program is to be started.
const STARTING: [&str; 3] = ["process::Command", "Command::new(", ".spawn_shell("];
/// The one file that starts programs: those that an owner names in config.toml.
const STARTER: &str = "deployer/src/exec_plugin.rs";

#[test]
fn one_place_starts_programs() {
    let said = look(|name, text, _| {
        let program = name.contains("src/") && !name.contains("/tests") && !name.starts_with("tests/");
        if !program || name == STARTER || name.starts_with("fuzz/") {
            return Vec::new();
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let starts = |line: &&str| STARTING.iter().any(|word| line.contains(word));
        code.lines().filter(starts).map(|line| format!("{name}: {}", line.trim())).collect()
    });
    assert_none(&said, &format!("no request may start a program: {STARTER} alone does"));
}

/// Rooms whose words reach clients.
const TOLD: [&str; 7] = ["core/", "store/", "repository/", "forge/", "jobs/", "git-server/", "web/"];
/// Words for whoever stands at the server's own terminal.
const AT_THE_SERVER: [&str; 4] = [
    "git-server/src/pipe.rs",
    "git-server/src/ssh/host_keys.rs",
    "store/src/master_key.rs",
    "store/src/salvage.rs",
];

/// An error carries its place beside its words (`RepoError::place`, `StoreError::place`): the log has it, and no client.
#[test]
fn no_words_for_clients_have_a_place_on_the_server() {
    let said = look(|name, text, _| {
        let told = TOLD.iter().any(|room| name.starts_with(room) && name[room.len()..].starts_with("src/"));
        if !told || AT_THE_SERVER.contains(&name) || name.contains("/tests") || name.contains("/fuzzing") {
            return Vec::new();
        }
        let shows = |line: &&str| {
            let words = line.contains("#[error(") || line.contains("format!(") || line.contains("write!(");
            words && line.contains(".display()")
        };
        let allowed = |line: &&str| {
            line.contains("Some(place) =>")
                || line.contains("\"Store({})\"")
                || line.contains("The master key {}")
        };
        let found = text.lines().filter(shows).filter(|line| !allowed(line));
        found.map(|line| format!("{name}: {}", line.trim())).collect()
    });
    assert_none(&said, "a path on the server in words that clients may see");
}
