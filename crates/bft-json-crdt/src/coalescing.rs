//! When to sign what is being typed: small edits share a change, by count and by time.

/// Decides when an open transaction is due to be signed. A value without a clock: the caller says what time it
/// is, in milliseconds from any fixed moment.
///
/// ```
/// use bft_json_crdt::json_crdt::Coalescing;
///
/// let mut coalescing = Coalescing::new(64, 500);
/// assert!(!coalescing.note_edit(10_000));
/// assert_eq!(coalescing.deadline_ms(), Some(10_500));
/// assert!(!coalescing.is_due(10_499));
/// assert!(coalescing.is_due(10_500)); // commit, and then
/// coalescing.reset();
/// assert_eq!(coalescing.deadline_ms(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalescing {
    edits_max: u32,
    age_ms_max: u64,
    edits: u32,
    since_ms: Option<u64>,
}

impl Coalescing {
    /// Lets at most `edits_max` edits wait, and none longer than `age_ms_max`.
    pub fn new(edits_max: u32, age_ms_max: u64) -> Self {
        Self { edits_max, age_ms_max, edits: 0, since_ms: None }
    }

    /// Notes that an edit was made; returns whether it is time to sign.
    pub fn note_edit(&mut self, now_ms: u64) -> bool {
        self.edits = self.edits.saturating_add(1);
        self.since_ms.get_or_insert(now_ms);
        self.is_due(now_ms)
    }

    /// Returns whether it is time to sign what waits.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.edits > 0
            && (self.edits >= self.edits_max || self.deadline_ms().is_some_and(|deadline| deadline <= now_ms))
    }

    /// Returns when what waits is to be signed at the latest; none where nothing waits.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.since_ms.map(|since| since.saturating_add(self.age_ms_max))
    }

    /// Notes that all that waited was signed.
    pub fn reset(&mut self) {
        self.edits = 0;
        self.since_ms = None;
    }
}
