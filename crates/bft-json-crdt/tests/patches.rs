//! What a program that mirrors a document sees of it: the patches of each step, applied one after the other to
//! the view before it, make the view after it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use bft_json_crdt::json_crdt::DocumentId;
use proptest::prelude::*;

#[path = "support/team.rs"]
mod team;
use team::{DOCUMENT, Focus, run, steps};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn patches_follow_every_step(steps in steps(3, Focus::All, 60)) {
        run(3, DOCUMENT, true, &steps, |_, _| ());
    }

    #[test]
    fn patches_follow_every_step_of_the_default_document(steps in steps(3, Focus::All, 40)) {
        run(3, DocumentId::DEFAULT, true, &steps, |_, _| ());
    }
}
