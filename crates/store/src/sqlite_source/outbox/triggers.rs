//! The triggers that note in the outbox which roots a statement touches.
//!
//! | trigger | on | notes |
//! |---|---|---|
//! | `…_ai` | after insert | the root of the new row |
//! | `…_au` | after update of a mapped column | the root of the row, and the one that it had before |
//! | `…_ad` | after delete | the root of the row |
//! | `…_bi`, `…_bu` | before insert, before update of a unique column | the roots of rows that REPLACE would remove |
//!
//! The last two are there because SQLite removes rows for `REPLACE` and `… OR REPLACE` without delete triggers (unless
//! the writer has set `recursive_triggers`). A row can be removed if it has the new row's values in all columns of a
//! unique index. Indexes on expressions cannot be told in this way; a table with one is watched all the same, and what
//! a REPLACE by that index removes is found by the next sweep.
//!
//! A writer notices nothing of them but what they take: SQLite gives `last_insert_rowid()` and `changes()` back as they
//! were before a trigger; `total_changes()` counts what triggers do, by its definition. `INSERT OR IGNORE` may note a
//! root although nothing was inserted.

use gangline_reconcile::{Shape, TableShape};
use rusqlite::{Connection, OptionalExtension as _};

use super::NOW;
use crate::sqlite_source::{
    schema::{self, UniqueIndex},
    sql,
    trouble::Trouble,
};

/// What the first line of a trigger begins with, before the name of the source.
const MARK: &str = "-- Gangline, source ";

/// The triggers that a shape wants, by name.
pub(super) struct Triggers(Vec<(String, String)>);

impl Triggers {
    pub(super) fn of(connection: &Connection, shape: &Shape) -> Result<Self, Trouble> {
        let mut triggers = Vec::new();
        for table in std::iter::once(&shape.root).chain(&shape.lists) {
            add(&mut triggers, connection, shape, table)?;
        }
        Ok(Self(triggers))
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn into_sql(self) -> impl Iterator<Item = String> {
        self.0.into_iter().map(|(_, sql)| sql)
    }

    /// Whether all of these are there, word for word, and none besides.
    pub(super) fn are_there(&self, connection: &Connection, source: &str) -> Result<bool, Trouble> {
        let mut statement = connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?1 AND sql = ?2)",
        )?;
        for (name, sql) in &self.0 {
            if !statement.query_row([name, sql], |row| row.get::<_, bool>(0))? {
                return Ok(false);
            }
        }
        Ok(all(connection)?.iter().filter(|(_, of)| of == source).count() == self.0.len())
    }
}

/// Returns all triggers of this program, each with its source.
pub(super) fn all(connection: &Connection) -> Result<Vec<(String, String)>, Trouble> {
    let mut statement = connection
        .prepare_cached("SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger' ORDER BY name")?;
    let found: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let of = |(name, sql): (String, String)| source_in(&sql).map(|source| (name, source));
    Ok(found.into_iter().filter_map(of).collect())
}

/// Tells whose a trigger is: none if it is not there, no source if it is not this program's.
pub(super) fn owner(connection: &Connection, name: &str) -> Result<Option<Option<String>>, Trouble> {
    let sql = "SELECT sql FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?1 COLLATE NOCASE";
    let found: Option<String> = connection.query_row(sql, [name], |row| row.get(0)).optional()?;
    Ok(found.map(|sql| source_in(&sql)))
}

fn source_in(sql: &str) -> Option<String> {
    let line = sql.lines().find_map(|line| line.trim().strip_prefix(MARK))?;
    line.split_once(':').map(|(source, _)| source.to_owned())
}

fn add(
    triggers: &mut Vec<(String, String)>,
    connection: &Connection,
    shape: &Shape,
    table: &TableShape,
) -> Result<(), Trouble> {
    let name = &table.table;
    let columns = schema::columns(connection, name)?;
    if columns.is_empty() {
        return Err(Trouble::Schema(format!("{name} is no table")));
    }
    if !super::exists(connection, "table", name)? {
        let what = format!("{name} is a view, which triggers cannot watch: leave it to the scan");
        return Err(Trouble::Schema(what));
    }
    let root = table.parent.as_ref().map_or(&table.key.0, |(parent, _)| parent);
    let source = &shape.mapping.name;
    let mut push = |suffix: &str, event: &str, what: &str, statements: &[String]| {
        let trigger = format!("gangline_{source}_{name}_{suffix}");
        let body: Vec<String> = statements.iter().map(|statement| format!("  {statement};\n")).collect();
        let sql = format!(
            "CREATE TRIGGER {} {event} ON {}\n{MARK}{source}: {what}\nBEGIN\n{}END",
            sql::name(&trigger),
            sql::name(name),
            body.concat()
        );
        triggers.push((trigger, sql));
    };
    let of = |row: &str| format!("CAST({row}.{} AS TEXT)", sql::name(root));
    let source_text = sql::text(source);
    let note = |key: String| {
        format!(
            "INSERT INTO gangline_outbox (source, kind, key, tag, at)\n    \
             SELECT {source_text}, 'row', {key}, random(), {NOW}"
        )
    };
    let moved = format!("OLD.{0} IS NOT NEW.{0}", sql::name(root));

    let indexes = schema::unique_indexes(connection, name)?;
    let replaced = replaced(table, root, &indexes);
    if let Some((condition, unique)) = replaced {
        let table = sql::name(name);
        let statement = format!("{}\n    FROM {table} WHERE {condition}", note(of(&table)));
        let what = "REPLACE removes rows without a word";
        push("bi", "BEFORE INSERT", what, std::slice::from_ref(&statement));
        let event = format!("BEFORE UPDATE OF {}", unique.join(", "));
        push("bu", &event, what, &[statement]);
    }
    push("ai", "AFTER INSERT", "a new row", &[note(of("NEW"))]);
    let left = format!("{}\n    WHERE {moved}", note(of("OLD")));
    push("au", &updates(shape, table), "a changed row", &[note(of("NEW")), left]);
    push("ad", "AFTER DELETE", "a deleted row", &[note(of("OLD"))]);
    Ok(())
}

/// Which updates matter: those of mapped columns. What the database computes from others may change with any.
fn updates(shape: &Shape, table: &TableShape) -> String {
    if table.fields.iter().any(|field| field.is_generated) {
        return "AFTER UPDATE".to_owned();
    }
    let version = shape.mapping.root.version.as_ref().filter(|_| table.parent.is_none());
    let parent = table.parent.as_ref().map(|(parent, _)| parent);
    let fields = table.fields.iter().map(|field| &field.column);
    let columns = std::iter::once(&table.key.0).chain(parent).chain(version).chain(fields);
    let columns: Vec<String> = columns.map(|column| sql::name(column)).collect();
    format!("AFTER UPDATE OF {}", columns.join(", "))
}

/// Which other roots' rows a new row could replace: the condition, and the columns that it depends on.
fn replaced(table: &TableShape, root: &str, indexes: &[UniqueIndex]) -> Option<(String, Vec<String>)> {
    let own = sql::name(&table.table);
    let mut alternatives = Vec::new();
    let mut unique: Vec<String> = Vec::new();
    for UniqueIndex { columns, .. } in indexes {
        // A row that has the new one's root is noted anyway.
        if columns.iter().any(|(column, collation)| column.as_deref() == Some(root) && collation == "BINARY")
        {
            continue;
        }
        let equal: Option<Vec<(String, String)>> = columns
            .iter()
            .map(|(column, collation)| {
                let column = sql::name(column.as_deref()?);
                let collate = format!(" COLLATE {}", sql::name(collation));
                let collate = if collation == "BINARY" { "" } else { &collate };
                Some((format!("{own}.{column} = NEW.{column}{collate}"), column))
            })
            .collect();
        let Some(equal) = equal else { continue };
        let (conditions, columns): (Vec<String>, Vec<String>) = equal.into_iter().unzip();
        alternatives.push(format!("({})", conditions.join(" AND ")));
        for column in columns {
            if !unique.contains(&column) {
                unique.push(column);
            }
        }
    }
    let root = sql::name(root);
    let condition = format!("{own}.{root} IS NOT NEW.{root} AND ({})", alternatives.join(" OR "));
    (!alternatives.is_empty()).then_some((condition, unique))
}
