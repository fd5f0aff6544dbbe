//! What SQLite says of its tables, and what a document makes of a column's declared type.
//!
//! SQLite keeps any value in any column; what a column is *for* stands in its declared type, from which SQLite takes an
//! affinity. A document goes by that too, with these words of its own:
//!
//! | declared | kind |
//! |---|---|
//! | has `INT` in it | integer |
//! | has `CHAR`, `CLOB` or `TEXT` in it | text |
//! | has `BLOB` in it, is `ANY`, or nothing | other: no document has it |
//! | has `REAL`, `FLOA` or `DOUB` in it | float |
//! | begins with `BOOL` | boolean |
//! | `NUMERIC`, `DECIMAL`, `NUMBER`, `MONEY` and the like | number |
//! | anything else: `DATETIME`, `TIMESTAMP`, `JSON`, `UUID`, `STRING` | text |
//!
//! The last row's columns have a numeric affinity, though programs keep texts in them: a text that looks like a number
//! becomes one as it is stored. Documents see its digits (`value.rs`).

use gangline_reconcile::{Column, ColumnKind, Schema, TableSchema};
use rusqlite::{Connection, Row};

use super::{outbox, trouble::Trouble};

/// Words that say of a column with numeric affinity that it holds numbers.
const NUMBERS: [&str; 7] = ["NUM", "DEC", "FIXED", "MONEY", "CURRENCY", "LONG", "PERCENT"];

/// What `PRAGMA table_xinfo` says of a column.
pub(super) struct ColumnInfo {
    pub(super) name: String,
    pub(super) declared: String,
    is_not_null: bool,
    default: Option<String>,
    /// Its place in the primary key, from 1; 0 if it is not in it.
    pub(super) key_place: i64,
    /// 1: a virtual table's own, 2 and 3: generated.
    hidden: i64,
}

/// A unique index: its columns with their collations. An expression among them has no column.
pub(super) struct UniqueIndex {
    pub(super) columns: Vec<(Option<String>, String)>,
    is_partial: bool,
}

pub(super) fn read(connection: &Connection) -> Result<Schema, Trouble> {
    let mut schema = Schema::default();
    let mut statement =
        connection.prepare("SELECT name, type FROM pragma_table_list WHERE schema = 'main' ORDER BY name")?;
    let tables: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for (name, kind) in tables {
        if name.starts_with("sqlite_") || name == outbox::TABLE || kind == "shadow" {
            continue;
        }
        // A broken view, or a virtual table whose module this program lacks: nobody can map it.
        let Ok(columns) = columns(connection, &name) else { continue };
        let is_view = kind != "table";
        let has_rowid = is_view || has_rowid(connection, &name)?;
        let unique = if is_view { Vec::new() } else { unique_columns(connection, &name, &columns)? };
        let has_key_alone = has_rowid && columns.iter().filter(|column| column.key_place > 0).count() == 1;
        let columns = columns.into_iter().filter(|column| column.hidden != 1);
        let columns = columns.map(|info| (info.name.clone(), info.column(has_key_alone))).collect();
        schema.tables.insert(name, TableSchema { columns, unique, is_view });
    }
    Ok(schema)
}

impl ColumnInfo {
    fn column(self, has_key_alone: bool) -> Column {
        // An integer that is the primary key by itself is the row's number: SQLite draws one where none is given.
        let is_row_number =
            has_key_alone && self.key_place > 0 && self.declared.eq_ignore_ascii_case("INTEGER");
        let is_nullable = !self.is_not_null && !is_row_number;
        let has_default = self.default.is_some_and(|value| !value.eq_ignore_ascii_case("null"));
        Column {
            kind: kind(&self.declared),
            is_nullable,
            has_default: has_default || is_nullable || is_row_number,
            is_generated: self.hidden >= 2,
            declared: if self.declared.is_empty() { "without a type".to_owned() } else { self.declared },
        }
    }
}

/// Reads the columns of a table.
pub(super) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<ColumnInfo>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid",
    )?;
    let column = |row: &Row<'_>| {
        Ok(ColumnInfo {
            name: row.get(0)?,
            declared: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
            is_not_null: row.get(2)?,
            default: row.get(3)?,
            key_place: row.get(4)?,
            hidden: row.get(5)?,
        })
    };
    statement.query_map([table], column)?.collect()
}

/// Reads the unique indexes of a table, the one of its primary key first.
pub(super) fn unique_indexes(connection: &Connection, table: &str) -> rusqlite::Result<Vec<UniqueIndex>> {
    let mut keys: Vec<(i64, String)> = columns(connection, table)?
        .into_iter()
        .filter(|column| column.key_place > 0)
        .map(|column| (column.key_place, column.name))
        .collect();
    keys.sort();
    let binary = || "BINARY".to_owned();
    let key = UniqueIndex {
        columns: keys.into_iter().map(|(_, name)| (Some(name), binary())).collect(),
        is_partial: false,
    };
    let mut indexes = if key.columns.is_empty() { Vec::new() } else { vec![key] };
    let mut list = connection.prepare_cached(
        "SELECT name, partial FROM pragma_index_list(?1) WHERE \"unique\" ORDER BY origin = 'pk' DESC, name",
    )?;
    let mut columns = connection
        .prepare_cached("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")?;
    let found: Vec<(String, bool)> =
        list.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for (name, is_partial) in found {
        let of = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?.unwrap_or_else(binary)));
        let columns: Vec<_> = columns.query_map([name], of)?.collect::<Result<_, _>>()?;
        if !indexes.iter().any(|known| known.columns == columns) {
            indexes.push(UniqueIndex { columns, is_partial });
        }
    }
    Ok(indexes)
}

/// Columns that are unique by themselves.
fn unique_columns(
    connection: &Connection,
    table: &str,
    columns: &[ColumnInfo],
) -> rusqlite::Result<Vec<String>> {
    let mut unique = Vec::new();
    for index in unique_indexes(connection, table)? {
        if let [(Some(column), _)] = index.columns.as_slice()
            && !index.is_partial
            && !unique.contains(column)
        {
            unique.push(column.clone());
        }
    }
    // In the order of the table.
    let place = |name: &String| columns.iter().position(|column| column.name == *name);
    unique.sort_by_key(place);
    Ok(unique)
}

fn has_rowid(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1";
    connection.query_row(sql, [table], |row| row.get::<_, bool>(0)).map(|without| !without)
}

/// What the values of a column are, by its declared type.
pub(super) fn kind(declared: &str) -> ColumnKind {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if has(&["INT"]) {
        ColumnKind::Integer
    } else if is_text(&declared) {
        ColumnKind::Text
    } else if declared.is_empty() || declared == "ANY" || has(&["BLOB"]) {
        ColumnKind::Other
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        ColumnKind::Float
    } else if declared.starts_with("BOOL") {
        ColumnKind::Boolean
    } else if has(&NUMBERS) {
        ColumnKind::Number
    } else {
        ColumnKind::Text
    }
}

/// Whether SQLite keeps whatever is stored in a column of this type as a text.
pub(super) fn is_text(declared: &str) -> bool {
    let declared = declared.to_ascii_uppercase();
    !declared.contains("INT") && ["CHAR", "CLOB", "TEXT"].iter().any(|word| declared.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_type_says_what_a_column_is_for() {
        use ColumnKind::{Boolean, Float, Integer, Number, Other, Text};
        let cases = [
            ("INTEGER", Integer),
            ("unsigned big int", Integer),
            ("FLOATING POINT", Integer),
            ("varchar(255)", Text),
            ("NATIVE CHARACTER(70)", Text),
            ("CLOB", Text),
            ("", Other),
            ("BLOB", Other),
            ("ANY", Other),
            ("DOUBLE PRECISION", Float),
            ("real", Float),
            ("BOOLEAN", Boolean),
            ("bool", Boolean),
            ("DECIMAL(10,5)", Number),
            ("NUM", Number),
            ("DATETIME", Text),
            ("timestamp", Text),
            ("JSON", Text),
            ("STRING", Text),
            ("uuid", Text),
        ];
        for (declared, expected) in cases {
            assert_eq!(kind(declared), expected, "{declared}");
        }
    }
}
