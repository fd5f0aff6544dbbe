//! The check of grants, revocations and tickets.

use std::collections::BTreeMap;

use bft_json_crdt::DocumentId;
use bft_json_crdt::keypair::Keypair;
use gangline_trust::{Ledger, Record, Rights, Statement, TICKET_PREFIX, Ticket};

use crate::sample;

/// The words of several records, each after its length in one byte. Those by a known key get its signature, because no
/// fuzzer guesses one; what they give is then computed, forwards and backwards. The bytes are tried as a record and
/// as the text of a ticket too.
pub fn trust(data: &[u8]) -> bool {
    if let Ok(record) = Record::decode(data) {
        assert_eq!(record.bytes(), data, "bytes that decode are canonical");
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(ticket) = format!("{TICKET_PREFIX}{text}").parse::<Ticket>()
    {
        assert_eq!(ticket.to_string(), format!("{TICKET_PREFIX}{}", text.trim()));
    }
    let mut rest = data;
    let mut records = Vec::new();
    let mut is_good = !data.is_empty();
    while let Some((len, after)) = rest.split_first() {
        let Some((words, after)) = after.split_at_checked(usize::from(*len)) else {
            is_good = false;
            break;
        };
        rest = after;
        match Statement::decode(words) {
            Ok(statement) => {
                assert_eq!(statement.encode(), words, "bytes that decode are canonical");
                records.extend(signed(statement));
            }
            Err(_) => is_good = false,
        }
        if records.len() >= 16 {
            break;
        }
    }
    is_judged_alike(&records);
    is_good
}

fn signed(statement: Statement) -> Option<Record> {
    let issuer =
        [sample::alice(), sample::bob()].into_iter().find(|key| key.author() == statement.issuer())?;
    let record = statement.sign(&issuer).expect("what was decoded can be signed");
    assert_eq!(Record::decode(record.bytes()).as_ref(), Ok(&record));
    Some(record)
}

fn is_judged_alike(records: &[Record]) {
    let root: Keypair = sample::alice();
    let roots = BTreeMap::from([(root.author(), Rights::ALL)]);
    let learn = |records: &mut dyn Iterator<Item = &Record>| {
        let mut ledger = Ledger::default();
        for record in records {
            let _ = ledger.learn(record.clone(), &roots, 0);
        }
        ledger
    };
    let forwards = learn(&mut records.iter());
    assert_eq!(forwards, learn(&mut records.iter().rev()));
    for now_ms in [0, 1 << 40, u64::MAX] {
        let standing = forwards.standing(&roots, DocumentId::DEFAULT, now_ms);
        assert_eq!(standing.held.get(&root.author()).map(|held| held.rights), Some(Rights::ALL));
        let mut pruned = forwards.clone();
        pruned.prune(&roots, now_ms);
        let again = pruned.standing(&roots, DocumentId::DEFAULT, now_ms);
        let rights = |standing: &gangline_trust::Standing| -> Vec<_> {
            let held = standing.held.iter().filter(|(_, held)| !held.rights.is_none());
            held.map(|(key, held)| (*key, held.rights)).collect()
        };
        assert_eq!(rights(&standing), rights(&again), "letting go of the useless changes no right");
    }
}

/// The input of [`trust`] that says this.
#[must_use]
pub fn said(statements: &[Statement]) -> Vec<u8> {
    let mut out = Vec::new();
    for words in statements.iter().map(Statement::encode) {
        out.push(u8::try_from(words.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&words);
    }
    out
}
