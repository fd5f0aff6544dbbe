//! The order in which changes became part of the history: each after its past.
//!
//! It is that of their rows, but for edits that waited for their signature while changes came from elsewhere. These
//! lie in the past of such an edit, and have later rows than it. It keeps its row, by which all that it made is
//! named, and stands in the order where it was signed: in the place of an empty row.

use std::collections::BTreeMap;

use super::{ChangeIx, History, Row, Status};
use crate::change::Digest;
use crate::state::past::Past;

/// The changes that do not stand where their rows are.
#[derive(Clone, Default)]
pub(super) struct Order {
    /// The last row at which something became part of the history.
    last: ChangeIx,
    /// By the empty row that is its place, which change stands there.
    late: BTreeMap<ChangeIx, ChangeIx>,
    /// The places of these changes.
    places: BTreeMap<ChangeIx, ChangeIx>,
}

impl History {
    /// The changes of the history, in the order in which they became part of it: each after its past.
    pub(crate) fn signed(&self) -> impl Iterator<Item = ChangeIx> + '_ {
        self.signed_from(0).map(|(_, change)| change)
    }

    /// As [`Self::signed`], from a place on, with the place of each.
    pub(crate) fn signed_from(&self, from: ChangeIx) -> impl Iterator<Item = (ChangeIx, ChangeIx)> + '_ {
        let rows = (from..).zip(self.rows.iter().skip(from as usize));
        rows.filter_map(|(place, row)| {
            let change = match row.status {
                Status::Signed if self.order.places.contains_key(&place) => None,
                Status::Signed => Some(place),
                Status::Unsigned | Status::Undone => self.order.late.get(&place).copied(),
            };
            Some((place, change?))
        })
    }

    /// Where a signed change stands in the order of [`Self::signed_from`].
    pub(crate) fn place_of(&self, change: ChangeIx) -> ChangeIx {
        self.order.places.get(&change).copied().unwrap_or(change)
    }

    /// Notes that a change became part of the history, after all others.
    pub(super) fn enter(&mut self, change: ChangeIx) {
        let mut place = change;
        if change < self.order.last {
            place = self.push_empty_row(self.row(change).branch);
            self.order.late.insert(place, change);
            self.order.places.insert(change, place);
        }
        self.order.last = place;
    }

    /// A row for no change at all, as that of an edit that was given up.
    fn push_empty_row(&mut self, branch: u32) -> ChangeIx {
        let ix = self.next_row();
        self.rows.push(Row {
            status: Status::Undone,
            is_recorded: false,
            is_vouched: false,
            branch,
            seq: u32::MAX,
            lamport: u32::MAX,
            span: 0,
            first_counter: 0,
            body_start: 0,
            body_len: 0,
            deps: u32::MAX,
            past: Past::default(),
        });
        self.digests.push(Digest([0; 32]));
        self.signatures.push([0; 64]);
        ix
    }
}
