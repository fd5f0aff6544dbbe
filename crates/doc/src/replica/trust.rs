//! Whose changes are let in, changed while the replica runs.

use std::{collections::BTreeSet, sync::PoisonError};

use bft_json_crdt::{AuthorId, Batch, CrdtNode};

use super::{ApplyError, Replica};
use crate::{op_log::Record, progress::Ticket};

impl<T: CrdtNode> Replica<T> {
    /// Sets whose changes are let in from now on; `None` lets in every author's. What is in stays in.
    ///
    /// What waited for nothing but this comes in now, and is appended as if it had just been delivered by
    /// whoever brought it. The ticket is done when all of it is durable.
    ///
    /// # Errors
    /// If the log has failed, or too much waits for it; nothing was changed.
    pub fn set_trust(
        &self,
        now_ms: u64,
        trust: Option<BTreeSet<AuthorId>>,
    ) -> Result<(Batch, Ticket), ApplyError> {
        self.admit()?;
        let mut state = self.write().map_err(|reason| ApplyError::Failed { reason })?;
        self.shared.trust.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&trust);
        let batch = state.base.set_trust(trust);
        let records = batch.applied.iter().map(|change| {
            let brought_by = state.waiting.remove(&change.digest());
            let vouched = state.base.is_vouched(&change.digest());
            (brought_by, Record { change: change.clone(), received_at_ms: now_ms, vouched })
        });
        let records = records.collect();
        state.forget_what_no_longer_waits();
        let ticket = self.keep(&mut state, records);
        drop(state);
        self.shared.outbox.pump(self.shared.log.as_ref());
        Ok((batch, ticket))
    }
}
