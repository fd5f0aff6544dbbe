//! From settings to parts: the one place that picks a backend and hands everything what it needs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bft_json_crdt::DocumentId;
use bft_json_crdt::keypair::Keypair;
use gangline_doc::{LogSeq, OpLog, PipelineDoc, Replica, ReplicaSettings};
use gangline_store::sqlite::OpenError;
use gangline_store::{DirLock, DirLockError, SqliteOpLog, SqliteSettings};
use gangline_transport::{Gate, Identity, PeerUrl, TlsServer, TransportSettings};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::api::{App, AppInner, DocumentDesk, Keys, Latest, Policy};
use crate::calls::Calls;
use crate::certificate;
use crate::clock;
use crate::config::Settings;
use crate::documents::{self, DiskDocuments, DocumentStore, Documents, Hosting};
use crate::failure::{Exit, Failure};
use crate::identity::{self, KEY_FILE, node_name};
use crate::links::{Links, nonce};
use crate::logs::{self, Logs, chain};
use crate::metrics::Metrics;
use crate::private_file::make_private_dir;
use crate::token::Tokens;
use crate::trust::{NodeGate, has_grants, rendezvous};

/// Changes of a followed document that are kept in memory for live readers.
const RECENT_OF_DOCUMENTS: usize = 256;
/// What those may take.
const RECENT_OF_DOCUMENTS_BYTES: usize = 4 << 20;

/// A node that is ready to run.
pub(crate) struct Parts {
    /// What its routes share.
    pub(crate) app: App,
    /// Where it listens.
    pub(crate) listener: TcpListener,
    /// With which certificate, if it encrypts.
    pub(crate) tls: Option<TlsServer>,
}

/// What a node keeps.
pub(crate) struct Data {
    /// Its key.
    pub(crate) keypair: Keypair,
    /// Its log.
    pub(crate) log: Arc<dyn OpLog>,
    /// Its logs with leases.
    pub(crate) logs: logs::Opened,
    /// Its documents that follow databases.
    pub(crate) documents: Arc<dyn DocumentStore>,
    /// Where its grants are, and the nodes that it has joined; none for a node that keeps nothing.
    pub(crate) dir: Option<PathBuf>,
}

/// Opens the data directory: its lock, the key and the log. Reads the whole log.
///
/// # Errors
/// When another process has it, or something in it cannot be used.
pub(crate) fn open_data(settings: &Settings) -> Result<Data, Failure> {
    let dir = &settings.data_dir.value;
    make_private_dir(dir).map_err(|error| {
        let message = format!("cannot make the data directory {}: {error}", dir.display());
        Failure::new(Exit::Failed, "data_dir_unusable", message).hint("name another with --data-dir")
    })?;
    let lock = DirLock::acquire(dir).map_err(|error| opening(&OpenError::Lock(error)))?;
    let key = identity::open(dir)?;
    let path = SqliteOpLog::path_in(dir, DocumentId::DEFAULT);
    if key.is_some() && !path.exists() {
        return Err(log_is_gone(&path, dir));
    }
    // The log first: a node that is killed in between has a log without a key, which is no harm.
    let log = SqliteOpLog::open_locked(Arc::new(lock), &SqliteSettings::default())
        .map_err(|error| opening(&error))?;
    let is_new = key.is_none();
    let keypair = match key {
        Some(keypair) => keypair,
        None => identity::create(dir)?,
    };
    if is_new && log.stats().len > 0 {
        tracing::warn!(
            event = "key_was_missing",
            "{} has changes but had no {KEY_FILE}: this node is a new author from here on",
            dir.display()
        );
    }
    let logs = logs::open(settings)?;
    let documents =
        DiskDocuments::open(dir).map_err(|error| Failure::new(Exit::Failed, "documents_unusable", error))?;
    let documents: Arc<dyn DocumentStore> = Arc::new(documents);
    Ok(Data { keypair, log: Arc::new(log), logs, documents, dir: Some(dir.clone()) })
}

/// Binds the address, or says why it cannot be had.
///
/// # Errors
/// When the address is taken or not this machine's.
pub(crate) async fn bind(settings: &Settings) -> Result<TcpListener, Failure> {
    let listen = &settings.listen.value;
    TcpListener::bind(listen.as_str()).await.map_err(|error| {
        let failure =
            Failure::new(Exit::Failed, "cannot_listen", format!("cannot listen on {listen}: {error}"));
        if error.kind() == std::io::ErrorKind::AddrInUse {
            return failure.hint(
                "another program has that port, perhaps another node; take another with --listen, or port 0",
            );
        }
        failure.hint("give an address of this machine with --listen, for example 127.0.0.1:3001")
    })
}

/// Puts a node together. Nothing runs yet.
///
/// # Errors
/// When the settings may not be served, or the log does not fit the document.
pub(crate) fn assemble(
    settings: &Settings,
    data: Data,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<Parts, Failure> {
    let Data { keypair, log, logs, documents, dir } = data;
    let is_invited = dir.as_deref().map_or(Ok(false), has_grants)?;
    if let Some(refusal) = settings.refusal(is_invited) {
        return Err(Failure::settings(&[refusal]));
    }
    let listen: SocketAddr = listener.local_addr().map_err(|error| {
        Failure::new(Exit::Failed, "cannot_listen", format!("the listener has no address: {error}"))
    })?;
    let author = keypair.author();
    let (node_key, log_key) = (keypair.clone(), keypair.clone());
    let limits = settings.limits.clone();
    let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    let tls = certificate::open(settings)?;
    let joined = dir.as_deref().map_or_else(|| Ok(Vec::new()), rendezvous::read)?;
    let gate = Arc::new(NodeGate::open(settings, keypair.clone(), dir)?);
    let trust = gate.accepts();
    let sources = documents::open(settings, &documents)?;
    let replica_settings = ReplicaSettings {
        trust,
        stops_equivocators: settings.stops_equivocators.value,
        recent_max_count: count(limits.recent_changes_max.value),
        recent_max_bytes: count(limits.recent_bytes_max.value),
        ..ReplicaSettings::default()
    };
    let of_documents = ReplicaSettings {
        recent_max_count: RECENT_OF_DOCUMENTS,
        recent_max_bytes: RECENT_OF_DOCUMENTS_BYTES,
        ..replica_settings.clone()
    };
    let documents = Documents::new(keypair.clone(), documents, of_documents, sources, stop.clone());
    let documents = documents.map_err(|error| Failure::new(Exit::Failed, "documents_unusable", error))?;
    let replica = Replica::<PipelineDoc>::open(keypair, log, replica_settings).map_err(|error| {
        Failure::new(Exit::Failed, "log_unusable", chain(&error))
            .hint("put a backup in its place, or start anew with another --data-dir")
    })?;
    let (wake, durable) = watch::channel(LogSeq::START);
    // Also called when the replica stops: then watchers look, and find nothing new.
    let subscription = replica.subscribe(Box::new(move |seq| {
        let _ = wake.send_replace(seq);
    }));
    let mut rendezvous: Vec<PeerUrl> =
        settings.rendezvous.value.iter().filter_map(|url| url.parse().ok()).collect();
    for url in joined {
        if !rendezvous.contains(&url) {
            rendezvous.push(url);
        }
    }
    let transport = TransportSettings {
        peers_max: count(limits.sessions_max.value),
        // Off loopback nobody is let in who does not prove a key, unless the operator wants that.
        speaks_v1: Policy::of(settings) != Policy::Tokens || settings.allow_v1.value,
        ..TransportSettings::default()
    };
    let logs = Logs::of(&settings.logs, logs, log_key, own_url(listen, tls.as_ref()))?;
    let desk = DocumentDesk::new(documents.clone(), gate.clone());
    let calls = Arc::new(Calls { logs: logs.desk(gate.clone()), documents: desk });
    let identity = Identity {
        keypair: node_key,
        nonce: Arc::new(nonce),
        gate: gate.clone(),
        calls,
        host: Arc::new(Hosting::new(documents.clone())),
    };
    let (caller, coordinator) = (logs.caller.clone(), logs.coordinator());
    let links = Links::new(Arc::new(replica.clone()), identity, transport, rendezvous);
    let links = Arc::new(links.with_logs(caller, coordinator));
    documents.attach(&links);
    let name = node_name(&author);
    let agents = settings.agents.value.clone();
    let app = Arc::new(AppInner {
        replica,
        logs,
        links,
        documents,
        author,
        agent: match agents.as_slice() {
            [one] => one.clone(),
            [] | [_, ..] => name.clone(),
        },
        name,
        policy: Policy::of(settings),
        allow_v1: settings.allow_v1.value,
        gate,
        is_encrypted: tls.is_some(),
        agents,
        tokens: Tokens::new(&settings.data_dir.value),
        keys: Keys::new(count(limits.idempotency_keys_max.value), count(limits.idempotency_bytes_max.value)),
        metrics: Metrics::default(),
        watchers: Arc::new(Semaphore::new(count(limits.watchers_max.value).min(Semaphore::MAX_PERMITS))),
        latest: Latest::default(),
        limits,
        durable,
        _subscription: subscription,
        listen,
        started_at_ms: clock::now_ms(),
        stop,
    });
    Ok(Parts { app, listener, tls })
}

/// Signing with a key whose log is lost would begin its chain again: a fork, of which peers keep evidence.
fn log_is_gone(path: &Path, dir: &Path) -> Failure {
    let (log, key) = (path.display(), dir.join(KEY_FILE));
    let key = key.display();
    let message = format!("{log} is gone, but {key}, which signed it, is here");
    Failure::new(Exit::Failed, "log_is_gone", message).hint(format!(
        "put {log} back; or move {key} away: the node makes a new key and gets the board from its peers"
    ))
}

fn opening(error: &OpenError) -> Failure {
    let in_use = matches!(error, OpenError::Lock(DirLockError::InUse { .. }));
    let (exit, code) =
        if in_use { (Exit::Conflict, "data_dir_in_use") } else { (Exit::Failed, "data_dir_unusable") };
    Failure::new(exit, code, chain(error))
}

/// Where other nodes reach this one, if it listens on an address of its own.
fn own_url(listen: SocketAddr, tls: Option<&TlsServer>) -> Option<String> {
    if listen.ip().is_unspecified() {
        return None;
    }
    Some(match tls {
        None => format!("http://{listen}"),
        Some(tls) => format!("https://{listen}#sha256={}", tls.pin()),
    })
}
