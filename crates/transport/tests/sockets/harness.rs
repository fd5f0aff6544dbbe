//! A node with a replica, a transport and an HTTP server, and a peer played by the test.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use gangline_doc::{Item, LogSeq, NewItem, PipelineDoc, ReadLimit, Replica, ReplicaSettings, board};
use gangline_store::MemoryOpLog;
use gangline_transport::{PeersSnapshot, Transport, TransportSettings};
use http_body_util::Empty;
use hyper::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

/// Longest wait for something that is expected.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Node {
    pub(crate) replica: Replica<PipelineDoc>,
    pub(crate) transport: Transport,
    pub(crate) addr: SocketAddr,
    pub(crate) stop: CancellationToken,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::with(TransportSettings::default()).await
    }

    pub(crate) async fn with(settings: TransportSettings) -> Self {
        let log = Arc::new(MemoryOpLog::new());
        let keypair = bft_json_crdt::keypair::make_keypair();
        let replica = Replica::open(keypair, log, ReplicaSettings::default()).expect("an empty log opens");
        Self::serve(replica, settings, "127.0.0.1:0".parse().expect("an address")).await
    }

    /// Serves a replica, perhaps one that was served before.
    pub(crate) async fn serve(
        replica: Replica<PipelineDoc>,
        settings: TransportSettings,
        addr: SocketAddr,
    ) -> Self {
        let listener = TcpListener::bind(addr).await.expect("the port is free");
        let addr = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let source = Arc::new(replica.clone());
        let transport = Transport::new(vec![source], None, Arc::new(|| 1_000), settings, stop.clone());
        tokio::spawn(accept_all(listener, transport.clone(), stop.clone()));
        Self { replica, transport, addr, stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/crdt-sync", self.addr)
    }

    pub(crate) fn dial(&self, other: &Self) {
        self.transport.dial(other.url().parse().expect("a good URL"), Box::new(|| 0.0));
    }

    pub(crate) fn add(&self, story_id: &str) {
        self.add_named(story_id, 10);
    }

    pub(crate) fn add_named(&self, story_id: &str, length: usize) {
        let item = serde_json::json!({"story_id": story_id, "name": "x".repeat(length)});
        let new = NewItem::from_json(item).expect("a good item");
        let (_, ticket) = self.replica.edit(0, |editor| board::add(editor, new)).expect("the edit is good");
        assert!(ticket.is_done().is_some_and(|result| result.is_ok()), "memory is durable at once");
    }

    pub(crate) fn items(&self) -> Vec<Item> {
        self.replica.read(board::items).0
    }

    pub(crate) fn peers(&self) -> PeersSnapshot {
        self.transport.peers()
    }

    /// All of the log as binary frames.
    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        let limit = ReadLimit { count: usize::MAX, bytes: usize::MAX };
        let entries = self.replica.entries(LogSeq::START, limit).expect("memory can be read");
        entries.iter().map(|entry| entry.v1().to_vec()).collect()
    }

    pub(crate) async fn has(&self, count: usize) {
        let shown = Shown(self);
        until(&format!("{count} items"), || self.items().len() == count).await;
        std::mem::forget(shown);
    }

    pub(crate) async fn closed(&self, reason: &str, count: u64) {
        until(&format!("{count} sessions closed as {reason}"), || {
            self.peers().closed.get(reason) == Some(&count)
        })
        .await;
    }

    pub(crate) async fn stop(self) -> Replica<PipelineDoc> {
        self.stop.cancel();
        within("the end", self.transport.stopped()).await;
        self.replica
    }
}

/// Says how things stand when a wait fails.
struct Shown<'a>(&'a Node);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        eprintln!("{} items, {:?}, {:#?}", self.0.items().len(), self.0.replica.stats(), self.0.peers());
    }
}

pub(crate) async fn accept_all(listener: TcpListener, transport: Transport, stop: CancellationToken) {
    loop {
        let (stream, addr) = tokio::select! {
            accepted = listener.accept() => accepted.expect("the listener works"),
            () = stop.cancelled() => return,
        };
        stream.set_nodelay(true).expect("a TCP socket");
        let transport = transport.clone();
        let service = service_fn(move |mut request| {
            let response = match transport.accept(&mut request, Some(addr)) {
                Ok(response) => response.map(|()| Empty::<Bytes>::new()),
                Err(error) => {
                    let mut response = Response::new(Empty::new());
                    *response.status_mut() = error.status();
                    response
                }
            };
            async move { Ok::<_, Infallible>(response) }
        });
        let http = hyper::server::conn::http1::Builder::new();
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut pause = tokio::time::interval(Duration::from_millis(2));
    within(what, async {
        while !condition() {
            pause.tick().await;
        }
    })
    .await;
}

/// Waits for something, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} never came"))
}

/// A peer written by hand: it speaks WebSocket and nothing else.
pub(crate) struct Peer {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Peer {
    pub(crate) async fn connect(node: &Node) -> Self {
        let (socket, _) = connect_async(node.url()).await.expect("the node is there");
        Self { socket }
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.expect("the node reads");
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub(crate) async fn binary(&mut self, bytes: impl Into<Bytes>) {
        self.send(Message::binary(bytes)).await;
    }

    /// Returns the next data frame, or the close code.
    pub(crate) async fn next(&mut self) -> Result<Message, Option<u16>> {
        within("a frame", async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                    Some(Ok(message)) => return Ok(message),
                    Some(Err(_)) | None => return Err(None),
                }
            }
        })
        .await
    }

    /// Reads to the end: how many data frames, and the close code.
    pub(crate) async fn end(&mut self) -> (usize, Option<u16>) {
        let mut count = 0;
        loop {
            match self.next().await {
                Ok(_) => count += 1,
                Err(code) => return (count, code),
            }
        }
    }
}
