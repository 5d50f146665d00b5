//! Puts beside an image what is to be there and is not.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value};
use slipway_core::Problem;
use slipway_core::build::{Attached, PushedImage};

use super::envelope::{self, DSSE, SIMPLE_SIGNING};
use super::manifest::{self, Artefact, PREDICATE_TYPE, Piece};
use super::read::{Beside, LAYERS_MAX, SIGNATURE};
use super::statement::{self, CONTENTS, PROVENANCE};
use super::{Maker, Supply};
use crate::error::HookError;
use crate::hooks::{Hooks, Job, blocking};
use crate::registry::{Door, Manifest, RegistryTarget};
use crate::variables;

/// Pieces that are put there at the same time.
const AT_ONCE: usize = 8;
/// What an artefact with a signature calls itself among the referrers.
const SIGNATURE_TYPE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

impl Hooks {
    /// Sees to it that the image is signed and that where it comes from is stated. What cannot be put there is in the answer:
    /// it fails nothing.
    pub async fn sign_image(
        &self,
        job: &Job,
        target: &RegistryTarget,
        image: &PushedImage,
        maker: &Maker,
    ) -> Attached {
        let mut attached = Attached { owed: self.supply.sign && self.supply.list, ..Attached::default() };
        if !self.supply.sign {
            return attached;
        }
        let config = self.config(job, maker).await;
        match self.with_login(target, |door| self.signed(door, image, maker, config.clone())).await {
            Ok(notes) => {
                attached.signed = true;
                notes.into_iter().for_each(|note| attached.note(note));
                job.log.line(&format!("signed {}@{}", image.name, image.digest)).await;
            }
            Err(error) => {
                // Once more after the manifests, and whoever wants it before says so.
                attached.owed = true;
                attached.note(not_there("The signature", error));
            }
        }
        for note in &attached.notes {
            job.log.line(&format!("note: {note}")).await;
        }
        attached
    }

    /// Puts the list of contents beside the image; it is made only where none is there. What came of it, with the packages
    /// that it has.
    pub(crate) async fn attach_contents(
        &self,
        target: &RegistryTarget,
        image: &PushedImage,
        maker: &Maker,
        document: &Value,
    ) -> Result<Vec<String>, HookError> {
        self.with_login(target, |door| async move {
            let mut writing = self.writing(&door, image, maker).await?;
            writing.state(CONTENTS, document).await?;
            writing.end().await
        })
        .await
    }

    /// The list of contents that is beside the image already, behind cosign's tag: where that may not change, it is found when it
    /// is to be put there.
    pub(crate) async fn contents_there(
        &self,
        target: &RegistryTarget,
        image: &PushedImage,
    ) -> Result<Option<Value>, HookError> {
        self.with_login(target, |door| async move {
            let beside = self.beside(&door, &image.digest);
            beside.predicate(beside.tagged(".att").await?.as_ref(), CONTENTS).await
        })
        .await
    }

    /// With the way to the registry open; once more where its login had ended.
    pub(crate) async fn with_login<T, F: Future<Output = Result<T, HookError>>>(
        &self,
        target: &RegistryTarget,
        work: impl Fn(Door) -> F,
    ) -> Result<T, HookError> {
        let mut door = self.registries.open(target).await?;
        match work(door.clone()).await {
            Err(HookError::RegistryDenied { .. }) if self.registries.replace_login(&mut door).await? => {
                work(door).await
            }
            done => done,
        }
    }

    pub(super) fn beside<'a>(&'a self, door: &'a Door, digest: &'a slipway_core::Digest) -> Beside<'a> {
        Beside { registries: &self.registries, door, supply: &self.supply, digest }
    }

    async fn signed(
        &self,
        door: Door,
        image: &PushedImage,
        maker: &Maker,
        config: Option<Value>,
    ) -> Result<Vec<String>, HookError> {
        let mut writing = self.writing(&door, image, maker).await?;
        writing.sign().await?;
        let provenance = statement::provenance(&self.supply, maker, config);
        writing.state(PROVENANCE, &provenance).await?;
        writing.end().await
    }

    /// Of one image, one at a time is written to.
    async fn writing<'a>(
        &'a self,
        door: &'a Door,
        image: &'a PushedImage,
        maker: &'a Maker,
    ) -> Result<Writing<'a>, HookError> {
        let turn = self.turns.of(image.digest.as_str()).await;
        let there = self.registries.manifest(door, image.digest.as_str()).await?;
        let gone = || HookError::NotInRegistry { image: format!("{}@{}", image.name, image.digest) };
        let subject = manifest::subject(&there.ok_or_else(gone)?);
        let annotations = statement::annotations(&self.supply, maker);
        let beside = self.beside(door, &image.digest);
        Ok(Writing {
            beside,
            image,
            maker,
            subject,
            annotations,
            new: Vec::new(),
            blobs: Vec::new(),
            tags: Vec::new(),
            hidden: false,
            notes: Vec::new(),
            _turn: turn,
        })
    }

    /// What the commit says of its image, if it still can be read.
    async fn config(&self, job: &Job, maker: &Maker) -> Option<Value> {
        let job = Job { repo: maker.repo.clone(), build: maker.build.clone(), ..job.clone() };
        let spec = self.spec(&job).await.ok()?;
        let filled = |(name, text): (&String, _)| (name.clone(), variables::filled(&job, text));
        let args: BTreeMap<String, String> = spec.build.args.iter().map(filled).collect();
        Some(statement::config(&spec.build, &args))
    }
}

/// A sentence on what is not beside the image.
pub(crate) fn not_there(what: &str, error: HookError) -> String {
    format!("{what} is not beside the image: {}", Problem::from(error).what)
}

/// What is put beside one image.
struct Writing<'a> {
    beside: Beside<'a>,
    image: &'a PushedImage,
    maker: &'a Maker,
    subject: Value,
    annotations: Map<String, Value>,
    /// What refers to the image and is new.
    new: Vec<Manifest>,
    /// What the manifests consist of.
    blobs: Vec<Vec<u8>>,
    tags: Vec<Tagged>,
    /// Something could not be put behind cosign's tag.
    hidden: bool,
    notes: Vec<String>,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

impl Writing<'_> {
    fn supply(&self) -> &Supply {
        self.beside.supply
    }

    /// Signs, unless it is signed.
    async fn sign(&mut self) -> Result<(), HookError> {
        let there = self.beside.tagged(".sig").await?;
        if self.beside.signature(there.as_ref()).await?.is_some() {
            return Ok(());
        }
        // A tag that may not change has what was first: the rest refers to the image.
        if there.is_some() && self.beside.referred_signature().await?.is_some() {
            return Ok(());
        }
        let more = statement::short(self.supply(), self.maker);
        let payload = envelope::payload(&self.image.name, &self.image.digest, &more);
        let (key, signed) = (self.supply().key.clone(), payload.clone());
        let signature = blocking(move || key.sign(&signed).map_err(HookError::Repository)).await?;
        let piece = Piece::of(SIMPLE_SIGNING, &payload, &[(SIGNATURE, &STANDARD.encode(signature))]);
        self.blobs.push(payload);
        let alone = manifest::referrer(SIGNATURE_TYPE, &piece, &self.subject, &self.annotations);
        self.tag(".sig", there, piece);
        self.refer(alone);
        Ok(())
    }

    /// States that of the image, unless it is stated.
    async fn state(&mut self, of: &str, predicate: &Value) -> Result<(), HookError> {
        let there = self.beside.tagged(".att").await?;
        if self.beside.predicate(there.as_ref(), of).await?.is_some() {
            return Ok(());
        }
        if there.is_some() && self.beside.referred(of).await?.is_some() {
            return Ok(());
        }
        let said = statement::statement(self.image, of, predicate);
        let key = self.supply().key.clone();
        let sealed = blocking(move || envelope::seal(&key, &said).map_err(HookError::Repository)).await?;
        let piece = Piece::of(DSSE, &sealed, &[("predicateType", of), (SIGNATURE, "")]);
        self.blobs.push(sealed);
        let mut annotations = self.annotations.clone();
        annotations.insert(PREDICATE_TYPE.to_owned(), of.into());
        let alone = manifest::referrer(DSSE, &piece, &self.subject, &annotations);
        self.tag(".att", there, piece);
        self.refer(alone);
        Ok(())
    }

    /// Behind cosign's tag, beside what others have put there.
    fn tag(&mut self, ending: &str, there: Option<Manifest>, piece: Piece) {
        let tag = manifest::tag(&self.image.digest, ending);
        let mut pieces = there.as_ref().map(|there| manifest::pieces(&there.bytes)).unwrap_or_default();
        if pieces.len() >= LAYERS_MAX {
            self.notes.push(format!("The tag {tag} has {LAYERS_MAX} entries, and gets no more."));
            self.hidden = true;
            return;
        }
        pieces.push(piece);
        let Artefact { manifest, config } = manifest::tagged(&pieces, None, &self.annotations);
        self.blobs.push(config);
        self.tags.push(Tagged { tag, manifest, changes: there.is_some() });
    }

    fn refer(&mut self, artefact: Artefact) {
        self.blobs.push(artefact.config);
        self.new.push(artefact.manifest);
    }

    /// Puts all of it there: what is named before what names it, and what does not depend on each other at the same time,
    /// since whoever builds waits. What is to be told.
    async fn end(mut self) -> Result<Vec<String>, HookError> {
        let (registries, door) = (self.beside.registries, self.beside.door);
        self.blobs.sort();
        self.blobs.dedup();
        let blobs = std::mem::take(&mut self.blobs).into_iter().map(|blob| registries.put_blob(door, blob));
        stream::iter(blobs).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let listed = self.new.iter().map(|one| async move {
            let named = one.digest.to_string();
            registries.put(door, &named, one).await
        });
        let listed: Vec<bool> =
            stream::iter(listed.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
        let tagged = self.tags.iter().map(|one| registries.put(door, &one.tag, &one.manifest));
        let tagged: Vec<_> = stream::iter(tagged.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
        for (one, put) in self.tags.iter().zip(tagged) {
            match put {
                // Where a tag may not change, the referrer is all there is.
                Err(error) if one.changes && !matches!(error, HookError::RegistryDown { .. }) => {
                    self.notes.push(format!("The tag {} stays as it is: {error}.", one.tag));
                    self.hidden = true;
                }
                put => drop(put?),
            }
        }
        if listed.iter().all(|listed| *listed) {
            return Ok(self.notes);
        }
        self.list().await
    }

    /// Lists what is new where the registry does not do so itself.
    async fn list(mut self) -> Result<Vec<String>, HookError> {
        let old = self.beside.tagged("").await?;
        let list = manifest::listed(old.as_ref().map(|old| old.bytes.as_slice()), &self.new, LAYERS_MAX);
        if let Some(list) = list {
            let tag = manifest::tag(&self.image.digest, "");
            match self.beside.registries.put(self.beside.door, &tag, &list).await {
                Err(error @ HookError::RegistryDown { .. }) => return Err(error),
                // Then nothing leads to what is new.
                Err(error) if self.hidden => return Err(error),
                Err(error) => {
                    self.notes.push(format!("The list of referrers {tag} stays as it is: {error}."));
                }
                Ok(_) => {}
            }
        }
        Ok(self.notes)
    }
}

/// What a tag of cosign's shall lead to.
struct Tagged {
    tag: String,
    manifest: Manifest,
    /// It leads somewhere else now.
    changes: bool,
}
