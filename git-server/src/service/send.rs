//! Sends a pack: prepared on a blocking thread while the client is kept waiting, then pulled chunk by chunk at the
//! client's pace.

use std::sync::Arc;

use bytes::Bytes;
use slipway_core::Problem;
use slipway_repository::{PackRequest, PackStream, Snapshot};

use super::{Conversation, StopFlag, blocking};
use crate::limits::PACK_CHUNK_BYTES;
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
        let _sender = self.wait(band, self.engine.place(&self.engine.senders)).await??;
        let builder = self.wait(band, self.engine.place(&self.engine.builders)).await??;
        let flag = StopFlag::default();
        let stop = flag.share();
        let job = blocking(move || {
            let _builder = builder;
            snapshot.pack(&request, &stop).map_err(Problem::from)
        });
        let mut pack = self.wait(band, job).await??;
        if !quiet && band != SideBand::None {
            let mut out = Vec::new();
            band.put(&mut out, Band::Remark, format!("Sending {} objects.\n", pack.objects()).as_bytes());
            self.output.send(out).await?;
        }
        let mut raw = Vec::with_capacity(PACK_CHUNK_BYTES);
        loop {
            let (next, buffer, framed) = self.wait(band, next_chunk(pack, raw, band)).await??;
            (pack, raw) = (next, buffer);
            match framed {
                Some(framed) => self.output.send(framed).await?,
                None => break,
            }
        }
        if band != SideBand::None {
            self.output.send(&b"0000"[..]).await?;
        }
        Ok(())
    }
}

/// Pulls and frames a chunk on a blocking thread. The thread is given back after each: a slow client holds none.
async fn next_chunk(
    mut pack: PackStream,
    mut raw: Vec<u8>,
    band: SideBand,
) -> Result<(PackStream, Vec<u8>, Option<Bytes>), Problem> {
    blocking(move || {
        let more = pack.next_chunk(&mut raw, PACK_CHUNK_BYTES).map_err(Problem::from)?;
        if !more {
            return Ok((pack, raw, None));
        }
        if band == SideBand::None {
            let whole = std::mem::replace(&mut raw, Vec::with_capacity(PACK_CHUNK_BYTES));
            return Ok((pack, raw, Some(whole.into())));
        }
        let mut framed = Vec::with_capacity(raw.len() + raw.len() / 128 + 64);
        band.put(&mut framed, Band::Data, &raw);
        Ok((pack, raw, Some(framed.into())))
    })
    .await
}
