//! The docker variable of Jenkins' Docker Pipeline: `docker.build`, `image.push`, `image.inside`.

use super::Jenkinsfile;
use crate::import::docker;
use crate::import::found::{Service, quoted};
use crate::import::groovy::{Call, Value};
use crate::import::reference::Reference;
use crate::import::scope::Scope;
use crate::import::shell::{self, Command, Joint};

impl Jenkinsfile {
    /// The name of the image that a call makes or names; it is built where the call says so.
    pub(super) fn image(&mut self, call: &Call, scope: &mut Scope) -> Option<String> {
        match call.name.as_str() {
            "docker.build" => {
                let name = scope.expand(&call.text("image", 0)?);
                let args = call.text("args", 1).map(|args| scope.expand(&args)).unwrap_or_default();
                let args = shell::read(&args.replace('\n', " "), call.line);
                let mut words: Vec<String> = ["build", "-t", &name].map(str::to_owned).to_vec();
                words.extend(args.into_iter().flat_map(|command| command.words));
                let text = format!("docker.build {name}");
                let command =
                    Command { line: call.line, words: words.clone(), text, joint: Joint::Then, nested: 0 };
                docker::docker(&mut self.found, scope, &command, &words);
                let by = "docker.build";
                self.found.builds.last_mut().into_iter().for_each(|build| build.by = by);
                Some(name)
            }
            "docker.image" => Some(scope.expand(&call.text("id", 0)?)),
            _ => match call.of.as_deref() {
                // `docker.image(…).push()` and the like give the image on.
                Some(Value::Call(of)) if of.name.starts_with("docker.") => self.image(of, scope),
                _ => None,
            },
        }
    }
}

/// Carries out a call, if it is one on an image.
pub(super) fn call(file: &mut Jenkinsfile, call: &Call, scope: &mut Scope) -> bool {
    if call.name == "docker.build" || call.name == "docker.image" {
        file.image(call, scope);
        return true;
    }
    let (method, image) = match (call.of.as_deref(), call.name.rsplit_once('.')) {
        (Some(Value::Call(of)), _) => (call.name.as_str(), file.image(of, scope)),
        (Some(Value::Name(name)), _) => (call.name.as_str(), file.images.get(name).cloned()),
        (None, Some((name, method))) => (method, file.images.get(name).cloned()),
        _ => return false,
    };
    match image {
        Some(image) => on_image(file, call, scope, method, &image),
        // An image by another name: a variable that was set where nobody looked.
        None if ["push", "inside", "withRun", "tag"].contains(&method) && call.of.is_none() => {
            let only = file.found.builds.last().and_then(|build| build.names.first().cloned());
            match only {
                Some(image) => on_image(file, call, scope, method, &image),
                None => false,
            }
        }
        None => false,
    }
}

fn on_image(file: &mut Jenkinsfile, call: &Call, scope: &mut Scope, method: &str, image: &str) -> bool {
    let line = call.line;
    match method {
        "push" | "tag" if call.arg("tag", 0).is_some_and(|tag| tag.text().is_none()) => {
            let cure =
                "Write each of the tags that it can be into [push] tags, with `on` for whose they are.";
            file.found.note(line, "a tag that is put together while it runs", cure);
        }
        "push" | "tag" => {
            let name = match call.text("tag", 0).map(|tag| scope.expand(&tag)) {
                Some(tag) => format!("{}:{tag}", Reference::read(image).name()),
                None => image.to_owned(),
            };
            file.found.tagged(image, &name);
            if method == "push" {
                file.found.pushed(line, &name, scope);
            }
        }
        "inside" => {
            let mut inner = scope.clone();
            inner.inside = Some(image.to_owned());
            for (name, value) in environment(call, scope) {
                inner.give(&name, &value);
            }
            file.inner(call.block.as_ref(), &mut inner);
        }
        "withRun" | "run" if file.found.built(image).is_none() => {
            let path = Reference::read(image).path;
            let name = path.rsplit('/').next().unwrap_or("db").to_owned();
            let env = environment(call, scope).into_iter().collect();
            file.found.service(Service { line, name, image: image.to_owned(), env });
            file.inner(call.block.as_ref(), scope);
        }
        "withRun" | "run" => {
            let what = format!("`{}` starts the image", quoted(&call.name));
            file.found.note(line, what, "Write the command that shows that it works in [test] run or shell.");
            file.inner(call.block.as_ref(), scope);
        }
        "pull" | "stop" | "imageName" => {}
        _ => return false,
    }
    true
}

/// `-e NAME=VALUE` among the arguments of `docker run`.
fn environment(call: &Call, scope: &Scope) -> Vec<(String, String)> {
    let args = call.text("args", 0).map(|args| scope.expand(&args)).unwrap_or_default();
    let words: Vec<String> =
        shell::read(&args, call.line).into_iter().flat_map(|command| command.words).collect();
    let flags = docker::Flags::read(
        &words,
        &["-e", "--env", "-u", "-v", "--network", "--link", "--name", "-p"],
        true,
    );
    let pairs = flags.all(&["-e", "--env"]).filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
