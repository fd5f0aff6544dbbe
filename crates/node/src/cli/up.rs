//! `gangline up`: runs a node until it is told to stop.

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::Global;
use super::output::{BROKEN_PIPE, Output};
use crate::assemble::{assemble, bind, open_data};
use crate::config::{Flags, Settings};
use crate::descriptors;
use crate::failure::Failure;
use crate::ready::{Followed, Ready};
use crate::run::Running;
use crate::shutdown;
use crate::sources::{self, SourceKey};
use crate::trust::has_grants;

/// What `up` takes.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// The address to listen on; port 0 picks one [default: 127.0.0.1:3001]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where the key and the log live [default: ./gangline-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A node to keep in step with, such as ws://other:3001/crdt-sync; may be given several times
    #[arg(long, value_name = "URL")]
    peer: Vec<String>,
    /// Let anyone write who can reach this node, also from other machines
    #[arg(long)]
    insecure: bool,
}

/// Runs a node.
pub(super) fn run(global: &Global, args: &UpArgs, out: &Output) -> Result<(), Failure> {
    let settings = global.settings(&Flags {
        listen: args.listen.clone(),
        data_dir: args.data_dir.clone(),
        peers: args.peer.clone(),
        insecure: args.insecure,
    })?;
    if let Some(refusal) = settings.refusal(has_grants(&settings.data_dir.value)?) {
        return Err(Failure::settings(&[refusal]));
    }
    descriptors::raise();
    super::runtime(tokio::runtime::Builder::new_multi_thread())?.block_on(async {
        let stop = CancellationToken::new();
        // First of all: a signal during a long start ends the process as it should.
        shutdown::on_signals(stop.clone())?;
        let opening = {
            let settings = settings.clone();
            tokio::task::spawn_blocking(move || {
                let data = open_data(&settings)?;
                // After the data directory is locked: no two nodes make a key there.
                let keys = sources::open_all(&settings)?;
                Ok::<_, Failure>((data, keys))
            })
        };
        let (data, keys) = opening.await.map_err(|error| bug(&error))??;
        let listener = bind(&settings).await?;
        let parts = {
            let (settings, stop) = (settings.clone(), stop.clone());
            tokio::task::spawn_blocking(move || assemble(&settings, data, listener, stop))
        };
        let parts = parts.await.map_err(|error| bug(&error))??;
        let running = Running::start(parts);
        tell(&running, &settings, &keys, out)?;
        let name = running.app().name.clone();
        tracing::info!(event = "ready", node = name, listen = %running.app().listen, "serving");
        running.stopped().await;
        tracing::info!(event = "stopped", node = name, "stopped; nothing is lost");
        Ok(())
    })
}

fn tell(
    running: &Running,
    settings: &Settings,
    keys: &[(String, SourceKey)],
    out: &Output,
) -> Result<(), Failure> {
    let app = running.app();
    let without = app.documents.sources().without();
    let unread =
        |name: &str| without.iter().find(|source| source.name == name).map(|source| source.why.clone());
    let followed = settings.reconcile.iter().zip(keys).map(|(source, (name, key))| Followed {
        name,
        place: &source.database.shown,
        key: key.held(),
        unread: key.held().and_then(|_| unread(name)),
    });
    let ready = Ready {
        name: &app.name,
        author: app.author,
        listen: app.listen,
        pin: running.pin(),
        data_dir: &settings.data_dir.value,
        sources: followed.collect(),
    };
    let told = if out.is_json() {
        out.document(&ready.document())
    } else {
        ready.lines().iter().try_for_each(|line| out.line(line))
    };
    match told {
        // Nobody reads; the node serves all the same.
        Err(failure) if failure.code == BROKEN_PIPE => Ok(()),
        told => told,
    }
}

fn bug(error: &tokio::task::JoinError) -> Failure {
    Failure::new(crate::failure::Exit::Failed, "internal", error.to_string())
}
