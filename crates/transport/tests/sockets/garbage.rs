//! What no honest peer sends. The node stays up, and its document as it was.

use gangline_transport::TransportSettings;
use gangline_transport::session::SessionSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::harness::{Node, Peer, until, within};

fn bad_payloads(good: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"{}".to_vec(),
        b"null".to_vec(),
        br#"{"v":2,"op":{}}"#.to_vec(),
        br#"{"v":1,"op":{}}"#.to_vec(),
        br#"{"type":"bulk"}"#.to_vec(),
        br#"{"type":"hello"}"#.to_vec(),
        "[".repeat(200_000).into_bytes(),
        ("{\"a\":".repeat(200_000) + "1" + &"}".repeat(200_000)).into_bytes(),
        vec![b' '; 1 << 20],
    ];
    payloads.extend((1..good.len()).step_by(97).map(|at| good[..at].to_vec()));
    payloads.extend((2..good.len()).step_by(41).map(|at| {
        let mut flipped = good.to_vec();
        flipped[at] ^= 0x10;
        flipped
    }));
    payloads
}

#[tokio::test]
async fn bad_frames_are_skipped_and_good_ones_taken() {
    let (alice, bob) = (Node::start().await, Node::start().await);
    alice.add("mine");
    bob.add("b0");
    bob.add("b1");
    let good = bob.frames();
    let mut peer = Peer::connect(&alice).await;
    let before = alice.items();
    let mut sent = 0;
    for payload in bad_payloads(&good[0]) {
        // A flip may hit text that has two spellings; then the frame is good, or its signature is bad.
        if gangline_wire::decode(&payload).is_ok_and(|op| op.change().verify()) {
            continue;
        }
        sent += 1;
        peer.binary(payload.clone()).await;
        if let Ok(text) = String::from_utf8(payload) {
            sent += 1;
            peer.text(&text).await;
        }
    }
    for bytes in [&[0x80_u8][..], &[0xff; 100], &[0xc3, 0x28]] {
        sent += 1;
        peer.binary(bytes.to_vec()).await;
    }
    until("all counted", || alice.peers().totals.bad_frames == sent).await;
    assert_eq!(alice.items(), before);
    assert!(alice.peers().peers[0].last_error.as_ref().is_some_and(|error| error.starts_with("bad frame: ")));

    peer.binary(good[1].clone()).await;
    peer.binary(good[0].clone()).await;
    alice.has(3).await;
    assert!(alice.peers().closed.is_empty(), "the session lives on");
}

#[tokio::test]
async fn a_peer_that_only_sends_garbage_is_disconnected() {
    let alice = Node::start().await;
    let mut peer = Peer::connect(&alice).await;
    for _ in 0..1_000 {
        peer.binary(&b"garbage"[..]).await;
    }
    assert_eq!(peer.end().await, (1, Some(1008)));
    alice.closed("too_many_bad_frames", 1).await;
    alice.add("still here");
    let mut peer = Peer::connect(&alice).await;
    assert!(peer.next().await.is_ok(), "only that connection was closed");
}

/// Bytes that are no WebSocket, frames that no WebSocket may send, and connections that end anywhere.
#[tokio::test]
async fn broken_websockets_end_their_own_session_only() {
    let alice = Node::start().await;
    let handshake = format!(
        "GET /crdt-sync HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        alice.addr
    );
    let broken: [&[u8]; 8] = [
        b"\x00\x00\x00\x00garbage that goes on",
        b"\x81\x05hello",                                            // not masked
        b"\xf1\x80\x00\x00\x00\x00",                                 // reserved bits
        b"\x83\x80\x00\x00\x00\x00",                                 // reserved opcode
        b"\x80\x80\x00\x00\x00\x00",                                 // a continuation of nothing
        b"\x81\x82\x00\x00\x00\x00\xff\xfe",                         // text that is not UTF-8
        b"\x09\x80\x00\x00\x00\x00",                                 // a fragmented ping
        b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", // 2^64 - 1 bytes
    ];
    for bytes in broken {
        let mut stream = TcpStream::connect(alice.addr).await.expect("the node is there");
        stream.write_all(handshake.as_bytes()).await.expect("it reads");
        stream.write_all(bytes).await.expect("it reads");
        let mut rest = Vec::new();
        // It may end by a reset, if the node closed before it had read everything.
        let _ = within("the end", stream.read_to_end(&mut rest)).await;
        assert!(rest.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&rest));
    }
    for cut in (1..handshake.len()).step_by(20) {
        let mut stream = TcpStream::connect(alice.addr).await.expect("the node is there");
        stream.write_all(&handshake.as_bytes()[..cut]).await.expect("it reads");
    }
    until("all gone", || alice.peers().peers.is_empty()).await;
    alice.add("still here");
    assert!(Peer::connect(&alice).await.next().await.is_ok());
}

#[tokio::test]
async fn frames_over_the_limit_are_refused() {
    let alice = Node::start().await;
    let mut peer = Peer::connect(&alice).await;
    assert!(peer.next().await.is_ok());
    // The node may be gone before all of it is written.
    let huge = Message::binary(vec![b'x'; 64 << 20]);
    let _ = within("the refusal", futures_util::SinkExt::send(&mut peer.socket, huge)).await;
    alice.closed("frame_too_large", 1).await;

    let mut peer = Peer::connect(&alice).await;
    for n in 0..64 {
        let kind = if n == 0 { Data::Binary } else { Data::Continue };
        let frame = Frame::message(vec![b'x'; 1 << 20], OpCode::Data(kind), n == 63);
        if futures_util::SinkExt::send(&mut peer.socket, Message::Frame(frame)).await.is_err() {
            break;
        }
    }
    alice.closed("frame_too_large", 2).await;

    // The largest frame that is read is bad, and skipped.
    let mut peer = Peer::connect(&alice).await;
    peer.binary(vec![b'x'; 16 << 20]).await;
    until("it is counted", || alice.peers().totals.bad_frames == 1).await;
    assert_eq!(alice.peers().peers.len(), 1);
}

#[tokio::test]
async fn a_message_in_many_fragments_with_pings_between_is_one_frame() {
    let (alice, bob) = (Node::start().await, Node::start().await);
    bob.add_named("long", 50_000);
    let frame = bob.frames().remove(0);
    let mut peer = Peer::connect(&alice).await;
    let pieces = frame.len().div_ceil(1_000);
    for (n, piece) in frame.chunks(1_000).enumerate() {
        let kind = if n == 0 { Data::Binary } else { Data::Continue };
        let frame = Frame::message(piece.to_vec(), OpCode::Data(kind), n + 1 == pieces);
        peer.send(Message::Frame(frame)).await;
        peer.send(Message::Ping("x".into())).await;
    }
    alice.has(1).await;
}

#[tokio::test]
async fn silence_ends_a_session() {
    let session = SessionSettings { ping_ms: 20, idle_ms: 200, ..SessionSettings::default() };
    let alice = Node::with(TransportSettings { session, ..TransportSettings::default() }).await;
    // It answers pings only while it is polled.
    let _silent = Peer::connect(&alice).await;
    let mut lively = Peer::connect(&alice).await;
    let lively = tokio::spawn(async move { lively.end().await });
    alice.closed("idle", 1).await;
    assert_eq!(alice.peers().peers.len(), 1);
    assert!(!lively.is_finished());
}
