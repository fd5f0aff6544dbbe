//! An intent until its end: here if this node holds the space, else at the holder, again while it is worth it.

use std::time::Duration;

use bft_json_crdt::AuthorId;

use super::{
    AppendAuthority,
    fate::{AppendError, Fate, LeaseError},
};
use crate::{
    event::{Intent, Landed},
    forward::{Forward, ForwardError, Refused, Reply},
    lane::Full,
    lease::Lease,
    limits::TRIES_MIN,
    name::SpaceName,
};

/// The first pause; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest pause: what a hand-over may cost beyond the ttl.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// How an intent ends other than in the log.
pub(super) enum Ended {
    Error(AppendError),
    /// It may not be handed on, and another node holds the space.
    Redirect(Option<Lease>),
}

impl AppendAuthority {
    /// Brings an intent to its end. What this call did not append, an earlier one may have: the store is asked before
    /// anybody is told that it is not there.
    pub(super) async fn settle(
        &self,
        space: &SpaceName,
        intent: Intent,
        author: AuthorId,
        hops: u8,
    ) -> Result<Landed, Ended> {
        let kept = intent.clone();
        let ended = self.try_all(space, intent, author, hops).await;
        let Err(Ended::Error(AppendError::NotAppended { source, .. })) = &ended else { return ended };
        if matches!(source, LeaseError::Diverged { .. }) {
            return ended;
        }
        let id = kept.id.clone();
        match self.inner.parts.store.find(space, &id).await {
            Ok(None) => ended,
            Ok(Some(first)) if first.content == kept.content() => Ok(Landed::known(first)),
            Ok(Some(first)) => Err(Ended::Error(AppendError::IdReused { id, first })),
            Err(_) => Err(Ended::Error(AppendError::Unknown { id })),
        }
    }

    async fn try_all(
        &self,
        space: &SpaceName,
        intent: Intent,
        author: AuthorId,
        hops: u8,
    ) -> Result<Landed, Ended> {
        let id = intent.id.clone();
        let not_appended = |source| Ended::Error(AppendError::NotAppended { id: id.clone(), source });
        let unknown = || Ended::Error(AppendError::Unknown { id: id.clone() });
        let until = self.now().plus(self.inner.settings.patience);
        let space = self.space(space).map_err(not_appended)?;
        let mut may_have_landed = false;
        let mut pause = PAUSE_MIN;
        let mut tries = 0;
        loop {
            let fate = match self.in_lane(&space, intent.clone(), author).await {
                Ok(fate) => fate,
                Err(Full { waiting }) if !may_have_landed => {
                    return Err(not_appended(LeaseError::Busy { waiting }));
                }
                Err(Full { .. }) => return Err(unknown()),
            };
            let mut left = Duration::MAX;
            let cause = match fate {
                // What an earlier try of this call has landed is new to its caller.
                Fate::Landed(landed) => {
                    return Ok(Landed { is_new: landed.is_new || may_have_landed, ..landed });
                }
                Fate::IdReused(first) => return Err(Ended::Error(AppendError::IdReused { id, first })),
                Fate::Diverged(_) if may_have_landed => return Err(unknown()),
                Fate::Diverged(divergence) => {
                    let space = space.name.clone();
                    return Err(not_appended(LeaseError::Diverged { space, divergence }));
                }
                Fate::Closed(_) if may_have_landed => return Err(unknown()),
                Fate::Closed(access) => {
                    return Err(not_appended(LeaseError::Closed { space: space.name.clone(), access }));
                }
                Fate::Again { may_have_landed: this_time } => {
                    may_have_landed |= this_time;
                    None
                }
                Fate::Failed { error, may_have_landed: this_time } => {
                    may_have_landed |= this_time;
                    Some(error)
                }
                Fate::Elsewhere(lease) => {
                    let Some(hops) = hops.checked_sub(1) else {
                        return Err(if may_have_landed { unknown() } else { Ended::Redirect(Some(lease)) });
                    };
                    left = lease.left;
                    let Lease { holder, epoch, .. } = lease;
                    let forward =
                        Forward { space: space.name.clone(), intent: intent.clone(), author, epoch, hops };
                    match self.inner.parts.forwarder.forward(&holder, forward).await {
                        Ok(Reply::Done(placed)) => return Ok(Landed::new(placed)),
                        Ok(Reply::Known(placed)) => {
                            return Ok(Landed { placed, is_new: may_have_landed });
                        }
                        Ok(Reply::Refused(Refused::IdReused(first))) => {
                            return Err(Ended::Error(AppendError::IdReused { id, first }));
                        }
                        Ok(Reply::Refused(_)) if may_have_landed => return Err(unknown()),
                        Ok(Reply::Refused(refused)) => {
                            return Err(Ended::Error(AppendError::Refused { id, refused }));
                        }
                        Ok(Reply::Unknown) | Err(ForwardError::Silent) => may_have_landed = true,
                        Ok(Reply::Redirect(_)) | Err(ForwardError::Unreachable) => {}
                    }
                    Some(LeaseError::Held { holder, left })
                }
            };
            let now = self.now();
            tries += 1;
            if now >= until && tries >= TRIES_MIN {
                return Err(match cause {
                    Some(source) if !may_have_landed => not_appended(source),
                    None if !may_have_landed => not_appended(LeaseError::Contended),
                    _ => unknown(),
                });
            }
            // Not past the end of the other's lease: then this node may take over.
            let wait = pause.min(left.saturating_add(Duration::from_millis(1))).min(now.until(until));
            self.inner.parts.clock.sleep(wait.max(Duration::from_millis(1))).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
