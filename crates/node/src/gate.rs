//! Who may connect to this node, by its settings.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::keypair::AuthorId;
use gangline_transport::{Gate, OpenGate, PeerRights};

use crate::api::Policy;
use crate::config::Settings;

/// The gate that settings ask for: the listed keys, off loopback; everybody on it, or if the operator wrote
/// `insecure = true`.
pub(crate) fn of(settings: &Settings, own: AuthorId) -> std::sync::Arc<dyn Gate> {
    let names = settings.trusted.value.clone();
    match Policy::of(settings) {
        Policy::Tokens => std::sync::Arc::new(Listed { own, names }),
        Policy::Loopback | Policy::Open => std::sync::Arc::new(OpenGate),
    }
}

/// Admits the keys of the trust list.
struct Listed {
    own: AuthorId,
    names: BTreeMap<AuthorId, String>,
}

impl Gate for Listed {
    fn admit(&self, peer: &AuthorId) -> Result<PeerRights, String> {
        let name = self.names.get(peer).cloned();
        if name.is_some() || *peer == self.own {
            return Ok(PeerRights { read: true, write: true, name });
        }
        Err(format!(
            "the key ed25519:{peer} is not in the trust list of this node; its operator adds it under [trust]: \
             name = \"ed25519:{peer}\""
        ))
    }

    fn accepts(&self) -> Option<BTreeSet<AuthorId>> {
        Some(self.names.keys().copied().chain([self.own]).collect())
    }

    fn records(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn learn(&self, _records: &[Vec<u8>]) -> usize {
        0
    }
}
