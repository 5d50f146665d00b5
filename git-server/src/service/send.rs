//! Sends a pack: prepared on a blocking thread while the client is kept waiting, then pulled chunk by chunk at the
//! client's pace. A slow client holds no thread, and gives its place to others that want it.

use std::sync::Arc;

use slipway_core::Problem;
use slipway_forge::priority;
use slipway_forge::shares::{Party, Place};
use slipway_repository::{PackRequest, PackStream, Snapshot};

use super::{Conversation, StopFlag, blocking, broken};
use crate::transport::Stop;
use crate::wire::pktline::{Band, SideBand};
use crate::wire::text::one_line;

impl Conversation {
    /// Sends the pack that `request` describes, and the flush behind it.
    pub(crate) async fn send_pack(
        &mut self,
        snapshot: Arc<Snapshot>,
        request: PackRequest,
        band: SideBand,
        quiet: bool,
    ) -> Result<(), Stop> {
        let result = self.stream_pack(snapshot, request, band, quiet).await;
        let Err(Stop::Refused(problem)) = result else { return result };
        let mut out = Vec::new();
        band.put(&mut out, Band::Fatal, format!("{}\n", one_line(&problem.to_string())).as_bytes());
        self.output.send(out).await?;
        Err(Stop::Told(problem))
    }

    async fn stream_pack(
        &mut self,
        snapshot: Arc<Snapshot>,
        request: PackRequest,
        band: SideBand,
        quiet: bool,
    ) -> Result<(), Stop> {
        let place = self.engine.place(&self.engine.senders, &self.opened.caller);
        let sender = self.wait(band, place).await??;
        let pack = match snapshot.pack_at_hand(&request) {
            Some(pack) => pack,
            None => self.build(snapshot, request, band).await?,
        };
        self.pass_on(pack, &sender, band, quiet).await
    }

    /// Makes the answer on a blocking thread.
    async fn build(
        &self,
        snapshot: Arc<Snapshot>,
        request: PackRequest,
        band: SideBand,
    ) -> Result<PackStream, Stop> {
        let builder =
            self.wait(band, self.engine.place(&self.engine.builders, &self.opened.caller)).await??;
        let flag = StopFlag::default();
        let stop = flag.share();
        let span = tracing::Span::current();
        let job = priority::work(Party::of(&self.opened.caller), move || {
            let _builder = builder;
            span.in_scope(|| snapshot.pack(&request, &stop).map_err(Problem::from))
        });
        Ok(self.wait(band, job).await?.unwrap_or_else(|| Err(broken()))?)
    }

    /// Passes a pack on to the client, at its pace.
    async fn pass_on(
        &self,
        mut pack: PackStream,
        sender: &Place,
        band: SideBand,
        quiet: bool,
    ) -> Result<(), Stop> {
        if !quiet && band != SideBand::None {
            let mut out = Vec::new();
            band.put(&mut out, Band::Remark, format!("Total {} objects.\n", pack.objects()).as_bytes());
            self.output.send(out).await?;
        }
        loop {
            let mut chunk = self.engine.spare.take();
            // What is in the page cache is copied here and now; a thread is taken only to wait for the disk.
            if !chunk.fill_now(&mut pack, band)? {
                let job = blocking(move || {
                    chunk.fill(&mut pack, band)?;
                    Ok((pack, chunk))
                });
                (pack, chunk) = self.wait(band, job).await??;
            }
            match chunk.into_bytes() {
                Some(bytes) => self.output.send_as(sender, bytes).await?,
                None => break,
            }
        }
        if band != SideBand::None {
            self.output.send(&b"0000"[..]).await?;
        }
        Ok(())
    }
}
