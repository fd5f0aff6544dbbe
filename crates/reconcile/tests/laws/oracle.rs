//! What a document shows and lists, said once more and more slowly on plain JSON: for one person and one database, in
//! merge mode.
//!
//! The person has seen all that the database did before, as far as it was followed; the database has seen what the person
//! did until the last save. Texts have a line of each side's own, with one between that nobody touches.

use std::collections::{BTreeMap, BTreeSet};

use gangline_reconcile::{Layout, Policy, Take};
use serde_json::{Map, Value, json};

use super::world::{Open, person, source};

/// What one side has said of a field; it prevails by rank, then by time.
#[derive(Clone, Debug)]
struct Said {
    value: Value,
    rank: u8,
    time: u64,
}

/// Both sides' values, of which at least one is there.
#[derive(Clone, Debug, Default)]
struct Field {
    theirs: Option<Said>,
    mine: Option<Said>,
    is_saved: bool,
}

type Row = BTreeMap<String, Field>;

/// What is known of one key of a list.
#[derive(Clone, Debug, Default)]
struct Keyed {
    /// The row that shows.
    row: Option<Row>,
    /// The row that the person has deleted and the database has.
    deleted: Option<Row>,
    /// The database has changed it where the document wins: so it stays deleted.
    gave_way: bool,
    /// The database has changed it otherwise: so it is back. And whether the database has seen the deletion.
    is_back: bool,
    is_back_saved: bool,
    /// The row as the person last edited it, since the last save.
    edited: Option<Value>,
    /// The row as it had been followed then.
    edited_on: Option<Value>,
    /// The last that the person said of the row is that it is right as it is.
    is_touched: bool,
    /// The same, of a row that the database has deleted. And whether the database has seen that.
    lost: Option<Value>,
    is_lost_saved: bool,
    /// The person has deleted what the database had not seen, or both have deleted it: it does not use the key again.
    is_burnt: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    layout: Layout,
    root: Row,
    lists: BTreeMap<String, BTreeMap<String, Keyed>>,
    followed: Value,
    /// Logical times of the document, and of the tracking ref.
    now: u64,
    at_ref: u64,
}

const LISTS: [&str; 2] = ["jobs", "edges"];

fn is_list(name: &str) -> bool {
    LISTS.contains(&name)
}

impl Field {
    fn shows_theirs(&self) -> bool {
        let order = |said: &Option<Said>, author| said.as_ref().map(|said| (said.rank, said.time, author));
        order(&self.theirs, source().author()) > order(&self.mine, person(1).author())
    }

    fn view(&self) -> Value {
        let shown = if self.shows_theirs() { &self.theirs } else { &self.mine };
        shown.as_ref().map(|said| said.value.clone()).unwrap()
    }
}

fn view_of(row: &Row) -> Value {
    Value::Object(row.iter().map(|(name, field)| (name.clone(), field.view())).collect())
}

/// Whether a text has a line of each side.
fn has_lines(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("--"))
}

/// A text with the first line of one and the last line of another.
fn lines_of(theirs: &Value, mine: &Value) -> Value {
    let (theirs, mine) = (theirs.as_str().unwrap(), mine.as_str().unwrap());
    let (first, last) = (theirs.lines().next().unwrap(), mine.lines().last().unwrap());
    json!(format!("{first}\n--\n{last}\n"))
}

impl Oracle {
    pub(crate) fn new(layout: Layout, content: &Value) -> Self {
        let lists = LISTS.map(|list| (list.to_owned(), BTreeMap::new())).into();
        let followed = json!({"jobs": {}, "edges": {}});
        let mut oracle = Self { layout, root: Row::new(), lists, followed, now: 0, at_ref: 0 };
        oracle.follow(content);
        oracle
    }

    pub(crate) fn view(&self) -> Value {
        let mut view = view_of(&self.root);
        for (list, rows) in &self.lists {
            let rows =
                rows.iter().filter_map(|(key, keyed)| Some((key.clone(), view_of(keyed.row.as_ref()?))));
            view[list] = Value::Object(rows.collect());
        }
        view
    }

    pub(crate) fn open(&self) -> Vec<Open> {
        let mut open = Vec::new();
        fields_open("", &self.root, &mut open);
        for (list, rows) in &self.lists {
            for (key, keyed) in rows {
                let path = format!("{list}.{key}");
                let row = keyed.row.as_ref().map(view_of);
                if let Some(lost) = &keyed.lost {
                    open.push((path.clone(), row, Some(lost.clone()), true));
                } else if keyed.is_back {
                    open.push((path.clone(), row, None, true));
                } else if keyed.gave_way {
                    open.push((path.clone(), Some(self.followed[list][key].clone()), None, false));
                }
                keyed.row.iter().for_each(|row| fields_open(&format!("{path}."), row, &mut open));
            }
        }
        open.sort_by(|a, b| a.0.cmp(&b.0));
        open
    }

    /// Whether the person may do so here, as far as the oracle goes: drafts have no texts, take no keys that the document
    /// has followed, and are not deleted where the database has put a row meanwhile.
    pub(crate) fn is_in_reach(&self, patch: &Value, database: &Value) -> bool {
        let view = self.view();
        let rows = LISTS
            .iter()
            .flat_map(|list| patch[list].as_object().into_iter().flatten().map(move |row| (list, row)));
        rows.into_iter().all(|(list, (key, row))| {
            let keyed = self.lists[*list].get(key).cloned().unwrap_or_default();
            match (row.is_null(), view[list].get(key)) {
                (true, shown) => {
                    let is_followed = self.followed[list].get(key).is_some();
                    shown.is_some() && (is_followed || database[list].get(key).is_none())
                }
                (false, Some(shown)) => row.get("body").is_none() || has_lines(&shown["body"]),
                (false, None) => self.followed[list].get(key).is_none() && !keyed.is_burnt,
            }
        })
    }

    /// Whether the database must not put a row under a key.
    pub(crate) fn is_taken(&self, list: &str, key: &str) -> bool {
        let is_burnt = self.lists[list].get(key).is_some_and(|keyed| keyed.is_burnt);
        is_burnt || self.followed[list].get(key).is_some()
    }

    /// The person writes a merge patch.
    pub(crate) fn edit(&mut self, patch: &Value) {
        let before = self.view();
        let mut after = before.clone();
        super::world::write_rows(&mut after, patch);
        if after == before {
            return;
        }
        self.now += 1;
        let said = |value: &Value| Said { value: value.clone(), rank: 1, time: self.now };
        let set = |row: &mut Row, before: &Value, after: &Value| {
            for (name, value) in after.as_object().unwrap().iter().filter(|(name, _)| !is_list(name)) {
                if before.get(name) != Some(value) {
                    let field = row.entry(name.clone()).or_default();
                    // Of texts both sides have a part, and the field holds the whole.
                    *field = Field { theirs: None, mine: Some(said(value)), is_saved: false };
                }
            }
        };
        set(&mut self.root, &before, &after);
        for (list, rows) in &mut self.lists {
            for (key, was, is) in pairs(&before[list], &after[list]) {
                let keyed = rows.entry(key.clone()).or_default();
                match (was, is) {
                    (Some(_), None) => keyed.delete(self.followed[list].get(key).is_some()),
                    (was, Some(is)) if was != Some(is) => {
                        set(keyed.row.get_or_insert_default(), was.unwrap_or(&Value::Null), is);
                        keyed.edited = Some(is.clone());
                        keyed.edited_on = self.followed[list].get(key.as_str()).cloned();
                        keyed.is_touched = false;
                        keyed.is_back = false;
                        // Whoever puts a row where one was deleted has seen that.
                        keyed.lost = keyed.lost.take().filter(|_| was.is_some());
                    }
                    _ => {}
                }
            }
        }
    }

    /// The document follows new rows.
    pub(crate) fn follow(&mut self, content: &Value) {
        let followed = std::mem::replace(&mut self.followed, content.clone());
        let layout = self.layout.clone();
        let is_owned =
            |name: &str| layout.field(None, name).is_some_and(|field| field.policy == Policy::DocOwned);
        let without_owned = |content: &Value| {
            let fields = content.as_object().unwrap().iter();
            fields
                .filter(|(name, _)| !is_owned(name))
                .map(|(a, b)| (a.clone(), b.clone()))
                .collect::<Map<_, _>>()
        };
        if self.now > 0 && without_owned(&followed) == without_owned(content) {
            return;
        }
        self.at_ref += 1;
        let time = self.at_ref;
        self.now = self.now.max(time);
        let rank = |list: Option<&str>, name: &str| match layout.field(list, name).unwrap().policy {
            Policy::DbWins | Policy::DbOwned => 2,
            Policy::KeepBoth | Policy::TextMerge => 1,
            Policy::DocWins | Policy::DocOwned => 0,
        };
        for (name, value) in content.as_object().unwrap().iter().filter(|(name, _)| !is_list(name)) {
            let is_first = followed.get(name).is_none();
            if followed.get(name) != Some(value) && (is_first || !is_owned(name)) {
                let is_text = name == "about";
                self.root.entry(name.clone()).or_default().say(value, rank(None, name), time, is_text);
            }
        }
        for (list, rows) in &mut self.lists {
            for (key, was, is) in pairs(&followed[list], &content[list]) {
                let keyed = rows.entry(key).or_default();
                match (was, is) {
                    (None, Some(is)) => {
                        let row = keyed.row.get_or_insert_default();
                        for (name, value) in is.as_object().unwrap() {
                            row.entry(name.clone()).or_default().say(value, 2, time, name == "body");
                        }
                        keyed.lost = keyed.lost.take().filter(|_| !keyed.is_lost_saved);
                    }
                    (Some(_), None) => {
                        // Who only set to null what was null has said nothing else.
                        let own = keyed.row.iter().flat_map(BTreeMap::values).filter(|field| !field.is_saved);
                        let is_null = own.flat_map(|field| &field.mine).all(|said| said.value.is_null());
                        if (is_null || keyed.is_touched) && keyed.edited == keyed.edited_on {
                            keyed.edited = None;
                        }
                        // A removal has seen what was saved.
                        let lost = keyed.lost.take().filter(|_| !keyed.is_lost_saved);
                        let is_burnt = keyed.is_burnt || keyed.row.is_none() || keyed.is_back;
                        *keyed = Keyed { lost: keyed.edited.take().or(lost), is_burnt, ..Keyed::default() };
                    }
                    (Some(was), Some(is)) => keyed.change(was, is, &|name| rank(Some(list), name), time),
                    (None, None) => {}
                }
            }
        }
    }

    /// The database has taken over what the document shows.
    pub(crate) fn save(&mut self) {
        self.followed = self.view();
        self.now += 1;
        self.at_ref = self.now;
        self.root.values_mut().for_each(|field| field.is_saved = true);
        for keyed in self.lists.values_mut().flat_map(BTreeMap::values_mut) {
            keyed.row.iter_mut().flat_map(BTreeMap::values_mut).for_each(|field| field.is_saved = true);
            (keyed.deleted, keyed.gave_way, keyed.edited) = (None, false, None);
            (keyed.is_back_saved, keyed.is_lost_saved, keyed.is_burnt) = (true, true, false);
        }
    }

    /// The person resolves what is open. Returns whether the oracle goes so far: not to rows that are put anew where the
    /// database has one.
    pub(crate) fn resolve(&mut self, open: &Open, take: Take) -> bool {
        let (path, theirs, mine, shows_theirs) = open;
        let parts: Vec<&str> = path.split('.').collect();
        let value = if take == Take::Theirs { theirs } else { mine };
        if let [list, key] = parts[..] {
            let keyed = self.lists.get_mut(list).unwrap().get_mut(key).unwrap();
            match (take, theirs, mine) {
                // It was deleted there, and perhaps put anew.
                (Take::Theirs, None, _) => (keyed.lost, keyed.is_burnt) = (None, true),
                (Take::Theirs, Some(_), Some(_)) => keyed.lost = None,
                (Take::Mine, None, Some(row)) => {
                    let patch = json!({list: {key: row}});
                    self.edit(&patch);
                    // It is a draft with a text.
                    self.lists.get_mut(list).unwrap().get_mut(key).unwrap().is_burnt = true;
                    return true;
                }
                // It was deleted here, and is back or stays deleted.
                (Take::Theirs, Some(_), None) if *shows_theirs => {
                    (keyed.is_back, keyed.is_touched) = (false, true);
                    keyed.edited = keyed.row.as_ref().map(view_of);
                    keyed.edited_on = self.followed[list].get(key).cloned();
                }
                (Take::Mine, Some(_), None) if *shows_theirs => {
                    keyed.delete(self.followed[list].get(key).is_some());
                }
                (Take::Mine, Some(_), None) => keyed.gave_way = false,
                _ => return false,
            }
            self.now += 1;
            return true;
        }
        self.now += 1;
        let said = Said { value: value.clone().unwrap(), rank: 1, time: self.now };
        let field = Field { theirs: None, mine: Some(said), is_saved: false };
        match parts[..] {
            [name] => _ = self.root.insert(name.to_owned(), field),
            [list, key, name] => {
                let keyed = self.lists.get_mut(list).unwrap().get_mut(key).unwrap();
                let row = keyed.row.as_mut().unwrap();
                row.insert(name.to_owned(), field);
                (keyed.edited, keyed.is_back) = (Some(view_of(row)), false);
                keyed.edited_on = self.followed[list].get(key).cloned();
                keyed.is_touched = false;
            }
            _ => panic!("{path} is no path"),
        }
        true
    }
}

impl Field {
    /// The database says something. Of a text it says the first line.
    fn say(&mut self, value: &Value, rank: u8, time: u64, is_text: bool) {
        let shown = self.theirs.as_ref().or(self.mine.as_ref()).map(|said| &said.value);
        let value = match shown.filter(|_| is_text) {
            Some(shown) if has_lines(shown) && has_lines(value) => lines_of(value, shown),
            _ => value.clone(),
        };
        let said = Some(Said { value, rank, time });
        if is_text || self.is_saved {
            *self = Self { theirs: said, mine: None, is_saved: false };
        } else {
            self.theirs = said;
        }
    }
}

impl Keyed {
    /// The person deletes the row, and has seen all that was done to it.
    fn delete(&mut self, database_has_it: bool) {
        let deleted = self.row.take().filter(|_| database_has_it);
        *self = Self { deleted, is_burnt: !database_has_it, ..Self::default() };
    }

    /// The database changes fields of its row.
    fn change(&mut self, was: &Value, is: &Value, rank: &dyn Fn(&str) -> u8, time: u64) {
        let changed: Vec<&String> =
            is.as_object().unwrap().keys().filter(|name| was[name.as_str()] != is[name.as_str()]).collect();
        if changed.is_empty() {
            return;
        }
        let is_deleted = self.row.is_none();
        let row = if is_deleted { &mut self.deleted } else { &mut self.row };
        for name in &changed {
            let field = row.as_mut().unwrap().entry((*name).clone()).or_default();
            field.say(&is[name.as_str()], rank(name), time, *name == "body");
        }
        if is_deleted && changed.iter().any(|name| rank(name) > 0) {
            (self.row, self.is_back, self.is_back_saved, self.gave_way) =
                (self.deleted.take(), true, false, false);
        } else if is_deleted {
            self.gave_way = true;
        } else if self.is_back_saved {
            self.is_back = false;
        }
    }
}

fn fields_open(prefix: &str, row: &Row, open: &mut Vec<Open>) {
    for (name, field) in row {
        if let (Some(theirs), Some(mine)) = (&field.theirs, &field.mine)
            && theirs.value != mine.value
        {
            let (theirs, mine) = (Some(theirs.value.clone()), Some(mine.value.clone()));
            open.push((format!("{prefix}{name}"), theirs, mine, field.shows_theirs()));
        }
    }
}

/// The keys of two objects with what each has there.
fn pairs<'a>(was: &'a Value, is: &'a Value) -> Vec<(String, Option<&'a Value>, Option<&'a Value>)> {
    let keys = |rows: &'a Value| rows.as_object().into_iter().flat_map(Map::keys).cloned();
    let all: BTreeSet<String> = keys(was).chain(keys(is)).collect();
    all.into_iter().map(|key| (key.clone(), was.get(&key), is.get(&key))).collect()
}
