//! What clients of a log were told, held against the log: in one pass.

use std::collections::BTreeMap;

/// An append that a client was told of: which, where it stands, and between which moments, in microseconds of one
/// clock, it was under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The id of the intent.
    pub id: String,
    /// Where it was said to stand.
    pub seq: u64,
    /// Before it was first asked for.
    pub began: u64,
    /// After the answer had come.
    pub ended: u64,
}

/// Checks that what was acknowledged is a part of the log, each once, where it was said to be, and in an order that
/// real time allows: what was over before another began stands before it. `log`: the ids of all events, in order.
/// O(n log n), for the ids.
///
/// # Panics
///
/// If it is not so; the message begins with `what`.
pub fn check<'a>(what: &str, log: impl IntoIterator<Item = &'a str>, acknowledged: &[Acknowledged]) {
    let mut by_id = BTreeMap::new();
    for (seq, id) in (0_u64..).zip(log) {
        if let Some(first) = by_id.insert(id, seq) {
            panic!("{what}: {id} stands at {first} and at {seq}");
        }
    }
    let mut by_seq = BTreeMap::new();
    for said in acknowledged {
        assert_eq!(by_id.get(said.id.as_str()), Some(&said.seq), "{what}: {said:?}");
        assert!(by_seq.insert(said.seq, said).is_none(), "{what}: {said:?} stands where another stands");
    }
    let mut latest_begin: Option<&Acknowledged> = None;
    for said in by_seq.into_values() {
        if let Some(before) = latest_begin {
            assert!(said.ended >= before.began, "{what}: {said:?} was over before {before:?} began");
        }
        if latest_begin.is_none_or(|before| before.began < said.began) {
            latest_begin = Some(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn said(id: &str, seq: u64, began: u64, ended: u64) -> Acknowledged {
        Acknowledged { id: id.to_owned(), seq, began, ended }
    }

    #[test]
    fn a_good_history_passes_and_each_kind_of_bad_one_does_not() {
        let log = ["a", "b", "unheard", "c"];
        let good = [said("b", 1, 2, 9), said("c", 3, 5, 6), said("a", 0, 0, 4)];
        check("good", log, &good);
        let is_bad = |log: &[&str], all: &[Acknowledged]| {
            let (log, all) = (log.to_vec(), all.to_vec());
            assert!(catch_unwind(move || check("bad", log, &all)).is_err());
        };
        is_bad(&["a", "b", "a", "c"], &good);
        is_bad(&["a", "b"], &good);
        is_bad(&log, &[said("a", 1, 0, 4)]);
        is_bad(&log, &[said("a", 0, 0, 4), said("a", 0, 5, 6)]);
        // The one that stands behind was over before the other began, with a third between them.
        is_bad(&log, &[said("a", 0, 5, 9), said("b", 1, 0, 9), said("c", 3, 1, 4)]);
    }
}
