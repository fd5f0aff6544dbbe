//! Who has a document open at this node: people's streams. System actors, as imports and peers, are not among them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

/// Somebody who has a document open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Client {
    /// What it calls itself.
    pub(crate) client: String,
    /// Since when, in milliseconds since 1970.
    pub(crate) since: u64,
}

/// The clients of one document.
#[derive(Clone)]
pub(crate) struct Present {
    inner: Arc<Inner>,
}

struct Inner {
    clients: Mutex<(u64, BTreeMap<u64, Client>)>,
    news: watch::Sender<u64>,
}

/// A client's place; it goes when this is dropped.
pub(crate) struct Place {
    inner: Arc<Inner>,
    number: u64,
}

impl Present {
    /// Nobody.
    pub(crate) fn new() -> Self {
        Self { inner: Arc::new(Inner { clients: Mutex::default(), news: watch::Sender::new(0) }) }
    }

    /// Somebody comes.
    pub(crate) fn enter(&self, client: Client) -> Place {
        let mut clients = self.inner.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.0 += 1;
        let number = clients.0;
        clients.1.insert(number, client);
        drop(clients);
        self.inner.news.send_modify(|news| *news += 1);
        Place { inner: Arc::clone(&self.inner), number }
    }

    /// Who is there, in the order in which they came.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let clients = self.inner.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.1.values().cloned().collect()
    }

    /// Tells when somebody comes or goes.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.inner.news.subscribe()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self.inner.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.1.remove(&self.number);
        drop(clients);
        self.inner.news.send_modify(|news| *news += 1);
    }
}
