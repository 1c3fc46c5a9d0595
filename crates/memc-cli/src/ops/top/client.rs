//! Fetches `/status.json`, by TCP or from a Unix socket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime;
use tokio::time::timeout;

use crate::watch::status::Status;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// No status has more bytes.
const MAX_BYTES: usize = 4 << 20;

/// Where the status is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// A host with its port, and the path there.
    Tcp {
        host: String,
        path: String,
    },
    Unix(PathBuf),
}

impl FromStr for Source {
    type Err = Error;

    /// Takes the URL of the page, or just its host and port; `unix:/path` too.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let hint =
            || format!("'{text}': give the URL of the page, such as http://127.0.0.1:9119, or unix:/path");
        let url: Uri = url.parse().with_context(hint)?;
        ensure!(url.scheme_str() == Some("http"), "{}; only http is spoken here", hint());
        let host = url.host().with_context(hint)?;
        let host = format!("{host}:{}", url.port_u16().unwrap_or(80));
        let path = url.path().trim_end_matches("status.json").trim_end_matches('/');
        Ok(Self::Tcp { host, path: format!("{path}/status.json") })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, path } => write!(out, "http://{host}{path}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// The status of now.
///
/// # Errors
///
/// If nobody answers in time, or not with a status.
pub(super) fn fetch(source: &Source) -> Result<Status> {
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let body =
        runtime.block_on(async { timeout(PATIENCE, get(source)).await.context("no answer in time")? })?;
    serde_json::from_slice(&body).context("the answer is no status of memc-load")
}

async fn get(source: &Source) -> Result<Bytes> {
    match source {
        Source::Tcp { host, path } => exchange(TcpStream::connect(host).await?, host, path).await,
        Source::Unix(path) => exchange(UnixStream::connect(path).await?, "localhost", "/status.json").await,
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    path: &str,
) -> Result<Bytes> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the runtime at the latest.
    drop(tokio::spawn(connection));
    let request = Request::get(path).header(HOST, host).header(ACCEPT, "application/json");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    if answer.status() != StatusCode::OK {
        bail!("the answer is {}", answer.status());
    }
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    Ok(body.map_err(Error::from_boxed)?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_named_in_several_ways() {
        for (text, source) in [
            ("127.0.0.1:9119", Some("http://127.0.0.1:9119/status.json")),
            ("http://127.0.0.1:9119", Some("http://127.0.0.1:9119/status.json")),
            ("http://127.0.0.1:9119/", Some("http://127.0.0.1:9119/status.json")),
            ("http://[::1]:9119/status.json", Some("http://[::1]:9119/status.json")),
            ("http://proxy/loader/", Some("http://proxy:80/loader/status.json")),
            ("unix:/run/http", Some("unix:/run/http")),
            ("https://host", None),
            ("ht tp", None),
            ("", None),
        ] {
            let found = text.parse::<Source>().map(|source| source.to_string());
            assert_eq!(found.as_deref().ok(), source, "{text}: {found:?}");
        }
    }
}
