//! Writes the `valid-` files of the fuzz corpora. Run it when the format of an op or a frame has changed:
//! `cargo run -p gangline-tests --example seed_corpus`.

use std::io;
use std::path::Path;

use bft_json_crdt::bundle::{Signatures, encode as encode_bundle};
use bft_json_crdt::json_crdt::{BaseCrdt, SignedOp, VersionVector};
use bft_json_crdt::{AuthorId, Digest, DocumentId};
use gangline_tests::{fuzzing, kinds, sample};
use gangline_trust::{Grant, Revocation, Rights, Statement};
use gangline_wire::v2::{self, Accepts, Frame, Hello, HelloDocument, RefuseCode};
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

/// One frame of each kind.
fn frames() -> Vec<(&'static str, Frame)> {
    let (author, digest) = (AuthorId([1; 32]), Digest([2; 32]));
    let vector: VersionVector = [(author, vec![(3, digest), (300, digest)])].into();
    let document = HelloDocument { id: DocumentId::DEFAULT, root: digest };
    let hello = Hello { key: author, nonce: [4; 32], is_bound: false, documents: vec![document] };
    vec![
        ("hello", Frame::Hello(hello)),
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
