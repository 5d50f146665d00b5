//! Contexts made from a commit that lives in a map.

use super::packed::stream;
use super::*;
use std::collections::BTreeMap;
use std::io::Read;

#[derive(Default)]
pub(crate) struct Made {
    entries: BTreeMap<String, (Mode, Vec<u8>)>,
}

impl Made {
    pub(crate) fn with(mut self, path: &str, mode: Mode, data: &[u8]) -> Self {
        self.entries.insert(path.into(), (mode, data.into()));
        self
    }
    pub(crate) fn file(self, path: &str, data: &str) -> Self {
        self.with(path, Mode::File, data.as_bytes())
    }
    /// By content, as git has it.
    fn id(data: &[u8]) -> Oid {
        use sha2::{Digest, Sha256};
        Oid::Sha256(Sha256::digest(data).into())
    }
    fn list(&self) -> Vec<(Entry, &Vec<u8>)> {
        let mut list = Vec::new();
        for (path, (mode, data)) in &self.entries {
            list.push((Entry { name: path.clone(), mode: *mode, id: Self::id(data), size: None }, data));
        }
        list
    }
}

impl Files for Made {
    fn walk(
        &self,
        path: &str,
        each: &mut dyn FnMut(&Entry) -> Result<bool, HookError>,
    ) -> Result<(), HookError> {
        for (entry, _) in self.list() {
            if (path.is_empty() || entry.name.starts_with(&format!("{path}/"))) && !each(&entry)? {
                break;
            }
        }
        Ok(())
    }
    fn entry(&self, path: &str) -> Result<Option<Entry>, HookError> {
        let below = format!("{path}/");
        if path.is_empty() {
            return Ok(Some(Entry { name: String::new(), mode: Mode::Tree, id: Self::id(b""), size: None }));
        }
        let found =
            self.list().into_iter().map(|(e, _)| e).find(|e| e.name == path || e.name.starts_with(&below));
        Ok(found.map(|e| {
            let mode = if e.name == path { e.mode } else { Mode::Tree };
            Entry { name: path.into(), mode, ..e }
        }))
    }
    fn folder(&self, path: &str, _: &Oid) -> Result<Vec<Entry>, HookError> {
        let mut found = BTreeMap::new();
        for (entry, _) in self.list() {
            let Some(rest) = entry.name.strip_prefix(path).filter(|rest| !rest.is_empty()) else { continue };
            let rest = if path.is_empty() { Some(rest) } else { rest.strip_prefix('/') };
            match rest
                .map(|rest| rest.split_once('/').map_or((rest, None), |(name, rest)| (name, Some(rest))))
            {
                None => {}
                Some((name, None)) => drop(found.insert(name.to_owned(), (entry.mode, entry.id))),
                Some((name, Some(_))) => drop(found.insert(name.to_owned(), (Mode::Tree, Self::id(b"")))),
            }
        }
        Ok(found.into_iter().map(|(name, (mode, id))| Entry { name, mode, id, size: None }).collect())
    }
    fn size(&self, id: &Oid) -> Result<u64, HookError> {
        Ok(self.blob(id, u64::MAX)?.len() as u64)
    }
    fn content(&self, id: &Oid) -> Result<Box<dyn Read>, HookError> {
        Ok(Box::new(io::Cursor::new(self.blob(id, u64::MAX)?)))
    }
    fn blob(&self, id: &Oid, _: u64) -> Result<Vec<u8>, HookError> {
        let found = self.list().into_iter().find(|(e, _)| e.id == *id);
        Ok(found.map(|(_, data)| data.clone()).expect("known"))
    }
    fn committed_at(&self) -> Result<u64, HookError> {
        Ok(1_700_000_000)
    }
}

async fn unpack(
    made: Made,
    folder: &str,
    dockerfile: &str,
) -> Result<BTreeMap<String, (tar::Header, String)>, HookError> {
    unpack_within(made, folder, dockerfile, Limits::default()).await
}

async fn unpack_within(
    made: Made,
    folder: &str,
    dockerfile: &str,
    limits: Limits,
) -> Result<BTreeMap<String, (tar::Header, String)>, HookError> {
    let mut stream = stream(Arc::new(made), ContextPlan::new(folder, dockerfile), limits.into(), None);
    let mut raw = Vec::new();
    while let Some(chunk) = stream.chunks.recv().await {
        match chunk {
            Ok(chunk) => raw.extend_from_slice(&chunk),
            Err(_) => break,
        }
    }
    stream.outcome.await.expect("told")?;
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(raw.as_slice()).entries().expect("tar") {
        let mut entry = entry.expect("entry");
        let path = entry.path().expect("path").to_string_lossy().into_owned();
        let header = entry.header().clone();
        let mut text = String::new();
        match entry.link_name().expect("link") {
            Some(target) => text = target.to_string_lossy().into_owned(),
            None => {
                entry.read_to_string(&mut text).expect("text");
            }
        }
        found.insert(path, (header, text));
    }
    Ok(found)
}

#[tokio::test]
async fn modes_links_times_and_long_names_arrive() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let target = format!("{}t", "t/".repeat(80));
    let made = Made::default()
        .file("Dockerfile", "FROM x")
        .with("run.sh", Mode::Executable, b"#!/bin/sh")
        .with("link", Mode::Link, target.as_bytes())
        .with("up", Mode::Link, b"./../x/")
        .file(&long, "deep");
    let found = unpack(made, ".", "Dockerfile").await.expect("packed");
    assert_eq!(found["run.sh"].0.mode().expect("mode"), 0o755);
    assert_eq!(found["Dockerfile"].0.mode().expect("mode"), 0o644);
    assert_eq!(found["Dockerfile"].0.mtime().expect("mtime"), 1_700_000_000);
    assert_eq!(found["link"].1, target);
    assert_eq!(found["up"].0.link_name_bytes().as_deref(), Some(&b"./../x/"[..]));
    assert_eq!(found[&long].1, "deep");
}

#[tokio::test]
async fn ignored_files_stay_but_the_dockerfile_goes() {
    let made = Made::default()
        .file("Dockerfile", "FROM x")
        .file(".dockerignore", "*\n!keep")
        .file("keep/a", "a")
        .file("secret.txt", "s");
    let found = unpack(made, "./", "./Dockerfile").await.expect("packed");
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        [".dockerignore", "Dockerfile", "keep/a"],
        "the builder needs both"
    );
}

#[tokio::test]
async fn a_context_folder_has_its_own_names_and_a_dockerfile_from_outside() {
    let made = || {
        Made::default()
            .file("build/Dockerfile", "FROM x")
            .file("build/Dockerfile.dockerignore", "b")
            .file("app/.dockerignore", "a")
            .file("app/a", "a")
            .file("app/b", "b")
            .file("apple/c", "c")
    };
    let found = unpack(made(), "app", "build/Dockerfile").await.expect("packed");
    assert_eq!(found.keys().collect::<Vec<_>>(), [".dockerignore", ".slipway.Dockerfile", "a"]);
    assert_eq!(found[".dockerignore"].1, "b", "the builder obeys what it finds there");
    assert_eq!(ContextPlan::new("app", "app/x/Dockerfile").dockerfile_in_context(), "x/Dockerfile");
}

#[tokio::test]
async fn an_lfs_pointer_is_never_built_silently() {
    let made = Made::default()
        .file("Dockerfile", "FROM x")
        .file("big.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n");
    match unpack(made, ".", "Dockerfile").await {
        Err(HookError::Context { path, .. }) => assert_eq!(path, "big.bin"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_context_has_its_limits() {
    let made = || Made::default().file("Dockerfile", "FROM x").file("a", "1234").file("b", "5678");
    let usual = Limits::default();
    for (limits, told) in [
        (Limits { build_context_files_max: 2, ..usual.clone() }, "files"),
        (Limits { build_context_size_max: 12, ..usual.clone() }, "bytes"),
        (Limits { build_context_file_size_max: 3, ..usual.clone() }, "Dockerfile"),
    ] {
        let refused = unpack_within(made(), ".", "Dockerfile", limits).await.map(drop).expect_err(told);
        assert!(refused.to_string().contains(told), "{told}: {refused}");
    }
    assert_eq!(unpack(made(), ".", "Dockerfile").await.expect("packed").len(), 3);
}

#[tokio::test]
async fn submodules_are_left_out() {
    let made = Made::default().file("Dockerfile", "FROM x").with("vendor/lib", Mode::Submodule, b"");
    let found = unpack(made, ".", "Dockerfile").await.expect("packed");
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn nobody_taking_the_context_ends_the_thread() {
    let mut made = Made::default().file("Dockerfile", "FROM x");
    for i in 0..200 {
        made = made.file(&format!("f{i}"), &"x".repeat(60_000));
    }
    let stream = stream(Arc::new(made), ContextPlan::new(".", "Dockerfile"), Arc::default(), None);
    drop(stream.chunks);
    let outcome =
        tokio::time::timeout(std::time::Duration::from_secs(10), stream.outcome).await.expect("ends");
    assert!(matches!(outcome.expect("told"), Err(HookError::Stopped)));
}
