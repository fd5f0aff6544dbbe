//! The dialer: it comes back, it waits longer each time, and it says how bad it is.

use std::sync::{Arc, Mutex};

use gangline_transport::{BackoffSettings, PeerState, RENDEZVOUS_ERROR_THRESHOLD, TransportSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::harness::{Node, until};

fn eager() -> TransportSettings {
    let backoff = BackoffSettings { first_ms: 1, max_ms: 20 };
    TransportSettings { backoff, ..TransportSettings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rendezvous_that_restarts_is_found_again() {
    let alice = Node::start().await;
    let addr = alice.addr;
    let bob = Node::with(eager()).await;
    bob.dial(&alice);
    alice.add("a0");
    bob.has(1).await;

    let replica = alice.stop().await;
    until("bob has noticed", || !bob.peers().closed.is_empty()).await;
    bob.add("b0");
    until("bob keeps trying", || bob.peers().dial_failures >= 3).await;
    let status = bob.peers().peers[0].clone();
    assert!(status.last_error.is_some_and(|error| error.starts_with("cannot connect: ")));

    let alice = Node::serve(replica, TransportSettings::default(), addr).await;
    alice.has(2).await;
    alice.add("a1");
    bob.has(3).await;
    until("bob is live", || bob.peers().peers[0].state == PeerState::Live).await;
    assert_eq!(bob.peers().peers[0].failures, 0);
}

#[tokio::test]
async fn a_stop_interrupts_the_wait() {
    let bob = Node::with(TransportSettings {
        backoff: BackoffSettings { first_ms: 3_600_000, max_ms: 3_600_000 },
        ..TransportSettings::default()
    })
    .await;
    bob.transport.dial(dead_url().await.parse().expect("a good URL"), Box::new(|| 0.0));
    until("bob waits", || {
        matches!(bob.peers().peers[0].state, PeerState::BackingOff { retry_in_ms: 3_600_000 })
    })
    .await;
    bob.stop().await;
}

/// What a server sent right behind its answer used to be lost with the handshake's read buffer, and the session
/// with it: seen as two nodes on one thread that never agreed.
#[tokio::test]
async fn what_comes_with_the_answer_is_not_lost() {
    let author = Node::start().await;
    author.add("early");
    let frame = author.frames().remove(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("bob dials");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.expect("bob asks");
        }
        let request = String::from_utf8(request).expect("a request is text");
        let key = request
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
            .map(|(_, key)| derive_accept_key(key.as_bytes()))
            .expect("there is a key");
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {key}\r\n\r\n"
        )
        .into_bytes();
        let length = u16::try_from(frame.len()).expect("a short frame");
        answer.extend([0x82, 126]);
        answer.extend(length.to_be_bytes());
        answer.extend(frame);
        stream.write_all(&answer).await.expect("bob reads");
        stream
    });
    let bob = Node::start().await;
    bob.transport.dial(format!("ws://{addr}").parse().expect("a good URL"), Box::new(|| 0.0));
    bob.has(1).await;
    drop(server.await.expect("it answered"));
}

/// Something answers there, but not a node.
#[tokio::test]
async fn what_is_no_node_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.try_write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let bob = Node::with(eager()).await;
    bob.transport.dial(format!("ws://{addr}").parse().expect("a good URL"), Box::new(|| 0.5));
    until("bob keeps trying", || bob.peers().dial_failures >= 2).await;
    assert!(bob.peers().peers[0].last_error.as_ref().is_some_and(|e| e.starts_with("no WebSocket there: ")));
}

/// Collects the levels of the dialer's complaints.
#[derive(Clone, Default)]
struct Complaints(Arc<Mutex<Vec<Level>>>);

struct IsComplaint(bool);

impl Visit for IsComplaint {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 |= field.name() == "message" && format!("{value:?}") == "rendezvous not reached";
    }
}

impl Subscriber for Complaints {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("gangline_transport")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut is_complaint = IsComplaint(false);
        event.record(&mut is_complaint);
        if is_complaint.0 {
            self.0.lock().expect("nobody panics").push(*event.metadata().level());
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn from_the_tenth_failure_on_it_is_an_error() {
    let complaints = Complaints::default();
    let _guard = tracing::subscriber::set_default(complaints.clone());
    let levels = || complaints.0.lock().expect("nobody panics").clone();
    let bob = Node::with(eager()).await;
    bob.transport.dial(dead_url().await.parse().expect("a good URL"), Box::new(|| 1.0));
    until("thirteen failures", || levels().len() >= 13).await;
    for (failure, level) in (1..).zip(levels()) {
        let expect = if failure < RENDEZVOUS_ERROR_THRESHOLD { Level::WARN } else { Level::ERROR };
        assert_eq!(level, expect, "failure {failure}");
    }
}

/// An address where nobody listens.
async fn dead_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("ws://{}", listener.local_addr().expect("it is bound"))
}
