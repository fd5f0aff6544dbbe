//! `GET /api/v1/documents`: those that are kept here, and rows of this node's databases that have none yet.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::Response;
use bft_json_crdt::{Digest, DocumentId};
use gangline_reconcile::SourceError;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::asked::Asked;
use crate::api::items::answer;
use crate::api::problem::Problem;
use crate::api::{App, blocking};
use crate::documents::Named;
use crate::documents::live::LiveDocument;
use crate::documents::source::SourceRuntime;
use crate::logs::chain;

/// Most documents that one listing has.
const LIST_MAX: usize = 10_000;
/// How many it has unless it says otherwise.
const LIST: usize = 1_000;

/// Which part of the list is wanted.
#[derive(Deserialize)]
pub(in crate::api) struct Listing {
    after: Option<String>,
    limit: Option<usize>,
}

/// Answers with a part of the list, by name.
pub(in crate::api) async fn list(
    State(app): State<App>,
    Asked(listing): Asked<Listing>,
) -> Result<Response, Problem> {
    let limit = listing.limit.unwrap_or(LIST).clamp(1, LIST_MAX);
    let found = blocking(move || listed(&app, listing.after.as_deref(), limit)).await?;
    answer(StatusCode::OK, &found)
}

/// The first names after one, and no more than are wanted.
struct Page<'a, T> {
    after: Option<&'a str>,
    limit: usize,
    found: BTreeMap<String, T>,
}

impl<'a, T> Page<'a, T> {
    fn new(after: Option<&'a str>, limit: usize) -> Self {
        Self { after, limit, found: BTreeMap::new() }
    }

    /// Takes a name if it belongs on the page, as far as is known.
    fn offer(&mut self, name: &str, what: impl FnOnce() -> T) {
        if self.after.is_some_and(|after| name <= after) || self.is_beyond(name) {
            return;
        }
        self.found.insert(name.to_owned(), what());
        if self.found.len() > self.limit {
            self.found.pop_last();
        }
    }

    /// Whether the page is full of names before this one.
    fn is_beyond(&self, name: &str) -> bool {
        self.found.len() >= self.limit && self.found.last_key_value().is_some_and(|(last, _)| name > &**last)
    }
}

enum Listed {
    Kept(Named),
    Row(String),
}

fn listed(app: &App, after: Option<&str>, limit: usize) -> Vec<Value> {
    let mut page = Page::new(after, limit);
    let live: BTreeMap<_, _> = app.documents.live().into_iter().map(|live| (live.id, live)).collect();
    let name_of = |live: &LiveDocument| {
        let (name, author) = live.replica.read(|base| (base.source_name(), base.source())).0;
        Named { id: live.id, name, author, source: None, root: None }
    };
    let mut kept = BTreeSet::new();
    app.documents.each_name(|named, first| {
        kept.insert(named.id);
        let live = live.get(&named.id).filter(|_| named.name.is_none());
        let named = live.map_or_else(|| named.clone(), |live| name_of(live));
        page.offer(&listed_as(app, &named, first), || Listed::Kept(named.clone()));
    });
    // Those that were opened just now are kept when they are closed.
    for live in live.values().filter(|live| !kept.contains(&live.id)) {
        let named = name_of(live);
        if let Some(name) = &named.name {
            page.offer(name, || Listed::Kept(named.clone()));
        }
    }
    for source in app.documents.sources().held() {
        if let Err(error) = rows(&source, &mut page) {
            // What is kept here is listed all the same; how it goes with the database is its source's to say.
            tracing::debug!(event = "rows_not_listed", source = source.name, "{}", chain(&error));
        }
    }
    let entries = page.found.into_iter().map(|(name, listed)| match listed {
        Listed::Kept(named) => entry(app, &name, &named, live.get(&named.id).map(|live| &**live)),
        Listed::Row(source) => unborn(&name, &source),
    });
    entries.collect()
}

/// Under which name a document is listed, and is found: of several with one name only one has it.
fn listed_as(app: &App, named: &Named, first: Option<DocumentId>) -> String {
    let id = || named.id.to_string();
    let Some(name) = &named.name else { return id() };
    let found = match app.documents.sources().root_of(name) {
        Some((source, root)) => source.document_of(&root).1,
        None => first.unwrap_or(named.id),
    };
    if found == named.id { name.clone() } else { id() }
}

/// Adds the rows of a source that have no document yet.
fn rows(source: &SourceRuntime, page: &mut Page<'_, Listed>) -> Result<(), SourceError> {
    let names = source.listed(page.after.is_some())?;
    let first = page.after.map_or(0, |after| names.partition_point(|name| **name <= *after));
    for name in names.iter().skip(first) {
        if page.is_beyond(name) {
            break;
        }
        // One that is kept or open is on the page already, unless it has come in this moment.
        if !page.found.contains_key(name) {
            page.offer(name, || Listed::Row(source.name.clone()));
        }
    }
    Ok(())
}

fn entry(app: &App, listed: &str, named: &Named, live: Option<&LiveDocument>) -> Value {
    let root = app.documents.root_of(named);
    let hold = root.as_ref().and_then(|(source, root)| source.hold_of(root));
    let rivalry = rivalry(app, named);
    let source = match &root {
        Some((source, _)) => Some(&source.name),
        // Another source that is called the same is no source of this node.
        None => named.source.as_ref().filter(|_| rivalry.is_none()),
    };
    let mut entry = json!({
        "id": listed, "source": source, "version": null, "state": "stored", "heads": [], "unsaved": null,
        "conflicts": null, "problem": rivalry,
    });
    let Some(members) = entry.as_object_mut() else { return entry };
    if let Some(live) = live {
        let (shown, _) = live.shown();
        if root.is_none() && rivalry.is_none() {
            members.insert("source".into(), shown.layout.source.clone().into());
        }
        let heads: Vec<String> = shown.heads.iter().map(Digest::to_string).collect();
        members.insert("version".into(), shown.version.into());
        members.insert("state".into(), "live".into());
        members.insert("heads".into(), heads.into());
        members.insert("unsaved".into(), shown.unsaved.len().into());
        members.insert("conflicts".into(), shown.conflicts.len().into());
        if let Some(trouble) = live.trouble() {
            members.insert("problem".into(), trouble.reason.into());
        }
    }
    if let Some(hold) = hold {
        members.insert("state".into(), "needs_plan".into());
        if members.get("problem").is_none_or(Value::is_null) {
            members.insert("problem".into(), hold.reason_for(listed).into());
        }
    }
    entry
}

/// What is wrong with a document that another key has signed than this node has for its name.
fn rivalry(app: &App, named: &Named) -> Option<String> {
    let (source, _) = app.documents.sources().root_of(named.name.as_ref()?)?;
    let author = named.author.filter(|author| *author != source.author())?;
    Some(source.rivalry(&author))
}

fn unborn(name: &str, source: &str) -> Value {
    json!({
        "id": name, "source": source, "version": null, "state": "unborn", "heads": [], "unsaved": 0,
        "conflicts": 0, "problem": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_first_names_after_one_whatever_the_order_in_which_they_come() {
        let names = ["d", "a", "e", "b", "c"];
        let pages = |limit: usize| {
            let (mut pages, mut after) = (Vec::new(), None::<String>);
            loop {
                let mut page = Page::new(after.as_deref(), limit);
                names.iter().for_each(|name| page.offer(name, || ()));
                let found: Vec<String> = page.found.into_keys().collect();
                let Some(last) = found.last() else { return pages };
                after = Some(last.clone());
                pages.push(found.concat());
            }
        };
        assert_eq!(pages(2), ["ab", "cd", "e"]);
        assert_eq!(pages(5), ["abcde"]);
    }
}
