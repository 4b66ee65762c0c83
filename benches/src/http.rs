//! A small HTTP/1.1 server on the loopback interface. It reads what the AWS SDK and `lambda_runtime` send:
//! requests with `Content-Length` or with chunks, on connections that are kept open.

use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// The maximum number of headers of a request.
const MAX_HEADERS: usize = 64;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method, such as `POST`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The header `X-Amz-Target`, which names the operation of an AWS service; empty if there is none.
    pub target: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers, without `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A response with status 200 and a JSON body.
    #[must_use]
    pub fn json(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/x-amz-json-1.1".to_owned())],
            body,
        }
    }
}

/// A running server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its address.
    pub address: SocketAddr,
    connected: Arc<OnceLock<Instant>>,
}

impl Server {
    /// When the first client connected; `None` if none has.
    #[must_use]
    pub fn connected(&self) -> Option<Instant> {
        self.connected.get().copied()
    }
}

/// Serves requests on a free port until the process ends, with TLS if there is an acceptor. Each connection has a
/// task of its own.
///
/// # Errors
/// If no port can be opened.
pub async fn serve<F, A>(tls: Option<TlsAcceptor>, answer: F) -> Result<Server>
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = Server {
        address: listener.local_addr()?,
        connected: Arc::default(),
    };
    let connected = Arc::clone(&server.connected);
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connected.get_or_init(Instant::now);
            let (tls, answer) = (tls.clone(), Arc::clone(&answer));
            tokio::spawn(async move {
                let conversing = async {
                    stream.set_nodelay(true)?;
                    match tls {
                        Some(tls) => converse(tls.accept(stream).await?, &*answer).await,
                        None => converse(stream, &*answer).await,
                    }
                };
                if let Err(error) = conversing.await {
                    eprintln!("a mock could not answer: {error:#}");
                }
            });
        }
    });
    Ok(server)
}

/// Answers the requests of a connection until the client closes it.
async fn converse<S, F, A>(stream: S, answer: &F) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request) -> A,
    A: Future<Output = Response>,
{
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let Response {
            status,
            headers,
            body,
        } = answer(request).await;
        let mut head = format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n")?;
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(body);
        // A client that was stopped doesn't read its last response.
        let writing = async {
            stream.get_mut().write_all(&bytes).await?;
            stream.get_mut().flush().await
        };
        if writing.await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads a request; `None` if the client has closed the connection.
async fn read(stream: &mut BufReader<impl AsyncRead + Unpin>) -> Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read_until(b'\n', &mut head).await;
        if read.unwrap_or_default() == 0 {
            return Ok(None);
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    if parsed.parse(&head)?.is_partial() {
        bail!("a request's head is incomplete");
    }
    let header = |name: &str| {
        let header = parsed.headers.iter();
        let mut header = header.filter(|header| header.name.eq_ignore_ascii_case(name));
        let value = header.next().map(|header| header.value).unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    };
    let body = if header("transfer-encoding") == "chunked" {
        chunks(stream).await?
    } else {
        let mut body = vec![0; header("content-length").parse().unwrap_or_default()];
        stream.read_exact(&mut body).await?;
        body
    };
    Ok(Some(Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        target: header("x-amz-target"),
        body,
    }))
}

async fn chunks(stream: &mut BufReader<impl AsyncRead + Unpin>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).context("a chunk's size")?;
        let mut chunk = vec![0; size];
        stream.read_exact(&mut chunk).await?;
        body.extend(chunk);
        stream.read_line(&mut line).await?;
        if size == 0 {
            return Ok(body);
        }
    }
}
