//! The node's trust: whom it lets in, by its settings and by grants, and what of it changes while it runs.
//!
//! What counts is decided in `gangline-trust`. Here it is kept: [`grants`] is the file in the data directory,
//! [`rendezvous`] the nodes that were joined, [`NodeGate`] what sessions ask. The command line writes the same file;
//! a running node notices.

mod gate;
pub(crate) mod grants;
pub(crate) mod rendezvous;

use std::path::Path;

use bft_json_crdt::DocumentId;
use bft_json_crdt::keypair::{AuthorId, Keypair};
use gangline_trust::{Ledger, Policy};

pub(crate) use self::gate::NodeGate;
use crate::config::Settings;
use crate::failure::{Exit, Failure};

/// Which document grants are about: the board.
pub(crate) const DOCUMENT: DocumentId = DocumentId::DEFAULT;

/// The verdict that follows from settings and a ledger.
///
/// A node is open to all if the operator says so, or on loopback, as long as nobody is named.
pub(crate) fn policy(settings: &Settings, own: AuthorId, ledger: Ledger) -> Policy {
    let is_unnamed = settings.trusted.value.is_empty() && ledger.is_empty();
    let is_open = settings.insecure.value || (settings.is_loopback() && is_unnamed);
    Policy::new(own, DOCUMENT)
        .with_listed(settings.trusted.value.clone())
        .with_ledger(ledger)
        .with_open(is_open)
}

/// Whether somebody was ever invited, trusted by hand, or joined.
///
/// # Errors
/// When the file of grants is damaged.
pub(crate) fn has_grants(dir: &Path) -> Result<bool, Failure> {
    Ok(!grants::read(dir)?.is_empty())
}

/// Sixteen bytes that nobody else has.
///
/// # Errors
/// When the system has none.
pub(crate) fn random_id() -> Result<[u8; 16], Failure> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| {
        Failure::new(Exit::Failed, "no_randomness", format!("the system gives no random bytes: {error}"))
    })?;
    Ok(id)
}

/// Signs what the node says about somebody.
///
/// # Errors
/// When a field of it is wrong, most likely the name.
pub(crate) fn sign(
    statement: gangline_trust::Statement,
    keypair: &Keypair,
) -> Result<gangline_trust::Record, Failure> {
    statement.sign(keypair).map_err(|error| {
        Failure::new(Exit::Usage, "bad_grant", error.to_string())
            .hint("a name has at most 64 bytes and no control characters")
    })
}
