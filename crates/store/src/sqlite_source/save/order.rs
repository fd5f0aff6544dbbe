//! In which order the writes of a save are carried out.
//!
//! As they come, where nothing speaks against it. A value that is unique may move from row to row, though: then the row
//! that has it goes first, and the one that wants it waits. SQLite undoes a statement that it refuses, and no more than
//! that. Where that takes long, or rows wait for each other in a circle, foreign keys are left to the end of the
//! transaction, and if that does not help a row is parked: it has a free value until its turn. Nobody else ever sees
//! that, but triggers do.
//!
//! What a delete takes along is not known before. If a row goes that is still to be changed, all is undone and carried
//! out again, with an eye on that row: to look after each delete for all rows would take too long for long lists.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::JsonValue;
use gangline_reconcile::{BadRow, ColumnKind, FieldShape, TableShape, Write, WriteAction};
use rusqlite::{Error, ErrorCode, params_from_iter, types::Value};

use super::{
    Saving, Stop, bad_row, condition,
    naming::{self, Naming},
};
use crate::sqlite_source::{sql, value};

/// How often it goes round for writes of which SQLite does not tell what they wait for.
const ROUNDS_MAX: usize = 100;

/// How many of these go by order alone: of rows that each name the next, a round may settle no more than one.
const ROUNDS_OF_ORDER: usize = 2;

/// Of so many rows that have a value it is looked at whether they are still to be written.
const HOLDERS_MAX: usize = 16;

const NULL: &str = "NULL";

/// What may be done to get on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    Order,
    ForeignKeysLast,
    Parking,
}

/// How far the writes are.
struct Round<'a> {
    saving: &'a Saving<'a>,
    /// Writes, by the list and the row's key.
    places: BTreeMap<(Option<usize>, &'a str), usize>,
    done: BTreeSet<usize>,
    /// Updates still to be done whose rows went with others before they were: no delete may take these along.
    endangered: BTreeSet<usize>,
    /// Updates that did so this time.
    lost: BTreeSet<usize>,
    /// What has been refused in this round.
    put_off: BTreeMap<usize, BadRow>,
    /// The first of these that waits for nothing that is to be written.
    culprit: Option<BadRow>,
    /// Rows with the columns that hold a free value.
    parked: BTreeSet<(usize, &'a str)>,
    /// The database's foreign keys, once it is not by order alone.
    namings: Vec<Naming>,
    means: Means,
}

impl Saving<'_> {
    /// Carries out all writes. Returns what was refused before foreign keys were left to the end.
    pub(super) fn all(&self) -> Result<Option<BadRow>, Stop> {
        let mut endangered = BTreeSet::new();
        loop {
            self.connection.execute_batch("SAVEPOINT gangline_all")?;
            let mut round = Round::new(self, endangered.clone());
            let outcome = round.all();
            let is_over = self.connection.is_autocommit() || matches!(outcome, Err(Stop::Trouble(_)));
            if round.lost.is_empty() || is_over {
                if outcome.is_ok() {
                    self.connection.execute_batch("RELEASE gangline_all")?;
                }
                return outcome;
            }
            self.connection.execute_batch(
                "ROLLBACK TO gangline_all; RELEASE gangline_all; PRAGMA defer_foreign_keys = OFF",
            )?;
            endangered.append(&mut round.lost);
        }
    }
}

impl<'a> Round<'a> {
    fn new(saving: &'a Saving<'a>, endangered: BTreeSet<usize>) -> Self {
        let writes = saving.request.writes.iter().enumerate();
        Self {
            saving,
            places: writes.map(|(at, write)| ((write.list, write.key.as_str()), at)).collect(),
            done: BTreeSet::new(),
            endangered,
            lost: BTreeSet::new(),
            put_off: BTreeMap::new(),
            culprit: None,
            parked: BTreeSet::new(),
            namings: Vec::new(),
            means: Means::Order,
        }
    }

    /// Goes round until all is carried out, or a row is lost that is to be changed.
    fn all(&mut self) -> Result<Option<BadRow>, Stop> {
        let mut dangling = None;
        for count in 1..=ROUNDS_MAX {
            let before = self.done.len() + self.parked.len();
            self.go()?;
            if self.put_off.is_empty() || !self.lost.is_empty() {
                return Ok(dangling);
            }
            let is_further = self.done.len() + self.parked.len() > before;
            if is_further && (self.means != Means::Order || count < ROUNDS_OF_ORDER) {
                continue;
            }
            self.means = match self.means {
                Means::Order => {
                    dangling = self.put_off.first_key_value().map(|(_, bad)| bad.clone());
                    self.saving.connection.execute_batch("PRAGMA defer_foreign_keys = ON")?;
                    self.namings = naming::all(self.saving.connection)?;
                    Means::ForeignKeysLast
                }
                Means::ForeignKeysLast => Means::Parking,
                Means::Parking => break,
            };
        }
        let refused = self.culprit.take().or_else(|| self.put_off.pop_first().map(|(_, bad)| bad));
        refused.map_or(Ok(None), |bad| Err(Stop::Refused(bad)))
    }

    fn write(&self, at: usize) -> Option<(&'a Write, &'a TableShape)> {
        let write = self.saving.request.writes.get(at)?;
        Some((write, self.saving.shape.at(write.list)?))
    }

    fn go(&mut self) -> Result<(), Stop> {
        self.put_off.clear();
        self.culprit = None;
        for at in self.endangered.clone().into_iter().chain(0..self.saving.request.writes.len()) {
            if !self.done.contains(&at) && !self.put_off.contains_key(&at) {
                self.settle(at)?;
            }
        }
        Ok(())
    }

    /// Carries out a write after those that it has to wait for, or puts it off.
    fn settle(&mut self, at: usize) -> Result<(), Stop> {
        // Each with the columns that the one before it wants of it.
        let mut waiting: Vec<(usize, Vec<String>)> = vec![(at, Vec::new())];
        let mut is_waiting = BTreeSet::from([at]);
        while let Some((top, wanted)) = waiting.last() {
            let top = *top;
            let (bad, columns) = match self.attempt(top) {
                Ok(()) => {
                    is_waiting.remove(&top);
                    waiting.pop();
                    continue;
                }
                Err(Stop::Waits(bad, columns)) => (bad, columns),
                Err(stop) => return Err(stop),
            };
            // Some conflict clauses take the whole transaction away.
            if self.saving.connection.is_autocommit() {
                return Err(Stop::Refused(bad));
            }
            match self.holder(top, &columns)? {
                Some(next) if !is_waiting.contains(&next) && !self.put_off.contains_key(&next) => {
                    is_waiting.insert(next);
                    waiting.push((next, columns));
                    continue;
                }
                Some(next) if self.park(next, &columns)? => continue,
                None if columns.is_empty() && self.park(top, wanted)? => {
                    is_waiting.remove(&top);
                    waiting.pop();
                    self.put_off.insert(top, bad);
                    continue;
                }
                None if !columns.is_empty() && self.culprit.is_none() => self.culprit = Some(bad.clone()),
                Some(_) | None => {}
            }
            self.put_off.extend(waiting.drain(..).map(|(at, _)| (at, bad.clone())));
        }
        Ok(())
    }

    fn attempt(&mut self, at: usize) -> Result<(), Stop> {
        let Some((write, table)) = self.write(at) else { return Ok(()) };
        let outcome = if write.action == WriteAction::Delete && !self.endangered.is_empty() {
            self.delete(write, table)
        } else {
            self.saving.one(write)
        };
        if matches!(outcome, Err(Stop::Refused(_))) && self.is_lost(at, write)? {
            self.lost.insert(at);
        } else {
            outcome?;
        }
        self.endangered.remove(&at);
        self.done.insert(at);
        Ok(())
    }

    /// Whether a row has gone with another one, for the first time.
    fn is_lost(&self, at: usize, write: &Write) -> Result<bool, Stop> {
        Ok(matches!(write.action, WriteAction::Update(_))
            && !self.endangered.contains(&at)
            && self.saving.was_there(write)
            && !self.saving.is_there(write)?)
    }

    /// Deletes a row, unless an endangered one goes with it: that one may be about to name another.
    fn delete(&self, write: &Write, table: &TableShape) -> Result<(), Stop> {
        let connection = self.saving.connection;
        connection.execute_batch("SAVEPOINT gangline_delete")?;
        let before = connection.total_changes();
        let mut outcome = self.saving.one(write);
        if outcome.is_ok() && connection.total_changes() > before + 1 && self.has_lost_an_update()? {
            let what = "takes rows along that are to be changed";
            outcome = Err(Stop::Waits(bad_row(write, &table.key.0, what), Vec::new()));
        }
        // A trigger may have taken the savepoint away, with the whole transaction.
        if outcome.is_err() && !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK TO gangline_delete; RELEASE gangline_delete")?;
        } else if outcome.is_ok() {
            connection.execute_batch("RELEASE gangline_delete")?;
        }
        outcome
    }

    fn has_lost_an_update(&self) -> Result<bool, Stop> {
        for write in self.endangered.iter().filter_map(|at| self.saving.request.writes.get(*at)) {
            if !self.saving.is_there(write)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The write of a row that has, in a unique index, what this write wants to have: if it is still to be done.
    fn holder(&self, at: usize, columns: &[String]) -> Result<Option<usize>, Stop> {
        let Some((write, table)) = self.write(at).filter(|_| !columns.is_empty()) else { return Ok(None) };
        let (set, is_insert) = match &write.action {
            WriteAction::Insert(values) => (values.as_slice(), true),
            WriteAction::Update(values) => (values.as_slice(), false),
            WriteAction::Delete => return Ok(None),
        };
        let set = self.saving.bind(write, table, set)?;
        let mut values = vec![value::search(table.key.1, &write.key)];
        let mut conditions = Vec::new();
        for column in columns {
            let name = sql::name(column);
            let parent = table.parent.as_ref().filter(|(parent, _)| parent == column);
            let wanted = match (set.iter().find(|(set, _)| set == column), parent) {
                (Some((_, value)), _) => Some(value.clone()),
                (None, _) if !is_insert => None,
                (None, _) if *column == table.key.0 => Some(value::search(table.key.1, &write.key)),
                (None, Some((_, kind))) => Some(value::search(*kind, &self.saving.request.root)),
                // A default, of which nothing is known here.
                (None, None) => return Ok(None),
            };
            conditions.push(if let Some(wanted) = wanted {
                values.push(wanted);
                format!("{name} = ?{}", values.len())
            } else {
                let own = condition(&table.key.0, 1);
                format!("{name} = (SELECT {name} FROM main.{} WHERE {own})", sql::name(&table.table))
            });
        }
        let (key, from) = (sql::name(&table.key.0), sql::name(&table.table));
        // The first parameter is used, whatever the conditions are.
        let sql = format!(
            "SELECT {key} FROM main.{from} WHERE {} AND ?1 IS NOT NULL LIMIT {HOLDERS_MAX}",
            conditions.join(" AND ")
        );
        let mut statement = self.saving.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let Ok(key) = value::key(table.key.1, row.get_ref(0)?) else { continue };
            let found = self.places.get(&(write.list, &*key)).copied();
            if let Some(found) = found.filter(|found| *found != at && !self.done.contains(found)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Gives one of the columns of a row a free value: the write that is to come puts it right, or deletes the row.
    fn park(&mut self, at: usize, columns: &[String]) -> Result<bool, Stop> {
        let Some((write, table)) = self.write(at).filter(|_| self.means == Means::Parking) else {
            return Ok(false);
        };
        for column in columns.iter().rev() {
            let Some((place, field)) = table.field(column).and_then(|at| Some((at, table.fields.get(at)?)))
            else {
                continue;
            };
            let is_put_right = match &write.action {
                WriteAction::Update(values) => values.iter().any(|(at, _)| *at == place),
                WriteAction::Delete => !field.is_generated,
                WriteAction::Insert(_) => false,
            };
            if !is_put_right || self.parked.contains(&(at, &*field.column)) {
                continue;
            }
            for free in self.free_values((write.list, table), (place, field), columns) {
                if self.try_to_park(write, table, field, &free)? {
                    self.parked.insert((at, &field.column));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn try_to_park(
        &self,
        write: &Write,
        table: &TableShape,
        field: &FieldShape,
        free: &str,
    ) -> Result<bool, Stop> {
        let (found, mut values) = self.saving.found(write, table, 1);
        let (from, column) = (sql::name(&table.table), sql::name(&field.column));
        let spared = self.spared(write, table, field, free);
        let sql =
            format!("UPDATE main.{from} SET {column} = {free} WHERE {found} AND ?1 IS NOT NULL{spared}");
        values.insert(0, Value::Text(self.saving.request.save_id.clone()));
        match self.saving.connection.prepare_cached(&sql)?.execute(params_from_iter(values)) {
            Ok(count) => Ok(count == 1),
            Err(Error::SqliteFailure(failure, _)) if failure.code == ErrorCode::ConstraintViolation => {
                if self.saving.connection.is_autocommit() {
                    return Err(Stop::Refused(bad_row(write, &field.column, "is there in another row")));
                }
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What has to hold for rows that name a parked one: that what becomes of them is what its write alone would make
    /// of them. As a condition that goes on.
    fn spared(&self, write: &Write, table: &TableShape, field: &FieldShape, free: &str) -> String {
        let (is_null, is_delete) = (free == NULL, write.action == WriteAction::Delete);
        let mut conditions = String::new();
        for naming in self.namings.iter().filter(|naming| naming.goes_by(&table.table, &field.column)) {
            let does_harm = match &*naming.on_update {
                // They follow, and come back with the row; out of NULL nothing comes back.
                "CASCADE" => is_null,
                // An update does the same to them. A deleted row they have left by then.
                then => is_delete && then != naming.on_delete,
            };
            if does_harm {
                conditions.push_str(&format!(" AND NOT {}", naming.is_named(None)));
            }
            // Rows that name one which is not there would be taken along.
            if !is_null {
                let instead = Some((&*field.column, free));
                conditions.push_str(&format!(" AND NOT {}", naming.is_named(instead)));
            }
        }
        conditions
    }

    /// Values that no row has nor will have, as SQL in which the first parameter is the name of the save.
    fn free_values(
        &self,
        (list, table): (Option<usize>, &TableShape),
        (place, field): (usize, &FieldShape),
        columns: &[String],
    ) -> Vec<String> {
        let (from, column) = (sql::name(&table.table), sql::name(&field.column));
        let mut values = Vec::new();
        if field.is_nullable {
            values.push(NULL.to_owned());
        }
        // Within the rows that have the index's other columns alike, for which the index is of use.
        let alike = columns.iter().filter(|other| **other != field.column).map(|other| {
            let other = sql::name(other);
            format!(" AND other.{other} = {from}.{other}")
        });
        let alike: String = alike.collect();
        let beyond = |most: &str, step: &str, wanted: Option<i64>| {
            let most_there = format!("{most}(other.{column})");
            let most = wanted.map_or(most_there.clone(), |wanted| format!("{most}({most_there}, {wanted})"));
            format!("(SELECT {most} {step} FROM main.{from} AS other WHERE true{alike})")
        };
        match field.kind {
            ColumnKind::Integer | ColumnKind::Float | ColumnKind::Number => {
                let (least, most) = self.wanted(list, place);
                values.extend([beyond("max", "+ 1", most), beyond("min", "- 1", least)]);
            }
            ColumnKind::Text => {
                values.push(format!("{from}.{column} || char(1) || ?1"));
                // For columns that take no long ones.
                values.extend((1..=4).map(|letter| format!("char({letter})")));
            }
            ColumnKind::Boolean => values.push("2".to_owned()),
            ColumnKind::Other => {}
        }
        values
    }

    /// The least and the most that this save writes in a column.
    fn wanted(&self, list: Option<usize>, place: usize) -> (Option<i64>, Option<i64>) {
        let writes = self.saving.request.writes.iter().filter(|write| write.list == list);
        let set = writes.flat_map(|write| match &write.action {
            WriteAction::Insert(values) | WriteAction::Update(values) => values.as_slice(),
            WriteAction::Delete => &[],
        });
        let numbers = set.filter(|(at, _)| *at == place).filter_map(|(_, value)| {
            if let JsonValue::Integer(value) = value {
                return i64::try_from(*value).ok();
            }
            value.as_f64().map(|value| value.round() as i64)
        });
        numbers.fold((None, None), |(least, most): (Option<i64>, Option<i64>), number| {
            (
                Some(least.map_or(number, |least| least.min(number))),
                Some(most.map_or(number, |most| most.max(number))),
            )
        })
    }
}

#[cfg(test)]
mod tests;
