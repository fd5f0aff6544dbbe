//! The outbox: a table in the user's database in which triggers note which roots any writer touches.
//!
//! ```text
//! gangline_outbox     one table for all sources of the database
//!   seq     integer   1, 2, 3 …: the table's own row numbers. The newest entry is never removed, so they only rise
//!   source  text      the name of the source
//!   kind    text      'install': since when this source's triggers are there, one per source, never pruned
//!                     'row': a row of a root was inserted, changed or deleted
//!                     'save': a save was committed together with its rows
//!   key     text      the root's key, or the id of the save
//!   tag     integer   drawn; with it an entry is told from one that has its number after the database was restored
//!   at      integer   seconds since 1970, by the writer's clock: for pruning alone
//! ```
//!
//! A reader's position is a seq and two halves of tags: of the source's `install` entry, which is drawn anew when other
//! triggers are installed, and of the entry at that seq. No column is constrained, so no trigger can fail.

mod triggers;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use gangline_reconcile::{
    Continuity, OutboxPosition, OutboxRead, Shape, check_key,
    limits::{OUTBOX_AGE_MAX_S, OUTBOX_ENTRIES_KEPT},
};
use rusqlite::{Connection, OptionalExtension as _, params, types::ValueRef};

use self::triggers::{Triggers, owner};
use super::{sql, trouble::Trouble};

/// Its name. A mapping cannot have it.
pub(super) const TABLE: &str = "gangline_outbox";

const CREATE: &str = "-- Which roots were touched by whom: Gangline follows it. Keys only, no values.
CREATE TABLE IF NOT EXISTS gangline_outbox (
  seq INTEGER PRIMARY KEY, source TEXT, kind TEXT, key TEXT, tag INTEGER, at INTEGER
)";

/// The time of an entry, in words that SQLite of any age understands.
const NOW: &str = "CAST(strftime('%s', 'now') AS INTEGER)";

/// Entries that one transaction removes, so that no writer waits long.
const PRUNED_AT_ONCE: u32 = 5_000;

/// The statements that install the outbox for a shape. They may be executed by hand, and more than once.
pub(super) fn install_sql(connection: &Connection, shape: &Shape) -> Result<Vec<String>, Trouble> {
    let wanted = Triggers::of(connection, shape)?;
    let source = sql::text(&shape.mapping.name);
    let mut statements = vec![CREATE.to_owned()];
    let names: BTreeSet<String> =
        own_triggers(connection, shape)?.into_iter().chain(wanted.names()).collect();
    statements.extend(names.iter().map(|name| drop_trigger(name)));
    statements.extend(wanted.into_sql());
    let is_this = format!("source = {source} AND kind = 'install'");
    statements.push(format!(
        "-- Another tag is another outbox: whoever followed the old one reads all roots once.
INSERT INTO gangline_outbox (source, kind)
  SELECT {source}, 'install' WHERE NOT EXISTS (SELECT 1 FROM gangline_outbox WHERE {is_this})"
    ));
    statements.push(format!("UPDATE gangline_outbox SET tag = random(), at = {NOW} WHERE {is_this}"));
    Ok(statements)
}

/// What was found last: asking SQLite for every table and index takes longer than all else that following one row does.
#[derive(Default)]
pub(super) struct Found(Mutex<Option<Verdict>>);

struct Verdict {
    /// The file and the schema that it is about.
    generation: u32,
    schema_version: i64,
    shape: Shape,
    is_installed: bool,
}

impl Found {
    /// Tells whether exactly these triggers are there, and since when.
    pub(super) fn installed(
        &self,
        connection: &Connection,
        generation: u32,
        shape: &Shape,
    ) -> Result<Option<i64>, Trouble> {
        let schema_version = connection.pragma_query_value(None, "schema_version", |row| row.get(0))?;
        let is_about = |verdict: &&Verdict| {
            (verdict.generation, verdict.schema_version) == (generation, schema_version)
                && verdict.shape == *shape
        };
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_installed = match found.as_ref().filter(is_about) {
            Some(verdict) => verdict.is_installed,
            None => {
                let is_installed = is_installed(connection, shape)?;
                *found = Some(Verdict { generation, schema_version, shape: shape.clone(), is_installed });
                is_installed
            }
        };
        drop(found);
        if is_installed { incarnation(connection, shape) } else { Ok(None) }
    }
}

/// Whether exactly these triggers are there.
fn is_installed(connection: &Connection, shape: &Shape) -> Result<bool, Trouble> {
    let Ok(wanted) = Triggers::of(connection, shape) else { return Ok(false) };
    Ok(has_table(connection)? && wanted.are_there(connection, &shape.mapping.name)?)
}

/// The tag of the source's `install` entry, which is one of the first in the table.
fn incarnation(connection: &Connection, shape: &Shape) -> Result<Option<i64>, Trouble> {
    let mut statement = connection
        .prepare_cached("SELECT tag FROM gangline_outbox WHERE source = ?1 AND kind = 'install' LIMIT 1")?;
    let tag = statement.query_row([&shape.mapping.name], |row| row.get::<_, Option<i64>>(0)).optional()?;
    Ok(tag.flatten())
}

/// Executes [`install_sql`] unless it has been.
pub(super) fn install(connection: &Connection, shape: &Shape) -> Result<(), Trouble> {
    if is_installed(connection, shape)? && incarnation(connection, shape)?.is_some() {
        return Ok(());
    }
    if exists(connection, "table", TABLE)? && !has_table(connection)? {
        let what = format!("{TABLE} is a table of another program, rename it");
        return Err(Trouble::Schema(what));
    }
    for name in Triggers::of(connection, shape)?.names() {
        let found = owner(connection, &name)?;
        if found.as_ref().is_some_and(|of| of.as_ref() != Some(&shape.mapping.name)) {
            let of =
                found.flatten().map_or_else(|| "another program".to_owned(), |of| format!("source {of}"));
            return Err(Trouble::Schema(format!(
                "trigger {name} belongs to {of}: name this source otherwise"
            )));
        }
    }
    for statement in install_sql(connection, shape)? {
        connection.execute_batch(&statement)?;
    }
    Ok(())
}

/// The statements that remove the source's triggers and entries; the table too, if no other source has triggers. None where
/// nothing of the source is there.
pub(super) fn uninstall_sql(connection: &Connection, shape: &Shape) -> Result<Vec<String>, Trouble> {
    let own = own_triggers(connection, shape)?;
    let mut statements: Vec<String> = own.iter().map(|name| drop_trigger(name)).collect();
    if !has_table(connection)? {
        return Ok(statements);
    }
    if triggers::all(connection)?.len() == own.len() {
        statements.push("DROP TABLE gangline_outbox".to_owned());
        return Ok(statements);
    }
    let has_entries = "SELECT EXISTS (SELECT 1 FROM gangline_outbox WHERE source = ?1)";
    if connection.query_row(has_entries, [&shape.mapping.name], |row| row.get(0))? {
        let (source, newest) = (sql::text(&shape.mapping.name), "(SELECT max(seq) FROM gangline_outbox)");
        statements.push(format!(
            "-- The newest entry stays, or its number would be given again; it is somebody else's to prune.
UPDATE gangline_outbox SET source = NULL, kind = 'row', key = NULL WHERE source = {source} AND seq = {newest}"
        ));
        statements.push(format!("DELETE FROM gangline_outbox WHERE source = {source} AND seq < {newest}"));
    }
    Ok(statements)
}

/// Executes [`uninstall_sql`].
pub(super) fn uninstall(connection: &Connection, shape: &Shape) -> Result<(), Trouble> {
    for statement in uninstall_sql(connection, shape)? {
        connection.execute_batch(&statement)?;
    }
    Ok(())
}

/// Reads entries after a position.
pub(super) fn read(
    connection: &Connection,
    shape: &Shape,
    incarnation: i64,
    after: Option<OutboxPosition>,
    limit: usize,
) -> Result<OutboxRead, Trouble> {
    match after.map(|after| Ok((after, continuity(connection, incarnation, after)?))).transpose() {
        Err(trouble) => Err(trouble),
        Ok(Some((after, Continuity::Whole))) => read_after(connection, shape, incarnation, after, limit),
        Ok(Some((_, continuity))) => at_end(connection, incarnation, continuity),
        Ok(None) => at_end(connection, incarnation, Continuity::Gap),
    }
}

fn read_after(
    connection: &Connection,
    shape: &Shape,
    incarnation: i64,
    after: OutboxPosition,
    limit: usize,
) -> Result<OutboxRead, Trouble> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, tag, source = ?1 AND kind = 'row', key FROM gangline_outbox WHERE seq > ?2 ORDER BY seq",
    )?;
    let mut entries = statement.query(params![shape.mapping.name, after.seq])?;
    let mut found =
        OutboxRead { roots: Vec::new(), position: after, is_more: false, continuity: Continuity::Whole };
    let mut seen = BTreeSet::new();
    let mut count = 0;
    while let Some(entry) = entries.next()? {
        let seq: i64 = entry.get(0)?;
        if seq != found.position.seq.saturating_add(1) {
            return at_end(connection, incarnation, Continuity::Gap);
        }
        if count == limit.max(1) {
            found.is_more = true;
            break;
        }
        count += 1;
        found.position = position(incarnation, seq, tag(entry.get_ref(1)?));
        if entry.get::<_, Option<bool>>(2)? == Some(true)
            && let ValueRef::Text(key) = entry.get_ref(3)?
            && let Ok(key) = std::str::from_utf8(key)
            && check_key(key).is_ok()
            && seen.insert(key.to_owned())
        {
            found.roots.push(key.to_owned());
        }
    }
    Ok(found)
}

/// Whether the entry at a position is still the one that was read there.
fn continuity(
    connection: &Connection,
    incarnation: i64,
    after: OutboxPosition,
) -> Result<Continuity, Trouble> {
    if half(incarnation) != (after.incarnation >> 32) as u32 {
        return Ok(Continuity::Gap);
    }
    let mut statement = connection.prepare_cached("SELECT tag FROM gangline_outbox WHERE seq = ?1")?;
    let found = statement.query_row([after.seq], |row| Ok(tag(row.get_ref(0)?))).optional()?;
    Ok(match found {
        Some(tag) if position(incarnation, after.seq, tag) == after => Continuity::Whole,
        Some(_) => Continuity::Restored,
        None if after.seq > newest(connection)?.0 => Continuity::Restored,
        None => Continuity::Gap,
    })
}

/// What a reader gets who has to read all roots anyway.
fn at_end(connection: &Connection, incarnation: i64, continuity: Continuity) -> Result<OutboxRead, Trouble> {
    let (seq, tag) = newest(connection)?;
    let position = position(incarnation, seq, tag);
    Ok(OutboxRead { roots: Vec::new(), position, is_more: false, continuity })
}

fn newest(connection: &Connection) -> Result<(i64, i64), Trouble> {
    let mut statement =
        connection.prepare_cached("SELECT seq, tag FROM gangline_outbox ORDER BY seq DESC LIMIT 1")?;
    let newest = statement.query_row([], |row| Ok((row.get(0)?, tag(row.get_ref(1)?)))).optional()?;
    Ok(newest.unwrap_or_default())
}

/// Whoever has access may have written anything.
fn tag(value: ValueRef<'_>) -> i64 {
    if let ValueRef::Integer(tag) = value { tag } else { 0 }
}

fn position(incarnation: i64, seq: i64, tag: i64) -> OutboxPosition {
    OutboxPosition { incarnation: u64::from(half(incarnation)) << 32 | u64::from(half(tag)), seq }
}

fn half(tag: i64) -> u32 {
    tag.cast_unsigned() as u32
}

/// Notes a save, in its own transaction.
pub(super) fn note_save(connection: &Connection, shape: &Shape, save_id: &str) -> Result<(), Trouble> {
    connection.execute(
        &format!(
            "INSERT INTO gangline_outbox (source, kind, key, tag, at) VALUES (?1, 'save', ?2, random(), {NOW})"
        ),
        [&shape.mapping.name, save_id],
    )?;
    Ok(())
}

pub(super) fn has_save(connection: &Connection, shape: &Shape, save_id: &str) -> Result<bool, Trouble> {
    let mut statement = connection.prepare(
        "SELECT EXISTS (SELECT 1 FROM gangline_outbox WHERE source = ?1 AND kind = 'save' AND key = ?2)",
    )?;
    Ok(statement.query_row([&shape.mapping.name, save_id], |row| row.get(0))?)
}

/// What may be removed: too old or too many, but never the newest. A save is kept until it is old, since somebody may
/// have to ask for it.
fn prunable() -> String {
    format!(
        "kind IS NOT 'install' AND seq < (SELECT max(seq) FROM gangline_outbox)
         AND (at IS NULL OR at < {NOW} - {OUTBOX_AGE_MAX_S}
              OR (kind IS NOT 'save' AND seq <= (SELECT max(seq) FROM gangline_outbox) - {OUTBOX_ENTRIES_KEPT}))"
    )
}

pub(super) fn has_prunable(connection: &Connection) -> Result<bool, Trouble> {
    let exists = format!("SELECT EXISTS (SELECT 1 FROM gangline_outbox WHERE {})", prunable());
    Ok(has_table(connection)? && connection.query_row(&exists, [], |row| row.get(0))?)
}

/// Removes some of what may be removed.
pub(super) fn prune_some(connection: &Connection) -> Result<(), Trouble> {
    connection.execute_batch(&format!(
        "DELETE FROM gangline_outbox WHERE seq IN
           (SELECT seq FROM gangline_outbox WHERE {} ORDER BY seq LIMIT {PRUNED_AT_ONCE})",
        prunable()
    ))?;
    Ok(())
}

/// Triggers of this source, whatever its mapping was when they were installed.
fn own_triggers(connection: &Connection, shape: &Shape) -> Result<Vec<String>, Trouble> {
    let all = triggers::all(connection)?.into_iter();
    Ok(all.filter(|(_, source)| *source == shape.mapping.name).map(|(name, _)| name).collect())
}

fn drop_trigger(name: &str) -> String {
    format!("DROP TRIGGER IF EXISTS {}", sql::name(name))
}

/// Whether the table is there and ours.
fn has_table(connection: &Connection) -> Result<bool, Trouble> {
    let mut statement = connection.prepare_cached(
        "SELECT group_concat(name, ' ') FROM (SELECT name FROM pragma_table_info('gangline_outbox') ORDER BY cid)",
    )?;
    let columns: Option<String> = statement.query_row([], |row| row.get(0))?;
    Ok(columns.as_deref() == Some("seq source kind key tag at"))
}

fn exists(connection: &Connection, kind: &str, name: &str) -> Result<bool, Trouble> {
    let sql = "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = ?1 AND name = ?2 COLLATE NOCASE)";
    Ok(connection.query_row(sql, [kind, name], |row| row.get(0))?)
}
