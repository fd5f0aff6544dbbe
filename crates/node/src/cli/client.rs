//! The HTTP client of the command line: one connection per request, HTTP/1.1 over hyper, encrypted for https://.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use gangline_transport::{CertPin, Stream, TlsDialer, TlsError};
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::failure::{Exit, Failure};

/// How long an upload may take at least: a log may be large.
const UPLOAD_WITHIN: Duration = Duration::from_secs(3_600);

/// A running node as the command line sees it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    base: String,
    authority: String,
    /// For https://, the pin of the node's certificate, if it was given.
    tls: Option<Option<CertPin>>,
    token: Option<String>,
    timeout: Duration,
}

/// A node's answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: StatusCode,
    /// The body, as JSON; null if it was empty.
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) text: String,
}

impl Client {
    /// A client of the node at `url`.
    ///
    /// # Errors
    /// When `url` is not `http://host[:port]` or `https://host[:port]`, the latter perhaps with `#sha256=<pin>`.
    pub(crate) fn new(url: &str, token: Option<String>, timeout: Duration) -> Result<Self, Failure> {
        let bad = |hint: &str| {
            Err(Failure::new(Exit::Usage, "bad_node_url", format!("`{url}` is not the URL of a node"))
                .hint(hint))
        };
        let trimmed = url.trim_end_matches('/');
        for (scheme, meant) in [("ws://", "http://"), ("wss://", "https://")] {
            if let Some(rest) = trimmed.strip_prefix(scheme) {
                let authority = rest.split('/').next().unwrap_or_default();
                return bad(&format!("did you mean {meant}{authority}?"));
            }
        }
        let (trimmed, pin) = match trimmed.split_once('#') {
            None => (trimmed, None),
            Some((address, fragment)) => match fragment.strip_prefix("sha256=").map(str::parse::<CertPin>) {
                Some(Ok(pin)) if address.starts_with("https://") => {
                    (address.trim_end_matches('/'), Some(pin))
                }
                _ => return bad("a pin is written https://host:port#sha256= and 64 hexadecimal digits"),
            },
        };
        let (authority, tls) = match (trimmed.strip_prefix("http://"), trimmed.strip_prefix("https://")) {
            (Some(authority), _) => (authority, None),
            (None, Some(authority)) => (authority, Some(pin)),
            (None, None) => return bad("for example http://127.0.0.1:3001"),
        };
        let parsed = trimmed.parse::<Uri>().ok().filter(|uri| uri.path() == "/" && uri.query().is_none());
        if parsed.is_none() || authority.is_empty() || authority.contains('@') {
            return bad("for example http://127.0.0.1:3001");
        }
        Ok(Self { base: trimmed.to_owned(), authority: authority.to_owned(), tls, token, timeout })
    }

    /// The node's URL, as it was given.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When nobody answers, or with an error: the node's own words then.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Failure> {
        let reply = self.exchange(method, path, body).await?;
        if reply.status.is_success() { Ok(reply) } else { Err(self.refused(reply)) }
    }

    /// As [`Client::send`], but an error status is an answer too.
    ///
    /// # Errors
    /// When nobody answers.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Failure> {
        let body = body.map(|body| Bytes::from(body.to_string()));
        let (status, bytes) = self.exchange_bytes(method, path, body).await?;
        self.reply(status, &bytes)
    }

    /// As [`Client::send`], with a body that is JSON already, byte for byte, and an answer that is left as it came.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Bytes, Failure> {
        let (status, bytes) = self.exchange_bytes(method, path, body).await?;
        if status.is_success() { Ok(bytes) } else { Err(self.refused(self.reply(status, &bytes)?)) }
    }

    /// Sends a body of any length as it comes, and reads the whole answer.
    ///
    /// # Errors
    /// When nobody answers, or with an error: the node's own words then.
    pub(crate) async fn upload(
        &self,
        path: &str,
        body: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<Reply, Failure> {
        let body = StreamBody::new(body.map_ok(Frame::data)).boxed_unsync();
        let work = async {
            let (status, _, incoming) = self.open_with(Method::POST, path, Some(body), &[]).await?;
            let bytes = incoming.collect().await.map_err(|error| self.broken(&error))?.to_bytes();
            self.reply(status, &bytes)
        };
        let timeout = self.timeout.max(UPLOAD_WITHIN);
        let reply = tokio::time::timeout(timeout, work).await.map_err(|_| self.late())??;
        if reply.status.is_success() { Ok(reply) } else { Err(self.refused(reply)) }
    }

    async fn exchange_bytes(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let work = async {
            let (status, _, incoming) = self.open(method, path, body, &[]).await?;
            let bytes = incoming.collect().await.map_err(|error| self.broken(&error))?.to_bytes();
            Ok((status, bytes))
        };
        tokio::time::timeout(self.timeout, work).await.map_err(|_| self.late())?
    }

    fn reply(&self, status: StatusCode, bytes: &Bytes) -> Result<Reply, Failure> {
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(bytes).map_err(|_| self.not_a_node(status))?,
        };
        Ok(Reply { status, body, text: String::from_utf8_lossy(bytes).into_owned() })
    }

    /// How long it waits for an answer.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The same, with another time to wait for an answer.
    pub(crate) fn patient(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Opens a stream of server-sent events after the event `last_id`.
    ///
    /// # Errors
    /// When nobody answers, or with an error.
    pub(crate) async fn events(&self, path: &str, last_id: Option<&str>) -> Result<Incoming, Failure> {
        let headers: Vec<(&str, &str)> = last_id.map(|id| ("last-event-id", id)).into_iter().collect();
        let opening = self.open(Method::GET, path, None, &headers);
        let (status, headers, incoming) =
            tokio::time::timeout(self.timeout, opening).await.map_err(|_| self.late())??;
        let is_stream = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
        if status.is_success() && is_stream {
            return Ok(incoming);
        }
        let reading =
            tokio::time::timeout(self.timeout, incoming.collect()).await.map_err(|_| self.late())?;
        let bytes = reading.map_err(|error| self.broken(&error))?.to_bytes();
        match serde_json::from_slice(&bytes) {
            Ok(body) if !status.is_success() => {
                Err(self.refused(Reply { status, body, text: String::new() }))
            }
            Ok(_) | Err(_) => Err(self.not_a_node(status)),
        }
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, HeaderMap, Incoming), Failure> {
        let body = body.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
        self.open_with(method, path, body, headers).await
    }

    async fn open_with(
        &self,
        method: Method,
        path: &str,
        body: Option<UnsyncBoxBody<Bytes, io::Error>>,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, HeaderMap, Incoming), Failure> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let empty = || Full::default().map_err(|never| match never {}).boxed_unsync();
        let request = request.body(body.unwrap_or_else(empty)).map_err(|error| {
            Failure::new(Exit::Usage, "bad_request", format!("this cannot be asked of a node: {error}"))
        })?;
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(&e))?;
        // Ends by itself when the answer has been read or is dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(event = "client_connection_ended", "{error}");
            }
        });
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        let (parts, incoming) = response.into_parts();
        Ok((parts.status, parts.headers, incoming))
    }

    async fn connect(&self) -> Result<Stream, Failure> {
        let stream = self.reach().await?;
        let Some(pin) = self.tls else { return Ok(Stream::plain(stream)) };
        let host = match self.authority.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            Some(_) | None => &self.authority,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secured = async { TlsDialer::new(pin)?.connect(host, stream).await };
        secured.await.map_err(|error: TlsError| {
            let message = format!("{}: {error}", self.base);
            match error {
                TlsError::WrongCertificate { .. } | TlsError::Untrusted { .. } => {
                    Failure::new(Exit::Refused, "certificate_refused", message)
                }
                TlsError::NoRoots(_) | TlsError::Unusable(_) | TlsError::Handshake(_) | _ => {
                    Failure::new(Exit::Unreachable, "no_tls", message)
                        .hint("a node serves https:// if its settings have a table [tls]; else use http://")
                }
            }
        })
    }

    async fn reach(&self) -> Result<TcpStream, Failure> {
        let has_port = self.authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = if self.tls.is_some() { 443 } else { 80 };
        let target = if has_port { self.authority.clone() } else { format!("{}:{port}", self.authority) };
        TcpStream::connect(&target).await.map_err(|error| {
            let base = &self.base;
            if error.kind() == io::ErrorKind::ConnectionRefused {
                return Failure::new(Exit::Unreachable, "no_node", format!("no node runs at {base}")).hint(
                    "start one with `gangline up`, or say where it runs with --node URL or GANGLINE_NODE",
                );
            }
            Failure::new(Exit::Unreachable, "unreachable", format!("cannot reach {base}: {error}"))
                .hint("check the URL given with --node or GANGLINE_NODE")
        })
    }

    /// Turns an answer that says no into a failure, in the node's own words.
    pub(crate) fn refused(&self, reply: Reply) -> Failure {
        let text = |key: &str| reply.body.get(key).and_then(Value::as_str).map(str::to_owned);
        let Some(code) = text("code") else { return self.not_a_node(reply.status) };
        let exit = match reply.status.as_u16() {
            400 | 422 => Exit::Usage,
            401 | 403 | 421 => Exit::Refused,
            404 => Exit::NotFound,
            409 | 412 => Exit::Conflict,
            408 | 504 => Exit::Timeout,
            503 => Exit::Unhealthy,
            _ => Exit::Failed,
        };
        let message = text("detail").or_else(|| text("title")).unwrap_or_else(|| code.clone());
        let hint = text("hint");
        Failure { exit, code, message, hint, details: Some(reply.body) }
    }

    fn not_a_node(&self, status: StatusCode) -> Failure {
        let message = format!("what answers at {} ({status}) does not speak as a gangline node", self.base);
        Failure::new(Exit::Failed, "not_a_node", message)
            .hint("check the URL given with --node or GANGLINE_NODE")
    }

    fn broken(&self, error: &hyper::Error) -> Failure {
        let message = format!("the connection to {} broke: {error}", self.base);
        Failure::new(Exit::Unreachable, "connection_lost", message)
            .hint("see whether the node still runs: gangline status")
    }

    fn late(&self) -> Failure {
        let message = format!("no answer from {} within {} s", self.base, self.timeout.as_secs());
        Failure::new(Exit::Timeout, "timeout", message)
            .hint("a write may have landed; look before repeating it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Result<Client, Failure> {
        Client::new(url, None, Duration::from_secs(1))
    }

    #[test]
    fn urls_are_checked_with_a_way_out() {
        let pinned = client(&format!("https://a:1/#sha256={}", "5e".repeat(32))).unwrap();
        assert_eq!((pinned.base(), pinned.tls), ("https://a:1", Some(Some(CertPin([0x5e; 32])))));
        assert_eq!(client("http://127.0.0.1:3001/").unwrap().base(), "http://127.0.0.1:3001");
        for (url, hint) in [
            ("127.0.0.1:3001", "for example http://127.0.0.1:3001"),
            ("ws://a:1/crdt-sync", "did you mean http://a:1?"),
            ("wss://a:1/crdt-sync", "did you mean https://a:1?"),
            ("https://a#sha256=5e", "64 hexadecimal digits"),
            ("http://a#sha256=5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e", "https://"),
            ("http://", "for example"),
            ("http://a/b", "for example"),
        ] {
            let failure = client(url).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.hint.as_ref().unwrap().contains(hint), "{failure}");
        }
    }

    #[test]
    fn statuses_become_exit_codes() {
        let client = client("http://127.0.0.1:1").unwrap();
        for (status, exit) in [(404, 3), (409, 4), (401, 5), (403, 5), (422, 2), (400, 2), (503, 8), (500, 1)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let body = serde_json::json!({"code": "x", "detail": "y", "hint": "z"});
            let failure = client.refused(Reply { status, body, text: String::new() });
            assert_eq!((failure.exit as u8, failure.message.as_str()), (exit, "y"));
        }
        let failure =
            client.refused(Reply { status: StatusCode::NOT_FOUND, body: Value::Null, text: String::new() });
        assert_eq!(failure.code, "not_a_node");
    }
}
