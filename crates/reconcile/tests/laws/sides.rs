//! Where the sides met: nothing is lost, both are listed, and whoever chooses settles it for everybody.

use gangline_reconcile::{Conflict, Layout, Mode, Take, at, conflicts, resolve_as};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::generated::{patch, steps, whole};
use super::world::{shape, write_rows};
use super::{play, settle};

/// A field of the root, or of a row that the view has, for a value that nobody else writes.
fn mark(view: &Value, place: usize, mark: &str) -> Value {
    let jobs: Vec<&String> = view["jobs"].as_object().unwrap().keys().collect();
    let value = match place % 5 {
        0 => return json!({"name": mark}),
        1 => return json!({"note": mark}),
        2 => json!({"name": mark}),
        3 => json!({"adaptor": mark}),
        _ => json!({"body": mark}),
    };
    match jobs.get(place / 5 % jobs.len().max(1)) {
        Some(job) => json!({"jobs": {job.as_str(): value}}),
        None => json!({"note": mark}),
    }
}

proptest! {
    #![proptest_config(super::cases(64))]

    #[test]
    fn no_edit_is_lost_outside_of_conflicts(
        steps in steps(4),
        places in prop::collection::vec(0usize..40, 3),
        deleted in prop::option::of(0usize..4),
        writes in prop::collection::vec(patch(true), 1..3),
    ) {
        let shape = shape(Mode::Merge);
        let (mut team, mut database) = play(Mode::Merge, &steps, 4);
        // All edit at once, each something that only they write, and one may delete a row.
        for (number, place) in places.iter().enumerate() {
            let patch = mark(&team[number].view(), *place, &format!("<{number}>"));
            team[number].patch(&shape, patch);
        }
        if let Some(job) = deleted.map(|n| format!("j{n}")).filter(|job| team[3].view()["jobs"].get(job).is_some()) {
            team[3].patch(&shape, json!({"jobs": {job: null}}));
        }
        for write in &writes {
            let patch = whole(write, &database.content);
            write_rows(&mut database.content, &patch);
            team[0].reconcile(&shape, &database.rows(&shape));
        }
        settle(&mut team);
        let open = conflicts(&team[1].base);
        for number in 0..places.len() {
            let mark = format!("<{number}>");
            let is_in = |value: &Value| value.to_string().contains(&mark);
            let sides = open.iter().flat_map(|open| [&open.theirs, &open.mine]).flatten();
            let is_listed = sides.clone().any(|side| is_in(&side.clone().into()));
            prop_assert!(is_in(&team[1].view()) || is_listed, "{} is neither in {} nor in {:?}", mark, team[1].view(), open);
        }
    }

    #[test]
    fn every_conflict_has_both_values_and_says_which_shows(steps in steps(3)) {
        let (team, _) = play(Mode::Merge, &steps, 3);
        let view = team[0].base.doc.view();
        let at_ref = team[0].base.at(&team[0].tracked()).unwrap().doc.view();
        let mut last = None;
        for Conflict { path, kind, theirs, mine, shows_theirs, .. } in conflicts(&team[0].base) {
            prop_assert_ne!(&theirs, &mine, "{}", path);
            // Where several others have written, only the first one may show.
            let shown = if shows_theirs { &theirs } else { &mine };
            if shows_theirs || last.as_ref() != Some(&path) {
                prop_assert_eq!(shown.as_ref(), at(&view, &path), "{} {:?}", path, kind);
            }
            last = Some(path.clone());
            // What the database has is a side, but where somebody has deleted it as well; where it has nothing, what shows
            // may stand for it.
            let is_gone = at(&at_ref, &path).is_none() || at(&view, &path).is_none();
            prop_assert!(theirs.is_some() || is_gone, "{}", path);
        }
    }

    #[test]
    fn what_somebody_resolves_vanishes_everywhere_and_stays_resolved(
        steps in steps(3),
        choices in prop::collection::vec(0u8..3, 64),
    ) {
        let shape = shape(Mode::Merge);
        let layout = Layout::of(&shape);
        let (mut team, mut database) = play(Mode::Merge, &steps, 3);
        let mut choices = choices.into_iter();
        while let Some(open) = conflicts(&team[0].base).first().cloned() {
            let path = open.path.to_string();
            let choice = choices.next();
            prop_assert!(choice.is_some(), "{open:?} does not go away");
            match choice {
                Some(0) => team[0].resolve(&shape, &path, Take::Theirs),
                Some(1) => team[0].resolve(&shape, &path, Take::Mine),
                _ => {
                    let value = new_value(&open);
                    let node = &mut team[0];
                    let changes = node.base.transact(&node.key, |doc| resolve_as(doc, &layout, &open, &value));
                    node.log.extend(changes.unwrap());
                    let shown: Option<Value> = at(&node.base.doc.view(), &open.path).cloned().map(Value::from);
                    prop_assert_eq!(shown, Some(value.into()), "{}", path);
                }
            }
            let left = conflicts(&team[0].base);
            prop_assert!(!left.contains(&open), "{:?} by {:?}", open, choice);
        }
        settle(&mut team);
        for node in &team {
            prop_assert_eq!(conflicts(&node.base), vec![]);
            prop_assert_eq!(node.view(), team[0].view());
        }
        // What the database does elsewhere brings none of them back.
        database.content["owner"] = json!("somebody else");
        database.version += 1;
        team[1].reconcile(&shape, &database.rows(&shape));
        settle(&mut team);
        prop_assert_eq!(conflicts(&team[2].base), vec![]);
    }

    #[test]
    fn a_text_that_one_side_changes_is_that_sides(
        texts in prop::collection::vec("([ab]{0,3}|\\PC{0,6}|\n){0,12}", 2..6),
        is_database in any::<bool>(),
    ) {
        let shape = shape(Mode::Merge);
        let (mut team, mut database) = play(Mode::Merge, &[], 2);
        // The other side edits elsewhere, at once.
        for (round, text) in texts.iter().enumerate() {
            if is_database {
                database.content["jobs"]["j1"]["body"] = json!(text);
                team[1].patch(&shape, json!({"jobs": {"j2": {"body": format!("{round}")}}}));
            } else {
                database.content["jobs"]["j2"]["body"] = json!(format!("{round}"));
                team[1].patch(&shape, json!({"jobs": {"j1": {"body": text}}}));
            }
            team[0].reconcile(&shape, &database.rows(&shape));
            settle(&mut team);
            for node in &team {
                let view = node.view();
                prop_assert_eq!(&view["jobs"]["j1"]["body"], text);
                prop_assert_eq!(&view["jobs"]["j2"]["body"], &json!(format!("{round}")));
            }
        }
    }
}

fn new_value(open: &Conflict) -> bft_json_crdt::JsonValue {
    let value = match open.path.to_string().rsplit('.').next() {
        _ if open.path.field().is_none() => json!({"name": "put by hand", "body": "text"}),
        Some("concurrency" | "position") => json!(77),
        Some("enabled") => json!(true),
        Some("weight") => json!(0.25),
        _ => json!("chosen"),
    };
    value.into()
}
