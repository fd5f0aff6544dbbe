//! Reading the rows of one root, and the names of all.

use std::collections::BTreeSet;

use gangline_reconcile::{ColumnKind, Row, Rows, RowsBuilder, Shape, TableShape};
use rusqlite::{Connection, Row as SqlRow, types::ValueRef};

use super::{
    sql::{self, FIELDS},
    trouble::Trouble,
    value,
};

/// Reads all that belongs to a root, in the caller's transaction.
pub(super) fn rows(connection: &Connection, shape: &Shape, root: &str) -> Result<Rows, Trouble> {
    let mut rows = RowsBuilder::new(shape);
    each(connection, shape, None, &shape.root.key, root, |row| {
        add_root(&mut rows, shape, root, row);
    })?;
    for (at, list) in shape.lists.iter().enumerate() {
        let Some(parent) = &list.parent else { continue };
        each(connection, shape, Some(at), parent, root, |row| add(&mut rows, at, list, row))?;
    }
    rows.finish().map_err(|limit| Trouble::TooLarge { root: root.to_owned(), limit })
}

/// Visits the rows of a table whose key or parent column has this name.
fn each(
    connection: &Connection,
    shape: &Shape,
    list: Option<usize>,
    (column, kind): &(String, ColumnKind),
    key: &str,
    mut visit: impl FnMut(&SqlRow<'_>),
) -> Result<(), Trouble> {
    let Some(table) = shape.at(list) else { return Ok(()) };
    let select = sql::select(shape, list, table);
    let sql = format!("{select} WHERE {}.{} = ?1", sql::name(&table.table), sql::name(column));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query([value::search(*kind, key)])?;
    let at = usize::from(list.is_some());
    while let Some(row) = found.next()? {
        // By the column's own collation `ABC` may be `abc`, which is another root's.
        if value::key(*kind, row.get_ref(at)?).is_ok_and(|found| found == key) {
            visit(row);
        }
    }
    Ok(())
}

/// Adds the root's row.
pub(super) fn add_root(rows: &mut RowsBuilder<'_>, shape: &Shape, key: &str, row: &SqlRow<'_>) {
    let table = &shape.root;
    let version = match &shape.mapping.root.version {
        None => Ok(None),
        Some(column) => match row.get_ref(1) {
            Ok(ValueRef::Null) => Ok(None),
            Ok(ValueRef::Integer(version)) => Ok(Some(version)),
            _ => Err((column.as_str(), "is no integer")),
        },
    };
    let version = version.map(|version| rows.set_version(version));
    match version.and_then(|()| fields(table, row)) {
        Ok(row) => rows.row(None, key, row),
        Err((column, what)) => rows.bad(None, Some(key), column, what),
    }
}

/// Adds a list's row.
pub(super) fn add(rows: &mut RowsBuilder<'_>, list: usize, table: &TableShape, row: &SqlRow<'_>) {
    let key = row.get_ref(0).map_err(|_| "cannot be read").and_then(|key| value::key(table.key.1, key));
    let key = match key {
        Ok(key) => key,
        Err(what) => return rows.bad_key(Some(list), what),
    };
    match fields(table, row) {
        Ok(row) => rows.row(Some(list), &key, row),
        Err((column, what)) => rows.bad(Some(list), Some(&key), column, what),
    }
}

/// Reads the values of a row's fields, or tells what is wrong with the first that is bad.
fn fields<'a>(table: &'a TableShape, row: &SqlRow<'_>) -> Result<Row, (&'a str, &'static str)> {
    let mut values = Row::with_capacity(table.fields.len());
    for (at, field) in table.fields.iter().enumerate() {
        let value = row.get_ref(FIELDS + at).map_err(|_| "cannot be read");
        values.push(
            value
                .and_then(|value| value::read(field.kind, value))
                .map_err(|what| (field.column.as_str(), what))?,
        );
    }
    Ok(values)
}

/// Returns names of roots after one, ascending by their bytes.
///
/// Neither the order of integers nor a column's collation is the one of bytes, so all keys are gone over; only those
/// that are returned are kept.
pub(super) fn roots(
    connection: &Connection,
    shape: &Shape,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, Trouble> {
    let (column, kind) = &shape.root.key;
    let table = sql::name(&shape.root.table);
    let sql = format!("SELECT {table}.{} FROM main.{table}", sql::name(column));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut found: BTreeSet<String> = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let Ok(key) = value::key(*kind, row.get_ref(0)?) else { continue };
        let is_full = found.len() >= limit;
        let is_behind = is_full && found.last().is_none_or(|last| **last <= *key);
        if is_behind || after.is_some_and(|after| *key <= *after) {
            continue;
        }
        if found.insert(key.into_owned()) && is_full {
            found.pop_last();
        }
    }
    Ok(found.into_iter().collect())
}
