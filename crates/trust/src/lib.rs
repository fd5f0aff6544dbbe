//! Who may connect, read, write and invite: signed grants and revocations, and tickets to join by.
//!
//! A [`Grant`] says that a key may do something with a document, a [`Revocation`] that a key may do nothing any
//! more. Both are [`Statement`]s; a signed one is a [`Record`], and no `Record` exists whose signature was not
//! checked. A [`Ledger`] is a set of records that nodes tell each other, and [`Policy`] is a node's own verdict:
//! its list from the settings, its ledger, and whether it is open to everybody. A [`Ticket`] is an invitation in
//! one line of text.
//!
//! Pure: `now` is an argument, and so is every random byte. What a record looks like is drawn in [`record`], what
//! counts in [`ledger`].
//!
//! ```
//! use bft_json_crdt::DocumentId;
//! use bft_json_crdt::keypair::make_keypair;
//! use gangline_trust::{Grant, Policy, Rights, Statement};
//!
//! let (alice, bob) = (make_keypair(), make_keypair());
//! let mut policy = Policy::new(alice.author(), DocumentId::DEFAULT);
//! assert!(policy.rights_of(&bob.author(), 0).is_none());
//!
//! let grant = Grant {
//!     document: DocumentId::DEFAULT,
//!     issuer: alice.author(),
//!     subject: bob.author(),
//!     rights: Rights::MEMBER,
//!     is_ticket: false,
//!     name: "bob".into(),
//!     expires_at_ms: 0,
//!     id: [1; 16],
//! };
//! let record = Statement::Grant(grant).sign(&alice)?;
//! assert!(policy.learn(record, 0).is_new());
//! assert!(policy.rights_of(&bob.author(), 0).contains(Rights::WRITE));
//! # Ok::<(), gangline_trust::SignError>(())
//! ```

mod encoding;
pub mod ledger;
mod policy;
pub mod record;
mod rights;
mod ticket;

pub use encoding::DecodeError;
pub use ledger::{CHAIN_MAX, Held, Learned, Ledger, Refusal, Standing};
pub use policy::{Listed, Policy, Redeemed};
pub use record::{Grant, NAME_BYTES_MAX, Record, RecordError, Revocation, SignError, Statement};
pub use rights::{Rights, UnknownRight};
pub use ticket::{JoinError, TICKET_PREFIX, TICKET_URLS_MAX, Ticket, TicketError};
