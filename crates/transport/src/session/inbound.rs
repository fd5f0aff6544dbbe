//! The receiving half: one batch at a time, and what was bad in it.

use bft_json_crdt::{Change, OpState};

use super::received::{Frame, Received};
use super::{Effect, Millis, SessionSettings, SessionStats};

/// The batch that is being applied: whose changes they are, frame by frame.
#[derive(Default)]
pub(super) struct Inbound {
    frames: Vec<Frame>,
    changes: Vec<Change>,
    step: Step,
    /// A batch for which there was no room, and when to try it again.
    again: Option<(Millis, Vec<Change>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// Waits for frames.
    #[default]
    Receiving,
    /// Waits for the document's verdict.
    Applying,
    /// Waits for the log.
    Storing,
}

/// What frames brought.
pub(super) enum Taken {
    /// Changes; what was bad beside them is judged with them.
    Batch(Vec<Change>),
    /// No change. One reason per bad frame.
    Nothing { bad: Vec<String> },
}

/// What became of a batch, for the session to act on.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// What waits in the causal queue, and whether trust is what it waits for.
    pub(super) waiting: Vec<(Change, bool)>,
    /// One reason per bad frame.
    pub(super) bad: Vec<String>,
    /// Whether there was no room for one of the changes in the causal queue.
    pub(super) is_evicted: bool,
}

impl Inbound {
    pub(super) fn is_receiving(&self) -> bool {
        self.step == Step::Receiving
    }

    /// Takes decoded frames in: a batch to apply, or the reasons of frames that brought none.
    pub(super) fn received(&mut self, received: Received, stats: &mut SessionStats) -> Taken {
        stats.received_frames += received.frames.len() as u64;
        stats.received_ops += received.changes.len() as u64;
        if received.changes.is_empty() {
            return Taken::Nothing {
                bad: received.frames.into_iter().filter_map(|frame| frame.bad).collect(),
            };
        }
        self.changes.clone_from(&received.changes);
        self.frames = received.frames;
        self.step = Step::Applying;
        Taken::Batch(received.changes)
    }

    /// Takes the document's verdict, one state per change of the batch.
    pub(super) fn applied(&mut self, states: &[OpState], stats: &mut SessionStats) -> Verdict {
        self.step = Step::Storing;
        let mut verdict = Verdict::default();
        let mut judged = self.changes.drain(..).zip(states);
        for frame in self.frames.drain(..) {
            let mut reason = frame.bad;
            for (change, state) in judged.by_ref().take(frame.changes) {
                if state.is_applied() {
                    stats.applied_ops += 1;
                } else if matches!(state, OpState::AlreadySeen) {
                    stats.known_ops += 1;
                } else if state.is_pending() {
                    verdict.waiting.push((change, matches!(state, OpState::Untrusted)));
                } else if matches!(state, OpState::QueueFull) {
                    verdict.is_evicted = true;
                } else {
                    stats.refused_ops += 1;
                    reason.get_or_insert_with(|| format!("change {} refused: {state:?}", change.digest()));
                }
            }
            verdict.bad.extend(reason);
        }
        verdict
    }

    /// There was no room for the batch: tries it again soon.
    pub(super) fn busy(&mut self, now: Millis, changes: Vec<Change>, settings: &SessionSettings) {
        self.again = Some((now.plus(settings.busy_ms), changes));
    }

    /// Returns the batch that is due for another try.
    pub(super) fn retry(&mut self, now: Millis) -> Option<Effect> {
        let (_, changes) = self.again.take_if(|(due, _)| now >= *due)?;
        Some(Effect::Apply(changes))
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        self.again.as_ref().map(|(due, _)| *due)
    }

    /// The batch is durable: the next one may come.
    pub(super) fn stored(&mut self) {
        self.step = Step::Receiving;
    }
}
