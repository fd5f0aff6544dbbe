//! Putting together what a source reads, so that all sources keep the same rules.

use std::collections::BTreeSet;

use bft_json_crdt::JsonValue;

use super::{BadRow, Row, Rows};
use crate::limits::{KEY_BYTES_MAX, ROOT_BYTES_MAX, ROOT_ROWS_MAX, ROW_BYTES_MAX};
use crate::schema::Shape;

/// Gathers the rows of one root, in any order, and makes [`Rows`] of them that do not depend on it.
///
/// - A row that is too long for a document, or whose key cannot be one, is bad.
/// - A key that is there twice (as in a view) is bad, and so is one that any bad row has.
/// - Without a root row there are no other rows.
#[derive(Debug)]
pub struct RowsBuilder<'a> {
    shape: &'a Shape,
    rows: Rows,
    count: usize,
    bytes: usize,
    has_root: bool,
}

/// A root has more than one document can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// How many are allowed.
    pub limit: usize,
    /// Of what: rows or bytes.
    pub what: &'static str,
}

impl<'a> RowsBuilder<'a> {
    /// Begins with no rows.
    #[must_use]
    pub fn new(shape: &'a Shape) -> Self {
        Self { shape, rows: Rows::none(shape), count: 0, bytes: 0, has_root: false }
    }

    /// Sets the root's version.
    pub fn set_version(&mut self, version: Option<i64>) {
        self.rows.version = version;
    }

    /// Adds a row: of the root for no list.
    pub fn row(&mut self, list: Option<usize>, key: &str, row: Row) {
        let mut bytes = key.len();
        for (at, value) in row.iter().enumerate() {
            bytes = bytes.saturating_add(size(value));
            if bytes > ROW_BYTES_MAX {
                let column = self.column(list, at);
                return self.bad(list, Some(key), &column, "makes the row too long for a document");
            }
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.count += 1;
        if self.is_too_large() {
            return;
        }
        let twice = match list {
            None => {
                let twice = self.has_root;
                self.has_root = true;
                self.rows.root.replace(row);
                twice
            }
            Some(list) => {
                let Some(rows) = self.rows.lists.get_mut(list) else { return };
                rows.insert(key.to_owned(), row).is_some()
            }
        };
        if twice {
            let column = self.key_column(list);
            self.name(list, Some(key), column, "is there twice".to_owned());
        }
    }

    /// Names a row that a document cannot have; no key where that is what is wrong.
    pub fn bad(&mut self, list: Option<usize>, key: Option<&str>, column: &str, what: impl Into<String>) {
        self.has_root |= list.is_none();
        self.count += 1;
        if !self.is_too_large() {
            self.name(list, key, column.to_owned(), what.into());
        }
    }

    /// Names a row whose key cannot be one.
    pub fn bad_key(&mut self, list: Option<usize>, what: impl Into<String>) {
        let column = self.key_column(list);
        self.bad(list, None, &column, what);
    }

    /// Returns the rows.
    ///
    /// # Errors
    /// [`TooLarge`]
    pub fn finish(mut self) -> Result<Rows, TooLarge> {
        if self.count > ROOT_ROWS_MAX {
            return Err(TooLarge { limit: ROOT_ROWS_MAX, what: "rows" });
        }
        if self.bytes > ROOT_BYTES_MAX {
            return Err(TooLarge { limit: ROOT_BYTES_MAX, what: "bytes" });
        }
        if !self.has_root {
            return Ok(Rows::none(self.shape));
        }
        let Rows { root, lists, bad, .. } = &mut self.rows;
        bad.sort_by(|one, other| order(one).cmp(&order(other)));
        // One word for a row, and a row without a key is no news when it is there a thousand times.
        let mut named = BTreeSet::new();
        bad.retain(|bad| match &bad.key {
            Some(key) => named.insert((bad.list, Some(key.clone()), String::new())),
            None => named.insert((bad.list, None, format!("{} {}", bad.column, bad.what))),
        });
        for bad in bad {
            match (bad.list, &bad.key) {
                (None, _) => *root = None,
                (Some(list), Some(key)) => {
                    lists.get_mut(list).and_then(|rows| rows.remove(key));
                }
                (Some(_), None) => {}
            }
        }
        Ok(self.rows)
    }

    fn name(&mut self, list: Option<usize>, key: Option<&str>, column: String, what: String) {
        self.rows.bad.push(BadRow { list, key: key.map(str::to_owned), column, what });
    }

    /// What is over the limit is counted, and not kept.
    fn is_too_large(&self) -> bool {
        self.count > ROOT_ROWS_MAX || self.bytes > ROOT_BYTES_MAX
    }

    fn key_column(&self, list: Option<usize>) -> String {
        self.shape.at(list).map(|table| table.key.0.clone()).unwrap_or_default()
    }

    fn column(&self, list: Option<usize>, field: usize) -> String {
        let field = self.shape.at(list).and_then(|table| table.fields.get(field));
        field.map(|field| field.column.clone()).unwrap_or_default()
    }
}

/// Says what keeps a text from being a row's key.
///
/// # Errors
/// What is wrong, without the text.
pub fn check_key(key: &str) -> Result<(), &'static str> {
    match key.len() {
        0 => Err("is empty"),
        1..=KEY_BYTES_MAX => Ok(()),
        _ => Err("is longer than 1024 bytes"),
    }
}

fn order(bad: &BadRow) -> (Option<usize>, Option<&str>, &str, &str) {
    (bad.list, bad.key.as_deref(), &bad.column, &bad.what)
}

fn size(value: &JsonValue) -> usize {
    value.as_str().map_or(8, str::len)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::mapping::{DocumentName, Mapping, Mode, RootTable};
    use crate::schema::{ColumnKind, FieldShape, TableShape};

    fn table(name: &str, parent: Option<(String, ColumnKind)>) -> TableShape {
        let field = FieldShape {
            column: "body".to_owned(),
            kind: ColumnKind::Text,
            policy: crate::Policy::DbWins,
            is_nullable: true,
            has_default: true,
            is_generated: false,
        };
        let key = ("id".to_owned(), ColumnKind::Text);
        TableShape { table: name.to_owned(), key, parent, fields: vec![field], refs: BTreeMap::new() }
    }

    fn shape() -> Shape {
        let mapping = Mapping {
            name: "w".to_owned(),
            mode: Mode::Merge,
            root: RootTable {
                table: "workflows".to_owned(),
                key: "id".to_owned(),
                version: None,
                document: DocumentName::parse("w:{id}", "id").unwrap(),
                soft_delete: None,
                fields: BTreeMap::new(),
                secret: BTreeSet::new(),
            },
            lists: Vec::new(),
        };
        let parent = Some(("workflow_id".to_owned(), ColumnKind::Text));
        Shape { mapping, root: table("workflows", None), lists: vec![table("jobs", parent)] }
    }

    fn text(text: &str) -> Row {
        vec![JsonValue::String(text.to_owned())]
    }

    fn words(rows: &Rows) -> Vec<String> {
        let key = |bad: &BadRow| bad.key.clone().unwrap_or("-".to_owned());
        rows.bad
            .iter()
            .map(|bad| format!("{:?} {} {} {}", bad.list, key(bad), bad.column, bad.what))
            .collect()
    }

    #[test]
    fn the_order_of_rows_makes_no_difference() {
        let shape = shape();
        let steps: [fn(&mut RowsBuilder<'_>); 8] = [
            |rows| rows.row(None, "1", text("root")),
            |rows| rows.row(Some(0), "a", text("one")),
            |rows| rows.row(Some(0), "b", text("once")),
            |rows| rows.row(Some(0), "b", text("again")),
            |rows| rows.row(Some(0), "c", text("good, and its name is bad elsewhere")),
            |rows| rows.bad(Some(0), Some("c"), "body", "is a blob"),
            |rows| rows.bad_key(Some(0), "is null"),
            |rows| rows.bad_key(Some(0), "is null"),
        ];
        let gather = |order: &mut dyn Iterator<Item = usize>| {
            let mut rows = RowsBuilder::new(&shape);
            order.for_each(|at| steps[at](&mut rows));
            rows.finish().unwrap()
        };
        let rows = gather(&mut (0..8));
        assert_eq!(
            words(&rows),
            ["Some(0) - id is null", "Some(0) b id is there twice", "Some(0) c body is a blob"]
        );
        assert_eq!(rows.lists[0].keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(rows.root, Some(text("root")));
        for turn in 1..8 {
            assert_eq!(gather(&mut (0..8).map(|at| (at * 3 + turn) % 8)).digest(), rows.digest());
        }
    }

    #[test]
    fn without_a_root_there_is_nothing() {
        let shape = shape();
        let mut rows = RowsBuilder::new(&shape);
        rows.set_version(Some(3));
        rows.row(Some(0), "a", text("an orphan"));
        rows.bad_key(Some(0), "is null");
        assert_eq!(rows.finish(), Ok(Rows::none(&shape)));
        let mut rows = RowsBuilder::new(&shape);
        rows.bad(None, Some("1"), "body", "is a blob");
        rows.row(Some(0), "a", text("not an orphan"));
        let rows = rows.finish().unwrap();
        assert!(rows.root.is_none() && rows.is_bad(None, "1") && rows.lists[0].contains_key("a"));
    }

    #[test]
    fn what_is_too_long_is_bad_or_too_large() {
        let shape = shape();
        let fill = |texts: usize, bytes: usize| {
            let mut rows = RowsBuilder::new(&shape);
            rows.row(None, "1", text(""));
            let row = text(&"x".repeat(bytes));
            (0..texts).for_each(|n| rows.row(Some(0), &n.to_string(), row.clone()));
            rows.finish()
        };
        assert_eq!(words(&fill(1, ROW_BYTES_MAX - 1).unwrap()), [""; 0]);
        let rows = fill(1, ROW_BYTES_MAX).unwrap();
        assert_eq!(words(&rows), ["Some(0) 0 body makes the row too long for a document"]);
        assert!(rows.lists[0].is_empty());
        assert_eq!(fill(22, 3_000_000), Ok(fill(22, 3_000_000).unwrap()));
        assert_eq!(fill(23, 3_000_000), Err(TooLarge { limit: ROOT_BYTES_MAX, what: "bytes" }));
        assert!(fill(ROOT_ROWS_MAX - 1, 0).is_ok());
        assert_eq!(fill(ROOT_ROWS_MAX, 0), Err(TooLarge { limit: ROOT_ROWS_MAX, what: "rows" }));
    }

    #[test]
    fn a_key_is_a_name() {
        assert_eq!(check_key("1"), Ok(()));
        assert_eq!(check_key(&"k".repeat(1_024)), Ok(()));
        assert_eq!(check_key(""), Err("is empty"));
        assert_eq!(check_key(&"k".repeat(1_025)), Err("is longer than 1024 bytes"));
    }
}
