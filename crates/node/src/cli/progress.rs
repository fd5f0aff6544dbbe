//! A bar on stderr for what takes longer than half a second, on a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes less needs no bar.
const QUIET: Duration = Duration::from_millis(500);
/// What it looks like; `{msg}` says what is done.
const STYLE: &str = "{msg} [{bar:30}] {pos}/{len}, {eta} left";

/// How far something has come. Gone with its value.
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    is_shown: bool,
}

impl Progress {
    /// Begins something that has `total` of some unit.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(STYLE) {
            bar.set_style(style);
        }
        bar.set_message(what);
        #[expect(clippy::disallowed_methods, reason = "how long it takes decides whether there is a bar")]
        let began = Instant::now();
        Self { bar, began, is_shown: false }
    }

    /// Notes that so much is done.
    pub(crate) fn at(&mut self, done: u64) {
        if !self.is_shown && self.began.elapsed() >= QUIET {
            self.is_shown = true;
            // Nothing is drawn where nobody looks.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
