//! The foreign keys of a database: which rows name a row, and what becomes of them as it changes.

use rusqlite::{Connection, Row};

use crate::sqlite_source::sql;

/// A foreign key.
pub(super) struct Naming {
    /// The table whose rows name others, and the key's place among those of this table.
    child: String,
    place: i64,
    /// The table of the rows that are named.
    parent: String,
    /// The columns of the child, each with that of the parent.
    columns: Vec<(String, String)>,
    /// What is done as a row changes that is named. What restricts is no action here: SQLite holds it so where foreign
    /// keys are left to the end.
    pub(super) on_update: String,
    pub(super) on_delete: String,
}

/// Reads all foreign keys.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Naming>> {
    // Where no column of the parent is said, it is the primary key.
    let mut statement = connection.prepare_cached(
        "SELECT child.name, key.id, key.\"table\", key.\"from\", coalesce(key.\"to\", \
         (SELECT name FROM pragma_table_info(key.\"table\") WHERE pk = key.seq + 1), ''), \
         replace(key.on_update, 'RESTRICT', 'NO ACTION'), replace(key.on_delete, 'RESTRICT', 'NO ACTION') \
         FROM main.sqlite_schema AS child, pragma_foreign_key_list(child.name) AS key \
         WHERE child.type = 'table' ORDER BY child.name, key.id, key.seq",
    )?;
    let naming = |row: &Row<'_>| {
        Ok(Naming {
            child: row.get(0)?,
            place: row.get(1)?,
            parent: row.get(2)?,
            columns: vec![(row.get(3)?, row.get(4)?)],
            on_update: row.get(5)?,
            on_delete: row.get(6)?,
        })
    };
    let mut namings: Vec<Naming> = Vec::new();
    for found in statement.query_map([], naming)? {
        let found = found?;
        match namings.last_mut().filter(|last| last.child == found.child && last.place == found.place) {
            Some(last) => last.columns.extend(found.columns),
            None => namings.push(found),
        }
    }
    Ok(namings)
}

impl Naming {
    /// Whether it goes by a column of a table.
    pub(super) fn goes_by(&self, table: &str, column: &str) -> bool {
        self.parent.eq_ignore_ascii_case(table)
            && self.columns.iter().any(|(_, named)| named.eq_ignore_ascii_case(column))
    }

    /// Whether it goes by a column of a table, and by no other.
    pub(super) fn goes_by_alone(&self, table: &str, column: &str) -> bool {
        self.goes_by(table, column) && self.columns.len() == 1
    }

    /// Whether a row of the parent is named, or would be if it had another value in a column: as SQL.
    pub(super) fn is_named(&self, instead: Option<(&str, &str)>) -> String {
        let conditions: Vec<String> = self
            .columns
            .iter()
            .map(|(own, named)| {
                let value = instead.filter(|(column, _)| named.eq_ignore_ascii_case(column)).map_or_else(
                    || format!("{}.{}", sql::name(&self.parent), sql::name(named)),
                    |(_, value)| format!("({value})"),
                );
                format!("{value} = gangline_child.{}", sql::name(own))
            })
            .collect();
        let child = sql::name(&self.child);
        format!("EXISTS (SELECT 1 FROM main.{child} AS gangline_child WHERE {})", conditions.join(" AND "))
    }
}
