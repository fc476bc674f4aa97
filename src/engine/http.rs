//! One page over HTTP, for a scraper. The loop's own thread and poll serve it, so everything is
//! bounded: the number of connections (a new one replaces the oldest), the length of a request and
//! the time it may take. Nothing here blocks. It knows neither what the page says nor what else the
//! loop does.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};

use super::queue::Owner;
use super::socket::is_local;
use crate::scan::Time;

/// Connections at a time: a scraper, its next attempt, and somebody with a browser.
pub(super) const CONNECTIONS: usize = 4;
/// A scraper's request has about 300 bytes.
const LONGEST_REQUEST: usize = 8 * 1024;
const MOST_HEADERS: usize = 64;
/// Up to this many bytes after a request are read and thrown away.
const MOST_DRAINED: usize = 256 * 1024;
/// A client that takes longer is gone, or hostile.
const LONGEST_US: u64 = 2_000_000;

/// Which of the server's sockets an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Listener,
    /// The connection in this place.
    Connection(usize),
}

/// Serves a page at `/metrics`.
#[derive(Debug)]
pub(super) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    connections: [Option<Connection>; CONNECTIONS],
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    since: Time,
    request: Vec<u8>,
    /// The rest of the response, once the request has been read.
    response: Option<Vec<u8>>,
    /// Bytes that were read and thrown away after the request.
    drained: usize,
}

/// What to do with a connection.
enum Next {
    Wait,
    Close,
}

impl Server {
    pub fn bind(address: SocketAddr, registry: &Registry) -> io::Result<Self> {
        let mut listener = TcpListener::bind(address)?;
        let token = Owner::Metrics(Part::Listener).token();
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Server {
            address: listener.local_addr()?,
            listener,
            connections: Default::default(),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether a connection to `endpoint` would come here.
    pub fn is_at(&self, endpoint: SocketAddr) -> bool {
        let own = self.address;
        if own.port() != endpoint.port() {
            return false;
        }
        // As a destination the unspecified address is loopback; to listen it is all addresses, that
        // of IPv6 those of IPv4, too.
        let is_meant = match endpoint.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => own.ip() == Ipv4Addr::LOCALHOST,
            IpAddr::V6(ip) if ip.is_unspecified() => own.ip() == Ipv6Addr::LOCALHOST,
            _ => own == endpoint,
        };
        let is_everywhere = own.ip().is_unspecified() && (own.is_ipv6() || endpoint.is_ipv4());
        is_meant || (is_everywhere && is_local(endpoint))
    }

    /// Handles an event. `page` makes the page, if it is requested.
    pub fn handle(
        &mut self,
        part: Part,
        registry: &Registry,
        now: Time,
        page: impl FnOnce() -> String,
    ) {
        match part {
            Part::Listener => self.accept(registry, now),
            Part::Connection(place) => self.go_on(place, page),
        }
    }

    fn go_on(&mut self, place: usize, page: impl FnOnce() -> String) {
        let Some(connection) = &mut self.connections[place] else {
            return;
        };
        if matches!(connection.go_on(page), Next::Close) {
            self.connections[place] = None;
        }
    }

    /// To be called now and then: closes connections that take too long, and accepts clients that
    /// had to wait.
    pub fn look(&mut self, registry: &Registry, now: Time) {
        for place in &mut self.connections {
            if place
                .as_ref()
                .is_some_and(|connection| now.us_since(connection.since) > LONGEST_US)
            {
                *place = None;
            }
        }
        self.accept(registry, now);
    }

    /// Accepts up to [`CONNECTIONS`] clients; the rest wait for the next look.
    fn accept(&mut self, registry: &Registry, now: Time) {
        for _ in 0..CONNECTIONS {
            // No more clients wait, or no descriptor is left.
            let Ok((mut stream, _)) = self.listener.accept() else {
                return;
            };
            let place = self.place();
            let token = Owner::Metrics(Part::Connection(place)).token();
            self.connections[place] = None;
            if registry
                .register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
                .is_ok()
            {
                self.connections[place] = Some(Connection {
                    stream,
                    since: now,
                    request: Vec::new(),
                    response: None,
                    drained: 0,
                });
            }
        }
    }

    /// A free place, or else that of the oldest connection.
    fn place(&self) -> usize {
        let since = |place: &usize| {
            self.connections[*place]
                .as_ref()
                .map_or(Time::default(), |connection| connection.since)
        };
        let free = self.connections.iter().position(Option::is_none);
        free.or_else(|| (0..CONNECTIONS).min_by_key(since))
            .unwrap_or(0)
    }
}

impl Connection {
    /// Reads what has arrived, and writes what can be written.
    fn go_on(&mut self, page: impl FnOnce() -> String) -> Next {
        if self.response.is_none() {
            match self.read() {
                Ok(true) => {}
                Ok(false) => return Next::Wait,
                Err(_) => return Next::Close,
            }
            self.response = Some(respond(&self.request, page).into_bytes());
        }
        self.write()
    }

    /// Whether the request is complete, or has reached its longest length.
    fn read(&mut self) -> io::Result<bool> {
        let mut part = [0; 1_024];
        while self.request.len() < LONGEST_REQUEST && !is_whole(&self.request) {
            match self.stream.read(&mut part) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.request.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn write(&mut self) -> Next {
        let Some(response) = &mut self.response else {
            return Next::Wait;
        };
        while !response.is_empty() {
            match self.stream.write(response) {
                Ok(0) => return Next::Close,
                Ok(length) => drop(response.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Wait,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Next::Close,
            }
        }
        let _ = self.stream.shutdown(Shutdown::Write);
        self.drain()
    }

    /// Reads until the client closes. Unread data would make the system send a RST on closing,
    /// which may overtake the page.
    fn drain(&mut self) -> Next {
        let mut part = [0; 4_096];
        while self.drained < MOST_DRAINED {
            match self.stream.read(&mut part) {
                Ok(0) => return Next::Close,
                Ok(length) => self.drained += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Wait,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Next::Close,
            }
        }
        Next::Close
    }
}

/// Whether no more needs to be read: the headers are complete, or malformed.
fn is_whole(request: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    !matches!(
        httparse::Request::new(&mut headers).parse(request),
        Ok(httparse::Status::Partial)
    )
}

/// The whole response to a request.
fn respond(request: &[u8], page: impl FnOnce() -> String) -> String {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let is_complete = parsed.parse(request).map(|status| status.is_complete());
    let path = parsed
        .path
        .map(|path| path.split('?').next().unwrap_or_default());
    match (is_complete, parsed.method, path) {
        (Err(_), ..) => response("400 Bad Request", "", "this is no HTTP request\n", true),
        (Ok(false), ..) => response(
            "431 Request Header Fields Too Large",
            "",
            "the request is too long\n",
            true,
        ),
        (_, Some(method @ ("GET" | "HEAD")), Some("/metrics")) => {
            response("200 OK", "", &page(), method == "GET")
        }
        (_, Some("GET" | "HEAD"), _) => {
            response("404 Not Found", "", "there is only /metrics\n", true)
        }
        _ => response(
            "405 Method Not Allowed",
            "Allow: GET, HEAD\r\n",
            "only GET and HEAD are understood\n",
            true,
        ),
    }
}

fn response(status: &str, header: &str, body: &str, has_body: bool) -> String {
    let length = body.len();
    let body = if has_body { body } else { "" };
    let kind = "Content-Type: text/plain; version=0.0.4; charset=utf-8";
    format!(
        "HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {length}\r\n{header}Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &str) -> String {
        respond(request.as_bytes(), || "page\n".into())
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn what_is_asked_for_decides_the_response() {
        for (request, expect) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK"),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200 OK"),
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("\u{1}\u{2}\r\n\r\n", "400 Bad Request"),
            (
                "GET /metrics HTTP/1.1\r\nHost: a\r\n",
                "431 Request Header Fields Too Large",
            ),
        ] {
            assert_eq!(status(request), format!("HTTP/1.1 {expect}"), "{request:?}");
        }
        assert!(
            respond(b"GET /metrics HTTP/1.1\r\n\r\n", || "page\n".into())
                .ends_with("Content-Length: 5\r\nConnection: close\r\n\r\npage\n")
        );
        assert!(
            respond(b"HEAD /metrics HTTP/1.1\r\n\r\n", || "page\n".into())
                .ends_with("Content-Length: 5\r\nConnection: close\r\n\r\n")
        );
    }

    #[test]
    fn a_request_is_read_no_further_than_it_matters() {
        assert!(
            !is_whole(b"") && !is_whole(b"GET /met") && !is_whole(b"GET / HTTP/1.1\r\nHost: a\r\n")
        );
        assert!(
            is_whole(b"GET / HTTP/1.1\r\n\r\n")
                && is_whole(b"\0")
                && is_whole(&[b"GET / HTTP/1.1\r\n", &b"A: b\r\n".repeat(65)[..]].concat())
        );
    }
}
