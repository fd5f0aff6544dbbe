//! What the two lack is told, and nothing else: also where authors lied, and where signatures cover others.

use std::collections::BTreeSet;

use bft_json_crdt::json_crdt::Change;
use gangline_doc::LogSeq;
use gangline_transport::link::{Exchange, LinkInput, LinkNotice};
use gangline_transport::session::SessionSettings;
use gangline_wire::v2::Frame;
use proptest::prelude::*;

use crate::pair::{Pair, Side, Writer, bring, replica};

/// `authors` writers, who take turns and see each other's changes.
fn history(authors: u8, count: usize) -> Vec<Change> {
    let mut writers: Vec<Writer> = (0..authors).map(|n| Writer::new(10 + n)).collect();
    let mut changes: Vec<Change> = Vec::new();
    for n in 0..count {
        let at = n % writers.len();
        let change = writers[at].write(&format!("edit {n}"));
        for (other, writer) in writers.iter_mut().enumerate() {
            if other != at {
                writer.see(std::slice::from_ref(&change));
            }
        }
        changes.push(change);
    }
    changes
}

#[test]
fn nothing_new_costs_a_hello_and_a_proof() {
    let changes = history(3, 300);
    let mut pair = Pair::new(replica(1, None, &changes), replica(2, None, &changes));
    pair.talk();
    pair.assert_level();
    for side in &pair.sides {
        assert_eq!(side.sent.len(), 2);
        assert!(side.sent_bytes() <= 300, "{} bytes", side.sent_bytes());
    }
}

#[test]
fn ten_missing_of_thousands_cost_little() {
    let changes = history(3, 3_000);
    let mut pair = Pair::new(replica(1, None, &changes), replica(2, None, &changes[..2_990]));
    pair.talk();
    pair.assert_level();
    let bytes: Vec<usize> = pair.sides.iter().map(|side| side.sent_bytes()).collect();
    assert!(bytes[0] <= 2_048 && bytes[1] <= 1_024, "{bytes:?} bytes");
    assert_eq!(pair.sides[0].given().len(), 10);
    assert_eq!(pair.sides[1].given().len(), 0);
}

#[test]
fn a_fresh_replica_gets_all_of_it_compressed() {
    let changes = history(2, 2_000);
    let mut pair = Pair::new(replica(1, None, &changes), replica(2, None, &[]));
    pair.talk();
    pair.assert_level();
    assert_eq!(pair.sides[0].given().len(), 2_000);
    let plain: usize = changes.iter().map(|change| change.bytes().len() + 64).sum();
    let sent = pair.sides[0].sent_bytes();
    assert!(sent * 4 < plain, "{sent} of {plain} bytes");
}

/// What came covered goes on covered, and is as valid for the third as for the first.
#[test]
fn covered_changes_are_passed_on_with_what_covers_them() {
    let changes = history(2, 700);
    let mut first = Pair::new(replica(1, None, &changes), replica(2, None, &[]));
    first.talk();
    first.assert_level();
    let unvouched = |pair: &Pair| {
        let is_vouched =
            |change: &&Change| pair.sides[1].replica.read(|base| base.is_vouched(&change.digest())).0;
        changes.len() - changes.iter().filter(is_vouched).count()
    };
    assert!(unvouched(&first) > 600);
    let relay = first.sides[1].replica.clone();
    let mut second = Pair::new(relay, replica(3, None, &changes[..123]));
    second.talk();
    second.assert_level();
}

/// A link may hear late how long the log is. It once took the end that it knew for the end of a chain, and told a change
/// without the one that vouches for it.
#[test]
fn a_covered_change_is_told_with_what_covers_it_however_late_that_is_known() {
    let mut writer = Writer::new(10);
    let settings = SessionSettings { send_ops_max: 1, batch_frames_max: 1, ..SessionSettings::default() };
    let mut pair = Pair::new(replica(1, None, &[]), replica(2, None, &[]));
    for n in 0..2 {
        let replica = pair.sides[n].replica.clone();
        pair.sides[n] = Side::with(n as u8 + 1, n == 0, replica, None, settings.clone(), false);
    }
    pair.talk();
    let (covered, covering) = (writer.write("covered"), writer.write("covering"));
    bring(&pair.sides[0].replica, &[covered.with_signature([0; 64]), covering]);
    pair.sides[0].feed(LinkInput::Durable(0, LogSeq(1)));
    pair.talk();
    assert!(pair.sides[0].given().is_empty());
    pair.sides[0].feed(LinkInput::Durable(0, LogSeq(2)));
    pair.talk();
    pair.assert_level();
    assert_eq!(pair.sides[1].link.stats().bad_frames, 0);
}

#[test]
fn what_is_new_is_told_and_acknowledged() {
    let mut writer = Writer::new(10);
    let mut pair = Pair::new(replica(1, None, &[]), replica(2, None, &[]));
    pair.talk();
    for n in 0..50 {
        let change = writer.write(&format!("edit {n}"));
        pair.sides[n % 2].bring(std::slice::from_ref(&change));
        pair.talk();
        pair.assert_level();
        // Told once, in one direction, and never back.
        assert_eq!(pair.sides[n % 2].given().last(), Some(&change.digest()));
        let acked = pair.sides[n % 2].notices.iter().rev().find_map(|notice| match notice {
            LinkNotice::Acked { vector, .. } => Some(vector.clone()),
            _ => None,
        });
        assert_eq!(acked.unwrap()[&change.author()], vec![(change.seq(), change.digest())]);
    }
    assert_eq!(pair.sides[0].given().len() + pair.sides[1].given().len(), 50);
}

/// The two hold one author's chain up to a fork, and different branches from there.
fn forked(common: usize, mine: usize, theirs: usize) -> (Vec<Change>, Vec<Change>) {
    let mut writer = Writer::new(10);
    let shared: Vec<Change> = (0..common).map(|n| writer.write(&format!("{n}"))).collect();
    let mut liar = writer.clone();
    let left = (0..mine).map(|n| writer.write(&format!("left {n}")));
    let right = (0..theirs).map(|n| liar.write(&format!("right {n}")));
    (shared.iter().cloned().chain(left).collect(), shared.iter().cloned().chain(right).collect())
}

#[test]
fn where_chains_part_is_found_in_few_rounds() {
    for (common, mine, theirs) in [(2_000, 5, 900), (2_000, 900, 5), (0, 30, 30), (500, 1, 1), (1, 700, 700)]
    {
        let (a, b) = forked(common, mine, theirs);
        let mut pair = Pair::new(replica(1, None, &a), replica(2, None, &b));
        pair.talk();
        pair.assert_level();
        assert_eq!(pair.sides[0].given().len(), mine, "only the branch is given");
        assert_eq!(pair.sides[1].given().len(), theirs);
        for side in &pair.sides {
            assert!(side.frames(|frame| matches!(frame, Frame::Ask { .. })) <= 4);
            assert_eq!(side.replica.equivocations().len(), 1);
        }
    }
}

/// What to do with a team of writers and two replicas that hear of some of it.
#[derive(Clone, Debug)]
enum Step {
    Write {
        who: usize,
        hears: Vec<usize>,
    },
    /// A writer goes back to a copy of itself that was made before: it forks.
    Copy(usize),
    Fork(usize),
    /// A replica gets all that it could have got by now, up to a share.
    Bring {
        to: usize,
        percent: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0usize..3, prop::collection::vec(0usize..3, 0..3))
            .prop_map(|(who, hears)| Step::Write { who, hears }),
        1 => (0usize..3).prop_map(Step::Copy),
        1 => (0usize..3).prop_map(Step::Fork),
        2 => (0usize..2, 0usize..=100).prop_map(|(to, percent)| Step::Bring { to, percent }),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the two hold, and however authors lied, both end with all of it, each change crosses at most
    /// once in each direction, and never to somebody who had it before they met.
    #[test]
    fn two_that_meet_end_alike(steps in steps()) {
        let mut writers: Vec<Writer> = (0..3).map(|n| Writer::new(10 + n)).collect();
        let mut copies = writers.clone();
        let mut all: Vec<Change> = Vec::new();
        let sides = [replica(1, None, &[]), replica(2, None, &[])];
        for step in steps {
            match step {
                Step::Write { who, hears } => {
                    let change = writers[who].write(&format!("{}", all.len()));
                    all.push(change);
                    for other in hears.into_iter().filter(|other| *other != who) {
                        let known = all.clone();
                        writers[other].see(&known);
                    }
                }
                Step::Copy(who) => copies[who] = writers[who].clone(),
                Step::Fork(who) => writers[who] = copies[who].clone(),
                Step::Bring { to, percent } => {
                    let share = all.len() * percent / 100;
                    bring(&sides[to], &all[..share]);
                }
            }
        }
        let [a, b] = sides;
        let had: [BTreeSet<_>; 2] = [&a, &b].map(|it| {
            let holds = |change: &&Change| it.read(|base| base.contains(&change.digest())).0;
            all.iter().filter(holds).map(|change| change.digest()).collect()
        });
        let before = [a.version_vector(), b.version_vector()];
        let mut pair = Pair::new(a, b);
        pair.talk();
        pair.assert_level();
        for n in 0..2 {
            let stood: Vec<Exchange> = pair.sides[n].stood.iter().map(|(exchange, _)| *exchange).collect();
            prop_assert_eq!(&stood, &[Exchange::Meeting, Exchange::Level]);
            prop_assert_eq!(&pair.sides[n].stood[0].1, &before[n], "before anything is taken in");
            let all = pair.sides[n].replica.version_vector();
            prop_assert_eq!(&pair.sides[n].stood[1].1, &all, "when all is taken in");
            let given = pair.sides[n].given();
            prop_assert!(given.iter().all(|digest| !had[1 - n].contains(digest)), "it had that");
            prop_assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len(), "twice");
        }
    }
}
