//! A key that signed two histories is let in no longer, where the operator wants that; the evidence stays.

use std::sync::Arc;

use bft_json_crdt::json_crdt::{BaseCrdt, Change, OpState};
use bft_json_crdt::keypair::Keypair;
use gangline_doc::{OriginId, PipelineDoc, Replica, ReplicaSettings, board};

use crate::ManualLog;

fn open_at(log: &ManualLog, stops: bool) -> Replica<PipelineDoc> {
    let settings = ReplicaSettings { stops_equivocators: stops, ..ReplicaSettings::default() };
    Replica::open(Keypair::from_seed(&[1; 32]), Arc::new(log.clone()), settings).unwrap()
}

/// One op by a key that goes on from a copy of the board.
fn op(base: &mut BaseCrdt<PipelineDoc>, key: &Keypair, story: &str) -> Change {
    let item = serde_json::json!({ "story_id": story });
    let signed = base.doc.items.insert(bft_json_crdt::op::ROOT_ID, item).sign(key);
    assert!(base.apply(signed.clone()).is_applied());
    signed.into_change()
}

fn give(replica: &Replica<PipelineDoc>, change: &Change) -> OpState {
    replica.apply(0, OriginId(1), vec![change.clone()]).unwrap().0.states.remove(0)
}

#[test]
fn a_key_that_lied_is_flagged_or_stopped() {
    for stops in [false, true] {
        let key = Keypair::from_seed(&[9; 32]);
        let mut base = BaseCrdt::<PipelineDoc>::new(&key);
        let first = op(&mut base, &key, "first");
        let mut copy = base.clone();
        let (left, right) = (op(&mut base, &key, "left"), op(&mut copy, &key, "right"));
        let later = op(&mut base, &key, "later");
        let log = ManualLog::prompt();
        let replica = open_at(&log, stops);
        for change in [&first, &left, &right] {
            assert!(give(&replica, change).is_applied());
        }
        assert_eq!(replica.equivocations().len(), 1);
        assert_eq!(give(&replica, &later).is_applied(), !stops);
        assert_eq!(replica.stopped().contains(&key.author()), stops);
        // After a restart as before.
        let again = open_at(&log, stops);
        let latest = op(&mut base, &key, "latest");
        assert!(!give(&again, &later).is_refused());
        assert_eq!(give(&again, &latest).is_applied(), !stops);
        // What somebody honest builds on comes in all the same, or the boards would part for ever.
        let honest = Keypair::from_seed(&[8; 32]);
        let mut other = BaseCrdt::<PipelineDoc>::new(&honest);
        other.load(vec![first, left, right, later, latest.clone()]).unwrap();
        let builds_on = op(&mut other, &honest, "honest");
        assert!(give(&again, &builds_on).is_applied() || again.is_pending(&builds_on.digest()));
        assert!(again.read(|base| base.contains(&builds_on.digest())).0);
        assert_eq!(again.read(board::items).0.len(), 6);
    }
}
