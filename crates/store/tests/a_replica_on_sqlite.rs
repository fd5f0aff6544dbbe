//! A replica that many threads use at once over SQLite: what each was told holds, and a restart finds it all.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    path::Path,
    sync::{Arc, Barrier, mpsc},
    thread,
};

use bft_json_crdt::keypair::Keypair;
use gangline_doc::{
    LogSeq, NewItem, OriginId, PipelineDoc, ReadLimit, Replica, ReplicaSettings, Ticket, board,
};
use gangline_store::{MemoryOpLog, SqliteOpLog};

const THREADS: u8 = 3;
const EDITS: usize = 40;

fn open(dir: &Path) -> Replica<PipelineDoc> {
    let log = Arc::new(SqliteOpLog::open(dir).unwrap());
    Replica::open(Keypair::from_seed(&[1; 32]), log, ReplicaSettings::default()).unwrap()
}

fn wait(ticket: Ticket) {
    let (sender, receiver) = mpsc::channel();
    ticket.on_done(Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap().unwrap();
}

#[test]
fn many_threads_edit_apply_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path());
    let start = Barrier::new(usize::from(THREADS) * 2 + 1);
    let (grown, told) = mpsc::channel();
    let subscription = node.subscribe(Box::new(move |durable| grown.send(durable).unwrap_or_default()));
    let total = usize::from(THREADS) * EDITS * 2;
    thread::scope(|scope| {
        for n in 0..THREADS {
            let (node, start) = (&node, &start);
            scope.spawn(move || {
                start.wait();
                for edit in 0..EDITS {
                    let new = NewItem::new(format!("own-{n}-{edit}"));
                    let (item, ticket) = node.edit(1, |editor| board::add(editor, new)).unwrap();
                    wait(ticket);
                    assert_eq!(node.read(|base| board::find(base, &item.story_id)).0, Some(item));
                }
            });
            scope.spawn(move || {
                let peer = Replica::<PipelineDoc>::open(
                    Keypair::from_seed(&[n + 2; 32]),
                    Arc::new(MemoryOpLog::new()),
                    ReplicaSettings::default(),
                )
                .unwrap();
                start.wait();
                for edit in 0..EDITS {
                    let new = NewItem::new(format!("peer-{n}-{edit}"));
                    let _ticket = peer.edit(1, |editor| board::add(editor, new)).unwrap();
                    let limit = ReadLimit { count: 1, bytes: 0 };
                    let entry = peer.entries(LogSeq(edit as u64), limit).unwrap().remove(0);
                    let origin = OriginId(n.into());
                    let (batch, ticket) = node.apply(1, origin, vec![entry.change().clone()]).unwrap();
                    assert_eq!(batch.applied.len(), 1);
                    wait(ticket);
                }
            });
        }
        // A session that follows the log: nothing is missing, nothing twice, everything after its past.
        let follower = Replica::<PipelineDoc>::open(
            Keypair::from_seed(&[99; 32]),
            Arc::new(MemoryOpLog::new()),
            ReplicaSettings::default(),
        )
        .unwrap();
        start.wait();
        let mut cursor = LogSeq::START;
        while cursor < LogSeq(total as u64) {
            told.recv().unwrap();
            let entries = node.entries(cursor, ReadLimit::default()).unwrap();
            assert!(entries.iter().zip(cursor.0..).all(|(entry, seq)| entry.seq() == LogSeq(seq)));
            cursor = cursor.plus(entries.len());
            let changes: Vec<_> = entries.iter().map(|entry| entry.change().clone()).collect();
            let count = changes.len();
            let (batch, _ticket) = follower.apply(1, OriginId(0), changes).unwrap();
            assert_eq!(batch.applied.len(), count, "honest peers fill no queue");
        }
        assert_eq!(follower.read(board::items).0, node.read(board::items).0);
    });
    drop(subscription);

    let items = node.read(board::items).0;
    let vector = node.version_vector();
    assert_eq!(items.len(), total);
    drop(node);
    let again = open(dir.path());
    assert_eq!(again.read(board::items).0, items);
    assert_eq!(again.version_vector(), vector);
}
