//! Garbage of every kind, sent to a node that others work with: it stays up, its document unchanged by
//! anything bad, its memory flat, and the others notice nothing.

use std::io;

use bft_json_crdt::json_crdt::{BaseCrdt, CrdtNode, DocumentId, SignedOp, add_crdt_fields};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use gangline_tests::forge::with_header;
use gangline_tests::node::Node;
use gangline_tests::observe::{heads, memory_bytes, op_count, status, wait_for_one_history, wait_for_status};
use gangline_tests::v1::{Author, Peer, binary, bulk, op_json};
use gangline_tests::websocket::{self, Sender};
use serde_json::{Value, json};

use crate::Team;
use crate::board::{add, find, ids};

const MIB: usize = 1 << 20;
/// What a node may have grown by, once all of this is over.
const GROWTH_MAX: u64 = 64 << 20;

/// A node under attack, another one that is connected to it, and who attacks.
struct Scene {
    _team: Team,
    alice: Node,
    bob: Node,
    mallory: Author,
    memory: u64,
}

impl Scene {
    fn new() -> Self {
        let team = Team::new();
        let alice = team.plan("alice").start().unwrap();
        let bob = team.plan("bob").peer(&alice).start().unwrap();
        add(&alice, "from-alice");
        bob.wait_for_items(|items| ids(items).len() == 1).unwrap();
        let memory = memory_bytes(&alice).unwrap();
        Self { _team: team, alice, bob, mallory: Author::new(13), memory }
    }

    /// Connects mallory, who learns what alice has.
    fn connect(&mut self) -> Peer {
        let author = std::mem::replace(&mut self.mallory, Author::new(13));
        let mut peer = Peer::connect(&self.alice, author).unwrap();
        let heads = heads(&self.alice).unwrap();
        let knows_all = |peer: &Peer| {
            json!(peer.author.replica.heads().iter().map(ToString::to_string).collect::<Vec<_>>()) == heads
        };
        peer.receive_until(knows_all).unwrap();
        peer
    }

    /// Lets mallory `send`, and then, on the same connection, a good op. That one arrives, on both nodes, and
    /// nothing else has changed. Returns how many bad frames alice has counted.
    fn survives(&mut self, name: &str, send: impl FnOnce(&Author, &Sender) -> io::Result<()>) -> u64 {
        let before = self.shown();
        let mut peer = self.connect();
        send(&peer.author, &peer.sender).unwrap_or_else(|error| panic!("{name}: {error}"));
        let good = peer.author.add(name);
        peer.send_binary([&good]).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.assert_only_change(name, &good, before);
        let status = status(&self.alice).unwrap();
        let bad_frames = status["peers"].as_array().unwrap().last().unwrap()["bad_frames"].as_u64().unwrap();
        self.mallory = peer.author;
        bad_frames
    }

    /// Lets mallory `send`, which ends the connection: alice says goodbye with `code`, or hangs up without a
    /// word. A new connection works, and nothing else has changed.
    fn hangs_up(&mut self, name: &str, code: Option<u16>, send: impl FnOnce(&Sender) -> io::Result<()>) {
        let before = self.shown();
        let (sender, receiver) = websocket::connect(self.alice.address()).unwrap();
        // Alice may hang up before it has all been sent.
        let _ = send(&sender);
        assert_eq!(receiver.end(), code, "{name}");
        let mut peer = self.connect();
        let good = peer.author.add(name);
        peer.send_binary([&good]).unwrap();
        self.assert_only_change(name, &good, before);
        self.mallory = peer.author;
    }

    #[track_caller]
    fn assert_flat_memory(&self) {
        let growth = memory_bytes(&self.alice).unwrap().saturating_sub(self.memory);
        eprintln!("after the garbage the node has {} KiB more than before", growth >> 10);
        assert!(growth < GROWTH_MAX, "{growth} bytes more");
    }

    /// What alice shows, and of how many ops it is made.
    fn shown(&self) -> (Value, u64) {
        (self.alice.items().unwrap(), op_count(&self.alice).unwrap())
    }

    fn assert_only_change(&self, name: &str, good: &SignedOp, before: (Value, u64)) {
        let (Value::Array(mut expected), ops) = before else { unreachable!("items are an array") };
        for node in [&self.bob, &self.alice] {
            let arrived = node.wait_for_items(|items| ids(items).contains(&name));
            arrived.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert_eq!(self.alice.request("GET", "/healthz", None).unwrap().status, 200, "{name}");
        assert_eq!(heads(&self.alice).unwrap(), json!([good.digest().to_string()]), "{name}");
        assert_eq!(heads(&self.bob).unwrap(), json!([good.digest().to_string()]), "{name}");
        let (Value::Array(items), ops_now) = self.shown() else { unreachable!("items are an array") };
        expected.extend(items.last().cloned());
        assert_eq!((items, ops_now), (expected, ops + 1), "{name}");
    }
}

#[test]
fn what_is_no_frame_is_skipped() {
    let mut scene = Scene::new();
    let texts = [
        "",
        " ",
        "hello",
        "{",
        "[]",
        "null",
        "{}",
        "\u{0}\u{feff}",
        r#"{"type":7}"#,
        r#"{"type":"presence","who":"me"}"#,
        r#"{"type":"bulk""#,
        r#"{"type":"bulk"}"#,
        r#"{"type":"bulk","ops":7}"#,
        r#"{"type":"bulk","ops":[7,null,{}]}"#,
        r#"{"type":"bulk","ops":["{}"]}"#,
        r#"{"type":"op"}"#,
        r#"{"type":"op","op":"garbage"}"#,
    ];
    let bad = scene.survives("text", |_, to| texts.iter().try_for_each(|text| to.text(text.as_bytes())));
    assert_eq!(bad, texts.len() as u64);

    let binaries: [&[u8]; 12] = [
        b"",
        b"hello",
        b"{",
        b"[]",
        b"{}",
        br#"{"v":1}"#,
        br#"{"v":1,"op":{}}"#,
        br#"{"v":"1","op":{}}"#,
        br#"{"v":-1,"op":{}}"#,
        br#"{"v":1,"op":"{}"}"#,
        b"{\"v\":1,\"op\":\"\xff\xfe\"}",
        &[0x80, 1, 2],
    ];
    let bad = scene.survives("binary", |_, to| binaries.iter().try_for_each(|frame| to.binary(frame)));
    assert_eq!(bad, binaries.len() as u64);

    // The op would be good.
    let op = op_json(&Author::new(14).add("never"));
    let versions = [0, 2, 99, u64::MAX].map(|v| format!(r#"{{"v":{v},"op":{op}}}"#));
    let bad =
        scene.survives("versions", |_, to| versions.iter().try_for_each(|frame| to.binary(frame.as_bytes())));
    assert_eq!(bad, 4);

    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let nested = [
        "[".repeat(200_000),
        r#"{"a":"#.repeat(200_000),
        format!(r#"{{"type":{deep}}}"#),
        format!(r#"{{"type":"bulk","ops":{deep}}}"#),
        json!({ "type": "op", "op": deep }).to_string(),
        format!(r#"{{"v":{deep}}}"#),
        format!(r#"{{"v":1,"op":{deep}}}"#),
        format!(r#"{{"v":1,"op":{{"op":{deep}}}}}"#),
        deep,
    ];
    let bad = scene.survives("nested", |_, to| {
        nested.iter().try_for_each(|text| to.text(text.as_bytes()).and_then(|()| to.binary(text.as_bytes())))
    });
    assert_eq!(bad, 2 * nested.len() as u64);
    scene.assert_flat_memory();
}

#[test]
fn ops_that_lie_are_refused() {
    let mut scene = Scene::new();
    scene.survives("honest", |_, _| Ok(()));
    let bad = scene.survives("one flipped bit", |mallory, to| {
        let frame = binary(&next_op(mallory));
        (0..frame.len()).step_by(5).try_for_each(|place| {
            let mut frame = frame.clone();
            frame[place] ^= 1;
            to.binary(&frame)
        })
    });
    assert!(bad > 100, "{bad}");

    let another = Keypair::from_seed(&[14; 32]);
    let alice = status(&scene.alice).unwrap()["node_id"].as_str().unwrap().parse().unwrap();
    type Lie<'a> = &'a dyn Fn(&Author, &SignedOp) -> SignedOp;
    let lies: [(&str, Lie<'_>); 10] = [
        ("signed by another", &|_, op| with_header(op, &another, |_| {})),
        ("in the name of alice", &|m, op| with_header(op, &m.keypair, |header| header.author = alice)),
        ("another document", &|m, op| {
            with_header(op, &m.keypair, |header| header.document = DocumentId([7; 32]))
        }),
        ("lamport high", &|m, op| with_header(op, &m.keypair, |header| header.lamport += 1)),
        ("lamport low", &|m, op| with_header(op, &m.keypair, |header| header.lamport -= 1)),
        ("lamport endless", &|m, op| with_header(op, &m.keypair, |header| header.lamport = u64::MAX)),
        ("seq high", &|m, op| with_header(op, &m.keypair, |header| header.seq += 1)),
        ("seq endless", &|m, op| with_header(op, &m.keypair, |header| header.seq = u64::MAX)),
        ("op numbers again", &|m, op| with_header(op, &m.keypair, |header| header.counter = 1)),
        ("chain of alice", &|m, op| {
            let (seq, digest) = m.replica.version_vector()[&alice][0];
            with_header(op, &m.keypair, |header| (header.seq, header.prev) = (seq + 1, Some(digest)))
        }),
    ];
    for (name, lie) in lies {
        let bad = scene.survives(name, |mallory, to| {
            let lie = lie(mallory, &next_op(mallory));
            to.binary(&binary(&lie))?;
            to.text(bulk([op_json(&lie)].into_iter()).to_string().as_bytes())
        });
        assert_eq!(bad, 2, "{name}");
    }
    scene.assert_flat_memory();
}

#[test]
fn a_history_replayed_a_hundred_times_changes_nothing() {
    let mut scene = Scene::new();
    for number in 0..30 {
        scene.survives(&number.to_string(), |_, _| Ok(()));
    }
    let bad = scene.survives("replayed", |mallory, to| {
        let all = all_ops(mallory);
        assert_eq!(all.len(), 31);
        (0..100).try_for_each(|_| {
            to.text(bulk(all.iter().map(op_json)).to_string().as_bytes())?;
            all.iter().try_for_each(|op| to.binary(&binary(op)))
        })
    });
    assert_eq!(bad, 0, "what is known already is no offence");
    scene.assert_flat_memory();
}

#[test]
fn what_is_too_large_or_no_websocket_is_hung_up_on() {
    let mut scene = Scene::new();
    let long_bulk = format!(r#"{{"type":"bulk","ops":["{}"]}}"#, "x".repeat(17 * MIB));
    scene.hangs_up("17 MiB of text", Some(1009), |to| to.text(long_bulk.as_bytes()));
    let zeros = vec![0; 64 * MIB];
    scene.hangs_up("64 MiB", Some(1009), |to| to.binary(&zeros));
    scene.hangs_up("64 MiB in pieces", Some(1009), |to| to.fragments(&zeros, MIB));
    scene.hangs_up("a promise of 2^62 bytes", Some(1009), |to| {
        to.raw(&[0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5])
    });
    scene.hangs_up("text that is not UTF-8", None, |to| to.text(b"{\"type\":\"\xff\xfe\"}"));
    scene.hangs_up("an unknown opcode", None, |to| to.raw(&[0x83, 0x80, 0, 0, 0, 0]));
    scene.hangs_up("no mask", None, |to| to.raw(&[0x81, 0x02, b'{', b'}']));
    scene.hangs_up("HTTP", None, |to| to.raw(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"));

    // Just within the limit, and garbage all the same: read, and skipped.
    let bad = scene.survives("16 MiB", |_, to| {
        to.text("[".repeat(16 * MIB).as_bytes())?;
        to.text(json!({ "type": "bulk", "ops": vec!["{}"; 3 * MIB] }).to_string().as_bytes())?;
        to.binary(&vec![b' '; 16 * MIB])
    });
    assert_eq!(bad, 3);
    scene.assert_flat_memory();
}

#[test]
fn who_sends_nothing_but_garbage_is_cut_off_and_nobody_else() {
    let mut scene = Scene::new();
    let mut witness = Peer::connect(&scene.alice, Author::new(15)).unwrap();
    scene.hangs_up("5000 bad frames", Some(1008), |to| (0..5_000).try_for_each(|_| to.binary(b"garbage")));
    scene.hangs_up("5000 bad texts", Some(1008), |to| {
        (0..5_000).try_for_each(|_| to.text(b"{\"type\":\"garbage\"}"))
    });
    let forged = binary(&with_header(&Author::new(14).add("never"), &Keypair::from_seed(&[16; 32]), |_| {}));
    scene.hangs_up("5000 bad signatures", Some(1008), |to| (0..5_000).try_for_each(|_| to.binary(&forged)));

    add(&scene.bob, "from-bob");
    witness.receive_until(|witness| witness.author.story_ids().len() == 5).unwrap();
    assert_eq!(witness.closed, None);
    let peers = status(&scene.bob).unwrap()["peers"].clone();
    assert_eq!((&peers[0]["state"], &peers[0]["failures"]), (&json!("live"), &json!(0)), "{peers}");
    scene.assert_flat_memory();
}

#[test]
fn ops_whose_past_is_missing_wait_for_it_and_are_in_nobodys_way() {
    const WAITING: usize = 2_000;
    let mut scene = Scene::new();
    let mut dave = Author::new(4);
    let first = dave.add("first of dave");
    let ops: Vec<SignedOp> = (0..WAITING).map(|number| dave.set_stage(0, &number.to_string())).collect();
    let to_alice = Peer::connect(&scene.alice, dave).unwrap();
    to_alice.send_binary(ops.iter().rev()).unwrap();
    let bad = scene.survives("meanwhile", |_, _| Ok(()));
    assert_eq!(bad, 0);
    wait_for_status(&scene.alice, |status| status["documents"][0]["pending"] == WAITING).unwrap();
    scene.assert_flat_memory();

    to_alice.send_binary([&first]).unwrap();
    let has_all = |items: &Value| {
        find(items, "first of dave").is_some_and(|item| item["stage"] == json!((WAITING - 1).to_string()))
    };
    scene.bob.wait_for_items(has_all).unwrap();
    wait_for_one_history(&[&scene.alice, &scene.bob]).unwrap();
    assert_eq!(status(&scene.alice).unwrap()["documents"][0]["pending"], 0);
}

/// A document of another shape.
#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Notebook {
    notes: ListCrdt<LwwRegisterCrdt<String>>,
}

#[test]
fn ops_that_the_board_cannot_show_are_kept_and_passed_on() {
    let scene = Scene::new();
    let shown = scene.alice.items().unwrap();
    let keypair = Keypair::from_seed(&[13; 32]);
    let notebook = BaseCrdt::<Notebook>::new(&keypair);
    let ops =
        ["Dear diary,", "it snowed."].map(|line| notebook.doc.notes.push(line.to_owned()).sign(&keypair));
    let mallory = Peer::connect(&scene.alice, Author::new(13)).unwrap();
    mallory.send_binary(&ops).unwrap();
    let mut erin = Peer::connect(&scene.bob, Author::new(6)).unwrap();
    erin.receive_until(|erin| ops.iter().all(|op| erin.received.contains(&op.digest()))).unwrap();
    for node in [&scene.alice, &scene.bob] {
        assert_eq!((node.items().unwrap(), op_count(node).unwrap()), (shown.clone(), 3));
    }
    add(&scene.bob, "life goes on");
    scene.alice.wait_for_items(|items| ids(items) == ["from-alice", "life goes on"]).unwrap();
}

/// What `author` would say next, without saying it.
fn next_op(author: &Author) -> SignedOp {
    Author { keypair: author.keypair.clone(), replica: author.replica.clone() }.add("never said")
}

/// All that `author` knows, latest first.
fn all_ops(author: &Author) -> Vec<SignedOp> {
    let mut ops = Vec::new();
    for tips in author.replica.version_vector().values() {
        let mut next = Some(tips[0].1);
        while let Some(change) = next.and_then(|digest| author.replica.change(&digest)) {
            next = change.prev();
            ops.push(SignedOp::try_from(change).unwrap());
        }
    }
    ops
}
