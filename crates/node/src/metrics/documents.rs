//! What is measured of documents that follow databases, by source. No label has a value or a key of a row.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock;
use crate::documents::Documents;
use crate::documents::source::SourceRuntime;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabels {
    source: String,
}

impl SourceLabels {
    fn of(name: &str) -> Self {
        Self { source: name.to_owned() }
    }
}

type Gauges = Family<SourceLabels, Gauge<u64, AtomicU64>>;

/// Adds what there is to be said now.
pub(super) fn register(registry: &mut Registry, documents: &Documents) {
    let (open, stuck) = documents.counts();
    for (name, help, value) in [
        ("documents_open", "Documents that are open", open),
        ("documents_stuck", "Documents whose closing does not end", stuck),
    ] {
        let gauge: Gauge<u64, AtomicU64> = Gauge::default();
        gauge.set(value as u64);
        registry.register(name, help, gauge);
    }
    let held = documents.sources().held();
    register_gauges(registry, documents, &held);
    type Read = fn(&SourceRuntime) -> &AtomicU64;
    let counters: [(&str, &str, Read); 7] = [
        ("batches", "Batches that were signed for a database", |source| &source.counters.batches),
        ("ops", "Ops in them", |source| &source.counters.ops),
        ("conflicts", "Conflicts that were open after a batch", |source| &source.counters.conflicts),
        ("missed", "Changed rows that a sweep found and no feed had named", |source| &source.counters.missed),
        ("failures", "Runs that failed", |source| &source.counters.failures),
        ("saves", "Saves that were committed", |source| &source.counters.saves),
        ("stood_still", "Batches of rows that had changed while their version stood still", |source| {
            &source.counters.stood_still
        }),
    ];
    for (name, help, read) in counters {
        let family: Family<SourceLabels, Counter> = Family::default();
        for source in &held {
            let count = read(source).load(Ordering::Relaxed);
            family.get_or_create(&SourceLabels::of(&source.name)).inc_by(count);
        }
        registry.register(format!("reconcile_{name}"), help, family);
    }
}

fn register_gauges(registry: &mut Registry, documents: &Documents, held: &[std::sync::Arc<SourceRuntime>]) {
    let [lag, pending, failing, waiting, skipped, paused, failed]: [Gauges; 7] = Default::default();
    let now = clock::now_ms();
    for source in held {
        let labels = SourceLabels::of(&source.name);
        let (lag_ms, pending_count, failing_count, is_paused) = source.follower_state(now);
        for (family, value) in [
            (&lag, lag_ms),
            (&pending, pending_count as u64),
            (&failing, failing_count as u64),
            (&waiting, source.holds() as u64),
            (&skipped, (source.skipped() + source.nameless_rows()) as u64),
            (&paused, u64::from(is_paused)),
            (&failed, u64::from(source.failure().is_some())),
        ] {
            family.get_or_create(&labels).set(value);
        }
    }
    // Of those whose database cannot be read there is nothing else to say.
    for source in documents.sources().without().iter().filter(|source| source.state == "failing") {
        failed.get_or_create(&SourceLabels::of(&source.name)).set(1);
    }
    for (name, help, family) in [
        (
            "lag_ms",
            "For how long the oldest change of a database has not been followed, in milliseconds",
            lag,
        ),
        ("pending", "Documents that are to follow", pending),
        ("failing", "Documents that are tried again since a run failed", failing),
        ("waiting", "Documents that wait until somebody accepts what a backup has brought", waiting),
        ("skipped", "Rows that are not followed since a document cannot have them", skipped),
        ("paused", "1 when nothing is followed until somebody says so", paused),
        ("feed_failed", "1 when a database does not say what has changed", failed),
    ] {
        registry.register(format!("reconcile_{name}"), help, family);
    }
}
