//! Writes the `valid-` files of the fuzz corpora. Run it when the format of an op or a frame has changed:
//! `cargo run -p gangline-tests --example seed_corpus`.

use std::io;
use std::path::Path;

use bft_json_crdt::bundle::{Signatures, encode as encode_bundle};
use bft_json_crdt::json_crdt::{BaseCrdt, SignedOp, VersionVector};
use bft_json_crdt::{AuthorId, Digest, DocumentId};
use gangline_tests::{fuzzing, kinds, sample};
use gangline_trust::{Grant, Revocation, Rights, Statement};
use gangline_wire::v2::{self, Abilities, Accepts, BUCKETS, Catalog, Frame, HeldDocument, Hello, RefuseCode};
use gangline_wire::{SyncMessage, encode};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("valid-{name}")), bytes)
    };
    for (name, signatures) in [("covering", Signatures::Covering), ("all", Signatures::All)] {
        write("bundle", name, &encode_bundle(&sample::history(), signatures).map_err(io::Error::other)?)?;
    }
    write("bundle", "of-nothing", &encode_bundle(&[], Signatures::All).map_err(io::Error::other)?)?;
    for (name, statements) in grants() {
        write("trust", name, &fuzzing::said(&statements))?;
    }
    write("lies", "history", &fuzzing::told(&kinds::history()))?;
    // Each begins where the last one ends: the shorter ones show a fuzzer less at a time.
    let [key, ..] = kinds::keys();
    for len in 0..=kinds::history().len() {
        let mut base = kinds::open(&key);
        let _ = base.apply_changes(kinds::history().into_iter().take(len).collect());
        let first = base.save().map_err(io::Error::other)?;
        write("snapshot", &format!("of-{len}"), &fuzzing::joined(&first))?;
        if len == 2 {
            let mut opened: BaseCrdt<kinds::Part> = BaseCrdt::open(&key, &first).map_err(io::Error::other)?;
            let _ = opened.apply_changes(kinds::history());
            write("snapshot", "of-two-bundles", &fuzzing::joined(&opened.save().map_err(io::Error::other)?))?;
        }
    }
    let history = sample::history().into_iter().filter_map(|change| change.try_into().ok());
    let history: Vec<SignedOp> = history.collect();
    for (name, op) in sample::next_ops() {
        write("change", name, op.change().bytes())?;
        write("signed_op", name, &serde_json::to_vec(&op)?)?;
        write("wire_v1", name, &encode(&op))?;
        write(
            "text_frame",
            name,
            &serde_json::to_vec(&SyncMessage::Op { op: serde_json::to_string(&op)? })?,
        )?;
    }
    for (name, frame) in frames() {
        write("wire_v2", name, &v2::encode(&frame))?;
    }
    let bundle = v2::bundle_of(1, &sample::history(), Signatures::All).map_err(io::Error::other)?;
    write("wire_v2", "bundle", &bundle)?;
    for (name, bytes) in log_messages() {
        write("log_message", name, &bytes)?;
    }
    let ops = history.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    write("text_frame", "bulk", &serde_json::to_vec(&SyncMessage::Bulk { ops })?)?;
    write("text_frame", "empty-bulk", &serde_json::to_vec(&SyncMessage::Bulk { ops: Vec::new() })?)
}

/// An invitation by which a third key joins, and its end.
fn grants() -> [(&'static str, Vec<Statement>); 3] {
    let (alice, bob, carol) = (sample::alice().author(), sample::bob().author(), kinds::keys()[0].author());
    let grant = |issuer, subject, is_ticket| Grant {
        document: DocumentId::DEFAULT,
        issuer,
        subject,
        rights: Rights::MEMBER,
        is_ticket,
        name: "carol".to_owned(),
        expires_at_ms: 1 << 41,
        id: [7; 16],
    };
    let ticket = Statement::Grant(grant(alice, bob, true));
    let joined = Statement::Grant(grant(bob, carol, false));
    let revoked =
        Statement::Revocation(Revocation { document: DocumentId::DEFAULT, issuer: alice, subject: carol });
    [
        ("grant", vec![Statement::Grant(grant(alice, bob, false))]),
        ("ticket", vec![ticket.clone(), joined.clone()]),
        ("revoked", vec![ticket, joined, revoked]),
    ]
}

/// One request and one reply of each call, with the kinds of replies that differ most, and payloads. They are drawn at
/// the head of `crates/lease/src/remote.rs`.
fn log_messages() -> Vec<(&'static str, Vec<u8>)> {
    let [key, hash, life, signature] =
        [(1, 32), (2, 32), (3, 16), (4, 64)].map(|(byte, len)| vec![byte; len]);
    // The space `s`; a node that is reached at `u`; the intent `a` of type `T` with an empty payload.
    let (space, reach) = (b"\x01s".as_slice(), [&key, b"\x01\x01u".as_slice()].concat());
    let intent = b"\x01a\x01T\x02{}".as_slice();
    let head = [b"\x05".as_slice(), &hash].concat();
    let state = [life.as_slice(), b"\x02", &head].concat();
    let placed = [b"\x05\x02".as_slice(), &hash, &hash].concat();
    let lease = [reach.as_slice(), b"\x02\x90\x4e"].concat();
    let event =
        [b"\x05\x02\x01a".as_slice(), &key, &key, b"\x01T\x02{}", &hash, &hash, b"\x01", &signature].concat();
    let request = |nth: u32, parts: &[&[u8]]| fuzzing::request(16 + nth, &parts.concat());
    let reply = |nth: u32, parts: &[&[u8]]| fuzzing::reply(16 + nth, &parts.concat());
    let said = b"\x01p\x01w".as_slice();
    vec![
        ("request-forward", request(0, &[space, intent, &key, b"\xac\x02\x01"])),
        ("request-acquire", request(1, &[space, &reach, b"\x90\x4e\x02"])),
        ("request-renew", request(2, &[space, &key, b"\x02\x05"])),
        ("request-release", request(3, &[space, &key, b"\x02"])),
        ("request-lease", request(4, &[space])),
        ("request-seal", request(5, &[space, b"\x02", &life])),
        ("request-append", request(6, &[space, &life, b"\x02", &head, b"\x01", intent, &key, &signature])),
        ("request-state", request(7, &[space])),
        ("request-access", request(8, &[space])),
        ("request-read", request(9, &[space, b"\x05\x0a\x80\x80\x40"])),
        ("request-find", request(10, &[space, b"\x01a"])),
        ("request-spaces", request(11, &[b"\x01", space, b"\x01"])),
        ("request-states", request(12, &[b"\x00\xac\x02"])),
        ("reply-done", reply(0, &[b"\x00", &placed])),
        ("reply-redirect", reply(0, &[b"\x01\x01", &lease])),
        ("reply-refused", reply(0, &[b"\x02\x02\x04copy"])),
        ("reply-acquire", reply(1, &[b"\x00", &lease])),
        ("reply-held", reply(1, &[b"\x01\x00", &lease])),
        ("reply-renew", reply(2, &[b"\x01\x00\x02"])),
        ("reply-release", reply(3, &[b"\x01", said])),
        ("reply-lease", reply(4, &[b"\x00\x01", &lease])),
        ("reply-seal", reply(5, &[b"\x00", &state])),
        ("reply-closed", reply(5, &[b"\x01\x01\x07moved t"])),
        ("reply-append", reply(6, &[b"\x00\x00", &head])),
        ("reply-duplicate", reply(6, &[b"\x00\x01\x01\x00", &placed])),
        ("reply-append-unknown", reply(6, &[b"\x01\x03\x01", said])),
        ("reply-state", reply(7, &[b"\x00\x01", &state])),
        ("reply-access", reply(8, &[b"\x00\x01\x04open"])),
        ("reply-read", reply(9, &[b"\x00\x01", &event])),
        ("reply-read-damaged", reply(9, &[b"\x01\x02", said])),
        ("reply-find", reply(10, &[b"\x00\x01", &placed])),
        ("reply-spaces", reply(11, &[b"\x00\x01", space])),
        ("reply-states", reply(12, &[b"\x00\x01", space, &state])),
        (
            "payload-numbers",
            fuzzing::payload(r#"{"b":[1.0,-0,1e300,18446744073709551615,0.25],"a":-9223372036854775808}"#),
        ),
        (
            "payload-strings",
            fuzzing::payload(r#" {"\u00e4" : "\ud83d\ude00\n\u0001\/", "":{"x":[[],{}]} } "#),
        ),
        ("payload-words", fuzzing::payload(r#"{"a":null,"b":true,"c":false}"#)),
    ]
}

/// One frame of each kind.
fn frames() -> Vec<(&'static str, Frame)> {
    let (author, digest) = (AuthorId([1; 32]), Digest([2; 32]));
    let vector: VersionVector = [(author, vec![(3, digest), (300, digest)])].into();
    let document = HeldDocument { id: DocumentId::DEFAULT, root: digest };
    let hello =
        Hello { key: author, nonce: [4; 32], is_bound: false, documents: vec![document], abilities: None };
    let able = Hello { abilities: Some(Abilities::all()), ..hello.clone() };
    let other = HeldDocument { id: DocumentId([5; 32]), root: digest };
    let page = Catalog::Page { bucket: 5, is_last: true, documents: vec![other] };
    vec![
        ("hello", Frame::Hello(hello)),
        ("hello-able", Frame::Hello(able)),
        ("open", Frame::Open { document: other, answers: None }),
        ("open-answer", Frame::Open { document: other, answers: Some(300) }),
        ("close", Frame::Close { document: 300 }),
        ("news", Frame::News(other)),
        ("catalog-summary", Frame::Catalog(Catalog::Summary([6; 16]))),
        ("catalog-buckets", Frame::Catalog(Catalog::Buckets(Box::new([[7; 8]; BUCKETS])))),
        ("catalog-ask", Frame::Catalog(Catalog::Ask { bucket: 5, after: Some(other.id) })),
        ("catalog-page", Frame::Catalog(page)),
        ("proof", Frame::Proof([5; 64])),
        (
            "vector",
            Frame::Vector { document: 0, vector: vector.clone(), accepts: Accepts::Only([author].into()) },
        ),
        ("changes", Frame::Changes { document: 0, changes: sample::history() }),
        ("end", Frame::End { document: 0, is_final: true, vector: vector.clone() }),
        ("ask", Frame::Ask { document: 0, author, digests: vec![digest] }),
        ("have", Frame::Have { document: 0, author, held: vec![true, false] }),
        ("ack", Frame::Ack { document: 0, vector }),
        ("held", Frame::Held { document: 0, authors: [author].into() }),
        ("presence", Frame::Presence(b"here".as_slice().into())),
        ("call", Frame::Call { id: 1, method: 0, body: b"?".as_slice().into() }),
        ("reply", Frame::Reply { id: 1, is_done: false, body: b"no".as_slice().into() }),
        ("records", Frame::Records(vec![b"record".as_slice().into()])),
        ("refuse", Frame::Refuse { code: RefuseCode::NotTrusted, reason: "ask for an invitation".into() }),
    ]
}
