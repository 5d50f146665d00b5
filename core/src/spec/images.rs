//! `[[image]]`: several images of one commit, each also for several values of its arguments. Each is a *part*: built, tested
//! and pushed by a build of its own, for which the file reads as if it were about that part alone.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::matrix::{Matrix, Values};
use super::on::{MoveOn, OnSpec};
use super::platform::Platform;
use super::pull::Pull;
use super::tags::{TagSpec, Template};
use super::test::TestSpec;
use super::text::Text;
use super::values::duration_ms;
use super::{Spec, Step, clashes, here};
use crate::limits::{PART_NAME_BYTES_MAX, PARTS_MAX, VARIABLES_MAX};
use crate::nearest::nearest;
use crate::place::Wrong;

/// One `[[image]]`, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageSpec {
    /// What it is called: the last part of the image's path, too.
    name: String,
    /// The folder that is sent as build context.
    #[serde(default = "here")]
    context: String,
    /// Path of the Dockerfile from the repository's root; empty is the context's.
    #[serde(default)]
    dockerfile: String,
    /// The stage to build; empty is the last.
    #[serde(default)]
    target: String,
    /// Build arguments, beside those of `[build]`; `{KEY}` is the matrix's value.
    #[serde(default)]
    args: BTreeMap<String, String>,
    /// As in `[build]`; absent is as there.
    #[serde(default)]
    pull: Option<Pull>,
    platforms: Option<Vec<Platform>>,
    /// Time for the image build; absent is `[build]`'s.
    #[serde(default)]
    timeout: Option<Timeout>,
    /// How long its build may say nothing; absent is `[build]`'s.
    #[serde(default)]
    silence: Option<Timeout>,
    /// Which pushes build it; absent is as `[build]` has it.
    #[serde(default)]
    on: Option<OnSpec>,
    /// How it is tested; absent is as `[test]` has it.
    #[serde(default)]
    test: Option<TestSpec>,
    /// What it is called in the registry; absent is as `[push]` has it.
    #[serde(default)]
    tags: Option<Vec<RawTag>>,
    /// Parts whose images must have been pushed before it is built.
    #[serde(default)]
    needs: Vec<String>,
    /// Arguments, each with its values: one part for each combination.
    #[serde(default)]
    matrix: Matrix,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Timeout(#[serde(deserialize_with = "duration_ms")] u64);

/// A tag that may name values of the matrix, so that it is read once they are known.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a tag, or a table such as { tag = \"stable\", on = { tags = [\"v*\"] } }"
)]
enum RawTag {
    Plain(String),
    Table {
        tag: String,
        #[serde(default)]
        on: Option<MoveOn>,
    },
}

/// One part of a commit.
#[derive(Clone, Debug)]
pub struct Part {
    /// `NAME`, or with a matrix `NAME/VALUE/VALUE` in the order of the arguments' names.
    pub name: String,
    /// The image's name: what follows the repository's path in the registry.
    pub image: String,
    /// Names of parts, or of images, that it needs.
    pub needs: Vec<String>,
    /// The file as it is about this part.
    pub spec: Spec,
}

/// All parts that a file has; none where it has no `[[image]]`.
pub(super) fn parts(spec: &Spec) -> Result<Vec<Part>, Wrong> {
    let mut all: Vec<Part> = Vec::new();
    for (image, number) in spec.image.iter().zip(0..) {
        let here = |wrong: Wrong| wrong.of_image(number);
        image.check().map_err(here)?;
        if spec.image.iter().take(number).any(|other| other.name == image.name) {
            return Err(here(Wrong::at("name", format!("two [[image]] are called {:?}", image.name))));
        }
        let first = all.len();
        for values in image.matrix.combinations(&image.name).map_err(here)? {
            all.push(image.part(spec, &values).map_err(|wrong| image.own(number, wrong))?);
            if all.len() > PARTS_MAX {
                let told = format!("[[image]] and matrix make more than {PARTS_MAX} images");
                return Err(here(Wrong::at("", told)));
            }
        }
        clashes::tags(&all[first..]).map_err(here)?;
    }
    if all.is_empty() {
        return Ok(all);
    }
    let build = &spec.build;
    let said = [
        ("target", !build.target.is_empty()),
        ("dockerfile", !build.dockerfile.is_empty()),
        ("context", build.context != "."),
    ];
    if let Some((key, _)) = said.into_iter().find(|(_, said)| *said) {
        let told = "beside [[image]], context, dockerfile and target are said there";
        return Err(Wrong::at("build", told).key(key).itself());
    }
    check_needs(spec, &all)?;
    check_deploys(spec, &all)?;
    Ok(all)
}

impl ImageSpec {
    fn check(&self) -> Result<(), Wrong> {
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let joined =
            ["--", "__", "..", "-.", ".-", "_.", "._", "-_", "_-"].iter().any(|two| self.name.contains(two));
        let whole = ends(self.name.chars().next()) && ends(self.name.chars().last());
        if self.name.len() > PART_NAME_BYTES_MAX || !whole || joined || !self.name.bytes().all(fine) {
            let shown: String = self.name.chars().take(40).collect();
            return Err(Wrong::at(
                "name",
                format!(
                    "{shown:?} is no name of an image: it has small letters and digits, joined by '-', '_' or '.'"
                ),
            ));
        }
        super::check_path(&self.context).map_err(|what| Wrong::at("context", what))?;
        if !self.dockerfile.is_empty() {
            super::check_path(&self.dockerfile).map_err(|what| Wrong::at("dockerfile", what))?;
        }
        if self.args.len() + self.matrix.len() > VARIABLES_MAX {
            let told = format!("the image {} has more than {VARIABLES_MAX} arguments", self.name);
            return Err(Wrong::at("args", told));
        }
        if let Some(key) = self.args.keys().find(|key| self.matrix.has(key)) {
            let told = format!("{key} of the matrix is among args already");
            return Err(Wrong::at("matrix", told).key(key).itself());
        }
        match &self.test {
            Some(test) => test.check().map_err(|wrong| wrong.under(&["test"])),
            None => Ok(()),
        }
    }

    /// What is wrong with the file as it reads for one of its parts, where it is the image's own word that is wrong.
    fn own(&self, number: usize, wrong: Wrong) -> Wrong {
        let key = |at: usize| match wrong.way.get(at) {
            Some(Step::Key(key)) => key.as_str(),
            _ => "",
        };
        let arg = key(2).to_owned();
        let above = match (key(0), key(1)) {
            ("build", "args") if self.args.contains_key(&arg) => 1,
            ("build", "context" | "dockerfile" | "target") => 1,
            ("test", _) if self.test.is_some() => 0,
            ("push", "tags") if self.tags.is_some() => 1,
            _ => return wrong,
        };
        let mut wrong = wrong;
        wrong.way.drain(..above);
        wrong.of_image(number)
    }

    fn part(&self, file: &Spec, values: &Values) -> Result<Part, Wrong> {
        let name = [self.name.as_str()]
            .into_iter()
            .chain(values.values().map(String::as_str))
            .collect::<Vec<_>>()
            .join("/");
        let mut spec = Spec { image: Vec::new(), parts: Vec::new(), ..file.clone() };
        let build = &mut spec.build;
        build.context.clone_from(&self.context);
        build.dockerfile.clone_from(&self.dockerfile);
        build.target.clone_from(&self.target);
        for (key, value) in &self.args {
            let text =
                Text::parse(&filled(value, values)).map_err(|why| Wrong::at("build.args", why).key(key))?;
            build.args.insert(key.clone(), text);
        }
        let given = values.iter().map(|(key, value)| (key.clone(), Text::plain(value)));
        build.args.extend(given.clone());
        build.pull = self.pull.or(build.pull);
        if let Some(platforms) = &self.platforms {
            build.platforms.clone_from(platforms);
        }
        build.timeout_ms = self.timeout.map_or(build.timeout_ms, |Timeout(ms)| ms);
        build.silence_ms = self.silence.map(|Timeout(ms)| ms).or(build.silence_ms);
        if let Some(on) = &self.on {
            build.on = on.clone();
        }
        if let Some(test) = &self.test {
            spec.test = test.clone();
        }
        if spec.test.run.is_some() || spec.test.shell.is_some() {
            for (key, value) in given {
                spec.test.env.entry(key).or_insert(value);
            }
        }
        spec.push.tags = self.tags(file, values)?;
        spec.deploy.retain(|_, deploy| deploy.of.as_deref().is_none_or(|of| of == name || of == self.name));
        spec.check_alone()?;
        Ok(Part { name, image: self.name.clone(), needs: self.needs.clone(), spec })
    }

    /// Its tags. Those of `[push]` are told apart by the values; its own must name them.
    fn tags(&self, file: &Spec, values: &Values) -> Result<Vec<TagSpec>, Wrong> {
        let read = |(number, text): (usize, &str), on: &Option<MoveOn>| {
            let template = Template::parse(&filled(text, values))
                .map_err(|why| Wrong::at("push.tags", why).item(number))?;
            Ok(TagSpec { template, on: on.clone() })
        };
        let Some(own) = &self.tags else {
            let end: String = values.values().map(|value| format!("-{value}")).collect();
            let of_push = file.push.tags.iter().zip(0..);
            let text = |tag: &TagSpec| format!("{}{end}", tag.template.as_str());
            return of_push.map(|(tag, number)| read((number, &text(tag)), &tag.on)).collect();
        };
        let several = self.matrix.several();
        own.iter()
            .zip(0..)
            .map(|(tag, number)| {
                let (RawTag::Plain(text) | RawTag::Table { tag: text, .. }) = tag;
                if let Some(key) = several.clone().find(|key| !text.contains(&format!("{{{key}}}"))) {
                    let told =
                        format!("the tag {text:?} would be that of several images; it wants {{{key}}}");
                    return Err(Wrong::at("push.tags", told).item(number));
                }
                let on = match tag {
                    RawTag::Plain(_) => &None,
                    RawTag::Table { on, .. } => on,
                };
                read((number, text), on)
            })
            .collect()
    }
}

/// The text with the matrix's values in place of `{KEY}`.
fn filled(text: &str, values: &Values) -> String {
    values.iter().fold(text.to_owned(), |text, (key, value)| text.replace(&format!("{{{key}}}"), value))
}

/// Every name in `needs` is a part's or an image's, and nothing needs itself, however far around.
fn check_needs(spec: &Spec, all: &[Part]) -> Result<(), Wrong> {
    for (image, number) in spec.image.iter().zip(0..) {
        for (need, at) in image.needs.iter().zip(0..) {
            if !all.iter().any(|other| other.is(need)) {
                return Err(Wrong::at("needs", unknown("needs", need, all)).item(at).of_image(number));
            }
        }
        clashes::variables(&image.needs, all).map_err(|wrong| wrong.of_image(number))?;
    }
    let mut left: Vec<&Part> = all.iter().collect();
    loop {
        let free = |part: &&Part| !part.needs.iter().any(|need| left.iter().any(|other| other.is(need)));
        let (done, rest): (Vec<&Part>, Vec<&Part>) = left.iter().copied().partition(|part| free(part));
        match (done.is_empty(), rest.first()) {
            (_, None) => return Ok(()),
            (true, Some(part)) => {
                let number = spec.image.iter().position(|image| image.name == part.image).unwrap_or_default();
                let told = format!("{} needs itself, by way of others", part.name);
                return Err(Wrong::at("needs", told).of_image(number));
            }
            (false, _) => left = rest,
        }
    }
}

/// With several parts every deploy says whose digest it writes.
fn check_deploys(spec: &Spec, all: &[Part]) -> Result<(), Wrong> {
    for (target, deploy) in &spec.deploy {
        let Some(of) = &deploy.of else {
            if all.len() == 1 {
                continue;
            }
            let names: Vec<&str> = all.iter().map(|part| part.name.as_str()).take(5).collect();
            let told =
                format!("[deploy.{target}] does not say of which image: of = \"{}\"", names.join("\" or \""));
            return Err(Wrong::at("deploy", told).key(target));
        };
        match all.iter().filter(|part| part.is(of)).count() {
            1 => {}
            0 => return Err(of_deploy(target, unknown("of", of, all))),
            _ => {
                return Err(of_deploy(
                    target,
                    format!(
                        "{of:?} is several images; [deploy.{target}] wants one, such as {:?}",
                        first(of, all)
                    ),
                ));
            }
        }
    }
    Ok(())
}

fn of_deploy(target: &str, what: String) -> Wrong {
    Wrong::at("deploy", what).key(target).key("of")
}

impl Wrong {
    /// What is wrong with that `[[image]]`, told with the way from it.
    fn of_image(mut self, number: usize) -> Self {
        self.way.splice(0..0, [Step::Key("image".into()), Step::Item(number)]);
        self
    }
}

fn first<'a>(of: &str, all: &'a [Part]) -> &'a str {
    all.iter().find(|part| part.is(of)).map(|part| part.name.as_str()).unwrap_or_default()
}

fn unknown(key: &str, name: &str, all: &[Part]) -> String {
    let shown: String = name.chars().take(40).collect();
    match nearest(&shown, all.iter().map(|part| part.name.as_str())) {
        Some(meant) => format!("{key} names {shown:?}, which is no [[image]]; did you mean {meant:?}?"),
        None => format!("{key} names {shown:?}, which is no [[image]]"),
    }
}

impl Part {
    /// True if that is its name, or its image's.
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.image == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Spec, String> {
        Spec::parse(text.as_bytes()).map_err(|e| e.to_string())
    }

    fn tags(part: &Part) -> Vec<&str> {
        part.spec.push.tags.iter().map(|tag| tag.template.as_str()).collect()
    }

    #[test]
    fn each_image_is_a_file_of_its_own() {
        let text = r#"
            [build]
            args = { ALL = "1" }
            timeout = "5m"
            [test]
            shell = "true"
            [[image]]
            name = "web"
            context = "web"
            on = { paths = ["web/**"] }
            needs = ["base"]
            [image.test]
            run = ["./test"]
            [[image]]
            name = "base"
            target = "base"
            tags = ["{sha}", { tag = "stable", on = { tags = ["v*"] } }]
            [deploy.prod]
            repo = "manifests"
            of = "web"
        "#;
        let spec = read(text).expect("valid");
        assert!(spec.of(None).is_none() && spec.of(Some("gone")).is_none());
        let web = spec.of(Some("web")).expect("there");
        assert_eq!(web.build.dockerfiles(), ["web/Dockerfile", "web/Containerfile"]);
        assert!(web.build.args.contains_key("ALL") && web.build.timeout_ms == 300_000);
        assert!(web.test.run.is_some() && web.deploy.contains_key("prod"));
        assert!(web.build.on.matches_path("web/a") && !web.build.on.matches_path("b"));
        let base = &spec.parts()[1];
        assert_eq!((base.spec.build.target.as_str(), tags(base)), ("base", vec!["{sha}", "stable"]));
        assert!(base.spec.test.shell.is_some() && base.spec.deploy.is_empty());
    }

    #[test]
    fn a_matrix_makes_a_part_of_every_combination() {
        let text = r#"
            [test]
            shell = "true"
            [[image]]
            name = "py"
            args = { BASE = "python:{PY}-{OS}" }
            matrix = { PY = ["3.11", "3.12"], OS = ["slim"] }
            [[image]]
            name = "own"
            matrix = { V = ["a", "b"] }
            tags = ["{sha}-{V}", "latest-{V}"]
        "#;
        let spec = read(text).expect("valid");
        let names: Vec<&str> = spec.parts().iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["py/slim/3.11", "py/slim/3.12", "own/a", "own/b"]);
        let first = &spec.parts()[0];
        assert_eq!(first.spec.build.args["BASE"], Text::plain("python:3.11-slim"));
        assert_eq!(first.spec.build.args["PY"], Text::plain("3.11"));
        assert_eq!(first.spec.test.env["PY"], Text::plain("3.11"));
        assert_eq!((first.image.as_str(), tags(first)), ("py", vec!["{sha}-slim-3.11", "latest-slim-3.11"]));
        assert_eq!(tags(&spec.parts()[3]), ["{sha}-b", "latest-b"]);
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        let two = "[[image]]\nname = \"a\"\n[[image]]\nname = \"b\"\n";
        let many: String = (0..33).map(|n| format!("[[image]]\nname = \"i{n}\"\n")).collect();
        for (text, wanted) in [
            ("[[image]]\nname = \"A\"\n", "slipway.toml:2:8: \"A\" is no name of an image"),
            ("[[image]]\nname = \"a/b\"\n", "is no name of an image"),
            ("[[image]]\nname = \"a\"\n[[image]]\nname = \"a\"\n", "two [[image]] are called \"a\""),
            (
                "[build]\ntarget = \"x\"\n[[image]]\nname = \"a\"\n",
                "beside [[image]], context, dockerfile and target",
            ),
            (
                "[[image]]\nname = \"a\"\nneeds = [\"a\"]\n",
                "slipway.toml:3:9: a needs itself, by way of others",
            ),
            (
                "[[image]]\nname = \"app\"\nneeds = [\"ap\"]\n",
                "needs names \"ap\", which is no [[image]]; did you mean \"app\"?",
            ),
            (
                &format!("{two}needs = [\"a\"]\n[deploy.x]\nrepo = \"m\"\n"),
                "[deploy.x] does not say of which image: of = \"a\" or \"b\"",
            ),
            (
                &format!("{two}[deploy.x]\nrepo = \"m\"\nof = \"c\"\n"),
                "of names \"c\", which is no [[image]]",
            ),
            (
                "[deploy.x]\nrepo = \"m\"\nof = \"c\"\n",
                "slipway.toml:3:1: [deploy.x] says of which [[image]] it is, and there is none",
            ),
            (&many, "make more than 32 images"),
            ("[[image]]\nname = \"a\"\nmatrix = { v = [\"1\"] }\n", "\"v\" is no key of a matrix"),
            ("[[image]]\nname = \"a\"\nmatrix = { SLIPWAY_X = [\"1\"] }\n", "SLIPWAY_X is set by the server"),
            ("[[image]]\nname = \"a\"\nmatrix = { V = [\"a b\"] }\n", "V of the matrix wants values"),
            ("[[image]]\nname = \"a\"\nmatrix = { V = [] }\n", "V of the matrix wants values"),
            (
                "[[image]]\nname = \"a\"\nmatrix = { V = [\"1\", \"2\"] }\ntags = [\"latest\"]\n",
                "it wants {V}",
            ),
            ("[[image]]\nname = \"a\"\ntags = [\"{brnch}\"]\n", "did you mean `{branch}`?"),
            ("[[image]]\nname = \"a\"\ntags = [{ tag = \"x\", zzz = 1 }]\n", "a tag, or a table"),
            (
                "[[image]]\nname = \"a\"\n[image.test]\ntarget = \"x\"\nrun = [\"y\"]\n",
                "more than one of target, run and shell",
            ),
        ] {
            let told = read(text).expect_err(text);
            assert!(told.contains(wanted), "{text}: {told}");
        }
    }
}
