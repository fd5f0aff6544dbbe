//! From settings to sources: databases opened, mappings held against them, keys read.

use std::sync::Arc;

use gangline_reconcile::{FollowInput, RowSource};
use gangline_store::sqlite_source::SqliteSource;

use super::DocumentStore;
use super::source::SourceRuntime;
use crate::api::PAUSED;
use crate::config::{Database, ReconcileSettings, Settings, check_shape};
use crate::failure::Failure;
use crate::logs::chain;
use crate::sources::{self, SourceKey};

/// A source whose documents this node only follows.
#[derive(Clone, Debug)]
pub(crate) struct Without {
    pub(crate) name: String,
    pub(crate) place: String,
    pub(crate) mode: String,
    /// What keeps this node from reconciling it: `no_key` or `failing`.
    pub(crate) state: &'static str,
    pub(crate) why: String,
}

/// Opens all sources in the settings.
///
/// # Errors
/// When a mapping does not fit its database, or a key cannot be used. A database that cannot be read is told, and keeps
/// nothing else from running.
pub(crate) fn open(
    settings: &Settings,
    store: &Arc<dyn DocumentStore>,
) -> Result<(Vec<Arc<SourceRuntime>>, Vec<Without>), Failure> {
    let keys = sources::open_all(settings)?;
    let (mut held, mut without) = (Vec::new(), Vec::new());
    let mut mistakes = Vec::new();
    for (source, (name, key)) in settings.reconcile.iter().zip(keys) {
        let SourceKey::Held(keypair) = &key else {
            without.push(Without {
                why: key.trouble(&name).unwrap_or_default(),
                state: "no_key",
                name,
                place: source.database.shown.clone(),
                mode: source.mapping.mode.to_string(),
            });
            continue;
        };
        let rows = rows_of(source);
        let schema = match rows.schema() {
            Ok(schema) => schema,
            Err(error) => {
                let why = format!("{}; start the node again when it can be read", chain(&error));
                tracing::error!(event = "database_unavailable", source = name, "{why}");
                let (place, mode) = (source.database.shown.clone(), source.mapping.mode.to_string());
                without.push(Without { name, place, mode, state: "failing", why });
                continue;
            }
        };
        match check_shape(source, &schema) {
            Ok(shape) => {
                let times = (source.poll_ms, source.sweep_ms);
                let runtime = SourceRuntime::new(shape, rows, keypair.clone(), Arc::clone(store), times);
                if runtime.noted::<bool>(PAUSED).ok().flatten().is_some() {
                    runtime.tell(FollowInput::Pause);
                }
                held.push(Arc::new(runtime));
            }
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    if mistakes.is_empty() { Ok((held, without)) } else { Err(Failure::settings(&mistakes)) }
}

fn rows_of(source: &ReconcileSettings) -> Arc<dyn RowSource> {
    match &source.database.database {
        Database::Sqlite(path) => Arc::new(SqliteSource::new(path)),
    }
}
