//! Which session brought which entries, as runs: a bulk of a million changes is one run.
//!
//! It reaches back further than the ring of recent entries, so that a session that reads from the log does
//! not send a peer what came from it.

use std::collections::VecDeque;

use crate::{entry::OriginId, op_log::LogSeq};

/// Runs beyond this are forgotten, oldest first; the worst is an echo that the peer has already seen.
const RUNS_MAX: usize = 65_536;

#[derive(Default)]
pub(super) struct Origins {
    runs: VecDeque<Run>,
}

struct Run {
    start: LogSeq,
    end: LogSeq,
    origin: OriginId,
}

impl Origins {
    /// Notes the origin of the entry at `seq`, which is behind all noted before.
    pub(super) fn push(&mut self, seq: LogSeq, origin: Option<OriginId>) {
        let Some(origin) = origin else { return };
        if let Some(last) = self.runs.back_mut()
            && last.origin == origin
            && last.end == seq
        {
            last.end = seq.plus(1);
            return;
        }
        if self.runs.len() == RUNS_MAX {
            self.runs.pop_front();
        }
        self.runs.push_back(Run { start: seq, end: seq.plus(1), origin });
    }

    pub(super) fn of(&self, seq: LogSeq) -> Option<OriginId> {
        let behind = self.runs.partition_point(|run| run.start <= seq);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        (seq < run.end).then_some(run.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_again() {
        let brought: [Option<u64>; 9] =
            [None, Some(1), Some(1), None, Some(1), Some(2), Some(2), None, Some(2)];
        let mut origins = Origins::default();
        for (seq, origin) in (0..).zip(brought) {
            origins.push(LogSeq(seq), origin.map(OriginId));
        }
        let found: Vec<_> = (0..9).map(|seq| origins.of(LogSeq(seq)).map(|origin| origin.0)).collect();
        assert_eq!(found, brought);
        assert_eq!(origins.runs.len(), 4);
        assert_eq!(origins.of(LogSeq(9)), None);
    }

    #[test]
    fn the_oldest_runs_are_forgotten() {
        let mut origins = Origins::default();
        for seq in 0..RUNS_MAX as u64 + 10 {
            origins.push(LogSeq(seq), Some(OriginId(seq % 2)));
        }
        assert_eq!(origins.runs.len(), RUNS_MAX);
        assert_eq!(origins.of(LogSeq(9)), None);
        assert_eq!(origins.of(LogSeq(10)), Some(OriginId(0)));
    }
}
