//! The documents that a source's rows name, kept in order for those who list them: a table is read once for all pages.

use std::sync::{Arc, Mutex, PoisonError};

use gangline_reconcile::SourceError;

use super::SourceRuntime;
use crate::clock;

/// Rows that are read at once.
const STEP: usize = 100_000;
/// For how long a list is gone on with although somebody has written meanwhile.
const FRESH_MS: u64 = 5_000;

/// Names, as they were when the table was read.
#[derive(Default)]
pub(crate) struct Listed(Mutex<Option<Kept>>);

struct Kept {
    pulse: u64,
    at_ms: u64,
    names: Arc<Vec<String>>,
}

impl SourceRuntime {
    /// The names of all documents that there are rows of, ascending. Whoever goes on with a list that was begun may see them
    /// as they were a moment ago. May block.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) fn listed(&self, goes_on: bool) -> Result<Arc<Vec<String>>, SourceError> {
        let mut kept = self.listed.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the rows: what is written meanwhile is read the next time.
        let (now, pulse) = (clock::now_ms(), self.rows.pulse()?);
        let is_as_it_was =
            |kept: &&Kept| kept.pulse == pulse || (goes_on && now < kept.at_ms.saturating_add(FRESH_MS));
        if let Some(kept) = kept.as_ref().filter(is_as_it_was) {
            return Ok(Arc::clone(&kept.names));
        }
        let mut names = Vec::new();
        let mut last: Option<String> = None;
        loop {
            let roots = self.rows.roots(&self.shape, last.as_deref(), STEP)?;
            names.extend(roots.iter().map(|root| self.shape.mapping.root.document.of(root)));
            let is_last = roots.len() < STEP;
            last = roots.into_iter().next_back();
            if is_last {
                break;
            }
        }
        names.sort_unstable();
        let names = Arc::new(names);
        *kept = Some(Kept { pulse, at_ms: now, names: Arc::clone(&names) });
        Ok(names)
    }
}
