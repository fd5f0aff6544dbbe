//! The board's work without a disk: edits, lookups and whole views, by the number of items.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;

use bft_json_crdt::keypair::Keypair;
use divan::Bencher;
use gangline_doc::{
    BoardError, Done, Field, LogEntry, LogSeq, NewItem, OpLog, OpLogError, Patch, PipelineDoc, ReadLimit,
    Record, Replica, ReplicaSettings, board,
};

const ITEMS: [usize; 3] = [100, 2_000, 10_000];

fn main() {
    divan::main();
}

/// Takes everything and keeps nothing.
struct NoLog;

impl OpLog for NoLog {
    fn append(&self, _: Vec<Record>, done: Done) {
        done(Ok(()));
    }
    fn read(&self, _: LogSeq, _: ReadLimit) -> Result<Vec<LogEntry>, OpLogError> {
        Ok(Vec::new())
    }
    fn len(&self) -> Result<u64, OpLogError> {
        Ok(0)
    }
}

fn board_of(items: usize) -> Replica<PipelineDoc> {
    let replica = Replica::<PipelineDoc>::open(
        Keypair::from_seed(&[1; 32]),
        Arc::new(NoLog),
        ReplicaSettings::default(),
    )
    .unwrap();
    let all = replica.edit(0, |editor| {
        for n in 0..items {
            let new = NewItem::new(format!("story-{n}"));
            let op = editor.doc().items.try_push(serde_json::json!({"story_id": new.item().story_id}))?;
            editor.record(op);
        }
        Ok::<(), BoardError>(())
    });
    let _ticket = all.unwrap();
    replica
}

/// Signing is most of it on a small board, finding the item on a large one.
#[divan::bench(args = ITEMS)]
fn set_one_field(bencher: Bencher<'_, '_>, items: usize) {
    let replica = board_of(items);
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        let patch = Patch::new().set(Field::Stage, format!("stage {n}")).unwrap();
        let story_id = format!("story-{}", n % items);
        replica.edit(0, |editor| board::patch(editor, &story_id, &patch)).unwrap().0
    });
}

#[divan::bench(args = ITEMS)]
fn find(bencher: Bencher<'_, '_>, items: usize) {
    let replica = board_of(items);
    bencher.bench_local(|| replica.read(|base| board::find(base, "story-50")).0.unwrap());
}

#[divan::bench(args = ITEMS)]
fn all_items(bencher: Bencher<'_, '_>, items: usize) {
    let replica = board_of(items);
    bencher.bench_local(|| replica.read(board::items).0.len());
}
