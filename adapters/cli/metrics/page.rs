//! The page of metrics, over HTTP.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Request, Status};
use prometheus::TEXT_FORMAT;
use unstick_std::bare::{Stream, TcpServer};
use unstick_std::{Limits, Shutdown};

use super::{Metrics, Stats};
use crate::address::Address;
use crate::failure::Failure;
use crate::listen::cannot_listen;

/// How long one visit may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Visits at once; one too many is closed at once.
const VISITORS: usize = 16;
/// Octets of a request, and how many headers it may have.
const REQUEST_LEN: usize = 8 * 1024;
const HEADERS: usize = 64;
const PLAIN: &str = "text/plain; charset=utf-8";

/// The page, where it is served.
pub struct Page {
    server: TcpServer,
    metrics: Metrics,
}

impl Page {
    /// Listens there.
    pub fn bind(address: &Address, metrics: Metrics) -> Result<Self, Failure> {
        let limits = Limits {
            max_connections: VISITORS,
            idle_timeout: PATIENCE,
            ..Limits::default()
        };
        let server = TcpServer::bind(address, limits);
        let server = server.map_err(|error| cannot_listen("metrics", address, &error))?;
        Ok(Self { server, metrics })
    }

    /// Where it is.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.local_addr()
    }

    /// What it shows.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves it until the shutdown, with what `stats` says then.
    pub fn serve(&self, shutdown: &Shutdown, stats: impl Fn() -> Stats + Sync) -> io::Result<()> {
        let visit = |stream: &mut Stream<'_>, _| {
            stream.set_deadline(Instant::now().checked_add(PATIENCE));
            let answer = self.answer(stream, &stats)?;
            stream.write_all(answer.to_http().as_bytes())
        };
        self.server.serve_forever(shutdown, |_peer| visit)
    }

    /// Reads a request, and answers it.
    fn answer(&self, stream: &mut impl Read, stats: impl Fn() -> Stats) -> io::Result<Answer> {
        let mut octets = [0; REQUEST_LEN];
        let mut filled = 0;
        loop {
            let mut headers = [EMPTY_HEADER; HEADERS];
            let mut request = Request::new(&mut headers);
            match request.parse(&octets[..filled]) {
                Ok(Status::Complete(_)) => {
                    let target = request.path.unwrap_or_default();
                    let path = target.split('?').next().unwrap_or_default();
                    let answer = match (request.method, path) {
                        (Some("GET" | "HEAD"), "/metrics") => {
                            Answer::new("200 OK", TEXT_FORMAT, self.metrics.page(stats()))
                        }
                        (_, "/metrics") => Answer::error("405 Method Not Allowed", "only GET"),
                        _ => Answer::error("404 Not Found", "the metrics are at /metrics"),
                    };
                    return Ok(Answer {
                        has_body: request.method != Some("HEAD"),
                        ..answer
                    });
                }
                Ok(Status::Partial) if filled == octets.len() => {
                    let status = "431 Request Header Fields Too Large";
                    return Ok(Answer::error(status, "the request is too long"));
                }
                Ok(Status::Partial) => {}
                Err(error) => {
                    return Ok(Answer::error("400 Bad Request", &error.to_string()));
                }
            }
            match stream.read(&mut octets[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => filled += len,
            }
        }
    }
}

/// What is sent back.
struct Answer {
    status: &'static str,
    content: &'static str,
    body: String,
    /// Whether the body is sent, or only how long it would be.
    has_body: bool,
}

impl Answer {
    fn new(status: &'static str, content: &'static str, body: String) -> Self {
        Self {
            status,
            content,
            body,
            has_body: true,
        }
    }

    fn error(status: &'static str, sentence: &str) -> Self {
        Self::new(status, PLAIN, format!("{sentence}\n"))
    }

    fn to_http(&self) -> String {
        let Self {
            status,
            content,
            body,
            has_body,
        } = self;
        let allow = match status.starts_with("405") {
            true => "Allow: GET, HEAD\r\n",
            false => "",
        };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n{}",
            body.len(),
            if *has_body { body } else { "" }
        )
    }
}
