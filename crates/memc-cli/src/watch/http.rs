//! The HTTP of `--listen`: GET and HEAD of a few paths, on one thread, with little memory whatever the clients do.
//!
//! A connection is for one request, and for a few seconds. At most [`CONNECTIONS`] are open: a new one takes the place of
//! the oldest, so that clients that do nothing cannot keep others out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{self, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::output::metrics;
use crate::watch::listener::{Listener, SocketFile};
use crate::watch::look;
use crate::watch::status::{self, Verdict};
use crate::watch::watched::Watched;

/// How many connections are open at most.
const CONNECTIONS: usize = 64;

/// How long a client may take for its request, and then for the answer too.
const REQUEST: Duration = Duration::from_secs(5);
const CONNECTION: Duration = Duration::from_secs(10);

/// A request line with its headers has at most this many bytes.
const REQUEST_BYTES: usize = 8 * 1024;

/// The pause after that many connections, so that a flood of them does not take the processor.
const BURST: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);

/// The pause where none can be accepted: other parts of the process have all file descriptors.
const LONG_PAUSE: Duration = Duration::from_millis(200);

/// How long an answer is reused before a new one is made.
const FRESH: Duration = Duration::from_millis(200);

const PAGE: &str = include_str!("page.html");

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// On every answer. Nothing but the page's own style and script, and requests to where it came from.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// A server that is ready to run.
#[derive(Debug)]
pub(super) struct Server {
    runtime: Runtime,
    socket: Socket,
    /// Whether only clients of this machine reach it, by TCP.
    is_loopback: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What the answers are made of.
#[derive(Debug)]
struct Served {
    watched: Arc<Watched>,
    is_loopback: bool,
    status: Fresh,
    text: Fresh,
    open_metrics: Fresh,
}

/// An answer with the time when it was made.
#[derive(Debug, Default)]
struct Fresh(Mutex<Option<(Instant, Bytes)>>);

type Answer = Response<Full<Bytes>>;

impl Server {
    /// A server for what comes to the listener, and the file of its socket, if it has one.
    ///
    /// # Errors
    ///
    /// If the system does not give it what it needs.
    pub(super) fn new(listener: Listener) -> io::Result<(Self, Option<SocketFile>)> {
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let is_loopback = matches!(listener, Listener::Tcp(..)) && !listener.is_public();
        let entered = runtime.enter();
        let (socket, file) = match listener {
            Listener::Tcp(socket, _) => (Socket::Tcp(TcpListener::from_std(socket)?), None),
            Listener::Unix(socket, file) => (Socket::Unix(UnixListener::from_std(socket)?), Some(file)),
        };
        drop(entered);
        Ok((Self { runtime, socket, is_loopback }, file))
    }

    /// Serves until the process ends.
    pub(super) fn run(self, watched: Arc<Watched>) {
        look::give_way();
        let (status, text, open_metrics) = Default::default();
        let served = Arc::new(Served { watched, is_loopback: self.is_loopback, status, text, open_metrics });
        self.runtime.block_on(async {
            let mut open: VecDeque<JoinHandle<()>> = VecDeque::with_capacity(CONNECTIONS);
            for number in 1_usize.. {
                let served = Arc::clone(&served);
                let accepted = match &self.socket {
                    Socket::Tcp(socket) => socket.accept().await.map(|(stream, _)| spawn(stream, served)),
                    Socket::Unix(socket) => socket.accept().await.map(|(stream, _)| spawn(stream, served)),
                };
                let Ok(connection) = accepted else {
                    sleep(LONG_PAUSE).await;
                    continue;
                };
                open.retain(|connection| !connection.is_finished());
                if open.len() == CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                open.push_back(connection);
                if number % BURST == 0 {
                    sleep(PAUSE).await;
                }
            }
        });
    }
}

/// Answers the one request of a connection.
fn spawn(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    served: Arc<Served>,
) -> JoinHandle<()> {
    let service = service_fn(move |request| {
        let answer = served.answer(&request);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::spawn(async move {
        // What is wrong with a client is no matter of the load's.
        let _ = timeout(CONNECTION, connection).await;
    })
}

impl Served {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        if self.is_loopback && !is_local(request.headers()) {
            let text = "the Host header names neither an address nor localhost\n";
            return answer(StatusCode::FORBIDDEN, PLAIN, text);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let watched = &*self.watched;
        match request.uri().path() {
            "/" => answer(StatusCode::OK, HTML, PAGE),
            "/status.json" => {
                answer(StatusCode::OK, JSON, self.status.or_make(|| json(&status::status(watched))))
            }
            // Figures of records that were not sent would be taken for those of records that were.
            "/metrics" if watched.args.dry => {
                answer(StatusCode::NOT_FOUND, PLAIN, "a dry run has no metrics\n")
            }
            "/metrics" if asks_for_open_metrics(request.headers()) => {
                let text = self.open_metrics.or_make(|| metrics::open_metrics(&watched.args, &watched.live));
                answer(StatusCode::OK, metrics::OPEN_METRICS, text)
            }
            "/metrics" => {
                let text = self.text.or_make(|| metrics::text(&watched.args, &watched.live));
                answer(StatusCode::OK, metrics::TEXT, text)
            }
            "/healthz" => verdict(&status::health(&watched.service)),
            "/readyz" => verdict(&status::readiness(watched)),
            _ => {
                let text = "there are /, /status.json, /metrics, /healthz and /readyz\n";
                answer(StatusCode::NOT_FOUND, PLAIN, text)
            }
        }
    }
}

impl Fresh {
    fn or_make(&self, make: impl FnOnce() -> String) -> Bytes {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((at, bytes)) if at.elapsed() < FRESH => bytes.clone(),
            _ => made.insert((Instant::now(), make().into())).1.clone(),
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn verdict(verdict: &Verdict) -> Answer {
    let status = if verdict.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, JSON, json(verdict))
}

fn json(value: &impl Serialize) -> String {
    // Numbers, texts and lists of them always become JSON.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

/// Whether a scraper takes `OpenMetrics`; what does not say so gets the older format, such as `curl` and `promtool`.
fn asks_for_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("application/openmetrics-text"))
}

/// Whether the client means this machine: a page of somebody else, whose name leads to 127.0.0.1, could read the answers
/// otherwise, in the browser of whoever opens it. A client without the header is no browser.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use memc_core::ProgressHandle;

    use crate::output::service::Service;

    use super::*;

    #[test]
    fn a_host_that_is_a_name_of_somebody_else_is_not_local() {
        for (host, local) in [
            ("127.0.0.1:9119", true),
            ("127.0.0.1", true),
            ("[::1]:9119", true),
            ("localhost:9119", true),
            ("LOCALHOST", true),
            ("evil.example:9119", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            assert_eq!(is_local(&headers), local, "{host}");
        }
        assert!(is_local(&HeaderMap::new()));
    }

    /// The load may be silent for five minutes at least, too long for a test of the process.
    #[test]
    fn a_process_that_hangs_is_not_healthy() -> anyhow::Result<()> {
        let service = Service::start(ProgressHandle::default(), Duration::ZERO)?;
        assert_eq!(verdict(&status::health(&service)).status(), StatusCode::OK);
        service.age(Duration::from_secs(5 * 60 + 1));
        let health = status::health(&service);
        assert_eq!(health.reasons, ["no progress and no known cause for it: the process hangs"]);
        assert_eq!(verdict(&health).status(), StatusCode::SERVICE_UNAVAILABLE);
        service.sign_of_life();
        assert_eq!(verdict(&status::health(&service)).status(), StatusCode::OK);
        Ok(())
    }

    #[test]
    fn an_answer_is_made_again_after_a_moment() {
        let fresh = Fresh::default();
        assert_eq!(fresh.or_make(|| "one".to_owned()), "one");
        assert_eq!(fresh.or_make(|| "two".to_owned()), "one");
        std::thread::sleep(FRESH);
        assert_eq!(fresh.or_make(|| "three".to_owned()), "three");
    }
}
