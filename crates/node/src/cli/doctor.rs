//! `gangline doctor`: looks at settings, data, key, port, clock and peers, and says what to do about what is wrong.

use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Duration;

use bft_json_crdt::DocumentId;
use gangline_store::SqliteOpLog;
use gangline_transport::PeerUrl;
use http::Method;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::client::Client;
use super::output::Output;
use crate::clock;
use crate::config::{KeyFrom, ReconcileSettings, Settings, check_shape};
use crate::failure::{Exit, Failure};
use crate::identity::{self, KEY_FILE};
use crate::logs::chain;
use crate::sources::{self, SourceKey};

/// A clock before this (2024) was never set.
const CLOCK_MIN_MS: u64 = 1_704_067_200_000;
/// How long a peer may take to be reached.
const REACH: Duration = Duration::from_secs(3);

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    /// It works, and somebody should look.
    Look,
    Ill,
}

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    verdict: Verdict,
    found: String,
    remedy: Option<String>,
}

impl Finding {
    fn well(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Well, found: found.into(), remedy: None }
    }

    fn look(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Look, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn ill(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Ill, found: found.into(), remedy: Some(remedy.into()) }
    }
}

pub(super) async fn run(settings: &Settings, client: &Client, out: &Output) -> Result<(), Failure> {
    let status = client.send(Method::GET, "/api/v1/status", None).await.ok().map(|reply| reply.body);
    let mut findings = vec![trust(settings), clock()];
    findings.extend(data(&settings.data_dir.value));
    findings.extend(settings.reconcile.iter().flat_map(|source| followed(settings, source)));
    findings.push(port(settings, status.as_ref()).await);
    match &status {
        Some(status) => findings.extend(running(status)),
        None => {
            for url in &settings.rendezvous.value {
                findings.push(reach(url).await);
            }
        }
    }
    report(&findings, out)
}

fn report(findings: &[Finding], out: &Output) -> Result<(), Failure> {
    let ill = findings.iter().filter(|finding| finding.verdict == Verdict::Ill).count();
    if out.is_json() {
        let shown: Vec<Value> = findings
            .iter()
            .map(|finding| {
                let verdict = match finding.verdict {
                    Verdict::Well => "ok",
                    Verdict::Look => "warning",
                    Verdict::Ill => "error",
                };
                json!({
                    "check": finding.what, "verdict": verdict,
                    "found": finding.found, "remedy": finding.remedy,
                })
            })
            .collect();
        out.document(&json!({ "healthy": ill == 0, "findings": shown }))?;
    } else {
        for finding in findings {
            let mark = match finding.verdict {
                Verdict::Well => "ok  ",
                Verdict::Look => "look",
                Verdict::Ill => "BAD ",
            };
            out.line(&format!("{mark}  {:<9} {}", finding.what, finding.found))?;
            if let Some(remedy) = &finding.remedy {
                out.line(&format!("                → {remedy}"))?;
            }
        }
    }
    if ill == 0 {
        return Ok(());
    }
    let message = format!("{ill} of {} checks found something wrong", findings.len());
    Err(Failure::new(Exit::Unhealthy, "unhealthy", message).hint("do what stands behind each arrow above"))
}

fn trust(settings: &Settings) -> Finding {
    let has_grants = crate::trust::has_grants(&settings.data_dir.value).unwrap_or_default();
    match settings.refusal(has_grants) {
        Some(refusal) => Finding::ill("trust", refusal.message.clone(), refusal.hint.unwrap_or_default()),
        None if !settings.is_loopback() && settings.insecure.value => Finding::look(
            "trust",
            format!("{} is open to everybody who reaches it: insecure = true", settings.listen.value),
            "list the keys that may write under [trust], and take `insecure` out",
        ),
        None if settings.trusted.value.is_empty() => {
            Finding::well("trust", "anyone on this machine may write")
        }
        None => Finding::well("trust", format!("{} keys may write", settings.trusted.value.len())),
    }
}

fn clock() -> Finding {
    if clock::now_ms() < CLOCK_MIN_MS {
        let remedy = "set the system's clock; claims and history show its times";
        return Finding::ill("clock", "the system's clock is years behind", remedy);
    }
    Finding::well("clock", "set")
}

fn data(dir: &Path) -> Vec<Finding> {
    if !dir.exists() {
        return vec![Finding::well("data", format!("{} will be made on the first start", dir.display()))];
    }
    let has_log = SqliteOpLog::path_in(dir, DocumentId::DEFAULT).exists();
    let key = match identity::open(dir) {
        Ok(Some(_)) => Finding::well("key", dir.join(KEY_FILE).display().to_string()),
        Ok(None) if has_log => Finding::look(
            "key",
            format!("{} has changes but no {KEY_FILE}", dir.display()),
            "put the key back; or start, and this node is a new author",
        ),
        Ok(None) => Finding::well("key", "will be made on the first start"),
        Err(failure) => Finding::ill("key", failure.message, failure.hint.unwrap_or_default()),
    };
    let probe = dir.join(".doctor");
    let data = match std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe)) {
        Ok(()) => Finding::well("data", format!("{} can be written", dir.display())),
        Err(error) => Finding::ill(
            "data",
            format!("{} cannot be written: {error}", dir.display()),
            "give this user the right to write there, make room, or name another with --data-dir",
        ),
    };
    vec![data, key]
}

/// A database that documents follow: whether it can be read, fits its mapping, and has its key here.
fn followed(settings: &Settings, source: &ReconcileSettings) -> Vec<Finding> {
    let name = &source.mapping.name;
    let place = super::output::printable(&source.database.shown);
    let database = match sources::rows_of(&source.database.database).schema() {
        Ok(schema) => match check_shape(source, &schema) {
            Ok(_) => Finding::well("database", format!("{place} has what {name} names")),
            Err(mistakes) => {
                let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                let remedy = "correct the mapping, or the tables; `gangline config check` looks again";
                Finding::ill("database", lines.join("\n                "), remedy)
            }
        },
        Err(error) => {
            let found = format!("{place} cannot be read: {}", chain(&error));
            Finding::ill("database", found, "correct `database` of the source, or make the database readable")
        }
    };
    let key = match sources::look(&settings.data_dir.value, name) {
        Ok(SourceKey::Held(_)) => Finding::well("key", format!("that of {name} is here")),
        Ok(SourceKey::Awaited) if source.key == KeyFrom::Create => {
            Finding::well("key", format!("that of {name} will be made on the first start"))
        }
        Ok(key @ (SourceKey::Awaited | SourceKey::Lost(_))) => {
            let found = key.trouble(name).unwrap_or_default();
            Finding::look(
                "key",
                found,
                "until then the documents come from other nodes, and edits go to them",
            )
        }
        Err(failure) => Finding::ill("key", failure.message, failure.hint.unwrap_or_default()),
    };
    vec![database, key]
}

async fn port(settings: &Settings, status: Option<&Value>) -> Finding {
    let listen = &settings.listen.value;
    let answers = status.and_then(|status| status.get("listen")).and_then(Value::as_str);
    if let Some(answers) = answers {
        return Finding::well("port", format!("a node answers at {answers}"));
    }
    match TcpListener::bind(listen.as_str()).await {
        Ok(_) => Finding::well("port", format!("{listen} is free; no node runs there")),
        Err(error) => Finding::ill(
            "port",
            format!("{listen} cannot be had: {error}"),
            "stop what listens there, or take another address with --listen",
        ),
    }
}

/// What a running node says of itself.
fn running(status: &Value) -> Vec<Finding> {
    let list = |key: &str| status.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value, key: &str| {
        super::output::printable(value.get(key).and_then(Value::as_str).unwrap_or_default())
    };
    let mut findings = Vec::new();
    for reason in list("reasons") {
        findings.push(Finding::ill("node", text(reason, "message"), "see the node's log"));
    }
    for peer in list("peers") {
        let (url, state) = (text(peer, "url"), text(peer, "state"));
        findings.push(match (state.as_str(), text(peer, "lacks")) {
            ("live", lacks) if lacks.is_empty() => Finding::well("peer", format!("{url} has everything")),
            ("live", lacks) => Finding::look(
                "peer",
                format!("{url} lacks something: {lacks}"),
                "wait, or look at the trust lists of both nodes",
            ),
            (_, lacks) => Finding::look(
                "peer",
                format!("{url} is {state}: {lacks}"),
                "start that node, or correct `rendezvous` in the settings",
            ),
        });
    }
    for proof in list("equivocations") {
        let (name, policy) = (text(proof, "author_name"), text(proof, "policy"));
        findings.push(Finding::look(
            "liar",
            format!("the key of {name} signed two changes after the same one ({policy})"),
            "find out who has that key; `on_equivocation = \"stop\"` under [trust] lets in no more of it",
        ));
    }
    findings
}

/// Whether anything listens where a peer should be.
async fn reach(url: &str) -> Finding {
    let Ok(peer) = url.parse::<PeerUrl>() else {
        return Finding::ill("peer", format!("{url} is no URL of a node"), "write ws://host:port/crdt-sync");
    };
    let address = (peer.host(), peer.port());
    if address.to_socket_addrs().is_err() {
        return Finding::ill(
            "peer",
            format!("the name {} is not known", peer.host()),
            "correct it, or ask DNS",
        );
    }
    match tokio::time::timeout(REACH, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Finding::well("peer", format!("{url} can be reached")),
        Ok(Err(error)) => {
            Finding::look("peer", format!("{url}: {error}"), "start that node, or open the way to it")
        }
        Err(_) => Finding::look("peer", format!("{url}: no answer"), "look for a firewall between the two"),
    }
}
