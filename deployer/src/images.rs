//! Which images a manifest has run. Pure.
//!
//! Containers lie where each kind has its pods, and custom resources have kinds of their own: so every field named `image`
//! counts, wherever it is, and of one that is an object its `reference` (volumes of images). What a custom resource spells
//! otherwise is not seen; its pods are made by its controller.

use serde_json::Value;

use crate::manifest::Manifest;

/// Kinds of the core group whose fields are anybody's data.
const DATA: [&str; 2] = ["ConfigMap", "Secret"];
/// How deep fields are looked for: more than any manifest has that a cluster takes.
const DEPTH_MAX: usize = 200;

impl Manifest {
    /// The images, in order, each once.
    pub fn images(&self) -> Vec<&str> {
        let mut found = Vec::new();
        if self.group().is_empty() && DATA.contains(&self.kind()) {
            return found;
        }
        // Annotations and labels are texts of anybody's choosing, too.
        for (_, value) in self.object.iter().filter(|(key, _)| *key != "metadata") {
            gather(value, DEPTH_MAX, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn gather<'a>(value: &'a Value, depth: usize, found: &mut Vec<&'a str>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match value {
        Value::Array(all) => all.iter().for_each(|one| gather(one, depth, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(image) if key == "image" && !image.is_empty() => found.push(image),
                    Value::Object(volume) if key == "image" => {
                        found.extend(volume.get("reference").and_then(Value::as_str));
                        gather(value, depth, found);
                    }
                    _ => gather(value, depth, found),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn images(object: Value) -> Vec<String> {
        let Value::Object(object) = object else { panic!("an object") };
        let manifest = Manifest { path: "a.yaml".into(), line: 1, object };
        manifest.images().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn every_container_counts_wherever_its_pod_is() {
        let pod = json!({
            "initContainers": [{"name": "i", "image": "r/init@sha256:1"}],
            "containers": [{"name": "a", "image": "r/app"}, {"name": "b", "image": "r/app"}],
            "ephemeralContainers": [{"name": "e", "image": "r/debug"}],
            "volumes": [{"name": "v", "image": {"reference": "r/data", "pullPolicy": "Always"}}],
        });
        let all = ["r/app", "r/data", "r/debug", "r/init@sha256:1"];
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"annotations": {"image": "x"}},
            "spec": {"template": {"spec": pod}}});
        assert_eq!(images(deployment), all);
        let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}});
        assert_eq!(images(cron), all);
        let rollout = json!({"apiVersion": "ex.org/v1", "kind": "Rollout", "spec": {"image": "r/own", "template": {"spec": pod}}});
        assert_eq!(images(rollout).len(), 5);
        let data = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"image": "anything"}});
        assert!(images(data).is_empty());
    }
}
