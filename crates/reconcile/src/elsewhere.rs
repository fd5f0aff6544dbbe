//! Rows that say what people did in the document: another node has saved it, and its word has not come yet or never will.
//!
//! To sign what it wrote as the database's own edit would say it twice: a text that people have typed and another node has
//! saved would stand there two times, and be saved so by the next one. So a node says what it is about to save: it signs, with
//! its own key, a change without ops (an *announcement*), and saves the document as that has seen it. Whoever reads rows that
//! have what an announced save writes knows where they come from, whether or not the save mark has come: the source then
//! signs what leads from the document there, and from what it had signed itself meanwhile, to the rows. As with two batches on
//! one base, that puts right what both had brought.
//!
//! An announcement claims nothing: a save that came to nothing leaves one behind without harm. A node's own count like those of
//! others: one that was killed upon the commit may not be able to tell from later rows what became of it.
//!
//! A node that cannot be reached may save all the same. Of what people did whom this node had heard before, that one had all that
//! it had sent itself, and the first part of what it was sent: what the rows have of these chains counts as saved, too
//! ([`FollowOptions::has_others`]). Nothing tells so what is left of a text of which the other node has deleted something
//! since: that may be there twice, until people delete it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bft_json_crdt::json_crdt::JsonCrdt;
use bft_json_crdt::{AuthorId, BaseCrdt, Change, Digest, JsonValue};

use crate::batch::{News, ReconcileError, Reconciled, Source, sizes};
use crate::conflicts::path_of;
use crate::diff::{Edit, diff};
use crate::layout::Layout;
use crate::mapping::{Mode, Policy};
use crate::notice::{heads_before, parts};
use crate::path::Path;
use crate::reading::read;
use crate::rows::Rows;
use crate::schema::{FieldShape, Shape, TableShape};
use crate::text::{Splice, rebase, splices};
use crate::tracker::Tracker;
use crate::unsaved::{Unsaved, at, unsaved};

/// How many of the source's last changes may have been what people did.
const STEPS_BACK: usize = 6;
/// Announcements that are looked at, the last ones.
const ANNOUNCED_MAX: usize = 8;
/// How many pasts of a document are looked at to find what was saved and not announced.
const PASTS_MAX: u32 = 32;

/// How rows are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowOptions {
    /// Rows that are older than what the document has followed are taken all the same.
    pub accepts_older: bool,
    /// Other nodes save these rows, and may not have been heard: what the rows have of what people did counts as saved.
    pub has_others: bool,
}

impl Tracker {
    /// As [`Tracker::reconcile`], on a node beside which others may save: what they have announced and saved is not said
    /// again. O(rows), and once O(history) for an announcement that no save mark has followed: the last few are looked at. With
    /// others, O(history) for each of a few pasts, where the rows have changed what people have changed too.
    ///
    /// # Errors
    /// As [`Tracker::reconcile`].
    pub fn follow(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        rows: &Rows,
        options: FollowOptions,
    ) -> Result<Reconciled, ReconcileError> {
        let FollowOptions { accepts_older, has_others } = options;
        let news = self.news(base, source, rows, accepts_older)?;
        let saved = match news.is_older {
            true => None,
            false => self.saved_elsewhere(base, source, rows, (&news, has_others)),
        };
        let Some(Cut { heads, left: edits, .. }) = saved else { return self.sign(base, source, rows, news) };
        if !edits.is_empty() {
            return self.author(base, source, (&news.layout, &heads), edits);
        }
        let changes = self.save_mark(base, source, &heads, rows.version)?;
        let (ops, bytes) = sizes(&changes);
        let heads = changes.last().map(Change::digest).into_iter().collect();
        Ok(Reconciled { heads, ops, bytes, changes, ..Reconciled::default() })
    }

    /// Returns whether rows have what another node has announced, or with `has_others` what one may have saved without a word,
    /// and the source has not said so: then they are to be followed by [`Tracker::follow`] before anything is saved. Cost as
    /// there.
    pub fn is_saved_elsewhere(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        rows: &Rows,
        has_others: bool,
    ) -> bool {
        let news = self.news(base, source, rows, true);
        news.is_ok_and(|news| self.saved_elsewhere(base, source, rows, (&news, has_others)).is_some())
    }

    /// Returns whether the database has changed what people have changed too, and it is not known to be what they did: another
    /// node may have saved it whose announcement has not come yet. Where others save, it is worth waiting for a moment. O(rows).
    pub fn is_beside_edits(&mut self, base: &BaseCrdt<JsonCrdt>, source: Source<'_>, rows: &Rows) -> bool {
        let Ok(news) = self.news(base, source, rows, true) else { return false };
        if base.heads() == news.tracked || news.tracked.is_empty() {
            return false;
        }
        let saved = self.saved_elsewhere(base, source, rows, (&news, false));
        let (heads, edits) = match saved {
            Some(Cut { heads, left, .. }) => (heads, left),
            None => (news.tracked.clone(), news.edits),
        };
        let mut places: Vec<Path> = edits.iter().filter_map(Edit::place).collect();
        let touched = touched_beside(base, source, &heads, None);
        if places.iter().any(|place| overlaps(place, &touched)) {
            return true;
        }
        // What was signed before may have been what people did whose edits have come since.
        batches(base, source, &heads).iter().any(|batch| {
            let effects = batch.iter().flat_map(|part| base.effects(part));
            places.extend(effects.filter_map(|edit| path_of(&edit.path)));
            let (Some(last), Some(first)) = (batch.first(), batch.last()) else { return false };
            let touched = touched_beside(base, source, &heads_before(first), Some(last.digest()));
            places.iter().any(|place| overlaps(place, &touched))
        })
    }

    fn saved_elsewhere(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        rows: &Rows,
        (news, has_others): (&News, bool),
    ) -> Option<Cut> {
        let News { layout, tracked, edits, .. } = news;
        if layout.mode != Mode::Merge || base.heads() == *tracked || tracked.is_empty() {
            return None;
        }
        let mut saved = self.announced(base, source, rows, news);
        if saved.is_empty() && self.is_all_saved(base, source, rows, (layout, edits)) {
            saved = base.heads();
        }
        let of = Of { base, source, rows, layout };
        let has_others = has_others && (!saved.is_empty() || of.is_beside(edits, tracked));
        if saved.is_empty() && !has_others {
            return None;
        }
        let mut cut = Cut::at(of, saved.iter().chain(tracked).copied().collect())?;
        if has_others {
            let unheard = cut.saved_unheard(of);
            if !unheard.is_empty() {
                cut = Cut::at(of, cut.heads.iter().chain(&unheard).copied().collect())?;
            }
            saved.extend(unheard);
        }
        // Where nothing is there twice and nothing new, nothing is to be done.
        let is_news = !cut.left.is_empty() || !edits.is_empty();
        (is_news && !saved.is_empty()).then_some(cut)
    }

    /// The announcements of saves that the rows have.
    fn announced(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        rows: &Rows,
        News { layout, tracked, .. }: &News,
    ) -> Vec<Digest> {
        let unseen = base.unseen_by(tracked).unwrap_or_default();
        let is_announced = |change: &&Digest| announcer(base, change).is_some();
        let mut announced: Vec<Digest> =
            unseen.iter().rev().filter(is_announced).take(ANNOUNCED_MAX).copied().collect();
        announced.reverse();
        self.note_written(base, source, layout, &announced);
        announced.retain(|at| {
            let written = self.written.get(at);
            written.is_some_and(|it| !it.is_empty() && has_all(source.shape, layout, rows, it))
        });
        announced
    }

    /// Finds out what announced saves write, and forgets the others. Each once, since it is settled for ever.
    fn note_written(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        layout: &Layout,
        announced: &[Digest],
    ) {
        let mut known = std::mem::take(&mut self.written);
        for announced in announced {
            let written = known.remove(announced).unwrap_or_else(|| {
                let seen = base.with_past(&[*announced], |past| {
                    (past.last_of(&source.keypair.author()), past.content())
                });
                let Ok((followed, content)) = seen else { return Vec::new() };
                let Ok(before) = base.with_past(&followed, BaseCrdt::content) else { return Vec::new() };
                written(source.shape, layout, &before, &content)
            });
            self.written.insert(*announced, written);
        }
    }

    /// Whether the rows changed, and somebody has saved, in whatever way, all that the document shows.
    fn is_all_saved(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        rows: &Rows,
        (layout, edits): (&Layout, &[Edit]),
    ) -> bool {
        let reading = self.reading(base);
        // What nobody has touched in the document nobody has saved from there.
        let is_touched = |place: Path| at(&reading.base, &place) != at(&reading.content, &place);
        !edits.is_empty()
            && edits.iter().filter_map(Edit::place).all(is_touched)
            && rows.bad.is_empty()
            && diff(source.shape, layout, &reading.content, rows).is_empty()
            && has_all(source.shape, layout, rows, &reading.unsaved())
    }
}

/// A document, and the rows of it.
#[derive(Clone, Copy)]
struct Of<'a> {
    base: &'a BaseCrdt<JsonCrdt>,
    source: Source<'a>,
    rows: &'a Rows,
    layout: &'a Layout,
}

impl Of<'_> {
    /// Whether edits of the database are where people have edited who had not seen some heads.
    fn is_beside(&self, edits: &[Edit], heads: &[Digest]) -> bool {
        let mut places = edits.iter().filter_map(Edit::place).peekable();
        if places.peek().is_none() {
            return false;
        }
        let touched = touched_beside(self.base, self.source, heads, None);
        places.any(|place| overlaps(&place, &touched))
    }
}

/// What the source has seen once it knows what was saved.
struct Cut {
    heads: Vec<Digest>,
    content: Arc<JsonValue>,
    /// What leads from there to the rows.
    left: Vec<Edit>,
}

impl Cut {
    fn at(of: Of<'_>, mut heads: Vec<Digest>) -> Option<Self> {
        heads.sort_unstable();
        heads.dedup();
        let content = of.base.with_past(&heads, BaseCrdt::content).ok()?;
        let left = diff(of.source.shape, of.layout, &content, of.rows);
        Some(Self { heads, content, left })
    }

    /// What people did beside this that the rows have, although nobody has announced it, or not in the hearing of this node:
    /// of each author, the others before this node's own, all of what it has signed, or the first part of it. What another
    /// node had heard it saves together.
    ///
    /// O(history) for each past that is looked at: two of an author of whom the rows have nothing, and none where they say nothing
    /// new of what people touched.
    fn saved_unheard(&self, of: Of<'_>) -> Vec<Digest> {
        let Of { base, source, rows, layout } = of;
        if !of.is_beside(&self.left, &self.heads) {
            return Vec::new();
        }
        let mut chains: BTreeMap<(bool, AuthorId), Vec<(u64, Digest)>> = BTreeMap::new();
        let unseen = base.unseen_by(&self.heads).unwrap_or_default().into_iter();
        for change in unseen.filter_map(|change| base.change(&change)) {
            let of_author = (change.author() == base.author(), change.author());
            if change.author() != source.keypair.author() {
                chains.entry(of_author).or_default().push((change.seq(), change.digest()));
            }
        }
        let mut pasts = PASTS_MAX;
        let (mut found, mut heads, mut before) = (Vec::new(), self.heads.clone(), Arc::clone(&self.content));
        for mut chain in chains.into_values() {
            chain.sort_unstable();
            let mut saved = None;
            // So many of the chain are in the rows, at least and at most.
            let (mut least, mut most, mut count) = (0, chain.len(), chain.len());
            while least < most && pasts > 0 {
                pasts -= 1;
                let Some((_, last)) = chain.get(count.saturating_sub(1)) else { break };
                heads.push(*last);
                let content = base.with_past(&heads, BaseCrdt::content);
                heads.pop();
                let Ok(content) = content else { break };
                let written = written(source.shape, layout, &before, &content);
                if has_all(source.shape, layout, rows, &written) {
                    least = count;
                    if !written.is_empty() {
                        saved = Some((*last, content));
                    }
                } else {
                    most = count - 1;
                }
                // First all of it, then the first one alone: where the rows have nothing of it, that is the end.
                count = match least {
                    0 if count == chain.len() => 1,
                    _ => least + (most - least).div_ceil(2),
                };
            }
            if let Some((last, content)) = saved {
                heads.push(last);
                found.push(last);
                before = content;
            }
        }
        found
    }
}

/// What a save writes of what leads from one content to a later one.
fn written(shape: &Shape, layout: &Layout, before: &JsonValue, content: &Arc<JsonValue>) -> Vec<Unsaved> {
    let mut written = unsaved(layout, before, &read(layout, before, content));
    written.retain(|it| is_saved(shape, &it.path));
    written
}

/// Returns whether this node has announced to save the document as it is, and nothing has come since.
#[must_use]
pub fn is_announced(base: &BaseCrdt<JsonCrdt>) -> bool {
    matches!(&*base.heads(), [head] if announcer(base, head) == Some(base.author()))
}

/// Who is about to save, if a change says that somebody is.
fn announcer(base: &BaseCrdt<JsonCrdt>, change: &Digest) -> Option<AuthorId> {
    let change = base.change(change)?;
    (change.op_count() == 0 && Some(change.author()) != base.source()).then(|| change.author())
}

/// Whether rows have all that was to be written.
fn has_all(shape: &Shape, layout: &Layout, rows: &Rows, written: &[Unsaved]) -> bool {
    written.iter().all(|it| has(shape, layout, rows, it) == Some(true))
}

/// Whether a save writes what is at a place.
fn is_saved(shape: &Shape, place: &Path) -> bool {
    let table = table_of(shape, place).map(|(_, table)| table);
    let is_saved = |field: &str| table?.fields.get(table?.field(field)?).map(FieldShape::is_saved);
    place.field().map_or(table.is_some(), |field| is_saved(field) == Some(true))
}

/// The table that a place is in, and which list that is.
fn table_of<'a>(shape: &'a Shape, place: &Path) -> Option<(Option<usize>, &'a TableShape)> {
    let Some((list, _)) = place.row() else { return Some((None, &shape.root)) };
    let at = shape.lists.iter().position(|table| table.table == list)?;
    Some((Some(at), shape.lists.get(at)?))
}

/// Whether rows have what was done at a place; none where they have no such place.
fn has(shape: &Shape, layout: &Layout, rows: &Rows, written: &Unsaved) -> Option<bool> {
    let (place, wanted) = (&written.path, written.document.as_ref());
    let (at, table) = table_of(shape, place)?;
    let row = match (at, place.row()) {
        (Some(list), Some((_, key))) => rows.lists.get(list)?.get(key),
        _ => rows.root.as_ref(),
    };
    let list = place.row().map(|(list, _)| list);
    let is_field = |name: &str, was: Option<&JsonValue>, wanted: Option<&JsonValue>| {
        let (is, field) = (row?.get(table.field(name)?)?, layout.field(list, name)?);
        let is_text = field.policy == Policy::TextMerge;
        let has_text = || is.as_str().zip(wanted?.as_str()).map(|(is, wanted)| has_edits(was, wanted, is));
        let is_same = wanted.is_some_and(|wanted| field.is_same(is, wanted));
        Some(is_same || (is_text && has_text() == Some(true)))
    };
    match (place.field(), row, wanted) {
        (Some(name), ..) => is_field(name, written.base.as_ref(), wanted),
        (None, None, None) => Some(true),
        (None, Some(_), Some(JsonValue::Object(wanted))) => {
            let mut saved =
                wanted.iter().filter(|(name, _)| is_saved(shape, &Path::of_field(place.row(), name)));
            Some(saved.all(|(name, value)| is_field(name, None, Some(value)) == Some(true)))
        }
        (None, ..) => Some(false),
    }
}

/// Whether a text has all that was inserted and nothing of what was removed; others may have saved more of it since.
fn has_edits(was: Option<&JsonValue>, wanted: &str, is: &str) -> bool {
    let was = was.and_then(JsonValue::as_str).unwrap_or_default();
    let (made, gone) = (splices(was, wanted), splices(wanted, is));
    let (mut inserted, mut removed) = (0, 0);
    let is_kept = |splice: &Splice| {
        let start = splice.position + inserted - removed;
        inserted += splice.inserted.chars().count();
        removed += splice.removed;
        let end = splice.position + splice.removed + inserted - removed;
        !gone.iter().any(|it| it.removed > 0 && it.position < end && start < it.position + it.removed)
    };
    made.iter().all(is_kept) && rebase(was, is, &made).iter().all(|splice| splice.removed == 0)
}

/// The source's last batches in the past of some heads, the last one first.
fn batches(base: &BaseCrdt<JsonCrdt>, source: Source<'_>, heads: &[Digest]) -> Vec<Vec<Change>> {
    let of_source = |heads: &[Digest]| -> Vec<Change> {
        let changes = heads.iter().filter_map(|head| base.change(head));
        changes.filter(|change| change.author() == source.keypair.author()).collect()
    };
    let mut found: Vec<Vec<Change>> = Vec::new();
    let mut visit = of_source(heads);
    while found.len() < STEPS_BACK {
        visit.sort_by_key(|change| (change.lamport(), change.digest()));
        visit.dedup();
        let Some(last) = visit.pop() else { break };
        let batch = parts(base, &last);
        visit.extend(of_source(&heads_before(batch.last().unwrap_or(&last))));
        found.push(batch);
    }
    found
}

/// The places that people touched who had not seen some heads, nor a change that was made after these.
fn touched_beside(
    base: &BaseCrdt<JsonCrdt>,
    source: Source<'_>,
    heads: &[Digest],
    change: Option<Digest>,
) -> BTreeSet<Path> {
    let unseen = base.unseen_by(heads).unwrap_or_default().into_iter();
    let beside = unseen.filter(|it| change.is_none_or(|change| !base.has_seen(it, &change)));
    let changes = beside.filter_map(|it| base.change(&it));
    let of_people = changes.filter(|change| change.author() != source.keypair.author());
    let effects: Vec<_> = of_people.flat_map(|change| base.effects(&change)).collect();
    effects.iter().filter_map(|edit| path_of(&edit.path)).collect()
}

/// Whether a place, or its row, is among others.
fn overlaps(place: &Path, others: &BTreeSet<Path>) -> bool {
    let row = place.row().map(|(list, key)| Path::Row(list.to_owned(), key.to_owned()));
    others.contains(place) || row.is_some_and(|row| others.contains(&row))
}
