//! What reads logs, without any lock of the repository.

use std::sync::{Arc, Mutex};

use gangline_lease::{Event, IntentId, Placed, ReadLimit, Seq, SpaceName};

use super::{
    index::Index,
    record::Standing,
    ref_name,
    repo::{Repo, Tip, refused},
    writer::lock_index,
};
use crate::worker::Failure;

/// Batches that are asked of the index at once.
const BATCHES: usize = 256;

/// One process's, on a thread of its own.
pub(super) struct Reader {
    pub(super) repo: Repo,
    pub(super) index: Arc<Mutex<Index>>,
}

impl Reader {
    pub(super) fn standing(&mut self, space: &SpaceName) -> Result<Option<Standing>, Failure> {
        Ok(self.repo.tip(space, None)?.map(|tip| tip.standing))
    }

    /// Returns where an intent is.
    pub(super) fn find(&mut self, space: &SpaceName, id: &IntentId) -> Result<Option<Placed>, Failure> {
        // With the index held, so that it is never asked to go back behind what the writer has noted.
        let mut index = lock_index(&self.index);
        let Some(Tip { oid, .. }) = self.repo.tip(space, None)? else { return Ok(None) };
        let found = index.find(&mut self.repo, space, oid, std::iter::once(id))?;
        Ok(found.first().map(|(_, placed)| *placed))
    }

    /// Returns events from `from` on, each as it was written: its hash covers all of it.
    pub(super) fn read(
        &mut self,
        space: &SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Result<Vec<Event>, Failure> {
        let mut bytes = 0_usize;
        let mut events: Vec<Event> = Vec::new();
        let mut next = from;
        loop {
            let batches = {
                let mut index = lock_index(&self.index);
                let Some(Tip { oid, standing }) = self.repo.tip(space, None)? else { return Ok(events) };
                if next >= standing.state.head.next {
                    return Ok(events);
                }
                index.batches(&mut self.repo, space, oid, next, BATCHES)?
            };
            let before = next;
            for batch in batches {
                for event in self.repo.record(space, batch)?.events {
                    if event.seq < next {
                        continue;
                    }
                    check(&event, space, next)?;
                    bytes = bytes.saturating_add(event.payload.bytes().len());
                    if !events.is_empty() && (events.len() >= limit.count || bytes > limit.bytes) {
                        return Ok(events);
                    }
                    next = event.seq.plus(1);
                    events.push(event);
                }
            }
            if next == before {
                return Err(missing(space, next));
            }
        }
    }

    /// Returns names of spaces in their order. O(n log n) in all that there are.
    pub(super) fn spaces(
        &mut self,
        after: Option<&SpaceName>,
        count: usize,
    ) -> Result<Vec<SpaceName>, Failure> {
        let glob = format!("{}*", ref_name::LOGS);
        let mut branches = self.repo.git().references_glob(&glob).map_err(refused)?;
        let mut found = Vec::new();
        for name in branches.names() {
            // What is no text is no log's branch.
            let Ok(name) = name else { continue };
            found.extend(ref_name::space(name).filter(|space| after.is_none_or(|after| space > after)));
        }
        found.sort();
        found.truncate(count);
        Ok(found)
    }
}

fn check(event: &Event, space: &SpaceName, expected: Seq) -> Result<(), Failure> {
    if event.seq != expected {
        return Err(missing(space, expected));
    }
    if event.compute_hash(space) != event.hash {
        let what = "it is not what was written (its hash differs)";
        return Err(Failure::Damaged(format!("event {expected} of space {space}: {what}")));
    }
    Ok(())
}

fn missing(space: &SpaceName, seq: Seq) -> Failure {
    Failure::Damaged(format!("event {seq} of space {space}: it is missing"))
}
