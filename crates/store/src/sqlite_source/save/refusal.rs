//! Which row and column it is that the schema refuses, and why: in words without values.

use gangline_reconcile::{BadRow, Shape, TableShape, Write, WriteAction};
use rusqlite::{Connection, Error, ErrorCode, ffi};

use super::{bad_row, condition, naming};
use crate::sqlite_source::{sql, trouble::Trouble, value};

pub(super) struct Refusal<'a> {
    pub(super) connection: &'a Connection,
    pub(super) shape: &'a Shape,
}

impl Refusal<'_> {
    /// Says what a failed statement about one row was refused for; none if the schema has nothing to do with it.
    pub(super) fn of(
        &self,
        write: &Write,
        table: &TableShape,
        error: &Error,
    ) -> Result<Option<BadRow>, Trouble> {
        let Error::SqliteFailure(failure, message) = error else { return Ok(None) };
        let message = message.as_deref().unwrap_or_default();
        let key = &table.key.0;
        let refused = |column: &str, what: String| Ok(Some(bad_row(write, column, what)));
        if failure.code == ErrorCode::TypeMismatch {
            return refused(key, "has a type that the column refuses".to_owned());
        }
        if failure.code == ErrorCode::TooBig {
            return refused(key, "is too long for the database".to_owned());
        }
        if failure.code != ErrorCode::ConstraintViolation {
            return Ok(None);
        }
        match code_of(failure.extended_code, message) {
            ffi::SQLITE_CONSTRAINT_TRIGGER => refused(key, self.trigger(message)?),
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY if write.action == WriteAction::Delete => {
                refused(key, "is named by other rows".to_owned())
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => {
                let column = self.foreign_key(write, table)?;
                refused(column.as_ref().unwrap_or(key), "names a row that is not there".to_owned())
            }
            ffi::SQLITE_CONSTRAINT_CHECK => {
                let (_, name) = message.split_once(": ").unwrap_or_default();
                let mut columns = written(write, table);
                let only = columns.next().filter(|_| columns.next().is_none());
                refused(only.unwrap_or(key), format!("breaks the check {name}"))
            }
            code => {
                let columns = columns_in(message, table);
                // A person can change what the document has: in an index, that is its last as a rule.
                let column = columns.iter().rev().find(|column| table.field(column).is_some());
                let Some(column) = column.or(columns.first()).copied() else {
                    return refused(key, format!("is refused: {message}"));
                };
                let parent = table.parent.as_ref().map(|(parent, _)| parent.as_str());
                let others = columns.into_iter().filter(|other| *other != column && Some(*other) != parent);
                refused(column, what(code, message, &others.collect::<Vec<_>>()))
            }
        }
    }

    /// A trigger's message, if it stands in the schema as it is: then it holds no value.
    fn trigger(&self, message: &str) -> Result<String, Trouble> {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'trigger' AND instr(sql, ?1) > 0)";
        let is_fixed: bool = self.connection.query_row(sql, [sql::text(message)], |row| row.get(0))?;
        let what = "is refused by a trigger";
        Ok(if is_fixed { format!("{what}: {message}") } else { what.to_owned() })
    }

    /// The column that names another row, if the statement has set just one of those.
    fn foreign_key(&self, write: &Write, table: &TableShape) -> Result<Option<String>, Trouble> {
        let mut statement = self.connection.prepare("SELECT \"from\" FROM pragma_foreign_key_list(?1)")?;
        let names = statement.query_map([&table.table], |row| row.get(0))?;
        let names: Vec<String> = names.collect::<Result<_, _>>()?;
        let mut set: Vec<&str> = written(write, table).collect();
        if let (WriteAction::Insert(_), Some((parent, _))) = (&write.action, &table.parent) {
            set.push(parent);
        }
        let mut found = names.into_iter().filter(|name| set.contains(&name.as_str()));
        Ok(found.next().filter(|_| found.next().is_none()))
    }

    /// Finds, at the end of a transaction, a row that names one which is not there; or it is the one that was refused
    /// before.
    pub(super) fn dangling(&self, writes: &[Write], before: Option<BadRow>) -> Result<BadRow, Trouble> {
        for write in writes {
            let Some(table) = self.shape.at(write.list).filter(|_| write.action != WriteAction::Delete)
            else {
                continue;
            };
            if let Some(column) = self.dangles(write, table)? {
                return Ok(bad_row(write, &column, "names a row that is not there"));
            }
        }
        if let Some(bad) = self.still_named(writes)? {
            return Ok(bad);
        }
        if let Some(bad) = before {
            return Ok(bad);
        }
        // Then it is a row that this mapping does not have.
        let is_delete = |write: &&Write| write.action == WriteAction::Delete;
        let write = writes.iter().find(is_delete).or(writes.first());
        let refused = |write: &Write| {
            let key = self.shape.at(write.list).map(|table| table.key.0.clone()).unwrap_or_default();
            bad_row(write, &key, "is named by other rows")
        };
        let nobody =
            || BadRow { list: None, key: None, column: String::new(), what: "is refused".to_owned() };
        Ok(write.map_or_else(nobody, refused))
    }

    /// A row that is deleted, and whose key others have.
    fn still_named(&self, writes: &[Write]) -> Result<Option<BadRow>, Trouble> {
        let namings = naming::all(self.connection)?;
        for write in writes.iter().filter(|write| write.action == WriteAction::Delete) {
            let Some(table) = self.shape.at(write.list) else { continue };
            let key = &table.key.0;
            let from = sql::name(&table.table);
            for naming in namings.iter().filter(|naming| naming.goes_by_alone(&table.table, key)) {
                let is_named = naming.is_named(Some((key, "?1")));
                let is_gone = format!("NOT EXISTS (SELECT 1 FROM main.{from} WHERE {})", condition(key, 1));
                let sql = format!("SELECT {is_named} AND {is_gone}");
                let mut statement = self.connection.prepare_cached(&sql)?;
                if statement.query_row([value::search(table.key.1, &write.key)], |row| row.get(0))? {
                    return Ok(Some(bad_row(write, key, "is named by other rows")));
                }
            }
        }
        Ok(None)
    }

    /// The column of a written row that names a row which is not there.
    fn dangles(&self, write: &Write, table: &TableShape) -> Result<Option<String>, Trouble> {
        let mut statement = self.connection.prepare(
            "SELECT id, \"from\", \"table\", coalesce(\"to\", \
             (SELECT name FROM pragma_table_info(\"table\") WHERE pk = 1)) \
             FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
        )?;
        let keys = statement.query_map([&table.table], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, Option<String>>(3)?))
        })?;
        let keys: Vec<(i64, String, String, Option<String>)> = keys.collect::<Result<_, _>>()?;
        for (id, from, target, to) in &keys {
            let is_alone = keys.iter().filter(|(other, ..)| other == id).count() == 1;
            let Some(to) = to.as_ref().filter(|_| is_alone) else { continue };
            let (own, target) = (sql::name(&table.table), sql::name(target));
            let (from_name, to_name, key) = (sql::name(from), sql::name(to), sql::name(&table.key.0));
            let dangles = format!(
                "SELECT EXISTS (SELECT 1 FROM main.{own} AS own WHERE own.{key} = ?1 AND own.{from_name} IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM main.{target} AS target WHERE target.{to_name} = own.{from_name}))"
            );
            if self
                .connection
                .query_row(&dangles, [value::search(table.key.1, &write.key)], |row| row.get(0))?
            {
                return Ok(Some(from.clone()));
            }
        }
        Ok(None)
    }
}

/// The columns that a write sets.
fn written<'a>(write: &'a Write, table: &'a TableShape) -> impl Iterator<Item = &'a str> {
    let values = match &write.action {
        WriteAction::Insert(values) | WriteAction::Update(values) => values.as_slice(),
        WriteAction::Delete => &[],
    };
    values.iter().filter_map(|(at, _)| table.fields.get(*at)).map(|field| field.column.as_str())
}

/// The columns of a table that SQLite names, as in `UNIQUE constraint failed: jobs.workflow_id, jobs.name`.
fn columns_in<'a>(message: &'a str, table: &TableShape) -> Vec<&'a str> {
    let names = message.split_once(": ").map_or(message, |(_, names)| names);
    let names = names.strip_prefix("cannot store ").and_then(|rest| rest.rsplit(' ').next()).unwrap_or(names);
    let prefix = format!("{}.", table.table);
    names.split(", ").filter_map(|name| name.strip_prefix(&*prefix)).collect()
}

/// What SQLite says, which is made of names in the schema.
fn what(code: std::ffi::c_int, message: &str, others: &[&str]) -> String {
    match code {
        ffi::SQLITE_CONSTRAINT_NOTNULL => "may not be null".to_owned(),
        _ if is_unique(code) => {
            let others = if others.is_empty() {
                String::new()
            } else {
                format!(", together with {}", others.join(", "))
            };
            format!("is there in another row{others}")
        }
        ffi::SQLITE_CONSTRAINT_DATATYPE => "has a type that the column refuses".to_owned(),
        _ => format!("is refused: {message}"),
    }
}

fn is_unique(code: std::ffi::c_int) -> bool {
    [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY, ffi::SQLITE_CONSTRAINT_ROWID]
        .contains(&code)
}

/// SQLite's code, with that of foreign keys for those that may not be left to the end, which it holds as triggers.
fn code_of(code: std::ffi::c_int, message: &str) -> std::ffi::c_int {
    let is_restrict = code == ffi::SQLITE_CONSTRAINT_TRIGGER && message == "FOREIGN KEY constraint failed";
    if is_restrict { ffi::SQLITE_CONSTRAINT_FOREIGNKEY } else { code }
}

/// Whether another write of the same save may make way for a statement: with the columns of the unique index that
/// refuses it, as far as SQLite names them.
pub(super) fn waits_for(table: &TableShape, error: &Error) -> Option<Vec<String>> {
    let Error::SqliteFailure(failure, message) = error else { return None };
    let message = message.as_deref().unwrap_or_default();
    match code_of(failure.extended_code, message) {
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Some(Vec::new()),
        code if is_unique(code) => Some(columns_in(message, table).into_iter().map(str::to_owned).collect()),
        _ => None,
    }
}
