//! Whose changes are let in may change while the replica runs.

use std::collections::BTreeSet;

use super::*;

fn trusting(seed: u8, log: &ManualLog, trust: &[u8]) -> Board {
    let trust: BTreeSet<_> = trust.iter().map(|seed| Keypair::from_seed(&[*seed; 32]).author()).collect();
    let settings = ReplicaSettings { trust: Some(trust), ..ReplicaSettings::default() };
    Replica::open(Keypair::from_seed(&[seed; 32]), Arc::new(log.clone()), settings).unwrap()
}

#[test]
fn what_waited_for_trust_comes_in_and_is_logged_before_it_is_told() {
    let (bob, carol) = (replica(2), replica(3));
    let _ = (add(&bob, "bobs"), add(&carol, "carols"));
    let log = ManualLog::slow();
    let alice = trusting(1, &log, &[]);
    deliver(&bob, &alice);
    deliver(&carol, &alice);
    assert_eq!((story_ids(&alice).len(), log.appended()), (0, LogSeq(0)));

    let (batch, ticket) = alice.set_trust(5, Some(BTreeSet::from([bob.author()]))).unwrap();
    assert_eq!(batch.applied.len(), 1);
    assert_eq!((story_ids(&alice), log.appended()), (vec!["bobs".to_owned()], LogSeq(1)));
    assert_eq!((alice.durable(), ticket.is_done().is_none()), (LogSeq(0), true));
    log.answer_all();
    assert!(ticket.is_done().is_some_and(|done| done.is_ok()));
    let told = entries(&alice, LogSeq::START);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].origin(), Some(OriginId(0)), "a session does not get back what it brought");

    let (batch, _ticket) = alice.set_trust(6, None).unwrap();
    assert_eq!(batch.applied.len(), 1);
    log.answer_all();
    // A replica that trusts nobody opens what was let in.
    let again = trusting(1, &log.after_a_crash(), &[]);
    assert_eq!(story_ids(&again).len(), 2);
}

#[test]
fn distrust_keeps_out_what_comes_later_and_nothing_else() {
    let (log, bob) = (ManualLog::prompt(), replica(2));
    let alice = trusting(1, &log, &[2]);
    let _ticket = add(&bob, "early");
    deliver(&bob, &alice);
    let (batch, _ticket) = alice.set_trust(5, Some(BTreeSet::new())).unwrap();
    assert_eq!(batch.applied.len(), 0);
    let _ticket = add(&bob, "late");
    deliver(&bob, &alice);
    assert_eq!(story_ids(&alice), ["early"]);
}
