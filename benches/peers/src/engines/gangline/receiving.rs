//! What becomes of an author's updates: every way to send, check, keep and open them.

use std::hint::black_box;

use bft_json_crdt::bundle::{self, Signatures};
use bft_json_crdt::json_crdt::{BaseCrdt, Checker, CrdtNode};

use super::{
    Author, apply, apply_covered, apply_signed, assert_let_in, decode, decode_all, frames, key, replica,
    without_covered,
};
use crate::measure::Report;

/// Signatures by which the machine itself is measured.
const FLOOR_COUNT: usize = 1_000;

/// A document as its reader sees it.
pub trait Shown: CrdtNode {
    type Whole;

    /// What a program shows first.
    fn first(&self) -> String;
    fn whole(&self) -> Self::Whole;
}

/// Hands an author's updates to replicas in all ways there are, saves and opens the author's own replica, and
/// checks what each of them shows. Returns the updates.
pub fn receive<T: Shown>(
    author: Author<T>,
    is_right: impl Fn(&T::Whole) -> bool,
    report: &mut Report,
) -> Vec<Vec<u8>> {
    let Author { replica: mut local, updates, .. } = author;
    report.updates(&updates);
    let check = |replica: &BaseCrdt<T>, name: &str, report: &mut Report| {
        report.check(name, is_right(&replica.doc.whole()));
    };

    measure_floor(&updates, report);

    let mut single = replica(2);
    if report.each("remote", &updates, |update| apply(&mut single, update)) {
        check(&single, "remote view", report);
    }
    drop(single);

    report.bytes("memory", local.memory().total());
    let snapshot = report.time("snapshot", || local.save()).expect("our own history");
    report.bytes("memory compacted", local.memory().total());
    drop(local);
    report.bytes("snapshot", snapshot.state.len() + snapshot.history.len());
    report.bytes("state", snapshot.state.len());
    report.bytes("history", snapshot.history.len());
    let open = || BaseCrdt::<T>::open(&key(1), &snapshot).expect("our own snapshot");
    let (_opened, view) = report.time("load", || {
        let opened = open();
        let view = opened.doc.whole();
        (opened, view)
    });
    report.check("view", is_right(&view));
    report.time("load (lazy)", open);
    report.time("load first", || {
        let opened = open();
        (opened.doc.first(), opened)
    });
    report.note_peak();

    let checker = Checker::default();
    let mut batched = replica(3);
    report.time("batch", || apply_signed(&mut batched, &checker, &updates));
    check(&batched, "batch view", report);
    drop(batched);

    let mut framed = replica(4);
    report.time("frames", || frames(&updates).for_each(|frame| apply_signed(&mut framed, &checker, frame)));
    check(&framed, "view after frames", report);
    drop(framed);

    let bare = without_covered(&updates);
    let mut covered = replica(5);
    report.time("covered batch", || apply_covered(&mut covered, &bare));
    check(&covered, "view after a covered batch", report);
    drop(covered);

    let mut framed = replica(6);
    report.time("covered frames", || frames(&bare).for_each(|frame| apply_covered(&mut framed, frame)));
    check(&framed, "view after covered frames", report);
    drop(framed);

    let changes = decode_all(&updates);
    let all = bundle::encode(&changes, Signatures::All).expect("changes of one document");
    report.bytes("bundle, all signatures", all.len());
    drop(all);
    let bundle = report.time("encode bundle", || bundle::encode(&changes, Signatures::Covering));
    let bundle = bundle.expect("changes of one document");
    drop(changes);
    report.bytes("bundle", bundle.len());
    let mut fresh = replica(7);
    report.time("bundle", || {
        let changes = bundle::decode(&bundle).expect("our own bundle");
        let changes = changes.map(|bundled| bundled.expect("our own bundle").change).collect();
        assert_let_in(&fresh.apply_changes(changes));
    });
    check(&fresh, "view from a bundle", report);
    updates
}

/// What this machine takes, here and now, for signatures that are made and checked by themselves.
fn measure_floor(updates: &[Vec<u8>], report: &mut Report) {
    let (key, digest) = (key(1), [7; 32]);
    report.time("floor, sign", || {
        (0..FLOOR_COUNT).for_each(|_| _ = black_box(key.sign(black_box(&digest))));
    });
    let change = decode(&updates[0]);
    let is_valid = report.time("floor, check", || (0..FLOOR_COUNT).all(|_| black_box(&change).verify()));
    report.check("floor", is_valid);
}
