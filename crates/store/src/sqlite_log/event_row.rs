//! Events and heads as rows: the one place that compares, writes and reads them.

use bft_json_crdt::{AuthorId, Digest};
use gangline_lease::{
    Access, Batch, BatchSignature, Epoch, Event, EventType, Head, Incarnation, IntentId, Misfit, Part,
    Payload, Placed, ReadLimit, Seq, SpaceName, SpaceState, Verdict, Written,
    rules::{self, SealRefusal},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::worker::Failure;

/// A space's row.
pub(super) struct SpaceRow {
    id: i64,
    pub(super) state: SpaceState,
    pub(super) access: Access,
}

impl SpaceRow {
    fn found(&self) -> (&SpaceState, &Access) {
        (&self.state, &self.access)
    }
}

pub(super) fn space_row(connection: &Connection, space: &SpaceName) -> Result<Option<SpaceRow>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT id, incarnation, epoch, next, hash, access FROM space WHERE name = ?1")?;
    let mut rows = statement.query(params![space.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let state = SpaceState {
        incarnation: Incarnation(row.get(1)?),
        epoch: Epoch(row.get::<_, i64>(2)?.cast_unsigned()),
        head: Head { next: Seq(row.get::<_, i64>(3)?.cast_unsigned()), hash: Digest(row.get(4)?) },
    };
    let access = row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?.parse();
    let access = access.map_err(|error| Failure::Damaged(format!("space {space}: {error}")))?;
    Ok(Some(SpaceRow { id: row.get(0)?, state, access }))
}

/// Raises the epoch, and opens or closes the space where that is wanted.
pub(super) fn seal(
    transaction: &Connection,
    space: &SpaceName,
    epoch: Epoch,
    wanted: Option<Access>,
    first: Incarnation,
) -> Result<Result<SpaceState, SealRefusal>, Failure> {
    let found = space_row(transaction, space)?;
    let begin = || SpaceState { incarnation: first, epoch: Epoch::NONE, head: Head::start(space, first) };
    match rules::seal_for(found.as_ref().map(SpaceRow::found), epoch, wanted, begin) {
        Ok((state, access)) => {
            put_space(transaction, space, &state, &access)?;
            Ok(Ok(state))
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Writes a space's row, and returns its id.
fn put_space(
    transaction: &Connection,
    space: &SpaceName,
    state: &SpaceState,
    access: &Access,
) -> Result<i64, Failure> {
    let SpaceState { incarnation, epoch, head } = state;
    let id = transaction
        .prepare_cached(
            "INSERT INTO space (name, incarnation, epoch, next, hash, access) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (name) DO UPDATE
             SET incarnation = ?2, epoch = ?3, next = ?4, hash = ?5, access = ?6 RETURNING id",
        )?
        .query_row(
            params![
                space.as_str(),
                incarnation.0,
                epoch.0.cast_signed(),
                head.next.0.cast_signed(),
                head.hash.0,
                access.to_string(),
            ],
            |row| row.get(0),
        )?;
    Ok(id)
}

/// Judges a part that was verified elsewhere and inserts it, if it fits.
pub(super) fn adopt(transaction: &Connection, part: &Part) -> Result<Result<SpaceState, Misfit>, Failure> {
    let space = part.space();
    let found = space_row(transaction, space)?;
    let known = match (&found, part.replaces()) {
        (Some(row), None) => first_known(transaction, row.id, part.events())?,
        _ => None,
    };
    let state = match rules::adopt(found.as_ref().map(SpaceRow::found), part, known) {
        Ok(state) => state,
        Err(misfit) => return Ok(Err(misfit)),
    };
    let access = match (&found, part.replaces()) {
        (Some(row), None) => row.access.clone(),
        _ => Access::Copy,
    };
    if let (Some(row), Some(_)) = (&found, part.replaces()) {
        for table in ["DELETE FROM event WHERE space = ?1", "DELETE FROM intent WHERE space = ?1"] {
            transaction.execute(table, params![row.id])?;
        }
    }
    let id = put_space(transaction, space, &state, &access)?;
    part.events().iter().try_for_each(|event| insert(transaction, id, event, &event.placed()))?;
    Ok(Ok(state))
}

fn first_known(transaction: &Connection, space: i64, events: &[Event]) -> Result<Option<Seq>, Failure> {
    for event in events {
        if let Some(placed) = find_in(transaction, space, &event.id)? {
            return Ok(Some(placed.seq));
        }
    }
    Ok(None)
}

/// Judges a batch and inserts it, if it is to be taken.
pub(super) fn append(transaction: &Connection, batch: &Batch) -> Result<(Verdict, Written), Failure> {
    let found = space_row(transaction, batch.space())?;
    let id = found.as_ref().map(|row| row.id);
    let mut known = Vec::new();
    if let Some(id) = id {
        for (at, event) in batch.events().iter().enumerate() {
            known.extend(find_in(transaction, id, &event.id)?.map(|placed| (at, placed)));
        }
    }
    let verdict = rules::judge(found.as_ref().map(|row| &row.state), &batch.bid(), !known.is_empty());
    let Some(id) = id.filter(|_| verdict == Verdict::Take) else {
        return Ok((verdict, Written::Duplicate(known)));
    };
    let (bid, end) = (batch.bid(), batch.end());
    let moved = transaction
        .prepare_cached(
            "UPDATE space SET next = ?1, hash = ?2
             WHERE id = ?3 AND incarnation = ?4 AND epoch = ?5 AND next = ?6 AND hash = ?7",
        )?
        .execute(params![
            end.next.0.cast_signed(),
            end.hash.0,
            id,
            bid.incarnation.0,
            bid.epoch.0.cast_signed(),
            bid.head.next.0.cast_signed(),
            bid.head.hash.0,
        ])?;
    if moved != 1 {
        return Err(Failure::Damaged(format!("the head of space {} changed under the lock", batch.space())));
    }
    for (event, placed) in batch.events().iter().zip(batch.placed()) {
        insert(transaction, id, event, placed)?;
    }
    Ok((verdict, Written::Done(end)))
}

fn insert(transaction: &Connection, space: i64, event: &Event, placed: &Placed) -> Result<(), Failure> {
    transaction
        .prepare_cached(
            "INSERT INTO event (space, seq, epoch, intent, author, holder, kind, payload, prev, hash, signature)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            space,
            event.seq.0.cast_signed(),
            event.epoch.0.cast_signed(),
            event.id.as_str(),
            event.author.0,
            event.holder.0,
            event.kind.as_str(),
            event.payload.bytes(),
            event.prev.0,
            event.hash.0,
            event.signature.map(|signature| signature.0),
        ])?;
    transaction
        .prepare_cached(
            "INSERT INTO intent (space, id, seq, epoch, hash, content) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            space,
            event.id.as_str(),
            placed.seq.0.cast_signed(),
            placed.epoch.0.cast_signed(),
            placed.hash.0,
            placed.content.0,
        ])?;
    Ok(())
}

pub(super) fn find(
    connection: &Connection,
    space: &SpaceName,
    id: &IntentId,
) -> Result<Option<Placed>, Failure> {
    match space_row(connection, space)? {
        Some(row) => find_in(connection, row.id, id),
        None => Ok(None),
    }
}

fn find_in(connection: &Connection, space: i64, id: &IntentId) -> Result<Option<Placed>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT seq, epoch, hash, content FROM intent WHERE space = ?1 AND id = ?2")?;
    let found = statement
        .query_row(params![space, id.as_str()], |row| {
            Ok(Placed {
                seq: Seq(row.get::<_, i64>(0)?.cast_unsigned()),
                epoch: Epoch(row.get::<_, i64>(1)?.cast_unsigned()),
                hash: Digest(row.get(2)?),
                content: Digest(row.get(3)?),
            })
        })
        .optional()?;
    Ok(found)
}

pub(super) fn read(
    connection: &Connection,
    space: &SpaceName,
    from: Seq,
    limit: ReadLimit,
) -> Result<Vec<Event>, Failure> {
    let Some(SpaceRow { id, .. }) = space_row(connection, space)? else { return Ok(Vec::new()) };
    let Ok(start) = i64::try_from(from.0) else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(
        "SELECT seq, epoch, intent, author, holder, kind, payload, prev, hash, signature
         FROM event WHERE space = ?1 AND seq >= ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![id, start])?;
    let mut bytes = 0_usize;
    let mut events = Vec::new();
    let mut next = from;
    while let Some(row) = rows.next()? {
        bytes = bytes.saturating_add(row.get_ref(6)?.as_blob().map_or(0, <[u8]>::len));
        if !events.is_empty() && (events.len() >= limit.count || bytes > limit.bytes) {
            break;
        }
        events.push(event(row, space, next)?);
        next = next.plus(1);
    }
    Ok(events)
}

/// Reads a row, and refuses one that is not what was written: its hash covers all of it.
fn event(row: &Row<'_>, space: &SpaceName, expected: Seq) -> Result<Event, Failure> {
    let seq = Seq(row.get::<_, i64>(0)?.cast_unsigned());
    let damaged = |what: String| Failure::Damaged(format!("event {expected} of space {space}: {what}"));
    if seq != expected {
        return Err(damaged("it is missing".to_owned()));
    }
    let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let payload = row.get_ref(6)?.as_blob().map_err(|error| damaged(error.to_string()))?;
    let payload = Payload::stored(payload).map_err(|error| damaged(error.to_string()))?;
    let event = Event {
        seq,
        epoch: Epoch(row.get::<_, i64>(1)?.cast_unsigned()),
        id: IntentId::new(text(2)?).map_err(|error| damaged(error.to_string()))?,
        author: AuthorId(row.get(3)?),
        holder: AuthorId(row.get(4)?),
        kind: EventType::new(text(5)?).map_err(|error| damaged(error.to_string()))?,
        payload: payload.ok_or_else(|| damaged("its payload has another form".to_owned()))?,
        prev: Digest(row.get(7)?),
        hash: Digest(row.get(8)?),
        signature: row.get::<_, Option<[u8; 64]>>(9)?.map(BatchSignature),
    };
    if event.compute_hash(space) != event.hash {
        return Err(damaged("it is not what was written (its hash differs)".to_owned()));
    }
    Ok(event)
}

pub(super) fn spaces(
    connection: &Connection,
    after: Option<&SpaceName>,
    count: usize,
) -> Result<Vec<SpaceName>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT name FROM space WHERE name > ?1 ORDER BY name LIMIT ?2")?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![after.map_or("", SpaceName::as_str), count])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        found.push(SpaceName::new(&name).map_err(|error| Failure::Damaged(error.to_string()))?);
    }
    Ok(found)
}
