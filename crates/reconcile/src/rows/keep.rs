//! What a [`super::RowsBuilder`] makes of the rows that it is given: the rows, or their digest alone.

use std::collections::BTreeMap;
use std::ops::Range;

use blake3::Hasher;

use super::{BadRow, Cell, PIECE, Row, Rows, RowsDigest, encode};

/// Where a builder puts rows. It comes by itself to no decision about them.
pub trait Keep {
    /// What is made of them.
    type Made;

    /// Begins with no rows of so many lists.
    fn new(lists: usize) -> Self;

    /// Begins a row of so many fields.
    fn begin(&mut self, key: &str, fields: usize);

    /// Adds a value to the row that was begun.
    fn cell(&mut self, cell: Cell<'_>);

    /// Keeps the row that was begun: of the root for no list.
    fn keep(&mut self, list: Option<usize>);

    /// Forgets the row that was begun.
    fn undo(&mut self);

    /// Sorts the rows of the lists, and tells the keys that are in a list more than once.
    fn sort(&mut self, twice: &mut dyn FnMut(usize, &str));

    /// Forgets the root, and rows of lists.
    fn forget(&mut self, root: bool, is_bad: &dyn Fn(usize, &str) -> bool);

    /// Forgets all rows.
    fn clear(&mut self);

    /// Returns what became of the rows, and begins anew.
    fn finish(&mut self, version: Option<i64>, bad: Vec<BadRow>) -> Self::Made;
}

/// Makes [`Rows`].
#[derive(Debug)]
pub struct Read {
    key: String,
    row: Row,
    root: Option<Row>,
    lists: Vec<Vec<(String, Row)>>,
}

impl Keep for Read {
    type Made = Rows;

    fn new(lists: usize) -> Self {
        Self { key: String::new(), row: Row::new(), root: None, lists: vec![Vec::new(); lists] }
    }

    fn begin(&mut self, key: &str, fields: usize) {
        key.clone_into(&mut self.key);
        self.row = Row::with_capacity(fields);
    }

    fn cell(&mut self, cell: Cell<'_>) {
        self.row.push(cell.into());
    }

    fn keep(&mut self, list: Option<usize>) {
        let row = std::mem::take(&mut self.row);
        match list {
            None => self.root = Some(row),
            Some(list) => {
                let Some(rows) = self.lists.get_mut(list) else { return };
                rows.push((std::mem::take(&mut self.key), row));
            }
        }
    }

    fn undo(&mut self) {
        self.row.clear();
    }

    fn sort(&mut self, twice: &mut dyn FnMut(usize, &str)) {
        for (at, rows) in self.lists.iter_mut().enumerate() {
            rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            for pair in rows.windows(2) {
                if let [(one, _), (other, _)] = pair
                    && one == other
                {
                    twice(at, one);
                }
            }
        }
    }

    fn forget(&mut self, root: bool, is_bad: &dyn Fn(usize, &str) -> bool) {
        if root {
            self.root = None;
        }
        for (at, rows) in self.lists.iter_mut().enumerate() {
            rows.retain(|(key, _)| !is_bad(at, key));
        }
    }

    fn clear(&mut self) {
        *self = Self::new(self.lists.len());
    }

    fn finish(&mut self, version: Option<i64>, bad: Vec<BadRow>) -> Rows {
        let Self { root, lists, .. } = std::mem::replace(self, Self::new(self.lists.len()));
        Rows { root, version, lists: lists.into_iter().map(BTreeMap::from_iter).collect(), bad }
    }
}

/// Makes the digest that [`Rows::digest`] has of the same rows, and keeps no value: the bytes of rows as they came, to be
/// hashed in the order of their keys.
#[derive(Debug)]
pub struct Digested {
    bytes: Vec<u8>,
    /// Where the row that was begun has its key and itself.
    begun: Place,
    root: Option<Place>,
    lists: Vec<Vec<Place>>,
    ordered: Vec<u8>,
}

/// A row's bytes: first its key, with its length, then its fields.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: usize,
    key: usize,
    fields: usize,
    end: usize,
}

impl Place {
    fn key(self, bytes: &[u8]) -> &[u8] {
        part(bytes, self.key..self.fields)
    }
}

/// Places are made where bytes were written, and the bytes stay as long as the places do.
fn part(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}

impl Keep for Digested {
    type Made = RowsDigest;

    fn new(lists: usize) -> Self {
        let begun = Place::default();
        Self { bytes: Vec::new(), begun, root: None, lists: vec![Vec::new(); lists], ordered: Vec::new() }
    }

    fn begin(&mut self, key: &str, fields: usize) {
        let start = self.bytes.len();
        encode::text(&mut self.bytes, key);
        let end = self.bytes.len();
        self.begun = Place { start, key: end - key.len(), fields: end, end };
        encode::number(&mut self.bytes, fields);
    }

    fn cell(&mut self, cell: Cell<'_>) {
        encode::cell(&mut self.bytes, &cell);
    }

    fn keep(&mut self, list: Option<usize>) {
        let place = Place { end: self.bytes.len(), ..self.begun };
        match list {
            None => self.root = Some(place),
            Some(list) => {
                let Some(places) = self.lists.get_mut(list) else { return };
                places.push(place);
            }
        }
    }

    fn undo(&mut self) {
        self.bytes.truncate(self.begun.start);
    }

    fn sort(&mut self, twice: &mut dyn FnMut(usize, &str)) {
        let bytes = &self.bytes;
        for (at, places) in self.lists.iter_mut().enumerate() {
            places.sort_unstable_by(|one, other| one.key(bytes).cmp(other.key(bytes)));
            for pair in places.windows(2) {
                if let [one, other] = pair
                    && one.key(bytes) == other.key(bytes)
                {
                    twice(at, &String::from_utf8_lossy(one.key(bytes)));
                }
            }
        }
    }

    fn forget(&mut self, root: bool, is_bad: &dyn Fn(usize, &str) -> bool) {
        if root {
            self.root = None;
        }
        for (at, places) in self.lists.iter_mut().enumerate() {
            places.retain(|place| !is_bad(at, &String::from_utf8_lossy(place.key(&self.bytes))));
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.root = None;
        self.lists.iter_mut().for_each(Vec::clear);
    }

    fn finish(&mut self, version: Option<i64>, bad: Vec<BadRow>) -> RowsDigest {
        let Self { bytes, root, lists, ordered, .. } = &mut *self;
        let mut hasher = Hasher::new();
        encode::version(ordered, version);
        ordered.push(u8::from(root.is_some()));
        if let Some(root) = root.take() {
            ordered.extend_from_slice(part(bytes, root.fields..root.end));
        }
        for places in lists {
            encode::number(ordered, places.len());
            for place in places.drain(..) {
                ordered.extend_from_slice(part(bytes, place.start..place.end));
                if ordered.len() >= PIECE {
                    hasher.update(ordered);
                    ordered.clear();
                }
            }
        }
        encode::bad(ordered, &bad);
        hasher.update(ordered);
        ordered.clear();
        self.clear();
        RowsDigest(hasher.finalize().into())
    }
}
