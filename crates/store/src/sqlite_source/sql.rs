//! The statements that read and write a mapping's tables. They name tables and columns, and hold no values.

use gangline_reconcile::{ColumnKind, Shape, TableShape};

/// Quotes a name.
pub(super) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Where in a row that was read the fields begin, after its key and its version or parent.
pub(super) const FIELDS: usize = 2;

/// Reads a table's key, the root's version or a list's parent, and the fields.
///
/// Columns are named with their table: a name in quotes that stands alone may be taken for a text.
pub(super) fn select(shape: &Shape, list: Option<usize>, table: &TableShape) -> String {
    let of = |column: &str| format!("{}.{}", name(&table.table), name(column));
    let second = match (list, &table.parent) {
        (Some(_), Some((parent, _))) => of(parent),
        _ => shape.mapping.root.version.as_deref().map_or_else(|| "NULL".to_owned(), of),
    };
    let mut columns = vec![of(&table.key.0), second];
    columns.extend(table.fields.iter().map(|field| of(&field.column)));
    format!("SELECT {} FROM main.{}", columns.join(", "), name(&table.table))
}

/// Finds rows by what a column of this kind holds, with the two parameters of [`super::value::search`].
///
/// The column's own collation may find more: `ABC` for `abc`.
pub(super) fn found_by(table: &TableShape, column: &str, kind: ColumnKind) -> String {
    let column = format!("{}.{}", name(&table.table), name(column));
    match kind {
        // The second parameter has nothing to say; a single comparison lets SQLite use an index at once.
        ColumnKind::Integer | ColumnKind::Text => format!("{column} = ?1 AND ?2 IS NULL"),
        ColumnKind::Float | ColumnKind::Number | ColumnKind::Boolean | ColumnKind::Other => {
            format!("{column} IN (?1, ?2)")
        }
    }
}
