//! How nodes keep each other in sync: the session, its WebSocket server and its rendezvous client.
//!
//! [`link::Link`] is what two nodes say to each other in version 2, [`session::Session`] in version 1, each as a
//! machine without IO. [`Transport`] runs one per connection: [`Transport::accept`] takes over an HTTP request,
//! [`Transport::dial`] keeps a session with a rendezvous. All of them apply to, and read from, the node's replicas
//! ([`gangline_doc::SyncSource`]); this crate knows nothing of what is in a document. [`Transport::peers`] shows how
//! it goes. Who may connect, a [`Gate`] says; what calls of peers do, a [`CallHandler`].
//!
//! Documents may come and go: [`Transport::open_document`], [`Transport::close_document`]. A [`DocumentHost`] keeps those
//! that nobody has open, and opens them when a peer has something new.
//!
//! Read `link.rs` first, then `drive_link.rs`, which drives it over a socket, then `server.rs` and
//! `rendezvous.rs`; for version 1, `session.rs` and `drive.rs`. Documents that come and go are in `link/serving.rs` and
//! `served.rs`. [`Backoff`] and [`PeerUrl`] are pure.
//!
//! ```
//! use gangline_transport::{Backoff, BackoffSettings, PeerUrl};
//!
//! let url: PeerUrl = "ws://[::1]:3001/crdt-sync".parse()?;
//! assert_eq!((url.host(), url.port()), ("::1", 3001));
//!
//! let mut backoff = Backoff::new(BackoffSettings::default());
//! backoff.failed();
//! assert_eq!(backoff.delay_ms(0.0), 1_000);
//! # Ok::<(), gangline_transport::UrlError>(())
//! ```

mod backoff;
mod calls;
mod drive;
mod drive_link;
mod gate;
mod host;
mod hub;
mod kept;
pub mod link;
mod links;
pub mod logs;
mod metered;
mod peers;
mod penalties;
mod rendezvous;
mod served;
mod server;
pub mod session;
mod socket;
mod tls;
mod url;
mod visits;

pub use backoff::{Backoff, BackoffSettings, RENDEZVOUS_ERROR_THRESHOLD, Severity};
pub use calls::{CallError, CallFuture, CallHandler, CallResult, NoCalls, PING};
pub use gangline_wire::v2::{HeldDocument, root};
pub use gate::{Gate, OpenGate, PeerRights};
pub use host::{DocumentHost, NoHost, Offer, Offered};
pub use hub::{Identity, Nonce, Transport, TransportSettings, WallClock};
pub use peers::{Direction, PeerState, PeerStatus, PeersSnapshot};
pub use rendezvous::Jitter;
pub use served::OpenDocumentError;
pub use server::{AcceptError, Channel, asks_for_v2};
pub use tls::{CertPin, NotAPin, Stream, TlsDialer, TlsError, TlsServer};
pub use url::{PeerUrl, SYNC_PATH, UrlError};
