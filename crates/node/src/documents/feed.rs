//! Finding out which roots of a database have changed, and running them.
//!
//! Without more than the tables, a scan compares what every root's rows are with what they were. With an outbox, its entries
//! name the roots. Either only says that a root is dirty; what it is like is read when it is run.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gangline_reconcile::{
    Continuity, FollowEffect, FollowInput, OutboxPosition, Role, RowsDigest, SourceError, Standing,
};

use super::live::Trouble;
use super::source::{Counters, FollowFailed, SourceRuntime, digest_text};
use super::{Documents, lock};
use crate::api::blocking;
use crate::clock;

/// Entries of an outbox that are read at once.
const OUTBOX_STEP: usize = 10_000;
/// Marks that are taken up after a restart.
const MARKS_MAX: usize = 65_536;
/// How often an outbox is pruned.
const PRUNE_MS: u64 = 3_600_000;

/// What a feed remembers.
#[derive(Default)]
pub(crate) struct FeedState {
    digests: BTreeMap<String, RowsDigest>,
    has_scanned: bool,
    pulse: Option<u64>,
    position: Option<OutboxPosition>,
    /// What the outbox has named since all rows were compared last.
    named: BTreeSet<String>,
    /// Roots that may have changed and that the follower has not heard of yet.
    found: Vec<(String, Standing)>,
    /// Those that it has no room for yet.
    behind: BTreeSet<String>,
    swept_ms: u64,
    pruned_ms: u64,
}

/// Follows a source until the node stops.
pub(super) async fn run(documents: Documents, source: Arc<SourceRuntime>) {
    let stop = documents.inner.stop.clone();
    let running = documents.inner.tasks.clone();
    let runner = tokio::spawn(run_roots(documents.clone(), Arc::clone(&source)));
    take_up_marks(&documents, &source).await;
    while !stop.is_cancelled() {
        let (at, of) = (documents.clone(), Arc::clone(&source));
        match blocking(move || look(&at, &of)).await {
            Ok(Ok(())) => source.set_failure(None),
            Ok(Err(failed)) => source.set_failure(Some(failed.reason())),
            Err(problem) => source.set_failure(Some(problem.detail().to_owned())),
        }
        let wait = if source.failure().is_some() { 1_000.max(source.poll_ms) } else { source.poll_ms };
        tokio::select! {
            () = clock::pause(Duration::from_millis(wait)) => {}
            () = stop.cancelled() => break,
        }
    }
    source.wake.notify_one();
    let _ = runner.await;
    drop(running);
}

async fn take_up_marks(documents: &Documents, source: &Arc<SourceRuntime>) {
    let this = Arc::clone(source);
    if let Ok(Ok(roots)) = blocking(move || this.marks(MARKS_MAX)).await {
        for root in roots {
            let standing = standing(documents, source, &root);
            source.tell(FollowInput::Dirty(root, standing));
        }
    }
}

/// How near somebody is to a root's document.
fn standing(documents: &Documents, source: &SourceRuntime, root: &str) -> Standing {
    let (_, id) = source.document_of(root);
    if documents.live_one(&id).is_some() {
        Standing::Open
    } else if documents.inner.names.has(&id) {
        Standing::Stored
    } else {
        Standing::Unborn
    }
}

/// Looks once, and hands on what was found, also where the database fails in the middle. May block.
fn look(documents: &Documents, source: &SourceRuntime) -> Result<(), FollowFailed> {
    let mut state = lock(&source.feed);
    let looked = find(documents, source, &mut state);
    hand_on(source, &mut state);
    looked
}

/// Names roots to the follower, as many as it has room for.
fn hand_on(source: &SourceRuntime, state: &mut FeedState) {
    if state.found.is_empty() && state.behind.is_empty() {
        return;
    }
    let mut follower = lock(&source.follower);
    for (root, standing) in state.found.drain(..) {
        match standing {
            Standing::Stored => {
                state.behind.insert(root);
            }
            Standing::Open | Standing::Unborn => {
                state.behind.remove(&root);
                follower.handle(clock::now_ms(), FollowInput::Dirty(root, standing));
            }
        }
    }
    while follower.has_room()
        && let Some(root) = state.behind.pop_first()
    {
        follower.handle(clock::now_ms(), FollowInput::Dirty(root, Standing::Stored));
    }
    drop(follower);
    source.wake.notify_one();
}

/// Finds out which roots may have changed.
fn find(documents: &Documents, source: &SourceRuntime, state: &mut FeedState) -> Result<(), FollowFailed> {
    let now = clock::now_ms();
    let pulse = source.rows.pulse()?;
    let has_changed = state.pulse != Some(pulse);
    let is_due = now >= state.swept_ms.saturating_add(source.sweep_ms);
    if !has_changed && !is_due && state.has_scanned && !source.must_scan.load(Ordering::Relaxed) {
        return Ok(());
    }
    let has_outbox = read_outbox(documents, source, state)?;
    let has_gap = source.must_scan.swap(false, Ordering::Relaxed);
    if !has_outbox || is_due || !state.has_scanned || has_gap {
        // With an outbox, and without a gap in it, every change was named.
        let shall_be_named = has_outbox && state.has_scanned && !has_gap;
        let scanned = scan(documents, source, state, has_gap);
        let found = scanned.inspect_err(|_| source.must_scan.store(true, Ordering::Relaxed))?;
        let of = |root: &String| (root.clone(), standing(documents, source, root));
        state.found.extend(found.iter().map(of));
        if has_outbox {
            // What was committed while this scanned.
            read_outbox(documents, source, state)?;
        }
        let named = std::mem::take(&mut state.named);
        if shall_be_named {
            let missed = found.difference(&named).count();
            Counters::add(&source.counters.missed, missed);
        }
        state.swept_ms = now;
    }
    if has_outbox && now >= state.pruned_ms.saturating_add(PRUNE_MS) {
        state.pruned_ms = now;
        match source.rows.prune(&source.shape) {
            Ok(()) | Err(SourceError::Busy { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    source.has_outbox.store(has_outbox, Ordering::Relaxed);
    // Last: what failed above is looked at again.
    state.pulse = Some(pulse);
    Ok(())
}

/// Takes up the roots that an outbox names, each part as it is read; returns whether there is one. What it names is marked
/// before its position moves, save what will be left out.
fn read_outbox(
    documents: &Documents,
    source: &SourceRuntime,
    state: &mut FeedState,
) -> Result<bool, FollowFailed> {
    let mut births_left = lock(&source.follower).births_left();
    loop {
        if state.position.is_none() {
            state.position = source.position()?;
        }
        let Some(read) = source.rows.outbox(&source.shape, state.position, OUTBOX_STEP)? else {
            return Ok(false);
        };
        match read.continuity {
            Continuity::Whole => {}
            Continuity::Gap => source.must_scan.store(true, Ordering::Relaxed),
            Continuity::Restored => {
                tracing::warn!(
                    event = "database_restored",
                    source = source.name,
                    "the database was put back from a backup: documents whose rows are others now stay as they are; look \
                     at `gangline reconcile plan`, and accept it with `gangline reconcile run --accept-restored`"
                );
                // Before the position: what happens in between is found again.
                source.begin_era()?;
                source.must_scan.store(true, Ordering::Relaxed);
            }
        }
        if state.position != Some(read.position) {
            let of = |root: &String| (root.clone(), standing(documents, source, root));
            let found: Vec<_> = read.roots.iter().map(of).collect();
            let mut is_kept = |standing| {
                let is_kept = standing != Standing::Unborn || births_left > 0;
                births_left -= usize::from(is_kept && standing == Standing::Unborn);
                is_kept
            };
            let marked = found.iter().filter(|(_, standing)| is_kept(*standing)).map(|(root, _)| root);
            source.read_to(read.position, &marked.cloned().collect::<Vec<_>>())?;
            state.position = Some(read.position);
            state.found.extend(found);
        }
        state.named.extend(read.roots);
        if !read.is_more {
            return Ok(true);
        }
    }
}

/// The roots whose rows are not what they were when they were looked at last; and, the first time and where the feed has a
/// gap, not what they were when their documents followed them.
fn scan(
    documents: &Documents,
    source: &SourceRuntime,
    state: &mut FeedState,
    has_gap: bool,
) -> Result<BTreeSet<String>, FollowFailed> {
    let mut now = BTreeMap::new();
    let scanned = source.rows.scan(&source.shape, &mut |root, digest| {
        now.insert(root.to_owned(), digest);
    })?;
    source.set_nameless(scanned.nameless);
    let mut found = BTreeSet::new();
    if state.has_scanned {
        let changed = now.iter().filter(|(root, digest)| state.digests.get(*root) != Some(digest));
        found.extend(changed.map(|(root, _)| root.clone()));
        found.extend(state.digests.keys().filter(|root| !now.contains_key(*root)).cloned());
    }
    if !state.has_scanned || has_gap {
        for named in documents.names() {
            let Some(root) = source.own_root(&named) else { continue };
            let followed = source.ref_of(&root)?.map(|note| note.digest);
            if followed != now.get(&root).map(|digest| digest_text(*digest)) {
                found.insert(root);
            }
        }
    }
    state.digests = now;
    state.has_scanned = true;
    Ok(found)
}

/// Runs what the follower says.
async fn run_roots(documents: Documents, source: Arc<SourceRuntime>) {
    let stop = documents.inner.stop.clone();
    while !stop.is_cancelled() {
        let (effects, due) = {
            let mut follower = lock(&source.follower);
            follower.handle(clock::now_ms(), FollowInput::Tick);
            let mut effects = Vec::new();
            while let Some(effect) = follower.poll_effect() {
                effects.push(effect);
            }
            (effects, follower.next_deadline())
        };
        for effect in effects {
            match effect {
                FollowEffect::Run(root) => {
                    let (documents, source) = (documents.clone(), Arc::clone(&source));
                    documents.inner.tasks.clone().spawn(run_root(documents, source, root));
                }
                FollowEffect::Scan => source.must_scan.store(true, Ordering::Relaxed),
                FollowEffect::LeaveOut => tracing::warn!(
                    event = "roots_left_unborn",
                    source = source.name,
                    "so many rows have changed of which nobody has opened the documents that not all are opened: the others \
                     open when somebody asks for them"
                ),
                FollowEffect::RetryIn(root, ms) => {
                    let (_, id) = source.document_of(&root);
                    if let Some(document) = documents.live_one(&id)
                        && let Some(trouble) = document.trouble()
                    {
                        document.set_trouble(Some(Trouble { retry_in: Some(ms), ..trouble }));
                    }
                }
            }
        }
        let wait = due.map_or(60_000, |due| due.saturating_sub(clock::now_ms()));
        tokio::select! {
            () = source.wake.notified() => {}
            () = clock::pause(Duration::from_millis(wait)) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Runs one root, as nobody in particular: a system actor has no presence.
async fn run_root(documents: Documents, source: Arc<SourceRuntime>, root: String) {
    let outcome = follow_root(&documents, &source, &root, None, false).await;
    source.tell(match outcome {
        Ok(_) => FollowInput::Done(root),
        Err(failed) => {
            Counters::add(&source.counters.failures, 1);
            let reason = failed.reason_for(&source.document_of(&root).0);
            tracing::warn!(event = "reconcile_failed", source = source.name, root, "{reason}");
            source.set_run_failure(format!("{}: {reason}", source.document_of(&root).0));
            if failed.may_pass() { FollowInput::Failed(root) } else { FollowInput::GaveUp(root) }
        }
    });
}

/// Lets the document of a root follow, whether it is open or not. Returns what was done; none where there is no such row, or
/// where a feed asks and the document has followed when it was opened for this.
pub(crate) async fn follow_root(
    documents: &Documents,
    source: &Arc<SourceRuntime>,
    root: &str,
    actor: Option<&str>,
    accepts_older: bool,
) -> Result<Option<super::source::Followed>, FollowFailed> {
    let (name, id) = source.document_of(root);
    if !documents.inner.names.has(&id) && documents.live_one(&id).is_none() {
        let rows = source.read(root).await?;
        if rows.root.is_none() && rows.bad.iter().all(|bad| bad.list.is_some()) {
            return Ok(None);
        }
    }
    documents.inner.names.want(id, &name);
    let was_open = documents.live_one(&id).is_some();
    let guest =
        documents.enter(id, Role::System).await.map_err(|error| FollowFailed::Store(error.to_string()))?;
    // Opening it began after the feed's word, and so did that look at the rows.
    if !was_open && guest.has_followed() && actor.is_none() && !accepts_older {
        return Ok(None);
    }
    let followed = source.follow(&guest, root, actor, accepts_older).await;
    match &followed {
        Ok(_) => guest.set_trouble(None),
        Err(failed) => {
            guest.set_trouble(Some(Trouble { reason: failed.reason_for(&name), retry_in: None }));
        }
    }
    followed.map(Some)
}
