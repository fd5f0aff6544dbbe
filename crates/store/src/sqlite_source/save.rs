//! Saving: one transaction that compares, writes and reads again.
//!
//! Foreign keys that the schema declares are held, whether or not other programs hold them: what cannot be told from
//! here is whether somebody counts on the opposite, and rows that point nowhere are what a save must not add.

mod naming;
mod order;
mod refusal;

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::JsonValue;
use gangline_reconcile::{
    BadRow, Row, Rows, SaveOutcome, SaveRequest, Shape, TableShape, Write, WriteAction,
};
use rusqlite::{Connection, ErrorCode, Transaction, params, params_from_iter, types::Value};

use self::refusal::Refusal;
use super::{outbox, read, sql, trouble::Trouble, value};
use crate::sqlite_commit::certainly_not_committed;

/// Why nothing is written.
enum Stop {
    Refused(BadRow),
    /// As things are; another write of this save may change that. With the columns of the unique index, if it is one.
    Waits(BadRow, Vec<String>),
    Moved,
    Trouble(Trouble),
}

impl<E: Into<Trouble>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Trouble(error.into())
    }
}

/// Compares, writes, reads and commits; `is_noted` tells whether an outbox keeps the ids of saves.
pub(super) fn save(
    transaction: Transaction<'_>,
    shape: &Shape,
    request: &SaveRequest,
    is_noted: &dyn Fn(&Connection) -> Result<bool, Trouble>,
) -> Result<SaveOutcome, Trouble> {
    let before = read::rows(&transaction, shape, &request.root)?;
    if !agree(&request.expected, &before) {
        return Ok(SaveOutcome::Moved(before));
    }
    if request.writes.is_empty() {
        return Ok(SaveOutcome::Saved(before));
    }
    let refused =
        match (Saving { connection: &transaction, shape, request, before: &before, is_noted }).write() {
            Ok((after, dangling)) => match commit(transaction, shape, request, dangling)? {
                None => return Ok(SaveOutcome::Saved(after)),
                Some(refused) => refused,
            },
            Err(Stop::Refused(refused) | Stop::Waits(refused, _)) => refused,
            Err(Stop::Moved) => return Ok(SaveOutcome::Moved(before)),
            Err(Stop::Trouble(trouble)) => return Err(trouble),
        };
    Ok(SaveOutcome::Refused(refused))
}

/// Commits, or tells which row it is that the schema refuses only at the end; `dangling` may be one.
fn commit(
    transaction: Transaction<'_>,
    shape: &Shape,
    request: &SaveRequest,
    dangling: Option<BadRow>,
) -> Result<Option<BadRow>, Trouble> {
    // Not `commit`, which takes the transaction away: a row is to be named while it is still there.
    match transaction.execute_batch("COMMIT") {
        Ok(()) => Ok(None),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            let refusal = Refusal { connection: &transaction, shape };
            Ok(Some(refusal.dangling(&request.writes, dangling)?))
        }
        Err(error) if certainly_not_committed(&error) => Err(error.into()),
        Err(error) => Err(Trouble::Unknown(error)),
    }
}

/// One save under way.
struct Saving<'a> {
    connection: &'a Connection,
    shape: &'a Shape,
    request: &'a SaveRequest,
    before: &'a Rows,
    /// Whether an outbox keeps the ids of saves.
    is_noted: &'a dyn Fn(&Connection) -> Result<bool, Trouble>,
}

impl Saving<'_> {
    /// Writes all, and returns the rows as they are then, with a row of which a foreign key may turn out not to hold.
    fn write(&self) -> Result<(Rows, Option<BadRow>), Stop> {
        let Self { connection, shape, request, .. } = self;
        for write in &request.writes {
            self.check(write)?;
        }
        let dangling = self.all()?;
        self.raise_version()?;
        if (self.is_noted)(connection)? {
            outbox::note_save(connection, shape, &request.save_id)?;
        }
        let after = read::rows(connection, shape, &request.root)?;
        match self.lost(&after) {
            Some(lost) => Err(Stop::Refused(lost)),
            None => Ok((after, dangling)),
        }
    }

    /// A row that was inserted and is not there under its name: a column has made something else of the key or of the
    /// root's, as one with numeric affinity makes 7 of `007`. It would be another root's row, or a stranger.
    fn lost(&self, after: &Rows) -> Option<BadRow> {
        let mut inserted: BTreeMap<(Option<usize>, &str), &Write> = BTreeMap::new();
        for write in &self.request.writes {
            match write.action {
                WriteAction::Insert(_) => drop(inserted.insert((write.list, &write.key), write)),
                WriteAction::Update(_) => {}
                WriteAction::Delete => drop(inserted.remove(&(write.list, write.key.as_str()))),
            }
        }
        let is_there = |list: Option<usize>, key: &str| match list {
            None => after.root.is_some(),
            Some(list) => after.lists.get(list).is_some_and(|rows| rows.contains_key(key)),
        };
        inserted.retain(|(list, key), _| !is_there(*list, key) && !after.is_bad(*list, key));
        let write = inserted.into_values().next()?;
        let table = self.shape.at(write.list)?;
        Some(bad_row(write, &table.key.0, "is not kept under this name, or not for this root"))
    }

    /// Refuses what can be refused before anything is written.
    fn check(&self, write: &Write) -> Result<(), Stop> {
        let Some(table) = self.shape.at(write.list) else {
            return Err(
                Trouble::Schema("a save names a list that the mapping does not have".to_owned()).into()
            );
        };
        let bad = self.before.bad.iter().chain(&self.request.expected.bad);
        let mut bad = bad.filter(|bad| bad.list == write.list && bad.key.as_ref() == Some(&write.key));
        if let Some(bad) = bad.next() {
            return Err(Stop::Refused(bad.clone()));
        }
        let refuse = |column: &str, what: &str| Err(Stop::Refused(bad_row(write, column, what)));
        if is_view(self.connection, &table.table)? {
            return refuse(&table.key.0, "is in a view, which cannot be written");
        }
        let is_root_there = self.before.root.is_some() || self.before.is_bad(None, &self.request.root);
        match write.list {
            None if write.key != self.request.root => refuse(&table.key.0, "is another root"),
            Some(_) if !is_root_there && !self.is_root_added() => {
                refuse(&table.key.0, "belongs to a root that is gone")
            }
            _ => Ok(()),
        }
    }

    fn is_root_added(&self) -> bool {
        let mut writes = self.request.writes.iter();
        writes.any(|write| write.list.is_none() && matches!(write.action, WriteAction::Insert(_)))
    }

    fn one(&self, write: &Write) -> Result<(), Stop> {
        let Some(table) = self.shape.at(write.list) else { return Ok(()) };
        match &write.action {
            WriteAction::Insert(values) => match self.insert(write, table, values)? {
                0 if !self.is_there(write)? => {
                    let what = "is not taken by the database, which says nothing of it: see its triggers";
                    Err(Stop::Refused(bad_row(write, &table.key.0, what)))
                }
                _ => Ok(()),
            },
            WriteAction::Update(values) if values.is_empty() => Ok(()),
            WriteAction::Update(values) => match self.update(write, table, values)? {
                1 => Ok(()),
                0 if self.is_there(write)? => Err(self.kept(write, table)),
                0 if self.was_there(write) => {
                    let what = "goes with another row that is deleted or changed";
                    Err(Stop::Refused(bad_row(write, &table.key.0, what)))
                }
                _ => Err(Stop::Moved),
            },
            WriteAction::Delete => match self.delete(write, table)? {
                0 if self.is_there(write)? => Err(self.kept(write, table)),
                // It was there before, so an earlier write of this save has brought it about, as by a cascade.
                0 if self.was_there(write) => Ok(()),
                1 => Ok(()),
                _ => Err(Stop::Moved),
            },
        }
    }

    /// A statement went through and has touched nothing, although the row is there.
    fn kept(&self, write: &Write, table: &TableShape) -> Stop {
        let set = match &write.action {
            WriteAction::Update(values) | WriteAction::Insert(values) => values.as_slice(),
            WriteAction::Delete => &[],
        };
        let column = match set {
            [(at, _)] => table.fields.get(*at).map(|field| &field.column),
            _ => None,
        };
        let what = "is kept as it is by the database, which says nothing of it: see its triggers";
        Stop::Refused(bad_row(write, column.unwrap_or(&table.key.0), what))
    }

    /// Whether a row is there now, and belongs to the root.
    fn is_there(&self, write: &Write) -> Result<bool, Stop> {
        let Some(table) = self.shape.at(write.list) else { return Ok(false) };
        let (found, keys) = self.found(write, table, 0);
        let sql = format!("SELECT EXISTS (SELECT 1 FROM main.{} WHERE {found})", sql::name(&table.table));
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_row(params_from_iter(keys), |row| row.get(0))?)
    }

    fn insert(
        &self,
        write: &Write,
        table: &TableShape,
        values: &[(usize, JsonValue)],
    ) -> Result<usize, Stop> {
        let refuse = |column: &str, what| Stop::Refused(bad_row(write, column, what));
        let (key, kind) = &table.key;
        let mut columns = vec![key.as_str()];
        let mut bound = vec![value::bind_key(*kind, &write.key).map_err(|what| refuse(key, what))?];
        // Where the key is the parent column, it is named once.
        if let Some((parent, kind)) = table.parent.as_ref().filter(|(parent, _)| parent != key) {
            columns.push(parent);
            bound.push(value::bind_key(*kind, &self.request.root).map_err(|what| refuse(parent, what))?);
        } else if let Some(version) =
            self.shape.mapping.root.version.as_ref().filter(|_| table.parent.is_none())
        {
            columns.push(version);
            bound.push(Value::Integer(1));
        }
        for (column, value) in self.bind(write, table, values)? {
            columns.push(column);
            bound.push(value);
        }
        let names: Vec<String> = columns.iter().map(|column| sql::name(column)).collect();
        let places: Vec<String> = (1..=names.len()).map(|place| format!("?{place}")).collect();
        let sql = format!(
            "INSERT INTO main.{} ({}) VALUES ({})",
            sql::name(&table.table),
            names.join(", "),
            places.join(", ")
        );
        self.execute(write, table, &sql, bound)
    }

    fn update(
        &self,
        write: &Write,
        table: &TableShape,
        values: &[(usize, JsonValue)],
    ) -> Result<usize, Stop> {
        let bound = self.bind(write, table, values)?;
        let set: Vec<String> = bound
            .iter()
            .enumerate()
            .map(|(place, (column, _))| format!("{} = ?{}", sql::name(column), place + 1))
            .collect();
        let bound: Vec<Value> = bound.into_iter().map(|(_, value)| value).collect();
        let (found, keys) = self.found(write, table, bound.len());
        let sql = format!("UPDATE main.{} SET {} WHERE {found}", sql::name(&table.table), set.join(", "));
        self.execute(write, table, &sql, bound.into_iter().chain(keys).collect())
    }

    fn delete(&self, write: &Write, table: &TableShape) -> Result<usize, Stop> {
        let (found, keys) = self.found(write, table, 0);
        let sql = format!("DELETE FROM main.{} WHERE {found}", sql::name(&table.table));
        self.execute(write, table, &sql, keys)
    }

    /// The row of this key, if it belongs to the root: as a condition whose parameters come after `count` others.
    fn found(&self, write: &Write, table: &TableShape, count: usize) -> (String, Vec<Value>) {
        let (key, kind) = &table.key;
        let mut condition = condition(key, count + 1);
        let mut values = vec![value::search(*kind, &write.key)];
        if let Some((parent, kind)) = &table.parent {
            condition = format!("{condition} AND {}", self::condition(parent, count + 2));
            values.push(value::search(*kind, &self.request.root));
        }
        (condition, values)
    }

    fn bind<'t>(
        &self,
        write: &Write,
        table: &'t TableShape,
        values: &[(usize, JsonValue)],
    ) -> Result<Vec<(&'t str, Value)>, Stop> {
        let mut bound = Vec::with_capacity(values.len());
        for (at, value) in values {
            let Some(field) = table.fields.get(*at) else {
                let what =
                    format!("a save names field {at} of {}, which the mapping does not have", table.table);
                return Err(Trouble::Schema(what).into());
            };
            let refuse = |what| Stop::Refused(bad_row(write, &field.column, what));
            if field.is_generated {
                return Err(refuse("is computed by the database"));
            }
            bound.push((field.column.as_str(), value::bind(field.kind, value).map_err(refuse)?));
        }
        Ok(bound)
    }

    /// Executes a statement about one row, and returns how many it has touched.
    fn execute(
        &self,
        write: &Write,
        table: &TableShape,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<usize, Stop> {
        let mut statement = self.connection.prepare_cached(sql)?;
        match statement.execute(params_from_iter(values)) {
            Ok(count) => Ok(count),
            Err(error) => {
                let refusal = Refusal { connection: self.connection, shape: self.shape };
                match refusal.of(write, table, &error)? {
                    Some(refused) => Err(match refusal::waits_for(table, &error) {
                        Some(columns) => Stop::Waits(refused, columns),
                        None => Stop::Refused(refused),
                    }),
                    None => Err(error.into()),
                }
            }
        }
    }

    fn was_there(&self, write: &Write) -> bool {
        match write.list {
            None => self.before.root.is_some(),
            Some(list) => self.before.lists.get(list).is_some_and(|rows| rows.contains_key(&write.key)),
        }
    }

    /// Raises the version of a root that was there and is.
    fn raise_version(&self) -> Result<(), Stop> {
        let Some(column) = &self.shape.mapping.root.version else { return Ok(()) };
        let write =
            Write { list: None, key: self.request.root.clone(), action: WriteAction::Update(Vec::new()) };
        if self.is_root_added() {
            return Ok(());
        }
        let bad = self.before.bad.iter().find(|bad| bad.list.is_none() && bad.column == *column);
        if let Some(bad) = bad {
            return Err(Stop::Refused(bad.clone()));
        }
        let Some(version) = self.before.version.unwrap_or(0).checked_add(1) else {
            return Err(Stop::Refused(bad_row(&write, column, "cannot be raised any further")));
        };
        let table = &self.shape.root;
        let (found, keys) = self.found(&write, table, 1);
        let sql =
            format!("UPDATE main.{} SET {} = ?1 WHERE {found}", sql::name(&table.table), sql::name(column));
        let values = std::iter::once(Value::Integer(version)).chain(keys).collect();
        self.execute(&write, table, &sql, values).map(drop)
    }
}

/// A column has a value: by its own collation, so that an index helps, and by the bytes, so that it is exact.
fn condition(column: &str, place: usize) -> String {
    let column = sql::name(column);
    format!("{column} = ?{place} AND {column} COLLATE BINARY = ?{place}")
}

fn is_view(connection: &Connection, table: &str) -> Result<bool, Trouble> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'view' AND name = ?1 COLLATE NOCASE)";
    Ok(connection.prepare_cached(sql)?.query_row(params![table], |row| row.get(0))?)
}

fn bad_row(write: &Write, column: &str, what: impl Into<String>) -> BadRow {
    BadRow { list: write.list, key: Some(write.key.clone()), column: column.to_owned(), what: what.into() }
}

/// Whether the rows are those that were expected. Of a row that either side could not read nothing is known; versions
/// are not compared.
fn agree(expected: &Rows, found: &Rows) -> bool {
    let bad: BTreeSet<(Option<usize>, &str)> = expected
        .bad
        .iter()
        .chain(&found.bad)
        .filter_map(|bad| Some((bad.list, bad.key.as_deref()?)))
        .collect();
    let is_root_bad = bad.iter().any(|(list, _)| list.is_none());
    if !is_root_bad && !is_same(expected.root.as_ref(), found.root.as_ref()) {
        return false;
    }
    let none = BTreeMap::new();
    (0..expected.lists.len().max(found.lists.len())).all(|list| {
        let (expected, found) = (expected.lists.get(list), found.lists.get(list));
        let (expected, found) = (expected.unwrap_or(&none), found.unwrap_or(&none));
        let keys = expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key)));
        keys.filter(|key| !bad.contains(&(Some(list), key.as_str())))
            .all(|key| is_same(expected.get(key), found.get(key)))
    })
}

fn is_same(one: Option<&Row>, other: Option<&Row>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same_value(one, other))
        }
        _ => false,
    }
}

fn is_same_value(one: &JsonValue, other: &JsonValue) -> bool {
    match (one.as_str(), other.as_str()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
