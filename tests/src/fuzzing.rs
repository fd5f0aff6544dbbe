//! The checks that each decoder must pass on any bytes: no panic, and what is accepted holds together.
//!
//! Each returns whether the input was accepted, so that a replay can insist on it for inputs which are
//! known to be valid. A check is about the decoder and all that its value then goes through, so a fuzzer
//! that gets past the decoder reaches the engine.

mod lies;
mod log_message;
mod snapshot;
mod trust;

use bft_json_crdt::bundle;
use bft_json_crdt::json_crdt::{BaseCrdt, Change, CrdtNode, OpState, SignedOp};
use bft_json_crdt::keypair::Keypair;
use gangline_doc::PipelineDoc;
use gangline_wire::{SyncMessage, decode, decode_text, encode, v2};

use crate::sample;
pub use lies::{lies, told};
pub use log_message::{log_message, payload, reply, request};
pub use snapshot::{joined, snapshot};
pub use trust::{said, trust};

/// A check, under the name that its fuzz target and the folder of its corpus have.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// The check. Panics on a broken promise, returns whether the input was accepted.
    pub check: fn(&[u8]) -> bool,
}

/// All checks.
pub const TARGETS: [Target; 10] = [
    Target { name: "bundle", check: bundle },
    Target { name: "change", check: change },
    Target { name: "lies", check: lies },
    Target { name: "log_message", check: log_message },
    Target { name: "signed_op", check: signed_op },
    Target { name: "snapshot", check: snapshot },
    Target { name: "text_frame", check: text_frame },
    Target { name: "trust", check: trust },
    Target { name: "wire_v1", check: wire_v1 },
    Target { name: "wire_v2", check: wire_v2 },
];

/// Canonical bytes of a change. A change that names a known author gets that author's signature, because no
/// fuzzer guesses one; so what its ops do to a document is tried too.
pub fn change(data: &[u8]) -> bool {
    let Ok(change) = Change::decode(data, [0; 64]) else { return false };
    assert_eq!(change.bytes(), data, "bytes that decode are canonical");
    assert!(!change.verify(), "zeros are nobody's signature");
    let author = [sample::alice(), sample::bob()].into_iter().find(|key| key.author() == change.author());
    let change = match author {
        Some(key) => change.with_signature(key.sign(&change.digest().0)),
        None => change,
    };
    assert_eq!(change.verify(), author_is_known(&change));
    is_judged_alike(&change);
    true
}

/// A bundle of changes. It gets the checksums that fit it, because no fuzzer guesses those.
pub fn bundle(data: &[u8]) -> bool {
    /// Where a fuzzer has seen enough.
    const BYTES_MAX: u64 = 4 << 20;
    let mut data = data.to_vec();
    fit_checksums(&mut data);
    let Ok(decoder) = bundle::decode(&data) else { return false };
    let (count, bytes) = (decoder.change_count(), decoder.change_bytes());
    let (mut is_whole, mut changes, mut read) = (true, Vec::new(), 0);
    for change in decoder {
        let Ok(change) = change.map(|change| change.change) else {
            is_whole = false;
            break;
        };
        let again = Change::decode(change.bytes(), *change.signature());
        assert_eq!(again.as_ref().map(Change::digest), Ok(change.digest()), "what comes out is a change");
        read += change.bytes().len() as u64;
        changes.push(change);
        if read > BYTES_MAX {
            break;
        }
    }
    assert!(changes.len() as u64 <= count && read <= bytes, "more than the head says");
    let encoded = bundle::encode(&changes, bundle::Signatures::All).expect("changes of one document");
    let again = bundle::decode(&encoded).expect("a bundle that was encoded");
    let again = again.map(|change| change.expect("a bundle that was encoded").change);
    assert!(again.map(|change| change.digest()).eq(changes.iter().map(Change::digest)));
    is_whole && read <= BYTES_MAX
}

/// Gives head and chunks of a bundle the checksums that fit them, as far as their lengths make sense.
fn fit_checksums(bundle: &mut [u8]) {
    const HEAD: usize = 57;
    let Some((head, mut rest)) = bundle.split_at_mut_checked(HEAD) else { return };
    if let Some((checksum, chunks)) = rest.split_first_chunk_mut::<4>() {
        *checksum = crc32fast::hash(head).to_le_bytes();
        rest = chunks;
        while let Some((len, after)) = rest.split_first_chunk_mut::<4>() {
            let Some((checksum, after)) = after.split_first_chunk_mut::<4>() else { return };
            let len = u32::from_le_bytes(*len) as usize;
            let Some((payload, after)) = after.split_at_mut_checked(len) else { return };
            *checksum = crc32fast::hash(payload).to_le_bytes();
            rest = after;
        }
    }
}

/// One signed op as JSON, as it stands in every v1 frame.
pub fn signed_op(data: &[u8]) -> bool {
    let Ok(op) = serde_json::from_slice::<SignedOp>(data) else { return false };
    let text = serde_json::to_string(&op).expect("an op that was read can be written");
    let again: SignedOp = serde_json::from_str(&text).expect("an op that was written can be read");
    assert_eq!(again, op);
    assert_eq!(again.change().bytes(), op.change().bytes());
    is_judged_alike(op.change());
    true
}

/// A binary frame of v1.
pub fn wire_v1(data: &[u8]) -> bool {
    let Ok(op) = decode(data) else { return false };
    assert_eq!(decode(&encode(&op)).as_ref(), Ok(&op), "what was decoded encodes to an equal op");
    is_judged_alike(op.change());
    true
}

/// A frame of v2. A bundle in it gets the checksums that fit it, because no fuzzer guesses those.
pub fn wire_v2(data: &[u8]) -> bool {
    /// The kind of frame that carries a bundle.
    const BUNDLE: u8 = 0x84;
    let mut data = data.to_vec();
    if let Some((&mut BUNDLE, rest)) = data.split_first_mut()
        && let Some(at) = rest.iter().position(|byte| *byte < 0x80)
        && let Some(bundle) = rest.get_mut(at + 1..)
    {
        let mut fitted = bundle.to_vec();
        fit_checksums(&mut fitted);
        bundle.copy_from_slice(&fitted);
    }
    let Ok(frame) = v2::decode(&data) else { return false };
    let again = v2::encode(&frame);
    assert_eq!(v2::decode(&again).as_ref(), Ok(&frame), "what was decoded encodes to an equal frame");
    assert!(data.first() == Some(&BUNDLE) || again == data, "a frame has one spelling");
    if let v2::Frame::Changes { changes, .. } = frame {
        changes.first().map(is_judged_alike);
    }
    true
}

/// A text frame of v1. It is accepted if the frame is good, even where some ops in it are bad.
pub fn text_frame(data: &[u8]) -> bool {
    let Ok(frame) = decode_text(data) else { return false };
    let message: SyncMessage = serde_json::from_slice(&canonical(&frame.ops)).expect("a bulk that was built");
    assert!(matches!(message, SyncMessage::Bulk { ops } if ops.len() == frame.ops.len()));
    let changes: Vec<Change> = frame.ops.into_iter().map(SignedOp::into_change).collect();
    let mut document = document();
    let states = document.apply_changes(changes.clone()).states;
    assert_eq!(states.len(), changes.len());
    view(&document);
    true
}

fn canonical(ops: &[SignedOp]) -> Vec<u8> {
    let ops = ops.iter().map(|op| serde_json::to_string(op).expect("an op that was read can be written"));
    serde_json::to_vec(&SyncMessage::Bulk { ops: ops.collect() }).expect("strings can be written")
}

/// Whether the known keys include the author of `change`.
fn author_is_known(change: &Change) -> bool {
    [sample::alice(), sample::bob()].iter().any(|key| key.author() == change.author())
}

/// Two replicas get the sample history and `change`, one of them in the opposite order and one by one. They
/// must end alike, and know the change the second time.
fn is_judged_alike(change: &Change) {
    let history = sample::history();
    let mut forwards = document();
    let states = forwards.apply_changes(history.iter().cloned().chain([change.clone()]).collect()).states;
    let mut backwards = document();
    for change in [change].into_iter().chain(history.iter().rev()) {
        let _ = backwards.apply_changes(vec![change.clone()]);
    }
    assert_eq!(view(&forwards), view(&backwards));
    assert_eq!(forwards.heads(), backwards.heads());
    let again = forwards.apply_changes(vec![change.clone()]).states;
    let was_applied = states.last().is_some_and(OpState::is_applied);
    if was_applied {
        assert_eq!(again, [OpState::AlreadySeen]);
    }
}

fn document() -> BaseCrdt<PipelineDoc> {
    BaseCrdt::new(&Keypair::from_seed(&[9; 32]))
}

fn view(document: &BaseCrdt<PipelineDoc>) -> String {
    serde_json::to_string(&document.doc.view()).expect("a view is JSON")
}
