//! The statements that read and write a mapping's tables. They name tables and columns, and hold no values.

use gangline_reconcile::{Shape, TableShape};

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
