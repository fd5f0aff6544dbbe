//! What changes logs: judged by the tip that the branch is then moved from, under the lock of the repository.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use gangline_lease::{
    Access, Batch, Epoch, Event, Head, Incarnation, Misfit, Part, Placed, Reach, SpaceName, SpaceState,
    Verdict, Written,
    rules::{self, SealRefusal},
};
use git2::Oid;

use super::{
    index::Index,
    pack::{LOOSE_MAX, Packer},
    record::{self, Standing, Text},
    ref_name,
    repo::{Move, Repo, Tip},
};
use crate::worker::{Failure, Worker};

/// How long to wait for another process that writes.
const LOCK_TRIES_MAX: u32 = 2_000;
const LOCK_TRY_EVERY: Duration = Duration::from_millis(5);
/// How often a branch is judged again that a `git` has moved at the same time.
const MOVES_MAX: u32 = 8;
/// Spaces whose tips are remembered.
const TIPS_MAX: usize = 4_096;

/// One process's, on a thread of its own.
pub(super) struct Writer {
    repo: Repo,
    lock: File,
    index: Arc<Mutex<Index>>,
    packer: Worker<Packer>,
    /// Commits since something was given to the packer.
    unpacked: usize,
    tips: BTreeMap<SpaceName, Tip>,
    /// A branch may have been moved or not: what the disk holds is not known before the repository is opened again.
    has_failed: bool,
}

/// What was decided: an answer, and what is to be written before it is given.
struct Decision<T> {
    answer: T,
    change: Option<Change>,
}

/// Commits to be put on a branch, one on the other.
struct Change {
    commits: Vec<(Text, Standing, Vec<Event>)>,
    /// It takes the place of the log that is there.
    is_new_log: bool,
}

impl<T> Decision<T> {
    fn only(answer: T) -> Self {
        Self { answer, change: None }
    }
}

impl Writer {
    pub(super) fn new(repo: Repo, lock: File, index: Arc<Mutex<Index>>, packer: Worker<Packer>) -> Self {
        // What others have left loose is looked at early.
        let unpacked = LOOSE_MAX / 2;
        Self { repo, lock, index, packer, unpacked, tips: BTreeMap::new(), has_failed: false }
    }

    /// Raises the epoch, and opens or closes the space where that is wanted.
    pub(super) fn seal(
        &mut self,
        space: &SpaceName,
        epoch: Epoch,
        wanted: Option<&Access>,
        first: Incarnation,
        by: Option<&Reach>,
    ) -> Result<Result<SpaceState, SealRefusal>, Failure> {
        self.change(space, |_, _, tip| {
            let begin =
                || SpaceState { incarnation: first, epoch: Epoch::NONE, head: Head::start(space, first) };
            let found = tip.map(|tip| (&tip.standing.state, &tip.standing.access));
            let (state, access) = match rules::seal_for(found, epoch, wanted.cloned(), begin) {
                Ok(sealed) => sealed,
                Err(refusal) => return Ok(Decision::only(Err(refusal))),
            };
            let what = match wanted {
                None => "claim".to_owned(),
                Some(access) => access.to_string(),
            };
            let standing = Standing { space: space.clone(), state, access };
            let text = record::claim(&standing, &what, nonce()?, by);
            let change = Change { commits: vec![(text, standing, Vec::new())], is_new_log: false };
            Ok(Decision { answer: Ok(state), change: Some(change) })
        })
    }

    /// Judges a batch and puts it on the log, if it is to be taken.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(Verdict, Written), Failure> {
        self.change(batch.space(), |repo, index, tip| {
            let known = known(repo, index, tip, batch.events())?;
            let state = tip.map(|tip| &tip.standing.state);
            let verdict = rules::judge(state, &batch.bid(), !known.is_empty());
            let Some(tip) = tip.filter(|_| verdict == Verdict::Take) else {
                return Ok(Decision::only((verdict, Written::Duplicate(known))));
            };
            let state = SpaceState { head: batch.end(), ..tip.standing.state };
            let standing = Standing { state, ..tip.standing.clone() };
            let text = record::batch(&standing, batch.events());
            let change =
                Change { commits: vec![(text, standing, batch.events().to_vec())], is_new_log: false };
            Ok(Decision { answer: (verdict, Written::Done(batch.end())), change: Some(change) })
        })
    }

    /// Judges a part that was verified elsewhere and puts it on the log, if it fits, a commit for each batch.
    pub(super) fn adopt(&mut self, part: &Part) -> Result<Result<SpaceState, Misfit>, Failure> {
        let space = part.space();
        self.change(space, |repo, index, tip| {
            let kept = tip.filter(|_| part.replaces().is_none());
            let at = known(repo, index, kept, part.events())?.first().map(|(_, placed)| placed.seq);
            let found = tip.map(|tip| (&tip.standing.state, &tip.standing.access));
            let state = match rules::adopt(found, part, at) {
                Ok(state) => state,
                Err(misfit) => return Ok(Decision::only(Err(misfit))),
            };
            let access = kept.map_or(Access::Copy, |tip| tip.standing.access.clone());
            let stand = |head| Standing {
                space: space.clone(),
                state: SpaceState { head, ..state },
                access: access.clone(),
            };
            let mut commits = Vec::new();
            if kept.is_none() {
                let standing = stand(part.before());
                let text = record::claim(&standing, "copy begins", nonce()?, None);
                commits.push((text, standing, Vec::new()));
            }
            for events in part.events().split_inclusive(|event| event.signature.is_some()) {
                let head = events.last().map(|last| Head { next: last.seq.plus(1), hash: last.hash });
                let standing = stand(head.unwrap_or(state.head));
                commits.push((record::batch(&standing, events), standing, events.to_vec()));
            }
            let change = Change { commits, is_new_log: part.replaces().is_some() };
            Ok(Decision { answer: Ok(state), change: Some(change) })
        })
    }

    /// Decides by a log's tip and carries it out, with the branch moved from that very tip.
    fn change<T>(
        &mut self,
        space: &SpaceName,
        decide: impl Fn(&mut Repo, &mut Index, Option<&Tip>) -> Result<Decision<T>, Failure>,
    ) -> Result<T, Failure> {
        if self.has_failed {
            return Err(Failure::refused("an earlier change failed; open the repository again"));
        }
        self.lock()?;
        let changed = self.change_locked(space, decide);
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the lock of the repository is not let go");
        }
        if matches!(changed, Err(Failure::Unknown(_))) {
            self.has_failed = true;
            tracing::error!(%space, "the log has stopped");
        }
        changed
    }

    fn change_locked<T>(
        &mut self,
        space: &SpaceName,
        decide: impl Fn(&mut Repo, &mut Index, Option<&Tip>) -> Result<Decision<T>, Failure>,
    ) -> Result<T, Failure> {
        for _ in 0..MOVES_MAX {
            let tip = self.repo.tip(space, self.tips.get(space))?;
            let Decision { answer, change } =
                decide(&mut self.repo, &mut lock_index(&self.index), tip.as_ref())?;
            let Some(change) = change else { return Ok(answer) };
            if self.carry_out(space, tip.as_ref(), &change)? == Move::Done {
                return Ok(answer);
            }
        }
        Err(Failure::refused("another program keeps moving the branch"))
    }

    fn carry_out(&mut self, space: &SpaceName, tip: Option<&Tip>, change: &Change) -> Result<Move, Failure> {
        let before = tip.map(|tip| tip.oid);
        if let Some(before) = before.filter(|_| change.is_new_log) {
            self.put_aside(space, before)?;
        }
        let mut parent = before.filter(|_| !change.is_new_log);
        let mut written: Vec<(Oid, &[Event])> = Vec::new();
        for (text, _, events) in &change.commits {
            let oid = self.repo.write(text, parent)?;
            parent = Some(oid);
            written.push((oid, events));
        }
        let (Some(oid), Some((_, standing, _))) = (parent, change.commits.last()) else {
            return Ok(Move::Done);
        };
        let branch = ref_name::of(space);
        self.repo.keep_former(&branch);
        if self.repo.move_branch(&branch, before, oid)? == Move::Elsewhere {
            return Ok(Move::Elsewhere);
        }
        if self.tips.len() >= TIPS_MAX {
            self.tips.clear();
        }
        self.tips.insert(space.clone(), Tip { oid, standing: standing.clone() });
        lock_index(&self.index).note(space, before.filter(|_| !change.is_new_log), &written);
        self.unpacked += written.len();
        if self.unpacked >= LOOSE_MAX {
            self.unpacked = 0;
            // Nobody waits for it.
            drop(self.packer.ask(|packer| {
                packer.run();
                Ok(())
            }));
        }
        Ok(Move::Done)
    }

    /// Keeps a log under another branch. Whoever is killed after this has one branch more, and lost nothing.
    fn put_aside(&mut self, space: &SpaceName, tip: Oid) -> Result<(), Failure> {
        let name = ref_name::aside(space, tip);
        if self.repo.branch(&name)? == Some(tip) {
            return Ok(());
        }
        match self.repo.move_branch(&name, None, tip)? {
            Move::Done => Ok(()),
            Move::Elsewhere => Err(Failure::refused("the branch that would keep the log is another's")),
        }
    }

    /// Takes the lock of the repository. A process that was killed has let go of it.
    #[expect(
        clippy::disallowed_methods,
        reason = "waiting for a lock with a limit takes a pause between tries"
    )]
    fn lock(&self) -> Result<(), Failure> {
        for _ in 0..LOCK_TRIES_MAX {
            match self.lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_TRY_EVERY),
                Err(TryLockError::Error(error)) => return Err(Failure::Refused(Arc::new(error))),
            }
        }
        Err(Failure::refused("another process has held the lock of the repository for 10 s"))
    }
}

/// Which events' intents are in a log.
fn known(
    repo: &mut Repo,
    index: &mut Index,
    tip: Option<&Tip>,
    events: &[Event],
) -> Result<Vec<(usize, Placed)>, Failure> {
    match tip {
        None => Ok(Vec::new()),
        Some(tip) => index.find(repo, &tip.standing.space, tip.oid, events.iter().map(|event| &event.id)),
    }
}

pub(super) fn lock_index(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two claims must never be the same bytes: git would take them for one.
fn nonce() -> Result<[u8; 16], Failure> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| Failure::Refused(Arc::new(error)))?;
    Ok(nonce)
}
