//! An engine and a registry in memory. The engine builds as the classic builder does, tells what others would, and holds
//! images by name as a real one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use serde_json::{Value, json};

use super::Effects;
use super::http::{Answer, Part, Request, decoded};
use crate::activity::Activity;

fn sha256(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Lines of JSON, as engines tell how they get on.
fn told(lines: &[Value]) -> Answer {
    let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    Answer::bytes("application/json", text.into_bytes())
}

/// Manifests by `NAME:TAG`.
#[derive(Default)]
pub(crate) struct Registry(Mutex<BTreeMap<String, Vec<u8>>>);

impl Registry {
    /// The id of the image that a tag names.
    pub(crate) fn image(&self, name: &str) -> Option<String> {
        let manifest: Value = serde_json::from_slice(self.0.lock().expect("lock").get(name)?).ok()?;
        manifest["config"]["digest"].as_str().map(str::to_owned)
    }

    /// The manifest that a tag names, or a digest.
    fn manifest(&self, repo: &str, reference: &str) -> Option<Vec<u8>> {
        let manifests = self.0.lock().expect("lock");
        let tags =
            || manifests.iter().filter(|(name, _)| name.rsplit_once(':').is_some_and(|(of, _)| of == repo));
        match reference.starts_with("sha256:") {
            true => tags().map(|(_, manifest)| manifest).find(|m| sha256(m) == reference).cloned(),
            false => manifests.get(&format!("{repo}:{reference}")).cloned(),
        }
    }

    fn put(&self, name: &str, manifest: Vec<u8>) -> String {
        let digest = sha256(&manifest);
        self.0.lock().expect("lock").insert(name.to_owned(), manifest);
        digest
    }
}

impl Part for Registry {
    fn answer(&self, request: &Request) -> Answer {
        if request.path == "/v2/" {
            return Answer::json(200, &json!({}));
        }
        let Some((repo, tag)) =
            request.path.strip_prefix("/v2/").and_then(|path| path.split_once("/manifests/"))
        else {
            return Answer::missing();
        };
        if request.method == "PUT" {
            self.put(&format!("{repo}:{tag}"), request.body.clone());
            return Answer::empty(201);
        }
        self.manifest(repo, tag).map_or_else(Answer::missing, |m| Answer::bytes(MANIFEST, m))
    }
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// An engine of two processors that pushes to one registry.
pub(crate) struct Engine {
    pub(crate) registry: Arc<Registry>,
    pub(crate) effects: Arc<Effects>,
    /// Ids by `NAME:TAG`.
    images: Mutex<BTreeMap<String, String>>,
}

impl Engine {
    pub(super) fn new(registry: Arc<Registry>, effects: Arc<Effects>) -> Self {
        Self { registry, effects, images: Mutex::default() }
    }

    /// The names of all images.
    pub(crate) fn names(&self) -> Vec<String> {
        self.images.lock().expect("lock").keys().cloned().collect()
    }

    fn build(&self, request: &Request) -> Answer {
        let tag = request.key("t").unwrap_or_default();
        let is_test = request.key("target").is_some_and(|target| target == "test");
        let activity = if is_test { Activity::ImageTest } else { Activity::ImageBuild };
        self.effects.carry_out(activity, request.life, &build_of(&tag), format!("{activity:?}"));
        let id = sha256(&request.body);
        self.images.lock().expect("lock").insert(tag, id.clone());
        told(&[json!({"aux": {"ID": id}}), json!({"stream": "Successfully built it\n"})])
    }

    fn push(&self, request: &Request, name: &str) -> Answer {
        let tag = request.key("tag").unwrap_or_default();
        let full = format!("{name}:{tag}");
        let Some(id) = self.images.lock().expect("lock").get(&full).cloned() else {
            return Answer::missing();
        };
        self.effects.carry_out(Activity::ImagePush, request.life, &tag, "ImagePush".into());
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": id}, "layers": []});
        let path = full.split_once('/').map_or(full.as_str(), |(_, path)| path);
        let digest = self.registry.put(path, manifest.to_string().into_bytes());
        told(&[json!({"status": format!("{tag}: digest: {digest} size: 528")})])
    }

    fn tag(&self, request: &Request, of: &str) -> Answer {
        let mut images = self.images.lock().expect("lock");
        let Some(id) = id_of(&images, of) else { return Answer::missing() };
        let (repo, tag) = (request.key("repo").unwrap_or_default(), request.key("tag").unwrap_or_default());
        images.insert(format!("{repo}:{tag}"), id);
        Answer::empty(201)
    }

    fn inspect(&self, of: &str) -> Answer {
        let images = self.images.lock().expect("lock");
        let Some(id) = id_of(&images, of) else { return Answer::missing() };
        let tags: Vec<&String> = images.iter().filter(|(_, i)| **i == id).map(|(name, _)| name).collect();
        Answer::json(200, &json!({"Id": id, "RepoTags": tags, "RepoDigests": []}))
    }

    fn remove(&self, name: &str) -> Answer {
        match self.images.lock().expect("lock").remove(name) {
            Some(_) => Answer::json(200, &json!([{"Untagged": name}])),
            None => Answer::missing(),
        }
    }

    /// Podman's way to take a name away.
    fn untag(&self, request: &Request) -> Answer {
        let (repo, tag) = (request.key("repo").unwrap_or_default(), request.key("tag").unwrap_or_default());
        let name = format!("{}:{tag}", repo.trim_start_matches("docker.io/"));
        self.remove(&name)
    }

    fn list(&self) -> Answer {
        let images = self.images.lock().expect("lock");
        let all: Vec<Value> = images
            .iter()
            .map(|(name, id)| {
                json!({"Id": id, "ParentId": "", "RepoTags": [name], "RepoDigests": [], "Created": 0,
                       "Size": 1, "SharedSize": -1, "Labels": {}, "Containers": -1})
            })
            .collect();
        Answer::json(200, &json!(all))
    }
}

fn id_of(images: &BTreeMap<String, String>, of: &str) -> Option<String> {
    images.get(of).cloned().or_else(|| images.values().find(|id| *id == of).cloned())
}

/// `b5.7` of `slipway/app:b5.7-test-SEAL`.
fn build_of(tag: &str) -> String {
    let build = tag.rsplit_once(':').map_or(tag, |(_, tag)| tag);
    build.split('-').next().unwrap_or_default().to_owned()
}

impl Part for Engine {
    fn answer(&self, request: &Request) -> Answer {
        // `/v1.41/…`
        let path = match request.path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/')) {
            Some((_, rest)) => decoded(rest),
            None => decoded(request.path.trim_start_matches('/')),
        };
        let image = |verb: &str| path.strip_prefix("images/").and_then(|rest| rest.strip_suffix(verb));
        match (request.method.as_str(), path.as_str()) {
            ("GET", "version") => {
                let podman = json!([{"Name": "Podman Engine", "Version": "4.3.1"}]);
                let said = json!({"Version": "4.3.1", "ApiVersion": "1.41", "Os": "linux", "Arch": "amd64",
                                  "Components": podman});
                Answer::json(200, &said)
            }
            ("GET", "info") => Answer::json(200, &json!({"NCPU": 2})),
            ("GET", "containers/json" | "networks") => Answer::json(200, &json!([])),
            ("GET", "images/json") => self.list(),
            ("POST", "build") => self.build(request),
            ("POST", path) if path.ends_with("/untag") => self.untag(request),
            ("DELETE", _) => image("").map_or_else(Answer::missing, |name| self.remove(name)),
            ("GET", _) => image("/json").map_or_else(Answer::missing, |name| self.inspect(name)),
            (_, path) if path.ends_with("/tag") => {
                image("/tag").map_or_else(Answer::missing, |name| self.tag(request, name))
            }
            _ => image("/push").map_or_else(Answer::missing, |name| self.push(request, name)),
        }
    }
}
