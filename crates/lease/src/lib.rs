//! Append-only logs with one writer at a time: events, leases, fencing, and the ports of their backends.
//!
//! A *space* has one log and one lease. The holder of the lease appends, everybody else forwards to it
//! ([`AppendAuthority`]). The lease gives liveness; safety is the store's: each grant has an epoch, a new holder
//! *seals* the space with its epoch, and from then on nothing lands under another. Every append compares epoch and
//! head in the transaction that inserts it, and every intent has an id, so that it lands once however often it is
//! tried.
//!
//! This crate has no IO, no threads, no clock and no runtime: it decides, over the ports [`EventStore`],
//! [`LeaseRegistry`], [`Forwarder`] and [`Clock`]. Backends live in `gangline-store`, connections in
//! `gangline-transport`. Read [`event`] first (what is hashed and signed), then [`rules`] (what a store decides),
//! then [`lease`], then [`authority`].
//!
//! ```
//! use gangline_lease::{Payload, SpaceName, rules};
//! use gangline_lease::{Epoch, Head, Incarnation, SpaceState};
//!
//! // The same payload has the same bytes at every node.
//! let payload = Payload::parse(br#"{ "target": "x:2", "alias": 2.0 }"#)?;
//! assert_eq!(payload.as_str(), r#"{"alias":2,"target":"x:2"}"#);
//!
//! // A new holder seals; whoever comes later with a lower epoch is told so.
//! let space = SpaceName::new("team/pages")?;
//! let incarnation = Incarnation([7; 16]);
//! let first = || SpaceState { incarnation, epoch: Epoch::NONE, head: Head::start(&space, incarnation) };
//! let state = rules::seal(None, Epoch(2), first).unwrap();
//! assert_eq!(rules::seal(Some(&state), Epoch(1), first), Err(Epoch(2)));
//!
//! let bid = rules::Bid { incarnation, epoch: Epoch(1), head: state.head };
//! assert_eq!(rules::judge(Some(&state), &bid, false), rules::Verdict::Fenced { current: Epoch(2) });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod access;
pub mod authority;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod copying;
pub mod event;
pub mod event_store;
pub mod follow;
pub mod forward;
pub mod grant;
mod lane;
pub mod lease;
pub mod limits;
pub mod name;
pub mod part;
pub mod payload;
pub mod registry;
pub mod remote;
pub mod rules;
pub mod verify;

pub use access::{Access, AccessError};
pub use authority::{AppendAuthority, AppendError, LeaseError, Parts, Tail, WeakAuthority};
pub use clock::{Answer, Clock, Moment, Random};
pub use copying::{CopyError, Importer, Relation};
pub use event::{BatchSignature, Epoch, Event, Head, Incarnation, Intent, Landed, Placed, Seq};
pub use event_store::{AdoptError, AppendFailed, EventStore, ReadLimit, SealError, StoreError, Written};
pub use follow::{FollowedLog, Follower, Follows, Stopped};
pub use forward::{Forward, ForwardError, Forwarder, LocalForwarder, Refused, Reply};
pub use grant::{Batch, Grant};
pub use lease::{Lease, LeaseRow, LeaseSettings, Reach, SettingsError, Term};
pub use name::{EventType, IntentId, NameError, Place, SpaceName};
pub use part::Part;
pub use payload::{Payload, PayloadError};
pub use registry::{AcquireError, Ask, LeaseRegistry, RegistryError, RenewError};
pub use remote::{CallFailed, Caller, Coordinator, Desk, RemoteForwarder, RemoteLog};
pub use rules::{Bid, Divergence, Lost, Misfit, Seen, SpaceState, Verdict, Writer};
pub use verify::{Offence, Verifier, verify};
