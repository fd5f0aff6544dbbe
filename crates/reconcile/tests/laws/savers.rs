//! Several nodes that follow one database and save into it, each killed or slow between its commit and its word of it.

use bft_json_crdt::Digest;
use gangline_reconcile::{Mode, Shape, Source, Tracker, save_mark};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use crate::cases;
use crate::world::{Database, NAME, Node, shape, source};

#[derive(Clone, Debug)]
enum Step {
    /// Somebody types a line of their own into a text.
    Type(usize, bool, Index),
    /// A node follows the rows.
    Follow(usize),
    /// A node saves, and says so at once or later.
    Save(usize, bool),
    /// A node hears the next changes of another one.
    Hear(usize, usize, usize),
}

fn steps(nodes: usize) -> impl Strategy<Value = Vec<Step>> {
    let node = move || 0..nodes;
    let step = prop_oneof![
        5 => (node(), any::<bool>(), any::<Index>()).prop_map(|(node, of, at)| Step::Type(node, of, at)),
        3 => node().prop_map(Step::Follow),
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
}

impl Saver {
    fn new(n: u8) -> Self {
        Self { node: Node::new(n), tracker: Tracker::default(), committed: None }
    }

    fn follow(&mut self, shape: &Shape, database: &Database) -> usize {
        let keypair = source();
        let of = Source { keypair: &keypair, shape, document: NAME };
        if let Some((heads, version)) = self.committed.take() {
            let mark = save_mark(&self.node.base, of, &heads, Some(version)).unwrap();
            self.node.take(&mark);
        }
        let rows = database.rows(shape);
        let followed = self.tracker.follow(&self.node.base, of, &rows, false).unwrap();
        self.node.take(&followed.changes);
        followed.changes.len()
    }

    fn save(&mut self, shape: &Shape, database: &mut Database, is_late: bool) {
        let keypair = source();
        let of = Source { keypair: &keypair, shape, document: NAME };
        self.follow(shape, database);
        let rows = database.rows(shape);
        assert!(!self.tracker.is_saved_elsewhere(&self.node.base, of, &rows));
        let plan = self.node.plan_save(shape, &rows);
        assert_eq!(plan.problems, []);
        if plan.writes.is_empty() {
            return;
        }
        let announcement = self.node.base.save_mark(&self.node.key).unwrap();
        let heads = vec![announcement.digest()];
        self.node.log.push(announcement);
        database.version += 1;
        database.carry_out(shape, &plan.writes);
        self.committed = Some((heads, database.version));
        if !is_late {
            self.follow(shape, database);
        }
    }

    fn typed(&mut self, shape: &Shape, into_job: bool, line: &str, place: impl FnOnce(usize) -> usize) {
        let view = self.node.view();
        let text = if into_job { &view["jobs"]["j1"]["body"] } else { &view["about"] };
        let mut lines: Vec<&str> = text.as_str().unwrap().lines().collect();
        lines.insert(place(lines.len() + 1), line);
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
        for a in 0..team.len() {
            (0..team.len()).filter(|b| *b != a).for_each(|b| hear(team, a, b, usize::MAX));
        }
        if signed == 0 {
            return;
        }
    }
    panic!("nodes with the same rows come to an end");
}

fn lines_of(content: &serde_json::Value) -> Vec<String> {
    let texts = [&content["about"], &content["jobs"]["j1"]["body"]];
    let mut lines: Vec<String> =
        texts.iter().flat_map(|text| text.as_str().unwrap().lines()).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Nodes that have followed two empty texts.
fn team_of(shape: &Shape, nodes: usize) -> (Vec<Saver>, Database) {
    let mut database = Database::new();
    database.content["about"] = json!("");
    database.content["jobs"]["j1"]["body"] = json!("");
    let mut team: Vec<Saver> = (1..).take(nodes).map(Saver::new).collect();
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

fn each_line_is_saved_once(steps: &[Step], nodes: usize) -> Result<(), TestCaseError> {
    let shape = shape(Mode::Merge);
    let (mut team, mut database) = team_of(&shape, nodes);
    let mut typed = Vec::new();
    for step in steps {
        match step {
            Step::Type(node, into_job, at) => {
                let line = format!("line {:02}", typed.len());
                team[*node].typed(&shape, *into_job, &line, |places| at.index(places));
                typed.push(line);
            }
            Step::Follow(node) => {
                wait_for_others(&shape, &mut team, *node, &database);
                team[*node].follow(&shape, &database);
            }
            Step::Save(node, is_late) => {
                wait_for_others(&shape, &mut team, *node, &database);
                team[*node].save(&shape, &mut database, *is_late);
            }
            Step::Hear(a, b, count) if a != b => hear(&mut team, *a, *b, *count),
            Step::Hear(..) => {}
        }
    }
    settle(&shape, &mut team, &database);
    team[0].save(&shape, &mut database, false);
    settle(&shape, &mut team, &database);
    prop_assert_eq!(lines_of(&database.content), typed, "in the database");
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
    fn what_two_nodes_save_is_there_once(steps in steps(2)) {
        each_line_is_saved_once(&steps, 2)?;
    }

    #[test]
    fn what_three_nodes_save_is_there_once(steps in steps(3)) {
        each_line_is_saved_once(&steps, 3)?;
    }
}
