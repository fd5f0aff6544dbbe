//! What a link asks of a document's replica, and how a shell answers: short reads, one at a time per document.

use std::collections::BTreeSet;
use std::sync::Arc;

use bft_json_crdt::bundle::Signatures;
use bft_json_crdt::json_crdt::{Holdings, VersionVector};
use bft_json_crdt::{AuthorId, Change, Digest, DocumentId};
use bytes::Bytes;
use gangline_doc::{LogSeq, ReadLimit, SyncSource};
use gangline_wire::v2;

/// From so many changes on, a frame of what a peer lacks is a bundle: compressed.
const BUNDLE_GIFTS_MIN: usize = 6;
/// From so many changes on, a frame of what is new is a bundle. Compressing takes longer than sending a few more bytes.
pub(super) const BUNDLE_NEWS_MIN: usize = 64;

/// A question about one document.
#[derive(Debug)]
pub enum Query {
    /// What does the replica hold, and whose changes does it take?
    Survey,
    /// What does the peer hold of it?
    Holdings {
        /// The peer's vector.
        theirs: VersionVector,
        /// Changes that it holds besides.
        common: Vec<Digest>,
        /// Whose changes the peer takes.
        accepts: Option<Arc<BTreeSet<AuthorId>>>,
    },
    /// As before, with more that is known now.
    Learn {
        /// What was known.
        holdings: Box<Holdings>,
        /// The peer's vector.
        theirs: VersionVector,
        /// Changes that the peer holds.
        common: Vec<Digest>,
        /// Authors whose chain was searched.
        settled: BTreeSet<AuthorId>,
    },
    /// The next frame of what the peer lacks.
    Give {
        /// What the peer holds.
        holdings: Box<Holdings>,
        /// The document's number in the frame.
        number: u32,
        /// How much.
        limit: ReadLimit,
    },
    /// Which of these does the replica hold?
    Contains(Vec<Digest>),
    /// As before, and whose changes does it take?
    Check(Vec<Digest>),
    /// Which changes stand at these seqs of the chains that end with these tips?
    OnChains(Vec<(Digest, u64)>),
}

/// What a replica answers.
#[derive(Debug)]
pub enum Answer {
    /// To [`Query::Survey`].
    Survey {
        /// What it holds.
        vector: VersionVector,
        /// All of that is durable when the log is this long.
        end: LogSeq,
        /// Whose changes it takes.
        accepts: Option<BTreeSet<AuthorId>>,
    },
    /// To [`Query::Holdings`].
    Holdings {
        /// What the peer holds.
        holdings: Box<Holdings>,
        /// What the replica holds, at least.
        vector: VersionVector,
        /// All that is to be given is durable when the log is this long.
        end: LogSeq,
    },
    /// To [`Query::Learn`].
    Learned(Box<Holdings>),
    /// To [`Query::Give`].
    Given {
        /// What the peer holds with it.
        holdings: Box<Holdings>,
        /// The frame, unless nothing is left.
        frame: Option<Bytes>,
        /// How many changes are in it.
        changes: usize,
    },
    /// To [`Query::Contains`].
    Contains(Vec<bool>),
    /// To [`Query::Check`].
    Checked {
        /// Which it holds.
        held: Vec<bool>,
        /// Whose changes it takes.
        accepts: Option<BTreeSet<AuthorId>>,
    },
    /// To [`Query::OnChains`].
    OnChains(Vec<Option<Digest>>),
}

/// Answers a query. Takes a read lock for a moment; for [`Query::Give`], the time to read and compress a frame.
#[must_use]
pub fn answer(source: &dyn SyncSource, query: Query) -> Answer {
    match query {
        Query::Survey => {
            let (vector, end) = source.survey();
            Answer::Survey { vector, end, accepts: source.accepts() }
        }
        Query::Holdings { theirs, common, accepts } => {
            // First: what is given reaches at least as far.
            let (vector, _) = source.survey();
            let (holdings, end) = source.holdings(&theirs, &common, accepts.as_deref());
            Answer::Holdings { holdings: Box::new(holdings), vector, end }
        }
        Query::Learn { mut holdings, theirs, common, settled } => {
            source.learn_holdings(&mut holdings, &theirs, &common, &settled);
            Answer::Learned(holdings)
        }
        Query::Give { mut holdings, number, limit } => {
            let missing = source.missing(&mut holdings, limit);
            let changes: Vec<Change> = missing
                .into_iter()
                .map(|missing| match missing.is_vouched {
                    true => missing.change,
                    // Nobody here has checked its signature: the later one vouches.
                    false => missing.change.with_signature([0; 64]),
                })
                .collect();
            let frame = (!changes.is_empty()).then(|| frame_of(number, &changes, BUNDLE_GIFTS_MIN).into());
            Answer::Given { holdings, frame, changes: changes.len() }
        }
        Query::Contains(digests) => Answer::Contains(source.contains(&digests)),
        Query::Check(digests) => {
            Answer::Checked { held: source.contains(&digests), accepts: source.accepts() }
        }
        Query::OnChains(points) => Answer::OnChains(source.on_chains(&points)),
    }
}

/// The frame with these changes of one document: a bundle from `bundle_min` on.
pub(super) fn frame_of(number: u32, changes: &[Change], bundle_min: usize) -> Vec<u8> {
    // Peers of version 1 want each op vouched for, so the board's signatures all travel.
    let is_board = changes.first().is_some_and(|change| change.document() == DocumentId::DEFAULT);
    let signatures = if is_board { Signatures::All } else { Signatures::Covering };
    if changes.len() >= bundle_min
        && let Ok(frame) = v2::bundle_of(number, changes, signatures)
    {
        return frame;
    }
    v2::changes_of(number, changes.iter())
}
