//! Appends, spaces and leases as they are shown.

use bft_json_crdt::keypair::AuthorId;
use gangline_lease::{Access, IntentId, Lease, Placed, SpaceName, SpaceState};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::AppInner;

/// What an append is answered.
#[derive(Serialize)]
pub(super) struct Appended<'a> {
    seq: u64,
    epoch: u64,
    id: &'a str,
    hash: String,
}

impl<'a> Appended<'a> {
    pub(super) fn of(id: &'a IntentId, placed: &Placed) -> Self {
        let Placed { seq, epoch, hash, .. } = placed;
        Self { seq: seq.0, epoch: epoch.0, id: id.as_str(), hash: hash.to_string() }
    }
}

impl AppInner {
    /// A lease, or that there is none.
    pub(super) fn show_lease(&self, lease: Option<&Lease>) -> Value {
        match lease {
            None => json!({
                "holder": null, "holder_name": null, "holder_url": null, "epoch": null, "expires_in_ms": 0, "here": false,
            }),
            Some(Lease { holder, epoch, left }) => json!({
                "holder": holder.node.to_string(),
                "holder_name": self.author_name(&holder.node),
                "holder_url": holder.url,
                "epoch": epoch.0,
                "expires_in_ms": u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                "here": holder.node == self.author,
            }),
        }
    }

    /// A space with its lease.
    pub(super) fn show_space(
        &self,
        space: &SpaceName,
        state: &SpaceState,
        access: &Access,
        lease: Option<&Lease>,
    ) -> Value {
        let key = |node: &AuthorId| node.to_string();
        let mut shown = json!({
            "space": space.as_str(),
            "next": state.head.next.0,
            "hash": state.head.hash.to_string(),
            "epoch": state.epoch.0,
            "incarnation": state.incarnation.to_string(),
            "holder": lease.map(|lease| key(&lease.holder.node)),
            "holder_name": lease.map(|lease| self.author_name(&lease.holder.node)),
            "access": match access {
                Access::Open => "open",
                Access::Copy => "copy",
                Access::Moved { .. } => "moved",
            },
        });
        if let (Access::Moved { to }, Some(shown)) = (access, shown.as_object_mut()) {
            shown.insert("moved_to".into(), to.as_str().into());
        }
        if let (Some(divergence), Some(shown)) =
            (self.logs.authority.divergence(space), shown.as_object_mut())
        {
            shown.insert("diverged".into(), divergence.to_string().into());
        }
        shown
    }
}
