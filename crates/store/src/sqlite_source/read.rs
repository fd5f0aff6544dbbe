//! Reading the rows of one root, and the names of all.

use std::collections::BTreeSet;

use gangline_reconcile::{Cell, ColumnKind, Keep, Rows, RowsBuilder, Shape, TableShape};
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
pub(super) fn add_root<K: Keep>(rows: &mut RowsBuilder<'_, K>, shape: &Shape, key: &str, row: &SqlRow<'_>) {
    let table = &shape.root;
    let version = match &shape.mapping.root.version {
        None => Ok(None),
        Some(_) => match row.get_ref(1) {
            Ok(ValueRef::Null) => Ok(None),
            Ok(ValueRef::Integer(version)) => Ok(Some(version)),
            _ => Err("is no integer"),
        },
    };
    match version {
        Ok(version) => rows.set_version(version),
        Err(what) => rows.bad_version(key, what),
    }
    rows.row(None, key, fields(table, row));
}

/// Adds a list's row.
pub(super) fn add<K: Keep>(rows: &mut RowsBuilder<'_, K>, list: usize, table: &TableShape, row: &SqlRow<'_>) {
    let key = row.get_ref(0).map_err(|_| "cannot be read").and_then(|key| value::key(table.key.1, key));
    match key {
        Ok(key) => rows.row(Some(list), &key, fields(table, row)),
        Err(what) => rows.bad_key(Some(list), what),
    }
}

/// Reads the values of a row's fields, or tells what is wrong with them.
fn fields<'a>(
    table: &'a TableShape,
    row: &'a SqlRow<'_>,
) -> impl Iterator<Item = Result<Cell<'a>, &'static str>> {
    (FIELDS..).zip(&table.fields).map(|(at, field)| match row.get_ref(at) {
        Ok(value) => value::read(field.kind, value),
        Err(_) => Err("cannot be read"),
    })
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
