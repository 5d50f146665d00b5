//! Request bodies: streamed, inflated where the client compressed them, and watched for clients that dawdle. A body is
//! never held whole.

use std::io::Write;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use flate2::write::GzDecoder;
use http_body_util::BodyExt;
use slipway_core::{Problem, ProblemKind};

use crate::limits::{GZIP_FREE_BYTES, GZIP_RATIO_MAX, GZIP_SLICE_BYTES, GZIP_STEP_BYTES};
use crate::service::blocking;
use crate::transport::{InputSender, pace, too_slow};

/// Feeds a conversation from a request body until either ends; its client may be silent for so long.
pub(super) async fn feed(body: Body, gzip: bool, fed: InputSender, silence: Duration) {
    if let Err(problem) = pump(body, gzip, &fed, silence).await {
        fed.send(Err(problem)).await;
    }
}

async fn pump(mut body: Body, gzip: bool, fed: &InputSender, silence: Duration) -> Result<(), Problem> {
    let mut pace = pace(silence);
    let mut inflate = gzip.then(Inflate::default);
    loop {
        pace.wait();
        let frame = tokio::select! {
            frame = tokio::time::timeout(silence, body.frame()) => frame.map_err(|_| too_slow(silence))?,
            () = fed.closed() => return Ok(()),
        };
        let data = match frame {
            None => break,
            Some(Err(_)) => return Err(cut()),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        if !pace.got(data.len()) {
            return Err(too_slow(silence));
        }
        match inflate.take() {
            None => {
                if !fed.send(Ok(data)).await {
                    return Ok(());
                }
            }
            Some(mut decoder) => {
                for at in (0..data.len()).step_by(GZIP_SLICE_BYTES) {
                    let slice = data.slice(at..data.len().min(at + GZIP_SLICE_BYTES));
                    let (next, out) =
                        blocking(move || decoder.take(&slice).map(|out| (decoder, out))).await?;
                    decoder = next;
                    if !out.is_empty() && !fed.send(Ok(out)).await {
                        return Ok(());
                    }
                }
                inflate = Some(decoder);
            }
        }
    }
    if let Some(decoder) = inflate {
        let rest = blocking(move || decoder.end()).await?;
        if !rest.is_empty() {
            fed.send(Ok(rest)).await;
        }
    }
    Ok(())
}

/// Inflates in small steps, so that no input can grow beyond bounds before it is noticed.
struct Inflate {
    decoder: GzDecoder<Vec<u8>>,
    taken: u64,
    given: u64,
}

impl Default for Inflate {
    fn default() -> Self {
        Self { decoder: GzDecoder::new(Vec::new()), taken: 0, given: 0 }
    }
}

impl Inflate {
    fn take(&mut self, data: &[u8]) -> Result<Bytes, Problem> {
        for step in data.chunks(GZIP_STEP_BYTES) {
            self.decoder.write_all(step).map_err(|_| damaged())?;
            self.taken += step.len() as u64;
            let grown = self.given + self.decoder.get_ref().len() as u64;
            if grown > GZIP_FREE_BYTES + self.taken.saturating_mul(GZIP_RATIO_MAX) {
                return Err(bomb(self.taken, grown));
            }
        }
        Ok(self.drain())
    }

    fn end(mut self) -> Result<Bytes, Problem> {
        self.decoder.try_finish().map_err(|_| damaged())?;
        Ok(self.drain())
    }

    fn drain(&mut self) -> Bytes {
        let out = std::mem::take(self.decoder.get_mut());
        self.given += out.len() as u64;
        out.into()
    }
}

/// Inflates a body that came in one piece; tells how many bytes were handed on.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn inflate_all(data: &[u8]) -> u64 {
    let mut decoder = Inflate::default();
    let mut given = 0;
    for slice in data.chunks(GZIP_SLICE_BYTES) {
        match decoder.take(slice) {
            Ok(out) => given += out.len() as u64,
            Err(_) => return given,
        }
    }
    given + decoder.end().map_or(0, |rest| rest.len() as u64)
}

fn cut() -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        "The request body ends in the middle.",
        "Check the network and try again.",
    )
}

fn damaged() -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        "The compressed request body is damaged.",
        "Check the network and try again.",
    )
}

fn bomb(taken: u64, grown: u64) -> Problem {
    Problem::new(
        ProblemKind::TooLarge,
        format!("The compressed request body grew from {taken} to more than {grown} bytes."),
        "Send it uncompressed.",
    )
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::transport::input;

    fn compress(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).expect("into memory");
        encoder.finish().expect("into memory")
    }

    async fn read(body: Vec<u8>, gzip: bool) -> Result<Vec<u8>, Problem> {
        let (fed, mut input) = input();
        let task = tokio::spawn(feed(Body::from(body), gzip, fed, Duration::from_secs(60)));
        let mut all = Vec::new();
        while let Some(chunk) = input.next().await? {
            all.extend_from_slice(&chunk);
        }
        task.await.expect("no panic");
        Ok(all)
    }

    #[tokio::test]
    async fn a_body_arrives_whole_compressed_or_not() {
        let text = b"0032want 1111111111111111111111111111111111111111\n".repeat(5000);
        assert_eq!(read(text.clone(), false).await, Ok(text.clone()));
        assert_eq!(read(compress(&text), true).await, Ok(text));
    }

    #[tokio::test]
    async fn a_bomb_is_noticed_before_it_bursts() {
        let bomb = compress(&vec![0; 64 * 1024 * 1024]);
        let refused = read(bomb, true).await.expect_err("too much");
        assert_eq!(refused.kind, ProblemKind::TooLarge);
    }

    #[tokio::test]
    async fn damage_is_no_end() {
        let whole = compress(b"0000");
        for bad in [whole[..whole.len() - 4].to_vec(), b"not gzip at all, no".to_vec(), Vec::new()] {
            assert!(read(bad.clone(), true).await.is_err(), "{bad:?}");
        }
    }
}
