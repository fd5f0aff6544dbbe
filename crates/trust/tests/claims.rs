//! What ledgers, records and tickets claim, on histories that nobody thought of.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;

use bft_json_crdt::DocumentId;
use bft_json_crdt::keypair::Keypair;
use gangline_trust::ledger::Roots;
use gangline_trust::{
    Grant, JoinError, Learned, Ledger, Policy, Record, RecordError, Revocation, Rights, Statement,
    TICKET_PREFIX, Ticket, TicketError,
};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

const DOCUMENT: DocumentId = DocumentId::DEFAULT;
const KEYS: u8 = 6;
const RIGHTS: [Rights; 4] = [Rights::CONNECT, Rights::READ, Rights::WRITE, Rights::INVITE];

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n + 1; 32])
}

/// Key 0 is the node's own.
fn roots() -> Roots {
    BTreeMap::from([(key(0).author(), Rights::ALL)])
}

fn any_rights() -> impl Strategy<Value = Rights> {
    // Mostly with the right to invite: else there are no chains.
    prop_oneof![
        3 => subsequence(RIGHTS.to_vec(), 0..=3).prop_map(|some| sum(&some) | Rights::INVITE),
        1 => subsequence(RIGHTS.to_vec(), 1..=4).prop_map(|some| sum(&some)),
    ]
}

fn sum(rights: &[Rights]) -> Rights {
    rights.iter().fold(Rights::NONE, |all, right| all | *right)
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let expiry = prop_oneof![3 => Just(0_u64), 1 => 1_u64..100];
    let is_ticket = prop::bool::weighted(0.2);
    (0..KEYS, 0..KEYS, any_rights(), is_ticket, "[a-zé ]{0,8}", expiry, any::<[u8; 16]>()).prop_map(
        |(issuer, subject, rights, is_ticket, name, expires_at_ms, id)| Grant {
            document: DOCUMENT,
            issuer: key(issuer).author(),
            subject: key(subject).author(),
            rights,
            is_ticket,
            name,
            expires_at_ms,
            id,
        },
    )
}

fn any_statement() -> impl Strategy<Value = Statement> {
    let revocation = (0..KEYS, 0..KEYS).prop_map(|(issuer, subject)| {
        let (issuer, subject) = (key(issuer).author(), key(subject).author());
        Statement::Revocation(Revocation { document: DOCUMENT, issuer, subject })
    });
    prop_oneof![4 => any_grant().prop_map(Statement::Grant), 1 => revocation]
}

fn signed(statement: Statement) -> Record {
    let issuer = (0..KEYS).map(key).find(|key| key.author() == statement.issuer()).unwrap();
    statement.sign(&issuer).unwrap()
}

fn any_records() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(any_statement().prop_map(signed), 0..14)
}

fn union<'a>(records: impl IntoIterator<Item = &'a Record>) -> Ledger {
    let mut ledger = Ledger::default();
    for record in records {
        assert!(!matches!(ledger.learn(record.clone(), &roots(), 0), Learned::Refused(_)));
    }
    ledger
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn union_depends_on_nothing_but_the_set(records in any_records(), order in any::<Vec<Index>>(), twice in any::<Vec<Index>>()) {
        let straight = union(&records);
        let mut shuffled = records.clone();
        for (at, index) in order.iter().enumerate().take(records.len()) {
            let other = index.index(records.len());
            shuffled.swap(at, other);
        }
        if !records.is_empty() {
            shuffled.extend(twice.iter().take(5).map(|index| records[index.index(records.len())].clone()));
        }
        prop_assert_eq!(&union(&shuffled), &straight);
        let mut again = straight.clone();
        for record in &records {
            prop_assert_eq!(again.learn(record.clone(), &roots(), 0), Learned::Known);
        }
        prop_assert_eq!(again, straight);
    }

    #[test]
    fn letting_go_of_the_useless_changes_no_right(records in any_records(), now_ms in 0_u64..120) {
        let full = union(&records);
        let mut pruned = full.clone();
        pruned.prune(&roots(), now_ms);
        for later in [now_ms, now_ms + 50] {
            let (before, after) = (full.standing(&roots(), DOCUMENT, later), pruned.standing(&roots(), DOCUMENT, later));
            for n in 0..KEYS {
                let rights = |standing: &gangline_trust::Standing| standing.held.get(&key(n).author()).map_or(Rights::NONE, |held| held.rights);
                prop_assert_eq!(rights(&before), rights(&after), "key {} at {}", n, later);
            }
        }
    }

    #[test]
    fn what_is_revoked_stays_revoked(records in any_records(), more in any_records(), subject in 1..KEYS, now_ms in 0_u64..120) {
        let mut ledger = union(&records);
        let revocation = Revocation { document: DOCUMENT, issuer: key(0).author(), subject: key(subject).author() };
        let _ = ledger.learn(signed(Statement::Revocation(revocation)), &roots(), now_ms);
        for record in more {
            let _ = ledger.learn(record, &roots(), now_ms);
            prop_assert!(ledger.rights_of(&key(subject).author(), &roots(), DOCUMENT, now_ms).is_none());
        }
        let before = ledger.standing(&roots(), DOCUMENT, now_ms).revoked;
        ledger.prune(&roots(), now_ms);
        prop_assert_eq!(ledger.standing(&roots(), DOCUMENT, now_ms + 50).revoked, before);
    }

    #[test]
    fn nobody_has_more_than_those_above_it(records in any_records(), now_ms in 0_u64..120, limit in any_rights()) {
        // A single root that lacks something: nobody below it may have that.
        let roots: Roots = BTreeMap::from([(key(0).author(), limit)]);
        let mut ledger = Ledger::default();
        for record in records {
            let _ = ledger.learn(record, &roots, now_ms);
        }
        for (who, held) in ledger.standing(&roots, DOCUMENT, now_ms).held {
            prop_assert!(limit.contains(held.rights), "{who}: {} of {limit}", held.rights);
            let granted = ledger.records().filter_map(Record::grant).filter(|grant| grant.subject == who && !grant.is_ticket);
            let granted = granted.fold(Rights::NONE, |all, grant| all | grant.rights);
            prop_assert!(who == key(0).author() || granted.contains(held.rights));
        }
    }

    #[test]
    fn what_has_expired_counts_for_nothing(records in any_records(), now_ms in 100_u64..200) {
        let full = union(&records);
        let lasting = union(records.iter().filter(|record| record.grant().is_none_or(|grant| grant.expires_at_ms == 0)));
        for n in 0..KEYS {
            let rights = |ledger: &Ledger| ledger.rights_of(&key(n).author(), &roots(), DOCUMENT, now_ms);
            // Revocations may stand on invitations that have expired, so there may be less, never more.
            prop_assert!(rights(&lasting).contains(rights(&full)));
        }
    }

    #[test]
    fn records_round_trip_and_any_flipped_bit_is_noticed(statement in any_statement(), at in any::<Index>(), bit in 0_u8..8) {
        let record = signed(statement.clone());
        let read = Record::decode(record.bytes()).unwrap();
        prop_assert_eq!(read.statement(), &statement);
        prop_assert_eq!(Statement::decode(&statement.encode()).unwrap(), statement);
        let mut bad = record.bytes().to_vec();
        let at = at.index(bad.len());
        bad[at] ^= 1_u8 << bit;
        prop_assert!(Record::decode(&bad).is_err(), "byte {at}");
        prop_assert!(Record::decode(&record.bytes()[..at]).is_err());
        prop_assert!(Record::decode(&[record.bytes(), &[0]].concat()).is_err());
    }

    #[test]
    fn what_decodes_encodes_back_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_u8..5) {
        let bytes = [&[kind], bytes.as_slice()].concat();
        if let Ok(statement) = Statement::decode(&bytes) {
            prop_assert_eq!(statement.encode(), bytes);
        }
    }

    #[test]
    fn a_ticket_with_any_wrong_character_is_mistyped(at in any::<Index>(), c in "[A-Za-z0-9_-]") {
        let text = ticket(0, Rights::MEMBER).to_string();
        let at = TICKET_PREFIX.len() + at.index(text.len() - TICKET_PREFIX.len());
        let mut wrong = text.clone();
        wrong.replace_range(at..=at, &c);
        if wrong != text {
            prop_assert_eq!(wrong.parse::<Ticket>().unwrap_err(), TicketError::Mistyped);
        }
        prop_assert_eq!(text[..at].parse::<Ticket>().unwrap_err(), TicketError::Mistyped);
    }
}

fn ticket(expires_at_ms: u64, rights: Rights) -> Ticket {
    let grant = Grant {
        document: DOCUMENT,
        issuer: key(0).author(),
        subject: key(1).author(),
        rights,
        is_ticket: true,
        name: String::new(),
        expires_at_ms,
        id: [7; 16],
    };
    let urls = vec!["wss://alice.example:3001/crdt-sync".to_owned()];
    Ticket::issue(urls, Some([9; 32]), key(1), grant, &key(0)).unwrap()
}

#[test]
fn whoever_joins_by_a_ticket_has_what_it_says_until_it_ends_and_for_good_once_confirmed() {
    let ticket: Ticket = ticket(100, Rights::READER).to_string().parse().unwrap();
    assert_eq!((ticket.urls().len(), ticket.pin()), (1, Some([9; 32])));
    let (alice, bob) = (key(0), key(2).author());
    let records = ticket.join(bob, "bob", [3; 16], 50).unwrap();
    let told: Vec<Vec<u8>> = records.iter().rev().map(|record| record.bytes().to_vec()).collect();
    let mut policy = Policy::new(alice.author(), DOCUMENT);
    assert_eq!(policy.learn_from_peer(&told, 50), 2);
    assert_eq!(policy.learn_from_peer(&told, 50), 0);
    assert_eq!(policy.admit(&bob, 99), Ok((Rights::READER, Some("bob".to_owned()))));
    assert!(policy.admit(&bob, 100).is_err());
    let redeemed = policy.redeemed(60);
    assert_eq!(redeemed.len(), 1);
    for statement in redeemed[0].confirm(alice.author(), [4; 16]) {
        assert!(policy.learn(statement.sign(&alice).unwrap(), 60).is_new());
    }
    assert_eq!(policy.admit(&bob, u64::MAX), Ok((Rights::READER, Some("bob".to_owned()))));
    assert!(policy.redeemed(60).is_empty());
    // The ticket is used up.
    let carol = key(3).author();
    let late = ticket.join(carol, "carol", [5; 16], 70).unwrap().map(|record| record.bytes().to_vec());
    policy.learn_from_peer(&late, 70);
    assert!(policy.admit(&carol, 70).is_err());
    assert_eq!(ticket.join(carol, "carol", [5; 16], 100).unwrap_err(), JoinError::Expired { ago_ms: 0 });
}

#[test]
fn a_forged_ticket_is_told_from_a_mistyped_one() {
    // A good checksum over bytes that nobody signed.
    let text = ticket(0, Rights::MEMBER).to_string();
    let body = data_encoding::BASE64URL_NOPAD.decode(&text.as_bytes()[TICKET_PREFIX.len()..]).unwrap();
    let mut body = body[..body.len() - 4].to_vec();
    let last = body.len() - 1;
    body[last - 64] ^= 1;
    let sum = crc32fast::hash(&body).to_le_bytes();
    let forged =
        format!("{TICKET_PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&[&body[..], &sum].concat()));
    assert!(matches!(forged.parse::<Ticket>(), Err(TicketError::Forged(RecordError::Forged { .. }))));
    assert_eq!("ws://a".parse::<Ticket>().unwrap_err(), TicketError::NoTicket);
    body[0] = 2;
    let sum = crc32fast::hash(&body).to_le_bytes();
    let newer =
        format!("{TICKET_PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&[&body[..], &sum].concat()));
    assert_eq!(newer.parse::<Ticket>().unwrap_err(), TicketError::Version(2));
}

#[test]
fn a_policy_puts_its_own_word_above_all() {
    let (alice, bob, mallory) = (key(0), key(1), key(2));
    let listed = |name: &str, rights| gangline_trust::Listed { name: name.into(), rights };
    let mut policy = Policy::new(alice.author(), DOCUMENT).with_listed(BTreeMap::from([
        (bob.author(), listed("bob", Rights::MEMBER)),
        (mallory.author(), listed("mallory", Rights::ALL)),
    ]));
    let revoke = |who: &Keypair, whom: &Keypair| {
        let (issuer, subject) = (who.author(), whom.author());
        Statement::Revocation(Revocation { document: DOCUMENT, issuer, subject }).sign(who).unwrap()
    };
    assert!(policy.learn(revoke(&mallory, &bob), 0).is_new());
    assert_eq!(policy.rights_of(&bob.author(), 0), Rights::MEMBER, "the operator's list stands");
    assert!(policy.learn(revoke(&alice, &mallory), 0).is_new());
    assert_eq!(policy.rights_of(&mallory.author(), 0), Rights::NONE, "the operator's own word is above it");
    assert_eq!(policy.writers(0).unwrap().len(), 2);
    assert!(policy.admit(&mallory.author(), 0).unwrap_err().contains("was revoked"));
    let stranger = key(5).author();
    let refusal = policy.admit(&stranger, 0).unwrap_err();
    for part in [&format!("ed25519:{stranger}"), "gangline invite", "gangline key trust", "[trust]"] {
        assert!(refusal.contains(part), "{part} in {refusal}");
    }
    let open = policy.clone().with_open(true);
    assert_eq!(open.writers(0), None);
    assert!(open.admit(&stranger, 0).is_ok() && open.admit(&mallory.author(), 0).is_err());
}

/// What is signed must never change: other nodes hold it.
#[test]
fn the_bytes_are_those_of_the_first_version() {
    let grant = Grant {
        document: DOCUMENT,
        issuer: key(0).author(),
        subject: key(1).author(),
        rights: Rights::MEMBER,
        is_ticket: false,
        name: "bob".into(),
        expires_at_ms: 300,
        id: [0xab; 16],
    };
    let revocation = Revocation { document: DOCUMENT, issuer: key(0).author(), subject: key(1).author() };
    let ticket = Grant { is_ticket: true, ..grant.clone() };
    let statements = [Statement::Grant(grant), Statement::Revocation(revocation), Statement::Grant(ticket)];
    let golden = include_str!("golden/records.hex");
    let lines: Vec<String> = statements
        .into_iter()
        .map(|statement| data_encoding::HEXLOWER.encode(statement.sign(&key(0)).unwrap().bytes()))
        .collect();
    assert_eq!(lines.join("\n"), golden.trim_end());
    for line in golden.lines() {
        Record::decode(&data_encoding::HEXLOWER.decode(line.as_bytes()).unwrap()).unwrap();
    }
}
