//! Runs the parts of a node, and stops them in order: no new requests, those under way finish, peers hear
//! goodbye, the log closes.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::api::server::{ServerSettings, serve};
use crate::api::{App, router};
use crate::assemble::Parts;

/// A node that serves.
pub(crate) struct Running {
    app: App,
    serving: JoinHandle<()>,
}

impl Running {
    /// Serves and links. Needs a tokio runtime.
    pub(crate) fn start(parts: Parts) -> Self {
        let Parts { app, listener } = parts;
        let limits = &app.limits;
        let settings = ServerSettings {
            connections_max: usize::try_from(limits.connections_max.value).unwrap_or(usize::MAX),
            header_timeout: Duration::from_millis(limits.header_timeout.value),
            drain_timeout: Duration::from_millis(limits.drain_timeout.value),
        };
        app.links.connect();
        let serving = tokio::spawn(serve(listener, router(&app), settings, app.stop.clone()));
        Self { app, serving }
    }

    /// What the node's routes share.
    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// Waits until the node was told to stop and has done so.
    pub(crate) async fn stopped(self) {
        self.app.stop.cancelled().await;
        // Sessions end while requests finish; both are bounded.
        tokio::join!(self.app.links.cut(), async {
            if let Err(error) = self.serving.await {
                tracing::error!(event = "server_failed", "{error}");
            }
        });
    }
}
