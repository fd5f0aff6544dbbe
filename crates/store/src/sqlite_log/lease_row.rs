//! Leases as rows. One of an earlier boot has ended, whatever its row says.

use bft_json_crdt::AuthorId;
use gangline_lease::{Ask, Epoch, Lease, LeaseRow, Moment, Reach, SpaceName};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::boot::BootClock;
use crate::worker::Failure;

fn row(connection: &Connection, space: &SpaceName, clock: &BootClock) -> Result<Option<LeaseRow>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT node, url, epoch, boot, ends FROM lease WHERE space = ?1")?;
    let found = statement
        .query_row(params![space.as_str()], |row| {
            let is_of_this_boot = row.get_ref(3)?.as_str()? == clock.boot();
            let ends = if is_of_this_boot { row.get::<_, i64>(4)?.cast_unsigned() } else { 0 };
            Ok(LeaseRow {
                holder: Reach { node: AuthorId(row.get(0)?), url: row.get(1)? },
                epoch: Epoch(row.get::<_, i64>(2)?.cast_unsigned()),
                ends: Moment(ends),
            })
        })
        .optional()?;
    Ok(found)
}

fn put(
    transaction: &Connection,
    space: &SpaceName,
    row: &LeaseRow,
    clock: &BootClock,
) -> Result<(), Failure> {
    transaction
        .prepare_cached(
            "INSERT INTO lease (space, node, url, epoch, boot, ends) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (space) DO UPDATE SET node = ?2, url = ?3, epoch = ?4, boot = ?5, ends = ?6",
        )?
        .execute(params![
            space.as_str(),
            row.holder.node.0,
            row.holder.url,
            row.epoch.0.cast_signed(),
            clock.boot(),
            row.ends.0.cast_signed(),
        ])?;
    Ok(())
}

/// Grants a lease, or returns the one that another node has.
pub(super) fn grant(
    transaction: &Connection,
    space: &SpaceName,
    ask: Ask,
    clock: &BootClock,
) -> Result<Result<Lease, Lease>, Failure> {
    let found = row(transaction, space, clock)?;
    // After the lock was had, however long that took.
    let now = clock.now();
    match LeaseRow::grant(found.as_ref(), ask.holder, ask.ttl, ask.above, now) {
        Err(held) => Ok(Err(held)),
        Ok(granted) => {
            put(transaction, space, &granted, clock)?;
            let left = now.until(granted.ends);
            Ok(Ok(Lease { holder: granted.holder, epoch: granted.epoch, left }))
        }
    }
}

/// Changes a row, if there is one and `change` makes another of it; returns whether it did.
pub(super) fn change(
    transaction: &Connection,
    space: &SpaceName,
    clock: &BootClock,
    change: impl FnOnce(&LeaseRow, Moment) -> Option<LeaseRow>,
) -> Result<bool, Failure> {
    let Some(found) = row(transaction, space, clock)? else { return Ok(false) };
    match change(&found, clock.now()) {
        None => Ok(false),
        Some(changed) => {
            put(transaction, space, &changed, clock)?;
            Ok(true)
        }
    }
}

pub(super) fn lease(
    connection: &Connection,
    space: &SpaceName,
    clock: &BootClock,
) -> Result<Option<Lease>, Failure> {
    Ok(row(connection, space, clock)?.and_then(|row| row.lease(clock.now())))
}
