//! What changes have made: elements, entries and places with their names, values, lists and maps.
//!
//! Columns of nodes: 1 type, 2 parent, 3 slot; for each name: 4 branch, 5 op number, 6 node (its difference to the
//! one before). Of values: 1 count, 2 change, 3 place, 4 rank, 5 their bytes, 6 and 7 counters. Of lists, by
//! element: 1 count, 2 parent + 1, 3 side, 4 element of a place + 1, 5 count of deletions, 6 deletions; 7 count
//! and 8 numbers of the order; of moves: 9 count of elements, 10 element, 11 count, 12 to 15 change, place, rank and
//! place in the list. Of maps: 1 count of entries, 2 their keys' lengths and 3 bytes, 4 count, 5 and 6 removals seen
//! (of one that was given up the change is 2^32 - 1), 7 count, 8, 9 and 10 puts, 11 count, 12 and 13 touches (of one
//! that a removal outranks the rank + 3); 14 count of keys, 15 length, 16 bytes, and three times count, change and
//! place of removals.

use super::{GIVEN_UP_MAX, NO_CHANGE, Renumbering, Section, SnapshotError, Table};
use crate::columns::{Bytes, ColumnError, Columns, Cursor, Deflater, put_bytes_column, unzigzag, zigzag};
use crate::encoding::Reader;
use crate::limits::VALUE_DEPTH_MAX;
use crate::op::{Rank, Side};
use crate::schema::{TypeDef, TypeIx};
use crate::state::State;
use crate::state::history::{History, Made};
use crate::state::integrate::move_order;
use crate::state::list::{ListSeed, Move, PlaceSeed};
use crate::state::map::Touch;
use crate::state::nodes::{NodeIx, Write};

/// Deeper than any document grows: the limits on where an edit is made and on what it brings together.
const DEPTH_MAX: usize = 4 * VALUE_DEPTH_MAX;
/// A touch that a removal outranks has so much added to its rank.
const RANKS: u8 = 3;
/// No counter gets further: changes are numbered in 32 bits, and no op adds more than 64.
const COUNT_MAX: u128 = 1 << 120;

fn rank(cursor: &mut Cursor<'_>) -> Result<Rank, ColumnError> {
    Rank::from_byte(cursor.next_up_to(2)? as u8).map_err(|_| cursor.bad("no rank"))
}

/// The rank of a touch, and whether a removal outranks it.
fn touched(cursor: &mut Cursor<'_>) -> Result<(Rank, bool), ColumnError> {
    let byte = cursor.next_up_to(usize::from(2 * RANKS - 1))? as u8;
    let rank = Rank::from_byte(byte % RANKS).map_err(|_| cursor.bad("no rank"))?;
    Ok((rank, byte >= RANKS))
}

/// The number of a change.
fn change(cursor: &mut Cursor<'_>, history: &History) -> Result<u32, ColumnError> {
    let change = cursor.next()?;
    if change < history.row_count().into() { Ok(change as u32) } else { Err(cursor.bad("no such change")) }
}

fn made(by: &mut Cursor<'_>, place: &mut Cursor<'_>, history: &History) -> Result<Made, ColumnError> {
    signed(by, place, history)?.ok_or_else(|| by.bad("a change that was given up"))
}

/// What a change made; none of what was given up.
fn signed(
    by: &mut Cursor<'_>,
    place: &mut Cursor<'_>,
    history: &History,
) -> Result<Option<Made>, ColumnError> {
    let change = by.next()?;
    if change == u64::from(NO_CHANGE) {
        return place.next().map(|_| None);
    }
    let row = u32::try_from(change).ok().filter(|change| *change < history.row_count());
    let change = row.ok_or_else(|| by.bad("no such change"))?;
    let last = history.row(change).span.checked_sub(1).ok_or_else(|| by.bad("a change that made nothing"))?;
    Ok(Some(Made { change, place: place.next_up_to(last as usize)? as u32 }))
}

fn text(bytes: &mut Bytes<'_>, len: u64) -> Result<String, ColumnError> {
    let name = bytes.name();
    String::from_utf8(bytes.take(len)?.to_vec()).map_err(|_| ColumnError::new(name, "not UTF-8"))
}

impl State {
    pub(super) fn save_nodes(&self, deflater: &mut Deflater) -> Vec<u8> {
        let mut table = Table::default();
        for node in 1..self.nodes.len() {
            let at = self.nodes.node(node);
            if matches!(self.types.def(self.nodes.node(at.parent).ty), TypeDef::List(_) | TypeDef::Map(_)) {
                table.push(1, at.ty.0);
                table.push(2, at.parent);
                table.push(3, at.slot);
            }
        }
        for (branch, of) in (0u32..).zip(self.history.branches()) {
            let mut before = 0;
            for (counter, node) in of.nodes.iter() {
                table.push(4, branch);
                table.push(5, counter);
                table.push(6, zigzag(i64::from(node) - i64::from(before)));
                before = node;
            }
        }
        let mut out = Vec::new();
        table.put(&mut out, deflater);
        out
    }

    pub(super) fn open_nodes(&mut self, section: &Section<'_>) -> Result<(), SnapshotError> {
        let columns = section.columns()?;
        self.read_nodes(&columns).map_err(|error| section.column_error(&error))
    }

    fn read_nodes(&mut self, columns: &Columns<'_>) -> Result<(), ColumnError> {
        let (mut ty, mut parent, mut slot) =
            (columns.numbers(1, "types")?, columns.numbers(2, "parents")?, columns.numbers(3, "slots")?);
        let mut left = self.claimed_max().saturating_add(GIVEN_UP_MAX);
        // How many nodes each container has by now: their slots have no gaps.
        let mut filled: Vec<u32> = Vec::new();
        while ty.end().is_err() {
            left = left.checked_sub(1).ok_or_else(|| ty.bad("more than can have been made"))?;
            let ty_ix = TypeIx(ty.next_up_to(self.types.len().saturating_sub(1))? as u32);
            let above = parent.next_up_to(self.nodes.len().saturating_sub(1) as usize)? as NodeIx;
            filled.resize(self.nodes.len() as usize, 0);
            let Some(next) = filled.get_mut(above as usize) else { return Err(parent.bad("no such node")) };
            let in_slot = slot.next()? as u32;
            if in_slot != *next {
                return Err(slot.bad("a gap"));
            }
            *next += 1;
            if self.nodes.depth(above) > DEPTH_MAX {
                return Err(parent.bad("nests too deep"));
            }
            let above_ty = self.types.def(self.nodes.node(above).ty);
            let is_list = matches!(above_ty, TypeDef::List(_));
            let fits = |inner: &TypeIx| self.types.can_become(*inner, ty_ix);
            if is_list && ty_ix == TypeIx::PLACE {
                self.nodes.make_place(above, in_slot);
            } else if matches!(above_ty, TypeDef::List(inner) | TypeDef::Map(inner) if fits(inner)) {
                self.nodes.make(&self.types, ty_ix, above, in_slot);
            } else {
                return Err(parent.bad("a node that holds no such thing"));
            }
        }
        let (mut branch, mut counter, mut node) = (
            columns.numbers(4, "branches")?,
            columns.numbers(5, "op numbers")?,
            columns.numbers(6, "nodes")?,
        );
        let mut before = 0i64;
        let (mut name_before, mut last) = (None::<(u32, u64)>, None::<Made>);
        let branches = self.history.branches().len().saturating_sub(1);
        while branch.end().is_err() {
            let of = branch.next_up_to(branches)? as u32;
            if name_before.is_none_or(|(other, _)| other != of) {
                before = 0;
            }
            let name = (of, counter.next()?);
            if name_before.is_some_and(|before| before >= name) {
                return Err(counter.bad("they do not rise"));
            }
            name_before = Some(name);
            before = before.wrapping_add(unzigzag(node.next()?));
            let named = u32::try_from(before).ok().filter(|named| *named < self.nodes.len());
            let Some(named) = named else { return Err(node.bad("no such node")) };
            // Mostly of the same change as the name before.
            let here = last.filter(|made| {
                let row = self.history.row(made.change);
                row.branch == of
                    && (row.first_counter..row.first_counter + u64::from(row.span)).contains(&name.1)
            });
            let here = here.map(|made| {
                let place = (name.1 - self.history.row(made.change).first_counter) as u32;
                Made { change: made.change, place }
            });
            let Some(made) = here.or_else(|| self.history.made_at(of, name.1)) else {
                return Err(branch.bad("a name that no change made"));
            };
            last = Some(made);
            let at = self.nodes.node_mut(named);
            if at.made.is_none_or(|other| other > made) {
                at.made = Some(made);
            }
            self.history.branch_mut(of).nodes.push(name.1, named);
        }
        columns.end()
    }

    pub(super) fn save_values(&self, numbers: &Renumbering, deflater: &mut Deflater) -> Vec<u8> {
        let mut table = Table::default();
        let mut values = Vec::new();
        for register in 0..self.nodes.register_count() {
            let writes: Vec<Write> = self.nodes.writes_of(register).collect();
            table.push(1, writes.len() as u64);
            for write in writes {
                numbers.made(&mut table, 2, write.made);
                table.push(4, write.rank as u8);
                values.extend_from_slice(self.value_bytes(write.value));
            }
        }
        for counter in self.nodes.counters() {
            table.push(6, *counter as u64);
            table.push(7, (*counter >> 64) as u64);
        }
        let mut out = Vec::new();
        let (before, behind): (Vec<_>, Vec<_>) = table.columns.into_iter().partition(|(id, _)| *id < 5);
        Table { columns: before }.put(&mut out, deflater);
        put_bytes_column(&mut out, 5, &values, deflater);
        Table { columns: behind }.put(&mut out, deflater);
        out
    }

    /// The encoding of a value.
    fn value_bytes(&self, start: u32) -> &[u8] {
        let from = self.values.get(start as usize..).unwrap_or_default();
        let mut reader = Reader::new(from);
        let _ = reader.skip_value();
        from.get(..from.len() - reader.rest().len()).unwrap_or_default()
    }

    pub(super) fn open_values(&mut self, section: &Section<'_>) -> Result<(), SnapshotError> {
        let columns = section.columns()?;
        self.read_values(&columns).map_err(|error| section.column_error(&error))
    }

    fn read_values(&mut self, columns: &Columns<'_>) -> Result<(), ColumnError> {
        let mut count = columns.numbers(1, "counts of values")?;
        let (mut change, mut place) = (columns.numbers(2, "changes")?, columns.numbers(3, "places")?);
        let mut ranks = columns.numbers(4, "ranks")?;
        let values = columns.bytes(5, "values")?;
        self.values = values.rest().to_vec();
        let mut reader = Reader::new(values.rest());
        for register in 0..self.nodes.register_count() {
            for _ in 0..count.next()? {
                let value = (values.rest().len() - reader.rest().len()) as u32;
                reader.skip_value().map_err(|_| ColumnError::new("values", "no value"))?;
                let made = made(&mut change, &mut place, &self.history)?;
                self.nodes.restore_write(register, Write { made, value, rank: rank(&mut ranks)? });
            }
        }
        let (mut low, mut high) = (columns.numbers(6, "counters")?, columns.numbers(7, "counters")?);
        for at in 0..self.nodes.counters().len() {
            let sum = (u128::from(low.next()?) | u128::from(high.next()?) << 64) as i128;
            if sum.unsigned_abs() > COUNT_MAX {
                return Err(low.bad("more than all changes can have added"));
            }
            self.nodes.restore_counter(at, sum);
        }
        columns.end()
    }

    pub(super) fn save_lists(&self, numbers: &Renumbering, deflater: &mut Deflater) -> Vec<u8> {
        let mut table = Table::default();
        for list in self.nodes.lists() {
            let places = list.places();
            table.push(1, places.len() as u64);
            for (number, place) in (0u32..).zip(places) {
                table.push(2, place.parent.map_or(0, |parent| u64::from(parent) + 1));
                table.push(3, place.side as u8);
                table.push(4, if place.origin == number { 0 } else { u64::from(place.origin) + 1 });
                table.push(5, place.deletions.len() as u64);
                place.deletions.iter().for_each(|by| table.push(6, numbers.change(*by)));
            }
            let order: Vec<u32> = list.all_in_order().collect();
            table.push(7, order.len() as u64);
            order.into_iter().for_each(|place| table.push(8, place));
            table.push(9, list.moves().len() as u64);
            for (element, moves) in list.moves() {
                table.push(10, *element);
                table.push(11, moves.len() as u64);
                for other in moves {
                    numbers.made(&mut table, 12, other.made);
                    table.push(14, other.rank as u8);
                    table.push(15, other.place);
                }
            }
        }
        let mut out = Vec::new();
        table.put(&mut out, deflater);
        out
    }

    pub(super) fn open_lists(&mut self, section: &Section<'_>) -> Result<(), SnapshotError> {
        let columns = section.columns()?;
        self.read_lists(&columns).map_err(|error| section.column_error(&error))
    }

    fn read_lists(&mut self, columns: &Columns<'_>) -> Result<(), ColumnError> {
        let (mut deletions_left, mut moves_left) = (self.claimed_max(), self.claimed_max());
        let number = |id| columns.numbers(id, "lists");
        let (mut count, mut parent, mut side, mut origin) = (number(1)?, number(2)?, number(3)?, number(4)?);
        let (mut deletion_count, mut deletion) = (number(5)?, number(6)?);
        let (mut order_count, mut order) = (number(7)?, number(8)?);
        let (mut moved, mut element, mut move_count) = (number(9)?, number(10)?, number(11)?);
        let (mut by, mut place, mut ranks, mut to) = (number(12)?, number(13)?, number(14)?, number(15)?);
        let lists = self.nodes.places_by_list(&self.types);
        for (at, nodes) in lists.iter().enumerate() {
            let places = count.next_up_to(nodes.len())?;
            if places != nodes.len() {
                return Err(count.bad("not as many as were made"));
            }
            let mut seed = ListSeed::default();
            for (number, (node, made_by)) in (0u32..).zip(nodes.iter().copied()) {
                let parent = (parent.next_up_to(places)? as u32).checked_sub(1);
                let side = if side.next_up_to(1)? == 0 { Side::Left } else { Side::Right };
                let origin = match origin.next_up_to(number as usize)? as u32 {
                    0 => number,
                    origin => origin - 1,
                };
                let mut deletions = Vec::new();
                for _ in 0..deletion_count.next_count(&mut deletions_left)? {
                    deletions.push(change(&mut deletion, &self.history)?);
                }
                let is_place = self.nodes.node(node).ty == TypeIx::PLACE;
                if is_place == (origin == number) {
                    return Err(count.bad("an element that is a place of another"));
                }
                seed.places.push(PlaceSeed { made: made_by, node, origin, parent, side, deletions });
            }
            for _ in 0..order_count.next_up_to(places)? {
                seed.order.push(order.next_up_to(places.saturating_sub(1))? as u32);
            }
            for _ in 0..moved.next_up_to(places)? {
                let element = element.next_up_to(places.saturating_sub(1))? as u32;
                let mut moves = Vec::new();
                for _ in 0..move_count.next_count(&mut moves_left)? {
                    let made = made(&mut by, &mut place, &self.history)?;
                    let rank = rank(&mut ranks)?;
                    moves.push(Move { made, rank, place: to.next_up_to(places.saturating_sub(1))? as u32 });
                }
                seed.moves.insert(element, moves);
            }
            let history = &self.history;
            let restored = self.nodes.restore_list(at, seed, |a, b| move_order(history, a, b));
            if !restored {
                return Err(order.bad("no order of the places that are named"));
            }
        }
        self.ids.restore(self.nodes.live_elements(&self.types));
        columns.end()
    }

    pub(super) fn save_maps(&self, numbers: &Renumbering, deflater: &mut Deflater) -> Vec<u8> {
        let mut table = Table::default();
        let (mut entry_keys, mut keys) = (Vec::new(), Vec::new());
        for map in self.nodes.maps() {
            table.push(1, map.entries().len() as u64);
            for entry in map.entries() {
                table.push(2, entry.key.len() as u64);
                entry_keys.extend_from_slice(entry.key.as_bytes());
                // To a nameless entry a removal that was given up is seen: any that no change made.
                let given_up = entry.is_nameless().then_some(Made { change: NO_CHANGE, place: 0 });
                table.push(4, entry.removals_seen().len() as u64 + u64::from(given_up.is_some()));
                let seen = entry.removals_seen().iter().chain(&given_up);
                seen.for_each(|made| numbers.made(&mut table, 5, *made));
                table.push(7, entry.puts.len() as u64);
                for (made, rank) in &entry.puts {
                    numbers.made(&mut table, 8, *made);
                    table.push(10, *rank as u8);
                }
                table.push(11, entry.touches.len() as u64);
                for touch in &entry.touches {
                    table.push(12, numbers.change(touch.change));
                    table.push(13, touch.rank as u8 + if touch.is_outranked { RANKS } else { 0 });
                }
            }
            let all = map.keys();
            table.push(14, all.len() as u64);
            for (key, state) in all {
                table.push(15, key.len() as u64);
                keys.extend_from_slice(key.as_bytes());
                for (id, removals) in [17, 20, 23].into_iter().zip(state.removals().lists()) {
                    table.push(id, removals.len() as u64);
                    removals.iter().for_each(|made| numbers.made(&mut table, id + 1, *made));
                }
            }
        }
        let mut out = Vec::new();
        let mut columns = table.columns.into_iter().peekable();
        for (id, bytes) in [(3, Some(entry_keys)), (16, Some(keys)), (u8::MAX, None)] {
            while let Some((id, numbers)) = columns.next_if(|(column, _)| *column < id) {
                numbers.put_column(&mut out, id, deflater);
            }
            bytes.iter().for_each(|bytes| put_bytes_column(&mut out, id, bytes, deflater));
        }
        out
    }

    pub(super) fn open_maps(&mut self, section: &Section<'_>) -> Result<(), SnapshotError> {
        let columns = section.columns()?;
        self.read_maps(&columns).map_err(|error| section.column_error(&error))
    }

    fn read_maps(&mut self, columns: &Columns<'_>) -> Result<(), ColumnError> {
        let claimed = self.claimed_max();
        let mut seen_left = claimed.saturating_add(GIVEN_UP_MAX);
        let (mut puts_left, mut touches_left) = (claimed, claimed.saturating_mul(DEPTH_MAX));
        let mut removals_left = claimed.saturating_mul(3);
        let number = |id| columns.numbers(id, "maps");
        let (mut entries, mut key_len, mut entry_keys) =
            (number(1)?, number(2)?, columns.bytes(3, "keys of entries")?);
        let (mut seen, mut seen_change, mut seen_place) = (number(4)?, number(5)?, number(6)?);
        let (mut puts, mut put_change, mut put_place, mut put_rank) =
            (number(7)?, number(8)?, number(9)?, number(10)?);
        let (mut touches, mut touch_change, mut touch_rank) = (number(11)?, number(12)?, number(13)?);
        let (mut keys, mut len, mut key_bytes) = (number(14)?, number(15)?, columns.bytes(16, "keys")?);
        let mut removals = Vec::new();
        for id in [17, 20, 23] {
            removals.push((number(id)?, number(id + 1)?, number(id + 2)?));
        }
        for (at, nodes) in self.nodes.entries_by_map(&self.types).into_iter().enumerate() {
            let history = &self.history;
            let map = self.nodes.map_at(at);
            if entries.next_up_to(nodes.len())? != nodes.len() {
                return Err(entries.bad("not as many as were made"));
            }
            for node in nodes {
                let key = text(&mut entry_keys, key_len.next()?)?;
                let mut removals_seen = Vec::new();
                for _ in 0..seen.next_count(&mut seen_left)? {
                    removals_seen.push(signed(&mut seen_change, &mut seen_place, history)?);
                }
                // What had seen a removal that was given up was given up with it.
                let mut removals_seen: Option<Vec<Made>> = removals_seen.into_iter().collect();
                // The numbers of changes may have come in another order where they were seen first.
                if let Some(seen) = &mut removals_seen {
                    seen.sort_unstable();
                }
                let entry = map.add(&key, node, removals_seen.as_deref());
                let Some(new) = map.entry_mut(entry) else { continue };
                for _ in 0..puts.next_count(&mut puts_left)? {
                    let made = made(&mut put_change, &mut put_place, history)?;
                    new.puts.push((made, rank(&mut put_rank)?));
                }
                for _ in 0..touches.next_count(&mut touches_left)? {
                    let change = change(&mut touch_change, history)?;
                    let (rank, is_outranked) = touched(&mut touch_rank)?;
                    new.touches.push(Touch { change, rank, is_outranked });
                }
                map.note_touches(history, entry);
            }
            let mut key_before = None;
            for _ in 0..keys.next()? {
                let key = text(&mut key_bytes, len.next()?)?;
                if key_before.is_some_and(|before| before >= key) {
                    return Err(keys.bad("they do not rise"));
                }
                let state = map.key_or_new(&key);
                key_before = Some(key);
                for (at, (count, change, place)) in removals.iter_mut().enumerate() {
                    for _ in 0..count.next_count(&mut removals_left)? {
                        let removal = made(change, place, history)?;
                        if let Some(list) = state.removals_mut().lists_mut().into_iter().nth(at) {
                            list.push(removal);
                        }
                    }
                }
            }
        }
        columns.end()
    }
}
