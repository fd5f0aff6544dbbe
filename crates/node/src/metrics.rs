//! Counters and gauges for Prometheus: every queue, limit and refusal of the node.

mod documents;

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::AppInner;

/// What a request was: its route as it is written in the table, never the path that was asked for.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CodeLabels {
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

/// What is counted as it happens. The rest is looked up when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    refusals: Family<CodeLabels, Counter>,
    log_appends: Counter,
    log_repeats: Counter,
    log_refusals: Counter,
}

impl Metrics {
    /// Counts an answered request.
    pub(crate) fn request(
        &self,
        method: &http::Method,
        route: &str,
        status: u16,
        refusal: Option<&'static str>,
    ) {
        // A client may invent methods; labels must not grow with them.
        let known = ["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"];
        let method = if known.contains(&method.as_str()) { method.as_str() } else { "other" }.to_owned();
        self.requests.get_or_create(&RequestLabels { method, route: route.to_owned(), status }).inc();
        if let Some(code) = refusal {
            self.refusals.get_or_create(&CodeLabels { code: code.to_owned() }).inc();
        }
    }

    /// Counts an event that was appended to a log.
    pub(crate) fn log_appended(&self) {
        self.log_appends.inc();
    }

    /// Counts an append that was in the log already.
    pub(crate) fn log_repeated(&self) {
        self.log_repeats.inc();
    }

    /// Counts what was asked of a space and refused.
    pub(crate) fn log_refused(&self) {
        self.log_refusals.inc();
    }

    /// Writes everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: the formatter writes to a string.
    pub(crate) fn render(&self, app: &AppInner) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("gangline");
        registry.register("http_requests", "Answered requests", self.requests.clone());
        registry.register(
            "http_refusals",
            "Refused requests by the code of the problem",
            self.refusals.clone(),
        );
        for (name, help, counter) in [
            ("log_appends", "Events appended to logs by this node's users", &self.log_appends),
            ("log_repeats", "Appends answered with the first result of the same id", &self.log_repeats),
            ("log_refusals", "Requests for logs and leases that were refused", &self.log_refusals),
        ] {
            registry.register(name, help, counter.clone());
        }
        let (held, diverged) = (app.logs.authority.held().len(), app.logs.authority.diverged().len());
        let stats = app.replica.stats();
        let peers = app.links.peers();
        let limits = &app.limits;
        let watchers_free = app.watchers.available_permits() as u64;
        for (name, help, value) in [
            ("ops", "Ops in the board, durable or not", stats.changes as u64),
            ("durable_ops", "Ops in the log", stats.durable.0),
            ("in_flight_ops", "Ops that wait for the disk", stats.in_flight_count as u64),
            ("in_flight_bytes", "Bytes of ops that wait for the disk", stats.in_flight_bytes as u64),
            ("recent_ops", "Ops kept in memory for live readers", stats.recent_count as u64),
            ("recent_bytes", "Bytes of ops kept in memory for live readers", stats.recent_bytes as u64),
            ("causal_queue_ops", "Ops that wait for their past", stats.queue.len as u64),
            ("causal_queue_bytes", "Bytes of ops that wait for their past", stats.queue.bytes as u64),
            ("causal_queue_held_ops", "Ops that the trust list holds back", stats.queue.held as u64),
            ("equivocations", "Proofs of authors who lied", app.replica.equivocations().len() as u64),
            ("idempotency_keys", "Remembered idempotency keys", app.keys.len() as u64),
            ("log_leases_held", "Spaces that this node holds", held as u64),
            ("log_diverged", "Spaces that are not served since their logs have diverged", diverged as u64),
            ("watchers", "Open watch streams", limits.watchers_max.value.saturating_sub(watchers_free)),
            (
                "store_failed",
                "1 when nothing can be written any more",
                u64::from(app.replica.failure().is_some()),
            ),
        ] {
            let gauge: Gauge<u64, AtomicU64> = Gauge::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        }
        for (name, help, value) in [
            ("causal_queue_evicted_ops", "Ops dropped from a full causal queue", stats.queue.evicted_total),
            ("sync_sessions", "Sync sessions that began", peers.sessions),
            ("sync_sessions_over_limit", "Connections refused for want of a session", peers.over_limit),
            ("sync_dial_failures", "Attempts to reach a rendezvous that failed", peers.dial_failures),
            ("sync_received_bytes", "Bytes from peers", peers.received_bytes),
            ("sync_sent_bytes", "Bytes to peers", peers.sent_bytes),
            ("sync_received_ops", "Ops from peers", peers.totals.received_ops),
            ("sync_applied_ops", "Ops from peers that were new", peers.totals.applied_ops),
            ("sync_known_ops", "Ops from peers that were known", peers.totals.known_ops),
            ("sync_refused_ops", "Ops from peers that were refused", peers.totals.refused_ops),
            (
                "sync_held_back_ops",
                "Ops from peers that the trust list held back",
                peers.totals.held_back_ops,
            ),
            ("sync_bad_frames", "Frames from peers that made no sense", peers.totals.bad_frames),
            ("sync_sent_ops", "Ops to peers", peers.totals.sent_ops),
        ] {
            let counter: Counter = Counter::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        }
        let states: Family<StateLabels, Gauge> = Family::default();
        for peer in &peers.peers {
            let state = match peer.state {
                gangline_transport::PeerState::Connecting => "connecting",
                gangline_transport::PeerState::Syncing => "syncing",
                gangline_transport::PeerState::Live => "live",
                gangline_transport::PeerState::BackingOff { .. } => "backing_off",
            };
            states.get_or_create(&StateLabels { state: state.to_owned() }).inc();
        }
        registry.register("peers", "Peers by state", states);
        let versions: Family<CodeLabels, Gauge> = Family::default();
        let (mut behind, mut pending, mut held_there) = (0, 0, 0);
        for peer in &peers.peers {
            let version = peer.version.map_or_else(|| "none".to_owned(), |version| version.to_string());
            versions.get_or_create(&CodeLabels { code: version }).inc();
            behind += peer.behind;
            pending += peer.pending;
            held_there += peer.held_there.len() as u64;
        }
        registry.register("sync_peers_by_version", "Peers by the version of the sync", versions);
        for (name, help, value) in [
            ("sync_behind_ops", "Ops that connected peers have not been sent", behind),
            ("sync_pending_ops", "Ops from connected peers that wait for others", pending),
            ("sync_held_there_keys", "Keys whose changes peers hold back", held_there),
        ] {
            let gauge: Gauge<u64, AtomicU64> = Gauge::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        }
        let closed: Family<CodeLabels, Counter> = Family::default();
        for (reason, count) in &peers.closed {
            closed.get_or_create(&CodeLabels { code: (*reason).to_owned() }).inc_by(*count);
        }
        registry.register("sync_sessions_closed", "Sync sessions that ended, by reason", closed);
        documents::register(&mut registry, &app.documents);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}
