//! What is in an image: its layers are read as they come from the registry, the packages in them found, and the list of them
//! is put beside the image (CycloneDX, in an envelope of this server's).
//!
//! Layers are whatever somebody's Dockerfile made: nothing is written to disk, and bytes, entries, memory and time are
//! bounded. What is not read for that is said in the list.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use slipway_core::Digest;
use slipway_core::build::{Attached, Contents, PushedImage, Stage};
use tokio::sync::mpsc;

use crate::error::HookError;
use crate::hooks::{Hooks, Job};
use crate::limits::{
    CONTENTS_MAX, LAYER_PIECES_WAITING, LAYERS_KEPT_BYTES_MAX, LAYERS_KEPT_MAX, LAYERS_READ_MAX,
};
use crate::pieces::Pieces;
use crate::registry::{Door, Manifest, RegistryTarget};
use crate::supply::{Maker, not_there};

mod binary;
mod document;
mod found;
mod jar;
mod layer;
mod merge;
mod system;

use self::layer::{Budget, Layer};
use self::merge::Merged;

/// Layers that were read before: most of an image is the base of the next one, too.
#[derive(Debug, Default)]
pub(crate) struct KnownLayers(Mutex<Vec<(Digest, Arc<Layer>)>>);

impl KnownLayers {
    fn get(&self, digest: &Digest) -> Option<Arc<Layer>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = known.iter().position(|(of, _)| of == digest)?;
        let one = known.remove(at);
        let layer = one.1.clone();
        known.push(one);
        Some(layer)
    }

    /// The least recently asked for go.
    fn put(&self, digest: &Digest, layer: Arc<Layer>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, _)| of != digest);
        known.push((digest.clone(), layer));
        let mut bytes: usize = known.iter().map(|(_, layer)| layer.bytes()).sum();
        while known.len() > LAYERS_KEPT_MAX || bytes > LAYERS_KEPT_BYTES_MAX {
            let (_, gone) = known.remove(0);
            bytes -= gone.bytes();
        }
    }
}

impl Hooks {
    /// Puts what is still missing beside the image: its list of contents, and where they are not there, its signature and the
    /// statement on where it comes from. What cannot be put there is in the answer: it fails nothing.
    pub async fn list_contents(
        &self,
        job: &Job,
        target: &RegistryTarget,
        image: &PushedImage,
        maker: &Maker,
    ) -> Attached {
        job.log.stage(Stage::Contents).await;
        let mut attached = match job.build.attached.signed {
            true => job.build.attached.clone(),
            false => self.sign_image(job, target, image, maker).await,
        };
        attached.owed = false;
        if !self.supply.sign || !self.supply.list {
            return attached;
        }
        let listing = tokio::time::timeout(CONTENTS_MAX, self.contents(target, image, maker));
        let listed = listing.await.unwrap_or_else(|_| {
            Err(HookError::TimedOut {
                what: "listing the contents".into(),
                limit: CONTENTS_MAX,
                setting: None,
            })
        });
        match listed {
            Ok((contents, notes)) => {
                let part = if contents.partial { ", not all of it read" } else { "" };
                job.log
                    .line(&format!(
                        "listed {} packages of {}@{}{part}",
                        contents.packages, image.name, image.digest
                    ))
                    .await;
                attached.contents = Some(contents);
                for note in notes {
                    job.log.line(&format!("note: {note}")).await;
                    attached.note(note);
                }
            }
            Err(error) => {
                let note = not_there("The list of contents", error);
                job.log.line(&format!("note: {note}")).await;
                attached.note(note);
            }
        }
        attached
    }

    async fn contents(
        &self,
        target: &RegistryTarget,
        image: &PushedImage,
        maker: &Maker,
    ) -> Result<(Contents, Vec<String>), HookError> {
        if let Some(there) = self.contents_there(target, image).await? {
            return Ok((document::summed(&there), Vec::new()));
        }
        let document = {
            // One image at a time: what is read of a layer at once is in memory.
            let _turn = self.reading.acquire().await.map_err(|_| HookError::Stopped)?;
            self.with_login(target, |door| async move { self.document_of(&door, image).await }).await?
        };
        let notes = self.attach_contents(target, image, maker, &document).await?;
        Ok((document::summed(&document), notes))
    }

    async fn document_of(&self, door: &Door, image: &PushedImage) -> Result<Value, HookError> {
        let mut manifest = self.platform(door, image.digest.as_str()).await?;
        if let Some(one) = document::one_of_index(&manifest.bytes) {
            manifest = self.platform(door, one.as_str()).await?;
        }
        let mut budget = Budget::new(Instant::now() + CONTENTS_MAX);
        let mut merged = Merged::default();
        let layers = document::layers(&manifest.bytes);
        if layers.len() > LAYERS_READ_MAX {
            merged
                .note(format!("the image has {} layers, of which {LAYERS_READ_MAX} were read", layers.len()));
        }
        for digest in layers.iter().take(LAYERS_READ_MAX) {
            let layer = match self.layers.get(digest) {
                Some(known) => known,
                None => {
                    let (read, left) = self.read_layer(door, digest, budget).await?;
                    budget = left;
                    let read = Arc::new(read);
                    if read.is_whole() {
                        self.layers.put(digest, read.clone());
                    }
                    read
                }
            };
            merged.lay(digest, &layer);
        }
        Ok(document::document(image, merged))
    }

    async fn platform(&self, door: &Door, named: &str) -> Result<Manifest, HookError> {
        let there = self.registries.manifest(door, named).await?;
        there.ok_or_else(|| HookError::NotInRegistry { image: named.to_owned() })
    }

    async fn read_layer(
        &self,
        door: &Door,
        digest: &Digest,
        budget: Budget,
    ) -> Result<(Layer, Budget), HookError> {
        let Some(body) = self.registries.stream(door, digest).await? else {
            return Ok((Layer::unread("it is not in the registry"), budget));
        };
        let (sender, receiver) = mpsc::channel(LAYER_PIECES_WAITING);
        let wanted = digest.clone();
        let reading =
            tokio::task::spawn_blocking(move || layer::read(Pieces::new(receiver), &wanted, budget));
        let fed = feed(body, sender).await;
        let read =
            reading.await.map_err(|e| HookError::Internal { what: "reading a layer", why: e.to_string() })?;
        match fed {
            Ok(()) => Ok(read),
            Err(why) => Err(HookError::RegistryDown { host: door.host().to_owned(), why }),
        }
    }
}

/// Hands on what comes, until it ends or whoever reads has enough.
async fn feed(mut body: Incoming, sender: mpsc::Sender<bytes::Bytes>) -> Result<(), String> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| crate::error::one_line(&e.to_string()))?;
        if let Ok(bytes) = frame.into_data()
            && sender.send(bytes).await.is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}
