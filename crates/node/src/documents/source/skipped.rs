//! Rows that no document can have: they are skipped while all others go through, and named wherever somebody looks.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use gangline_reconcile::BadRow;

use super::SourceRuntime;
use crate::documents::live::LiveDocument;

/// Most rows of one root that are named; the others are counted.
const NAMED_MAX: usize = 100;

/// How many rows of a source no document has.
#[derive(Default)]
pub(super) struct Skipped {
    /// Of documents that have followed since the node was started, by root: only those that miss some.
    rows: BTreeMap<String, usize>,
    /// Root rows whose key can be none, by what is wrong with it.
    nameless: BTreeMap<String, usize>,
}

impl SourceRuntime {
    /// Names rows that a document cannot have, without their values.
    pub(crate) fn names_of(&self, bad: &[BadRow]) -> Vec<String> {
        let mut names: Vec<String> = bad.iter().take(NAMED_MAX).map(|bad| self.place_of(bad)).collect();
        match bad.len().saturating_sub(NAMED_MAX) {
            0 => {}
            more => names.push(format!("and {more} more rows that cannot be followed")),
        }
        names
    }

    /// Remembers which rows a document has not followed, and says so where that is news.
    pub(super) fn remember_skipped(&self, document: &LiveDocument, root: &str, bad: &[BadRow]) {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match bad.len() {
            0 => skipped.rows.remove(root),
            rows => skipped.rows.insert(root.to_owned(), rows),
        };
        drop(skipped);
        let is_news = document.set_skipped(self.names_of(bad));
        // A document that is opened anew says what was known.
        if !is_news || known.unwrap_or_default() == bad.len() {
            return;
        }
        let (name, rows) = (&self.name, bad.len());
        match bad.first().map(|first| self.place_of(first)) {
            None => {
                tracing::info!(event = "rows_readable", source = name, root, "all rows are followed again")
            }
            Some(first) => tracing::warn!(
                event = "rows_skipped",
                source = name,
                root,
                rows,
                "rows that a document cannot have are not followed, the first one is {first}"
            ),
        }
    }

    /// How many rows documents have not followed.
    pub(crate) fn skipped(&self) -> usize {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).rows.values().sum()
    }

    /// Remembers how many root rows have a key that can be none, and says so where that is news.
    pub(in crate::documents) fn set_nameless(&self, nameless: BTreeMap<String, usize>) {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        if skipped.nameless == nameless {
            return;
        }
        skipped.nameless = nameless;
        drop(skipped);
        for nameless in self.nameless() {
            tracing::warn!(event = "roots_skipped", source = self.name, "{nameless}");
        }
    }

    /// Names root rows whose key can be none, and which no document follows therefore.
    pub(crate) fn nameless(&self) -> Vec<String> {
        let table = &self.shape.root;
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        let each = skipped.nameless.iter().map(|(what, rows)| match rows {
            1 => format!("no document follows 1 row of {}: its {} {what}", table.table, table.key.0),
            _ => format!("no document follows {rows} rows of {}: their {} {what}", table.table, table.key.0),
        });
        each.collect()
    }

    /// How many root rows have a key that can be none.
    pub(crate) fn nameless_rows(&self) -> usize {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).nameless.values().sum()
    }
}
