//! Which documents a command is for, and doing the same to each.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::shown::count;
use crate::cli::client::Client;
use crate::cli::output::{BROKEN_PIPE, SAID};
use crate::cli::progress::Progress;
use crate::failure::{Exit, Failure};
use crate::url::segment;

/// Which documents.
#[derive(Debug, Args)]
pub(in crate::cli) struct WhichArgs {
    /// Documents, such as workflow:42 [default: all that have been opened once]
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,
    /// All documents of this source
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    pub(super) source: Option<String>,
    /// Also those that nobody has opened yet
    #[arg(long, conflicts_with = "ids")]
    pub(super) unborn: bool,
}

/// The documents that are meant.
pub(super) struct Which {
    pub(super) ids: Vec<String>,
    /// Documents that nobody has opened yet, and that are left out.
    left_out: u64,
}

impl Which {
    /// What is to be said of those that are left out.
    pub(super) fn left_out(&self) -> Option<String> {
        (self.left_out > 0).then(|| {
            let them = if self.left_out == 1 { "it" } else { "them" };
            format!(
                "{} that nobody has opened yet: --unborn takes {them} in",
                count(self.left_out, "more document")
            )
        })
    }
}

/// Documents in one answer.
const PAGE: usize = 1_000;

/// All documents, perhaps of one source only.
pub(super) async fn all(client: &Client, source: Option<&str>) -> Result<Vec<Value>, Failure> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().and_then(|document| document.get("id")).and_then(Value::as_str);
        let after = after.map(|id| format!("&after={}", segment(id))).unwrap_or_default();
        let path = format!("/api/v1/documents?limit={PAGE}{after}");
        let page = client.send(Method::GET, &path, None).await?.body;
        let page = page.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_last = page.len() < PAGE;
        all.extend_from_slice(page);
        if is_last {
            break;
        }
    }
    if let Some(source) = source {
        all.retain(|document| document.get("source").and_then(Value::as_str) == Some(source));
        if all.is_empty() {
            known(client, source).await?;
        }
    }
    Ok(all)
}

/// Whether there is such a source: one without documents is no typing error.
async fn known(client: &Client, source: &str) -> Result<(), Failure> {
    let sources = client.send(Method::GET, "/api/v1/reconcile", None).await?.body;
    let sources = sources.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names = sources.iter().filter_map(|source| source.get("name").and_then(Value::as_str));
    if names.any(|name| name == source) {
        return Ok(());
    }
    Err(Failure::new(Exit::NotFound, "no_such_source", format!("the node has no source {source:?}"))
        .hint("`gangline reconcile status` lists those that it has"))
}

impl WhichArgs {
    /// The ids of the documents that are meant.
    pub(super) async fn ids(&self, client: &Client) -> Result<Which, Failure> {
        if !self.ids.is_empty() {
            return Ok(Which { ids: self.ids.clone(), left_out: 0 });
        }
        let mut all = all(client, self.source.as_deref()).await?;
        let found = all.len();
        if !self.unborn {
            all.retain(|document| document.get("state").and_then(Value::as_str) != Some("unborn"));
        }
        let left_out = (found - all.len()) as u64;
        let id = |document: &Value| document.get("id").and_then(Value::as_str).map(str::to_owned);
        Ok(Which { ids: all.iter().filter_map(id).collect(), left_out })
    }
}

/// Does the same to each document. Where one of several fails, the others still have their turn.
pub(super) async fn each(
    ids: &[String],
    what: &'static str,
    mut work: impl AsyncFnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if let [id] = ids {
        return work(id).await;
    }
    let mut progress = Progress::new(what, ids.len() as u64);
    let mut failed = Vec::new();
    for (done, id) in (0..).zip(ids) {
        progress.at(done);
        match work(id).await {
            Ok(()) => {}
            // Nobody is there, or nobody listens: that is so for all of them.
            Err(failure) if failure.exit == Exit::Unreachable || failure.code == BROKEN_PIPE => {
                return Err(failure);
            }
            Err(failure) => failed.push((id, failure)),
        }
    }
    drop(progress);
    let Some((_, first)) = failed.first() else { return Ok(()) };
    let lines: Vec<String> = failed.iter().map(|(id, failure)| format!("{id}: {failure}")).collect();
    let message = format!("{} of {} documents failed\n{}", failed.len(), ids.len(), lines.join("\n"));
    let mut failure = Failure::new(first.exit, &first.code, message);
    failure.details = Some(serde_json::json!({
        "documents": failed.iter().map(|(id, failure)| {
            let mut told = failure.to_json();
            if let Some(told) = told.as_object_mut() {
                told.insert("id".into(), Value::String((*id).clone()));
            }
            told
        }).collect::<Vec<_>>(),
    }));
    Err(failure)
}

/// Ends the command with this code: everything was said.
pub(super) fn ended(exit: Exit) -> Failure {
    Failure::new(exit, SAID, "")
}
