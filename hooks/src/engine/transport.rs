//! What bollard speaks through where its own connections will not do: TLS with certificates that each engine may have of its
//! own, and SSH.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bollard::errors::Error as DockerError;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::address::{Address, Refusal};
use super::connection::Duplex;
use crate::limits::{ENGINE_HEADERS, ENGINE_IDLE, ENGINE_IDLE_MAX};

/// A client whose connections are ours. Some that are idle are kept for the next call, for a while.
pub(crate) fn client(address: Arc<Address>) -> Result<Docker, DockerError> {
    let connect = move |_: Uri| -> BoxFuture<'static, Result<Line, Refusal>> {
        let address = address.clone();
        Box::pin(async move { Ok(Line(TokioIo::new(address.dial().await?))) })
    };
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(ENGINE_IDLE)
        .pool_max_idle_per_host(ENGINE_IDLE_MAX)
        .build(tower::service_fn(connect));
    let send = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(DockerError::from) }
    };
    Docker::connect_with_custom_transport(
        send,
        Some("http://engine"),
        ENGINE_HEADERS.as_secs(),
        API_DEFAULT_VERSION,
    )
}

/// A connection, as hyper's client wants it.
struct Line(TokioIo<Box<dyn Duplex>>);

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
