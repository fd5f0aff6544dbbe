//! Edits that are one change, and changes by another key than the replica's own: in the log before they are told,
//! whole or not at all.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bft_json_crdt::json_crdt::{EditError, SignError};
use bft_json_crdt::{AuthorId, BaseCrdt, Change, Digest, DocumentId, JsonCrdt};
use gangline_doc::{Authored, OpenError};
use proptest::prelude::*;

use super::*;

type Json = Replica<JsonCrdt>;

/// The key that signs what a database says.
fn source() -> Keypair {
    Keypair::from_seed(&[100; 32])
}

fn settings() -> ReplicaSettings {
    ReplicaSettings { document: DocumentId([7; 32]), ..ReplicaSettings::default() }
}

fn json_on(seed: u8, log: &ManualLog) -> Json {
    reopen(seed, log).unwrap()
}

fn reopen(seed: u8, log: &ManualLog) -> Result<Json, OpenError> {
    Replica::open(Keypair::from_seed(&[seed; 32]), Arc::new(log.clone()), settings())
}

fn put(replica: &Json, key: &str) -> Authored<()> {
    put_at(replica, None, key)
}

fn put_at(replica: &Json, heads: Option<&[Digest]>, key: &str) -> Authored<()> {
    replica.transact(1, heads, |doc| doc.put(key, true).keep()).unwrap()
}

/// Signs an edit with the source's key, at some heads of the document.
fn sign_at(
    base: &BaseCrdt<JsonCrdt>,
    heads: &[Digest],
    edit: impl FnOnce(&JsonCrdt) -> Result<(), EditError>,
) -> Result<Vec<Change>, SignError> {
    let mut past = base.author_at(heads, source().author())?;
    past.begin();
    edit(&past.doc)?;
    past.commit(&source())
}

fn put_as_source(replica: &Json, key: &str) -> Authored<()> {
    let put = |doc: &JsonCrdt| doc.put(key, "of the source").keep();
    replica.author_as(1, |base| sign_at(base, &base.heads(), put).map(|changes| ((), changes))).unwrap()
}

fn keys(replica: &Json) -> Vec<String> {
    replica.read(|base| base.doc.as_map().unwrap().keys()).0
}

fn told(replica: &Json) -> Vec<Change> {
    let entries = replica.entries(LogSeq::START, ReadLimit::default()).unwrap();
    entries.iter().map(|entry| entry.change().clone()).collect()
}

/// Delivers everything durable at `from` to `to`.
fn pass_on(from: &Json, to: &Json) {
    let (batch, _ticket) = to.apply(2, OriginId(0), told(from)).unwrap();
    assert!(batch.states.iter().all(|state| !state.is_refused()), "{:?}", batch.states);
}

#[test]
fn what_waited_for_an_authored_change_is_told_as_what_it_is() {
    let (node, peer) = (json_on(1, &ManualLog::prompt()), json_on(2, &ManualLog::prompt()));
    // Both say what the database says, in the same bytes; the peer first, and goes on.
    let theirs = put_as_source(&peer, "rows");
    let mut later = [put(&peer, "a"), put(&peer, "b")].map(|authored| authored.changes[0].clone());
    later[0] = later[0].with_signature([9; 64]);
    let (batch, _ticket) = node.apply(2, OriginId(5), later.to_vec()).unwrap();
    assert!(batch.states.iter().all(|state| state.is_pending()), "{:?}", batch.states);
    let ours = put_as_source(&node, "rows");
    assert_eq!(ours.changes, theirs.changes);
    assert_eq!(keys(&node), ["a", "b", "rows"]);
    let entries = node.entries(LogSeq::START, ReadLimit::default()).unwrap();
    let told: Vec<_> = entries.iter().map(|entry| (entry.origin(), entry.is_vouched())).collect();
    let origin = Some(OriginId(5));
    assert_eq!(told, [(None, true), (origin, false), (origin, true)], "a later change covers the first");
}

#[test]
fn a_transaction_is_one_change_that_is_told_when_the_log_has_answered() {
    let log = ManualLog::slow();
    let node = json_on(1, &log);
    let authored = node
        .transact(5, None, |doc| {
            doc.put("name", "deploy").keep()?;
            doc.put("jobs", serde_json::json!({})).keep()?;
            doc.at("jobs").unwrap().put("j1", "build").keep()?;
            Ok::<_, EditError>("what was wanted")
        })
        .unwrap();
    assert_eq!(authored.result, "what was wanted");
    assert_eq!((authored.changes.len(), authored.changes[0].op_count()), (1, 3));
    assert_eq!((authored.changes[0].author(), authored.changes[0].verify()), (node.author(), true));
    assert_eq!(keys(&node), ["jobs", "name"], "the node itself sees it at once");
    assert_eq!((log.waiting(), log.appended(), authored.ticket.end()), (1, LogSeq(1), LogSeq(1)));
    assert_eq!(authored.ticket.is_done(), None);
    assert!(told(&node).is_empty());

    log.answer_all();
    assert_eq!(authored.ticket.is_done(), Some(Ok(())));
    assert_eq!(told(&node), authored.changes);
    let entry = &node.entries(LogSeq::START, ReadLimit::default()).unwrap()[0];
    assert_eq!((entry.origin(), entry.received_at_ms(), entry.was_vouched()), (None, 5, true));
    let again = json_on(1, &log.after_a_crash());
    assert_eq!(again.read(|base| base.doc.view()).0, node.read(|base| base.doc.view()).0);
}

#[test]
fn in_the_default_document_a_transaction_is_a_change_for_each_op_and_one_append() {
    let log = ManualLog::slow();
    let board = open(1, &log);
    let push = |doc: &PipelineDoc, id: &str| doc.items.push(serde_json::json!({"story_id": id})).keep();
    let authored = board
        .transact(1, None, |doc| {
            push(doc, "a")?;
            push(doc, "b")
        })
        .unwrap();
    assert!(authored.changes.iter().all(|change| change.op_count() == 1));
    assert_eq!((authored.changes.len(), log.waiting(), authored.ticket.end()), (2, 1, LogSeq(2)));
    log.answer_one();
    assert_eq!(authored.ticket.is_done(), Some(Ok(())));
    assert_eq!(story_ids(&board), ["a", "b"]);
}

#[test]
fn where_nothing_was_edited_the_ticket_waits_for_what_was_there() {
    let log = ManualLog::slow();
    let node = json_on(1, &log);
    let nothing = |heads: Option<&[Digest]>| node.transact(1, heads, |_| Ok::<_, Infallible>(())).unwrap();
    assert_eq!(nothing(None).ticket.is_done(), Some(Ok(())));
    let before = put(&node, "before");
    let heads = node.heads();
    let unsigned = node.author_as(1, |_| Ok::<_, Infallible>(((), Vec::new()))).unwrap();
    let all = [nothing(None), nothing(Some(&heads)), unsigned];
    assert_eq!((log.waiting(), log.appended()), (1, LogSeq(1)));
    for authored in &all {
        assert!(authored.changes.is_empty());
        assert_eq!(authored.ticket.is_done(), None);
    }
    log.answer_all();
    assert!(all.iter().chain([&before]).all(|authored| authored.ticket.is_done() == Some(Ok(()))));
}

#[test]
fn a_transaction_at_heads_has_seen_these_and_what_the_node_has_signed() {
    let log = ManualLog::prompt();
    let (node, peer) = (json_on(1, &log), json_on(2, &ManualLog::prompt()));
    let seen = put(&peer, "seen").changes[0].digest();
    pass_on(&peer, &node);
    let own = put(&node, "own").changes[0].clone();
    let unseen = put(&peer, "unseen").changes[0].digest();
    pass_on(&peer, &node);

    let look = |doc: &JsonCrdt| {
        let keys = doc.as_map().unwrap().keys();
        doc.put("at", true).keep().map(|()| keys)
    };
    let authored = node.transact(1, Some(&[seen]), look).unwrap();
    assert_eq!(authored.result, ["own", "seen"], "it edits what it has seen");
    let [change] = &authored.changes[..] else { panic!("{:?}", authored.changes) };
    assert_eq!((change.prev(), change.deps().contains(&unseen)), (Some(own.digest()), false));
    let past = node.read(|base| base.at(&[change.digest()]).unwrap().doc.as_map().unwrap().keys()).0;
    assert_eq!(past, ["at", "own", "seen"]);
    assert_eq!(keys(&node), ["at", "own", "seen", "unseen"]);
    assert_eq!(told(&node).last(), Some(change));
    pass_on(&node, &peer);
    assert_eq!(node.version_vector(), peer.version_vector());
    assert_eq!((node.equivocations(), peer.equivocations()), (Vec::new(), Vec::new()));
    assert_eq!(json_on(1, &log).version_vector(), node.version_vector());
}

#[test]
fn heads_that_nobody_knows_are_told_and_nothing_is_run() {
    let node = json_on(1, &ManualLog::prompt());
    let _ = put(&node, "a");
    let unknown = Digest::of(&[b"nobody"]);
    let failed = node.transact(1, Some(&[unknown]), |_| -> Result<(), Infallible> { panic!("it was run") });
    assert!(matches!(failed, Err(EditFailed::Unsignable(SignError::UnknownHead(_)))), "{failed:?}");
    let failed = node.author_as(1, |base| sign_at(base, &[unknown], |_| Ok(())).map(|changes| ((), changes)));
    assert!(matches!(failed, Err(EditFailed::Refused(SignError::UnknownHead(_)))), "{failed:?}");
    assert_eq!(put(&node, "b").ticket.is_done(), Some(Ok(())));
}

/// What says no after it has edited, and what hides that an edit could not be made.
#[test]
fn what_fails_changes_nothing_and_the_replica_goes_on() {
    let log = ManualLog::prompt();
    let node = json_on(1, &log);
    let _ = (put(&node, "a"), put_as_source(&node, "b"));
    let heads = node.heads();
    let before = node.read(|base| (base.heads(), base.version_vector(), base.doc.view().to_string())).0;
    let unchanged = || {
        let after = node.read(|base| (base.heads(), base.version_vector(), base.doc.view().to_string())).0;
        assert_eq!(after, before);
        assert_eq!((log.durable().len(), node.failure()), (2, None));
    };
    for heads in [None, Some(&heads[..])] {
        let failed = node.transact(1, heads, |doc| {
            doc.put("c", "never").keep().unwrap();
            doc.remove("a").keep().unwrap();
            Err::<(), _>("no")
        });
        assert!(matches!(failed, Err(EditFailed::Refused("no"))), "{failed:?}");
        unchanged();
        let failed = node.transact(1, heads, |doc| {
            doc.put("c", "never").keep().unwrap();
            let _not_looked_at = doc.at("a").unwrap().put("in a register", 1);
            Ok::<_, Infallible>(())
        });
        assert!(matches!(failed, Err(EditFailed::Unsignable(SignError::Edit(_)))), "{failed:?}");
        unchanged();
    }
    let failed = node.author_as(1, |base| {
        let signed = sign_at(base, &base.heads(), |doc| doc.put("c", "never").keep()).unwrap();
        assert_eq!(signed.len(), 1);
        Err::<((), Vec<Change>), _>("no")
    });
    assert!(matches!(failed, Err(EditFailed::Refused("no"))), "{failed:?}");
    unchanged();

    let _ = (put(&node, "c"), put_as_source(&node, "d"));
    let peer = json_on(2, &ManualLog::prompt());
    pass_on(&node, &peer);
    assert_eq!(keys(&peer), ["a", "b", "c", "d"], "both chains go on as if it had not been");
    assert_eq!(keys(&json_on(1, &log)), ["a", "b", "c", "d"]);
}

#[test]
fn what_another_key_signed_is_logged_before_it_is_told() {
    let log = ManualLog::slow();
    let node = json_on(1, &log);
    let own = put(&node, "own");
    let first = put_as_source(&node, "first");
    let second = put_as_source(&node, "second");
    let authors: Vec<AuthorId> = [&own, &first, &second].map(|it| it.changes[0].author()).to_vec();
    assert_eq!(authors, [node.author(), source().author(), source().author()]);
    assert_eq!(second.changes[0].prev(), Some(first.changes[0].digest()));
    assert_eq!(keys(&node), ["first", "own", "second"]);
    assert_eq!(log.appended(), LogSeq(3));
    for (nth, ticket) in [&own.ticket, &first.ticket, &second.ticket].into_iter().enumerate() {
        assert_eq!((ticket.end(), ticket.is_done()), (LogSeq(nth as u64 + 1), None));
        assert_eq!(told(&node).len(), nth);
        log.answer_one();
        assert_eq!(ticket.is_done(), Some(Ok(())));
    }
    let entries = node.entries(LogSeq::START, ReadLimit::default()).unwrap();
    assert!(entries.iter().all(|entry| entry.origin().is_none() && entry.was_vouched()), "its own to tell");
    let peer = json_on(2, &ManualLog::prompt());
    pass_on(&node, &peer);
    assert_eq!(peer.read(|base| base.doc.view()).0, node.read(|base| base.doc.view()).0);
}

#[test]
fn a_batch_of_changes_is_one_append() {
    let log = ManualLog::slow();
    let node = json_on(1, &log);
    let authored = node.author_as(1, |base| {
        let mut past = base.author_at(&base.heads(), source().author())?;
        let first = past.transact(&source(), |doc| doc.put("a", 1).keep())?;
        let second = past.transact(&source(), |doc| doc.put("b", 2).keep())?;
        Ok::<_, SignError>(((), [first, second].concat()))
    });
    let authored = authored.unwrap();
    assert_eq!((authored.changes.len(), log.waiting(), authored.ticket.end()), (2, 1, LogSeq(2)));
    log.answer_one();
    assert_eq!((authored.ticket.is_done(), told(&node)), (Some(Ok(())), authored.changes));
}

#[test]
fn a_log_that_fails_is_told_and_stops_both() {
    let log = ManualLog::slow();
    let node = json_on(1, &log);
    let kept = put(&node, "kept");
    log.answer_all();
    let (own, of_source) = (put(&node, "own"), put_as_source(&node, "of-source"));
    log.fail();
    assert_eq!(kept.ticket.is_done(), Some(Ok(())));
    for ticket in [own.ticket, of_source.ticket] {
        assert!(ticket.is_done().unwrap().unwrap_err().reason.contains("the disk burned"));
    }
    assert_eq!(told(&node), kept.changes, "nobody hears of what is not on disk");
    let own = node.transact(1, None, |_| -> Result<(), Infallible> { panic!("it was run") });
    assert!(
        matches!(&own, Err(EditFailed::Failed { reason }) if reason.contains("the disk burned")),
        "{own:?}"
    );
    let other = node.author_as(1, |_| -> Result<((), Vec<Change>), Infallible> { panic!("it was run") });
    assert!(matches!(&other, Err(EditFailed::Failed { reason }) if reason.contains("the disk burned")));
    assert_eq!((log.waiting(), keys(&json_on(1, &log.after_a_crash()))), (0, vec!["kept".to_owned()]));
}

#[test]
fn a_slow_disk_makes_both_busy_for_a_while() {
    let log = ManualLog::slow();
    let settings = ReplicaSettings { in_flight_bytes_max: 1, ..settings() };
    let node = Json::open(Keypair::from_seed(&[1; 32]), Arc::new(log.clone()), settings).unwrap();
    let _ = put(&node, "a");
    let own = node.transact(1, None, |_| -> Result<(), Infallible> { panic!("it was run") });
    assert!(matches!(own, Err(EditFailed::Busy { in_flight_bytes }) if in_flight_bytes > 1), "{own:?}");
    let other = node.author_as(1, |_| -> Result<((), Vec<Change>), Infallible> { panic!("it was run") });
    assert!(matches!(other, Err(EditFailed::Busy { .. })), "{other:?}");
    log.answer_all();
    let _ = put_as_source(&node, "b");
    log.answer_all();
    assert_eq!(keys(&node), ["a", "b"]);
}

/// What a transaction had made when it panicked used to stay in what the document shows, with a ticket that said it
/// was durable.
#[test]
fn a_panic_leaves_nothing_and_stops_the_replica() {
    let at_heads = |node: &Json| {
        let heads = node.heads();
        let _ = node.transact(1, Some(&heads), panics);
    };
    let now = |node: &Json| drop(node.transact(1, None, panics));
    let as_source = |node: &Json| {
        let _ = node.author_as(1, |base| sign_at(base, &base.heads(), panics).map(|changes| ((), changes)));
    };
    let ways: [&dyn Fn(&Json); 3] = [&now, &at_heads, &as_source];
    for way in ways {
        let log = ManualLog::prompt();
        let node = json_on(1, &log);
        let _ = put(&node, "a");
        assert!(catch_unwind(AssertUnwindSafe(|| way(&node))).is_err());
        let failed = node.transact(1, None, |doc| doc.put("c", 1).keep());
        assert!(
            matches!(&failed, Err(EditFailed::Failed { reason }) if reason.contains("panic")),
            "{failed:?}"
        );
        assert_eq!(keys(&node), ["a"], "what it had made was undone");
        assert_eq!(keys(&json_on(1, &log)), ["a"]);
    }
}

fn panics(doc: &JsonCrdt) -> Result<(), EditError> {
    doc.put("b", "never durable").keep()?;
    assert!(doc.at("b").is_none(), "a bug in an edit");
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    Transact,
    TransactAt(usize),
    Fail,
    AuthorAs,
    AuthorAsAt(usize),
    Receive,
    Answer(usize),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Transact),
        3 => (0..8_usize).prop_map(Step::TransactAt),
        1 => Just(Step::Fail),
        3 => Just(Step::AuthorAs),
        2 => (0..8_usize).prop_map(Step::AuthorAsAt),
        2 => Just(Step::Receive),
        4 => (1..4_usize).prop_map(Step::Answer),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// A node authors with two keys and crashes at any moment: what its peer hears is what the log has, in order, and
    /// neither key is ever seen to have signed two changes after the same one.
    #[test]
    fn authored_is_durable_before_it_is_told(steps in proptest::collection::vec(step(), 1..40)) {
        let mut log = ManualLog::slow();
        let mut node = json_on(1, &log);
        let peer = json_on(2, &ManualLog::prompt());
        let mut authored: Vec<(Authored<()>, LogSeq)> = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            let key = format!("k{n}");
            let past = |nth: usize| {
                let changes = told(&node);
                changes.get(nth % changes.len().max(1)).map(Change::digest)
            };
            match step {
                Step::Transact => authored.push((put(&node, &key), log.appended())),
                Step::TransactAt(nth) => {
                    let heads: Vec<Digest> = past(*nth).into_iter().collect();
                    authored.push((put_at(&node, Some(&heads), &key), log.appended()));
                }
                Step::Fail => {
                    let heads = node.heads();
                    let failed = node.transact(1, Some(&heads), |doc| {
                        doc.put(&key, 1).keep().unwrap();
                        Err::<(), _>("no")
                    });
                    prop_assert!(matches!(failed, Err(EditFailed::Refused("no"))));
                }
                Step::AuthorAs => authored.push((put_as_source(&node, &key), log.appended())),
                Step::AuthorAsAt(nth) => {
                    let seen = past(*nth);
                    let of_source = node.author_as(1, |base| {
                        let heads: Vec<Digest> =
                            seen.into_iter().chain(base.last_of(&source().author())).collect();
                        sign_at(base, &heads, |doc| doc.put(&key, 2).keep()).map(|changes| ((), changes))
                    });
                    authored.push((of_source.unwrap(), log.appended()));
                }
                Step::Receive => {
                    let _ticket = put(&peer, &key).ticket;
                    let (_, _ticket) = node.apply(1, OriginId(1), told(&peer)).unwrap();
                }
                Step::Answer(count) => {
                    for _ in 0..*count {
                        log.answer_one();
                    }
                }
                Step::Crash => {
                    log = log.after_a_crash();
                    node = json_on(1, &log);
                    authored.clear();
                }
            }
            let durable: Vec<Change> = log.durable().into_iter().map(|entry| entry.change).collect();
            prop_assert_eq!(told(&node), durable.clone());
            for (authored, seen) in &authored {
                let is_durable = *seen <= node.durable();
                prop_assert_eq!(authored.ticket.is_done(), is_durable.then_some(Ok(())));
                for change in &authored.changes {
                    prop_assert_eq!(durable.contains(change), is_durable);
                }
            }
            pass_on(&node, &peer);
            prop_assert_eq!(peer.equivocations(), Vec::new());
        }
        log.answer_all();
        pass_on(&node, &peer);
        pass_on(&peer, &node);
        log.answer_all();
        prop_assert_eq!(node.version_vector(), peer.version_vector());
        let view = |replica: &Json| replica.read(|base| base.doc.view().to_string()).0;
        prop_assert_eq!(view(&node), view(&peer));
        prop_assert_eq!(view(&json_on(1, &log)), view(&peer));
    }
}
