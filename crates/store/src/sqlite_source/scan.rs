//! Digests of all roots in one pass: one cursor for the root table and one for each list, all in the same order of
//! roots, as a merge of sorted files. Memory is that of the largest root.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use gangline_reconcile::{ColumnKind, RowsBuilder, RowsDigest, Scanned, Shape, TableShape};
use rusqlite::{
    CachedStatement, Connection, Row, Rows, fallible_streaming_iterator::FallibleStreamingIterator as _,
    types::ValueRef,
};

use super::{read, schema, sql, trouble::Trouble, value};

/// The order in which all cursors come by the names of roots.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// All columns hold integers: as integers.
    Integers,
    /// All columns hold texts, and nothing else.
    Texts(Encoding),
    /// Some hold both, or do not tell: as texts, made by SQLite. No index helps with that.
    Digits(Encoding),
}

/// How the database keeps texts: SQLite sorts them by their bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
}

/// Whose row it is, in the order of the cursors.
#[derive(Clone, Debug)]
enum Owner {
    Integer(i64),
    Text(String),
}

/// A cursor over a table that stands on a row, or at the end.
struct Cursor<'a> {
    rows: Rows<'a>,
    kind: ColumnKind,
    /// Where the name of the root is: in the key of the root table, in the parent column of a list.
    column: usize,
    order: Order,
    /// The root of the row that it stands on.
    owner: Option<Owner>,
    /// How many rows so far are nobody's, and why.
    nameless: BTreeMap<&'static str, usize>,
}

/// What `visit` gets of a root that is too large: no rows have this digest, so whoever compares will read the root, and
/// is told.
const TOO_LARGE: RowsDigest = RowsDigest([0; 32]);

/// Visits all roots, in the caller's transaction.
pub(super) fn scan(
    connection: &Connection,
    shape: &Shape,
    visit: &mut dyn FnMut(&str, RowsDigest),
) -> Result<Scanned, Trouble> {
    let order = order(connection, shape)?;
    let mut statements = Vec::with_capacity(shape.lists.len());
    for (at, table) in shape.lists.iter().enumerate() {
        statements.push(prepare(connection, shape, Some(at), table, order)?);
    }
    let mut lists = Vec::with_capacity(statements.len());
    for (statement, table) in statements.iter_mut().zip(&shape.lists) {
        let kind = table.parent.as_ref().map_or(ColumnKind::Other, |(_, kind)| *kind);
        lists.push(Cursor::open(statement, kind, 1, order)?);
    }
    let mut statement = prepare(connection, shape, None, &shape.root, order)?;
    let mut roots = Cursor::open(&mut statement, shape.root.key.1, 0, order)?;
    let mut rows = RowsBuilder::digesting(shape);
    while let Some(owner) = roots.owner.clone() {
        let root = owner.to_string();
        roots.while_at(&owner, |row| read::add_root(&mut rows, shape, &root, row))?;
        for (at, (cursor, table)) in lists.iter_mut().zip(&shape.lists).enumerate() {
            cursor.while_at(&owner, |row| read::add(&mut rows, at, table, row))?;
        }
        visit(&root, rows.finish().unwrap_or(TOO_LARGE));
    }
    let nameless = roots.nameless.into_iter().map(|(what, rows)| (what.to_owned(), rows));
    Ok(Scanned { nameless: nameless.collect() })
}

fn prepare<'a>(
    connection: &'a Connection,
    shape: &Shape,
    list: Option<usize>,
    table: &TableShape,
    order: Order,
) -> rusqlite::Result<CachedStatement<'a>> {
    let (column, _) = named_by(table);
    let column = format!("{}.{}", sql::name(&table.table), sql::name(column));
    let by = match order {
        Order::Integers => column,
        Order::Texts(_) => format!("{column} COLLATE BINARY"),
        Order::Digits(_) => format!("CAST({column} AS TEXT) COLLATE BINARY"),
    };
    connection.prepare_cached(&format!("{} ORDER BY {by}", sql::select(shape, list, table)))
}

impl<'a> Cursor<'a> {
    fn open(
        statement: &'a mut CachedStatement<'_>,
        kind: ColumnKind,
        column: usize,
        order: Order,
    ) -> Result<Self, Trouble> {
        let mut cursor =
            Self { rows: statement.query([])?, kind, column, order, owner: None, nameless: BTreeMap::new() };
        cursor.advance()?;
        Ok(cursor)
    }

    /// Goes over rows of roots before this one, which have no row of their own, then visits those of this one.
    fn while_at(&mut self, root: &Owner, mut visit: impl FnMut(&Row<'_>)) -> Result<(), Trouble> {
        while let (Some(owner), Some(row)) = (&self.owner, self.rows.get()) {
            match self.order.compare(owner, root) {
                Ordering::Greater => break,
                Ordering::Equal => visit(row),
                Ordering::Less => {}
            }
            self.advance()?;
        }
        Ok(())
    }

    /// Goes on to the next row that belongs to a root.
    fn advance(&mut self) -> Result<(), Trouble> {
        while let Some(row) = self.rows.next()? {
            match self.order.owner(&mut self.owner, self.kind, row.get_ref(self.column)?) {
                Ok(()) => return Ok(()),
                Err(what) => *self.nameless.entry(what).or_default() += 1,
            }
        }
        self.owner = None;
        Ok(())
    }
}

/// The column that names the root of a row.
fn named_by(table: &TableShape) -> &(String, ColumnKind) {
    table.parent.as_ref().unwrap_or(&table.key)
}

fn order(connection: &Connection, shape: &Shape) -> Result<Order, Trouble> {
    let tables = || shape.lists.iter().chain([&shape.root]);
    if tables().all(|table| named_by(table).1 == ColumnKind::Integer) {
        return Ok(Order::Integers);
    }
    let encoding: String = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
    let encoding = match encoding.as_str() {
        "UTF-16le" => Encoding::Utf16Le,
        "UTF-16be" => Encoding::Utf16Be,
        _ => Encoding::Utf8,
    };
    for table in tables() {
        if !holds_texts_alone(connection, table)? {
            return Ok(Order::Digits(encoding));
        }
    }
    Ok(Order::Texts(encoding))
}

/// Whether SQLite makes a text of all that is stored in the column that names the root. Of a view nobody knows.
fn holds_texts_alone(connection: &Connection, table: &TableShape) -> Result<bool, Trouble> {
    let sql = "SELECT type = 'table' FROM pragma_table_list WHERE schema = 'main' AND name = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let is_table = statement.query_row([&table.table], |row| row.get::<_, bool>(0));
    if !is_table.is_ok_and(|is_table| is_table) {
        return Ok(false);
    }
    let columns = schema::columns(connection, &table.table)?;
    let named_by = &named_by(table).0;
    Ok(columns.iter().any(|column| column.name == *named_by && schema::is_text(&column.declared)))
}

impl Order {
    /// Reads whose row it is, or says why it is nobody's.
    fn owner(
        self,
        owner: &mut Option<Owner>,
        kind: ColumnKind,
        value: ValueRef<'_>,
    ) -> Result<(), &'static str> {
        if self == Self::Integers
            && let ValueRef::Integer(value) = value
        {
            *owner = Some(Owner::Integer(value));
            return Ok(());
        }
        let key = value::key(kind, value)?;
        match owner {
            Some(Owner::Text(text)) => key.as_ref().clone_into(text),
            Some(Owner::Integer(_)) | None => *owner = Some(Owner::Text(key.into_owned())),
        }
        Ok(())
    }

    fn compare(self, one: &Owner, other: &Owner) -> Ordering {
        match (self, one, other) {
            (Self::Texts(encoding) | Self::Digits(encoding), Owner::Text(one), Owner::Text(other)) => {
                encoding.compare(one, other)
            }
            (_, Owner::Integer(one), Owner::Integer(other)) => one.cmp(other),
            // All cursors have one order, so there is only one sort of owner.
            (_, Owner::Integer(_), _) => Ordering::Less,
            (_, Owner::Text(_), _) => Ordering::Greater,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Encoding {
    fn compare(self, one: &str, other: &str) -> Ordering {
        match self {
            Self::Utf8 => one.cmp(other),
            Self::Utf16Be => one.encode_utf16().cmp(other.encode_utf16()),
            Self::Utf16Le => {
                let swapped = |text: &str| -> Vec<u16> { text.encode_utf16().map(u16::swap_bytes).collect() };
                swapped(one).cmp(&swapped(other))
            }
        }
    }
}
