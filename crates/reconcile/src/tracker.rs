//! What a document was when it last equalled its rows, kept at hand: to follow then costs what has changed, and not the
//! document.
//!
//! Nothing here decides anything: a tracker that is thrown away is made again from the document.

use std::collections::BTreeMap;
use std::sync::Arc;

use bft_json_crdt::json_crdt::{JsonCrdt, SignError};
use bft_json_crdt::{AuthorId, BaseCrdt, Change, Digest, JsonValue};

use crate::batch::{tracked_version, version_of};
use crate::conflicts::{Conflict, conflicts, path_of};
use crate::diff::Edit;
use crate::layout::{Layout, VERSION};
use crate::mapping::Mode;
use crate::notice::parts;
use crate::path::Path;
use crate::reading::{Reading, read};
use crate::unsaved::{Unsaved, at};

/// A followed document's past. It belongs to one replica of one document; with another it begins anew. It takes up as much
/// memory as the document and its views.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    /// A replica of the past, which its source edits.
    past: Option<BaseCrdt<JsonCrdt>>,
    /// What it was before it last went on.
    before: Option<Before>,
    /// The document at its heads, as it is read.
    reading: Option<(Vec<Digest>, Arc<Reading>)>,
    /// What is open at its heads.
    open: Option<(Vec<Digest>, Arc<[Conflict]>)>,
    /// The newest version of several heads.
    newest: Option<(Vec<Digest>, Option<i64>)>,
    /// What saves write that others have announced.
    pub(crate) written: BTreeMap<Digest, Vec<Unsaved>>,
}

/// A document before a change.
#[derive(Clone, Debug)]
struct Before {
    heads: Vec<Digest>,
    content: Arc<JsonValue>,
    /// The change at whose places it is; none where it is all there.
    of: Option<Digest>,
}

impl Tracker {
    /// The document as the source had seen it at some heads, to be edited there in the source's name. Where that fails it
    /// must be forgotten.
    pub(crate) fn past(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        heads: &[Digest],
        author: AuthorId,
    ) -> Result<&mut BaseCrdt<JsonCrdt>, SignError> {
        let mut ready = self.past.take().filter(|past| past.author() == author);
        if let Some(past) = &mut ready
            && past.heads() != heads
        {
            let before = before_heads(base, heads, past);
            // What it has signed may not have been taken, or somebody forgot what they had signed: then it begins anew.
            let has_gone =
                past.catch_up(base, heads).is_ok() && past.last_of(&author) == base.last_of(&author);
            if has_gone { self.before = Some(before) } else { ready = None }
        }
        let past = match ready {
            Some(past) => past,
            None => base.author_at(heads, author)?,
        };
        Ok(self.past.insert(past))
    }

    /// What the document was at some heads.
    pub(crate) fn content_at(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        heads: &[Digest],
        author: AuthorId,
    ) -> Result<Arc<JsonValue>, SignError> {
        Ok(self.past(base, heads, author)?.content())
    }

    /// Begins anew with the past.
    pub(crate) fn forget(&mut self) {
        self.past = None;
    }

    /// Notes what the past was at some heads, before a batch was made there.
    pub(crate) fn was(
        &mut self,
        heads: Vec<Digest>,
        content: Arc<JsonValue>,
        edits: &[Edit],
        made: &[Change],
    ) {
        let of = made.last().map(Change::digest).filter(|_| !is_mirror(&content));
        let content = if of.is_some() {
            Arc::new(picked(&content, edits.iter().filter_map(Edit::place)))
        } else {
            content
        };
        self.before = Some(Before { heads, content, of });
    }

    /// What the document was at some heads, if a change was made there last: all of it, or at the places of the change.
    pub(crate) fn before(&self, heads: &[Digest], change: Digest, needs_all: bool) -> Option<Arc<JsonValue>> {
        let has =
            |before: &&Before| before.heads == heads && before.of.is_none_or(|of| of == change && !needs_all);
        self.before.as_ref().filter(has).map(|before| Arc::clone(&before.content))
    }

    /// Returns the document as it is read now. O(what has changed since it was asked for last), and O(document) the first
    /// time or as long as somebody holds what was returned before.
    #[must_use]
    pub fn reading(&mut self, base: &BaseCrdt<JsonCrdt>) -> Arc<Reading> {
        let heads = base.heads();
        if let Some((_, reading)) = self.reading.as_ref().filter(|(known, _)| *known == heads) {
            return Arc::clone(reading);
        }
        // It holds what now changes.
        self.reading = None;
        let author = base.source();
        let tracked = author.map(|author| base.last_of(&author)).unwrap_or_default();
        let was = author.and_then(|author| self.content_at(base, &tracked, author).ok());
        let was = was.unwrap_or_else(|| Arc::new(JsonValue::Object(Default::default())));
        let layout = Layout::in_content(&was).unwrap_or_default();
        // Where the source has seen everything, it is what the source has seen.
        let is_equal = !tracked.is_empty() && heads == tracked;
        let content = if is_equal { Arc::clone(&was) } else { read(&layout, &was, &base.content()) };
        let reading = Arc::new(Reading { layout, tracked, base: was, content });
        self.reading = Some((heads, Arc::clone(&reading)));
        reading
    }

    /// As [`conflicts`]. O(1) until the document changes.
    #[must_use]
    pub fn conflicts(&mut self, base: &BaseCrdt<JsonCrdt>) -> Arc<[Conflict]> {
        let heads = base.heads();
        if let Some((_, open)) = self.open.as_ref().filter(|(known, _)| *known == heads) {
            return Arc::clone(open);
        }
        let open: Arc<[Conflict]> = conflicts(base).into();
        self.open = Some((heads, Arc::clone(&open)));
        open
    }

    /// Returns the version of the rows that a document has followed: the newest, of several batches on one base. Cost as
    /// [`Self::reading`].
    #[must_use]
    pub fn version(&mut self, base: &BaseCrdt<JsonCrdt>) -> Option<i64> {
        let author = base.source()?;
        let tracked = base.last_of(&author);
        if tracked.len() < 2 {
            return version_of(&*self.content_at(base, &tracked, author).ok()?);
        }
        if let Some((_, newest)) = self.newest.as_ref().filter(|(known, _)| *known == tracked) {
            return *newest;
        }
        let newest = tracked.iter().filter_map(|head| tracked_version(base, *head)).max();
        self.newest = Some((tracked, newest));
        newest
    }
}

/// What a past is before it goes on to some heads.
fn before_heads(base: &BaseCrdt<JsonCrdt>, heads: &[Digest], past: &BaseCrdt<JsonCrdt>) -> Before {
    let content = past.content();
    let change = match heads {
        [head] if !is_mirror(&content) => base.change(head),
        _ => None,
    };
    let Some(change) = change else { return Before { heads: past.heads(), content, of: None } };
    let parts = parts(base, &change);
    let effects = parts.iter().flat_map(|part| base.effects(part));
    let places: Vec<Path> = effects.filter_map(|edit| path_of(&edit.path)).collect();
    let content = Arc::new(picked(&content, places.into_iter()));
    Before { heads: past.heads(), content, of: Some(change.digest()) }
}

fn is_mirror(content: &JsonValue) -> bool {
    Layout::in_content(content).is_some_and(|layout| layout.mode == Mode::Mirror)
}

/// What a content has at some places, and the version: nothing else.
fn picked(content: &JsonValue, places: impl Iterator<Item = Path>) -> JsonValue {
    let mut members = BTreeMap::new();
    members.extend(content.get(VERSION).map(|version| (VERSION.to_owned(), version.clone())));
    for place in places {
        let Some(value) = at(content, &place).cloned() else { continue };
        let names: Vec<&str> = match &place {
            Path::Field(field) => vec![field],
            Path::Row(list, key) => vec![list, key],
            Path::RowField(list, key, field) => vec![list, key, field],
        };
        put(&mut members, &names, value);
    }
    JsonValue::Object(members)
}

fn put(members: &mut BTreeMap<String, JsonValue>, names: &[&str], value: JsonValue) {
    let [first, rest @ ..] = names else { return };
    if rest.is_empty() {
        members.insert((*first).to_owned(), value);
    } else if let JsonValue::Object(inner) =
        members.entry((*first).to_owned()).or_insert_with(|| JsonValue::Object(BTreeMap::new()))
    {
        put(inner, rest, value);
    }
}
