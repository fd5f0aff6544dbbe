//! Boards that exchange their logs end alike, byte for byte, whatever was done apart and in whatever order
//! and portions it arrived.

use bft_json_crdt::CrdtNode as _;
use gangline_doc::{
    BoardError, Field, FieldConflict, Item, LogSeq, NewItem, OriginId, Patch, ReadLimit, board,
};
use proptest::prelude::*;

use crate::{Board, ManualLog, open};

const REPLICAS: usize = 3;
const STORIES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Edit { at: usize, story: usize, what: What },
    Send { from: usize, to: usize, count: usize, backwards: bool },
    Restart(usize),
}

#[derive(Clone, Debug)]
enum What {
    Add(u8),
    Stage(u8),
    Retry(u8),
    Claim(u8),
    Release,
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        4 => (0..3_u8).prop_map(What::Add),
        4 => (0..3_u8).prop_map(What::Stage),
        2 => (0..3_u8).prop_map(What::Retry),
        3 => (0..3_u8).prop_map(What::Claim),
        1 => Just(What::Release),
        1 => Just(What::Remove),
    ];
    prop_oneof![
        6 => (0..REPLICAS, 0..STORIES.len(), what)
            .prop_map(|(at, story, what)| Step::Edit { at, story, what }),
        4 => (0..REPLICAS, 0..REPLICAS, 1..8_usize, any::<bool>())
            .prop_map(|(from, to, count, backwards)| Step::Send { from, to, count, backwards }),
        1 => (0..REPLICAS).prop_map(Step::Restart),
    ]
}

/// A team, each member with a cursor into every other one's log.
struct Team {
    logs: Vec<ManualLog>,
    boards: Vec<Board>,
    cursors: [[LogSeq; REPLICAS]; REPLICAS],
}

impl Team {
    fn new() -> Self {
        let logs: Vec<ManualLog> = (0..REPLICAS).map(|_| ManualLog::prompt()).collect();
        let boards = logs.iter().zip(1..).map(|(log, seed)| open(seed, log)).collect();
        Self { logs, boards, cursors: [[LogSeq::START; REPLICAS]; REPLICAS] }
    }

    fn step(&mut self, n: usize, step: &Step) {
        match step {
            Step::Edit { at, story, what } => edit(&self.boards[*at], n, STORIES[*story], what),
            Step::Send { from, to, count, backwards } => {
                self.send(*from, *to, *count, *backwards);
            }
            Step::Restart(at) => {
                let seed = u8::try_from(*at).unwrap() + 1;
                self.boards[*at] = open(seed, &self.logs[*at]);
                // What waited in its queue is gone: it is sent everything again.
                for from in 0..REPLICAS {
                    self.cursors[from][*at] = LogSeq::START;
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, count: usize, backwards: bool) -> bool {
        if from == to {
            return false;
        }
        let cursor = &mut self.cursors[from][to];
        let limit = ReadLimit { count, bytes: usize::MAX };
        let entries = self.boards[from].entries(*cursor, limit).unwrap();
        *cursor = cursor.plus(entries.len());
        let mut changes: Vec<_> = entries.iter().map(|entry| entry.change().clone()).collect();
        let some = !changes.is_empty();
        let deliver = |changes| {
            let (batch, _ticket) = self.boards[to].apply(n_ms(), OriginId(from as u64), changes).unwrap();
            assert!(batch.states.iter().all(|state| !state.is_refused()), "{:?}", batch.states);
        };
        if backwards {
            changes.reverse();
            changes.into_iter().for_each(|change| deliver(vec![change]));
        } else {
            deliver(changes);
        }
        some
    }

    /// Sends everything to everyone until nobody has anything left to send.
    fn settle(&mut self) {
        let mut is_moving = true;
        while is_moving {
            is_moving = false;
            for pair in 0..REPLICAS * REPLICAS {
                is_moving |= self.send(pair / REPLICAS, pair % REPLICAS, usize::MAX, false);
            }
        }
    }
}

fn n_ms() -> u64 {
    1_700_000_000_000
}

fn edit(board: &Board, n: usize, story_id: &str, what: &What) {
    let result = board.edit(n_ms(), |editor| -> Result<Item, BoardError> {
        match what {
            What::Add(name) => {
                let new = NewItem::new(story_id).with(Field::Name, format!("name {name}"))?;
                board::add(editor, new)
            }
            What::Stage(stage) => {
                let patch =
                    Patch::new().set(Field::Stage, format!("{stage}_stage"))?.set(Field::Agent, "x")?;
                board::patch(editor, story_id, &patch)
            }
            What::Retry(count) => {
                board::patch(editor, story_id, &Patch::new().set(Field::RetryCount, *count)?)
            }
            What::Claim(agent) => board::claim(editor, story_id, &format!("agent-{agent}"), n as u64 + 1),
            What::Release => board::release(editor, story_id, None),
            What::Remove => board::remove(editor, story_id),
        }
    });
    let shown = board.read(|base| board::find(base, story_id)).0;
    match result {
        Ok((item, _)) if matches!(what, What::Remove) => {
            assert_eq!(item.story_id, story_id);
            assert_eq!(shown, None, "removed, with all its duplicates");
        }
        Ok((item, _)) => assert_eq!(shown, Some(item), "the answer is what shows"),
        Err(error) => assert!(
            error.to_string().contains("no item")
                || error.to_string().contains("already")
                || error.to_string().contains("claimed by"),
            "{error}"
        ),
    }
}

type Shown = (Vec<Item>, Vec<Vec<FieldConflict>>, String);

fn shown(board: &Board) -> Shown {
    board
        .read(|base| {
            let items = board::items(base);
            let conflicts =
                items.iter().map(|item| board::conflicts(base, &item.story_id).unwrap()).collect();
            (items, conflicts, base.doc.view().to_string())
        })
        .0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn boards_converge(steps in proptest::collection::vec(step(), 1..60)) {
        let mut team = Team::new();
        for (n, step) in steps.iter().enumerate() {
            team.step(n, step);
        }
        team.settle();
        let first = shown(&team.boards[0]);
        for board in &team.boards {
            prop_assert_eq!(&shown(board), &first);
            prop_assert_eq!(board.version_vector(), team.boards[0].version_vector());
            prop_assert_eq!(board.equivocations(), Vec::new());
            prop_assert_eq!(board.stats().queue.len, 0);
        }
        for (at, log) in team.logs.iter().enumerate() {
            let again = open(u8::try_from(at).unwrap() + 1, log);
            prop_assert_eq!(&shown(&again), &first, "a restart changes nothing");
        }
        let mut ids: Vec<&str> = first.0.iter().map(|item| item.story_id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), first.0.len(), "one item per story");
        for item in &first.0 {
            prop_assert_eq!(item.claimed_by.is_empty(), item.claimed_at == 0.0, "a claim is both fields");
        }
    }
}
