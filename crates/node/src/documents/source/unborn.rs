//! What would become of a root that nobody has opened: worked out in memory, without a document.

use std::sync::Arc;

use bft_json_crdt::BaseCrdt;
use bft_json_crdt::json_crdt::JsonCrdt;
use gangline_reconcile::{Plan, Rows, Source, plan};

use super::{FollowFailed, Hold, SourceRuntime};
use crate::api::blocking;

impl SourceRuntime {
    /// As [`Self::plan`], of an empty document. Nothing is opened, and nothing is written.
    pub(crate) async fn plan_unborn(
        self: &Arc<Self>,
        root: &str,
        rows: Rows,
    ) -> Result<(Plan, Rows, Option<Hold>), FollowFailed> {
        let (this, root) = (Arc::clone(self), root.to_owned());
        let work = move || {
            let (name, _) = this.document_of(&root);
            let empty = BaseCrdt::<JsonCrdt>::of_source(&this.keypair, &this.author(), &name);
            let source = Source { keypair: &this.keypair, shape: &this.shape, document: &name };
            let planned = plan(&empty, source, &rows, false)?;
            let hold = this.is_restored(&root, rows.digest())?.then_some(Hold::Restored);
            Ok((planned, rows, hold))
        };
        blocking(work).await?
    }
}
