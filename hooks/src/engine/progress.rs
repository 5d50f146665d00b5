//! BuildKit's progress messages as plain lines, in the manner of `docker build --progress=plain`. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus};

use super::build::Bases;
use super::image::tagged;
use crate::limits::{BASES_MAX, BUILD_STEPS_MAX, LOG_LINE_BYTES_MAX};
use crate::log::mask::{Lines, Masker};

/// What has been seen of one build.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    masker: Arc<Masker>,
    steps: HashMap<String, Step>,
    numbers: usize,
    failed: Option<String>,
    /// The images that the last message tells of.
    images: Vec<String>,
    /// Base images and frontends by name, each with its digest once that is told.
    bases: Bases,
}

#[derive(Debug, Default)]
struct Step {
    number: usize,
    name: String,
    started_ms: Option<i64>,
    finished: bool,
    lines: Lines,
    statuses: Vec<String>,
}

impl Progress {
    /// Lines are broken so that the masker's secrets stay whole.
    pub(crate) fn new(masker: Arc<Masker>) -> Self {
        Self { masker, ..Self::default() }
    }

    /// The step that failed, if one did: such as `[2/3] RUN make`.
    pub(crate) fn failed_step(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// The images that the builder looks for, by the last message.
    pub(crate) fn images(&self) -> &[String] {
        &self.images
    }

    /// The base images that the builder has looked for.
    /// `None` where there are more than are remembered.
    pub(crate) fn bases(&self) -> Option<&Bases> {
        (self.bases.len() < BASES_MAX).then_some(&self.bases)
    }

    fn note_base(&mut self, step: &str) {
        let Some(image) = step.strip_prefix("resolve image config for ").or_else(|| image_of(step)) else {
            return;
        };
        let image = image.trim_start_matches("docker-image://");
        let (name, digest) = match image.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (image, None),
        };
        if self.bases.len() < BASES_MAX {
            // A step's name may leave the tag out beside the digest, after it was looked for by its tag. One that was not is pinned: it moves
            // with no tag.
            let tag = tagged(name);
            let pinned = digest.as_ref().filter(|_| tag != name && !self.bases.contains_key(&tag));
            let name = pinned.map_or(tag, |digest| format!("{name}@{digest}"));
            let known = self.bases.entry(name).or_default();
            *known = digest.or(known.take());
        }
    }

    /// Takes one message, gives the lines it makes.
    pub(crate) fn take(&mut self, status: &StatusResponse) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        self.images = status.vertexes.iter().filter_map(|v| image_of(&v.name)).map(str::to_owned).collect();
        for vertex in &status.vertexes {
            self.note_base(&vertex.name);
            self.vertex(vertex, &mut out);
        }
        for state in &status.statuses {
            self.status(state, &mut out);
        }
        for log in &status.logs {
            self.log(log, &mut out);
        }
        for warning in &status.warnings {
            out.push(format!("warning: {}", String::from_utf8_lossy(&warning.short)).into_bytes());
        }
        // A step's last output may come in the same message as its end.
        for vertex in &status.vertexes {
            self.end(vertex, &mut out);
        }
        out
    }

    fn step(&mut self, digest: &str) -> Option<&mut Step> {
        if !self.steps.contains_key(digest) {
            if self.numbers >= BUILD_STEPS_MAX {
                return None;
            }
            self.numbers += 1;
            self.steps.insert(digest.to_owned(), Step { number: self.numbers, ..Step::default() });
        }
        self.steps.get_mut(digest)
    }

    fn vertex(&mut self, vertex: &Vertex, out: &mut Vec<Vec<u8>>) {
        let Some(step) = self.step(&vertex.digest) else { return };
        if step.name.is_empty() && (vertex.started.is_some() || vertex.cached || vertex.completed.is_some()) {
            step.name.clone_from(&vertex.name);
            out.push(format!("#{} {}", step.number, vertex.name).into_bytes());
        }
        if step.started_ms.is_none() {
            step.started_ms = vertex.started.as_ref().map(|t| millis(t.seconds, t.nanos));
        }
    }

    fn status(&mut self, state: &VertexStatus, out: &mut Vec<Vec<u8>>) {
        // Only what is complete: a line per percent helps nobody in a file.
        if state.completed.is_none() {
            return;
        }
        let Some(step) = self.step(&state.vertex) else { return };
        if step.finished || step.statuses.contains(&state.id) || step.statuses.len() >= BUILD_STEPS_MAX {
            return;
        }
        step.statuses.push(state.id.clone());
        let size = if state.total > 0 { format!(" {} bytes", state.total) } else { String::new() };
        let what = if state.name.is_empty() { &state.id } else { &state.name };
        let id = if state.name.is_empty() || state.id == state.name {
            String::new()
        } else {
            format!(" {}", state.id)
        };
        out.push(format!("#{} {what}{id}{size} done", step.number).into_bytes());
    }

    fn log(&mut self, log: &VertexLog, out: &mut Vec<Vec<u8>>) {
        let masker = self.masker.clone();
        let at = log.timestamp.as_ref().map(|t| millis(t.seconds, t.nanos));
        let Some(step) = self.step(&log.vertex) else { return };
        let seconds = at.zip(step.started_ms).map_or(0.0, |(at, from)| (at - from).max(0) as f64 / 1000.0);
        let head = format!("#{} {seconds:.3} ", step.number);
        step.lines.push(&log.msg, &masker, LOG_LINE_BYTES_MAX, |line| out.push(with_head(&head, line)));
    }

    fn end(&mut self, vertex: &Vertex, out: &mut Vec<Vec<u8>>) {
        let Some(completed) = &vertex.completed else { return };
        let ended_ms = millis(completed.seconds, completed.nanos);
        let Some(step) = self.step(&vertex.digest) else { return };
        if std::mem::replace(&mut step.finished, true) {
            return;
        }
        let head = format!("#{} ", step.number);
        step.lines.finish(|line| out.push(with_head(&head, line)));
        let line = if !vertex.error.is_empty() {
            self.failed = Some(vertex.name.clone());
            format!("{head}ERROR: {}", vertex.error)
        } else if vertex.cached {
            format!("{head}CACHED")
        } else {
            let ms = step.started_ms.map_or(0, |from| (ended_ms - from).max(0));
            format!("{head}DONE {:.1}s", ms as f64 / 1000.0)
        };
        out.push(line.into_bytes());
    }

    /// The build is over: what was left without a line end is told.
    pub(crate) fn finish(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut steps: Vec<&mut Step> = self.steps.values_mut().collect();
        steps.sort_by_key(|s| s.number);
        for step in steps {
            let head = format!("#{} ", step.number);
            step.lines.finish(|line| out.push(with_head(&head, line)));
        }
        out
    }
}

/// The image that a step of this name is about: `[internal] load metadata for IMAGE`, `[2/3] FROM IMAGE`, `FROM IMAGE`.
fn image_of(step: &str) -> Option<&str> {
    let rest = match step.strip_prefix("[internal] load metadata for ") {
        Some(rest) => rest,
        None => {
            let bare = step.strip_prefix('[').and_then(|s| s.split_once("] ")).map_or(step, |(_, rest)| rest);
            bare.strip_prefix("FROM ")?
        }
    };
    rest.split_whitespace().next()
}

fn with_head(head: &str, line: &[u8]) -> Vec<u8> {
    [head.as_bytes(), line].concat()
}

fn millis(seconds: i64, nanos: i32) -> i64 {
    seconds.saturating_mul(1000).saturating_add(i64::from(nanos) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_core::Secret;

    fn vertex(name: &str, started: bool, completed: bool) -> Vertex {
        let mut v = Vertex { digest: format!("sha256:{name}"), name: name.into(), ..Vertex::default() };
        v.started = started.then(Default::default);
        v.completed = completed.then(Default::default);
        if let Some(at) = &mut v.completed {
            at.seconds = 2;
        }
        v
    }

    fn log(name: &str, text: &str) -> VertexLog {
        VertexLog { vertex: format!("sha256:{name}"), msg: text.into(), ..VertexLog::default() }
    }

    fn shown(progress: &mut Progress, status: StatusResponse) -> Vec<String> {
        progress.take(&status).into_iter().map(|l| String::from_utf8(l).expect("UTF-8")).collect()
    }

    #[test]
    fn steps_are_numbered_and_their_output_put_together() {
        let mut progress = Progress::default();
        let status = |v: Vec<Vertex>, l: Vec<VertexLog>| StatusResponse {
            vertexes: v,
            logs: l,
            ..StatusResponse::default()
        };
        assert_eq!(
            shown(&mut progress, status(vec![vertex("[1/2] FROM x", false, false)], vec![])),
            Vec::<String>::new()
        );
        let mut cached = vertex("[1/2] FROM x", true, true);
        cached.cached = true;
        assert_eq!(shown(&mut progress, status(vec![cached], vec![])), ["#1 [1/2] FROM x", "#1 CACHED"]);
        let run = "[2/2] RUN make";
        assert_eq!(
            shown(&mut progress, status(vec![vertex(run, true, false)], vec![log(run, "hel")])),
            ["#2 [2/2] RUN make"]
        );
        assert_eq!(
            shown(&mut progress, status(vec![vertex(run, true, true)], vec![log(run, "lo\r\nend")])),
            ["#2 0.000 hello", "#2 end", "#2 DONE 2.0s"]
        );
        assert_eq!(progress.failed_step(), None);
    }

    #[test]
    fn images_that_are_looked_for_are_told() {
        let mut progress = Progress::default();
        let names = [
            "[internal] load metadata for h:5/a:1",
            "[x 2/3] FROM h/b@sha256:0",
            "FROM c",
            "[2/2] RUN echo FROM d",
        ];
        let vertexes = names.iter().map(|n| vertex(n, false, false)).collect();
        shown(&mut progress, StatusResponse { vertexes, ..StatusResponse::default() });
        assert_eq!(progress.images(), ["h:5/a:1", "h/b@sha256:0", "c"]);
    }

    #[test]
    fn a_base_is_known_by_the_name_that_it_was_looked_for_by() {
        let mut progress = Progress::default();
        let names = [
            "[internal] load metadata for h/a:latest",
            "[internal] load metadata for h/pinned@sha256:1",
            // Some engines leave the tag out here.
            "[1/2] FROM h/a@sha256:2",
            "[stage 1/2] FROM h/pinned@sha256:1",
            "[b 1/2] FROM h/c:3@sha256:4",
        ];
        for name in names {
            let vertexes = vec![vertex(name, true, true)];
            progress.take(&StatusResponse { vertexes, ..StatusResponse::default() });
        }
        let bases = progress.bases().expect("few");
        let was = |name: &str| bases.get(name).cloned().flatten();
        assert_eq!(was("h/a:latest").as_deref(), Some("sha256:2"));
        assert_eq!(was("h/pinned@sha256:1").as_deref(), Some("sha256:1"));
        assert_eq!(was("h/c:3").as_deref(), Some("sha256:4"));
        assert_eq!(bases.len(), 3, "{bases:?}");
    }

    #[test]
    fn a_failed_step_is_remembered() {
        let mut progress = Progress::default();
        let mut v = vertex("[2/2] RUN false", true, true);
        v.error = "exit code: 1".into();
        let lines = shown(&mut progress, StatusResponse { vertexes: vec![v], ..StatusResponse::default() });
        assert_eq!(lines, ["#1 [2/2] RUN false", "#1 ERROR: exit code: 1"]);
        assert_eq!(progress.failed_step(), Some("[2/2] RUN false"));
    }

    #[test]
    fn a_secret_split_over_messages_of_one_step_stays_whole_for_the_mask() {
        let secret = Secret::new("hunter22");
        let masker = Arc::new(Masker::new([&secret]));
        let mut progress = Progress::new(masker.clone());
        let mut all = Vec::new();
        for part in ["x hun", "ter", "22 y\n"] {
            all.extend(progress.take(&StatusResponse {
                logs: vec![log("a", part), log("b", "noise\n")],
                ..Default::default()
            }));
        }
        let text: Vec<String> =
            all.iter().map(|l| String::from_utf8(masker.mask(l)).expect("UTF-8")).collect();
        assert!(text.contains(&"#1 0.000 x *** y".to_owned()), "{text:?}");
    }
}
