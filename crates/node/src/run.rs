//! Runs the parts of a node, and stops them in order: no new requests, those under way finish, peers hear
//! goodbye, the log closes.

use std::collections::BTreeSet;
use std::time::Duration;

use bft_json_crdt::keypair::AuthorId;
use gangline_transport::{CertPin, Gate, TlsServer};
use tokio::task::JoinHandle;

use crate::api::server::{ServerSettings, serve};
use crate::api::{App, router};
use crate::assemble::Parts;
use crate::clock;

/// A node that serves.
pub(crate) struct Running {
    app: App,
    pin: Option<CertPin>,
    serving: JoinHandle<()>,
    trusting: JoinHandle<()>,
    leasing: JoinHandle<()>,
    copying: JoinHandle<()>,
    documents: JoinHandle<()>,
}

/// How often a running node looks whether it trusts others than before.
const TRUST_EVERY: Duration = Duration::from_millis(500);

impl Running {
    /// Serves and links. Needs a tokio runtime.
    pub(crate) fn start(parts: Parts) -> Self {
        let Parts { app, listener, tls } = parts;
        let pin = tls.as_ref().map(TlsServer::pin);
        let limits = &app.limits;
        let settings = ServerSettings {
            connections_max: usize::try_from(limits.connections_max.value).unwrap_or(usize::MAX),
            header_timeout: Duration::from_millis(limits.header_timeout.value),
            drain_timeout: Duration::from_millis(limits.drain_timeout.value),
        };
        app.links.connect();
        let serving = tokio::spawn(serve(listener, tls, router(&app), settings, app.stop.clone()));
        let trusting = tokio::spawn(follow_trust(app.clone()));
        let leasing = tokio::spawn(keep_leases(app.clone()));
        let copying = tokio::spawn(keep_copies(app.clone()));
        let documents = tokio::spawn(app.documents.clone().run());
        Self { app, pin, serving, trusting, leasing, copying, documents }
    }

    /// What the node's routes share.
    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// The pin of the node's certificate, if it encrypts.
    pub(crate) fn pin(&self) -> Option<CertPin> {
        self.pin
    }

    /// Waits until the node was told to stop and has done so.
    pub(crate) async fn stopped(self) {
        self.app.stop.cancelled().await;
        let served = async {
            if let Err(error) = self.serving.await {
                tracing::error!(event = "server_failed", "{error}");
            }
        };
        // Sessions end while requests finish; both are bounded. A coordinator has to be told first.
        let is_away = self.app.logs.coordinator().is_some();
        if is_away {
            served.await;
            self.app.logs.release().await;
            self.app.links.cut().await;
        } else {
            tokio::join!(self.app.links.cut(), served);
        }
        if let Err(error) = self.documents.await {
            tracing::error!(event = "documents_not_kept", "{error}");
        }
        if let Err(error) = self.copying.await {
            tracing::error!(event = "copies_not_kept", "{error}");
        }
        if let Err(error) = self.trusting.await {
            tracing::error!(event = "trust_not_followed", "{error}");
        }
        if let Err(error) = self.leasing.await {
            tracing::error!(event = "leases_not_kept", "{error}");
        }
        // After the requests under way: an append takes a space up.
        if !is_away {
            self.app.logs.release().await;
        }
    }
}

/// Keeps the leases of the spaces in use.
async fn keep_leases(app: App) {
    app.logs.keep(&app.stop).await;
}

/// Keeps copies of the logs that the node follows.
async fn keep_copies(app: App) {
    app.logs.follow(&app.stop).await;
}

/// Lets the replica know whom the node trusts, whenever that changes: by the command line, by peers, by time.
async fn follow_trust(app: App) {
    let mut known = app.gate.accepts();
    while !app.stop.is_cancelled() {
        tokio::select! {
            () = clock::pause(TRUST_EVERY) => {}
            () = app.stop.cancelled() => return,
        }
        let (asked, before) = (app.clone(), known.clone());
        // It may read a file, and what comes in then is appended: not for a thread that others wait for.
        let work = tokio::task::spawn_blocking(move || trust_anew(&asked, before));
        match work.await {
            Ok(trust) => known = trust,
            Err(error) => tracing::error!(event = "trust_not_followed", "{error}"),
        }
    }
}

/// Returns what the replica goes by from now on.
fn trust_anew(app: &App, known: Option<BTreeSet<AuthorId>>) -> Option<BTreeSet<AuthorId>> {
    let wanted = app.gate.accepts();
    if wanted == known {
        return known;
    }
    match app.replica.set_trust(clock::now_ms(), wanted.clone()) {
        Ok((batch, _ticket)) => {
            app.documents.set_trust(wanted.clone());
            app.links.trust_anew(app.gate.records());
            let keys = wanted.as_ref().map(BTreeSet::len);
            tracing::info!(event = "trust_changed", keys, let_in = batch.applied.len(), "trust has changed");
            wanted
        }
        Err(error) => {
            tracing::warn!(event = "trust_not_changed", "tried again in a moment: {error}");
            known
        }
    }
}
