//! Serves HTTP/1.1 on a listener: bounded in connections, impatient with slow heads, drained when told.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use gangline_transport::{Stream, TlsServer};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::problem::Problem;
use crate::clock;

/// How a server treats its clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerSettings {
    pub(crate) connections_max: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) drain_timeout: Duration,
}

/// One connection's read buffer. Longer heads are answered 431.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How many clients are told at a time that there is no place; more are just closed.
const REFUSALS_MAX: usize = 64;

/// Serves until `stop`, then lets requests under way finish, for at most the drain time.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsServer>,
    app: Router,
    settings: ServerSettings,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // Out of file descriptors, most likely: others have to close first.
                tracing::warn!(event = "accept_failed", "cannot accept a connection: {error}");
                tokio::select! {
                    () = clock::pause(Duration::from_millis(100)) => continue,
                    () = stop.cancelled() => break,
                }
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(
                event = "connection_refused",
                limit = settings.connections_max,
                "too many connections"
            );
            // Whoever expects TLS would not understand.
            if tls.is_none()
                && let Ok(place) = refusals.clone().try_acquire_owned()
            {
                tasks.spawn(async move {
                    turn_away(stream, settings.connections_max).await;
                    drop(place);
                });
            }
            continue;
        };
        let (tls, app, stop) = (tls.clone(), app.clone(), stop.clone());
        tasks.spawn(async move {
            let _ = stream.set_nodelay(true);
            let secured = tokio::select! {
                secured = secure(stream, tls, settings.header_timeout) => secured,
                () = stop.cancelled() => None,
            };
            if let Some(stream) = secured {
                connection(stream, from, app, settings, stop).await;
            }
            drop(place);
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Where a connection comes from, on each of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddr(pub(crate) SocketAddr);

/// Shakes hands, if the node encrypts. As impatient as with a slow head.
async fn secure(stream: TcpStream, tls: Option<TlsServer>, within: Duration) -> Option<Stream> {
    let Some(tls) = tls else { return Some(Stream::plain(stream)) };
    match tokio::time::timeout(within, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(event = "tls_refused", "{error}");
            None
        }
        Err(_) => None,
    }
}

async fn connection(
    stream: Stream,
    from: SocketAddr,
    app: Router,
    settings: ServerSettings,
    stop: CancellationToken,
) {
    let channel = stream.channel();
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(PeerAddr(from));
        if let Some(channel) = channel {
            request.extensions_mut().insert(channel);
        }
        app.clone().oneshot(request)
    });
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    tokio::select! {
        ended = serving.as_mut() => return debug_end(ended),
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    if let Ok(ended) = tokio::time::timeout(settings.drain_timeout, serving).await {
        debug_end(ended);
    }
}

fn debug_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(event = "connection_ended", "{error}");
    }
}

/// Says that there is no place. What the client sends meanwhile is read away: closing a socket with unread
/// bytes would take the answer back.
async fn turn_away(mut stream: TcpStream, connections_max: usize) {
    let problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_connections",
        format!("this node has all the {connections_max} connections it takes"),
        "close some, or raise limits.connections_max",
    );
    let body = problem.text();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\
         retry-after: 1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let goodbye = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
}

/// Errors of `accept` that belong to the connection, not to the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused]
        .contains(&error.kind())
}
