//! The smallest HTTP/1.1 client that keeps its connection: a request with a known length, an answer of known length or
//! in chunks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a server may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(600);
const READ_BYTES: usize = 256 << 10;

/// A connection to one server.
pub(crate) struct Connection {
    address: String,
    authorization: Option<String>,
    stream: BufReader<TcpStream>,
    stale: bool,
}

/// What to ask for.
pub(crate) struct Ask<'a> {
    /// Path and query.
    pub(crate) path: &'a str,
    /// `git-upload-pack` or `git-receive-pack`; decides the content types.
    pub(crate) service: &'a str,
    /// True for the header `Git-Protocol: version=2`.
    pub(crate) v2: bool,
}

impl Connection {
    /// Connects; `authorization` is the value of that header, if any.
    pub(crate) fn open(address: &str, authorization: Option<&str>) -> io::Result<Self> {
        let stream = BufReader::with_capacity(READ_BYTES, connect(address)?);
        Ok(Self {
            address: address.into(),
            authorization: authorization.map(str::to_owned),
            stream,
            stale: false,
        })
    }

    fn head(&self, method: &str, ask: &Ask<'_>, length: Option<u64>) -> String {
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: git/bench\r\nAccept: */*\r\n",
            ask.path, self.address
        );
        if ask.v2 {
            head.push_str("Git-Protocol: version=2\r\n");
        }
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        if let Some(length) = length {
            let service = ask.service;
            head.push_str(&format!(
                "Content-Type: application/x-{service}-request\r\nContent-Length: {length}\r\n"
            ));
        }
        head.push_str("\r\n");
        head
    }

    /// GET; the answer's body.
    pub(crate) fn get(&mut self, ask: &Ask<'_>) -> io::Result<Body<'_>> {
        self.fresh()?;
        let head = self.head("GET", ask, None);
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.answer()
    }

    /// POST of bytes at hand, in one write; the answer's body.
    pub(crate) fn post(&mut self, ask: &Ask<'_>, body: &[u8]) -> io::Result<Body<'_>> {
        self.fresh()?;
        let mut all = self.head("POST", ask, Some(body.len() as u64)).into_bytes();
        all.extend_from_slice(body);
        self.stream.get_mut().write_all(&all)?;
        self.answer()
    }

    /// POST of a beginning and `rest`, which has `rest_length` bytes.
    pub(crate) fn post_stream(
        &mut self,
        ask: &Ask<'_>,
        start: &[u8],
        rest: &mut dyn Read,
        rest_length: u64,
    ) -> io::Result<Body<'_>> {
        self.fresh()?;
        let mut head = self.head("POST", ask, Some(start.len() as u64 + rest_length)).into_bytes();
        head.extend_from_slice(start);
        let socket = self.stream.get_mut();
        socket.write_all(&head)?;
        copy(rest, socket)?;
        self.answer()
    }

    /// Connects again where the server closed.
    fn fresh(&mut self) -> io::Result<()> {
        if self.stale {
            self.stream = BufReader::with_capacity(READ_BYTES, connect(&self.address)?);
            self.stale = false;
        }
        Ok(())
    }

    fn answer(&mut self) -> io::Result<Body<'_>> {
        let status = self.header_line()?;
        let mut rest = Rest::UntilClose;
        loop {
            let line = self.header_line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            let (name, value) = (name.to_ascii_lowercase(), value.trim());
            match name.as_str() {
                "content-length" => rest = Rest::Known(value.parse().map_err(io::Error::other)?),
                "transfer-encoding" => rest = Rest::Chunk(0),
                "connection" if value.eq_ignore_ascii_case("close") => self.stale = true,
                _ => {}
            }
        }
        self.stale |= matches!(rest, Rest::UntilClose);
        let mut body = Body { from: &mut self.stream, rest, begun: false };
        if status.split(' ').nth(1) != Some("200") {
            let mut text = String::new();
            drop(body.by_ref().take(1000).read_to_string(&mut text));
            return Err(io::Error::other(format!("{status}: {}", text.trim())));
        }
        Ok(body)
    }

    fn header_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.by_ref().take(64 << 10).read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        Ok(line.trim_end().to_owned())
    }
}

/// Copies in large pieces.
pub(crate) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

enum Rest {
    Known(u64),
    Chunk(u64),
    UntilClose,
    Done,
}

/// The body of an answer; read it to its end before the next request.
pub(crate) struct Body<'a> {
    from: &'a mut BufReader<TcpStream>,
    rest: Rest,
    begun: bool,
}

impl Body<'_> {
    /// Bytes of the current piece, reading the next chunk's size where needed; 0 at the end.
    fn piece(&mut self) -> io::Result<u64> {
        match self.rest {
            Rest::Known(n) | Rest::Chunk(n) if n > 0 => Ok(n),
            Rest::Known(_) | Rest::Done => Ok(0),
            Rest::UntilClose => Ok(u64::MAX),
            Rest::Chunk(_) => {
                let mut line = String::new();
                if self.begun {
                    self.from.read_line(&mut line)?;
                    line.clear();
                }
                self.begun = true;
                self.from.read_line(&mut line)?;
                let digits = line.trim_end().split(';').next().unwrap_or("");
                let size = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
                if size == 0 {
                    self.from.read_line(&mut line)?;
                    self.rest = Rest::Done;
                } else {
                    self.rest = Rest::Chunk(size);
                }
                Ok(size)
            }
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.piece()?;
        let most = usize::try_from(piece).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.from.read(&mut buffer[..most])?;
        match &mut self.rest {
            Rest::Known(left) | Rest::Chunk(left) => {
                if n == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is cut off"));
                }
                *left -= n as u64;
            }
            Rest::UntilClose | Rest::Done => {}
        }
        Ok(n)
    }
}
