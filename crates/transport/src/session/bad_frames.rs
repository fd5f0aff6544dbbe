//! Bad frames of one peer, and when they are too many.

use std::collections::VecDeque;

use super::{CloseReason, Millis, SessionSettings};

/// When the bad frames of the last while came. Holds [`SessionSettings::bad_frames_max`] moments at most.
#[derive(Debug, Default)]
pub(crate) struct BadFrames {
    at: VecDeque<Millis>,
}

impl BadFrames {
    /// Counts one, and says whether that was one too many.
    pub(crate) fn count(&mut self, now: Millis, settings: &SessionSettings) -> Option<CloseReason> {
        while self.at.front().is_some_and(|at| now >= at.plus(settings.bad_frames_window_ms)) {
            self.at.pop_front();
        }
        self.at.push_back(now);
        (self.at.len() >= settings.bad_frames_max).then_some(CloseReason::TooManyBadFrames {
            count: self.at.len(),
            window_ms: settings.bad_frames_window_ms,
        })
    }
}
