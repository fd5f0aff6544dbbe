//! How long an edit takes from one node to another over loopback, how fast a whole document arrives, and what
//! an idle peer costs; with the floors of this machine in the same run: a naive echo over the same WebSocket
//! library, and signing and checking a signature.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark reads the clock, and may panic"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bft_json_crdt::keypair::make_keypair;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use gangline_doc::{LogSeq, NewItem, Patch, PipelineDoc, ReadLimit, Replica, ReplicaSettings, board};
use gangline_store::MemoryOpLog;
use gangline_transport::{Transport, TransportSettings};
use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async};
use tokio_util::sync::CancellationToken;

/// Edits that are timed one by one.
const EDITS: usize = 2_000;
/// Ops of the document that is sent as a whole.
const DOCUMENT_OPS: usize = 10_000;
/// Peers that do nothing.
const IDLE_PEERS: usize = 300;

struct Node {
    replica: Replica<PipelineDoc>,
    transport: Transport,
    url: String,
}

async fn node() -> Node {
    let log = Arc::new(MemoryOpLog::new());
    let replica: Replica<PipelineDoc> =
        Replica::open(make_keypair(), log, ReplicaSettings::default()).expect("an empty log opens");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}/crdt-sync", listener.local_addr().expect("it is bound"));
    let source = Arc::new(replica.clone());
    let stop = CancellationToken::new();
    let transport = Transport::new(vec![source], None, Arc::new(|| 0), TransportSettings::default(), stop);
    let server = transport.clone();
    tokio::spawn(async move {
        while let Ok((stream, addr)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            serve(stream, addr, server.clone());
        }
    });
    Node { replica, transport, url }
}

fn serve(stream: TcpStream, addr: SocketAddr, transport: Transport) {
    let service = service_fn(move |mut request| {
        let response = transport.accept(&mut request, Some(addr)).expect("a WebSocket handshake");
        async move { Ok::<_, Infallible>(response.map(|()| Empty::<Bytes>::new())) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    tokio::spawn(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
}

impl Node {
    fn dial(&self, other: &Self) {
        self.transport.dial(other.url.parse().expect("a good URL"), Box::new(|| 0.0));
    }

    fn add(&self, name: &str) {
        let result = self.replica.edit(0, |editor| board::add(editor, NewItem::new(name)));
        drop(result.expect("a good edit"));
    }

    fn set_stage(&self, stage: &str) {
        let patch = Patch::from_json(serde_json::json!({ "stage": stage })).expect("a good patch");
        drop(self.replica.edit(0, |editor| board::patch(editor, "item", &patch)).expect("a good edit"));
    }

    fn durable(&self) -> watch::Receiver<LogSeq> {
        let (tell, told) = watch::channel(self.replica.durable());
        let replica = self.replica.clone();
        let subscription = replica.clone().subscribe(Box::new(move |seq| {
            tell.send_replace(seq);
        }));
        std::mem::forget(subscription);
        told
    }
}

async fn reaches(told: &mut watch::Receiver<LogSeq>, count: u64) {
    told.wait_for(|seq| seq.0 >= count).await.expect("the node is there");
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_nanos() as f64 / 1_000.0;
    println!("{what:<44} p50 {:>8.1} µs   p99 {:>8.1} µs", at(50), at(99));
}

async fn propagation() {
    let (alice, bob, carol) = (node().await, node().await, node().await);
    alice.add("item");
    bob.dial(&alice);
    carol.dial(&bob);
    let (mut at_bob, mut at_carol) = (bob.durable(), carol.durable());
    reaches(&mut at_carol, 1).await;
    let (mut local, mut direct, mut relayed) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..EDITS {
        let start = Instant::now();
        alice.set_stage(&format!("{n}_stage"));
        local.push(start.elapsed());
        reaches(&mut at_bob, n as u64 + 2).await;
        direct.push(start.elapsed());
        reaches(&mut at_carol, n as u64 + 2).await;
        relayed.push(start.elapsed());
    }
    report("edit, signed and in the log", local);
    report("… → applied by a peer", direct);
    report("… → applied by a peer of that peer", relayed);
}

async fn document() {
    let alice = node().await;
    alice.add("item");
    for n in 1..DOCUMENT_OPS {
        alice.set_stage(&format!("{n}_stage"));
    }
    let bob = node().await;
    let mut at_bob = bob.durable();
    let start = Instant::now();
    bob.dial(&alice);
    reaches(&mut at_bob, DOCUMENT_OPS as u64).await;
    let time = start.elapsed().as_secs_f64();
    println!("{DOCUMENT_OPS} ops to a new peer: {time:.3} s, {:.0} ops/s", DOCUMENT_OPS as f64 / time);
}

fn resident_kib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

async fn idle() {
    let alice = node().await;
    alice.add("item");
    let mut peers = Vec::new();
    // The first ones pay for what all share.
    for round in [50, IDLE_PEERS] {
        let before = resident_kib();
        for _ in 0..round {
            peers.push(quiet_peer(&alice.url).await);
        }
        if let (Some(before), Some(after), IDLE_PEERS) = (before, resident_kib(), round) {
            println!("an idle peer takes {:.1} KiB", (after - before) / IDLE_PEERS as f64);
        }
    }
}

/// A peer that takes next to no memory itself: a bare TCP stream behind a WebSocket handshake.
async fn quiet_peer(url: &str) -> TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = url.trim_start_matches("ws://").trim_end_matches("/crdt-sync");
    let mut stream = TcpStream::connect(host).await.expect("the node is there");
    let request = format!(
        "GET /crdt-sync HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = [0_u8; 2_048];
    let mut seen = Vec::new();
    // The answer and the bulk with one item.
    while !seen.windows(2).any(|end| end == b"]}") {
        let count = stream.read(&mut answer).await.expect("it answers");
        seen.extend_from_slice(&answer[..count]);
    }
    stream
}

/// The same bytes through the same library, and nothing else.
async fn echo(frame: Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a peer");
        let _ = stream.set_nodelay(true);
        let mut socket = accept_async(stream).await.expect("a handshake");
        while let Some(Ok(message)) = socket.next().await {
            if message.is_binary() {
                let _ = socket.send(message).await;
            }
        }
    });
    let (mut socket, _) = connect_async(url).await.expect("the echo is there");
    let mut times = Vec::new();
    for _ in 0..EDITS {
        let start = Instant::now();
        socket.send(Message::binary(frame.clone())).await.expect("it reads");
        let _ = socket.next().await;
        times.push(start.elapsed());
    }
    report("floor: echo of the same frame, there and back", times);
}

fn cryptography() {
    let keypair = make_keypair();
    let (mut sign, mut verify) = (Vec::new(), Vec::new());
    let log = Arc::new(MemoryOpLog::new());
    let replica: Replica<PipelineDoc> =
        Replica::open(keypair.clone(), log, ReplicaSettings::default()).expect("an empty log opens");
    drop(replica.edit(0, |editor| board::add(editor, NewItem::new("item"))).expect("a good edit"));
    let limit = ReadLimit { count: 1, bytes: 1 };
    let entries = replica.entries(LogSeq::START, limit).expect("memory can be read");
    for _ in 0..EDITS {
        let start = Instant::now();
        std::hint::black_box(keypair.sign(std::hint::black_box(&[7; 32])));
        sign.push(start.elapsed());
        let start = Instant::now();
        assert!(std::hint::black_box(entries[0].change()).verify());
        verify.push(start.elapsed());
    }
    report("floor: sign", sign);
    report("floor: check a signature", verify);
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let sample = node().await;
        sample.add("item");
        let limit = ReadLimit { count: 1, bytes: 1 };
        let entries = sample.replica.entries(LogSeq::START, limit).expect("memory can be read");
        idle().await;
        echo(entries[0].v1().to_vec()).await;
        cryptography();
        propagation().await;
        document().await;
    });
}
