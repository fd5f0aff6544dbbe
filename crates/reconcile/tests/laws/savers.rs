//! Several nodes that follow one database and save into it, each killed or slow between its commit and its word of it.

use std::collections::BTreeSet;

use bft_json_crdt::Digest;
use gangline_reconcile::{FollowOptions, Mode, Shape, Source, Tracker, Write, save_mark};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use crate::cases;
use crate::world::{Database, NAME, Node, shape, source};

#[derive(Clone, Debug)]
enum Step {
    /// Somebody types a line of their own into a text.
    Type(usize, bool, Index),
    /// Somebody deletes a line of a text, whoever typed it.
    Delete(usize, bool, Index),
    /// A node follows the rows.
    Follow(usize),
    /// A node saves, and says so at once or later.
    Save(usize, bool),
    /// A node is about to save, and the database refuses it.
    Refused(usize),
    /// A node was killed, and cannot tell from the rows any more whether it has committed what it was about to. It follows
    /// before it hears anybody.
    Killed(usize),
    /// The nodes cannot reach each other, but the database.
    Part,
    /// They can again, and tell each other all before they do anything else.
    Meet,
    /// A node hears the next changes of another one.
    Hear(usize, usize, usize),
}

/// Steps of nodes of which one is killed now and then. Either somebody deletes lines, or the nodes cannot always reach each
/// other: a node cannot know that what it reads is what is left of an edit of which it has heard a part.
fn steps(nodes: usize, parts: bool) -> impl Strategy<Value = Vec<Step>> {
    let node = move || 0..nodes;
    let delete =
        (node(), any::<bool>(), any::<Index>()).prop_map(|(node, of, at)| Step::Delete(node, of, at));
    let part = any::<bool>().prop_map(|is_apart| if is_apart { Step::Part } else { Step::Meet });
    let either = if parts { part.boxed() } else { delete.boxed() };
    let step = prop_oneof![
        5 => (node(), any::<bool>(), any::<Index>()).prop_map(|(node, of, at)| Step::Type(node, of, at)),
        1 => either,
        3 => node().prop_map(Step::Follow),
        1 => node().prop_map(Step::Refused),
        1 => node().prop_map(Step::Killed),
        3 => (node(), any::<bool>()).prop_map(|(node, is_late)| Step::Save(node, is_late)),
        5 => (node(), node(), 1..6usize).prop_map(|(a, b, count)| Step::Hear(a, b, count)),
    ];
    prop::collection::vec(step, 1..40)
}

struct Saver {
    node: Node,
    tracker: Tracker,
    /// What it has committed and not said.
    committed: Option<(Vec<Digest>, i64)>,
    has_others: bool,
}

impl Saver {
    fn new(n: u8, has_others: bool) -> Self {
        Self { node: Node::new(n), tracker: Tracker::default(), committed: None, has_others }
    }

    fn follow(&mut self, shape: &Shape, database: &Database) -> usize {
        let keypair = source();
        let of = Source { keypair: &keypair, shape, document: NAME };
        if let Some((heads, version)) = self.committed.take() {
            let mark = save_mark(&self.node.base, of, &heads, Some(version)).unwrap();
            self.node.take(&mark);
        }
        let rows = database.rows(shape);
        let options = FollowOptions { has_others: self.has_others, ..FollowOptions::default() };
        let followed = self.tracker.follow(&self.node.base, of, &rows, options).unwrap();
        self.node.take(&followed.changes);
        followed.changes.len()
    }

    fn save(&mut self, shape: &Shape, database: &mut Database, is_late: bool) {
        let Some((writes, heads)) = self.announce(shape, database) else { return };
        database.version += 1;
        database.carry_out(shape, &writes);
        self.committed = Some((heads, database.version));
        if !is_late {
            self.follow(shape, database);
        }
    }

    /// Follows, and announces what it is about to write, if there is anything.
    fn announce(&mut self, shape: &Shape, database: &Database) -> Option<(Vec<Write>, Vec<Digest>)> {
        let keypair = source();
        let of = Source { keypair: &keypair, shape, document: NAME };
        self.follow(shape, database);
        let rows = database.rows(shape);
        assert!(!self.tracker.is_saved_elsewhere(&self.node.base, of, &rows, self.has_others));
        let plan = self.node.plan_save(shape, &rows);
        assert_eq!(plan.problems, []);
        if plan.writes.is_empty() {
            return None;
        }
        let announcement = self.node.base.save_mark(&self.node.key).unwrap();
        let heads = vec![announcement.digest()];
        self.node.log.push(announcement);
        Some((plan.writes, heads))
    }

    fn typed(&mut self, shape: &Shape, into_job: bool, line: &str, place: impl FnOnce(usize) -> usize) {
        let mut lines = self.lines(into_job);
        lines.insert(place(lines.len() + 1), line.to_owned());
        self.say(shape, into_job, &lines);
    }

    /// Deletes a line, if there is any, and returns it.
    fn delete(
        &mut self,
        shape: &Shape,
        into_job: bool,
        place: impl FnOnce(usize) -> usize,
    ) -> Option<String> {
        let mut lines = self.lines(into_job);
        let deleted = (!lines.is_empty()).then(|| lines.remove(place(lines.len())))?;
        self.say(shape, into_job, &lines);
        Some(deleted)
    }

    fn lines(&self, into_job: bool) -> Vec<String> {
        let view = self.node.view();
        let text = if into_job { &view["jobs"]["j1"]["body"] } else { &view["about"] };
        text.as_str().unwrap().lines().map(str::to_owned).collect()
    }

    fn say(&mut self, shape: &Shape, into_job: bool, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let patch = if into_job { json!({"jobs": {"j1": {"body": text}}}) } else { json!({"about": text}) };
        self.node.patch(shape, patch);
    }
}

fn hear(team: &mut [Saver], a: usize, b: usize, count: usize) {
    let log = team[b].node.log.clone();
    let new = log.into_iter().filter(|change| !team[a].node.base.contains(&change.digest()));
    let new: Vec<_> = new.take(count).collect();
    team[a].node.take(&new);
}

fn hear_all(team: &mut [Saver]) {
    for a in 0..team.len() {
        (0..team.len()).filter(|b| *b != a).for_each(|b| hear(team, a, b, usize::MAX));
    }
}

/// Where the rows have what people changed here too, a node hears first what the others have.
fn wait_for_others(shape: &Shape, team: &mut [Saver], a: usize, database: &Database) {
    let keypair = source();
    let of = Source { keypair: &keypair, shape, document: NAME };
    let Saver { node, tracker, .. } = &mut team[a];
    if tracker.is_beside_edits(&node.base, of, &database.rows(shape)) {
        (0..team.len()).filter(|b| *b != a).for_each(|b| hear(team, a, b, usize::MAX));
    }
}

/// Everybody hears all, and follows, until nothing more is signed.
fn settle(shape: &Shape, team: &mut [Saver], database: &Database) {
    for _ in 0..8 {
        let mut signed = 0;
        for a in 0..team.len() {
            (0..team.len()).filter(|b| *b != a).for_each(|b| hear(team, a, b, usize::MAX));
            signed += team[a].follow(shape, database);
        }
        hear_all(team);
        if signed == 0 {
            return;
        }
    }
    panic!("nodes with the same rows come to an end");
}

/// The lines of both texts.
fn lines_of(content: &serde_json::Value) -> Vec<String> {
    let texts = [&content["about"], &content["jobs"]["j1"]["body"]];
    let mut lines: Vec<String> =
        texts.iter().flat_map(|text| text.as_str().unwrap().lines()).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The words of a line: each is one character again and again. Where somebody deletes a line whose place another one has
/// taken, the two may share its end, and two words stand in one line.
fn words_in(line: &str) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    chars.chunk_by(|a, b| a == b).map(String::from_iter).collect()
}

/// Nodes that have followed two empty texts.
fn team_of(shape: &Shape, nodes: usize) -> (Vec<Saver>, Database) {
    let mut database = Database::new();
    database.content["about"] = json!("");
    database.content["jobs"]["j1"]["body"] = json!("");
    let mut team: Vec<Saver> = (1..).take(nodes).map(|n| Saver::new(n, nodes > 1)).collect();
    team[0].follow(shape, &database);
    (1..nodes).for_each(|at| hear(&mut team, at, 0, usize::MAX));
    (team, database)
}

#[test]
fn a_save_is_known_behind_all_that_was_typed_since_it_was_announced() {
    let shape = shape(Mode::Merge);
    let (mut team, mut database) = team_of(&shape, 2);
    team[1].typed(&shape, false, "saved", |_| 0);
    team[1].save(&shape, &mut database, true);
    for n in 0..100 {
        team[1].typed(&shape, true, &format!("line {n:02}"), |_| 0);
    }
    hear(&mut team, 0, 1, usize::MAX);
    team[0].follow(&shape, &database);
    assert_eq!(team[0].node.view()["about"], json!("saved\n"));
    assert_eq!(team[0].node.unsaved_paths(&shape), ["jobs.j1.body"]);
}

#[test]
fn a_save_is_known_whoever_signs_over_what_no_save_writes() {
    let shape = shape(Mode::Merge);
    let (mut team, mut database) = team_of(&shape, 2);
    team[1].typed(&shape, false, "saved", |_| 0);
    team[1].node.forge(|doc| doc.at("owner").unwrap().set("mallory").keep());
    team[1].save(&shape, &mut database, true);
    team[1].typed(&shape, true, "and not saved", |_| 0);
    hear(&mut team, 0, 1, usize::MAX);
    team[0].follow(&shape, &database);
    assert_eq!(team[0].node.view()["about"], json!("saved\n"));
    assert_eq!(team[0].node.view()["owner"], json!("ops"));
}

#[test]
fn what_was_deleted_stays_so_where_no_save_of_it_was_committed() {
    for (into_job, deletes_all) in [(false, false), (false, true), (true, false), (true, true)] {
        let shape = shape(Mode::Merge);
        let (mut team, mut database) = team_of(&shape, 2);
        for line in ["first", "second", "third"] {
            team[1].typed(&shape, into_job, line, |places| places - 1);
        }
        team[1].save(&shape, &mut database, false);
        hear(&mut team, 0, 1, usize::MAX);
        for _ in 0..if deletes_all { 3 } else { 1 } {
            team[1].delete(&shape, into_job, |places| places / 2);
        }
        let left = team[1].lines(into_job);
        // The database refuses it, or somebody else is first; the other node has heard of it.
        team[1].announce(&shape, &database).unwrap();
        hear(&mut team, 0, 1, usize::MAX);
        for node in [1, 0, 1] {
            team[node].follow(&shape, &database);
            let other = 1 - node;
            hear(&mut team, other, node, usize::MAX);
        }
        for saver in &team {
            assert_eq!(saver.lines(into_job), left);
            assert_eq!(saver.node.unsaved_paths(&shape).len(), 1, "it can be saved yet");
        }
        team[1].save(&shape, &mut database, false);
        assert_eq!(database.content, team[1].node.view());
        assert_eq!(team[1].lines(into_job), left);
    }
}

fn each_line_is_saved_once(steps: &[Step], nodes: usize) -> Result<(), TestCaseError> {
    let shape = shape(Mode::Merge);
    let (mut team, mut database) = team_of(&shape, nodes);
    let (mut typed, mut deleted) = (Vec::new(), BTreeSet::new());
    let mut is_apart = false;
    for step in steps {
        if let (Step::Follow(node) | Step::Save(node, _) | Step::Refused(node), false) = (step, is_apart) {
            wait_for_others(&shape, &mut team, *node, &database);
        }
        match step {
            Step::Type(node, into_job, at) => {
                let line = char::from(b'A' + u8::try_from(typed.len()).unwrap()).to_string().repeat(6);
                team[*node].typed(&shape, *into_job, &line, |places| at.index(places));
                typed.push(line);
            }
            Step::Delete(node, from_job, at) => {
                let line = team[*node].delete(&shape, *from_job, |places| at.index(places));
                deleted.extend(line.iter().flat_map(|line| words_in(line)));
            }
            Step::Refused(node) => drop(team[*node].announce(&shape, &database)),
            Step::Killed(node) => {
                team[*node].committed = None;
                team[*node].tracker = Tracker::default();
                team[*node].follow(&shape, &database);
            }
            Step::Part => {
                // Of three, one may have copied from the rows what it hears of the second, and not of the third.
                if nodes > 2 {
                    hear_all(&mut team);
                }
                is_apart = true;
            }
            Step::Meet => {
                is_apart = false;
                hear_all(&mut team);
            }
            Step::Follow(node) => {
                team[*node].follow(&shape, &database);
            }
            Step::Save(node, is_late) => team[*node].save(&shape, &mut database, *is_late),
            Step::Hear(a, b, count) if a != b && !is_apart => hear(&mut team, *a, *b, *count),
            Step::Hear(..) => {}
        }
    }
    hear_all(&mut team);
    settle(&shape, &mut team, &database);
    team[0].save(&shape, &mut database, false);
    settle(&shape, &mut team, &database);
    let mut saved = lines_of(&database.content);
    if !deleted.is_empty() {
        saved = saved.iter().flat_map(|line| words_in(line)).collect();
    }
    let once: BTreeSet<&String> = saved.iter().collect();
    prop_assert_eq!(once.len(), saved.len(), "{:?}", saved);
    // What somebody deleted may come back by a node that had not heard of its save, and no more than that.
    prop_assert!(typed.iter().all(|line| once.contains(line) || deleted.contains(line)), "{:?}", saved);
    prop_assert!(saved.iter().all(|line| typed.contains(line)), "{:?}", saved);
    prop_assert!(nodes > 1 || saved.iter().all(|line| !deleted.contains(line)), "{:?}", saved);
    for saver in &team {
        prop_assert_eq!(saver.node.view(), team[0].node.view());
        prop_assert_eq!(saver.node.unsaved_paths(&shape), Vec::<String>::new());
    }
    prop_assert_eq!(team[0].node.view(), database.content);
    Ok(())
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn what_one_node_saves_is_there_once_and_what_it_deleted_is_not(steps in steps(1, false)) {
        each_line_is_saved_once(&steps, 1)?;
    }

    #[test]
    fn what_two_nodes_save_is_there_once(steps in steps(2, false)) {
        each_line_is_saved_once(&steps, 2)?;
    }

    #[test]
    fn what_three_nodes_save_is_there_once(steps in steps(3, false)) {
        each_line_is_saved_once(&steps, 3)?;
    }

    #[test]
    fn what_two_nodes_save_apart_is_there_once(steps in steps(2, true)) {
        each_line_is_saved_once(&steps, 2)?;
    }

    #[test]
    fn what_three_nodes_save_apart_is_there_once(steps in steps(3, true)) {
        each_line_is_saved_once(&steps, 3)?;
    }
}
