//! What it costs two nodes to meet again, to meet first, and to pass on what is new: this protocol (v2), the first
//! one (v1) and, where one exists, a naive relay of the same frames, in one run over loopback sockets and logs in
//! memory. `cargo bench -p gangline-transport --bench sync -- [OPS]`, where OPS is the length of the history.
//!
//! Histories have three authors who take turns, one op to a change. *Signed*: the default document, whose every
//! signature travels and is checked. *Covered*: any other document, where a signature covers its author's last 256.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark reads the clock, and may panic"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bft_json_crdt::json_crdt::{BaseCrdt, Change, CrdtNode, DocumentId, add_crdt_fields};
use bft_json_crdt::keypair::{Keypair, make_keypair};
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bytes::Bytes;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use gangline_doc::{LogSeq, OpLog, OriginId, Record, Replica, ReplicaSettings};
use gangline_store::MemoryOpLog;
use gangline_transport::{Identity, NoCalls, NoHost, OpenGate, Transport, TransportSettings};
use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, connect_async};
use tokio_util::sync::CancellationToken;

/// Length of a history when none is given.
const OPS: usize = 100_000;
/// Edits that are timed one by one.
const EDITS: usize = 1_000;
/// Peers of a relay.
const READERS: usize = 10;
/// Sessions that do nothing.
const IDLE_SESSIONS: usize = 400;
/// Edits that are fanned out as fast as they go.
const BURST: usize = 20_000;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Notes {
    notes: MapCrdt<LwwRegisterCrdt<String>>,
}

const SIGNED: DocumentId = DocumentId::DEFAULT;
const COVERED: DocumentId = DocumentId([5; 32]);

/// Three authors who take turns, and see what the others did every 30 edits.
fn history(document: DocumentId, ops: usize) -> Vec<Change> {
    let keys: Vec<Keypair> = (0..3).map(|n| Keypair::from_seed(&[n + 1; 32])).collect();
    let mut bases: Vec<_> = keys.iter().map(|key| BaseCrdt::<Notes>::with_document(key, document)).collect();
    let mut changes: Vec<Change> = Vec::with_capacity(ops);
    let mut told = 0;
    while changes.len() < ops {
        for (key, base) in keys.iter().zip(&mut bases) {
            for _ in 0..10 {
                let name = format!("{}", changes.len() % 1_000);
                let op = base.doc.notes.put(&name, format!("value {}", changes.len())).sign(key);
                changes.push(op.into_change());
            }
        }
        for base in &mut bases {
            let others = changes[told..].iter().filter(|change| change.author() != base.author());
            base.load(others.cloned().collect()).expect("an honest history");
        }
        told = changes.len();
    }
    changes.truncate(ops);
    changes
}

struct Node {
    replica: Replica<Notes>,
    transport: Transport,
    url: String,
}

/// A node whose log holds these changes already.
async fn node(document: DocumentId, changes: &[Change], is_v2: bool) -> Node {
    let log = MemoryOpLog::new();
    let records = changes.iter().map(|change| {
        let vouched = document == SIGNED || change.verify();
        Record { change: change.clone(), received_at_ms: 0, vouched }
    });
    log.append(records.collect(), Box::new(|result| result.expect("memory takes it")));
    let key = make_keypair();
    let settings = ReplicaSettings { document, ..ReplicaSettings::default() };
    let replica: Replica<Notes> = Replica::open(key.clone(), Arc::new(log), settings).expect("the log opens");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}/crdt-sync", listener.local_addr().expect("it is bound"));
    let nonces = AtomicUsize::new(0);
    let nonce = move || {
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&nonces.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        Some(nonce)
    };
    let (gate, calls) = (Arc::new(OpenGate), Arc::new(NoCalls));
    let identity =
        is_v2.then(|| Identity { keypair: key, nonce: Arc::new(nonce), gate, calls, host: Arc::new(NoHost) });
    let stop = CancellationToken::new();
    let sources: Vec<Arc<dyn gangline_doc::SyncSource>> = vec![Arc::new(replica.clone())];
    let transport = Transport::new(sources, identity, Arc::new(|| 0), TransportSettings::default(), stop);
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

    fn durable(&self) -> watch::Receiver<LogSeq> {
        let (tell, told) = watch::channel(self.replica.durable());
        let subscription = self.replica.subscribe(Box::new(move |seq| {
            tell.send_replace(seq);
        }));
        std::mem::forget(subscription);
        told
    }

    fn put(&self, value: &str) {
        put_in(&self.replica, value);
    }
}

async fn reaches(told: &mut watch::Receiver<LogSeq>, count: usize) {
    told.wait_for(|seq| seq.0 >= count as u64).await.expect("the node is there");
}

/// CPU time of this process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = behind_name.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // After the state: utime and stime are the 11th and 12th numbers.
    (fields.get(10).unwrap_or(&0.0) + fields.get(11).unwrap_or(&0.0)) / 100.0
}

/// Two nodes meet, of which one lacks the last `missing` changes.
async fn meet(what: &str, document: DocumentId, changes: &[Change], missing: usize, is_v2: bool) {
    let full = node(document, changes, is_v2).await;
    let lacking = node(document, &changes[..changes.len() - missing], is_v2).await;
    let mut at_lacking = lacking.durable();
    let (start, cpu_before) = (Instant::now(), cpu());
    lacking.dial(&full);
    let mut first = None;
    if missing > 0 {
        reaches(&mut at_lacking, changes.len() - missing + 1).await;
        first = Some(start.elapsed());
    }
    reaches(&mut at_lacking, changes.len()).await;
    // Until both know that they agree.
    while lacking.transport.peers().peers.iter().any(|peer| peer.state != gangline_transport::PeerState::Live)
    {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let took = start.elapsed();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let peers = lacking.transport.peers();
    let first =
        first.map_or_else(String::new, |first| format!(", first {:.1} ms", first.as_secs_f64() * 1e3));
    println!(
        "{what:<44} {:>9.1} ms{first}, {:.2} s CPU of both, {} bytes in, {} out",
        took.as_secs_f64() * 1e3,
        cpu() - cpu_before,
        peers.received_bytes,
        peers.sent_bytes,
    );
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_nanos() as f64 / 1_000.0;
    println!("{what:<44} p50 {:>8.1} µs   p99 {:>8.1} µs", at(50), at(99));
}

/// One writer, a relay, ten readers.
async fn relay(is_v2: bool) {
    let name = if is_v2 { "v2" } else { "v1" };
    let hub = node(SIGNED, &[], is_v2).await;
    let writer = node(SIGNED, &[], is_v2).await;
    writer.dial(&hub);
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let reader = node(SIGNED, &[], is_v2).await;
        reader.dial(&hub);
        readers.push((reader.durable(), reader));
    }
    writer.put("first");
    for (durable, _) in &mut readers {
        reaches(durable, 1).await;
    }
    let (mut one, mut all) = (Vec::new(), Vec::new());
    for n in 0..EDITS {
        let start = Instant::now();
        writer.put(&format!("{n}"));
        for (at, (durable, _)) in readers.iter_mut().enumerate() {
            reaches(durable, n + 2).await;
            if at == 0 {
                one.push(start.elapsed());
            }
        }
        all.push(start.elapsed());
    }
    report(&format!("{name}: writer → relay → one reader, checked"), one);
    report(&format!("{name}: writer → relay → all {READERS} readers, checked"), all);
    let (start, cpu_before) = (Instant::now(), cpu());
    let before = EDITS + 1;
    for n in 0..BURST {
        writer.put(&format!("{n}"));
        // The log's readers keep up, so that nobody is dropped.
        if n % 500 == 499 {
            for (durable, _) in &mut readers {
                reaches(durable, before + n + 1 - 499.min(n)).await;
            }
        }
    }
    for (durable, _) in &mut readers {
        reaches(durable, before + BURST).await;
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "{:<44} {:>9.0} op-deliveries/s, each checked ({:.1} s CPU)",
        format!("{name}: burst through the relay"),
        (BURST * READERS) as f64 / took,
        cpu() - cpu_before
    );
}

type Sink = SplitSink<WebSocketStream<TcpStream>, Message>;

/// Passes on each frame to all others, and looks at none.
async fn naive() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("it is bound"));
    let sinks: Arc<Mutex<Vec<(usize, Sink)>>> = Arc::default();
    tokio::spawn(async move {
        let mut next = 0;
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (sink, mut source) = accept_async(stream).await.expect("a handshake").split();
            let (id, sinks) = (next, Arc::clone(&sinks));
            next += 1;
            sinks.lock().await.push((id, sink));
            tokio::spawn(async move {
                while let Some(Ok(message)) = source.next().await {
                    for (other, sink) in sinks.lock().await.iter_mut() {
                        if *other != id {
                            let _ = sink.send(message.clone()).await;
                        }
                    }
                }
            });
        }
    });
    let (mut writer, _) = connect_async(&url).await.expect("the relay is there");
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(connect_async(&url).await.expect("the relay is there").0);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (mut one, mut all) = (Vec::new(), Vec::new());
    for _ in 0..EDITS {
        let start = Instant::now();
        writer.send(Message::binary(vec![7; 300])).await.expect("it reads");
        for (at, reader) in readers.iter_mut().enumerate() {
            let _ = reader.next().await;
            if at == 0 {
                one.push(start.elapsed());
            }
        }
        all.push(start.elapsed());
    }
    report("naive relay: one reader, nothing checked", one);
    report(&format!("naive relay: all {READERS} readers, nothing checked"), all);
}

/// What one end of an idle session takes, by what the process takes for both ends of many.
async fn idle(is_v2: bool) {
    let resident_kib = || -> Option<f64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let (here, there) = (node(SIGNED, &[], is_v2).await, node(SIGNED, &[], is_v2).await);
    here.put("one op");
    // The first ones pay for what all share.
    for round in [100, IDLE_SESSIONS] {
        let before = resident_kib();
        let wanted = there.transport.peers().peers.len() + round;
        for _ in 0..round {
            there.dial(&here);
        }
        let is_live =
            |peer: &gangline_transport::PeerStatus| peer.state == gangline_transport::PeerState::Live;
        while there.transport.peers().peers.iter().filter(|peer| is_live(peer)).count() < wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        if let (Some(before), Some(after), IDLE_SESSIONS) = (before, resident_kib(), round) {
            let name = if is_v2 { "v2" } else { "v1" };
            let each = (after - before) / (2.0 * round as f64);
            println!("{:<44} {each:>9.1} KiB", format!("{name}: one end of an idle session"));
        }
    }
}

/// What sessions take and do on which many documents are open and nothing happens; and how long an edit of one of them
/// takes from node to node.
async fn many_documents(count: u32) {
    let resident_kib = || -> Option<f64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let (here, there) = (node(SIGNED, &[], true).await, node(SIGNED, &[], true).await);
    let mut replicas = Vec::new();
    for n in 0..count {
        let mut id = [9; 32];
        id[..4].copy_from_slice(&n.to_le_bytes());
        for of in [&here, &there] {
            let settings = ReplicaSettings { document: DocumentId(id), ..ReplicaSettings::default() };
            let log = Arc::new(MemoryOpLog::new());
            let replica: Replica<Notes> = Replica::open(make_keypair(), log, settings).expect("it opens");
            of.transport.open_document(Arc::new(replica.clone())).expect("there is room");
            replicas.push(replica);
        }
        // So that they differ at first.
        put_in(&replicas[replicas.len() - 2], "one op");
    }
    let until_live = |wanted: usize| {
        let there = there.transport.clone();
        async move {
            let is_live =
                |peer: &gangline_transport::PeerStatus| peer.state == gangline_transport::PeerState::Live;
            while there.peers().peers.iter().filter(|peer| is_live(peer)).count() < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let (start, before) = (Instant::now(), cpu());
    there.dial(&here);
    until_live(1).await;
    let name = format!("v2: {count} documents: first sync, one op in each");
    println!(
        "{name:<44} {:>9.1} ms, {:.2} s CPU of both",
        start.elapsed().as_secs_f64() * 1e3,
        cpu() - before
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sessions = 20;
    let before = resident_kib();
    let start = Instant::now();
    for _ in 0..sessions {
        there.dial(&here);
    }
    until_live(1 + sessions).await;
    let took = start.elapsed().as_secs_f64() * 1e3 / sessions as f64;
    tokio::time::sleep(Duration::from_millis(500)).await;
    if let (Some(before), Some(after)) = (before, resident_kib()) {
        let each = (after - before) / (2.0 * sessions as f64);
        let name = format!("v2: {count} documents: one end of a session");
        println!(
            "{name:<44} {each:>9.1} KiB, {:.0} B each; {took:.1} ms to meet",
            each * 1024.0 / f64::from(count)
        );
    }
    let before = cpu();
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!(
        "{:<44} {:>9.2} s CPU in 5 s",
        format!("v2: {count} documents: {} sessions idle", 1 + sessions),
        cpu() - before
    );
    let (tell, mut told) = watch::channel(LogSeq::START);
    let subscription = replicas[1].subscribe(Box::new(move |seq| {
        tell.send_replace(seq);
    }));
    let mut times = Vec::new();
    for n in 0..EDITS {
        let start = Instant::now();
        put_in(&replicas[0], &format!("{n}"));
        reaches(&mut told, n + 2).await;
        times.push(start.elapsed());
    }
    drop(subscription);
    report(&format!("v2: {count} documents: an edit of one"), times);
}

fn put_in(replica: &Replica<Notes>, value: &str) {
    let result = replica.edit(0, |editor| {
        let op = editor.base().doc.notes.put("key", value);
        editor.record(op);
        Ok::<_, Infallible>(())
    });
    drop(result.expect("a good edit"));
}

/// How fast a replica takes in what peers send, on all cores.
fn ingest(what: &str, document: DocumentId, changes: &[Change], batch: usize) {
    let settings = ReplicaSettings { document, ..ReplicaSettings::default() };
    let replica: Replica<Notes> =
        Replica::open(make_keypair(), Arc::new(MemoryOpLog::new()), settings).expect("an empty log opens");
    let start = Instant::now();
    for changes in changes.chunks(batch) {
        let (batch, _) = replica.apply(0, OriginId(1), changes.to_vec()).expect("memory takes it");
        assert!(batch.states.iter().all(|state| state.is_applied()), "an honest history");
    }
    println!("{what:<44} {:>9.0} ops/s", changes.len() as f64 / start.elapsed().as_secs_f64());
}

fn main() {
    let ops = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(OPS);
    let (signed, covered) = (history(SIGNED, ops), history(COVERED, ops));
    println!("histories of {ops} ops by three authors");
    let few = &signed[..signed.len().min(20_000)];
    ingest("taken in one by one, each checked", SIGNED, &few[..few.len().min(5_000)], 1);
    ingest("taken in by 512, each checked", SIGNED, few, 512);
    ingest("taken in by 512, as covered chains", COVERED, &covered[..few.len()], 512);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        idle(false).await;
        idle(true).await;
        many_documents(50).await;
        many_documents(1_000).await;
        naive().await;
        relay(false).await;
        relay(true).await;
        meet("v1: again, nothing new", SIGNED, &signed, 0, false).await;
        meet("v2: again, nothing new", SIGNED, &signed, 0, true).await;
        meet("v1: again, 10 missing", SIGNED, &signed, 10, false).await;
        meet("v2: again, 10 missing", SIGNED, &signed, 10, true).await;
        meet("v2: again, a tenth missing", SIGNED, &signed, ops / 10, true).await;
        meet("v2: again, a tenth missing, covered", COVERED, &covered, ops / 10, true).await;
        meet("v1: first sync", SIGNED, &signed, ops, false).await;
        meet("v2: first sync, every signature", SIGNED, &signed, ops, true).await;
        meet("v2: first sync, covered", COVERED, &covered, ops, true).await;
    });
}
