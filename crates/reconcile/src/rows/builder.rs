//! Putting together what a source reads, so that all sources keep the same rules.

use super::{BadRow, Cell, Digested, Keep, Read};
use crate::limits::{KEY_BYTES_MAX, ROOT_BYTES_MAX, ROOT_ROWS_MAX, ROW_BYTES_MAX};
use crate::schema::Shape;

/// Gathers the rows of one root, in any order, and makes [`Rows`](crate::Rows) of them that do not depend on it, or their digest.
///
/// - A row that is too long for a document, or whose key cannot be one, is bad.
/// - A key that is there twice (as in a view) is bad, and so is one that any bad row has.
/// - A version that cannot be one is named, and the root's fields are read all the same.
/// - Without a root row there are no other rows.
#[derive(Debug)]
pub struct RowsBuilder<'a, K = Read> {
    shape: &'a Shape,
    kept: K,
    gathered: Gathered,
}

#[derive(Debug, Default)]
struct Gathered {
    version: Option<i64>,
    bad: Vec<BadRow>,
    count: usize,
    bytes: usize,
    has_root: bool,
    bad_version: Option<BadRow>,
}

const TWICE: &str = "is there twice";

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
        Self::making(shape)
    }
}

impl<'a> RowsBuilder<'a, Digested> {
    /// Begins with no rows, of which nothing but the digest is wanted.
    #[must_use]
    pub fn digesting(shape: &'a Shape) -> Self {
        Self::making(shape)
    }
}

impl<'a, K: Keep> RowsBuilder<'a, K> {
    fn making(shape: &'a Shape) -> Self {
        Self { shape, kept: K::new(shape.lists.len()), gathered: Gathered::default() }
    }

    /// Sets the root's version.
    pub fn set_version(&mut self, version: Option<i64>) {
        self.gathered.version = version;
    }

    /// Names a root whose version cannot be one.
    pub fn bad_version(&mut self, key: &str, what: impl Into<String>) {
        let column = self.shape.mapping.root.version.clone().unwrap_or_default();
        let key = Some(key.to_owned());
        self.gathered.bad_version.get_or_insert(BadRow { list: None, key, column, what: what.into() });
    }

    /// Adds a row: of the root for no list. For each field there is its value, or what is wrong with it.
    pub fn row<'c>(
        &mut self,
        list: Option<usize>,
        key: &str,
        cells: impl IntoIterator<Item = Result<Cell<'c>, &'static str>>,
    ) {
        if self.gathered.is_too_large() {
            self.gathered.has_root |= list.is_none();
            self.gathered.count += 1;
            return;
        }
        self.kept.begin(key, self.shape.at(list).map_or(0, |table| table.fields.len()));
        let mut bytes = key.len();
        let mut too_long = None;
        for (at, cell) in cells.into_iter().enumerate() {
            match cell {
                Ok(cell) => {
                    bytes = bytes.saturating_add(cell.size());
                    if bytes <= ROW_BYTES_MAX {
                        self.kept.cell(cell);
                    } else if too_long.is_none() {
                        too_long = Some(at);
                    }
                }
                Err(what) => {
                    self.kept.undo();
                    let column = self.column(list, at);
                    return self.bad(list, Some(key), &column, what);
                }
            }
        }
        if let Some(at) = too_long {
            self.kept.undo();
            let column = self.column(list, at);
            return self.bad(list, Some(key), &column, "makes the row too long for a document");
        }
        self.gathered.bytes = self.gathered.bytes.saturating_add(bytes);
        self.gathered.count += 1;
        if self.gathered.is_too_large() {
            return self.kept.undo();
        }
        self.kept.keep(list);
        if list.is_none() && std::mem::replace(&mut self.gathered.has_root, true) {
            let column = self.key_column(list);
            self.gathered.name(list, Some(key), column, TWICE.to_owned());
        }
    }

    /// Names a row that a document cannot have; no key where that is what is wrong.
    pub fn bad(&mut self, list: Option<usize>, key: Option<&str>, column: &str, what: impl Into<String>) {
        self.gathered.has_root |= list.is_none();
        self.gathered.count += 1;
        if !self.gathered.is_too_large() {
            self.gathered.name(list, key, column.to_owned(), what.into());
        }
    }

    /// Names a row whose key cannot be one.
    pub fn bad_key(&mut self, list: Option<usize>, what: impl Into<String>) {
        let column = self.key_column(list);
        self.bad(list, None, &column, what);
    }

    /// Returns the rows, or their digest, and begins anew.
    ///
    /// # Errors
    /// [`TooLarge`]
    pub fn finish(&mut self) -> Result<K::Made, TooLarge> {
        let mut gathered = std::mem::take(&mut self.gathered);
        let limit = gathered.check();
        if limit.is_err() || !gathered.has_root {
            self.kept.clear();
            return limit.map(|()| self.kept.finish(None, Vec::new()));
        }
        let shape = self.shape;
        self.kept.sort(&mut |list, key| {
            gathered.name(Some(list), Some(key), key_column(shape, Some(list)), TWICE.to_owned());
        });
        let bad = one_word_each(gathered.bad);
        if let Some(first) = bad.first() {
            self.kept.forget(first.list.is_none(), &|list, key| {
                let place = (Some(list), Some(key));
                bad.binary_search_by(|bad| (bad.list, bad.key.as_deref()).cmp(&place)).is_ok()
            });
        }
        // It is named beside what else is bad: nobody may raise such a version.
        let bad = gathered.bad_version.into_iter().chain(bad).collect();
        Ok(self.kept.finish(gathered.version, bad))
    }

    fn key_column(&self, list: Option<usize>) -> String {
        key_column(self.shape, list)
    }

    fn column(&self, list: Option<usize>, field: usize) -> String {
        let field = self.shape.at(list).and_then(|table| table.fields.get(field));
        field.map(|field| field.column.clone()).unwrap_or_default()
    }
}

impl Gathered {
    fn name(&mut self, list: Option<usize>, key: Option<&str>, column: String, what: String) {
        self.bad.push(BadRow { list, key: key.map(str::to_owned), column, what });
    }

    /// What is over the limit is counted, and not kept.
    fn is_too_large(&self) -> bool {
        self.check().is_err()
    }

    fn check(&self) -> Result<(), TooLarge> {
        if self.count > ROOT_ROWS_MAX {
            return Err(TooLarge { limit: ROOT_ROWS_MAX, what: "rows" });
        }
        if self.bytes > ROOT_BYTES_MAX {
            return Err(TooLarge { limit: ROOT_BYTES_MAX, what: "bytes" });
        }
        Ok(())
    }
}

fn key_column(shape: &Shape, list: Option<usize>) -> String {
    shape.at(list).map(|table| table.key.0.clone()).unwrap_or_default()
}

/// Sorts bad rows and leaves one word for each; one without a key is no news when it is there a thousand times.
fn one_word_each(mut bad: Vec<BadRow>) -> Vec<BadRow> {
    bad.sort_by(|one, other| order(one).cmp(&order(other)));
    bad.dedup_by(|other, one| {
        let is_alike = other.key.is_some() || (&other.column, &other.what) == (&one.column, &one.what);
        (other.list, &other.key) == (one.list, &one.key) && is_alike
    });
    bad
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bft_json_crdt::JsonValue;

    use super::*;
    use crate::mapping::{DocumentName, Mapping, Mode, RootTable};
    use crate::schema::{ColumnKind, FieldShape, TableShape};
    use crate::{Rows, RowsDigest};

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

    fn text(text: &str) -> [Result<Cell<'_>, &'static str>; 1] {
        [Ok(Cell::Text(text.into()))]
    }

    #[derive(Clone, Copy)]
    enum Step {
        Version(i64),
        BadVersion(&'static str),
        Row(Option<usize>, &'static str, &'static str),
        Null(&'static str),
        Unreadable(Option<usize>, &'static str),
        Bad(Option<usize>, &'static str),
        NoKey,
    }

    fn gather<K: Keep>(rows: &mut RowsBuilder<'_, K>, steps: &[Step]) -> Result<K::Made, TooLarge> {
        for step in steps {
            match *step {
                Step::Version(version) => rows.set_version(Some(version)),
                Step::BadVersion(key) => rows.bad_version(key, "is no integer"),
                Step::Row(list, key, body) => rows.row(list, key, text(body)),
                Step::Null(key) => rows.row(Some(0), key, [Ok(Cell::Null)]),
                Step::Unreadable(list, key) => rows.row(list, key, [Err("is a blob")]),
                Step::Bad(list, key) => rows.bad(list, Some(key), "body", "is a blob"),
                Step::NoKey => rows.bad_key(Some(0), "is null"),
            }
        }
        rows.finish()
    }

    /// Whoever makes a digest alone comes to that of the rows, also where he made others before.
    #[track_caller]
    fn read(shape: &Shape, steps: &[Step]) -> Rows {
        let rows = gather(&mut RowsBuilder::new(shape), steps).unwrap();
        let mut digesting = RowsBuilder::digesting(shape);
        for before in [&[], steps, &[Step::Row(Some(0), "an orphan", "")]] {
            gather(&mut digesting, before).unwrap();
            assert_eq!(gather(&mut digesting, steps), Ok(rows.digest()));
        }
        rows
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
        let steps = [
            Step::Row(None, "1", "root"),
            Step::Row(Some(0), "a", "one"),
            Step::Row(Some(0), "b", "once"),
            Step::Row(Some(0), "b", "again"),
            Step::Row(Some(0), "c", "good, and its name is bad elsewhere"),
            Step::Row(Some(0), "d", "two"),
            Step::Bad(Some(0), "c"),
            Step::NoKey,
            Step::NoKey,
            Step::Unreadable(Some(0), "e"),
            Step::Version(7),
        ];
        let rows = read(&shape, &steps);
        assert_eq!(
            words(&rows),
            [
                "Some(0) - id is null",
                "Some(0) b id is there twice",
                "Some(0) c body is a blob",
                "Some(0) e body is a blob"
            ]
        );
        assert_eq!(rows.lists[0].keys().collect::<Vec<_>>(), ["a", "d"]);
        assert_eq!(rows.root, Some(vec![JsonValue::String("root".to_owned())]));
        for turn in 1..11 {
            let turned: Vec<Step> = (0..11).map(|at| steps[(at * 3 + turn) % 11]).collect();
            assert_eq!(read(&shape, &turned), rows);
        }
    }

    /// The same bytes on every node: their signed batches depend on them.
    #[test]
    fn a_digest_is_what_it_always_was() {
        let shape = shape();
        let rows =
            read(&shape, &[Step::Version(7), Step::Row(None, "1", "root"), Step::Row(Some(0), "a", "x")]);
        let hex: String = rows.digest().0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "e97fe7fa9bb39024a6fa6c8a9f141a05e2414c8258ebca8b372f32a3abe0b94d");
    }

    #[test]
    fn a_digest_tells_rows_apart() {
        let shape = shape();
        let root = Step::Row(None, "1", "root");
        let all: [&[Step]; 12] = [
            &[],
            &[root],
            &[root, Step::Version(0)],
            &[Step::Row(None, "1", "rooted")],
            &[Step::Bad(None, "1")],
            &[root, Step::Row(Some(0), "a", "b")],
            &[root, Step::Row(Some(0), "ab", "")],
            &[root, Step::Row(Some(0), "a", "")],
            &[root, Step::Null("a")],
            &[root, Step::Null("a"), Step::Null("b")],
            &[root, Step::Bad(Some(0), "a")],
            &[root, Step::NoKey],
        ];
        let digests: BTreeSet<RowsDigest> = all.iter().map(|steps| read(&shape, steps).digest()).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn without_a_root_there_is_nothing() {
        let shape = shape();
        let orphans = [Step::Version(3), Step::Row(Some(0), "a", "an orphan"), Step::NoKey];
        assert_eq!(read(&shape, &orphans), Rows::none(&shape));
        let rows = read(&shape, &[Step::Bad(None, "1"), Step::Row(Some(0), "a", "not an orphan")]);
        assert!(rows.root.is_none() && rows.is_bad(None, "1") && rows.lists[0].contains_key("a"));
    }

    #[test]
    fn a_version_that_is_none_costs_the_root_no_other_field() {
        let mut shape = shape();
        shape.mapping.root.version = Some("rev".to_owned());
        let rows = read(&shape, &[Step::BadVersion("1"), Step::Row(None, "1", "root")]);
        assert_eq!(words(&rows), ["None 1 rev is no integer"]);
        assert_eq!(rows.root, Some(vec![JsonValue::String("root".to_owned())]));
        // Beside a root that cannot be read, both are named.
        let rows = read(&shape, &[Step::Bad(None, "1"), Step::BadVersion("1")]);
        assert_eq!(words(&rows), ["None 1 rev is no integer", "None 1 body is a blob"]);
        assert_eq!(rows.root, None);
    }

    #[test]
    fn what_is_too_long_is_bad_or_too_large() {
        let shape = shape();
        let fill = |texts: usize, bytes: usize| {
            let mut rows = RowsBuilder::new(&shape);
            rows.row(None, "1", text(""));
            let long = "x".repeat(bytes);
            let mut digesting = RowsBuilder::digesting(&shape);
            digesting.row(None, "1", text(""));
            for n in 0..texts {
                rows.row(Some(0), &n.to_string(), text(&long));
                digesting.row(Some(0), &n.to_string(), text(&long));
            }
            let rows = rows.finish();
            assert_eq!(digesting.finish(), rows.as_ref().map(Rows::digest).map_err(|limit| *limit));
            rows
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
