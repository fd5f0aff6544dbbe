//! From settings to sources: databases opened, mappings held against them, keys read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bft_json_crdt::{AuthorId, Keypair};
use gangline_reconcile::{FollowInput, RowSource, Schema, Shape};

use super::source::SourceRuntime;
use super::sources::Without;
use super::{DocumentStore, Documents};
use crate::api::{PAUSED, blocking};
use crate::clock;
use crate::config::{Mistake, ReconcileSettings, Settings, check_shape};
use crate::failure::Failure;
use crate::logs::chain;
use crate::sources::{self, SourceKey};

/// How long to wait before a database that could not be read is tried again, at first.
const RETRY_MS: u64 = 250;
/// How long at most.
const RETRY_MAX_MS: u64 = 10_000;

/// The sources of the settings.
#[derive(Default)]
pub(crate) struct Opened {
    /// Those that are reconciled.
    pub(super) held: Vec<Arc<SourceRuntime>>,
    /// Those that are not, or not yet.
    pub(super) without: Vec<Without>,
    /// Those whose database is tried again.
    pub(super) unread: Vec<Unread>,
}

/// A source whose database could not be read.
pub(super) struct Unread {
    settings: ReconcileSettings,
    keypair: Keypair,
    rows: Arc<dyn RowSource>,
    own_keys: Arc<BTreeMap<AuthorId, String>>,
}

impl Opened {
    /// Whose signatures their batches carry.
    pub(crate) fn authors(&self) -> Vec<AuthorId> {
        let held = self.held.iter().map(|source| source.author());
        held.chain(self.unread.iter().map(|unread| unread.keypair.author())).collect()
    }
}

/// Opens all sources in the settings.
///
/// # Errors
/// When a mapping does not fit its database, or a key cannot be used. A database that cannot be read is told, and keeps
/// nothing else from running.
pub(crate) fn open(settings: &Settings, store: &Arc<dyn DocumentStore>) -> Result<Opened, Failure> {
    let keys = sources::open_all(settings)?;
    let own_keys = Arc::new(sources::own_keys(&settings.data_dir.value));
    let mut opened = Opened::default();
    let mut mistakes = Vec::new();
    for (source, (name, key)) in settings.reconcile.iter().zip(keys) {
        let SourceKey::Held(keypair) = &key else {
            let why = key.trouble(&name).unwrap_or_default();
            opened.without.push(without(source, "no_key", why));
            continue;
        };
        let rows = sources::rows_of(&source.database.database);
        let schema = match rows.schema() {
            Ok(schema) => schema,
            Err(error) => {
                let why = chain(&error);
                tracing::error!(event = "database_unavailable", source = name, "{why}; it is tried again");
                opened.without.push(without(source, "failing", why));
                let (settings, keypair) = (source.clone(), keypair.clone());
                opened.unread.push(Unread { settings, keypair, rows, own_keys: Arc::clone(&own_keys) });
                continue;
            }
        };
        match bind(source, &schema, &rows, (keypair, &own_keys), store) {
            Ok(runtime) => opened.held.push(runtime),
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    if mistakes.is_empty() { Ok(opened) } else { Err(Failure::settings(&mistakes)) }
}

fn without(source: &ReconcileSettings, state: &'static str, why: String) -> Without {
    Without {
        name: source.mapping.name.clone(),
        place: source.database.shown.clone(),
        mode: source.mapping.mode.to_string(),
        state,
        why,
        document: source.mapping.root.document.clone(),
    }
}

/// Holds a mapping against the tables; if it fits them, the source can be followed.
fn bind(
    source: &ReconcileSettings,
    schema: &Schema,
    rows: &Arc<dyn RowSource>,
    (keypair, own_keys): (&Keypair, &Arc<BTreeMap<AuthorId, String>>),
    store: &Arc<dyn DocumentStore>,
) -> Result<Arc<SourceRuntime>, Vec<Mistake>> {
    let shape: Shape = check_shape(source, schema)?;
    let times = (source.poll_ms, source.sweep_ms);
    let runtime = SourceRuntime::new(shape, Arc::clone(rows), keypair.clone(), Arc::clone(store), times)
        .with_own_keys(Arc::clone(own_keys));
    if runtime.noted::<bool>(PAUSED).ok().flatten().is_some() {
        runtime.tell(FollowInput::Pause);
    }
    Ok(Arc::new(runtime))
}

/// Tries a database again, later and later, until it can be read and has what the mapping names; then follows it.
pub(super) async fn await_database(documents: Documents, unread: Unread) {
    let stop = documents.inner.stop.clone();
    let name = unread.settings.mapping.name.clone();
    let unread = Arc::new(unread);
    let mut wait = RETRY_MS;
    loop {
        tokio::select! {
            () = clock::pause(Duration::from_millis(wait)) => {}
            () = stop.cancelled() => return,
        }
        wait = wait.saturating_mul(2).min(RETRY_MAX_MS);
        let (of, store) = (Arc::clone(&unread), Arc::clone(&documents.inner.store));
        let tried = blocking(move || {
            let schema = of.rows.schema().map_err(|error| chain(&error))?;
            bind(&of.settings, &schema, &of.rows, (&of.keypair, &of.own_keys), &store).map_err(|mistakes| {
                let told = mistakes.iter().map(|mistake| mistake.message.as_str());
                told.collect::<Vec<_>>().join("; ")
            })
        });
        let why = match tried.await {
            Ok(Ok(source)) => {
                tracing::info!(event = "database_available", source = name, "the database can be read");
                documents.take_up(source);
                return;
            }
            Ok(Err(why)) => why,
            Err(problem) => problem.detail().to_owned(),
        };
        if documents.inner.sources.say(&name, &why) {
            tracing::error!(event = "database_unavailable", source = name, "{why}; it is tried again");
        }
    }
}
